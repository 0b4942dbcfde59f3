//! What passes between shards and the pipeline.

use std::sync::Arc;

use auth::Identities;
use bytes::Bytes;
use tree::watch::Modes;
use tree::{SubOutcome, TriggerKind};
use wire::{Acl, ErrorCode, OpCode, SessionId, Stat, Xid, Zxid};

/// A connection, for as long as it lives: a slot is used again under another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Its shard.
    pub shard: u16,
    /// Its place there.
    pub slot: u32,
    /// How often that place was taken before.
    pub generation: u32,
}

/// From a shard to the pipeline.
#[derive(Debug, Clone)]
pub enum Submission {
    /// A new session is wanted.
    Connect {
        /// By this connection.
        conn: ConnId,
        /// With this timeout, negotiated already.
        timeout_ms: i32,
        /// One that can only read would do.
        read_only: bool,
        /// When, on the clock that never goes back.
        received_us: u64,
    },
    /// A session shall go on here; the password was right.
    Renew {
        /// The new connection.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// The timeout, negotiated already.
        timeout_ms: i32,
        /// One that can only read would do.
        read_only: bool,
    },
    /// A write.
    Write(WriteRequest),
    /// Of a member: a connection with a session is gone.
    Gone {
        /// Which.
        conn: ConnId,
        /// Its session.
        session: SessionId,
    },
    /// A shard's thread did not run, so it heard nobody: times of the clock that never goes back.
    Slept {
        /// From when.
        from_ms: i64,
        /// Until when.
        to_ms: i64,
    },
    /// What was heard of sessions since the last round, in ms of the clock that never goes back.
    Touches {
        /// By this shard.
        shard: u16,
        /// The round that asked.
        round: u64,
        /// Session, when.
        heard: Vec<(SessionId, i64)>,
    },
}

/// A write on its way.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// Where the reply goes.
    pub conn: ConnId,
    /// In whose name.
    pub session: SessionId,
    /// The client's number of it.
    pub xid: Xid,
    /// What.
    pub op: OpCode,
    /// The body, undecoded.
    pub body: Bytes,
    /// The connection's identities when the request was received.
    pub identities: Identities,
    /// When, on the clock that never goes back.
    pub received_us: u64,
    /// When its client took something that it was told, last before that, on the same clock in ms.
    pub told_ms: i64,
    /// Reads of the same connection that came before it, behind another write: to be answered from the state just
    /// before this one.
    pub reads_before: Vec<ReadRequest>,
}

/// A read that waits.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The client's number of it.
    pub xid: Xid,
    /// What.
    pub op: OpCode,
    /// The body, undecoded.
    pub body: Bytes,
    /// The connection's identities when the request was received.
    pub identities: Identities,
    /// When, on the clock that never goes back.
    pub received_us: u64,
}

/// What a session is that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// A new one, made by a txn.
    Created {
        /// The txn.
        zxid: Zxid,
        /// When it was asked for.
        received_us: u64,
    },
    /// One that goes on, or one that only this server knows.
    Known,
    /// One of a server without a leader, which only reads.
    ToRead,
}

/// From the pipeline to a shard, in the order of zxids.
#[derive(Debug, Clone)]
pub enum InboxEntry {
    /// Something happened that watches of this shard may be for.
    Event {
        /// The txn.
        zxid: Zxid,
        /// What.
        kind: TriggerKind,
        /// To which znode.
        path: Arc<str>,
        /// The ACL that it had, unless open.
        acl: Option<Arc<[Acl]>>,
    },
    /// The answer to a write.
    Reply {
        /// Whose.
        conn: ConnId,
        /// Which.
        xid: Xid,
        /// What was asked.
        op: OpCode,
        /// The txn.
        zxid: Zxid,
        /// Its error.
        err: ErrorCode,
        /// Its body.
        body: ReplyBody,
        /// When the request was received.
        received_us: u64,
        /// Close the connection when it is written (closeSession).
        last: bool,
    },
    /// The answer to a read that travelled with a write.
    ReadReply {
        /// Whose.
        conn: ConnId,
        /// What was asked.
        op: OpCode,
        /// The whole frame.
        frame: Vec<u8>,
        /// The watch that it set.
        watch: Option<(Box<str>, Modes)>,
        /// When the request was received.
        received_us: u64,
    },
    /// A session is there, new or renewed.
    Established {
        /// Whose.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
        /// What it is.
        granted: Granted,
    },
    /// The session asked for is over.
    Expired {
        /// Who asked.
        conn: ConnId,
    },
    /// Close it without a word.
    Close {
        /// Which.
        conn: ConnId,
        /// Why, for the log.
        why: &'static str,
    },
    /// Close every connection that has, or asked for, a session: the tree is another one now.
    CloseAll {
        /// Why, for the log.
        why: &'static str,
    },
}

impl InboxEntry {
    /// How many bytes it is, if it is the answer to a read.
    pub(crate) fn answer_length(&self) -> usize {
        if let Self::ReadReply { frame, .. } = self { frame.len() } else { 0 }
    }

    /// About how many bytes it takes while it waits.
    pub(crate) fn weight(&self) -> usize {
        let more = match self {
            Self::Event { path, .. } => path.len(),
            Self::ReadReply { frame, .. } => frame.len(),
            Self::Reply { body: ReplyBody::Multi(results), .. } => results.len() * size_of::<SubOutcome>(),
            Self::Reply { body: ReplyBody::Path(path) | ReplyBody::PathAndStat(path, _), .. } => path.len(),
            Self::Reply { body: ReplyBody::Data(data, _), .. } => data.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

/// The body of a write's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyBody {
    /// None.
    None,
    /// Of create, and of sync.
    Path(Box<str>),
    /// Of create2, createContainer, createTTL.
    PathAndStat(Box<str>, Stat),
    /// Of setData and setACL.
    Stat(Stat),
    /// Of reconfig: the configuration.
    Data(Box<[u8]>, Stat),
    /// Of multi.
    Multi(Vec<SubOutcome>),
}
