//! `ostler log` and `ostler snapshot`: looking into txn logs and snapshots, Apache's and ours, without a server; `ostler
//! status`, `check`, `grow` and `swap`: looking at an ensemble and its configurations from outside, and changing its members.
//!
//! Everything streams: memory is bounded by the longest record, but for the comparison of two snapshots, which remembers
//! one of them in a few bytes a znode. Nothing here changes a file that it was given; a cut makes a new one.
//!
//! | room | job |
//! |---|---|
//! | `input` | from what was named on the command line to files |
//! | `folder` | a data directory as the storage machines see it, read only |
//! | `filter` | which txns or znodes are meant |
//! | `text` | times, data and paths as people and scripts read them |
//! | `log` | show, find, export, verify, follow, cut |
//! | `snapshot` | show, find, export, verify, summary, diff |
//! | `ensemble` | status, check, grow, swap |

pub mod ensemble;
mod filter;
mod folder;
mod input;
pub mod log;
mod progress;
pub mod snapshot;
mod text;

use std::io::{self, BufWriter, ErrorKind, Write};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Good,
    /// It was looked at, and it is damaged, or two things differ: the exit code is 1.
    Bad,
}

/// Runs a command with standard output as its place for answers. A reader that hangs up (`| head`) ends it quietly.
fn with_output(run: impl FnOnce(&mut dyn Write) -> anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = run(&mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match done {
        Err(error) if is_broken_pipe(&error) => {
            // What is left in the buffer would only fail again.
            let _ = out.into_parts();
            Ok(Outcome::Good)
        }
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
