//! The identities of a connection.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use wire::Id;

use crate::config::AuthConfig;
use crate::scheme::{AuthError, authenticate};

/// A set without duplicates, in the order of arrival. The first is always `ip:<address of the client>`.
///
/// Cloning is one reference count, because every request takes the set along. Apache's set has no order of its own;
/// here the order is fixed, so that the expansion of `auth` is the same in every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identities(Arc<Ids>);

#[derive(Debug, PartialEq, Eq)]
struct Ids {
    all: Vec<Id>,
    /// Where they are, by scheme and id: a list of 20,000 entries is looked through for each of 256 identities.
    sorted: Vec<u16>,
}

impl Ord for Identities {
    fn cmp(&self, other: &Self) -> Ordering {
        // Clones of one are the rule.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.all.cmp(&other.0.all) }
    }
}

impl PartialOrd for Identities {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ids {
    fn of(all: Vec<Id>) -> Arc<Self> {
        let ordered: BTreeSet<(&Id, u16)> = all.iter().zip(0..).collect();
        let sorted = ordered.into_iter().map(|(_, at)| at).collect();
        Arc::new(Self { all, sorted })
    }
}

impl Identities {
    /// The identities of a connection that was just accepted from `address`.
    pub fn of_client(address: IpAddr) -> Self {
        Self(Ids::of(vec![Id { scheme: "ip".to_owned(), id: host_address(address) }]))
    }

    /// No identity at all: requests that the server makes itself.
    pub fn none() -> Self {
        Self(Ids::of(Vec::new()))
    }

    /// Identities that another server forwarded with a request.
    pub fn forwarded(ids: impl IntoIterator<Item = Id>) -> Self {
        ids.into_iter().fold(Self::none(), |identities, id| identities.with(id))
    }

    /// The set with `id` in it.
    #[must_use]
    pub fn with(&self, id: Id) -> Self {
        // Others forward as many as they please; nobody here gets beyond 256 (`login`).
        if self.contains(&id) || self.0.all.len() >= usize::from(u16::MAX) {
            return self.clone();
        }
        Self(Ids::of(self.0.all.iter().cloned().chain([id]).collect()))
    }

    /// Whether this one is among them.
    pub fn contains(&self, id: &Id) -> bool {
        self.0.sorted.binary_search_by(|&at| self.0.all[usize::from(at)].cmp(id)).is_ok()
    }

    /// Bytes of all of them, schemes and ids: what an `auth` entry of an ACL can become.
    pub fn bytes(&self) -> usize {
        self.0.all.iter().map(|id| id.scheme.len() + id.id.len()).sum()
    }

    /// The set after a login with [`authenticate`].
    ///
    /// # Errors
    /// Those of [`authenticate`], and [`AuthError::TooManyIdentities`] above 256 identities or 64 KiB of them:
    /// Apache has no bound, but each of them is kept, and compared at each check.
    pub fn login(
        &self,
        config: &AuthConfig,
        scheme: &str,
        data: Option<&[u8]>,
        key: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<Self, AuthError> {
        let grown = authenticate(config, scheme, data, key)?.into_iter().fold(self.clone(), |all, id| all.with(id));
        // Who has logged in before keeps what it has, and can log in with it again.
        let is_full = grown.0.all.len() > IDENTITIES_MAX || grown.bytes() > IDENTITIES_BYTES_MAX;
        if is_full && grown != *self { Err(AuthError::TooManyIdentities) } else { Ok(grown) }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Id] {
        &self.0.all
    }

    /// May a connection with these ids do anything? Not if a scheme is enforced and none of them has it.
    pub fn satisfy(&self, config: &AuthConfig) -> bool {
        let enforced = &config.enforced_schemes;
        enforced.is_empty() || self.0.all.iter().any(|id| enforced.contains(&id.scheme))
    }

    /// Whether an id of scheme `super` is among them.
    pub fn is_super(&self) -> bool {
        self.0.all.iter().any(|id| id.scheme == "super")
    }
}

/// The text that Java prints for an address: IPv6 in full, without `::` and without leading zeros. An IPv4 address
/// mapped into IPv6 is an IPv4 address, as it is for Java.
pub fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// Most identities that one connection collects; a login beyond it is refused. Apache has no bound.
const IDENTITIES_MAX: usize = 256;
/// Most bytes of them, schemes and ids: a name may be as long as a frame.
const IDENTITIES_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(scheme: &str, id: &str) -> Id {
        Id { scheme: scheme.into(), id: id.into() }
    }

    #[test]
    fn java_text_of_addresses() {
        for (address, text) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("fe80::0a00:1", "fe80:0:0:0:0:0:a00:1"),
            ("2001:db8::ffff", "2001:db8:0:0:0:0:0:ffff"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
        ] {
            assert_eq!(host_address(address.parse().unwrap()), text);
        }
    }

    #[test]
    fn a_set_that_keeps_its_order() {
        let client = Identities::of_client("10.0.0.7".parse().unwrap());
        let logged_in = client.with(id("digest", "a:b")).with(id("digest", "a:b")).with(id("super", ""));
        assert_eq!(logged_in.as_slice(), [id("ip", "10.0.0.7"), id("digest", "a:b"), id("super", "")]);
        assert!(logged_in.is_super() && !client.is_super());
        assert_eq!(Identities::forwarded(logged_in.as_slice().to_vec()), logged_in);
        let config = AuthConfig::default();
        let login = |ids: &Identities, scheme: &str, data: &[u8]| ids.login(&config, scheme, Some(data), || None);
        assert_eq!(login(&client, "digest", b"u:p").map(|ids| ids.as_slice().len()), Ok(2));
        assert_eq!(login(&client, "ip", b""), Ok(client.clone()));
        let full = (0..255).fold(client.clone(), |all, n| all.with(id("digest", &n.to_string())));
        assert_eq!(login(&full, "digest", b"u:p"), Err(AuthError::TooManyIdentities));
        let named = |name: &str| format!("{}:p", name.repeat(60_000)).into_bytes();
        let (long, longer) = (named("u"), named("v"));
        let has_long = login(&client, "digest", &long).unwrap();
        assert_eq!(login(&has_long, "digest", &long), Ok(has_long.clone()));
        assert_eq!(login(&has_long, "digest", &longer), Err(AuthError::TooManyIdentities));
        assert!(Arc::ptr_eq(&client.0, &client.with(id("ip", "10.0.0.7")).0));
    }

    #[test]
    fn enforced_schemes() {
        let enforcing = |schemes: &[&str]| AuthConfig {
            enforced_schemes: schemes.iter().map(ToString::to_string).collect(),
            ..AuthConfig::default()
        };
        let client = Identities::of_client("10.0.0.7".parse().unwrap());
        assert!(client.satisfy(&enforcing(&[])));
        assert!(!client.satisfy(&enforcing(&["digest"])));
        assert!(client.with(id("digest", "a:b")).satisfy(&enforcing(&["sasl", "digest"])));
        assert!(client.satisfy(&enforcing(&["ip"])), "everybody has an address");
        assert!(!client.with(id("super", "")).satisfy(&enforcing(&["digest"])));
    }
}
