//! `cargo xtask soak --ensemble`: the matrix of faults of mixed ensembles, a line for each cell; and faults while the members
//! change, where there can be network namespaces.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ostler_conformance::history::Tally;
use ostler_conformance::matrix::{Cell, Counts, HEADER, cells};
use ostler_conformance::moving::{self, Moving};
use ostler_conformance::netns::Lan;
use ostler_conformance::target;
use serde::Serialize;

use super::{Args, VIOLATIONS_MAX, Violation, new_seed};

#[derive(Debug, Default, Serialize)]
struct Report {
    seconds: f64,
    first_seed: u64,
    cells: u64,
    writes: u64,
    writes_of_unknown_outcome: u64,
    reads: u64,
    reads_behind_a_sync: u64,
    those_stale_under_apache: u64,
    watches_fired: u64,
    connections: u64,
    sessions_expired: u64,
    violations: u64,
    shown: Vec<Violation>,
}

/// Plays each cell, again and again while there is time; the exit code says whether a promise was broken.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut all: Vec<Part> = cells().into_iter().map(Part::Cell).collect();
    match Lan::start(&[1]) {
        Ok(_) => all.extend(moving::all().into_iter().map(Part::Moving)),
        Err(why) => println!("without reconfigs: {why:#}"),
    }
    let wanted = |part: &Part| args.only.as_ref().is_none_or(|only| part.to_string().contains(only.as_str()));
    let cells: Vec<Part> = all.into_iter().filter(wanted).collect();
    ensure!(!cells.is_empty(), "no cell of the matrix is called that");
    let first_seed = args.seed.unwrap_or_else(new_seed);
    let (began, mut report, mut total) = (Instant::now(), Report { first_seed, ..Report::default() }, Tally::default());
    let dir = target().join("matrix");
    println!("{:<34} {HEADER}", "who leads, who meets what");
    'passes: for pass in 0_u64.. {
        for (number, cell) in (0..).zip(&cells) {
            let over = args.minutes.is_some_and(|it| began.elapsed() >= Duration::from_secs(60 * it));
            if over || pass > 0 && args.minutes.is_none() {
                break 'passes;
            }
            let seed = first_seed + pass * cells.len() as u64 + number;
            let own = dir.join(format!("{seed}"));
            report.cells += 1;
            match cell.play(&own, seed) {
                Ok(counts) => {
                    print(cell, &counts);
                    total.add(&counts.tally);
                    std::fs::remove_dir_all(&own)?;
                }
                Err(error) => {
                    println!("{:<34} {error:#}", cell.to_string());
                    report.violations += 1;
                    if report.shown.len() < VIOLATIONS_MAX {
                        let replay = format!("cargo xtask soak --ensemble --only {cell} --seed {seed}");
                        report.shown.push(Violation { seed, what: format!("{error:#}"), replay });
                    }
                }
            }
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.writes = total.writes;
    report.writes_of_unknown_outcome = total.unknown;
    report.reads = total.reads;
    report.reads_behind_a_sync = total.synced;
    report.those_stale_under_apache = total.synced_stale;
    report.watches_fired = total.events;
    report.connections = total.connections;
    report.sessions_expired = total.expired;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "\n{} cells in {:.0} s from seed {first_seed}: {} writes acknowledged, {} of unknown outcome, {} reads, \
             {} violations",
            report.cells,
            report.seconds,
            report.writes,
            report.writes_of_unknown_outcome,
            report.reads,
            report.violations
        );
        for violation in &report.shown {
            println!("\nseed {}: {}\n  again: {}", violation.seed, violation.what, violation.replay);
        }
    }
    Ok(if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is played.
enum Part {
    Cell(Cell),
    Moving(Moving),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(it) => it.fmt(f),
            Self::Moving(it) => it.fmt(f),
        }
    }
}

impl Part {
    fn play(&self, dir: &Path, seed: u64) -> Result<Counts> {
        match self {
            Self::Cell(it) => it.play(dir, seed),
            Self::Moving(it) => it.play(dir, seed),
        }
    }
}

fn print(cell: &Part, counts: &Counts) {
    println!("{:<34} {counts}", cell.to_string());
}
