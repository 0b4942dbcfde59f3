//! The server as a whole: `srvr`, `stat`, `conf`, `dirs`, `envi`, `hash`, `isro`.

use std::fmt::Write as _;

use super::connections::min_avg_max;

/// The version that monitors see: Apache's number, because tools compare it to decide what a server can do, then our
/// name and version where Apache has its commit.
///
/// `built_on` is a date like `2026-02-11 12:00 UTC`.
pub fn version_text(built_on: &str) -> String {
    format!("{APACHE_VERSION}-ostler-{}, built on {built_on}", env!("CARGO_PKG_VERSION"))
}

/// What a server is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Without peers.
    Standalone,
    /// LEADING.
    Leader,
    /// FOLLOWING.
    Follower,
    /// OBSERVING.
    Observer,
    /// LOOKING, and serving reads.
    ReadOnly,
}

impl Mode {
    /// The text behind `Mode:` and `zk_server_state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        }
    }
}

/// Sizes of proposals in bytes; -1 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalSizes {
    /// The last one.
    pub last: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

/// What `srvr`, `stat` and `mntr` tell about a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStats {
    /// From [`version_text`].
    pub version: String,
    /// The role.
    pub mode: Mode,
    /// Shortest request in ms.
    pub latency_ms_min: i64,
    /// Average request in ms, from [`average`](super::average).
    pub latency_ms_avg: f64,
    /// Longest request in ms.
    pub latency_ms_max: i64,
    /// Packets received since the start or the last `srst`.
    pub received: i64,
    /// Packets sent since the start or the last `srst`.
    pub sent: i64,
    /// Connections on all client ports.
    pub connections: i64,
    /// Requests in process.
    pub outstanding: i64,
    /// The last processed zxid.
    pub zxid: i64,
    /// Znodes.
    pub nodes: i64,
    /// Of a leader only.
    pub proposals: Option<ProposalSizes>,
}

/// The answer to `srvr`.
pub fn srvr(stats: &ServerStats) -> String {
    let mut text = String::new();
    write_version(stats, &mut text);
    write_counters(stats, &mut text);
    text
}

/// What comes before the connections in `stat`, which is `srvr` with the connections of the listener that was asked.
pub fn stat_head(stats: &ServerStats) -> String {
    let mut text = String::new();
    write_version(stats, &mut text);
    text.push_str("Clients:\n");
    text
}

/// What comes behind the connections in `stat`, and the empty line that ends them.
pub fn stat_tail(stats: &ServerStats) -> String {
    let mut text = String::new();
    write_counters(stats, &mut text);
    text
}

fn write_version(stats: &ServerStats, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Zookeeper version: {}", stats.version);
    if stats.mode == Mode::ReadOnly {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
}

fn write_counters(stats: &ServerStats, text: &mut String) {
    let latency = min_avg_max(stats.latency_ms_min, stats.latency_ms_avg, stats.latency_ms_max);
    let _ = writeln!(text, "Latency min/avg/max: {latency}");
    let _ = writeln!(text, "Received: {}", stats.received);
    let _ = writeln!(text, "Sent: {}", stats.sent);
    let _ = writeln!(text, "Connections: {}", stats.connections);
    let _ = writeln!(text, "Outstanding: {}", stats.outstanding);
    let _ = writeln!(text, "Zxid: 0x{:x}", stats.zxid);
    let _ = writeln!(text, "Mode: {}", stats.mode.name());
    let _ = writeln!(text, "Node count: {}", stats.nodes);
    if let Some(sizes) = stats.proposals {
        let _ = writeln!(text, "Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max);
    }
}

/// The answer to `isro`, without a line end. `None`: not serving.
pub fn isro(mode: Option<Mode>) -> &'static str {
    match mode {
        None => "null",
        Some(Mode::ReadOnly) => "ro",
        Some(_) => "rw",
    }
}

/// What `conf` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfStats {
    /// The client port; -1 for none.
    pub client_port: i32,
    /// The TLS port; -1 for none.
    pub secure_client_port: i32,
    /// Absolute, with `version-2`.
    pub data_dir: String,
    /// Bytes in it.
    pub data_dir_bytes: u64,
    /// Absolute, with `version-2`.
    pub data_log_dir: String,
    /// Bytes in it.
    pub data_log_bytes: u64,
    /// The tick.
    pub tick_ms: u32,
    /// As configured.
    pub max_client_cnxns: i32,
    /// In effect.
    pub session_timeout_ms_min: u32,
    /// In effect.
    pub session_timeout_ms_max: u32,
    /// As configured, -1 by default.
    pub listen_backlog: i32,
    /// 0 when standalone.
    pub server_id: i64,
    /// Of a member.
    pub member: Option<MemberStats>,
}

/// What `conf` tells of a member of an ensemble besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStats {
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    /// Of all its addresses.
    pub election_ports: Vec<u16>,
    /// Of all its addresses.
    pub quorum_ports: Vec<u16>,
    /// Is it an observer?
    pub is_observer: bool,
    /// The configuration's text.
    pub membership: String,
}

/// The answer to `conf`.
pub fn conf(stats: &ConfStats) -> String {
    let mut text = format!(
        "clientPort={}\nsecureClientPort={}\ndataDir={}\ndataDirSize={}\ndataLogDir={}\ndataLogSize={}\ntickTime={}\n\
         maxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\nclientPortListenBacklog={}\nserverId={}\n",
        stats.client_port,
        stats.secure_client_port,
        stats.data_dir,
        stats.data_dir_bytes,
        stats.data_log_dir,
        stats.data_log_bytes,
        stats.tick_ms,
        stats.max_client_cnxns,
        stats.session_timeout_ms_min,
        stats.session_timeout_ms_max,
        stats.listen_backlog,
        stats.server_id
    );
    if let Some(member) = &stats.member {
        let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|");
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "initLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={}\nquorumPort={}\npeerType={}\nmembership: \n{}",
            member.init_limit,
            member.sync_limit,
            ports(&member.election_ports),
            ports(&member.quorum_ports),
            i32::from(member.is_observer),
            member.membership
        );
    }
    text
}

/// The answer to `dirs`, sizes in bytes.
pub fn dirs(data_dir_bytes: u64, data_log_bytes: u64) -> String {
    format!("datadir_size: {data_dir_bytes}\nlogdir_size: {data_log_bytes}\n")
}

/// The answer to `envi`: pairs in the order given, by custom `zookeeper.version` first.
pub fn envi<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = "Environment:\n".to_owned();
    for (key, value) in pairs {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

/// The answer to `hash`: recorded digests as (zxid, digest), oldest first.
pub fn hash(digests: impl IntoIterator<Item = (i64, u64)>) -> String {
    let mut text = String::new();
    for (zxid, digest) in digests {
        // Java prints a signed long.
        let _ = writeln!(text, "{zxid:x}: {}", digest.cast_signed());
    }
    text
}

/// The release of Apache that this server stands in for.
const APACHE_VERSION: &str = "3.9.5";

#[cfg(test)]
pub(super) mod tests {
    use super::super::connections::CONNECTIONS_END;
    use super::super::connections::tests::connection;
    use super::*;

    pub(in crate::four_letter) fn stats() -> ServerStats {
        ServerStats {
            version: "3.9.5-ostler-0.1.0, built on 2026-11-21 00:00 UTC".to_owned(),
            mode: Mode::Standalone,
            latency_ms_min: 0,
            latency_ms_avg: 0.4286,
            latency_ms_max: 5,
            received: 20,
            sent: 19,
            connections: 2,
            outstanding: 0,
            zxid: 0x1_0000_0004,
            nodes: 5,
            proposals: None,
        }
    }

    const BODY: &str = "Latency min/avg/max: 0/0.4286/5\nReceived: 20\nSent: 19\nConnections: 2\nOutstanding: 0\n\
                        Zxid: 0x100000004\nMode: standalone\nNode count: 5\n";

    #[test]
    fn srvr_line_by_line() {
        let version = "Zookeeper version: 3.9.5-ostler-0.1.0, built on 2026-11-21 00:00 UTC\n";
        assert_eq!(srvr(&stats()), format!("{version}{BODY}"));
        let leader = ServerStats {
            mode: Mode::Leader,
            proposals: Some(ProposalSizes { last: 48, min: 48, max: 100 }),
            ..stats()
        };
        assert!(srvr(&leader).ends_with("Mode: leader\nNode count: 5\nProposal sizes last/min/max: 48/48/100\n"));
        let read_only = ServerStats { mode: Mode::ReadOnly, ..stats() };
        assert!(srvr(&read_only).starts_with(&format!("{version}READ-ONLY mode; serving only read-only clients\nLat")));
    }

    #[test]
    fn stat_line_by_line() {
        let mut line = String::new();
        connection().write_line(true, &mut line);
        let client = " /10.0.0.7:53112[1](queued=0,recved=27,sent=26)\n";
        assert_eq!(
            stat_head(&stats()) + &line + CONNECTIONS_END + &stat_tail(&stats()),
            format!("Zookeeper version: {}\nClients:\n{client}\n{BODY}", stats().version)
        );
    }

    #[test]
    fn version_has_the_shape_that_tools_parse() {
        let text = version_text("2026-11-21 00:00 UTC");
        let (number, rest) = text.split_once('-').unwrap_or_default();
        assert!(number.split('.').count() == 3 && number.split('.').all(|part| part.parse::<u32>().is_ok()), "{text}");
        assert!(rest.starts_with("ostler-") && rest.contains(", built on 2026"), "{text}");
    }

    #[test]
    fn the_short_ones() {
        assert_eq!(isro(None), "null");
        assert_eq!(isro(Some(Mode::ReadOnly)), "ro");
        assert_eq!(isro(Some(Mode::Standalone)), "rw");
        assert_eq!(dirs(3, 67_108_880), "datadir_size: 3\nlogdir_size: 67108880\n");
        assert_eq!(
            envi([("zookeeper.version", "x"), ("os.name", "Linux")]),
            "Environment:\nzookeeper.version=x\nos.name=Linux\n"
        );
        assert_eq!(hash([(0x80, 5), (0x100, u64::MAX)]), "80: 5\n100: -1\n");
        let conf = conf(&ConfStats {
            client_port: 2181,
            secure_client_port: -1,
            data_dir: "/data/version-2".into(),
            data_dir_bytes: 1,
            data_log_dir: "/log/version-2".into(),
            data_log_bytes: 2,
            tick_ms: 2000,
            max_client_cnxns: 60,
            session_timeout_ms_min: 4000,
            session_timeout_ms_max: 40000,
            listen_backlog: -1,
            server_id: 0,
            member: None,
        });
        assert_eq!(
            conf,
            "clientPort=2181\nsecureClientPort=-1\ndataDir=/data/version-2\ndataDirSize=1\ndataLogDir=/log/version-2\n\
             dataLogSize=2\ntickTime=2000\nmaxClientCnxns=60\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n\
             clientPortListenBacklog=-1\nserverId=0\n"
        );
    }
}
