//! Five to nine servers at random: messages are lost, late, doubled and out of order, servers crash and come back, links
//! are cut. Then all is well again, and one leader with its quorum must come of it.

use std::collections::BTreeMap;

use ostler_zab::election::{Decision, Input, Output, Proposal, Settings};
use ostler_zab::{Election, QuorumVerifier, Quorums};
use proptest::prelude::*;
use wire::ServerId;
use wire::election::{Notification, ServerState};

use super::witness::Witness;
use super::{best, offer};

/// How long things go wrong, and how long they may take to come right: after a minute of looking, a server sends its vote
/// once a minute.
const TROUBLE_MS: u64 = 20_000;
const HEALED_MS: u64 = 200_000;

/// How long a follower tries to find its leader leading, and a leader waits for its followers.
const PATIENCE_MS: u64 = 3_000;

/// Most steps of one run.
const STEPS_MAX: usize = 400_000;

#[derive(Clone, Debug)]
struct Faults {
    /// Of 100 messages, while there is trouble.
    lost: u64,
    doubled: u64,
    /// Of 100 steps.
    crashes: u64,
    cuts: u64,
    delay_ms_max: u64,
    /// The last servers come back without their state.
    wiped: usize,
    early_end: bool,
}

struct World {
    faults: Faults,
    servers: Vec<Server>,
    /// What is under way, by when it arrives; the number keeps those of one moment apart.
    under_way: BTreeMap<(u64, u64), (usize, usize, Notification)>,
    cut: Vec<Vec<bool>>,
    now_ms: u64,
    next: u64,
    random: u64,
    witness: Witness,
    offers: Vec<Proposal>,
    sent: usize,
}

struct Server {
    /// `None`: it is down.
    election: Option<Election>,
    decided: Option<(u64, Decision)>,
    back_at: u64,
}

fn id(at: usize) -> ServerId {
    ServerId(at as i64 + 1)
}

impl World {
    fn new(count: usize, faults: Faults, seed: u64) -> Self {
        let mut it = Self {
            faults,
            servers: Vec::new(),
            under_way: BTreeMap::new(),
            cut: vec![vec![false; count]; count],
            now_ms: 0,
            next: 0,
            random: seed | 1,
            witness: Witness::default(),
            offers: Vec::new(),
            sent: 0,
        };
        for at in 0..count {
            let wiped = at + it.faults.wiped >= count;
            let (epoch, zxid) = (it.below(2) as i64, it.below(3) as i64);
            it.offers.push(offer(at as i64 + 1, epoch, if wiped { -1 } else { zxid }));
            let back_at = it.below(1000);
            it.servers.push(Server { election: None, decided: None, back_at });
        }
        it
    }

    /// A random number below `n`: xorshift, so that a seed says it all.
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n.max(1)
    }

    fn troubled(&self) -> bool {
        self.now_ms < TROUBLE_MS
    }

    fn verifier(&self) -> QuorumVerifier {
        QuorumVerifier::of_participants((0..self.servers.len()).map(id))
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let up = |at: usize| self.servers[at].election.is_some();
        a != b && up(a) && up(b) && !self.cut[a][b] && !self.cut[b][a]
    }

    fn start(&mut self, at: usize) {
        let settings = Settings { early_end: self.faults.early_end, ..Settings::new(id(at)) };
        self.servers[at].election = Some(Election::new(settings, Quorums::of(self.verifier())));
        for peer in 0..self.servers.len() {
            if self.linked(at, peer) {
                self.step(peer, Input::Up(id(at)));
                self.step(at, Input::Up(id(peer)));
            }
        }
        self.step(at, Input::Look(self.offers[at]));
    }

    fn crash(&mut self, at: usize) {
        for peer in 0..self.servers.len() {
            if self.linked(at, peer) {
                self.step(peer, Input::Down(id(at)));
            }
        }
        let back_at = self.now_ms + self.below(4000);
        self.servers[at] = Server { election: None, decided: None, back_at };
    }

    fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        let before = self.linked(a, b);
        (self.cut[a][b], self.cut[b][a]) = (cut, cut);
        let after = self.linked(a, b);
        if before != after {
            for (at, peer) in [(a, b), (b, a)] {
                self.step(at, if after { Input::Up(id(peer)) } else { Input::Down(id(peer)) });
            }
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let now_ms = self.now_ms;
        let Server { election: Some(election), decided, .. } = &mut self.servers[at] else { return };
        if matches!(input, Input::Look(_)) {
            *decided = None;
        }
        election.handle(now_ms, input);
        if let Some(proposal) = election.proposal() {
            self.witness.votes_itself(id(at), election.election_epoch(), proposal);
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| election.take_output()).collect();
        for output in outputs {
            match output {
                Output::Send { to, notification } => {
                    self.witness.heard(id(at), &notification);
                    self.send(at, to.0 as usize - 1, &notification);
                }
                Output::Decided(decision) => {
                    let verifier = self.verifier();
                    self.witness.votes_itself(id(at), decision.election_epoch, decision.proposal);
                    self.witness.check(id(at), &decision, &verifier, &self.offers);
                    self.servers[at].decided = Some((now_ms, decision));
                }
                Output::VoterLooks(_) => {}
                Output::NewerConfiguration(_) => panic!("there is one configuration"),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, notification: &Notification) {
        self.sent += 1;
        if !self.linked(from, to) || (self.troubled() && self.below(100) < self.faults.lost) {
            return;
        }
        let copies = if self.troubled() && self.below(100) < self.faults.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.troubled() { self.below(self.faults.delay_ms_max) } else { 1 + self.below(10) };
            self.under_way.insert((self.now_ms + delay, self.next), (from, to, notification.clone()));
            self.next += 1;
        }
    }

    /// What arrives now, and whose time has come.
    fn deliver(&mut self) {
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= self.now_ms
        {
            let (from, to, notification) = first.remove();
            if self.linked(from, to) {
                self.step(to, Input::Notification { from: id(from), notification });
            }
        }
        for at in 0..self.servers.len() {
            let due = self.servers[at].election.as_ref().and_then(Election::next_timeout);
            if due.is_some_and(|due| due <= self.now_ms) {
                self.step(at, Input::Timeout);
            }
        }
    }

    fn mischief(&mut self) {
        let count = self.servers.len() as u64;
        if self.below(100) < self.faults.crashes {
            let at = self.below(count) as usize;
            if self.servers[at].election.is_some() {
                self.crash(at);
            }
        }
        if self.below(100) < self.faults.cuts {
            let (a, b) = (self.below(count) as usize, self.below(count) as usize);
            let cut = self.below(2) == 0;
            if a != b {
                self.set_cut(a, b, cut);
            }
        }
    }

    /// What a server does that is settled: it looks again when its leader does not lead, or its followers do not follow.
    fn lead_and_follow(&mut self) {
        for at in 0..self.servers.len() {
            let Some((since, decision)) = self.servers[at].decided else { continue };
            let content = match decision.state {
                ServerState::Leading => self.verifier().contains_quorum(|it| it == id(at) || self.follows(it, at)),
                _ => {
                    let leader = decision.leader.0 as usize - 1;
                    self.linked(at, leader) && self.is_leading(leader)
                }
            };
            if content {
                self.servers[at].decided = Some((self.now_ms, decision));
            } else if self.now_ms - since > PATIENCE_MS {
                self.step(at, Input::Look(self.offers[at]));
            }
        }
    }

    fn is_leading(&self, at: usize) -> bool {
        self.servers[at].decided.is_some_and(|it| it.1.state == ServerState::Leading)
    }

    fn follows(&self, server: ServerId, leader: usize) -> bool {
        let at = server.0 as usize - 1;
        at < self.servers.len()
            && self.linked(at, leader)
            && self.servers[at].decided.is_some_and(|it| it.1.leader == id(leader))
    }

    /// The leader, if all agree on it.
    fn agreed(&self) -> Option<ServerId> {
        let leader = self.servers[0].decided?.1.leader;
        let all = self.servers.iter().all(|it| it.decided.is_some_and(|it| it.1.leader == leader));
        (all && self.is_leading(leader.0 as usize - 1)).then_some(leader)
    }

    /// Runs until all agree after the trouble; when that was, in ms after the trouble.
    fn run(&mut self) -> u64 {
        let mut healed = false;
        for _ in 0..STEPS_MAX {
            if !self.troubled() && !healed {
                healed = true;
                for a in 0..self.servers.len() {
                    self.servers[a].back_at = self.servers[a].back_at.min(self.now_ms);
                    for b in 0..a {
                        self.set_cut(a, b, false);
                    }
                }
            }
            if healed && self.agreed().is_some() {
                return self.now_ms - TROUBLE_MS;
            }
            assert!(self.now_ms < TROUBLE_MS + HEALED_MS, "no leader {HEALED_MS} ms after the trouble");
            for at in 0..self.servers.len() {
                if self.servers[at].election.is_none() && self.servers[at].back_at <= self.now_ms {
                    self.start(at);
                }
            }
            if self.troubled() {
                self.mischief();
            }
            self.deliver();
            self.lead_and_follow();
            self.now_ms += 10;
        }
        panic!("more than {STEPS_MAX} steps");
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    (0_u64..40, 0_u64..40, 0_u64..3, 0_u64..6, 1_u64..2000, 0_usize..2, any::<bool>()).prop_map(
        |(lost, doubled, crashes, cuts, delay_ms_max, wiped, early_end)| Faults {
            lost,
            doubled,
            crashes,
            cuts,
            delay_ms_max,
            wiped,
            early_end,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn after_any_trouble_there_is_one_leader(count in 5_usize..10, faults in faults(), seed in any::<u64>()) {
        let mut world = World::new(count, faults, seed);
        world.run();
    }

    #[test]
    fn without_trouble_all_elect_the_best_in_one_round(
        count in 3_usize..10,
        delay_ms_max in 1_u64..50,
        early_end in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let faults = Faults { lost: 0, doubled: 10, crashes: 0, cuts: 0, delay_ms_max, wiped: 0, early_end };
        let mut world = World::new(count, faults, seed);
        // All start together: who comes later finds a leader, and need not be the best.
        for server in &mut world.servers {
            server.back_at = 0;
        }
        let best = best(&world.offers);
        while world.agreed().is_none() {
            assert!(world.now_ms < 2000, "no leader in two seconds");
            for at in 0..count {
                if world.servers[at].election.is_none() {
                    world.start(at);
                }
            }
            world.deliver();
            world.now_ms += 1;
        }
        prop_assert_eq!(world.agreed(), Some(best.leader));
        // All change their votes a few times at most, and tell all others: nobody talks without end.
        prop_assert!(world.sent <= 6 * count * count, "{} notifications of {count} servers", world.sent);
    }
}
