//! The time that a server lived through: the clock that never goes back, less what the server slept.
//!
//! A process that is stopped, or whose machine is, hears nobody meanwhile. What its clients said waits in the sockets,
//! and who gave it up waits at the door; none of them was silent. So what a shard slept counts for no session.

/// The clock. All times are in ms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lived {
    /// What was slept before the first of `sleeps`.
    forgotten_ms: i64,
    /// From when to when: apart from each other, ascending.
    sleeps: Vec<(i64, i64)>,
}

/// The sleeps that are remembered one by one: a touch that is older than the last of them is told by the oldest of them.
const SLEEPS_MAX: usize = 16;

impl Lived {
    /// A shard did nothing from `from_ms` to `to_ms`. Shards that slept at the same time slept once.
    pub(crate) fn slept(&mut self, from_ms: i64, to_ms: i64) {
        let (mut from_ms, mut to_ms) = (from_ms, to_ms.max(from_ms));
        self.sleeps.retain(|&(from, to)| {
            let is_apart = to < from_ms || to_ms < from;
            if !is_apart {
                from_ms = from_ms.min(from);
                to_ms = to_ms.max(to);
            }
            is_apart
        });
        let at = self.sleeps.partition_point(|&(from, _)| from < from_ms);
        self.sleeps.insert(at, (from_ms, to_ms));
        if self.sleeps.len() > SLEEPS_MAX {
            let (from, to) = self.sleeps.remove(0);
            self.forgotten_ms += to - from;
        }
    }

    /// What this clock says when the other says `mono_ms`: it stands still while the server sleeps.
    pub(crate) fn at(&self, mono_ms: i64) -> i64 {
        let slept = |&(from, to): &(i64, i64)| (to.min(mono_ms) - from).max(0);
        mono_ms - self.forgotten_ms - self.sleeps.iter().map(slept).sum::<i64>()
    }

    /// What the other clock will say when this one says `lived_ms`, if the server sleeps no more.
    pub(crate) fn to_mono(&self, lived_ms: i64) -> i64 {
        lived_ms + self.forgotten_ms + self.sleeps.iter().map(|(from, to)| to - from).sum::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_while_the_server_sleeps() {
        let mut clock = Lived::default();
        clock.slept(100, 400);
        assert_eq!([0, 100, 250, 400, 500].map(|ms| clock.at(ms)), [0, 100, 100, 100, 200]);
        assert_eq!(clock.to_mono(200), 500);
        clock.slept(1000, 1100);
        assert_eq!([500, 1050, 1200].map(|ms| clock.at(ms)), [200, 700, 800]);
    }

    #[test]
    fn shards_that_sleep_at_the_same_time_sleep_once() {
        let mut clock = Lived::default();
        for (from, to) in [(100, 400), (90, 380), (500, 600), (395, 505), (100, 100)] {
            clock.slept(from, to);
        }
        assert_eq!(clock.sleeps, [(90, 600)]);
        assert_eq!(clock.at(1000), 490);
    }

    #[test]
    fn what_is_forgotten_still_counts() {
        let mut clock = Lived::default();
        for at in 0..100 {
            clock.slept(at * 100, at * 100 + 50);
        }
        assert_eq!(clock.sleeps.len(), SLEEPS_MAX);
        assert_eq!(clock.at(10_000), 5000);
        assert_eq!(clock.to_mono(5000), 10_000);
    }

    proptest::proptest! {
        #[test]
        fn it_never_goes_back(
            sleeps in proptest::collection::vec((0i64..1000, 0i64..100), 0..15),
            times in proptest::collection::vec(0i64..1200, 2..20),
        ) {
            let mut clock = Lived::default();
            let mut slept = [false; 1200];
            for (from, length) in sleeps {
                clock.slept(from, from + length);
                slept[from as usize..(from + length) as usize].fill(true);
            }
            for at in times {
                let plain = slept[..at as usize].iter().filter(|slept| !**slept).count() as i64;
                proptest::prop_assert_eq!(clock.at(at), plain);
            }
        }
    }
}
