//! Keys about the request pipeline: back-pressure, throttling, watches.

use super::{Chapter, I32_MAX, I32_MIN, Kind, ZERO_OR_LESS, key};

const POOLS: &str = "requests do not pass through thread pools";
const NO_THROTTLING: &str = "throttling is not built yet; remove the line";
const WATCHES: &str = "there is one watch manager, and it needs no tuning";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Requests and throttling",
    families: &[
        key("commitProcessor.", Kind::Text, "", "Thread pool of the commit stage.").no_effect(POOLS),
        key("pathStats.", Kind::Text, "", "Tuning of these statistics.").idle("pathStats.enabled"),
        key("netty.", Kind::Text, "", "Tuning of the Netty client port.").no_effect("there is no Netty here"),
        key("jvm.pause.", Kind::Text, "", "Watch for pauses of the JVM.").file_only().no_effect("there is no JVM here"),
    ],
    keys: &[
        key("pathStats.enabled", Kind::PropertyBool, "false", "Statistics of busy paths.")
            .refused(&["false"], "there are no statistics of paths yet; remove the line"),
        key(
            "globalOutstandingLimit",
            Kind::Decoded(1, I32_MAX),
            "1000",
            "Requests in process above which the server stops reading from connections that already wait.",
        ),
        key(
            "largeRequestThreshold",
            Kind::Decimal(I32_MIN, I32_MAX),
            "-1",
            "Size in bytes from which a request counts as large. 0 or less: none does.",
        )
        .refused(&[ZERO_OR_LESS], "large requests are not counted yet; remove the line"),
        key(
            "largeRequestMaxBytes",
            Kind::Decimal(1, I32_MAX),
            "104857600",
            "Bytes of large requests in process above which a connection that sends one more is closed.",
        )
        .idle("largeRequestThreshold"),
        key(
            "throttled_op_wait_time",
            Kind::Decoded(I32_MIN, I32_MAX),
            "0",
            "Time in ms after which a waiting request is answered with an error. 0 or less: never.",
        )
        .also(&["throttledOpWaitTime"])
        .refused(&[ZERO_OR_LESS], NO_THROTTLING),
        key(
            "request_throttle_max_requests",
            Kind::Decoded(I32_MIN, I32_MAX),
            "0",
            "Requests in process above which new ones are stalled. 0 or less: no limit.",
        )
        .also(&["requestThrottleLimit"])
        .refused(&[ZERO_OR_LESS], NO_THROTTLING),
        key("request_throttle_stall_time", Kind::Decoded(1, I32_MAX), "100", "One stall, in ms.")
            .also(&["requestThrottleStallTime"])
            .idle("request_throttle_max_requests"),
        key(
            "request_throttle_drop_stale",
            Kind::PropertyBool,
            "true",
            "While stalling, drop requests of connections that are gone.",
        )
        .also(&["requestThrottleDropStale"])
        .idle("request_throttle_max_requests"),
        key(
            "request_stale_latency_check",
            Kind::PropertyBool,
            "false",
            "A request older than its session timeout is stale.",
        )
        .also(&["requestStaleLatencyCheck"])
        .idle("request_throttle_max_requests"),
        key(
            "request_stale_connection_check",
            Kind::PropertyBool,
            "true",
            "A request whose connection is closed is stale.",
        )
        .also(&["requestStaleConnectionCheck"])
        .idle("request_throttle_max_requests"),
        key("request_throttler.shutdownTimeout", Kind::Text, "10000", "How long a stop waits for requests.")
            .no_effect("there is no such stage"),
        key(
            "connection_throttle_tokens",
            Kind::Decoded(0, I32_MAX),
            "0",
            "Size of the bucket that limits new sessions. 0: no limit.",
        )
        .also(&["connectionMaxTokens"])
        .refused(&["0"], NO_THROTTLING),
        key("connection_throttle_fill_time", Kind::Decoded(1, I32_MAX), "1", "Time in ms between two refills.")
            .also(&["connectionTokenFillTime"])
            .idle("connection_throttle_tokens"),
        key("connection_throttle_fill_count", Kind::Decoded(1, I32_MAX), "1", "Tokens in one refill.")
            .also(&["connectionTokenFillCount"])
            .idle("connection_throttle_tokens"),
        key(
            "connection_throttle_freeze_time",
            Kind::Decoded(-1, I32_MAX),
            "-1",
            "Time in ms between two changes of the drop probability. -1: it stays 0.",
        )
        .also(&["connectionFreezeTime"])
        .refused(&[ZERO_OR_LESS], NO_THROTTLING),
        key("connection_throttle_drop_increase", Kind::Double(0.0, 1.0), "0.02", "Step up of the drop probability.")
            .also(&["connectionDropIncrease"])
            .idle("connection_throttle_tokens"),
        key("connection_throttle_drop_decrease", Kind::Double(0.0, 1.0), "0.002", "Step down of the drop probability.")
            .also(&["connectionDropDecrease"])
            .idle("connection_throttle_tokens"),
        key(
            "connection_throttle_decrease_ratio",
            Kind::Double(0.0, 1.0),
            "0",
            "Share of the bucket above which the probability goes down.",
        )
        .also(&["connectionDecreaseRatio", "connectionDropDecreaseRatio"])
        .idle("connection_throttle_tokens"),
        key(
            "connection_throttle_weight_enabled",
            Kind::PropertyBool,
            "false",
            "Weigh new, local and renewed sessions differently.",
        )
        .idle("connection_throttle_tokens"),
        key("connection_throttle_global_session_weight", Kind::Decoded(1, I32_MAX), "3", "Tokens of a new session.")
            .idle("connection_throttle_tokens"),
        key("connection_throttle_local_session_weight", Kind::Decoded(1, I32_MAX), "1", "Tokens of a local session.")
            .idle("connection_throttle_tokens"),
        key("connection_throttle_renew_session_weight", Kind::Decoded(1, I32_MAX), "2", "Tokens of a renewed session.")
            .idle("connection_throttle_tokens"),
        key("watchManagerName", Kind::Text, "", "Java class of the watch manager.").no_effect(WATCHES),
        key("watcherCleanThreadsNum", Kind::Text, "2", "Threads that clean dead watches.").no_effect(WATCHES),
        key("watcherCleanThreshold", Kind::Text, "1000", "Dead watches before a cleaning.").no_effect(WATCHES),
        key("watcherCleanIntervalInSeconds", Kind::Text, "600", "Time between cleanings.").no_effect(WATCHES),
        key("maxInProcessingDeadWatchers", Kind::Text, "-1", "Dead watches in process.").no_effect(WATCHES),
        key("bitHashCacheSize", Kind::Text, "10", "Cached entries of a bit set.").no_effect(WATCHES),
        key("messageTracker.Enabled", Kind::Text, "false", "Remember packets of learners.")
            .no_effect("a standalone server has no learners"),
        key("messageTracker.BufferSize", Kind::Text, "10", "How many packets.")
            .no_effect("a standalone server has no learners"),
    ],
};
