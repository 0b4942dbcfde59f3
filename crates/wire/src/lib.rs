//! The speaking room: ids, jute, frames, and every record that a client and a server exchange, that servers exchange, or
//! that a server logs.
//!
//! Everything else may use this crate; it uses nothing but the standard library and `bytes`, does no IO and keeps no
//! state. Each record is declared once, with the macro `record!`, and that one declaration gives its encoder and its
//! decoder, so that they can't disagree.
//!
//! Decoding borrows: a [`jute::Reader`] walks a slice and the records point into it. Nothing is allocated for what a
//! length prefix merely *promises*; a vector grows only as its elements really arrive.

#[macro_use]
mod record;

pub mod acl;
pub mod connect;
pub mod election;
pub mod error_code;
pub mod frame;
pub mod ids;
pub mod jute;
pub mod multi;
pub mod op;
pub mod path;
pub mod properties;
pub mod quorum;
pub mod request;
pub mod response;
pub mod stat;
pub mod txn;
pub mod watcher;

pub use acl::{Acl, AclVec, Id};
pub use error_code::ErrorCode;
pub use ids::{Epoch, ServerId, SessionId, Xid, Zxid};
pub use jute::{Buffer, DecodeError, Field, Reader, UStr};
pub use op::OpCode;
pub use stat::{Stat, StatPersisted};
