//! The schemes, as a closed set: what each accepts as a login, as an id in an ACL, and as a match.

use std::fmt;

use wire::Id;

use crate::config::AuthConfig;
use crate::{digest, ip};

/// A scheme that this server knows.
///
/// Closed on purpose: whoever adds one (x509, sasl) must answer every question below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Everyone: the one id is `anyone`.
    World,
    /// In a request only: all authenticated identities of the connection.
    Auth,
    /// User and password.
    Digest,
    /// The address of the client.
    Ip,
    /// The super user; never part of an ACL.
    Super,
    /// Guards against clients of another ensemble; gives no identity, and is never part of an ACL.
    Ensemble,
    /// Apache's sample: who knows a multiple of the number in `/key`.
    Key,
}

impl Scheme {
    /// The scheme with this name; names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "world" => Some(Self::World),
            "auth" => Some(Self::Auth),
            "digest" => Some(Self::Digest),
            "ip" => Some(Self::Ip),
            "super" => Some(Self::Super),
            "ensemble" => Some(Self::Ensemble),
            "key" => Some(Self::Key),
            _ => None,
        }
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Auth => "auth",
            Self::Digest => "digest",
            Self::Ip => "ip",
            Self::Super => "super",
            Self::Ensemble => "ensemble",
            Self::Key => "key",
        }
    }

    /// The scheme with this name, if Apache would have a provider for it: a login, an ACL and a match need one.
    pub(crate) fn provider(config: &AuthConfig, name: &str) -> Option<Self> {
        match Self::from_name(name)? {
            Self::Digest if !config.digest_enabled => None,
            Self::Ensemble if config.ensemble.is_none() => None,
            Self::Key if !config.key_enabled => None,
            scheme @ (Self::Digest | Self::Ip | Self::Ensemble | Self::Key) => Some(scheme),
            Self::World | Self::Auth | Self::Super => None,
        }
    }

    /// Whether the identity `id` is the one that an ACL entry with `entry` means. Both are of this scheme.
    pub(crate) fn matches(self, id: &str, entry: &str) -> bool {
        match self {
            Self::Digest | Self::Key => id == entry,
            Self::Ip => ip::matches(id, entry),
            Self::World | Self::Auth | Self::Super | Self::Ensemble => false,
        }
    }

    /// Whether an entry means the identity that is equal to it, and no other.
    pub(crate) fn matches_itself_only(self) -> bool {
        matches!(self, Self::Digest | Self::Key)
    }

    /// Whether an identity of this scheme proves who somebody is, so that `auth` expands to it.
    pub(crate) fn is_authenticated(self) -> bool {
        match self {
            Self::Digest | Self::Key => true,
            Self::World | Self::Auth | Self::Ip | Self::Super | Self::Ensemble => false,
        }
    }
}

/// Why a login was refused. All but [`Self::WrongEnsemble`] are answered with AUTHFAILED (-115), and the connection is
/// closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// No such scheme, or it is switched off.
    UnknownScheme,
    /// The connection has collected as many identities as it may.
    TooManyIdentities,
    /// A null where credentials should be.
    NoCredentials,
    /// The number is not a multiple of the key, or one of the two is no number.
    WrongKey,
    /// The client means another ensemble. The connection is closed without a reply, so that the client tries another
    /// server of its list; an error would make it give up.
    WrongEnsemble,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownScheme => "unknown scheme",
            Self::TooManyIdentities => "too many identities on one connection",
            Self::NoCredentials => "no credentials",
            Self::WrongKey => "not a multiple of the key",
            Self::WrongEnsemble => "not the name of this ensemble",
        })
    }
}

impl std::error::Error for AuthError {}

/// A login: the identities that `data` (`None`: a null) gives to the connection, in addition to `ip`, which it has from
/// the start. `key` is asked for the data of `/key`, if there is any.
///
/// `ip` and `ensemble` succeed and add nothing; `digest` succeeds with anything but a null.
///
/// # Errors
/// [`AuthError::UnknownScheme`] for schemes that are not there, [`AuthError::NoCredentials`], [`AuthError::WrongKey`], [`AuthError::WrongEnsemble`].
pub fn authenticate(
    config: &AuthConfig,
    scheme: &str,
    data: Option<&[u8]>,
    key: impl FnOnce() -> Option<Vec<u8>>,
) -> Result<Vec<Id>, AuthError> {
    match Scheme::provider(config, scheme) {
        Some(Scheme::Digest) => Ok(digest::login(config, data.ok_or(AuthError::NoCredentials)?)),
        Some(Scheme::Ip) => Ok(Vec::new()),
        Some(Scheme::Ensemble) => {
            let name = data.unwrap_or_default();
            let names = config.ensemble.as_deref().unwrap_or_default();
            if name.is_empty() || names.is_empty() || names.iter().any(|known| known.as_bytes() == name) {
                Ok(Vec::new())
            } else {
                Err(AuthError::WrongEnsemble)
            }
        }
        Some(Scheme::Key) => {
            let data = data.ok_or(AuthError::WrongKey)?;
            match key() {
                // Anybody passes while there is no key, so that it can be written at all.
                None => {}
                Some(key) => is_multiple(data, &key)?,
            }
            // Apache's sample never fills in the id.
            Ok(vec![Id { scheme: "key".to_owned(), id: String::new() }])
        }
        Some(Scheme::World | Scheme::Auth | Scheme::Super) | None => Err(AuthError::UnknownScheme),
    }
}

fn is_multiple(number: &[u8], key: &[u8]) -> Result<(), AuthError> {
    let parse = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    match (parse(number), parse(key)) {
        (Some(_), Some(0)) => Ok(()),
        (Some(number), Some(key)) if number.wrapping_rem(key) == 0 => Ok(()),
        _ => Err(AuthError::WrongKey),
    }
}

/// Whether `scheme:id` can stand in a stored ACL.
pub fn is_valid_id(config: &AuthConfig, scheme: &str, id: &str) -> bool {
    if scheme == "world" {
        return id == "anyone";
    }
    match Scheme::provider(config, scheme) {
        Some(Scheme::Digest) => digest::is_valid_id(id),
        Some(Scheme::Ip) => ip::is_valid_id(id),
        Some(Scheme::Key) => true,
        Some(Scheme::World | Scheme::Auth | Scheme::Super | Scheme::Ensemble) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for scheme in
            [Scheme::World, Scheme::Auth, Scheme::Digest, Scheme::Ip, Scheme::Super, Scheme::Ensemble, Scheme::Key]
        {
            assert_eq!(Scheme::from_name(scheme.name()), Some(scheme));
        }
        assert_eq!(Scheme::from_name("World"), None);
    }

    #[test]
    fn logins() {
        let config = AuthConfig::default();
        let authenticate = |config: &AuthConfig, scheme: &str, data: &[u8]| {
            authenticate(config, scheme, Some(data), || unreachable!("only the scheme key asks"))
        };
        assert_eq!(authenticate(&config, "digest", b"u:p").map(|ids| ids.len()), Ok(1));
        assert_eq!(authenticate(&config, "ip", b"whatever"), Ok(vec![]));
        for scheme in ["world", "auth", "super", "sasl", "x509", "ensemble", "key", ""] {
            assert_eq!(authenticate(&config, scheme, b""), Err(AuthError::UnknownScheme), "{scheme}");
            assert!(!config.has_provider(scheme), "{scheme}");
        }
        let off = AuthConfig { digest_enabled: false, ..config };
        assert!(!off.has_provider("digest") && off.has_provider("ip"));
        assert_eq!(authenticate(&off, "digest", b"u:p"), Err(AuthError::UnknownScheme));
        assert!(!is_valid_id(&off, "digest", "u:h"));
    }

    #[test]
    fn the_name_of_the_ensemble() {
        let with = |names: &[&str]| AuthConfig {
            ensemble: Some(names.iter().map(ToString::to_string).collect()),
            ..AuthConfig::default()
        };
        let login = |config: &AuthConfig, data: Option<&[u8]>| authenticate(config, "ensemble", data, || None);
        let config = with(&["one", "two"]);
        for passes in [None, Some(&b""[..]), Some(b"one"), Some(b"two")] {
            assert_eq!(login(&config, passes), Ok(vec![]), "{passes:?}");
        }
        for fails in [&b"three"[..], b"one,two", b"On", b" one"] {
            assert_eq!(login(&config, Some(fails)), Err(AuthError::WrongEnsemble), "{fails:?}");
        }
        assert_eq!(login(&with(&[]), Some(b"any")), Ok(vec![]));
        assert!(!is_valid_id(&config, "ensemble", "one"));
    }

    #[test]
    fn multiples_of_the_key() {
        let config = AuthConfig { key_enabled: true, ..AuthConfig::default() };
        let login = |key: Option<&[u8]>, data: Option<&[u8]>| {
            authenticate(&config, "key", data, || key.map(<[u8]>::to_vec)).map(|ids| ids.len())
        };
        for (key, data) in [
            (None, &b"anything"[..]),
            (Some(&b"7"[..]), b"21"),
            (Some(b"7"), b"0"),
            (Some(b"0"), b"5"),
            (Some(b"-1"), b"-2147483648"),
        ] {
            assert_eq!(login(key, Some(data)), Ok(1), "{key:?} {data:?}");
        }
        for (key, data) in [
            (None, None),
            (Some(&b"7"[..]), Some(&b"22"[..])),
            (Some(b"7"), Some(b"x")),
            (Some(b"seven"), Some(b"7")),
            (Some(b"7"), Some(b"4294967296")),
        ] {
            assert_eq!(login(key, data), Err(AuthError::WrongKey), "{key:?} {data:?}");
        }
        assert!(is_valid_id(&config, "key", "whatever"));
    }

    #[test]
    fn valid_ids() {
        let config = AuthConfig::default();
        assert!(is_valid_id(&config, "world", "anyone"));
        assert!(!is_valid_id(&config, "world", "everyone"));
        assert!(is_valid_id(&config, "digest", "u:h"));
        assert!(is_valid_id(&config, "ip", "10.0.0.0/8"));
        for scheme in ["auth", "super", "sasl"] {
            assert!(!is_valid_id(&config, scheme, ""), "{scheme}");
        }
    }
}
