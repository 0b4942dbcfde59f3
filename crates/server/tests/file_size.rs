//! A process that may write no long files (`ulimit -f`): a write that is too long fails, and ends nobody without a word.
//!
//! By itself, since the limit is that of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::io::ErrorKind;

use common::start;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_file_that_is_too_long_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), "preAllocSize=64");
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), ..before }).unwrap();
    let written = std::fs::write(dir.path().join("long"), vec![1; 2 << 20]);
    setrlimit(Resource::Fsize, before).unwrap();
    assert_eq!(written.unwrap_err().kind(), ErrorKind::FileTooLarge);
    server.stop().unwrap();
}
