//! Why a leader closes a connection, and why it leads no more.

use std::fmt;

use wire::{Epoch, ServerId, Zxid};

use crate::state_summary::StateSummary;

/// Why a learner's connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// More learners that are in no configuration, or connections that have not said whose they are, than may be.
    TooMany,
    /// It speaks a protocol of before 3.4; this version (`None`: none) was given, 0x10000 is needed.
    OldProtocol(Option<i32>),
    /// It knows a later configuration.
    LaterConfig {
        /// Its configuration's version.
        theirs: i64,
        /// Ours.
        ours: i64,
    },
    /// It says that it is this server.
    SameServer,
    /// It connected again.
    Replaced,
    /// It accepted an epoch that none can follow, or that is none.
    BadEpoch(Epoch),
    /// It knows more than this leader.
    Ahead {
        /// What it knows.
        theirs: StateSummary,
        /// What this leader began with.
        ours: StateSummary,
    },
    /// A packet that may not come here.
    Unexpected(&'static str),
    /// It acknowledged what it was not sent.
    AckOfNothing(Zxid),
    /// Nothing came for too long.
    Silent,
    /// It did not acknowledge a proposal within `syncLimit`.
    AckTooLate(Zxid),
    /// It does not take what it is sent.
    QueueFull,
    /// Too many observers, and followers without a vote, sync at once.
    Throttled,
    /// Too many of its syncs wait.
    TooManySyncs,
    /// It handed on what a client wants that is elsewhere by now.
    ClientElsewhere,
    /// Its history can't be served without a gap.
    NoHistory,
    /// It is no observer, and this is a follower, which serves no others.
    NoObserver,
    /// It has txns of this epoch of which this follower has not heard yet.
    AheadOfFollower {
        /// Its last.
        theirs: Zxid,
        /// The last that is known here to be committed.
        ours: Zxid,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => {
                f.write_str("too many connect that are in no configuration, or have not said who they are")
            }
            Self::OldProtocol(version) => {
                let version = version.unwrap_or(0);
                write!(f, "it speaks protocol version {version:#x}, of before 3.4; 0x10000 is needed: upgrade it")
            }
            Self::LaterConfig { theirs, ours } => {
                write!(f, "it knows a later configuration, {theirs:x}, than this leader, {ours:x}")
            }
            Self::SameServer => f.write_str("it says that it is this server: two servers have the same myid"),
            Self::Replaced => {
                f.write_str("the same server connected again; if that goes on, two servers have the same myid")
            }
            Self::BadEpoch(epoch) => write!(f, "it accepted epoch {epoch}, which can't be followed by another"),
            Self::Ahead { theirs, ours } => write!(f, "it knows more ({theirs}) than this leader ({ours})"),
            Self::Unexpected(packet) => write!(f, "{packet} may not come at this point"),
            Self::AckOfNothing(zxid) => write!(f, "it acknowledged {zxid}, which it was not sent"),
            Self::Silent => f.write_str("nothing came from it for too long"),
            Self::AckTooLate(zxid) => write!(f, "it did not acknowledge {zxid} within syncLimit"),
            Self::QueueFull => f.write_str("it does not take what it is sent; it has to sync again"),
            Self::Throttled => f.write_str("too many servers without a vote sync at once; it has to try again"),
            Self::TooManySyncs => f.write_str("too many of its syncs wait"),
            Self::ClientElsewhere => {
                f.write_str("it handed on a write of a client that has gone on at another server; it has to sync again")
            }
            Self::NoHistory => f.write_str("what it lacks can't be read without a gap"),
            Self::NoObserver => f.write_str("it is no observer, and only observers may learn from a follower"),
            Self::AheadOfFollower { theirs, ours } => {
                write!(f, "it has {theirs}, and this follower has heard of {ours} only; it has to try again")
            }
        }
    }
}

/// Why a leader leads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaderOver {
    /// No quorum told its accepted epoch within `initLimit`.
    NoQuorumForEpoch,
    /// The same within `leader.maxTimeToWaitForEpoch`, and one of those who elected this server looks for another leader.
    VotersLookElsewhere,
    /// No quorum accepted the epoch within `initLimit`.
    NoQuorumForEpochAcks,
    /// No quorum acknowledged NEWLEADER within `initLimit`.
    NoQuorumForNewLeader,
    /// There is no quorum of learners in sync any more.
    QuorumLost,
    /// A sync of the own disk hangs.
    DiskHangs,
    /// A reconfig was committed, and by it this one is to lead.
    Reconfigured(ServerId),
    /// The zxids of this epoch are used up: a new epoch is needed.
    ZxidsUsedUp,
    /// There is no epoch behind the one that somebody accepted.
    EpochsUsedUp,
    /// This server has lost its state, and may not lead.
    StateLost,
    /// A txn of its own led to another digest than it predicted.
    Mispredicted,
}

impl fmt::Display for LeaderOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reconfigured(leader) => return write!(f, "the ensemble was reconfigured; {leader} is to lead"),
            Self::NoQuorumForEpoch => "no quorum of servers connected within initLimit",
            Self::VotersLookElsewhere => {
                "no quorum of servers connected within maxTimeToWaitForEpoch, and one that voted for this one looks again"
            }
            Self::NoQuorumForEpochAcks => "no quorum of servers accepted the new epoch within initLimit",
            Self::NoQuorumForNewLeader => "no quorum of servers took the history within initLimit",
            Self::QuorumLost => "there is no quorum of servers in sync any more",
            Self::DiskHangs => "a sync of the own log hangs for longer than syncLimit",
            Self::ZxidsUsedUp => "the zxids of this epoch are used up; a new epoch has to begin",
            Self::EpochsUsedUp => "there is no epoch left; the ensemble needs a new data directory",
            Self::StateLost => "this server has lost its state and may not lead",
            Self::Mispredicted => "a txn of this leader led to another digest than it predicted",
        })
    }
}
