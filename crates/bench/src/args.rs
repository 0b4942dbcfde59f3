//! What to do, as a command line says it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::crowd::Crowd;

/// Puts load on a ZooKeeper server and measures throughput and latency.
#[derive(Clone, Debug, Parser)]
#[command(name = "ostler-bench", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// A load of many sessions, instead of one of many requests.
    #[command(subcommand)]
    pub crowd: Option<Crowd>,

    /// What each request does.
    #[arg(value_enum, default_value_t = Workload::Mixed)]
    pub workload: Workload,

    /// The server: name or address, and its client port. Of several (by comma), connections go to one after the other.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "HOST:PORT", value_parser = resolve, value_delimiter = ',')]
    pub host: Vec<SocketAddr>,

    /// Bytes of data in a znode.
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub payload: usize,

    /// How many sessions, each on a connection of its own.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub connections: usize,

    /// How many requests each connection keeps on their way (closed loop).
    #[arg(long, default_value_t = 8, value_name = "M")]
    pub outstanding: usize,

    /// Open loop: so many requests a second over all connections, latency counted from when each should have started.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,

    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub duration: f64,

    /// Seconds of load before measuring.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub warmup: f64,

    /// Measure this many requests, instead of a time; there is no warmup then.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// The working set: so many znodes are created under a fresh parent beforehand (not for create).
    #[arg(long, default_value_t = 1000, value_name = "K")]
    pub znodes: u32,

    /// Mixed: how many of a hundred requests read; the others set.
    #[arg(long, default_value_t = 90, value_name = "PERCENT")]
    pub reads: u32,

    /// Client threads.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: usize,

    /// Leave the znodes behind.
    #[arg(long)]
    pub keep: bool,

    /// Preset: 3000 requests a second, half of them sets, over 16 connections.
    #[arg(long)]
    pub probe: bool,

    /// The server's process on this machine: also report its CPU time per operation and its memory; of several (by comma), the
    /// sums.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Print the result as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Create new znodes under one parent.
    Create,
    /// Set the data of a znode of the working set.
    Set,
    /// Read the data of one.
    Get,
    /// Ask for the Stat of one.
    Exists,
    /// List the whole working set (getChildren2).
    Children,
    /// `--reads` percent get, the others set.
    Mixed,
}

/// The first address of a host.
pub(crate) fn resolve(host: &str) -> Result<SocketAddr, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{error}; it must be HOST:PORT, such as 127.0.0.1:2181");
    let mut addrs = host.to_socket_addrs().map_err(|error| wrong(&error))?;
    addrs.next().ok_or_else(|| wrong(&"no address"))
}

impl Args {
    /// The server of the connection with this number.
    pub(crate) fn host(&self, connection: usize) -> Result<SocketAddr> {
        let at = connection.checked_rem(self.host.len()).and_then(|it| self.host.get(it));
        at.copied().context("--host names no server")
    }

    /// The arguments with the preset applied, or what is wrong with them.
    pub(crate) fn resolved(&self) -> Result<Self> {
        let mut args = self.clone();
        if args.probe {
            args.workload = Workload::Mixed;
            args.reads = 50;
            args.rate = Some(3000.0);
            args.connections = 16;
        }
        ensure!(args.connections > 0 && args.outstanding > 0, "--connections and --outstanding must be at least 1");
        ensure!(args.threads > 0, "--threads must be at least 1");
        ensure!(args.reads <= 100, "--reads is a percentage: at most 100");
        ensure!(args.payload <= 1_000_000, "--payload: a server refuses requests of more than about 1 MB");
        ensure!(args.duration > 0.0 && args.warmup >= 0.0, "--duration must be above 0, --warmup not below");
        ensure!(args.rate.is_none_or(|it| it > 0.0 && it.is_finite()), "--rate must be above 0");
        ensure!(args.count != Some(0), "--count must be at least 1");
        if args.workload == Workload::Create {
            args.znodes = 0;
        } else if args.znodes == 0 {
            bail!("--znodes must be at least 1 for this workload");
        }
        args.threads = args.threads.min(args.connections);
        Ok(args)
    }

    /// How long to warm up.
    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(if self.count.is_some() { 0.0 } else { self.warmup })
    }
}
