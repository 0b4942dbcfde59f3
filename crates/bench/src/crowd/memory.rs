//! What a session and a watch cost the server, in resident bytes.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wire::jute::Field;
use wire::request::ReadRequest;
use wire::{ErrorCode, OpCode};

use super::{Common, Report};
use crate::{control, procfs};

/// How many sessions and watches.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    /// How many sessions, each with one watch.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    sessions: usize,

    /// How many further watches each of them then sets.
    #[arg(long, default_value_t = 20, value_name = "N")]
    further: usize,

    /// All sessions watch the same znodes, instead of each its own.
    #[arg(long)]
    shared: bool,

    /// The znodes are not there: exists watches, which wait for their creation.
    #[arg(long)]
    absent: bool,

    /// Seconds without a request before each look at the server's memory.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    settle: f64,
}

pub(super) fn run(options: &Options) -> Result<Report> {
    let pid = options.common.pid.context("whose memory? --pid names the server's process")?;
    ensure!(options.sessions > 0, "--sessions must be at least 1");
    super::raise_descriptors(options.sessions)?;
    let mut first = control::open(options.common.host)?;
    let parent = super::fresh_parent();
    control::create(&mut first, &parent)?;
    let path = |number: usize| format!("{parent}/{number:010}");
    // The znode of a session's watch: the sessions' first ones come before all others.
    let place = |session: usize, watch: usize| if options.shared { watch } else { watch * options.sessions + session };
    let znodes = match (options.absent, options.shared) {
        (true, _) => 0,
        (false, true) => 1 + options.further,
        (false, false) => options.sessions * (1 + options.further),
    };
    super::create_many(&mut first, znodes, path)?;
    // What a session or a table needs once is there before anything is counted.
    drop(control::open_many(options.common.host, 64)?);
    let mut sizes = vec![resident(options, pid)?];

    let mut sessions = control::open_many(options.common.host, options.sessions)?;
    sizes.push(resident(options, pid)?);
    let op = if options.absent { OpCode::Exists } else { OpCode::GetData };
    let good = &[if options.absent { ErrorCode::NO_NODE } else { ErrorCode::OK }];
    let frame = |session: usize, watch: usize| {
        let path = path(place(session, watch));
        let request = ReadRequest { path: Some(path.as_str().into()), watch: true };
        control::request(1, op, |out| request.write(out))
    };
    super::ask_all(&mut sessions, op, good, |session| frame(session, 0))?;
    sizes.push(resident(options, pid)?);
    let ping = control::request(-2, OpCode::Ping, |_| ());
    for (number, stream) in sessions.iter_mut().enumerate() {
        super::ask_many(stream, op, options.further, good, |watch| frame(number, 1 + watch))?;
    }
    sizes.push(resident(options, pid)?);
    let lost = lost(&mut sessions, &ping);
    ensure!(lost == 0, "{lost} sessions did not live to the end: fewer of them, or a shorter --settle");
    if !options.common.keep {
        drop(sessions);
        super::delete_many(&mut first, znodes, path)?;
        control::delete(&mut first, &parent)?;
    }
    let whose = if options.shared { "the same znodes" } else { "a znode each" };
    let about = format!("memory: {} sessions, {} further watches each, on {whose}", options.sessions, options.further);
    let mut report = Report::new(about);
    let (sessions, watches) = (options.sessions as f64, (options.sessions * options.further) as f64);
    report.add("before", sizes[0], "B");
    report.add("session", (sizes[1] - sizes[0]) / sessions, "B");
    report.add("session and watch", (sizes[2] - sizes[0]) / sessions, "B");
    if options.further > 0 {
        report.add("further watch", (sizes[3] - sizes[2]) / watches, "B");
    }
    Ok(report)
}

/// The server's memory when it has had a moment to tidy up.
fn resident(options: &Options, pid: u32) -> Result<f64> {
    std::thread::sleep(Duration::from_secs_f64(options.settle));
    Ok(procfs::rss_bytes(pid)? as f64)
}

/// How many of the sessions are not there any more.
fn lost(sessions: &mut [TcpStream], ping: &[u8]) -> usize {
    let alive = |stream: &mut TcpStream| {
        std::io::Write::write_all(stream, ping).is_ok() && control::answer(stream, OpCode::Ping).is_ok()
    };
    sessions.iter_mut().map(|stream| usize::from(!alive(stream))).sum()
}
