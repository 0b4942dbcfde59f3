//! Runs a load: threads, their phases, and the measured window.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::check::Shape;
use crate::connection::{Connection, Mode, Thread};
use crate::report::{Report, Window};
use crate::stats::Stats;
use crate::template::Templates;
use crate::work::{Phase, Work};
use crate::{control, pacer, procfs};

/// Without a single reply for this long, the run is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Requests on their way over all connections while the working set is created or deleted.
const FILL_OUTSTANDING: usize = 256;

/// What all threads share.
#[derive(Debug)]
struct Run {
    args: Args,
    parent: String,
    mode: Arc<Mode>,
    /// Passed when all have created the working set, and again when all have ended the load.
    barrier: Barrier,
    failed: AtomicBool,
}

/// Puts the load on the server and returns what came out. An error means that the run is worth nothing: no server, a
/// lost connection, replies out of order; a wrong or refusing reply is counted in the report instead.
pub fn run(args: &Args) -> Result<Report> {
    let args = args.resolved()?;
    let mut session = control::open(args.host(0)?)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parent = format!("/bench-{:06x}", (since_1970.as_nanos() as u32 >> 4) & 0xff_ffff);
    control::create(&mut session, &parent)?;
    control::close(&mut session)?;

    let threads = args.threads;
    let run = Arc::new(Run {
        parent,
        mode: Arc::new(Mode::new()),
        barrier: Barrier::new(threads + 1),
        failed: AtomicBool::new(false),
        args,
    });
    let (ended, ends) = channel();
    let mut workers = Vec::with_capacity(threads);
    for number in 0..threads {
        let run = Arc::clone(&run);
        let ended = ended.clone();
        let name = format!("load-{number}");
        workers.push(std::thread::Builder::new().name(name).spawn(move || worker(&run, number, &ended))?);
    }
    let window = measure(&run, &ends);
    let mut stats = Stats::new()?;
    let mut failure = None;
    for worker in workers {
        match worker.join() {
            Ok(Ok(theirs)) => stats.merge(&theirs)?,
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(_) => failure = failure.or_else(|| Some(anyhow!("a client thread panicked"))),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let window = window?;
    if !run.args.keep {
        let mut session = control::open(run.args.host(0)?)?;
        control::delete(&mut session, &run.parent)?;
        control::close(&mut session)?;
    }
    Report::new(&run.args, &window, &stats)
}

/// The main thread's part: opens and closes the measured window.
fn measure(run: &Run, ends: &Receiver<()>) -> Result<Window> {
    let args = &run.args;
    let opened;
    if args.count.is_some() {
        opened = Usage::now(&args.pid);
        run.mode.set(Mode::RECORD);
        run.barrier.wait();
        for _ in 0..args.threads {
            // An error here means that all threads have ended.
            let _ = ends.recv();
        }
    } else {
        run.barrier.wait();
        sleep(ends, args.warmup());
        opened = Usage::now(&args.pid);
        run.mode.set(Mode::RECORD);
        sleep(ends, Duration::from_secs_f64(args.duration));
    }
    let closed = Usage::now(&args.pid);
    run.mode.set(Mode::STOP);
    run.barrier.wait();
    let (opened, closed) = (opened?, closed?);
    Ok(Window {
        seconds: (closed.at - opened.at).as_secs_f64(),
        client_cpu_us: closed.client_cpu_us - opened.client_cpu_us,
        server_cpu_us: closed.server_cpu_us - opened.server_cpu_us,
        server_rss_bytes: closed.server_rss_bytes,
    })
}

/// Sleeps, but not on when a thread has ended before its time.
fn sleep(ends: &Receiver<()>, time: Duration) {
    match ends.recv_timeout(time) {
        Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

/// What client and server have used so far.
#[derive(Debug)]
struct Usage {
    at: Instant,
    client_cpu_us: f64,
    server_cpu_us: f64,
    server_rss_bytes: u64,
}

impl Usage {
    fn now(pids: &[u32]) -> Result<Self> {
        let (mut server_cpu_us, mut server_rss_bytes) = (0.0, 0);
        for pid in pids {
            server_cpu_us += procfs::cpu_us(*pid)?;
            server_rss_bytes += procfs::rss_bytes(*pid)?;
        }
        let client_cpu_us = procfs::cpu_us(std::process::id())?;
        Ok(Self { at: Instant::now(), client_cpu_us, server_cpu_us, server_rss_bytes })
    }
}

/// One client thread from its first connection to its last.
fn worker(run: &Arc<Run>, number: usize, ended: &Sender<()>) -> Result<Stats> {
    let mut team = Team::connect(run, number);
    if let Ok(team) = &mut team {
        team.failed_in(Phase::Fill);
    }
    let bad = team.as_ref().map_or(true, |it| it.failure.is_some());
    if bad {
        run.failed.store(true, Ordering::Release);
    }
    run.barrier.wait();
    if !run.failed.load(Ordering::Acquire)
        && let Ok(team) = &mut team
    {
        team.failed_in(Phase::Load(run.args.count));
    }
    // The main thread may have given up already.
    let _ = ended.send(());
    run.barrier.wait();
    let mut team = team?;
    if !run.args.keep && team.failure.is_none() {
        team.failed_in(Phase::Clean);
    }
    team.end()
}

/// The connections of one thread and the runtime that they run on.
struct Team {
    run: Arc<Run>,
    runtime: tokio::runtime::Runtime,
    thread: Arc<Thread>,
    connections: Vec<Arc<Mutex<Connection>>>,
    failure: Option<anyhow::Error>,
}

impl Team {
    fn connect(run: &Arc<Run>, number: usize) -> Result<Self> {
        let args = &run.args;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Arc::new(Thread {
            templates: Templates::new(&run.parent, args.payload),
            shape: Shape { payload: args.payload, znodes: args.znodes },
            mode: Arc::clone(&run.mode),
            began: Instant::now(),
            stats: Mutex::new(Stats::new()?),
        });
        let mut connections = Vec::new();
        let in_runtime = runtime.enter();
        for place in (number..args.connections).step_by(args.threads) {
            let stream = control::open(args.host(place)?)?;
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            let work = Work::new(args.workload, args.reads, place as u32, args.connections as u32, args.znodes);
            connections.push(Arc::new(Mutex::new(Connection::new(stream, Arc::clone(&thread), work))));
        }
        drop(in_runtime);
        Ok(Self { run: Arc::clone(run), runtime, thread, connections, failure: None })
    }

    /// Runs a phase and keeps its failure, if any.
    fn failed_in(&mut self, phase: Phase) {
        let result = self.runtime.block_on(self.phase(phase));
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }

    async fn phase(&self, phase: Phase) -> Result<()> {
        let args = &self.run.args;
        let window = match phase {
            Phase::Load(_) if args.rate.is_some() => None,
            Phase::Load(_) => Some(args.outstanding),
            Phase::Fill | Phase::Clean => Some((FILL_OUTSTANDING / args.connections).max(1)),
        };
        let mut tasks = JoinSet::new();
        for connection in &self.connections {
            let connection = Arc::clone(connection);
            connection.lock().unwrap_or_else(PoisonError::into_inner).begin(phase, window);
            tasks.spawn(poll_fn(move |task| connection.lock().unwrap_or_else(PoisonError::into_inner).poll(task)));
        }
        if let (None, Some(rate)) = (window, args.rate) {
            let share = rate * self.connections.len() as f64 / args.connections as f64;
            tasks.spawn(pacer::pace(Arc::clone(&self.thread), self.connections.clone(), share));
        }
        let mut seen = 0;
        loop {
            match tokio::time::timeout(SILENCE, tasks.join_next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(result)) => result.context("a connection's task")??,
                Err(_) => {
                    let replies = self.thread.stats().replies;
                    if replies == seen {
                        bail!("no reply for {SILENCE:?}: one of the servers {:?} hangs", args.host);
                    }
                    seen = replies;
                }
            }
        }
    }

    /// Closes the sessions and hands over what was counted.
    fn end(self) -> Result<Stats> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let in_runtime = self.runtime.enter();
        for connection in self.connections {
            let connection = Arc::into_inner(connection).context("a connection is still in use")?;
            let connection = connection.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut stream = connection.into_stream().into_std()?;
            stream.set_nonblocking(false)?;
            // The load is over, and its replies are checked. A connection that had its share done long before the slowest one
            // said nothing meanwhile: its session may have expired.
            let _ = control::close(&mut stream);
        }
        drop(in_runtime);
        let thread = Arc::into_inner(self.thread).context("the counters are still in use")?;
        Ok(thread.stats.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
