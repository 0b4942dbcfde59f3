//! What a client knows: its session, what it has asked for, what it has seen, what it watches.

use std::collections::VecDeque;

use wire::{SessionId, Xid, Zxid};

use super::check::Watches;
use crate::world::net::ConnNumber;

/// What a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// setWatches, of a client that had seen this zxid.
    SetWatches(Zxid),
    /// A create, of any kind.
    Create,
    /// Another write.
    Write,
    /// multi.
    Multi,
    /// reconfig.
    Reconfig,
    /// getData.
    Get { path: String, watch: bool },
    /// exists.
    Exists { path: String, watch: bool },
    /// getChildren2.
    Children { path: String, watch: bool },
    /// sync.
    Sync,
    /// closeSession.
    Close,
}

/// A request without an answer.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) xid: Xid,
    pub(super) what: What,
    /// What was acknowledged to anybody when it was asked.
    pub(super) floor: Zxid,
}

/// How far it has come with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// It has none, or no answer to its ConnectRequest yet.
    #[default]
    Away,
    /// It is served, and has asked for its watches again.
    SettingWatches,
    /// It is served.
    Served,
}

/// A client.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) conn: Option<ConnNumber>,
    /// Counts its connections.
    pub(super) connections: u32,
    pub(super) phase: Phase,
    /// It can do with a server that has no leader, and with what that shows.
    pub(super) takes_old: bool,
    /// It has such a server.
    pub(super) only_reads: bool,
    /// 0: none.
    pub(super) session: SessionId,
    pub(super) timeout_ms: u64,
    /// Bytes that came and are no whole frame yet.
    pub(super) received: Vec<u8>,
    pub(super) asked: VecDeque<Asked>,
    /// Goes on through all its connections.
    pub(super) last_xid: i32,
    /// The last zxid that a server without a leader showed it on this connection.
    pub(super) seen_alone: Zxid,
    /// The last zxid that it saw.
    pub(super) seen: Zxid,
    pub(super) watches: Watches,
    /// A sequential znode that it has created.
    pub(super) sequential: Option<String>,
    /// Counts what it is woken for, so that old calls don't count.
    pub(super) calls: u32,
    /// When it heard of its server last, and spoke to it, in µs.
    pub(super) heard_us: u64,
    pub(super) spoke_us: u64,
    /// It asks for nothing more.
    pub(super) is_done: bool,
}

impl Client {
    /// Its connection is gone, with all that waited for an answer.
    pub(super) fn lost(&mut self) {
        self.conn = None;
        self.phase = Phase::Away;
        self.received.clear();
        self.asked.clear();
        self.seen_alone = Zxid::ZERO;
        if std::mem::take(&mut self.only_reads) {
            // Nobody else knows it.
            self.forget_session();
        }
    }

    /// Its session is over, and what hung on it.
    pub(super) fn forget_session(&mut self) {
        self.session = SessionId(0);
        self.watches.clear();
        self.sequential = None;
    }
}
