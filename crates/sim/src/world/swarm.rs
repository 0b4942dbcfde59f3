//! The world of a seed: each draws a random subset of the faults, and random rates.

use super::setup::{Change, Damage, DiskError, Fault, Setup, Span, Timed};
use crate::rng::Rng;

/// The kinds of faults that a seed may have.
const KINDS: u64 = 11;

impl Setup {
    /// The world of this seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (voters, observers) =
            [(3, 0), (3, 0), (3, 1), (5, 0), (5, 1), (4, 0), (2, 0), (1, 1), (7, 2), (1, 0), (9, 3)]
                [rng.below(11) as usize];
        let mut setup = Self::calm(seed, voters, observers, rng.between(1, 10) as usize);
        setup.tick_ms = [100, 200, 500, 2000][rng.below(4) as usize];
        setup.init_limit_ticks = rng.between(5, 10);
        setup.sync_limit_ticks = rng.between(2, 5);
        setup.faults_us = rng.between(5, 40) * 1_000_000;
        let base = [50, 200, 1000, 5000][rng.below(4) as usize];
        setup.latency = Span::new(base, base * rng.between(1, 10));
        if rng.chance(400) {
            setup.late_per_mille = rng.between(1, 50);
            setup.late = Span::new(base, rng.between(10_000, 10_000_000));
        }
        let sync = [50, 500, 5000, 30_000][rng.below(4) as usize];
        setup.sync = Span::new(sync, sync * rng.between(1, 8));
        // Where a disk needs longer than the limits give it, nothing can be asked for.
        setup.tick_ms = setup.tick_ms.max(setup.sync.max_us * 4 / 1000);
        let think = [500, 20_000, 300_000][rng.below(3) as usize];
        // A crowd of servers has enough to do with fewer requests.
        let think = if setup.servers() > 5 { think.max(20_000) } else { think };
        setup.think = Span::new(think / 10, think * 4);
        setup.pipelined = [1, 1, 4, 50][rng.below(4) as usize];
        setup.snap_count = [4, 20, 100, 1000][rng.below(4) as usize];
        setup.committed_log_txns = [2, 10, 500][rng.below(3) as usize];
        if rng.chance(100) {
            setup.initial_counter = u32::MAX - rng.between(1, 300) as u32;
        }
        if rng.chance(300) {
            setup.clock_ppm = (0..setup.servers()).map(|_| rng.between(500_000, 2_000_000)).collect();
        }
        setup.is_encoded = rng.chance(250);
        setup.force_snapshot_sync = rng.chance(80);
        if rng.chance(500) {
            setup.start_us = (0..setup.servers()).map(|_| rng.below(3_000_000)).collect();
        }
        setup.draw_faults(&mut rng);
        setup.has_small_queues = rng.chance(300);
        if rng.chance(200) {
            setup.draw_damage(&mut rng);
        }
        if rng.chance(250) {
            setup.draw_comebacks(&mut rng);
        }
        if rng.chance(150) {
            setup.draw_lost_voters(&mut rng);
        }
        if setup.voters > 1 && rng.chance(200) {
            setup.draw_reconfigs(&mut rng);
        }
        if setup.voters > 2 && !setup.reconfig_enabled && rng.chance(100) {
            setup.draw_lost_epochs(&mut rng);
        }
        setup.schedule.sort_by_key(|it| it.at_us);
        // Of two, both are needed; and where members change, who knows of how many.
        if voters >= 3 && !setup.reconfig_enabled && setup.initial_counter == 0 && rng.chance(150) {
            setup.hangs_at_last = Some(rng.below(voters as u64) as usize);
        }
        if voters >= 3 && !setup.reconfig_enabled && rng.chance(150) {
            setup.draw_groups(&mut rng);
        }
        if voters >= 2 && !setup.reconfig_enabled && setup.groups.is_empty() && rng.chance(100) {
            setup.draw_static_changes(&mut rng);
        }
        if rng.chance(50) {
            // So that there are as many left as a world may need.
            setup.initial_epoch = i32::MAX - rng.between(5000, 10_000) as i32;
        }
        if rng.chance(200) {
            setup.draw_rare(&mut rng);
        }
        setup.schedule.sort_by_key(|it| it.at_us);
        setup.observer_masters = setup.observers > 0 && rng.chance(400);
        setup.read_only = rng.chance(150);
        if rng.chance(60) {
            setup.initial_round = i64::MAX - rng.below(6) as i64;
        }
        if setup.initial_counter == 0 && setup.initial_epoch == 0 && rng.chance(120) {
            // What they hold is of an epoch.
            (setup.changes_left, setup.initial_epoch) = (Some(rng.below(6) as i32), 1);
        }
        let is_static = !setup.schedule.iter().any(|it| matches!(it.fault, Fault::Configure { .. }));
        if voters >= 3 && setup.groups.is_empty() && !setup.reconfig_enabled && is_static && rng.chance(150) {
            setup.draw_backups(&mut rng);
            setup.schedule.sort_by_key(|it| it.at_us);
        }
        setup
    }

    /// The static configurations get one voter more, or less, as operators do it: server by server. None of the servers loses its
    /// disk.
    fn draw_static_changes(&mut self, rng: &mut Rng) {
        let servers = self.servers();
        let mut voters = self.voters;
        let mut at_us = rng.below(2_000_000);
        for _ in 0..rng.between(1, 3) {
            voters = if voters < servers && (voters <= 2 || rng.chance(600)) { voters + 1 } else { voters - 1 }.max(1);
            let pause_us = rng.between(1000, 3_000_000);
            let first = rng.below(servers as u64) as usize;
            for server in (0..servers).map(|it| (first + it) % servers) {
                at_us += rng.between(1, pause_us);
                let fault = Fault::Configure { server, voters, down_us: rng.between(1000, 500_000) };
                self.schedule.push(Timed { at_us, fault });
            }
        }
        self.schedule.retain(|it| !matches!(it.fault, Fault::Wipe { .. } | Fault::Damage { .. }));
        self.hangs_at_last = None;
    }

    /// Operators who give a server back an old copy of its files. Sometimes the leader is cut off right behind that, so that
    /// that server is asked who is to lead, and what the history is.
    fn draw_backups(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(1, 4) {
            let (at_us, server) = (rng.below(self.faults_us), rng.below(self.servers() as u64) as usize);
            let restored_us = at_us + rng.between(100_000, 8_000_000);
            let down_us = rng.between(1000, 1_500_000);
            self.schedule.push(Timed { at_us, fault: Fault::BackUp { server } });
            self.schedule.push(Timed { at_us: restored_us, fault: Fault::Restore { server, down_us } });
            if rng.chance(600) {
                // So that the others have all that this one had.
                let still_us = 200_000;
                let fault = Fault::Quiet { for_us: still_us + down_us };
                self.schedule.push(Timed { at_us: restored_us.saturating_sub(still_us), fault });
            }
            if rng.chance(500) {
                let at_us = restored_us + down_us + rng.below(1_000_000);
                let fault = Fault::CutOffLeader { for_us: rng.between(1_000_000, 10_000_000) };
                self.schedule.push(Timed { at_us, fault });
            }
        }
    }

    /// File systems that become read-only, and election messages that come twice.
    fn draw_rare(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(1, 10) {
            let (at_us, server) = (rng.below(self.faults_us), rng.below(self.servers() as u64) as usize);
            let fault = if rng.chance(300) {
                Fault::ReadOnlyDisk { server, for_us: rng.between(1000, 5_000_000) }
            } else {
                Fault::Again { connection: rng.any() }
            };
            self.schedule.push(Timed { at_us, fault });
        }
    }

    /// Up to three groups, and weights, 0 among them. None of the servers loses its disk, and none hangs for good: which of them
    /// may be missing is another question here.
    fn draw_groups(&mut self, rng: &mut Rng) {
        let groups = rng.between(1, 3);
        let weights = [0, 1, 1, 1, 2, 3];
        self.groups = (0..self.voters)
            .map(|_| (rng.between(1, groups) as i64, weights[rng.below(weights.len() as u64) as usize]))
            .collect();
        if let Some(first) = self.groups.first_mut().filter(|it| it.1 == 0) {
            // Somebody has to decide.
            first.1 = 1;
        }
        self.schedule.retain(|it| !matches!(it.fault, Fault::Wipe { .. } | Fault::Damage { .. }));
        self.hangs_at_last = None;
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.chance(350)).collect();
        let pause_us = [50_000, 300_000, 2_000_000][rng.below(3) as usize];
        // What may be lost for good is lost by fewer than a quorum: with more, nothing can be promised.
        let fragile = (self.voters - 1) / 2;
        let mut at_us = rng.below(2_000_000);
        while at_us < self.faults_us {
            if let Some(&kind) = rng.pick(&kinds) {
                let faults = self.draw(kind, fragile, rng).into_iter();
                for fault in faults.filter(|it| !matches!(it, Fault::Block { pairs, .. } if pairs.is_empty())) {
                    self.schedule.push(Timed { at_us, fault });
                }
            }
            at_us += rng.between(pause_us / 10, pause_us * 2);
        }
    }

    /// Disks that are wrong: of fewer than a quorum, as those that may be lost.
    fn draw_damage(&mut self, rng: &mut Rng) {
        let fragile = (self.voters as u64 - 1) / 2;
        for _ in 0..rng.between(1, 8) {
            let (at_us, server) = (rng.below(self.faults_us), rng.below(fragile.max(1)) as usize);
            let kind =
                [Damage::Rot, Damage::Rot, Damage::Astray, Damage::Astray, Damage::Unreadable][rng.below(5) as usize];
            let place = rng.any();
            let then = rng.chance(600).then(|| Fault::Kill { server, down_us: rng.between(1000, 1_000_000) });
            if fragile > 0 {
                self.schedule.push(Timed { at_us, fault: Fault::Damage { server, kind, place } });
                self.schedule.extend(then.map(|fault| Timed { at_us: at_us + 1, fault }));
            }
        }
    }

    /// Leaders that go on with proposals that nobody hears, while clients write nothing to the next leader: so that they are told to
    /// cut their logs when they are back, and something happens then.
    fn draw_comebacks(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(1, 4) {
            let at_us = rng.below(self.faults_us);
            let limit_us = self.tick_ms * 1000 * self.sync_limit_ticks;
            let for_us = rng.between(limit_us, limit_us * 4) + rng.below(2_000_000);
            // Nobody else leads before that.
            let wrote_us = at_us + rng.between(1000, limit_us);
            let quiet_us = for_us + rng.between(500_000, 5_000_000);
            let down_us = rng.between(1000, 1_000_000);
            self.schedule.push(Timed { at_us, fault: Fault::CutOffLeader { for_us } });
            self.schedule.push(Timed { at_us: wrote_us, fault: Fault::Quiet { for_us: quiet_us } });
            let fault = match rng.below(10) {
                0..6 => Fault::PowerOffInChange { effects: rng.below(16), down_us },
                6..9 => Fault::DiskErrorInChange { effects: rng.below(4), kind: draw_disk_error(rng) },
                _ => continue,
            };
            self.schedule.push(Timed { at_us: wrote_us, fault });
        }
    }

    /// As bad as it may be for a quorum: one voter misses what the others commit; then those that may lose their disks lose
    /// them, and of the others that one alone can be reached.
    fn draw_lost_voters(&mut self, rng: &mut Rng) {
        let fragile = (self.voters - 1) / 2;
        if fragile == 0 || self.voters.is_multiple_of(2) {
            return;
        }
        let behind = rng.between(fragile as u64, self.voters as u64 - 1) as usize;
        let all = self.servers();
        let cut_off = |s: usize| (0..all).filter(move |&it| it != s).flat_map(move |it| [(s, it), (it, s)]);
        let (at_us, missed_us) = (rng.below(self.faults_us), rng.between(100_000, 10_000_000));
        let for_us = rng.between(1_000_000, 15_000_000);
        let pairs = cut_off(behind).collect();
        self.schedule.push(Timed { at_us, fault: Fault::Block { pairs, for_us: missed_us } });
        let at_us = (at_us + missed_us).saturating_sub(rng.below(50_000));
        let pairs = (fragile..self.voters).filter(|&it| it != behind).flat_map(cut_off).collect();
        self.schedule.push(Timed { at_us, fault: Fault::Block { pairs, for_us } });
        for server in 0..fragile {
            let down_us = rng.between(1000, 500_000);
            self.schedule.push(Timed { at_us: at_us + 1, fault: Fault::Wipe { server, down_us } });
        }
    }

    /// A server accepts epochs as their leader that nobody else hears of, and comes back to a leader of an older one.
    fn draw_lost_epochs(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(1, 3) {
            let at_us = rng.below(self.faults_us);
            let fault =
                Fault::PowerOffInEpoch { times: rng.between(1, 4) as u32, down_us: rng.between(500_000, 10_000_000) };
            self.schedule.push(Timed { at_us, fault });
            // Somebody has to be elected.
            let fault = Fault::CutOffLeader { for_us: rng.between(1_000_000, 5_000_000) };
            self.schedule.push(Timed { at_us, fault });
        }
    }

    /// Servers come, go and change their roles. None loses its disk: where members change, nobody can say beforehand how many
    /// of them may.
    fn draw_reconfigs(&mut self, rng: &mut Rng) {
        self.reconfig_enabled = true;
        self.spares = rng.below(4) as usize;
        let all = self.servers();
        if self.clock_ppm.iter().any(|it| *it != 1_000_000) {
            self.clock_ppm.resize_with(all, || rng.between(500_000, 2_000_000));
        }
        self.clock_ppm.resize(all, 1_000_000);
        self.start_us.resize(all, 0);
        self.schedule.retain(|it| !matches!(it.fault, Fault::Wipe { .. } | Fault::Damage { .. }));
        let pause_us = [300_000, 1_000_000, 5_000_000][rng.below(3) as usize];
        let mut at_us = rng.below(3_000_000);
        while at_us < self.faults_us {
            let server = rng.below(all as u64) as usize;
            let change = match rng.below(10) {
                0..3 => Change::Vote(server),
                3..5 => Change::Observe(server),
                5..7 => Change::Leave(server),
                _ => {
                    let in_it: Vec<usize> = (0..all).filter(|_| rng.chance(600)).collect();
                    let (voters, observers) = in_it.into_iter().partition(|_| rng.chance(800));
                    Change::Whole { voters, observers }
                }
            };
            self.schedule.push(Timed { at_us, fault: Fault::Reconfigure { change } });
            // Its moment is short, so what is to meet it comes with it.
            let fault = match rng.below(12) {
                0 => Some(Fault::Kill { server, down_us: rng.between(1000, 500_000) }),
                1 => Some(Fault::PowerOff { server, down_us: rng.between(1000, 500_000) }),
                2 => Some(Fault::CutOffLeader { for_us: rng.between(100_000, 10_000_000) }),
                3 => {
                    Some(Fault::PowerOffAtEffect { server, effects: rng.below(8), down_us: rng.between(1000, 500_000) })
                }
                _ => None,
            };
            let soon_us = at_us + rng.below(self.latency.max_us * 3 + self.sync.max_us * 2);
            self.schedule.extend(fault.map(|fault| Timed { at_us: soon_us, fault }));
            at_us += rng.between(pause_us / 10, pause_us * 2);
        }
    }

    /// The same world without.
    pub(crate) fn without_reconfigs(&mut self) {
        self.reconfig_enabled = false;
        self.spares = 0;
        self.schedule.retain(|it| !matches!(it.fault, Fault::Reconfigure { .. }));
        let servers = self.servers();
        self.clock_ppm.truncate(servers);
        self.start_us.truncate(servers);
        self.schedule.retain(|it| it.fault.is_of_first(servers));
    }

    fn draw(&self, kind: u64, fragile: usize, rng: &mut Rng) -> Vec<Fault> {
        let all = self.servers();
        let server = rng.below(all as u64) as usize;
        let down_us = [1000, 100_000, 3_000_000][rng.below(3) as usize];
        let down_us = rng.between(down_us / 2, down_us * 2);
        let one = |fault| vec![fault];
        match kind {
            0 => one(Fault::PowerOff { server, down_us }),
            1 => one(Fault::PowerOffAtEffect { server, effects: rng.below(30), down_us }),
            2 => one(Fault::Kill { server, down_us }),
            // All of them, or all but one, at once; and some once more while they recover.
            3 => {
                let spared = rng.below(all as u64 * 2) as usize;
                let mut faults = Vec::new();
                for server in (0..all).filter(|&it| it != spared) {
                    let down_us = rng.between(down_us, down_us + 1000);
                    faults.push(Fault::PowerOff { server, down_us });
                    if rng.chance(300) {
                        faults.push(Fault::PowerOffInRecovery { server, effects: rng.below(12), down_us });
                    }
                }
                faults
            }
            4 => {
                let longest = self.tick_ms * 1000 * self.sync_limit_ticks * 2;
                one(Fault::Pause { server, for_us: rng.between(1000, longest) })
            }
            5 | 6 => one(Fault::Block { pairs: self.draw_pairs(rng), for_us: rng.between(100_000, 15_000_000) }),
            7 => one(Fault::Reset { connection: rng.any() }),
            8 if rng.chance(500) => one(Fault::HalfOpen { connection: rng.any() }),
            8 => {
                let by_ms = rng.below(20_000_000_000) as i64 - 10_000_000_000;
                one(Fault::ClockJump { server, by_ms })
            }
            9 => {
                let sync_us = rng.between(10_000, self.tick_ms * 1000 * self.sync_limit_ticks * 2);
                one(Fault::SlowDisk { server, sync_us, for_us: rng.between(100_000, 10_000_000) })
            }
            _ if server < fragile && rng.chance(500) => one(Fault::Wipe { server, down_us }),
            _ => {
                let kind = draw_disk_error(rng);
                one(Fault::DiskError { server, effects: rng.below(40), kind })
            }
        }
    }

    /// A partition: full, one server alone, between two only, or one way.
    fn draw_pairs(&self, rng: &mut Rng) -> Vec<(usize, usize)> {
        let all = self.servers() as u64;
        let (one, other) = (rng.below(all) as usize, rng.below(all) as usize);
        let mut pairs = Vec::new();
        match rng.below(4) {
            0 => {
                let side: Vec<bool> = (0..all).map(|_| rng.chance(500)).collect();
                let cut = |from: usize, to: usize| side.get(from) != side.get(to);
                let each = (0..all as usize).flat_map(|from| (0..all as usize).map(move |to| (from, to)));
                pairs.extend(each.filter(|&(from, to)| cut(from, to)));
            }
            1 => pairs.extend((0..all as usize).filter(|&it| it != one).flat_map(|it| [(it, one), (one, it)])),
            2 => pairs.extend([(one, other), (other, one)]),
            _ if rng.chance(500) => pairs.push((one, other)),
            _ => pairs.extend((0..all as usize).filter(|&it| it != one).map(|it| (one, it))),
        }
        pairs.retain(|(from, to)| from != to);
        pairs
    }
}

fn draw_disk_error(rng: &mut Rng) -> DiskError {
    [DiskError::Error, DiskError::Partly, DiskError::SyncLost, DiskError::NoSpace][rng.below(4) as usize]
}
