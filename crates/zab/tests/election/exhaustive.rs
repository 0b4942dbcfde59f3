//! Three servers, every order in which messages can arrive, servers can start and waits can end: depth first, with each
//! state visited once. A channel between two servers keeps its order, as TCP does.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use ostler_zab::election::{Decision, Input, Output, Proposal, Settings};
use ostler_zab::{Election, QuorumVerifier, Quorums};
use wire::ServerId;
use wire::election::{Notification, ServerState};

use super::witness::Witness;
use super::{best, offer};

const SERVERS: usize = 3;

/// Most states of one ensemble; a search that needs more has not covered it, and fails.
const STATES_MAX: usize = 3_000_000;

/// When the wait for a better proposal may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// When nothing is under way any more: the network is faster than the wait.
    WhenQuiet,
    /// At any time: the network is as slow as it likes.
    AtAnyTime,
    /// Never: only the early end is left.
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    servers: [Election; SERVERS],
    started: [bool; SERVERS],
    decided: [Option<Decision>; SERVERS],
    /// What is under way, from each to each.
    channels: [[VecDeque<Notification>; SERVERS]; SERVERS],
    witness: Witness,
}

struct Search {
    offers: [Proposal; SERVERS],
    wait: Wait,
    seen: HashSet<u64>,
    hasher: RandomState,
    /// States in which nothing can happen any more.
    ends: usize,
    /// Do all decide for the best in all ends?
    agreed: bool,
}

fn id(at: usize) -> ServerId {
    ServerId(at as i64 + 1)
}

/// Never again within a search: what is sent is never lost.
const NEVER_MS: u64 = 1 << 40;

impl World {
    fn new(early_end: bool) -> Self {
        let quorums = Quorums::of(QuorumVerifier::of_participants((0..SERVERS).map(id)));
        let server = |at| {
            let settings = Settings {
                early_end,
                notification_interval_ms_min: NEVER_MS,
                notification_interval_ms_max: NEVER_MS,
                ..Settings::new(id(at))
            };
            let mut it = Election::new(settings, quorums.clone());
            for peer in (0..SERVERS).filter(|peer| *peer != at) {
                it.handle(0, Input::Up(id(peer)));
            }
            it
        };
        Self {
            servers: [0, 1, 2].map(server),
            started: [false; SERVERS],
            decided: [None; SERVERS],
            channels: Default::default(),
            witness: Witness::default(),
        }
    }

    fn step(&mut self, at: usize, input: Input, search: &Search) {
        // Each server's clock stands at 0; only a timeout moves it, and then back.
        let now_ms = if input == Input::Timeout { self.servers[at].next_timeout().unwrap() } else { 0 };
        let server = &mut self.servers[at];
        server.handle(now_ms, input);
        *server = server.rebased(now_ms);
        if let Some(proposal) = server.proposal() {
            self.witness.votes_itself(id(at), server.election_epoch(), proposal);
        }
        while let Some(output) = server.take_output() {
            match output {
                Output::Send { to, notification } => {
                    self.witness.heard(id(at), &notification);
                    self.channels[at][to.0 as usize - 1].push_back(notification);
                }
                Output::Decided(decision) => {
                    let verifier = QuorumVerifier::of_participants((0..SERVERS).map(id));
                    self.witness.votes_itself(id(at), decision.election_epoch, decision.proposal);
                    self.witness.check(id(at), &decision, &verifier, &search.offers);
                    self.decided[at] = Some(decision);
                }
                Output::VoterLooks(_) => {}
                Output::NewerConfiguration(_) => panic!("there is one configuration"),
            }
        }
    }

    /// All that can happen next.
    fn successors(&self, search: &Search) -> Vec<Self> {
        let mut next = Vec::new();
        let mut with = |at: usize, input: Input, change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            world.step(at, input, search);
            next.push(world);
        };
        for at in 0..SERVERS {
            if !self.started[at] {
                with(at, Input::Look(search.offers[at]), &|world| world.started[at] = true);
                continue;
            }
            for from in 0..SERVERS {
                if let Some(notification) = self.channels[from][at].front().cloned() {
                    let input = Input::Notification { from: id(from), notification };
                    with(at, input, &|world| drop(world.channels[from][at].pop_front()));
                }
            }
            let quiet = self.channels.iter().flatten().all(VecDeque::is_empty) && self.started.iter().all(|it| *it);
            let may = match search.wait {
                Wait::WhenQuiet => quiet,
                Wait::AtAnyTime => true,
                Wait::Never => false,
            };
            if may && self.servers[at].next_timeout().is_some_and(|at_ms| at_ms < NEVER_MS) {
                with(at, Input::Timeout, &|_| {});
            }
        }
        next
    }
}

impl Search {
    fn run(offers: [Proposal; SERVERS], wait: Wait) -> Self {
        let hasher = RandomState::new();
        let mut search = Self { offers, wait, seen: HashSet::new(), hasher, ends: 0, agreed: true };
        let mut stack = vec![World::new(wait == Wait::Never)];
        while let Some(world) = stack.pop() {
            if !search.seen.insert(search.hasher.hash_one(&world)) {
                continue;
            }
            assert!(search.seen.len() < STATES_MAX, "more than {STATES_MAX} states: {offers:?}, {wait:?}");
            let next = world.successors(&search);
            if next.is_empty() {
                search.on_end(&world);
            }
            stack.extend(next);
        }
        search
    }

    /// Nothing can happen any more: all with a history must have decided, and for somebody who leads.
    fn on_end(&mut self, world: &World) {
        self.ends += 1;
        for at in 0..SERVERS {
            assert!(world.decided[at].is_some(), "{} looks for ever: {world:#?}", id(at));
        }
        let decisions = world.decided.map(Option::unwrap);
        if decisions.iter().any(|it| it.leader != best(&self.offers).leader) {
            self.agreed = false;
        }
        assert!(decisions.iter().any(|it| it.state == ServerState::Leading), "nobody leads: {world:#?}");
    }
}

/// Every order of three histories, equal ones included: by epoch and by zxid.
fn all_orders() -> Vec<[Proposal; SERVERS]> {
    let ranks = (0..27).map(|n| [n / 9, n / 3 % 3, n % 3]);
    // One of each order: the ranks that occur are 0, 1, … without a gap.
    let dense = ranks.filter(|it| (0..=*it.iter().max().unwrap()).all(|rank| it.contains(&rank)));
    let by_zxid = dense.clone().map(|it| [0, 1, 2].map(|at| offer(at as i64 + 1, 0, it[at])));
    // A higher epoch beats a longer history.
    let by_epoch = dense.map(|it| [0, 1, 2].map(|at| offer(at as i64 + 1, it[at], 7 - it[at])));
    by_zxid.chain(by_epoch).collect()
}

fn search_all(name: &str, orders: &[[Proposal; SERVERS]], wait: Wait, must_agree: bool) {
    let (mut states, mut ends) = (0, 0);
    for offers in orders {
        let search = Search::run(*offers, wait);
        states += search.seen.len();
        ends += search.ends;
        assert!(search.agreed || !must_agree, "not all decided for the best of {offers:?}");
    }
    println!("{name}: {} orders of votes, {states} states, {ends} ends, complete", orders.len());
}

#[test]
fn with_a_network_faster_than_the_wait_all_elect_the_best() {
    search_all("wait", &all_orders(), Wait::WhenQuiet, true);
}

#[test]
fn the_early_end_alone_elects_the_best_in_every_order_of_events() {
    search_all("early end", &all_orders(), Wait::Never, true);
}

#[test]
fn with_a_slow_network_every_decision_has_its_quorum_and_nobody_looks_for_ever() {
    // Two can lead then, for all that an election promises: discovery lets only one of them do so.
    search_all("slow network", &all_orders(), Wait::AtAnyTime, false);
}
