//! Configurations of ensembles: what a member is told, and each mistake as the operator sees it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use peer::LocalSessions;
use wire::ServerId;
use zab::quorum_verifier::Rule;

use crate::four_letter::Word;
use crate::member_start::last_seen;

use super::{Config, ConfigError, Environment, Nothing, Outside};

/// Files that are there.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, &'static str>);

impl Outside for Files {
    fn has_address(&self, name: &str) -> Result<(), String> {
        Nothing.has_address(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(text.as_bytes().to_vec())
    }
}

const THREE: &str = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3:h3:2888:3888:observer\n";

fn with(lines: &str, files: &[(&str, &'static str)]) -> Result<Config, ConfigError> {
    let files = Files(files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect());
    let text = format!("dataDir=/data\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n{lines}\n");
    Config::parse_with(Path::new("zoo.cfg"), text.as_bytes(), &Environment::default(), &files)
}

fn member(lines: &str, my_id: &'static str) -> Config {
    with(lines, &[("/data/myid", my_id)]).unwrap()
}

fn bad(lines: &str, files: &[(&str, &'static str)]) -> String {
    with(lines, files).unwrap_err().to_string()
}

fn texts(config: &Config) -> Vec<&str> {
    config.notes.iter().map(|it| it.text.as_str()).collect()
}

#[test]
fn a_member_with_the_defaults() {
    let config = member(&format!("{THREE}clientPort=2181"), "2\n");
    let it = config.ensemble.unwrap();
    assert_eq!(it.me, ServerId(2));
    assert!(!it.is_observer());
    assert_eq!(
        it.verifier.to_string(),
        "server.1=h1:2888:3888:participant\nserver.2=h2:2888:3888:participant\n\
         server.3=h3:2888:3888:observer\nversion=0"
    );
    assert_eq!((it.init_limit_ticks, it.sync_limit_ticks, it.connect_limit_ticks), (10, 5, 10));
    assert_eq!((it.connect_pause_ms, it.election_connect_ms, it.election_hello_ms), (100, 5000, 10_000));
    assert_eq!((it.election_bind_tries, it.notification_ms_min, it.notification_ms_max), (Some(3), 200, 60_000));
    assert_eq!((it.snap_syncs_max, it.diff_syncs_max, it.commit_log_count), (10, 100, 500));
    assert!(!it.force_snapshot_sync && !it.listen_on_all && !it.tcp_keep_alive);
    assert_eq!(it.epoch_wait_ms_max, None);
    assert_eq!((config.client.address, config.client.port), (None, 2181));
    assert_eq!(config.notes.len(), 1, "two participants tolerate no loss: {:?}", config.notes);
}

#[test]
fn each_limit_is_heard() {
    let lines = "connectToLearnerMasterLimit=7\nleaderConnectDelayDuringRetryMs=8\ncnxTimeout=9\n\
                 quorumCnxnTimeoutMs=10\nelectionPortBindRetry=0\ntcpKeepAlive=true\nquorumListenOnAllIPs=true\n\
                 fastleader.minNotificationInterval=11\nfastleader.maxNotificationInterval=12\n\
                 leader.maxConcurrentSnapSyncs=13\nmaxConcurrentDiffSyncs=14\nforceSnapshotSync=true\n\
                 leader.maxTimeToWaitForEpoch=15\ncommitLogCount=1500\nsnapshotSizeFactor=-1\nclientPort=2181\nserver.4=h4:1:2";
    let it = member(&format!("{THREE}{lines}"), "1").ensemble.unwrap();
    assert_eq!((it.connect_limit_ticks, it.connect_pause_ms), (7, 8));
    assert_eq!((it.election_connect_ms, it.election_hello_ms, it.election_bind_tries), (9, 10, None));
    assert_eq!((it.notification_ms_min, it.notification_ms_max), (11, 12));
    assert_eq!((it.snap_syncs_max, it.diff_syncs_max, it.commit_log_count), (13, 14, 1500));
    assert_eq!(it.epoch_wait_ms_max, Some(15));
    for (ms, wait) in [(0, Some(0)), (-5, None)] {
        let lines = format!("clientPort=2181\nmaxTimeToWaitForEpoch={ms}");
        assert_eq!(member(&format!("{THREE}{lines}"), "1").ensemble.unwrap().epoch_wait_ms_max, wait);
    }
    assert!(it.tcp_keep_alive && it.listen_on_all && it.force_snapshot_sync);
    assert_eq!(it.snapshot_size_factor.to_string(), "-1");
}

#[test]
fn a_factor_above_1_is_the_default() {
    let three = format!("{THREE}clientPort=2181\n");
    let config = member(&format!("{three}snapshotSizeFactor=1.5"), "1");
    assert!(texts(&config).contains(&"zoo.cfg:9: snapshotSizeFactor = 1.5 is more than 1: 0.33 is used"));
    assert_eq!(config.ensemble.unwrap().snapshot_size_factor.to_string(), "0.33");
    let told = bad(&format!("{three}snapshotSizeFactor=x"), &[("/data/myid", "1")]);
    assert!(told.starts_with("zoo.cfg:9: snapshotSizeFactor = x: not a number"), "{told}");
}

#[test]
fn the_client_port_is_in_the_own_line_or_beside_it() {
    let line = "server.1=h1:1:2;10.0.0.1:2182\nserver.2=h2:1:2;2183\n";
    let client = |more: &str, my_id| {
        let config = member(&format!("{line}{more}"), my_id);
        (config.client.address, config.client.port)
    };
    assert_eq!(client("", "1"), (Some("10.0.0.1".to_owned()), 2182));
    assert_eq!(client("", "2"), (None, 2183));
    assert_eq!(client("clientPort=2182", "1"), (Some("10.0.0.1".to_owned()), 2182));
    let files = [("/data/myid", "1")];
    assert_eq!(
        bad(&format!("{line}clientPort=2181"), &files),
        "zoo.cfg:7: clientPort = 2181: server.1 names the client address 10.0.0.1:2182; allowed: 10.0.0.1:2182, or no \
         clientPort at all"
    );
    assert!(bad(&format!("{line}clientPort=2182\nclientPortAddress=10.0.0.2"), &files).contains("names the client"));
    assert!(bad(THREE, &files).starts_with("zoo.cfg: clientPort is not set"));
    // A port that is beside the line is not written into it (`isClientAddrFromStatic`).
    let it = member(&format!("{THREE}clientPort=2181"), "1").ensemble.unwrap();
    assert!(!it.verifier.to_string().contains("2181"));
}

#[test]
fn the_own_number() {
    let lines = format!("{THREE}clientPort=2181");
    assert_eq!(
        bad(&lines, &[]),
        "/data/myid: cannot be read: entity not found; a member's own number must stand there, one of 1, 2, 3: echo N \
         > /data/myid"
    );
    let of = |my_id| bad(&lines, &[("/data/myid", my_id)]);
    assert_eq!(of("one\n"), "/data/myid: \"one\" is not a server's number; allowed: one of 1, 2, 3");
    assert_eq!(of(""), "/data/myid: \"\" is not a server's number; allowed: one of 1, 2, 3");
    assert_eq!(of("4"), "/data/myid: server 4 is not among the members, which are 1, 2, 3");
    let ttl = format!("{THREE}server.255=h:1:2\nclientPort=2181\nextendedTypesEnabled=true");
    assert!(bad(&ttl, &[("/data/myid", "255")]).contains("a server's number is 0 to 254"));
    assert!(with(&ttl, &[("/data/myid", " 1 \nmore")]).is_ok());
}

#[test]
fn mistakes_in_members_have_their_line() {
    let files = [("/data/myid", "1")];
    for (lines, said) in [
        ("server.1=h1:2888\nserver.2=h2:1:2", "zoo.cfg:5: \"h1:2888\" is no member; allowed: host:quorumPort:"),
        ("server.1=h1:1:2\nserver.2=h2:1:x", "zoo.cfg:6: \"x\" is not a port"),
        ("server.1=h1:1:1\nserver.2=h2:1:2", "zoo.cfg:5: server.1 has one port for quorum and election"),
        ("server.x=h1:1:2\nserver.2=h2:1:2", "zoo.cfg:5: \"x\" is not a number"),
        ("server.1=h1:1:2:voter\nserver.2=h2:1:2", "zoo.cfg:5: \"voter\" is not a role"),
        ("server.1=h1:1:2|h:1:2\nserver.2=h2:1:2", "zoo.cfg:5: server.1 has several addresses; that needs multiAddr"),
        (
            "server.1=h1:1:2:observer",
            "zoo.cfg:5: server.1 = h1:1:2:observer: an observer, and no participant to observe",
        ),
        ("server.1=h1:1:2\nserver.2=h2:1:2:observer", "zoo.cfg: too few participants"),
        ("server.1=h1:1:2\nserver.2=h2:1:2\ngroup.1=1", "zoo.cfg: server 2 is in no group"),
        ("server.1=h1:1:2\nserver.2=h2:1:2\ngroup.1=1:2\ngroup.2=2", "zoo.cfg:8: server 2 is in two groups"),
        ("standaloneEnabled=false", "zoo.cfg:5: standaloneEnabled = false: there are no server.N lines"),
    ] {
        let told = bad(&format!("{lines}\nclientPort=2181"), &files);
        assert!(told.starts_with(said), "{told}");
    }
}

#[test]
fn members_need_their_limits() {
    for missing in ["initLimit", "syncLimit"] {
        let text = format!("dataDir=/data\ntickTime=2000\ninitLimit=10\nsyncLimit=5\nclientPort=1\n{THREE}")
            .replace(&format!("{missing}="), "#");
        let files = Files([(PathBuf::from("/data/myid"), "1")].into());
        let parsed = Config::parse_with(Path::new("zoo.cfg"), text.as_bytes(), &Environment::default(), &files);
        let told = parsed.unwrap_err().to_string();
        assert!(told.starts_with(&format!("zoo.cfg: {missing} is not set")), "{told}");
    }
}

#[test]
fn what_members_do_not_have_yet_is_refused() {
    let told = bad(&format!("{THREE}clientPort=2181\nsyncEnabled=false"), &[("/data/myid", "1")]);
    assert!(told.starts_with("zoo.cfg:9: ") && told.contains("not supported"), "{told}");
}

#[test]
fn an_ensemble_that_can_change() {
    let lines = format!("{THREE}clientPort=2181\nreconfigEnabled=true");
    let it = member(&lines, "1").ensemble.unwrap().reconfig.unwrap();
    assert_eq!((it.file.as_path(), it.is_split, it.next), (Path::new("zoo.cfg"), false, None));
    let next = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nversion=100000000";
    let files = [("/data/myid", "1"), ("zoo.cfg.dynamic.next", next)];
    let it = with(&lines, &files).unwrap().ensemble.unwrap().reconfig.unwrap();
    assert_eq!(it.next.unwrap().version(), 0x1_0000_0000);
    let config = with(&lines, &[("/data/myid", "1"), ("zoo.cfg.dynamic.next", "server.1=h")]).unwrap();
    assert_eq!(config.ensemble.as_ref().unwrap().reconfig.as_ref().unwrap().next, None);
    assert!(texts(&config).iter().any(|it| it.starts_with("zoo.cfg.dynamic.next:1: ")), "{:?}", config.notes);
}

#[test]
fn the_newest_configuration_that_was_seen_is_what_a_member_starts_with() {
    let text =
        |version: i64| format!("server.1=h1:1:2:participant;2181\nserver.2=h2:1:2:participant\nversion={version:x}");
    let seen = |own: &str, next: Option<i64>, tree: &[u8]| {
        let mut files = Files([(PathBuf::from("/data/myid"), "1")].into());
        files.0.insert("/etc/own".into(), "server.1=h1:1:2\nserver.2=h2:1:2\n");
        files.0.insert(own.into(), "server.1=h1:1:2\nserver.2=h2:1:2\n");
        if let Some(next) = next {
            files.0.insert("zoo.cfg.dynamic.next".into(), text(next).leak());
        }
        let lines = format!(
            "dataDir=/data\ninitLimit=10\nsyncLimit=5\nclientPort=2181\nreconfigEnabled=true\ndynamicConfigFile={own}"
        );
        let config = Config::parse_with(Path::new("zoo.cfg"), lines.as_bytes(), &Environment::default(), &files);
        last_seen(&config.unwrap().ensemble.unwrap(), tree).map(|it| it.version())
    };
    let own = "/etc/zoo.cfg.dynamic.200000000";
    assert_eq!(seen(own, None, b""), None);
    // Of the tree: only what is newer than the own file.
    assert_eq!(seen(own, None, text(0x1_0000_0005).as_bytes()), None);
    assert_eq!(seen(own, None, text(0x2_0000_0005).as_bytes()), Some(0x2_0000_0005));
    assert_eq!(seen(own, None, b"no configuration"), None);
    // Of the file of what is to come: the first configuration of an ensemble, which is no txn. A reconfig is one, and may
    // have been cut from the log meanwhile.
    assert_eq!(seen("/etc/own", Some(0x1_0000_0000), b""), Some(0x1_0000_0000));
    assert_eq!(seen("/etc/own", Some(0x1_0000_0007), b""), None);
    assert_eq!(seen(own, Some(0x3_0000_0000), text(0x2_0000_0005).as_bytes()), Some(0x3_0000_0000));
    // Without reconfigEnabled the list in the file is what holds.
    let fixed = member(&format!("{THREE}clientPort=2181"), "1").ensemble.unwrap();
    assert!(last_seen(&fixed, text(0x2_0000_0005).as_bytes()).is_none());
}

#[test]
fn sessions_and_who_serves() {
    let it = |lines: &str| member(&format!("{THREE}clientPort=2181\n{lines}"), "1").ensemble.unwrap();
    assert_eq!((it("").local_sessions, it("").leader_serves), (LocalSessions::Off, true));
    assert_eq!(it("localSessionsEnabled=true").local_sessions, LocalSessions::On);
    let upgrading = it("localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true");
    assert_eq!(upgrading.local_sessions, LocalSessions::Upgrading);
    assert_eq!(it("localSessionsUpgradingEnabled=true").local_sessions, LocalSessions::Off);
    assert!(!it("leaderServes=no").leader_serves);
    assert_eq!((it("").observer_master_port, it("observerMasterPort=-1").observer_master_port), (None, None));
    let masters = it("observerMasterPort=2191\nobserverMaster.sizeLimit=0x10");
    assert_eq!((masters.observer_master_port, masters.observer_log_bytes_max), (Some(2191), 16));
    assert!(it("readonlymode.enabled=true").read_only && !it("").read_only);
    // Clients ask which servers they may write to.
    let has_isro = |lines: &str| {
        let config = member(&format!("{THREE}clientPort=2181\n{lines}"), "1");
        config.four_letter_whitelist.allows(Word::Isro)
    };
    assert!(has_isro("readonlymode.enabled=true") && !has_isro(""));
}

#[test]
fn an_oracle_counts_with_two_participants() {
    let of = |members: &str| member(&format!("{members}\nclientPort=2181\noraclePath=/o"), "1");
    let told = |config: &Config| texts(config).iter().find(|it| it.contains("oraclePath")).unwrap().to_string();
    let two = of("server.1=h1:1:2\nserver.2=h2:1:2");
    assert!(told(&two).contains("leads alone where that file says so"), "{:?}", two.notes);
    let two = two.ensemble.unwrap();
    assert_eq!((two.oracle.as_deref(), two.verifier.rule()), (Some(Path::new("/o")), &Rule::OracleMajority));
    assert!(two.text_rules.oracle, "configurations that come later have it, too");
    assert!(told(&of("server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2")).contains("only with two participants"));
}

#[test]
fn a_file_with_the_members() {
    let lines = "clientPort=2181\ndynamicConfigFile=/etc/zoo.cfg.dynamic.100000000";
    let of = |text| [("/data/myid", "1"), ("/etc/zoo.cfg.dynamic.100000000", text)];
    let config = with(lines, &of(THREE)).unwrap();
    assert_eq!(config.ensemble.unwrap().verifier.version(), 0x1_0000_0000);
    assert!(bad(lines, &[("/data/myid", "1")]).starts_with("zoo.cfg:6: dynamicConfigFile = /etc/zoo.cfg.dynamic.1"));
    assert_eq!(
        bad(&format!("{lines}\nserver.1=h:1:2"), &of(THREE)),
        "zoo.cfg:7: server.1 = h:1:2: members are in /etc/zoo.cfg.dynamic.100000000 already, which dynamicConfigFile \
         names; allowed: one of both"
    );
    let told = bad(lines, &of("server.1=h1:1:2\nversion=5"));
    assert!(told.starts_with("/etc/zoo.cfg.dynamic.100000000:2: version may not stand in this file"), "{told}");
    let told = bad(lines, &of("server.1=h1:1:2\nclientPort=5"));
    assert!(told.starts_with("/etc/zoo.cfg.dynamic.100000000:2: clientPort is no key of a dynamic config"), "{told}");
}

#[test]
fn warnings() {
    let lines = "server.1=h1:1:2\nserver.2=H1:2:3\nserver.3=h3:1:2:observer\npeerType=observer\nclientPort=2181";
    let config = member(lines, "1");
    let notes = texts(&config);
    assert!(notes[0].starts_with("2 participants tolerate the loss of 0, as 1 would"), "{notes:?}");
    assert!(notes[1].starts_with("server.2: H1:2 is in the line of another member too"), "{notes:?}");
    assert!(notes[2].starts_with("peerType says observer, but server.1 says participant"), "{notes:?}");
    assert!(config.notes.iter().all(|it| it.warning) && notes.len() == 3, "{notes:?}");
    assert!(member(&format!("{THREE}clientPort=1\npeerType=observer"), "3").ensemble.unwrap().is_observer());
}

#[test]
fn one_member_alone() {
    let one = "server.1=h1:1:2\nclientPort=2181";
    assert_eq!(with(one, &[]).unwrap().ensemble, None);
    let it = member(&format!("{one}\nstandaloneEnabled=false"), "1").ensemble.unwrap();
    assert_eq!(it.verifier.voters().count(), 1);
}
