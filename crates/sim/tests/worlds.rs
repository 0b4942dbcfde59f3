//! Worlds of whole servers: the same seed gives the same trace, and no promise is broken in any.

#![allow(clippy::print_stdout, reason = "it tells what it has tried")]

mod abreast;

use std::time::Instant;

use ostler_sim::world::{Keep, Setup, run};

/// The worlds that every test run tries; `cargo xtask soak` tries others. `OSTLER_SIM_SEEDS` sets another number,
/// `OSTLER_SIM_FIRST` the first seed.
const SEEDS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_promise_is_broken() {
    let began = Instant::now();
    let first = number("OSTLER_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = (first..first + number("OSTLER_SIM_SEEDS").unwrap_or(SEEDS)).collect();
    let outcomes = abreast::each(&seeds, |&seed| {
        let outcome = run(Setup::of_seed(seed), Keep::Hash, &|_| ());
        (outcome.simulated_us, outcome.tally, outcome.violation)
    });
    let (mut broken, mut simulated_us, mut through_followers, mut alone) = (Vec::new(), 0, 0, 0);
    let (mut restored, mut last_rounds) = (0, 0);
    for (seed, outcome) in seeds.iter().zip(outcomes) {
        match outcome {
            Some((us, tally, violation)) => {
                simulated_us += us;
                through_followers += tally.observed_followers;
                alone += tally.read_onlys;
                restored += tally.faults.get("old copy of a disk").copied().unwrap_or(0);
                last_rounds += tally.faults.get("election in the last round").copied().unwrap_or(0);
                broken.extend(violation.map(|it| format!("seed {seed}: {it}")));
            }
            None => broken.push(format!("seed {seed}: an assertion")),
        }
    }
    let (worlds, s) = (seeds.len(), simulated_us / 1_000_000);
    println!("{worlds} worlds, {s} s of their time, in {:.1} s", began.elapsed().as_secs_f64());
    println!(
        "{through_followers} times an observer learned from a follower, {alone} times a server served reads alone"
    );
    println!(
        "{restored} times a server came back with an old copy of its disk, {last_rounds} elections in the last round"
    );
    let all = [through_followers, alone, restored, last_rounds];
    assert!(worlds < 200 || !all.contains(&0), "some of what there is was never played");
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

/// `cargo test --release -p ostler-sim --test worlds -- --ignored --nocapture` says how fast the worlds of three servers and
/// ten clients are, on one core.
#[test]
#[ignore = "it measures"]
fn how_fast_three_servers_and_ten_clients_are() {
    let (began, mut simulated_us, mut answers) = (Instant::now(), 0, 0);
    for setup in (1..400).map(Setup::of_seed).filter(|it| (it.voters, it.observers) == (3, 0)) {
        let outcome = run(Setup { clients: 10, ..setup }, Keep::Hash, &|_| ());
        simulated_us += outcome.simulated_us;
        answers += outcome.tally.answers;
    }
    let took_us = began.elapsed().as_micros() as u64;
    println!("{} times real time, {answers} answers in {} s", simulated_us / took_us, simulated_us / 1_000_000);
}
