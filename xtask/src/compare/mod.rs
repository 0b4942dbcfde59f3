//! Apache ZooKeeper and Ostler side by side, on this machine, in one run, by turns: A B A B.
//!
//! Only ratios are claimed. Each pair of runs gives one ratio for each measure; the table shows their median and how
//! far they spread. Both servers are durable (fsync on), start with an empty data directory for each scenario, and get
//! the same warmup.

mod ensemble;
mod measure;
mod results;
mod scenario;
mod table;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ostler_conformance::target;

use results::{OBSERVERS_MAX, Results, Side};
use scenario::{ENSEMBLE_SCENARIOS, How, Length, OBSERVER_SCENARIOS, SCENARIOS, Scenario};

/// How to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these scenarios (by comma).
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Ensembles of so many servers, each of one kind, instead of single ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    servers: u8,
    /// With --servers: what up to so many observers besides come to, and nothing else.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=OBSERVERS_MAX as i64))]
    observers: u8,
    /// How many pairs of runs.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds to measure in each run.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Seconds of load on a fresh server before measuring, so that a Java machine has compiled what it will.
    #[arg(long, default_value_t = 8)]
    warmup: u32,
    /// How often a leader is killed in each run of a scenario that does so. What is published has 30.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Which servers to run.
    #[arg(long, value_enum, default_value_t = Against::Both)]
    against: Against,
    /// Forget the results of an earlier, interrupted run.
    #[arg(long)]
    fresh: bool,
    /// Print the results as JSON, behind the table.
    #[arg(long)]
    json: bool,
    /// List the scenarios and measures, and run nothing.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// Apache and Ostler by turns.
    Both,
    /// Apache alone: to see that the measurements are sound.
    ApacheOnly,
    /// Ostler alone.
    OstlerOnly,
}

impl Against {
    fn sides(self) -> &'static [Side] {
        match self {
            Self::Both => &[Side::Apache, Side::Ostler],
            Self::ApacheOnly => &[Side::Apache],
            Self::OstlerOnly => &[Side::Ostler],
        }
    }
}

/// Runs what is missing and prints the table. Fails if a measure misses what it must reach.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        print!("{}", table::list());
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(args.observers == 0 || args.servers > 1, "--observers needs --servers");
    let scenarios = chosen(all_for(args), &args.only)?;
    ensure!(args.rounds > 0 && args.seconds > 0, "--rounds and --seconds must be at least 1");
    build(args.against)?;
    warn_if_busy();
    let dir = target().join("compare");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut results = Results::open(&dir, settings(args)?, args.fresh)?;

    let sides = args.against.sides();
    for round in 1..=args.rounds {
        for scenario in &scenarios {
            for &side in sides {
                let at = format!("round {round}/{}, {:<14} {:<6}", args.rounds, scenario.name, side.name());
                if let Some(figures) = results.get(scenario.name, round, side) {
                    println!("{at}  {} (from an earlier run)", figures.line());
                    continue;
                }
                let apache = results.get(scenario.name, round, Side::Apache);
                let length = Length { seconds: args.seconds, warmup: args.warmup };
                let how = How { servers: args.servers, observers: args.observers, length, kills: args.kills };
                let figures = scenario
                    .run(side, &dir.join("run"), how, apache.as_ref())
                    .with_context(|| format!("{at}: results so far are kept; run again to go on"))?;
                println!("{at}  {}", figures.line());
                results.put(scenario.name, round, side, &figures)?;
            }
        }
    }

    let rows = table::rows(&results, &scenarios, args.rounds);
    println!("\n{}", table::render(&rows, sides));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    let missed = rows.iter().filter(|it| it.mark == Some(table::Mark::Missed)).count();
    if missed > 0 {
        eprintln!("{missed} of {} measures miss what they must reach", rows.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn all_for(args: &Args) -> &'static [Scenario] {
    match (args.servers, args.observers) {
        (1, _) => SCENARIOS,
        (_, 0) => ENSEMBLE_SCENARIOS,
        _ => OBSERVER_SCENARIOS,
    }
}

fn chosen(all: &'static [Scenario], only: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|it| it.name != name.as_str())) {
        let known: Vec<&str> = all.iter().map(|it| it.name).collect();
        bail!("no scenario is called {unknown}; there are {}", known.join(", "));
    }
    Ok(all.iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it.name)).collect())
}

/// Builds the binaries that will be measured.
fn build(against: Against) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", "ostler-bench"]);
    if against != Against::ApacheOnly && std::env::var_os("OSTLER_BIN").is_none() {
        cargo.args(["-p", "ostler"]);
    }
    ensure!(cargo.status().context("starting cargo")?.success(), "the release build failed");
    Ok(())
}

/// Figures of a machine that does other things as well are worth little, ratios of tails least of all.
fn warn_if_busy() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or_default();
    if load > 0.5 {
        eprintln!("warning: the load average is {load}; wait until the machine is quiet, or distrust the figures");
    }
}

/// What results depend on: earlier ones with other settings or of another binary are of no use.
fn settings(args: &Args) -> Result<String> {
    let servers =
        if args.servers > 1 { format!(", {} servers, {} kills", args.servers, args.kills) } else { String::new() };
    let observers = if args.observers > 0 { format!(", {} observers", args.observers) } else { String::new() };
    let settings = format!("{} s after {} s{servers}{observers}", args.seconds, args.warmup);
    if args.against == Against::ApacheOnly {
        return Ok(settings);
    }
    let binary = scenario::ostler_binary()?;
    let about = binary.metadata().with_context(|| format!("looking at {}", binary.display()))?;
    Ok(format!("{settings}, ostler of {} bytes, {:?}", about.len(), about.modified()?))
}
