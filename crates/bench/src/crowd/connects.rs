//! Sessions that live for an instant: connect, ask for a session, get it, close it, get the reply, see the socket closed.
//!
//! This side makes few calls and few packets: what it takes of the machine, the server does not have.

use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, connect_unspec, recv, send,
    shutdown, socket_with, sockopt,
};
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
/// Where the session's id is in the first.
const SESSION: Range<usize> = 12..20;

/// One of those that are there at once: a socket, with which one connection is made after the other. That spares this side the
/// making and unmaking of sockets; the server sees new connections, from other ports.
struct One {
    socket: OwnedFd,
    began: Instant,
    /// What has come, and room for a byte too many.
    bytes: [u8; CONNECTED + CLOSED + 1],
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
    fn new(to: SocketAddr) -> Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("a socket")?;
        Ok(Self { socket, began: Instant::now(), bytes: [0; _], got: 0 })
    }

    /// Connects, and asks for a session. The handshake's end travels with the ConnectRequest, and the acknowledgement of its
    /// answer with closeSession: two packets fewer a session.
    fn start(&mut self, to: SocketAddr, hello: &[u8]) -> Result<()> {
        self.began = Instant::now();
        self.got = 0;
        sockopt::set_tcp_quickack(&self.socket, false)
            .and_then(|()| connect(&self.socket, &to))
            .with_context(|| format!("connecting to {to}: does a server run there?"))?;
        self.send(hello)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let sent = send(&self.socket, bytes, SendFlags::NOSIGNAL).context("sending to the server")?;
        ensure!(sent == bytes.len(), "the server does not read: {sent} bytes of {} were sent", bytes.len());
        Ok(())
    }

    /// Reads what is there, and checks it. `has_ended`: the server has closed, so there is no more to come.
    fn read(&mut self, has_ended: bool) -> Result<Read> {
        let was = self.got;
        match recv(&self.socket, &mut self.bytes[was..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {}
            Ok((n, _)) => self.got += n,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Read::Nothing),
            Err(e) => return Err(e).context("reading from the server"),
        }
        ensure!(self.got < self.bytes.len(), "the server said more than it was asked for");
        if self.got == CONNECTED + CLOSED {
            let err = i32::from_be_bytes(std::array::from_fn(|at| self.bytes[CONNECTED + CLOSED - 4 + at]));
            ensure!(err == 0, "closeSession was refused: {err}");
            return Ok(if has_ended || self.got == was { Read::Ended } else { Read::Nothing });
        }
        ensure!(!has_ended && self.got > was, "the server hung up after {} bytes", self.got);
        if was < CONNECTED && self.got >= CONNECTED {
            ensure!(self.bytes[SESSION] != [0; 8], "the server gave no session");
            return Ok(Read::Connected);
        }
        Ok(Read::Nothing)
    }

    /// Closes this side too, as a client does that hangs up, and makes the socket one that can connect.
    fn end(&self) -> Result<()> {
        match shutdown(&self.socket, Shutdown::Write) {
            // The server has reset it meanwhile.
            Ok(()) | Err(Errno::NOTCONN) => connect_unspec(&self.socket).context("hanging up"),
            Err(e) => Err(e).context("hanging up"),
        }
    }
}

pub(super) fn run(options: &Options) -> Result<Report> {
    ensure!(options.connections > 0 && options.duration > 0.0, "--connections and --duration must be above 0");
    super::raise_descriptors(options.connections)?;
    let hello = control::connect_request();
    let goodbye = control::request(1, OpCode::CloseSession, |_| ());
    let mut waiter = Waiter::new()?;
    let host = options.common.host;
    let mut all = (0..options.connections).map(|_| One::new(host)).collect::<Result<Vec<_>>>()?;
    for (number, one) in all.iter_mut().enumerate() {
        one.start(host, &hello)?;
        waiter.add(&one.socket, number)?;
    }
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).context("a histogram")?;
    let began = Instant::now();
    let warm = began + Duration::from_secs_f64(options.warmup);
    let end = warm + Duration::from_secs_f64(options.duration);
    let (mut cpu, mut own, mut opened, mut last) = (None, 0.0, began, began);
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
        for (number, has_ended) in waiter.wait_for_ends(Duration::from_millis(100))? {
            let one = &mut all[number];
            match one.read(has_ended)? {
                Read::Nothing => {}
                Read::Connected => one.send(&goodbye)?,
                Read::Ended => {
                    last = Instant::now();
                    latency.saturating_record((last - one.began).as_nanos() as u64);
                    one.end()?;
                    one.start(host, &hello)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    /// Sessions with a server that says this, and waits in between if it is told to; and how many hung up as clients do.
    fn sessions_with(connected: Vec<u8>, closed: Vec<u8>, pause: bool) -> (Result<Report>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap();
        let hung_up = Arc::new(AtomicUsize::new(0));
        let counted = hung_up.clone();
        std::thread::spawn(move || {
            let serve = |mut stream: TcpStream| -> std::io::Result<()> {
                stream.set_nodelay(true)?;
                let mut request = vec![0; control::connect_request().len()];
                stream.read_exact(&mut request)?;
                let (some, more) = connected.split_at(if pause { 10 } else { connected.len() });
                for part in [some, more] {
                    stream.write_all(part)?;
                }
                stream.read_exact(&mut [0; 12])?;
                stream.write_all(&closed)?;
                if pause {
                    std::thread::sleep(Duration::from_millis(1));
                }
                stream.shutdown(std::net::Shutdown::Write)?;
                // A reset would be an error.
                counted.fetch_add(usize::from(stream.read(&mut [0; 1])? == 0), Relaxed);
                Ok(())
            };
            for stream in listener.incoming() {
                // A client that does not like what it is told goes, and the test looks at why.
                let _ = serve(stream.unwrap());
            }
        });
        let common = Common { host, pid: None, json: false, keep: false };
        let report = run(&Options { common, connections: 3, duration: 0.5, warmup: 0.0 });
        (report, hung_up.load(Relaxed))
    }

    fn connected(session: u8) -> Vec<u8> {
        let mut bytes = vec![0; CONNECTED];
        (bytes[3], bytes[SESSION.end - 1]) = (CONNECTED as u8 - 4, session);
        bytes
    }

    fn closed(err: u8) -> Vec<u8> {
        let mut bytes = vec![0; CLOSED];
        (bytes[3], bytes[CLOSED - 1]) = (CLOSED as u8 - 4, err);
        bytes
    }

    #[test]
    fn one_session_follows_the_other_over_the_same_sockets() {
        for pause in [false, true] {
            let (report, hung_up) = sessions_with(connected(7), closed(0), pause);
            report.unwrap();
            assert!(hung_up > 6, "{hung_up}");
        }
    }

    #[test]
    fn answers_are_checked() {
        for (connected, closed, why) in [
            (connected(0), closed(0), "no session"),
            (connected(7), closed(1), "refused: 1"),
            (connected(7), closed(0)[..19].to_vec(), "hung up after 60 bytes"),
            (connected(7), Vec::new(), "hung up after 41 bytes"),
            (connected(7), [closed(0), closed(0)].concat(), "more than it was asked for"),
        ] {
            let said = format!("{:#}", sessions_with(connected, closed, false).0.unwrap_err());
            assert!(said.contains(why), "{said}");
        }
    }
}
