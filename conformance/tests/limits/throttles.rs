//! Throttles of new sessions, of requests and of large requests.

use std::time::{Duration, Instant};

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, set, watch};
use ostler_conformance::{Server, four_letter};

use super::{Both, same};

fn metric(server: &dyn Server, name: &str) -> i64 {
    let mntr = four_letter::ask(server.addr(), "mntr").unwrap();
    let line = mntr.lines().find(|line| line.starts_with(&format!("zk_{name}\t"))).unwrap().to_owned();
    line.split('\t').nth(1).unwrap().parse().unwrap()
}

/// Waits until there is something to count. The clients of a server come by several threads, so what was sent first need not
/// be in process first.
fn until(server: &dyn Server, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while metric(server, name) == 0 {
        assert!(Instant::now() < deadline, "{}: {name} stays 0", server.name());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_bucket_of_tokens_for_new_sessions() {
    // 4 global sessions, one of which the harness spends to see whether the server serves; in the time of this test
    // nothing is refilled.
    let cfg = [
        "connection_throttle_tokens=4",
        "connection_throttle_fill_time=1000000000",
        "connection_throttle_weight_enabled=true",
        "connection_throttle_freeze_time=1000000000",
    ];
    let both = Both::start(&cfg, &[]);
    // The harness asked for a session that is not there: two tokens of twelve each time it asked.
    let left = same(both.each(|server| {
        let (mut admitted, mut first) = (Vec::new(), None);
        for at in 0..9 {
            // By turns a new session and the first one once more.
            let request = match &first {
                Some((id, password)) if at % 2 == 1 => ConnectRequest {
                    session_id: *id,
                    password: Some(Vec::clone(password)),
                    ..ConnectRequest::default()
                },
                _ => ConnectRequest::default(),
            };
            let mut connection = Connection::open(server.addr()).unwrap();
            connection.send_frame(&request.encode()).unwrap();
            match connection.frame_or_end().unwrap() {
                None => admitted.push(false),
                Some(frame) => {
                    let granted = ostler_conformance::raw::ConnectResponse::decode(&frame).unwrap();
                    first.get_or_insert((granted.session_id, granted.password));
                    admitted.push(true);
                }
            }
        }
        (admitted, metric(server, "connection_rejected") > 0)
    }));
    assert_eq!(left.0.iter().filter(|admitted| **admitted).count(), 4, "3 + 2 + 3 + 2 of what is left: {left:?}");
    assert!(left.1);
}

#[test]
fn large_requests() {
    let both = Both::start(&["largeRequestThreshold=500", "largeRequestMaxBytes=2000"], &[]);
    let answers = same(both.each(|server| {
        let mut answers = Vec::new();
        for length in [499, 500, 501, 1999, 2000, 2001, 5000] {
            let (mut client, _) = Connection::session(server.addr()).unwrap();
            let name = format!("/of-{length}");
            let empty = create(&name, b"", 0).len() + 8;
            let answer = client.call(1, 1, &create(&name, &vec![7; length - empty], 0)).map(|reply| reply.err);
            answers.push((length, answer.ok()));
            // What is answered counts no longer.
            let (mut client, _) = Connection::session(server.addr()).unwrap();
            assert_eq!(client.call(1, 5, &set("/of-499", Some(&[7; 1900]), -1)).unwrap().err, 0, "{}", server.name());
        }
        // A length is enough, also that of a ConnectRequest; and it counts alone, not with what is before it.
        let mut fresh = Connection::open(server.addr()).unwrap();
        fresh.send_bytes(&2001_i32.to_be_bytes()).unwrap();
        fresh.expect_closed().unwrap();
        (answers, metric(server, "large_requests_rejected"))
    }));
    let expected = [499, 500, 501, 1999, 2000].map(|length| (length, Some(0)));
    assert_eq!(left(&answers.0, 5), expected);
    assert_eq!(answers.0[5..], [(2001, None), (5000, None)]);
    assert_eq!(answers.1, 3);
}

fn left<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    all[..count].to_vec()
}

/// A write stays in process for two seconds, because nothing is synced before; what comes meanwhile waits.
const SLOW: [&str; 4] =
    ["flushDelay=4000", "maxWriteQueuePollTime=2000", "request_throttle_max_requests=1", "maxBatchSize=1000"];

#[test]
fn requests_above_the_maximum_wait_or_are_refused() {
    let both = Both::start(&[&SLOW[..], &["throttled_op_wait_time=300"]].concat(), &[]);
    let seen = same(both.each(|server| {
        let (mut first, _) = Connection::session(server.addr()).unwrap();
        let (mut second, _) = Connection::session(server.addr()).unwrap();
        first.send(1, 1, &create("/first", b"", 0)).unwrap();
        until(server, "outstanding_requests");
        // What comes while the one before it waits is not read, and its time begins later; so they come together.
        second.send_together(&[(1, 1, &create("/second", b"", 0)), (2, 4, &watch("/", false))]).unwrap();
        let errors = [first.read().unwrap(), second.read().unwrap(), second.read().unwrap()].map(|r| (r.xid, r.err));
        let after = second.call(3, 3, &watch("/second", false)).unwrap().err;
        (errors, after, metric(server, "throttled_ops") > 0, metric(server, "request_throttle_wait_count") > 0)
    }));
    assert_eq!(seen, ([(1, 0), (1, -127), (2, -127)], -101, true, true));
}

#[test]
fn what_waits_for_a_client_that_has_gone_is_dropped() {
    let both = Both::start(&SLOW, &[]);
    let seen = same(both.each(|server| {
        let (mut first, _) = Connection::session(server.addr()).unwrap();
        let (mut second, _) = Connection::session(server.addr()).unwrap();
        first.send(1, 1, &create("/first", b"", 0)).unwrap();
        until(server, "outstanding_requests");
        second.send(1, 1, &create("/second", b"", 0)).unwrap();
        until(server, "request_throttle_wait_count");
        drop(second);
        let done = first.read().unwrap().err;
        until(server, "stale_requests_dropped");
        (done, first.call(2, 3, &watch("/second", false)).unwrap().err)
    }));
    assert_eq!(seen, (0, -101));
}
