//! Everything that must hold before a change goes in: layers, each with the time it should take.
//!
//! A layer that takes longer than its budget gets a warning, no more: the budget says what to look at when this
//! command has become slow. The last line is `N passed, N failed`: single tests where there are some, else layers.

mod binaries;
mod layer;
mod setup;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use layer::{Build, LAYERS, Outcome};

/// Which layers to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these (by comma).
    #[arg(long, value_delimiter = ',', value_name = "LAYER")]
    only: Vec<String>,
    /// Not these (by comma).
    #[arg(long, value_delimiter = ',', value_name = "LAYER")]
    skip: Vec<String>,
    /// The conformance tests start an optimized binary, as users have it; else one with all checks in it.
    #[arg(long)]
    release: bool,
    /// List the layers, and run nothing.
    #[arg(long)]
    list: bool,
}

/// Runs the layers, all of them even if one fails, and says which did.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for layer in LAYERS {
            println!("{:<12} {:>4} s  {}", layer.name, layer.budget_s, layer.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) =
        args.only.iter().chain(&args.skip).find(|name| LAYERS.iter().all(|it| it.name != name.as_str()))
    {
        let known: Vec<&str> = LAYERS.iter().map(|it| it.name).collect();
        bail!("no layer is called {unknown}; there are {}", known.join(", "));
    }
    let named = |list: &[String], name: &str| list.iter().any(|it| it == name);
    let chosen =
        LAYERS.iter().filter(|it| (args.only.is_empty() || named(&args.only, it.name)) && !named(&args.skip, it.name));

    let build = if args.release { Build::Release } else { Build::Checked };
    let mut lines = Vec::new();
    let mut total = Outcome::default();
    for layer in chosen {
        println!("== {} (budget {} s): {}", layer.name, layer.budget_s, layer.about);
        let began = Instant::now();
        let outcome = (layer.run)(build).unwrap_or_else(|error| {
            println!("{error:#}");
            Outcome::failure()
        });
        let took = began.elapsed();
        let result = if outcome.failed > 0 { "FAILED" } else { "passed" };
        let line = format!("{:<12} {result}  {:>6.1} s of {} s", layer.name, took.as_secs_f64(), layer.budget_s);
        println!("== {line}");
        if took > Duration::from_secs(layer.budget_s) {
            println!("warning: {} took longer than its budget", layer.name);
        }
        lines.push(line);
        lines.extend(outcome.covered.iter().map(|what| format!("    {what}")));
        total.add(outcome);
    }
    println!("\n{}", lines.join("\n"));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
