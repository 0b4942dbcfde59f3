//! The ports between servers: election port and quorum port, on a thread of their own.
//!
//! In: [`Order`]s, which the machines leave in [`Orders`] whenever somebody has run them. Out: [`News`], which go to
//! [`Machines::handle`] at once. The thread owns sockets and nothing else: no disk, no tree, and no decision but which bytes
//! are one packet, so a PING is answered whatever else the server does. What comes from the disk for a learner comes
//! through channels, as what goes there from a leader does.
//!
//! | room | job |
//! |---|---|
//! | [`dial`] | names looked up anew at each attempt, connecting, listening |
//! | `waiting` | connections that have not said who they are: bounded, the oldest goes first |
//! | `election_port` | connections of elections, as `zab::Connections` wants them |
//! | `leader_port` | learners of this server, while it leads; its observers, while it follows |
//! | `learner_port` | the connection to the leader |
//! | `driver` | the thread: who does what an order asks for |
//!
//! Whatever a stranger sends costs its own connection, and the time of the one read that shows it.
//!
//! Source: Apache `QuorumCnxManager`, `Leader.LearnerCnxAcceptor`, `LearnerHandler`, `Learner`, `ObserverMaster`.

pub mod dial;
mod driver;
mod election_port;
mod leader_port;
mod learner_port;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use wire::ServerId;
use wire::election::HostPort;
use wire::quorum::Packet;
use zab::leader::CloseReason;
use zab::quorum_verifier::MemberAddress;
use zab::{ConnId, RoleId, ToLearner, connections, leader, learner};

pub use driver::{Driver, Listening};

/// What the machines want of the sockets.
#[derive(Debug)]
pub enum Order {
    /// Of the election port; never `Deliver`, `Up` or `Down`.
    Election(connections::Output),
    /// Connect to a leader's quorum port, or to a follower's port for observers. Ends the connection of the role before.
    Follow {
        /// The role that begins.
        role: RoleId,
        /// Whom it learns from, for people.
        leader: ServerId,
        /// Where; the first that answers is the one.
        addresses: Vec<HostPort>,
    },
    /// Send this to the leader.
    ToLeader(RoleId, Packet),
    /// Behind the SNAP comes the snapshot: into this channel with it. Whoever takes it drops the channel's other end when
    /// the learner has been told of the end ([`learner::Input::SnapshotReceived`]); then the connection's packets go on.
    ReceiveSnapshot(RoleId, mpsc::Sender<SnapshotBytes>),
    /// The own addresses, which a reconfig may have changed: listen there, and no longer elsewhere. What is connected stays.
    Own(Vec<MemberAddress>),
    /// Accept learners.
    Lead(RoleId),
    /// Accept observers, at the port for them.
    ServeObservers(RoleId),
    /// There is something for this learner: [`Machines::next_packets`].
    Ready(ConnId),
    /// What [`ToLearner::Snapshot`] stands for, for this learner.
    SendSnapshot(ConnId, mpsc::Receiver<std::io::Result<Bytes>>),
    /// Close this learner's connection.
    CloseLearner(ConnId, CloseReason),
    /// The role is over: all its connections are.
    Over(RoleId),
    /// Close everything; the thread ends.
    Stop,
}

/// A piece of a snapshot that comes from a leader.
#[derive(Debug, PartialEq, Eq)]
pub enum SnapshotBytes {
    /// The next bytes.
    Piece(Bytes),
    /// All of them were there, and the signature behind them. A channel that ends without this: it broke off.
    End,
}

/// What happened at the sockets.
#[derive(Debug)]
pub enum News {
    /// On the election port.
    Election(connections::Input),
    /// To a learner's connection.
    Learner(RoleId, learner::Input),
    /// To a leader's learner.
    Leader(RoleId, leader::Input),
}

/// Who decides. Called on the quorum thread; must not block for long.
pub trait Machines: Send + Sync + 'static {
    /// Takes what happened, in this order. What comes of it for the sockets is left in the [`Orders`].
    fn handle(&self, news: Vec<News>);
    /// Appends what is to be sent to a learner next, up to about so many bytes; nothing: it waits for [`Order::Ready`].
    fn next_packets(&self, role: RoleId, learner: ConnId, bytes_max: usize, out: &mut Vec<ToLearner>);
    /// It may be time for something; see [`Orders::set_deadline`].
    fn on_time(&self);
    /// The time, in ms.
    fn now_ms(&self) -> u64;
}

/// What the machines have left to do for the quorum thread. Any thread may leave something.
#[derive(Debug)]
pub struct Orders {
    waiting: Mutex<Vec<Order>>,
    bell: Notify,
    deadline_ms: AtomicU64,
}

impl Default for Orders {
    fn default() -> Self {
        Self { waiting: Mutex::new(Vec::new()), bell: Notify::new(), deadline_ms: AtomicU64::new(u64::MAX) }
    }
}

impl Orders {
    /// Leaves orders, and rings if there are any. Their number is bounded by the machines, which have one message a peer
    /// under way; what may be many is counted where it waits.
    pub fn leave(&self, orders: &mut Vec<Order>) {
        if !orders.is_empty() {
            self.waiting.lock().append(orders);
            self.bell.notify_one();
        }
    }

    /// When [`Machines::on_time`] is due, in ms; `None`: never.
    pub fn set_deadline(&self, at_ms: Option<u64>) {
        let at_ms = at_ms.unwrap_or(u64::MAX);
        // Only an earlier one wakes the thread: it looks again when the one it knows has passed.
        if at_ms < self.deadline_ms.swap(at_ms, SeqCst) {
            self.bell.notify_one();
        }
    }

    fn deadline_ms(&self) -> u64 {
        self.deadline_ms.load(Relaxed)
    }

    fn take(&self) -> Vec<Order> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

/// What a server starts with; but for its own addresses it never changes.
#[derive(Debug, Clone)]
pub struct Options {
    /// `myid`.
    pub me: ServerId,
    /// Where this server's own addresses are when it starts: quorum and election port of each.
    pub own: Vec<MemberAddress>,
    /// `observerMasterPort`: where a follower serves observers.
    pub observer_master_port: Option<u16>,
    /// Several addresses may be told to others (`multiAddress.enabled`).
    pub multi_address: bool,
    /// Listen on all interfaces.
    pub listen_on_all: bool,
    /// How long opening a connection of the election port may take.
    pub election_connect: Duration,
    /// How long a peer may take to say who it is, on the election port.
    pub election_hello: Duration,
    /// How long a learner may take to say who it is.
    pub learner_hello: Duration,
    /// How often the election port is tried to be bound, a second apart; `None`: for ever.
    pub election_bind_tries: Option<u32>,
    /// SO_KEEPALIVE on the connections of elections.
    pub tcp_keep_alive: bool,
    /// How long connecting to a leader may take, all tries together.
    pub leader_connect: Duration,
    /// The pause between two tries.
    pub leader_connect_pause: Duration,
    /// The longest string or buffer of a packet, in bytes.
    pub length_max: usize,
}

/// A started thread's handle.
#[derive(Debug)]
pub struct QuorumThread {
    orders: Arc<Orders>,
    thread: std::thread::JoinHandle<()>,
}

impl QuorumThread {
    /// Starts it on ports that are bound.
    pub fn start(
        options: Options,
        listening: Listening,
        machines: Arc<dyn Machines>,
        orders: Arc<Orders>,
    ) -> std::io::Result<Self> {
        let driver = Driver::new(options, listening, machines, orders.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Names are looked up there: a resolver that hangs takes a thread for each peer that is being called.
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let thread = std::thread::Builder::new().name("ostler-quorum".to_owned()).spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, driver.run());
            runtime.shutdown_background();
        })?;
        Ok(Self { orders, thread })
    }

    /// Closes all connections and waits for the thread.
    pub fn stop(self) {
        self.orders.leave(&mut vec![Order::Stop]);
        let _ = self.thread.join();
    }
}

const BLOCKING_THREADS_MAX: usize = 64;
