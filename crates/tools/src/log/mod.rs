//! `ostler log`: txn logs.

pub(crate) mod as_a_start;
mod cut;
mod follow;
pub(crate) mod line;
mod show;
mod verify;
mod zeros;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::filter::TxnFilter;
use crate::text::parse_hex;
use crate::{Outcome, with_output};

/// The longest record that is looked at, in bytes.
const RECORD_MAX: usize = 256 << 20;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the txns, one a line: time, zxid, session, cxid, operation
    #[command(visible_alias = "find")]
    Show(Show),
    /// Print the txns as JSON, one object a line, with everything that they hold
    Export(Export),
    /// Check headers, checksums, txns and the order of zxids; exit code 1 if something is damaged
    Verify(Verify),
    /// Print the txns of a running server's newest log as they are written, until Ctrl-C
    Follow(Follow),
    /// Write the whole records before a damage, or up to a zxid, to a new file
    Cut(Cut),
}

/// `ostler log show`
#[derive(Debug, Args)]
pub struct Show {
    /// Log files, or folders that hold them (a dataDir, a dataLogDir, a version-2)
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Which txns
    #[command(flatten)]
    pub filter: TxnFilter,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `ostler log export`
#[derive(Debug, Args)]
pub struct Export {
    /// Log files, or folders that hold them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Which txns
    #[command(flatten)]
    pub filter: TxnFilter,
}

/// `ostler log verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Log files, or folders that hold them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Print JSON, one object a file
    #[arg(long)]
    pub json: bool,
}

/// `ostler log follow`
#[derive(Debug, Args)]
pub struct Follow {
    /// The server's dataLogDir, or its version-2
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Which txns
    #[command(flatten)]
    pub filter: TxnFilter,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Begin with what the newest file holds already
    #[arg(long)]
    pub all: bool,
    /// Stop after so many txns
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `ostler log cut`
#[derive(Debug, Args)]
pub struct Cut {
    /// The log file; it is not changed
    pub file: PathBuf,
    /// The new file; it must not exist
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// End with this txn, damage or not
    #[arg(long, value_name = "ZXID", value_parser = parse_hex)]
    pub zxid: Option<i64>,
}

/// Does it.
pub fn run(command: &LogCommand) -> Result<Outcome> {
    with_output(|out| match command {
        LogCommand::Show(args) => show::run(&args.paths, &args.filter, args.json, out),
        LogCommand::Export(args) => show::run(&args.paths, &args.filter, true, out),
        LogCommand::Verify(args) => verify::run(args, out),
        LogCommand::Follow(args) => follow::run(args, out),
        LogCommand::Cut(args) => cut::run(args, out),
    })
}
