//! The drivers: sockets, disks, threads and clocks around the deciding crates.
