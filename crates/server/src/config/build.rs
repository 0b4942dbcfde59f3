//! The typed value out of checked settings, and the rules that concern two keys at once.

use std::path::PathBuf;

use super::build_auth::auth;
use super::ensemble::{ensemble, set_client, written_client};
use super::error::{ConfigError, Place};
use super::resolve::Settings;
use super::single_server::single_server;
use super::{
    AdminConfig, ClientConfig, Config, EnsembleConfig, LimitsConfig, MetricsConfig, MetricsProvider, Note, Outside,
    PurgeConfig, SessionConfig, SessionWeights, StorageConfig, ThrottleConfig, TreeConfig,
};
use storage::snapshot::stream::Compression;

use crate::four_letter::Whitelist;

/// Builds the value; `source` is where a missing key should have been.
pub(super) fn build(mut settings: Settings, source: &Place, outside: &dyn Outside) -> Result<Config, ConfigError> {
    let storage = storage(&mut settings, source)?;
    let (client, ensemble) = client(&mut settings, source, &storage, outside)?;
    if let Some(name) = &client.address {
        outside.has_address(name).map_err(|what| {
            settings.bad("clientPortAddress", what, "an address of this machine, or a name that has one")
        })?;
    }
    let sessions = sessions(&settings)?;
    let limits = limits(&mut settings)?;
    let throttle = throttle(&mut settings)?;
    let auth = auth(&mut settings)?;
    let words = settings.text("4lw.commands.whitelist")?.unwrap_or_default();
    let whitelist = Whitelist::parse(&words, settings.bool("readonlymode.enabled")?);
    for word in whitelist.unknown() {
        settings.notes.push(Note::warning(format!("4lw.commands.whitelist: there is no four-letter word {word:?}")));
    }
    if !storage.force_sync {
        settings.notes.push(Note::warning(
            "forceSync=no: acknowledged writes are not on the disk, and a power cut loses them".to_owned(),
        ));
    }
    if storage.accept_suspect_tail {
        settings.notes.push(Note::warning(
            "ostler.log.acceptSuspectTail=true: a damaged last record will be cut, acknowledged or not; remove the line \
             after this start"
                .to_owned(),
        ));
    }
    Ok(Config {
        client,
        sessions,
        limits,
        throttle,
        auth,
        four_letter_whitelist: whitelist,
        storage,
        tree: tree(&settings)?,
        admin: admin(&settings)?,
        metrics: metrics(&settings)?,
        ensemble,
        notes: settings.notes,
    })
}

fn client(
    settings: &mut Settings,
    source: &Place,
    storage: &StorageConfig,
    outside: &dyn Outside,
) -> Result<(ClientConfig, Option<EnsembleConfig>), ConfigError> {
    let (mut port, mut address) = (settings.limit("clientPort")?, settings.text("clientPortAddress")?);
    let mut written = written_client(port, address.as_deref());
    let ensemble = ensemble(settings, source, &mut written, &storage.data_dir, outside)?;
    if ensemble.is_none() {
        let single = single_server(settings)?;
        if let Some(other) = single.port.filter(|_| port.is_some() && single.port != port) {
            let what = format!("the server line names the client port {other}");
            return Err(settings.bad("clientPort", what, &format!("{other}, or no clientPort at all")));
        }
        port = port.or(single.port);
        address = single.address.or(address);
        settings.say_what_only_members_use();
    }
    let configured: i32 = settings.number("maxClientCnxns")?;
    let backlog: i32 = settings.number("clientPortListenBacklog")?;
    let mut client = ClientConfig {
        address,
        port: port.or(written.as_ref().map(|it| it.port)).ok_or(ConfigError::Missing {
            place: source.clone(),
            key: "clientPort",
            what: "the port for clients, by convention 2181",
        })?,
        listen_backlog: if backlog < 1 { JAVA_BACKLOG } else { backlog.unsigned_abs() },
        listen_backlog_configured: backlog,
        connections_per_address_max: settings.limit("maxClientCnxns")?,
        connections_per_address_configured: configured,
        connections_max: settings.limit("maxCnxns")?,
        tcp_keep_alive: settings.bool("clientTcpKeepAlive")?,
        sessionless_timeout_ms: settings.number("nio.sessionlessCnxnTimeout")?,
    };
    if let (Some(_), Some(at)) = (&ensemble, &written) {
        set_client(&mut client, at);
    }
    Ok((client, ensemble))
}

fn sessions(settings: &Settings) -> Result<SessionConfig, ConfigError> {
    let tick_ms: u32 = settings.number("tickTime")?;
    let timeout = |name, ticks: u32| -> Result<u32, ConfigError> {
        Ok(match settings.int(name)? {
            Some(configured) if configured >= 0 => u32::try_from(configured).unwrap_or(u32::MAX),
            _ => tick_ms.saturating_mul(ticks).min(i32::MAX as u32),
        })
    };
    let timeout_ms_min = timeout("minSessionTimeout", 2)?;
    let timeout_ms_max = timeout("maxSessionTimeout", 20)?;
    if timeout_ms_min > timeout_ms_max {
        return Err(if settings.place("minSessionTimeout").is_some() {
            let what = format!("larger than maxSessionTimeout, which is {timeout_ms_max}");
            settings.bad("minSessionTimeout", what, "up to maxSessionTimeout")
        } else {
            let what = format!("smaller than minSessionTimeout, which is {timeout_ms_min}");
            settings.bad("maxSessionTimeout", what, "from minSessionTimeout")
        });
    }
    Ok(SessionConfig { tick_ms, timeout_ms_min, timeout_ms_max })
}

fn limits(settings: &mut Settings) -> Result<LimitsConfig, ConfigError> {
    let frame_bytes_max: u32 = settings.number("jute.maxbuffer")?;
    let extra = settings.limit::<u32>("jute.maxbuffer.extrasize")?;
    let extra = match settings.int("jute.maxbuffer.extrasize")? {
        Some(_) => extra.unwrap_or(0),
        None => frame_bytes_max,
    };
    let extra = extra.max(EXTRA_BYTES_MIN);
    Ok(LimitsConfig {
        frame_bytes_max,
        record_bytes_max: frame_bytes_max.saturating_add(extra).min(i32::MAX as u32),
        outstanding_max: settings.limit("globalOutstandingLimit")?.unwrap_or(0),
        unsent_bytes_max: settings.number("ostler.unsent.bytesMax")?,
        unprocessed_bytes_max: settings.number("ostler.unprocessed.bytesMax")?,
        watch_bytes_max: settings.number("ostler.watches.bytesMax")?,
        sessions_max: settings.number("ostler.sessions.max")?,
        large_request_bytes: settings.limit("largeRequestThreshold")?,
        large_requests_bytes_max: positive(settings, "largeRequestMaxBytes", 100 << 20)?,
    })
}

fn throttle(settings: &mut Settings) -> Result<ThrottleConfig, ConfigError> {
    let requests_max = settings.limit("request_throttle_max_requests")?;
    let session_tokens = settings.limit("connection_throttle_tokens")?;
    for (switch, is_on, parts) in [
        (
            "request_throttle_max_requests",
            requests_max.is_some(),
            &[
                "throttled_op_wait_time",
                "request_throttle_drop_stale",
                "request_stale_latency_check",
                "request_stale_connection_check",
            ][..],
        ),
        (
            "connection_throttle_tokens",
            session_tokens.is_some(),
            &[
                "connection_throttle_fill_time",
                "connection_throttle_fill_count",
                "connection_throttle_freeze_time",
                "connection_throttle_drop_increase",
                "connection_throttle_drop_decrease",
                "connection_throttle_decrease_ratio",
                "connection_throttle_weight_enabled",
                "connection_throttle_global_session_weight",
                "connection_throttle_local_session_weight",
                "connection_throttle_renew_session_weight",
            ],
        ),
    ] {
        for part in parts.iter().filter(|_| !is_on) {
            if let Some(written) = settings.written(part) {
                let line =
                    format!("{}: {} has no effect: it counts only with {switch}", written.place, written.spelling);
                settings.notes.push(Note::info(line));
            }
        }
    }
    let freeze = settings.int("connection_throttle_freeze_time")?.and_then(|ms| u32::try_from(ms).ok());
    let weights = settings.bool("connection_throttle_weight_enabled")?;
    Ok(ThrottleConfig {
        requests_max,
        drop_stale: settings.bool("request_throttle_drop_stale")?,
        stale_by_latency: settings.bool("request_stale_latency_check")?,
        stale_by_connection: settings.bool("request_stale_connection_check")?,
        op_wait_ms: settings.limit("throttled_op_wait_time")?,
        session_tokens,
        session_fill_ms: settings.number("connection_throttle_fill_time")?,
        session_fill_count: settings.number("connection_throttle_fill_count")?,
        session_freeze_ms: freeze,
        session_drop_increase: settings.double("connection_throttle_drop_increase")?,
        session_drop_decrease: settings.double("connection_throttle_drop_decrease")?,
        session_decrease_ratio: settings.double("connection_throttle_decrease_ratio")?,
        session_weights: if weights { Some(session_weights(settings)?) } else { None },
    })
}

/// No weight is smaller than that of a local session.
fn session_weights(settings: &mut Settings) -> Result<SessionWeights, ConfigError> {
    let local = positive(settings, "connection_throttle_local_session_weight", 1)?;
    let mut at_least_local = |name: &'static str, default| -> Result<u32, ConfigError> {
        let weight = positive(settings, name, default)?;
        if weight < local {
            let place = settings.place(name).map_or_else(|| "default".to_owned(), ToString::to_string);
            let line =
                format!("{place}: {name} = {weight} is less than the weight of a local session: {local} is used");
            settings.notes.push(Note::warning(line));
        }
        Ok(weight.max(local))
    };
    Ok(SessionWeights {
        global: at_least_local("connection_throttle_global_session_weight", 3)?,
        renew: at_least_local("connection_throttle_renew_session_weight", 2)?,
        local,
    })
}

/// A number of which Apache takes the default when it is 0 or less, with a warning.
fn positive(settings: &mut Settings, name: &'static str, default: u32) -> Result<u32, ConfigError> {
    let number: i64 = settings.number(name)?;
    if number > 0 {
        return u32::try_from(number).map_err(|_| ConfigError::NoSuchKey(name));
    }
    let place = settings.place(name).map(ToString::to_string).unwrap_or_default();
    settings.notes.push(Note::warning(format!("{place}: {name} = {number} is not above 0: {default} is used")));
    Ok(default)
}

fn storage(settings: &mut Settings, source: &Place) -> Result<StorageConfig, ConfigError> {
    let data_dir = settings.text("dataDir")?.ok_or(ConfigError::Missing {
        place: source.clone(),
        key: "dataDir",
        what: "the directory of snapshots and, without dataLogDir, of logs",
    })?;
    let data_log_dir = settings.text("dataLogDir")?;
    for (name, directory) in [("dataDir", Some(&data_dir)), ("dataLogDir", data_log_dir.as_ref())] {
        let Some(directory) = directory else { continue };
        let written = settings.place(name).filter(|place| **place != Place::BuiltIn);
        if let Some(place) = written.filter(|_| !directory.starts_with(['/', '.'])) {
            let text =
                format!("{place}: {name} = {directory} is relative to the current folder; write ./ if you mean it");
            settings.notes.push(Note::warning(text));
        }
    }
    let snap_count = at_least(settings, "snapCount", 2)?;
    let snapshots_kept = at_least(settings, "autopurge.snapRetainCount", 3)?;
    let interval_hours = settings.limit("autopurge.purgeInterval")?;
    let flush_delay_ms = settings.number("flushDelay")?;
    let kib = |name| settings.limit::<u64>(name).map(|size| size.map(|kib| kib * 1024));
    Ok(StorageConfig {
        data_log_dir: PathBuf::from(data_log_dir.as_ref().unwrap_or(&data_dir)),
        data_dir: PathBuf::from(data_dir),
        directories_autocreate: settings.bool("datadir.autocreate")?,
        database_autocreate: settings.bool("db.autocreate")?,
        preallocation_bytes: kib("preAllocSize")?,
        snap_count,
        snap_log_bytes: kib("snapSizeLimitInKb")?,
        log_file_bytes_max: kib("txnLogSizeLimitInKb")?,
        force_sync: settings.bool("forceSync")?,
        sync_warning_ms: settings.number("fsync.warningthresholdms")?,
        flush_delay_ms,
        idle_flush_ms: match settings.int("maxWriteQueuePollTime")? {
            Some(_) => settings.number("maxWriteQueuePollTime")?,
            None => flush_delay_ms / 3,
        },
        batch_txns_max: settings.limit("maxBatchSize")?,
        purge: interval_hours.map(|interval_hours| PurgeConfig { snapshots_kept, interval_hours }),
        trust_empty_snapshot: settings.bool("snapshot.trust.empty")?,
        accept_suspect_tail: settings.bool("ostler.log.acceptSuspectTail")?,
        snapshot_compression: match settings.text("snapshot.compression.method")?.as_deref() {
            Some("gz") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            _ => Compression::None,
        },
        last_processed_zxid_in_snapshot: settings.bool("serializeLastProcessedZxid.enabled")?,
    })
}

/// A number that Apache raises to its minimum, with a warning.
fn at_least(settings: &mut Settings, name: &'static str, min: u32) -> Result<u32, ConfigError> {
    let number: i64 = settings.number(name)?;
    if number >= i64::from(min) {
        return u32::try_from(number).map_err(|_| ConfigError::NoSuchKey(name));
    }
    let place = settings.place(name).map(ToString::to_string).unwrap_or_default();
    settings.notes.push(Note::warning(format!("{place}: {name} = {number} is too small: {min} is used")));
    Ok(min)
}

fn tree(settings: &Settings) -> Result<TreeConfig, ConfigError> {
    Ok(TreeConfig {
        digest: settings.bool("digest.enabled")?,
        close_session_paths: settings.bool("closeSessionTxn.enabled")?,
        extended_types: settings.bool("extendedTypesEnabled")?,
        ttl_layout_353: settings.bool("emulate353TTLNodes")?,
        enforce_quota: settings.bool("enforceQuota")?,
        reconfig_enabled: settings.bool("reconfigEnabled")?,
        container_check_ms: settings.number("znode.container.checkIntervalMs")?,
        container_deletions_per_minute_max: settings.number("znode.container.maxPerMinute")?,
        container_never_used_ms: settings.limit("znode.container.maxNeverUsedIntervalMs")?,
    })
}

fn admin(settings: &Settings) -> Result<AdminConfig, ConfigError> {
    Ok(AdminConfig {
        enabled: settings.bool("admin.enableServer")?,
        address: settings.text("admin.serverAddress")?.unwrap_or_default(),
        port: settings.number("admin.serverPort")?,
        command_url: settings.text("admin.commandURL")?.unwrap_or_default(),
        idle_timeout_ms: settings.number("admin.idleTimeout")?,
        rate_limit_ms: settings.number("admin.rateLimiterIntervalInMS")?,
        snapshot_enabled: settings.bool("admin.snapshot.enabled")?,
        restore_enabled: settings.bool("admin.restore.enabled")?,
    })
}

fn metrics(settings: &Settings) -> Result<MetricsConfig, ConfigError> {
    let class = settings.text("metricsProvider.className")?.unwrap_or_default();
    let provider = match class.rsplit('.').next() {
        Some("PrometheusMetricsProvider") => MetricsProvider::Prometheus,
        Some("NullMetricsProvider") => MetricsProvider::Null,
        _ => MetricsProvider::Default,
    };
    Ok(MetricsConfig {
        provider,
        http_host: settings.text("metricsProvider.httpHost")?.unwrap_or_default(),
        http_port: settings.number("metricsProvider.httpPort")?,
    })
}

/// What Java's ServerSocket uses for a backlog below 1.
const JAVA_BACKLOG: u32 = 50;
/// Apache never uses a smaller extra size.
const EXTRA_BYTES_MIN: u32 = 1024;
