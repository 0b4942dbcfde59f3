//! How many may connect, for how long a connection may say nothing, and which session timeouts are granted.

use std::time::{Duration, Instant};

use ostler_conformance::Server;
use ostler_conformance::raw::{ConnectRequest, Connection};

use super::{Both, same};

/// Opens so many connections; which of them get a session.
fn crowd(server: &dyn Server, count: usize) -> Vec<bool> {
    let mut kept = Vec::new();
    for _ in 0..count {
        kept.push(Connection::session(server.addr()).ok());
    }
    kept.iter().map(Option::is_some).collect()
}

#[test]
fn max_client_cnxns() {
    // What the harness asked has been let go of when the port is asked again.
    for (cfg, expected) in [
        (&["maxClientCnxns=2"][..], 2),
        (&["maxCnxns=3", "maxClientCnxns=0"], 3),
        (&["maxCnxns=3", "maxClientCnxns=2"], 2),
    ] {
        let both = Both::start(cfg, &[]);
        both.each(|server| no_connection_is_left(server));
        let got = same(both.each(|server| crowd(server, expected + 2)));
        assert_eq!(got, [vec![true; expected], vec![false; 2]].concat(), "{cfg:?}");
        // Places are given back.
        both.each(|server| no_connection_is_left(server));
        assert_eq!(same(both.each(|server| crowd(server, expected + 1))), [vec![true; expected], vec![false]].concat());
    }
}

/// Waits until a session can be had: the places of earlier connections come back when the server has seen their ends.
fn no_connection_is_left(server: &dyn Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let connections = ostler_conformance::four_letter::ask(server.addr(), "mntr").unwrap_or_default();
        let alive = connections.lines().find_map(|line| line.strip_prefix("zk_num_alive_connections\t"));
        // The word's own connection counts on Apache.
        if alive.is_some_and(|alive| alive == "1" || alive == "0") {
            std::thread::sleep(Duration::from_millis(100));
            return;
        }
        assert!(Instant::now() < deadline, "{}: {alive:?} connections are left", server.name());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_limit_and_timeouts_that_are_granted() {
    let cfg = ["maxClientCnxns=-1", "maxCnxns=-5", "minSessionTimeout=3000", "maxSessionTimeout=7001"];
    let both = Both::start(&cfg, &[]);
    assert_eq!(same(both.each(|server| crowd(server, 100))), vec![true; 100]);
    let asked = [i32::MIN, -1, 0, 1, 2999, 3000, 3001, 7000, 7001, 7002, i32::MAX];
    let granted = same(both.each(|server| {
        asked.map(|timeout_ms| {
            let request = ConnectRequest { timeout_ms, ..ConnectRequest::default() };
            Connection::connect(server.addr(), &request).unwrap().1.timeout_ms
        })
    }));
    assert_eq!(granted, [3000, 3000, 3000, 3000, 3000, 3000, 3001, 7000, 7001, 7001, 7001]);
}

#[test]
fn a_connection_that_never_asks_for_a_session_ends() {
    let both =
        Both::start(&["nio.sessionlessCnxnTimeout=1000", "clientTcpKeepAlive=true", "clientPortListenBacklog=-1"], &[]);
    both.each(|server| {
        let began = Instant::now();
        let mut silent = Connection::open(server.addr()).unwrap();
        let mut half = Connection::open(server.addr()).unwrap();
        half.send_bytes(&[0, 0]).unwrap();
        let (mut with_session, _) = Connection::session(server.addr()).unwrap();
        silent.expect_closed().unwrap();
        half.expect_closed().unwrap();
        assert!(began.elapsed() >= Duration::from_millis(900), "{}: too early", server.name());
        assert_eq!(with_session.call(-2, 11, &[]).unwrap().err, 0, "{}", server.name());
    });
}
