//! A virtual world for the machines: what is real in a server, and unkind, is made here from a seed.
//!
//! No clock, no file, no thread: the same seed gives the same history, and what fails can be played again.
//!
//! | room | job |
//! |---|---|
//! | [`rng`] | random choices from a seed |
//! | [`disk`] | a disk that crashes, fills up, breaks and lies |
//! | [`store`] | the storage of one server on it, every crash, and what must never be forgotten |
//! | [`world`] | an ensemble of cores and their storage with networks, disks, clocks and clients, and what goes wrong with them |
//! | [`whole`] | the same of whole servers, and clients that speak their protocol |
//! | [`check`] | what may never be seen in it |

pub mod check;
pub mod disk;
pub mod rng;
pub mod store;
pub mod whole;
pub mod world;

pub use disk::VirtualDisk;
pub use rng::Rng;
