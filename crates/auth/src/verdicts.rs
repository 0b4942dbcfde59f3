//! What checks of long lists have said.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use wire::Acl;

use crate::access::check_acl;
use crate::config::AuthConfig;
use crate::identities::Identities;

/// Lists with fewer entries are checked faster than looked for.
const ENTRIES_MIN: usize = 8;

/// The most entries of all lists together whose verdicts are remembered, and what those verdicts weigh in entries; what is left of
/// a list that the tree has no more is kept until it goes.
const ENTRIES_MAX: usize = 1_000_000;

/// The most that the verdicts of one list weigh; above it all of them are forgotten.
const VERDICTS_MAX: usize = 20_000;

/// What one entry is in bytes of identities: who has gone is kept here too.
const ENTRY_BYTES: usize = 64;

/// Remembers what [`check_acl`] said of long lists. A list may have tens of thousands of entries, a client hundreds of
/// identities, and one frame can ask thousands of times for the same, or one change be told to thousands: without this it holds
/// everybody up for minutes.
///
/// Only for one [`AuthConfig`]: a verdict is kept for as long as its list is the same.
#[derive(Debug, Default, Clone)]
pub struct Verdicts {
    /// By the address of the list. As long as it is remembered here no other can have the address.
    known: BTreeMap<usize, Known>,
    /// Entries of all these lists, and what their verdicts weigh.
    entries: usize,
    /// Entries that were looked at since [`take_work`](Self::take_work).
    work: usize,
}

#[derive(Debug, Clone)]
struct Known {
    acl: Weak<[Acl]>,
    /// Its own, and what its verdicts weigh.
    entries: usize,
    /// By who asked, and what for: connections that are the same to a list have one verdict.
    verdicts: BTreeMap<(Identities, i32), bool>,
}

impl Verdicts {
    /// What [`check_acl`] says.
    pub fn check(&mut self, config: &AuthConfig, acl: &Arc<[Acl]>, wanted: i32, identities: &Identities) -> bool {
        self.work += 1;
        if acl.len() < ENTRIES_MIN {
            self.work += acl.len();
            return check_acl(config, acl, wanted, identities);
        }
        let address = Arc::as_ptr(acl).cast::<Acl>().addr();
        let key = (identities.clone(), wanted);
        if let Some(verdict) = self.known.get(&address).and_then(|known| known.verdicts.get(&key)) {
            return *verdict;
        }
        self.work += acl.len();
        let verdict = check_acl(config, acl, wanted, identities);
        let weight = 1 + identities.bytes() / ENTRY_BYTES;
        let new = || Known { acl: Arc::downgrade(acl), entries: 0, verdicts: BTreeMap::new() };
        let known = self.known.entry(address).or_insert_with(new);
        self.entries -= known.entries;
        if known.verdicts.is_empty() || known.entries + weight > acl.len() + VERDICTS_MAX {
            known.verdicts.clear();
            known.entries = acl.len();
        }
        known.verdicts.insert(key, verdict);
        known.entries += weight;
        self.entries += known.entries;
        if self.entries > ENTRIES_MAX {
            self.forget_but(address);
        }
        verdict
    }

    /// How many entries were looked at since the last time this was asked, and how often it was asked for a verdict.
    pub fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// Makes room: lists that nobody else has go first, then others, but for this one.
    fn forget_but(&mut self, address: usize) {
        let mut entries = self.entries;
        let mut forget = |known: &Known| {
            entries -= known.entries;
            false
        };
        self.known.retain(|_, known| known.acl.strong_count() > 0 || forget(known));
        self.entries = entries;
        while self.entries > ENTRIES_MAX {
            let Some(&other) = self.known.keys().find(|it| **it != address) else { return };
            let gone = self.known.remove(&other);
            self.entries -= gone.map_or(0, |known| known.entries);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use wire::Id;
    use wire::acl::{ALL, READ, WRITE};

    use super::*;

    fn long(last: Acl) -> Arc<[Acl]> {
        (0..99).map(|n| Acl::new(ALL, "digest", format!("u{n}:h"))).chain([last]).collect()
    }

    #[test]
    fn they_are_those_of_the_check() {
        let config = AuthConfig::default();
        let nobody = Identities::of_client("10.0.0.1".parse().unwrap());
        let somebody = nobody.with(Id { scheme: "digest".into(), id: "u98:h".into() });
        let lists = [long(Acl::new(READ, "world", "anyone")), long(Acl::new(WRITE, "ip", "10.0.0.1"))];
        let mut verdicts = Verdicts::default();
        for _ in 0..3 {
            for list in &lists {
                for wanted in [READ, WRITE] {
                    for who in [&nobody, &somebody] {
                        let told = verdicts.check(&config, list, wanted, who);
                        assert_eq!(told, check_acl(&config, list, wanted, who), "{wanted} {who:?}");
                    }
                }
            }
        }
        assert_eq!(verdicts.known.values().map(|known| known.verdicts.len()).collect::<Vec<_>>(), [4, 4]);
        // Lists that were looked at: twice by each of the two.
        assert!((800..900).contains(&verdicts.take_work()));
        // Another connection that is the same to the lists.
        let same = Identities::of_client("10.0.0.1".parse().unwrap());
        verdicts.check(&config, &lists[0], READ, &same);
        assert_eq!(verdicts.take_work(), 1);
        // Lists that are gone leave no verdict to those that get their place in memory.
        for n in 0..30_000 {
            let list = long(Acl::new(if n % 2 == 0 { READ } else { WRITE }, "world", "anyone"));
            let who = Identities::of_client("10.0.0.1".parse().unwrap());
            assert_eq!(verdicts.check(&config, &list, READ, &who), n % 2 == 0);
        }
        assert!(verdicts.entries <= ENTRIES_MAX && verdicts.known.len() <= ENTRIES_MAX / 100);
        assert_eq!(verdicts.entries, verdicts.known.values().map(|known| known.entries).sum::<usize>());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_not_all_forgotten_at_once() {
        let config = AuthConfig::default();
        let nobody = Identities::of_client("10.0.0.1".parse().unwrap());
        let lists: Vec<Arc<[Acl]>> = (0..12)
            .map(|list| (0..100_000).map(|n| Acl::new(ALL, "digest", format!("{list}-{n}:h"))).collect())
            .collect();
        let mut verdicts = Verdicts::default();
        for list in &lists {
            assert!(!verdicts.check(&config, list, READ, &nobody));
            assert!(verdicts.entries <= ENTRIES_MAX);
        }
        assert_eq!(verdicts.known.len(), 9, "one less than there is room for: verdicts weigh too");
        // Who asks as ever others does not make it grow.
        let list = long(Acl::new(READ, "world", "anyone"));
        for n in 0..VERDICTS_MAX + 10 {
            let who = nobody.with(Id { scheme: "digest".into(), id: n.to_string() });
            assert!(verdicts.check(&config, &list, READ, &who));
        }
        assert!(verdicts.known.values().all(|known| known.verdicts.len() <= VERDICTS_MAX));
        // Nor who has long identities, at ever other lists.
        let long_id = nobody.with(Id { scheme: "digest".into(), id: "x".repeat(60_000) });
        let lists: Vec<_> = (0..2000).map(|_| long(Acl::new(READ, "world", "anyone"))).collect();
        for list in &lists {
            assert!(verdicts.check(&config, list, READ, &long_id));
            assert!(verdicts.entries <= ENTRIES_MAX);
        }
        assert!(verdicts.known.values().map(|known| known.verdicts.len()).sum::<usize>() < 1100);
    }

    #[test]
    fn short_lists_are_not_kept() {
        let mut verdicts = Verdicts::default();
        let list: Arc<[Acl]> = Arc::new([Acl::new(READ, "world", "anyone")]);
        assert!(verdicts.check(&AuthConfig::default(), &list, READ, &Identities::none()));
        assert!(verdicts.known.is_empty());
    }
}
