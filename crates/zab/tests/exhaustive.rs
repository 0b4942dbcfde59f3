//! Every order of everything, within bounds: three servers of which one has a txn that no quorum has, each quorum's
//! election, each order of messages and disks, and crashes between any two steps.
//!
//! What is left out so that it ends: the clock (a connection ends by a crash alone), a third server that comes before the
//! epoch is established by the two that elected (it comes later), and orders of steps that touch nothing
//! in common with others (a connection that is made, the first packet on it, and the news that a connection ended come at
//! once).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic, and tells what it found"
)]

mod world;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use bytes::Bytes;
use ostler_zab::{Defect, Options, Proposal, State};
use wire::quorum::Packet;
use wire::{Epoch, ServerId, Zxid};
use world::{Action, Disk, World};

/// What may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    /// Elections: so many epochs at most.
    elections: usize,
    txns: usize,
    crashes: usize,
}

/// What came out.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    depth: usize,
    /// Everything within the bounds was seen.
    is_complete: bool,
    violation: Option<(String, Vec<Action>)>,
}

/// 1 has a txn that the others have not; 3 has nothing.
fn begin(change: impl Fn(&mut Options)) -> World {
    let txn = |counter| Proposal { zxid: Zxid::new(Epoch(1), counter), txn: Bytes::from(format!("txn {counter}")) };
    let disk = |count| Disk::new((1..=count).map(txn).collect(), Epoch(1));
    World::with_disks(vec![disk(2), disk(1), disk(0)], 1, change)
}

fn steps(world: &World, bounds: Bounds) -> Vec<(Action, Bounds)> {
    let progress = world.progress();
    if let Some(first) = progress.iter().find(|it| is_at_once(world, it)) {
        return vec![(first.clone(), bounds)];
    }
    let mut steps: Vec<_> = progress.into_iter().map(|action| (action, bounds)).collect();
    let leading = world.ids().into_iter().find(|&it| world.server(it).state() == Some(State::Leading));
    let lookers: Vec<ServerId> = world.ids().into_iter().filter(|&it| world.can_lead(it)).collect();
    if let Some(leader) = leading {
        let is_there = world.server(leader).member.as_ref().and_then(|it| it.as_leader());
        let is_established = is_there.is_some_and(|it| it.established().is_some());
        let lookers = if is_established { lookers } else { vec![] };
        steps.extend(lookers.iter().map(|&it| (Action::Elect(vec![it], leader), bounds)));
    } else if bounds.elections > 0 {
        let fewer = Bounds { elections: bounds.elections - 1, ..bounds };
        let quorums: Vec<Vec<ServerId>> = (0..1 << lookers.len())
            .map(|set: u32| {
                lookers.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, &it)| it).collect()
            })
            .filter(|quorum: &Vec<ServerId>| quorum.len() == 2)
            .collect();
        for quorum in quorums {
            // Either may win: an election promises nothing.
            for &winner in &quorum {
                steps.push((Action::Elect(quorum.clone(), winner), fewer));
            }
        }
    }
    for id in world.ids() {
        let server = world.server(id);
        if server.member.is_none() {
            steps.push((Action::Restart(id), bounds));
            continue;
        }
        let leads = server.member.as_ref().and_then(|it| it.as_leader()).is_some_and(|it| it.established().is_some());
        if leads && bounds.txns > 0 {
            steps.push((Action::Propose(id), Bounds { txns: bounds.txns - 1, ..bounds }));
        }
        if bounds.crashes > 0 && server.role.is_some() {
            let fewer = Bounds { crashes: bounds.crashes - 1, ..bounds };
            let work = server.disk.has_log_work() || server.disk.has_epoch_work();
            steps.push((Action::Crash(id, 0), fewer));
            if work {
                steps.push((Action::Crash(id, 9), fewer));
            }
        }
    }
    steps
}

/// Whether it comes now or later makes no difference to anybody.
fn is_at_once(world: &World, action: &Action) -> bool {
    match action {
        Action::Connect(_) | Action::LeaderSeesEnd(_) | Action::LearnerSeesEnd(_) | Action::Read(_) => true,
        Action::ToLeader(conn) => {
            let conn = &world.conns[conn];
            conn.is_cut || matches!(conn.to_leader.front(), Some(Packet::FollowerInfo { .. }))
        }
        Action::ToLearner(conn) => world.conns[conn].is_cut,
        _ => false,
    }
}

fn explore(start: World, bounds: Bounds, states_max: usize) -> Explored {
    let hasher = RandomState::new();
    let key = |world: &World, bounds: Bounds| hasher.hash_one((world, bounds));
    let mut explored = Explored { is_complete: true, ..Explored::default() };
    let mut seen = HashSet::from([key(&start, bounds)]);
    let first = steps(&start, bounds);
    let mut stack = vec![(start, first)];
    let mut path: Vec<Action> = Vec::new();
    while let Some((world, left)) = stack.last_mut() {
        let Some((action, bounds)) = left.pop() else {
            stack.pop();
            path.pop();
            continue;
        };
        let mut next = world.clone();
        if let Err(what) = next.apply(&action, None) {
            path.push(action);
            explored.violation = Some((what, path));
            explored.is_complete = false;
            break;
        }
        if !seen.insert(key(&next, bounds)) {
            continue;
        }
        if seen.len() >= states_max {
            explored.is_complete = false;
            break;
        }
        let steps = steps(&next, bounds);
        path.push(action);
        explored.depth = explored.depth.max(path.len());
        stack.push((next, steps));
    }
    explored.states = seen.len();
    explored
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// Explores all of it, and says how much that was.
fn see_all(bounds: Bounds, states_max: usize) {
    let began = Instant::now();
    let explored = explore(begin(|_| ()), bounds, states_max);
    let Explored { states, depth, is_complete, violation } = &explored;
    let seconds = began.elapsed().as_secs();
    println!("{bounds:?}: {states} states, depth {depth}, complete: {is_complete}, {seconds} s");
    if let Some((what, path)) = violation {
        let path: Vec<String> = path.iter().map(|it| format!("{it:?}")).collect();
        panic!("{what}\n{}", path.join("\n"));
    }
    assert!(*is_complete, "{states_max} states are not enough");
}

#[test]
fn every_order_of_one_sync_keeps_what_is_promised() {
    let bounds = [
        Bounds { elections: 1, txns: 2, crashes: 0 },
        Bounds { elections: 2, txns: 1, crashes: 1 },
        Bounds { elections: 2, txns: 0, crashes: 2 },
    ];
    for bounds in bounds {
        see_all(bounds, number("OSTLER_ZAB_STATES", 1_000_000));
    }
}

/// Two epochs, two txns and two crashes, all together: `cargo test --release -p ostler-zab --test exhaustive -- --ignored
/// --nocapture`. `OSTLER_ZAB_BOUNDS=2,1,2` has other bounds: elections, txns, crashes.
#[test]
#[ignore = "it takes long"]
fn every_order_of_two_of_everything_keeps_what_is_promised() {
    let asked = std::env::var("OSTLER_ZAB_BOUNDS").unwrap_or_else(|_| "2,2,2".to_owned());
    let asked: Vec<usize> = asked.split(',').map(|it| it.parse().unwrap()).collect();
    let [elections, txns, crashes] = asked[..] else { panic!("three numbers") };
    see_all(Bounds { elections, txns, crashes }, number("OSTLER_ZAB_STATES", 100_000_000));
}

#[test]
fn the_exploration_finds_what_is_wrong() {
    for defect in [
        Defect::AckBeforeItsSync,
        Defect::CurrentEpochBeforeHistory,
        Defect::NewLeaderAckBeforeHistory,
        Defect::AckEpochBeforeAcceptedEpoch,
        Defect::SummariesNotCompared,
        Defect::TruncIgnored,
    ] {
        let bounds = Bounds { elections: 2, txns: 1, crashes: 1 };
        let explored = explore(
            begin(|options| {
                options.defects.insert(defect);
            }),
            bounds,
            400_000,
        );
        let found = explored.violation.map(|(what, path)| format!("{what}, at depth {}", path.len()));
        println!("{defect:?}: {} states: {found:?}", explored.states);
        assert!(found.is_some(), "{defect:?} was not found");
    }
}
