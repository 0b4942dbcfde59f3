//! The drivers: sockets, disks, threads and clocks around the deciding crates.

pub mod config;
pub mod four_letter;
