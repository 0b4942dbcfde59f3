//! Frames and bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, OPEN, create, multi, path_version, set, watch};
use ostler_conformance::{Server, four_letter};

use super::Bystander;

#[test]
fn lengths_that_cannot_be() {
    let mut bystander = Bystander::new();
    let negative: [i32; 3] = [-1, i32::MIN, i32::MIN + 7];
    for length in negative.into_iter().chain([0x10_0000, i32::MAX, 0, 3, 7]) {
        // In a session, and as the first bytes of a connection.
        let mut other = bystander.other();
        let bytes = Body::new().int(length).raw(&[0; 7][..length.clamp(0, 7) as usize]).0;
        other.send_bytes(&bytes).unwrap();
        other.expect_closed().unwrap();
        let mut fresh = ostler_conformance::raw::Connection::open(bystander.server.addr()).unwrap();
        fresh.send_bytes(&bytes).unwrap();
        fresh.expect_closed().unwrap();
        bystander.works(&format!("length {length}"));
    }
}

#[test]
fn bodies_that_promise_too_much() {
    let mut bystander = Bystander::new();
    let mut other = bystander.other();
    for op in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 18, 19, 20, 21, 101, 103, 104, 105, 106] {
        for length in [i32::MAX, 0x7fff_fff0, 1_000_000, 100] {
            let reply = other.call(1, op, &Body::new().int(length).raw(b"short").0).unwrap();
            assert_eq!(reply.err, -5, "op {op}, length {length}");
        }
    }
    for count in [i32::MAX, 100_000_000, 2] {
        let acl = Body::new().text("/x").buffer(None).int(count).int(31).text("world").text("anyone").0;
        assert_eq!(other.call(1, 1, &acl).unwrap().err, -5);
        let watches = Body::new().long(0).int(count).text("/x").0;
        assert_eq!(other.call(1, 101, &watches).unwrap().err, -5);
    }
    assert_eq!(other.call(2, 3, &watch("/x", false)).unwrap().err, -101);
    bystander.works("vectors without end");
}

#[test]
fn noise() {
    let mut bystander = Bystander::new();
    // A generator that always gives the same.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400 {
        let mut other = bystander.other();
        for _ in 0..20 {
            let ops = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 100, 101, 103, 104, 105, 106];
            let op = ops[(next() % ops.len() as u64) as usize];
            let mut body: Vec<u8> = (0..next() % 60).map(|_| (next() >> 16) as u8).collect();
            // Mostly small numbers, so that it gets beyond the first field.
            for (at, byte) in body.iter_mut().enumerate() {
                if at % 4 != 3 && next() % 4 != 0 {
                    *byte = 0;
                } else if at % 4 == 3 {
                    *byte %= 12;
                }
            }
            if other.send(round, op, &body).is_err() {
                break;
            }
        }
        if round % 50 == 49 {
            bystander.works(&format!("noise {round}"));
        }
    }
    bystander.works("noise");
}

#[test]
fn strings_that_are_no_paths() {
    let mut bystander = Bystander::new();
    let mut other = bystander.other();
    let deep = format!("/{}", "x/".repeat(100_000));
    let long = format!("/{}", "x".repeat(900_000));
    let bad: [&[u8]; 8] =
        [b"x", b"/\xff", b"/\xc3\x28", b"/\xed\xa0\x80", b"/\xf0\x9f\x98", b"/\0", b"//", deep.as_bytes()];
    for path in bad {
        let text = Body::new().buffer(Some(path));
        assert_ne!(other.call(1, 3, &text.clone().byte(1).0).unwrap().err, 0);
        assert_ne!(other.call(2, 1, &text.clone().buffer(None).acl(OPEN).int(0).0).unwrap().err, 0);
        assert_ne!(other.call(3, 5, &text.clone().buffer(None).int(-1).0).unwrap().err, 0);
        assert_ne!(other.call(4, 2, &text.clone().int(-1).0).unwrap().err, 0);
        assert_eq!(other.call(5, 106, &text.int(1).0).unwrap().err, 0, "a watch needs no znode");
    }
    assert_eq!(other.call(6, 1, &create(&long, b"", 0)).unwrap().err, 0, "no name is too long");
    assert_eq!(other.call(7, 2, &path_version(&long, -1)).unwrap().err, 0);
    bystander.works("bad paths");
}

#[test]
fn multis_of_thousands() {
    let mut bystander = Bystander::new();
    let mut other = bystander.other();
    assert_eq!(other.call(1, 1, &create("/m", b"", 0)).unwrap().err, 0);
    let creates: Vec<_> = (0..10_000).map(|i| (1, create(&format!("/m/{i}"), b"", 0))).collect();
    let reply = other.call(2, 14, &multi(&creates)).unwrap();
    assert_eq!((reply.err, &reply.body[..4]), (0, &[0, 0, 0, 1][..]));
    bystander.works("10,000 creates");
    let checks: Vec<_> = (0..40_000).map(|_| (13, path_version("/m", -1))).collect();
    assert_eq!(other.call(3, 14, &multi(&checks)).unwrap().err, 0);
    let mut failing: Vec<_> = (0..15_000).map(|i| (5, set("/m", Some(&[i as u8]), -1))).collect();
    failing.push((13, path_version("/none", -1)));
    let reply = other.call(4, 14, &multi(&failing)).unwrap();
    assert_eq!((reply.err, &reply.body[..4]), (0, &[0xff; 4][..]), "all of it failed");
    let stat = other.call(5, 3, &watch("/m", false)).unwrap();
    assert_eq!(&stat.body[32..36], &[0; 4], "the version: never set");
    let reads: Vec<_> = (0..30_000).map(|_| (8, watch("/none", false))).collect();
    assert_eq!(other.call(6, 22, &multi(&reads)).unwrap().err, 0);
    bystander.works("40,000 checks");
}

#[test]
fn letters_and_frames_in_pieces() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    for word in ["ruok", "srvr", "mntr", "conf"] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for byte in word.bytes() {
            stream.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let whole = four_letter::ask(addr, word).unwrap();
        assert!(!answer.is_empty() && answer.lines().next() == whole.lines().next(), "{word}: {answer:?}");
    }
    bystander.works("letters");

    // A handshake and requests, byte by byte, with others at full speed in between.
    let mut slow = ostler_conformance::raw::Connection::open(addr).unwrap();
    let mut bytes = Body::new().buffer(Some(&ConnectRequest::default().encode())).0;
    let request =
        |xid: i32, op: i32, body: &[u8]| Body::new().buffer(Some(&Body::new().int(xid).int(op).raw(body).0)).0;
    bytes.extend(request(1, 1, &create("/slow", b"slow", 0)));
    bytes.extend(request(2, 4, &watch("/slow", false)));
    for (at, byte) in bytes.iter().enumerate() {
        slow.send_bytes(&[*byte]).unwrap();
        if at % 16 == 0 {
            bystander.works("a byte");
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(slow.read_frame().unwrap().len(), 37);
    assert_eq!(slow.read().unwrap().err, 0);
    let reply = slow.read().unwrap();
    assert_eq!(&reply.body[..8], b"\0\0\0\x04slow");
}
