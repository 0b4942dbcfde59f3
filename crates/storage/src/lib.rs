//! Txn log, snapshots and recovery, byte for byte as Apache ZooKeeper 3.9 keeps them.
//!
//! Everything here *decides* which bytes go where and *asks others* to put them there: the machines give [`Effect`]s, an
//! executor (the server's disk threads on real files, a simulator on virtual ones) carries them out and reports back. There is no file system, clock, thread or random number in this crate, and every machine is `Clone`, so
//! a world that holds one can be forked between any two effects.
//!
//! | room | job |
//! |---|---|
//! | [`disk`] | what a disk must offer: effects, listing, reading |
//! | [`names`] | the names of files, as Apache gives and sorts them |
//! | [`log`] | the txn log: records, reading, which files to read, writing |
//! | [`snapshot`] | snapshot files: encoding, writing, decoding |
//! | [`mod@recover`] | from a directory to a tree: which snapshot, which txns, what is cut |
//! | [`epoch`] | the files `acceptedEpoch` and `currentEpoch` |
//! | [`last_stop`] | what a server leaves word of for the next start |
//! | [`policy`] | when to take a snapshot |
//! | [`purge`] | which old files may go |
//!
//! Formats: `docs/formats/txn-log.md`, `docs/formats/snapshot.md`.

pub mod disk;
pub mod epoch;
pub mod last_stop;
pub mod log;
pub mod names;
pub mod policy;
pub mod purge;
pub mod recover;
mod settle;
pub mod snapshot;

pub use disk::{Dir, Disk, Effect, FileRef};
pub use log::fill::{Bulk, FillJob};
pub use log::room::{Room, Stopped};
pub use log::writer::{LogJob, LogOptions, LogWriter};
pub use names::FileName;
pub use recover::{RecoverError, RecoverOptions, Recovered, Restore, recover};
