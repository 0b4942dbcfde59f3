//! Worlds of whole servers and their clients: the same seed gives the same trace, and no promise is broken in any.

#![allow(clippy::print_stdout, reason = "it tells what it has tried")]

mod abreast;

use std::collections::BTreeSet;
use std::time::Instant;

use ostler_sim::whole::{Sabotage, run, run_sabotaged};
use ostler_sim::world::{Fault, Keep, Setup, Timed};

/// The worlds that every test run tries; `cargo xtask soak --whole` tries others. `OSTLER_SIM_SEEDS` sets another number,
/// `OSTLER_SIM_FIRST` the first seed.
const SEEDS: u64 = 20;

/// How many more worlds there are with disks that are wrong.
const DAMAGED: usize = 8;

/// How many more worlds there are whose members change.
const RECONFIGURED: usize = 10;

/// How many more worlds there are whose znodes come to the end of their numbers, and with old copies of disks.
const ENDING: usize = 6;
const RESTORED: usize = 6;

/// What must have taken place in these.
const PLAYED: &[&str] = &["version behind the last one", "no number left for a sequential znode", "old copy of a disk"];

/// Worlds that have found something, with the members that it took: a leader that a reconfig removes, with writes behind it.
const FOUND: &[u64] = &[292, 379];

fn has_damage(setup: &Setup) -> bool {
    setup.schedule.iter().any(|it| matches!(it.fault, Fault::Damage { .. }))
}

fn has_old_copies(setup: &Setup) -> bool {
    setup.schedule.iter().any(|it| matches!(it.fault, Fault::Restore { .. }))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_promise_is_broken() {
    if let Some(seed) = number("OSTLER_SIM_TRACE") {
        let outcome = run(Setup::of_seed(seed), Keep::Lines, &|_| ());
        print!("{}", Setup::of_seed(seed));
        outcome.trace.lines().iter().for_each(|line| println!("{line}"));
    }
    let first = number("OSTLER_SIM_FIRST").unwrap_or(1);
    let seeds = number("OSTLER_SIM_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let mut all: Vec<u64> = (first..first + seeds).collect();
    // Few seeds have them.
    let mut more = |name, usual, is: &dyn Fn(&Setup) -> bool| {
        let count = number(name).map_or(usual, |it| it as usize);
        all.extend((first + seeds..).filter(|&seed| is(&Setup::of_seed(seed))).take(count));
    };
    more("OSTLER_SIM_DAMAGED", DAMAGED, &has_damage);
    more("OSTLER_SIM_RECONFIGURED", RECONFIGURED, &|setup| setup.reconfig_enabled);
    more("OSTLER_SIM_ENDING", ENDING, &|setup| setup.changes_left.is_some());
    more("OSTLER_SIM_RESTORED", RESTORED, &has_old_copies);
    all.extend(FOUND);
    let outcomes = abreast::each(&all, |&seed| {
        let outcome = run(Setup::of_seed(seed), Keep::Hash, &|_| ());
        (outcome.simulated_us, outcome.tally, outcome.violation)
    });
    let (mut broken, mut simulated_us, mut answers, mut reconfigs) = (Vec::new(), 0, 0, 0);
    let mut played = BTreeSet::new();
    for (seed, outcome) in all.iter().zip(outcomes) {
        match outcome {
            Some((us, tally, violation)) => {
                simulated_us += us;
                answers += tally.answers;
                reconfigs += tally.reconfigs;
                played.extend(tally.faults.into_keys());
                broken.extend(violation.map(|it| format!("seed {seed}: {it}")));
            }
            None => broken.push(format!("seed {seed}: an assertion")),
        }
    }
    let took_us = began.elapsed().as_micros() as u64;
    let (seconds, speed) = (simulated_us / 1_000_000, simulated_us / took_us.max(1));
    println!(
        "{} worlds, {seconds} s of their time, {speed} times real time, {answers} answers, {reconfigs} reconfigs",
        all.len()
    );
    let has_reconfigs = all.iter().any(|&seed| Setup::of_seed(seed).reconfig_enabled);
    let missing: Vec<_> = PLAYED.iter().filter(|it| !played.contains(*it)).collect();
    assert!(seeds < SEEDS || missing.is_empty(), "these never took place: {missing:?}");
    assert!(reconfigs > 0 || !has_reconfigs, "no reconfig was committed");
    assert!(broken.is_empty(), "{} of {seeds}:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 8, 17] {
        let outcome = |keep| run(Setup::of_seed(seed), keep, &|_| ());
        let (one, in_words) = (outcome(Keep::Hash), outcome(Keep::Lines));
        assert_eq!((one.trace.hash(), one.trace.events()), (in_words.trace.hash(), in_words.trace.events()));
        assert_eq!(one.tally, in_words.tally);
    }
    let hash = |seed| run(Setup::of_seed(seed), Keep::Hash, &|_| ()).trace.hash();
    assert_ne!(hash(3), hash(8));
}

#[test]
fn a_leader_says_in_one_line_who_has_come_back_with_an_old_copy() {
    let at = |at_us, fault| Timed { at_us, fault };
    let schedule = vec![
        at(8_000_000, Fault::BackUp { server: 0 }),
        at(16_000_000, Fault::Restore { server: 0, down_us: 100_000 }),
    ];
    let outcome = run(Setup { schedule, faults_us: 30_000_000, ..Setup::calm(1, 3, 0, 3) }, Keep::Lines, &|_| ());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.tally.faults.get("old copy of a disk"), Some(&1));
    let lines: Vec<String> = outcome.trace.lines().iter().map(ToString::to_string).collect();
    let told: Vec<&String> =
        lines.iter().filter(|it| it.contains("server 1 has come back with a history up to")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// The most worlds that a lie may take to be seen.
const LIES_SEEDS: u64 = 120;

#[test]
fn every_lie_is_seen() {
    let found = abreast::each(Sabotage::ALL, |(lie, _)| {
        (1..=LIES_SEEDS).find_map(|seed| {
            let outcome = run_sabotaged(Setup::of_seed(seed), Keep::Hash, &|_| (), *lie);
            outcome.violation.map(|it| (seed, it))
        })
    });
    let mut unseen = Vec::new();
    for ((lie, checkers), found) in Sabotage::ALL.iter().zip(found) {
        match found.flatten() {
            Some((seed, it)) if checkers.contains(&it.checker) => println!("{lie:?}: seed {seed}: {it}"),
            found => unseen.push(format!("{lie:?}: {found:?}")),
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}
