//! Who a connection is, and what it may do: authentication schemes and the ACL check.
//!
//! A deciding crate: no IO, no clock, no randomness; everything is an argument.
//!
//! | question | answered by |
//! |---|---|
//! | who is this connection? | [`Identities`], grown by [`authenticate`] |
//! | may it do this? | [`check_acl`], on the way of every request |
//! | which list will a new znode have? | [`fixup_acl`] |
//! | which part of a list may it see? | [`redact_acl`] |
//!
//! The rules are Apache's to the letter (`ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `DigestAuthenticationProvider`, `IPAuthenticationProvider`), because an ACL that means something else on another
//! server of the ensemble is a hole. Identities belong to the connection, not to the session, and are captured with
//! each request.
//!
//! Invariant: [`check_acl`] never allocates.

mod access;
mod config;
mod digest;
mod identities;
mod ip;
mod scheme;
mod verdicts;

pub use access::{GET_ACL_PERMS, InvalidAcl, check_acl, fixup_acl, redact_acl};
pub use config::{AuthConfig, DigestAlg, Secret};
pub use digest::digest_id;
pub use identities::{Identities, host_address};
pub use scheme::{AuthError, Scheme, authenticate, is_valid_id};
pub use verdicts::Verdicts;
