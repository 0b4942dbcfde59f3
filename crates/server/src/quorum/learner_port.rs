//! The connection to the leader.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use storage::snapshot::raw::RawSplitter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;
use wire::ServerId;
use wire::election::HostPort;
use wire::quorum::{Limits, Packet};
use zab::RoleId;
use zab::learner::Input;

use super::driver::{Event, Shared};
use super::leader_port::next_packet;
use super::{News, SnapshotBytes, dial};

/// For so many pauses a leader is called that does not answer: it may not have begun to listen. Source:
/// `Learner.connectToLeader`, which calls so often.
const CONNECT_TRIES: u32 = 5;
/// Free space that a read begins with.
const READ_BYTES: usize = 64 << 10;
/// What stands behind a snapshot.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";
/// How often a learner is told that the disk is still at the snapshot.
const PROGRESS: Duration = Duration::from_millis(200);
/// The pause behind the first try: a leader that has just been elected listens in a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Bytes for a leader that does not take them, beyond which the connection is given up.
const OUT_BYTES_MAX: usize = 64 << 20;

/// The connection of one role, made or being made.
#[derive(Debug)]
pub(super) struct LearnerPort {
    pub(super) role: RoleId,
    out: Rc<Out>,
    snapshots: mpsc::Sender<mpsc::Sender<SnapshotBytes>>,
    task: AbortHandle,
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Out {
    bytes: RefCell<Vec<u8>>,
    ready: Notify,
}

impl Drop for LearnerPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LearnerPort {
    /// Begins to connect.
    pub(super) fn open(shared: &Shared, role: RoleId, leader: ServerId, addresses: Vec<HostPort>) -> Self {
        let out = Rc::new(Out::default());
        let (snapshots, inbox) = mpsc::channel(1);
        let task = spawn_local(run(shared.clone(), role, leader, addresses, out.clone(), inbox)).abort_handle();
        Self { role, out, snapshots, task }
    }

    /// Sends a packet. False: the leader does not take what it is sent.
    pub(super) fn send(&self, packet: &Packet) -> bool {
        let mut bytes = self.out.bytes.borrow_mut();
        packet.write(&mut bytes);
        self.out.ready.notify_one();
        bytes.len() <= OUT_BYTES_MAX
    }

    /// Where the snapshot goes.
    pub(super) fn snapshot(&self, to: mpsc::Sender<SnapshotBytes>) {
        // There is one at a time; the place is free.
        let _ = self.snapshots.try_send(to);
    }
}

async fn run(
    shared: Shared,
    role: RoleId,
    leader: ServerId,
    addresses: Vec<HostPort>,
    out: Rc<Out>,
    snapshots: mpsc::Receiver<mpsc::Sender<SnapshotBytes>>,
) {
    match connect(&shared, &addresses).await {
        Ok(stream) => {
            shared.machines.handle(vec![News::Learner(role, Input::Connected)]);
            let (reads, writes) = stream.into_split();
            tokio::select! {
                why = read(&shared, role, reads, snapshots) => tracing::info!("leader {leader}: {why}"),
                e = write(writes, &out) => tracing::info!("leader {leader}: {e}"),
            }
        }
        Err(e) => tracing::info!("leader {leader} can't be reached: {e}"),
    }
    shared.send(Event::LeaderEnded(role)).await;
}

async fn connect(shared: &Shared, addresses: &[HostPort]) -> std::io::Result<TcpStream> {
    let (limit, pause) = (shared.options.leader_connect, shared.options.leader_connect_pause);
    let began = Instant::now();
    let give_up = limit.min(CONNECT_TRIES * pause);
    let mut next_pause = FIRST_PAUSE.min(pause);
    loop {
        let left = limit.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        match dial::connect(addresses, left, None).await {
            Ok(stream) => return Ok(stream),
            Err(e) if began.elapsed() >= give_up => return Err(e),
            Err(_) => tokio::time::sleep(next_pause).await,
        }
        next_pause = (2 * next_pause).min(pause);
    }
}

async fn write(mut to: OwnedWriteHalf, out: &Out) -> std::io::Error {
    let mut bytes = Vec::new();
    loop {
        std::mem::swap(&mut *out.bytes.borrow_mut(), &mut bytes);
        if bytes.is_empty() {
            out.ready.notified().await;
            continue;
        }
        if let Err(e) = to.write_all(&bytes).await {
            return e;
        }
        bytes.clear();
        // What a large write needed is not kept for small ones.
        bytes.shrink_to(1 << 20);
    }
}

/// Reads until the connection ends, and says why it did.
async fn read(
    shared: &Shared,
    role: RoleId,
    mut from: OwnedReadHalf,
    mut snapshots: mpsc::Receiver<mpsc::Sender<SnapshotBytes>>,
) -> String {
    let limits = Limits { length_max: shared.options.length_max, ..Limits::default() };
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    loop {
        let mut news = Vec::new();
        let next = loop {
            match next_packet(&mut bytes, limits) {
                Ok(Some(packet)) => {
                    let is_snap = matches!(packet, Packet::Snap { .. });
                    news.push(News::Learner(role, Input::Packet(packet)));
                    if is_snap {
                        break Ok(true);
                    }
                }
                Ok(None) => break Ok(false),
                Err(e) => break Err(e),
            }
        };
        if !news.is_empty() {
            shared.machines.handle(news);
        }
        match next {
            // What follows is no packet.
            Ok(true) => {
                if let Err(why) = read_snapshot(shared, role, &mut from, &mut bytes, &mut snapshots).await {
                    return why;
                }
                continue;
            }
            Ok(false) => {}
            Err(e) => return e.to_string(),
        }
        bytes.reserve(READ_BYTES);
        match from.read_buf(&mut bytes).await {
            Ok(0) => return "it closed the connection".to_owned(),
            Ok(_) => {}
            Err(e) => return e.to_string(),
        }
    }
}

/// Passes the snapshot on to the disk, which may be slower than the leader: then the leader waits.
async fn read_snapshot(
    shared: &Shared,
    role: RoleId,
    from: &mut OwnedReadHalf,
    bytes: &mut BytesMut,
    snapshots: &mut mpsc::Receiver<mpsc::Sender<SnapshotBytes>>,
) -> Result<(), String> {
    let gone = || "whoever takes the snapshot is gone".to_owned();
    let to = snapshots.recv().await.ok_or_else(gone)?;
    let mut splitter = RawSplitter::new(shared.options.length_max);
    loop {
        let n = splitter.feed(bytes).map_err(|e| e.to_string())?;
        if n > 0 {
            let piece: Bytes = bytes.split_to(n).freeze();
            to.send(SnapshotBytes::Piece(piece)).await.map_err(|_| gone())?;
            shared.machines.handle(vec![News::Learner(role, Input::SnapshotProgress)]);
        }
        if splitter.is_end() && bytes.len() >= SIGNATURE.len() {
            break;
        }
        bytes.reserve(READ_BYTES);
        match from.read_buf(bytes).await {
            Ok(0) => return Err("it closed the connection in the middle of a snapshot".to_owned()),
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    if *bytes.split_to(SIGNATURE.len()) != *SIGNATURE {
        return Err("there is no signature behind the snapshot".to_owned());
    }
    to.send(SnapshotBytes::End).await.map_err(|_| gone())?;
    // The packets behind it are for a learner that has it: whoever takes it drops the channel when that is told.
    while tokio::time::timeout(PROGRESS, to.closed()).await.is_err() {
        shared.machines.handle(vec![News::Learner(role, Input::SnapshotProgress)]);
    }
    Ok(())
}

/// The leader's connection has ended, or could not be made.
pub(super) fn ended(shared: &Shared, role: RoleId) {
    shared.machines.handle(vec![News::Learner(role, Input::Disconnected)]);
}
