//! One client connection, as data.

use std::collections::VecDeque;
use std::net::SocketAddr;

use auth::Identities;
use wire::SessionId;

use crate::answers::Answers;
use crate::inbox::{ConnId, ReadRequest};
use crate::long_read::LongRead;
use crate::set_watches::SetWatchesSteps;
use crate::time::Now;
use crate::travel::{Brings, UnderWay};
use crate::unprocessed::Held;

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
    /// With the pipeline: a read that travels with a write.
    Traveller,
    /// With the pipeline.
    Write(Brings),
    /// With the pipeline: a sync of a member of an ensemble. Nothing behind it is looked at before it is answered, since
    /// the leader does not answer it in the order of writes.
    Sync(Brings),
    /// Here, behind a write.
    Read(ReadRequest),
}

impl ReadRequest {
    /// What it costs to let it wait: a ping has no body, and takes its place all the same.
    pub(crate) fn waiting_bytes(&self) -> usize {
        size_of::<Waiting>() + self.body.len()
    }
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
    /// Bytes to be sent first.
    pub(crate) parts: VecDeque<Vec<u8>>,
    /// How many they are.
    pub(crate) parts_bytes: usize,
    /// Bytes to be sent behind the parts, and behind the answer of a read that holds events back.
    pub(crate) out: Vec<u8>,
    /// How many of the first part, or of `out` if there is none, are written.
    pub(crate) written: usize,
    /// The setWatches that is being answered in steps: what comes behind it waits.
    pub(crate) setting: Option<Box<SetWatchesSteps>>,
    /// The read that is being answered in steps. Everything else of the connection waits behind it.
    pub(crate) long: Option<Box<LongRead>>,
    /// Requests without an answer. Those that wait here are behind all that are with the pipeline.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Bytes of the reads among them that wait here: their bodies, and the place that each takes.
    pub(crate) waiting_bytes: usize,
    /// What those may lead to that are with the pipeline.
    pub(crate) under_way: UnderWay,
    /// When it was accepted, in ms of the clock that never goes back.
    opened_ms: i64,
    /// When it was last heard, in ms of the clock that never goes back.
    pub(crate) heard_ms: i64,
    /// When it last took some of what it is sent, in ms of the clock that never goes back.
    pub(crate) took_ms: i64,
    /// Was it heard since the last round of touches?
    pub(crate) heard: bool,
    /// Was its closeSession answered?
    pub(crate) closed_session: bool,
    /// Is it in the shard's list of connections with something to send or to close?
    pub(crate) dirty: bool,
    /// Is it in the shard's list of connections that were told of an event?
    pub(crate) told: bool,
    /// Is it in the shard's list of connections that had to wait?
    pub(crate) paused: bool,
    /// Since when its next request waits because of `request_throttle_max_requests`, on the clock that never goes back, in
    /// ms; 0: it does not.
    pub(crate) held_ms: i64,
    /// What of it is counted among that which is received and not processed.
    pub(crate) held: Held,
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
            parts: VecDeque::new(),
            parts_bytes: 0,
            out: Vec::new(),
            written: 0,
            setting: None,
            long: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            under_way: UnderWay::default(),
            opened_ms: now_ms,
            heard_ms: now_ms,
            took_ms: now_ms,
            heard: false,
            closed_session: false,
            dirty: false,
            told: false,
            paused: false,
            held_ms: 0,
            held: Held::default(),
            counted: 0,
            read_in_round: 0,
            received: 0,
            sent: 0,
            answers: Answers::new(now.wall_ms),
        }
    }

    /// The oldest of the requests that are with the pipeline has its answer; returns what was counted for that.
    pub(crate) fn is_answered(&mut self) -> usize {
        let Some(Waiting::Write(write) | Waiting::Sync(write)) = self.waiting.pop_front() else { return 0 };
        self.under_way.end(write);
        write.weight()
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

    /// Bytes that are to be sent next; more may follow them.
    pub fn to_send(&self) -> &[u8] {
        match self.parts.front() {
            Some(part) => &part[self.written..],
            None if self.holds_events() => &[],
            None => &self.out[self.written..],
        }
    }

    /// How many bytes are not sent yet.
    pub fn unsent(&self) -> usize {
        self.parts_bytes + self.out.len() - self.written
    }

    /// How many of them are not part of an answer that was made in steps, or before one.
    pub(crate) fn unsent_behind_parts(&self) -> usize {
        self.out.len() - if self.parts.is_empty() { self.written } else { 0 }
    }

    /// The room that its buffer has for what was received and is not processed.
    pub fn unread_capacity(&self) -> usize {
        self.unread.capacity()
    }

    fn holds_events(&self) -> bool {
        self.long.as_ref().is_some_and(|long| long.holds_events())
    }

    /// What is to be sent now goes before all that comes from here on.
    pub(crate) fn seal(&mut self) {
        let out = std::mem::take(&mut self.out);
        if self.parts.is_empty() && self.written == out.len() {
            self.written = 0;
        } else {
            self.push_part(out);
        }
    }

    /// Bytes to be sent behind the parts, before `out`, of which nothing may have been sent yet.
    pub(crate) fn push_part(&mut self, part: Vec<u8>) {
        if !part.is_empty() {
            self.parts_bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// So many bytes were sent.
    pub(crate) fn sent_bytes(&mut self, bytes: usize) {
        self.written += bytes;
        if let Some(part) = self.parts.front() {
            if self.written == part.len() {
                self.written = 0;
                self.parts_bytes -= part.len();
                self.parts.pop_front();
            }
        } else if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            // A big reply's buffer is not kept by a connection that may be idle for hours.
            if self.out.capacity() > 16 * 1024 {
                self.out = Vec::new();
            }
        } else if self.written > 64 * 1024 && 2 * self.written > self.out.len() {
            // Only when less is moved than was sent, so that a long answer is not moved again and again.
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Forgets what has not been sent.
    pub(crate) fn clear_unsent(&mut self) {
        self.parts = VecDeque::new();
        self.parts_bytes = 0;
        self.out.clear();
        self.written = 0;
    }
}
