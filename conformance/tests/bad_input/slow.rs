//! A client on a slow link: what it is told of comes faster than it can read, and it pings. It reads all the time, so it lives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ostler_conformance::Server;
use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, create, multi, watch};

use super::Bystander;

/// Events that the slow one is told of, and the length of the names in them: many MBs, of which its link lets some through.
const EVENTS: usize = 8000;
const NAME_BYTES: usize = 1000;
/// Creates in a multi.
const TOGETHER: usize = 800;
/// The shortest session that a server with ticks of two seconds grants, and how many times as long the client is slow.
const TIMEOUT: Duration = Duration::from_secs(4);
const TIMEOUTS: u32 = 4;
/// What it reads at once, and how often: 160 KB a second. Its own socket keeps little.
const READ_BYTES: usize = 8 * 1024;
const READ_EVERY: Duration = Duration::from_millis(50);
const SOCKET_BYTES: usize = 16 * 1024;
/// In so many of its reads it pings.
const PING_EVERY: u32 = 10;

fn frame(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    Body::new().buffer(Some(&Body::new().int(xid).int(op).raw(body).0)).0
}

/// The first frame that is whole, if one is.
fn take_frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = i32::from_be_bytes(*bytes.first_chunk()?) as usize;
    if bytes.len() < 4 + length {
        return None;
    }
    let frame = bytes[4..4 + length].to_vec();
    bytes.drain(..4 + length);
    Some(frame)
}

#[test]
fn who_reads_slowly_and_pings_keeps_its_session() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    let mut writer = bystander.other();
    assert_eq!(writer.call(1, 1, &create("/many", b"", 0)).unwrap().err, 0);

    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // Before it connects: the window that it offers follows from it.
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    socket.connect(&addr.into()).unwrap();
    let mut slow = TcpStream::from(socket);
    let request = ConnectRequest { timeout_ms: TIMEOUT.as_millis() as i32, ..ConnectRequest::default() };
    slow.write_all(&Body::new().buffer(Some(&request.encode())).0).unwrap();
    slow.read_exact(&mut [0; 41]).unwrap();
    slow.write_all(&frame(1, 1, &create("/slow", b"", 1))).unwrap();
    // Persistent and recursive.
    slow.write_all(&frame(2, 106, &Body::new().text("/many").int(1).0)).unwrap();

    let name = |at: usize| format!("/many/{at:04}{}", "n".repeat(NAME_BYTES));
    let (mut bytes, mut events, mut some) = (Vec::new(), 0, vec![0; READ_BYTES]);
    let mut read = |slow: &mut TcpStream, bytes: &mut Vec<u8>| {
        let read = slow.read(&mut some).unwrap();
        assert!(read > 0, "its connection was closed");
        bytes.extend_from_slice(&some[..read]);
        while let Some(frame) = take_frame(bytes) {
            let xid = i32::from_be_bytes(frame[..4].try_into().unwrap());
            if xid == -1 {
                let path = &frame[28..];
                assert_eq!(path, name(events).as_bytes(), "event {events}");
                events += 1;
            }
        }
        events
    };
    // Until it watches.
    while writer.call(2, 3, &watch("/slow", false)).unwrap().err != 0 {
        thread::sleep(READ_EVERY);
    }
    while bytes.is_empty() && slow.peek(&mut [0; 64]).unwrap() < 40 {
        thread::sleep(READ_EVERY);
    }
    for from in (0..EVENTS).step_by(TOGETHER) {
        let creates: Vec<_> = (from..from + TOGETHER).map(|at| (1, create(&name(at), b"", 0))).collect();
        assert_eq!(writer.call(3, 14, &multi(&creates)).unwrap().err, 0);
    }
    let began = Instant::now();
    let mut turns = 0_u32;
    let mut told = 0;
    while began.elapsed() < TIMEOUT * TIMEOUTS {
        told = read(&mut slow, &mut bytes);
        if turns.is_multiple_of(PING_EVERY) {
            slow.write_all(&frame(-2, 11, &[])).unwrap();
        }
        turns += 1;
        thread::sleep(READ_EVERY);
    }
    assert!(told < EVENTS, "it was not slow");
    assert_eq!(bystander.other().call(1, 3, &watch("/slow", false)).unwrap().err, 0, "its session has ended");
    // And now it has time.
    while read(&mut slow, &mut bytes) < EVENTS {}
    bystander.works("a client that reads slowly");
    bystander.printed_no_panic();
}
