//! Keys about the data directory, the transaction log, snapshots and the tree.

use super::{Chapter, I32_MAX, I32_MIN, Kind, key};

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Files and the tree",
    families: &[],
    keys: &[
        key("dataDir", Kind::Text, "", "Directory of snapshots. Required.").file_only(),
        key("dataLogDir", Kind::Text, "", "Directory of transaction logs. Unset: dataDir.").file_only(),
        key("datadir.autocreate", Kind::PropertyBool, "true", "Create directories that are missing."),
        key(
            "db.autocreate",
            Kind::PropertyBool,
            "true",
            "Begin with an empty tree when the directory is empty and holds no `initialize` file.",
        ),
        key(
            "preAllocSize",
            Kind::Decimal(i64::MIN / 1024, i64::MAX / 1024),
            "65536",
            "Step in KiB in which log files grow. 0 or less: no allocation ahead.",
        ),
        key(
            "snapCount",
            Kind::Decimal(I32_MIN, I32_MAX),
            "100000",
            "Transactions between two snapshots; the real number is random between half of it and all of it, and up to ten times that while the log since the last snapshot is smaller than four times that snapshot. Below 2: 2, and a warning.",
        ),
        key(
            "snapSizeLimitInKb",
            Kind::Decoded(i64::MIN / 1024, i64::MAX / 1024),
            "4194304",
            "KiB of log between two snapshots, with the same jitter. 0 or less: no limit.",
        ),
        key(
            "txnLogSizeLimitInKb",
            Kind::Decoded(i64::MIN / 1024, i64::MAX / 1024),
            "-1",
            "KiB after which a new log file begins. 0 or less: no limit.",
        ),
        key(
            "forceSync",
            Kind::NotNo,
            "yes",
            "Exactly `no`: acknowledge writes that are not on the disk. A power cut then loses acknowledged writes.",
        ),
        key(
            "fsync.warningthresholdms",
            Kind::Decoded(0, i64::MAX),
            "1000",
            "A sync that takes longer, in ms, is reported.",
        )
        .both(),
        key(
            "flushDelay",
            Kind::Decoded(0, i64::MAX / 1_000_000),
            "0",
            "Time in ms that a batch of writes may wait for company before it is synced.",
        ),
        key(
            "maxWriteQueuePollTime",
            Kind::Decoded(0, i64::MAX / 1_000_000),
            "",
            "Time in ms after which an idle log is synced. Unset: a third of flushDelay.",
        ),
        key("maxBatchSize", Kind::Decimal(0, I32_MAX), "1000", "Transactions in one sync. 0: no limit."),
        key(
            "autopurge.snapRetainCount",
            Kind::Decimal(I32_MIN, I32_MAX),
            "3",
            "Valid snapshots that a purge keeps, with their logs. Below 3: 3, and a warning.",
        )
        .file_only(),
        key(
            "autopurge.purgeInterval",
            Kind::Decimal(I32_MIN, I32_MAX),
            "0",
            "Hours between purges. 0 or less: never.",
        )
        .file_only(),
        key(
            "snapshot.compression.method",
            Kind::Choice(&["", "gz", "snappy"]),
            "",
            "Compression of new snapshots; all kinds are read, whatever stands here.",
        ),
        key(
            "snapshot.trust.empty",
            Kind::PropertyBool,
            "false",
            "Replay logs on an empty tree when there is no snapshot (an upgrade from 3.4).",
        ),
        key(
            "ostler.log.acceptSuspectTail",
            Kind::StrictBool,
            "false",
            "Ostler's own. For one start: go on without what may have been acknowledged and is damaged or missing. A damaged last record is cut, and its bytes are kept in a side file.",
        )
        .bare(),
        key(
            "serializeLastProcessedZxid.enabled",
            Kind::PropertyBool,
            "true",
            "Write the last processed zxid at the end of snapshots.",
        ),
        key("digest.enabled", Kind::PropertyBool, "true", "Keep a digest of the tree, in transactions and snapshots."),
        key(
            "closeSessionTxn.enabled",
            Kind::PropertyBool,
            "true",
            "Name the ephemerals in the transaction that closes a session.",
        ),
        key("extendedTypesEnabled", Kind::PropertyBool, "false", "Allow znodes with a TTL."),
        key(
            "emulate353TTLNodes",
            Kind::PropertyBool,
            "false",
            "Read TTLs in the bit layout of ZooKeeper 3.5.3.",
        ),
        key(
            "znode.container.checkIntervalMs",
            Kind::Decoded(1, I32_MAX),
            "60000",
            "Time in ms between two looks for containers and expired TTLs. Java reads it only from `-D`.",
        )
        .bare(),
        key(
            "znode.container.maxPerMinute",
            Kind::Decoded(1, I32_MAX),
            "10000",
            "Containers and expired TTLs that are deleted in a minute at most. Java reads it only from `-D`.",
        )
        .bare(),
        key(
            "znode.container.maxNeverUsedIntervalMs",
            Kind::Decoded(0, i64::MAX),
            "0",
            "Time in ms after which a container that never had a child is deleted. 0: never. Java reads it only from `-D`.",
        )
        .bare(),
        key("enforceQuota", Kind::PropertyBool, "false", "Refuse writes above a hard limit of a quota, and log those above a soft one."),
        key("commitLogCount", Kind::Decoded(I32_MIN, I32_MAX), "500", "Transactions kept in memory for learners; 500 at least.")
            .ensemble(),
        key("snapshotSizeFactor", Kind::Text, "0.33", "Learners that lack more of the log on the disk than this share of a snapshot get a snapshot. 0: never; below 0: always; above 1: the default, and a warning.")
            .ensemble(),
        key("forceSnapshotSync", Kind::PropertyBool, "false", "Always send a snapshot to learners.").ensemble(),
    ],
};
