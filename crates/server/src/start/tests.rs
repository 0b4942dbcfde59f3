#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::net::TcpListener;

use super::*;
use crate::config::Environment;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn syncs_beside_those_of_batches_are_watched_until_the_server_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let data = dir.path().join("data");
    let text = format!("dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={port}\npreAllocSize=64\n", data.display());
    let config = Config::parse(&dir.path().join("zoo.cfg"), text.as_bytes(), &Environment::default()).unwrap();
    let running = start(&config, Arc::new(|why: String| panic!("{why}")), &mut |_| ()).unwrap();
    let core = running.core.clone();
    let deadline = Instant::now() + PATIENCE;
    while core.syncs.seen() == 0 {
        assert!(Instant::now() < deadline, "in vain: that of the next log file");
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = core.syncs.seen();
    running.stop().unwrap();
    assert!(core.syncs.seen() > before, "that of the directory, without the next log file");
}
