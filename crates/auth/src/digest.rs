//! The digest scheme: `user:` and the base64 of a hash over `user:password`.
//!
//! Every login succeeds; a wrong password merely gives an identity that matches nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use wire::Id;

use crate::config::{AuthConfig, DigestAlg};

/// The id of `user:password`: the user is what stands before the first colon, the hash is over all of it.
pub fn digest_id(alg: DigestAlg, user_and_password: &[u8]) -> String {
    let user = user_and_password.split(|b| *b == b':').next().unwrap_or_default();
    let hash = match alg {
        DigestAlg::Sha1 => STANDARD.encode(Sha1::digest(user_and_password)),
        DigestAlg::Sha224 => STANDARD.encode(Sha224::digest(user_and_password)),
        DigestAlg::Sha256 => STANDARD.encode(Sha256::digest(user_and_password)),
        DigestAlg::Sha384 => STANDARD.encode(Sha384::digest(user_and_password)),
        DigestAlg::Sha512 => STANDARD.encode(Sha512::digest(user_and_password)),
        DigestAlg::Sha512T224 => STANDARD.encode(Sha512_224::digest(user_and_password)),
        DigestAlg::Sha512T256 => STANDARD.encode(Sha512_256::digest(user_and_password)),
        DigestAlg::Sha3T224 => STANDARD.encode(Sha3_224::digest(user_and_password)),
        DigestAlg::Sha3T256 => STANDARD.encode(Sha3_256::digest(user_and_password)),
        DigestAlg::Sha3T384 => STANDARD.encode(Sha3_384::digest(user_and_password)),
        DigestAlg::Sha3T512 => STANDARD.encode(Sha3_512::digest(user_and_password)),
    };
    format!("{}:{hash}", wire::jute::text(user))
}

/// What a login yields: its digest id, and `super:""` before it when it is the super user's.
pub(crate) fn login(config: &AuthConfig, data: &[u8]) -> Vec<Id> {
    // Java turns the bytes into a string and back before it hashes them.
    let text = wire::jute::text(data);
    let id = digest_id(config.digest_alg, text.as_bytes());
    let mut ids = Vec::with_capacity(2);
    if config.super_digest.as_ref().is_some_and(|secret| same(secret.expose().as_bytes(), id.as_bytes())) {
        ids.push(Id { scheme: "super".to_owned(), id: String::new() });
    }
    ids.push(Id { scheme: "digest".to_owned(), id });
    ids
}

/// Exactly two parts around colons, empty ones at the end not counted.
pub(crate) fn is_valid_id(id: &str) -> bool {
    let parts = id.trim_end_matches(':').split(':').count();
    parts == 2
}

/// Equality whose time does not tell where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Secret;

    #[test]
    fn vectors() {
        // As Apache's DigestAuthenticationProvider prints them.
        for (name, hash) in [
            ("SHA1", "D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("SHA-224", "opwh3FU/0WUpM+8JAOS98bsQFC+823kv438mIg=="),
            ("SHA-256", "wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig="),
            ("SHA-384", "FA/2SgoedA21NnGcUl5C1HBsMwuibAPXlAq/FqXTuUQPExUJgxpf8gWeD4eOupjP"),
            ("SHA-512", "cMAGk13FCMtJkaVQImGEKhjqoGELCiVjYdIhiD8stB1FnIpdGeFvKwAHh5mf4tUYmBR2ZY9181dZTXEHMlkVhg=="),
            ("SHA-512/224", "Jbob8j2c9tikAuLuqxcIJr3TG4aS6fcELZsiHw=="),
            ("SHA-512/256", "GV6U44a5U7SXgFZS9GkWgmwq2+im64wGlYXjCHia3mo="),
            ("SHA3-224", "774X6Nz1d3BUO6raVFndfjoMF6e1LHrnHVv5IA=="),
            ("SHA3-256", "cRy/KPYuDpW/dtsepniTMpuiuupnWgdU9txltIfv3hA="),
            ("SHA3-384", "a3efqz9Fj+qRHgJMpOPAzqpMP86/aPKowwZfSsm/gM+qBf87ZmeQYtueLs53P8Rw"),
            ("SHA3-512", "AdTSPtJYC1bEo1Z0UG5z1VXkw2AEUReEjF0RV0jap6VKcDva8ZPEO/WxrOy888alfiJyM5cm5BKhrI4X/YFcTg=="),
        ] {
            let alg = DigestAlg::from_java_name(name).unwrap();
            assert_eq!(digest_id(alg, b"super:test"), format!("super:{hash}"), "{name}");
        }
        // The password may hold colons; a missing one is hashed too.
        assert!(digest_id(DigestAlg::Sha512, b"u:p:q").starts_with("u:"));
        assert!(digest_id(DigestAlg::Sha1, b"user").starts_with("user:"));
        assert!(digest_id(DigestAlg::Sha1, b"").starts_with(':'));
    }

    #[test]
    fn the_super_user() {
        let config = AuthConfig {
            super_digest: Some(Secret::new("super:D/InIHSb7yEEbrWz8b9l71RjZJU=")),
            ..AuthConfig::default()
        };
        let schemes = |data: &[u8]| login(&config, data).into_iter().map(|id| id.scheme).collect::<Vec<_>>();
        assert_eq!(schemes(b"super:test"), ["super", "digest"]);
        assert_eq!(schemes(b"super:tesT"), ["digest"]);
        assert_eq!(login(&AuthConfig::default(), b"super:test").len(), 1);
    }

    #[test]
    fn ids_of_two_parts() {
        for id in ["u:h", "u:h:", "u:h::", ":h"] {
            assert!(is_valid_id(id), "{id}");
        }
        for id in ["", ":", "u", "u:", "u:h:x", "u::h"] {
            assert!(!is_valid_id(id), "{id}");
        }
    }
}
