//! Connections as TCP gives them: first in, first out, each way; what is sent into a partition waits; a machine that is off
//! answers nothing, and the other side is not told; a reset loses what was on its way.
//!
//! Messages of different connections overtake each other, since each draws its own time. A connection that breaks in the
//! middle of a frame has lost that frame and all behind it, so no smaller piece than a frame is needed here; a snapshot,
//! which has none, travels in chunks.

use std::collections::{BTreeMap, VecDeque};

use zab::RoleId;

use super::setup::Setup;
use crate::rng::Rng;

/// A connection's number; never used twice.
pub(crate) type ConnNumber = u64;

/// After how long an attempt to connect into a partition is given up: `cnxTimeout`.
pub(crate) const CONNECT_TIMEOUT_US: u64 = 5_000_000;
/// After how long TCP gives up a connection whose other side does not confirm what it was sent.
pub(crate) const TCP_TIMEOUT_US: u64 = 20_000_000;
/// How many messages a socket takes before whoever sends has to wait.
pub(crate) const WINDOW: usize = 64;

/// Who is at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A server's process: which server, and its how many-th process.
    Server(usize, u32),
    /// A client.
    Client(usize),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// The first end opened it.
    Election,
    /// The first end is the learner; the roles of both.
    Quorum(RoleId, RoleId),
    /// The first end is the client.
    Client,
}

/// A connection.
#[derive(Debug, Clone)]
pub(crate) struct Conn<M> {
    pub(crate) port: Port,
    pub(crate) ends: [Who; 2],
    pub(crate) is_open: [bool; 2],
    /// What is on its way from each end.
    pub(crate) flight: [VecDeque<M>; 2],
    /// How many of those have come to where nothing gets through.
    pub(crate) stalled: [usize; 2],
    last_arrival_us: [u64; 2],
    /// Nothing gets through any more, and nobody was told.
    pub(crate) is_dead: bool,
    /// Its end by TCP's timeout is on its way.
    pub(crate) is_timing_out: bool,
    /// Of an election connection: what was sent last each way, and may be sent once more.
    last: [Option<M>; 2],
    has_begun: bool,
}

/// All connections, and who reaches whom.
#[derive(Debug, Clone)]
pub(crate) struct Net<M> {
    pub(crate) conns: BTreeMap<ConnNumber, Conn<M>>,
    next: ConnNumber,
    servers: usize,
    /// How many faults block each pair.
    blocked: Vec<u8>,
    rng: Rng,
}

impl<M: Clone> Net<M> {
    pub(crate) fn new(servers: usize, rng: Rng) -> Self {
        Self { conns: BTreeMap::new(), next: 1, servers, blocked: vec![0; servers * servers], rng }
    }

    pub(crate) fn open(&mut self, port: Port, first: Who, second: Who) -> ConnNumber {
        let number = self.next;
        self.next += 1;
        let conn = Conn {
            port,
            ends: [first, second],
            is_open: [true; 2],
            flight: Default::default(),
            stalled: [0; 2],
            last_arrival_us: [0; 2],
            is_dead: false,
            is_timing_out: false,
            has_begun: false,
            last: [None, None],
        };
        self.conns.insert(number, conn);
        number
    }

    /// Other choices from now on.
    pub(crate) fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    /// How long a message is under way.
    pub(crate) fn latency(&mut self, setup: &Setup) -> u64 {
        let late = setup.late_per_mille > 0 && self.rng.chance(setup.late_per_mille);
        if late { setup.late.draw(&mut self.rng) } else { setup.latency.draw(&mut self.rng) }
    }

    /// Puts a message on its way from this end; when it arrives.
    pub(crate) fn send(
        &mut self,
        setup: &Setup,
        now_us: u64,
        number: ConnNumber,
        from: usize,
        message: M,
    ) -> Option<u64> {
        let latency = self.latency(setup);
        let conn = self.conns.get_mut(&number)?;
        let at_us = (now_us + latency).max(conn.last_arrival_us[from]);
        conn.last_arrival_us[from] = at_us;
        // The first message says who connects, and comes once.
        if conn.port == Port::Election && (from == 1 || conn.has_begun) {
            conn.last[from] = Some(message.clone());
        }
        conn.has_begun = true;
        conn.flight[from].push_back(message);
        Some(at_us)
    }

    /// What may be sent once more on this connection, and from which end.
    pub(crate) fn again(&self, number: ConnNumber) -> Option<(usize, M)> {
        let conn = self.conns.get(&number)?;
        let from = (0..2).find(|&it| conn.is_open[it] && conn.last[it].is_some())?;
        Some((from, conn.last[from].clone()?))
    }

    /// Does nothing get from the first server to the second?
    pub(crate) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.get(from * self.servers + to).is_some_and(|&it| it > 0)
    }

    /// Is the way from this end of a connection blocked?
    pub(crate) fn is_stalled(&self, conn: &Conn<M>, from: usize) -> bool {
        match (conn.ends[from], conn.ends[1 - from]) {
            (Who::Server(from, _), Who::Server(to, _)) => self.is_blocked(from, to),
            _ => false,
        }
    }

    pub(crate) fn block(&mut self, from: usize, to: usize, by: i8) {
        if let Some(it) = self.blocked.get_mut(from * self.servers + to) {
            *it = it.saturating_add_signed(by);
        }
    }

    pub(crate) fn unblock_all(&mut self) {
        self.blocked.fill(0);
    }

    /// What waits where something gets through again is under way: how long each message still takes, on which connection, and
    /// from which end.
    pub(crate) fn go_on(&mut self, setup: &Setup) -> Vec<(u64, ConnNumber, usize)> {
        let stalled = self.conns.iter().filter(|(_, conn)| conn.stalled != [0; 2]);
        let numbers: Vec<ConnNumber> = stalled.map(|(&number, _)| number).collect();
        let mut under_way = Vec::new();
        for number in numbers {
            for from in 0..2 {
                if self.conns.get(&number).is_none_or(|conn| self.is_stalled(conn, from)) {
                    continue;
                }
                let latency = self.latency(setup);
                let Some(conn) = self.conns.get_mut(&number) else { continue };
                let messages = std::mem::take(&mut conn.stalled[from]);
                under_way.extend(std::iter::repeat_n((latency, number, from), messages));
            }
        }
        under_way
    }

    /// One of the connections that are there.
    pub(crate) fn nth(&self, which: u64) -> Option<ConnNumber> {
        let count = self.conns.len().max(1);
        self.conns.keys().nth((which % count as u64) as usize).copied()
    }

    /// A connection loses some of what is on its way.
    pub(crate) fn cut_short(&mut self, number: ConnNumber, rng: &mut Rng) {
        if let Some(conn) = self.conns.get_mut(&number) {
            let kept = [0, 1].map(|end| rng.below(conn.flight[end].len() as u64 + 1) as usize);
            conn.lose(kept);
        }
    }

    /// A machine has no power: its ends are gone, and nobody is told.
    pub(crate) fn power_off(&mut self, server: usize) {
        for conn in self.conns.values_mut() {
            for end in 0..2 {
                if matches!(conn.ends[end], Who::Server(it, _) if it == server) {
                    conn.is_open[end] = false;
                }
            }
        }
        self.conns.retain(|_, conn| conn.is_open != [false; 2]);
    }

    /// The connections that have an end at this server.
    pub(crate) fn of_server(&self, server: usize) -> Vec<ConnNumber> {
        let is_its = |who: &Who| matches!(who, Who::Server(it, _) if *it == server);
        self.conns.iter().filter(|(_, conn)| conn.ends.iter().any(is_its)).map(|(&number, _)| number).collect()
    }
}

impl<M> Conn<M> {
    /// Which end this server's process has.
    pub(crate) fn end_of(&self, server: usize, process: u32) -> Option<usize> {
        self.ends.iter().position(|&it| it == Who::Server(server, process))
    }

    /// Loses what is behind the first `kept` messages each way.
    pub(crate) fn lose(&mut self, kept: [usize; 2]) {
        for (flight, kept) in self.flight.iter_mut().zip(kept) {
            flight.truncate(kept);
        }
    }
}
