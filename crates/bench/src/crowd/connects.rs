//! Sessions that live for an instant: connect, ask for a session, get it, close it, get the reply, see the socket closed.
//!
//! This side makes few calls and few packets: what it takes of the machine, the server does not have.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};
use wire::OpCode;

use super::waiter::Waiter;
use super::{Common, Report};
use crate::{control, procfs};

/// How to connect.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    /// How many at once.
    #[arg(long, default_value_t = 32, value_name = "N")]
    connections: usize,

    /// Seconds to measure.
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS")]
    duration: f64,

    /// Seconds before that.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    warmup: f64,
}

const SILENCE: Duration = Duration::from_secs(20);
/// The answer to a ConnectRequest: length, version, timeout, session, password, read-only.
const CONNECTED: usize = 4 + 4 + 4 + 8 + 4 + 16 + 1;
/// The reply to closeSession: length and header.
const CLOSED: usize = 4 + 16;

struct One {
    stream: TcpStream,
    began: Instant,
    got: usize,
}

/// What was read.
enum Read {
    /// Less than was waited for.
    Nothing,
    /// The answer to the ConnectRequest.
    Connected,
    /// The reply to closeSession, and the end.
    Ended,
}

impl One {
    /// Reads what is there. The end mostly comes with the last reply, so that is looked for at once.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Read> {
        let was = self.got;
        loop {
            match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    ensure!(self.got == CONNECTED + CLOSED, "the server hung up after {} bytes", self.got);
                    return Ok(Read::Ended);
                }
                Ok((n, _)) => self.got += n,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Read::Nothing),
                Err(e) => return Err(e).context("reading from the server"),
            }
            if was < CONNECTED && self.got >= CONNECTED {
                return Ok(Read::Connected);
            }
            if self.got < CONNECTED + CLOSED {
                return Ok(Read::Nothing);
            }
        }
    }
}

/// Connects. The handshake's end travels with the ConnectRequest, and the acknowledgement of its answer with closeSession: two
/// packets fewer a session.
fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_quickack(&socket, false)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

pub(super) fn run(options: &Options) -> Result<Report> {
    ensure!(options.connections > 0 && options.duration > 0.0, "--connections and --duration must be above 0");
    super::raise_descriptors(options.connections)?;
    let hello = control::connect_request();
    let goodbye = control::request(1, OpCode::CloseSession, |_| ());
    let mut waiter = Waiter::new()?;
    let start = |waiter: &Waiter, number: usize| -> Result<One> {
        let began = Instant::now();
        let mut stream = connect(options.common.host)
            .with_context(|| format!("connecting to {}: does a server run there?", options.common.host))?;
        stream.write_all(&hello).context("sending to the server")?;
        waiter.add(&stream, number)?;
        Ok(One { stream, began, got: 0 })
    };
    let mut all = (0..options.connections).map(|number| start(&waiter, number)).collect::<Result<Vec<_>>>()?;
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).context("a histogram")?;
    let began = Instant::now();
    let warm = began + Duration::from_secs_f64(options.warmup);
    let end = warm + Duration::from_secs_f64(options.duration);
    let (mut cpu, mut own, mut opened, mut last) = (None, 0.0, began, began);
    let mut buffer = [0; 256];
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if cpu.is_none() && now >= warm {
            cpu = Some(super::cpu_us(&options.common)?);
            own = procfs::cpu_us(std::process::id())?;
            (opened, last) = (now, now);
            latency.reset();
        }
        ensure!(now - last < SILENCE, "nothing came for {SILENCE:?}");
        let ready: Vec<usize> = waiter.wait(Duration::from_millis(100))?.collect();
        for number in ready {
            let one = &mut all[number];
            match one.read(&mut buffer)? {
                Read::Nothing => {}
                Read::Connected => one.stream.write_all(&goodbye).context("sending to the server")?,
                Read::Ended => {
                    let now = Instant::now();
                    latency.saturating_record((now - one.began).as_nanos() as u64);
                    last = now;
                    *one = start(&waiter, number)?;
                }
            }
        }
    }
    let seconds = opened.elapsed().as_secs_f64();
    let used = super::cpu_us(&options.common)? - cpu.unwrap_or_default();
    let about = format!("connects: {} at once, {seconds:.1} s", options.connections);
    let own = procfs::cpu_us(std::process::id())? - own;
    let mut report = Report::new(about);
    report.add("rate", latency.len() as f64 / seconds, "/s");
    report.add("p50", latency.value_at_quantile(0.5) as f64 / 1e3, "us");
    report.add("p99", latency.value_at_quantile(0.99) as f64 / 1e3, "us");
    if options.common.pid.is_some() {
        report.add("server CPU per session", used / latency.len().max(1) as f64, "us");
    }
    report.add("this side's CPU per session", own / latency.len().max(1) as f64, "us");
    Ok(report)
}
