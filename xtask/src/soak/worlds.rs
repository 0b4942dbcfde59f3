//! `cargo xtask soak --worlds` and `--whole`: ensembles of cores and their storage, or of whole servers; a world a seed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use sim::world::{Keep, Outcome, Setup, Tally};

use super::{Args, VIOLATIONS_MAX, Violation, new_seed};

#[derive(Debug, Default, Serialize)]
struct Report {
    seconds: f64,
    cores: usize,
    first_seed: u64,
    worlds: u64,
    simulated_seconds: u64,
    /// Simulated time against the time of one core.
    times_real_time_a_core: u64,
    starts: u64,
    crashes_between_effects: u64,
    effects: u64,
    messages: u64,
    epochs: u64,
    txns_proposed: u64,
    answers: u64,
    faults: BTreeMap<String, u64>,
    violations: u64,
    shown: Vec<Violation>,
}

impl Report {
    fn add(&mut self, tally: &Tally) {
        self.starts += tally.starts;
        self.crashes_between_effects += tally.crashes_in_work;
        self.effects += tally.effects;
        self.messages += tally.messages;
        self.epochs += tally.epochs;
        self.txns_proposed += tally.proposed;
        self.answers += tally.answers;
        for (fault, count) in &tally.faults {
            *self.faults.entry((*fault).to_owned()).or_default() += count;
        }
    }
}

/// The most worlds that are tried to find a smaller one that fails.
const SHRINK_RUNS: usize = 300;

/// One world. A panic is one more thing that must not happen, and not the end of the soak.
fn play(setup: Setup, is_whole: bool) -> Option<Outcome> {
    let play = if is_whole { sim::whole::run } else { sim::world::run };
    std::panic::catch_unwind(|| play(setup, Keep::Hash, &|_| ())).ok()
}

/// A small world that fails as this one does, in words.
fn shrunk(seed: u64, is_whole: bool, checker: Option<&str>) -> String {
    let setup = Setup::of_seed(seed).shrunk(SHRINK_RUNS, &mut |it| {
        let found = play(it.clone(), is_whole).map(|it| it.violation.map(|it| it.checker));
        // A panic has no checker.
        found.map_or(checker.is_none(), |it| it.is_some() && it == checker)
    });
    setup.to_string()
}

/// Plays worlds until the time is up; the exit code says whether a promise was broken.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let first_seed = args.seed.unwrap_or_else(new_seed);
    let began = Instant::now();
    let time = if args.one { Duration::ZERO } else { Duration::from_secs(args.seconds) };
    let cores = if args.one { 1 } else { args.cores() };
    let (next, total) = (AtomicU64::new(first_seed), Mutex::new((Report::default(), 0)));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    let outcome = play(Setup::of_seed(seed), args.whole);
                    let checker = outcome.as_ref().and_then(|it| it.violation.as_ref()).map(|it| it.checker);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let (report, simulated_us) = &mut *total;
                    report.worlds += 1;
                    let what = match outcome {
                        Some(outcome) => {
                            *simulated_us += outcome.simulated_us;
                            report.add(&outcome.tally);
                            outcome.violation.map(|it| it.to_string())
                        }
                        None => Some("it panicked".to_owned()),
                    };
                    if let Some(what) = what {
                        report.violations += 1;
                        let is_shown = report.shown.len() < VIOLATIONS_MAX;
                        if is_shown {
                            let whole = if args.whole { " --whole" } else { "" };
                            let replay = format!("ostler sim{whole} --seed {seed}");
                            report.shown.push(Violation { seed, what, replay });
                        }
                        drop(total);
                        if is_shown {
                            eprintln!("seed {seed} fails; so does this:\n{}", shrunk(seed, args.whole, checker));
                        }
                    }
                    if began.elapsed() >= time {
                        return;
                    }
                }
            });
        }
    });
    let (mut report, simulated_us) = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.seconds = began.elapsed().as_secs_f64();
    report.cores = cores;
    report.first_seed = first_seed;
    report.simulated_seconds = simulated_us / 1_000_000;
    report.times_real_time_a_core = (report.simulated_seconds as f64 / report.seconds / cores as f64) as u64;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
