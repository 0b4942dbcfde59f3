//! Three servers, every order in which messages can arrive, servers can start and waits can end, and one of them can crash and
//! start again: depth first, with each state visited once. A channel between two servers keeps its order, as TCP does.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use ostler_zab::election::{Decision, Input, Output, Proposal, Settings};
use ostler_zab::quorum_verifier::{Groups, Rule};
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
    /// How many crashes may still come.
    crashes: u32,
    witness: Witness,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    wait: Wait,
    /// How many servers crash, and start again.
    crashes: u32,
    /// A weakening that has to be found: the third server alone is a quorum.
    one_decides: bool,
}

struct Search {
    offers: [Proposal; SERVERS],
    bounds: Bounds,
    seen: HashSet<u64>,
    hasher: RandomState,
    /// The longest way.
    depth: usize,
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

fn others(at: usize) -> impl Iterator<Item = usize> {
    (0..SERVERS).filter(move |peer| *peer != at)
}

impl Bounds {
    fn new(wait: Wait, crashes: u32) -> Self {
        Self { wait, crashes, one_decides: false }
    }

    /// A server that does not look for a leader yet.
    fn server(self, at: usize) -> Election {
        let settings = Settings {
            early_end: self.wait == Wait::Never,
            notification_interval_ms_min: NEVER_MS,
            notification_interval_ms_max: NEVER_MS,
            ..Settings::new(id(at))
        };
        let mut verifier = QuorumVerifier::of_participants((0..SERVERS).map(id));
        if self.one_decides {
            // 3 of 5.
            let groups = Groups::new([(1, (0..SERVERS).map(id).collect())], [(id(2), 3)]);
            verifier = verifier.with_rule(Rule::Hierarchical(groups.unwrap()));
        }
        let mut it = Election::new(settings, Quorums::of(verifier));
        for peer in others(at) {
            it.handle(0, Input::Up(id(peer)));
        }
        it
    }
}

impl World {
    fn new(bounds: Bounds) -> Self {
        Self {
            servers: [0, 1, 2].map(|at| bounds.server(at)),
            started: [false; SERVERS],
            decided: [None; SERVERS],
            channels: Default::default(),
            crashes: bounds.crashes,
            witness: Witness::default(),
        }
    }

    /// The same, and a server's process is gone, with all that was under way from it and to it. The others notice, and whoever
    /// followed it looks again. It starts later, as any other.
    fn crashed(&self, at: usize, search: &Search) -> Self {
        let mut world = self.clone();
        world.crashes -= 1;
        world.servers[at] = search.bounds.server(at);
        world.started[at] = false;
        world.decided[at] = None;
        for peer in others(at) {
            world.channels[at][peer].clear();
            world.channels[peer][at].clear();
        }
        for peer in others(at) {
            world.step(peer, Input::Down(id(at)), search);
            world.step(peer, Input::Up(id(at)), search);
            if world.decided[peer].is_some_and(|it| it.leader == id(at)) {
                world.decided[peer] = None;
                world.step(peer, Input::Look(search.offers[peer]), search);
            }
        }
        world
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
        let (mut next, mut crashed) = (Vec::new(), Vec::new());
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
            if self.crashes > 0 {
                crashed.push(self.crashed(at, search));
            }
            let may = match search.bounds.wait {
                Wait::WhenQuiet => quiet,
                Wait::AtAnyTime => true,
                Wait::Never => false,
            };
            if may && self.servers[at].next_timeout().is_some_and(|at_ms| at_ms < NEVER_MS) {
                with(at, Input::Timeout, &|_| {});
            }
        }
        next.append(&mut crashed);
        next
    }
}

impl Search {
    fn run(offers: [Proposal; SERVERS], bounds: Bounds) -> Self {
        let hasher = RandomState::new();
        let mut search = Self { offers, bounds, seen: HashSet::new(), hasher, depth: 0, ends: 0, agreed: true };
        let mut stack = vec![(World::new(bounds), 0)];
        while let Some((world, depth)) = stack.pop() {
            if !search.seen.insert(search.hasher.hash_one(&world)) {
                continue;
            }
            assert!(search.seen.len() < STATES_MAX, "more than {STATES_MAX} states: {offers:?}, {bounds:?}");
            search.depth = search.depth.max(depth);
            let next = world.successors(&search);
            if next.is_empty() {
                search.on_end(&world);
            }
            stack.extend(next.into_iter().map(|it| (it, depth + 1)));
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

fn search_all(name: &str, orders: &[[Proposal; SERVERS]], bounds: Bounds, must_agree: bool) {
    let (mut states, mut ends, mut depth) = (0, 0, 0);
    for offers in orders {
        let search = Search::run(*offers, bounds);
        states += search.seen.len();
        ends += search.ends;
        depth = depth.max(search.depth);
        assert!(search.agreed || !must_agree, "not all decided for the best of {offers:?}");
    }
    println!("{name}: {} orders of votes, {states} states, depth {depth}, {ends} ends, complete", orders.len());
}

#[test]
fn with_a_network_faster_than_the_wait_all_elect_the_best() {
    search_all("wait", &all_orders(), Bounds::new(Wait::WhenQuiet, 0), true);
}

#[test]
fn the_early_end_alone_elects_the_best_in_every_order_of_events() {
    search_all("early end", &all_orders(), Bounds::new(Wait::Never, 0), true);
}

#[test]
fn with_a_slow_network_every_decision_has_its_quorum_and_nobody_looks_for_ever() {
    // Two can lead then, for all that an election promises: discovery lets only one of them do so.
    search_all("slow network", &all_orders(), Bounds::new(Wait::AtAnyTime, 0), false);
}

#[test]
fn with_a_crash_at_any_moment_every_decision_has_its_quorum_and_nobody_looks_for_ever() {
    // Without the end of the wait, somebody whose peer has crashed and voted for less since would look for ever.
    let by_zxid = &all_orders()[..13];
    search_all("crash", by_zxid, Bounds::new(Wait::WhenQuiet, 1), false);
}

#[test]
fn a_quorum_that_is_none_is_found() {
    let bounds = Bounds { one_decides: true, ..Bounds::new(Wait::AtAnyTime, 0) };
    let found = std::panic::catch_unwind(|| search_all("one decides", &all_orders(), bounds, false)).unwrap_err();
    let found = found.downcast_ref::<String>().unwrap();
    assert!(found.contains("decided without a quorum"), "{found}");
}
