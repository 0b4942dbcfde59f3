//! `jute.maxbuffer`: what is one byte too long, and that nothing is logged that can't be read again.

use ostler_conformance::raw::Connection;
use ostler_conformance::script::{Body, OPEN, create, create_acl, multi, path_version, set, set_acl, watch};
use ostler_conformance::{Options, Server, ostler};

use super::{Both, same};

const MAX: usize = 5000;

/// A request whose frame is `length` bytes long: the filling goes where the opcode has room for it.
fn sized(op: i32, name: &str, length: usize) -> Vec<u8> {
    let body = |fill: &str| -> Vec<u8> {
        let bytes = fill.as_bytes();
        match op {
            1 | 15 | 19 => create(&format!("/{name}"), bytes, 0),
            21 => Body::new().raw(&create(&format!("/{name}"), bytes, 5)).long(1_000_000).0,
            5 => set("/set", Some(bytes), -1),
            7 => set_acl("/acl", &[(31, "world", "anyone"), (31, "digest", &format!("{name}:{fill}"))], -1),
            2 => path_version(&format!("/{fill}"), -1),
            14 => multi(&[(1, create(&format!("/{name}"), bytes, 0)), (5, set("/set", Some(b"x"), -1))]),
            // An ephemeral with a long name: its session's end names it too.
            _ => create_acl(&format!("/{name}{fill}"), None, OPEN, 1),
        }
    };
    let empty = body("").len() + 8;
    body(&"f".repeat(length - empty))
}

#[test]
fn the_longest_request_and_one_byte_more() {
    let flag = format!("jute.maxbuffer={MAX}");
    let mut both = Both::start(&["extendedTypesEnabled=true"], &[&flag]);
    let ops = [1, 15, 19, 21, 5, 7, 2, 14, 1001];
    let answers = same(both.each(|server| {
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        for path in ["/set", "/acl"] {
            assert_eq!(client.call(1, 1, &create(path, b"", 0)).unwrap().err, 0);
        }
        let mut answers = Vec::new();
        for op in ops {
            for length in [MAX - 1, MAX, MAX + 1] {
                // Of each ephemeral, its own session.
                let (mut client, _) = Connection::session(server.addr()).unwrap();
                let name = format!("n{op}-{length}");
                let code = if op == 1001 { 1 } else { op };
                // Whoever is closed while it writes may hear of it at either.
                let answer = client.call(1, code, &sized(op, &name, length)).map(|reply| reply.err);
                answers.push((op, length, answer.ok()));
            }
        }
        answers
    }));
    for (op, length, answer) in &answers {
        let fine = if *op == 2 { Some(-101) } else { Some(0) };
        assert_eq!(*answer, if *length > MAX { None } else { fine }, "op {op}, {length} bytes");
    }
    // Killed, so that all of it comes from the log.
    both.ostler.kill().unwrap();
    let options = Options::new(both.ostler.dir()).cfg("extendedTypesEnabled=true").cfg(&flag);
    let server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for op in [1, 15, 19, 21, 14] {
        for length in [MAX - 1, MAX] {
            let reply = client.call(1, 3, &watch(&format!("/n{op}-{length}"), false)).unwrap();
            assert_eq!(reply.err, 0, "op {op}, {length} bytes");
        }
    }
}

/// Data as long as a frame may be can be set, but then no reply holds more than that: clients with the same limit read it.
#[test]
fn a_server_with_a_smaller_limit_reads_what_a_larger_one_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&Options::new(dir.path()).cfg("jute.maxbuffer=20000")).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    assert_eq!(client.call(1, 1, &create("/long", &vec![7; 9000], 0)).unwrap().err, 0);
    server.kill().unwrap();
    // Twice the frame is what a record may be.
    let server = ostler::Server::start(&Options::new(dir.path()).cfg("jute.maxbuffer=5000")).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    assert_eq!(client.call(1, 4, &watch("/long", false)).unwrap().err, 0);
}
