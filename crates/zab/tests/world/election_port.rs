//! The election port: connections between servers that are opened, refused, cut in the midst of things, and noticed by each
//! end when it likes. Frames of one connection keep their order; those of different connections do not.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ostler_zab::connections::{ConnectionId, Input, Output};
use ostler_zab::ensemble;
use wire::ServerId;
use wire::election::{InitialMessage, InitialVersion};

use super::machine::Machine;
use super::{Action, World, participant};

/// Both ends of a connection. It has one number, which both ends use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    opener: ServerId,
    acceptor: ServerId,
    /// The opener has said who it is, and the acceptor has not heard it.
    is_fresh: bool,
    to_opener: VecDeque<Bytes>,
    to_acceptor: VecDeque<Bytes>,
    is_cut: bool,
    /// Who knows that it is.
    knows: [bool; 2],
}

/// All that the election ports have to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ElectionPorts {
    links: BTreeMap<ConnectionId, Link>,
    next: u64,
    /// Who tries to connect to whom.
    dials: Vec<(ServerId, ServerId)>,
    /// What sockets have not taken yet.
    writes: Vec<(ServerId, ConnectionId, Bytes)>,
}

impl Link {
    fn side(&self, id: ServerId) -> usize {
        usize::from(id == self.acceptor)
    }

    fn queue(&mut self, to: ServerId) -> &mut VecDeque<Bytes> {
        if to == self.opener { &mut self.to_opener } else { &mut self.to_acceptor }
    }
}

impl World {
    /// What a server wants.
    pub(super) fn election_port(&mut self, id: ServerId, output: Output) {
        let ports = &mut self.ports;
        match output {
            Output::Connect { to, .. } => ports.dials.push((id, to)),
            Output::Write { connection, message } => ports.writes.push((id, connection, message)),
            Output::Close(connection) => {
                ports.writes.retain(|it| (it.0, it.1) != (id, connection));
                if let Some(link) = ports.links.get_mut(&connection) {
                    link.is_cut = true;
                    let side = link.side(id);
                    link.knows[side] = true;
                }
                self.forget_links();
            }
            Output::Deliver { .. } | Output::Up(_) | Output::Down(_) => panic!("{output:?} is no driver's"),
        }
    }

    /// The process of a server is gone.
    pub(super) fn crash_ports(&mut self, id: ServerId) {
        let ports = &mut self.ports;
        ports.dials.retain(|it| it.0 != id);
        ports.writes.retain(|it| it.0 != id);
        for link in ports.links.values_mut().filter(|it| it.opener == id || it.acceptor == id) {
            link.is_cut = true;
            let side = link.side(id);
            link.knows[side] = true;
        }
        self.forget_links();
    }

    /// What may happen next.
    pub(super) fn port_actions(&self, actions: &mut Vec<Action>) {
        let ports = &self.ports;
        let free = |from, to| !self.blocked.contains(&(from, to));
        let dials = ports.dials.iter().filter(|it| free(it.0, it.1) && free(it.1, it.0));
        actions.extend(dials.map(|&(from, to)| Action::Dial(from, to)));
        actions.extend(ports.writes.iter().map(|it| Action::WriteFrame(it.0, it.1)));
        for (&id, link) in &ports.links {
            let knows = |side: ServerId| link.knows[link.side(side)];
            for (to, from) in [(link.opener, link.acceptor), (link.acceptor, link.opener)] {
                let queue = if to == link.opener { &link.to_opener } else { &link.to_acceptor };
                let has_some = !queue.is_empty() || to == link.acceptor && link.is_fresh;
                if has_some && !knows(to) && free(from, to) {
                    actions.push(Action::ReadFrame(id, to));
                }
                if link.is_cut && !knows(to) {
                    actions.push(Action::SeeLinkEnd(id, to));
                }
            }
        }
    }

    pub(super) fn links(&self) -> Vec<ConnectionId> {
        self.ports.links.iter().filter(|(_, it)| !it.is_cut).map(|(&id, _)| id).collect()
    }

    /// How many connections these two have.
    pub fn links_between(&self, a: ServerId, b: ServerId) -> usize {
        let of = |it: &&Link| !it.is_cut && [(a, b), (b, a)].contains(&(it.opener, it.acceptor));
        self.ports.links.values().filter(of).count()
    }

    pub(super) fn dial(&mut self, from: ServerId, to: ServerId) {
        let Some(at) = self.ports.dials.iter().position(|&it| it == (from, to)) else { return };
        self.ports.dials.remove(at);
        if self.servers.get(&to).is_none_or(|it| it.member.is_none()) {
            return self.port_input(from, Input::Failed { to });
        }
        self.ports.next += 1;
        let id = ConnectionId(self.ports.next);
        let link = Link {
            opener: from,
            acceptor: to,
            is_fresh: true,
            to_opener: VecDeque::new(),
            to_acceptor: VecDeque::new(),
            is_cut: false,
            knows: [false; 2],
        };
        self.ports.links.insert(id, link);
        self.port_input(from, Input::Opened { to, connection: id });
    }

    pub(super) fn write_frame(&mut self, from: ServerId, id: ConnectionId) {
        let Some(at) = self.ports.writes.iter().position(|it| (it.0, it.1) == (from, id)) else { return };
        let (_, _, message) = self.ports.writes.remove(at);
        if let Some(link) = self.ports.links.get_mut(&id) {
            let to = if from == link.opener { link.acceptor } else { link.opener };
            link.queue(to).push_back(message);
            self.port_input(from, Input::Written(id));
        }
    }

    pub(super) fn read_frame(&mut self, id: ConnectionId, to: ServerId) {
        let Some(link) = self.ports.links.get_mut(&id) else { return };
        if to == link.acceptor && std::mem::take(&mut link.is_fresh) {
            let at = participant(link.opener).addresses[0].election();
            let initial = InitialMessage { version: InitialVersion::V1, server: link.opener, addresses: vec![at] };
            return self.port_input(to, Input::Accepted { connection: id, initial });
        }
        if let Some(message) = link.queue(to).pop_front() {
            self.port_input(to, Input::Received { connection: id, message });
        }
    }

    pub(super) fn see_link_end(&mut self, id: ConnectionId, side: ServerId) {
        let Some(link) = self.ports.links.get_mut(&id) else { return };
        let at = link.side(side);
        link.knows[at] = true;
        self.ports.writes.retain(|it| (it.0, it.1) != (side, id));
        self.forget_links();
        self.port_input(side, Input::Closed(id));
    }

    pub(super) fn cut_link(&mut self, id: ConnectionId) {
        if let Some(link) = self.ports.links.get_mut(&id) {
            link.is_cut = true;
        }
    }

    fn forget_links(&mut self) {
        self.ports.links.retain(|_, it| it.knows != [true; 2]);
    }

    fn port_input(&mut self, id: ServerId, input: Input) {
        let now_ms = self.now_ms;
        if let Some(Machine::Ensemble(it)) = &mut self.servers.get_mut(&id).unwrap().member {
            it.handle(now_ms, ensemble::Input::Connections(input));
            self.drain(id);
        }
    }
}
