//! Servers that are stopped for longer than their sessions may be silent (SIGSTOP, a paused machine), and go on. Their
//! clients were not silent: what they said is in the sockets, and those who gave up wait at the door.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_conformance::raw::{ConnectRequest, ConnectResponse, Connection};
use ostler_conformance::script::{create, path};
use ostler_conformance::{Options, Server, apache, ostler};
use rustix::process::Signal;

/// Clients that keep their connection and ping on.
const PATIENT: usize = 400;
/// Clients that hear nothing for two thirds of their timeout and come back by another connection, as Java's do. Fewer than
/// fit into the queue of a port that nobody accepts from.
const IMPATIENT: usize = 40;
const TIMEOUT: Duration = Duration::from_secs(3);

fn request(granted: Option<&ConnectResponse>) -> ConnectRequest {
    let timeout_ms = TIMEOUT.as_millis() as i32;
    let new = ConnectRequest { timeout_ms, ..ConnectRequest::default() };
    match granted {
        None => new,
        Some(old) => ConnectRequest { session_id: old.session_id, password: Some(old.password.clone()), ..new },
    }
}

fn pause(since: Instant, thirds: u32) {
    std::thread::sleep((since + thirds * TIMEOUT / 3).saturating_duration_since(Instant::now()));
}

/// One server at a time: the tests count on some CPU for each.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions with an ephemeral each, opened by the dozen.
fn crowd(addr: SocketAddr) -> Vec<(Connection, ConnectResponse)> {
    let mut clients: Vec<(Connection, ConnectResponse)> = Vec::new();
    while clients.len() < PATIENT + IMPATIENT {
        let mut dozen: Vec<Connection> = (0..40).map(|_| Connection::open(addr).unwrap()).collect();
        for (at, client) in dozen.iter_mut().enumerate() {
            client.send_frame(&request(None).encode()).unwrap();
            client.send(1, 1, &create(&format!("/{}", clients.len() + at), b"", 1)).unwrap();
        }
        for mut client in dozen {
            let granted = ConnectResponse::decode(&client.read_frame().unwrap()).unwrap();
            assert_eq!(client.read().unwrap().err, 0);
            clients.push((client, granted));
        }
        // All of them, so that the first are there still when the last is, however slow the machine.
        for (client, _) in &mut clients {
            client.send(-2, 11, &[]).unwrap();
        }
        for (client, _) in &mut clients {
            assert_eq!(client.read().unwrap().xid, -2);
        }
    }
    clients
}

/// The sessions that are lost, of the patient and of the impatient.
fn lost_in_sleep(server: &mut impl Server) -> (usize, usize) {
    let addr = server.addr();
    let mut clients = crowd(addr);
    let began = Instant::now();
    server.process_mut().signal(Signal::STOP).unwrap();
    let mut impatient = clients.split_off(PATIENT);
    for thirds in 1..=6 {
        pause(began, thirds);
        for (client, _) in &mut clients {
            client.send(-2, 11, &[]).unwrap();
        }
        if thirds == 2 {
            for (client, granted) in &mut impatient {
                *client = Connection::open(addr).unwrap();
                client.send_frame(&request(Some(granted)).encode()).unwrap();
            }
        }
    }
    server.process_mut().signal(Signal::CONT).unwrap();
    let mut lost = (0, 0);
    for (client, _) in &mut clients {
        // All six pings are answered, and the ephemeral is still there.
        let pings = (0..6).all(|_| client.read().is_ok_and(|reply| reply.xid == -2));
        let mine = pings.then(|| client.call(2, 103, &path("/")).ok()).flatten();
        lost.0 += usize::from(mine.is_none_or(|reply| reply.body[..4] != [0, 0, 0, 1]));
    }
    for (client, granted) in &mut impatient {
        let answer = client.read_frame().ok().map(|frame| ConnectResponse::decode(&frame).unwrap());
        lost.1 += usize::from(answer.is_none_or(|answer| answer.session_id != granted.session_id));
    }
    lost
}

fn options(dir: &tempfile::TempDir) -> Options {
    // Ticks as short as they are here make the end of a session come soon after its time.
    Options::new(dir.path()).cfg("tickTime=500").cfg("maxSessionTimeout=60000")
}

#[test]
fn a_server_that_was_stopped_ends_no_session_of_clients_that_were_there() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&options(&dir)).unwrap();
    assert_eq!(lost_in_sleep(&mut server), (0, 0));
    let log = std::fs::read_to_string(server.log()).unwrap();
    assert!(log.contains("did not run for"), "the operator is told:\n{log}");
    // It ends sessions as before: those clients are gone now, and with them what they had.
    let until = Instant::now() + 20 * TIMEOUT;
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for xid in 1.. {
        let children = client.call(xid, 8, &[&path("/")[..], &[0]].concat()).unwrap();
        if children.body[..4] == [0, 0, 0, 1] {
            break;
        }
        assert!(Instant::now() < until, "sessions without a client live on");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A thread that always has more to do is awake: however busy the server, a session whose client has gone ends.
#[test]
fn a_busy_server_ends_the_sessions_of_those_who_went() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&options(&dir).cfg("maxClientCnxns=0")).unwrap();
    let addr = server.addr();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| keep_busy(addr, &over));
        }
        let (mut gone, _) = Connection::connect(addr, &request(None)).unwrap();
        assert_eq!(gone.call(1, 1, &create("/gone", b"", 1)).unwrap().err, 0);
        drop(gone);
        let (mut client, _) = Connection::session(addr).unwrap();
        // Long: what the machine itself does not give the server counts for no session, and others want the machine too.
        let until = Instant::now() + 20 * TIMEOUT;
        let mut is_there = true;
        for xid in 1.. {
            is_there = client.call(xid, 3, &[&path("/gone")[..], &[0]].concat()).unwrap().err == 0;
            if !is_there || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        assert!(!is_there, "a session without a client lives on while others work");
    });
}

/// Fifty connections with thousands of requests under way each, whose answers are read and forgotten.
fn keep_busy(addr: SocketAddr, over: &AtomicBool) {
    let mut burst = Vec::new();
    for _ in 0..3000 {
        burst.extend_from_slice(&[0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1, b'/', 0]);
    }
    let mut crowd: Vec<(TcpStream, usize)> = (0..50)
        .map(|_| {
            let (connection, _) = Connection::session(addr).unwrap();
            let stream = connection.into_stream();
            stream.set_nonblocking(true).unwrap();
            (stream, 0)
        })
        .collect();
    let mut answers = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        for (stream, sent) in &mut crowd {
            while stream.read(&mut answers).is_ok_and(|n| n > 0) {}
            if let Ok(n) = stream.write(&burst[*sent..]) {
                *sent = (*sent + n) % burst.len();
            }
        }
    }
}

/// What Apache does, for comparison: nothing is asserted, since it is a race of its threads.
#[test]
#[ignore = "shows what Apache does, and proves nothing"]
fn apache_that_was_stopped() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut server = apache::Server::start(&options(&dir)).unwrap();
    let (patient, impatient) = lost_in_sleep(&mut server);
    println!(
        "Apache lost {patient} of {PATIENT} sessions that pinged on, and {impatient} of {IMPATIENT} that came back"
    );
}
