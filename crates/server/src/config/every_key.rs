//! Every key that ZooKeeper 3.9 documents or reads, and the class it has here. A key that changes its class without a word
//! in these lists is a regression, or a feature without its line here.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{self, CHAPTERS, Support};
use super::{Config, ConfigError, Environment};

/// They do what they do in Apache. What they are set to here is not their default.
const WORK: &str = "
    clientPort=2182  clientPortAddress=127.0.0.1  clientPortListenBacklog=7  maxClientCnxns=61  maxCnxns=5
    minSessionTimeout=10  maxSessionTimeout=100000  globalOutstandingLimit=7  clientTcpKeepAlive=true
    jute.maxbuffer=5000  jute.maxbuffer.extrasize=2000  skipACL=yes  extendedTypesEnabled=true  emulate353TTLNodes=true
    closeSessionTxn.enabled=false  reconfigEnabled=true  nio.sessionlessCnxnTimeout=77  tickTime=1999
    dataDir=/other  dataLogDir=/log  datadir.autocreate=false  db.autocreate=false  preAllocSize=1  snapCount=10
    snapSizeLimitInKb=5  txnLogSizeLimitInKb=5  forceSync=no  fsync.warningthresholdms=5  flushDelay=5
    maxWriteQueuePollTime=5  maxBatchSize=5  autopurge.purgeInterval=5
    snapshot.trust.empty=true  serializeLastProcessedZxid.enabled=false  digest.enabled=false
    znode.container.checkIntervalMs=5  znode.container.maxPerMinute=5  znode.container.maxNeverUsedIntervalMs=5
    request_throttle_max_requests=5  largeRequestThreshold=5  largeRequestMaxBytes=5  connection_throttle_tokens=5
    DigestAuthenticationProvider.enabled=false  DigestAuthenticationProvider.superDigest=super:x
    ostler.unsent.bytesMax=1048576  ostler.unprocessed.bytesMax=1048576
    ostler.watches.bytesMax=1048576  ostler.sessions.max=5
    DigestAuthenticationProvider.digestAlg=SHA3-512  4lw.commands.whitelist=*
    authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider
    authProvider.1=org.apache.zookeeper.server.auth.KeyAuthenticationProvider
";

/// They work together with another one, which stands before them.
const WORK_WITH: &str = "
    autopurge.purgeInterval=1+autopurge.snapRetainCount=5
    request_throttle_max_requests=1+request_throttle_drop_stale=false
    request_throttle_max_requests=1+request_stale_latency_check=true
    request_throttle_max_requests=1+request_stale_connection_check=false
    request_throttle_max_requests=1+throttled_op_wait_time=5
    connection_throttle_tokens=1+connection_throttle_fill_time=5
    connection_throttle_tokens=1+connection_throttle_fill_count=5
    connection_throttle_tokens=1+connection_throttle_freeze_time=5
    connection_throttle_tokens=1+connection_throttle_drop_increase=0.5
    connection_throttle_tokens=1+connection_throttle_drop_decrease=0.5
    connection_throttle_tokens=1+connection_throttle_decrease_ratio=0.5
    connection_throttle_tokens=1+connection_throttle_weight_enabled=true
    connection_throttle_tokens=1+connection_throttle_weight_enabled=true+connection_throttle_global_session_weight=5
    connection_throttle_tokens=1+connection_throttle_weight_enabled=true+connection_throttle_local_session_weight=2
    connection_throttle_tokens=1+connection_throttle_weight_enabled=true+connection_throttle_renew_session_weight=5
    enforce.auth.schemes=ip+enforce.auth.enabled=true
    authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider+ensembleAuthName=x
";

/// They mean nothing here, or nothing alone: one line of information.
const INFORM: &str = "
    serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory  maxResponseCacheSize=5
    maxGetChildrenResponseCacheSize=5  enableEagerACLCheck=true  nio.numSelectorThreads=5  nio.numWorkerThreads=5
    nio.directBufferBytes=5  nio.shutdownTimeout=5  intBufferStartingSizeBytes=5  netty.advancedFlowControl.enabled=true
    localSessionsEnabled=true  localSessionsUpgradingEnabled=true  readonlymode.enabled=true  disableAutoWatchReset=true  initLimit=5  syncLimit=5  connectToLearnerMasterLimit=5  electionAlg=3
    observer.reconnectDelayMs=5  observer.election.DelayMs=5  observerMaster.sizeLimit=5  observerMasterPort=5  syncEnabled=false
    leaderServes=no  quorumListenOnAllIPs=true  cnxTimeout=5  quorumCnxnTimeoutMs=5
    tcpKeepAlive=true  electionPortBindRetry=5  fastleader.minNotificationInterval=5
    fastleader.maxNotificationInterval=5  leader.maxTimeToWaitForEpoch=5  leader.maxConcurrentSnapSyncs=5
    leader.maxConcurrentDiffSyncs=5  forceSnapshotSync=true  snapshotSizeFactor=5  commitLogCount=5
    leaderConnectDelayDuringRetryMs=5  learner.asyncSending=true  learner.closeSocketAsync=true
    leader.closeSocketAsync=true  forward_learner_requests_to_commit_processor_disabled=true
    follower.skipLearnerRequestToNextProcessor=true  multiAddress.reachabilityCheckEnabled=false
    multiAddress.reachabilityCheckTimeoutMs=5  quorum.cnxn.threads.size=5  follower.nodelay=false  leader.nodelay=false
    leader.ackLoggingFrequency=5  messageTracker.Enabled=true  messageTracker.BufferSize=5  testingonly.initialZxid=5
    test.allowDiscontinuousProposals=true  commitProcessor.numWorkerThreads=5  commitProcessor.maxReadBatchSize=5
    commitProcessor.maxCommitBatchSize=5  commitProcessor.shutdownTimeout=5  watchManagerName=x
    watcherCleanThreadsNum=5  watcherCleanThreshold=5  watcherCleanIntervalInSeconds=5  maxInProcessingDeadWatchers=5
    bitHashCacheSize=5  pathStats.enabled=true  pathStats.slotCapacity=5  pathStats.slotDuration=5  pathStats.maxDepth=5
    pathStats.sampleRate=5  pathStats.topPathMax=5  pathStats.initialDelay=5  pathStats.delay=5
    request_throttler.shutdownTimeout=5  request_throttle_stall_time=5  netty.server.outstandingHandshake.limit=5
    netty.server.earlyDropSecureConnectionHandshakes=true  X509AuthenticationProvider.superUser=x  superUser=x
    superUser.1=x  IPAuthenticationProvider.usexforwardedfor=true  allowSaslFailedClients=true  letAnySaslUserDoX=x
    SASLAuthenticationProvider.superPassword=x  sasl.serverconfig=x  sasl.client=x  sasl.clientconfig=x
    sasl.client.username=x  sasl.client.canonicalize.hostname=x  kerberos.removeHostFromPrincipal=true
    kerberos.removeRealmFromPrincipal=true  kerberos.canonicalizeHostNames=true  security.auth_to_local=x
    requireKerberosConfig=true  kerberos.minReLoginTimeMs=5  kinit=x  quorum.auth.server.saslLoginContext=x
    quorum.auth.learner.saslLoginContext=x  quorum.auth.kerberos.servicePrincipal=x  fips-mode=false
    audit.impl.class=x  client.secure=true  clientCnxnSocket=x  admin.serverAddress=x  admin.serverPort=5
    admin.commandURL=x  admin.idleTimeout=5  admin.portUnification=true  admin.forceHttps=true
    admin.needClientAuth=true  admin.httpVersion=5  admin.rateLimiterIntervalInMS=5  admin.snapshot.enabled=true
    admin.restore.enabled=true  metricsProvider.httpHost=x  metricsProvider.httpPort=5
    metricsProvider.exportJvmInfo=false  metricsProvider.numWorkerThreads=5  metricsProvider.maxQueueSize=5
    metricsProvider.workerShutdownTimeoutMs=5  metricsProvider.httpsPort=5  metricsProvider.ssl.keyStore.location=x
    jvm.pause.monitor=true  jvm.pause.info-threshold.ms=5  jvm.pause.warn-threshold.ms=5  jvm.pause.sleep.time.ms=5
    oraclePath=x  server.1=a:1:2  throttled_op_wait_time=5  connection_throttle_freeze_time=5  enforce.auth.schemes=digest
    ensembleAuthName=x
";

/// There is no such thing here, and a server can do without: one warning.
const WARN: &str = "
    admin.enableServer=true
";

/// A member of an ensemble acts on them, and a standalone server has none of them in its lines.
const MEMBER: &str = "
    server.1=a:1:2  group.1=1  weight.1=1  dynamicConfigFile=x  peerType=observer  standaloneEnabled=false
    multiAddress.enabled=true
";

/// They ask for something that is not there: the start is refused, and the line is named.
const REFUSE: &str = "
    secureClientPort=2182  secureClientPortAddress=x  client.portUnification=true
    authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
    authProvider.1=org.apache.zookeeper.server.auth.X509AuthenticationProvider  authProvider.1=com.example.Mine
    ssl.authProvider=x  sessionRequireClientSASLAuth=true  java.security.auth.login.config=x
    quorum.auth.enableSasl=true  quorum.auth.serverRequireSasl=true  quorum.auth.learnerRequireSasl=true
    audit.enable=true  ssl.keyStore.location=x  ssl.trustStore.type=PEM  ssl.quorum.protocol=TLSv1.3  ssl.crl=true
    client.certReload=true  sslQuorumReloadCertFiles=true  sslQuorum=true  portUnification=true
    metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
";

/// Of what would be refused, what asks for nothing. No word, and a start.
const ASK_NOTHING: &str = "
    secureClientPort=0  client.portUnification=false  peerType=participant  peerType=PARTICIPANT  standaloneEnabled=true
    multiAddress.enabled=false  sessionRequireClientSASLAuth=false  quorum.auth.enableSasl=false
    quorum.auth.serverRequireSasl=false  quorum.auth.learnerRequireSasl=false  audit.enable=false
    client.certReload=false  sslQuorumReloadCertFiles=false  sslQuorum=false  portUnification=false
    enforceQuota=false  admin.enableServer=false
    metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider
    metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider
    snapshot.compression.method=  enforce.auth.enabled=false  request_throttle_max_requests=0
    connection_throttle_tokens=0  largeRequestThreshold=-1
";

/// Keys whose part is being built, or has been: whatever they are, they are known.
const OTHERS: &str = "
    enforceQuota=true  snapshot.compression.method=gz
";

fn parse(lines: &str) -> Result<Config, ConfigError> {
    let text = format!("dataDir=/data\nclientPort=2181\n{}\n", lines.replace('+', "\n"));
    Config::parse(Path::new("zoo.cfg"), text.as_bytes(), &Environment::default())
}

fn each(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split_whitespace()
}

/// The notes that are not about a value that replaces another one, and not about dangers.
fn notes(config: &Config) -> Vec<(bool, &str)> {
    let all = config.notes.iter().map(|note| (note.warning, note.text.as_str()));
    all.filter(|(_, text)| !text.contains("replaces the value") && !text.contains(": a")).collect()
}

fn key(line: &str) -> &str {
    line.split('=').next().unwrap()
}

#[test]
fn what_works() {
    for line in each(WORK).chain(each(WORK_WITH)) {
        let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let before = parse(line.rsplit_once('+').map_or("", |(before, _)| before)).unwrap();
        let without_notes = |config: &Config| Config { notes: Vec::new(), ..config.clone() };
        assert!(without_notes(&before) != without_notes(&config), "{line} changes nothing");
        let said = notes(&config);
        assert!(
            said.iter().all(|(_, text)| !text.contains("no effect") && !text.contains("unknown")),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn what_means_nothing_here_gets_one_line() {
    for line in each(INFORM) {
        let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let said: Vec<&str> = config.notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(said.len(), 1, "{line}: {said:?}");
        assert!(!config.notes[0].warning && said[0].starts_with(&format!("zoo.cfg:3: {}", key(line))), "{said:?}");
        assert!(said[0].contains("has no effect: ") || line.starts_with("server."), "{said:?}");
    }
    for line in each(WARN) {
        let config = parse(line).unwrap();
        let [note] = &config.notes[..] else { panic!("{line}: {:?}", config.notes) };
        assert!(note.warning && note.text.starts_with(&format!("zoo.cfg:3: {}", key(line))), "{note:?}");
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for line in each(REFUSE) {
        match parse(line) {
            Err(error @ ConfigError::NotSupported { .. }) => {
                let text = error.to_string();
                assert!(text.starts_with(&format!("zoo.cfg:3: {} = ", key(line))), "{text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn what_asks_for_nothing_never_refuses() {
    for line in each(ASK_NOTHING) {
        let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(config.notes.is_empty(), "{line}: {:?}", config.notes);
    }
    // Nor does the default of any key, written out.
    for chapter in CHAPTERS {
        for key in chapter.keys.iter().filter(|key| !key.default.is_empty()) {
            let line = format!("{}={}", key.name, key.default);
            let config = parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let warned = config.notes.iter().any(|note| note.warning);
            assert_eq!(warned, matches!(key.support, Support::Absent(..)), "{line}: {:?}", config.notes);
        }
    }
}

#[test]
fn every_key_of_the_table_is_in_a_list_and_the_other_way_round() {
    let lists = [WORK, WORK_WITH, INFORM, WARN, MEMBER, REFUSE, ASK_NOTHING, OTHERS];
    let listed: BTreeSet<&str> = lists.into_iter().flat_map(each).flat_map(|line| line.split('+')).map(key).collect();
    for name in &listed {
        assert!(keys::by_file_name(name).is_some(), "{name} is not in the table");
    }
    let ours = ["ostler.", "log.", "root.logger", "console.threshold", "jmx."];
    for key in CHAPTERS.iter().flat_map(|chapter| chapter.keys) {
        let is_listed = listed.contains(key.name) || key.also.iter().any(|also| listed.contains(also));
        let is_other = ours.iter().any(|prefix| key.name.starts_with(prefix));
        assert!(is_listed || is_other, "{} is in no list", key.name);
    }
}
