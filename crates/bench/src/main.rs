//! `ostler-bench`: the load generator alone, without the rest of the `ostler` command.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use clap::Parser;
use ostler_bench::Args;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = ostler_bench::run(&args)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
