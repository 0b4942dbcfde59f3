//! The `ostler` command.

mod demo;
mod server;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Without huge pages (`no_thp`): with them an idle server is three times as large.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ostler is a server for ZooKeeper's clients: Apache ZooKeeper's service, rebuilt.
///
/// It speaks ZooKeeper's client protocol and reads Apache's zoo.cfg; a data directory can go from
/// Apache ZooKeeper 3.9 to Ostler and back.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ostler server                  a server to try things on: 127.0.0.1:2181, data in ./ostler-data
  ostler server /etc/zoo.cfg     one as its zoo.cfg says
  ostler demo --servers 3        three servers that form an ensemble, all on this machine
  ostler shell                   a prompt at localhost:2181; `ostler shell help` lists its commands

Stop a server with Ctrl-C or SIGTERM. Exit codes: 1 an error while running, 2 a bad configuration,
3 a data directory that can't be used.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server: on a zoo.cfg, or, without one, on 127.0.0.1:2181 with its data in ./ostler-data
    Server(server::Args),
    /// A whole ensemble on this machine, to try things on: kill its leader, and watch the others elect another
    Demo(demo::Args),
    /// A shell with zkCli's commands: a prompt, one command, or those of a file
    Shell(shell::Args),
    /// Put load on a server, and measure
    Bench(bench::Args),
    /// Play simulated servers: a seed, or a story as a sequence diagram
    Sim(sim::Args),
    /// Look into txn logs: show, find, export, verify, follow, cut
    #[command(subcommand)]
    Log(tools::log::LogCommand),
    /// Look into snapshots: show, find, export, verify, summary, diff
    #[command(subcommand)]
    Snapshot(tools::snapshot::SnapshotCommand),
    /// How an ensemble is: who leads, who follows, who is behind, and what is wrong
    Status(tools::ensemble::Status),
    /// What a zoo.cfg would do, what differs between members, and whether one may be swapped now
    Check(tools::ensemble::Check),
    /// Members join and leave, one at a time: each step explained, done and looked at; or the safe order to do it by hand
    Grow(tools::ensemble::Grow),
    /// Members become Ostler, or Apache's again, one at a time while the others serve
    Swap(tools::ensemble::Swap),
}

fn main() -> ExitCode {
    match Cli::parse_from(shell::zkcli_spelling(std::env::args_os())).command {
        Command::Server(args) => server::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Shell(args) => ExitCode::from(shell::run(&args)),
        Command::Bench(args) => run_bench(&args),
        Command::Sim(args) => sim::play(&args),
        Command::Log(command) => ended(tools::log::run(&command)),
        Command::Snapshot(command) => ended(tools::snapshot::run(&command)),
        Command::Status(args) => ended(tools::ensemble::run_status(&args)),
        Command::Check(args) => ended(tools::ensemble::run_check(&args)),
        Command::Grow(args) => ended(tools::ensemble::run_grow(&args)),
        Command::Swap(args) => ended(tools::ensemble::run_swap(&args)),
    }
}

/// The exit code of a look at files.
fn ended(done: anyhow::Result<tools::Outcome>) -> ExitCode {
    match done {
        Ok(tools::Outcome::Good) => ExitCode::SUCCESS,
        Ok(tools::Outcome::Bad) => ExitCode::FAILURE,
        Err(e) => fail(&format!("{e:#}"), 1),
    }
}

#[allow(clippy::print_stdout, reason = "the report is the command's purpose")]
fn run_bench(args: &bench::Args) -> ExitCode {
    match bench::run_to_text(args) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(e) => fail(&format!("{e:#}"), 1),
    }
}

/// The last line of a command that can't do what it was asked.
#[allow(clippy::print_stderr, reason = "this is where errors reach the person")]
fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("ostler: {why}");
    ExitCode::from(code)
}
