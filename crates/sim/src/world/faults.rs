//! What goes wrong, and how it ends.

use std::collections::BTreeMap;

use super::common_faults::{self, RESTORED};
use super::later::{Later, POWER_OFF_IN_EPOCH};
use super::message::Message;
use super::net::{ConnNumber, Who};
use super::server::Process;
use super::setup::{Damage, Fault};
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
        let begun = common_faults::begin(&fault, self.now_us, &mut self.servers, &mut self.net, &mut self.later);
        if begun.unwrap_or_else(|| self.begin_fault(number, fault)) {
            self.tally.took_place(name);
        }
    }

    /// What is another thing in another kind of world. False: it finds nothing to do.
    fn begin_fault(&mut self, number: usize, fault: Fault) -> bool {
        match fault {
            Fault::PowerOff { server, down_us } => {
                let was_on = self.servers[server].is_on;
                self.power_off(server, down_us);
                return was_on;
            }
            Fault::Kill { server, down_us } => return self.kill(server, down_us),
            Fault::Pause { server, for_us } => {
                let until_us = self.now_us + for_us;
                if !self.servers[server].pause(until_us) {
                    return false;
                }
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
            Fault::PowerOffInEpoch { times, down_us } => {
                self.later.arm_epoch(times, down_us);
                return false;
            }
            Fault::Reset { connection } => return self.reset(connection),
            Fault::Again { connection } => {
                let Some(number) = self.net.nth(connection) else { return false };
                let again = self.net.again(number);
                let Some((from, message)) = again else { return false };
                self.send_from(number, from, message);
            }
            Fault::Wipe { server, down_us } => {
                self.power_off(server, down_us);
                self.servers[server].disk = VirtualDisk::new(false);
                self.truth.on_wiped(server);
            }
            Fault::BackUp { server } => {
                if self.servers[server].back_up(&mut self.rng) {
                    self.truth.on_backed_up(server);
                }
                return false;
            }
            Fault::Restore { server, down_us } => {
                self.power_off(server, down_us);
                return false;
            }
            Fault::Configure { server, voters, down_us } => {
                let verifier = verifier_of(voters, self.servers.len());
                self.servers[server].options.verifier = verifier.clone();
                self.truth.on_configuration(verifier);
                self.kill(server, down_us);
            }
            Fault::Sync { server } => {
                self.sync_at(server);
                self.settle(server);
            }
            Fault::Read { server } => self.read_at(server),
            Fault::Write { server } => {
                self.write_at(server, number);
                self.settle(server);
            }
            // No core looks at such a clock, damage is for worlds of whole servers, and the others have begun.
            _ => return false,
        }
        true
    }

    /// Everything of the process is gone, and perhaps what was not synced; nobody is told.
    pub(super) fn power_off(&mut self, s: usize, down_us: u64) {
        let server = &mut self.servers[s];
        let points = server.process.as_ref().map(Process::crash_points).unwrap_or_default();
        self.tally.crashed_at(&points);
        server.disk.crash_random(&mut self.rng);
        server.is_on = false;
        self.stop(s);
        self.net.power_off(s);
        self.words(s, Kind::Process, 1, || "has no power".to_owned());
        self.start_at(s, self.now_us + down_us.max(START_US));
    }

    /// The process is gone; its machine closes its connections. False: there was none.
    pub(super) fn kill(&mut self, s: usize, down_us: u64) -> bool {
        if self.servers[s].process.is_none() {
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
        for event in self.servers[s].stop() {
            self.queue.push(self.now_us, event);
        }
    }

    pub(super) fn on_resume(&mut self, s: usize) {
        let Some(held) = self.servers[s].resume(self.now_us) else { return };
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
        self.trace.event(self.now_us, Kind::Fault, [number as u64, 1, 0], || Words::world("-- the partition heals"));
        let under_way = common_faults::unblock(number, &self.setup, &mut self.net, &mut self.later);
        self.deliver(under_way);
    }

    /// What waited in a partition goes on.
    fn deliver(&mut self, under_way: Vec<(u64, ConnNumber, usize)>) {
        for (latency_us, conn, from) in under_way {
            self.queue.push(self.now_us + latency_us, Event::Deliver { conn, from });
        }
    }

    fn reset(&mut self, which: u64) -> bool {
        let Some(number) = self.net.nth(which) else { return false };
        self.net.cut_short(number, &mut self.rng);
        for end in 0..2 {
            self.send_from(number, end, Message::End);
        }
        true
    }

    /// A server is about to start. If its files are to be an old copy of them, they are that now; unless what it knew alone, or
    /// would not know any more together with others, may count.
    pub(super) fn restore_if_due(&mut self, s: usize) {
        let Some(copy) = self.servers[s].copy_to_restore() else { return };
        if self.truth.may_restore(s) {
            self.servers[s].disk = copy;
            if self.truth.on_restored(s) {
                self.tally.took_place(RESTORED);
            }
            self.words(s, Kind::Disk, 0, || "has an old copy of its files".to_owned());
        }
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
        let under_way = self.net.go_on(&self.setup);
        self.deliver(under_way);
        self.setup.calm_down();
        self.end_of_configurations();
        for s in 0..self.servers.len() {
            let server = &mut self.servers[s];
            server.heal();
            for work in server.process.iter_mut().flat_map(|it| &mut it.works).flatten() {
                work.error = None;
            }
            if server.paused_until_us.is_some() {
                server.paused_until_us = Some(self.now_us);
                self.on_resume(s);
            }
            if self.servers[s].process.is_none() {
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
            Self::BackUp { .. } => "copy of a disk",
            Self::Restore { .. } => RESTORED,
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
