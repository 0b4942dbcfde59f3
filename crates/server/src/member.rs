//! A member of an ensemble: what its machines want, brought to those who do it.
//!
//! [`Member::take_outputs`] runs under the machines' lock, whoever holds it: sockets' work goes to the quorum thread, the
//! disk's to the threads that wait in [`Member::next_task`]. The quorum thread comes back through
//! [`quorum::Machines`](crate::quorum::Machines), which is [`Core`] itself.

mod transfer;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::{Input, Node, Output, Task, TaskError};
use parking_lot::{Condvar, Mutex};
use peer::{Now, ShardSet};
use tokio::sync::mpsc;
use wire::election::HostPort;
use wire::{ServerId, Zxid};
use zab::ensemble;
use zab::leader::Learners;
use zab::quorum_verifier::{self, MemberAddress};
use zab::{ConnId, QuorumVerifier, Quorums, RoleId, State, ToLearner, leader, learner, member};

use crate::client_port::ClientPort;
use crate::config::EnsembleConfig;
use crate::core::Core;
use crate::disk::RealDisk;
use crate::dynamic_files::DynamicFiles;
use crate::elections::Elections;
use crate::few_lines::{FewLines, in_short};
use crate::four_letter::{EnsembleGauges, LeaderGauges, Mode};
use crate::quorum::{Machines, News, Order, Orders, SnapshotBytes};
use crate::start::OnFatal;
use crate::syncs::{SnapshotSent, Syncs};
use transfer::{Receivers, send};

/// How long an epoch waits for room before it is tried again, at first.
const ROOM_WAIT_FIRST: Duration = Duration::from_millis(50);
/// And at most.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);
/// After how long it is said again.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// Pieces of a snapshot on their way.
const PIECES_MAX: usize = 4;

/// What is beside the machines of a member.
pub struct Member {
    /// A leader takes clients.
    leader_serves: bool,
    /// It has no leader, and serves reads.
    is_read_only: AtomicBool,
    /// To the quorum thread.
    pub orders: Arc<Orders>,
    tasks: Mutex<Tasks>,
    task_wake: Condvar,
    stop_wake: Condvar,
    receivers: Receivers,
    /// The role that was announced last.
    role: Mutex<RoleId>,
    lines: Lines,
    /// What was said in elections.
    pub(crate) elections: Elections,
    /// Who is being brought to this server's history.
    syncs: Syncs,
    /// Its own line when it started.
    own: Option<quorum_verifier::Member>,
    /// Where clients find it.
    pub client_port: Arc<ClientPort>,
    /// What holds, and where that is written.
    configuration: Mutex<Quorums>,
    files: Mutex<Option<DynamicFiles>>,
    /// Who learns from it, and since when it leads on the clock that never goes back, in ms.
    leading: Mutex<Option<(Learners, u64)>>,
    /// Observers in sync, while it follows and serves such.
    observers: Mutex<Option<usize>>,
    observer_master_port: Option<u16>,
    /// The file of the oracle.
    pub oracle: Option<PathBuf>,
    /// What it serves clients as; LOOKING: it does not.
    state: Mutex<State>,
    /// Whom it follows or observes, or did last.
    leader: Mutex<Option<ServerId>>,
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    length_max: usize,
    on_fatal: OnFatal,
}

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<Job>,
    is_stopping: bool,
}

/// Something for the disk.
pub enum Job {
    /// Of the node.
    Task(Task),
    /// The files of configurations are not up to date.
    WriteConfiguration,
    /// A snapshot of this zxid comes from the leader.
    Receive(RoleId, Zxid, mpsc::Receiver<SnapshotBytes>),
    /// The snapshot of this zxid goes to a learner.
    Send(Zxid, mpsc::Sender<io::Result<Bytes>>, Arc<SnapshotSent>),
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Member {
    /// With its directories, the longest string or buffer of a snapshot, in bytes, what it was told, the configuration that it
    /// starts with, and where others are written, if there can be any.
    pub fn new(
        data_dir: PathBuf,
        data_log_dir: PathBuf,
        length_max: usize,
        ensemble: &EnsembleConfig,
        configuration: Quorums,
        files: Option<DynamicFiles>,
        on_fatal: OnFatal,
    ) -> Self {
        let own = configuration.committed().member(ensemble.me).cloned();
        Self {
            leader_serves: ensemble.leader_serves,
            is_read_only: AtomicBool::new(false),
            orders: Arc::default(),
            tasks: Mutex::default(),
            task_wake: Condvar::new(),
            stop_wake: Condvar::new(),
            receivers: Receivers::default(),
            role: Mutex::new(RoleId(0)),
            lines: Lines::default(),
            elections: Elections::default(),
            syncs: Syncs::default(),
            client_port: Arc::new(ClientPort::new(own.as_ref().and_then(|it| it.client.clone()))),
            own,
            configuration: Mutex::new(configuration),
            files: Mutex::new(files),
            leading: Mutex::new(None),
            observers: Mutex::new(None),
            observer_master_port: ensemble.observer_master_port,
            oracle: ensemble.oracle.clone(),
            state: Mutex::new(State::Looking),
            leader: Mutex::new(None),
            data_dir,
            data_log_dir,
            length_max,
            on_fatal,
        }
    }

    /// Brings everything that a node wants to those who do it. Called with the machines' lock held.
    pub fn take_outputs(&self, now: Now, node: &mut Node) {
        let now_ms = now.mono_ms().max(0) as u64;
        let mut orders = Vec::new();
        while let Some(output) = node.next_output() {
            match output {
                Output::Ensemble(ensemble::Output::Connections(output)) => orders.push(Order::Election(output)),
                Output::Ensemble(ensemble::Output::Member(output)) => self.on_member(now_ms, node, output, &mut orders),
                Output::Ensemble(ensemble::Output::NotANotification { from, len }) => {
                    self.lines.nonsense.tell(|more| {
                        tracing::info!(
                            "server {from} sent {len} bytes on the election port that are no notification: its connection is closed{more}"
                        );
                    });
                }
                Output::Ensemble(ensemble::Output::OtherMembers { from, list }) => self.lines.lists_of(self, from).tell(|more| {
                    tracing::error!(
                        "server {from} has another list of members than this server, and whoever counts others may elect another leader: make them the same. There: {}; here: {}{more}",
                        in_short(&list, LIST_BYTES_MAX),
                        in_short(&self.configuration().committed().to_string(), LIST_BYTES_MAX)
                    );
                }),
                Output::Ensemble(ensemble::Output::Election(news)) => self.elections.add(now.wall_ms, news),
                // The node does it.
                Output::Ensemble(ensemble::Output::ReadOnly(_)) => {}
                Output::Task(task) => self.add(Job::Task(task)),
                Output::Note(note) => tracing::warn!("{note}"),
                Output::Fatal(why) => (self.on_fatal)(why),
            }
        }
        self.orders.leave(&mut orders);
        self.orders.set_deadline(node.next_timeout_ms());
        let is_read_only = node.ensemble().is_some_and(zab::Ensemble::is_read_only);
        match (self.is_read_only.swap(is_read_only, Relaxed), is_read_only) {
            (false, true) => {
                tracing::warn!("there is no leader: this server serves reads, to clients that ask for that");
            }
            (true, false) => tracing::info!("there is a leader: this server stops serving reads alone"),
            _ => {}
        }
        let member = node.ensemble().map(zab::Ensemble::member);
        {
            let mut leading = self.leading.lock();
            let since_ms = leading.map_or(now_ms, |(_, since_ms)| since_ms);
            *leading = member.and_then(zab::Member::as_leader).map(|leader| (leader.learners(), since_ms));
            let follower = member.filter(|_| leading.is_none());
            *self.observers.lock() = follower.and_then(zab::Member::learners).map(|learners| learners.observers);
        }
        *self.state.lock() = member.filter(|it| it.is_serving()).map_or(State::Looking, zab::Member::state);
    }

    /// What `mntr` tells of its part in the ensemble.
    pub fn gauges(&self, now_ms: i64) -> EnsembleGauges {
        let quorum_size = self.configuration.lock().committed().voters().count() as i64;
        let leading = self.leading.lock().map(|(learners, since_ms)| LeaderGauges {
            learners: learners.all as i64,
            synced_followers: learners.followers as i64,
            synced_non_voting_followers: learners.without_vote as i64,
            synced_observers: learners.observers as i64,
            pending_syncs: learners.pending_syncs as i64,
            uptime_ms: now_ms.saturating_sub(since_ms as i64),
        });
        let observes = *self.state.lock() == State::Observing;
        let observer_master = self.leader.lock().filter(|_| observes).map(|it| it.0);
        let synced_observers = self.observers.lock().map(|observers| observers as i64);
        let syncs = self.syncs.gauges(now_ms.max(0) as u64);
        EnsembleGauges { quorum_size, leading, synced_observers, observer_master, syncs }
    }

    /// What it is, for people; `None`: it serves nobody.
    pub fn mode(&self) -> Option<Mode> {
        match *self.state.lock() {
            State::Looking => self.is_read_only.load(Relaxed).then_some(Mode::ReadOnly),
            State::Following => Some(Mode::Follower),
            State::Leading => self.leader_serves.then_some(Mode::Leader),
            State::Observing => Some(Mode::Observer),
        }
    }

    fn on_member(&self, now_ms: u64, node: &Node, output: member::Output, orders: &mut Vec<Order>) {
        let role = *self.role.lock();
        match output {
            member::Output::Follow { role, leader, master } => {
                *self.role.lock() = role;
                let from = master.unwrap_or(leader);
                *self.leader.lock() = Some(from);
                // One that is about to join may lead already.
                let quorums = node.ensemble().map(|it| it.member().options().quorums());
                let of = |it: &QuorumVerifier| it.member(from).cloned();
                let port = self.observer_master_port.filter(|_| master.is_some());
                let address = |it: &MemberAddress| match port {
                    Some(port) => HostPort { host: it.host.clone(), port },
                    None => it.quorum(),
                };
                let addresses: Vec<_> = quorums
                    .and_then(|it| of(it.committed()).or_else(|| it.newer().and_then(|it| of(it))))
                    .map(|it| it.addresses.iter().map(address).collect())
                    .unwrap_or_default();
                match master {
                    Some(_) => tracing::info!(
                        "server {leader} is elected; this server learns from server {from}, which follows it"
                    ),
                    None => tracing::info!("server {leader} is elected; this server follows it"),
                }
                orders.push(Order::Follow { role, leader: from, addresses });
            }
            member::Output::Lead { role } => {
                *self.role.lock() = role;
                tracing::info!("this server is elected; it waits for a quorum of followers");
                orders.push(Order::Lead(role));
            }
            member::Output::Over(role, why) => {
                self.syncs.clear();
                tracing::warn!("{why}; this server looks for a leader");
                orders.push(Order::Over(role));
            }
            member::Output::Leader(leader::Output::Ready(conn)) => orders.push(Order::Ready(conn)),
            member::Output::Leader(leader::Output::Close(conn, why)) => orders.push(Order::CloseLearner(conn, why)),
            member::Output::Leader(leader::Output::SyncBegins(begins)) => self.syncs.begin(now_ms, begins),
            member::Output::Leader(leader::Output::SyncEnds { conn, is_done }) => self.syncs.end(now_ms, conn, is_done),
            member::Output::Learner(learner::Output::Send(packet)) => {
                orders.push(Order::ToLeader(role, packet.into_packet()));
            }
            member::Output::Learner(learner::Output::ServeObservers) => orders.push(Order::ServeObservers(role)),
            member::Output::Learner(learner::Output::ReceiveSnapshot(zxid)) => {
                let (sender, pieces) = mpsc::channel(PIECES_MAX);
                orders.push(Order::ReceiveSnapshot(role, sender));
                self.add(Job::Receive(role, zxid, pieces));
            }
            // The node does the others.
            member::Output::Leader(_)
            | member::Output::Learner(_)
            | member::Output::Look { .. }
            | member::Output::Disk(_) => {}
            member::Output::Configured(quorums) => self.on_configured(quorums, orders),
        }
    }

    fn on_configured(&self, quorums: Quorums, orders: &mut Vec<Order>) {
        match quorums.newer() {
            Some(next) => tracing::info!("a configuration is proposed: {}", in_one_line(next)),
            None => tracing::info!("the configuration is {}", in_one_line(quorums.committed())),
        }
        self.look_at_own_line(quorums.committed(), orders);
        *self.configuration.lock() = quorums;
        self.add(Job::WriteConfiguration);
    }

    /// All ports are where the committed line says.
    fn look_at_own_line(&self, committed: &QuorumVerifier, orders: &mut Vec<Order>) {
        let Some(own) = &self.own else { return };
        let Some(now) = committed.member(own.id) else {
            tracing::warn!(
                "this server is in the configuration no more; it follows without a vote until it is stopped"
            );
            return;
        };
        orders.push(Order::Own(now.addresses.clone()));
        let before = self.client_port.wanted();
        match (&now.client, before) {
            (Some(client), _) => self.client_port.move_to(client),
            // What `clientPort` says is in no line.
            (None, Some(before)) if !(own.client_is_static && own.client.as_ref() == Some(&before)) => {
                tracing::warn!(
                    "this server's own line names no client port any more, {now}: it stays at {before}, and needs a clientPort to start again"
                );
            }
            (None, _) => {}
        }
    }

    /// The configurations that hold.
    pub fn configuration(&self) -> Quorums {
        self.configuration.lock().clone()
    }

    /// Whoever comes last writes the newest, however many came in between.
    fn write_configuration(&self) {
        let mut files = self.files.lock();
        let Some(files) = &mut *files else { return };
        let quorums = self.configuration();
        if let Err(e) = files.write(&quorums) {
            tracing::error!(
                "the configuration can't be written: {e}; the next start of this server may not know its ensemble"
            );
        }
    }

    fn add(&self, job: Job) {
        self.tasks.lock().waiting.push_back(job);
        self.task_wake.notify_one();
    }

    /// The next thing for the disk; `None` when the server stops.
    pub fn next_task(&self) -> Option<Job> {
        let mut tasks = self.tasks.lock();
        loop {
            if tasks.is_stopping {
                return None;
            }
            if let Some(job) = tasks.waiting.pop_front() {
                return Some(job);
            }
            self.task_wake.wait(&mut tasks);
        }
    }

    /// Ends the threads that wait for work.
    pub fn stop(&self) {
        self.tasks.lock().is_stopping = true;
        self.task_wake.notify_all();
        self.stop_wake.notify_all();
    }

    /// Waits; false: the server stops.
    pub fn pause(&self, time: Duration) -> bool {
        let mut tasks = self.tasks.lock();
        if !tasks.is_stopping {
            self.stop_wake.wait_for(&mut tasks, time);
        }
        !tasks.is_stopping
    }

    fn disk(&self) -> RealDisk {
        RealDisk::new(&self.data_dir, &self.data_log_dir)
    }
}

/// Does what a member's machines want of the disk, until the server stops. `on_failed_sync` is called before the server ends
/// because of a sync that failed: a history that was cut may be there again at the next start, in whole or in part.
pub fn run_tasks(core: &Arc<Core>, on_failed_sync: &dyn Fn()) {
    let Some(member) = &core.member else { return };
    let mut disk = member.disk().watched(&core.syncs);
    while let Some(job) = member.next_task() {
        match job {
            Job::Task(task) => run_task(core, member, &mut disk, &task, on_failed_sync),
            Job::WriteConfiguration => member.write_configuration(),
            // They take as long as the other side takes.
            Job::Receive(role, zxid, pieces) => {
                let core = core.clone();
                detach("ostler-receive", move || core.receive(role, zxid, pieces));
            }
            Job::Send(zxid, pieces, sent) => {
                let (disk, length_max) = (member.disk(), member.length_max);
                detach("ostler-send", move || {
                    if let Err(e) = send(&disk, zxid, length_max, &pieces, &sent) {
                        // Whoever does not take it any more needs no reason.
                        let _ = pieces.blocking_send(Err(e));
                    }
                });
            }
        }
    }
}

/// An epoch that there is no room for is tried again until there is some: a full disk ends nobody. Until then the member has no
/// part in that epoch, and no vote.
fn run_task(core: &Core, member: &Member, disk: &mut RealDisk, task: &Task, on_failed_sync: &dyn Fn()) {
    let (mut wait, mut told) = (ROOM_WAIT_FIRST, None::<Instant>);
    loop {
        match task.run(disk) {
            Ok(done) => {
                if told.is_some() {
                    tracing::info!("there is room for the epoch again: this server goes on");
                }
                return core.handle_input(Input::Task(done));
            }
            Err(TaskError::NoRoom { error, .. }) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    tracing::error!(
                        "{error}; this server takes part in no new epoch, and serves nobody without one, until there is room where dataDir is"
                    );
                    told = Some(Instant::now());
                }
                if !member.pause(wait) {
                    return;
                }
                wait = (2 * wait).min(ROOM_WAIT_MAX);
            }
            Err(e) => {
                if disk.has_failed_sync {
                    on_failed_sync();
                }
                return (member.on_fatal)(e.to_string());
            }
        }
    }
}

/// What others can make it say.
#[derive(Debug, Default)]
struct Lines {
    nonsense: FewLines,
    /// Members' own: nobody else can use them up.
    lists: FewLines,
    strangers_lists: FewLines,
    snapshots: FewLines,
}

impl Lines {
    fn lists_of(&self, member: &Member, from: ServerId) -> &FewLines {
        let is_member = member.configuration.lock().committed().member(from).is_some();
        if is_member { &self.lists } else { &self.strangers_lists }
    }
}

/// Bytes of a list of members in a line that others can cause.
const LIST_BYTES_MAX: usize = 2 << 10;

fn in_one_line(verifier: &QuorumVerifier) -> String {
    verifier.to_string().replace('\n', ", ")
}

/// A thread of its own; if there can be none, what it was for breaks off, since its channel closes.
fn detach(name: &str, run: impl FnOnce() + Send + 'static) {
    if let Err(e) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        tracing::error!("a snapshot can't be passed on: {e}");
    }
}

impl Core {
    /// Something happened to a member.
    pub fn handle_input(&self, input: Input) {
        self.with_waking(|machines| ((), machines.node.handle(self.clock.now(), &self.shared, input)));
    }

    /// Writes the snapshot that comes from the leader, and says how that went.
    fn receive(&self, role: RoleId, zxid: Zxid, mut pieces: mpsc::Receiver<SnapshotBytes>) {
        let Some(member) = &self.member else { return };
        tracing::info!("the leader sends a snapshot, of {zxid}");
        let is_over = || *member.role.lock() != role;
        let mut is_told = false;
        let mut waits = || {
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(
                    "the snapshot of {zxid} waits: one that a leader sent before is still being written; does the disk of dataDir hang?"
                );
            }
        };
        let received =
            member.receivers.receive(&mut member.disk().watched(&self.syncs), zxid, &mut pieces, &is_over, &mut waits);
        let is_whole = match received {
            Ok(Some(bytes)) => {
                tracing::info!("the snapshot of {zxid} came: {bytes} bytes");
                true
            }
            Ok(None) => false,
            Err(e) => {
                member.lines.snapshots.tell(|more| {
                    tracing::error!("the leader's snapshot can't be written: {e}; this server asks for it again, less and less often{more}");
                });
                false
            }
        };
        let input = learner::Input::SnapshotReceived(is_whole);
        self.handle(vec![News::Learner(role, input)]);
        // Only now the packets behind it go on.
        drop(pieces);
    }
}

impl Machines for Core {
    fn handle(&self, news: Vec<News>) {
        self.with_waking(|machines| {
            let mut woken = ShardSet::default();
            for news in news {
                let input = match news {
                    News::Election(input) => ensemble::Input::Connections(input),
                    News::Learner(role, input) => ensemble::Input::Member(member::Input::Learner(role, input)),
                    News::Leader(role, input) => ensemble::Input::Member(member::Input::Leader(role, input)),
                };
                let now = self.clock.now();
                woken.extend(machines.node.handle(now, &self.shared, Input::Ensemble(input)));
            }
            ((), woken)
        });
    }

    fn next_packets(&self, _: RoleId, learner: ConnId, bytes_max: usize, out: &mut Vec<ToLearner>) {
        let Some(member) = &self.member else { return };
        self.with_waking(|machines| {
            let (mut woken, mut bytes) = (ShardSet::default(), 0);
            while bytes < bytes_max {
                let (packet, more) = machines.node.next_packet(self.clock.now(), &self.shared, learner);
                woken.extend(more);
                let Some(packet) = packet else { break };
                member.syncs.sent(learner, &packet);
                bytes += match &packet {
                    ToLearner::Packet(
                        wire::quorum::Packet::Proposal { txn, .. } | wire::quorum::Packet::Inform { txn, .. },
                    ) => 20 + txn.len(),
                    ToLearner::Packet(_) => 20,
                    ToLearner::Snapshot { zxid } => {
                        let (sender, pieces) = mpsc::channel(PIECES_MAX);
                        member.orders.leave(&mut vec![Order::SendSnapshot(learner, pieces)]);
                        member.add(Job::Send(*zxid, sender, member.syncs.snapshot(learner)));
                        0
                    }
                };
                out.push(packet);
            }
            ((), woken)
        });
    }

    fn on_time(&self) {
        self.handle_input(Input::Ensemble(ensemble::Input::Timer));
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms().max(0) as u64
    }
}
