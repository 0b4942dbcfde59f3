//! The configuration of a server: `zoo.cfg` exactly as Apache ZooKeeper reads it, or none at all.
//!
//! In: a file, `-D` flags in the environment, or the short form of the command line. Out: one [`Config`] value, built
//! once at the start and never changed, or one [`ConfigError`] that is one line.
//!
//! Compatible when given an Apache `zoo.cfg`; safe when given none. Three promises:
//!
//! * what is asked for and missing here is **refused by name** (a secure port, SASL, an ensemble), never ignored; the one
//!   exception is the admin port, which Apache's own images switch on: a warning;
//! * a key of ZooKeeper that means nothing here yields one information line, an unknown one a warning;
//! * a bad value ends the start: `zoo.cfg:3: tickTime = 2s: not a number; allowed: 1 to 2147483647`; so does a name to
//!   listen on that nobody knows.
//!
//! | file | job |
//! |---|---|
//! | `java` | Java's numbers and booleans |
//! | `jvm_flags` | `-D` out of `SERVER_JVMFLAGS` and `JVMFLAGS` |
//! | `keys/` | the table of keys, from which `docs/configuration.md` is made too |
//! | `resolve` | who wins, what is refused |
//! | `build`, `build_auth`, `single_server`, `ensemble` | the typed value |
//! | `reference` | `docs/configuration.md` |

mod build;
mod build_auth;
mod ensemble;
#[cfg(test)]
mod ensemble_tests;
mod error;
#[cfg(test)]
mod every_key;
mod java;
mod jvm_flags;
mod keys;
mod reference;
mod resolve;
mod single_server;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use auth::AuthConfig;
use peer::throttle::SessionWeights;

pub(crate) use ensemble::set_client;
pub use ensemble::{EnsembleConfig, ReconfigConfig};
pub use error::{ConfigError, Place};
pub use jvm_flags::Environment;
pub use reference::reference;

use storage::snapshot::stream::Compression;

use crate::four_letter::Whitelist;
use resolve::Resolver;

/// Longest file that is read, in bytes. Real files have a few hundred lines at most.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Everything that an operator decides. Built once; passed on by reference or in parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The client port.
    pub client: ClientConfig,
    /// Ticks and session timeouts.
    pub sessions: SessionConfig,
    /// Sizes and numbers that bound requests.
    pub limits: LimitsConfig,
    /// Throttling of requests and of new sessions.
    pub throttle: ThrottleConfig,
    /// Authentication and ACLs.
    pub auth: AuthConfig,
    /// The four-letter words that are answered.
    pub four_letter_whitelist: Whitelist,
    /// Directories, log and snapshots.
    pub storage: StorageConfig,
    /// What the tree does.
    pub tree: TreeConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Where metrics go.
    pub metrics: MetricsConfig,
    /// The ensemble that it is a member of; `None`: a standalone server.
    pub ensemble: Option<EnsembleConfig>,
    /// What the start has to tell the operator, one line each, in order.
    pub notes: Vec<Note>,
}

/// The client port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name or address to listen on; `None`: all interfaces.
    pub address: Option<String>,
    /// Port; 0, which a file cannot ask for, lets the system choose.
    pub port: u16,
    /// Connections that may wait to be accepted.
    pub listen_backlog: u32,
    /// As written in the configuration, for the `conf` word.
    pub listen_backlog_configured: i32,
    /// Connections from one address; `None`: no limit.
    pub connections_per_address_max: Option<u32>,
    /// As written in the configuration, for the `conf` word.
    pub connections_per_address_configured: i32,
    /// Connections in total; `None`: no limit.
    pub connections_max: Option<u32>,
    /// SO_KEEPALIVE.
    pub tcp_keep_alive: bool,
    /// A connection that has not asked for a session after this time is closed.
    pub sessionless_timeout_ms: u32,
}

/// Ticks and session timeouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Length of a tick, at least 1.
    pub tick_ms: u32,
    /// Shortest timeout that a client gets.
    pub timeout_ms_min: u32,
    /// Longest timeout that a client gets; not below `timeout_ms_min`.
    pub timeout_ms_max: u32,
}

/// Sizes and numbers that bound requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Longest frame from a client.
    pub frame_bytes_max: u32,
    /// Longest string or buffer in a record of a log, a snapshot or a peer: the former plus the extra size.
    pub record_bytes_max: u32,
    /// Requests in process above which reading from waiting connections stops.
    pub outstanding_max: u32,
    /// Bytes to be sent to all clients together, beyond which those that read least are closed.
    pub unsent_bytes_max: usize,
    /// Bytes received from all clients together that are not processed, beyond which who sends a lot waits, and those that
    /// do not go on are closed.
    pub unprocessed_bytes_max: usize,
    /// Bytes of the watches of all sessions, beyond which more are refused.
    pub watch_bytes_max: usize,
    /// Sessions beyond which no new one begins.
    pub sessions_max: usize,
    /// Size from which a request counts as large; `None`: none does.
    pub large_request_bytes: Option<u32>,
    /// Bytes of large requests in process, above which the next one's connection is closed.
    pub large_requests_bytes_max: u32,
}

/// Throttling of requests and of new sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct ThrottleConfig {
    /// Requests in process above which new ones wait; `None`: no limit.
    pub requests_max: Option<u32>,
    /// Drop stale requests, with their connections.
    pub drop_stale: bool,
    /// Older than its session timeout is stale.
    pub stale_by_latency: bool,
    /// Connection closed is stale.
    pub stale_by_connection: bool,
    /// A request that waited longer gets an error; `None`: never.
    pub op_wait_ms: Option<u32>,
    /// Bucket of tokens for new sessions; `None`: no limit.
    pub session_tokens: Option<u32>,
    /// Time between refills.
    pub session_fill_ms: u32,
    /// Tokens in a refill.
    pub session_fill_count: u32,
    /// Time between changes of the drop probability; `None`: it stays 0.
    pub session_freeze_ms: Option<u32>,
    /// Step up, 0 to 1.
    pub session_drop_increase: f64,
    /// Step down, 0 to 1.
    pub session_drop_decrease: f64,
    /// Share of the bucket that may be missing while the probability goes down, 0 to 1.
    pub session_decrease_ratio: f64,
    /// Tokens by the kind of session; `None`: one for each.
    pub session_weights: Option<SessionWeights>,
}

/// Directories, log and snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Holds `version-2` with the snapshots.
    pub data_dir: PathBuf,
    /// Holds `version-2` with the logs.
    pub data_log_dir: PathBuf,
    /// Create missing directories.
    pub directories_autocreate: bool,
    /// Begin with an empty tree in an empty directory.
    pub database_autocreate: bool,
    /// Step in which log files grow; `None`: no allocation ahead.
    pub preallocation_bytes: Option<u64>,
    /// Transactions between two snapshots, at least 2; the trigger is random in its upper half.
    pub snap_count: u32,
    /// Log bytes between two snapshots, with the same jitter; `None`: no limit.
    pub snap_log_bytes: Option<u64>,
    /// Size after which a new log file begins; `None`: no limit.
    pub log_file_bytes_max: Option<u64>,
    /// `false`: acknowledge before the data is on the disk.
    pub force_sync: bool,
    /// A longer sync is reported.
    pub sync_warning_ms: u64,
    /// How long a batch may wait for company.
    pub flush_delay_ms: u64,
    /// After which time an idle log is synced.
    pub idle_flush_ms: u64,
    /// Transactions in one sync; `None`: no limit.
    pub batch_txns_max: Option<u32>,
    /// Purge of old files; `None`: never.
    pub purge: Option<PurgeConfig>,
    /// Replay logs on an empty tree when there is no snapshot.
    pub trust_empty_snapshot: bool,
    /// Cut a damaged last record that no interrupted write explains, although it may have been acknowledged.
    pub accept_suspect_tail: bool,
    /// How new snapshots are compressed.
    pub snapshot_compression: Compression,
    /// Write the last processed zxid at the end of snapshots.
    pub last_processed_zxid_in_snapshot: bool,
}

/// Purge of old files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeConfig {
    /// Valid snapshots to keep, at least 3.
    pub snapshots_kept: u32,
    /// Time between purges, at least 1.
    pub interval_hours: u32,
}

/// What the tree does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeConfig {
    /// Keep the digest.
    pub digest: bool,
    /// Name the ephemerals in the transaction that closes a session.
    pub close_session_paths: bool,
    /// Allow TTLs.
    pub extended_types: bool,
    /// Read TTLs in the layout of 3.5.3.
    pub ttl_layout_353: bool,
    /// Refuse writes above a quota.
    pub enforce_quota: bool,
    /// Say that a reconfig is not there, and not that it is switched off.
    pub reconfig_enabled: bool,
    /// Time between two looks for containers and expired TTLs.
    pub container_check_ms: u32,
    /// Deletions of them in a minute at most.
    pub container_deletions_per_minute_max: u32,
    /// When a container that never had a child goes; `None`: never.
    pub container_never_used_ms: Option<u64>,
}

/// The admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Name or address to listen on.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Path of the commands.
    pub command_url: String,
    /// An idle connection is closed after this time.
    pub idle_timeout_ms: u32,
    /// Time between two snapshot or restore commands.
    pub rate_limit_ms: u64,
    /// The snapshot command.
    pub snapshot_enabled: bool,
    /// The restore command.
    pub restore_enabled: bool,
}

/// Where metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The provider that was named.
    pub provider: MetricsProvider,
    /// Address of the Prometheus port.
    pub http_host: String,
    /// The Prometheus port.
    pub http_port: u16,
}

/// ZooKeeper's three metrics providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsProvider {
    /// Values through `mntr`.
    Default,
    /// No values.
    Null,
    /// A port for Prometheus.
    Prometheus,
}

/// One line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A warning asks for a look; the rest is information.
    pub warning: bool,
    /// The line.
    pub text: String,
}

impl Note {
    fn info(text: String) -> Self {
        Self { warning: false, text }
    }

    fn warning(text: String) -> Self {
        Self { warning: true, text }
    }
}

/// What a server without a file uses. The tick is 2000 ms, not the 3000 of Apache's code, because the sample file and
/// every image and tutorial have 2000: clients are tuned to sessions of 4 to 40 seconds. Loopback only, no admin port,
/// old files purged each hour; of the four-letter words those that neither change anything nor cost much.
const EMBEDDED: &[(&str, &str)] = &[
    ("clientPort", "2181"),
    ("clientPortAddress", "127.0.0.1"),
    ("dataDir", "ostler-data"),
    ("tickTime", "2000"),
    ("autopurge.purgeInterval", "1"),
    ("admin.enableServer", "false"),
    ("4lw.commands.whitelist", "srvr, ruok, stat, mntr, isro, conf, dirs, envi, wchs"),
];

impl Config {
    /// The launch forms of `QuorumPeerMain`, and one more: no argument starts with built-in values, one names a file,
    /// two to four are `port dataDir [tickTime] [maxClientCnxns]`.
    ///
    /// # Errors
    /// Any [`ConfigError`]; the process should end with [`ConfigError::EXIT_CODE`].
    pub fn from_arguments(arguments: &[String], environment: &Environment) -> Result<Self, ConfigError> {
        const SHORT_FORM: [&str; 4] = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        match arguments {
            [] => Self::embedded(environment),
            [file] => Self::load(Path::new(file), environment),
            _ if arguments.len() <= SHORT_FORM.len() => {
                let mut resolver = Resolver::default();
                resolver.add_environment(environment);
                for (name, text) in SHORT_FORM.into_iter().zip(arguments) {
                    resolver.set(name, text, Place::CommandLine)?;
                }
                build::build(resolver.check()?, &Place::CommandLine, &System)
            }
            _ => Err(ConfigError::Usage(format!(
                "{} arguments; allowed: none, a file, or port dataDir [tickTime] [maxClientCnxns]",
                arguments.len()
            ))),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], and those of [`Self::parse`].
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| ConfigError::Unreadable { place: Place::file(path, 0), reason: error.to_string() })?;
        Self::parse_with(path, &bytes, environment, &System)
    }

    /// Reads the bytes of a file; `path` is for messages only. No name is looked up, and no other file is
    /// read: it is as if there were none.
    ///
    /// # Errors
    /// Everything of [`ConfigError`] that a file can have.
    pub fn parse(path: &Path, bytes: &[u8], environment: &Environment) -> Result<Self, ConfigError> {
        Self::parse_with(path, bytes, environment, &Nothing)
    }

    fn parse_with(
        path: &Path,
        bytes: &[u8],
        environment: &Environment,
        outside: &dyn Outside,
    ) -> Result<Self, ConfigError> {
        let mut resolver = Resolver::default();
        resolver.add_environment(environment);
        resolver.add_file(path, bytes)?;
        build::build(resolver.check()?, &Place::file(path, 0), outside)
    }

    /// No file: a server on 127.0.0.1:2181 with its data in `ostler-data`, safe to start anywhere.
    ///
    /// # Errors
    /// A `-D` flag can hold a bad value here too.
    pub fn embedded(environment: &Environment) -> Result<Self, ConfigError> {
        let mut resolver = Resolver::default();
        for (name, text) in EMBEDDED {
            resolver.set(name, text, Place::BuiltIn)?;
        }
        resolver.add_environment(environment);
        build::build(resolver.check()?, &Place::BuiltIn, &System)
    }
}

/// What a configuration needs to know of the system beside its own file.
trait Outside {
    /// Does this name have an address? Or why not.
    fn has_address(&self, name: &str) -> Result<(), String>;
    /// What is in another file.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
}

/// The system.
struct System;

impl Outside for System {
    fn has_address(&self, name: &str) -> Result<(), String> {
        match (name, 0).to_socket_addrs() {
            Ok(mut addresses) => addresses.next().map(|_| ()).ok_or_else(|| "it has no address".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A system where each name has an address, and there is no file.
struct Nothing;

impl Outside for Nothing {
    fn has_address(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
