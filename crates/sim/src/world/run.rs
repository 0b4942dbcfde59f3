//! A world from beginning to end: faults, then calm.

use zab::{Options, State};

use super::setup::{Setup, Span};
use super::trace::{Keep, Kind, Trace, Words};
use super::{Tally, World};
use crate::check::Violation;

/// How often it is looked whether it is time for something else, in µs.
const LOOK_US: u64 = 100_000;
/// So many messages are enough: a world whose servers or clients say more than others goes on for a shorter time, instead of
/// costing as much as a hundred others.
const MESSAGES_MAX: u64 = 40_000;
/// How many answers clients must get once the faults have ended.
const ANSWERS: u64 = 20;

/// What became of a world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What may never be seen, and was.
    pub violation: Option<Violation>,
    /// What happened, in numbers.
    pub tally: Tally,
    /// What happened, in words, and its hash.
    pub trace: Trace,
    /// How long it went on, in µs of its own time.
    pub simulated_us: u64,
}

/// Runs this world. `change` sets what else is different with its servers.
pub fn run(setup: Setup, keep: Keep, change: &dyn Fn(&mut Options)) -> Outcome {
    World::new(setup, keep, change).finish()
}

impl World {
    /// Goes on to the end: the rest of the faults, then calm.
    pub fn finish(mut self) -> Outcome {
        let faults_us = self.setup.faults_us;
        while self.truth.violation.is_none() && self.now_us < faults_us && self.tally.messages < MESSAGES_MAX {
            self.run_until(faults_us.min(self.now_us + LOOK_US));
        }
        if self.truth.violation.is_none() {
            self.come_together();
        }
        self.tally.reconfigs = self.truth.reconfigured;
        Outcome { violation: self.truth.violation, tally: self.tally, trace: self.trace, simulated_us: self.now_us }
    }

    /// Liveness: without faults, a leader is found, clients are answered, and all servers end with the same history.
    fn come_together(&mut self) {
        self.heal();
        if let Some(server) = self.setup.hangs_at_last {
            self.others_go_on_without(server);
        }
        let limit_ticks = self.setup.init_limit_ticks + self.setup.sync_limit_ticks;
        // Where epochs end as soon as they begin, who asks for a leader once a minute misses it again and again.
        let missed_us = if self.setup.initial_counter > 0 { 60_000_000 } else { 0 };
        let bound_us = 90_000_000 + missed_us + 12 * self.setup.tick_ms * 1000 * limit_ticks;
        let end_us = self.now_us + bound_us;
        let enough = self.tally.answers + ANSWERS;
        let mut is_ending = false;
        while self.now_us < end_us {
            self.run_until(self.now_us + LOOK_US);
            if self.truth.violation.is_some() {
                return;
            }
            if !is_ending && (self.tally.answers >= enough || self.clients.is_empty()) && self.is_serving() {
                is_ending = true;
                for client in &mut self.clients {
                    client.is_done = true;
                }
            }
            if is_ending && self.clients.iter().all(|it| it.asked.is_empty()) && self.is_equal() {
                return;
            }
        }
        let servers: Vec<String> = (0..self.servers.len()).map(|s| self.state_of(s)).collect();
        let waiting = self.clients.iter().filter(|it| !it.asked.is_empty()).count();
        let what = format!("{waiting} clients wait, {}", servers.join("; "));
        self.truth.wrong("liveness", what);
    }

    /// Liveness without one disk: all servers serve, then a disk hangs in its syncs for much longer than any limit. Long
    /// before it goes on, the others have a leader that answers their clients.
    fn others_go_on_without(&mut self, s: usize) {
        self.setup.think = Span::new(20_000, 200_000);
        self.setup.pipelined = 1;
        let limits_us = self.setup.tick_ms * 1000 * (self.setup.init_limit_ticks + self.setup.sync_limit_ticks);
        let end_us = self.now_us + 90_000_000 + 12 * limits_us;
        while !self.is_serving() {
            // Whoever waits for a later leader may be the one that is missing in the end.
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
        self.trace.event(self.now_us, Kind::Fault, [u64::MAX, s as u64, for_us], || {
            Words::world(format!("-- the disk of server {} hangs for {} s", s + 1, for_us / 1_000_000))
        });
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
            process.is_some_and(|it| it.is_serving) || self.is_waiting_for_a_later_epoch(s)
        })
    }

    /// Has it accepted a later epoch than the leader's? Then, as in Apache, it waits for the next leader; a quorum goes on
    /// without it.
    fn is_waiting_for_a_later_epoch(&self, s: usize) -> bool {
        let members = || self.servers.iter().filter_map(|it| it.process.as_ref()).map(|it| it.ensemble.member());
        let leads = members().filter(|it| it.is_serving() && it.state() == State::Leading);
        let epoch = leads.map(|it| it.durable().1).max();
        let accepted = self.servers[s].process.as_ref().map(|it| it.ensemble.member().durable().0);
        epoch.is_some() && accepted > epoch
    }

    fn is_equal(&self) -> bool {
        let end = self.truth.end();
        let is_at_end = |s: usize| {
            let process = self.servers[s].process.as_ref();
            process.is_some_and(|it| it.is_serving && (it.applied, it.link) == end)
        };
        (0..self.servers.len()).all(|s| is_at_end(s) || self.is_waiting_for_a_later_epoch(s))
    }

    /// A server in a few words.
    pub(super) fn state_of(&self, s: usize) -> String {
        let Some(process) = &self.servers[s].process else { return format!("{} is down", s + 1) };
        let state = match process.ensemble.member().state() {
            State::Looking => "LOOKING",
            State::Following => "FOLLOWING",
            State::Leading => "LEADING",
            State::Observing => "OBSERVING",
        };
        let (accepted, current, logged) = process.ensemble.member().durable();
        let serving = if process.is_serving { ", serves" } else { "" };
        let round = process.ensemble.vote().1;
        format!(
            "{} is {state}{serving}, epochs {accepted}/{current}, logged {logged}, applied {}, round {round}",
            s + 1,
            process.applied
        )
    }
}
