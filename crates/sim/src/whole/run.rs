//! A world from beginning to end: faults, then calm.

use zab::{Ensemble, Options, State};

use super::{Sabotage, World};
use crate::world::common_faults::LAST_VERSION;
use crate::world::{Keep, Outcome, Setup, Span};

/// How often it is looked whether it is time for something else, in µs.
const LOOK_US: u64 = 100_000;
/// So many messages are enough, as in [`crate::world::run`].
const MESSAGES_MAX: u64 = 40_000;
/// How many answers clients must get once the faults have ended.
const ANSWERS: u64 = 20;

/// Runs this world. `change` sets what else is different with its servers.
pub fn run(setup: Setup, keep: Keep, change: &dyn Fn(&mut Options)) -> Outcome {
    run_sabotaged(setup, keep, change, Sabotage::None)
}

/// Runs it with a lie in it, which has to be seen.
pub fn run_sabotaged(setup: Setup, keep: Keep, change: &dyn Fn(&mut Options), sabotage: Sabotage) -> Outcome {
    let mut world = World::new(setup, keep, change);
    world.sabotage = sabotage;
    let faults_us = world.setup.faults_us;
    while world.truth.violation.is_none() && world.now_us < faults_us && world.tally.messages < MESSAGES_MAX {
        world.run_until(faults_us.min(world.now_us + LOOK_US));
    }
    if world.truth.violation.is_none() {
        world.come_together();
    }
    world.tally.reconfigs = world.truth.reconfigured;
    (0..world.truth.model.wrapped).for_each(|_| world.tally.took_place(LAST_VERSION));
    Outcome { violation: world.truth.violation, tally: world.tally, trace: world.trace, simulated_us: world.now_us }
}

impl World {
    /// Whoever serves shows what it has applied: looked at whenever a node has done something.
    pub(super) fn look(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        // What is read without a leader may never have been committed.
        let shown = process.serves_with_a_leader().then(|| process.applied());
        if std::mem::replace(&mut process.shown, shown) == shown {
            return;
        }
        let Some(zxid) = shown else { return };
        self.tally.applied += 1;
        self.truth.on_applied(s, zxid);
        if let Some(process) = &self.servers[s].process {
            self.truth.on_tree(s, &process.shared);
        }
    }

    /// Liveness: without faults, a leader is found, clients are answered, and all servers end with the same history.
    fn come_together(&mut self) {
        self.heal();
        if let Some(server) = self.setup.hangs_at_last {
            self.others_go_on_without(server);
        }
        let limit_ticks = self.setup.init_limit_ticks + self.setup.sync_limit_ticks;
        let bound_us = 90_000_000 + 12 * self.setup.tick_ms * 1000 * limit_ticks;
        let end_us = self.now_us + bound_us;
        let enough = self.tally.answers + ANSWERS;
        let mut is_ending = false;
        while self.now_us < end_us {
            self.run_until(self.now_us + LOOK_US);
            if self.truth.violation.is_some() {
                return;
            }
            if self.tally.answers >= enough {
                // Until the last server has found the others, a little is enough.
                self.setup.think = Span::new(20_000, 200_000);
                self.setup.pipelined = 1;
            }
            if !is_ending && (self.tally.answers >= enough || self.clients.is_empty()) && self.is_serving() {
                is_ending = true;
                for client in &mut self.clients {
                    client.is_done = true;
                }
            }
            if is_ending && self.clients.iter().all(|it| it.asked.is_empty()) && self.is_equal() {
                return self.compare();
            }
        }
        let servers: Vec<String> = (0..self.servers.len()).map(|s| self.state_of(s)).collect();
        let waiting = self.clients.iter().filter(|it| !it.asked.is_empty()).count();
        let what = format!("{waiting} clients wait, {}", servers.join("; "));
        self.truth.wrong("liveness", what);
    }

    /// Liveness without one disk, as in [`crate::world::run`].
    fn others_go_on_without(&mut self, s: usize) {
        self.setup.think = Span::new(20_000, 200_000);
        self.setup.pipelined = 1;
        let limits_us = self.setup.tick_ms * 1000 * (self.setup.init_limit_ticks + self.setup.sync_limit_ticks);
        let end_us = self.now_us + 90_000_000 + 12 * limits_us;
        while !self.is_serving() {
            if self.truth.violation.is_some() || self.now_us >= end_us {
                return;
            }
            self.run_until(self.now_us + LOOK_US);
        }
        if (0..self.servers.len()).any(|s| self.is_waiting_for_a_later_epoch(s)) {
            return;
        }
        let for_us = 30_000_000 + 4 * limits_us;
        self.servers[s].slow = Some((for_us, self.now_us + for_us));
        self.run_until(self.now_us + for_us / 2);
        let enough = self.tally.answers + ANSWERS;
        self.run_until(self.now_us + for_us / 2 - 1);
        if self.truth.violation.is_none() && self.tally.answers < enough && !self.clients.is_empty() {
            let servers: Vec<String> = (0..self.servers.len()).map(|s| self.state_of(s)).collect();
            let what = format!("the disk of server {} hangs, and nobody is answered: {}", s + 1, servers.join("; "));
            self.truth.wrong("liveness", what);
        }
    }

    fn is_serving(&self) -> bool {
        (0..self.servers.len()).all(|s| {
            let process = self.servers[s].process.as_ref();
            process.is_some_and(|it| it.serves_with_a_leader()) || self.is_waiting_for_a_later_epoch(s)
        })
    }

    /// Has it accepted a later epoch than the leader's? Then, as in Apache, it waits for the next leader; a quorum goes on
    /// without it.
    fn is_waiting_for_a_later_epoch(&self, s: usize) -> bool {
        let members =
            || self.servers.iter().filter_map(|it| it.process.as_ref()?.node.ensemble()).map(Ensemble::member);
        let leads = members().filter(|it| it.is_serving() && it.state() == State::Leading);
        let epoch = leads.map(|it| it.durable().1).max();
        let process = self.servers[s].process.as_ref();
        let accepted = process.and_then(|it| it.node.ensemble()).map(|it| it.member().durable().0);
        epoch.is_some() && accepted > epoch
    }

    fn is_equal(&self) -> bool {
        let end = self.truth.end();
        let is_at_end = |s: usize| {
            let process = self.servers[s].process.as_ref();
            process.is_some_and(|it| it.serves_with_a_leader() && it.applied() == end)
        };
        (0..self.servers.len()).all(|s| is_at_end(s) || self.is_waiting_for_a_later_epoch(s))
    }

    fn compare(&mut self) {
        let end = self.truth.end();
        let processes = self.servers.iter().filter_map(|it| it.process.as_ref());
        let mut serving = processes.filter(|it| it.serves_with_a_leader());
        let Some(first) = serving.next() else { return };
        serving.for_each(|other| self.truth.compare(end, first, other));
    }

    /// A server in a few words.
    fn state_of(&self, s: usize) -> String {
        let Some(process) = &self.servers[s].process else { return format!("{} is down", s + 1) };
        let Some(ensemble) = process.node.ensemble() else { return String::new() };
        let state = match ensemble.member().state() {
            State::Looking => "LOOKING",
            State::Following => "FOLLOWING",
            State::Leading => "LEADING",
            State::Observing => "OBSERVING",
        };
        let (accepted, current, logged) = ensemble.member().durable();
        let serving = if process.shared.is_serving() { ", serves" } else { "" };
        let (applied, round) = (process.applied(), ensemble.vote().1);
        format!(
            "{} is {state}{serving}, epochs {accepted}/{current}, logged {logged}, applied {applied}, round {round}",
            s + 1
        )
    }
}
