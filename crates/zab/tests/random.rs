//! Thousands of random worlds: crashes, lost disks, cuts, delays, one-way partitions and wrong elections; the checks hold
//! at each step, and a world that is left in peace comes to one history and serves.
//!
//! `OSTLER_ZAB_SEEDS` says how many, `OSTLER_ZAB_SEED` from which on; `OSTLER_ZAB_TRACE` prints each step.

#![allow(clippy::print_stdout, reason = "it tells what it found")]

mod world;

use world::run::run;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_worlds_keep_what_is_promised() {
    let (from, count) = (number("OSTLER_ZAB_SEED", 1), number("OSTLER_ZAB_SEEDS", 3000));
    let (mut epochs, mut txns) = (0, 0);
    for seed in from..from + count {
        match run(seed, |_| ()) {
            Ok(world) => {
                epochs += world.truth.established.len();
                txns += world.truth.committed.len();
            }
            Err(what) => panic!("seed {seed}: {what}"),
        }
    }
    println!("{count} worlds, {epochs} established epochs, {txns} committed txns");
    assert!(count < 100 || epochs as u64 > count && txns as u64 > 2 * count, "not much happens in these worlds");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 1..50 {
        assert_eq!(run(seed, |_| ()), run(seed, |_| ()), "seed {seed}");
    }
}
