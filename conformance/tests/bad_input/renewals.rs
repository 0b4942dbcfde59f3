//! Two clients that take one session from each other, over and over, with writes on their way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use ostler_conformance::Server;
use ostler_conformance::raw::{ConnectRequest, ConnectResponse, Connection, Reply};
use ostler_conformance::script::{create, path, watch};

use super::Bystander;
use super::good::GoodClients;

/// Connections of each client, at least; they go on until so many of both wrote something.
const TURNS: u64 = 100;
const WROTE: u64 = 40;
/// Writes that each connection sends, as far as it comes.
const WRITES: u64 = 60;
/// Writes on their way at once.
const AHEAD: u64 = 20;

/// What one connection saw of its own.
#[derive(Debug, Default)]
struct Seen {
    /// Children of /log when the session was here: what was asked for before is among them, or will never be.
    first: i32,
    /// The sequence number of each write that was acknowledged, by its own number.
    acknowledged: Vec<(u64, u64)>,
}

/// The children created under /log so far, as the server tells now.
fn created(reply: &Reply) -> i32 {
    let cversion: [u8; 4] = reply.body[36..40].try_into().unwrap();
    i32::from_be_bytes(cversion)
}

/// One connection: takes the session, looks, writes until it is over. None: it was closed before it could look.
fn turn(addr: SocketAddr, session: &ConnectResponse, number: u64) -> Option<Seen> {
    let request = ConnectRequest {
        session_id: session.session_id,
        password: Some(session.password.clone()),
        timeout_ms: 30_000,
        ..ConnectRequest::default()
    };
    let mut connection = Connection::open(addr).unwrap();
    connection.send_frame(&request.encode()).unwrap();
    let response = ConnectResponse::decode(&connection.frame_or_end().ok()??).unwrap();
    assert_eq!(response.session_id, session.session_id, "the session is there as long as somebody knows its password");
    connection.send(0, 3, &watch("/log", false)).ok()?;
    let looked = Reply::decode(&connection.frame_or_end().ok()??).unwrap();
    assert_eq!((looked.xid, looked.err), (0, 0));
    let mut seen = Seen { first: created(&looked), ..Seen::default() };
    let mut sent = 0;
    for waiting in 1..=WRITES {
        while sent < WRITES.min(waiting + AHEAD) {
            sent += 1;
            let data = [number.to_be_bytes(), sent.to_be_bytes()].concat();
            // Ephemeral and sequential: whoever asked, it belongs to the session.
            if connection.send(sent as i32, 1, &create("/log/", &data, 3)).is_err() {
                break;
            }
        }
        let Ok(Some(frame)) = connection.frame_or_end() else { break };
        let reply = Reply::decode(&frame).unwrap();
        assert_eq!((reply.xid, reply.err), (waiting as i32, 0), "replies in their order");
        let name = std::str::from_utf8(&reply.body[4..]).unwrap();
        seen.acknowledged.push((waiting, name.trim_start_matches("/log/").parse().unwrap()));
    }
    Some(seen)
}

#[test]
fn two_clients_with_one_session() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 2);
    let mut reader = bystander.other();
    assert_eq!(reader.call(1, 1, &create("/log", b"", 0)).unwrap().err, 0);
    let (first, session) = Connection::session(addr).unwrap();
    drop(first);
    let (numbers, barrier) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(2)));
    let wrote = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..2)
        .map(|client| {
            let (numbers, barrier, session) = (numbers.clone(), barrier.clone(), session.clone());
            let wrote = wrote.clone();
            thread::spawn(move || {
                barrier.wait();
                let mut all = BTreeMap::new();
                let deadline = Instant::now() + Duration::from_secs(30);
                for at in 0.. {
                    if at >= TURNS && wrote.load(Ordering::Relaxed) >= WROTE || Instant::now() > deadline {
                        break;
                    }
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let seen = turn(addr, &session, number);
                    wrote.fetch_add(
                        u64::from(seen.as_ref().is_some_and(|it| !it.acknowledged.is_empty())),
                        Ordering::Relaxed,
                    );
                    all.extend(seen.map(|seen| (number, seen)));
                    // Of all lengths, so that the other one is at its handshake, its first look or its writes.
                    thread::sleep(Duration::from_millis(at * (3 + 4 * client) % 17));
                }
                all
            })
        })
        .collect();
    let mut seen = BTreeMap::new();
    for client in clients {
        seen.extend(client.join().unwrap());
    }
    bystander.works("renewals");

    // What was written, in the order of the txns.
    let reply = reader.call(2, 8, &watch("/log", false)).unwrap();
    let mut names: Vec<u64> = names(&reply.body).iter().map(|name| name.parse().unwrap()).collect();
    names.sort_unstable();
    let mut log = Vec::new();
    for name in names {
        let reply = reader.call(3, 4, &watch(&format!("/log/{name:010}"), false)).unwrap();
        assert_eq!(reply.err, 0);
        let number = |at: usize| u64::from_be_bytes(reply.body[at..at + 8].try_into().unwrap());
        assert_eq!(number(4 + 16 + 44), session.session_id as u64, "its owner");
        log.push((name, number(4), number(12)));
    }
    // Each connection's writes are together: the session was here, and then there. Of each the first ones, none left out.
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for &(name, connection, write) in &log {
        match runs.last_mut().filter(|(last, ..)| *last == connection) {
            Some((_, _, done)) => {
                assert_eq!(write, *done + 1, "connection {connection}: a write was lost, or moved");
                *done = write;
            }
            None => {
                assert_eq!(
                    write, 1,
                    "connection {connection}: its first writes were lost, or it went on after another"
                );
                runs.push((connection, name, 1));
            }
        }
    }
    let written: BTreeMap<(u64, u64), u64> = log.iter().map(|&(name, by, write)| ((by, write), name)).collect();
    let mut acknowledged = 0;
    for (&connection, seen) in &seen {
        for &(write, name) in &seen.acknowledged {
            assert_eq!(written.get(&(connection, write)), Some(&name), "an acknowledged write is there");
            acknowledged += 1;
        }
        // Nothing of those before comes after it has looked, and it saw all of theirs.
        let own = runs.iter().find(|(by, ..)| *by == connection).map(|(_, name, _)| *name);
        if let Some(own) = own {
            assert_eq!(u64::from(seen.first.unsigned_abs()), own, "connection {connection} looked, then others wrote");
        }
    }
    let moved = runs.len();
    assert!(moved >= 20 && acknowledged >= 40, "the case is there: {moved} connections wrote, {acknowledged} replies");
    let unacknowledged = log.len() - acknowledged;

    // They end with their session.
    let (mut last, _) = Connection::connect(
        addr,
        &ConnectRequest {
            session_id: session.session_id,
            password: Some(session.password.clone()),
            ..ConnectRequest::default()
        },
    )
    .unwrap();
    last.set_limit(Duration::from_mins(1)).unwrap();
    assert_eq!(last.call(1, 103, &path("/log")).unwrap().body[..4], (log.len() as i32).to_be_bytes());
    assert_eq!(last.call(2, -11, &[]).unwrap().err, 0);
    let reply = reader.call(1, 8, &watch("/log", false)).unwrap();
    assert_eq!(names_of(&reply), 0, "an ephemeral outlived its session");
    good.were_served("renewals");
    bystander.printed_no_panic();
    eprintln!("{moved} connections wrote, {acknowledged} acknowledged, {unacknowledged} written and not acknowledged");
}

fn names_of(reply: &Reply) -> usize {
    names(&reply.body).len()
}

fn names(body: &[u8]) -> Vec<String> {
    let (count, mut rest) = body.split_first_chunk::<4>().unwrap();
    (0..i32::from_be_bytes(*count))
        .map(|_| {
            let (length, behind) = rest.split_first_chunk::<4>().unwrap();
            let (name, behind) = behind.split_at(i32::from_be_bytes(*length) as usize);
            rest = behind;
            String::from_utf8(name.to_vec()).unwrap()
        })
        .collect()
}
