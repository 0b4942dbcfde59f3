//! `ostler status`, `check`, `grow` and `swap`: an ensemble seen from outside, Apache's servers and ours.
//!
//! | room | job |
//! |---|---|
//! | `members` | whom to ask: from a `zoo.cfg` or a list of hosts |
//! | `ask` | one server's answers to four-letter words, with a time limit |
//! | `judge` | what the answers say together: healthy or not, and what is wrong |
//! | `elections` | what members of ours tell of elections |
//! | `status` | the table, again and again if wanted |
//! | `data` | a data directory, without a change to it |
//! | `check` | configurations and directories held against each other, and whether a member may be swapped now |
//! | `grow` | members join and leave, one at a time |
//! | `swap` | members become ours, or Apache's again, one at a time |

mod ask;
mod check;
mod data;
mod elections;
mod grow;
mod judge;
mod members;
mod status;
mod swap;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use wire::election::HostPort;

use crate::{Outcome, with_output};

pub use ask::Mode;
pub use grow::{Grow, run as run_grow};
pub use swap::{Swap, run as run_swap};

/// `ostler status`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 a quorum serves, under one leader; 1 not, or nobody knows; 2 wrong arguments.")]
pub struct Status {
    /// A zoo.cfg with the members, or their client ports: zk1:2181,zk2:2181
    #[arg(value_name = "ZOO.CFG|HOSTS", default_value = "localhost:2181")]
    pub of: String,
    /// Print one JSON object; with --follow one a line
    #[arg(long)]
    pub json: bool,
    /// Look again and again, and print what has changed, and the votes of elections; Ctrl-C ends it
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// How long to wait between two looks, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0, requires = "follow")]
    pub interval: f64,
    /// How long to wait for a server's answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub timeout: f64,
}

/// `ostler check`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing speaks against it, warnings aside; 1 something does; 2 wrong arguments.")]
pub struct Check {
    /// The zoo.cfg of a member; several to have them held against each other
    #[arg(value_name = "ZOO.CFG", required = true)]
    pub files: Vec<PathBuf>,
    /// The members' JVM flags, as in `JVMFLAGS`; without it those of this environment
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub jvmflags: Option<String>,
    /// Ask no server
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object a finding
    #[arg(long)]
    pub json: bool,
    /// How long to wait for a server's answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub timeout: f64,
}

/// Runs `ostler status`.
pub fn run_status(args: &Status) -> Result<Outcome> {
    with_output(|out| status::run(args, out))
}

/// Runs `ostler check`.
pub fn run_check(args: &Check) -> Result<Outcome> {
    with_output(|out| check::run(args, out))
}

/// What the server at this address is by its own word, or that it gives none within the time.
pub fn mode_at(at: SocketAddr, timeout: Duration) -> Mode {
    ask::ask(&HostPort { host: at.ip().to_string(), port: at.port() }, timeout).mode
}

/// Seconds as somebody wrote them, within reason.
fn seconds(written: f64) -> Duration {
    Duration::try_from_secs_f64(written).unwrap_or_default().clamp(Duration::from_millis(50), Duration::from_hours(1))
}
