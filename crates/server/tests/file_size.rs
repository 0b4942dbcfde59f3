//! A process that may write no long files (`ulimit -f`): a write that is too long fails, and ends nobody without a word.
//!
//! By itself, since the limit is that of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;

use ostler_server::{Config, Environment};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_file_that_is_too_long_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cfg = dir.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}/data\nclientPortAddress=127.0.0.1\nclientPort={port}\npreAllocSize=64\n",
        dir.path().display()
    );
    std::fs::write(&cfg, text).unwrap();
    let config = Config::load(&cfg, &Environment::default()).unwrap();
    let server = ostler_server::start(&config, Arc::new(|why: String| panic!("{why}")), &mut |_| ()).unwrap();
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), ..before }).unwrap();
    let written = std::fs::write(dir.path().join("long"), vec![1; 2 << 20]);
    setrlimit(Resource::Fsize, before).unwrap();
    assert_eq!(written.unwrap_err().kind(), ErrorKind::FileTooLarge);
    server.stop().unwrap();
}
