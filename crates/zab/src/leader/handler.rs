//! What a leader knows of one learner, and what waits to be sent to it.

use std::collections::VecDeque;

use wire::quorum::Packet;
use wire::{ServerId, Zxid};

use crate::durable::Token;
use crate::options::Options;

/// Something to be sent to a learner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToLearner {
    /// A packet.
    Packet(Packet),
    /// The raw snapshot that was opened for this connection, and behind it the string `BenWasHere`.
    Snapshot {
        /// The snapshot's.
        zxid: Zxid,
    },
}

/// What a packet weighs beside its txn, in bytes.
const OVERHEAD: usize = 64;

impl ToLearner {
    fn weight(&self) -> usize {
        match self {
            Self::Packet(packet) => Self::weight_of(packet),
            Self::Snapshot { .. } => OVERHEAD,
        }
    }

    fn weight_of(packet: &Packet) -> usize {
        match packet {
            Packet::Proposal { txn, .. } | Packet::Inform { txn, .. } => txn.len() + OVERHEAD,
            _ => OVERHEAD,
        }
    }
}

/// How far a learner is. What is expected from it is in the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Who are you?
    ExpectInfo,
    /// The epoch is not fixed yet.
    AwaitEpoch,
    /// Which history have you?
    ExpectAckEpoch,
    /// Not enough have said so yet.
    AwaitEpochAcks { last: Zxid },
    /// The disk is being asked for what it lacks.
    ReadLog { token: Token, last: Zxid },
    /// A snapshot is being opened.
    OpenSnapshot { token: Token, at_least: Zxid },
    /// It gets what it lacks from the disk; `cursor` is the last that it was sent.
    Streaming { cursor: Zxid, token: Option<Token> },
    /// It has everything in its queue, NEWLEADER last.
    ExpectAckNewLeader,
    /// It has the history, but not enough others do.
    AwaitStartup,
    /// UPTODATE was sent.
    Broadcasting,
}

/// The kind of sync under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SyncKind {
    Diff,
    Snap,
}

/// One learner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Handler {
    /// Known from its first packet on.
    pub server: Option<ServerId>,
    pub is_observer: bool,
    /// It votes, and so its acks count.
    pub is_voter: bool,
    pub stage: Stage,
    /// What is proposed and committed from now on goes to its queue.
    pub is_forwarding: bool,
    pub sync: Option<SyncKind>,
    queue: VecDeque<ToLearner>,
    pub queue_bytes: usize,
    /// Its syncs that have no answer yet: what was proposed when they came.
    pub syncs: VecDeque<Zxid>,
    /// What was committed behind a sync of this learner's that has no answer yet. Apache's learners answer their clients'
    /// writes and syncs in the order in which they forwarded them: one that comes out of turn holds up all behind it for good.
    behind_sync: VecDeque<(Zxid, Packet)>,
    /// When something must have come.
    pub read_deadline_ms: u64,
    /// Up to then it counts as in sync.
    pub synced_until_ms: u64,
    /// The last proposal that was queued.
    pub sent: Zxid,
    /// The last that it acknowledged.
    pub acked: Zxid,
    /// A proposal that it has not acknowledged, and since when.
    pub oldest_unacked: Option<(Zxid, u64)>,
    /// The PINGs that are not answered: the round, and the zxid that comes back.
    pub pings: VecDeque<(u64, Zxid)>,
    /// The last round that it answered.
    pub answered: u64,
}

impl Handler {
    pub(super) fn new(now_ms: u64, options: &Options) -> Self {
        Self {
            server: None,
            is_observer: false,
            is_voter: false,
            stage: Stage::ExpectInfo,
            is_forwarding: false,
            sync: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            syncs: VecDeque::new(),
            behind_sync: VecDeque::new(),
            read_deadline_ms: now_ms + options.init_limit_ms(),
            synced_until_ms: now_ms + options.init_limit_ms() + options.sync_limit_ms(),
            sent: Zxid::ZERO,
            acked: Zxid::ZERO,
            oldest_unacked: None,
            pings: VecDeque::new(),
            answered: 0,
        }
    }

    pub(super) fn push(&mut self, packet: ToLearner) {
        self.queue_bytes += packet.weight();
        self.queue.push_back(packet);
    }

    /// A commit that has to wait for the answer of a sync.
    pub(super) fn hold(&mut self, zxid: Zxid, packet: Packet) {
        self.queue_bytes += ToLearner::weight_of(&packet);
        self.behind_sync.push_back((zxid, packet));
    }

    /// Of those that wait, the ones up to here go on. True: there were some.
    pub(super) fn release(&mut self, up_to: Zxid) -> bool {
        let before = self.queue.len();
        while let Some((_, packet)) = self.behind_sync.pop_front_if(|(zxid, _)| *zxid <= up_to) {
            self.queue.push_back(ToLearner::Packet(packet));
        }
        self.queue.len() > before
    }

    /// Was this proposed behind a sync that has no answer?
    pub(super) fn is_behind_sync(&self, zxid: Zxid) -> bool {
        self.syncs.front().is_some_and(|sync| *sync < zxid)
    }

    /// Its oldest sync has its answer; what was proposed when the next one came.
    pub(super) fn sync_answered(&mut self) -> Option<Zxid> {
        self.syncs.pop_front();
        self.syncs.front().copied()
    }

    pub(super) fn pop(&mut self) -> Option<ToLearner> {
        let packet = self.queue.pop_front()?;
        self.queue_bytes -= packet.weight();
        Some(packet)
    }

    /// It was sent a proposal that it has to acknowledge.
    pub(super) fn expect_ack(&mut self, now_ms: u64, zxid: Zxid) {
        self.sent = zxid;
        if self.oldest_unacked.is_none() {
            self.oldest_unacked = Some((zxid, now_ms));
        }
    }

    /// It acknowledged everything up to `zxid`.
    pub(super) fn on_ack(&mut self, now_ms: u64, zxid: Zxid) {
        self.acked = self.acked.max(zxid);
        if self.oldest_unacked.is_some_and(|(oldest, _)| oldest <= zxid) {
            // Those behind it were sent later; from now on is not too strict.
            self.oldest_unacked = (self.sent > zxid).then_some((self.sent, now_ms));
        }
    }
}
