//! What the machines are told: who this is, who votes, how long to wait, and the bounds of their queues.

use std::sync::Arc;

use bytes::Bytes;
use wire::{ServerId, Zxid};

use crate::committed_log::CommittedLogLimits;
use crate::connections::STRANGERS_MAX;
use crate::quorum_verifier::{QuorumVerifier, Quorums, Role, TextRules};

/// A defect that was put in on purpose, for tests that must find it. No release has them: without the feature
/// `seeded-defects` the answer to "is it in?" is a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// A follower acknowledges a proposal that is not on its disk yet.
    AckBeforeItsSync,
    /// A learner writes `currentEpoch` before the history is on its disk (ZOOKEEPER-4643).
    CurrentEpochBeforeHistory,
    /// A learner acknowledges NEWLEADER before anything is on its disk (ZOOKEEPER-3911, 4646).
    NewLeaderAckBeforeHistory,
    /// A learner answers LEADERINFO before `acceptedEpoch` is on its disk.
    AckEpochBeforeAcceptedEpoch,
    /// A disk that truncates its log leaves newer snapshots (ZOOKEEPER-1549, 4837). The test's disk does it.
    TruncKeepsNewerSnapshot,
    /// The acks of servers that do not vote count (ZOOKEEPER-2959).
    NonVotersCount,
    /// A leader takes over without looking whether a learner knows more.
    SummariesNotCompared,
    /// A leader serves what it has in memory as if nothing came before (ZOOKEEPER-2418, 4925).
    GapServed,
    /// Acks of a connection that is gone still count, although its successor may be told to cut what it acknowledged.
    AcksOutliveConnection,
    /// NEWLEADER goes out ahead of the history (ZOOKEEPER-3104).
    NewLeaderBeforeHistory,
    /// A leader asks nobody for the accepted epochs (ZOOKEEPER-335, 1343).
    EpochWithoutQuorum,
    /// Half of the servers are a quorum.
    HalfIsQuorum,
    /// A server that lost its state counts among those whose history is known (ZOOKEEPER-261).
    LostStateCounts,
    /// A leader proposes before a quorum has its history (ZOOKEEPER-335, 790).
    ServesBeforeQuorum,
    /// A server applies what it has not logged (ZOOKEEPER-4882).
    AppliesUnlogged,
    /// A learner that is told to cut its log goes on with what it has (ZOOKEEPER-1154, 3701).
    TruncIgnored,
    /// A server looks for a leader while its log is still being written, and counts what is not there yet (ZOOKEEPER-2845).
    LooksBeforeDrained,
    /// A SNAP may be older than what the learner had.
    SnapshotOfAnyAge,
    /// A sync is answered without asking a quorum (ZOOKEEPER-1675).
    SyncUnconfirmed,
    /// A leader commits what it alone has logged.
    OwnLogDecides,
    /// Proposals that a learner has not seen committed are logged before `currentEpoch`, and lost (ZOOKEEPER-4394).
    QueuedProposalsDropped,
    /// A leader's new epoch is later than its own accepted one, and nobody else's (ZOOKEEPER-1343).
    EpochOfItsOwn,
    /// A learner takes an epoch that is older than the one it has accepted (ZOOKEEPER-1343).
    OldEpochTaken,
    /// A learner that has accepted the epoch already counts once more (ZOOKEEPER-335).
    EpochAckedTwice,
    /// A learner serves when it has the history, also if no quorum has it yet (ZOOKEEPER-335, 3615).
    UpToDateBeforeQuorum,
    /// A local sync is answered when a quorum has the txns before it, also if the own log, and so the own tree, has not.
    SyncBeforeOwnLog,
    /// A sync waits for nothing that is proposed.
    SyncWaitsForNothing,
    /// A leader that hears of no quorum goes on (ZOOKEEPER-1492, 1699).
    LeadsWithoutQuorum,
    /// A leader takes any ACK for one of all that it proposed (ZOOKEEPER-4685).
    AcksForEverything,
    /// A learner is sent the history without what is outstanding, and misses it (ZOOKEEPER-962).
    OutstandingLeftOut,
    /// An ACK of NEWLEADER counts for who never sent one: a leader establishes its epoch with the ACKEPOCHs alone
    /// (ZOOKEEPER-3104).
    EpochAcksEstablish,
    /// A log's syncs do nothing. The test's disk does it, and the following ones too.
    LogNotSynced,
    /// An epoch file is not durable when it is said to be (ZOOKEEPER-1653, 2307).
    EpochNotSynced,
    /// A log that was cut is not durable as it is.
    TruncNotSynced,
    /// A log that was cut goes on where it ended before (ZOOKEEPER-1489). The test's server does it.
    LogGoesOnBehindCut,
    /// A log is cut one txn too early (ZOOKEEPER-1156).
    TruncRemovesTooMuch,
    /// A leader's snapshot becomes the history before it is durable (ZOOKEEPER-2872).
    SnapshotNotSynced,
    /// A leader's snapshot leaves the later log where it is (ZOOKEEPER-2099).
    InstallKeepsLog,
    /// A snapshot of the own state holds what is logged and not committed (ZOOKEEPER-1549).
    SnapshotOfUncommitted,
    /// A server's own snapshots are not durable when they count (ZOOKEEPER-2325, 3056).
    OwnSnapshotNotSynced,
    /// A purge removes logs that hold what the newest snapshot does not (ZOOKEEPER-3231).
    PurgeRemovesNeededLog,
    /// A leader's snapshot is used, and never becomes the history on the disk (ZOOKEEPER-3642).
    SnapshotInMemory,
    /// An epoch file is written where it is, instead of beside it (ZOOKEEPER-1653, 2307).
    EpochFileInPlace,
    /// A truncation that fails counts as done (ZOOKEEPER-3701).
    TruncErrorIgnored,
    /// A log that can't be written, or synced, counts as written (ZOOKEEPER-4882).
    LogErrorIgnored,
    /// A start ends with its snapshot, whatever is in the log behind it (ZOOKEEPER-882). The test's server does it.
    SnapshotEndsHistory,
    /// An empty directory is a new database, and not a lost one (ZOOKEEPER-2325). The test's server does it.
    EmptyIsNew,
    /// An epoch whose counters are used up goes on (ZOOKEEPER-1277, 2789).
    CounterRunsOver,
    /// A queue that is full takes more (ZOOKEEPER-880, 3340).
    QueueHasNoBound,
    /// A vote is told once, and never again (ZOOKEEPER-4605).
    VoteToldOnce,
    /// Who looks for a leader takes nobody's word that there is one (ZOOKEEPER-975, 1514).
    SettledNotBelieved,
    /// Whose role is over stays settled for those who look, for as long as its disk is not done with the role.
    SettledWhileDraining,
    /// Who has no vote that it knows of is ignored whatever its round, as Apache does.
    RoundOfNobodyIgnored,
    /// A reconfig, an election and an epoch ask only the old configuration (ZOOKEEPER-1699).
    OldConfigurationAlone,
    /// What is proposed behind a reconfig that is not committed is committed by the old configuration.
    OldConfigurationGoesOn,
    /// A server that comes back does not look for a reconfig in its log. The test's server does it.
    SeenConfigurationForgotten,
    /// A leader that is not to lead any more goes on to commit, with the configuration that it led.
    LeaderIgnoresItsRemoval,
    /// More than half of the servers decide, whatever groups they are in.
    GroupsIgnored,
    /// Servers whose votes weigh nothing weigh as much as others.
    WeightlessCount,
    /// A follower tells its observers what is only proposed.
    InformBeforeCommit,
    /// A follower answers its observers' syncs, and does not ask the leader.
    ObserverSyncUnasked,
    /// A server that serves reads without a leader goes on with that when it has one.
    ReadOnlyGoesOn,
}

/// How a member of an ensemble behaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Options {
    /// `myid`.
    pub me: ServerId,
    /// Who decides.
    pub verifier: QuorumVerifier,
    /// The configuration that was seen last, if it is newer than `verifier`: of a reconfig that is in the log, and not known to
    /// be committed. Counts only with `reconfig_enabled`.
    pub last_seen: Option<QuorumVerifier>,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// How the configurations of other servers and of txns are read.
    pub text_rules: TextRules,
    /// The text of the configuration, for NEWLEADER. With `reconfig_enabled` the verifiers' own are sent instead.
    pub config: Bytes,
    /// The configuration's version, likewise.
    pub config_version: i64,
    /// `tickTime`.
    pub tick_ms: u64,
    /// `initLimit`: how long it may take to come together.
    pub init_limit_ticks: u64,
    /// `syncLimit`: how long one may be silent, and how long a sync of the disk may hang.
    pub sync_limit_ticks: u64,
    /// `zookeeper.leader.maxTimeToWaitForEpoch`, in ms: a leader that has waited for its epoch for longer gives up as soon as one
    /// of those who elected it looks for a leader again. `None`: it waits for `initLimit`.
    pub epoch_wait_ms_max: Option<u64>,
    /// `readonlymode.enabled`: a server that finds no leader serves reads.
    pub read_only: bool,
    /// There is an `observerMasterPort`: a follower serves observers, and an observer looks for such a follower.
    pub observer_masters: bool,
    /// `zookeeper.observerMaster.sizeLimit`: bytes of the committed history that a follower keeps in memory for observers.
    pub observer_log_bytes_max: usize,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// `zookeeper.leader.maxConcurrentSnapSyncs`: a learner without a vote beyond it is sent away.
    pub snap_syncs_max: usize,
    /// `zookeeper.leader.maxConcurrentDiffSyncs`, likewise.
    pub diff_syncs_max: usize,
    /// How much of the committed history is kept in memory.
    pub committed_log: CommittedLogLimits,
    /// `zookeeper.testingonly.initialZxid`: the counter behind which an epoch begins, for tests of its end.
    pub initial_counter: u32,
    /// The most connections of learners that are in no configuration, joiners and observers with numbers of their own: one beyond
    /// is closed. And the most connections that have not said whose they are: for one beyond the oldest is closed. Members
    /// always have room.
    pub strangers_max: usize,
    /// The most bytes that wait to be sent to a learner that is in sync; when full, its connection is closed, and it syncs
    /// again.
    pub learner_queue_bytes_max: usize,
    /// The most bytes that a learner holds back until its disk is ready for them or UPTODATE comes; when full, it leaves
    /// the leader.
    pub sync_queue_bytes_max: usize,
    /// The most syncs that wait at a leader; one beyond closes its learner's connection, a local one is refused.
    pub syncs_max: usize,
    /// What is wrong with it.
    #[cfg(feature = "seeded-defects")]
    pub defects: std::collections::BTreeSet<Defect>,
}

impl Options {
    /// Apache's defaults.
    pub fn new(me: ServerId, verifier: QuorumVerifier) -> Self {
        Self {
            me,
            verifier,
            last_seen: None,
            reconfig_enabled: false,
            text_rules: TextRules::default(),
            config: Bytes::new(),
            config_version: 0,
            tick_ms: 2000,
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            epoch_wait_ms_max: None,
            read_only: false,
            observer_masters: false,
            observer_log_bytes_max: 32 << 20,
            force_snapshot_sync: false,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            committed_log: CommittedLogLimits::default(),
            initial_counter: 0,
            strangers_max: STRANGERS_MAX,
            learner_queue_bytes_max: 256 << 20,
            sync_queue_bytes_max: 256 << 20,
            syncs_max: 1 << 16,
            #[cfg(feature = "seeded-defects")]
            defects: std::collections::BTreeSet::new(),
        }
    }

    /// The rule by which a server decides that has a defect in it.
    #[cfg(feature = "seeded-defects")]
    pub(crate) fn with_spoiled_rule(mut self) -> Self {
        let [no_groups, no_weights] = [Defect::GroupsIgnored, Defect::WeightlessCount].map(|it| self.has(it));
        if no_groups || no_weights {
            self.verifier = self.verifier.clone().spoiled(no_weights);
        }
        self
    }

    /// Is this defect in?
    #[cfg(feature = "seeded-defects")]
    pub fn has(&self, defect: Defect) -> bool {
        self.defects.contains(&defect)
    }

    /// Is this defect in? It is not.
    #[cfg(not(feature = "seeded-defects"))]
    #[allow(clippy::unused_self, reason = "it has the same shape where there are defects")]
    pub(crate) fn has(&self, _: Defect) -> bool {
        false
    }

    pub(crate) fn init_limit_ms(&self) -> u64 {
        self.tick_ms.saturating_mul(self.init_limit_ticks)
    }

    /// After how long without a leader a server serves reads. Source: `QuorumPeer.run`.
    pub(crate) fn read_only_after_ms(&self) -> u64 {
        self.tick_ms.max(2000)
    }

    pub(crate) fn sync_limit_ms(&self) -> u64 {
        self.tick_ms.saturating_mul(self.sync_limit_ticks)
    }

    /// Does this server vote?
    pub(crate) fn is_voter(&self, server: ServerId) -> bool {
        self.verifier.is_voter(server) || self.newer().is_some_and(|it| it.is_voter(server))
    }

    /// Is this server in a configuration that counts, with a vote or without?
    pub fn is_member(&self, server: ServerId) -> bool {
        self.verifier.member(server).is_some() || self.newer().is_some_and(|it| it.member(server).is_some())
    }

    /// Is this server an observer? One that a reconfig has removed is a follower without a vote, and so is one that is to vote by
    /// a reconfig that it has seen.
    pub(crate) fn is_observer(&self) -> bool {
        let observes = self.verifier.member(self.me).map_or(!self.reconfig_enabled, |it| it.role == Role::Observer);
        observes && !self.is_voter(self.me)
    }

    /// What counts beside the committed configuration.
    pub(crate) fn newer(&self) -> Option<&QuorumVerifier> {
        let newer =
            self.last_seen.as_ref().filter(|it| self.reconfig_enabled && it.version() > self.verifier.version());
        newer.filter(|_| !self.has(Defect::OldConfigurationAlone))
    }

    /// The configurations that count.
    pub fn quorums(&self) -> Quorums {
        Quorums::new(Arc::new(self.verifier.clone()), self.newer().cloned().map(Arc::new))
    }

    /// The version of the committed configuration.
    pub(crate) fn committed_version(&self) -> i64 {
        if self.reconfig_enabled { self.verifier.version() } else { self.config_version }
    }

    /// `it` is committed. False: that is no news.
    pub(crate) fn activate(&mut self, it: QuorumVerifier) -> bool {
        let is_newer = self.reconfig_enabled && it.version() > self.verifier.version();
        if is_newer {
            self.last_seen = self.last_seen.take().filter(|seen| seen.version() > it.version());
            self.verifier = it;
        }
        is_newer
    }

    /// `it` is proposed. False: that is no news.
    pub(crate) fn see(&mut self, it: QuorumVerifier) -> bool {
        let newest = self.last_seen.as_ref().map_or(0, QuorumVerifier::version).max(self.verifier.version());
        let is_newer = self.reconfig_enabled && it.version() > newest;
        if is_newer {
            self.last_seen = Some(it);
        }
        is_newer
    }

    /// The history ends here now: a reconfig behind it never was. False: there was none.
    pub(crate) fn cut(&mut self, last: Zxid) -> bool {
        let is_behind = |it: &mut QuorumVerifier| it.version() > last.0 && Zxid(it.version()).counter() != 0;
        self.last_seen.take_if(is_behind).is_some()
    }

    /// Do the servers for which `is` holds make a quorum? `oracle`: it stands in for the missing one of two.
    pub(crate) fn is_quorum(&self, is: impl Fn(ServerId) -> bool, oracle: bool) -> bool {
        if self.has(Defect::HalfIsQuorum) {
            let voters = (0..64).map(ServerId).filter(|&it| self.is_voter(it));
            let count = voters.clone().filter(|&it| is(it)).count();
            return count * 2 >= voters.count().saturating_sub(1);
        }
        let decides = |it: &QuorumVerifier| it.contains_quorum_with(&is, oracle);
        decides(&self.verifier) && self.newer().is_none_or(decides)
    }
}
