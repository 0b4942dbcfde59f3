//! What goes wrong, and how it ends.

use super::{Event, Message, START_US, World};
use storage::FileName;
use storage::disk::{Dir, Disk, FileRef};
use wire::{Epoch, Zxid};

use crate::disk::{BadRead, SECTOR, VirtualDisk};
use crate::world::common_faults::{self, RESTORED};
use crate::world::later::Later;
use crate::world::net::{ConnNumber, Port, Who};
use crate::world::trace::Words;
use crate::world::{Damage, Fault, Kind};

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
                    self.servers.iter().position(|it| {
                        it.process.as_ref().is_some_and(|it| it.leads && (!serves || it.shown.is_some()))
                    })
                };
                let Some(leader) = leads(true).or_else(|| leads(false)) else { return false };
                for (from, to) in self.later.cut_off(number, leader, self.servers.len()) {
                    self.net.block(from, to, 1);
                }
                self.queue.push(self.now_us + for_us, Event::Unblock(number));
                return self.servers.len() > 1;
            }
            Fault::Reconfigure { change } => return self.reconfigure(&change),
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
            Fault::Damage { server, kind, place } => return self.damage(server, kind, place),
            Fault::ClockJump { server, by_ms } => self.servers[server].wall_off_ms += by_ms,
            // Clients write by themselves here, stories are not told, and the others have begun.
            _ => return false,
        }
        true
    }

    /// A sector of a log or a snapshot changes on the medium. Epoch files have no checksum, so nobody could tell.
    fn damage(&mut self, s: usize, kind: Damage, place: u64) -> bool {
        let disk = &mut self.servers[s].disk;
        let mut files = disk.files(Dir::Log);
        if disk.is_separate() {
            files.extend(disk.files(Dir::Data));
        }
        files.retain(|file| matches!(file.name, FileName::Log(_) | FileName::Snapshot(_)));
        let Some(file) = files.get(place as usize % files.len().max(1)) else { return false };
        let length = disk.length(file).unwrap_or(0);
        // One in sixteen where the file begins: what that is damaged in is no log, or no snapshot, any more.
        let span = if place >> 60 == 0 { length.min(HEADER_BYTES) } else { length };
        let (at, sector) = (place / 64 % span.max(1), SECTOR as u64);
        match kind {
            Damage::Rot => disk.damage_sector(file, at / sector, &mut |block| {
                block[(at % sector) as usize] ^= 1 << (place % 8);
            }),
            Damage::Astray => {
                let from = files.get((place >> 20) as usize % files.len()).unwrap_or(file);
                let sectors = disk.length(from).unwrap_or(0).div_ceil(sector);
                // No zeros: those may be what a write has not reached yet.
                let is_record = |it: &[u8; SECTOR]| it.iter().any(|byte| *byte != 0);
                let here = disk.sector(file, at / sector);
                let mut others = (0..sectors).map(|it| (it + (place >> 32)) % sectors.max(1));
                let other = others
                    .find_map(|it| disk.sector(from, it).filter(|block| is_record(block) && Some(*block) != here));
                let Some(other) = other else { return false };
                disk.damage_sector(file, at / sector, &mut |block| *block = other);
            }
            Damage::Unreadable => {
                // By the name by which it is opened.
                let dir = if matches!(file.name, FileName::Snapshot(_)) { Dir::Data } else { Dir::Log };
                let file = FileRef::new(dir, file.name.clone());
                disk.faults.bad_read(file, BadRead::Error { sector: at / sector });
            }
        }
        let what = format!("{kind:?} at byte {at} of {file}");
        self.truth.on_damaged(s);
        self.words(s, Kind::Disk, at, || what);
        true
    }

    /// A server that does not start, or stops, because of what its disk holds: an operator, or the server itself, sets its files
    /// aside, and it begins anew without a vote.
    pub(super) fn set_aside(&mut self, s: usize, why: &str) {
        self.words(s, Kind::Process, 5, || format!("sets its files aside: {why}"));
        self.servers[s].disk = VirtualDisk::new(false);
        self.truth.on_wiped(s);
        self.start_at(s, self.now_us + START_US);
    }

    /// A server is about to start. If its files are to be an old copy of them, they are that now; unless what it knew alone, or
    /// would not know any more together with others, may count.
    pub(super) fn restore_if_due(&mut self, s: usize) {
        let Some(copy) = self.servers[s].copy_to_restore() else { return };
        let of = |disk: &VirtualDisk| storage::epoch::read(disk, Zxid::ZERO).ok().map(|it| (it.accepted, it.current));
        let epochs: Vec<Option<(Epoch, Epoch)>> = self.servers.iter().map(|it| of(&it.disk)).collect();
        if self.truth.may_restore(s, &epochs) {
            self.servers[s].disk = copy;
            if self.truth.on_restored(s) {
                self.tally.took_place(RESTORED);
            }
            self.words(s, Kind::Disk, 0, || "has an old copy of its files".to_owned());
        }
    }

    /// Everything of the process is gone, and perhaps what was not synced; nobody is told.
    pub(super) fn power_off(&mut self, s: usize, down_us: u64) {
        let server = &mut self.servers[s];
        let points = server.process.as_ref().map(|it| it.crash_points()).unwrap_or_default();
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
            matches!(it.port, Port::Quorum(..)) && matches!(it.ends[1], Who::Server(it, _) if it == s)
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

    /// No more faults: everything is healed, and everybody is started.
    pub(super) fn heal(&mut self) {
        self.is_calm = true;
        self.later = Later::default();
        self.trace.event(self.now_us, Kind::Fault, [u64::MAX, 0, 0], || Words::world("-- all faults end"));
        self.net.unblock_all();
        let under_way = self.net.go_on(&self.setup);
        self.deliver(under_way);
        self.setup.calm_down();
        for s in 0..self.servers.len() {
            let server = &mut self.servers[s];
            server.heal();
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

/// The header of a log, and the beginning of that of a snapshot.
const HEADER_BYTES: u64 = 16;
