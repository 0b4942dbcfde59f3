//! What is durable, as types: an ACK, an ACKEPOCH and a written `currentEpoch` can only be made from the proof that what
//! they claim is on the disk.
//!
//! ```text
//! Append ─► Logged ─┬────────────────────────────────────────► Ack of a proposal
//!                   └► HistoryIsDurable ─► WriteCurrentEpoch ─► EpochIsCurrent ─► Ack of NEWLEADER
//! WriteAcceptedEpoch ─► EpochIsAccepted ─► ACKEPOCH
//! ```
//!
//! The proofs begin with what the driver reports: [`Logged`], the zxid that the log's writer gives with a finished job, and
//! [`Done`], which is made from the [`Token`] of the command that is done.

use wire::quorum::{Forwarded, LearnerInfo, Packet, Revalidation, Touch};
use wire::{Epoch, SessionId, Zxid};

use crate::committed_log::Proposal;

/// The name of a command, and of its completion. Those of different roles never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    role: u64,
    number: u64,
}

impl Token {
    /// The command is done, and durably so.
    pub fn done(self) -> Done {
        Done { token: self }
    }
}

/// A command is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Done {
    token: Token,
}

impl Done {
    /// Which.
    pub fn token(self) -> Token {
        self.token
    }
}

/// Gives tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tokens {
    role: u64,
    number: u64,
}

impl Tokens {
    /// `role` differs from that of every role before.
    pub(crate) fn new(role: u64) -> Self {
        Self { role, number: 0 }
    }

    /// The role's number.
    pub(crate) fn role(&self) -> u64 {
        self.role
    }

    pub(crate) fn next(&mut self) -> Token {
        self.number += 1;
        Token { role: self.role, number: self.number }
    }
}

/// Something for the disk to do. Appends are done in their order; whoever gives two commands that must not overtake each
/// other waits for the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Append to the log. Its completion is [`Logged`], for many at once.
    Append(Proposal),
    /// Write `acceptedEpoch`.
    WriteAcceptedEpoch {
        /// Its completion's.
        token: Token,
        /// What is in the file afterwards.
        epoch: Epoch,
    },
    /// Write `currentEpoch`.
    WriteCurrentEpoch {
        /// Its completion's.
        token: Token,
        /// What is in the file afterwards.
        epoch: Epoch,
    },
    /// Let the log, the snapshots and the tree end with the txn `to`: snapshots that hold more go first, then the log's
    /// newest part. At each moment of it, what is left is a history that ends somewhere between. If it has no such txn,
    /// nothing is changed, and the completion says so.
    Truncate {
        /// Its completion's.
        token: Token,
        /// The last txn that stays.
        to: Zxid,
    },
    /// Let the history be the snapshot that was received, alone. First it gets its name; then whatever the log has that is
    /// later goes, newest first, then snapshots that are later, and last the older log and the older snapshots, since
    /// between them and it there may be a gap that nobody could see afterwards (ZOOKEEPER-2099). So at each moment what
    /// is left is a history that is this server's own or the snapshot.
    InstallSnapshot {
        /// Its completion's.
        token: Token,
        /// The snapshot's.
        zxid: Zxid,
    },
}

impl Command {
    /// The token of its completion; an append has none.
    pub fn token(&self) -> Option<Token> {
        match self {
            Self::Append(_) => None,
            Self::WriteAcceptedEpoch { token, .. }
            | Self::WriteCurrentEpoch { token, .. }
            | Self::Truncate { token, .. }
            | Self::InstallSnapshot { token, .. } => Some(*token),
        }
    }
}

/// The history is durable up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Logged(Zxid);

impl Logged {
    /// As the log's writer said, or recovery, or a snapshot that was installed.
    pub fn up_to(zxid: Zxid) -> Self {
        Self(zxid)
    }

    /// Up to where.
    pub fn zxid(self) -> Zxid {
        self.0
    }
}

/// The whole history with which an epoch begins is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HistoryIsDurable(());

impl HistoryIsDurable {
    /// If `logged` covers a history that ends at `end`.
    pub(crate) fn new(logged: Logged, end: Zxid) -> Option<Self> {
        (logged.0 >= end).then_some(Self(()))
    }
}

/// `currentEpoch` is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CurrentEpochWrite {
    token: Token,
    epoch: Epoch,
}

impl CurrentEpochWrite {
    /// Only behind the history (ZOOKEEPER-4643).
    pub(crate) fn begin(_: HistoryIsDurable, token: Token, epoch: Epoch) -> (Self, Command) {
        (Self { token, epoch }, Command::WriteCurrentEpoch { token, epoch })
    }

    pub(crate) fn done(self, done: Done) -> Option<EpochIsCurrent> {
        (done.token == self.token).then_some(EpochIsCurrent(self.epoch))
    }
}

/// History and `currentEpoch` are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EpochIsCurrent(Epoch);

/// `acceptedEpoch` is durable: no older leader is followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EpochIsAccepted(Epoch);

impl EpochIsAccepted {
    /// It was read from the disk, or its write was done before.
    pub(crate) fn before(epoch: Epoch) -> Self {
        Self(epoch)
    }

    pub(crate) fn done(done: Done, token: Token, epoch: Epoch) -> Option<Self> {
        (done.token == token).then_some(Self(epoch))
    }

    pub(crate) fn epoch(self) -> Epoch {
        self.0
    }
}

/// A promise that something is on this server's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ack(Zxid);

impl Ack {
    /// Of a proposal.
    pub(crate) fn of_proposal(logged: Logged, zxid: Zxid) -> Option<Self> {
        (zxid <= logged.0).then_some(Self(zxid))
    }

    /// Of NEWLEADER, and once more of UPTODATE.
    pub(crate) fn of_new_leader(epoch: EpochIsCurrent) -> Self {
        Self(Zxid::new(epoch.0, 0))
    }

    /// What it says.
    pub fn zxid(self) -> Zxid {
        self.0
    }
}

#[cfg(feature = "seeded-defects")]
impl Ack {
    /// A lie, for tests that must find it.
    pub(crate) fn forged(zxid: Zxid) -> Self {
        Self(zxid)
    }
}

#[cfg(feature = "seeded-defects")]
impl HistoryIsDurable {
    /// A lie, for tests that must find it.
    pub(crate) fn forged() -> Self {
        Self(())
    }
}

/// What a learner sends. Promises can't be made without their proofs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FromLearner(Packet);

impl FromLearner {
    /// The packet as it travels.
    pub fn packet(&self) -> &Packet {
        &self.0
    }

    /// The packet as it travels.
    pub fn into_packet(self) -> Packet {
        self.0
    }

    pub(crate) fn hello(is_observer: bool, accepted: Epoch, info: LearnerInfo) -> Self {
        let zxid = Zxid::new(accepted, 0);
        Self(if is_observer { Packet::ObserverInfo { zxid, info } } else { Packet::FollowerInfo { zxid, info } })
    }

    /// `current_epoch` is -1 if the epoch was accepted before.
    pub(crate) fn ack_epoch(_: EpochIsAccepted, current_epoch: Epoch, last: Zxid) -> Self {
        Self(Packet::AckEpoch { zxid: last, current_epoch })
    }

    pub(crate) fn ack(ack: Ack) -> Self {
        Self(Packet::Ack { zxid: ack.0 })
    }

    pub(crate) fn pong(zxid: Zxid, touched: Vec<Touch>) -> Self {
        Self(Packet::Ping { zxid, touched: Some(touched) })
    }

    pub(crate) fn request(request: Forwarded) -> Self {
        Self(Packet::Request(request))
    }

    pub(crate) fn revalidate(session: SessionId, timeout_ms: i32) -> Self {
        Self(Packet::Revalidate(Revalidation::Question { session, timeout_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Zxid = Zxid(0x1_0000_0007);

    #[test]
    fn no_ack_beyond_what_is_logged() {
        let logged = Logged::up_to(END);
        assert_eq!(Ack::of_proposal(logged, END).map(Ack::zxid), Some(END));
        assert_eq!(Ack::of_proposal(logged, END.next()), None);
    }

    #[test]
    fn the_current_epoch_waits_for_the_history_and_its_ack_for_both() {
        assert_eq!(HistoryIsDurable::new(Logged::up_to(Zxid(END.0 - 1)), END), None);
        let history = HistoryIsDurable::new(Logged::up_to(END), END).unwrap();
        let mut tokens = Tokens::new(1);
        let (write, command) = CurrentEpochWrite::begin(history, tokens.next(), Epoch(2));
        assert_eq!(write.done(tokens.next().done()), None, "another command's");
        let done = command.token().unwrap().done();
        assert_eq!(Ack::of_new_leader(write.done(done).unwrap()).zxid(), Zxid::new(Epoch(2), 0));
        assert_eq!(write.done(Tokens::new(2).next().done()), None, "another role's");
    }
}
