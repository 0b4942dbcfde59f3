//! `ostler-bench`: the load generator alone, without the rest of the `ostler` command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::process::ExitCode;

use clap::Parser;
use ostler_bench::Args;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    print!("{}", ostler_bench::run_to_text(args)?);
    Ok(())
}
