//! What checks of long lists have said.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Acl;

use crate::access::check_acl;
use crate::config::AuthConfig;
use crate::identities::Identities;

/// Lists with fewer entries are checked faster than looked for.
const ENTRIES_MIN: usize = 32;

/// The most entries of all lists that are remembered together; one more, and all are forgotten.
const ENTRIES_MAX: usize = 200_000;

/// Remembers what [`check_acl`] said of long lists. A list may have tens of thousands of entries, a client hundreds of
/// identities, and one frame can ask thousands of times for the same: without this it holds everybody up for minutes.
///
/// Only for one [`AuthConfig`]: a verdict is kept for as long as its list and its identities are the same.
#[derive(Debug, Default, Clone)]
pub struct Verdicts {
    /// By the address of the list, that of the identities, and what was wanted. Both are kept alive, so that no other can
    /// have the address.
    known: BTreeMap<(usize, usize, i32), Known>,
    entries: usize,
}

#[derive(Debug, Clone)]
struct Known {
    _acl: Arc<[Acl]>,
    _identities: Identities,
    verdict: bool,
}

impl Verdicts {
    /// What [`check_acl`] says.
    pub fn check(&mut self, config: &AuthConfig, acl: &Arc<[Acl]>, wanted: i32, identities: &Identities) -> bool {
        if acl.len() < ENTRIES_MIN {
            return check_acl(config, acl, wanted, identities);
        }
        let key = (Arc::as_ptr(acl).cast::<Acl>().addr(), identities.address(), wanted);
        if let Some(known) = self.known.get(&key) {
            return known.verdict;
        }
        let verdict = check_acl(config, acl, wanted, identities);
        if self.entries + acl.len() > ENTRIES_MAX {
            self.known.clear();
            self.entries = 0;
        }
        self.entries += acl.len();
        self.known.insert(key, Known { _acl: acl.clone(), _identities: identities.clone(), verdict });
        verdict
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
        assert_eq!(verdicts.known.len(), 8);
        // Lists and identities that are gone leave no verdict to those that get their place in memory.
        for n in 0..5000 {
            let list = long(Acl::new(if n % 2 == 0 { READ } else { WRITE }, "world", "anyone"));
            let who = Identities::of_client("10.0.0.1".parse().unwrap());
            assert_eq!(verdicts.check(&config, &list, READ, &who), n % 2 == 0);
        }
        assert!(verdicts.entries <= ENTRIES_MAX && verdicts.known.len() <= ENTRIES_MAX / 100);
    }

    #[test]
    fn short_lists_are_not_kept() {
        let mut verdicts = Verdicts::default();
        let list: Arc<[Acl]> = Arc::new([Acl::new(READ, "world", "anyone")]);
        assert!(verdicts.check(&AuthConfig::default(), &list, READ, &Identities::none()));
        assert!(verdicts.known.is_empty());
    }
}
