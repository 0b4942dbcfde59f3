//! Clients: they pipeline reads and writes, lose their connection, come back to any server, and carry their zxid.

use std::collections::VecDeque;

use wire::Zxid;

use super::net::ConnNumber;
use crate::store::history::Link;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// To be served; it has seen this zxid.
    Connect(Zxid),
    /// A write.
    Write,
    /// A read.
    Read,
    /// A sync, and a read behind it.
    Sync,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) xid: i32,
    pub(super) op: Op,
}

/// The answer: where the server is. A write's is its own zxid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) xid: i32,
    pub(super) zxid: Zxid,
    /// What the server has applied up to that zxid.
    pub(super) link: Link,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// The answer may not be older than that: what was acknowledged to anybody when it was asked.
    pub(super) floor: Zxid,
}

/// A client.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) conn: Option<ConnNumber>,
    /// Is it served?
    pub(super) is_connected: bool,
    pub(super) asked: VecDeque<Asked>,
    pub(super) next_xid: i32,
    /// The last zxid that it saw.
    pub(super) seen: Zxid,
    /// Counts what it is woken for, so that old calls don't count.
    pub(super) calls: u32,
    /// When it heard of its server last, in µs.
    pub(super) heard_us: u64,
    /// It asks for nothing more.
    pub(super) is_done: bool,
}
