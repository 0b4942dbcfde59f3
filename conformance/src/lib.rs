//! Ostler against Apache ZooKeeper: servers, clients, data directories.
//!
//! What the conformance tests and `cargo xtask compare` are built of. It needs a JDK and Maven on this machine; nothing
//! here is used by the server.
//!
//! * [`Server`] is a running server process; [`apache::Server`] and [`ostler::Server`] start one.
//!   Their ports are [`ports`]'; Apache's start quickly with what [`jvm`] makes.
//! * [`java`] runs the small Java programs in `conformance/java`: Apache's own reader of a data directory, and a
//!   deterministic workload of Apache's own client.
//! * [`python`] runs programs with kazoo, the Python client, [`c`] with the C client.
//! * [`generated`] makes conversations up, and makes those short that show a difference; [`proxy`] cuts connections.
//! * [`ensemble`] is a few Apache servers that elect a leader; [`recorder`] writes down what they say to each other.
//! * [`links`] connects members so that they can be cut off, [`history`] has clients that remember what they were told,
//!   and looks at it, [`matrix`] puts them together: faults of members of mixed ensembles.
//! * [`netns`] has a network namespace for each member, [`moving`] faults of members while their ensemble is reconfigured.
//! * [`small_disk`] is a file system that a test can fill.
//! * [`raw`] speaks the client protocol frame by frame, and [`script`] compares whole conversations byte by byte.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod apache;
pub mod c;
pub mod ensemble;
pub mod four_letter;
pub mod generated;
pub mod history;
pub mod java;
pub mod jvm;
pub mod links;
pub mod matrix;
pub mod moving;
pub mod netns;
pub mod ostler;
mod paths;
pub mod ports;
mod process;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod recorder;
pub mod script;
mod server;
pub mod small_disk;

pub use paths::{target, workspace};
pub use process::Process;
pub use server::{Options, Ready, Server};
