//! Which connection to a peer lives: one of each pair of servers, on the election port.
//!
//! In: what happened to connections, and messages to send ([`Input`]). Out: what to open, write and close ([`Output`]).
//! The driver opens sockets, speaks TLS and SASL, cuts frames, and owns all time limits. It calls
//! [`handle`](Connections::handle) once, then drains [`take_output`](Connections::take_output).
//!
//! The rules, which both ends must follow (ZOOKEEPER-2164, ZOOKEEPER-3756):
//!
//! * The connection that lives was opened by the server with the **larger** id. A smaller one opens a connection too, says
//!   who it is, and closes it: that is how it asks to be called back.
//! * A new connection replaces the old one: the peer may know that the old one is dead, when we don't.
//! * One message waits for each peer, and a newer one replaces it: what counts is the latest vote.
//! * A fresh connection begins with the waiting message, or, if none waits, with the one that was sent last: it may have
//!   been lost with the old connection. So messages can come twice, and elections must not mind.
//! * Each attempt is on its own (ZOOKEEPER-822): a peer that does not answer delays nobody else.
//!
//! Source: Apache `QuorumCnxManager`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wire::ServerId;
use wire::election::{HostPort, InitialMessage, OBSERVER_ID};

use crate::queues::{Queue, Visit};
use crate::quorum_verifier::Quorums;

/// A connection's number, which the driver gives; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Most servers that are in no configuration and yet have a connection or a message here: joiners, observers with
/// numbers of their own. A connection of one more is closed.
pub const STRANGERS_MAX: usize = 64;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A peer opened a connection and said who it is (and, where SASL is asked for, proved it).
    Accepted {
        /// The new connection.
        connection: ConnectionId,
        /// What it said.
        initial: InitialMessage,
    },
    /// An [`Output::Connect`] worked: our initial message is sent, and SASL is done.
    Opened {
        /// The peer.
        to: ServerId,
        /// The new connection.
        connection: ConnectionId,
    },
    /// An [`Output::Connect`] did not work.
    Failed {
        /// The peer.
        to: ServerId,
    },
    /// What an [`Output::Write`] gave has left, and the connection can take more.
    Written(ConnectionId),
    /// A frame's payload came.
    Received {
        /// From where.
        connection: ConnectionId,
        /// The payload.
        message: Bytes,
    },
    /// A connection has ended, or must (a bad length, an error).
    Closed(ConnectionId),
    /// A peer sent what is no notification: its connection is closed, and no other (ZOOKEEPER-2186, 3769).
    SentNonsense(ServerId),
    /// A message for a server; for this one, it comes straight back.
    Send {
        /// To whom.
        to: ServerId,
        /// The frame's payload.
        message: Bytes,
    },
    /// Open what is missing to everybody for whom a message was ever left.
    ConnectAll,
    /// Other configurations hold from now on.
    Configured(Quorums),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Open a connection, send our initial message in one write, and say how it went. One attempt a peer at a time.
    Connect {
        /// To whom.
        to: ServerId,
        /// Its addresses; the first that answers is the one.
        addresses: Vec<HostPort>,
        /// Somebody told them, and no configuration has them all: they may be anybody's.
        is_told: bool,
    },
    /// Write a frame; say [`Input::Written`] when it has left.
    Write {
        /// Where.
        connection: ConnectionId,
        /// The payload.
        message: Bytes,
    },
    /// Close it; no [`Input::Closed`] is awaited.
    Close(ConnectionId),
    /// A message for the election.
    Deliver {
        /// Who sent it.
        from: ServerId,
        /// The payload.
        message: Bytes,
    },
    /// There is a connection to this peer now. Not said again when another replaces it.
    Up(ServerId),
    /// There is none any more.
    Down(ServerId),
}

/// All connections of one server's election port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connections {
    me: ServerId,
    quorums: Quorums,
    peers: BTreeMap<ServerId, Peer>,
    /// The number for the next observer that has none.
    next_observer: i64,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Peer {
    live: Option<Live>,
    /// An attempt is under way.
    connecting: bool,
    /// The message that waits.
    queued: Option<Bytes>,
    /// The one that was taken from there last.
    last: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Live {
    connection: ConnectionId,
    /// A frame is being written.
    writing: bool,
}

impl Connections {
    /// No connection at all.
    pub fn new(me: ServerId, quorums: Quorums) -> Self {
        Self { me, quorums, peers: BTreeMap::new(), next_observer: -1, outputs: VecDeque::new() }
    }

    /// One step. What comes of it is then to be drained.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Accepted { connection, initial } => self.on_accepted(connection, initial),
            Input::Opened { to, connection } => self.on_opened(to, connection),
            Input::Failed { to } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.connecting = false;
                }
                self.forget(to);
            }
            Input::Written(connection) => self.on_written(connection),
            Input::Received { connection, message } => {
                // What an old connection still holds is stale.
                if let Some(from) = self.peer_of(connection) {
                    self.outputs.push_back(Output::Deliver { from, message });
                }
            }
            Input::Closed(connection) => self.on_closed(connection),
            Input::SentNonsense(from) => {
                self.hang_up(from);
                self.forget(from);
            }
            Input::Send { to, message } => self.on_send(to, message),
            Input::ConnectAll => {
                for to in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.connect(to, Vec::new());
                }
            }
            Input::Configured(quorums) => {
                self.quorums = quorums;
                for id in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.forget(id);
                }
            }
        }
    }

    /// The next thing to be done.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Has at least one peer taken what was left for it last? Apache sends its vote again only then; the election here does
    /// so in any case, which opens what is missing too (ZOOKEEPER-4605).
    pub fn have_delivered(&self) -> bool {
        self.peers.values().any(|it| it.queued.is_none())
    }

    /// Is there a connection to this peer?
    pub fn is_up(&self, peer: ServerId) -> bool {
        self.peers.get(&peer).is_some_and(|it| it.live.is_some())
    }

    /// Whose connection it is; `None`: nobody's, it was replaced or closed.
    pub fn peer_of(&self, connection: ConnectionId) -> Option<ServerId> {
        self.peers
            .iter()
            .find(|(_, it)| it.live.as_ref().is_some_and(|it| it.connection == connection))
            .map(|(id, _)| *id)
    }

    fn on_accepted(&mut self, connection: ConnectionId, initial: InitialMessage) {
        let from = match initial.server {
            OBSERVER_ID => ServerId(self.next_observer),
            id => id,
        };
        // Two servers with one id: a mistake in a configuration.
        if from == self.me || !self.has_room_for(from) {
            self.outputs.push_back(Output::Close(connection));
            return;
        }
        if initial.server == OBSERVER_ID {
            self.next_observer = self.next_observer.saturating_sub(1);
        }
        if from > self.me {
            self.live(from, connection);
            return;
        }
        // It may know that our connection is dead; and it is for us to open the next.
        self.outputs.push_back(Output::Close(connection));
        self.hang_up(from);
        let told = initial.addresses.into_iter().filter(|it| !it.is_wildcard()).collect();
        self.connect(from, told);
        self.forget(from);
    }

    fn on_opened(&mut self, to: ServerId, connection: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.connecting = false;
        }
        if to < self.me && self.peers.contains_key(&to) {
            self.live(to, connection);
        } else {
            // A larger one knows now that we are here, and calls back.
            self.outputs.push_back(Output::Close(connection));
            self.forget(to);
        }
    }

    /// This is the peer's connection from now on.
    fn live(&mut self, id: ServerId, connection: ConnectionId) {
        let peer = self.peers.entry(id).or_default();
        let old = peer.live.replace(Live { connection, writing: false });
        match old {
            Some(old) => self.outputs.push_back(Output::Close(old.connection)),
            None => self.outputs.push_back(Output::Up(id)),
        }
        let again = peer.last.clone().filter(|_| peer.queued.is_none());
        if let Some(message) = again {
            write(peer, message, &mut self.outputs);
        } else {
            write_queued(peer, &mut self.outputs);
        }
    }

    fn on_written(&mut self, connection: ConnectionId) {
        let Some(peer) = self.peer_of(connection).and_then(|id| self.peers.get_mut(&id)) else { return };
        if let Some(live) = &mut peer.live {
            live.writing = false;
        }
        write_queued(peer, &mut self.outputs);
    }

    fn on_closed(&mut self, connection: ConnectionId) {
        let Some(id) = self.peer_of(connection) else { return };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.live = None;
        }
        self.outputs.push_back(Output::Down(id));
        self.forget(id);
    }

    fn on_send(&mut self, to: ServerId, message: Bytes) {
        if to == self.me {
            self.outputs.push_back(Output::Deliver { from: to, message });
            return;
        }
        if !self.has_room_for(to) {
            return;
        }
        let peer = self.peers.entry(to).or_default();
        peer.queued = Some(message);
        if peer.live.is_some() {
            write_queued(peer, &mut self.outputs);
        } else {
            self.connect(to, Vec::new());
            self.forget(to);
        }
    }

    /// Opens a connection, unless there is one or an attempt; to where the peer says it is, or to where it should be.
    fn connect(&mut self, to: ServerId, told: Vec<HostPort>) {
        if self.peers.get(&to).is_some_and(|it| it.live.is_some() || it.connecting) {
            return;
        }
        let configured = self.configured(to);
        let is_told = told.iter().any(|it| !configured.contains(it));
        let addresses = if told.is_empty() { configured } else { told };
        if addresses.is_empty() {
            return;
        }
        self.peers.entry(to).or_default().connecting = true;
        self.outputs.push_back(Output::Connect { to, addresses, is_told });
    }

    /// Where the committed configuration has it, then where the one that is to follow has it.
    fn configured(&self, id: ServerId) -> Vec<HostPort> {
        let mut addresses: Vec<HostPort> = Vec::new();
        let configurations = std::iter::once(self.quorums.committed()).chain(self.quorums.newer());
        for member in configurations.filter_map(|it| it.member(id)) {
            for address in member.addresses.iter().map(crate::quorum_verifier::MemberAddress::election) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses
    }

    /// Ends the connection that the peer has.
    fn hang_up(&mut self, id: ServerId) {
        if let Some(live) = self.peers.get_mut(&id).and_then(|it| it.live.take()) {
            self.outputs.push_back(Output::Close(live.connection));
            self.outputs.push_back(Output::Down(id));
        }
    }

    fn is_member(&self, id: ServerId) -> bool {
        let mut configurations = std::iter::once(self.quorums.committed()).chain(self.quorums.newer());
        configurations.any(|it| it.member(id).is_some())
    }

    fn has_room_for(&self, id: ServerId) -> bool {
        self.is_member(id) || self.peers.contains_key(&id) || self.strangers() < STRANGERS_MAX
    }

    fn strangers(&self) -> usize {
        self.peers.keys().filter(|it| !self.is_member(**it)).count()
    }

    /// Shows how many peers there are that are in no configuration. A message waits once for each by its type.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        let what = "peers of the election port that are in no configuration";
        visit(Queue { what, length: self.strangers(), max: STRANGERS_MAX });
    }

    /// Keeps nothing of a stranger without a connection: there may be any number of them, one after another.
    fn forget(&mut self, id: ServerId) {
        let idle = self.peers.get(&id).is_some_and(|it| it.live.is_none() && !it.connecting);
        if idle && !self.is_member(id) {
            self.peers.remove(&id);
        }
    }
}

fn write_queued(peer: &mut Peer, outputs: &mut VecDeque<Output>) {
    if peer.live.as_ref().is_some_and(|it| !it.writing)
        && let Some(message) = peer.queued.take()
    {
        peer.last = Some(message.clone());
        write(peer, message, outputs);
    }
}

fn write(peer: &mut Peer, message: Bytes, outputs: &mut VecDeque<Output>) {
    if let Some(live) = &mut peer.live {
        live.writing = true;
        outputs.push_back(Output::Write { connection: live.connection, message });
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
