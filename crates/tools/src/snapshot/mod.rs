//! `ostler snapshot`: snapshots.

mod diff;
mod read;
mod show;
mod summary;
mod verify;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::text::{parse_hex, parse_time};
use crate::{Outcome, with_output};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Print the sessions and znodes, one a line
    #[command(visible_alias = "find")]
    Show(Show),
    /// Print sessions, ACLs and znodes as JSON, one object a line, with everything that they hold
    Export(Export),
    /// Check snapshots from the first byte to the last; exit code 1 if one is damaged
    Verify(Verify),
    /// Totals, and the biggest subtrees
    Summary(Summary),
    /// What differs between two snapshots; exit code 1 if something does
    Diff(Diff),
}

/// Which znodes are meant; all conditions have to hold.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeFilter {
    /// Only this znode and those below it
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// With --path: the znode itself, not what is below it
    #[arg(long, requires = "path")]
    pub exact: bool,
    /// Only ephemerals of this session
    #[arg(long, value_name = "ID", value_parser = parse_hex)]
    pub session: Option<i64>,
    /// Only znodes created or changed from this time on: 2026-01-31T12:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<i64>,
    /// Only znodes created or changed up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<i64>,
}

/// `ostler snapshot show`
#[derive(Debug, Args)]
pub struct Show {
    /// A snapshot, or a folder whose newest one is meant
    #[arg(value_name = "FILE|FOLDER")]
    pub path_of: PathBuf,
    /// Which znodes
    #[command(flatten)]
    pub filter: NodeFilter,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `ostler snapshot export`
#[derive(Debug, Args)]
pub struct Export {
    /// A snapshot, or a folder whose newest one is meant
    #[arg(value_name = "FILE|FOLDER")]
    pub path_of: PathBuf,
    /// Which znodes
    #[command(flatten)]
    pub filter: NodeFilter,
}

/// `ostler snapshot verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Snapshots, or folders that hold them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Print JSON, one object a file
    #[arg(long)]
    pub json: bool,
}

/// `ostler snapshot summary`
#[derive(Debug, Args)]
pub struct Summary {
    /// A snapshot, or a folder whose newest one is meant
    #[arg(value_name = "FILE|FOLDER")]
    pub path_of: PathBuf,
    /// How many subtrees to name
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// How deep they may begin: 1 is just below the root
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub depth: usize,
    /// Order by the number of znodes instead of bytes
    #[arg(long)]
    pub by_count: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `ostler snapshot diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// One snapshot, or a folder whose newest one is meant
    #[arg(value_name = "FILE|FOLDER")]
    pub left: PathBuf,
    /// The other
    #[arg(value_name = "FILE|FOLDER")]
    pub right: PathBuf,
    /// Only count, don't name
    #[arg(long)]
    pub brief: bool,
    /// Print JSON, one object a difference
    #[arg(long)]
    pub json: bool,
}

/// Does it.
pub fn run(command: &SnapshotCommand) -> Result<Outcome> {
    with_output(|out| match command {
        SnapshotCommand::Show(args) => show::run(&args.path_of, &args.filter, args.json, out),
        SnapshotCommand::Export(args) => show::run(&args.path_of, &args.filter, true, out),
        SnapshotCommand::Verify(args) => verify::run(args, out),
        SnapshotCommand::Summary(args) => summary::run(args, out),
        SnapshotCommand::Diff(args) => diff::run(args, out),
    })
}
