//! From a world that fails to a small one that fails in the same way: fewer faults, fewer clients, a shorter time, nothing that
//! it does not need. What is left is short enough to be read.

use std::fmt;

use super::setup::{Setup, Span, Timed};

impl Setup {
    /// Makes it smaller for as long as `fails` says that it still does, in at most `runs_max` tries.
    pub fn shrunk(&self, runs_max: usize, fails: &mut dyn FnMut(&Self) -> bool) -> Self {
        let mut search = Search { best: self.clone(), left: runs_max, fails };
        loop {
            let before = search.best.clone();
            search.fewer_faults();
            search.simpler();
            if search.best == before || search.left == 0 {
                return search.best;
            }
        }
    }
}

struct Search<'a> {
    best: Setup,
    left: usize,
    fails: &'a mut dyn FnMut(&Setup) -> bool,
}

impl Search<'_> {
    /// Takes the other one if it fails too.
    fn offer(&mut self, setup: Setup) -> bool {
        if setup == self.best || self.left == 0 {
            return false;
        }
        self.left -= 1;
        let is_taken = (self.fails)(&setup);
        if is_taken {
            self.best = setup;
        }
        is_taken
    }

    fn change(&mut self, change: impl FnOnce(&mut Setup)) -> bool {
        let mut setup = self.best.clone();
        change(&mut setup);
        self.offer(setup)
    }

    /// Leaves out faults: halves first, then ever smaller pieces.
    fn fewer_faults(&mut self) {
        let mut size = self.best.schedule.len();
        while size > 0 {
            let mut at = 0;
            while at < self.best.schedule.len() {
                let end = (at + size).min(self.best.schedule.len());
                if !self.change(|it| drop(it.schedule.drain(at..end))) {
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// What concerns those that are left out goes with them.
    fn fewer_servers(&mut self, change: impl FnOnce(&mut Setup)) -> bool {
        self.change(|it| {
            change(it);
            let servers = it.servers();
            it.clock_ppm.truncate(servers);
            it.start_us.truncate(servers);
            it.groups.truncate(it.voters);
            it.schedule.retain(|timed| timed.fault.is_of_first(servers));
        })
    }

    fn simpler(&mut self) {
        let last_us = self.best.schedule.iter().map(|it| it.at_us).max().unwrap_or(0);
        for faults_us in [last_us + 100_000, last_us + 1_000_000, self.best.faults_us / 2, self.best.faults_us * 3 / 4]
        {
            self.change(|it| it.faults_us = faults_us.min(it.faults_us));
        }
        for clients in [0, 1, 2, self.best.clients / 2, self.best.clients.saturating_sub(1)] {
            self.change(|it| it.clients = clients.min(it.clients));
        }
        self.change(Setup::without_reconfigs);
        self.change(|it| it.groups.clear());
        self.change(|it| it.observer_masters = false);
        self.change(|it| it.read_only = false);
        self.fewer_servers(|it| it.spares = 0);
        self.fewer_servers(|it| it.observers = 0);
        for voters in [1, 2, 3, self.best.voters.saturating_sub(1)] {
            self.fewer_servers(|it| it.voters = voters.clamp(1, it.voters));
        }
        self.change(|it| it.pipelined = 1);
        self.change(|it| it.late_per_mille = 0);
        self.change(|it| it.initial_counter = 0);
        self.change(|it| it.changes_left = None);
        self.change(|it| {
            // What was there before the world begins is of an epoch.
            it.initial_epoch = i32::from(it.changes_left.is_some());
        });
        self.change(|it| it.initial_round = 0);
        self.change(|it| it.is_encoded = false);
        self.change(|it| it.force_snapshot_sync = false);
        self.change(|it| it.has_small_queues = false);
        self.change(|it| it.start_us.fill(0));
        self.change(|it| it.clock_ppm.fill(1_000_000));
        self.change(|it| it.latency = Span::new(100, 400));
        self.change(|it| it.snap_count = 1000);
        self.change(|it| it.committed_log_txns = 500);
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, voters, observers, clients, tick_ms, pipelined, .. } = self;
        writeln!(f, "seed {seed}: {voters} voters, {observers} observers, {clients} clients, tickTime {tick_ms} ms")?;
        let span = |it: Span| format!("{} to {} µs", it.min_us, it.max_us);
        let (latency, sync, think) = (span(self.latency), span(self.sync), span(self.think));
        writeln!(
            f,
            "  messages take {latency}, syncs {sync}; clients wait {think}, and have {pipelined} requests out"
        )?;
        let Self { snap_count, committed_log_txns, late_per_mille, initial_counter, .. } = self;
        writeln!(f, "  snapCount {snap_count}, commitLogCount {committed_log_txns}")?;
        if *late_per_mille > 0 {
            writeln!(f, "  {late_per_mille} of 1000 messages take {}", span(self.late))?;
        }
        if self.initial_epoch > 0 {
            writeln!(f, "  servers come with epoch {}", self.initial_epoch)?;
        }
        if self.initial_round > 0 {
            writeln!(f, "  rounds of elections begin behind {}", self.initial_round)?;
        }
        if let Some(left) = self.changes_left {
            writeln!(f, "  versions of directories, and numbers of their children, end behind {left} changes")?;
        }
        if *initial_counter > 0 {
            writeln!(f, "  epochs begin behind counter {initial_counter:#x}")?;
        }
        if !self.groups.is_empty() {
            writeln!(f, "  groups of the voters, and their weights: {:?}", self.groups)?;
        }
        if self.observer_masters {
            writeln!(f, "  observers learn from followers")?;
        }
        if self.read_only {
            writeln!(f, "  servers serve reads without a leader")?;
        }
        if self.reconfig_enabled {
            writeln!(f, "  reconfigEnabled, and {} more servers", self.spares)?;
        }
        if self.is_encoded {
            writeln!(f, "  packets travel as bytes")?;
        }
        if self.force_snapshot_sync {
            writeln!(f, "  forceSnapshotSync")?;
        }
        if self.has_small_queues {
            writeln!(f, "  queues are small")?;
        }
        if self.clock_ppm.iter().any(|it| *it != 1_000_000) {
            writeln!(f, "  clocks go with {:?} millionths", self.clock_ppm)?;
        }
        if self.start_us.iter().any(|it| *it != 0) {
            writeln!(f, "  servers start at {:?} µs", self.start_us)?;
        }
        for Timed { at_us, fault } in &self.schedule {
            writeln!(f, "  {:>3}.{:06}  {fault}", at_us / 1_000_000, at_us % 1_000_000)?;
        }
        writeln!(f, "  {:>3}.{:06}  all faults end", self.faults_us / 1_000_000, self.faults_us % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::*;

    #[test]
    fn what_is_not_needed_goes() {
        let is_it = |it: &Timed| matches!(it.fault, Fault::PowerOff { server: 1, .. } | Fault::Kill { server: 0, .. });
        let mut setup = Setup::calm(1, 5, 2, 9);
        for n in 0..40 {
            let fault = match n {
                17 => Fault::PowerOff { server: 1, down_us: 5 },
                31 => Fault::Kill { server: 0, down_us: 5 },
                _ => Fault::Reset { connection: n },
            };
            setup.schedule.push(Timed { at_us: n * 1000, fault });
        }
        let mut runs = 0;
        let small = setup.shrunk(500, &mut |it| {
            runs += 1;
            let is_left = it.schedule.iter().filter(|fault| is_it(fault) && fault.at_us < it.faults_us).count() == 2;
            is_left && it.clients >= 2 && it.servers() >= 2
        });
        assert!(small.schedule.len() == 2 && small.schedule.iter().all(is_it), "{small}");
        assert_eq!((small.clients, small.servers()), (2, 2));
        assert!((31_001..131_001).contains(&small.faults_us), "{small}");
        assert!(runs <= 500);
        assert!(small.to_string().contains("all faults end"));
    }
}
