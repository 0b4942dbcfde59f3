//! What goes wrong, and how it ends.

use std::collections::BTreeMap;

use super::later::{Armed, Later, POWER_OFF_IN_EPOCH};
use super::message::Message;
use super::net::{ConnNumber, Who};
use super::setup::{Damage, Fault, Span};
use super::trace::{Kind, Words};
use super::{Event, START_US, World, verifier_of};
use crate::disk::VirtualDisk;

impl World {
    pub(super) fn on_fault(&mut self, number: usize) {
        if self.is_calm {
            return;
        }
        let Some(timed) = self.setup.schedule.get(number) else { return };
        let (fault, name) = (timed.fault.clone(), timed.fault.name());
        self.trace.event(self.now_us, Kind::Fault, [number as u64, 0, 0], || Words::world(format!("-- {fault}")));
        if self.begin_fault(number, fault) {
            self.tally.took_place(name);
        }
    }

    /// False: it finds nothing to do, or waits for its moment and counts then.
    fn begin_fault(&mut self, number: usize, fault: Fault) -> bool {
        let name = fault.name();
        match fault {
            Fault::PowerOff { server, down_us } => {
                let was_on = self.servers[server].is_on;
                self.power_off(server, down_us);
                return was_on;
            }
            Fault::PowerOffAtEffect { server, effects, down_us } => {
                self.servers[server].power_off_in = Some(Armed { left: effects, what: down_us, name });
                return false;
            }
            Fault::Kill { server, down_us } => return self.kill(server, down_us),
            Fault::PowerOffInRecovery { server, effects, down_us } => {
                self.servers[server].power_off_in_recovery = Some(Armed { left: effects, what: down_us, name });
                return false;
            }
            Fault::Pause { server, for_us } => {
                if !self.servers[server].is_running() {
                    return false;
                }
                let until_us = self.now_us + for_us;
                let it = &mut self.servers[server].paused_until_us;
                *it = Some(it.unwrap_or(0).max(until_us));
                self.queue.push(until_us, Event::Resume { server });
            }
            Fault::Block { pairs, for_us } => {
                for (from, to) in pairs {
                    self.net.block(from, to, 1);
                }
                self.queue.push(self.now_us + for_us, Event::Unblock(number));
            }
            Fault::CutOffLeader { for_us } => {
                let leads = |serves: bool| {
                    self.servers
                        .iter()
                        .position(|it| it.process.as_ref().is_some_and(|it| it.leads && (!serves || it.is_serving)))
                };
                let Some(leader) = leads(true).or_else(|| leads(false)) else { return false };
                for (from, to) in self.later.cut_off(number, leader, self.servers.len()) {
                    self.net.block(from, to, 1);
                }
                self.queue.push(self.now_us + for_us, Event::Unblock(number));
                self.write_at(leader, number);
                self.settle(leader);
                return self.servers.len() > 1;
            }
            Fault::Reconfigure { change } => return self.reconfigure(&change),
            Fault::Quiet { for_us } => {
                self.later.quiet_until_us = self.later.quiet_until_us.max(self.now_us + for_us);
            }
            Fault::PowerOffInChange { effects, down_us } => {
                self.later.power_off_in_change = Some(Armed { left: effects, what: down_us, name });
                return false;
            }
            Fault::PowerOffInEpoch { times, down_us } => {
                self.later.arm_epoch(times, down_us);
                return false;
            }
            Fault::DiskErrorInChange { effects, kind } => {
                self.later.error_in_change = Some(Armed { left: effects, what: kind, name });
                return false;
            }
            Fault::Reset { connection } => return self.reset(connection),
            Fault::Again { connection } => {
                let Some(number) = self.nth_connection(connection) else { return false };
                let again = self.net.again(number);
                let Some((from, message)) = again else { return false };
                self.send_from(number, from, message);
            }
            Fault::ReadOnlyDisk { server, for_us } => self.servers[server].disk.make_read_only(self.now_us + for_us),
            Fault::HalfOpen { connection } => {
                let conn = self.nth_connection(connection).and_then(|it| self.net.conns.get_mut(&it));
                return conn.is_some_and(|conn| !std::mem::replace(&mut conn.is_dead, true));
            }
            Fault::SlowDisk { server, sync_us, for_us } => {
                self.servers[server].slow = Some((sync_us, self.now_us + for_us));
            }
            Fault::DiskError { server, effects, kind } => {
                self.servers[server].error_in = Some(Armed { left: effects, what: kind, name });
                return false;
            }
            Fault::Wipe { server, down_us } => {
                self.power_off(server, down_us);
                self.servers[server].disk = VirtualDisk::new(false);
                self.truth.on_wiped(server);
            }
            Fault::Configure { server, voters, down_us } => {
                let verifier = verifier_of(voters, self.servers.len());
                self.servers[server].options.verifier = verifier.clone();
                self.truth.on_configuration(verifier);
                self.kill(server, down_us);
            }
            // No core looks at such a clock, and damage is for worlds of whole servers.
            Fault::ClockJump { .. } | Fault::Damage { .. } => return false,
            Fault::Sync { server } => {
                self.sync_at(server);
                self.settle(server);
            }
            Fault::Read { server } => self.read_at(server),
            Fault::Write { server } => {
                self.write_at(server, number);
                self.settle(server);
            }
        }
        true
    }

    /// Everything of the process is gone, and perhaps what was not synced; nobody is told.
    pub(super) fn power_off(&mut self, s: usize, down_us: u64) {
        let rng = &mut self.rng;
        let server = &mut self.servers[s];
        let works = server.process.iter().flat_map(|it| &it.works).flatten().filter(|work| work.at > 0);
        let points: Vec<_> = works.map(|work| (work.then.name(), work.at as u64)).collect();
        self.tally.crashes_in_work += u64::from(!points.is_empty());
        for (work, effects) in points {
            self.tally.crashed_in(work, effects);
        }
        server.disk.crash_random(rng);
        server.is_on = false;
        self.stop(s);
        for conn in self.net.of_server(s) {
            if let Some(conn) = self.net.conns.get_mut(&conn) {
                for end in 0..2 {
                    if matches!(conn.ends[end], Who::Server(it, _) if it == s) {
                        conn.is_open[end] = false;
                    }
                }
            }
        }
        self.net.conns.retain(|_, conn| conn.is_open != [false; 2]);
        self.words(s, Kind::Process, 1, || "has no power".to_owned());
        self.start_at(s, self.now_us + down_us.max(START_US));
    }

    /// The process is gone; its machine closes its connections. False: there was none.
    pub(super) fn kill(&mut self, s: usize, down_us: u64) -> bool {
        if !self.servers[s].is_running() {
            return false;
        }
        self.words(s, Kind::Process, 2, || "is killed".to_owned());
        for conn in self.net.of_server(s) {
            self.close(s, conn);
        }
        self.stop(s);
        self.start_at(s, self.now_us + down_us.max(START_US));
        true
    }

    /// The process gives up.
    pub(super) fn exit(&mut self, s: usize, why: &str) {
        self.words(s, Kind::Process, 3, || format!("ends: {why}"));
        self.kill(s, 1_000_000);
    }

    fn stop(&mut self, s: usize) {
        let server = &mut self.servers[s];
        server.process = None;
        server.paused_until_us = None;
        server.power_off_in = None;
        server.error_in = None;
        // What was for others goes on; what was for it finds nobody.
        for event in std::mem::take(&mut server.held) {
            self.queue.push(self.now_us, event);
        }
    }

    pub(super) fn on_resume(&mut self, s: usize) {
        let server = &mut self.servers[s];
        if server.paused_until_us.is_none_or(|until_us| until_us > self.now_us) {
            return;
        }
        server.paused_until_us = None;
        let held = std::mem::take(&mut server.held);
        self.words(s, Kind::Process, 4, || "runs again".to_owned());
        for event in held {
            self.queue.push(self.now_us, event);
        }
        for conn in self.net.of_server(s) {
            self.pump_if_leader(s, conn);
        }
        self.settle(s);
    }

    fn pump_if_leader(&mut self, s: usize, conn: ConnNumber) {
        let is_mine = self.net.conns.get(&conn).is_some_and(|it| {
            matches!(it.port, super::Port::Quorum(..)) && matches!(it.ends[1], Who::Server(it, _) if it == s)
        });
        if is_mine {
            self.pump(s, conn);
        }
    }

    pub(super) fn on_unblock(&mut self, number: usize) {
        if self.is_calm {
            return;
        }
        let pairs = match self.setup.schedule.get(number).map(|it| it.fault.clone()) {
            Some(Fault::Block { pairs, .. }) => pairs,
            _ => self.later.rejoined(number).unwrap_or_default(),
        };
        self.trace.event(self.now_us, Kind::Fault, [number as u64, 1, 0], || Words::world("-- the partition heals"));
        for (from, to) in pairs {
            self.net.block(from, to, -1);
        }
        self.deliver_stalled();
    }

    fn deliver_stalled(&mut self) {
        let stalled = self.net.conns.iter().filter(|(_, conn)| conn.stalled != [0; 2]);
        let numbers: Vec<ConnNumber> = stalled.map(|(&number, _)| number).collect();
        for number in numbers {
            for from in 0..2 {
                let Some(conn) = self.net.conns.get(&number) else { continue };
                if self.net.is_stalled(conn, from) {
                    continue;
                }
                let latency = self.net.latency(&self.setup);
                let Some(conn) = self.net.conns.get_mut(&number) else { continue };
                for _ in 0..std::mem::take(&mut conn.stalled[from]) {
                    self.queue.push(self.now_us + latency, Event::Deliver { conn: number, from });
                }
            }
        }
    }

    fn nth_connection(&self, which: u64) -> Option<ConnNumber> {
        let count = self.net.conns.len().max(1);
        self.net.conns.keys().nth((which % count as u64) as usize).copied()
    }

    fn reset(&mut self, which: u64) -> bool {
        let Some(number) = self.nth_connection(which) else { return false };
        let Some(conn) = self.net.conns.get_mut(&number) else { return false };
        let kept = [0, 1].map(|end| self.rng.below(conn.flight[end].len() as u64 + 1) as usize);
        conn.lose(kept);
        for end in 0..2 {
            self.send_from(number, end, Message::End);
        }
        true
    }

    /// A change of the static configurations that has begun is brought to its end.
    fn end_of_configurations(&mut self) {
        let mut last = BTreeMap::new();
        for timed in &self.setup.schedule {
            if let Fault::Configure { server, voters, .. } = timed.fault {
                last.insert(server, voters);
            }
        }
        for (s, voters) in last {
            let verifier = verifier_of(voters, self.servers.len());
            if self.servers[s].options.verifier != verifier {
                self.servers[s].options.verifier = verifier.clone();
                self.truth.on_configuration(verifier);
                self.kill(s, START_US);
            }
        }
    }

    /// No more faults: everything is healed, and everybody is started.
    pub(super) fn heal(&mut self) {
        self.is_calm = true;
        self.later = Later::default();
        self.trace.event(self.now_us, Kind::Fault, [u64::MAX, 0, 0], || Words::world("-- all faults end"));
        self.net.unblock_all();
        self.deliver_stalled();
        self.setup.late_per_mille = 0;
        if self.setup.initial_counter > 0 {
            // Epochs that end as soon as they begin leave no time to come together.
            self.setup.think = Span::new(300_000, 1_000_000);
            self.setup.pipelined = 1;
        }
        self.end_of_configurations();
        for s in 0..self.servers.len() {
            let server = &mut self.servers[s];
            server.slow = None;
            server.disk.faults.read_only_from = None;
            server.power_off_in = None;
            server.power_off_in_recovery = None;
            server.error_in = None;
            for work in server.process.iter_mut().flat_map(|it| &mut it.works).flatten() {
                work.error = None;
            }
            if server.paused_until_us.is_some() {
                server.paused_until_us = Some(self.now_us);
                self.on_resume(s);
            }
            if !self.servers[s].is_running() {
                self.start_at(s, self.now_us + START_US);
            }
        }
    }
}

impl Fault {
    /// Its kind, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PowerOff { .. } => "power off",
            Self::PowerOffAtEffect { .. } => "power off between effects",
            Self::Kill { .. } => "kill",
            Self::PowerOffInRecovery { .. } => "power off in recovery",
            Self::Pause { .. } => "pause",
            Self::Block { .. } => "partition",
            Self::Reset { .. } => "reset",
            Self::HalfOpen { .. } => "half-open connection",
            Self::Again { .. } => "election message once more",
            Self::ReadOnlyDisk { .. } => "read-only file system",
            Self::SlowDisk { .. } => "slow disk",
            Self::DiskError { .. } => "disk error",
            Self::Wipe { .. } => "wiped disk",
            Self::PowerOffInChange { .. } => "power off in a change of history",
            Self::PowerOffInEpoch { .. } => POWER_OFF_IN_EPOCH,
            Self::DiskErrorInChange { .. } => "disk error in a change of history",
            Self::CutOffLeader { .. } => "leader cut off",
            Self::Quiet { .. } => "quiet clients",
            Self::Reconfigure { .. } => "reconfig",
            Self::Damage { kind: Damage::Rot, .. } => "bit rot",
            Self::Damage { kind: Damage::Astray, .. } => "misdirected write",
            Self::Damage { kind: Damage::Unreadable, .. } => "unreadable sector",
            Self::Configure { .. } => "configuration",
            Self::ClockJump { .. } => "clock jump",
            Self::Write { .. } => "write",
            Self::Read { .. } => "read",
            Self::Sync { .. } => "sync",
        }
    }
}
