//! The drivers: sockets, disks, threads and clocks around the deciding crates.
//!
//! # Threads
//! * one a shard: its connections and watches ([`shard_thread`]); the first one also accepts and ticks;
//! * one for the log, one that zero-fills the next log file, one for the purge ([`threads`]);
//! * one for snapshots, and while one is taken another that writes it ([`snapshots`]).
//!
//! * in a member of an ensemble, one for the ports between servers ([`quorum`]), two for what its machines want of the disk
//!   beside the log ([`member`]), and one for each snapshot that comes or goes.
//!
//! Syncs that hang are told of by `disk_watch` (the log's batches) and [`sync_watch`] (all others); `elections` and `syncs` have
//! what is told of votes, and of learners that are brought in sync.
//!
//! They meet in [`mod@core`]: the pipeline and the log under one lock that is never held across IO.

pub mod client_port;
pub mod clock;
pub mod config;
pub mod core;
mod denied;
pub mod descriptors;
mod direct;
mod directories;
pub mod disk;
mod disk_watch;
pub mod dynamic_files;
mod elections;
mod few_lines;
mod file_sizes;
pub mod four_letter;
mod last_stop;
pub mod listener;
pub mod member;
mod member_start;
mod oracle;
pub mod quorum;
mod recovery;
pub mod restore;
mod set_aside;
pub mod shard_thread;
pub mod snapshots;
pub mod start;
pub mod sync_watch;
mod syncs;
pub mod threads;
pub mod words;

pub use config::{Config, ConfigError, Environment};
pub use start::{Running, StartError, start};
