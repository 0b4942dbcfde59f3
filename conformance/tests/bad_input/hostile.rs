//! Frames of every opcode, right, cut and garbled, in any order and pipelined, while good clients work; and first frames
//! with hostile ids and passwords. What single bodies are answered is compared in `conversation/table.rs`; here it matters
//! that whatever comes is answered, in order, with an error of the protocol, or the connection is closed.

use ostler_conformance::Server;
use ostler_conformance::raw::{ConnectRequest, Connection, Reply};
use ostler_conformance::script::{Body, OPEN, auth, create, multi, path, path_version, set, set_acl, watch};

use super::Bystander;
use super::good::GoodClients;

/// Everything that a client may ask for, closeSession too, and some that nobody may.
const OPS: [i32; 36] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 71, 100, 101, 102, 103, 104, 105, 106,
    107, -11, -10, -1, 0, 10, 72,
];
/// Error codes of ZooKeeper.
const CODES: [i32; 40] = [
    0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14, -100, -101, -102, -103, -108, -110, -111, -112,
    -113, -114, -115, -116, -117, -118, -119, -120, -121, -122, -123, -124, -125, -126, -127, -128, -130,
];
const PATHS: [&str; 8] = ["/h", "/h/a", "/h/e", "/", "", "/zookeeper/quota/h/zookeeper_limits", "/h/\0", "no"];
const ROUNDS: usize = 700;

/// A generator that always gives the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A body that is right for the opcode, wherever it points.
fn whole(op: i32, at: &str, random: &mut Random) -> Vec<u8> {
    let number = random.pick(&[-1, 0, 1, 2, 3, 5, 1000, i32::MAX, i32::MIN]);
    let long = random.pick(&[-1, 0, 1, 100_000, i64::MAX, i64::MIN]);
    let texts = |lists: i32| (0..lists).fold(Body::new().long(long), |body, _| body.texts(&[at, "/h/a"])).0;
    match op {
        1 | 15 | 19 => create(at, b"x", random.pick(&[0, 1, 2, 3, 4])),
        21 => Body::new().raw(&create(at, b"x", random.pick(&[5, 6]))).long(long).0,
        2 | 13 => path_version(at, number),
        5 => set(at, Some(b"count=-1,bytes=x"), number),
        7 => set_acl(at, OPEN, number),
        3 | 4 | 8 | 12 => watch(at, random.below(2) == 0),
        14 => multi(&[(13, path_version(at, -1)), (1, create(at, b"", 2)), (5, set(at, None, number))]),
        16 => Body::new().buffer(None).buffer(None).text(at).long(long).0,
        17 | 18 => Body::new().text(at).int(number).0,
        22 => multi(&[(4, watch(at, false)), (8, watch(at, false))]),
        71 => Body::new().text(at).int(number).long(long).int(random.pick(&[0, 1, -1, i32::MAX])).byte(1).0,
        100 => auth(random.pick(&["digest", "ip", "super", "sasl", "x509", ""]), b"u:p"),
        101 => texts(3),
        105 => texts(5),
        102 => Body::new().buffer(Some(b"token")).0,
        106 => Body::new().text(at).int(number).0,
        11 | 107 | -11 => Vec::new(),
        _ => path(at),
    }
}

/// Cut, longer, with a number turned into another, or noise; or as it was.
fn garble(mut body: Vec<u8>, random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => body.truncate(random.below(body.len() + 1)),
        1 => body.extend((0..random.below(40)).map(|at| at as u8)),
        2 if body.len() >= 4 => {
            let at = random.below(body.len() - 3);
            let number = random.pick(&[-1, -2, 0, 1, 255, 65_536, 0x7fff_ffff, i32::MIN, 1_048_576]);
            body[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        3 => {
            for _ in 0..3.min(body.len()) {
                let at = random.below(body.len());
                body[at] = random.next() as u8;
            }
        }
        4 if random.below(4) == 0 => body = (0..random.below(300)).map(|_| random.next() as u8).collect(),
        _ => {}
    }
    body
}

/// Reads what comes until the answer to `last`, or the end: every frame is an event or an answer to something that was
/// asked, and its error is one of ZooKeeper's.
fn answers(connection: &mut Connection, asked: &[(i32, i32)], last: i32) {
    let mut at = 0;
    while let Ok(Some(frame)) = connection.frame_or_end() {
        let reply = Reply::decode(&frame).unwrap_or_else(|e| panic!("{e}: {frame:02x?}, asked {asked:?}"));
        assert!(CODES.contains(&reply.err), "an error of no meaning: {reply:?}, asked {asked:?}");
        if reply.xid == -1 {
            continue;
        }
        // Auth packets and pings have xids of their own, and the former may overtake.
        if let Some(found) = asked[at..].iter().position(|(xid, _)| *xid == reply.xid) {
            at += found;
        } else {
            assert!(asked.iter().any(|(xid, op)| *xid == reply.xid || *op == 11 && reply.xid == -2), "{reply:?}");
        }
        if reply.xid == last {
            return;
        }
    }
}

#[test]
fn every_opcode_garbled() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 3);
    let mut setup = bystander.other();
    for (at, flags) in [("/h", 0), ("/h/a", 0), ("/h/e", 1), ("/zookeeper/quota/h", 0)] {
        assert_eq!(setup.call(1, 1, &create(at, b"x", flags)).unwrap().err, 0, "{at}");
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..ROUNDS {
        let mut other = Connection::open(addr).unwrap();
        if round % 8 != 0 {
            other.handshake(&ConnectRequest { timeout_ms: 4000, ..ConnectRequest::default() }).unwrap();
        }
        let (mut bytes, mut asked) = (Vec::new(), Vec::new());
        for xid in 1..=1 + random.below(30) as i32 {
            let (op, at) = (random.pick(&OPS), random.pick(&PATHS));
            let body = whole(op, at, &mut random);
            let body = garble(body, &mut random);
            asked.push((xid, op));
            bytes.extend(Body::new().buffer(Some(&Body::new().int(xid).int(op).raw(&body).0)).0);
        }
        let last = asked.len() as i32 + 1;
        asked.push((last, 3));
        bytes.extend(Body::new().buffer(Some(&Body::new().int(last).int(3).raw(&watch("/", false)).0)).0);
        match random.below(4) {
            // A length that is one too long or too short: what is behind it is another frame then.
            0 => {
                let at = random.below(bytes.len());
                bytes[at] = bytes[at].wrapping_add(1);
                // Whatever these were.
                let _ = other.send_bytes(&bytes);
                let _ = other.shut_writing();
                while let Ok(Some(_)) = other.frame_or_end() {}
            }
            // The end, in the middle of anything, and nobody who reads.
            1 => {
                let end = random.below(bytes.len());
                let _ = other.send_bytes(&bytes[..end]);
            }
            // A connection may be closed while we still write.
            _ => {
                if other.send_bytes(&bytes).is_ok() && round % 8 != 0 {
                    answers(&mut other, &asked, last);
                }
            }
        }
        if round % 50 == 49 {
            bystander.works(&format!("round {round}"));
        }
    }
    good.were_served("garbled frames");
    bystander.works("garbled frames");
    bystander.printed_no_panic();
}

/// Each body cut off at every byte, in one connection after the other, before the handshake and behind it.
#[test]
fn pages_and_watches_cut_at_every_byte() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    let mut other = bystander.other();
    let page = |max: i32, czxid: i64, offset: i32| Body::new().text("/p").int(max).long(czxid).int(offset).byte(1).0;
    assert_eq!(other.call(1, 1, &create("/p", b"", 0)).unwrap().err, 0);
    for at in 0..10 {
        assert_eq!(other.call(1, 1, &create(&format!("/p/{at}"), b"", 0)).unwrap().err, 0);
    }
    let whole = page(3, 0, 0);
    for end in 0..whole.len() {
        assert_eq!(other.call(2, 71, &whole[..end]).unwrap().err, -5, "{end} bytes of a page");
        let mut fresh = Connection::open(addr).unwrap();
        let frame = Body::new().int(1).int(71).raw(&whole[..end]).0;
        fresh.send_frame(&frame).unwrap();
        // Taken for a ConnectRequest, and either too short for one, or one of a client that has seen too much.
        assert!(fresh.frame_or_end().unwrap().is_none_or(|answer| answer.len() == 37 || answer.len() == 36), "{end}");
    }
    for (max, czxid, offset) in [
        (0, 0, 0),
        (-1, 0, 0),
        (i32::MIN, 0, 0),
        (3, -1, 0),
        (3, i64::MIN, i32::MIN),
        (3, i64::MAX, i32::MAX),
        (3, 0, -1),
    ] {
        let reply = other.call(3, 71, &page(max, czxid, offset)).unwrap();
        assert!([0, -8].contains(&reply.err), "{reply:?}");
        assert!(reply.err == 0 || reply.body.is_empty());
    }
    assert_eq!(other.call(4, 71, &page(i32::MAX, 0, 0)).unwrap().err, 0);
    bystander.works("pages");
    bystander.printed_no_panic();
}

#[test]
fn hostile_ids_and_passwords() {
    let mut bystander = Bystander::new();
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 3);
    let victim = bystander.session;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..1500_usize {
        let password: Option<Vec<u8>> = match round % 6 {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![0; 16]),
            3 => Some((0..16).map(|_| random.next() as u8).collect()),
            4 => Some(vec![0xff; random.below(100)]),
            _ => Some(vec![7; 200_000]),
        };
        let session_id = match random.below(5) {
            0 => victim,
            1 => victim + random.below(20) as i64 - 10,
            2 => random.pick(&[-1, 1, i64::MAX, i64::MIN, 0xff << 56]),
            3 => random.next() as i64,
            _ => victim ^ (1 << random.below(64)),
        };
        let request = ConnectRequest {
            protocol_version: random.pick(&[0, 0, 1, -1, i32::MAX]),
            last_zxid_seen: random.pick(&[0, 0, 0, -1, i64::MIN]),
            timeout_ms: random.pick(&[30_000, 0, -1, i32::MIN, i32::MAX]),
            session_id,
            password,
            read_only: random.pick(&[None, Some(false), Some(true)]),
        };
        let mut other = Connection::open(addr).unwrap();
        let mut bytes = Body::new().buffer(Some(&request.encode())).0;
        // Something behind it, which must not be done.
        bytes.extend(Body::new().buffer(Some(&Body::new().int(1).int(2).raw(&path_version("/bystander", -1)).0)).0);
        other.send_bytes(&bytes).unwrap();
        let answer = other.frame_or_end();
        if session_id != 0
            && let Ok(Some(frame)) = &answer
        {
            assert_eq!(frame[4..16], [0; 12], "session {session_id:x} was given away: {frame:02x?}");
            assert!(!matches!(other.frame_or_end(), Ok(Some(_))), "something was answered behind a refusal");
        }
        if round % 100 == 99 {
            bystander.works(&format!("round {round}"));
        }
    }
    good.were_served("hostile ids");
    bystander.works("hostile ids");
    bystander.printed_no_panic();
}
