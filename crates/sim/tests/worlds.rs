//! Worlds of whole servers: the same seed gives the same trace, and no promise is broken in any.

#![allow(clippy::print_stdout, reason = "it tells what it has tried")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use ostler_sim::world::{Keep, Setup, run};

/// The worlds that every test run tries; `cargo xtask soak` tries others. `OSTLER_SIM_SEEDS` sets another number.
const SEEDS: u64 = 40;

fn seeds() -> u64 {
    std::env::var("OSTLER_SIM_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn no_promise_is_broken() {
    let mut broken = Vec::new();
    let mut simulated_us = 0;
    for seed in 1..=seeds() {
        match catch_unwind(AssertUnwindSafe(|| run(Setup::of_seed(seed), Keep::Hash, &|_| ()))) {
            Ok(outcome) => {
                simulated_us += outcome.simulated_us;
                broken.extend(outcome.violation.map(|it| format!("seed {seed}: {it}")));
            }
            Err(_) => broken.push(format!("seed {seed}: an assertion")),
        }
    }
    println!("{} worlds, {} s of their time", seeds(), simulated_us / 1_000_000);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 8, 17] {
        let outcome = |keep| run(Setup::of_seed(seed), keep, &|_| ());
        let (one, other, in_words) = (outcome(Keep::Hash), outcome(Keep::Hash), outcome(Keep::Lines));
        assert_eq!((one.trace.hash(), one.trace.events()), (other.trace.hash(), other.trace.events()));
        assert_eq!(one.trace.hash(), in_words.trace.hash(), "words change nothing");
        assert_eq!(one.tally, other.tally);
    }
    let hash = |seed| run(Setup::of_seed(seed), Keep::Hash, &|_| ()).trace.hash();
    assert_ne!(hash(3), hash(8));
}
