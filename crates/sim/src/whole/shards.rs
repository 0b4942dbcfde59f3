//! Clients' connections at a server: what its shards' threads do.

use bytes::Bytes;
use peer::{ConnId, Now, ShardSet};

use super::check::{Heard, Leader};
use super::client::Phase;
use super::{Event, Message, Sabotage, World};
use crate::world::Setup;
use crate::world::net::{ConnNumber, WINDOW, Who};

/// A thread that runs later than this, in ms, has slept; and how often it looks, at least.
const SLEEP_MIN_MS: i64 = 200;

impl World {
    /// How often a process looks at its clock, in µs.
    pub(super) fn tick_us(&self) -> u64 {
        (self.setup.tick_ms * 500).min(50_000)
    }

    /// A process looks at its clock.
    pub(super) fn on_tick(&mut self, s: usize) {
        let tick_us = self.tick_us();
        self.look_at_clock(s);
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let woken = match self.sabotage {
            Sabotage::SessionsNeverEnd => ShardSet::default(),
            Sabotage::SessionsEndEarly => {
                let later = Now { mono_us: now.mono_us + self.setup.tick_ms * 6_000, ..now };
                let mut woken = process.node.pipeline.tick(later, &process.shared);
                woken.extend(process.node.tick(now, &process.shared));
                woken
            }
            _ => process.node.tick(now, &process.shared),
        };
        process.node.log.look_for_room(now.mono_ms());
        let number = process.number;
        self.wake(s, woken);
        self.drain(s);
        for shard in 0..2 {
            let Some(process) = &self.servers[s].process else { return };
            // Nobody else's bell is rung here: a shard that was forgotten stays so.
            if process.shards[shard].has_paused() {
                self.on_shard(s, shard);
            } else {
                self.turn(s, shard);
            }
        }
        self.queue.push(self.now_us + tick_us, Event::Tick { server: s, process: number });
        self.look_at_lifetimes(s);
    }

    /// Has it let a session live for too long?
    fn look_at_lifetimes(&mut self, s: usize) {
        let server = &self.servers[s];
        let leads = server.process.as_ref().filter(|it| it.leads && it.shared.is_serving());
        let Some((leads, process)) = leads.and_then(|it| Some(((it.number, it.role?), it))) else {
            return self.truth.lifetimes.on_break(s);
        };
        // Without room in its log a leader ends none, nor where its epoch has no zxids left.
        if self.truth.sessions.may_refuse || self.setup.initial_counter > 0 || process.applied() < self.truth.end() {
            return self.truth.lifetimes.on_break(s);
        }
        let Setup { tick_ms, sync_limit_ticks, late, latency, .. } = &self.setup;
        // The longest timeout, and what may be late: twice as late by a clock that is twice as fast.
        let late_ms = tick_ms * sync_limit_ticks + (late.max_us + latency.max_us * 4) / 1000;
        let bound_ms = (tick_ms * 24 + late_ms * 4) as i64 + 2000;
        let clock_ms = |at_us| server.now(at_us).mono_ms();
        self.truth.on_leader_tick(Leader { server: s, leads, now_us: self.now_us, clock_ms: &clock_ms, bound_ms });
    }

    /// Time in which the threads did not run counts for no session.
    fn look_at_clock(&mut self, s: usize) {
        let tick_ms = (self.tick_us() / 1000) as i64;
        let server = &mut self.servers[s];
        let now_ms = server.now(self.now_us).mono_ms();
        let Some(process) = &mut server.process else { return };
        let due_ms = std::mem::replace(&mut process.awake_ms, now_ms) + 2 * tick_ms;
        if now_ms - due_ms >= SLEEP_MIN_MS {
            process.shards.iter_mut().for_each(|shard| shard.slept(due_ms, now_ms));
            self.truth.lifetimes.on_slept();
        }
    }

    /// A shard whose bell was rung has its turn.
    pub(super) fn on_shard(&mut self, s: usize, shard: usize) {
        self.look_at_clock(s);
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        process.is_woken[shard] = false;
        process.shards[shard].drain(now, &process.shared);
        self.turn(s, shard);
    }

    /// What came from a client.
    pub(super) fn on_bytes(&mut self, s: usize, number: ConnNumber, bytes: Bytes) {
        let shard = self.rng.below(2) as usize;
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let is_new = !process.conns.contains_key(&number);
        let conn = *process.conns.entry(number).or_insert_with(|| {
            let address = std::net::SocketAddr::from(([10, 0, 0, 1], 1));
            let conn = process.shards[shard].open(now, address);
            process.numbers.insert(conn, number);
            conn
        });
        if is_new {
            self.truth.lifetimes.on_knock(number, process.applied());
        }
        let unread = process.unread.entry(number).or_default();
        unread.push_back(bytes);
        if self.sabotage == Sabotage::RequestsOvertake && !is_new && unread.len() < 2 {
            return;
        }
        self.turn(s, usize::from(conn.shard));
    }

    /// A client's connection has ended.
    pub(super) fn on_client_gone(&mut self, s: usize, number: ConnNumber) {
        let Some(process) = &mut self.servers[s].process else { return };
        process.unread.remove(&number);
        if let Some(conn) = process.conns.remove(&number) {
            process.numbers.remove(&conn);
            process.shards[usize::from(conn.shard)].closed(&process.shared, conn);
            self.turn(s, usize::from(conn.shard));
        }
    }

    /// A shard does what there is to do: reads, answers, submits, writes.
    fn turn(&mut self, s: usize, shard: usize) {
        loop {
            let server = &mut self.servers[s];
            let now = server.now(self.now_us);
            let Some(process) = &mut server.process else { return };
            let it = &mut process.shards[shard];
            let mut is_quiet = true;
            if it.is_asked() {
                let doubtful: Vec<ConnId> = it.doubtful(now).collect();
                for conn in doubtful {
                    let number = process.numbers.get(&conn);
                    if number.and_then(|it| self.net.conns.get(it)).is_some_and(|it| !it.flight[0].is_empty()) {
                        it.has_unread(now, conn);
                    }
                }
                it.tell_touches();
            }
            let unread: Vec<ConnNumber> = process.unread.keys().copied().collect();
            for number in unread {
                let Some(&conn) = process.conns.get(&number).filter(|it| usize::from(it.shard) == shard) else {
                    continue;
                };
                let Some(bytes) = process.unread.get_mut(&number).filter(|_| it.wants_read(conn)) else { continue };
                let next =
                    if self.sabotage == Sabotage::RequestsOvertake { bytes.pop_back() } else { bytes.pop_front() };
                if let Some(bytes) = next {
                    is_quiet = false;
                    it.receive(now, &process.shared, conn, &bytes);
                    if let Some(Who::Client(c)) = self.net.conns.get(&number).map(|it| it.ends[0])
                        && let Some(client) = self.clients.get(c).filter(|it| it.conn == Some(number))
                        && client.phase != Phase::Away
                    {
                        let (process, at_ms, timeout_ms) = (process.number, now.mono_ms(), client.timeout_ms);
                        let heard = Heard { process, at_ms, timeout_ms };
                        self.truth.lifetimes.on_heard(client.session, s, self.now_us, heard);
                    }
                } else {
                    process.unread.remove(&number);
                }
            }
            if it.has_chores(&process.shared) {
                is_quiet = false;
                it.chore(now, &process.shared);
            }
            if it.has_long_reads() {
                is_quiet = false;
                it.step_long_reads(now, &process.shared);
            }
            let mut woken = ShardSet::default();
            if it.has_submissions() {
                is_quiet = false;
                let mut submissions = Vec::new();
                it.take_submissions(&mut submissions);
                woken = process.node.process(now, &process.shared, &mut submissions);
            }
            let mut dirty = Vec::new();
            it.take_dirty(&mut dirty);
            it.take_told(usize::MAX, &mut dirty);
            let mut resumed = Vec::new();
            it.take_resumed(&mut resumed);
            let numbers: Vec<ConnNumber> = dirty.iter().filter_map(|conn| process.numbers.get(conn).copied()).collect();
            is_quiet &= numbers.is_empty() && resumed.is_empty();
            self.wake(s, woken);
            self.drain(s);
            for number in numbers {
                self.write_to(s, number);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Writes what there is for a client, as far as its socket takes it.
    pub(super) fn write_to(&mut self, s: usize, number: ConnNumber) {
        let is_full = self.net.conns.get(&number).is_some_and(|it| it.flight[1].len() >= WINDOW);
        let now = self.servers[s].now(self.now_us);
        let Some(process) = &mut self.servers[s].process else { return };
        let Some(&conn) = process.conns.get(&number) else { return };
        let shard = &mut process.shards[usize::from(conn.shard)];
        let bytes = shard.to_send(conn).to_vec();
        if is_full && !bytes.is_empty() {
            return;
        }
        shard.sent(now, conn, bytes.len());
        shard.wrote(&process.shared, conn);
        let closes = shard.wants_close(conn);
        let mut woken = ShardSet::default();
        if shard.has_paused() {
            woken.insert(usize::from(conn.shard));
        }
        if closes {
            process.unread.remove(&number);
            process.conns.remove(&number);
            process.numbers.remove(&conn);
            process.shards[usize::from(conn.shard)].closed(&process.shared, conn);
        }
        if !bytes.is_empty() {
            self.send(s, number, Message::Bytes(bytes.into()));
        }
        if closes {
            self.close(s, number);
        }
        self.wake(s, woken);
    }
}
