//! `ostler shell` beside Apache's zkCli: the same commands, the same text; and what only a person at a terminal sees.
//!
//! * [`same_text`]: scripts and single commands through both, against Apache's server and against Ostler.
//! * [`differences`]: where the shell answers otherwise on purpose, with the reason.
//! * [`programs`]: JSON, files, pipes, exit codes, connect strings.
//! * [`prompt`]: the line editor on a pseudo-terminal.
//! * [`away`]: servers and sessions that go and come back.
//! * [`read_only`]: a server that only reads.
//! * [`ends`]: each way to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod away;
mod both;
mod differences;
mod ends;
mod programs;
mod prompt;
mod pty;
mod read_only;
mod same_text;
