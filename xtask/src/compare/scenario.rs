//! One scenario: a fresh server, some load, figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bench::{Report, crowd, procfs};
use ostler_conformance::raw::Connection;
use ostler_conformance::{Options, Server, apache, four_letter, ostler, target};
use serde::de::DeserializeOwned;

use super::ensemble;
use super::results::{Figures, Side, WithObservers};

/// A scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What it does, for people.
    pub(crate) about: &'static str,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
enum Load {
    /// None: the server idles.
    None,
    /// A load for a time, on a warm server.
    Timed(&'static [&'static str]),
    /// A load of so many requests, on a cold server.
    Counted(&'static [&'static str]),
    /// A load of many sessions.
    Crowd(&'static [&'static str]),
    /// A load of so many requests, on a cold server, which is then killed and starts again.
    Restart(&'static [&'static str]),
    /// The same, and then a load on a server that takes no snapshots, and on one that takes one after the other.
    Snapshots(&'static [&'static str]),
    /// The leader of an ensemble is killed, again and again; before that, a load of so many requests, if there is one.
    Failover(&'static [&'static str]),
    /// A load of so many requests on an ensemble; then a follower is killed and starts again.
    Rejoin(&'static [&'static str]),
    /// Ensembles with no observer, with one, and so on: what they read, and what a write costs the voters.
    Observers,
}

/// How scenarios are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Of an ensemble; 1: a server of its own.
    pub(crate) servers: u8,
    /// Observers besides, at most.
    pub(crate) observers: u8,
    /// How long.
    pub(crate) length: Length,
    /// How often leaders are killed.
    pub(crate) kills: u32,
}

const fn timed(name: &'static str, about: &'static str, load: &'static [&'static str]) -> Scenario {
    Scenario { name, about, load: Load::Timed(load) }
}

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    timed(
        "get-256",
        "get of 1 KiB, 32 connections x 8 outstanding",
        &["get", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "get-16",
        "get of 1 KiB, 16 connections x 1 outstanding",
        &["get", "--connections", "16", "--outstanding", "1"],
    ),
    timed(
        "set-256",
        "set of 1 KiB, 32 connections x 8 outstanding",
        &["set", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "create-256",
        "create of 100 B, 32 connections x 8 outstanding",
        &["create", "--payload", "100", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "mixed-90",
        "90 % get, 10 % set, 1 KiB, 32 connections x 8 outstanding",
        &["mixed", "--reads", "90", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "mixed-50",
        "50 % get, 50 % set, 1 KiB, 32 connections x 8 outstanding",
        &["mixed", "--reads", "50", "--connections", "32", "--outstanding", "8"],
    ),
    timed("set-1", "set of 1 KiB, 1 connection x 1 outstanding", &["set", "--connections", "1", "--outstanding", "1"]),
    timed("open", "3000 requests/s at fixed times, half sets, 1 KiB, 16 connections", &["--probe"]),
    Scenario { name: "idle", about: "a server without clients, 3 s after its start", load: Load::None },
    Scenario {
        name: "million",
        about: "memory after 1 000 000 creates of 100 B on a fresh server",
        load: Load::Counted(&["create", "--payload", "100", "--count", "1000000"]),
    },
    Scenario {
        name: "watches",
        about: "a set that 10 000 sessions watch: until the last hears of it, until its writer has the reply",
        load: Load::Crowd(&["watches", "--sessions", "10000"]),
    },
    Scenario {
        name: "connects",
        about: "connect, open a session, close it, 32 at once",
        load: Load::Crowd(&["connects", "--connections", "32"]),
    },
    Scenario {
        name: "sessions",
        about: "memory of 10 000 idle sessions, each with a watch, and of 100 further watches each",
        load: Load::Crowd(&["memory", "--sessions", "10000", "--further", "100"]),
    },
    Scenario {
        name: "list",
        about: "ls of a znode with 1 000 000 children, 20 times, while 4 sessions read something small",
        load: Load::Crowd(&["list", "--children", "1000000", "--lists", "20", "--readers", "4"]),
    },
    Scenario {
        name: "restart",
        about: "1 000 000 creates of 100 B, kill -9, and a start; then a snapshot while others write",
        load: Load::Restart(A_MILLION),
    },
    Scenario {
        name: "snapshots",
        about: "1 000 000 creates of 100 B; then 30 % of what Apache can do of gets and sets, at fixed times, without snapshots and with them",
        load: Load::Snapshots(A_MILLION),
    },
];

const A_MILLION: &[&str] = &["create", "--payload", "100", "--count", "1000000"];

/// What a capacity is measured by, and an open loop of the same requests.
const CAPACITY: &[&str] =
    &["mixed", "--reads", "50", "--payload", "100", "--connections", "32", "--outstanding", "8", "--warmup", "2"];
const OPEN_LOOP: &[&str] = &["mixed", "--reads", "50", "--payload", "100", "--connections", "16", "--warmup", "2"];
/// How much of Apache's capacity the open loop asks for.
const SHARE: f64 = 0.3;
/// The rate where Apache was not asked.
const USUAL_RATE: f64 = 25_000.0;

/// How long to measure, and to warm up before, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// To measure.
    pub(crate) seconds: u32,
    /// To warm up.
    pub(crate) warmup: u32,
}

/// Those of ensembles.
pub(crate) const ENSEMBLE_SCENARIOS: &[Scenario] = &[
    timed(
        "e-set-256",
        "set of 1 KiB, 32 connections x 8 outstanding, over all servers",
        &["set", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "e-set-16",
        "set of 1 KiB, 16 connections x 1 outstanding, over all servers",
        &["set", "--connections", "16", "--outstanding", "1"],
    ),
    timed(
        "e-create",
        "create of 100 B, 32 connections x 8 outstanding, over all servers",
        &["create", "--payload", "100", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "e-get",
        "get of 1 KiB, 32 connections x 8 outstanding, over all servers",
        &["get", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "e-mixed",
        "50 % get, 50 % set, 1 KiB, 32 connections x 8 outstanding, over all servers",
        &["mixed", "--reads", "50", "--connections", "32", "--outstanding", "8"],
    ),
    timed(
        "e-set-1",
        "set of 1 KiB, 1 connection x 1 outstanding",
        &["set", "--connections", "1", "--outstanding", "1"],
    ),
    timed(
        "e-open",
        "1000 requests/s at fixed times, half sets, 1 KiB, 16 connections over all servers",
        &["mixed", "--reads", "50", "--connections", "16", "--rate", "1000"],
    ),
    Scenario {
        name: "e-failover",
        about: "kill -9 of the leader until a write works, as often as --kills says",
        load: Load::Failover(&[]),
    },
    Scenario {
        name: "e-failover-1gb",
        about: "the same with 1 000 000 znodes of 1 KiB: 1 GB of data in each of the servers",
        load: Load::Failover(&["create", "--payload", "1024", "--count", "1000000"]),
    },
    Scenario {
        name: "e-rejoin",
        about: "1 000 000 creates of 100 B; a follower is killed, and started until it grants a session",
        load: Load::Rejoin(&["create", "--payload", "100", "--count", "1000000"]),
    },
];

/// Those of ensembles with observers.
pub(crate) const OBSERVER_SCENARIOS: &[Scenario] = &[Scenario {
    name: "e-observers",
    about: "with 0, 1, … observers: get of 1 KiB over all servers, and what a set at the voters costs them, 32 x 8 outstanding",
    load: Load::Observers,
}];

const READS: &[&str] = &["get", "--connections", "32", "--outstanding", "8", "--warmup", "2"];
const WRITES: &[&str] = &["set", "--connections", "32", "--outstanding", "8", "--warmup", "2"];

/// What is written behind a restart, so that a snapshot is due on both sides, and how often one is.
const SNAPSHOT_LOAD: &[&str] =
    &["set", "--payload", "100", "--connections", "8", "--outstanding", "8", "--duration", "5"];
const SNAPSHOT_EVERY: &str = "snapCount=1000";
const SNAPSHOT_NEVER: &str = "snapCount=1000000000";
/// How long it may take.
const SNAPSHOT_LIMIT: Duration = Duration::from_mins(1);

/// The load before those of many sessions: it warms what they use.
const CROWD_WARMING: &[&str] = &["connects", "--warmup", "0", "--duration"];

/// The load before each timed one: reads and writes, and all of the request path.
const WARMING: &[&str] = &["mixed", "--reads", "50", "--connections", "32", "--outstanding", "8"];

impl Scenario {
    /// Runs it against a fresh server of `side` in `dir`.
    ///
    /// `apache` is what Apache's came to in this round: one load depends on it.
    pub(crate) fn run(&self, side: Side, dir: &Path, how: How, apache: Option<&Figures>) -> Result<Figures> {
        let How { servers, length, .. } = how;
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        if servers > 1 {
            let figures = self.run_ensemble(side, dir, how)?;
            fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
            return Ok(figures);
        }
        let mut server = start(side, &options(dir))?;
        let figures = match self.load {
            Load::Restart(load) => {
                let (again, figures) = restart(server, side, dir, load)?;
                server = again;
                figures
            }
            Load::Snapshots(load) => {
                let rate = apache.map(|it| it.rate);
                let (again, figures) = snapshots(server, side, dir, load, length, rate)?;
                server = again;
                figures
            }
            _ => self.measure(server.as_ref(), length.seconds, length.warmup)?,
        };
        let status = server.process_mut().exited()?;
        if let Some(status) = status {
            bail!("{} ended during the measurement ({status}); its log is {}", server.name(), server.log().display());
        }
        server.stop()?;
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
        Ok(figures)
    }

    fn run_ensemble(&self, side: Side, dir: &Path, how: How) -> Result<Figures> {
        let How { length: Length { seconds, warmup }, kills, .. } = how;
        if let Load::Observers = self.load {
            return with_observers(side, dir, how);
        }
        let mut servers = ensemble::Servers::start(side, dir, how.servers, 0)?;
        match self.load {
            Load::Timed(load) => {
                let (warmup, seconds) = (warmup.to_string(), seconds.to_string());
                let (hosts, pids) = (servers.hosts(), servers.pids()?);
                bench_at(&hosts, &pids, WARMING, &["--duration", &warmup, "--warmup", "0"])?;
                let report = bench_at(&hosts, &pids, load, &["--duration", &seconds, "--warmup", "2"])?;
                figures_of(&report, 0.0)
            }
            Load::Failover(load) => {
                if !load.is_empty() {
                    bench_at(&servers.hosts(), &servers.pids()?, load, &[])?;
                }
                servers.failover(kills)
            }
            Load::Rejoin(load) => {
                let (hosts, pids) = (servers.hosts(), servers.pids()?);
                bench_at(&hosts, &pids, load, &[])?;
                servers.rejoin()
            }
            Load::None
            | Load::Counted(_)
            | Load::Crowd(_)
            | Load::Restart(_)
            | Load::Snapshots(_)
            | Load::Observers => {
                bail!("this is for one server")
            }
        }
    }

    fn measure(&self, server: &dyn Server, seconds: u32, warmup: u32) -> Result<Figures> {
        // Long enough for whatever a server does after it has begun to serve. Not a test: nothing depends on it.
        std::thread::sleep(Duration::from_secs(3));
        let rss_idle_bytes = procfs::rss_bytes(server.pid())? as f64;
        let report = match self.load {
            Load::None => {
                return Ok(Figures { rss_bytes: rss_idle_bytes, rss_idle_bytes, ..Figures::default() });
            }
            Load::Timed(load) => {
                let warmup = warmup.to_string();
                run_bench(server, WARMING, &["--duration", &warmup, "--warmup", "0"])?;
                run_bench(server, load, &["--duration", &seconds.to_string(), "--warmup", "2"])?
            }
            Load::Counted(load) => run_bench(server, load, &[])?,
            Load::Crowd(load) => return crowd(server, load, warmup, rss_idle_bytes),
            Load::Restart(_) | Load::Snapshots(_) | Load::Failover(_) | Load::Rejoin(_) | Load::Observers => {
                bail!("this is measured around more than one server")
            }
        };
        figures_of(&report, rss_idle_bytes)
    }
}

/// An ensemble after the other, each with one observer more. A write of all of them costs the observers, too; that is not counted.
fn with_observers(side: Side, dir: &Path, how: How) -> Result<Figures> {
    let (warmup, seconds) = (how.length.warmup.to_string(), how.length.seconds.to_string());
    let mut figures = Figures::default();
    for observers in 0..=how.observers {
        let dir = dir.join(observers.to_string());
        let mut servers = ensemble::Servers::start(side, &dir, how.servers, observers)?;
        let (hosts, voters, pids) = (servers.hosts(), servers.voters()?, servers.pids()?);
        bench_at(&hosts, &pids, WARMING, &["--duration", &warmup, "--warmup", "0"])?;
        let reads = bench_at(&hosts, &pids, READS, &["--duration", &seconds])?;
        let writes = bench_at(&voters, &pids, WRITES, &["--duration", &seconds])?;
        let used = writes.server.as_ref().context("the load generator did not look at the voters' processes")?;
        figures.ops += (reads.ops + writes.ops) as f64;
        figures.observers[usize::from(observers)] =
            Some(WithObservers { reads_per_second: reads.ops_per_second, voters_cpu_us_per_set: used.cpu_us_per_op });
    }
    Ok(figures)
}

fn figures_of(report: &Report, rss_idle_bytes: f64) -> Result<Figures> {
    let used = report.server.as_ref().context("the load generator did not look at the server's process")?;
    Ok(Figures {
        ops: report.ops as f64,
        ops_per_second: report.ops_per_second,
        cpu_us_per_op: used.cpu_us_per_op,
        client_cpu_us_per_op: report.client_cpu_us_per_op,
        p50_us: report.latency.p50_us,
        p99_us: report.latency.p99_us,
        rss_bytes: used.rss_bytes as f64,
        rss_idle_bytes,
        ..Figures::default()
    })
}

/// The binary that is measured: always an optimized one.
pub(crate) fn ostler_binary() -> Result<PathBuf> {
    if std::env::var_os("OSTLER_BIN").is_some() {
        return ostler::binary();
    }
    let binary = target().join("release/ostler");
    ensure!(binary.is_file(), "{} is missing: cargo build --release -p ostler", binary.display());
    Ok(binary)
}

/// As many connections from one address as the loads need.
fn options(dir: &Path) -> Options {
    Options::new(dir).cfg("maxClientCnxns=0")
}

fn start(side: Side, options: &Options) -> Result<Box<dyn Server>> {
    Ok(match side {
        Side::Apache => Box::new(apache::Server::start(options)?),
        Side::Ostler => Box::new(ostler::Server::start_binary(&ostler_binary()?, options)?),
    })
}

/// Fills a server, kills it, starts it again, and lets it take a snapshot.
fn restart(mut server: Box<dyn Server>, side: Side, dir: &Path, load: &[&str]) -> Result<(Box<dyn Server>, Figures)> {
    let before = procfs::written_bytes(server.pid())?;
    let report = run_bench(server.as_ref(), load, &[])?;
    let ops = report.ops as f64;
    let written_bytes = procfs::written_bytes(server.pid())?.saturating_sub(before) as f64 / ops;
    server.process_mut().kill()?;
    let began = Instant::now();
    let server = start(side, &options(dir).cfg(SNAPSHOT_EVERY))?;
    let _session = Connection::session(server.addr())?;
    let restart_us = began.elapsed().as_micros() as f64;
    run_bench(server.as_ref(), SNAPSHOT_LOAD, &[])?;
    let until = Instant::now() + SNAPSHOT_LIMIT;
    let snapshot_us = loop {
        let mntr = four_letter::ask(server.addr(), "mntr")?;
        let longest = mntr.lines().find_map(|it| it.strip_prefix("zk_max_snapshottime\t")).map(str::parse::<f64>);
        match longest {
            Some(Ok(ms)) if ms > 0.0 => break ms * 1e3,
            _ => ensure!(Instant::now() < until, "{} took no snapshot within {SNAPSHOT_LIMIT:?}", server.name()),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    Ok((server, Figures { ops, written_bytes, restart_us, snapshot_us, ..Figures::default() }))
}

/// Fills a server; then p99 of an open loop on what it holds, without snapshots and with one after the other.
fn snapshots(
    mut server: Box<dyn Server>,
    side: Side,
    dir: &Path,
    load: &[&str],
    length: Length,
    rate: Option<f64>,
) -> Result<(Box<dyn Server>, Figures)> {
    run_bench(server.as_ref(), load, &[])?;
    let (seconds, warmup) = (length.seconds.to_string(), length.warmup.to_string());
    let mut figures = Figures { rate: rate.unwrap_or(USUAL_RATE), ..Figures::default() };
    for rule in [SNAPSHOT_NEVER, SNAPSHOT_EVERY] {
        server.process_mut().kill()?;
        server = start(side, &options(dir).cfg(rule))?;
        run_bench(server.as_ref(), WARMING, &["--duration", &warmup, "--warmup", "0"])?;
        if side == Side::Apache && rule == SNAPSHOT_NEVER {
            figures.rate = SHARE * run_bench(server.as_ref(), CAPACITY, &["--duration", &seconds])?.ops_per_second;
        }
        let before = snapshots_taken(server.as_ref())?;
        let rate = format!("{:.0}", figures.rate);
        let report = run_bench(server.as_ref(), OPEN_LOOP, &["--rate", &rate, "--duration", &seconds])?;
        let taken = snapshots_taken(server.as_ref())? - before;
        figures.ops = report.ops as f64;
        figures.ops_per_second = report.ops_per_second;
        figures.p50_us = report.latency.p50_us;
        if rule == SNAPSHOT_NEVER {
            ensure!(taken == 0, "{} took {taken} snapshots without a reason", server.name());
            figures.p99_us = report.latency.p99_us;
        } else {
            ensure!(taken > 0, "{} took no snapshot", server.name());
            figures.p99_snapshot_us = report.latency.p99_us;
        }
    }
    Ok((server, figures))
}

fn snapshots_taken(server: &dyn Server) -> Result<u64> {
    let mntr = four_letter::ask(server.addr(), "mntr")?;
    let count = mntr.lines().find_map(|it| it.strip_prefix("zk_cnt_snapshottime\t"));
    count.context("mntr has no zk_cnt_snapshottime")?.trim().parse().context("zk_cnt_snapshottime")
}

/// Runs a load of many sessions.
fn crowd(server: &dyn Server, load: &[&str], warmup: u32, rss_idle_bytes: f64) -> Result<Figures> {
    let is_memory = load.first() == Some(&"memory");
    if !is_memory {
        let warming: crowd::Report = run_load(server, CROWD_WARMING, &[&warmup.to_string()])?;
        drop(warming);
    }
    let report: crowd::Report = run_load(server, load, &[])?;
    let figure = |name: &str| report.get(name).unwrap_or_default();
    Ok(Figures {
        ops: 1.0,
        ops_per_second: figure("rate"),
        cpu_us_per_op: figure("server CPU per session") + figure("server CPU per event"),
        last_event_us: figure("last event, median"),
        reply_us: figure("writer's reply, median"),
        session_bytes: figure("session and watch"),
        watch_bytes: figure("further watch"),
        list_us: figure("a list") * 1e3,
        stall_us: figure("a read meanwhile, longest"),
        p50_us: figure("p50"),
        p99_us: figure("p99"),
        rss_bytes: procfs::rss_bytes(server.pid())? as f64,
        rss_idle_bytes,
        ..Figures::default()
    })
}

/// Runs the load generator; wrong replies are an error here.
fn run_bench(server: &dyn Server, load: &[&str], more: &[&str]) -> Result<Report> {
    bench_at(&server.addr().to_string(), &server.pid().to_string(), load, more)
        .with_context(|| format!("{}; its log is {}", server.name(), server.log().display()))
}

/// The same, at several servers.
fn bench_at(hosts: &str, pids: &str, load: &[&str], more: &[&str]) -> Result<Report> {
    let report: Report = load_at(hosts, pids, load, more)?;
    if report.errors > 0 {
        let first = report.first_error.unwrap_or_default();
        bail!("there were {} wrong answers, the first: {first}", report.errors);
    }
    Ok(report)
}

fn run_load<R: DeserializeOwned>(server: &dyn Server, load: &[&str], more: &[&str]) -> Result<R> {
    load_at(&server.addr().to_string(), &server.pid().to_string(), load, more)
        .with_context(|| format!("{}; its log is {}", server.name(), server.log().display()))
}

fn load_at<R: DeserializeOwned>(hosts: &str, pids: &str, load: &[&str], more: &[&str]) -> Result<R> {
    let binary = target().join("release/ostler-bench");
    let mut command = Command::new(&binary);
    command.args(load).args(more).args(["--json", "--keep", "--host", hosts, "--pid", pids]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", binary.display()))?;
    ensure!(output.status.success(), "the load generator failed");
    serde_json::from_slice(&output.stdout).context("reading the load generator's report")
}
