//! An ensemble in memory: whole nodes, their shards and their disks, links between them, and clients. What happens next is
//! drawn from a seed.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(dead_code, reason = "no test uses all of it")]

pub mod client;
pub mod disk;
pub mod spoil;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ostler_node::{Input, MemberConfig, Node, NodeConfig, Output, Rebuild, Task, TaskOptions};
use peer::shard::RequestThrottle;
use peer::{
    ConnId, ContainerRules, LocalSessions, Now, Pipeline, PipelineConfig, Shard, ShardConfig, Shared, StepLimits,
};
use storage::policy::SnapPolicy;
use storage::recover::Origin;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::encode::SnapshotEncoder;
use storage::snapshot::install::SnapshotReceiver;
use storage::snapshot::write::SnapshotWriter;
use storage::{FileRef, LogJob, LogOptions, RecoverOptions, epoch, recover};
use tree::cut::Chunk;
use tree::owner::OwnerRules;
use tree::{HashKeys, TreeConfig};
use wire::election::{InitialMessage, InitialVersion};
use wire::quorum::Packet;
use wire::{AclVec, ServerId, StatPersisted, Zxid};
use zab::connections::{self, ConnectionId};
use zab::election::Settings;
use zab::{
    CommittedLog, CommittedLogLimits, QuorumVerifier, RoleId, State, ToLearner, ensemble, leader, learner, member,
};

use self::client::Client;
use self::disk::MapDisk;
use self::spoil::{Change, spoilt};

/// Numbers that look random (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A process.
pub struct Process {
    pub node: Node,
    pub shared: Shared,
    pub shard: Shard,
    log_job: Option<LogJob>,
    tasks: VecDeque<Task>,
    following: Option<(RoleId, ServerId)>,
    leading: Option<RoleId>,
    receiver: Option<SnapshotReceiver>,
    wishes_to_connect: Vec<ServerId>,
    pub serves: bool,
}

/// A server and its disk.
pub struct Server {
    pub id: ServerId,
    pub disk: MapDisk,
    pub process: Option<Process>,
}

#[derive(Debug, Clone)]
enum Message {
    Election(Bytes),
    Packet(Packet),
    Snapshot(Vec<u8>),
}

/// A connection from `a` to `b`.
#[derive(Debug)]
struct Link {
    a: usize,
    b: usize,
    /// Of a quorum connection: the roles at `a`, which learns, and `b`, which leads.
    roles: Option<(RoleId, RoleId)>,
    to_b: VecDeque<Message>,
    to_a: VecDeque<Message>,
}

/// The ensemble.
pub struct World {
    pub rng: Rng,
    pub now: Now,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    links: BTreeMap<u64, Link>,
    last_link: u64,
    verifier: QuorumVerifier,
    /// A server that nobody reaches but its clients.
    alone: Option<usize>,
    pub committed_log_txns: usize,
    pub snap_count: u64,
    pub local_sessions: LocalSessions,
    pub leader_serves: bool,
    pub read_only: bool,
    /// What becomes of the znodes of snapshots on their way.
    pub spoil: Option<Change>,
    /// How often a history was cut, and replaced by a snapshot.
    pub cuts: usize,
    pub installed: usize,
    /// The digest of the tree at each zxid at which anybody served.
    digests: BTreeMap<Zxid, i64>,
    /// A server whose memory is damaged.
    pub odd: Option<usize>,
    /// What it has told, and why it has ended, if it has.
    pub notes: Vec<String>,
    pub ended: Option<String>,
}

const TICK_MS: u64 = 200;

impl World {
    /// Three participants and an observer.
    pub fn new(seed: u64) -> Self {
        let text = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n\
                    server.4=d:1:2:observer\nversion=0\n";
        let verifier = QuorumVerifier::parse(text, zab::quorum_verifier::TextRules::default()).unwrap();
        let server = |id| Server { id: ServerId(id), disk: MapDisk::default(), process: None };
        Self {
            rng: Rng(seed),
            now: Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            servers: (1..=4).map(server).collect(),
            clients: Vec::new(),
            links: BTreeMap::new(),
            last_link: 0,
            verifier,
            alone: None,
            committed_log_txns: 500,
            snap_count: 100_000,
            local_sessions: LocalSessions::Off,
            leader_serves: true,
            read_only: false,
            spoil: None,
            cuts: 0,
            installed: 0,
            digests: BTreeMap::new(),
            odd: None,
            notes: Vec::new(),
            ended: None,
        }
    }

    /// The first server is the only member.
    pub fn of_one(seed: u64) -> Self {
        let text = "server.1=a:1:2:participant\nversion=0\n";
        let verifier = QuorumVerifier::parse(text, zab::quorum_verifier::TextRules::default()).unwrap();
        let mut world = Self { verifier, ..Self::new(seed) };
        world.servers.truncate(1);
        world
    }

    pub fn start(&mut self, s: usize) {
        let (now, id, keys) = (self.now, self.servers[s].id, HashKeys([s as u64, 1, 2, 3]));
        let tree_config = TreeConfig { keys, owner_rules: OwnerRules { extended_types: true, emulate_353: false } };
        let disk = &mut self.servers[s].disk;
        let mut rebuild = Rebuild::new(tree_config, true);
        let recover_options = RecoverOptions::default();
        let recovered = recover(disk, &recover_options, &mut rebuild, &mut |_| ()).unwrap();
        let (tree, sessions, warnings) = rebuild.finish();
        assert!(warnings.is_empty(), "{warnings:?}");
        let epochs = epoch::read(disk, recovered.last_zxid).unwrap();
        disk.run(&epochs.effects);
        let mut shared = Shared::new(tree, 1);
        shared.is_member = true;
        let auth = Arc::new(auth::AuthConfig::default());
        let mut pipeline = Pipeline::new(
            PipelineConfig {
                server: id,
                tick_ms: TICK_MS as i64,
                auth: auth.clone(),
                length_max: 2 << 20,
                digests: true,
                close_session_paths: true,
                local_sessions: self.local_sessions,
                sessions_max: usize::MAX,
                enforce_quota: false,
                reconfig_enabled: false,
                containers: ContainerRules { check_ms: 60_000, per_minute_max: 1000, never_used_ms: None },
                keys,
            },
            &shared.tree.read(),
            sessions,
            1,
            now,
        );
        pipeline.set_leader_serves(self.leader_serves);
        let last = recovered.last_zxid.max(Zxid::ZERO);
        let limits = CommittedLogLimits { txns: self.committed_log_txns, bytes: 32 << 20 };
        let mut options = zab::Options::new(id, self.verifier.clone());
        options.tick_ms = TICK_MS;
        options.committed_log = limits;
        options.read_only = self.read_only;
        options.config = Bytes::from_static(b"version=0");
        let config = NodeConfig {
            pipeline,
            log: LogOptions { preallocate: 0, ..LogOptions::default() },
            last,
            policy: SnapPolicy::new(self.snap_count, 0, s as u64),
            seed: s as u64,
        };
        let member = MemberConfig {
            options,
            election: Settings::new(id),
            recovered: zab::Recovered {
                accepted: epochs.accepted,
                current: epochs.current,
                log: CommittedLog::new(limits, last),
                is_lost: false,
            },
            tasks: TaskOptions::new(recover_options, tree_config, true),
        };
        let node = Node::member(now, &shared, config, member);
        if recovered.origin == Origin::New {
            // As a start does: the snapshot of the empty tree.
            let header = node.pipeline.begin_cut(&shared, 1 << 20);
            write_cut(&mut self.servers[s].disk, &shared, &header).unwrap();
        }
        let shard = Shard::new(ShardConfig {
            shard: 0,
            frame_max: 1 << 20,
            length_max: 2 << 20,
            timeout_min_ms: 1000,
            timeout_max_ms: 40_000,
            auth,
            in_flight_max: 1000,
            in_flight_bytes_max: 1 << 24,
            out_pause: 1 << 20,
            out_max: 16 << 20,
            out_total_max: usize::MAX,
            tell_step: 1 << 20,
            unprocessed_max: usize::MAX,
            watch_bytes_max: usize::MAX,
            large_bytes_max: usize::MAX,
            throttle: RequestThrottle::default(),
            steps: StepLimits::default(),
            keys,
        });
        self.servers[s].process = Some(Process {
            node,
            shared,
            shard,
            log_job: None,
            tasks: VecDeque::new(),
            following: None,
            leading: None,
            receiver: None,
            wishes_to_connect: Vec::new(),
            serves: false,
        });
        self.settle(s);
    }

    /// The process ends at once; what is on the disk stays.
    pub fn kill(&mut self, s: usize) {
        self.servers[s].process = None;
        let gone: Vec<u64> = self.links.iter().filter(|(_, it)| it.a == s || it.b == s).map(|(&n, _)| n).collect();
        for link in gone {
            self.cut(link, Some(s));
        }
        for client in &mut self.clients {
            client.lost_server(s);
        }
    }

    /// Cuts a server off from the others.
    pub fn isolate(&mut self, s: usize) {
        self.alone = Some(s);
        let gone: Vec<u64> = self.links.iter().filter(|(_, it)| it.a == s || it.b == s).map(|(&n, _)| n).collect();
        for link in gone {
            self.cut(link, None);
        }
    }

    /// Nobody is cut off any more.
    pub fn unite(&mut self) {
        self.alone = None;
    }

    fn are_apart(&self, a: usize, b: usize) -> bool {
        self.alone.is_some_and(|s| s == a || s == b)
    }

    /// A link ends; everybody but `silent` hears of it.
    fn cut(&mut self, number: u64, silent: Option<usize>) {
        let Some(link) = self.links.remove(&number) else { return };
        for s in [link.a, link.b].into_iter().filter(|&s| Some(s) != silent) {
            let input = match link.roles {
                None => ensemble::Input::Connections(connections::Input::Closed(ConnectionId(number))),
                Some((role, _)) if s == link.a => {
                    ensemble::Input::Member(member::Input::Learner(role, learner::Input::Disconnected))
                }
                Some((_, role)) => ensemble::Input::Member(member::Input::Leader(
                    role,
                    leader::Input::Disconnected(zab::ConnId(number)),
                )),
            };
            self.hand(s, input);
        }
    }

    fn hand(&mut self, s: usize, input: ensemble::Input) {
        let now = self.now;
        let Some(process) = &mut self.servers[s].process else { return };
        process.node.handle(now, &process.shared, Input::Ensemble(input));
        self.settle(s);
    }

    /// Takes what a node wants, until it wants nothing.
    fn settle(&mut self, s: usize) {
        let now = self.now;
        while let Some(process) = &mut self.servers[s].process {
            let Some(output) = process.node.next_output() else { break };
            match output {
                Output::Task(task) => process.tasks.push_back(task),
                Output::Fatal(why) if self.odd == Some(s) => {
                    self.ended = Some(why);
                    return self.kill(s);
                }
                Output::Fatal(why) => panic!("server {s}: {why}"),
                Output::Note(note) => self.notes.push(note),
                Output::Ensemble(ensemble::Output::Member(output)) => self.on_member(s, output),
                Output::Ensemble(ensemble::Output::Connections(output)) => self.on_connections(s, output),
                Output::Ensemble(ensemble::Output::Election(_)) => {}
                Output::Ensemble(other) => panic!("server {s}: {other:?}"),
            }
        }
        let Some(process) = &mut self.servers[s].process else { return };
        process.serves = process.shared.is_serving();
        if process.log_job.is_none() {
            process.log_job = process.node.next_log_job();
        }
        process.shard.drain(now, &process.shared);
        self.check_digest(s);
        self.pump_clients(s);
    }

    /// Equal zxids, equal trees.
    fn check_digest(&mut self, s: usize) {
        let Some(process) = self.servers[s].process.as_ref().filter(|process| process.serves) else { return };
        if self.odd == Some(s) {
            return;
        }
        let tree = process.shared.tree.read();
        let digest = *self.digests.entry(tree.last_processed()).or_insert(tree.digest().0);
        assert_eq!(digest, tree.digest().0, "server {s} has another tree at {}", tree.last_processed());
        let mismatches = process.shared.pipeline_stats.digest_mismatches.get();
        assert!(mismatches == 0 || self.odd.is_some(), "server {s}: {mismatches}");
    }

    fn on_connections(&mut self, s: usize, output: connections::Output) {
        match output {
            connections::Output::Connect { to, .. } => {
                let process = self.servers[s].process.as_mut().unwrap();
                process.wishes_to_connect.push(to);
            }
            connections::Output::Write { connection, message } => {
                if let Some(link) = self.links.get_mut(&connection.0) {
                    let queue = if link.a == s { &mut link.to_b } else { &mut link.to_a };
                    queue.push_back(Message::Election(message));
                }
            }
            connections::Output::Close(connection) => self.cut(connection.0, Some(s)),
            other => panic!("{other:?}"),
        }
    }

    fn on_member(&mut self, s: usize, output: member::Output) {
        let now = self.now;
        let Server { disk, process: Some(process), .. } = &mut self.servers[s] else { return };
        match output {
            member::Output::Follow { role, leader, .. } => process.following = Some((role, leader)),
            member::Output::Lead { role } => process.leading = Some(role),
            member::Output::Over(..) => {
                process.following = None;
                process.leading = None;
                process.receiver = None;
                let of_role = |link: &Link| link.roles.is_some() && (link.a == s || link.b == s);
                let gone: Vec<u64> = self.links.iter().filter(|(_, it)| of_role(it)).map(|(&n, _)| n).collect();
                for number in gone {
                    self.cut(number, Some(s));
                }
            }
            member::Output::Leader(leader::Output::Ready(conn)) => {
                while let (Some(packet), _) = process.node.next_packet(now, &process.shared, conn) {
                    let Some(link) = self.links.get_mut(&conn.0) else { continue };
                    link.to_a.push_back(match packet {
                        ToLearner::Packet(packet) => Message::Packet(packet),
                        ToLearner::Snapshot { zxid } => {
                            let bytes = disk.bytes(&FileRef::snapshot(zxid)).unwrap();
                            Message::Snapshot(self.spoil.map_or_else(|| bytes.to_vec(), |it| spoilt(bytes, it)))
                        }
                    });
                }
            }
            member::Output::Leader(leader::Output::Close(conn, _)) => self.cut(conn.0, Some(s)),
            member::Output::Leader(leader::Output::SyncBegins(_) | leader::Output::SyncEnds { .. }) => {}
            member::Output::Learner(learner::Output::Send(packet)) => {
                let of_role = |it: &&mut Link| it.a == s && it.roles.is_some();
                if let Some(link) = self.links.values_mut().find(of_role) {
                    // As it travels.
                    let mut bytes = Vec::new();
                    packet.packet().write(&mut bytes);
                    link.to_b.push_back(Message::Packet(Packet::read(&bytes.into()).unwrap()));
                }
            }
            member::Output::Learner(learner::Output::ReceiveSnapshot(_)) => {
                process.receiver = Some(SnapshotReceiver::default());
            }
            other => panic!("server {s}: {other:?}"),
        }
    }

    /// One thing happens, and perhaps time goes by.
    pub fn step(&mut self) {
        if self.rng.chance(6) {
            let us = 1 + self.rng.below(20_000) as u64;
            self.now.mono_us += us;
            self.now.wall_ms += (us / 1000) as i64;
        }
        let s = self.rng.below(self.servers.len());
        match self.rng.below(8) {
            0 => self.timers(s),
            1 | 2 => self.disk_step(s),
            3 => self.connect_step(s),
            4 => {
                if !self.clients.is_empty() {
                    let c = self.rng.below(self.clients.len());
                    self.client_step(c);
                }
            }
            _ => {
                let mut full = Vec::new();
                for (&number, link) in &self.links {
                    full.extend((!link.to_b.is_empty()).then_some((number, true)));
                    full.extend((!link.to_a.is_empty()).then_some((number, false)));
                }
                if !full.is_empty() {
                    let (number, to_b) = full[self.rng.below(full.len())];
                    self.deliver(number, to_b);
                }
            }
        }
    }

    pub fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
    }

    fn timers(&mut self, s: usize) {
        let now = self.now;
        let Some(process) = &mut self.servers[s].process else { return };
        process.node.tick(now, &process.shared);
        process.shard.drain(now, &process.shared);
        if process.shard.is_asked() {
            process.shard.tell_touches();
        }
        let is_due = process.node.next_timeout_ms().is_some_and(|at| at <= now.mono_ms() as u64);
        self.settle(s);
        if is_due {
            self.hand(s, ensemble::Input::Timer);
        }
        self.submit(s);
    }

    /// Begins a purge at a server that runs, if that may be.
    pub fn begin_purge(&mut self, s: usize) -> bool {
        self.servers[s].process.as_mut().unwrap().node.begin_purge()
    }

    /// Does a change of its history wait for that?
    pub fn is_purge_in_the_way(&self, s: usize) -> bool {
        self.servers[s].process.as_ref().unwrap().node.is_purge_in_the_way()
    }

    /// Its purge is over.
    pub fn end_purge(&mut self, s: usize) {
        let now = self.now;
        let Some(Process { node, shared, .. }) = &mut self.servers[s].process else { return };
        node.purge_done(now, shared);
        self.settle(s);
    }

    /// One thing is done to a disk.
    pub fn disk_step(&mut self, s: usize) {
        let now = self.now;
        let Server { disk, process: Some(process), .. } = &mut self.servers[s] else { return };
        let Process { node, shared, log_job, tasks, .. } = process;
        if let Some(job) = log_job.take() {
            disk.run(job.effects());
            node.log_done(now, shared, job);
        } else if let Some(task) = tasks.pop_front() {
            let (done, what) = (task.run(disk).unwrap(), format!("{task:?}"));
            self.cuts += usize::from(what.contains("Truncate {"));
            self.installed += usize::from(what.contains("Install {"));
            node.handle(now, shared, Input::Task(done));
        } else if let Some(fill) = node.next_fill() {
            disk.run(fill.effects());
            node.fill_done(now, shared, fill, Ok(()));
        } else if let Some(header) = node.next_snapshot(shared, 1 << 20) {
            let written = write_cut(disk, shared, &header);
            node.snapshot_done(now, shared, written);
        }
        self.settle(s);
    }

    fn connect_step(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        if let Some(to) = process.wishes_to_connect.pop() {
            let b = to.0 as usize - 1;
            let a_id = self.servers[s].id;
            if self.servers[b].process.is_none() || self.are_apart(s, b) {
                return self.hand(s, ensemble::Input::Connections(connections::Input::Failed { to }));
            }
            let number = self.link(s, b, None);
            let connection = ConnectionId(number);
            let initial = InitialMessage { version: InitialVersion::V1, server: a_id, addresses: Vec::new() };
            self.hand(s, ensemble::Input::Connections(connections::Input::Opened { to, connection }));
            self.hand(b, ensemble::Input::Connections(connections::Input::Accepted { connection, initial }));
            return;
        }
        let Some((role, leader)) = process.following else { return };
        if self.links.values().any(|link| link.a == s && link.roles.is_some()) {
            return;
        }
        let b = leader.0 as usize - 1;
        if self.are_apart(s, b) {
            return;
        }
        let Some(leading) = self.servers[b].process.as_ref().and_then(|process| process.leading) else { return };
        let number = self.link(s, b, Some((role, leading)));
        self.hand(
            b,
            ensemble::Input::Member(member::Input::Leader(leading, leader::Input::Connected(zab::ConnId(number)))),
        );
        self.hand(s, ensemble::Input::Member(member::Input::Learner(role, learner::Input::Connected)));
    }

    fn link(&mut self, a: usize, b: usize, roles: Option<(RoleId, RoleId)>) -> u64 {
        self.last_link += 1;
        self.links.insert(self.last_link, Link { a, b, roles, to_b: VecDeque::new(), to_a: VecDeque::new() });
        self.last_link
    }

    fn deliver(&mut self, number: u64, to_b: bool) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let (from, to) = if to_b { (link.a, link.b) } else { (link.b, link.a) };
        let roles = link.roles;
        let Some(message) = (if to_b { link.to_b.pop_front() } else { link.to_a.pop_front() }) else { return };
        match (message, roles) {
            (Message::Election(message), _) => {
                let connection = ConnectionId(number);
                self.hand(to, ensemble::Input::Connections(connections::Input::Received { connection, message }));
                self.hand(from, ensemble::Input::Connections(connections::Input::Written(connection)));
            }
            (Message::Packet(packet), Some((learns, leads))) => {
                let input = if to_b {
                    member::Input::Leader(leads, leader::Input::Packet(zab::ConnId(number), packet))
                } else {
                    member::Input::Learner(learns, learner::Input::Packet(packet))
                };
                self.hand(to, ensemble::Input::Member(input));
            }
            (Message::Snapshot(bytes), Some((learns, _))) => {
                let Server { disk, process: Some(process), .. } = &mut self.servers[to] else { return };
                let mut receiver = process.receiver.take().unwrap();
                let mut effects = receiver.start();
                effects.extend(receiver.chunk(bytes));
                effects.extend(receiver.finish());
                disk.run(&effects);
                let input = member::Input::Learner(learns, learner::Input::SnapshotReceived(true));
                self.hand(to, ensemble::Input::Member(input));
            }
            (message, None) => panic!("{message:?}"),
        }
    }

    /// Hands a shard's submissions to its node.
    pub fn submit(&mut self, s: usize) {
        let now = self.now;
        let Some(process) = &mut self.servers[s].process else { return };
        let mut submissions = Vec::new();
        process.shard.take_submissions(&mut submissions);
        process.node.process(now, &process.shared, &mut submissions);
        self.settle(s);
    }

    pub fn is_serving(&self, s: usize) -> bool {
        self.servers[s].process.as_ref().is_some_and(|process| process.shared.is_serving())
    }

    /// The server that leads and serves.
    /// Does it serve reads, without a leader?
    pub fn is_read_only(&self, s: usize) -> bool {
        let process = self.servers[s].process.as_ref();
        process.and_then(|it| it.node.ensemble()).is_some_and(zab::Ensemble::is_read_only)
    }

    pub fn leader(&self) -> Option<usize> {
        (0..self.servers.len()).find(|&s| {
            self.servers[s].process.as_ref().is_some_and(|process| {
                process.shared.is_serving()
                    && process.node.ensemble().is_some_and(|it| it.member().state() == State::Leading)
            })
        })
    }

    /// Runs until `is` holds.
    pub fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        for _ in 0..400_000 {
            if is(self) {
                return;
            }
            self.step();
        }
        panic!("it never came to this: {what}");
    }

    pub fn applied(&self, s: usize) -> Zxid {
        self.servers[s].process.as_ref().map_or(Zxid(-1), |process| process.shared.tree.read().last_processed())
    }

    /// Do all serve, with all of the history?
    pub fn is_quiet(&self) -> bool {
        let applied = self.applied(0);
        let same = |s| self.is_serving(s) && self.applied(s) == applied;
        (0..self.servers.len()).all(same) && self.clients.iter().all(Client::is_idle)
    }

    /// Everything that a tree says.
    pub fn dump(&self, s: usize) -> Vec<String> {
        let process = self.servers[s].process.as_ref().unwrap();
        let tree = process.shared.tree.read();
        let mut out = Vec::new();
        let mut paths = vec![String::new()];
        while let Some(path) = paths.pop() {
            let node = tree.get(if path.is_empty() { "/" } else { &path }).unwrap();
            // Each server writes the configuration there by itself, and notes when it did.
            let stat = if path == tree::CONFIG_PATH { StatPersisted::default() } else { node.stat_persisted() };
            out.push(format!("{path} {stat:?} {:?}", node.data()));
            node.children().for_each(|child| paths.push(format!("{path}/{}", str::from_utf8(child.name()).unwrap())));
        }
        out.sort_unstable();
        out.push(format!("{:?}", process.node.pipeline.sessions_of_txns()));
        out
    }
}

/// Writes a cut to its end; its length in bytes, or `None` if it was given up.
fn write_cut(disk: &mut MapDisk, shared: &Shared, header: &tree::cut::CutHeader) -> Option<u64> {
    let mut writer = SnapshotWriter::new(header.zxid, true);
    disk.run(&writer.start());
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    let acls: Vec<_> = header.acls.iter().map(|(id, encoded)| (*id, AclVec::of_encoded(encoded))).collect();
    encoder.begin(header.sessions.iter().copied(), acls.iter().copied(), &mut out);
    loop {
        let tree = shared.tree.read();
        match tree.read_cut(4096, |node| encoder.node(node.path, node.data, node.acl_id, &node.stat, &mut out)) {
            Chunk::More => {}
            Chunk::Done => break,
            Chunk::GivenUp => {
                disk.run(&writer.abandon());
                return None;
            }
        }
    }
    let digest = SnapshotDigest { zxid: header.zxid, version: wire::txn::DIGEST_VERSION, digest: header.digest.0 };
    encoder.finish(Some(digest), Some(header.zxid), &mut out);
    disk.run(&writer.chunk(out));
    let bytes = writer.bytes();
    disk.run(&writer.finish());
    Some(bytes)
}

/// A connection that a client has.
pub type Place = (usize, ConnId);
