//! The ensemble that a server is a member of: its members, its own number, and the limits that members agree on.
//!
//! Members stand in `zoo.cfg`, or in the file that `dynamicConfigFile` names; the own number in `dataDir/myid`. Without
//! members, or with one and `standaloneEnabled`, a server runs standalone. What can't be right is an error with its place:
//! a wrong number here is what puts two servers of one ensemble apart.
//!
//! Source: `QuorumPeerConfig.parseProperties`, `parseDynamicConfig`, `setupMyId`, `setupClientPort`, `setupPeerType`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node::SNAPSHOT_SIZE_FACTOR;
use peer::LocalSessions;
use wire::ServerId;
use wire::election::HostPort;
use wire::properties::{self, Entry};
use zab::QuorumVerifier;
use zab::quorum_verifier::{OtherKeys, ParseError, Role, Rule, TextRules};

use super::error::{ConfigError, Place};
use super::resolve::{Settings, Written};
use super::{ClientConfig, Note, Outside, java};
use crate::dynamic_files::next_of;

/// The largest number of a server that fits into session ids and, with TTLs, into owners. Source: `EphemeralType`.
const SERVER_ID_MAX_WITH_TTL: i64 = 254;

/// What a member of an ensemble is told.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleConfig {
    /// `myid`.
    pub me: ServerId,
    /// The members, by the newest configuration that was committed as far as the files say.
    pub verifier: Arc<QuorumVerifier>,
    /// `reconfigEnabled`, and what goes with it.
    pub reconfig: Option<ReconfigConfig>,
    /// `localSessionsEnabled`, `localSessionsUpgradingEnabled`.
    pub local_sessions: LocalSessions,
    /// `leaderServes`: a leader takes clients.
    pub leader_serves: bool,
    /// `observerMasterPort`: where followers serve observers, and observers look for such a follower.
    pub observer_master_port: Option<u16>,
    /// `observerMaster.sizeLimit`: bytes of the history that a follower keeps in memory for observers.
    pub observer_log_bytes_max: u32,
    /// `oraclePath`: the file that says whether this one of two participants may lead alone.
    pub oracle: Option<PathBuf>,
    /// `readonlymode.enabled`: reads are served where there is no leader.
    pub read_only: bool,
    /// How the text of a configuration is read.
    pub text_rules: TextRules,
    /// `initLimit`, at least 1: how long it may take to come together, in ticks.
    pub init_limit_ticks: u32,
    /// `syncLimit`, at least 1: how long one may be silent, in ticks.
    pub sync_limit_ticks: u32,
    /// How long connecting to a leader may take, in ticks.
    pub connect_limit_ticks: u32,
    /// The pause between two tries to connect to a leader, in ms.
    pub connect_pause_ms: u32,
    /// How long opening a connection to an election port may take, in ms.
    pub election_connect_ms: u32,
    /// How long a peer on the election port may take to say who it is, in ms.
    pub election_hello_ms: u32,
    /// How often the election port is tried to be bound; `None`: for ever.
    pub election_bind_tries: Option<u32>,
    /// SO_KEEPALIVE on the connections of elections.
    pub tcp_keep_alive: bool,
    /// Listen on all interfaces instead of the own address alone.
    pub listen_on_all: bool,
    /// After how long a vote is sent again at first, in ms, at least 1.
    pub notification_ms_min: u32,
    /// And at last.
    pub notification_ms_max: u32,
    /// How long a leader waits for its epoch before a voter that looks for a leader again ends that, in ms; `None`: no voter does.
    pub epoch_wait_ms_max: Option<u32>,
    /// Servers without a vote that get a snapshot at once, at most.
    pub snap_syncs_max: u32,
    /// Servers without a vote that get a part of the log at once, at most.
    pub diff_syncs_max: u32,
    /// Give every learner a snapshot.
    pub force_snapshot_sync: bool,
    /// Txns that are kept in memory for learners, at least 500.
    pub commit_log_count: u32,
    /// `snapshotSizeFactor`, at most 1: what the log on the disk may be, of the size of a snapshot, to be sent instead of it.
    pub snapshot_size_factor: f64,
}

/// What a member needs whose ensemble can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconfigConfig {
    /// `zoo.cfg`: configurations are written beside it.
    pub file: PathBuf,
    /// It names a file with the members already.
    pub is_split: bool,
    /// A configuration that was seen, and not known to be committed, when the server ended.
    pub next: Option<Arc<QuorumVerifier>>,
}

impl EnsembleConfig {
    /// The own line.
    pub fn is_observer(&self) -> bool {
        self.verifier.member(self.me).is_some_and(|it| it.role == Role::Observer)
    }
}

/// Where the members are written.
struct Members {
    entries: Vec<Entry>,
    file: PathBuf,
    /// From the name of a dynamic file.
    version: i64,
}

/// Reads the members. `None`: a standalone server. `client` is completed from the own line.
pub(super) fn ensemble(
    settings: &mut Settings,
    source: &Place,
    client: &mut Option<HostPort>,
    data_dir: &Path,
    outside: &dyn Outside,
) -> Result<Option<EnsembleConfig>, ConfigError> {
    let oracle = settings.text("oraclePath")?.map(PathBuf::from);
    let text_rules = TextRules {
        multi_address: settings.bool("multiAddress.enabled")?,
        standalone_enabled: settings.bool("standaloneEnabled")?,
        oracle: oracle.is_some(),
        other_keys: OtherKeys::Refused,
    };
    // One member, in `zoo.cfg`: `single_server` reads its line, as forgivingly as it always did.
    let is_single = settings.members("server.").count() == 1 && settings.text("dynamicConfigFile")?.is_none();
    if text_rules.standalone_enabled && is_single {
        return Ok(None);
    }
    let Some(members) = members(settings, source, outside)? else {
        if !text_rules.standalone_enabled {
            let what = "there are no server.N lines, and without members there is only a standalone server";
            return Err(settings.bad("standaloneEnabled", what.to_owned(), "true, or members"));
        }
        return Ok(None);
    };
    let mut verifier = QuorumVerifier::from_entries(&members.entries, text_rules)
        .map_err(|error| in_file(&members.file, &error))?
        .with_version(members.version);
    let voters = verifier.voters().count();
    if text_rules.standalone_enabled && voters <= 1 {
        return Ok(None);
    }
    warn_of_numbers(settings, &verifier);
    if let Some(place) = settings.place("oraclePath") {
        let two = *verifier.rule() == Rule::OracleMajority && voters == 2;
        let what = if two {
            "one of two participants leads alone where that file says so: what it then acknowledges is on one disk"
        } else {
            "it counts only with two participants, and without groups"
        };
        settings.notes.push(Note::warning(format!("{place}: oraclePath: {what}")));
    }
    let me = my_id(settings, &verifier, data_dir, outside)?;
    own_client_port(settings, &mut verifier, me, client)?;
    check_role(settings, &verifier, me)?;
    refuse_what_members_lack(settings)?;
    let reconfig = reconfig(settings, source, text_rules, outside)?;
    let limit = |settings: &Settings, name: &'static str| -> Result<u32, ConfigError> {
        settings.limit(name)?.ok_or(ConfigError::Missing {
            place: source.clone(),
            key: name,
            what: "how many ticks members wait for each other, by convention initLimit=10 and syncLimit=5",
        })
    };
    let (init_limit_ticks, sync_limit_ticks) = (limit(settings, "initLimit")?, limit(settings, "syncLimit")?);
    let tick_ms: u32 = settings.number("tickTime")?;
    let notification_ms_min = settings.limit("fastleader.minNotificationInterval")?.unwrap_or(1);
    Ok(Some(EnsembleConfig {
        me,
        reconfig,
        local_sessions: match (settings.bool("localSessionsEnabled")?, settings.bool("localSessionsUpgradingEnabled")?)
        {
            (false, _) => LocalSessions::Off,
            (true, false) => LocalSessions::On,
            (true, true) => LocalSessions::Upgrading,
        },
        observer_master_port: settings.limit("observerMasterPort")?,
        observer_log_bytes_max: settings.limit("observerMaster.sizeLimit")?.unwrap_or(0),
        oracle,
        read_only: settings.bool("readonlymode.enabled")?,
        leader_serves: settings.bool("leaderServes")?,
        text_rules,
        init_limit_ticks,
        sync_limit_ticks,
        connect_limit_ticks: settings.limit("connectToLearnerMasterLimit")?.unwrap_or(init_limit_ticks),
        connect_pause_ms: settings.limit("leaderConnectDelayDuringRetryMs")?.unwrap_or(0),
        election_connect_ms: settings.limit("cnxTimeout")?.unwrap_or(1),
        election_hello_ms: settings
            .limit("quorumCnxnTimeoutMs")?
            .unwrap_or_else(|| tick_ms.saturating_mul(sync_limit_ticks)),
        election_bind_tries: settings.limit("electionPortBindRetry")?,
        tcp_keep_alive: settings.bool("tcpKeepAlive")?,
        listen_on_all: settings.bool("quorumListenOnAllIPs")?,
        notification_ms_min,
        notification_ms_max: settings
            .limit("fastleader.maxNotificationInterval")?
            .unwrap_or(notification_ms_min)
            .max(notification_ms_min),
        epoch_wait_ms_max: settings.int("leader.maxTimeToWaitForEpoch")?.and_then(|ms| u32::try_from(ms).ok()),
        snap_syncs_max: settings.number("leader.maxConcurrentSnapSyncs")?,
        diff_syncs_max: settings.number("leader.maxConcurrentDiffSyncs")?,
        force_snapshot_sync: settings.bool("forceSnapshotSync")?,
        commit_log_count: settings.limit::<u32>("commitLogCount")?.unwrap_or(0).max(COMMIT_LOG_COUNT_MIN),
        snapshot_size_factor: snapshot_size_factor(settings)?,
        verifier: Arc::new(verifier),
    }))
}

/// More than 1 is the default, as in Apache. Source: `ZKDatabase`.
fn snapshot_size_factor(settings: &mut Settings) -> Result<f64, ConfigError> {
    let key = "snapshotSizeFactor";
    let text = settings.text(key)?.unwrap_or_default();
    let Some(factor) = java::parse_double(&text) else {
        return Err(settings.bad(key, "not a number".to_owned(), "0 to 1, below 0: never the log"));
    };
    if factor <= 1.0 {
        return Ok(factor);
    }
    if let Some(place) = settings.place(key) {
        let note = format!("{place}: {key} = {factor} is more than 1: {SNAPSHOT_SIZE_FACTOR} is used");
        settings.notes.push(Note::warning(note));
    }
    Ok(SNAPSHOT_SIZE_FACTOR)
}

/// What `reconfigEnabled` needs: a file that can be written anew.
fn reconfig(
    settings: &mut Settings,
    source: &Place,
    text_rules: TextRules,
    outside: &dyn Outside,
) -> Result<Option<ReconfigConfig>, ConfigError> {
    if !settings.bool("reconfigEnabled")? {
        return Ok(None);
    }
    let Place::File { name, .. } = source else {
        let what = "there is no zoo.cfg beside which configurations could be written";
        return Err(settings.bad("reconfigEnabled", what.to_owned(), "false, or a zoo.cfg"));
    };
    let file = PathBuf::from(&**name);
    let is_split = settings.text("dynamicConfigFile")?.is_some();
    let next_file = next_of(&file);
    let next = match outside.read(&next_file) {
        Ok(text) => QuorumVerifier::parse(&String::from_utf8_lossy(&text), text_rules)
            .inspect_err(|error| {
                let line = error.in_file(&next_file.display().to_string());
                settings.notes.push(Note::warning(format!("{line}; the file is not used")));
            })
            .ok(),
        // Nothing was under way.
        Err(_) => None,
    };
    Ok(Some(ReconfigConfig { file, is_split, next: next.map(Arc::new) }))
}

/// Apache never keeps less.
const COMMIT_LOG_COUNT_MIN: u32 = 500;

/// The entries that describe members, from the one place where they are.
fn members(settings: &Settings, source: &Place, outside: &dyn Outside) -> Result<Option<Members>, ConfigError> {
    let families = ["server.", "group", "weight"];
    let mut written: Vec<&Written> = families.iter().flat_map(|family| settings.members(family)).collect();
    written.sort_by_key(|it| it.order);
    let Some(dynamic) = settings.text("dynamicConfigFile")? else {
        if written.is_empty() {
            return Ok(None);
        }
        let file = match source {
            Place::File { name, .. } => PathBuf::from(&**name),
            other => PathBuf::from(other.to_string()),
        };
        let entries = written.iter().map(|it| it.entry()).collect();
        return Ok(Some(Members { entries, file, version: 0 }));
    };
    if let Some(first) = written.first() {
        return Err(first.bad(
            format!("members are in {dynamic} already, which dynamicConfigFile names"),
            "one of both".to_owned(),
        ));
    }
    let file = PathBuf::from(&dynamic);
    let bytes = outside.read(&file).map_err(|error| {
        settings.bad("dynamicConfigFile", format!("it can't be read: {error}"), "a file with the members")
    })?;
    let entries = properties::parse_file(&bytes)
        .map_err(|malformed| ConfigError::Malformed {
            place: Place::file(&file, malformed.line),
            what: "\\u without four hexadecimal digits".to_owned(),
        })?
        .entries;
    if let Some(entry) = entries.iter().find(|it| it.key == "version") {
        return Err(ConfigError::Malformed {
            place: Place::file(&file, entry.line),
            what: "version may not stand in this file: it is the ending of its name".to_owned(),
        });
    }
    let version = dynamic.rsplit_once('.').and_then(|(_, ending)| i64::from_str_radix(ending, 16).ok()).unwrap_or(0);
    Ok(Some(Members { entries, file, version }))
}

fn in_file(file: &Path, error: &ParseError) -> ConfigError {
    ConfigError::Malformed { place: Place::file(file, error.line.unwrap_or(0)), what: error.problem.to_string() }
}

fn warn_of_numbers(settings: &mut Settings, verifier: &QuorumVerifier) {
    let voters = verifier.voters().count();
    if voters.is_multiple_of(2) && *verifier.rule() == Rule::Majority {
        let tolerated = voters.saturating_sub(1) / 2;
        settings.notes.push(Note::warning(format!(
            "{voters} participants tolerate the loss of {tolerated}, as {} would: an odd number is better",
            voters - 1
        )));
    }
    let mut seen: Vec<(String, u16)> = Vec::new();
    for member in verifier.members() {
        for address in &member.addresses {
            for port in [address.quorum_port, address.election_port] {
                let at = (address.host.to_lowercase(), port);
                if seen.contains(&at) {
                    settings.notes.push(Note::warning(format!(
                        "server.{}: {}:{port} is in the line of another member too: only one of them can listen there",
                        member.id, address.host
                    )));
                }
                seen.push(at);
            }
        }
    }
}

fn my_id(
    settings: &Settings,
    verifier: &QuorumVerifier,
    data_dir: &Path,
    outside: &dyn Outside,
) -> Result<ServerId, ConfigError> {
    let path = data_dir.join("myid");
    let mut known = String::new();
    for member in verifier.members() {
        // Writing to a string cannot fail.
        let _ = write!(known, "{}{}", if known.is_empty() { "" } else { ", " }, member.id);
    }
    let bytes = outside.read(&path).map_err(|error| ConfigError::Unreadable {
        place: Place::file(&path, 0),
        reason: format!("{error}; a member's own number must stand there, one of {known}: echo N > {}", path.display()),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default().trim();
    let malformed = |what: String| ConfigError::Malformed { place: Place::file(&path, 0), what };
    let shown: String = line.chars().take(40).collect();
    let id: i64 =
        line.parse().map_err(|_| malformed(format!("{shown:?} is not a server's number; allowed: one of {known}")))?;
    if verifier.member(ServerId(id)).is_none() {
        return Err(malformed(format!("server {id} is not among the members, which are {known}")));
    }
    if settings.bool("extendedTypesEnabled")? && !(0..=SERVER_ID_MAX_WITH_TTL).contains(&id) {
        return Err(malformed(format!(
            "server {id}: with extendedTypesEnabled a server's number is 0 to {SERVER_ID_MAX_WITH_TTL}"
        )));
    }
    Ok(ServerId(id))
}

/// The own line may name the client port, and so may `clientPort`; they must not differ.
fn own_client_port(
    settings: &Settings,
    verifier: &mut QuorumVerifier,
    me: ServerId,
    client: &mut Option<HostPort>,
) -> Result<(), ConfigError> {
    let Some(member) = verifier.member_mut(me) else { return Ok(()) };
    match (&member.client, &*client) {
        (Some(in_line), Some(written)) => {
            let differs = written.port != in_line.port || (!written.is_wildcard() && written.host != in_line.host);
            if differs {
                let what = format!("server.{me} names the client address {in_line}");
                return Err(settings.bad("clientPort", what, &format!("{in_line}, or no clientPort at all")));
            }
            *client = member.client.clone();
        }
        (Some(_), None) => client.clone_from(&member.client),
        (None, _) => {
            member.client.clone_from(client);
            member.client_is_static = true;
        }
    }
    Ok(())
}

/// The role in the own line is the one that counts.
fn check_role(settings: &mut Settings, verifier: &QuorumVerifier, me: ServerId) -> Result<(), ConfigError> {
    let role = verifier.member(me).map_or(Role::Participant, |it| it.role);
    let asked = settings.text("peerType")?.and_then(|it| Role::parse(&it)).unwrap_or(Role::Participant);
    if asked != role {
        settings.notes.push(Note::warning(format!(
            "peerType says {asked}, but server.{me} says {role}, which is what counts; write it there: \
             server.{me}=host:port:port:{asked}"
        )));
    }
    Ok(())
}

/// What a standalone server can leave out, and a member would do otherwise than the others.
fn refuse_what_members_lack(settings: &Settings) -> Result<(), ConfigError> {
    if !settings.bool("syncEnabled")?
        && let Some(written) = settings.written("syncEnabled")
    {
        return Err(written.not_supported("an observer here always writes its log"));
    }
    Ok(())
}

/// The client port as it was written, before the own line is looked at.
pub(super) fn written_client(client_port: Option<u16>, address: Option<&str>) -> Option<HostPort> {
    client_port.map(|port| HostPort { host: address.unwrap_or("0.0.0.0").to_owned(), port })
}

/// What the listener is told.
pub(crate) fn set_client(client: &mut ClientConfig, at: &HostPort) {
    client.port = at.port;
    client.address = (!at.is_wildcard()).then(|| at.host.clone());
}
