//! Load generator on the wire itself.
//!
//! It measures a server without costing much itself: one thread with a current-thread runtime, requests patched from
//! templates encoded beforehand, all requests that are due in one write, all replies of one read handled together, and
//! one look at the clock for each such batch. Every reply is checked: its xid, its error code, length and both ends of
//! the data, and the znode's version.
//!
//! * [`Args`] says what to do (clap reads it from a command line), [`run`] does it, [`Report`] is what came out.
//! * `template` makes the requests, `check` judges the replies, `work` chooses what to ask for.
//! * `connection` is one connection as a hand-written future, `pacer` hands it requests at a fixed rate,
//!   `engine` runs threads, phases and the measured window.
//! * [`crowd`] is for loads of many sessions that mostly wait: watches, connects, memory, storm.
//!
//! *Closed loop* (the default): each connection keeps `--outstanding` requests on their way. *Open loop* (`--rate`):
//! requests start at fixed times whether or not earlier ones were answered, and latency counts from the time at which
//! a request should have started, so that a server which stalls can't hide it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod args;
mod check;
mod connection;
mod control;
pub mod crowd;
mod engine;
mod pacer;
pub mod procfs;
mod report;
mod stats;
mod template;
mod work;

pub use args::{Args, Workload};
pub use engine::run;
pub use report::{Latency, Report, ServerUse};

/// Does what a command line says; what came out, as text or as one line of JSON.
pub fn run_to_text(args: &Args) -> anyhow::Result<String> {
    if let Some(crowd) = &args.crowd {
        return crowd::run_to_text(crowd);
    }
    let report = run(args)?;
    Ok(if args.json { serde_json::to_string(&report)? + "\n" } else { report.to_string() })
}
