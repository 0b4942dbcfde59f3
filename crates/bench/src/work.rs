//! Chooses what a connection asks for, and says what the answer must be.
//!
//! The znodes are shared out: connection `c` of `n` has those whose number is `c` modulo `n`. Since only it writes to
//! them, and a session sees its own writes in order, the version in each reply is known beforehand; and since the data
//! bears the version that it makes, so is the data. With fewer znodes than connections they are common to all, and
//! versions and data are not checked.

use crate::args::Workload;
use crate::template::Kind;

/// What the reply to a request must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// What was asked for.
    pub(crate) kind: Kind,
    /// Of which znode.
    pub(crate) number: u32,
    /// The version that the reply must bear, if it can be known.
    pub(crate) version: Option<i32>,
}

/// What a connection does in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Creates the working set.
    Fill,
    /// The workload, limited to a number of requests or not.
    Load(Option<u64>),
    /// Deletes all that was created.
    Clean,
}

/// The requests of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    workload: Workload,
    reads: u32,
    /// This connection and how many there are.
    place: u32,
    places: u32,
    znodes: u32,
    /// The version of each of the own znodes after all that was sent; none: they are not only ours.
    versions: Option<Vec<i32>>,
    /// How many znodes this connection has created.
    created: u32,
    /// How many requests are left in this phase.
    left: u64,
    phase: Phase,
    random: u64,
}

impl Work {
    /// The requests of connection `place` of `places`.
    pub(crate) fn new(workload: Workload, reads: u32, place: u32, places: u32, znodes: u32) -> Self {
        let owned = znodes >= places;
        Self {
            workload,
            reads,
            place,
            places,
            znodes,
            versions: owned.then(|| vec![0; share(place, places, znodes) as usize]),
            created: 0,
            left: 0,
            phase: Phase::Clean,
            random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(place) + 1) | 1,
        }
    }

    /// Begins a phase.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.left = match phase {
            Phase::Fill => u64::from(share(self.place, self.places, self.znodes)),
            Phase::Load(None) => u64::MAX,
            Phase::Load(Some(total)) => {
                let places = u64::from(self.places);
                total / places + u64::from(u64::from(self.place) < total % places)
            }
            Phase::Clean => u64::from(self.created),
        };
    }

    /// Makes no more requests in this phase.
    pub(crate) fn stop(&mut self) {
        self.left = 0;
    }

    /// Whether this phase has no more requests.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// After an error the versions are not known any more.
    pub(crate) fn doubt(&mut self) {
        self.versions = None;
    }

    /// The next request: what it must lead to, and the stamp of its data.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(Expected, u8)> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let kind = match self.phase {
            Phase::Fill => Kind::Create,
            Phase::Clean => Kind::Delete,
            Phase::Load(_) => self.load_kind(),
        };
        Some(match kind {
            Kind::Create => {
                let number = self.number(self.created);
                self.created += 1;
                (Expected { kind, number, version: None }, 0)
            }
            Kind::Delete => {
                self.created -= 1;
                (Expected { kind, number: self.number(self.created), version: None }, 0)
            }
            Kind::Children => (Expected { kind, number: 0, version: None }, 0),
            Kind::Set | Kind::Get | Kind::Exists => self.on_one(kind),
        })
    }

    fn load_kind(&mut self) -> Kind {
        match self.workload {
            Workload::Create => Kind::Create,
            Workload::Set => Kind::Set,
            Workload::Get => Kind::Get,
            Workload::Exists => Kind::Exists,
            Workload::Children => Kind::Children,
            Workload::Mixed => {
                if self.below(100) < self.reads {
                    Kind::Get
                } else {
                    Kind::Set
                }
            }
        }
    }

    /// A request on some znode of the working set.
    fn on_one(&mut self, kind: Kind) -> (Expected, u8) {
        let Some(own) = self.versions.as_ref().map(|it| it.len() as u32) else {
            let number = self.below(self.znodes);
            return (Expected { kind, number, version: None }, 0);
        };
        let slot = self.below(own);
        let number = self.number(slot);
        let mut version = None;
        if let Some(known) = self.versions.as_mut().and_then(|it| it.get_mut(slot as usize)) {
            if kind == Kind::Set {
                *known = known.wrapping_add(1);
            }
            version = Some(*known);
        }
        (Expected { kind, number, version }, version.map_or(0, |it| it as u8))
    }

    fn number(&self, slot: u32) -> u32 {
        self.place + slot * self.places
    }

    /// A pseudo-random number below `limit` (xorshift64*).
    fn below(&mut self, limit: u32) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * u64::from(limit)) >> 32) as u32
    }
}

/// How many of `total` things connection `place` of `places` has.
fn share(place: u32, places: u32, total: u32) -> u32 {
    total / places + u32::from(place < total % places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_znodes_and_know_their_versions() {
        let mut numbers = Vec::new();
        for place in 0..3 {
            let mut work = Work::new(Workload::Set, 0, place, 3, 10);
            work.begin(Phase::Fill);
            numbers.extend(std::iter::from_fn(|| work.next()).map(|(it, _)| it.number));
            work.begin(Phase::Load(Some(100)));
            let mut last = std::collections::BTreeMap::new();
            while let Some((expected, stamp)) = work.next() {
                assert_eq!(expected.number % 3, place);
                let version = last.entry(expected.number).or_insert(0);
                *version += 1;
                assert_eq!((expected.version, stamp), (Some(*version), *version as u8));
            }
            assert!((33..=34).contains(&last.values().sum::<i32>()));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<u32>>());
    }

    #[test]
    fn what_was_created_is_deleted() {
        let mut work = Work::new(Workload::Create, 0, 1, 4, 0);
        work.begin(Phase::Load(Some(9)));
        let created: Vec<u32> = std::iter::from_fn(|| work.next()).map(|(it, _)| it.number).collect();
        work.begin(Phase::Clean);
        let mut deleted: Vec<u32> = std::iter::from_fn(|| work.next()).map(|(it, _)| it.number).collect();
        deleted.reverse();
        assert_eq!(created, deleted);
        assert_eq!(created, [1, 5]);
    }

    #[test]
    fn fewer_znodes_than_connections_are_common() {
        let mut work = Work::new(Workload::Mixed, 50, 3, 4, 2);
        work.begin(Phase::Load(Some(400)));
        assert!(std::iter::from_fn(|| work.next()).all(|(it, _)| it.version.is_none() && it.number < 2));
    }
}
