//! The node: what goes from one machine to the next.

use std::collections::VecDeque;
use std::sync::Arc;

use peer::{LogAhead, LogRoom, Members, Mismatch, Now, Pipeline, ShardSet, Shared, Submission, Verdict, Wish};
use storage::epoch::EpochFile;
use storage::policy::SnapPolicy;
use storage::{FillJob, LogJob, LogOptions, LogWriter, Stopped};
use tree::cut::CutHeader;
use wire::quorum::{Packet, Revalidation};
use wire::{OpCode, ServerId, Zxid};
use zab::election::Settings;
use zab::ensemble::{self, Ensemble};
use zab::{Command, ConnId, LeaderOver, Logged, Recovered, RoleId, ToLearner, leader, learner, member};

use crate::snapshots::{Snapshots, Waiting};
use crate::task::{Done, Kind, Task, TaskDone, TaskOptions};

/// What a node is made of, standalone or not.
#[derive(Debug)]
pub struct NodeConfig {
    /// Around the recovered tree and its sessions.
    pub pipeline: Pipeline,
    /// How the log is written.
    pub log: LogOptions,
    /// The last zxid in the log; [`Zxid::ZERO`] if there is none.
    pub last: Zxid,
    /// When snapshots are taken.
    pub policy: SnapPolicy,
    /// Makes their jitter.
    pub seed: u64,
}

/// What a member of an ensemble has besides.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// Who this is, who votes, how long to wait.
    pub options: zab::Options,
    /// How it looks for a leader.
    pub election: Settings,
    /// What is on its disk.
    pub recovered: Recovered,
    /// How tasks are done.
    pub tasks: TaskOptions,
}

/// What happens to a member of an ensemble.
#[derive(Debug)]
pub enum Input {
    /// At the election port or the quorum port, or it is time.
    Ensemble(ensemble::Input),
    /// A task is done.
    Task(TaskDone),
}

/// What it wants.
#[derive(Debug, Clone)]
pub enum Output {
    /// At the election port or the quorum port: see the crate's documentation for what comes.
    Ensemble(ensemble::Output),
    /// Something for the disk.
    Task(Task),
    /// A line for the log, which an operator should see.
    Note(String),
    /// The process has to end: what came from the leader can't be understood, or our own log refuses it.
    Fatal(String),
}

/// A whole server, but for its shards.
#[derive(Debug, Clone)]
pub struct Node {
    /// Prep, commit, sessions.
    pub pipeline: Pipeline,
    /// The log.
    pub log: LogWriter,
    snapshots: Snapshots,
    log_options: LogOptions,
    /// A fill job is out.
    is_filling: bool,
    /// Old files are looked for, and removed.
    is_purging: bool,
    consensus: Option<Box<Consensus>>,
}

/// The part that only members have.
#[derive(Debug, Clone)]
struct Consensus {
    ensemble: Ensemble,
    role: RoleId,
    tasks: Arc<TaskOptions>,
    /// A change of the history, and whether its task is out. Nothing writes to the directory meanwhile.
    change: Option<(Command, bool)>,
    wishes: Vec<Wish>,
    outputs: VecDeque<Output>,
    /// How many times it has stepped down because a txn of its own led to another digest than it predicted.
    mispredictions: u32,
}

impl Node {
    /// A server that stands alone.
    pub fn standalone(config: NodeConfig) -> Self {
        let NodeConfig { pipeline, log, last, policy, seed } = config;
        Self {
            pipeline,
            log: LogWriter::new(log.clone(), last),
            snapshots: Snapshots::new(policy, seed),
            log_options: log,
            is_filling: false,
            is_purging: false,
            consensus: None,
        }
    }

    /// A member of an ensemble. It looks for a leader at once, and serves nobody before it has one.
    pub fn member(now: Now, shared: &Shared, config: NodeConfig, member: MemberConfig) -> Self {
        let MemberConfig { options, election, recovered, tasks } = member;
        let mut node = Self::standalone(config);
        node.pipeline.look(now, shared);
        node.consensus = Some(Box::new(Consensus {
            ensemble: Ensemble::new(ms(now), options, election, recovered),
            role: RoleId(0),
            tasks: Arc::new(tasks),
            change: None,
            wishes: Vec::new(),
            outputs: VecDeque::new(),
            mispredictions: 0,
        }));
        node.tell_configuration(now, shared);
        node.pump(now, shared);
        node
    }

    /// A member's part in its ensemble.
    pub fn ensemble(&self) -> Option<&Ensemble> {
        self.consensus.as_deref().map(|consensus| &consensus.ensemble)
    }

    /// Takes in what shards submit, in order, leaving it empty. Returns the shards to wake.
    pub fn process(&mut self, now: Now, shared: &Shared, submissions: &mut Vec<Submission>) -> ShardSet {
        let mut woken = self.tell_room(now, shared);
        if submissions.iter().any(is_reconfig) {
            self.tell_members(now);
        }
        if !submissions.is_empty() {
            woken.extend(self.pipeline.process(now, shared, submissions));
        }
        woken.extend(self.go_on(now, shared));
        woken
    }

    /// Sessions that ran out of time, containers and TTL znodes that did, touches for the leader: each tick, or more often.
    pub fn tick(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let mut woken = self.tell_room(now, shared);
        woken.extend(self.pipeline.tick(now, shared));
        self.pipeline.sweep(now, shared);
        woken.extend(self.go_on(now, shared));
        woken
    }

    /// Is there more to be looked at for containers and TTL znodes whose time is up? Then [`sweep`](Self::sweep), in
    /// between two ticks, with turns for others.
    pub fn is_sweep_due(&self, now: Now) -> bool {
        self.pipeline.is_sweep_due(now)
    }

    /// Looks at the next of them.
    pub fn sweep(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let mut woken = self.tell_room(now, shared);
        self.pipeline.sweep(now, shared);
        woken.extend(self.go_on(now, shared));
        woken
    }

    /// This server is about to stop. True: nothing of what it took as a leader is left to be answered.
    pub fn leave(&mut self) -> bool {
        self.pipeline.leave();
        let leads = self.ensemble().is_some_and(|it| it.member().as_leader().is_some());
        !leads || self.pipeline.is_idle()
    }

    /// The next batch for the log, if there is one and none is out.
    pub fn next_log_job(&mut self) -> Option<LogJob> {
        self.log.next_job()
    }

    /// A batch is durable.
    pub fn log_done(&mut self, now: Now, shared: &Shared, job: LogJob) -> ShardSet {
        let zxid = self.log.job_done(job);
        let mut woken = self.tell_room(now, shared);
        match &mut self.consensus {
            None => woken.extend(self.pipeline.logged(now, shared, zxid)),
            Some(consensus) => {
                consensus.member(now, member::Input::Logged(Logged::up_to(zxid)));
            }
        }
        woken.extend(self.go_on(now, shared));
        self.snapshots.wanted |= self.snapshots.retry.batch();
        woken
    }

    /// An effect of a batch failed, after so many were done: may it wait for room?
    pub fn log_stopped(&mut self, job: &mut LogJob, done: usize, kind: std::io::ErrorKind) -> Stopped {
        self.log.job_stopped(job, done, kind)
    }

    /// A batch could not be written: the log is finished, and the process has to end.
    pub fn log_failed(&mut self, job: LogJob) {
        self.log.job_failed(job);
    }

    /// Work for the thread that fills the next log file.
    pub fn next_fill(&mut self) -> Option<FillJob> {
        if self.is_changing() || self.is_filling {
            return None;
        }
        let job = self.log.next_fill();
        self.is_filling = job.is_some();
        job
    }

    /// It is done, or found no room, or failed otherwise.
    pub fn fill_done(
        &mut self,
        now: Now,
        shared: &Shared,
        job: FillJob,
        done: Result<(), std::io::ErrorKind>,
    ) -> ShardSet {
        self.is_filling = false;
        match done {
            Ok(()) => self.log.fill_done(job),
            Err(kind) if storage::disk::is_no_room(kind) => self.log.fill_found_no_room(job),
            Err(_) => self.log.fill_failed(job),
        }
        let mut woken = self.tell_room(now, shared);
        woken.extend(self.go_on(now, shared));
        woken
    }

    /// May old files be looked for and removed now? Not while the history is changed: what is to go follows from what is
    /// there. If so, say when it is over: a change waits for it.
    pub fn begin_purge(&mut self) -> bool {
        let may_begin = !self.is_changing() && !self.is_purging;
        self.is_purging |= may_begin;
        may_begin
    }

    /// Does a change of the history wait for the purge? Then it should be given up.
    pub fn is_purge_in_the_way(&self) -> bool {
        self.is_purging && self.is_changing()
    }

    /// The purge is over, or was given up.
    pub fn purge_done(&mut self, now: Now, shared: &Shared) -> ShardSet {
        self.is_purging = false;
        self.go_on(now, shared)
    }

    /// Is there a learner that waits for a snapshot?
    pub fn is_snapshot_awaited(&self) -> bool {
        !self.snapshots.waiting.is_empty()
    }

    /// A snapshot to be taken now, if one is due: the cut is begun, at what is applied.
    pub fn next_snapshot(&mut self, shared: &Shared, image_bytes_max: usize) -> Option<CutHeader> {
        let is_due = self.snapshots.wanted && shared.is_serving() || self.is_snapshot_awaited();
        if !is_due || self.snapshots.running.is_some() || self.is_changing() {
            return None;
        }
        self.snapshots.wanted = false;
        let header = self.pipeline.begin_cut(shared, image_bytes_max);
        self.snapshots.running = Some(header.zxid);
        Some(header)
    }

    /// It is written, and so many bytes long; or was given up, or failed.
    pub fn snapshot_done(&mut self, now: Now, shared: &Shared, written: Option<u64>) -> ShardSet {
        let Some(zxid) = self.snapshots.running.take() else { return ShardSet::default() };
        // One that came to nothing is tried again before another `snapCount` txns.
        self.snapshots.retry.ended(written.is_some());
        if let Some(bytes) = written {
            self.snapshots.policy.snapshot_written(bytes);
        }
        let found = written.map(|_| zxid);
        let (served, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.snapshots.waiting)
            .into_iter()
            .partition(|waiting| found.is_none_or(|zxid| zxid >= waiting.at_least));
        self.snapshots.waiting = waiting;
        if let Some(consensus) = &mut self.consensus {
            for Waiting { role, conn, token, .. } in served {
                let input = leader::Input::SnapshotOpened { conn, token, zxid: found };
                consensus.member(now, member::Input::Leader(role, input));
            }
        }
        self.go_on(now, shared)
    }

    /// How many snapshots in a row came to nothing.
    pub fn snapshot_failures(&self) -> u32 {
        self.snapshots.retry.failures()
    }

    /// Something happened to a member.
    pub fn handle(&mut self, now: Now, shared: &Shared, input: Input) -> ShardSet {
        let mut woken = self.tell_room(now, shared);
        if let Some(consensus) = &mut self.consensus {
            match input {
                Input::Ensemble(input) if holds_back(now, shared, &mut self.pipeline, consensus.role, &input) => {}
                Input::Ensemble(input) => {
                    let input = of_observer(shared, &mut self.pipeline, consensus.role, input, &mut woken);
                    consensus.ensemble.handle(ms(now), input);
                }
                Input::Task(TaskDone(done)) => woken.extend(self.on_task(now, shared, done)),
            }
        }
        woken.extend(self.go_on(now, shared));
        woken
    }

    /// The next thing that a member wants.
    pub fn next_output(&mut self) -> Option<Output> {
        self.consensus.as_mut()?.outputs.pop_front()
    }

    /// What is to be sent to this learner next.
    pub fn next_packet(&mut self, now: Now, shared: &Shared, conn: ConnId) -> (Option<ToLearner>, ShardSet) {
        let Some(consensus) = &mut self.consensus else { return (None, ShardSet::default()) };
        let packet = consensus.ensemble.next_packet(ms(now), conn);
        (packet, self.go_on(now, shared))
    }

    /// When to hand in a timer, in ms of the clock that never goes back.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.consensus.as_ref()?.ensemble.next_timeout()
    }

    /// Tells the pipeline what the log can take; what waited for that goes on.
    fn tell_room(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let room = self.log.room();
        self.pipeline.set_room(room.map(|room| LogRoom {
            bytes: room.bytes,
            reserve: room.reserve,
            is_stuck: room.is_stuck,
        }));
        let ahead = self.log.ahead();
        self.pipeline.set_ahead(ahead.map(|(bytes, takes_next)| LogAhead { bytes, takes_next }));
        let mut woken = self.pipeline.take_held_back(now, shared);
        woken.extend(self.pipeline.take_waiting(now, shared));
        woken
    }

    /// Tells a leader's pipeline whom a reconfig would change.
    fn tell_members(&mut self, now: Now) {
        let Some(consensus) = &self.consensus else { return };
        let member = consensus.ensemble.member();
        let members = member.as_leader().map(|leader| {
            let options = member.options();
            let committed = options.quorums().committed().clone();
            let (is_changing, synced) = (leader.is_reconfiguring(), leader.synced(ms(now)));
            Members { committed, is_changing, synced, text_rules: options.text_rules }
        });
        self.pipeline.set_members(members);
    }

    /// What holds goes into `/zookeeper/config`.
    fn tell_configuration(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let Some(consensus) = &self.consensus else { return ShardSet::default() };
        self.pipeline.configured(now, shared, &consensus.ensemble.member().options().verifier)
    }

    /// Moves everything as far as it goes.
    fn go_on(&mut self, now: Now, shared: &Shared) -> ShardSet {
        if self.consensus.is_some() {
            return self.pump(now, shared);
        }
        if self.pipeline.take_verdict().is_some() {
            self.snapshots.wanted = true;
        }
        self.append_own();
        ShardSet::default()
    }

    /// Standalone: hands the log what was proposed.
    fn append_own(&mut self) {
        let Self { pipeline, log, snapshots, .. } = self;
        pipeline.take_unlogged(|zxid: Zxid, entry: &[u8]| {
            if let Err(e) = log.append(zxid, entry) {
                // After a failed sync nothing is accepted any more, and the disk thread is ending the process.
                assert!(log.has_failed(), "the log refuses its own server's txn: {e}");
            }
            if snapshots.logged(entry.len()) {
                log.roll();
            }
        });
    }

    fn pump(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let mut woken = ShardSet::default();
        loop {
            // Whatever the role has decided comes before new proposals: it may be over.
            while let Some(output) = self.consensus.as_mut().and_then(|consensus| consensus.ensemble.next_output()) {
                match output {
                    ensemble::Output::Member(output) => woken.extend(self.on_member(now, shared, output)),
                    ensemble::Output::ReadOnly(true) => woken.extend(self.pipeline.begin_read_only(now, shared)),
                    ensemble::Output::ReadOnly(false) => woken.extend(self.pipeline.end_read_only(now, shared)),
                    other => self.put(Output::Ensemble(other)),
                }
            }
            if let Some(verdict) = self.pipeline.take_verdict() {
                self.on_verdict(now, verdict);
                continue;
            }
            let Some(consensus) = &mut self.consensus else { return woken };
            let (ensemble, role) = (&mut consensus.ensemble, consensus.role);
            let mut is_quiet = true;
            self.pipeline.take_proposals(|zxid, txn| {
                let bytes = txn.len();
                let proposal = zab::Proposal { zxid, txn };
                let input = member::Input::Leader(role, leader::Input::Propose(proposal));
                ensemble.handle(ms(now), ensemble::Input::Member(input));
                // One that commits a reconfig, or ends the role, keeps the next ones out.
                let is_taken = ensemble.member().log().last() == zxid;
                if is_taken {
                    is_quiet = false;
                    shared.pipeline_stats.proposal_sizes.record(now.mono_us, bytes);
                }
                is_taken
            });
            let mut wishes = std::mem::take(&mut consensus.wishes);
            self.pipeline.take_wishes(&mut wishes);
            is_quiet &= wishes.is_empty();
            for wish in wishes.drain(..) {
                ensemble.handle(ms(now), ensemble::Input::Member(input_of(role, wish)));
            }
            consensus.wishes = wishes;
            if self.pipeline.has_used_up_zxids() {
                // Ends the role.
                is_quiet &= ensemble.next_zxid(ms(now)).is_some();
            }
            if is_quiet {
                self.begin_change(shared);
                return woken;
            }
        }
    }

    /// A txn led to another digest than it carries.
    fn on_verdict(&mut self, now: Now, verdict: Verdict) {
        let Some(consensus) = &mut self.consensus else { return };
        let differs = |by: &str, it: Mismatch| {
            format!("txn {} led to digest {:x}, where {by} predicted {:x}", it.zxid, it.found, it.predicted)
        };
        let output = match verdict {
            Verdict::Tell(it) => {
                // What is in memory is counted with it.
                self.snapshots.wanted = true;
                Output::Note(format!("{}: whose history is wrong is not known", differs("its leader", it)))
            }
            Verdict::StepDown(it) => {
                consensus.mispredictions += 1;
                consensus.ensemble.step_down(ms(now), LeaderOver::Mispredicted);
                let differs = differs("this server itself, leading,", it);
                if consensus.mispredictions >= MISPREDICTIONS_MAX {
                    Output::Fatal(format!(
                        "{differs}, for the {MISPREDICTIONS_MAX}rd time: it has to stop; its files are not touched, so start it \
                         again, and look at the memory of this machine if this comes again"
                    ))
                } else {
                    Output::Note(format!("{differs}: it steps down"))
                }
            }
            Verdict::Stop(it) => Output::Fatal(format!(
                "{}, and so had this server itself when it led last: what it has in memory is wrong, and it has to stop; its \
                 files are not touched, so start it again, and look at the memory of this machine if this comes again",
                differs("its leader", it)
            )),
        };
        consensus.outputs.push_back(output);
    }

    fn put(&mut self, output: Output) {
        if let Some(consensus) = &mut self.consensus {
            consensus.outputs.push_back(output);
        }
    }

    fn on_member(&mut self, now: Now, shared: &Shared, output: member::Output) -> ShardSet {
        let Some(consensus) = &mut self.consensus else { return ShardSet::default() };
        let role = consensus.role;
        match output {
            member::Output::Disk(command) => {
                self.on_command(now, shared, command);
                return ShardSet::default();
            }
            member::Output::Follow { role, .. } | member::Output::Lead { role } => {
                consensus.role = role;
                shared.pipeline_stats.proposal_sizes.reset();
            }
            member::Output::Over(..) => {
                self.snapshots.waiting.clear();
                consensus.outputs.push_back(Output::Ensemble(ensemble::Output::Member(output)));
                return self.pipeline.look(now, shared);
            }
            member::Output::Leader(output) => return self.on_leader(now, shared, role, output),
            member::Output::Learner(output) => return self.on_learner(now, shared, output),
            member::Output::Configured(_) => {
                consensus.outputs.push_back(Output::Ensemble(ensemble::Output::Member(output)));
                return self.tell_configuration(now, shared);
            }
            member::Output::Look { .. } => {}
        }
        consensus.outputs.push_back(Output::Ensemble(ensemble::Output::Member(output)));
        ShardSet::default()
    }

    fn on_leader(&mut self, now: Now, shared: &Shared, role: RoleId, output: leader::Output) -> ShardSet {
        let Some(consensus) = &mut self.consensus else { return ShardSet::default() };
        let tasks = &consensus.tasks;
        match output {
            leader::Output::ReadLog { conn, token, from, up_to, is_first } => {
                let kind = Kind::ReadLog { role, conn, token, from, up_to, is_first };
                consensus.outputs.push_back(Output::Task(Task { kind, options: tasks.clone() }));
            }
            leader::Output::OpenSnapshot { conn, token, at_least } => {
                let kind = Kind::FindSnapshot { role, conn, token, at_least };
                consensus.outputs.push_back(Output::Task(Task { kind, options: tasks.clone() }));
            }
            leader::Output::Replay(zxid) | leader::Output::Commit(zxid) => {
                return self.pipeline.apply(now, shared, zxid);
            }
            leader::Output::Serve { .. } => {
                // If there is none, the end of the role comes next.
                if let Some(next) = consensus.ensemble.next_zxid(ms(now)) {
                    self.tell_members(now);
                    return self.pipeline.lead(now, shared, Zxid(next.0 - 1));
                }
            }
            leader::Output::Request(conn, request) => {
                if request.op == OpCode::Reconfig.code() {
                    self.tell_members(now);
                }
                return self.pipeline.forwarded(now, shared, conn, request);
            }
            leader::Output::Touch(touched) => self.pipeline.touched(now, &touched),
            leader::Output::Revalidate { conn, session, timeout_ms } => {
                let (valid, woken) = self.pipeline.revalidate(now, shared, conn, session, timeout_ms);
                let input = leader::Input::Revalidated { conn, session, valid };
                consensus.member(now, member::Input::Leader(role, input));
                return woken;
            }
            leader::Output::Forgot { server, acknowledged, has } => {
                consensus.outputs.push_back(Output::Note(forgot(server, acknowledged, has)));
            }
            leader::Output::Synced(tag, is_through) => {
                return self.pipeline.synced(
                    now,
                    shared,
                    tag,
                    is_through,
                    consensus.ensemble.member().log().committed(),
                );
            }
            output @ (leader::Output::Ready(_)
            | leader::Output::Close(..)
            | leader::Output::Disk(_)
            | leader::Output::Configured(_)
            | leader::Output::SyncBegins(_)
            | leader::Output::SyncEnds { .. }
            | leader::Output::Over(_)) => {
                consensus.outputs.push_back(Output::Ensemble(ensemble::Output::Member(member::Output::Leader(output))));
            }
        }
        ShardSet::default()
    }

    fn on_learner(&mut self, now: Now, shared: &Shared, output: learner::Output) -> ShardSet {
        let Some(consensus) = &mut self.consensus else { return ShardSet::default() };
        match output {
            learner::Output::Replay(zxid) | learner::Output::Commit(zxid) => self.pipeline.apply(now, shared, zxid),
            learner::Output::Serve { epoch, .. } => self.pipeline.learn(now, shared, epoch),
            learner::Output::Revalidated { session, valid } => self.pipeline.revalidated(now, shared, session, valid),
            learner::Output::Synced => {
                self.pipeline.synced(now, shared, 0, true, consensus.ensemble.member().log().committed())
            }
            output @ (learner::Output::Send(_)
            | learner::Output::ServeObservers
            | learner::Output::Observers(_)
            | learner::Output::ReceiveSnapshot(_)
            | learner::Output::Disk(_)
            | learner::Output::Configured { .. }
            | learner::Output::Over(_)) => {
                consensus
                    .outputs
                    .push_back(Output::Ensemble(ensemble::Output::Member(member::Output::Learner(output))));
                ShardSet::default()
            }
        }
    }

    fn on_command(&mut self, now: Now, shared: &Shared, command: Command) {
        let Some(consensus) = &mut self.consensus else { return };
        let (token, file, epoch) = match command {
            Command::Append(proposal) => {
                let zxid = proposal.zxid;
                let appended = self
                    .pipeline
                    .appended(now, shared, zxid, &proposal.txn)
                    .and_then(|()| self.log.append(zxid, &proposal.txn).map_err(|e| e.to_string()));
                match appended {
                    // After a failed sync nothing is accepted any more, and the disk thread is ending the process.
                    Err(why) if !self.log.has_failed() => consensus.outputs.push_back(Output::Fatal(why)),
                    _ => {}
                }
                if self.snapshots.logged(proposal.txn.len()) {
                    self.log.roll();
                }
                return;
            }
            Command::Truncate { .. } | Command::InstallSnapshot { .. } => {
                consensus.change = Some((command, false));
                return;
            }
            Command::WriteAcceptedEpoch { token, epoch } => (token, EpochFile::Accepted, epoch),
            Command::WriteCurrentEpoch { token, epoch } => (token, EpochFile::Current, epoch),
        };
        let kind = Kind::WriteEpoch { token, file, epoch };
        consensus.outputs.push_back(Output::Task(Task { kind, options: consensus.tasks.clone() }));
    }

    fn is_changing(&self) -> bool {
        self.consensus.as_ref().is_some_and(|consensus| consensus.change.is_some())
    }

    /// A change of the history begins when nobody writes to the directory, or removes from it, any more.
    fn begin_change(&mut self, shared: &Shared) {
        let Some(consensus) = &mut self.consensus else { return };
        let Some((command, is_out @ false)) = &mut consensus.change else { return };
        if self.snapshots.running.is_some() {
            // It is of a history that is about to be another one.
            shared.tree.read().end_cut();
            return;
        }
        if self.is_filling || self.is_purging || self.log.is_busy() {
            return;
        }
        let Some(close) = self.log.close() else { return };
        let kind = match *command {
            Command::Truncate { token, to } => {
                Kind::Truncate { token, to, close, rebuild: to < self.pipeline.applied() }
            }
            Command::InstallSnapshot { token, zxid } => Kind::Install { token, zxid, close },
            Command::Append(_) | Command::WriteAcceptedEpoch { .. } | Command::WriteCurrentEpoch { .. } => return,
        };
        *is_out = true;
        consensus.outputs.push_back(Output::Task(Task { kind, options: consensus.tasks.clone() }));
    }

    fn on_task(&mut self, now: Now, shared: &Shared, done: Done) -> ShardSet {
        let mut woken = ShardSet::default();
        let Some(consensus) = &mut self.consensus else { return woken };
        let input = match done {
            Done::Epoch { token } => member::Input::Done(token.done()),
            Done::NotTruncated { token, why } => {
                consensus.change = None;
                consensus.outputs.push_back(Output::Note(why));
                self.log = LogWriter::new(self.log_options.clone(), self.log.appended());
                member::Input::NotTruncated(token)
            }
            Done::NotInstalled { token, why } => {
                consensus.change = None;
                consensus.outputs.push_back(Output::Note(why));
                self.log = LogWriter::new(self.log_options.clone(), self.log.appended());
                member::Input::NotInstalled(token)
            }
            Done::Truncated { token, to, rebuilt, notes } => {
                consensus.change = None;
                consensus.outputs.extend(notes.into_iter().map(Output::Note));
                self.log = LogWriter::new(self.log_options.clone(), to);
                match rebuilt {
                    Some(rebuilt) => {
                        woken.extend(self.pipeline.replace_tree(now, shared, rebuilt.tree, rebuilt.sessions).0);
                    }
                    None => self.pipeline.truncated(to),
                }
                woken.extend(self.tell_configuration(now, shared));
                member::Input::Done(token.done())
            }
            Done::Installed { token, zxid, rebuilt } => {
                consensus.change = None;
                self.log = LogWriter::new(self.log_options.clone(), zxid);
                woken.extend(self.pipeline.replace_tree(now, shared, rebuilt.tree, rebuilt.sessions).0);
                woken.extend(self.tell_configuration(now, shared));
                member::Input::Done(token.done())
            }
            Done::LogRead { role, conn, token, part } => {
                member::Input::Leader(role, leader::Input::LogRead { conn, token, part })
            }
            Done::Found { role, conn, token, at_least, zxid: None } => {
                if role == consensus.role {
                    self.snapshots.waiting.push(Waiting { role, conn, token, at_least });
                }
                return woken;
            }
            Done::Found { role, conn, token, zxid, .. } => {
                member::Input::Leader(role, leader::Input::SnapshotOpened { conn, token, zxid })
            }
        };
        if let Some(consensus) = &mut self.consensus {
            consensus.member(now, input);
        }
        woken
    }
}

impl Consensus {
    fn member(&mut self, now: Now, input: member::Input) {
        self.ensemble.handle(ms(now), ensemble::Input::Member(input));
    }
}

/// So often a leader steps down because it has mispredicted; then the process ends.
const MISPREDICTIONS_MAX: u32 = 3;

/// What people are told of a voter that has come back with less.
fn forgot(server: ServerId, acknowledged: Zxid, has: Zxid) -> String {
    let what = if has < Zxid::ZERO { "without any history".to_owned() } else { format!("with a history up to {has}") };
    format!(
        "server {server} has come back {what}, and had acknowledged txn {acknowledged} before: its disk has lost what it had to \
         keep; it gets that from here, but look at that disk, or at what has removed its files: with a quorum of such, txns are lost"
    )
}

fn is_reconfig(submission: &Submission) -> bool {
    matches!(submission, Submission::Write(write) if write.op == OpCode::Reconfig)
}

/// Is it a learner's sync that has to wait?
fn holds_back(now: Now, shared: &Shared, pipeline: &mut Pipeline, role: RoleId, input: &ensemble::Input) -> bool {
    match input {
        ensemble::Input::Member(member::Input::Leader(of, leader::Input::Packet(conn, Packet::Request(request))))
            if *of == role && request.op == OpCode::Sync.code() =>
        {
            !pipeline.may_sync(now, shared, *conn, request)
        }
        _ => false,
    }
}

/// What comes from an observer of a follower, where it may not be done.
fn of_observer(
    shared: &Shared,
    pipeline: &mut Pipeline,
    role: RoleId,
    input: ensemble::Input,
    woken: &mut ShardSet,
) -> ensemble::Input {
    let ensemble::Input::Member(member::Input::Leader(of, leader::Input::Packet(conn, packet))) = &input else {
        return input;
    };
    match packet {
        _ if *of != role => {}
        Packet::Revalidate(Revalidation::Question { session, .. }) => {
            woken.extend(pipeline.asked_by_observer(shared, *conn, *session));
        }
        // A sync changes nothing.
        Packet::Request(request)
            if request.op != OpCode::Sync.code() && !pipeline.may_hand_on(*conn, request.session) =>
        {
            return ensemble::Input::Member(member::Input::Leader(role, leader::Input::Refuse(*conn)));
        }
        _ => {}
    }
    input
}

fn input_of(role: RoleId, wish: Wish) -> member::Input {
    match wish {
        Wish::Request(request) => member::Input::Learner(role, learner::Input::Request(request)),
        Wish::Revalidate { session, timeout_ms } => {
            member::Input::Learner(role, learner::Input::Revalidate { session, timeout_ms })
        }
        Wish::Touched(touch) => member::Input::Learner(role, learner::Input::Touched(touch)),
        Wish::LearnersSync(conn, request) => {
            member::Input::Leader(role, leader::Input::Packet(conn, Packet::Request(request)))
        }
        Wish::Sync(tag) => member::Input::Leader(role, leader::Input::Sync(tag)),
    }
}

fn ms(now: Now) -> u64 {
    now.mono_ms().max(0) as u64
}
