#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use wire::election::InitialVersion;

use super::*;
use crate::quorum_verifier::{Member, MemberAddress, QuorumVerifier};

fn quorums(n: i64) -> Quorums {
    let address = |id: i64| MemberAddress { host: format!("h{id}"), quorum_port: 2888, election_port: 3888 };
    let member = |id: i64| Member { addresses: vec![address(id)], ..Member::participant(ServerId(id)) };
    Quorums::of(QuorumVerifier::majority((1..=n).map(member), 0))
}

fn machine(me: i64) -> Connections {
    Connections::new(ServerId(me), quorums(3))
}

fn at(host: &str) -> HostPort {
    HostPort { host: host.to_owned(), port: 3888 }
}

fn connect(to: i64) -> Output {
    Output::Connect { to: ServerId(to), addresses: vec![at(&format!("h{to}"))], is_told: false }
}

fn accepted(connection: u64, server: i64, address: Option<&str>) -> Input {
    let initial = InitialMessage {
        version: InitialVersion::V1,
        server: ServerId(server),
        addresses: address.into_iter().map(at).collect(),
    };
    Input::Accepted { connection: ConnectionId(connection), initial }
}

fn opened(connection: u64, to: i64) -> Input {
    Input::Opened { to: ServerId(to), connection: ConnectionId(connection) }
}

fn send(to: i64, message: &'static str) -> Input {
    Input::Send { to: ServerId(to), message: Bytes::from_static(message.as_bytes()) }
}

fn write(connection: u64, message: &'static str) -> Output {
    Output::Write { connection: ConnectionId(connection), message: Bytes::from_static(message.as_bytes()) }
}

fn close(connection: u64) -> Output {
    Output::Close(ConnectionId(connection))
}

fn up(peer: i64) -> Output {
    Output::Up(ServerId(peer))
}

fn after(it: &mut Connections, input: Input) -> Vec<Output> {
    it.handle(input);
    std::iter::from_fn(|| it.take_output()).collect()
}

#[test]
fn the_larger_one_keeps_what_it_opened() {
    let mut it = machine(3);
    assert_eq!(after(&mut it, send(1, "vote")), [connect(1)]);
    assert_eq!(after(&mut it, send(1, "better")), [], "one attempt at a time");
    assert_eq!(after(&mut it, opened(7, 1)), [up(1), write(7, "better")], "only the newest message is left");
}

#[test]
fn the_smaller_one_says_who_it_is_and_is_called_back() {
    let mut it = machine(1);
    assert_eq!(after(&mut it, send(3, "vote")), [connect(3)]);
    assert_eq!(after(&mut it, opened(7, 3)), [close(7)]);
    assert_eq!(after(&mut it, accepted(8, 3, Some("h3"))), [up(3), write(8, "vote")]);
}

#[test]
fn who_is_smaller_is_called_back_where_it_says() {
    let mut it = machine(3);
    let moved = Output::Connect { to: ServerId(1), addresses: vec![at("moved")], is_told: true };
    assert_eq!(after(&mut it, accepted(7, 1, Some("moved"))), [close(7), moved]);
    it.handle(Input::Failed { to: ServerId(1) });
    assert_eq!(after(&mut it, accepted(6, 1, Some("h1"))), [close(6), connect(1)], "that is where it should be");
    it.handle(Input::Failed { to: ServerId(1) });
    assert_eq!(after(&mut it, accepted(8, 1, Some("0.0.0.0"))), [close(8), connect(1)], "a wildcard says nothing");
    assert_eq!(after(&mut it, opened(9, 1)), [up(1)]);
    let down = Output::Down(ServerId(1));
    assert_eq!(
        after(&mut it, accepted(10, 1, None)),
        [close(10), close(9), down, connect(1)],
        "it knows that 9 is dead"
    );
}

#[test]
fn a_new_connection_replaces_the_old_one() {
    let mut it = machine(1);
    assert_eq!(after(&mut it, accepted(7, 3, None)), [up(3)]);
    assert_eq!(after(&mut it, send(3, "vote")), [write(7, "vote")]);
    assert_eq!(after(&mut it, accepted(8, 3, None)), [close(7), write(8, "vote")], "it may not have come");
    assert_eq!(after(&mut it, Input::Closed(ConnectionId(7))), [], "the old one is nobody's");
    let stale = Input::Received { connection: ConnectionId(7), message: Bytes::new() };
    assert_eq!(after(&mut it, stale), []);
    let fresh = Input::Received { connection: ConnectionId(8), message: Bytes::from_static(b"x") };
    let deliver = Output::Deliver { from: ServerId(3), message: Bytes::from_static(b"x") };
    assert_eq!(after(&mut it, fresh), [deliver]);
}

#[test]
fn what_waits_is_newer_than_what_was_sent_last() {
    let mut it = machine(3);
    it.handle(send(1, "first"));
    assert_eq!(after(&mut it, opened(7, 1))[2..], [write(7, "first")]);
    assert_eq!(after(&mut it, send(1, "second")), [], "a frame is being written");
    assert_eq!(after(&mut it, send(1, "third")), []);
    assert!(!it.have_delivered());
    assert_eq!(after(&mut it, Input::Closed(ConnectionId(7))), [Output::Down(ServerId(1))]);
    assert_eq!(after(&mut it, Input::ConnectAll), [connect(1)]);
    assert_eq!(after(&mut it, opened(8, 1)), [up(1), write(8, "third")]);
    assert!(it.have_delivered());
    assert_eq!(after(&mut it, Input::Written(ConnectionId(8))), []);
    assert_eq!(after(&mut it, send(1, "fourth")), [write(8, "fourth")]);
}

#[test]
fn a_message_to_oneself_comes_back() {
    let back = Output::Deliver { from: ServerId(1), message: Bytes::from_static(b"vote") };
    assert_eq!(after(&mut machine(1), send(1, "vote")), [back]);
}

#[test]
fn a_second_server_with_our_id_is_refused() {
    assert_eq!(after(&mut machine(2), accepted(7, 2, Some("h2"))), [close(7)]);
}

#[test]
fn strangers_are_served_but_not_without_bound() {
    let mut it = machine(1);
    assert_eq!(after(&mut it, accepted(7, 9, Some("new"))), [up(9)], "one that is to join");
    assert_eq!(after(&mut it, Input::Closed(ConnectionId(7))), [Output::Down(ServerId(9))]);
    assert_eq!(after(&mut it, Input::ConnectAll), [], "nothing is kept of it");
    for n in 0..STRANGERS_MAX as i64 {
        assert_eq!(after(&mut it, accepted(100 + n as u64, 100 + n, None)), [up(100 + n)]);
    }
    assert_eq!(after(&mut it, accepted(8, 99, None)), [close(8)]);
    assert_eq!(after(&mut it, send(99, "vote")), []);
    assert_eq!(after(&mut it, accepted(9, 3, None)), [up(3)], "a member always has room");
    assert_eq!(after(&mut it, send(77, "vote")), []);
}

#[test]
fn an_observer_without_a_number_gets_one() {
    let mut it = machine(1);
    let back = |id| Output::Connect { to: ServerId(id), addresses: vec![at("observer")], is_told: true };
    assert_eq!(after(&mut it, accepted(7, i64::MAX, Some("observer"))), [close(7), back(-1)]);
    assert_eq!(after(&mut it, opened(8, -1)), [up(-1)]);
    assert_eq!(after(&mut it, accepted(9, i64::MAX, Some("observer"))), [close(9), back(-2)]);
    assert_eq!(after(&mut it, accepted(10, i64::MAX, None)), [close(10)], "nobody knows where it is");
}

#[test]
fn a_server_of_the_next_configuration_has_an_address() {
    let mut it = machine(1);
    let newer = quorums(4).committed().as_ref().clone().with_version(5);
    let both = Quorums::new(quorums(3).committed().clone(), Some(newer.into()));
    assert_eq!(after(&mut it, send(4, "vote")), []);
    it.handle(Input::Configured(both));
    assert_eq!(after(&mut it, send(4, "vote")), [connect(4)]);
}

/// Two servers, the connections between them, and what is on its way. Connections fail, are cut, and answers are late.
fn two_servers_end_with_one_connection(choices: &[u8]) {
    let ids = [ServerId(1), ServerId(2)];
    let mut machines = ids.map(|id| Connections::new(id, quorums(2)));
    // Each end of a socket: (server, number); the other end has the number with its lowest bit turned.
    let mut attempts: Vec<(usize, ServerId)> = Vec::new();
    let mut sockets: Vec<(usize, ConnectionId, bool)> = Vec::new();
    let mut inputs: VecDeque<(usize, Input)> = VecDeque::new();
    let mut received = [0, 0];
    let mut next = 0;
    for side in 0..2 {
        inputs.push_back((side, Input::Send { to: ids[1 - side], message: Bytes::from_static(b"vote") }));
    }
    for step in 0.. {
        assert!(step < 2000, "it never comes to rest");
        let choice = choices.get(step).copied().unwrap_or(0);
        if choice == 255 && !sockets.is_empty() {
            // Cut: both ends learn it, each in its time.
            let (side, number, _) = sockets.remove(0);
            sockets.retain(|it| it.1.0 != (number.0 ^ 1));
            inputs.push_back((side, Input::Closed(number)));
            inputs.push_back((1 - side, Input::Closed(ConnectionId(number.0 ^ 1))));
        }
        if let Some(at) = (!attempts.is_empty() && (choice & 1 == 0 || inputs.is_empty())).then_some(0) {
            let (side, to) = attempts.remove(at);
            if choice == 254 {
                inputs.push_back((side, Input::Failed { to }));
            } else {
                let (ours, theirs) = (ConnectionId(next), ConnectionId(next + 1));
                next += 2;
                sockets.push((side, ours, true));
                sockets.push((1 - side, theirs, true));
                inputs.push_back((side, Input::Opened { to, connection: ours }));
                let initial =
                    InitialMessage { version: InitialVersion::Bare, server: ids[side], addresses: Vec::new() };
                inputs.push_back((1 - side, Input::Accepted { connection: theirs, initial }));
            }
        }
        let Some((side, input)) = inputs.pop_front() else {
            if !attempts.is_empty() {
                continue;
            }
            // The election sends again when it has waited.
            let quiet =
                step >= choices.len() && machines.iter().all(|it| it.peers.values().all(|it| it.live.is_some()));
            if quiet {
                break;
            }
            for side in 0..2 {
                inputs.push_back((side, Input::Send { to: ids[1 - side], message: Bytes::from_static(b"vote") }));
            }
            continue;
        };
        machines[side].handle(input);
        while let Some(output) = machines[side].take_output() {
            match output {
                Output::Connect { to, .. } => attempts.push((side, to)),
                Output::Close(number) => {
                    sockets.retain(|it| it.1 != number && it.1.0 != (number.0 ^ 1));
                    inputs.push_back((1 - side, Input::Closed(ConnectionId(number.0 ^ 1))));
                }
                Output::Write { connection, message } => {
                    inputs.push_back((side, Input::Written(connection)));
                    if sockets.iter().any(|it| it.1 == connection) {
                        let connection = ConnectionId(connection.0 ^ 1);
                        inputs.push_back((1 - side, Input::Received { connection, message }));
                    }
                }
                Output::Deliver { .. } => received[side] += 1,
                Output::Up(_) | Output::Down(_) => {}
            }
        }
    }
    let live = [0, 1].map(|side: usize| machines[side].peers[&ids[1 - side]].live.as_ref().unwrap().connection.0);
    assert_eq!(live[0] ^ 1, live[1], "both ends hold the same connection");
    assert_eq!(live[1] & 1, 0, "and the larger one opened it");
    assert!(received.iter().all(|it| *it > 0), "both have the other's vote: {received:?}");
}

#[test]
fn two_servers_without_trouble() {
    two_servers_end_with_one_connection(&[]);
}

proptest! {
    #[test]
    fn two_servers_with_any_trouble(choices in prop::collection::vec(prop_oneof![any::<u8>(), Just(255), Just(254)], 0..120)) {
        two_servers_end_with_one_connection(&choices);
    }
}
