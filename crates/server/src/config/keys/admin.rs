//! Keys about the admin port and metrics.

use super::{Chapter, I32_MAX, Kind, key};

const PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

const NO_ADMIN: &str = "there is no admin port here yet";
const NO_METRICS: &str = "there is no port for metrics yet; remove the line (the word mntr tells values)";

/// Providers without a port of their own.
const NO_PORT: &[&str] = PROVIDERS.split_at(2).0;

pub(super) const CHAPTER: Chapter = Chapter {
    title: "Administration and metrics",
    families: &[key("metricsProvider.", Kind::Text, "", "Other settings of the metrics provider.")
        .file_only()
        .idle("metricsProvider.className")],
    keys: &[
        key(
            "admin.enableServer",
            Kind::PropertyBool,
            "true",
            "The admin port. There is none here, and none is opened.",
        )
        .absent(&["false"], "there is no admin port here yet, none is opened; admin.enableServer=false silences this"),
        key("admin.serverAddress", Kind::Text, "0.0.0.0", "Address of the admin port.").no_effect(NO_ADMIN),
        key("admin.serverPort", Kind::Decoded(0, 65535), "8080", "The admin port.").no_effect(NO_ADMIN),
        key("admin.commandURL", Kind::Text, "/commands", "Path of the commands.").no_effect(NO_ADMIN),
        key(
            "admin.idleTimeout",
            Kind::Decoded(0, I32_MAX),
            "30000",
            "Time in ms after which an idle connection is closed.",
        )
        .no_effect(NO_ADMIN),
        key("admin.portUnification", Kind::PropertyBool, "false", "TLS and plain text on the admin port.")
            .no_effect(NO_ADMIN),
        key("admin.forceHttps", Kind::PropertyBool, "false", "Only TLS on the admin port.").no_effect(NO_ADMIN),
        key("admin.needClientAuth", Kind::PropertyBool, "false", "Certificates of clients of the admin port.")
            .no_effect(NO_ADMIN),
        key("admin.httpVersion", Kind::Text, "11", "HTTP version.").no_effect(NO_ADMIN),
        key(
            "admin.rateLimiterIntervalInMS",
            Kind::Decoded(0, i64::MAX),
            "300000",
            "Time in ms between two snapshot or restore commands.",
        )
        .no_effect(NO_ADMIN),
        key("admin.snapshot.enabled", Kind::PropertyBool, "true", "The snapshot command.").no_effect(NO_ADMIN),
        key("admin.restore.enabled", Kind::PropertyBool, "true", "The restore command.").no_effect(NO_ADMIN),
        key("metricsProvider.className", Kind::Choice(PROVIDERS), PROVIDERS[0], "Where metrics go.")
            .file_only()
            .refused(NO_PORT, NO_METRICS),
        key("metricsProvider.httpHost", Kind::Text, "0.0.0.0", "Address of the metrics port.")
            .file_only()
            .idle("metricsProvider.className"),
        key("metricsProvider.httpPort", Kind::Decimal(0, 65535), "7000", "The metrics port.")
            .file_only()
            .idle("metricsProvider.className"),
        key("metricsProvider.exportJvmInfo", Kind::PropertyBool, "true", "Metrics of the JVM.")
            .file_only()
            .idle("metricsProvider.className"),
        key("metricsProvider.numWorkerThreads", Kind::Text, "1", "Threads that count.")
            .file_only()
            .no_effect("counting needs no threads"),
        key("metricsProvider.maxQueueSize", Kind::Text, "1000000", "Queue of values to count.")
            .file_only()
            .no_effect("counting needs no queue"),
        key("metricsProvider.workerShutdownTimeoutMs", Kind::Text, "1000", "How long a stop waits.")
            .file_only()
            .no_effect("counting needs no threads"),
        key("jmx.log4j.disable", Kind::Text, "", "JMX beans of the logger.").no_effect("there is no JMX here"),
        key("log.dir", Kind::Text, "", "Directory of log files.").no_effect("log lines go to standard error"),
        key("log.file", Kind::Text, "", "Name of the log file.").no_effect("log lines go to standard error"),
        key("log.threshold", Kind::Text, "", "Lowest level in the log file.")
            .no_effect("log lines go to standard error"),
        key("log.maxfilesize", Kind::Text, "", "Size of a log file.").no_effect("log lines go to standard error"),
        key("log.maxbackupindex", Kind::Text, "", "Number of log files.").no_effect("log lines go to standard error"),
        key("root.logger", Kind::Text, "", "The root logger.").no_effect("log lines go to standard error"),
        key("console.threshold", Kind::Text, "", "Lowest level on the console.")
            .no_effect("log lines go to standard error"),
    ],
};
