//! A voter that has come back with less than it had acknowledged: its leader says so, once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "no test uses all that is small")]

mod small;

use ostler_zab::leader::{Input, Output};
use ostler_zab::{ConnId, Leader};
use small::{options, proposal, start, z};
use wire::quorum::{LearnerInfo, Packet};
use wire::{Epoch, ServerId, Zxid};

/// Gives a leader this; what it tells people then.
fn give(leader: &mut Leader, input: Input) -> Vec<Output> {
    leader.handle(0, input);
    let mut told = Vec::new();
    while let Some(output) = leader.next_output() {
        match output {
            // Its own disk is quick with the epoch files.
            Output::Disk(command) => {
                if let Some(token) = command.token() {
                    leader.handle(0, Input::Done(token.done()));
                }
            }
            output @ Output::Forgot { .. } => told.push(output),
            _ => {}
        }
    }
    told
}

/// Server 2 connects with this history, and gets what it lacks.
fn join(leader: &mut Leader, conn: u64, last: Zxid, accepted: i32) -> Vec<Output> {
    let (conn, info) = (ConnId(conn), LearnerInfo::new(ServerId(2), 0));
    let mut told = give(leader, Input::Connected(conn));
    told.extend(give(leader, Input::Packet(conn, Packet::FollowerInfo { zxid: z(accepted, 0), info })));
    let current_epoch = Epoch(if accepted == 2 { -1 } else { accepted });
    told.extend(give(leader, Input::Packet(conn, Packet::AckEpoch { zxid: last, current_epoch })));
    while leader.next_packet(0, conn).is_some() {}
    told.extend(give(leader, Input::Packet(conn, Packet::Ack { zxid: z(2, 0) })));
    told
}

#[test]
fn who_comes_back_with_less_than_it_had_acknowledged_is_told_of_once() {
    let mut leader = Leader::new(options(1), start(&options(1)), 0);
    assert_eq!(join(&mut leader, 1, z(1, 2), 1), []);
    for counter in 1..4 {
        give(&mut leader, Input::Propose(proposal(z(2, counter))));
    }
    let ack = Packet::Ack { zxid: z(2, 2) };
    assert_eq!(give(&mut leader, Input::Packet(ConnId(1), ack)), []);
    // With all of it, and more that it had not acknowledged yet.
    give(&mut leader, Input::Disconnected(ConnId(1)));
    assert_eq!(join(&mut leader, 2, z(2, 3), 2), []);
    give(&mut leader, Input::Packet(ConnId(2), Packet::Ack { zxid: z(2, 3) }));
    give(&mut leader, Input::Disconnected(ConnId(2)));
    let forgot = Output::Forgot { server: ServerId(2), acknowledged: z(2, 3), has: z(2, 2) };
    assert_eq!(join(&mut leader, 3, z(2, 2), 2), [forgot]);
    // It has acknowledged nothing since, but for the history that this leader began with.
    give(&mut leader, Input::Disconnected(ConnId(3)));
    assert_eq!(join(&mut leader, 4, z(1, 2), 2), []);
    give(&mut leader, Input::Disconnected(ConnId(4)));
    let forgot = Output::Forgot { server: ServerId(2), acknowledged: z(1, 2), has: Zxid(-1) };
    assert_eq!(join(&mut leader, 5, Zxid(-1), 2), [forgot]);
}
