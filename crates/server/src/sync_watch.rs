//! Syncs other than those of the log's batches: epoch files, a TRUNC, a SNAP that is installed, snapshots, the purge, what a start
//! reads. One that takes long is told of while it does, and when it is over; those of the batches are in
//! `disk_watch`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::log::stall::StallWatch;

/// How often those of a start and of a stop are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is under way, of all threads.
#[derive(Debug)]
pub struct SyncWatch {
    /// The clock's beginning.
    began: Instant,
    warn_after_ms: AtomicU64,
    syncs: Mutex<Syncs>,
}

#[derive(Debug, Default)]
struct Syncs {
    next: u64,
    /// A thread has one at a time, so there are few.
    under_way: BTreeMap<u64, UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    what: String,
    since: Instant,
    stall: StallWatch,
}

impl Default for SyncWatch {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl SyncWatch {
    /// `fsync.warningthresholdms`.
    pub fn new(warn_after: Duration) -> Self {
        let warn_after_ms = AtomicU64::new(warn_after.as_millis() as u64);
        Self { began: Instant::now(), warn_after_ms, syncs: Mutex::new(Syncs::default()) }
    }

    /// One for a start, when nobody else looks yet: a thread does, as long as it is there.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn of_start(warn_after: Duration) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::new(warn_after));
        keep_looking(&watch, Self::look)?;
        Ok(watch)
    }

    /// The same, for those that are to come.
    pub fn warn_after(&self, after: Duration) {
        self.warn_after_ms.store(after.as_millis() as u64, Relaxed);
    }

    /// Does a sync; `what` it is, as an effect and its directory.
    pub fn run(&self, what: String, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = self.begin(what, Instant::now());
        let done = sync();
        if let Some(told) = self.end(number, Instant::now()) {
            tracing::warn!("{told}");
        }
        done
    }

    /// Says so of those that hang, again and again while they do.
    pub fn look(&self) {
        self.hanging(Instant::now()).iter().for_each(|told| tracing::warn!("{told}"));
    }

    /// How many there were.
    #[cfg(test)]
    pub fn seen(&self) -> u64 {
        self.syncs.lock().next
    }

    fn begin(&self, what: String, now: Instant) -> u64 {
        let mut syncs = self.syncs.lock();
        let number = syncs.next;
        syncs.next += 1;
        syncs.under_way.insert(number, UnderWay { what, since: now, stall: StallWatch::default() });
        number
    }

    /// What is to be said of one that is over.
    fn end(&self, number: u64, now: Instant) -> Option<String> {
        let sync = self.syncs.lock().under_way.remove(&number)?;
        let took_ms = now.saturating_duration_since(sync.since).as_millis() as u64;
        let is_slow = took_ms > self.warn_after_ms.load(Relaxed);
        is_slow.then(|| format!("{} took {took_ms}ms: is the disk shared or dying?", sync.what))
    }

    /// What is to be said of those that are not.
    fn hanging(&self, now: Instant) -> Vec<String> {
        let ms = |at: Instant| at.saturating_duration_since(self.began).as_millis() as i64;
        let after_ms = self.warn_after_ms.load(Relaxed) as i64;
        let mut syncs = self.syncs.lock();
        let looked = syncs.under_way.values_mut().filter_map(|sync| {
            let took_ms = sync.stall.look(ms(now), Some(ms(sync.since)), after_ms)?;
            Some(format!("{} has taken {took_ms}ms and is not done: the disk hangs", sync.what))
        });
        looked.collect()
    }
}

/// Looks again and again, on a thread of its own, for as long as it is there: where nobody ticks, at a start and at a stop.
///
/// # Errors
/// There is no thread to be had.
pub fn keep_looking<T: Send + Sync + 'static>(at: &Arc<T>, look: impl Fn(&T) + Send + 'static) -> io::Result<()> {
    let looked_at = Arc::downgrade(at);
    std::thread::Builder::new().name("ostler-sync".to_owned()).spawn(move || {
        while let Some(it) = looked_at.upgrade() {
            look(&it);
            drop(it);
            std::thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_is_looked_at_again_and_again_and_not_any_more_when_it_is_gone() {
        let (looked, looks) = channel();
        let it = Arc::new(7);
        keep_looking(&it, move |it| looked.send(*it).unwrap()).unwrap();
        assert_eq!([(); 3].map(|()| looks.recv().unwrap()), [7; 3]);
        drop(it);
        // The thread ends, and with it what it sends with.
        assert!(looks.iter().count() <= 2);
    }

    #[test]
    fn one_that_hangs_is_told_of_while_it_does_and_when_it_is_over() {
        let watch = SyncWatch::new(Duration::from_secs(1));
        let began = watch.began;
        let at = |ms| began + Duration::from_millis(ms);
        let (slow, quick) =
            (watch.begin("fsync snapshot".to_owned(), at(0)), watch.begin("fsync epoch".to_owned(), at(0)));
        assert_eq!(watch.end(quick, at(900)), None);
        assert_eq!(watch.hanging(at(900)), Vec::<String>::new());
        let other = watch.begin("fsync log".to_owned(), at(1500));
        assert_eq!(watch.hanging(at(1600)), ["fsync snapshot has taken 1600ms and is not done: the disk hangs"]);
        assert_eq!(watch.hanging(at(1700)), Vec::<String>::new(), "not at each look");
        let both = ["fsync snapshot has taken 2500ms", "fsync log has taken 1000ms"];
        let told = watch.hanging(at(2500));
        assert!(told.len() == 2 && told.iter().zip(both).all(|(told, start)| told.starts_with(start)), "{told:?}");
        assert_eq!(watch.end(slow, at(3000)).unwrap(), "fsync snapshot took 3000ms: is the disk shared or dying?");
        assert!(watch.hanging(at(9500)).len() == 1 && watch.end(other, at(9600)).is_some());
        assert!(watch.syncs.lock().under_way.is_empty());
    }

    #[test]
    fn what_a_sync_comes_to_is_given_on_and_nothing_of_it_stays() {
        let watch = SyncWatch::new(Duration::from_secs(1));
        let done = watch.run("fsync".to_owned(), || {
            assert_eq!(watch.syncs.lock().under_way.len(), 1);
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(watch.syncs.lock().under_way.is_empty());
    }
}
