//! A world of whole servers: a clock, a network, disks and clients, all of them virtual, and all from a seed.
//!
//! Servers run the real machines: `zab`'s election, connections and roles, `storage`'s log, snapshots, epoch files and
//! recovery, on virtual disks ([`VirtualDisk`]). What happens to them is drawn ([`Setup::of_seed`]) or told
//! ([`Setup`]). First everything may go wrong (*safety mode*), and [`check`](crate::check) looks at each step; then the
//! faults end, and the ensemble has to come together and answer everybody within a bound (*liveness mode*).
//!
//! | room | job |
//! |---|---|
//! | `setup`, `swarm` | what is decided beforehand: sizes, speeds, faults; and the draw of it |
//! | `shrink` | a small world that fails as a large one does |
//! | `queue` | the clock: what happens next |
//! | `message` | what travels |
//! | `net` | connections, partitions, resets, half-open ones |
//! | `machine` | a disk, the process on it, and what is to go wrong with it |
//! | `server` | a process, and how it starts |
//! | `spoil` | disks and starts with a deliberate defect, in test builds alone |
//! | `threads` | the disk, one effect at a time |
//! | `process` | what a server's machines want, and are told |
//! | `faults` | what goes wrong, and is healed; in `common_faults` what is the same for whole servers |
//! | `reconfig` | other configurations, while it goes on |
//! | `later` | faults that wait for their moment |
//! | `client`, `crowd` | clients |
//! | `story`, `stories` | worlds with a name, and how they are to end |
//! | `trace`, `words`, `diagram` | a line an event, and a hash of all; why it happened; and how it is shown |

mod client;
pub(crate) mod common_faults;
mod crowd;
mod deliver;
mod diagram;
mod faults;
pub(crate) mod later;
pub(crate) mod machine;
mod message;
pub(crate) mod net;
mod process;
pub(crate) mod queue;
mod reconfig;
mod run;
mod server;
pub(crate) mod setup;
mod shrink;
#[cfg(feature = "seeded-defects")]
mod spoil;
mod stories;
mod story;
mod swarm;
mod threads;
pub(crate) mod trace;
mod words;

use std::collections::BTreeMap;

use storage::FileName;
use storage::disk::{Dir, FileRef};
use storage::policy::SnapPolicy;
use wire::quorum::Packet;
use wire::{ServerId, Zxid};
use zab::election::Settings;
use zab::ensemble::{Ensemble, Input};
use zab::quorum_verifier::{Groups, Member, MemberAddress, Role, Rule};
use zab::{CommittedLogLimits, Options, QuorumVerifier, RoleId};

use self::client::Client;
use self::later::Later;
use self::message::Message;
use self::net::{ConnNumber, Net, Port, Who};
use self::queue::Queue;
use self::server::{NotStarted, Process, Server, Thread};
use self::trace::Words;
use crate::check::{Truth, Violation};
use crate::disk::VirtualDisk;
use crate::rng::Rng;

pub use self::diagram::diagram;
pub(crate) use self::process::whose;
pub(crate) use self::reconfig::NOBODY;
pub use self::run::{Outcome, run};
pub use self::setup::{Change, Damage, DiskError, Fault, Setup, Span, Timed};
pub use self::stories::STORIES;
pub use self::story::{Ending, Played, Story, Sync};
pub(crate) use self::threads::fault_of;
pub use self::trace::{Keep, Kind, Line, Trace};

/// How long a start takes, at least, in µs.
const START_US: u64 = 1000;

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// The next message from this end of a connection arrives.
    Deliver { conn: ConnNumber, from: usize },
    /// TCP gives a connection up.
    TcpTimeout { conn: ConnNumber },
    /// An attempt to connect arrives.
    Connect { from: usize, process: u32, to: usize, role: Option<RoleId>, tries: u32 },
    /// It got no answer.
    ConnectFailed { from: usize, process: u32, to: usize, role: Option<RoleId>, tries: u32 },
    /// A process's timer.
    Timer { server: usize, process: u32 },
    /// A thread's effect takes place.
    Effect { server: usize, process: u32, thread: Thread },
    /// A machine starts its process.
    Start { server: usize, call: u32 },
    /// A client acts.
    Client { client: usize, call: u32 },
    /// The fault with this number begins.
    Fault(usize),
    /// Its partition ends.
    Unblock(usize),
    /// The server runs again.
    Resume { server: usize },
}

/// What a run has come to, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults that took place, by kind: those that found something to do, and those that wait for a moment when it comes.
    pub faults: BTreeMap<&'static str, u64>,
    /// What happened: so many states the checkers have looked at.
    pub steps: u64,
    /// Effects on disks.
    pub effects: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Starts of processes.
    pub starts: u64,
    /// Crashes between two effects of a disk's work.
    pub crashes_in_work: u64,
    /// How often each point of these crashes was met.
    pub crash_points: BTreeMap<CrashPoint, u64>,
    /// Roles that an election has led to.
    pub elections: u64,
    /// Epochs that were established.
    pub epochs: u64,
    /// Txns that were proposed.
    pub proposed: u64,
    /// Txns that were applied, by all servers together.
    pub applied: u64,
    /// Snapshots that servers took.
    pub snapshots: u64,
    /// Snapshots that leaders opened for learners.
    pub snap_syncs: u64,
    /// Parts of logs that leaders read for learners.
    pub log_reads: u64,
    /// Logs that were cut because a leader said so.
    pub truncations: u64,
    /// Snapshots of leaders that became the history.
    pub installations: u64,
    /// Reconfigs that were committed.
    pub reconfigs: u64,
    /// Observers that a follower took in.
    pub observed_followers: u64,
    /// Servers that began to serve reads without a leader.
    pub read_onlys: u64,
    /// Answers that clients got.
    pub answers: u64,
}

/// Where the power failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint {
    /// Which work was under way.
    pub work: &'static str,
    /// How many of its effects were done.
    pub effects: u64,
}

impl std::fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.work, self.effects)
    }
}

impl Tally {
    /// A fault of this kind has done something.
    pub(crate) fn took_place(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// A round of an election has led to a role.
    pub(crate) fn elected(&mut self, round: i64) {
        self.elections += 1;
        if round == i64::MAX {
            self.took_place(common_faults::LAST_ROUND);
        }
    }

    /// The power fails with some effects of each of these done.
    pub(crate) fn crashed_at(&mut self, points: &[(&'static str, u64)]) {
        self.crashes_in_work += u64::from(!points.is_empty());
        for &(work, effects) in points {
            self.crashed_in(work, effects);
        }
    }

    /// The power fails with some effects of this work done.
    pub(crate) fn crashed_in(&mut self, work: &'static str, effects: u64) {
        *self.crash_points.entry(CrashPoint { work, effects }).or_default() += 1;
    }
}

/// A world.
#[derive(Debug, Clone)]
pub struct World {
    setup: Setup,
    now_us: u64,
    queue: Queue<Event>,
    net: Net<Message>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    rng: Rng,
    truth: Truth,
    trace: Trace,
    tally: Tally,
    later: Later,
    /// With which last txn each server came to its leader, for the words of a trace.
    last_told: Vec<Zxid>,
    /// No more faults.
    is_calm: bool,
}

impl World {
    /// A world at its beginning. `change` sets what else is different with its servers.
    pub fn new(setup: Setup, keep: Keep, change: &dyn Fn(&mut Options)) -> Self {
        let mut rng = Rng::new(setup.seed ^ 0x5eed_5eed);
        let verifier = verifier(&setup);
        let servers = (0..setup.servers()).map(|s| {
            let me = ServerId(s as i64 + 1);
            let known = setup.known.get(s).map(|&voters| verifier_of(voters, setup.servers()));
            let mut options = Options::new(me, known.unwrap_or_else(|| verifier.clone()));
            options.tick_ms = setup.tick_ms;
            options.init_limit_ticks = setup.init_limit_ticks;
            options.sync_limit_ticks = setup.sync_limit_ticks;
            options.committed_log = CommittedLogLimits { txns: setup.committed_log_txns, bytes: 1 << 20 };
            options.initial_counter = setup.initial_counter;
            options.force_snapshot_sync = setup.force_snapshot_sync;
            options.reconfig_enabled = setup.reconfig_enabled;
            options.observer_masters = setup.observer_masters;
            options.read_only = setup.read_only;
            setup.bound_queues(&mut options);
            change(&mut options);
            let mut disk = VirtualDisk::new(rng.chance(300));
            // A new database, and meant to be one.
            disk.put(&FileRef::new(Dir::DataParent, FileName::Initialize), b"");
            setup.put_epochs(&mut disk);
            Server::new(options, disk, setup.clock_ppm.get(s).copied().unwrap_or(1_000_000))
        });
        let servers: Vec<Server> = servers.collect();
        let mut truth = Truth::new(verifier, servers.len());
        for server in &servers {
            truth.on_configuration(server.options.verifier.clone());
        }
        let mut world = Self {
            now_us: 0,
            queue: Queue::default(),
            net: Net::new(servers.len(), Rng::new(rng.any())),
            clients: vec![Client::default(); setup.clients],
            truth,
            later: Later::default(),
            last_told: vec![Zxid::ZERO; servers.len()],
            servers,
            rng,
            trace: Trace::new(keep),
            tally: Tally::default(),
            is_calm: false,
            setup,
        };
        for s in 0..world.servers.len() {
            let at_us = world.setup.start_us.get(s).copied().unwrap_or(0);
            world.start_at(s, at_us);
        }
        for number in 0..world.setup.schedule.len() {
            let at_us = world.setup.schedule[number].at_us;
            world.queue.push(at_us, Event::Fault(number));
        }
        for client in 0..world.clients.len() {
            world.wake_client(client);
        }
        world
    }

    fn start_at(&mut self, s: usize, at_us: u64) {
        let server = &mut self.servers[s];
        server.start_call += 1;
        let call = server.start_call;
        self.queue.push(at_us.max(self.now_us + 1), Event::Start { server: s, call });
    }

    /// Goes on to this time, in µs, or to the first thing that is wrong.
    pub fn run_until(&mut self, until_us: u64) {
        while self.truth.violation.is_none()
            && let Some((at_us, event)) = self.queue.pop(until_us)
        {
            self.now_us = at_us;
            self.happen(event);
        }
        if self.truth.violation.is_none() {
            self.now_us = until_us.max(self.now_us);
        }
    }

    /// Another world that goes on from here: with the same past, and with other choices from now on.
    pub fn fork(&self, seed: u64) -> Self {
        let mut other = self.clone();
        other.rng = Rng::new(seed);
        other.net.reseed(Rng::new(other.rng.any()));
        other
    }

    /// What is wrong, if something is.
    pub fn violation(&self) -> Option<&Violation> {
        self.truth.violation.as_ref()
    }

    /// What time it is, in µs.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What it has come to.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn happen(&mut self, event: Event) {
        if let Some(server) = self.held_by(&event) {
            return self.servers[server].held.push(event);
        }
        self.tally.steps += 1;
        match event {
            Event::Deliver { conn, from } => self.on_deliver(conn, from),
            Event::TcpTimeout { conn } => self.on_tcp_timeout(conn),
            Event::Connect { from, process, to, role, tries } => {
                self.on_connect(from, process, to, role, tries);
                self.settle(from);
            }
            Event::ConnectFailed { from, process, to, role, tries } => {
                if self.is_process(from, process) {
                    self.on_connect_failed(from, to, role, tries);
                    self.settle(from);
                }
            }
            Event::Timer { server, process } => {
                if self.is_process(server, process) {
                    if let Some(process) = &mut self.servers[server].process {
                        process.armed_us = None;
                    }
                    self.ensemble(server, Input::Timer);
                    self.settle(server);
                }
            }
            Event::Effect { server, process, thread } => {
                if self.is_process(server, process) {
                    self.on_effect(server, thread);
                }
            }
            Event::Start { server, call } => self.on_start(server, call),
            Event::Client { client, call } => self.on_client(client, call),
            Event::Fault(number) => self.on_fault(number),
            Event::Unblock(number) => self.on_unblock(number),
            Event::Resume { server } => self.on_resume(server),
        }
    }

    fn is_process(&self, s: usize, number: u32) -> bool {
        self.servers[s].process.as_ref().is_some_and(|it| it.number == number)
    }

    /// A process that does not run gets nothing; which one it is.
    fn held_by(&self, event: &Event) -> Option<usize> {
        let is_paused = |s: usize| self.servers[s].paused_until_us.is_some();
        match *event {
            Event::Deliver { conn, from } => {
                let conn = self.net.conns.get(&conn)?;
                let Who::Server(s, _) = conn.ends[1 - from] else { return None };
                is_paused(s).then_some(s)
            }
            Event::Connect { from, to, .. } => [from, to].into_iter().find(|&it| is_paused(it)),
            Event::ConnectFailed { from: s, .. } | Event::Timer { server: s, .. } | Event::Effect { server: s, .. } => {
                is_paused(s).then_some(s)
            }
            _ => None,
        }
    }

    fn on_start(&mut self, s: usize, call: u32) {
        let now_us = self.now_us;
        let server = &self.servers[s];
        if server.start_call != call || server.process.is_some() {
            return;
        }
        self.restore_if_due(s);
        let server = &mut self.servers[s];
        server.is_on = true;
        server.read_file(now_us);
        server.disk.mend_file_system(now_us);
        let limit = server.power_off_in_recovery.take_if(|_| !self.is_calm);
        let Server { disk, options, .. } = server;
        let found = server::start(disk, limit.map(|it| it.left), options);
        self.tally.starts += 1;
        match (found, limit) {
            (Err(NotStarted::Io), Some(limit)) => {
                self.tally.crashes_in_work += 1;
                self.tally.crashed_in("recovery", limit.left);
                self.tally.took_place(limit.name);
                self.power_off(s, limit.what);
            }
            (Err(NotStarted::Io), None) => self.start_at(s, now_us + 1_000_000),
            (Err(NotStarted::Refused(why)), _) => {
                self.truth.wrong("recovery", format!("server {} does not start: {why}", s + 1));
            }
            (Ok(found), _) => self.started(s, found),
        }
    }

    fn started(&mut self, s: usize, found: server::Found) {
        let (last, link) = (found.last, found.link);
        let (accepted, current) = (found.recovered.accepted, found.recovered.current);
        self.truth.on_recovered(s, last, link);
        self.truth.on_epochs_read(s, accepted, current);
        self.trace.event(self.now_us, Kind::Process, [s as u64, 0, last.0 as u64], || {
            let lost = if found.recovered.is_lost { ", has lost its state" } else { "" };
            let what = format!("starts: last txn {last}, accepted epoch {accepted}, current epoch {current}{lost}");
            Words::of(s as i64 + 1, what)
        });
        let server = &mut self.servers[s];
        server.processes += 1;
        let now_ms = server.local_ms(self.now_us);
        let settings = Settings { initial_clock: self.setup.initial_round, ..Settings::new(server.id) };
        let mut options = server.options.clone();
        options.last_seen.clone_from(&found.configuration);
        #[cfg(feature = "seeded-defects")]
        if options.has(zab::Defect::SeenConfigurationForgotten) {
            options.last_seen = None;
        }
        let ensemble = Ensemble::new(now_ms, options, settings, found.recovered);
        let policy = SnapPolicy::new(self.setup.snap_count, 0, self.rng.any());
        server.process = Some(Process::new(server.processes, ensemble, policy, last, link));
        if let Some(process) = &mut server.process {
            process.configuration = found.configuration;
        }
        self.drain(s);
        self.settle(s);
    }
}

/// Who votes, and who observes.
pub(crate) fn verifier(setup: &Setup) -> QuorumVerifier {
    verifier_of(setup.voters, setup.voters + setup.observers).with_rule(rule(setup))
}

/// By which rule they decide. Where nobody's vote weighs anything, there is none but the majority.
fn rule(setup: &Setup) -> Rule {
    let mut groups: BTreeMap<i64, Vec<ServerId>> = BTreeMap::new();
    let mut weights = Vec::new();
    for (s, &(group, weight)) in setup.groups.iter().enumerate() {
        let id = ServerId(s as i64 + 1);
        groups.entry(group).or_default().push(id);
        weights.push((id, weight));
    }
    if weights.iter().all(|(_, weight)| *weight == 0) {
        return Rule::Majority;
    }
    Groups::new(groups, weights).map_or(Rule::Majority, Rule::Hierarchical)
}

/// The first `voters` of so many servers vote, the others observe.
fn verifier_of(voters: usize, servers: usize) -> QuorumVerifier {
    let role = |s: usize| if s < voters { Role::Participant } else { Role::Observer };
    QuorumVerifier::majority((0..servers).map(|s| member(s, role(s))), 0)
}

/// A server of a configuration.
fn member(s: usize, role: Role) -> Member {
    let mut member = Member::participant(ServerId(s as i64 + 1));
    let host = format!("s{}", s + 1);
    member.addresses.push(MemberAddress { host, quorum_port: 2888, election_port: 3888 });
    member.role = role;
    member
}

/// A packet in a few words.
pub(crate) fn describe(packet: &Packet) -> String {
    match packet {
        Packet::Request(it) => format!("REQUEST {} of session {}", it.op, it.session),
        Packet::Proposal { zxid, .. } => format!("PROPOSAL {zxid}"),
        Packet::Ack { zxid } => format!("ACK {zxid}"),
        Packet::Commit { zxid } => format!("COMMIT {zxid}"),
        Packet::Ping { zxid, .. } => format!("PING {zxid}"),
        Packet::Sync { .. } => "SYNC".to_owned(),
        Packet::Inform { zxid, .. } => format!("INFORM {zxid}"),
        Packet::NewLeader { zxid, .. } => format!("NEWLEADER {zxid}"),
        Packet::FollowerInfo { zxid, .. } => format!("FOLLOWERINFO, accepted epoch {}", zxid.epoch()),
        Packet::ObserverInfo { zxid, .. } => format!("OBSERVERINFO, accepted epoch {}", zxid.epoch()),
        Packet::UpToDate { .. } => "UPTODATE".to_owned(),
        Packet::Diff { zxid } => format!("DIFF to {zxid}"),
        Packet::Trunc { zxid } => format!("TRUNC to {zxid}"),
        Packet::Snap { zxid } => format!("SNAP {zxid}"),
        Packet::LeaderInfo { zxid, .. } => format!("LEADERINFO, epoch {}", zxid.epoch()),
        Packet::AckEpoch { zxid, current_epoch } => format!("ACKEPOCH, current epoch {current_epoch}, last {zxid}"),
        Packet::CommitAndActivate { zxid, leader } => format!("COMMITANDACTIVATE {zxid}, {leader} is to lead"),
        Packet::InformAndActivate { zxid, leader, .. } => format!("INFORMANDACTIVATE {zxid}, {leader} is to lead"),
        Packet::Revalidate(_) => "REVALIDATE".to_owned(),
        Packet::Unknown { .. } => format!("{packet:?}"),
    }
}
