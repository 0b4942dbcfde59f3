//! What came out of a run: as a table for people, as JSON for programs.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::stats::Stats;
use crate::template::Kind;

/// What was used in the measured window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) client_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) server_rss_bytes: u64,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The workload's name.
    pub workload: String,
    /// Connections.
    pub connections: usize,
    /// Requests on their way over each (closed loop).
    pub outstanding: usize,
    /// Requests a second asked for (open loop).
    pub rate: Option<f64>,
    /// Bytes of data.
    pub payload: usize,
    /// The working set.
    pub znodes: u32,
    /// The length of the measured window.
    pub seconds: f64,
    /// Replies in it.
    pub ops: u64,
    /// Replies a second.
    pub ops_per_second: f64,
    /// Replies that were not what they should be, warmup included.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// All requests together.
    pub latency: Latency,
    /// Each kind of request, where there are several.
    pub by_kind: Vec<(String, Latency)>,
    /// The client's own CPU time per operation, in microseconds.
    pub client_cpu_us_per_op: f64,
    /// The server's, if its process was named.
    pub server: Option<ServerUse>,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ServerUse {
    /// Its CPU time per operation, in microseconds.
    pub cpu_us_per_op: f64,
    /// Its resident memory at the end of the window.
    pub rss_bytes: u64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 99 % took at most this.
    pub p99_us: f64,
    /// 99.9 % took at most this.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl Report {
    pub(crate) fn new(args: &Args, window: &Window, stats: &Stats) -> Result<Self> {
        let all = stats.all()?;
        let ops = all.len();
        let per_op = |us: f64| if ops == 0 { 0.0 } else { us / ops as f64 };
        let by_kind: Vec<_> =
            Kind::ALL.iter().filter_map(|&kind| Some((kind.name().to_owned(), Latency::of(stats.of(kind)?)))).collect();
        let workload = args.workload.to_possible_value().map(|it| it.get_name().to_owned());
        Ok(Self {
            workload: workload.unwrap_or_default(),
            connections: args.connections,
            outstanding: args.outstanding,
            rate: args.rate,
            payload: args.payload,
            znodes: args.znodes,
            seconds: window.seconds,
            ops,
            ops_per_second: ops as f64 / window.seconds,
            errors: stats.errors,
            first_error: stats.first_error.clone(),
            latency: Latency::of(&all),
            by_kind: if by_kind.len() > 1 { by_kind } else { Vec::new() },
            client_cpu_us_per_op: per_op(window.client_cpu_us),
            server: (!args.pid.is_empty())
                .then(|| ServerUse { cpu_us_per_op: per_op(window.server_cpu_us), rss_bytes: window.server_rss_bytes }),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = match self.rate {
            Some(rate) => format!("{} connections, {rate} requests/s", self.connections),
            None => format!("{} connections x {} outstanding", self.connections, self.outstanding),
        };
        writeln!(
            f,
            "{}: {load}, {} bytes, {} znodes, {:.1} s",
            self.workload, self.payload, self.znodes, self.seconds
        )?;
        writeln!(
            f,
            "{:<10} {:>12} {:>12} {:>10} {:>10} {:>10} {:>10}",
            "", "ops", "ops/s", "p50 us", "p99 us", "p99.9 us", "max us"
        )?;
        let mut row = |name: &str, it: &Latency| {
            let rate = it.count as f64 / self.seconds;
            let Latency { count, p50_us, p99_us, p999_us, max_us, .. } = it;
            writeln!(
                f,
                "{name:<10} {count:>12} {rate:>12.0} {p50_us:>10.0} {p99_us:>10.0} {p999_us:>10.0} {max_us:>10.0}"
            )
        };
        row("all", &self.latency)?;
        for (kind, latency) in &self.by_kind {
            row(kind, latency)?;
        }
        write!(f, "errors {}", self.errors)?;
        if let Some(first) = &self.first_error {
            write!(f, " (the first: {first})")?;
        }
        write!(f, "; client {:.2} us CPU/op", self.client_cpu_us_per_op)?;
        if let Some(server) = &self.server {
            let mib = server.rss_bytes as f64 / f64::from(1 << 20);
            write!(f, "; server {:.2} us CPU/op, {mib:.0} MiB", server.cpu_us_per_op)?;
        }
        writeln!(f)
    }
}
