//! What servers say to each other: recordings of Apache's ensembles, and our election among Apache's servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;
mod elections;
mod golden;
mod record;
mod strangers;
