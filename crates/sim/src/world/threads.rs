//! Disks and their threads: each does one effect at a time, so that a crash may come between any two of any two threads.

use node::read_log;
use storage::disk::{Disk, Effect, is_no_room};
use storage::epoch::EpochFile;
use storage::log::truncate;
use storage::snapshot::write::SnapshotWriter;
use storage::{LogWriter, purge};
use tree::digest::node_digest;
use wire::Zxid;
use zab::{Command, ConnId, Logged, Proposal, RoleId, leader, learner, member};

use super::later::{Armed, POWER_OFF_IN_EPOCH};
use super::server::{self, LENGTH_MAX, RETAIN, Server, Then, Thread, Work, log_options, received_file};
use super::setup::DiskError;
#[cfg(feature = "seeded-defects")]
use super::spoil;
use super::trace::{Kind, Words};
use super::{Event, World};

/// How long an effect takes that is no sync, in µs.
const EFFECT_US: u64 = 20;
/// About how many bytes of the log a learner gets at a time.
const LOG_PART_BYTES: usize = 4096;

impl World {
    /// Gives a command of the core to the threads.
    pub(super) fn disk_command(&mut self, s: usize, command: Command) {
        if let Command::Append(proposal) = command {
            return self.append(s, proposal);
        }
        let Some(process) = &mut self.servers[s].process else { return };
        match command {
            Command::WriteAcceptedEpoch { token, epoch } => {
                process.epochs.push_back((token, EpochFile::Accepted, epoch));
            }
            Command::WriteCurrentEpoch { token, epoch } => {
                process.epochs.push_back((token, EpochFile::Current, epoch));
            }
            command => process.chores.push_back(command),
        }
    }

    fn append(&mut self, s: usize, proposal: Proposal) {
        let Some(process) = &mut self.servers[s].process else { return };
        match process.log.append(proposal.zxid, &proposal.txn) {
            Ok(()) => {
                self.truth.on_logs(s, proposal.zxid, process.is_read_only);
                self.truth.disks.on_append(s, &proposal);
                process.unapplied.push_back(proposal);
            }
            Err(error) => self.truth.wrong("the log refuses a txn", format!("server {}: {error}", s + 1)),
        }
    }

    /// Gives idle threads what there is to do.
    pub(super) fn kick(&mut self, s: usize) {
        self.begin_chore(s);
        let Some(process) = &mut self.servers[s].process else { return };
        let is_free = |works: &[Option<Work>], thread: Thread| works[thread as usize].is_none();
        let mut begin = Vec::new();
        if process.chores.is_empty() {
            if is_free(&process.works, Thread::Log)
                && let Some(job) = process.log.next_job()
            {
                begin.push((Thread::Log, job.effects().to_vec(), Then::Logged(job)));
            }
            if is_free(&process.works, Thread::Fill)
                && let Some(job) = process.log.next_fill()
            {
                begin.push((Thread::Fill, job.effects().to_vec(), Then::Filled(job)));
            }
        }
        if is_free(&process.works, Thread::Epoch)
            && let Some((token, file, epoch)) = process.epochs.pop_front()
        {
            begin.push((Thread::Epoch, file.write(epoch), Then::Epoch(token, file, epoch)));
        }
        if is_free(&process.works, Thread::Read)
            && let Some(question) = process.reads.pop_front()
        {
            begin.push((Thread::Read, Vec::new(), Then::Read(question)));
        }
        for (thread, effects, then) in begin {
            self.begin(s, thread, effects, then);
        }
    }

    /// A truncation or an installation begins when no thread does anything that it would disturb.
    fn begin_chore(&mut self, s: usize) {
        let server = &mut self.servers[s];
        let Some(process) = &mut server.process else { return };
        let busy = [Thread::Log, Thread::Fill, Thread::Snapshot, Thread::Receive];
        let is_idle = busy.iter().all(|&it| process.works[it as usize].is_none());
        if !is_idle || process.log.pending_txns() > 0 {
            // What is to be written before goes on.
            if process.works[Thread::Log as usize].is_none()
                && !process.chores.is_empty()
                && let Some(job) = process.log.next_job()
            {
                self.begin(s, Thread::Log, job.effects().to_vec(), Then::Logged(job));
            }
            return;
        }
        let Some(command) = process.chores.pop_front() else { return };
        match command {
            Command::Truncate { token, to } => match truncate::plan(&server.disk, to, &server.recover_options()) {
                Ok(plan) => {
                    self.truth.disks.on_truncating(s, to);
                    #[cfg(feature = "seeded-defects")]
                    let plan = if self.servers[s].options.has(zab::Defect::TruncRemovesTooMuch) {
                        let earlier = Zxid(to.0 - 1);
                        let server = &self.servers[s];
                        truncate::plan(&server.disk, earlier, &server.recover_options()).unwrap_or(plan)
                    } else {
                        plan
                    };
                    #[allow(unused_mut, reason = "only a defect changes it")]
                    let mut effects = plan.effects;
                    #[cfg(feature = "seeded-defects")]
                    if self.servers[s].options.has(zab::Defect::TruncKeepsNewerSnapshot) {
                        effects.retain(|it| !matches!(it, Effect::Remove(file) if file.dir == storage::Dir::Data));
                    }
                    self.begin(s, Thread::Log, effects, Then::Truncated(token, to));
                }
                Err(truncate::TruncateError::Io(_)) => self.exit(s, "the disk failed"),
                Err(error) => {
                    self.note(s, Kind::Disk, || error.to_string());
                    self.input(s, member::Input::NotTruncated(token));
                }
            },
            Command::InstallSnapshot { token, zxid } => match server::install(&server.disk, zxid) {
                Ok(effects) => {
                    self.truth.disks.on_installing(s, zxid);
                    self.begin(s, Thread::Log, effects, Then::Installed(token, zxid));
                }
                Err(_) => self.exit(s, "the disk failed"),
            },
            _ => {}
        }
    }

    pub(super) fn begin(&mut self, s: usize, thread: Thread, effects: Vec<Effect>, then: Then) {
        #[cfg(feature = "seeded-defects")]
        let effects = spoil::effects(&self.servers[s].options, effects, &then);
        let is_change = matches!(then, Then::Truncated(..) | Then::Installed(..));
        let server = &mut self.servers[s];
        let Some(process) = &mut server.process else { return };
        let mut error = None;
        if is_change {
            server.power_off_in = self.later.power_off_in_change.take().or(server.power_off_in);
            // However many effects it has, one of them is met.
            let count = effects.len().max(1) as u64;
            error = self.later.error_in_change.take().map(|it| Armed { left: it.left % count, ..it });
        }
        let number = process.number;
        process.works[thread as usize] = Some(Work { effects, at: 0, error, then });
        let at_us = self.now_us + self.effect_time(s, thread);
        self.queue.push(at_us, Event::Effect { server: s, process: number, thread });
    }

    /// How long the next effect of a thread takes.
    fn effect_time(&mut self, s: usize, thread: Thread) -> u64 {
        let server = &self.servers[s];
        let next = server.process.as_ref().and_then(|it| it.works[thread as usize].as_ref());
        let effect = next.and_then(|work| work.effects.get(work.at));
        match effect {
            Some(Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_)) => {
                let slow = server.slow.filter(|&(_, until_us)| self.now_us < until_us);
                slow.map_or_else(|| self.setup.sync.draw(&mut self.rng), |(sync_us, _)| sync_us)
            }
            Some(_) => EFFECT_US,
            None => 2 * EFFECT_US,
        }
    }

    /// A thread's effect takes place.
    pub(super) fn on_effect(&mut self, s: usize, thread: Thread) {
        if self.is_power_failing(s) {
            return;
        }
        let server = &mut self.servers[s];
        let Some(process) = &mut server.process else { return };
        let Some(work) = &mut process.works[thread as usize] else { return };
        if let Some(effect) = work.effects.get(work.at) {
            let forced = work.error.take_if(|it| it.left == 0).or(server.error_in.take_if(|it| it.left == 0));
            for waiting in [&mut work.error, &mut server.error_in].into_iter().flatten() {
                waiting.left = waiting.left.saturating_sub(1);
            }
            if let Some(Armed { what, name, .. }) = forced {
                server.disk.faults.at.insert(server.disk.effects(), fault_of(what, effect));
                self.tally.took_place(name);
            }
            let done = server.disk.execute(effect);
            self.tally.effects += 1;
            let (now_us, id) = (self.now_us, server.id.0);
            self.trace.event(now_us, Kind::Disk, [s as u64, thread as u64, u64::from(done.is_ok())], || {
                let failed = if done.is_err() { " FAILS" } else { "" };
                Words::of(id, format!("disk: {}{failed}", effect.describe()))
            });
            if let Err(error) = done {
                let waits = is_no_room(error.kind()) && effect.may_wait_for_room();
                return self.on_effect_failed(s, thread, waits);
            }
            work.at += 1;
            if work.at < work.effects.len() {
                let number = process.number;
                let at_us = self.now_us + self.effect_time(s, thread);
                self.queue.push(at_us, Event::Effect { server: s, process: number, thread });
                return;
            }
        }
        if let Some(work) = process.works[thread as usize].take() {
            self.on_work_done(s, work.then);
            self.settle(s);
        }
    }

    /// Is this the effect before which the power was to fail?
    fn is_power_failing(&mut self, s: usize) -> bool {
        let server = &mut self.servers[s];
        let Some(it) = &mut server.power_off_in else { return false };
        if it.left > 0 {
            it.left -= 1;
            return false;
        }
        let Armed { what: down_us, name, .. } = *it;
        self.tally.took_place(name);
        self.power_off(s, down_us);
        true
    }

    fn on_effect_failed(&mut self, s: usize, thread: Thread, may_wait: bool) {
        let Some(process) = &mut self.servers[s].process else { return };
        let Some(work) = process.works[thread as usize].take() else { return };
        #[cfg(feature = "seeded-defects")]
        if spoil::ignores_errors(&self.servers[s].options, &work.then) {
            self.on_work_done(s, work.then);
            return self.settle(s);
        }
        let Some(process) = &mut self.servers[s].process else { return };
        match work.then {
            Then::Filled(job) => process.log.fill_failed(job),
            Then::Snapshot => {
                let effects = SnapshotWriter::new(Zxid::ZERO, true).abandon();
                self.begin(s, Thread::Snapshot, effects, Then::Purged);
            }
            Then::Purged => {}
            Then::Epoch(token, file, epoch) if may_wait => process.epochs.push_front((token, file, epoch)),
            Then::Received(role) => {
                if process.is_role(role) {
                    process.receiving = None;
                    self.input(s, member::Input::Learner(role, learner::Input::SnapshotReceived(false)));
                }
            }
            _ => return self.exit(s, "the disk failed"),
        }
        self.settle(s);
    }

    fn on_work_done(&mut self, s: usize, then: Then) {
        let Some(process) = &mut self.servers[s].process else { return };
        match then {
            Then::Logged(job) => {
                let (txns, bytes) = (job.txns() as u64, job.bytes() as u64);
                let durable = process.log.job_done(job);
                self.truth.disks.on_durable(s, durable);
                if process.policy.logged(txns, bytes) {
                    process.policy.reset(self.rng.any());
                    self.take_snapshot(s);
                }
                self.input(s, member::Input::Logged(Logged::up_to(durable)));
            }
            Then::Filled(job) => process.log.fill_done(job),
            Then::Snapshot => {
                let plan = purge::plan(&self.servers[s].disk, RETAIN, LENGTH_MAX, node_digest);
                #[cfg(feature = "seeded-defects")]
                let plan = spoil::purge(&self.servers[s], plan);
                if let Ok(files) = plan
                    && !files.is_empty()
                    && let Ok(effects) = purge::removal(&self.servers[s].disk, files, LENGTH_MAX)
                {
                    self.begin(s, Thread::Snapshot, effects, Then::Purged);
                }
            }
            Then::Purged => {}
            Then::Received(role) => {
                if process.is_role(role) {
                    let bytes = process.receiving.take();
                    let link = bytes.and_then(|bytes| server::link_of_snapshot(&bytes));
                    self.truth.disks.on_received(s, link);
                    let received = learner::Input::SnapshotReceived(link.is_some());
                    self.input(s, member::Input::Learner(role, received));
                    self.read_behind(s, role);
                }
            }
            Then::Epoch(token, file, epoch) => {
                let leads = process.leads;
                self.truth.on_epoch_written(s, file, epoch);
                if leads
                    && file == EpochFile::Accepted
                    && let Some(down_us) = self.later.fails_with_epoch()
                {
                    self.tally.took_place(POWER_OFF_IN_EPOCH);
                    return self.power_off(s, down_us);
                }
                self.input(s, member::Input::Done(token.done()));
            }
            Then::Truncated(token, to) => {
                self.tally.truncations += 1;
                self.truth.on_truncated(s, to);
                if self.reread(s, to, true) {
                    self.input(s, member::Input::Done(token.done()));
                }
            }
            Then::Installed(token, zxid) => {
                self.tally.installations += 1;
                self.truth.on_installed(s, zxid);
                if self.reread(s, zxid, false) {
                    self.input(s, member::Input::Done(token.done()));
                }
            }
            Then::Read(question) => self.answer_read(s, question),
        }
    }

    /// The state is rebuilt from what a truncation or a snapshot has left.
    #[cfg_attr(not(feature = "seeded-defects"), allow(unused_variables, reason = "only a defect looks at it"))]
    fn reread(&mut self, s: usize, to: Zxid, is_cut: bool) -> bool {
        let Server { disk, options, .. } = &mut self.servers[s];
        // What is read is made durable once more, so that a cut that is not would never be seen.
        #[cfg(feature = "seeded-defects")]
        let unsynced = (is_cut && options.has(zab::Defect::TruncNotSynced)).then(|| disk.clone());
        #[cfg(feature = "seeded-defects")]
        let goes_on = is_cut && options.has(zab::Defect::LogGoesOnBehindCut);
        #[cfg(not(feature = "seeded-defects"))]
        let goes_on = false;
        let found = server::start(disk, None, options);
        #[cfg(feature = "seeded-defects")]
        if let Some(unsynced) = unsynced {
            *disk = unsynced;
        }
        match found {
            Ok(found) if found.last == to => {
                let Some(process) = &mut self.servers[s].process else { return false };
                if !goes_on {
                    process.log = LogWriter::new(log_options(), to);
                }
                process.unapplied.clear();
                (process.applied, process.link) = (found.last, found.link);
                process.configuration = found.configuration;
                self.truth.disks.on_recovered(s, found.last, found.link, &mut self.truth.violation);
                true
            }
            Ok(found) => {
                let what = format!("server {}: told to end with {to}, the disk ends with {}", s + 1, found.last);
                self.truth.wrong("recovery", what);
                false
            }
            Err(server::NotStarted::Io) => {
                self.exit(s, "the disk failed");
                false
            }
            Err(server::NotStarted::Refused(why)) => {
                self.truth.wrong("recovery", format!("server {}, after a truncation: {why}", s + 1));
                false
            }
        }
    }

    /// A snapshot of what is applied, if it is all committed.
    pub(super) fn take_snapshot(&mut self, s: usize) {
        #[cfg(feature = "seeded-defects")]
        let is_too_new = self.servers[s].options.has(zab::Defect::SnapshotOfUncommitted);
        let Some(process) = &mut self.servers[s].process else { return };
        let is_free = process.works[Thread::Snapshot as usize].is_none() && process.chores.is_empty();
        if is_free && process.is_serving && process.applied > Zxid::ZERO {
            process.log.roll();
            #[allow(unused_mut, reason = "only a defect changes it")]
            let mut state = (process.applied, process.link);
            #[cfg(feature = "seeded-defects")]
            if is_too_new {
                for proposal in &process.unapplied {
                    state = (proposal.zxid, state.1.then(&proposal.txn));
                }
            }
            let configuration = process.configuration.clone();
            self.truth.on_snapshot(s, state.0);
            let effects = server::snapshot_effects(state.0, state.1, configuration.as_ref());
            self.begin(s, Thread::Snapshot, effects, Then::Snapshot);
            self.tally.snapshots += 1;
        }
    }

    /// The whole snapshot of the leader has come: it goes to the disk.
    pub(super) fn write_received(&mut self, s: usize, role: RoleId) {
        let Some(process) = &self.servers[s].process else { return };
        let Some(bytes) = &process.receiving else { return };
        let file = received_file();
        let effects = vec![
            Effect::Create(file.clone()),
            Effect::WriteAt { file: file.clone(), offset: 0, bytes: bytes.clone() },
            Effect::Fsync(file),
        ];
        if process.works[Thread::Receive as usize].is_some() {
            // That of an earlier role is still being written: this one comes too early.
            return self.input(s, member::Input::Learner(role, learner::Input::SnapshotReceived(false)));
        }
        self.begin(s, Thread::Receive, effects, Then::Received(role));
    }

    /// The packets behind a snapshot are read.
    fn read_behind(&mut self, s: usize, role: RoleId) {
        while let Some(process) = &mut self.servers[s].process
            && process.is_role(role)
            && process.receiving.is_none()
            && let Some(packet) = process.behind.pop_front()
        {
            self.input(s, member::Input::Learner(role, learner::Input::Packet(packet)));
        }
    }

    /// A leader's question to its disk is answered.
    fn answer_read(&mut self, s: usize, question: leader::Output) {
        let server = &mut self.servers[s];
        let Some(process) = &mut server.process else { return };
        let Some(role) = process.role.filter(|_| process.leads || process.takes_observers) else { return };
        let input = match question {
            leader::Output::ReadLog { conn, token, from, up_to, .. } => {
                let part = read_log(&server.disk, from, up_to, LOG_PART_BYTES, &server.recover_options());
                self.tally.log_reads += 1;
                leader::Input::LogRead { conn, token, part }
            }
            leader::Output::OpenSnapshot { conn, token, at_least } => {
                let zxid = Some(process.applied).filter(|&it| it >= at_least);
                if zxid.is_some() {
                    let bytes = server::snapshot_bytes(process.applied, process.link, process.configuration.as_ref());
                    process.opened.insert(ConnId(conn.0), bytes.into());
                }
                self.tally.snap_syncs += 1;
                leader::Input::SnapshotOpened { conn, token, zxid }
            }
            _ => return,
        };
        self.input(s, member::Input::Leader(role, input));
    }
}

pub(crate) fn fault_of(kind: DiskError, effect: &Effect) -> crate::disk::Fault {
    use crate::disk::Fault;
    match (kind, effect) {
        (DiskError::Error, _) => Fault::Error,
        (DiskError::Partly, Effect::WriteAt { bytes, .. }) => Fault::ErrorPartly(bytes.len() as u64 / 2),
        (DiskError::Partly, _) => Fault::Error,
        (DiskError::SyncLost, _) => Fault::SyncLost,
        (DiskError::NoSpace, _) => Fault::NoSpace,
    }
}
