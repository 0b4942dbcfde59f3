//! The configuration as an operator meets it: whole files in, values and lines out.

#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::keys::{self, CHAPTERS, Support};
use super::resolve;
use super::*;
use crate::four_letter::Word;

const MINIMAL: &str = "dataDir=/data\nclientPort=2181\n";

fn flags(server: &str, common: &str) -> Environment {
    Environment { server_jvmflags: server.into(), jvmflags: common.into(), datadir_autocreate_disable: false }
}

fn with(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    Config::parse(Path::new("zoo.cfg"), text.as_bytes(), environment)
}

/// The minimal file (two lines) and these lines.
fn good(lines: &str) -> Config {
    with(&format!("{MINIMAL}{lines}"), &Environment::default()).unwrap()
}

fn bad(lines: &str) -> String {
    with(&format!("{MINIMAL}{lines}"), &Environment::default()).unwrap_err().to_string()
}

fn texts(config: &Config) -> Vec<&str> {
    config.notes.iter().map(|note| note.text.as_str()).collect()
}

#[test]
fn the_minimal_file_has_apaches_defaults() {
    let config = good("");
    assert_eq!(config.notes, []);
    assert_eq!(config.client.address, None);
    assert_eq!((config.client.port, config.client.listen_backlog), (2181, 50));
    assert_eq!((config.client.connections_per_address_max, config.client.connections_max), (Some(60), None));
    assert_eq!(config.client.sessionless_timeout_ms, 10_000);
    // The code's default of a tick, not the sample file's.
    assert_eq!(config.sessions, SessionConfig { tick_ms: 3000, timeout_ms_min: 6000, timeout_ms_max: 60_000 });
    assert_eq!((config.limits.frame_bytes_max, config.limits.record_bytes_max), (1_048_575, 2_097_150));
    assert_eq!((config.limits.outstanding_max, config.limits.large_request_bytes), (1000, None));
    assert_eq!(config.auth, AuthConfig::default());
    assert!(config.four_letter_whitelist.allows(Word::Srvr) && !config.four_letter_whitelist.allows(Word::Ruok));
    assert_eq!(
        (config.storage.data_dir.to_str(), config.storage.data_log_dir.to_str()),
        (Some("/data"), Some("/data"))
    );
    assert_eq!(config.storage.preallocation_bytes, Some(64 * 1024 * 1024));
    assert_eq!((config.storage.snap_count, config.storage.snap_log_bytes), (100_000, Some(4 << 30)));
    assert_eq!((config.storage.log_file_bytes_max, config.storage.force_sync), (None, true));
    assert_eq!((config.storage.batch_txns_max, config.storage.purge.clone()), (Some(1000), None));
    assert!(config.storage.directories_autocreate && config.storage.database_autocreate);
    assert!(config.storage.last_processed_zxid_in_snapshot && !config.storage.trust_empty_snapshot);
    assert!(config.tree.digest && config.tree.close_session_paths);
    assert!(!config.tree.extended_types && !config.tree.enforce_quota);
    assert_eq!((config.tree.container_check_ms, config.tree.container_never_used_ms), (60_000, None));
    assert!(config.admin.enabled);
    assert_eq!(config.admin.port, 8080);
    assert_eq!(config.metrics.provider, MetricsProvider::Default);
}

#[test]
fn the_sample_file_of_apache_starts() {
    let config = with(
        "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
         dataDir=/tmp/zookeeper\nclientPort=2181\n#maxClientCnxns=60\n#autopurge.purgeInterval=1\n",
        &Environment::default(),
    )
    .unwrap();
    assert_eq!(config.sessions, SessionConfig { tick_ms: 2000, timeout_ms_min: 4000, timeout_ms_max: 40_000 });
    assert_eq!(
        texts(&config),
        [
            "zoo.cfg:3: initLimit has no effect: a standalone server has no peers",
            "zoo.cfg:4: syncLimit has no effect: a standalone server has no peers"
        ]
    );
    assert!(config.notes.iter().all(|note| !note.warning));
}

#[test]
fn no_file_is_safe() {
    let config = Config::embedded(&Environment::default()).unwrap();
    assert_eq!(config.client.address.as_deref(), Some("127.0.0.1"));
    assert_eq!((config.client.port, config.sessions.tick_ms), (2181, 2000));
    assert_eq!(config.storage.data_dir.to_str(), Some("ostler-data"));
    assert_eq!(config.storage.purge, Some(PurgeConfig { snapshots_kept: 3, interval_hours: 1 }));
    assert!(!config.admin.enabled);
    for word in [Word::Srvr, Word::Ruok, Word::Stat, Word::Mntr] {
        assert!(config.four_letter_whitelist.allows(word));
    }
    for word in [Word::Crst, Word::Srst, Word::Stmk, Word::Wchc, Word::Wchp, Word::Dump] {
        assert!(!config.four_letter_whitelist.allows(word));
    }
    assert_eq!(config.notes, []);
    let config = Config::embedded(&flags("-Dzookeeper.forceSync=no", "")).unwrap();
    assert!(!config.storage.force_sync);
}

#[test]
fn launch_forms() {
    let arguments = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let from = |words: &[&str]| Config::from_arguments(&arguments(words), &Environment::default());
    let config = from(&["2181", "/data"]).unwrap();
    assert_eq!((config.client.port, config.sessions.tick_ms), (2181, 3000));
    let config = from(&["2181", "/data", "500", "0"]).unwrap();
    assert_eq!(config.sessions, SessionConfig { tick_ms: 500, timeout_ms_min: 1000, timeout_ms_max: 10_000 });
    assert_eq!(config.client.connections_per_address_max, None);
    assert_eq!(from(&[]).unwrap().client.port, 2181);
    assert!(matches!(from(&["a", "b", "c", "d", "e"]), Err(ConfigError::Usage(_))));
    assert_eq!(
        from(&["21x", "/data"]).unwrap_err().to_string(),
        "command line: clientPort = 21x: not a number; allowed: 0 to 65535"
    );
    assert!(matches!(from(&["/no/such/file"]), Err(ConfigError::Unreadable { .. })));
    assert_eq!(ConfigError::EXIT_CODE, 2);
}

#[test]
fn a_file_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zoo.cfg");
    std::fs::write(&path, MINIMAL).unwrap();
    assert_eq!(Config::load(&path, &Environment::default()).unwrap(), good(""));
    std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(Config::load(&path, &Environment::default()), Err(ConfigError::Malformed { .. })));
}

#[test]
fn the_file_wins_over_flags() {
    let environment = flags("-Dzookeeper.snapCount=10 -Dzookeeper.maxCnxns=1", "-Dzookeeper.snapCount=20");
    let config = with(MINIMAL, &environment).unwrap();
    assert_eq!((config.storage.snap_count, config.client.connections_max), (20, Some(1)));
    assert_eq!(texts(&config), ["JVMFLAGS: zookeeper.snapCount replaces the value of SERVER_JVMFLAGS"]);
    let config = with(&format!("{MINIMAL}snapCount=30\nsnapCount=40"), &environment).unwrap();
    assert_eq!(config.storage.snap_count, 40);
    assert_eq!(texts(&config)[2], "zoo.cfg:4: snapCount replaces the value of zoo.cfg:3");
    // Only the winner is looked at.
    assert_eq!(
        with(&format!("{MINIMAL}snapCount=30"), &flags("-Dzookeeper.snapCount=x", "")).unwrap().storage.snap_count,
        30
    );
    assert_eq!(
        with(MINIMAL, &flags("-Dzookeeper.snapCount=x", "")).unwrap_err().to_string(),
        "SERVER_JVMFLAGS: zookeeper.snapCount = x: not a number; allowed: -2147483648 to 2147483647"
    );
}

#[test]
fn what_flags_reach() {
    // Java reads these without the prefix, and only there; the file may hold them here.
    assert_eq!(with(MINIMAL, &flags("-Djute.maxbuffer=0x1fffff", "")).unwrap().limits.frame_bytes_max, 0x1f_ffff);
    assert_eq!(good("jute.maxbuffer=4194304").limits.frame_bytes_max, 4_194_304);
    assert_eq!(
        with(MINIMAL, &flags("-Dznode.container.maxPerMinute=5", "")).unwrap().tree.container_deletions_per_minute_max,
        5
    );
    for name in ["zookeeper.fsync.warningthresholdms", "fsync.warningthresholdms"] {
        assert_eq!(with(MINIMAL, &flags("", &format!("-D{name}=7"))).unwrap().storage.sync_warning_ms, 7);
    }
    // Keys of ZooKeeper's own parser, and a prefix too many.
    let config =
        with(MINIMAL, &flags("-Dzookeeper.tickTime=1 -Dzookeeper.jute.maxbuffer=5 -Dzookeeper.nonsense=1", ""))
            .unwrap();
    assert_eq!((config.sessions.tick_ms, config.limits.frame_bytes_max), (3000, 1_048_575));
    assert_eq!(
        texts(&config),
        [
            "SERVER_JVMFLAGS: -Dzookeeper.tickTime has no effect: ZooKeeper does not read tickTime from there",
            "SERVER_JVMFLAGS: -Dzookeeper.jute.maxbuffer has no effect: ZooKeeper does not read jute.maxbuffer from there",
            "SERVER_JVMFLAGS: -Dzookeeper.nonsense: unknown key, ignored"
        ]
    );
    assert!(config.notes.iter().all(|note| note.warning));
    // Everything else of the JVM is nobody's business.
    assert_eq!(
        with(MINIMAL, &flags("-Xmx1g -Dcom.sun.management.jmxremote -Dfile.encoding=UTF-8", "")).unwrap().notes,
        []
    );
    let disabled = Environment { datadir_autocreate_disable: true, ..Environment::default() };
    assert!(!with(MINIMAL, &disabled).unwrap().storage.directories_autocreate);
}

#[test]
fn documentation_headings_are_accepted() {
    let config = good("requestThrottleLimit=5\nconnectionTokenFillTime=6\nconnectionDropIncrease=0.5\n");
    assert_eq!((config.throttle.requests_max, config.throttle.session_fill_ms), (Some(5), 6));
    assert_eq!(config.throttle.session_drop_increase, 0.5);
}

#[test]
fn numbers_as_java_reads_them() {
    assert_eq!(good("maxClientCnxns=+7").client.connections_per_address_max, Some(7));
    assert_eq!(good("maxClientCnxns=-7").client.connections_per_address_max, None);
    assert_eq!(
        bad("maxClientCnxns=0x10"),
        "zoo.cfg:3: maxClientCnxns = 0x10: not a number; allowed: -2147483648 to 2147483647"
    );
    assert_eq!(good("maxCnxns=0x10").client.connections_max, Some(16));
    assert_eq!(bad("tickTime=2s"), "zoo.cfg:3: tickTime = 2s: not a number; allowed: 1 to 2147483647");
    assert_eq!(bad("tickTime=0"), "zoo.cfg:3: tickTime = 0: too small; allowed: 1 to 2147483647");
    assert_eq!(bad("clientPort=65536"), "zoo.cfg:3: clientPort = 65536: too large; allowed: 0 to 65535");
    assert_eq!(bad("tickTime=3000000000"), "zoo.cfg:3: tickTime = 3000000000: too large; allowed: 1 to 2147483647");
    assert_eq!(bad("tickTime="), "zoo.cfg:3: tickTime = : not a number; allowed: 1 to 2147483647");
}

#[test]
fn booleans_as_java_reads_them() {
    assert!(good("extendedTypesEnabled=TRUE").tree.extended_types);
    let config = good("extendedTypesEnabled=yes\ndigest.enabled=on");
    assert!(!config.tree.extended_types && !config.tree.digest);
    assert_eq!(
        texts(&config)[0],
        "zoo.cfg:3: extendedTypesEnabled = \"yes\" is read as false, as in Java; write true or false"
    );
    assert!(good("skipACL=yes").auth.skip_acl);
    assert!(!good("skipACL=true").auth.skip_acl && !good("skipACL=YES").auth.skip_acl);
    assert!(!good("forceSync=no").storage.force_sync);
    assert!(good("forceSync=NO").storage.force_sync && good("forceSync=false").storage.force_sync);
    assert_eq!(
        bad("quorumListenOnAllIPs=yes"),
        "zoo.cfg:3: quorumListenOnAllIPs = yes: not a boolean; allowed: true, false"
    );
    // Dangerous ones are said at every start.
    assert!(good("skipACL=yes").notes.iter().any(|note| note.warning));
    assert!(good("forceSync=no").notes.iter().any(|note| note.warning));
}

#[test]
fn what_is_missing_here_is_refused_by_name() {
    for line in [
        "secureClientPort=2182",
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "ssl.keyStore.location=/k",
        "ssl.quorum.trustStore.location=/t",
        "sslQuorum=true",
        "client.portUnification=true",
        "audit.enable=true",
        "sessionRequireClientSASLAuth=true",
        "quorum.auth.enableSasl=true",
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
    ] {
        let key = line.split('=').next().unwrap();
        let message = bad(line);
        assert!(message.starts_with(&format!("zoo.cfg:3: {key} = ")) && message.contains("not supported"), "{message}");
    }
    for environment in
        [flags("-Djava.security.auth.login.config=/jaas", ""), flags("", "-Dzookeeper.ssl.clientAuth=need")]
    {
        assert!(matches!(with(MINIMAL, &environment), Err(ConfigError::NotSupported { .. })));
    }
    // The same keys with values that ask for nothing.
    let config = good(
        "peerType=PARTICIPANT\nobserverMasterPort=0\nsslQuorum=false\nlocalSessionsEnabled=False\n\
         readonlymode.enabled=no\nsnapshot.compression.method=\nclient.portUnification=false\nstandaloneEnabled=true\n\
         request_throttle_max_requests=-7\nconnection_throttle_tokens=0\nlargeRequestThreshold=-2\n\
         admin.snapshot.enabled=false\n\
         metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider\n",
    );
    assert!(config.notes.iter().all(|note| !note.warning || note.text.contains("readonlymode")), "{config:?}");
    // What only tunes them is told to have no effect, and is checked.
    let config = good("metricsProvider.httpPort=7001\nmetricsProvider.exportJvmInfo=true\n");
    assert_eq!(
        texts(&config),
        [
            "zoo.cfg:3: metricsProvider.httpPort has no effect: it counts only with metricsProvider.className",
            "zoo.cfg:4: metricsProvider.exportJvmInfo has no effect: it counts only with metricsProvider.className",
        ]
    );
    assert!(bad("metricsProvider.httpPort=70000").contains("too large"));
    // A standalone Apache server has no local sessions either, whatever is written; it does check what is.
    let config = good("localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=TRUE\n");
    assert!(config.notes.iter().all(|note| !note.warning) && texts(&config).len() == 2, "{config:?}");
    assert!(texts(&config)[0].starts_with("zoo.cfg:3: localSessionsEnabled has no effect: a standalone server"));
    assert!(bad("localSessionsEnabled=yes").contains("localSessionsEnabled"));
    // The first line that asks for too much is named.
    assert!(bad("sslQuorum=true\ntickTime=x").starts_with("zoo.cfg:3: sslQuorum"));
}

/// The `zoo.cfg` that the official container image writes, with its defaults.
#[test]
fn the_file_of_the_official_image_starts() {
    let config = with(
        "dataDir=/data\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n\
         autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\nstandaloneEnabled=true\n\
         admin.enableServer=true\nserver.1=localhost:2888:3888;2181\n",
        &Environment::default(),
    )
    .unwrap();
    assert_eq!((config.client.port, config.client.address.as_deref()), (2181, None));
    assert_eq!(
        texts(&config),
        [
            "zoo.cfg:4: initLimit has no effect: a standalone server has no peers",
            "zoo.cfg:5: syncLimit has no effect: a standalone server has no peers",
            "zoo.cfg:10: admin.enableServer = true: there is no admin port here yet, none is opened; \
             admin.enableServer=false silences this",
            "zoo.cfg:11: server.1: a single server runs standalone; the other two ports are not opened"
        ]
    );
    assert_eq!(config.notes.iter().filter(|note| note.warning).count(), 1);
}

#[test]
fn a_single_server() {
    let only = |line: &str| with(&format!("dataDir=/data\n{line}"), &Environment::default());
    for (line, address, port) in [
        ("server.1=a:2888:3888;2181", None, 2181),
        ("server.5=a:2888:3888:participant;10.0.0.1:2182", Some("10.0.0.1"), 2182),
        ("server.5 = [::1]:2888:3888:PARTICIPANT ; [fe80::1]:2183", Some("fe80::1"), 2183),
        ("server.1=a:1:2|b:1:2;2184", None, 2184),
        ("server.1=a:1:2\nclientPort=2185\nclientPortAddress=::1", Some("::1"), 2185),
        ("server.1=a:1:2;2186\nclientPort=2186\nclientPortAddress=::1", Some("::1"), 2186),
    ] {
        let client = only(line).unwrap().client;
        assert_eq!((client.address.as_deref(), client.port), (address, port), "{line}");
    }
    assert!(only("server.1=a:1:2").unwrap_err().to_string().starts_with("zoo.cfg: clientPort is not set"));
    assert!(bad("server.1=a:1:2;2182").contains("the server line names the client port 2182"));
    for line in
        ["server.1=a", "server.1=a:1", "server.1=a:x:2", "server.x=a:1:2", "server.1=a:1:2:voter", "server.1=a:1:2;x"]
    {
        assert!(bad(line).starts_with(&format!("zoo.cfg:3: {}", &line[..8])), "{}", bad(line));
    }
}

#[test]
fn unknown_keys_and_what_they_probably_mean() {
    for (line, meant) in [
        ("ticktime=2000", "tickTime"),
        ("maxClientConnxns=3", "maxClientCnxns"),
        ("autopurge.purgeIntervall=3", "autopurge.purgeInterval"),
        ("4lw.command.whitelist=*", "4lw.commands.whitelist"),
        ("request-throttle-max-requests=3", "request_throttle_max_requests"),
    ] {
        let key = line.split('=').next().unwrap();
        let config = good(line);
        assert_eq!(texts(&config), [format!("zoo.cfg:3: {key}: unknown key, ignored; is {meant} meant?")]);
        assert!(config.notes[0].warning);
    }
    assert_eq!(texts(&good("my.own.thing=1")), ["zoo.cfg:3: my.own.thing: unknown key, ignored"]);
    assert_eq!(
        texts(&with(MINIMAL, &flags("-Dzookeeper.snapcount=5", "")).unwrap()),
        ["SERVER_JVMFLAGS: -Dzookeeper.snapcount: unknown key, ignored; is snapCount meant?"]
    );
}

#[test]
fn enforced_schemes() {
    const ON: &str = "enforce.auth.enabled=true\nenforce.auth.schemes";
    let config = good(&format!("{ON}= digest , ip,,"));
    assert_eq!(config.auth.enforced_schemes, ["digest", "ip"]);
    assert!(texts(&config)[0].contains("nobody is turned away") && config.notes[0].warning);
    let config = good("enforce.auth.schemes=digest");
    assert!(config.auth.enforced_schemes.is_empty());
    assert_eq!(
        texts(&config),
        ["zoo.cfg:3: enforce.auth.schemes has no effect: it counts only with enforce.auth.enabled=true"]
    );
    assert_eq!(
        bad("enforce.auth.enabled=true"),
        "zoo.cfg:3: enforce.auth.enabled = true: enforce.auth.schemes is not set, so that nobody could pass; allowed: \
         true with enforce.auth.schemes, of ip, digest"
    );
    assert_eq!(
        bad(&format!("{ON}=digest,nope")),
        "zoo.cfg:4: enforce.auth.schemes = digest,nope: there is no authentication scheme \"nope\"; allowed: ip, digest"
    );
    for missing in ["world", "super", "ensemble", "a,,b", " ", ","] {
        assert!(bad(&format!("{ON}={missing}")).contains("enforce.auth."), "{missing}");
    }
    assert!(bad(&format!("{ON}=sasl")).contains("not supported: SASL is not built yet"));
    assert!(bad("sessionRequireClientSASLAuth=true").contains("not supported: SASL is not built yet"));
    assert!(bad(&format!("{ON}=digest\nDigestAuthenticationProvider.enabled=false")).contains("no authentication"));
}

#[test]
fn authentication_providers() {
    const PACKAGE: &str = "org.apache.zookeeper.server.auth.";
    let named = |class: &str, more: &str| format!("authProvider.1={PACKAGE}{class}AuthenticationProvider\n{more}");
    let config = good(&named("Ensemble", "ensembleAuthName= one,two ,\n"));
    assert_eq!(config.auth.ensemble, Some(vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(config.notes, []);
    assert_eq!(good(&named("Ensemble", "")).auth.ensemble, Some(vec![]));
    assert!(good(&named("Key", "")).auth.key_enabled);
    assert!(good(&named("Digest", "DigestAuthenticationProvider.enabled=false")).auth.digest_enabled);
    assert_eq!(good(&named("IP", "")).auth, AuthConfig::default());
    let config = good("ensembleAuthName=one");
    assert!(config.auth.ensemble.is_none() && texts(&config)[0].contains("has no effect"));
    for (class, why) in [("SASL", "SASL is not built yet"), ("X509", "TLS is not built yet"), ("Other", "Java classes")]
    {
        let line = named(class, "");
        assert!(
            bad(&line).starts_with("zoo.cfg:3: authProvider.1 = org") && bad(&line).contains(why),
            "{}",
            bad(&line)
        );
    }
    let flag = format!("-Dzookeeper.authProvider.key={PACKAGE}KeyAuthenticationProvider");
    assert!(with(MINIMAL, &flags(&flag, "")).unwrap().auth.key_enabled);
}

#[test]
fn throttles() {
    let config = good(
        "connection_throttle_tokens=5\nconnection_throttle_freeze_time=0\nconnection_throttle_weight_enabled=true\n\
         connection_throttle_local_session_weight=4\nconnection_throttle_renew_session_weight=-1\n\
         connection_throttle_global_session_weight=9\n",
    );
    let throttle = &config.throttle;
    assert_eq!((throttle.session_tokens, throttle.session_freeze_ms), (Some(5), Some(0)));
    assert_eq!(throttle.session_weights, Some(SessionWeights { global: 9, local: 4, renew: 4 }));
    assert_eq!(
        texts(&config),
        [
            "zoo.cfg:7: connection_throttle_renew_session_weight = -1 is not above 0: 2 is used",
            "zoo.cfg:7: connection_throttle_renew_session_weight = 2 is less than the weight of a local session: 4 is used"
        ]
    );
    let config = good("throttled_op_wait_time=5\nrequest_stale_latency_check=true\n");
    assert_eq!(config.throttle.op_wait_ms, Some(5));
    assert!(texts(&config).iter().all(|text| text.ends_with("it counts only with request_throttle_max_requests")));
    assert_eq!((texts(&config).len(), good("").throttle.session_freeze_ms), (2, None));
    let config = good("largeRequestThreshold=0x100\nlargeRequestMaxBytes=0\n");
    assert_eq!((config.limits.large_request_bytes, config.limits.large_requests_bytes_max), (Some(256), 100 << 20));
    assert_eq!(texts(&config), ["zoo.cfg:4: largeRequestMaxBytes = 0 is not above 0: 104857600 is used"]);
}

#[test]
fn secrets_stay_hidden() {
    let digest = "DigestAuthenticationProvider.superDigest=super:xyzzy";
    let config = good(digest);
    assert_eq!(config.auth.super_digest.as_ref().map(auth::Secret::expose), Some("super:xyzzy"));
    assert!(!format!("{config:?}").contains("xyzzy"));
    for line in ["ssl.keyStore.password=xyzzy", "ssl.trustStore.password=xyzzy"] {
        assert!(!bad(line).contains("xyzzy"), "{}", bad(line));
    }
    for (line, shown) in [("ssl.client.enable=x", "= x:"), ("ssl.keyStore.passwordPath=/run/key", "= /run/key:")] {
        assert!(bad(line).contains(shown), "{}", bad(line));
    }
    // Nor does a note repeat a value.
    let config = good(&format!(
        "{digest}\n{digest}\nmetricsProvider.ssl.keyStore.password=xyzzy\nmy.password=xyzzy\nSASLAuthenticationProvider.superPassword=xyzzy\n"
    ));
    assert!(!format!("{config:?}").contains("xyzzy"));
}

#[test]
fn missing_keys() {
    let missing = |text: &str| with(text, &Environment::default()).unwrap_err().to_string();
    assert!(missing("clientPort=2181").starts_with("zoo.cfg: dataDir is not set"));
    assert!(missing("dataDir=/data").starts_with("zoo.cfg: clientPort is not set"));
    assert!(missing("dataDir=/data\nclientPort=0").starts_with("zoo.cfg: clientPort is not set"));
    assert!(missing("dataDir=\nclientPort=2181").starts_with("zoo.cfg: dataDir is not set"));
}

#[test]
fn a_name_that_nobody_knows() {
    let text = format!("{MINIMAL}clientPortAddress=no.such.host\n");
    struct OneName(bool);
    impl Outside for OneName {
        fn has_address(&self, _: &str) -> Result<(), String> {
            if self.0 { Ok(()) } else { Err("not known".to_owned()) }
        }
        fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
            Nothing.read(path)
        }
    }
    let parse =
        |known| Config::parse_with(Path::new("zoo.cfg"), text.as_bytes(), &Environment::default(), &OneName(known));
    assert_eq!(
        parse(false).unwrap_err().to_string(),
        "zoo.cfg:3: clientPortAddress = no.such.host: not known; allowed: an address of this machine, or a name that \
         has one"
    );
    assert_eq!(parse(true).unwrap().client.address.as_deref(), Some("no.such.host"));
    for known in ["127.0.0.1", "::1", "localhost"] {
        assert_eq!(System.has_address(known), Ok(()));
    }
    assert!(System.has_address("not a name").is_err());
}

#[test]
fn session_timeouts() {
    let config = good("tickTime=2000\nminSessionTimeout=1\nmaxSessionTimeout=100\n");
    assert_eq!((config.sessions.timeout_ms_min, config.sessions.timeout_ms_max), (1, 100));
    assert_eq!(
        bad("minSessionTimeout=100000"),
        "zoo.cfg:3: minSessionTimeout = 100000: larger than maxSessionTimeout, which is 60000; allowed: up to maxSessionTimeout"
    );
    assert_eq!(
        bad("maxSessionTimeout=1"),
        "zoo.cfg:3: maxSessionTimeout = 1: smaller than minSessionTimeout, which is 6000; allowed: from minSessionTimeout"
    );
    assert_eq!(good("tickTime=2147483647").sessions.timeout_ms_max, i32::MAX as u32);
}

#[test]
fn values_that_apache_raises() {
    let config = good("autopurge.snapRetainCount=1\nautopurge.purgeInterval=24\nsnapCount=0");
    assert_eq!(config.storage.purge, Some(PurgeConfig { snapshots_kept: 3, interval_hours: 24 }));
    assert_eq!(config.storage.snap_count, 2);
    assert_eq!(texts(&config)[0], "zoo.cfg:5: snapCount = 0 is too small: 2 is used");
    assert_eq!(texts(&config)[1], "zoo.cfg:3: autopurge.snapRetainCount = 1 is too small: 3 is used");
    assert_eq!(good("jute.maxbuffer=100\njute.maxbuffer.extrasize=1").limits.record_bytes_max, 1124);
    assert_eq!(good("jute.maxbuffer=2147483647").limits.record_bytes_max, i32::MAX as u32);
}

#[test]
fn files_and_times() {
    let config = good(
        "dataLogDir=/log\npreAllocSize=0\nsnapSizeLimitInKb=-1\ntxnLogSizeLimitInKb=8\nflushDelay=30\nmaxBatchSize=0\n\
         clientPortAddress=::1\nclientPortListenBacklog=7\nznode.container.maxNeverUsedIntervalMs=300000\n\
         DigestAuthenticationProvider.digestAlg=sha-256\nostler.log.acceptSuspectTail=TRUE\n",
    );
    assert_eq!(config.storage.data_log_dir.to_str(), Some("/log"));
    assert_eq!((config.storage.preallocation_bytes, config.storage.snap_log_bytes), (None, None));
    assert_eq!((config.storage.log_file_bytes_max, config.storage.batch_txns_max), (Some(8192), None));
    assert_eq!((config.storage.flush_delay_ms, config.storage.idle_flush_ms), (30, 10));
    assert_eq!((config.client.address.as_deref(), config.client.listen_backlog), (Some("::1"), 7));
    assert_eq!(config.tree.container_never_used_ms, Some(300_000));
    assert_eq!(config.auth.digest_alg, auth::DigestAlg::Sha256);
    assert!(config.storage.accept_suspect_tail && config.notes.iter().any(|note| note.warning));
    assert!(bad("ostler.log.acceptSuspectTail=yes").ends_with("not a boolean; allowed: true, false"));
    assert!(with(MINIMAL, &flags("", "-Dostler.log.acceptSuspectTail=true")).unwrap().storage.accept_suspect_tail);
    let config = with("dataDir=data\nclientPort=1", &Environment::default()).unwrap();
    assert_eq!(
        texts(&config),
        ["zoo.cfg:1: dataDir = data is relative to the current folder; write ./ if you mean it"]
    );
    assert_eq!(with("dataDir=./data\nclientPort=1", &Environment::default()).unwrap().notes, []);
    assert!(bad("DigestAuthenticationProvider.digestAlg=MD5").contains("not known; allowed: SHA1, "));
}

#[test]
fn whitelist_admin_and_metrics() {
    let config = good("4lw.commands.whitelist=ruok, nope, mntr\nadmin.enableServer=false\nadmin.serverPort=8081\n");
    assert!(config.four_letter_whitelist.allows(Word::Mntr));
    assert_eq!(
        texts(&config),
        [
            "zoo.cfg:5: admin.serverPort has no effect: there is no admin port here yet",
            "4lw.commands.whitelist: there is no four-letter word \"nope\""
        ]
    );
    assert_eq!((config.admin.enabled, config.admin.port), (false, 8081));
    assert!(!good("admin.portUnification=true\nadmin.serverPort=8081\nadmin.enableServer=no").admin.enabled);
    assert!(bad("metricsProvider.className=com.example.Mine").contains("not known"));
}

#[test]
fn malformed_files() {
    assert!(bad("a=\\u12").starts_with("zoo.cfg:3: \\u without four hexadecimal digits"));
    assert!(good("dataLogDir=/d\u{e4}ta").notes[0].text.starts_with("zoo.cfg:3: read as ISO 8859-1"));
    assert_eq!(texts(&good("made.up=1")), ["zoo.cfg:3: made.up: unknown key, ignored"]);
}

#[test]
fn the_table_is_sound() {
    let mut names = BTreeSet::new();
    for chapter in CHAPTERS {
        for key in chapter.keys.iter().chain(chapter.families) {
            for name in key.also.iter().chain([&key.name]) {
                assert!(names.insert(*name), "{name} is there twice");
            }
            assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}: doc", key.name);
            if !key.default.is_empty() {
                let value = resolve::read(key.kind, key.default);
                assert!(value.is_ok(), "{}: default {:?}: {value:?}", key.name, key.default);
            }
            if let Support::Refused(asks_nothing, _) = key.support
                && !chapter.families.iter().any(|family| family.name == key.name)
                && !asks_nothing.is_empty()
                && !key.default.is_empty()
                // Where nobody asks for it, there is none.
                && key.name != "admin.enableServer"
            {
                let value = resolve::read(key.kind, key.default).unwrap();
                assert!(resolve::is_one_of(&value, asks_nothing), "{}: the default asks for something", key.name);
            }
        }
    }
    assert!(names.len() > 150);
    assert_eq!(keys::by_file_name("ssl.quorum.x").map(|key| key.name), Some("ssl."));
    assert_eq!(keys::by_file_name("leader.nodelay").map(|key| key.name), Some("leader.nodelay"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), common in ".{0,60}") {
        let _ = Config::parse(Path::new("x"), &bytes, &flags("", &common));
    }

    #[test]
    fn every_key_survives_every_value(index in 0_usize..400, value in "[ -~]{0,20}", flag: bool) {
        let all: Vec<_> = CHAPTERS.iter().flat_map(|chapter| chapter.keys.iter().chain(chapter.families)).collect();
        let key = all[index % all.len()];
        let environment = if flag { flags(&format!("-Dzookeeper.{}={value}", key.name), "") } else { Environment::default() };
        let text = if flag { MINIMAL.to_owned() } else { format!("{MINIMAL}{}={value}", key.name) };
        match with(&text, &environment) {
            Err(ConfigError::NoSuchKey(name)) => prop_assert!(false, "{name}"),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
            Ok(config) => prop_assert!(config.notes.iter().all(|note| !note.text.contains('\n'))),
        }
    }
}
