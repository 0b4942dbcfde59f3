//! One connection under load: a future written by hand, so that a batch of replies, the next batch of requests and
//! their one write happen in one go, without allocation.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker, ready};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use wire::frame;

use crate::check::{self, Shape};
use crate::stats::Stats;
use crate::template::{Kind, Templates};
use crate::work::{Expected, Phase, Work};

/// The first size of the buffer for replies; it grows for a longer frame.
const INPUT: usize = 64 * 1024;
/// The longest frame that is believed.
const FRAME_MAX: usize = 16 << 20;
/// Open loop: so many requests on their way over one connection; more wait, their clocks running.
const OPEN_MAX: usize = 16 * 1024;

/// Where the run stands, seen by all threads.
#[derive(Debug)]
pub(crate) struct Mode(AtomicU8);

impl Mode {
    /// Load, but nothing is recorded.
    pub(crate) const WARM: u8 = 0;
    /// The measured window.
    pub(crate) const RECORD: u8 = 1;
    /// No new requests.
    pub(crate) const STOP: u8 = 2;

    /// Starts warm.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Self::WARM))
    }

    /// Sets it.
    pub(crate) fn set(&self, mode: u8) {
        self.0.store(mode, Ordering::Release);
    }

    /// Whether it is `mode` now.
    pub(crate) fn is(&self, mode: u8) -> bool {
        self.0.load(Ordering::Acquire) == mode
    }
}

/// What the connections of a thread have in common.
#[derive(Debug)]
pub(crate) struct Thread {
    /// The requests.
    pub(crate) templates: Templates,
    /// What replies look like.
    pub(crate) shape: Shape,
    /// Where the run stands.
    pub(crate) mode: Arc<Mode>,
    /// When this thread's clock began.
    pub(crate) began: Instant,
    /// What was counted.
    pub(crate) stats: Mutex<Stats>,
}

impl Thread {
    /// Nanoseconds since the thread's clock began.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// The counters.
    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    xid: i32,
    expected: Expected,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    thread: Arc<Thread>,
    work: Work,
    phase: Phase,
    /// Closed loop: how many requests to keep on their way; none: the pacer starts them.
    window: Option<usize>,
    xid: i32,
    sent: VecDeque<Sent>,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
    waker: Option<Waker>,
}

impl Connection {
    /// A connection with an open session.
    pub(crate) fn new(stream: TcpStream, thread: Arc<Thread>, work: Work) -> Self {
        Self {
            stream,
            thread,
            work,
            phase: Phase::Clean,
            window: None,
            xid: 0,
            sent: VecDeque::with_capacity(256),
            out: Vec::with_capacity(INPUT),
            written: 0,
            input: vec![0; INPUT],
            filled: 0,
            waker: None,
        }
    }

    /// Begins a phase.
    pub(crate) fn begin(&mut self, phase: Phase, window: Option<usize>) {
        self.phase = phase;
        self.window = window;
        self.work.begin(phase);
    }

    /// The socket, when all is done.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Goes on with the phase; ready when its last reply has come.
    pub(crate) fn poll(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        if self.window.is_none() && !self.waker.as_ref().is_some_and(|it| it.will_wake(task.waker())) {
            self.waker = Some(task.waker().clone());
        }
        let mut now = self.thread.now();
        loop {
            if matches!(self.phase, Phase::Load(_)) && self.thread.mode.is(Mode::STOP) {
                self.work.stop();
            }
            if let Some(window) = self.window {
                while self.sent.len() < window && self.push(now) {}
            }
            if let Poll::Ready(Err(error)) = self.poll_flush(task) {
                return Poll::Ready(Err(error));
            }
            if self.sent.is_empty() && self.work.is_over() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_input(task))?;
            now = self.thread.now();
            self.handle(now)?;
        }
    }

    /// Open loop: starts the request that was due `at`. False if the connection has enough on its way for now.
    pub(crate) fn start(&mut self, at: u64) -> Result<bool> {
        if self.sent.len() >= OPEN_MAX {
            return Ok(false);
        }
        self.push(at);
        if self.written == 0 {
            match self.stream.try_write(&self.out) {
                Ok(count) => self.wrote(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("sending to the server"),
            }
        }
        if !self.out.is_empty() {
            self.wake();
        }
        Ok(true)
    }

    /// Open loop: whether there are no more requests to start.
    pub(crate) fn is_over(&self) -> bool {
        self.work.is_over()
    }

    /// Has this connection looked at again by its own task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Puts the next request into the output buffer; false if there is none.
    #[inline]
    fn push(&mut self, at: u64) -> bool {
        let Some((expected, stamp)) = self.work.next() else { return false };
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        self.thread.templates.write(expected.kind, self.xid, expected.number, stamp, &mut self.out);
        self.sent.push_back(Sent { at, xid: self.xid, expected });
        true
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    fn poll_flush(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        while !self.out.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let count = ready!(stream.poll_write(task, &self.out[self.written..])).context("sending to the server")?;
            self.wrote(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what has come.
    fn poll_input(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        if self.filled == self.input.len() {
            self.input.resize(2 * self.filled, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(task, &mut buffer)).context("reading from the server")?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Err(anyhow::anyhow!("the server closed the connection")));
        }
        self.filled += count;
        Poll::Ready(Ok(()))
    }

    /// Checks and counts the replies that are complete.
    fn handle(&mut self, now: u64) -> Result<()> {
        let record = self.thread.mode.is(Mode::RECORD) && matches!(self.phase, Phase::Load(_));
        let mut stats = self.thread.stats();
        let mut rest = &self.input[..self.filled];
        // Replies to requests of one batch are recorded together.
        let mut run: (Kind, u64, u64) = (Kind::Get, 0, 0);
        while let Some((reply, after)) = frame::split(rest, FRAME_MAX)? {
            rest = after;
            let Some(sent) = self.sent.pop_front() else { bail!("the server sent a reply that nobody asked for") };
            match check::xid(reply) {
                Some(xid) if xid == sent.xid => {}
                xid => bail!("the server answered out of order: xid {xid:?} where {} was due", sent.xid),
            }
            if let Err(fault) = check::reply(reply, &sent.expected, self.thread.shape) {
                // What was never created needn't be deleted.
                if self.phase != Phase::Clean {
                    stats.error(sent.expected.kind, sent.expected.number, fault);
                }
                self.work.doubt();
            }
            stats.replies += 1;
            if record {
                if (run.0, run.1) != (sent.expected.kind, sent.at) {
                    if run.2 > 0 {
                        stats.record(run.0, now.saturating_sub(run.1), run.2);
                    }
                    run = (sent.expected.kind, sent.at, 0);
                }
                run.2 += 1;
            }
        }
        if run.2 > 0 {
            stats.record(run.0, now.saturating_sub(run.1), run.2);
        }
        let left = rest.len();
        self.input.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
        Ok(())
    }
}
