//! Keys about ensembles. This server is standalone for now: what would make it a member is refused, what only tunes
//! membership has no effect.

use super::{Chapter, Kind, key};

pub(in crate::config) const STANDALONE: &str =
    "ensembles are not built yet; this server runs standalone, without this line";
const ALONE: &str = "a standalone server has no peers";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Ensembles",
    families: &[
        key(
            "server.",
            Kind::Text,
            "",
            "A member of the ensemble. A single one runs standalone, at the client port behind its semicolon; more than one is refused.",
        )
        .file_only(),
        key("group", Kind::Text, "", "A group of a hierarchical quorum.").file_only().refused(&[], STANDALONE),
        key("weight", Kind::Text, "", "Weight of a member.").file_only().refused(&[], STANDALONE),
        key("fastleader.", Kind::Text, "", "Pauses of the election.").no_effect(ALONE),
        key("leader.", Kind::Text, "", "Tuning of the leader.").no_effect(ALONE),
        key("learner.", Kind::Text, "", "Tuning of learners.").no_effect(ALONE),
        key("follower.", Kind::Text, "", "Tuning of followers.").no_effect(ALONE),
        key("observer.", Kind::Text, "", "Tuning of observers.").no_effect(ALONE),
        key("observerMaster.", Kind::Text, "", "Tuning of learner masters.").no_effect(ALONE),
        key("multiAddress.reachabilityCheck", Kind::Text, "", "Checks of several addresses.")
            .file_only()
            .no_effect(ALONE),
    ],
    keys: &[
        key("dynamicConfigFile", Kind::Text, "", "File with the members.").file_only().refused(&[], STANDALONE),
        key("peerType", Kind::Text, "participant", "Whether this member votes.")
            .file_only()
            .refused(&["participant"], "only members of an ensemble observe, and ensembles are not built yet"),
        key("observerMasterPort", Kind::Decimal(super::I32_MIN, 65535), "0", "Port for observers.")
            .file_only()
            .refused(&["0", "-1"], STANDALONE),
        key("multiAddress.enabled", Kind::StrictBool, "false", "Several addresses of one member.")
            .file_only()
            .refused(&["false"], STANDALONE),
        key("oraclePath", Kind::Text, "", "File that says who of two may lead.").file_only().refused(&[], STANDALONE),
        key("standaloneEnabled", Kind::StrictBool, "true", "A file without members starts a standalone server.")
            .file_only()
            .refused(&["true"], "without members there is only the standalone mode; ensembles are not built yet"),
        key("electionAlg", Kind::Decimal(3, 3), "3", "The election; only 3 exists.").file_only().no_effect(ALONE),
        key("initLimit", Kind::Decimal(super::I32_MIN, super::I32_MAX), "", "Ticks to connect and sync.")
            .file_only()
            .no_effect(ALONE),
        key("syncLimit", Kind::Decimal(super::I32_MIN, super::I32_MAX), "", "Ticks that a learner may lag.")
            .file_only()
            .no_effect(ALONE),
        key("connectToLearnerMasterLimit", Kind::Decimal(super::I32_MIN, super::I32_MAX), "0", "Ticks to connect.")
            .file_only()
            .no_effect(ALONE),
        key("reconfigEnabled", Kind::StrictBool, "false", "Change members at run time. A standalone server has \
            none: it answers -6 (Unimplemented) instead of -123 (ReconfigDisabled).")
            .file_only(),
        key("syncEnabled", Kind::StrictBool, "true", "Observers write logs.").file_only().no_effect(ALONE),
        key("quorumListenOnAllIPs", Kind::StrictBool, "false", "Quorum ports on all interfaces.")
            .file_only()
            .no_effect(ALONE),
        key("quorum.cnxn.threads.size", Kind::Decimal(super::I32_MIN, super::I32_MAX), "20", "Election threads.")
            .file_only()
            .no_effect(ALONE),
        key("leaderServes", Kind::Text, "yes", "The leader takes clients.").no_effect(ALONE),
        key("cnxTimeout", Kind::Text, "5000", "Time to connect for an election.").no_effect(ALONE),
        key("quorumCnxnTimeoutMs", Kind::Text, "-1", "Read timeout of an election.").no_effect(ALONE),
        key("tcpKeepAlive", Kind::Text, "false", "SO_KEEPALIVE between servers.").no_effect(ALONE),
        key("electionPortBindRetry", Kind::Text, "3", "Tries to bind the election port.").no_effect(ALONE),
        key("leaderConnectDelayDuringRetryMs", Kind::Text, "100", "Pause between tries to reach a leader.")
            .no_effect(ALONE),
        key("forward_learner_requests_to_commit_processor_disabled", Kind::Text, "false", "Memory of a leader.")
            .no_effect(ALONE),
        key("maxConcurrentSnapSyncs", Kind::Text, "10", "Snapshots sent at the same time.").no_effect(ALONE),
        key("maxTimeToWaitForEpoch", Kind::Text, "-1", "Patience in discovery.").no_effect(ALONE),
    ],
};
