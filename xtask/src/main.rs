//! The project tasks: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask compare`, `cargo xtask soak`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who runs it")]

mod compare;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Ostler's project tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must hold before a change goes in; installs what it needs.
    Test(test::Args),
    /// The rules of this workspace that compiler and clippy don't know.
    Tidy,
    /// Licences, sources and bans of all dependencies, by deny.toml.
    Supply,
    /// Apache ZooKeeper and Ostler side by side: CPU, throughput, latency, memory.
    Compare(compare::Args),
    /// The proofs on virtual hardware, for as long as one likes.
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::Supply => tidy::run_supply(),
        Task::Compare(args) => compare::run(&args),
        Task::Soak(args) => soak::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
