//! One client connection, as data.

use std::collections::VecDeque;
use std::net::SocketAddr;

use auth::Identities;
use wire::SessionId;

use crate::answers::Answers;
use crate::inbox::{ConnId, ReadRequest};
use crate::set_watches::SetWatchesSteps;
use crate::time::Now;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but a ConnectRequest or a four-letter word may come.
    Handshake,
    /// Its session is being made or found; what it sends waits.
    Connecting,
    /// It has a session.
    Established,
    /// Nothing more is read; it closes when everything is written.
    Closing,
}

/// A request that has not been answered, in the order of requests.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    /// With the pipeline: a write, or a read that travels with one.
    Pipeline,
    /// Here, behind a write.
    Read(ReadRequest),
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Which.
    pub id: ConnId,
    /// The other end.
    pub peer: SocketAddr,
    /// What it is doing.
    pub phase: Phase,
    /// Its session; 0 before there is one.
    pub session: SessionId,
    /// The session's timeout.
    pub timeout_ms: i32,
    /// Did its ConnectRequest have the read-only field (old clients have not)?
    pub(crate) sends_read_only: bool,
    /// Who it is.
    pub(crate) identities: Identities,
    /// Received bytes that are not a whole frame yet, or wait for their turn.
    pub(crate) unread: Vec<u8>,
    /// Bytes to be sent.
    pub(crate) out: Vec<u8>,
    /// How many of `out` are written.
    pub(crate) written: usize,
    /// The setWatches that is being answered in steps: what comes behind it waits.
    pub(crate) setting: Option<Box<SetWatchesSteps>>,
    /// Requests without an answer.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Bytes of the bodies of the reads among them that wait here.
    pub(crate) waiting_bytes: usize,
    /// When it was accepted, in ms of the clock that never goes back.
    opened_ms: i64,
    /// When it was last heard, in ms of the clock that never goes back.
    pub(crate) heard_ms: i64,
    /// Was it heard since the last round of touches?
    pub(crate) heard: bool,
    /// Is it in the shard's list of connections with something to send or to close?
    pub(crate) dirty: bool,
    /// Is it in the shard's list of connections that were told of an event?
    pub(crate) told: bool,
    /// Is it in the shard's list of connections that had to wait?
    pub(crate) paused: bool,
    /// Since when its next request waits because of `request_throttle_max_requests`, on the clock that never goes back, in
    /// ms; 0: it does not.
    pub(crate) held_ms: i64,
    /// Bytes to be sent, as counted in the shard's sum of them.
    pub(crate) counted: usize,
    /// The shard's round in which its other end last read something, or began to have something to read.
    pub(crate) read_in_round: u32,
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// What it was answered.
    pub answers: Answers,
}

impl Connection {
    /// A new one.
    pub fn new(id: ConnId, peer: SocketAddr, now: Now) -> Self {
        let now_ms = now.mono_ms();
        Self {
            id,
            peer,
            phase: Phase::Handshake,
            session: SessionId(0),
            timeout_ms: 0,
            sends_read_only: true,
            identities: Identities::of_client(peer.ip()),
            unread: Vec::new(),
            out: Vec::new(),
            written: 0,
            setting: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            opened_ms: now_ms,
            heard_ms: now_ms,
            heard: false,
            dirty: false,
            told: false,
            paused: false,
            held_ms: 0,
            counted: 0,
            read_in_round: 0,
            received: 0,
            sent: 0,
            answers: Answers::new(now.wall_ms),
        }
    }

    /// How many requests wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    /// When it was last heard, in ms of the clock that never goes back.
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms
    }

    /// `crst`.
    pub fn reset_counters(&mut self) {
        self.received = 0;
        self.sent = 0;
        self.answers.reset();
    }

    /// Has it had no session since before `late_ms`, on the clock that never goes back? Single bytes now and then don't
    /// count.
    pub fn is_stuck_in_handshake(&self, late_ms: i64) -> bool {
        self.session.0 == 0 && self.opened_ms < late_ms
    }

    /// The bytes that are to be sent.
    pub fn to_send(&self) -> &[u8] {
        &self.out[self.written..]
    }
}
