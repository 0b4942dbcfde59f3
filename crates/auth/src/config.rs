//! What an operator decides about authentication.

use std::fmt;

/// A text that cannot be printed: a password, a digest, a key. The only way to its content is [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The content, for comparing. It must not go into a message, a log line or a metric.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The hash of the digest scheme. All servers of an ensemble must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestAlg {
    /// Apache's default.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512T224,
    /// SHA-512/256.
    Sha512T256,
    /// SHA3-224.
    Sha3T224,
    /// SHA3-256.
    Sha3T256,
    /// SHA3-384.
    Sha3T384,
    /// SHA3-512.
    Sha3T512,
}

impl DigestAlg {
    /// The algorithm that Java knows by this name, in any case. `None`: unknown, or broken (MD2, MD5).
    pub fn from_java_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, DigestAlg); 13] = [
            ("SHA1", DigestAlg::Sha1),
            ("SHA-1", DigestAlg::Sha1),
            ("SHA", DigestAlg::Sha1),
            ("SHA-224", DigestAlg::Sha224),
            ("SHA-256", DigestAlg::Sha256),
            ("SHA-384", DigestAlg::Sha384),
            ("SHA-512", DigestAlg::Sha512),
            ("SHA-512/224", DigestAlg::Sha512T224),
            ("SHA-512/256", DigestAlg::Sha512T256),
            ("SHA3-224", DigestAlg::Sha3T224),
            ("SHA3-256", DigestAlg::Sha3T256),
            ("SHA3-384", DigestAlg::Sha3T384),
            ("SHA3-512", DigestAlg::Sha3T512),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, alg)| *alg)
    }
}

/// The operator's decisions. [`Default`] is Apache's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// `skipACL=yes`: everything is allowed. Lists are still stored and checked for validity.
    pub skip_acl: bool,
    /// `user:base64(hash)` that makes a digest login the super user.
    pub super_digest: Option<Secret>,
    /// The hash of the digest scheme.
    pub digest_alg: DigestAlg,
    /// Whether the digest scheme exists at all.
    pub digest_enabled: bool,
    /// The scheme `ensemble`, with the names that this ensemble goes by; `None`: there is no such scheme. Without names
    /// every client passes. Source: `EnsembleAuthenticationProvider`.
    pub ensemble: Option<Vec<String>>,
    /// Whether the sample scheme `key` exists. Source: `KeyAuthenticationProvider`.
    pub key_enabled: bool,
    /// A connection must have an identity of one of these schemes before anything but a login is done for it; empty: it
    /// need not. Source: `AuthenticationHelper`.
    pub enforced_schemes: Vec<String>,
}

impl AuthConfig {
    /// Does this server have a provider for `scheme`? What can be enforced must have one.
    pub fn has_provider(&self, scheme: &str) -> bool {
        crate::Scheme::provider(self, scheme).is_some()
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            skip_acl: false,
            super_digest: None,
            digest_alg: DigestAlg::default(),
            digest_enabled: true,
            ensemble: None,
            key_enabled: false,
            enforced_schemes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let config = AuthConfig { super_digest: Some(Secret::new("super:xyzzy")), ..AuthConfig::default() };
        let shown = format!("{config:?} {config:#?} {}", Secret::new("xyzzy"));
        assert!(!shown.contains("xyzzy"), "{shown}");
        assert_eq!(Secret::new("a").expose(), "a");
    }

    #[test]
    fn names_of_algorithms() {
        assert_eq!(DigestAlg::from_java_name("sha-256"), Some(DigestAlg::Sha256));
        assert_eq!(DigestAlg::from_java_name("SHA1"), Some(DigestAlg::Sha1));
        assert_eq!(DigestAlg::from_java_name("sha3-256"), Some(DigestAlg::Sha3T256));
        assert_eq!(DigestAlg::from_java_name("MD5"), None);
    }
}
