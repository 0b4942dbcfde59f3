//! A world of whole servers: in each a [`Node`](node::Node) with its tree, sessions and watches, two shards, and storage on a
//! [`VirtualDisk`]; clients that speak the client protocol with them, byte for byte.
//!
//! [`world`](crate::world) looks into the core and checks its every step; this world looks at servers as their clients do,
//! and at their logs and trees. Setups, faults, clocks and networks are the same. First everything may go wrong (*safety
//! mode*), then the faults end, and the ensemble has to come together and answer everybody within a bound (*liveness mode*).
//!
//! | room | job |
//! |---|---|
//! | `begun` | what was there before |
//! | `server` | a process, and how it starts |
//! | `ports` | what the node wants of other servers, and what comes from them |
//! | `deliver` | what travels arrives, or not |
//! | `shards` | clients' connections at a server |
//! | `threads` | the disk, one effect at a time |
//! | `faults` | what goes wrong, and is healed |
//! | `reconfig` | other configurations, while it goes on |
//! | `client`, `crowd` | clients, and what they do |
//! | `check` | what may never be seen |
//! | `sabotage` | lies that the checkers have to see |
//! | `run` | from beginning to end |

mod begun;
mod check;
mod client;
mod crowd;
mod deliver;
mod faults;
mod ports;
mod reconfig;
mod run;
mod sabotage;
mod server;
mod shards;
mod threads;

use bytes::Bytes;
use storage::FileName;
use storage::disk::{Dir, FileRef};
use wire::ServerId;
use wire::election::InitialMessage;
use wire::quorum::Packet;
use zab::ensemble::Input;
use zab::{CommittedLogLimits, Options, RoleId};

use self::begun::Begun;
use self::check::Truth;
use self::client::Client;
use self::server::{Metered, NotStarted, Server, Thread};
use crate::disk::VirtualDisk;
use crate::rng::Rng;
use crate::world::later::Later;
use crate::world::net::{ConnNumber, Net, Who};
use crate::world::queue::Queue;
use crate::world::trace::Words;
use crate::world::{Keep, Kind, Setup, Tally, Trace, verifier};

pub use self::run::{run, run_sabotaged};
pub use self::sabotage::Sabotage;

/// How long a start takes, at least, in µs.
const START_US: u64 = 1000;

/// What travels.
#[derive(Debug, Clone)]
enum Message {
    /// The first message of an election connection.
    Initial(InitialMessage),
    /// A notification.
    Frame(Bytes),
    /// A packet, either way.
    Packet(Packet),
    /// A packet, as its bytes.
    Encoded(Bytes),
    /// A part of a snapshot; the last one says so.
    Snapshot(Bytes, bool),
    /// Bytes of a client or to one.
    Bytes(Bytes),
    /// The other side has closed.
    End,
}

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
    /// A process looks at its clock.
    Tick { server: usize, process: u32 },
    /// A shard has its turn.
    Shard { server: usize, process: u32, shard: usize },
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

/// A world.
#[derive(Debug)]
struct World {
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
    sabotage: Sabotage,
    later: Later,
    /// No more faults.
    is_calm: bool,
}

impl World {
    /// A world at its beginning. `change` sets what else is different with its servers.
    fn new(setup: Setup, keep: Keep, change: &dyn Fn(&mut Options)) -> Self {
        let mut rng = Rng::new(setup.seed ^ 0x0a11_0a11);
        let verifier = verifier(&setup);
        let begun = Begun::of(&setup);
        let servers = (0..setup.servers()).map(|s| {
            let me = ServerId(s as i64 + 1);
            let mut options = Options::new(me, verifier.clone());
            options.config = verifier.to_string().into();
            options.tick_ms = setup.tick_ms;
            options.init_limit_ticks = setup.init_limit_ticks;
            options.sync_limit_ticks = setup.sync_limit_ticks;
            options.committed_log = CommittedLogLimits { txns: setup.committed_log_txns, bytes: 1 << 20 };
            // An epoch that has no room for its sessions gets nothing done.
            options.initial_counter = setup.initial_counter.min(u32::MAX - 60);
            options.force_snapshot_sync = setup.force_snapshot_sync;
            options.reconfig_enabled = setup.reconfig_enabled;
            options.observer_masters = setup.observer_masters;
            options.read_only = setup.read_only;
            setup.bound_queues(&mut options);
            change(&mut options);
            let mut disk = VirtualDisk::new(rng.chance(300));
            match &begun {
                Some(begun) => begun.put(&mut disk),
                // A new database, and meant to be one.
                None => disk.put(&FileRef::new(Dir::DataParent, FileName::Initialize), b""),
            }
            setup.put_epochs(&mut disk);
            Server::new(options, disk, setup.clock_ppm.get(s).copied().unwrap_or(1_000_000))
        });
        let servers: Vec<Server> = servers.collect();
        let mut truth = Truth::new(verifier, servers.len());
        if let Some(begun) = &begun {
            truth.begin_with(begun::LAST, begun.model());
        }
        let mut world = Self {
            now_us: 0,
            queue: Queue::default(),
            net: Net::new(servers.len(), Rng::new(rng.any())),
            clients: (0..setup.clients).map(|_| Client::default()).collect(),
            truth,
            servers,
            rng,
            trace: Trace::new(keep),
            tally: Tally::default(),
            sabotage: Sabotage::None,
            later: Later::default(),
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
    fn run_until(&mut self, until_us: u64) {
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
                if let Some(process) = self.servers[server].process.as_mut().filter(|it| it.number == process) {
                    process.armed_us = None;
                    self.ensemble(server, Input::Timer);
                    self.settle(server);
                }
            }
            Event::Tick { server, process } => {
                if self.is_process(server, process) {
                    self.on_tick(server);
                    self.settle(server);
                }
            }
            Event::Shard { server, process, shard } => {
                if self.is_process(server, process) {
                    self.on_shard(server, shard);
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
            Event::ConnectFailed { from: s, .. }
            | Event::Timer { server: s, .. }
            | Event::Tick { server: s, .. }
            | Event::Shard { server: s, .. }
            | Event::Effect { server: s, .. } => is_paused(s).then_some(s),
            _ => None,
        }
    }

    fn on_start(&mut self, s: usize, call: u32) {
        let now_us = self.now_us;
        let (seed, is_calm) = (self.rng.any(), self.is_calm);
        let server = &self.servers[s];
        if server.start_call != call || server.process.is_some() {
            return;
        }
        self.restore_if_due(s);
        let server = &mut self.servers[s];
        server.is_on = true;
        server.read_file(now_us);
        server.disk.mend_file_system(now_us);
        let limit = server.power_off_in_recovery.take_if(|_| !is_calm);
        let now = server.now(now_us);
        let left = limit.map(|it| it.left);
        let mut disk = Metered { disk: &mut server.disk, left, error: None, failed: None, done: 0 };
        let found = server::start(&mut disk, &self.setup, &server.options, now, server.processes + 1, seed);
        self.tally.starts += 1;
        self.tally.effects += disk.done;
        match (found, limit) {
            (Err(NotStarted::Io), Some(limit)) => {
                self.tally.crashes_in_work += 1;
                self.tally.crashed_in("recovery", limit.left);
                self.tally.took_place(limit.name);
                self.power_off(s, limit.what);
            }
            // Whoever looks after it sees that a disk can't be read.
            (Err(NotStarted::Io), None) if self.servers[s].disk.faults.has_bad_reads() => {
                self.set_aside(s, "a sector can't be read");
            }
            (Err(NotStarted::Io), None) => self.start_at(s, now_us + 1_000_000),
            (Err(NotStarted::Refused { why, is_mended_by_a_copy: true }), _) if self.truth.is_damaged(s) => {
                self.set_aside(s, &why);
            }
            (Err(NotStarted::Refused { why, .. }), _) => {
                self.truth.wrong("recovery", format!("server {} does not start: {why}", s + 1));
            }
            (Ok(found), _) => self.started(s, found),
        }
    }

    fn started(&mut self, s: usize, found: server::Found) {
        #[cfg_attr(not(feature = "seeded-defects"), allow(unused_mut, reason = "nothing else changes it"))]
        let server::Found { mut process, last, epochs: (accepted, current), is_lost } = found;
        #[cfg(feature = "seeded-defects")]
        match self.sabotage {
            Sabotage::DoesTwice => process.node.pipeline.look_for_nothing(),
            Sabotage::ReadersStay => process.node.pipeline.spoil_read_only(peer::ReadOnlyDefect::GoesOn),
            Sabotage::ReadersWrite => process.node.pipeline.spoil_read_only(peer::ReadOnlyDefect::TakesWrites),
            _ => {}
        }
        self.truth.on_started(s, last);
        self.words(s, Kind::Process, last.0 as u64, || {
            let lost = if is_lost { ", has lost its state" } else { "" };
            format!("starts: last txn {last}, accepted epoch {accepted}, current epoch {current}{lost}")
        });
        let server = &mut self.servers[s];
        server.processes = process.number;
        let number = process.number;
        server.process = Some(process);
        self.queue.push(self.now_us + self.tick_us(), Event::Tick { server: s, process: number });
        self.drain(s);
        self.settle(s);
    }

    /// A line about a server.
    fn words(&mut self, s: usize, kind: Kind, number: u64, words: impl FnOnce() -> String) {
        let id = self.servers[s].id.0;
        self.trace.event(self.now_us, kind, [s as u64, number, 0], || Words::of(id, words()));
    }
}
