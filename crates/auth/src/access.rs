//! The check itself, and what happens to a list before it is stored and before it is shown.

use std::collections::BTreeSet;
use std::fmt;

use wire::acl::{ADMIN, READ};
use wire::{Acl, Id};

use crate::config::AuthConfig;
use crate::identities::Identities;
use crate::scheme::{Scheme, is_valid_id};

/// Whether one of `identities` may do `wanted` to a znode with this list. Bits of `wanted` are alternatives: any one
/// is enough. A missing or empty list allows everything, as in Apache.
///
/// Source: `ZooKeeperServer.checkACL`. Never allocates.
pub fn check_acl(config: &AuthConfig, acl: &[Acl], wanted: i32, identities: &Identities) -> bool {
    // Most znodes are open; one comparison answers for them. Bits above ALL take the long way.
    if let [entry] = acl
        && entry.perms & wanted != 0
        && is_anyone(&entry.id)
    {
        return true;
    }
    if config.skip_acl || acl.is_empty() || identities.is_super() {
        return true;
    }
    acl.iter().any(|entry| entry.perms & wanted != 0 && allows(config, &entry.id, identities))
}

fn allows(config: &AuthConfig, entry: &Id, identities: &Identities) -> bool {
    if is_anyone(entry) {
        return true;
    }
    let Some(scheme) = Scheme::provider(config, &entry.scheme) else { return false };
    if scheme.matches_itself_only() {
        return identities.contains(entry);
    }
    identities.as_slice().iter().any(|id| id.scheme == entry.scheme && scheme.matches(&id.id, &entry.id))
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// The list of a request cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidAcl {
    /// It says nothing that could be stored: answered with INVALIDACL (-114).
    Unfit,
    /// `auth` makes it longer than there is room for: answered as a txn is that is too long.
    TooLong,
}

impl fmt::Display for InvalidAcl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unfit => "invalid ACL",
            Self::TooLong => "the ACL is too long, with the identities that its auth entries stand for",
        })
    }
}

impl std::error::Error for InvalidAcl {}

/// The list to store for the list of a request: duplicates gone, `auth` replaced by the identities that prove who the
/// client is, every other entry checked. Permission bits are not checked; 0 and unknown bits are stored. The list takes no
/// more than `bytes_max` on the wire: each of many thousand `auth` entries stands for all identities.
///
/// Source: `PrepRequestProcessor.fixupACL`, which has no bound.
///
/// # Errors
/// No list, an empty one, an entry that no provider accepts, `auth` without an authenticated identity, or too long.
pub fn fixup_acl(
    config: &AuthConfig,
    acl: Option<&[Acl]>,
    identities: &Identities,
    bytes_max: usize,
) -> Result<Vec<Acl>, InvalidAcl> {
    let acl = acl.filter(|acl| !acl.is_empty()).ok_or(InvalidAcl::Unfit)?;
    let mut room = bytes_max;
    let mut takes = |id: &Id| {
        room = room.checked_sub(ENTRY_BYTES + id.scheme.len() + id.id.len()).ok_or(InvalidAcl::TooLong)?;
        Ok(())
    };
    let mut stored = Vec::with_capacity(acl.len());
    let mut seen = BTreeSet::new();
    for entry in acl {
        if !seen.insert(entry) {
            continue;
        }
        if entry.id.scheme == "auth" {
            let before = stored.len();
            for id in identities.as_slice() {
                if Scheme::provider(config, &id.scheme).is_some_and(Scheme::is_authenticated) {
                    takes(id)?;
                    stored.push(Acl { perms: entry.perms, id: id.clone() });
                }
            }
            if stored.len() == before {
                return Err(InvalidAcl::Unfit);
            }
        } else if is_valid_id(config, &entry.id.scheme, &entry.id.id) {
            takes(&entry.id)?;
            stored.push(entry.clone());
        } else {
            return Err(InvalidAcl::Unfit);
        }
    }
    Ok(stored)
}

/// What an entry takes beside its two texts: its permissions, and their lengths.
const ENTRY_BYTES: usize = 12;

/// What getACL needs: any of these.
pub const GET_ACL_PERMS: i32 = READ | ADMIN;

/// The list that getACL shows. [`GET_ACL_PERMS`] are checked before; to a client without ADMIN, the hash of each digest
/// id is shown as `x`.
///
/// Source: `FinalRequestProcessor`, getACL.
pub fn redact_acl(config: &AuthConfig, acl: Vec<Acl>, identities: &Identities) -> Vec<Acl> {
    if check_acl(config, &acl, ADMIN, identities) {
        return acl;
    }
    acl.into_iter()
        .map(|mut entry| {
            if entry.id.scheme == "digest"
                && let Some((user, _)) = entry.id.id.split_once(':')
            {
                entry.id.id = format!("{user}:x");
            }
            entry
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use wire::acl::{ALL, CREATE, DELETE, WRITE};

    use super::*;

    const OPEN: (i32, &str, &str) = (ALL, "world", "anyone");

    fn list(entries: &[(i32, &str, &str)]) -> Vec<Acl> {
        entries.iter().map(|(perms, scheme, id)| Acl::new(*perms, *scheme, *id)).collect()
    }

    fn client(ids: &[(&str, &str)]) -> Identities {
        ids.iter().fold(Identities::of_client("10.1.2.3".parse().unwrap()), |identities, (scheme, id)| {
            identities.with(Id { scheme: (*scheme).into(), id: (*id).into() })
        })
    }

    fn may(acl: &[(i32, &str, &str)], wanted: i32, ids: &[(&str, &str)]) -> bool {
        check_acl(&AuthConfig::default(), &list(acl), wanted, &client(ids))
    }

    #[test]
    fn open_and_empty_lists() {
        assert!(may(&[OPEN], WRITE, &[]));
        assert!(may(&[], ADMIN, &[]));
        assert!(may(&[(READ, "world", "anyone")], READ, &[]));
        assert!(!may(&[(READ, "world", "anyone")], WRITE, &[]));
        assert!(!may(&[(0, "world", "anyone")], ALL, &[]));
        assert!(!may(&[(ALL, "world", "someone")], READ, &[]));
    }

    #[test]
    fn any_wanted_bit_is_enough() {
        assert!(may(&[(ADMIN, "world", "anyone")], GET_ACL_PERMS, &[]));
        assert!(may(&[(READ, "world", "anyone"), (WRITE, "ip", "10.1.2.3")], WRITE, &[]));
        assert!(!may(&[(READ, "world", "anyone"), (WRITE, "ip", "10.1.2.4")], WRITE, &[]));
    }

    #[test]
    fn schemes_match_their_own_ids_only() {
        assert!(may(&[(ALL, "digest", "u:h")], READ, &[("digest", "u:h")]));
        assert!(!may(&[(ALL, "digest", "u:h")], READ, &[("digest", "u:i")]));
        assert!(!may(&[(ALL, "digest", "u:h")], READ, &[("sasl", "u:h")]));
        assert!(may(&[(ALL, "ip", "10.0.0.0/8")], READ, &[]));
        assert!(!may(&[(ALL, "ip", "::/0")], READ, &[]));
        // No provider, no match, whatever the ids say.
        assert!(!may(&[(ALL, "sasl", "u")], READ, &[("sasl", "u")]));
        assert!(!may(&[(ALL, "auth", "")], READ, &[("auth", "")]));
    }

    #[test]
    fn the_ways_around() {
        assert!(may(&[(0, "digest", "u:h")], DELETE, &[("super", "")]));
        let skip = AuthConfig { skip_acl: true, ..AuthConfig::default() };
        assert!(check_acl(&skip, &list(&[(0, "digest", "u:h")]), DELETE, &Identities::none()));
        // Without the digest provider, its entries match nobody.
        let off = AuthConfig { digest_enabled: false, ..AuthConfig::default() };
        assert!(!check_acl(&off, &list(&[(ALL, "digest", "u:h")]), READ, &client(&[("digest", "u:h")])));
    }

    fn fixed(acl: &[(i32, &str, &str)], ids: &[(&str, &str)]) -> Result<Vec<Acl>, InvalidAcl> {
        fixup_acl(&AuthConfig::default(), Some(&list(acl)), &client(ids), 1 << 20)
    }

    #[test]
    fn lists_are_made_fit() {
        assert_eq!(fixup_acl(&AuthConfig::default(), None, &client(&[]), 1 << 20), Err(InvalidAcl::Unfit));
        assert_eq!(fixed(&[], &[]), Err(InvalidAcl::Unfit));
        assert_eq!(fixed(&[OPEN, (1, "ip", "10.0.0.0/8"), OPEN], &[]), Ok(list(&[OPEN, (1, "ip", "10.0.0.0/8")])));
        // Bits are stored as they come.
        assert_eq!(fixed(&[(0, "world", "anyone"), (64, "digest", "u:h")], &[]).unwrap().len(), 2);
        for bad in [("world", "x"), ("ip", "nowhere"), ("digest", "u"), ("sasl", "u"), ("super", ""), ("", "")] {
            assert_eq!(fixed(&[OPEN, (ALL, bad.0, bad.1)], &[]), Err(InvalidAcl::Unfit), "{bad:?}");
        }
    }

    #[test]
    fn auth_becomes_the_authenticated_identities() {
        assert_eq!(fixed(&[(ALL, "auth", "")], &[]), Err(InvalidAcl::Unfit));
        // The super identity has no provider and ip proves nothing; only digest is left.
        assert_eq!(
            fixed(&[(CREATE, "auth", "ignored"), OPEN], &[("super", ""), ("digest", "u:h"), ("digest", "v:i")]),
            Ok(list(&[(CREATE, "digest", "u:h"), (CREATE, "digest", "v:i"), OPEN]))
        );
        assert_eq!(fixed(&[(ALL, "auth", "")], &[("super", "")]), Err(InvalidAcl::Unfit));
        // What the expansion repeats stays repeated, as in Apache.
        assert_eq!(
            fixed(&[(ALL, "digest", "u:h"), (ALL, "auth", "")], &[("digest", "u:h")]),
            Ok(list(&[(ALL, "digest", "u:h"), (ALL, "digest", "u:h")]))
        );
    }

    #[test]
    fn what_auth_stands_for_has_a_bound() {
        let (config, many) = (AuthConfig::default(), client(&[("digest", "u:h"), ("digest", "v:i")]));
        let entries: Vec<Acl> = (0..100).map(|n| Acl::new(ALL, "auth", n.to_string())).collect();
        let whole = fixup_acl(&config, Some(&entries), &many, 100 * 2 * (12 + 9)).unwrap();
        assert_eq!(whole.len(), 200);
        assert_eq!(fixup_acl(&config, Some(&entries), &many, 100 * 2 * (12 + 9) - 1), Err(InvalidAcl::TooLong));
        let plain = list(&[(ALL, "digest", "u:h"), (READ, "digest", "u:h")]);
        assert_eq!(fixup_acl(&config, Some(&plain), &many, 41), Err(InvalidAcl::TooLong));
        assert!(fixup_acl(&config, Some(&plain), &many, 42).is_ok());
    }

    #[test]
    fn hashes_are_for_administrators() {
        let shown = |ids| {
            redact_acl(
                &AuthConfig::default(),
                list(&[(READ, "world", "anyone"), (ALL, "digest", "u:h"), (READ, "ip", "10.9.9.9")]),
                &client(ids),
            )
        };
        assert_eq!(shown(&[])[1], Acl::new(ALL, "digest", "u:x"));
        assert_eq!(shown(&[])[2], Acl::new(READ, "ip", "10.9.9.9"));
        assert_eq!(shown(&[("digest", "u:h")])[1], Acl::new(ALL, "digest", "u:h"));
        assert_eq!(shown(&[("super", "")])[1], Acl::new(ALL, "digest", "u:h"));
    }

    /// The rule of the reference, word by word and without a fast path.
    fn model(config: &AuthConfig, acl: &[Acl], wanted: i32, identities: &Identities) -> bool {
        if config.skip_acl || acl.is_empty() || identities.as_slice().iter().any(|id| id.scheme == "super") {
            return true;
        }
        acl.iter().filter(|entry| entry.perms & wanted != 0).any(|entry| {
            (entry.id.scheme == "world" && entry.id.id == "anyone")
                || identities.as_slice().iter().any(|id| match entry.id.scheme.as_str() {
                    "digest" => config.digest_enabled && *id == entry.id,
                    "ip" => id.scheme == "ip" && crate::ip::matches(&id.id, &entry.id.id),
                    _ => false,
                })
        })
    }

    fn any_id() -> impl Strategy<Value = Id> {
        let scheme = prop::sample::select(vec!["world", "digest", "ip", "super", "auth", "sasl"]);
        let id = prop::sample::select(vec!["anyone", "u:h", "v:i", "10.1.2.3", "10.0.0.0/8", ""]);
        (scheme, id).prop_map(|(scheme, id)| Id { scheme: scheme.into(), id: id.into() })
    }

    proptest! {
        #[test]
        fn the_check_is_the_rule(
            acl in prop::collection::vec((0_i32..64, any_id()), 0..4),
            ids in prop::collection::vec(any_id(), 0..4),
            wanted in 0_i32..32,
            skip_acl in prop::bool::weighted(0.1),
            digest_enabled: bool,
        ) {
            let config = AuthConfig { skip_acl, digest_enabled, ..AuthConfig::default() };
            let acl: Vec<Acl> = acl.into_iter().map(|(perms, id)| Acl { perms, id }).collect();
            let identities = ids.into_iter().fold(client(&[]), |identities, id| identities.with(id));
            prop_assert_eq!(
                check_acl(&config, &acl, wanted, &identities),
                model(&config, &acl, wanted, &identities)
            );
        }
    }
}
