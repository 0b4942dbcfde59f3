//! How fast a snapshot is read: as fast as it goes while nobody asks for anything, and with rests while somebody does.
//!
//! A snapshot takes a core, and so much of the caches and the disk as a core can use. Where cores are few, requests would wait
//! for it: nobody waits for most snapshots. But a cut keeps what is changed meanwhile, so the more of that there is, the less
//! there may be of rests; and behind one that was given up for it there are none. And time in which others had the core was a
//! rest already: where every core is wanted all the time, resting on top of that would make the snapshot long, and nobody
//! faster.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use peer::Shared;

use super::IMAGE_BYTES_MAX;

/// After so much work it is looked at the load.
const WORK: Duration = Duration::from_micros(200);
/// How often as long as the work before it a rest is.
const REST_TIMES: u32 = 2;
/// Rests end when more than this part of what may be kept for the cut is kept.
const IMAGES_PART: usize = 4;

/// What the server is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests that came since the start.
    pub requests: u64,
    /// Bytes that are kept for the cut, and the most there may be.
    pub images: (usize, usize),
}

impl Load {
    /// As it is now.
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            requests: shared.shard_stats.iter().map(|it| it.packets_received.get()).fold(0, u64::wrapping_add),
            images: shared.tree.read().cut_images().unwrap_or_default(),
        }
    }
}

/// Work and rests of one snapshot.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    awaited: &'a AtomicBool,
    worked: Duration,
    waited: Duration,
    requests: Option<u64>,
}

impl<'a> Pace<'a> {
    /// With no rests while somebody waits for the snapshot.
    pub(super) fn new(awaited: &'a AtomicBool) -> Self {
        Self { awaited, worked: Duration::ZERO, waited: Duration::ZERO, requests: None }
    }

    /// A step took so long, and then others had the core for so long, to whom it was offered: for how long to rest now.
    pub(super) fn rest(&mut self, step: Duration, offered: Duration, load: impl FnOnce() -> Load) -> Duration {
        self.worked += step;
        self.waited += offered;
        if self.worked < WORK {
            return Duration::ZERO;
        }
        let (worked, waited) = (std::mem::take(&mut self.worked), std::mem::take(&mut self.waited));
        let Load { requests, images: (kept, most) } = load();
        let is_busy = self.requests.replace(requests).is_some_and(|before| before != requests);
        let was_given_up = most > IMAGE_BYTES_MAX;
        let may_rest = !self.awaited.load(Relaxed) && !was_given_up && kept <= most / IMAGES_PART;
        if is_busy && may_rest { (worked * REST_TIMES).saturating_sub(waited) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_micros(100);
    const NONE: Duration = Duration::ZERO;

    fn load(requests: u64, kept: usize) -> impl FnOnce() -> Load {
        move || Load { requests, images: (kept, 1000) }
    }

    #[test]
    fn rests_only_while_requests_come() {
        let awaited = AtomicBool::new(false);
        let mut pace = Pace::new(&awaited);
        let rests = [5, 5, 6, 6, 7].map(|requests| {
            assert_eq!(pace.rest(HALF, NONE, || unreachable!("too soon to look")), NONE);
            pace.rest(HALF, NONE, load(requests, 0))
        });
        // The first look has nothing to compare with.
        assert_eq!(rests, [NONE, NONE, 4 * HALF, NONE, 4 * HALF]);
    }

    #[test]
    fn a_cut_for_which_much_is_kept_is_read_without_rests() {
        let awaited = AtomicBool::new(false);
        let mut pace = Pace::new(&awaited);
        let rests = [(1, 0), (2, 250), (3, 251), (4, 999), (5, 0)];
        let rests = rests.map(|(n, kept)| pace.rest(2 * HALF, NONE, load(n, kept)));
        assert_eq!(rests, [NONE, 4 * HALF, NONE, NONE, 4 * HALF]);
    }

    #[test]
    fn behind_one_that_was_given_up_there_are_no_rests() {
        let awaited = AtomicBool::new(false);
        for (most, rest) in [(IMAGE_BYTES_MAX, 4 * HALF), (2 * IMAGE_BYTES_MAX, NONE)] {
            let mut pace = Pace::new(&awaited);
            let rests = [1, 2].map(|requests| pace.rest(2 * HALF, NONE, || Load { requests, images: (0, most) }));
            assert_eq!(rests, [NONE, rest]);
        }
    }

    #[test]
    fn a_snapshot_that_somebody_waits_for_has_no_rests() {
        let awaited = AtomicBool::new(false);
        let mut pace = Pace::new(&awaited);
        let rests = [(1, false), (2, false), (3, true), (4, false)].map(|(n, is)| {
            awaited.store(is, Relaxed);
            pace.rest(2 * HALF, NONE, load(n, 0))
        });
        assert_eq!(rests, [NONE, 4 * HALF, NONE, 4 * HALF]);
    }

    #[test]
    fn what_others_had_of_the_core_is_not_rested_again() {
        let awaited = AtomicBool::new(false);
        let mut pace = Pace::new(&awaited);
        assert_eq!(pace.rest(2 * HALF, NONE, load(1, 0)), NONE);
        assert_eq!(pace.rest(HALF, HALF, || unreachable!("too soon to look")), NONE);
        assert_eq!(pace.rest(HALF, 2 * HALF, load(2, 0)), HALF, "of both steps");
        assert_eq!(pace.rest(2 * HALF, 40 * HALF, load(3, 0)), NONE);
        assert_eq!(pace.rest(2 * HALF, NONE, load(4, 0)), 4 * HALF, "nothing is saved up");
    }
}
