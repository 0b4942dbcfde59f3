//! The threads that do disk IO: one for the log, one that fills the next log file, one for the purge. Those for snapshots are
//! in [`crate::snapshots`].

use std::io;
use std::time::{Duration, Instant};

use storage::disk::is_no_room;
use storage::{Disk, Effect, LogJob, Stopped};
use tree::digest::node_digest;

use crate::core::{Core, GroupCommit};
use crate::disk::RealDisk;

/// How the log thread behaves.
#[derive(Debug, Clone, Copy)]
pub struct LogThread {
    /// `fsync.warningthresholdms`.
    pub warn_after: Duration,
    /// How long writes wait for others.
    pub group: GroupCommit,
}

/// Executes effects, in order, up to the first that fails.
pub fn execute(disk: &mut RealDisk, effects: &[Effect]) -> io::Result<()> {
    effects.iter().try_for_each(|effect| disk.execute(effect))
}

/// Writes the log until the server stops. An error is final: it is returned, and nothing is called durable any more.
pub fn run_log(core: &Core, disk: &mut RealDisk, how: LogThread) -> io::Result<()> {
    core.disk_watch.warn_after(how.warn_after);
    let mut next = core.next_job(how.group);
    while let Some(mut job) = next {
        let began_us = core.clock.now().mono_us;
        let took = write_batch(core, disk, &mut job);
        core.disk_watch.ends();
        let took = match took {
            Ok(took) => took,
            Err(e) => {
                core.job_failed(job);
                return Err(e);
            }
        };
        if took > how.warn_after {
            tracing::warn!(
                "fsync-ing the write ahead log in SyncThread:0 took {}ms, and {} txns ({} bytes) waited for it: is the disk shared or dying?",
                took.as_millis(),
                job.txns(),
                job.bytes()
            );
        }
        let ended_us = core.clock.now().mono_us;
        next = core.job_done(job, began_us, ended_us, how.group).or_else(|| {
            // A small batch pays a whole sync, and wakes as many threads as a large one. Whoever waits for this core has
            // more txns, most likely: they go first. Where a core is free, nobody waits and nothing is lost. With `flushDelay`
            // it is that which makes batches.
            if how.group.delay.is_zero() {
                std::thread::yield_now();
            }
            core.next_job(how.group)
        });
    }
    Ok(())
}

/// Writes a batch, waiting for room if the disk is full. Returns how long it took from when there was room.
fn write_batch(core: &Core, disk: &mut RealDisk, job: &mut LogJob) -> io::Result<Duration> {
    let mut wait = ROOM_WAIT_FIRST;
    loop {
        let began = Instant::now();
        core.disk_watch.begins(core.clock.now().mono_us, job.txns());
        let failed = job.effects().iter().enumerate().find_map(|(done, effect)| {
            core.disk_watch.is_at(effect);
            disk.execute(effect).err().map(|e| (done, e))
        });
        let Some((done, error)) = failed else { return Ok(began.elapsed()) };
        core.disk_watch.ends();
        if core.job_stopped(job, done, error.kind()) == Stopped::Ends {
            return Err(error);
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if core.is_stopping() {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{error}; the server stops, and {} txns that nobody was told of are left out", job.txns()),
                ));
            }
            std::thread::sleep(ROOM_WAIT_FIRST);
        }
        wait = (2 * wait).min(ROOM_WAIT_MAX);
    }
}

/// How long a batch waits for room before it is tried again, at first.
const ROOM_WAIT_FIRST: Duration = Duration::from_millis(20);
/// And at most.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// Between two pieces of a fill, so that the disk has time for the log.
const FILL_PAUSE: Duration = Duration::from_millis(1);

/// A thread whose work can wait has no claim to a core that a request needs.
pub fn yield_to_others() {
    if let Err(e) = rustix::process::nice(10) {
        tracing::debug!("a background thread keeps its priority: {e}");
    }
}

/// Fills the next log file with zeros, whenever there is one to fill.
pub fn run_fill(core: &Core, mut disk: RealDisk) {
    yield_to_others();
    while let Some(job) = core.next_fill() {
        let done = job.effects().iter().try_for_each(|effect| {
            if matches!(effect, Effect::ZeroFill { .. }) && !core.is_fill_urgent() {
                std::thread::sleep(FILL_PAUSE);
            }
            disk.execute(effect)
        });
        match &done {
            Err(e) if is_no_room(e.kind()) => {
                tracing::debug!("there is no room for a next log file of {} bytes: {e}", job.size());
            }
            Err(e) => tracing::warn!("the next log file can't be prepared, writes will be slower: {e}"),
            Ok(()) => {}
        }
        core.fill_ended(job, done);
    }
}

/// Removes old files at the start and then at each interval, until the server stops. `length_max` is the longest string or
/// buffer of a snapshot, in bytes.
pub fn run_purge(core: &Core, mut disk: RealDisk, retain: usize, length_max: usize, interval: Duration) {
    yield_to_others();
    let mut schedule = Schedule { next: Instant::now(), interval };
    let mut is_due = false;
    while !core.is_stopping() {
        is_due |= schedule.is_due(Instant::now());
        // Not while a member's history is changed to its leader's; then a little later.
        if is_due && core.begin_purge() {
            let done = purge(&mut disk, retain, length_max, &|| core.is_purge_in_the_way());
            is_due = matches!(done, Ok(None));
            core.purge_ended();
            match done {
                Ok(None) => {}
                Ok(Some(0)) => tracing::info!("there is nothing to purge"),
                Ok(Some(files)) => tracing::info!("purged {files} old files"),
                Err(e) => tracing::warn!("old files can't be purged: {e}"),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How many files were removed; `None`: it was given up.
fn purge(
    disk: &mut RealDisk,
    retain: usize,
    length_max: usize,
    is_in_the_way: &dyn Fn() -> bool,
) -> io::Result<Option<usize>> {
    let files = storage::purge::plan_unless(disk, retain, length_max, node_digest, is_in_the_way)?;
    let Some(files) = files else { return Ok(None) };
    let count = files.len();
    let effects = storage::purge::removal(disk, files, length_max)?;
    effects.iter().try_for_each(|effect| disk.execute(effect))?;
    Ok(Some(count))
}

/// When something is done that is done at once and then once an interval.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// Is it time? What was missed, while the process was stopped, is not made up for.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        while !self.interval.is_zero() && now >= self.next {
            self.next += self.interval;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_and_then_once_an_interval() {
        let began = Instant::now();
        let at = |minutes: u64| began + Duration::from_mins(minutes);
        let mut schedule = Schedule { next: began, interval: Duration::from_hours(2) };
        let due: Vec<u64> = (0..600).filter(|minute| schedule.is_due(at(*minute))).collect();
        assert_eq!(due, [0, 120, 240, 360, 480]);
        // Stopped for eleven hours: once, and not once for each interval; then as before.
        let due: Vec<u64> = (1260..1600).filter(|minute| schedule.is_due(at(*minute))).collect();
        assert_eq!(due, [1260, 1320, 1440, 1560]);
    }
}
