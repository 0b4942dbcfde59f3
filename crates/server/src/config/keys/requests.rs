//! Keys about the request pipeline: back-pressure, throttling, watches.

use super::{Chapter, I32_MAX, I32_MIN, Kind, key};

const POOLS: &str = "requests do not pass through thread pools";
const NO_STATISTICS: &str = "there are no statistics of paths here";
const WATCHES: &str = "there is one watch manager, and it needs no tuning";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Requests and throttling",
    families: &[
        key("commitProcessor.", Kind::Text, "", "Thread pool of the commit stage.").no_effect(POOLS),
        key("pathStats.", Kind::Text, "", "Tuning of these statistics.").no_effect(NO_STATISTICS),
        key("netty.", Kind::Text, "", "Tuning of the Netty client port.").no_effect("there is no Netty here"),
        key("jvm.pause.", Kind::Text, "", "Watch for pauses of the JVM.").file_only().no_effect("there is no JVM here"),
    ],
    keys: &[
        key("pathStats.enabled", Kind::PropertyBool, "false", "Statistics of busy paths.")
            .no_effect(NO_STATISTICS),
        key(
            "globalOutstandingLimit",
            Kind::Decoded(I32_MIN, I32_MAX),
            "1000",
            "Requests in process above which the server stops reading from connections that already wait. 0 or less: each connection has one at a time.",
        ),
        key(
            "largeRequestThreshold",
            Kind::Decoded(I32_MIN, I32_MAX),
            "-1",
            "A request of more bytes counts as large. 0 or less: none does.",
        ),
        key(
            "largeRequestMaxBytes",
            Kind::Decoded(I32_MIN, I32_MAX),
            "104857600",
            "Bytes of large requests in process above which a connection that sends one more is closed. 0 or less: the default, and a warning.",
        ),
        key(
            "throttled_op_wait_time",
            Kind::Decoded(I32_MIN, I32_MAX),
            "0",
            "A request that request_throttle_max_requests made wait longer, in ms, is answered with ThrottledOp (-127) and not done. 0 or less: never.",
        )
        .also(&["throttledOpWaitTime"]),
        key(
            "request_throttle_max_requests",
            Kind::Decoded(I32_MIN, I32_MAX),
            "0",
            "Requests in process above which new ones wait. 0 or less: no limit.",
        )
        .also(&["requestThrottleLimit"]),
        key("request_throttle_stall_time", Kind::Decoded(1, I32_MAX), "100", "One stall, in ms.")
            .also(&["requestThrottleStallTime"])
            .no_effect("a request that waits goes on as soon as there is room"),
        key(
            "request_throttle_drop_stale",
            Kind::PropertyBool,
            "true",
            "A stale request that waits is dropped, and its connection is closed.",
        )
        .also(&["requestThrottleDropStale"]),
        key(
            "request_stale_latency_check",
            Kind::PropertyBool,
            "false",
            "A request that waited longer than the timeout of its session is stale.",
        )
        .also(&["requestStaleLatencyCheck"]),
        key(
            "request_stale_connection_check",
            Kind::PropertyBool,
            "true",
            "A request that waits while its connection is closed is stale.",
        )
        .also(&["requestStaleConnectionCheck"]),
        key("request_throttler.shutdownTimeout", Kind::Text, "10000", "How long a stop waits for requests.")
            .no_effect("there is no such stage"),
        key(
            "connection_throttle_tokens",
            Kind::Decoded(0, I32_MAX),
            "0",
            "Size of the bucket that limits new sessions. 0: no limit.",
        )
        .also(&["connectionMaxTokens"]),
        key("connection_throttle_fill_time", Kind::Decoded(1, I32_MAX), "1", "Time in ms between two refills.")
            .also(&["connectionTokenFillTime"]),
        key("connection_throttle_fill_count", Kind::Decoded(1, I32_MAX), "1", "Tokens in one refill.")
            .also(&["connectionTokenFillCount"]),
        key(
            "connection_throttle_freeze_time",
            Kind::Decoded(-1, I32_MAX),
            "-1",
            "Time in ms between two changes of the drop probability. -1: it stays 0.",
        )
        .also(&["connectionFreezeTime"]),
        key("connection_throttle_drop_increase", Kind::Double(0.0, 1.0), "0.02", "Step up of the drop probability.")
            .also(&["connectionDropIncrease"]),
        key("connection_throttle_drop_decrease", Kind::Double(0.0, 1.0), "0.002", "Step down of the drop probability.")
            .also(&["connectionDropDecrease"]),
        key(
            "connection_throttle_decrease_ratio",
            Kind::Double(0.0, 1.0),
            "0",
            "Share of the bucket above which the probability goes down.",
        )
        .also(&["connectionDecreaseRatio", "connectionDropDecreaseRatio"]),
        key(
            "connection_throttle_weight_enabled",
            Kind::PropertyBool,
            "false",
            "Weigh new, local and renewed sessions differently.",
        ),
        key("connection_throttle_global_session_weight", Kind::Decoded(I32_MIN, I32_MAX), "3", "Tokens of a new session. 0 or less: the default, and a warning."),
        key("connection_throttle_local_session_weight", Kind::Decoded(I32_MIN, I32_MAX), "1", "Tokens of a local session. 0 or less: the default, and a warning."),
        key("connection_throttle_renew_session_weight", Kind::Decoded(I32_MIN, I32_MAX), "2", "Tokens of a renewed session. 0 or less: the default, and a warning."),
        key("watchManagerName", Kind::Text, "", "Java class of the watch manager.").no_effect(WATCHES),
        key("watcherCleanThreadsNum", Kind::Text, "2", "Threads that clean dead watches.").no_effect(WATCHES),
        key("watcherCleanThreshold", Kind::Text, "1000", "Dead watches before a cleaning.").no_effect(WATCHES),
        key("watcherCleanIntervalInSeconds", Kind::Text, "600", "Time between cleanings.").no_effect(WATCHES),
        key("maxInProcessingDeadWatchers", Kind::Text, "-1", "Dead watches in process.").no_effect(WATCHES),
        key("bitHashCacheSize", Kind::Text, "10", "Cached entries of a bit set.").no_effect(WATCHES),
        key("netty.server.outstandingHandshake.limit", Kind::Text, "-1", "TLS handshakes at the same time.")
            .also(&["outstandingHandshake.limit"])
            .no_effect("there is no TLS here yet"),
        key("messageTracker.Enabled", Kind::Text, "false", "Remember packets of learners.")
            .no_effect("a standalone server has no learners"),
        key("messageTracker.BufferSize", Kind::Text, "10", "How many packets.")
            .no_effect("a standalone server has no learners"),
    ],
};
