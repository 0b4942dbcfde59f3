//! `cargo xtask soak`: the proofs on virtual hardware for as long as one likes, and what they have covered: `--storage`, the
//! storage of one server; `--worlds`, ensembles of cores and their storage; `--whole`, ensembles of whole servers with clients.
//! And `--ensemble`, real servers, Apache's and ours together.

mod ensemble;
mod worlds;

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sim::store::random::{Tally, history};
use sim::store::sabotage::Sabotage;
use sim::store::scenarios;

/// What to play, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The storage machines on the virtual disk.
    #[arg(long)]
    storage: bool,
    /// Ensembles of cores and their storage, on virtual networks and disks.
    #[arg(long, conflicts_with = "storage")]
    worlds: bool,
    /// Ensembles of whole servers, with trees, sessions, watches and clients.
    #[arg(long, conflicts_with_all = ["storage", "worlds"])]
    whole: bool,
    /// Members of mixed ensembles, Apache's and ours, and the matrix of faults: once, or for as long as --minutes says.
    #[arg(long, conflicts_with_all = ["storage", "worlds", "whole", "one"])]
    ensemble: bool,
    /// Of the matrix, only the cells whose names contain this.
    #[arg(long, requires = "ensemble", value_name = "TEXT")]
    only: Option<String>,
    /// With --ensemble: for so many minutes.
    #[arg(long, requires = "ensemble", value_name = "N")]
    minutes: Option<u64>,
    /// For so many seconds.
    #[arg(long, default_value_t = 60, value_name = "N", conflicts_with = "ensemble")]
    seconds: u64,
    /// The first seed; the others follow. Without it, one that was not played before.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// On so many cores. Without it, on all.
    #[arg(long, value_name = "N", conflicts_with_all = ["ensemble", "one"])]
    threads: Option<NonZero<usize>>,
    /// Play only the history of --seed, and show what it comes to.
    #[arg(long, requires = "seed")]
    one: bool,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn cores(&self) -> usize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Violation {
    seed: u64,
    what: String,
    replay: String,
}

/// The most violations that are kept; the others are counted.
const VIOLATIONS_MAX: usize = 20;

#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    first_seed: u64,
    histories: u64,
    starts: u64,
    acknowledged_txns: u64,
    crash_states: u64,
    knowing_starts: u64,
    enumerated_crash_states: u64,
    faults: Vec<(String, u64)>,
    starts_refused: u64,
    losses_told: u64,
    losses_nobody_can_see: u64,
    starts_refused_in_doubt: u64,
    writes_refused_for_want_of_room: u64,
    batches_that_waited_for_room: u64,
    of_those_went_on: u64,
    waiting_batches_found_whole: u64,
    waiting_batches_found_in_part: u64,
    waiting_batches_not_found: u64,
    starts_on_a_full_disk: u64,
    violations: u64,
    shown: Vec<Violation>,
}

/// What all threads add to.
#[derive(Debug, Default)]
struct Found {
    tally: Tally,
    violations: u64,
    shown: Vec<Violation>,
}

/// Plays until the time is up; the exit code says whether a promise was broken.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.worlds || args.whole {
        return worlds::run(args);
    }
    if args.ensemble {
        return ensemble::run(args);
    }
    if !args.storage {
        bail!("nothing to play: --storage, --worlds, --whole or --ensemble says what");
    }
    if let (Some(seed), true) = (args.seed, args.one) {
        let outcome = history(seed);
        println!("{:#?}", outcome.tally);
        let Some(what) = outcome.violation else { return Ok(ExitCode::SUCCESS) };
        println!("{what}");
        return Ok(ExitCode::FAILURE);
    }
    let began = Instant::now();
    let first_seed = args.seed.unwrap_or_else(new_seed);
    let mut found = Found::default();
    let enumerated = enumerate(args.json, &mut found);
    let found = Mutex::new(found);
    let (next, stop) = (AtomicU64::new(first_seed), AtomicBool::new(false));
    let time = Duration::from_secs(args.seconds);
    std::thread::scope(|scope| {
        for _ in 0..args.cores() {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    play(next.fetch_add(1, Relaxed), &found);
                }
            });
        }
        while began.elapsed() < time {
            std::thread::sleep(Duration::from_millis(200).min(time.saturating_sub(began.elapsed())));
            progress(began.elapsed(), args.seconds, &found);
        }
        stop.store(true, Relaxed);
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let report = report(found, began.elapsed(), first_seed, enumerated);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_table(&report);
    }
    Ok(if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A seed that was not played before.
fn new_seed() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.map_or(0, |at| at.as_secs()) << 24
}

/// Every crash of every scenario; how many states there were.
fn enumerate(json: bool, found: &mut Found) -> u64 {
    let mut states = 0;
    for scenario in scenarios::all() {
        match scenario.explore(&Sabotage::None) {
            Ok(report) => {
                states += report.counts.states;
                if !json {
                    println!("{:<28} {report}", scenario.name);
                }
            }
            Err(violation) => {
                let replay = "cargo test -p ostler-sim --test enumerate".to_owned();
                found.violations += 1;
                found.shown.push(Violation { seed: 0, what: violation.to_string(), replay });
            }
        }
    }
    states
}

fn play(seed: u64, found: &Mutex<Found>) {
    // A panic is one more thing that must not happen, and not the end of the soak.
    let outcome = std::panic::catch_unwind(|| history(seed));
    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let violation = match outcome {
        Ok(outcome) => {
            found.tally.add(&outcome.tally);
            outcome.violation
        }
        Err(_) => Some("it panicked".to_owned()),
    };
    if let Some(what) = violation {
        found.violations += 1;
        if found.shown.len() < VIOLATIONS_MAX {
            let replay = format!("cargo xtask soak --storage --one --seed {seed}");
            // In a long run nobody wants to wait for its end.
            eprintln!("\nseed {seed} fails: {}", what.lines().next().unwrap_or_default());
            found.shown.push(Violation { seed, what, replay });
        }
    }
}

fn progress(elapsed: Duration, seconds: u64, found: &Mutex<Found>) {
    let mut terminal = std::io::stderr();
    if !terminal.is_terminal() {
        return;
    }
    let found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A terminal that is gone is no reason to stop.
    let _ = write!(
        terminal,
        "\r{} of {seconds} s: {} histories, {} crash states, {} violations ",
        elapsed.as_secs(),
        found.tally.histories,
        found.tally.crash_states,
        found.violations
    );
}

fn report(found: Found, took: Duration, first_seed: u64, enumerated: u64) -> Report {
    let Found { tally, violations, shown } = found;
    Report {
        seconds: took.as_secs_f64(),
        first_seed,
        histories: tally.histories,
        starts: tally.starts,
        acknowledged_txns: tally.acknowledged,
        crash_states: tally.crash_states,
        knowing_starts: tally.knowing,
        enumerated_crash_states: enumerated,
        faults: tally.faults.iter().map(|(kind, count)| (format!("{kind:?}"), *count)).collect(),
        starts_refused: tally.refused,
        losses_told: tally.told,
        losses_nobody_can_see: tally.unseen,
        starts_refused_in_doubt: tally.in_doubt,
        writes_refused_for_want_of_room: tally.no_room,
        batches_that_waited_for_room: tally.waited,
        of_those_went_on: tally.went_on,
        waiting_batches_found_whole: tally.waiting_whole,
        waiting_batches_found_in_part: tally.waiting_part,
        waiting_batches_not_found: tally.waiting_none,
        starts_on_a_full_disk: tally.full_starts,
        violations,
        shown,
    }
}

fn print_table(report: &Report) {
    let line = |what: &str, count: u64| println!("{what:<44} {count:>12}");
    println!("\n{:.0} s from seed {}", report.seconds, report.first_seed);
    line("crash states, every one of the scenarios", report.enumerated_crash_states);
    line("random histories", report.histories);
    line("starts", report.starts);
    line("txns acknowledged", report.acknowledged_txns);
    line("crash states of the histories", report.crash_states);
    for (kind, count) in &report.faults {
        line(&format!("fault: {kind}"), *count);
    }
    line("starts that knew how the last server ended", report.knowing_starts);
    line("starts refused after a fault or damage", report.starts_refused);
    line("losses by damage that a start told", report.losses_told);
    line("losses that no start can see", report.losses_nobody_can_see);
    line("starts refused in doubt", report.starts_refused_in_doubt);
    line("writes refused, the disk was full", report.writes_refused_for_want_of_room);
    line("batches that waited for room", report.batches_that_waited_for_room);
    line("of those, went on without a start", report.of_those_went_on);
    line("a start found all of one that waited", report.waiting_batches_found_whole);
    line("a beginning of it", report.waiting_batches_found_in_part);
    line("nothing of it", report.waiting_batches_not_found);
    line("starts on a full disk", report.starts_on_a_full_disk);
    line("violations", report.violations);
    for violation in &report.shown {
        println!("\nseed {}: {}\n  again: {}", violation.seed, violation.what, violation.replay);
    }
}
