//! The learners of this server, while it leads; or its observers, while it follows, at a port of their own.
//!
//! A connection is told to the leader when its first packet is there, and is a hello: who never says it never counts among
//! the learners. Then a task reads packets, and one takes from the leader's queue what is to be sent, as much as one write
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use wire::ServerId;
use wire::election::HostPort;
use wire::quorum::{Limits, Packet, split};
use zab::leader::Input;
use zab::quorum_verifier::MemberAddress;
use zab::{ConnId, RoleId, ToLearner};

use super::driver::{Event, Shared};
use super::waiting::Waiting;
use super::{News, dial};

/// How much is taken from the leader's queue for one write.
const WRITE_BYTES: usize = 256 << 10;
/// Free space that a read begins with.
const READ_BYTES: usize = 16 << 10;
/// What stands behind a snapshot.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";
/// How long a port that is taken is left alone.
const BIND_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// The learners of one role.
#[derive(Debug)]
pub(super) struct LeaderPort {
    pub(super) role: RoleId,
    learners: BTreeMap<ConnId, Learner>,
    /// Servers that were told of, because they seem to be two.
    doubted: BTreeSet<ServerId>,
    acceptors: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Learner {
    server: Option<ServerId>,
    from: Option<SocketAddr>,
    ready: Rc<Notify>,
    snapshots: mpsc::Sender<mpsc::Receiver<io::Result<Bytes>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Learner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for LeaderPort {
    fn drop(&mut self) {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
    }
}

impl LeaderPort {
    /// Listens on all own addresses.
    pub(super) fn open(shared: &Shared, role: RoleId) -> Self {
        let addresses = shared.options.own.iter().map(MemberAddress::quorum);
        Self::open_at(shared, role, addresses, "this server leads, but learners can't reach it: quorum port")
    }

    /// Listens on all own addresses, at the port for observers.
    pub(super) fn for_observers(shared: &Shared, role: RoleId) -> Self {
        let ports = shared.options.observer_master_port.into_iter();
        let own = &shared.options.own;
        let addresses = ports.flat_map(|port| own.iter().map(move |it| HostPort { host: it.host.clone(), port }));
        Self::open_at(shared, role, addresses, "observers can't reach this server: observerMasterPort")
    }

    fn open_at(shared: &Shared, role: RoleId, addresses: impl Iterator<Item = HostPort>, what: &'static str) -> Self {
        let acceptors = addresses.map(|address| spawn_local(accept(shared.clone(), role, address, what))).collect();
        Self { role, learners: BTreeMap::new(), doubted: BTreeSet::new(), acceptors }
    }

    /// A learner said hello; `rest` is what came behind it.
    pub(super) fn begin(&mut self, shared: &Shared, id: ConnId, stream: TcpStream, hello: Packet, rest: BytesMut) {
        let (server, from) = (server_of(&hello), stream.peer_addr().ok());
        self.look_for_double(server, from);
        let (reads, writes) = stream.into_split();
        let ready = Rc::new(Notify::new());
        let (snapshots, inbox) = mpsc::channel(1);
        // The machine hears of the connection before any of its tasks runs.
        let news =
            vec![News::Leader(self.role, Input::Connected(id)), News::Leader(self.role, Input::Packet(id, hello))];
        let tasks = [
            spawn_local(read(shared.clone(), self.role, id, reads, rest)).abort_handle(),
            spawn_local(write(shared.clone(), self.role, id, writes, ready.clone(), inbox)).abort_handle(),
        ];
        self.learners.insert(id, Learner { server, from, ready, snapshots, tasks });
        shared.machines.handle(news);
    }

    /// Whoever restarts closes its connection first, as a rule. Said once: two servers would replace each other for ever.
    fn look_for_double(&mut self, server: Option<ServerId>, from: Option<SocketAddr>) {
        let Some(server) = server else { return };
        let other = self.learners.values().find(|it| it.server == Some(server)).and_then(|it| it.from);
        if let Some((other, from)) = other.zip(from)
            && self.doubted.insert(server)
        {
            tracing::error!(
                "server {server} connects from {from} while its connection from {other} is open: if it was not just cut off, two servers have the same myid"
            );
        }
    }

    /// There is something to send.
    pub(super) fn ready(&self, id: ConnId) {
        if let Some(learner) = self.learners.get(&id) {
            learner.ready.notify_one();
        }
    }

    /// Where the next snapshot comes from.
    pub(super) fn snapshot(&self, id: ConnId, from: mpsc::Receiver<io::Result<Bytes>>) {
        if let Some(learner) = self.learners.get(&id) {
            // A learner gets one snapshot in the life of its connection; the place is free.
            let _ = learner.snapshots.try_send(from);
        }
    }

    /// Closes a connection. False: it was closed before.
    pub(super) fn close(&mut self, id: ConnId) -> bool {
        self.learners.remove(&id).is_some()
    }
}

fn server_of(hello: &Packet) -> Option<ServerId> {
    match hello {
        Packet::FollowerInfo { info, .. } | Packet::ObserverInfo { info, .. } => info.server,
        _ => None,
    }
}

/// Listens as long as the role lasts; a port that is taken is tried again.
async fn accept(shared: Shared, role: RoleId, address: HostPort, what: &'static str) {
    let mut waiting = Waiting::default();
    let mut told = false;
    let listener = loop {
        match dial::listen_apart(address.clone(), shared.options.listen_on_all).await {
            Ok(listener) => break listener,
            Err(e) if told => tracing::debug!("{what} {e}"),
            Err(e) => {
                told = true;
                tracing::error!("{what} {e}");
            }
        }
        tokio::time::sleep(BIND_PAUSE).await;
    };
    loop {
        let (stream, from) = dial::accept(&listener).await;
        waiting.add(from, spawn_local(greet(shared.clone(), role, stream)).abort_handle());
    }
}

/// A connection that came: is it a learner's?
async fn greet(shared: Shared, role: RoleId, mut stream: TcpStream) {
    let limits = Limits { length_max: HELLO_BYTES_MAX, identities_max: 0 };
    let said = tokio::time::timeout(shared.options.learner_hello, async {
        let mut bytes = BytesMut::with_capacity(128);
        loop {
            match next_packet(&mut bytes, limits) {
                Ok(Some(packet @ (Packet::FollowerInfo { .. } | Packet::ObserverInfo { .. }))) => {
                    return Some((packet, bytes));
                }
                Ok(Some(packet)) => {
                    tracing::info!("quorum port: {} is no hello: the connection is closed", packet.name());
                    return None;
                }
                Ok(None) => {}
                Err(e) => {
                    tracing::info!("quorum port: {e}: the connection is closed");
                    return None;
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    });
    if let Ok(Some((hello, rest))) = said.await {
        shared.send(Event::LearnerCame { role, stream, hello, rest }).await;
    }
}

/// A hello is a few numbers.
const HELLO_BYTES_MAX: usize = 256;

/// Cuts the first packet off, when it is all there.
pub(super) fn next_packet(bytes: &mut BytesMut, limits: Limits) -> Result<Option<Packet>, wire::jute::DecodeError> {
    match split(bytes, limits)? {
        Some(length) => Packet::read(&bytes.split_to(length).freeze()).map(Some),
        None => Ok(None),
    }
}

async fn read(shared: Shared, role: RoleId, id: ConnId, mut from: OwnedReadHalf, mut bytes: BytesMut) {
    let limits = Limits { length_max: shared.options.length_max, ..Limits::default() };
    loop {
        let mut news = Vec::new();
        let is_good = loop {
            match next_packet(&mut bytes, limits) {
                Ok(Some(packet)) => news.push(News::Leader(role, Input::Packet(id, packet))),
                Ok(None) => break true,
                Err(e) => {
                    tracing::warn!("learner {}: {e}: its connection is closed", id.0);
                    break false;
                }
            }
        };
        if !news.is_empty() {
            shared.machines.handle(news);
        }
        bytes.reserve(READ_BYTES);
        if !is_good || !matches!(from.read_buf(&mut bytes).await, Ok(n) if n > 0) {
            return shared.send(Event::LearnerEnded(role, id)).await;
        }
    }
}

async fn write(
    shared: Shared,
    role: RoleId,
    id: ConnId,
    mut to: OwnedWriteHalf,
    ready: Rc<Notify>,
    mut snapshots: mpsc::Receiver<mpsc::Receiver<io::Result<Bytes>>>,
) {
    let mut packets = Vec::new();
    let mut out = Vec::new();
    loop {
        shared.machines.next_packets(role, id, WRITE_BYTES, &mut packets);
        if packets.is_empty() {
            ready.notified().await;
            continue;
        }
        for packet in packets.drain(..) {
            match packet {
                ToLearner::Packet(packet) => packet.write(&mut out),
                ToLearner::Snapshot { .. } => {
                    let sent = async {
                        to.write_all(&out).await?;
                        out.clear();
                        send_snapshot(&mut to, &mut snapshots).await
                    };
                    if let Err(e) = sent.await {
                        tracing::warn!("learner {}: the snapshot broke off: {e}", id.0);
                        return shared.send(Event::LearnerEnded(role, id)).await;
                    }
                }
            }
        }
        if to.write_all(&out).await.is_err() {
            return shared.send(Event::LearnerEnded(role, id)).await;
        }
        out.clear();
        // What a large write needed is not kept for small ones.
        out.shrink_to(2 * WRITE_BYTES);
    }
}

async fn send_snapshot(
    to: &mut OwnedWriteHalf,
    snapshots: &mut mpsc::Receiver<mpsc::Receiver<io::Result<Bytes>>>,
) -> io::Result<()> {
    let gone = || io::Error::other("whoever reads it is gone");
    let mut pieces = snapshots.recv().await.ok_or_else(gone)?;
    while let Some(piece) = pieces.recv().await {
        to.write_all(&piece?).await?;
    }
    to.write_all(SIGNATURE).await
}
