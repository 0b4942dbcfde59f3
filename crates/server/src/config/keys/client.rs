//! Keys about client connections and sessions.

use super::{Chapter, I32_MAX, I32_MIN, Kind, key};

const CLIENTS: &str = "it is a setting of clients";

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Clients and sessions",
    families: &[],
    keys: &[
        key("clientPort", Kind::Decimal(0, 65535), "", "Port for clients. Required. A reconfig of the own line moves it while the server runs.").file_only(),
        key("clientPortAddress", Kind::Text, "", "Address to listen on: a name, IPv4 or IPv6. Unset: all interfaces.")
            .file_only(),
        key(
            "clientPortListenBacklog",
            Kind::Decimal(I32_MIN, I32_MAX),
            "-1",
            "Connections that may wait to be accepted. Below 1: 50, Java's default.",
        )
        .file_only(),
        key(
            "maxClientCnxns",
            Kind::Decimal(I32_MIN, I32_MAX),
            "60",
            "Connections from one address. 0 or less: no limit.",
        )
        .file_only(),
        key("maxCnxns", Kind::Decoded(I32_MIN, I32_MAX), "0", "Connections in total. 0 or less: no limit."),
        key("tickTime", Kind::Decimal(1, I32_MAX), "3000", "The unit of all limits in ticks, in ms.").file_only(),
        key(
            "minSessionTimeout",
            Kind::Decimal(-1, I32_MAX),
            "-1",
            "Shortest session timeout that a client gets, in ms. -1: 2 ticks.",
        )
        .file_only(),
        key(
            "maxSessionTimeout",
            Kind::Decimal(-1, I32_MAX),
            "-1",
            "Longest session timeout that a client gets, in ms. -1: 20 ticks.",
        )
        .file_only(),
        key("clientTcpKeepAlive", Kind::PropertyBool, "false", "SO_KEEPALIVE on client connections."),
        key(
            "nio.sessionlessCnxnTimeout",
            Kind::Decoded(1, I32_MAX),
            "10000",
            "Time in ms after which a connection that never asked for a session is closed.",
        ),
        key(
            "jute.maxbuffer",
            Kind::Decoded(1, I32_MAX),
            "1048575",
            "Longest request, in bytes. Java reads it only from `-Djute.maxbuffer`.",
        )
        .bare(),
        key(
            "jute.maxbuffer.extrasize",
            Kind::Decoded(0, I32_MAX),
            "",
            "Bytes that a record in a log or snapshot may be longer than jute.maxbuffer. Unset: as much as jute.maxbuffer; never below 1024.",
        ),
        key(
            "ostler.unsent.bytesMax",
            Kind::Decoded(1 << 20, 1 << 40),
            "536870912",
            "Ostler's own. Bytes to be sent to all clients together; beyond, those that have read nothing for the longest time are closed.",
        )
        .bare(),
        key(
            "ostler.unprocessed.bytesMax",
            Kind::Decoded(1 << 20, 1 << 40),
            "268435456",
            "Ostler's own. Bytes received from all clients together that are not processed: parts of requests, and requests that wait, with the memory that each takes. Beyond, large requests wait, and connections that do not go on with theirs are closed.",
        )
        .bare(),
        key(
            "ostler.watches.bytesMax",
            Kind::Decoded(1 << 20, 1 << 40),
            "2147483648",
            "Ostler's own. Bytes of the watches of all sessions together, about 100 and twice its path for each path that is watched and 12 for each watcher; more are refused with QuotaExceeded.",
        )
        .bare(),
        key(
            "ostler.sessions.max",
            Kind::Decoded(1, I32_MAX),
            "1000000",
            "Ostler's own. Sessions, with a connection or without, beyond which a ConnectRequest for a new one is closed; each takes about 130 bytes beside its connection.",
        )
        .bare(),
        key("localSessionsEnabled", Kind::StrictBool, "false", "Sessions that only the attached server knows.")
            .file_only()
            .ensemble(),
        key(
            "localSessionsUpgradingEnabled",
            Kind::StrictBool,
            "false",
            "Make a local session global when it creates an ephemeral.",
        )
        .file_only()
        .ensemble(),
        key(
            "readonlymode.enabled",
            Kind::PropertyBool,
            "false",
            "Serve reads without a quorum. Java reads it only from `-Dreadonlymode.enabled`.",
        )
        .bare()
        .ensemble(),
        key("serverCnxnFactory", Kind::Text, "", "Java class of the client port.")
            .no_effect("there is one client port implementation"),
        key("nio.numSelectorThreads", Kind::Text, "", "Threads that accept.")
            .no_effect("threads follow the number of cores"),
        key("nio.numWorkerThreads", Kind::Text, "", "Threads that read and write.")
            .no_effect("threads follow the number of cores"),
        key("nio.directBufferBytes", Kind::Text, "65536", "Bytes of a write buffer.")
            .no_effect("there is no such buffer"),
        key("nio.shutdownTimeout", Kind::Text, "5000", "How long a stop waits for workers.")
            .no_effect("there are no such workers"),
        key("intBufferStartingSizeBytes", Kind::Text, "1024", "First size of an encoding buffer.")
            .no_effect("there is no such buffer"),
        key("netty.advancedFlowControl.enabled", Kind::Text, "false", "Stop reading from a throttled connection.")
            .also(&["advancedFlowControlEnabled"])
            .no_effect("there is no Netty here, and reading always stops when a connection is throttled"),
        key("maxResponseCacheSize", Kind::Text, "400", "Cached getData replies.").no_effect("there is no such cache"),
        key("maxGetChildrenResponseCacheSize", Kind::Text, "400", "Cached getChildren replies.")
            .no_effect("there is no such cache"),
        key("disableAutoWatchReset", Kind::Text, "false", "Clients do not set their watches again.").no_effect(CLIENTS),
        key("clientCnxnSocket", Kind::Text, "", "Java class of a client's connection.").no_effect(CLIENTS),
        key("client.secure", Kind::Text, "false", "Clients use TLS.").no_effect(CLIENTS),
        key("testingonly.initialZxid", Kind::Text, "", "The first zxid.").no_effect("it is for tests of Apache's own"),
        key("test.allowDiscontinuousProposals", Kind::Text, "false", "Gaps between zxids.")
            .no_effect("it is for tests of Apache's own"),
        key("follower.nodelay", Kind::Text, "true", "TCP_NODELAY towards the leader.")
            .bare()
            .no_effect("TCP_NODELAY is always on"),
        key("leader.nodelay", Kind::Text, "true", "TCP_NODELAY towards learners.")
            .bare()
            .no_effect("TCP_NODELAY is always on"),
    ],
};
