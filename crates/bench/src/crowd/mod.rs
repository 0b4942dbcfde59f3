//! Loads of many sessions that mostly wait: watches that fire for all of them, connects, what a session costs in memory,
//! and a crowd that sets its watches again.
//!
//! The sockets are plain blocking ones, in one thread, with an epoll of their own: ten thousand of them cost the machine
//! almost nothing, so that what is measured is the server.

mod connects;
mod list;
mod memory;
mod storm;
mod waiter;
mod watches;

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use wire::acl::AclVec;
use wire::jute::Field;
use wire::request::CreateRequest;
use wire::{ErrorCode, OpCode};

use crate::{args, control, procfs};

/// A load of many sessions.
#[derive(Clone, Debug, Subcommand)]
pub enum Crowd {
    /// Watches of many sessions on one znode: how long a change takes to reach the last of them, and how long its writer
    /// waits for the reply
    Watches(watches::Options),
    /// Connect, open a session, close it, many at once: how many a second
    Connects(connects::Options),
    /// How many bytes of the server's memory an idle session with a watch takes, and a further watch (needs --pid)
    Memory(memory::Options),
    /// Sessions that set hundreds of thousands of watches again, while another one reads: its longest wait
    Storm(storm::Options),
    /// List a znode with a million children, while other sessions read: how long a list takes, and the longest wait of the
    /// others
    List(list::Options),
}

/// What all of them need.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// The server: name or address, and its client port. It must allow so many connections (maxClientCnxns=0).
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "HOST:PORT", value_parser = args::resolve)]
    host: SocketAddr,

    /// The server's process on this machine: also report its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,

    /// Leave the znodes behind.
    #[arg(long)]
    keep: bool,
}

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The load, for people.
    pub about: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// A figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
}

impl Report {
    fn new(about: String) -> Self {
        Self { about, figures: Vec::new() }
    }

    fn add(&mut self, name: &str, value: f64, unit: &str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit: unit.to_owned() });
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|it| it.name == name).map(|it| it.value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.about)?;
        for it in &self.figures {
            writeln!(f, "{:<28}{:>12.1} {}", it.name, it.value, it.unit)?;
        }
        Ok(())
    }
}

/// Puts the load on the server.
pub fn run(crowd: &Crowd) -> Result<Report> {
    match crowd {
        Crowd::Watches(options) => watches::run(options),
        Crowd::Connects(options) => connects::run(options),
        Crowd::Memory(options) => memory::run(options),
        Crowd::Storm(options) => storm::run(options),
        Crowd::List(options) => list::run(options),
    }
}

pub(crate) fn run_to_text(crowd: &Crowd) -> Result<String> {
    let report = run(crowd)?;
    let (Crowd::Watches(watches::Options { common, .. })
    | Crowd::Connects(connects::Options { common, .. })
    | Crowd::Memory(memory::Options { common, .. })
    | Crowd::Storm(storm::Options { common, .. })
    | Crowd::List(list::Options { common, .. })) = crowd;
    Ok(if common.json { serde_json::to_string(&report)? + "\n" } else { report.to_string() })
}

/// As many open files as the system gives; they must be enough for `sessions`.
fn raise_descriptors(sessions: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    let allowed = limit.current.unwrap_or(u64::MAX);
    ensure!(
        allowed >= sessions as u64 + 50,
        "{sessions} sessions need as many open files, and {allowed} are allowed: see ulimit -n"
    );
    Ok(())
}

/// A path that no earlier run used.
fn fresh_parent() -> String {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("/bench-{:06x}", (since_1970.as_nanos() as u32 >> 4) & 0xff_ffff)
}

/// Requests on their way at once while znodes are made or deleted.
const TOGETHER: usize = 200;

/// Asks each of `sessions` in turn for `frames(its number)`, some at a time; each must be answered with one of `good`.
fn ask_all(
    sessions: &mut [TcpStream],
    op: OpCode,
    good: &[ErrorCode],
    frames: impl Fn(usize) -> Vec<u8>,
) -> Result<()> {
    for (chunk, part) in sessions.chunks_mut(TOGETHER).enumerate() {
        for (at, stream) in part.iter_mut().enumerate() {
            stream.write_all(&frames(chunk * TOGETHER + at)).context("sending to the server")?;
        }
        for stream in part {
            let err = control::answer(stream, op)?;
            ensure!(good.contains(&err), "{} was refused: {err:?}", op.name());
        }
    }
    Ok(())
}

/// Sends `count` requests over one connection, some at a time; each must be answered with one of `good`.
fn ask_many(
    stream: &mut TcpStream,
    op: OpCode,
    count: usize,
    good: &[ErrorCode],
    mut frame: impl FnMut(usize) -> Vec<u8>,
) -> Result<()> {
    for from in (0..count).step_by(TOGETHER) {
        let range = from..count.min(from + TOGETHER);
        let frames: Vec<u8> = range.clone().flat_map(&mut frame).collect();
        stream.write_all(&frames).context("sending to the server")?;
        for _ in range {
            let err = control::answer(stream, op)?;
            ensure!(good.contains(&err), "{} was refused: {err:?}", op.name());
        }
    }
    Ok(())
}

/// Creates znodes without data, each of which `path` names.
fn create_many(stream: &mut TcpStream, count: usize, path: impl Fn(usize) -> String) -> Result<()> {
    ask_many(stream, OpCode::Create, count, &[ErrorCode::OK], |number| {
        let path = path(number);
        let request = CreateRequest { path: Some(path.as_str().into()), data: Some(b""), acl: AclVec::OPEN, flags: 0 };
        control::request(1, OpCode::Create, |out| request.write(out))
    })
}

/// Deletes them.
fn delete_many(stream: &mut TcpStream, count: usize, path: impl Fn(usize) -> String) -> Result<()> {
    ask_many(stream, OpCode::Delete, count, &[ErrorCode::OK, ErrorCode::NO_NODE], |number| {
        let path = path(number);
        let request = wire::request::DeleteRequest { path: Some(path.as_str().into()), version: -1 };
        control::request(1, OpCode::Delete, |out| request.write(out))
    })
}

/// The server's CPU time so far in µs; 0 if its process was not named.
fn cpu_us(common: &Common) -> Result<f64> {
    common.pid.map_or(Ok(0.0), procfs::cpu_us)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { 0.0 } else { f64::midpoint(values[values.len() / 2], values[(values.len() - 1) / 2]) }
}

/// What 99 of 100 don't exceed; of fewer than 100, the largest.
fn p99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * 99).div_ceil(100).max(1) - 1;
    values.get(at).copied().unwrap_or_default()
}
