//! Watches of many sessions on the same znodes, and what it takes to tell them all.
//!
//! An event counts as received when it lies in the client's socket: the sockets are read, and the events checked, when
//! the clock has stopped. So the time is the server's, not that of a client with ten thousand sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::jute::Field;
use wire::request::{AddWatchRequest, CreateRequest, ReadRequest, SetDataRequest};
use wire::watcher::{EventType, WatcherEvent};
use wire::{ErrorCode, OpCode, Reader, Xid};

use super::waiter::Waiter;
use super::{Common, Report};
use crate::control;

/// How to watch.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    /// How many sessions watch.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    sessions: usize,

    /// What they watch.
    #[arg(long, value_enum, default_value_t = Kind::Data)]
    kind: Kind,

    /// How many sessions write at once, each its own znode; every session watches all of these (1 to 100).
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    writers: u32,

    /// How often.
    #[arg(long, default_value_t = 15, value_name = "N")]
    rounds: usize,

    /// Rounds before those that count.
    #[arg(long, default_value_t = 3, value_name = "N")]
    warmup: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The data of the znode, once (getData): set again before each round.
    Data,
    /// Its children, once (getChildren).
    Child,
    /// The znode, for good (addWatch).
    Persistent,
    /// All that is below its parent, for good.
    Recursive,
}

/// Nothing came for so long: the run is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// The pause between two looks at the sockets, so that looking does not take the server's time: the resolution.
const LOOK_EVERY: Duration = Duration::from_micros(200);

pub(super) fn run(options: &Options) -> Result<Report> {
    let writers = options.writers as usize;
    super::raise_descriptors(options.sessions + writers)?;
    let mut writing = control::open_many(options.common.host, writers)?;
    let parent = super::fresh_parent();
    let path = |number: usize| format!("{parent}/w{number:02}");
    control::create(&mut writing[0], &parent)?;
    super::create_many(&mut writing[0], writers, path)?;
    let mut run = Run {
        sessions: control::open_many(options.common.host, options.sessions)?,
        writing,
        waiter: Waiter::new()?,
        parent: parent.clone(),
        kind: options.kind,
        rounds: 0,
    };
    for (number, stream) in run.sessions.iter().enumerate() {
        run.waiter.add(stream, number)?;
    }
    if matches!(options.kind, Kind::Persistent | Kind::Recursive) {
        run.watch()?;
    }
    let (mut last, mut replies, mut cpu) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..options.warmup + options.rounds {
        run.begin_round().with_context(|| format!("round {}", round + 1))?;
        let before = super::cpu_us(&options.common)?;
        let (last_us, reply_us) = run.round().with_context(|| format!("round {}", round + 1))?;
        let used = super::cpu_us(&options.common)? - before;
        run.end_round().with_context(|| format!("round {}", round + 1))?;
        if round >= options.warmup {
            cpu += used;
            last.push(last_us);
            replies.push(reply_us);
        }
    }
    if !options.common.keep {
        let rounds = run.rounds;
        if options.kind == Kind::Child {
            let child = |number: usize| format!("{}/c{:05}", path(number / rounds), number % rounds);
            super::delete_many(&mut run.writing[0], writers * rounds, child)?;
        }
        super::delete_many(&mut run.writing[0], writers, path)?;
        control::delete(&mut run.writing[0], &parent)?;
    }
    let about = format!(
        "watches: {} sessions, {:?} watches, {writers} writers, {} rounds",
        options.sessions, options.kind, options.rounds
    );
    let mut report = Report::new(about);
    report.add("last event, median", super::median(&mut last), "us");
    report.add("last event, p99", super::p99(&mut last), "us");
    report.add("writer's reply, median", super::median(&mut replies), "us");
    report.add("writer's reply, p99", super::p99(&mut replies), "us");
    if options.common.pid.is_some() {
        let events = options.rounds * options.sessions * writers;
        report.add("server CPU per event", cpu / events as f64, "us");
    }
    Ok(report)
}

struct Run {
    sessions: Vec<TcpStream>,
    writing: Vec<TcpStream>,
    waiter: Waiter,
    parent: String,
    kind: Kind,
    rounds: usize,
}

impl Run {
    fn path(&self, number: usize) -> String {
        format!("{}/w{number:02}", self.parent)
    }

    /// Every session sets its watches.
    fn watch(&mut self) -> Result<()> {
        let good = &[ErrorCode::OK];
        if self.kind == Kind::Recursive {
            let request = AddWatchRequest { path: Some(self.parent.as_str().into()), mode: 1 };
            let frame = control::request(1, OpCode::AddWatch, |out| request.write(out));
            return super::ask_all(&mut self.sessions, OpCode::AddWatch, good, |_| frame.clone());
        }
        for number in 0..self.writing.len() {
            let path = self.path(number);
            let path = Some(path.as_str().into());
            let op = match self.kind {
                Kind::Data => OpCode::GetData,
                Kind::Child => OpCode::GetChildren,
                Kind::Persistent | Kind::Recursive => OpCode::AddWatch,
            };
            let frame = control::request(1, op, |out| match op {
                OpCode::AddWatch => AddWatchRequest { path, mode: 0 }.write(out),
                _ => ReadRequest { path, watch: true }.write(out),
            });
            super::ask_all(&mut self.sessions, op, good, |_| frame.clone())?;
        }
        Ok(())
    }

    /// All who hear of a change once watch again, and nothing is on its way.
    fn begin_round(&mut self) -> Result<()> {
        if matches!(self.kind, Kind::Data | Kind::Child) {
            self.watch()?;
        }
        self.waiter.forget()
    }

    /// The events were the right ones.
    fn end_round(&mut self) -> Result<()> {
        self.rounds += 1;
        if self.writing.len() == 1 { self.check() } else { Ok(()) }
    }

    /// One change by each writer; how many µs passed until all had heard of it, and until the slowest writer had its reply.
    fn round(&mut self) -> Result<(f64, f64)> {
        let writes: Vec<(OpCode, Vec<u8>)> = (0..self.writing.len()).map(|number| self.write(number)).collect();
        let writers = self.writing.len();
        let began = Instant::now();
        let mut writing = std::mem::take(&mut self.writing);
        let done = std::thread::scope(|scope| {
            let threads: Vec<_> = writing
                .iter_mut()
                .zip(&writes)
                .map(|(stream, (op, frame))| {
                    scope.spawn(move || -> Result<(Instant, Instant)> {
                        let sent = Instant::now();
                        stream.write_all(frame)?;
                        let err = control::answer(stream, *op)?;
                        ensure!(err == ErrorCode::OK, "the write was refused: {err:?}");
                        Ok((sent, Instant::now()))
                    })
                })
                .collect();
            let heard = if writers == 1 { self.wait_for_one() } else { self.wait_for_many(writers) };
            let mut times = Vec::new();
            for thread in threads {
                times.push(thread.join().map_err(|_| anyhow!("a writer's thread panicked"))??);
            }
            heard.map(|heard| (heard, times))
        });
        self.writing = writing;
        let (heard, times) = done?;
        let sent = times.iter().map(|(sent, _)| *sent).min().unwrap_or(began);
        let us = |from: Instant, to: Instant| (to - from).as_nanos() as f64 / 1e3;
        let slowest = times.iter().map(|(sent, got)| us(*sent, *got)).fold(0.0, f64::max);
        Ok((us(sent, heard), slowest))
    }

    fn write(&self, number: usize) -> (OpCode, Vec<u8>) {
        let path = self.path(number);
        if self.kind == Kind::Child {
            let path = format!("{path}/c{:05}", self.rounds);
            let request =
                CreateRequest { path: Some(path.as_str().into()), data: Some(b""), acl: AclVec::OPEN, flags: 0 };
            return (OpCode::Create, control::request(1, OpCode::Create, |out| request.write(out)));
        }
        let request = SetDataRequest { path: Some(path.as_str().into()), data: Some(b"x"), version: -1 };
        (OpCode::SetData, control::request(1, OpCode::SetData, |out| request.write(out)))
    }

    /// When the last of the sessions had something in its socket.
    fn wait_for_one(&mut self) -> Result<Instant> {
        let mut heard = vec![false; self.sessions.len()];
        let mut missing = heard.len();
        let mut last = Instant::now();
        while missing > 0 {
            let before = missing;
            for number in self.waiter.wait(Duration::from_millis(10))? {
                missing -= usize::from(!std::mem::replace(&mut heard[number], true));
            }
            let now = Instant::now();
            if missing < before {
                last = now;
            } else if now - last > SILENCE {
                bail!("{missing} sessions were told nothing within {SILENCE:?}");
            }
            if missing > 0 {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(last)
    }

    /// When the last of the sessions had read an event of each writer. All of them are equally long.
    fn wait_for_many(&mut self, writers: usize) -> Result<Instant> {
        let expected = self.sessions.len() * writers * event_frame_bytes(&self.path(0));
        let (mut got, mut last) = (0, Instant::now());
        let mut buffer = [0; 16 * 1024];
        for stream in &self.sessions {
            stream.set_nonblocking(true)?;
        }
        while got < expected {
            let before = got;
            for number in self.waiter.wait(Duration::from_millis(10))? {
                loop {
                    match self.sessions[number].read(&mut buffer) {
                        Ok(0) => bail!("the server closed session {number}"),
                        Ok(n) => got += n,
                        Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                        Err(e) => return Err(e).context("reading from the server"),
                    }
                }
            }
            let now = Instant::now();
            if got > before {
                last = now;
            } else if now - last > SILENCE {
                bail!("{} of {expected} bytes of events did not come within {SILENCE:?}", expected - got);
            }
        }
        for stream in &self.sessions {
            stream.set_nonblocking(false)?;
        }
        ensure!(got == expected, "{got} bytes of events came instead of {expected}");
        Ok(last)
    }

    /// Reads the event of each session: it must be the one.
    fn check(&mut self) -> Result<()> {
        let path = self.path(0);
        let kind = if self.kind == Kind::Child { EventType::ChildrenChanged } else { EventType::DataChanged };
        for (number, stream) in self.sessions.iter_mut().enumerate() {
            let frame = control::read(stream).with_context(|| format!("the event of session {number}"))?;
            let mut r = Reader::new(&frame);
            let header: ReplyHeader = r.read().context("the header of an event")?;
            let event: WatcherEvent<'_> = r.read().context("an event")?;
            ensure!(
                header.xid == Xid::NOTIFICATION && event.kind == kind as i32 && event.path.as_deref() == Some(&path),
                "session {number} was told {event:?} instead of {kind:?} of {path}"
            );
        }
        Ok(())
    }
}

/// Length, reply header, type, state, path.
fn event_frame_bytes(path: &str) -> usize {
    4 + 16 + 4 + 4 + 4 + path.len()
}
