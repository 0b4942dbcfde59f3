//! Thousands of random histories, with everything that can go wrong with a disk.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says what it has covered"
)]

use std::io::Write;

use ostler_sim::store::random::{Tally, history};

/// How many are played.
const HISTORIES: u64 = 8000;

#[test]
fn nothing_is_lost_or_wrong_in_silence() {
    let mut tally = Tally::default();
    let mut violations = Vec::new();
    let from = std::env::var("OSTLER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = from.map_or(0..HISTORIES, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = history(seed);
        tally.add(&outcome.tally);
        violations.extend(outcome.violation.map(|what| format!("seed {seed}: {what}")));
    }
    println!("{tally:#?}");
    let Tally { histories, starts, crash_states, .. } = tally;
    // Past the harness, which swallows what a test prints that passes.
    let covered = format!("{histories} random histories, {starts} starts, {crash_states} crash states");
    writeln!(std::io::stdout(), "\ncovered: {covered}: {} violations", violations.len()).unwrap();
    let shown: Vec<_> = violations.iter().take(3).cloned().collect();
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), shown.join("\n\n"));
    if from.is_none() {
        // Everything that can happen has happened, and more than once.
        let waiting = [tally.waiting_whole, tally.waiting_part, tally.waiting_none];
        assert!(waiting.iter().all(|count| *count > 1), "{waiting:?}");
        let counts = [tally.refused, tally.told, tally.no_room, tally.knowing];
        assert!(counts.iter().chain([&tally.waited, &tally.went_on, &tally.full_starts]).all(|count| *count > 1));
        assert!(tally.epochs_refused > 1);
        assert_eq!(tally.faults.len(), 17, "{:?}", tally.faults.keys());
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..200 {
        assert_eq!(history(seed), history(seed), "seed {seed}");
    }
    assert_ne!(history(1).trace, history(2).trace);
}
