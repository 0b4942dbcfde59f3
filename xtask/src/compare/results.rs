//! Results so far, kept in a file after each run, so that an interrupted comparison goes on where it was.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    /// Apache ZooKeeper.
    Apache,
    /// Ours.
    Ostler,
}

impl Side {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apache => "Apache",
            Self::Ostler => "Ostler",
        }
    }
}

/// What one run gave.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Requests answered.
    pub(crate) ops: f64,
    /// Requests answered a second.
    pub(crate) ops_per_second: f64,
    /// The server's CPU time per request, in microseconds.
    pub(crate) cpu_us_per_op: f64,
    /// The load generator's.
    pub(crate) client_cpu_us_per_op: f64,
    /// Latencies in microseconds.
    pub(crate) p50_us: f64,
    /// The same.
    pub(crate) p99_us: f64,
    /// The server's resident memory at the end.
    pub(crate) rss_bytes: f64,
    /// The server's resident memory before any client came.
    pub(crate) rss_idle_bytes: f64,
    /// From a write until the last of its watchers had the event, in microseconds.
    #[serde(default)]
    pub(crate) last_event_us: f64,
    /// From a write until its writer had the reply.
    #[serde(default)]
    pub(crate) reply_us: f64,
    /// The resident memory of a session with one watch.
    #[serde(default)]
    pub(crate) session_bytes: f64,
    /// That of a further watch.
    #[serde(default)]
    pub(crate) watch_bytes: f64,
    /// From asking for a list of very many children to its last byte, in microseconds.
    #[serde(default)]
    pub(crate) list_us: f64,
    /// The longest that another client waited for a small read meanwhile.
    #[serde(default)]
    pub(crate) stall_us: f64,
    /// Bytes written to disk for each request.
    #[serde(default)]
    pub(crate) written_bytes: f64,
    /// From the start of the process until it granted a session, in microseconds.
    #[serde(default)]
    pub(crate) restart_us: f64,
    /// The longest snapshot, in microseconds.
    #[serde(default)]
    pub(crate) snapshot_us: f64,
    /// As `p99_us`, while snapshots are taken.
    #[serde(default)]
    pub(crate) p99_snapshot_us: f64,
    /// The requests a second of that load: 30 % of what Apache answered before, in the same run.
    #[serde(default)]
    pub(crate) rate: f64,
    /// From killing a leader until a write works, in microseconds: the median.
    #[serde(default)]
    pub(crate) failover_us: f64,
    /// The longest.
    #[serde(default)]
    pub(crate) failover_worst_us: f64,
    /// With no observer, with one, with two …
    #[serde(default)]
    pub(crate) observers: [Option<WithObservers>; OBSERVERS_MAX + 1],
}

/// As many observers as are ever measured.
pub(crate) const OBSERVERS_MAX: usize = 4;

/// What an ensemble with some observers came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct WithObservers {
    /// Reads a second, over all servers.
    pub(crate) reads_per_second: f64,
    /// The CPU time of all voters together for a write, in microseconds.
    pub(crate) voters_cpu_us_per_set: f64,
}

impl Figures {
    /// All in one line.
    pub(crate) fn line(&self) -> String {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        if self.last_event_us > 0.0 {
            let (last, reply) = (self.last_event_us / 1e3, self.reply_us / 1e3);
            return format!("last event {last:.1} ms  reply {reply:.2} ms  {:.2} us CPU an event", self.cpu_us_per_op);
        }
        if self.session_bytes > 0.0 {
            return format!("{:.0} B a session with a watch  {:.0} B a watch", self.session_bytes, self.watch_bytes);
        }
        if self.list_us > 0.0 {
            let (list, stall) = (self.list_us / 1e3, self.stall_us / 1e3);
            return format!("a list {list:.0} ms  longest wait of others {stall:.1} ms");
        }
        if self.observers[0].is_some() {
            let told = |(n, it): (usize, WithObservers)| {
                let (reads, cpu) = (it.reads_per_second, it.voters_cpu_us_per_set);
                format!("{n} observers: {reads:.0} reads/s, {cpu:.1} us of the voters' CPU a set")
            };
            let all = (0..).zip(self.observers).filter_map(|(n, it)| Some((n, it?)));
            return all.map(told).collect::<Vec<_>>().join("; ");
        }
        if self.failover_us > 0.0 {
            let (median, worst) = (self.failover_us / 1e3, self.failover_worst_us / 1e3);
            return format!("a write works again after {median:.0} ms, at worst {worst:.0} ms");
        }
        if self.restart_us > 0.0 && self.snapshot_us == 0.0 {
            return format!("a killed member is back after {:.2} s", self.restart_us / 1e6);
        }
        if self.restart_us > 0.0 {
            let (restart, snapshot) = (self.restart_us / 1e6, self.snapshot_us / 1e6);
            let written = self.written_bytes;
            return format!("restart {restart:.2} s  snapshot {snapshot:.2} s  {written:.0} B written a create");
        }
        if self.p99_snapshot_us > 0.0 {
            let (without, with) = (self.p99_us, self.p99_snapshot_us);
            return format!("at {:.0}/s: p99 {without:.0} us, with snapshots {with:.0} us", self.rate);
        }
        if self.ops == 0.0 {
            return format!("{:.1} MiB", mib(self.rss_bytes));
        }
        format!(
            "{:>8.0}/s  {:>6.2} us CPU  p50 {:>5.0}  p99 {:>6.0} us  {:>4.0} MiB (idle {:.1})  client {:.2} us CPU",
            self.ops_per_second,
            self.cpu_us_per_op,
            self.p50_us,
            self.p99_us,
            mib(self.rss_bytes),
            mib(self.rss_idle_bytes),
            self.client_cpu_us_per_op,
        )
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    scenario: String,
    round: u32,
    side: Side,
    figures: Figures,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    settings: String,
    entries: Vec<Entry>,
}

/// The results so far, of runs with certain settings.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
    kept: Kept,
}

impl Results {
    /// Reads what is in `dir` for these settings, unless it is unwanted.
    pub(crate) fn open(dir: &Path, settings: String, fresh: bool) -> Result<Self> {
        let mut hash = DefaultHasher::new();
        settings.hash(&mut hash);
        let path = dir.join(format!("results-{:016x}.json", hash.finish()));
        let mut kept = Kept::default();
        if path.exists() && !fresh {
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            kept = serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged: start anew with --fresh", path.display()))?;
        }
        kept.settings = settings;
        Ok(Self { path, kept })
    }

    /// What a run gave, if it was made.
    pub(crate) fn get(&self, scenario: &str, round: u32, side: Side) -> Option<Figures> {
        let found = self.kept.entries.iter().find(|it| it.scenario == scenario && it.round == round && it.side == side);
        found.map(|it| it.figures)
    }

    /// Keeps what a run gave.
    pub(crate) fn put(&mut self, scenario: &str, round: u32, side: Side, figures: &Figures) -> Result<()> {
        self.kept.entries.push(Entry { scenario: scenario.to_owned(), round, side, figures: *figures });
        let fresh = self.path.with_extension("tmp");
        fs::write(&fresh, serde_json::to_vec_pretty(&self.kept)?)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .with_context(|| format!("writing {}", self.path.display()))
    }
}
