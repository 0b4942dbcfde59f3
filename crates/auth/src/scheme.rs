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
        }
    }

    /// The scheme with this name, if Apache would have a provider for it: a login, an ACL and a match need one.
    pub(crate) fn provider(config: &AuthConfig, name: &str) -> Option<Self> {
        match Self::from_name(name)? {
            Self::Digest if !config.digest_enabled => None,
            scheme @ (Self::Digest | Self::Ip) => Some(scheme),
            Self::World | Self::Auth | Self::Super => None,
        }
    }

    /// Whether the identity `id` is the one that an ACL entry with `entry` means. Both are of this scheme.
    pub(crate) fn matches(self, id: &str, entry: &str) -> bool {
        match self {
            Self::Digest => id == entry,
            Self::Ip => ip::matches(id, entry),
            Self::World | Self::Auth | Self::Super => false,
        }
    }

    /// Whether an identity of this scheme proves who somebody is, so that `auth` expands to it.
    pub(crate) fn is_authenticated(self) -> bool {
        match self {
            Self::Digest => true,
            Self::World | Self::Auth | Self::Ip | Self::Super => false,
        }
    }
}

/// Why a login was refused. All of them are answered with AUTHFAILED (-115), and the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// No such scheme, or it is switched off.
    UnknownScheme,
    /// The connection has collected as many identities as it may.
    TooManyIdentities,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownScheme => "unknown scheme",
            Self::TooManyIdentities => "too many identities on one connection",
        })
    }
}

impl std::error::Error for AuthError {}

/// A login: the identities that `data` gives to the connection, in addition to `ip`, which it has from the start.
///
/// `ip` succeeds and adds nothing; `digest` always succeeds.
///
/// # Errors
/// [`AuthError::UnknownScheme`] for everything else.
pub fn authenticate(config: &AuthConfig, scheme: &str, data: &[u8]) -> Result<Vec<Id>, AuthError> {
    match Scheme::provider(config, scheme) {
        Some(Scheme::Digest) => Ok(digest::login(config, data)),
        Some(Scheme::Ip) => Ok(Vec::new()),
        Some(Scheme::World | Scheme::Auth | Scheme::Super) | None => Err(AuthError::UnknownScheme),
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
        Some(Scheme::World | Scheme::Auth | Scheme::Super) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for scheme in [Scheme::World, Scheme::Auth, Scheme::Digest, Scheme::Ip, Scheme::Super] {
            assert_eq!(Scheme::from_name(scheme.name()), Some(scheme));
        }
        assert_eq!(Scheme::from_name("World"), None);
    }

    #[test]
    fn logins() {
        let config = AuthConfig::default();
        assert_eq!(authenticate(&config, "digest", b"u:p").map(|ids| ids.len()), Ok(1));
        assert_eq!(authenticate(&config, "ip", b"whatever"), Ok(vec![]));
        for scheme in ["world", "auth", "super", "sasl", "x509", ""] {
            assert_eq!(authenticate(&config, scheme, b""), Err(AuthError::UnknownScheme), "{scheme}");
        }
        let off = AuthConfig { digest_enabled: false, ..config };
        assert_eq!(authenticate(&off, "digest", b"u:p"), Err(AuthError::UnknownScheme));
        assert!(!is_valid_id(&off, "digest", "u:h"));
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
