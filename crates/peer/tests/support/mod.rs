//! A server without IO, clients that say random things, and the model that knows what must be answered.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(dead_code, reason = "no test uses all of it")]

pub mod check;
/// The tree in its plainest form: the one that the tree itself is tested with.
#[path = "../../../tree/tests/support/model.rs"]
pub mod model;
pub mod naive_prep;
pub mod naive_read;
pub mod talk;
pub mod world;
