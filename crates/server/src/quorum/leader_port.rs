//! The learners of this server, while it leads; or its observers, while it follows, at a port of their own.
//!
//! A connection is told to the leader when its first packet is there, and is a hello: who never says it never counts among
//! the learners. Then a task reads packets, and one takes from the leader's queue what is to be sent, as much as one write
//! takes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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
use crate::few_lines::Told;

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
    /// Servers that seem to be two.
    doubted: Told,
    /// By address.
    acceptors: BTreeMap<HostPort, JoinHandle<()>>,
    /// Is it the port for observers?
    is_master: bool,
}

/// A learner, for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    server: Option<ServerId>,
    from: Option<SocketAddr>,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.server {
            Some(server) => write!(f, "{server}")?,
            None => f.write_str("without a number")?,
        }
        self.from.map_or(Ok(()), |from| write!(f, " at {from}"))
    }
}

#[derive(Debug)]
struct Learner {
    who: Who,
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
        for acceptor in self.acceptors.values() {
            acceptor.abort();
        }
    }
}

impl LeaderPort {
    /// Listens on all own addresses.
    pub(super) fn open(shared: &Shared, role: RoleId) -> Self {
        Self::open_at(shared, role, false)
    }

    /// Listens on all own addresses, at the port for observers.
    pub(super) fn for_observers(shared: &Shared, role: RoleId) -> Self {
        Self::open_at(shared, role, true)
    }

    fn open_at(shared: &Shared, role: RoleId, is_master: bool) -> Self {
        let acceptors = BTreeMap::new();
        let mut this = Self { role, learners: BTreeMap::new(), doubted: Told::default(), acceptors, is_master };
        this.move_to_own(shared);
        this
    }

    /// The own addresses have changed: listens there, and nowhere else.
    pub(super) fn move_to_own(&mut self, shared: &Shared) {
        let own = shared.own.borrow();
        let addresses: Vec<HostPort> = match (self.is_master, shared.options.observer_master_port) {
            (false, _) => own.iter().map(MemberAddress::quorum).collect(),
            (true, Some(port)) => own.iter().map(|it| HostPort { host: it.host.clone(), port }).collect(),
            (true, None) => Vec::new(),
        };
        let what = if self.is_master {
            "observers can't reach this server: observerMasterPort"
        } else {
            "this server leads, but learners can't reach it: quorum port"
        };
        self.acceptors.retain(|address, acceptor| {
            let stays = addresses.contains(address);
            if !stays {
                acceptor.abort();
            }
            stays
        });
        for address in addresses {
            let open = || spawn_local(accept(shared.clone(), self.role, address.clone(), what));
            self.acceptors.entry(address.clone()).or_insert_with(open);
        }
    }

    /// A learner said hello; `rest` is what came behind it.
    pub(super) fn begin(&mut self, shared: &Shared, id: ConnId, stream: TcpStream, hello: Packet, rest: BytesMut) {
        let who = Who { server: server_of(&hello), from: stream.peer_addr().ok() };
        self.look_for_double(shared, who);
        let (reads, writes) = stream.into_split();
        let ready = Rc::new(Notify::new());
        let (snapshots, inbox) = mpsc::channel(1);
        // The machine hears of the connection before any of its tasks runs.
        let news =
            vec![News::Leader(self.role, Input::Connected(id)), News::Leader(self.role, Input::Packet(id, hello))];
        let tasks = [
            spawn_local(read(shared.clone(), self.role, id, who, reads, rest)).abort_handle(),
            spawn_local(write(shared.clone(), self.role, id, who, writes, ready.clone(), inbox)).abort_handle(),
        ];
        self.learners.insert(id, Learner { who, ready, snapshots, tasks });
        shared.machines.handle(news);
    }

    /// Whoever restarts closes its connection first, as a rule. Said once: two servers would replace each other for ever.
    fn look_for_double(&mut self, shared: &Shared, who: Who) {
        let Who { server: Some(server), from } = who else { return };
        let other = self.learners.values().find(|it| it.who.server == Some(server)).and_then(|it| it.who.from);
        if let Some((other, from)) = other.zip(from)
            && self.doubted.add(server)
        {
            shared.lines.doubles.tell(|more| {
                tracing::error!(
                    "server {server} connects from {from} while its connection from {other} is open: if it was not just cut off, two servers have the same myid{more}"
                );
            });
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

    /// Closes a connection, and says whose it was. `None`: it was closed before.
    pub(super) fn close(&mut self, id: ConnId) -> Option<Who> {
        self.learners.remove(&id).map(|it| it.who)
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
                    let (lines, name) = (&shared.lines.bad_learner_hellos, packet.name());
                    lines.tell(|more| {
                        tracing::info!("quorum port: {name} is no hello: the connection is closed{more}");
                    });
                    return None;
                }
                Ok(None) => {}
                Err(e) => {
                    let lines = &shared.lines.bad_learner_hellos;
                    lines.tell(|more| tracing::info!("quorum port: {e}: the connection is closed{more}"));
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

async fn read(shared: Shared, role: RoleId, id: ConnId, who: Who, mut from: OwnedReadHalf, mut bytes: BytesMut) {
    let limits = Limits { length_max: shared.options.length_max, ..Limits::default() };
    loop {
        let mut news = Vec::new();
        let is_good = loop {
            match next_packet(&mut bytes, limits) {
                Ok(Some(packet)) => news.push(News::Leader(role, Input::Packet(id, packet))),
                Ok(None) => break true,
                Err(e) => {
                    let lines = &shared.lines.bad_learner_packets;
                    lines.tell(|more| tracing::warn!("learner {who}: {e}: its connection is closed{more}"));
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
    who: Who,
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
                        let lines = &shared.lines.broken_snapshots;
                        lines.tell(|more| tracing::warn!("learner {who}: the snapshot broke off: {e}{more}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_is_called_by_the_number_that_it_has_itself() {
        let from = Some(SocketAddr::from(([127, 0, 0, 1], 5)));
        let who = |server| Who { server, from }.to_string();
        assert_eq!(who(Some(ServerId(3))), "3 at 127.0.0.1:5");
        assert_eq!(who(None), "without a number at 127.0.0.1:5");
    }
}
