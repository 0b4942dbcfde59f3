//! Disks and their threads: each does one effect at a time, so that a crash may come between any two of any two threads. Only
//! a [`Task`] is done in one go, at one moment; a crash may come between any two of its effects.

use node::{Input, Task, TaskError};
use storage::disk::{Disk, Effect};
use storage::{Stopped, purge};
use tree::cut::Chunk;
use tree::digest::node_digest;
use zab::{RoleId, learner, member};

use super::server::{Cut, IMAGE_BYTES_MAX, LENGTH_MAX, Metered, Stage, Then, Thread, Work};
use super::{Event, Sabotage, World};
use crate::world::later::Armed;
use crate::world::trace::Words;
use crate::world::{DiskError, Kind, fault_of};

/// How long an effect takes that is no sync, in µs.
const EFFECT_US: u64 = 20;
/// How long a batch waits for room, in µs.
const ROOM_WAIT_US: u64 = 20_000;
/// How many snapshots a purge keeps.
const RETAIN: usize = 3;

impl World {
    /// Gives idle threads what there is to do.
    pub(super) fn kick(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        let is_free = |works: &[Option<Work>], thread: Thread| works[thread as usize].is_none();
        let mut begin = Vec::new();
        if is_free(&process.works, Thread::Log)
            && let Some(job) = process.node.next_log_job()
        {
            self.truth.on_logs(s, process.is_read_only);
            self.truth.on_appended(s, job.effects());
            begin.push((Thread::Log, job.effects().to_vec(), Then::Logged(job)));
        }
        if is_free(&process.works, Thread::Fill)
            && let Some(job) = process.node.next_fill()
        {
            begin.push((Thread::Fill, job.effects().to_vec(), Then::Filled(job)));
        }
        if is_free(&process.works, Thread::Snapshot)
            && let Some(header) = process.node.next_snapshot(&process.shared, IMAGE_BYTES_MAX)
        {
            let cut = Box::new(Cut::new(header));
            begin.push((Thread::Snapshot, cut.writer.start(), Then::Snapshot(cut)));
        }
        if is_free(&process.works, Thread::Task)
            && let Some(task) = process.tasks.pop_front()
        {
            begin.push((Thread::Task, Vec::new(), Then::Task(task)));
        }
        let purges = process.is_purge_due && is_free(&process.works, Thread::Purge) && process.node.begin_purge();
        process.is_purge_due &= !purges;
        for (thread, effects, then) in begin {
            self.begin(s, thread, effects, then);
        }
        if purges {
            self.purge(s);
        }
    }

    fn begin(&mut self, s: usize, thread: Thread, effects: Vec<Effect>, then: Then) {
        let Some(process) = &mut self.servers[s].process else { return };
        process.works[thread as usize] = Some(Work { effects, at: 0, then });
        self.next_effect(s, thread, 0);
    }

    fn next_effect(&mut self, s: usize, thread: Thread, pause_us: u64) {
        let server = &self.servers[s];
        let Some(process) = &server.process else { return };
        let Some(work) = &process.works[thread as usize] else { return };
        let is_sync = match work.effects.get(work.at) {
            Some(effect) => matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_)),
            None => matches!(&work.then, Then::Task(task) if !task.only_reads()),
        };
        let process = process.number;
        let took_us = if is_sync {
            let slow = server.slow.filter(|&(_, until_us)| self.now_us < until_us);
            slow.map_or_else(|| self.setup.sync.draw(&mut self.rng), |(sync_us, _)| sync_us)
        } else {
            EFFECT_US
        };
        self.queue.push(self.now_us + pause_us + took_us, Event::Effect { server: s, process, thread });
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
            let forced = server.error_in.take_if(|it| it.left == 0);
            if let Some(error) = &mut server.error_in {
                error.left -= 1;
            }
            if let Some(Armed { what, name, .. }) = forced {
                server.disk.faults.at.insert(server.disk.effects(), fault_of(what, effect));
                self.tally.took_place(name);
                let is_of_log = matches!(thread, Thread::Log | Thread::Fill);
                self.truth.sessions.may_refuse |= what == DiskError::NoSpace && is_of_log;
            }
            let is_lie = self.sabotage == Sabotage::SyncsLie
                && matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_));
            let done = if is_lie { Ok(()) } else { server.disk.execute(effect) };
            self.tally.effects += 1;
            let (now_us, id) = (self.now_us, server.id.0);
            self.trace.event(now_us, Kind::Disk, [s as u64, thread as u64, u64::from(done.is_ok())], || {
                let failed = if done.is_err() { " FAILS" } else { "" };
                Words::of(id, format!("disk: {}{failed}", effect.describe()))
            });
            if let Err(error) = done {
                return self.on_effect_failed(s, thread, error.kind());
            }
            work.at += 1;
            if work.at < work.effects.len() {
                return self.next_effect(s, thread, 0);
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

    fn on_effect_failed(&mut self, s: usize, thread: Thread, kind: std::io::ErrorKind) {
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let Some(work) = process.works[thread as usize].take() else { return };
        match work.then {
            Then::Logged(mut job) => {
                if process.node.log_stopped(&mut job, work.at, kind) == Stopped::Ends {
                    process.node.log_failed(job);
                    return self.exit(s, "the log can't be written");
                }
                let effects = job.effects().to_vec();
                process.works[thread as usize] = Some(Work { effects, at: 0, then: Then::Logged(job) });
                return self.next_effect(s, thread, ROOM_WAIT_US);
            }
            Then::Filled(job) => {
                let woken = process.node.fill_done(now, &process.shared, job, Err(kind));
                self.wake(s, woken);
            }
            Then::Snapshot(mut cut) => {
                if cut.stage == Stage::Abandoning {
                    self.snapshot_done(s, None);
                } else {
                    process.shared.tree.read().end_cut();
                    cut.stage = Stage::Abandoning;
                    let effects = cut.writer.clone().abandon();
                    self.begin(s, Thread::Snapshot, effects, Then::Snapshot(cut));
                }
            }
            Then::Received(role) => self.received(s, role, false),
            Then::Purged => self.purged(s),
            Then::Task(_) => {}
        }
        self.settle(s);
    }

    fn on_work_done(&mut self, s: usize, then: Then) {
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        match then {
            Then::Logged(job) => {
                self.truth.on_durable(s, job.last());
                let woken = process.node.log_done(now, &process.shared, job);
                self.wake(s, woken);
                self.drain(s);
            }
            Then::Filled(job) => {
                let woken = process.node.fill_done(now, &process.shared, job, Ok(()));
                self.wake(s, woken);
                self.drain(s);
            }
            Then::Snapshot(cut) => self.go_on_with(s, cut),
            Then::Purged => self.purged(s),
            Then::Received(role) => self.received(s, role, true),
            Then::Task(task) => self.run_task(s, &task),
        }
    }

    /// The next step of a snapshot.
    fn go_on_with(&mut self, s: usize, mut cut: Box<Cut>) {
        let Some(process) = &mut self.servers[s].process else { return };
        let mut out = Vec::new();
        if cut.stage == Stage::Beginning {
            cut.begin(&mut out);
            cut.stage = Stage::Walking;
        }
        let effects = match cut.stage {
            Stage::Beginning | Stage::Walking => match cut.walk(&process.shared, &mut out) {
                Chunk::More => cut.writer.chunk(out),
                Chunk::Done => {
                    cut.finish(&mut out);
                    cut.stage = Stage::Finishing;
                    let mut effects = cut.writer.chunk(out);
                    effects.extend(cut.writer.clone().finish());
                    effects
                }
                Chunk::GivenUp => {
                    cut.stage = Stage::Abandoning;
                    cut.writer.clone().abandon()
                }
            },
            Stage::Finishing => {
                self.tally.snapshots += 1;
                process.is_purge_due = true;
                let bytes = cut.writer.bytes();
                return self.snapshot_done(s, Some(bytes));
            }
            Stage::Abandoning => return self.snapshot_done(s, None),
        };
        self.begin(s, Thread::Snapshot, effects, Then::Snapshot(cut));
    }

    fn snapshot_done(&mut self, s: usize, written: Option<u64>) {
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let woken = process.node.snapshot_done(now, &process.shared, written);
        self.wake(s, woken);
        self.drain(s);
    }

    /// What goes is found now, and goes a file after the other.
    fn purge(&mut self, s: usize) {
        let disk = &self.servers[s].disk;
        let files = purge::plan(disk, RETAIN, LENGTH_MAX, node_digest).unwrap_or_default();
        match purge::removal(disk, files, LENGTH_MAX) {
            Ok(effects) if !effects.is_empty() => self.begin(s, Thread::Purge, effects, Then::Purged),
            _ => self.purged(s),
        }
    }

    fn purged(&mut self, s: usize) {
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let woken = process.node.purge_done(now, &process.shared);
        self.wake(s, woken);
        self.drain(s);
    }

    /// Does something to the disk at this moment, with all that may go wrong. `None`: the power has failed.
    fn at_once<R>(&mut self, s: usize, what: &'static str, act: impl FnOnce(&mut Metered<'_>) -> R) -> Option<R> {
        let server = &mut self.servers[s];
        let left = server.power_off_in.map(|it| it.left);
        let mut disk = Metered { disk: &mut server.disk, left, error: server.error_in.take(), failed: None, done: 0 };
        let result = act(&mut disk);
        let (left, error, failed, done) = (disk.left, disk.error, disk.failed, disk.done);
        server.error_in = error;
        self.tally.effects += done;
        if let Some(failed) = failed {
            self.tally.took_place(failed.name);
        }
        if let (Some(it), Some(left)) = (&mut server.power_off_in, left) {
            it.left = left;
            if left == 0 {
                let Armed { what: down_us, name, .. } = *it;
                self.tally.took_place(name);
                self.tally.crashes_in_work += 1;
                self.tally.crashed_in(what, done);
                self.power_off(s, down_us);
                return None;
            }
        }
        Some(result)
    }

    fn run_task(&mut self, s: usize, task: &Task) {
        if let Some(to) = task.ends_history_at() {
            self.truth.on_changing(s, to);
            let server = &mut self.servers[s];
            server.power_off_in = self.later.power_off_in_change.take().or(server.power_off_in);
            server.error_in = self.later.error_in_change.take().or(server.error_in);
        }
        let name = format!("{task:?}");
        let what = if task.ends_history_at().is_some() { "change of history" } else { "epoch file" };
        let Some(done) = self.at_once(s, what, |disk| task.run(disk)) else { return };
        self.words(s, Kind::Disk, u64::from(done.is_ok()), || {
            let end = name.find("options").unwrap_or(name.len());
            format!("disk: {}", &name[..end.min(160)])
        });
        match done {
            Ok(done) => {
                if let Some(to) = done.history_end() {
                    self.truth.on_changed(s, to);
                }
                self.node(s, Input::Task(done));
            }
            Err(TaskError::NoRoom { .. }) => {
                if let Some(process) = &mut self.servers[s].process {
                    process.tasks.push_back(task.clone());
                }
            }
            Err(TaskError::Io { .. }) => self.exit(s, "the disk failed"),
            Err(TaskError::Recover(error)) if matches!(*error, storage::RecoverError::Io { .. }) => {
                self.exit(s, "the disk failed");
            }
            Err(error) if self.truth.is_damaged(s) => self.exit(s, &error.to_string()),
            Err(error) => self.truth.wrong("recovery", format!("server {}: {error}", s + 1)),
        }
    }

    /// A part of the leader's snapshot has come.
    pub(super) fn on_chunk(&mut self, s: usize, role: RoleId, chunk: &[u8], is_last: bool) {
        let Some(process) = self.servers[s].process.as_mut().filter(|it| it.is_role(role)) else { return };
        let Some(it) = process.receiving.as_mut().filter(|it| !it.is_whole) else { return };
        it.encoder.add(chunk);
        let mut out = chunk.to_vec();
        if is_last {
            it.encoder.finish(it.zxid, &mut out);
            it.is_whole = true;
        }
        let effects = it.receiver.chunk(out);
        let last = is_last.then(|| it.receiver.clone().finish());
        if !self.write_received(s, &effects) {
            return;
        }
        match last {
            None => self.member(s, member::Input::Learner(role, learner::Input::SnapshotProgress)),
            Some(effects) => self.begin(s, Thread::Receive, effects, Then::Received(role)),
        }
    }

    /// Bytes of the leader's snapshot go to their file. False: they can't.
    pub(super) fn write_received(&mut self, s: usize, effects: &[Effect]) -> bool {
        let Some(done) = self.at_once(s, "leader's snapshot", |disk| disk.run(effects)) else { return false };
        if done.is_err()
            && let Some(role) = self.servers[s].process.as_ref().and_then(|it| it.role)
        {
            self.received(s, role, false);
        }
        done.is_ok()
    }

    /// A snapshot of the leader's is durable, or can't be had: the packets behind it go on.
    fn received(&mut self, s: usize, role: RoleId, is_whole: bool) {
        let Some(process) = self.servers[s].process.as_mut().filter(|it| it.is_role(role)) else { return };
        process.receiving = None;
        self.member(s, member::Input::Learner(role, learner::Input::SnapshotReceived(is_whole)));
        while let Some(process) = &mut self.servers[s].process
            && process.is_role(role)
            && process.receiving.is_none()
            && let Some(packet) = process.behind.pop_front()
        {
            self.member(s, member::Input::Learner(role, learner::Input::Packet(packet)));
        }
    }
}
