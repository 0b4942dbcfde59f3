//! The thread of one shard: a current-thread runtime, a task a connection, one for the inbox, one that submits.
//!
//! A connection's task reads; whoever filled a connection's buffer tries to write it at once, and leaves the rest to the
//! task when the socket is full. Submissions of all connections that were ready in one round go to the pipeline together:
//! the submitting task is woken by the first and runs behind the others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peer::{ConnId, Shard, ShardConfig, Submission};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use self::socket::{Io, has_hung_up, send_last, shutdown_write, wake};
use crate::client_port::{self, Accept};
use crate::core::Core;
use crate::listener::Admission;
use crate::words::Words;

mod connection;
mod report;
mod socket;

pub use report::{Expiring, Piece, Query, WatchedPath};

/// What a shard's thread is told.
#[derive(Debug)]
pub enum ToShard {
    /// A new connection, with its place among those allowed.
    Accept(std::net::TcpStream, SocketAddr, Admission),
    /// Tell a piece of what you know.
    Ask(Query),
    /// Read nothing more; what is under way is answered.
    Drain,
    /// Close all connections once what they were told is written.
    Close,
}

/// The most connections on their way to a shard.
pub const TO_SHARD_MAX: usize = 1024;

/// How a shard's thread behaves.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// Of the shard itself.
    pub shard: ShardConfig,
    /// `nio.sessionlessCnxnTimeout`.
    pub handshake_timeout: Duration,
    /// What the request throttle made wait is dropped when its connection is closed meanwhile.
    pub drop_gone: bool,
}

/// The same for all connections of a server that stops.
const GOODBYE_MAX: Duration = Duration::from_millis(300);

/// Bytes read from a socket at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes written to a socket at once; what is more waits until others had their turn.
const WRITE_BYTES: usize = 256 * 1024;
/// From here on, in ms, a thread that is late was asleep. Less than that the rounding of session timeouts bears.
const SLEEP_MIN_MS: i64 = 200;
/// And from here on an operator should know.
const SLEEP_TOLD_MS: i64 = 1000;
/// Sockets that are written to in one go for those who were told of an event: about a quarter of a ms. Then others have
/// their turn.
const TOLD_AT_ONCE: usize = 64;
/// How often what waits for room, or for a handshake, is looked at.
const SWEEP: Duration = Duration::from_millis(50);

/// Pieces of the look for containers and TTL znodes between two ticks: 30,000 of them, so that millions are looked at in a minute.
const PIECES_OF_SWEEP_MAX: usize = 64;

struct Driver {
    shard: RefCell<Shard>,
    core: Arc<Core>,
    words: Arc<Words>,
    number: usize,
    io: RefCell<Vec<Option<Rc<Io>>>>,
    buffer: RefCell<Box<[u8]>>,
    submit: Notify,
    /// There are many to be told of an event, or other work that is done in pieces.
    pieces: Notify,
    /// It is being done.
    in_pieces: Cell<bool>,
    /// Rung when there is a read to be made in steps, or more to write.
    bulk: Notify,
    /// Connections to which more can be written than was written at once.
    more: RefCell<VecDeque<Rc<Io>>>,
    is_draining: Cell<bool>,
    /// The server is stopping and has said all: what still comes is read and thrown away, so that a socket's unread bytes
    /// don't make the kernel take back what was written.
    is_discarding: Cell<bool>,
    handshake_timeout_ms: i64,
    /// When this thread last looked at its clock, in ms of the clock that never goes back: it should every [`SWEEP`].
    awake_ms: Cell<i64>,
    /// What CPU this thread had used at the last sweep, in ms.
    cpu_ms: Cell<i64>,
    drop_gone: bool,
    /// Connections closed because of the limit for all that is to be sent, as far as they were told of.
    shed_told: Cell<u64>,
    /// The same, of the limit for all that was received and is not processed.
    idle_holders_told: Cell<u64>,
}

/// Runs a shard until the server stops.
///
/// One of the shards is given the listener, too.
pub fn run(
    core: Arc<Core>,
    words: Arc<Words>,
    options: ShardOptions,
    inbox: mpsc::Receiver<ToShard>,
    accept: Option<Accept>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let number = options.shard.shard as usize;
    let driver = Rc::new(Driver {
        shard: RefCell::new(Shard::new(options.shard)),
        words,
        number,
        io: RefCell::new(Vec::new()),
        buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        submit: Notify::new(),
        pieces: Notify::new(),
        in_pieces: Cell::new(false),
        bulk: Notify::new(),
        more: RefCell::new(VecDeque::new()),
        is_draining: Cell::new(false),
        is_discarding: Cell::new(false),
        handshake_timeout_ms: options.handshake_timeout.as_millis() as i64,
        drop_gone: options.drop_gone,
        shed_told: Cell::new(0),
        idle_holders_told: Cell::new(0),
        awake_ms: Cell::new(core.clock.now().mono_ms()),
        cpu_ms: Cell::new(own_cpu_ms()),
        core,
    });
    let local = LocalSet::new();
    local.spawn_local(driver.clone().submit_loop());
    local.spawn_local(driver.clone().inbox_loop());
    local.spawn_local(driver.clone().bulk_loop());
    local.spawn_local(driver.clone().sweep_loop());
    local.spawn_local(driver.clone().pieces_loop());
    if let Some(accept) = accept {
        let shared = driver.core.shared.clone();
        let rejected = Rc::new(move || shared.shard_stats[number].connection_rejected.add(1));
        local.spawn_local(async move {
            if let Err(e) = client_port::run(accept, rejected).await {
                tracing::error!("no more connections can be accepted: {e}");
            }
        });
    }
    runtime.block_on(local.run_until(driver.command_loop(inbox)));
    Ok(())
}

impl Driver {
    async fn command_loop(self: Rc<Self>, mut inbox: mpsc::Receiver<ToShard>) {
        while let Some(command) = inbox.recv().await {
            match command {
                ToShard::Accept(stream, peer, admission) => {
                    if let Err(e) = self.accept(stream, peer, admission) {
                        tracing::debug!("{peer}: {e}");
                    }
                }
                ToShard::Ask(query) => self.report(query),
                ToShard::Drain => self.is_draining.set(true),
                ToShard::Close => {
                    // What is in the inbox was promised; it is written before anybody is told goodbye.
                    let until = Instant::now() + GOODBYE_MAX;
                    let mut told = Vec::new();
                    loop {
                        self.drain();
                        self.shard.borrow_mut().take_told(usize::MAX, &mut told);
                        self.write_all(&told);
                        told.clear();
                        if !self.shard.borrow().is_behind() || Instant::now() > until {
                            break;
                        }
                        if !self.shard.borrow().can_tell() {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                    self.is_discarding.set(true);
                    for io in self.io.borrow().iter().flatten() {
                        // One that is gone already has nothing to be shut down.
                        let _ = shutdown_write(io);
                        wake(io);
                    }
                    let until = Instant::now() + GOODBYE_MAX;
                    while Instant::now() < until && !self.io.borrow().iter().all(Option::is_none) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    return;
                }
            }
        }
    }

    /// Looks at the clock: a thread that was stopped, or kept from running, heard nobody meanwhile.
    fn wake_up(&self) {
        let now_ms = self.core.clock.now().mono_ms();
        let due_ms = self.awake_ms.replace(now_ms) + SWEEP.as_millis() as i64;
        let late_ms = now_ms - due_ms;
        if late_ms >= SLEEP_TOLD_MS {
            let worked_ms = own_cpu_ms() - self.cpu_ms.get();
            let what = if worked_ms >= late_ms / 2 { "was busy with one thing" } else { "did not run" };
            tracing::warn!("a thread {what} for {late_ms} ms: that time counts for no session");
        }
        if late_ms >= SLEEP_MIN_MS {
            self.shard.borrow_mut().slept(due_ms, now_ms);
        }
    }

    /// The pipeline asks which sessions were heard of. A silent connection's socket may hold what was said while this
    /// thread was late: nobody's session ends for that.
    fn answer_what_was_heard(&self) {
        self.wake_up();
        let now = self.core.clock.now();
        let doubtful: Vec<ConnId> = self.shard.borrow().doubtful(now).collect();
        for id in doubtful {
            let io = self.io.borrow().get(id.slot as usize).and_then(Clone::clone);
            let unread = io.map(|io| rustix::io::ioctl_fionread(&io.stream));
            // A socket that can't be asked has nothing to say.
            if unread.is_some_and(|bytes| bytes.is_ok_and(|bytes| bytes > 0)) {
                self.shard.borrow_mut().has_unread(now, id);
            }
        }
        self.shard.borrow_mut().tell_touches();
    }

    /// After the shard did something: writes what it has to say, submits what it can't answer.
    fn settle(&self) {
        if self.shard.borrow().is_asked() {
            self.answer_what_was_heard();
        }
        let mut dirty = Vec::new();
        if self.shard.borrow().has_submissions() {
            self.submit.notify_one();
        }
        if self.shard.borrow().has_long_reads() {
            self.bulk.notify_one();
        }
        loop {
            {
                let mut shard = self.shard.borrow_mut();
                shard.take_dirty(&mut dirty);
                if !self.in_pieces.get() && shard.are_told() <= TOLD_AT_ONCE {
                    shard.take_told(TOLD_AT_ONCE, &mut dirty);
                }
            }
            if dirty.is_empty() {
                break;
            }
            // What is left of one may be too much for all: then others have to be closed, in the next round.
            self.write_all(&dirty);
            dirty.clear();
        }
        let shard = self.shard.borrow();
        if !self.in_pieces.get() && (shard.are_told() > 0 || shard.has_chores(&self.core.shared)) {
            self.in_pieces.set(true);
            self.pieces.notify_one();
        }
    }

    fn write_all(&self, all: &[ConnId]) {
        for id in all {
            let io = self.io.borrow().get(id.slot as usize).and_then(Clone::clone);
            if let Some(io) = io.filter(|io| io.id == *id) {
                self.write(&io);
            }
        }
    }

    /// Tells thousands of an event, and does what nobody waits for: a piece at a time, so that whoever wants something
    /// else, the writer of the change for his reply above all, waits for one piece at most.
    async fn pieces_loop(self: Rc<Self>) {
        let mut told = Vec::new();
        loop {
            self.pieces.notified().await;
            loop {
                let more = {
                    let mut shard = self.shard.borrow_mut();
                    shard.take_told(TOLD_AT_ONCE, &mut told);
                    if shard.has_chores(&self.core.shared) {
                        shard.chore(self.core.clock.now(), &self.core.shared);
                    }
                    shard.are_told() > 0 || shard.has_chores(&self.core.shared)
                };
                self.write_all(&told);
                told.clear();
                // What had to wait behind setWatches.
                if self.shard.borrow().has_paused() {
                    self.drain();
                }
                if !more {
                    break;
                }
                self.settle();
                tokio::task::yield_now().await;
            }
            self.in_pieces.set(false);
            // What came with the last piece.
            self.settle();
        }
    }

    fn write(&self, io: &Rc<Io>) {
        let mut shard = self.shard.borrow_mut();
        let mut turn = WRITE_BYTES;
        while !io.is_full.get() {
            let bytes = shard.to_send(io.id);
            if bytes.is_empty() {
                break;
            }
            if turn == 0 {
                if !io.has_more.replace(true) {
                    self.more.borrow_mut().push_back(io.clone());
                    self.bulk.notify_one();
                }
                break;
            }
            let now = &bytes[..bytes.len().min(turn)];
            let is_last = now.len() == bytes.len() && shard.is_closing(io.id);
            match if is_last { send_last(io, now) } else { io.stream.try_write(now) } {
                Ok(n) => {
                    shard.sent(self.core.clock.now(), io.id, n);
                    turn -= n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    io.is_full.set(true);
                    wake(io);
                }
                Err(_) => {
                    io.close.set(true);
                    wake(io);
                    return;
                }
            }
        }
        shard.wrote(&self.core.shared, io.id);
        if shard.wants_close(io.id) {
            io.close.set(true);
            wake(io);
        }
        // Frames that had to wait because there was too much to send: now there is room.
        if shard.has_paused() && !io.is_full.get() || shard.can_tell() {
            self.core.bells[self.number].notify_one();
        }
    }

    async fn submit_loop(self: Rc<Self>) {
        let mut submissions: Vec<Submission> = Vec::new();
        loop {
            self.submit.notified().await;
            self.shard.borrow_mut().take_submissions(&mut submissions);
            if !submissions.is_empty() {
                self.core.submit(&mut submissions);
                submissions.clear();
            }
        }
    }

    /// What takes long goes on here, a step at a time: reads that are made in steps, and answers that are longer than what
    /// is written at once. In between everybody else has a turn, and the sockets are looked at.
    async fn bulk_loop(self: Rc<Self>) {
        loop {
            self.bulk.notified().await;
            loop {
                let io = self.more.borrow_mut().pop_front();
                let has_reads = self.shard.borrow().has_long_reads();
                if has_reads {
                    let is_through = {
                        let mut shard = self.shard.borrow_mut();
                        shard.step_long_reads(self.core.clock.now(), &self.core.shared)
                    };
                    if is_through { self.drain() } else { self.settle() }
                }
                match io {
                    Some(io) => {
                        io.has_more.set(false);
                        if !io.close.get() {
                            self.write(&io);
                        }
                    }
                    None if !has_reads => break,
                    None => {}
                }
                tokio::task::yield_now().await;
            }
        }
    }

    async fn inbox_loop(self: Rc<Self>) {
        let bell = &self.core.bells[self.number];
        loop {
            bell.notified().await;
            self.drain();
            // It may have been rung meanwhile, by itself: others have their turn before it goes on.
            if self.shard.borrow().has_paused() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Drops what waits for connections whose other end has gone.
    fn drop_gone(&self) {
        let held: Vec<ConnId> = self.shard.borrow().held().collect();
        for id in held {
            let io = self.io.borrow().get(id.slot as usize).and_then(Clone::clone);
            if io.is_some_and(|io| io.id == id && has_hung_up(&io)) {
                self.shard.borrow_mut().drop_stale(&self.core.shared, id);
            }
        }
    }

    fn drain(&self) {
        self.wake_up();
        if self.drop_gone && self.shard.borrow().has_paused() {
            self.drop_gone();
        }
        self.shard.borrow_mut().drain(self.core.clock.now(), &self.core.shared);
        self.settle();
        // Writing may have made room.
        for _ in 0..4 {
            if !self.shard.borrow().has_paused() || self.shard.borrow().had_its_turn() {
                break;
            }
            self.shard.borrow_mut().drain(self.core.clock.now(), &self.core.shared);
            self.settle();
        }
        let goes_on = self.shard.borrow().can_tell() || self.shard.borrow().had_its_turn();
        if goes_on {
            self.core.bells[self.number].notify_one();
        }
        self.wake_readers();
    }

    /// Connections that may be read again.
    fn wake_readers(&self) {
        let mut shard = self.shard.borrow_mut();
        let mut resumed = Vec::new();
        shard.take_resumed(&mut resumed);
        for id in resumed {
            if let Some(io) = self.io.borrow().get(id.slot as usize).and_then(Option::as_ref).filter(|io| io.id == id) {
                wake(io);
            }
        }
    }

    /// Who holds too much of what was received, and what for.
    fn make_room(&self) {
        let is_silent = |id: ConnId| {
            let io = self.io.borrow().get(id.slot as usize).and_then(Clone::clone);
            io.is_none_or(|io| rustix::io::ioctl_fionread(&io.stream).is_ok_and(|bytes| bytes == 0))
        };
        self.shard.borrow_mut().make_room(self.core.clock.now(), &self.core.shared, is_silent);
        self.settle();
        self.wake_readers();
    }

    /// A line for those that were closed since the last one because of a limit for all connections together.
    fn tell_who_was_closed(&self) {
        let stats = &self.core.shared.shard_stats[self.number];
        for (closed, told, why) in [
            (&stats.shed, &self.shed_told, "do not read what they are sent"),
            (&stats.idle_holders_closed, &self.idle_holders_told, "do not go on with what they began to send"),
        ] {
            // `srst` may have made it smaller.
            let count = closed.get().saturating_sub(told.replace(closed.get()));
            if count > 0 {
                tracing::warn!(
                    "{count} connections were closed that {why}: together it was more than this server keeps"
                );
            }
        }
    }

    async fn sweep_loop(self: Rc<Self>) {
        let mut rounds = 0u32;
        loop {
            tokio::time::sleep(SWEEP).await;
            self.wake_up();
            self.cpu_ms.set(own_cpu_ms());
            if self.shard.borrow().has_submissions() {
                self.submit.notify_one();
            }
            if self.shard.borrow().has_paused() {
                self.drain();
            }
            if self.shard.borrow().needs_room(&self.core.shared) {
                self.make_room();
            }
            if self.number == 0 {
                self.core.tick();
                for _ in 0..PIECES_OF_SWEEP_MAX {
                    if !self.core.sweep() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(20) {
                self.shard.borrow_mut().begin_round();
                self.tell_who_was_closed();
                for io in self.io.borrow().iter().flatten() {
                    self.shard.borrow_mut().shrink(io.id);
                    // It was to close when all is written, and its other end does not read.
                    if self.shard.borrow().is_closing(io.id)
                        && io.closing_rounds.replace(io.closing_rounds.get() + 1) > 1
                    {
                        io.close.set(true);
                        wake(io);
                    }
                }
                let late = self.core.clock.now().mono_ms() - self.handshake_timeout_ms;
                let shard = self.shard.borrow();
                for conn in shard.connections().filter(|conn| conn.is_stuck_in_handshake(late)) {
                    if let Some(Some(io)) = self.io.borrow().get(conn.id.slot as usize)
                        && !io.is_word.get()
                        && !io.close.get()
                    {
                        self.core.shared.shard_stats[self.number].sessionless_expired.add(1);
                        io.close.set(true);
                        wake(io);
                    }
                }
            }
        }
    }
}

/// The CPU time that the calling thread has used, in ms.
fn own_cpu_ms() -> i64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    used.tv_sec * 1000 + used.tv_nsec / 1_000_000
}

/// The address that limits count connections by.
pub fn limit_key(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}
