//! The election port, and whoever connects to it.

use bytes::Bytes;
use ostler_zab::connections::{ConnectionId, Input as Port, Output as PortOutput, STRANGERS_MAX};
use ostler_zab::election::Settings;
use ostler_zab::ensemble::{Ensemble, Input, Output};
use ostler_zab::{Command, CommittedLog, QuorumVerifier, Recovered, RoleId, State, learner, member};
use wire::election::{HostPort, InitialMessage, InitialVersion, Notification, NotificationFormat, ServerState};
use wire::quorum::{PROTOCOL_VERSION, Packet};
use wire::{Epoch, ServerId, Zxid};

use super::{Rng, options, z};

/// A server that looks for a leader, and whoever is connected to it.
struct Called {
    ensemble: Ensemble,
    closed: Vec<ConnectionId>,
    /// How many frames were no notifications.
    nonsense: usize,
    written: Vec<(ConnectionId, Bytes)>,
    roles: Vec<member::Output>,
    /// Who has another list of members.
    others: Vec<ServerId>,
    now_ms: u64,
}

impl Called {
    /// Server 1 of three: the others are larger, so they open the connections.
    fn new() -> Self {
        let options = options(1);
        let log = CommittedLog::new(options.committed_log, z(1, 2));
        let recovered = Recovered { accepted: Epoch(1), current: Epoch(1), log, is_lost: false };
        let ensemble = Ensemble::new(0, options, Settings::new(ServerId(1)), recovered);
        let mut this =
            Self { ensemble, closed: vec![], nonsense: 0, written: vec![], roles: vec![], others: vec![], now_ms: 0 };
        this.drain();
        this
    }

    fn give(&mut self, input: Input) {
        self.ensemble.handle(self.now_ms, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.ensemble.next_output() {
            match output {
                Output::Connections(PortOutput::Close(conn)) => self.closed.push(conn),
                Output::Connections(PortOutput::Write { connection, message }) => {
                    self.written.push((connection, message));
                    self.ensemble.handle(self.now_ms, Input::Connections(Port::Written(connection)));
                }
                Output::NotANotification { .. } => self.nonsense += 1,
                Output::OtherMembers { from, .. } => self.others.push(from),
                Output::Member(output @ (member::Output::Lead { .. } | member::Output::Follow { .. })) => {
                    self.roles.push(output);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, conn: u64, id: i64) {
        let addresses = vec![HostPort { host: "h".into(), port: 1 }];
        let initial = InitialMessage { version: InitialVersion::V1, server: ServerId(id), addresses };
        self.give(Input::Connections(Port::Accepted { connection: ConnectionId(conn), initial }));
    }

    fn hear(&mut self, conn: u64, message: impl Into<Bytes>) {
        let (connection, message) = (ConnectionId(conn), message.into());
        self.give(Input::Connections(Port::Received { connection, message }));
    }

    /// An honest server 2 votes for itself; with it this server comes to a leader.
    fn finds_its_leader(mut self) {
        assert!(self.roles.is_empty());
        self.connect(900, 2);
        let round = self.ensemble.vote().1;
        self.hear(900, notification(ServerState::Looking, 2, z(1, 2), round, 1));
        for _ in 0..10 {
            if let Some(at_ms) = self.ensemble.next_timeout().filter(|_| self.roles.is_empty()) {
                self.now_ms = self.now_ms.max(at_ms);
                self.give(Input::Timer);
            }
        }
        let leads = |it: &member::Output| matches!(it, member::Output::Follow { leader, .. } if leader.0 == 2);
        assert!(self.roles.iter().any(leads), "{:?}", self.roles);
        assert_eq!(self.ensemble.member().state(), State::Following);
    }
}

fn notification(state: ServerState, leader: i64, zxid: Zxid, election_epoch: i64, peer_epoch: i64) -> Vec<u8> {
    let config = QuorumVerifier::of_participants([1, 2, 3].map(ServerId)).to_string();
    with_list(config, state, leader, zxid, election_epoch, peer_epoch)
}

fn with_list(
    list: String,
    state: ServerState,
    leader: i64,
    zxid: Zxid,
    election_epoch: i64,
    peer_epoch: i64,
) -> Vec<u8> {
    let format = NotificationFormat::WithConfig { version: 2, config: list.into() };
    let mut bytes = Vec::new();
    let leader = ServerId(leader);
    Notification { state: Some(state), leader, zxid, election_epoch, peer_epoch, format }.write(&mut bytes);
    bytes
}

#[test]
fn a_frame_that_is_no_notification_closes_its_connection_and_no_other() {
    let good = notification(ServerState::Looking, 3, z(1, 2), 1, 1);
    let with_length = |length: i32| {
        let mut lie = good.clone();
        lie[40..44].copy_from_slice(&length.to_be_bytes());
        lie
    };
    let cases =
        [vec![], vec![0xff; 3], vec![0; 39], good[..good.len() - 1].to_vec(), with_length(i32::MAX), with_length(-7)];
    for lie in cases {
        let mut port = Called::new();
        port.connect(1, 3);
        port.connect(2, 2);
        port.hear(1, lie.clone());
        assert_eq!((&port.closed[..], port.nonsense), (&[ConnectionId(1)][..], 1), "{lie:?}");
        assert!(port.ensemble.connections().is_up(ServerId(2)) && !port.ensemble.connections().is_up(ServerId(3)));
        // What was behind it is stale.
        port.hear(1, lie);
        assert_eq!((port.closed.len(), port.nonsense), (1, 1));
        // It may come again.
        port.connect(3, 3);
        assert!(port.ensemble.connections().is_up(ServerId(3)));
        port.finds_its_leader();
    }
}

#[test]
fn who_says_that_it_is_this_server_and_one_stranger_too_many_are_closed() {
    let mut port = Called::new();
    port.connect(1, 1);
    assert_eq!(port.closed, [ConnectionId(1)]);
    for id in 0..2 * STRANGERS_MAX as u64 {
        port.connect(10 + id, 100 + id as i64);
    }
    assert_eq!(port.closed.len(), 1 + STRANGERS_MAX);
    port.finds_its_leader();
}

/// What they say of their lists is remembered, so that it is told once; but a member's always is.
#[test]
fn made_up_numbers_take_no_members_place_among_the_lists() {
    let mut port = Called::new();
    let other = |members: &[i64]| {
        let line = |id: &i64| format!("server.{id}=h{id}:1:2:participant\n");
        let list = members.iter().map(line).collect::<String>() + "version=0";
        with_list(list, ServerState::Looking, 2, z(1, 2), 1, 1)
    };
    let mut conn = 10;
    for id in 0..20_000 {
        conn += 1;
        port.connect(conn, 100 + id);
        port.hear(conn, other(&[1, 2]));
        port.hear(conn, other(&[1, 2]));
        port.give(Input::Connections(Port::Closed(ConnectionId(conn))));
    }
    assert_eq!(port.others.len(), 20_000, "each is told once");
    port.others.clear();
    port.connect(1, 3);
    port.hear(1, other(&[1, 2, 3, 4]));
    port.hear(1, other(&[1, 2, 3, 4]));
    assert_eq!(port.others, [ServerId(3)]);
    // One more flood, and it is still known.
    for id in 0..20_000 {
        conn += 1;
        port.connect(conn, 100_000 + id);
        port.hear(conn, other(&[1, 2]));
        port.give(Input::Connections(Port::Closed(ConnectionId(conn))));
    }
    port.others.clear();
    port.hear(1, other(&[1, 2, 3, 4]));
    assert_eq!(port.others, []);
    assert!(format!("{:?}", port.ensemble).len() < 100_000, "nothing is kept of those who are gone");
}

/// None of it comes from a voter, or none of it can be so.
#[test]
fn votes_that_can_not_count_do_not() {
    let states = [ServerState::Looking, ServerState::Following, ServerState::Leading, ServerState::Observing];
    for state in states {
        let mut port = Called::new();
        port.connect(1, 77);
        port.connect(2, 78);
        port.connect(3, 3);
        for conn in [1, 2] {
            // Strangers agree on a leader.
            port.hear(conn, notification(state, 3, z(9, 9), 1, 9));
            port.hear(conn, notification(state, 77, z(9, 9), i64::MAX, i64::MAX));
        }
        // A voter votes for somebody who is none.
        port.hear(3, notification(state, 77, z(9, 9), i64::MAX, i64::MAX));
        port.hear(3, notification(state, i64::MIN, Zxid(i64::MAX), i64::MIN, i64::MAX));
        let (vote, _) = port.ensemble.vote();
        assert_eq!((vote.proposal.leader, port.closed.len()), (ServerId(1), 0), "{state:?}");
        port.finds_its_leader();
    }
}

/// Server 2 leads, 3 follows it, and server 1 can't take the snapshot that it is sent.
struct Stuck {
    port: Called,
    /// The role that has begun, and what the disk has to do.
    role: Option<RoleId>,
    commands: Vec<Command>,
    /// When it followed.
    followed_ms: Vec<u64>,
    looks: bool,
}

impl Stuck {
    fn new() -> Self {
        let mut port = Called::new();
        port.connect(1, 2);
        port.connect(2, 3);
        Self { port, role: None, commands: vec![], followed_ms: vec![], looks: true }
    }

    fn give(&mut self, input: member::Input) {
        self.port.ensemble.handle(self.port.now_ms, Input::Member(input));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.port.ensemble.next_output() {
            match output {
                Output::Connections(PortOutput::Write { connection, .. }) => {
                    self.looks = true;
                    self.port.ensemble.handle(self.port.now_ms, Input::Connections(Port::Written(connection)));
                }
                Output::Member(member::Output::Follow { role, .. }) => {
                    self.followed_ms.push(self.port.now_ms);
                    self.role = Some(role);
                }
                Output::Member(member::Output::Disk(command)) => self.commands.push(command),
                _ => {}
            }
        }
    }

    /// Each that looks is answered, each role comes to the snapshot, and no further.
    fn step(&mut self) {
        if let Some(role) = self.role.take() {
            let epoch = Zxid::new(Epoch(2), 0);
            self.give(member::Input::Learner(role, learner::Input::Connected));
            let hello = Packet::LeaderInfo { zxid: epoch, protocol_version: PROTOCOL_VERSION };
            self.give(member::Input::Learner(role, learner::Input::Packet(hello)));
            for command in std::mem::take(&mut self.commands) {
                self.give(member::Input::Done(command.token().unwrap().done()));
            }
            self.give(member::Input::Learner(role, learner::Input::Packet(Packet::Snap { zxid: z(1, 9) })));
            self.give(member::Input::Learner(role, learner::Input::SnapshotReceived(false)));
        } else if std::mem::take(&mut self.looks) {
            for (conn, state) in [(1, ServerState::Leading), (2, ServerState::Following)] {
                let message = notification(state, 2, z(1, 9), 1, 2).into();
                let (connection, now_ms) = (ConnectionId(conn), self.port.now_ms);
                self.port.ensemble.handle(now_ms, Input::Connections(Port::Received { connection, message }));
                self.drain();
            }
        } else {
            let at_ms = self.port.ensemble.next_timeout().unwrap();
            self.port.now_ms = self.port.now_ms.max(at_ms);
            self.port.ensemble.handle(self.port.now_ms, Input::Timer);
            self.drain();
        }
    }

    /// The pauses before the next so many roles, in ms.
    fn pauses(&mut self, roles: usize) -> Vec<u64> {
        let (before, mut steps) = (self.followed_ms.len(), 0);
        while self.followed_ms.len() < before + roles {
            self.step();
            steps += 1;
            assert!(steps < 100_000, "it does not go on");
        }
        self.followed_ms[before.max(1) - 1..].windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[test]
fn who_cannot_take_the_snapshot_asks_less_and_less_often() {
    let mut stuck = Stuck::new();
    let tick_ms = stuck.port.ensemble.member().options().tick_ms;
    let pauses = stuck.pauses(16);
    assert!(pauses[..2].iter().all(|it| *it < tick_ms), "at first it asks at once: {pauses:?}");
    assert!(pauses.windows(2).skip(2).all(|pair| pair[1] >= pair[0]), "{pauses:?}");
    assert!(pauses.iter().all(|it| *it <= 60_000 + tick_ms), "{pauses:?}");
    assert!(pauses.last().is_some_and(|it| *it >= 60_000.max(tick_ms)), "{pauses:?}");
    // A voter that has lost its leader needs it within a tick.
    while stuck.role.is_some() {
        stuck.step();
    }
    stuck.port.now_ms += 1;
    let before_ms = stuck.port.now_ms;
    let round = stuck.port.ensemble.vote().1;
    stuck.port.ensemble.handle(before_ms, {
        let message = notification(ServerState::Looking, 3, z(1, 9), round, 2).into();
        Input::Connections(Port::Received { connection: ConnectionId(2), message })
    });
    stuck.drain();
    let at_ms = stuck.port.ensemble.next_timeout().unwrap();
    assert!(at_ms <= before_ms + tick_ms, "it looks at {at_ms}, and was needed at {before_ms}");
}

#[test]
fn random_frames_kill_nobody() {
    for seed in 0..2000 {
        let mut rng = Rng(seed);
        let mut port = Called::new();
        let good = notification(ServerState::Looking, 3, z(1, 2), 1, 1);
        for step in 0..40 {
            let conn = 1 + rng.below(4);
            match rng.below(6) {
                0 => port.connect(step + 10, [1, 2, 3, -1, i64::MIN, i64::MAX][rng.below(6) as usize]),
                1 => port.connect(conn, 1 + conn as i64),
                2 => {
                    let mut bytes = good.clone();
                    for _ in 0..=rng.below(4) {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] = rng.below(256) as u8;
                    }
                    bytes.truncate(1 + rng.below(bytes.len() as u64 * 2) as usize);
                    port.hear(conn, bytes);
                }
                3 => {
                    let all = [ServerState::Looking, ServerState::Following, ServerState::Leading];
                    let edge = [0, 1, 2, -1, i64::MIN, i64::MAX][rng.below(6) as usize];
                    let (state, leader) = (all[rng.below(3) as usize], rng.below(5) as i64);
                    let zxid = rng.zxid(z(1, 2));
                    port.hear(conn, notification(state, leader, zxid, edge, edge));
                }
                4 => port.give(Input::Timer),
                _ => port.now_ms += rng.below(100),
            }
            assert!(port.written.len() < 500, "seed {seed}: it talks without end");
        }
    }
}
