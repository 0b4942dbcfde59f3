//! Keys about ensembles. What a member acts on says `ensemble()`: in a standalone server it has no effect.

use super::{Chapter, I32_MAX, I32_MIN, Kind, key};

const NOTHING: &str = "this server has nothing to tune there";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Ensembles",
    families: &[
        key(
            "server.",
            Kind::Text,
            "",
            "A member of the ensemble: host:quorumPort:electionPort[:role][;[clientHost:]clientPort]. A single one runs standalone, at the client port behind its semicolon, unless standaloneEnabled=false.",
        )
        .file_only(),
        key("group", Kind::Text, "", "A group of a hierarchical quorum.").file_only(),
        key("weight", Kind::Text, "", "Weight of a member.").file_only(),
        key("fastleader.", Kind::Text, "", "Pauses of the election.").no_effect(NOTHING),
        key("leader.", Kind::Text, "", "Tuning of the leader.").no_effect(NOTHING),
        key("learner.", Kind::Text, "", "Tuning of learners.").no_effect(NOTHING),
        key("follower.", Kind::Text, "", "Tuning of followers.").no_effect(NOTHING),
        key("observer.", Kind::Text, "", "Tuning of observers.").no_effect(NOTHING),
        key("observerMaster.", Kind::Text, "", "Tuning of learner masters.").no_effect(NOTHING),
        key("multiAddress.reachabilityCheck", Kind::Text, "", "Checks of several addresses.")
            .file_only()
            .no_effect("all addresses are tried, and the first that answers is taken"),
    ],
    keys: &[
        key("dynamicConfigFile", Kind::Text, "", "File with the members, and nothing else. Its name ends with their version.").file_only(),
        key("peerType", Kind::Choice(&["participant", "observer"]), "participant", "Whether this member votes. The role in its own server.N line is what counts; this only warns when they differ.")
            .file_only(),
        key("observerMasterPort", Kind::Decimal(I32_MIN, 65535), "0", "Where followers serve observers, so that the leader need not; all members need the same. 0: they learn from the leader.")
            .file_only()
            .ensemble(),
        key("observerMaster.sizeLimit", Kind::Decoded(I32_MIN, I32_MAX), "33554432", "Bytes of the history that a follower keeps in memory for observers.")
            .ensemble(),
        key("multiAddress.enabled", Kind::StrictBool, "false", "Several addresses of one member.").file_only(),
        key("oraclePath", Kind::Text, "", "A file that begins with 1 where this server may lead alone, in an ensemble of two participants. Whoever writes it answers for the data (docs/ensembles.md).")
            .file_only()
            .ensemble(),
        key("standaloneEnabled", Kind::StrictBool, "true", "A file with no or one member starts a standalone server.")
            .file_only(),
        key("electionAlg", Kind::Decimal(3, 3), "3", "The election; only 3 exists.").file_only().ensemble(),
        key("initLimit", Kind::Decimal(I32_MIN, I32_MAX), "", "Ticks to connect and sync. A member needs it.")
            .file_only()
            .ensemble(),
        key("syncLimit", Kind::Decimal(I32_MIN, I32_MAX), "", "Ticks that a learner may lag. A member needs it.")
            .file_only()
            .ensemble(),
        key("connectToLearnerMasterLimit", Kind::Decimal(I32_MIN, I32_MAX), "0", "Ticks to connect to a leader. 0: initLimit.")
            .file_only()
            .ensemble(),
        key("reconfigEnabled", Kind::StrictBool, "false", "Change members at run time (docs/ensembles.md). A standalone server has none: it answers -6 \
            (Unimplemented) instead of -123 (ReconfigDisabled).")
            .file_only(),
        key("syncEnabled", Kind::StrictBool, "true", "Observers write logs; false is refused in an ensemble.")
            .file_only()
            .ensemble(),
        key("quorumListenOnAllIPs", Kind::StrictBool, "false", "Quorum ports on all interfaces.")
            .file_only()
            .ensemble(),
        key("quorum.cnxn.threads.size", Kind::Decimal(I32_MIN, I32_MAX), "20", "Election threads.")
            .file_only()
            .no_effect("connections of elections need no threads"),
        key("leaderServes", Kind::NotNo, "yes", "The leader takes clients.").ensemble(),
        key("cnxTimeout", Kind::Decoded(1, I32_MAX), "5000", "Time in ms to connect for an election.").ensemble(),
        key("quorumCnxnTimeoutMs", Kind::Decoded(I32_MIN, I32_MAX), "-1", "Time in ms for a peer to say who it is, on the election port. -1: syncLimit.").ensemble(),
        key("tcpKeepAlive", Kind::PropertyBool, "false", "SO_KEEPALIVE between servers.").ensemble(),
        key("electionPortBindRetry", Kind::Decoded(I32_MIN, I32_MAX), "3", "Tries to bind the election port, a second apart. 0: for ever.").ensemble(),
        key("leaderConnectDelayDuringRetryMs", Kind::Decoded(0, I32_MAX), "100", "Pause in ms between tries to reach a leader.")
            .ensemble(),
        key("forward_learner_requests_to_commit_processor_disabled", Kind::Text, "false", "Memory of a leader.")
            .no_effect(NOTHING),
        key("leader.maxConcurrentSnapSyncs", Kind::Decoded(1, I32_MAX), "10", "Servers without a vote that are sent a snapshot at the same time.")
            .also(&["maxConcurrentSnapSyncs"])
            .ensemble(),
        key("leader.maxConcurrentDiffSyncs", Kind::Decoded(1, I32_MAX), "100", "Servers without a vote that are sent a part of the log at the same time.")
            .also(&["maxConcurrentDiffSyncs"])
            .ensemble(),
        key("leader.maxTimeToWaitForEpoch", Kind::Decoded(I32_MIN, I32_MAX), "-1", "Time in ms that a leader waits for a quorum before it gives up as soon as one of its voters looks for a leader again. Below 0: initLimit, whoever looks.")
            .also(&["maxTimeToWaitForEpoch"])
            .ensemble(),
        key("fastleader.minNotificationInterval", Kind::Decoded(1, I32_MAX), "200", "Time in ms after which a vote is sent again, at first.")
            .ensemble(),
        key("fastleader.maxNotificationInterval", Kind::Decoded(1, I32_MAX), "60000", "And at last, after doubling each time.")
            .ensemble(),
    ],
};
