//! Clients that don't read, and more connections than anyone needs.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, create, set, watch};
use ostler_conformance::{Options, Server};

use super::Bystander;

/// More than what the server may hold for a few clients that do not read.
const GROWTH_MAX: usize = 96 << 20;
/// The same, for one that writes without reading: 64 MiB of requests may be on their way, each of them as a request, as
/// a txn and in the log's buffer.
const WRITES_GROWTH_MAX: usize = 320 << 20;
/// Connections that say nothing, or half a word.
const CROWD: usize = 2000;

/// A session whose socket is ours, to write without reading.
fn deaf(bystander: &Bystander) -> TcpStream {
    let mut stream = TcpStream::connect(bystander.server.addr()).unwrap();
    stream.write_all(&Body::new().buffer(Some(&ConnectRequest::default().encode())).0).unwrap();
    let mut answer = [0; 41];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    stream
}

fn request(op: i32, body: &[u8]) -> Vec<u8> {
    Body::new().buffer(Some(&Body::new().int(1).int(op).raw(body).0)).0
}

/// Sends until the server takes no more, or drops us, or `frames` are sent.
fn send_until_refused(stream: &mut TcpStream, frame: &[u8], frames: usize) -> usize {
    let batch = 64.min(frames);
    let bytes = frame.repeat(batch);
    for sent in 0..frames / batch {
        match stream.write_all(&bytes) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent * batch,
            Err(_) => return sent * batch,
        }
    }
    frames
}

#[test]
fn a_client_that_never_reads() {
    let mut bystander = Bystander::new();
    let big = vec![7; 900_000];
    let mut other = bystander.other();
    assert_eq!(other.call(1, 1, &create("/big", &big, 0)).unwrap().err, 0);
    let before = bystander.resident();
    let asked = [
        ("getData", request(4, &watch("/big", true)), 1_000_000),
        ("ping", request(11, &[]), 4_000_000),
        ("whoAmI", request(107, &[]), 2_000_000),
    ];
    let mut kept = Vec::new();
    for (name, frame, frames) in asked {
        let mut stream = deaf(&bystander);
        let sent = send_until_refused(&mut stream, &frame, frames);
        assert!(sent < frames, "{name}: all {sent} requests were taken");
        kept.push(stream);
        bystander.works(name);
    }
    let grown = bystander.resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{} MB for clients that do not read", grown >> 20);
    // Those that write are served, as long as their replies find room.
    for (name, frame, frames) in [
        ("setData", request(5, &set("/big", Some(&big), -1)), 448),
        ("create", request(15, &create("/seq-", b"", 3)), 32_000),
    ] {
        let mut stream = deaf(&bystander);
        send_until_refused(&mut stream, &frame, frames);
        kept.push(stream);
        bystander.works(name);
    }
    let grown = bystander.resident().saturating_sub(before);
    assert!(grown < WRITES_GROWTH_MAX, "{} MB for clients that write and do not read", grown >> 20);
}

/// Each of them within its own bound, together too much: those that do not read go, those that do stay.
#[test]
fn many_clients_that_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg("ostler.unsent.bytesMax=33554432").cfg("maxClientCnxns=0");
    let mut bystander = Bystander::with(dir, &options);
    let mut other = bystander.other();
    assert_eq!(other.call(1, 1, &create("/big", &vec![7; 900_000], 0)).unwrap().err, 0);
    let before = bystander.resident();
    let mut kept = Vec::new();
    for at in 0..150 {
        let mut stream = deaf(&bystander);
        // More than the system keeps of it, and what the server keeps of one.
        send_until_refused(&mut stream, &request(4, &watch("/big", false)), 64);
        kept.push(stream);
        if at % 10 == 0 {
            bystander.works("one more that does not read");
        }
    }
    bystander.works("all that do not read");
    let reply = other.call(2, 4, &watch("/big", false)).unwrap();
    assert_eq!((reply.err, reply.body.len()), (0, 900_072), "who reads is served");
    let grown = bystander.resident().saturating_sub(before);
    // Buffers grow by doubling, so that twice the bound is room for all.
    assert!(grown < GROWTH_MAX, "{} MB for clients that do not read", grown >> 20);
    let log = std::fs::read_to_string(bystander.server.log()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(bystander.server.log()).unwrap().contains("were closed that do not read") {
        assert!(Instant::now() < deadline, "nobody was told: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_watcher_that_never_reads() {
    let mut bystander = Bystander::new();
    let name = "x".repeat(400);
    let path = format!("/{name}");
    let mut other = bystander.other();
    assert_eq!(other.call(1, 1, &create(&path, b"", 0)).unwrap().err, 0);
    let mut deaf = deaf(&bystander);
    deaf.write_all(&request(106, &Body::new().text("/").int(1).0)).unwrap();
    bystander.works("a watcher");
    let before = bystander.resident();
    // 100,000 events of 440 bytes.
    let batch = 500;
    for _ in 0..200 {
        for xid in 0..batch {
            other.send(xid, 5, &set(&path, Some(b"x"), -1)).unwrap();
        }
        for _ in 0..batch {
            assert_eq!(other.read().unwrap().err, 0);
        }
    }
    bystander.works("100,000 events");
    let grown = bystander.resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{} MB for a watcher that does not read", grown >> 20);
}

#[test]
fn two_thousand_half_open_connections() {
    super::room_for_files(3 * CROWD as u64);
    let mut bystander = Bystander::new();
    let mut crowd = Vec::with_capacity(CROWD);
    let handshake = Body::new().buffer(Some(&ConnectRequest::default().encode())).0;
    for at in 0..CROWD {
        let mut stream = TcpStream::connect(bystander.server.addr()).unwrap();
        stream.write_all(&handshake[..(at * 7) % handshake.len()]).unwrap();
        crowd.push(stream);
        if at % 250 == 0 {
            bystander.works(&format!("{at} connections"));
        }
    }
    bystander.works("all of them");
    assert!(bystander.resident() < 200 << 20);
    drop(crowd);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let open = std::fs::read_dir(format!("/proc/{}/fd", bystander.server.pid())).unwrap().count();
        if open < 100 {
            break;
        }
        assert!(Instant::now() < deadline, "{open} files are still open");
        std::thread::sleep(Duration::from_millis(20));
    }
    bystander.works("their end");
}

/// `ostler.watches.bytesMax` in the flood, and what the server may grow by: what is counted, tables that double, and what
/// is on its way.
const WATCH_BYTES_MAX: usize = 8 << 20;
const WATCH_GROWTH_MAX: usize = 48 << 20;

/// One session watches paths that are not there, long ones, as fast as it can.
#[test]
fn a_flood_of_watches() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg(format!("ostler.watches.bytesMax={WATCH_BYTES_MAX}"));
    let mut bystander = Bystander::with(dir, &options);
    let mut flooder = bystander.other();
    let before = bystander.resident();
    let (rounds, in_a_round) = (60, 1000);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..rounds {
        for at in 0..in_a_round {
            let path = format!("/{}-{round}-{at}", "long".repeat(50));
            flooder.send(at + 1, 3, &watch(&path, true)).unwrap();
        }
        for _ in 0..in_a_round {
            match flooder.read().unwrap().err {
                -101 => taken += 1,
                -125 => refused += 1,
                err => panic!("{err}"),
            }
        }
    }
    eprintln!("{taken} watches were taken, {refused} refused");
    assert!(taken > 10_000 && refused > 10_000, "{taken} were taken, {refused} refused");
    bystander.works("a flood of watches");
    let grown = bystander.resident().saturating_sub(before);
    assert!(grown < WATCH_GROWTH_MAX, "{} MB for the watches of one client", grown >> 20);
    // Whoever reads without a watch is served; when the flooder goes, there is room for others.
    assert_eq!(flooder.call(1, 3, &watch("/bystander", false)).unwrap().err, 0);
    drop(flooder);
    let deadline = Instant::now() + Duration::from_secs(20);
    while bystander.other().call(1, 3, &watch("/not-there", true)).unwrap().err == -125 {
        assert!(Instant::now() < deadline, "the watches of a client that is gone take room");
        std::thread::sleep(Duration::from_millis(20));
    }
}
