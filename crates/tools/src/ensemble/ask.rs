//! One server's answers to `srvr` and `conf`, each within a time limit and a length.
//!
//! `srvr` is the one word that Apache answers unless told otherwise; `conf` adds the server's number and its list of
//! members, and `mntr` from whom an observer learns, where `4lw.commands.whitelist` has them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde::Serialize;
use wire::Zxid;
use wire::election::HostPort;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What follows the number in the version of one of ours.
const OURS: &str = "-ostler";

/// What a server says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It leads.
    Leader,
    /// It leads, as others show, and takes no clients (`leaderServes=no`): it says what one does that looks for a leader.
    LeaderWithoutClients,
    /// It follows.
    Follower,
    /// It observes.
    Observer,
    /// It is on its own.
    Standalone,
    /// It has no quorum, and lets those read who ask for it.
    ReadOnly,
    /// It runs, and serves nobody: it looks for a leader, or syncs with one.
    NotServing,
    /// It answers, but not this question.
    Unknown,
    /// It does not answer.
    Down,
}

impl Mode {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::LeaderWithoutClients => "leader, no clients",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
            Self::NotServing => "not serving",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }

    /// Does it do its part: in a quorum, as an observer, or on its own?
    pub fn serves(self) -> bool {
        self.leads() || self.takes_clients()
    }

    /// Does it take clients, with writes?
    pub fn takes_clients(self) -> bool {
        matches!(self, Self::Leader | Self::Follower | Self::Observer | Self::Standalone)
    }

    /// Does it lead others?
    pub fn leads(self) -> bool {
        matches!(self, Self::Leader | Self::LeaderWithoutClients)
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub mode: Mode,
    /// Its version, without the revision and the date.
    pub version: Option<String>,
    /// Is it one of ours, as far as it has said?
    pub is_ours: Option<bool>,
    /// The last txn that it applied.
    pub zxid: Option<Zxid>,
    /// Connections of clients.
    pub connections: Option<u64>,
    /// Znodes.
    pub znodes: Option<u64>,
    /// Its number.
    pub server_id: Option<i64>,
    /// The lines of its list of members, sorted.
    pub members: Option<Vec<String>>,
    /// Of an observer: the number of the server that it learns from.
    pub observes: Option<i64>,
    /// Of a leader of ours, or a follower that serves observers: whom it brings in sync.
    pub syncs: Vec<SyncOf>,
    /// Why something is missing.
    pub note: Option<String>,
}

impl Answer {
    /// One that says no more than that.
    pub fn without(mode: Mode, note: Option<String>) -> Self {
        Self {
            mode,
            version: None,
            is_ours: None,
            zxid: None,
            connections: None,
            znodes: None,
            server_id: None,
            members: None,
            observes: None,
            syncs: Vec::new(),
            note,
        }
    }
}

/// A sync under way, as `mntr` of ours tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncOf {
    /// The learner.
    pub server: i64,
    /// Since it began.
    pub elapsed_ms: i64,
    /// What it will still take; `None`: nobody knows.
    pub left_ms: Option<i64>,
    /// Bytes of the snapshot's file; 0: there is none.
    pub snapshot_bytes: i64,
    /// So many of them were sent.
    pub snapshot_bytes_sent: i64,
    /// Txns; `None`: not counted beforehand.
    pub txns: Option<i64>,
    /// So many of them were sent.
    pub txns_sent: i64,
}

/// Asks a server.
pub fn ask(at: &HostPort, timeout: Duration) -> Answer {
    let until = Instant::now() + timeout;
    match word(at, "srvr", until) {
        Err(error) => Answer::without(Mode::Down, Some(in_words(&error, timeout))),
        Ok(text) => {
            let mut answer = read_srvr(&text);
            match word(at, "conf", until) {
                Ok(text) => read_conf(&text, &mut answer),
                Err(error) => answer.note = answer.note.or(Some(format!("conf: {}", in_words(&error, timeout)))),
            }
            if matches!(answer.mode, Mode::Observer | Mode::Leader) {
                // Whose 4lw.commands.whitelist has no mntr does not tell it.
                let mntr = word(at, "mntr", until).unwrap_or_default();
                answer.observes = read_master(&mntr).filter(|_| answer.mode == Mode::Observer);
                answer.syncs = read_syncs(&mntr);
            }
            answer
        }
    }
}

/// Is the server at this address one of ours? For one that serves nobody; its whitelist must have `envi`. `None`: it does not say.
pub fn is_ours(at: &HostPort, timeout: Duration) -> Option<bool> {
    let text = word(at, "envi", Instant::now() + timeout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("zookeeper.version="))?;
    Some(version.contains(OURS))
}

/// The answer to `elec`, which servers of ours have; Apache's must not be asked, they take it for a length.
pub fn elections(at: &HostPort, timeout: Duration) -> io::Result<String> {
    word(at, "elec", Instant::now() + timeout)
}

fn in_words(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("no answer within {timeout:?}"),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}

fn word(at: &HostPort, word: &str, until: Instant) -> io::Result<String> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut last = io::Error::other("the name has no address");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_write_timeout(Some(left()?))?;
        stream.write_all(word.as_bytes())?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A server that closes a connection which it has not read to the end resets it, behind its answer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => break,
                Err(error) => return Err(error),
            }
            if bytes.len() as u64 > ANSWER_BYTES_MAX {
                return Err(io::Error::other(format!("its answer to {word} is longer than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Err(last)
}

fn read_srvr(text: &str) -> Answer {
    let mut answer = Answer::without(Mode::Unknown, None);
    if text.contains("is not executed because it is not in the whitelist") {
        answer.note = Some("srvr is not in its 4lw.commands.whitelist".to_owned());
        return answer;
    }
    if text.contains("is not currently serving requests") {
        return Answer::without(Mode::NotServing, None);
    }
    for line in text.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        let value = value.trim();
        match key.trim() {
            "Zookeeper version" => {
                let end = value.find(['-', ',']).unwrap_or(value.len());
                answer.version = Some(value[..end].to_owned());
                answer.is_ours = Some(value[end..].starts_with(OURS));
            }
            "Zxid" => {
                let digits = value.trim_start_matches("0x");
                answer.zxid = u64::from_str_radix(digits, 16).ok().map(|it| Zxid(it.cast_signed()));
            }
            "Connections" => answer.connections = value.parse().ok(),
            "Node count" => answer.znodes = value.parse().ok(),
            "Mode" => {
                answer.mode = match value {
                    "leader" => Mode::Leader,
                    "follower" => Mode::Follower,
                    "observer" => Mode::Observer,
                    "standalone" => Mode::Standalone,
                    "read-only" => Mode::ReadOnly,
                    _ => Mode::Unknown,
                }
            }
            _ => {}
        }
    }
    if answer.mode == Mode::Unknown {
        let begin: String = text.chars().take(60).collect();
        answer.note = Some(format!("its answer to srvr is none of ZooKeeper's: {begin:?}"));
    }
    answer
}

fn read_master(mntr: &str) -> Option<i64> {
    let value = mntr.lines().find_map(|line| line.strip_prefix("zk_observer_master_id"))?;
    value.trim().parse().ok().filter(|id| *id >= 0)
}

fn read_syncs(mntr: &str) -> Vec<SyncOf> {
    let mut all: BTreeMap<i64, BTreeMap<&str, i64>> = BTreeMap::new();
    for line in mntr.lines() {
        let read = line.strip_prefix("zk_ostler_sync_").and_then(|rest| {
            let (key, value) = rest.split_once('\t')?;
            let (server, name) = key.split_once('_')?;
            Some((server.parse().ok()?, name, value.trim().parse().ok()?))
        });
        if let Some((server, name, value)) = read {
            all.entry(server).or_default().insert(name, value);
        }
    }
    all.into_iter()
        .map(|(server, values)| {
            let of = |name| values.get(name).copied();
            let known = |name| of(name).filter(|it| *it >= 0);
            SyncOf {
                server,
                elapsed_ms: of("ms").unwrap_or(0),
                left_ms: known("left_ms"),
                snapshot_bytes: of("snapshot_bytes").unwrap_or(0),
                snapshot_bytes_sent: of("snapshot_bytes_sent").unwrap_or(0),
                txns: known("txns"),
                txns_sent: of("txns_sent").unwrap_or(0),
            }
        })
        .collect()
}

fn read_conf(text: &str, answer: &mut Answer) {
    if text.contains("is not executed because it is not in the whitelist") {
        answer.note = answer.note.take().or(Some("conf is not in its 4lw.commands.whitelist".to_owned()));
        return;
    }
    let mut members = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(id) = line.strip_prefix("serverId=") {
            answer.server_id = id.parse().ok();
        }
        if ["server.", "group.", "weight."].iter().any(|key| line.starts_with(key)) {
            members.push(line.to_owned());
        }
    }
    members.sort();
    answer.members = (!members.is_empty()).then_some(members);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRVR: &str = "Zookeeper version: 3.9.5-0d6e5d3, built on 2025-11-01 12:00 UTC\nLatency min/avg/max: 0/0.5/12\nReceived: 10\n\
        Sent: 9\nConnections: 3\nOutstanding: 0\nZxid: 0x500000012\nMode: leader\nNode count: 42\n\
        Proposal sizes last/min/max: 48/48/1000\n";

    #[test]
    fn srvr_is_read() {
        let answer = read_srvr(SRVR);
        assert_eq!(answer.mode, Mode::Leader);
        assert_eq!((answer.version.as_deref(), answer.is_ours), (Some("3.9.5"), Some(false)));
        assert_eq!(read_srvr(&SRVR.replace("-0d6e5d3", "-ostler-0.1.0")).is_ours, Some(true));
        assert_eq!(answer.zxid, Some(Zxid(0x5_0000_0012)));
        assert_eq!((answer.connections, answer.znodes), (Some(3), Some(42)));
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = "This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(read_srvr(text).mode, Mode::NotServing);
        let text = "srvr is not executed because it is not in the whitelist.\n";
        let answer = read_srvr(text);
        assert_eq!(
            (answer.mode, answer.note.as_deref()),
            (Mode::Unknown, Some("srvr is not in its 4lw.commands.whitelist"))
        );
        assert!(read_srvr("HTTP/1.1 400 Bad Request\r\n").note.unwrap().contains("none of ZooKeeper's"));
    }

    #[test]
    fn conf_has_the_members() {
        let mut answer = read_srvr(SRVR);
        read_conf(
            "clientPort=2181\nserverId=2\nmembership: \nserver.2=b:1:2\nserver.1=a:1:2\nversion=0\n",
            &mut answer,
        );
        assert_eq!(answer.server_id, Some(2));
        assert_eq!(answer.members.unwrap(), ["server.1=a:1:2", "server.2=b:1:2"]);
    }

    #[test]
    fn mntr_has_the_master() {
        assert_eq!(read_master("zk_version\t3.9.5\nzk_observer_master_id\t2\nzk_quorum_size\t3\n"), Some(2));
        assert_eq!(read_master("zk_observer_master_id\t-1\n"), None, "Apache's, while it has none");
        assert_eq!(read_master("mntr is not executed because it is not in the whitelist.\n"), None);
    }

    #[test]
    fn mntr_has_the_syncs() {
        let text = "zk_ostler_syncs_under_way\t2\nzk_ostler_sync_3_ms\t2000\nzk_ostler_sync_3_left_ms\t-1\n\
            zk_ostler_sync_3_snapshot_bytes\t1000\nzk_ostler_sync_3_snapshot_bytes_sent\t250\n\
            zk_ostler_sync_3_txns\t-1\nzk_ostler_sync_3_txns_sent\t0\nzk_ostler_sync_12_txns\t8\n";
        let syncs = read_syncs(text);
        assert_eq!((syncs.len(), syncs[1].server, syncs[1].txns), (2, 12, Some(8)));
        let expected = SyncOf {
            server: 3,
            elapsed_ms: 2000,
            left_ms: None,
            snapshot_bytes: 1000,
            snapshot_bytes_sent: 250,
            txns: None,
            txns_sent: 0,
        };
        assert_eq!(syncs[0], expected);
    }

    #[test]
    fn a_silent_server_is_down_in_time() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = HostPort { host: "127.0.0.1".to_owned(), port: silent.local_addr().unwrap().port() };
        let answer = ask(&at, Duration::from_millis(100));
        assert_eq!(answer.mode, Mode::Down);
        assert_eq!(answer.note.as_deref(), Some("no answer within 100ms"));
        drop(silent);
        assert_eq!(ask(&at, Duration::from_secs(5)).note.as_deref(), Some("nobody listens there"));
    }
}
