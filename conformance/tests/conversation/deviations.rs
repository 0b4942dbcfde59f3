//! Where Ostler answers otherwise than Apache, on purpose. Each case holds what both do, so that neither changes unseen.

use ostler_conformance::script::{Body, create, create_acl, multi, path_version, set, set_acl, watch};
use ostler_conformance::{Options, Server, apache, ostler, raw};

fn both(check: impl Fn(&str, raw::Connection)) {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let apache = apache::Server::start(&Options::new(dirs[0].path())).unwrap();
    let ostler = ostler::Server::start(&Options::new(dirs[1].path())).unwrap();
    check("apache", raw::Connection::session(apache.addr()).unwrap().0);
    check("ostler", raw::Connection::session(ostler.addr()).unwrap().0);
}

/// A write that can't be read is answered -5. Apache logs an error txn under a zxid that is in use already; ours gets a
/// zxid of its own: two txns with one zxid are what recovery and learners must never meet.
#[test]
fn a_write_that_cannot_be_read_gets_a_zxid_of_its_own() {
    both(|name, mut client| {
        let first = client.call(1, 1, &create("/a", b"", 0)).unwrap();
        let broken = client.call(2, 5, &set("/a", Some(b"x"), 0)[..5]).unwrap();
        let next = client.call(3, 5, &set("/a", Some(b"x"), 0)).unwrap();
        assert_eq!((first.err, broken.err, next.err), (0, -5, 0), "{name}");
        let of_its_own = i64::from(name == "ostler");
        assert_eq!(broken.zxid, first.zxid + of_its_own, "{name}");
        assert_eq!(next.zxid, broken.zxid + 1, "{name}");
    });
}

/// Who asks for a session with a wrong password gets none, and the connection that has it lives on. Apache closes that one before
/// it looks at the password, so that whoever guesses an id cuts a client off.
#[test]
fn a_wrong_password_closes_nobody_elses_connection() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let apache = apache::Server::start(&Options::new(dirs[0].path())).unwrap();
    let ostler = ostler::Server::start(&Options::new(dirs[1].path())).unwrap();
    for (name, addr) in [("apache", apache.addr()), ("ostler", ostler.addr())] {
        let (mut client, session) = raw::Connection::session(addr).unwrap();
        let wrong = raw::ConnectRequest {
            session_id: session.session_id,
            password: Some(vec![3; 16]),
            ..raw::ConnectRequest::default()
        };
        let (_other, refused) = raw::Connection::connect(addr, &wrong).unwrap();
        assert_eq!((refused.session_id, refused.timeout_ms), (0, 0), "{name}");
        if name == "ostler" {
            assert_eq!(client.call(1, 3, &watch("/", false)).unwrap().err, 0);
        } else {
            client.expect_closed().unwrap();
        }
    }
}

/// createTTL with the flags of an ordinary znode and a negative TTL passes Apache's checks, and the txn then ends the
/// thread that applies it: the server hangs. Ostler refuses it.
#[test]
fn create_ttl_without_a_ttl_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let (mut client, _) = raw::Connection::session(server.addr()).unwrap();
    let body = Body::new().raw(&create("/ttl", b"", 0)).long(-1).0;
    assert_eq!(client.call(1, 21, &body).unwrap().err, -8);
    assert_eq!(client.call(2, 3, &watch("/ttl", false)).unwrap().err, -101);
}

/// Apache answers a request behind a closeSession with -112, or not at all, as its threads happen to run. Ostler never
/// looks at it.
#[test]
fn requests_behind_close_session_are_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    for _ in 0..20 {
        let (mut client, _) = raw::Connection::session(server.addr()).unwrap();
        let frame =
            |xid: i32, op: i32, body: &[u8]| Body::new().buffer(Some(&Body::new().int(xid).int(op).raw(body).0)).0;
        let bytes = [frame(1, -11, &[]), frame(2, 3, &watch("/", false)), frame(3, 1, &create("/late", b"", 0))];
        client.send_bytes(&bytes.concat()).unwrap();
        assert_eq!(client.read().unwrap().xid, 1);
        client.expect_closed().unwrap();
    }
    let (mut client, _) = raw::Connection::session(server.addr()).unwrap();
    assert_eq!(client.call(1, 3, &watch("/late", false)).unwrap().err, -101);
}

/// What is pipelined behind a setACL meets the new ACL. Apache checks it against the old one until the setACL is applied.
#[test]
fn what_is_behind_a_set_acl_meets_the_new_list() {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let (mut client, _) = raw::Connection::session(server.addr()).unwrap();
    assert_eq!(client.call(1, 1, &create("/p", b"", 0)).unwrap().err, 0);
    assert_eq!(client.call(2, 1, &create("/p/c", b"", 0)).unwrap().err, 0);
    client.send(3, 7, &set_acl("/p", &[(1, "world", "anyone")], -1)).unwrap();
    client.send(4, 2, &path_version("/p/c", -1)).unwrap();
    client.send(5, 1, &create("/p/d", b"", 0)).unwrap();
    client.send(6, 5, &set("/p", Some(b"x"), -1)).unwrap();
    let errors: Vec<i32> = (0..4).map(|_| client.read().unwrap().err).collect();
    assert_eq!(errors, [0, -102, -102, -102]);
}

/// createSession as a request of a client: Apache passes it on, as it does for learners, and answers -5 at best. To Ostler
/// it is an opcode that no client may use.
#[test]
fn create_session_is_no_request_of_a_client() {
    both(|name, mut client| {
        let reply = client.call(1, -10, &[]).unwrap();
        assert_eq!(reply.err, if name == "ostler" { -6 } else { -5 }, "{name}");
    });
}

/// An ACL with a null id: -114 like any other id that its scheme does not know. In Apache the scheme's own code fails on
/// it, which makes -5.
#[test]
fn a_null_id_is_no_id_of_its_scheme() {
    both(|name, mut client| {
        for (xid, scheme) in [(1, "world"), (2, "digest"), (3, "ip")] {
            let body = Body::new().text("/null-id").buffer(None).int(1).int(31).text(scheme).int(-1).int(0).0;
            let expected = if name == "ostler" { -114 } else { -5 };
            assert_eq!(client.call(xid, 1, &body).unwrap().err, expected, "{name}, {scheme}");
        }
        assert_eq!(client.call(4, 3, &watch("/null-id", false)).unwrap().err, -101, "{name}");
    });
}

/// A character beyond U+FFFF is sent as UTF-8, in four bytes. Java writes it as two surrogates of three bytes each, which
/// Java itself reads back as something else.
#[test]
fn characters_of_four_bytes_are_sent_as_they_came() {
    both(|name, mut client| {
        let asked = Body::new().text("/\u{1f600}").0;
        let reply = client.call(1, 9, &asked).unwrap();
        let as_java = Body::new().buffer(Some(b"/\xed\xa0\xbd\xed\xb8\x80")).0;
        assert_eq!(reply.body, if name == "ostler" { asked } else { as_java }, "{name}");
    });
}

/// A null path can't be watched: -5, as for every other request about a path. Apache keeps such a watch, which nothing can
/// fire.
#[test]
fn a_null_path_is_not_watched() {
    both(|name, mut client| {
        let expected = if name == "ostler" { -5 } else { 0 };
        assert_eq!(client.call(1, 106, &Body::new().int(-1).int(0).0).unwrap().err, expected, "{name}");
    });
}

/// A null path in a list of setWatches makes the whole of it -5, and nothing else happens. Apache has told the events and
/// set the watches of the entries before it by then, and the client, which is told of a failure, has half of what it asked
/// for.
#[test]
fn a_set_watches_that_fails_does_nothing() {
    both(|name, mut client| {
        assert_eq!(client.call(1, 1, &create("/w", b"", 0)).unwrap().err, 0);
        // /none was deleted, /w is watched, and then comes the null path.
        let lists = Body::new().long(i64::MAX).int(3).text("/none").text("/w").int(-1).int(0).int(0);
        client.send(2, 101, &lists.0).unwrap();
        if name == "apache" {
            assert_eq!(client.read().unwrap().xid, -1);
        }
        let reply = client.read().unwrap();
        assert_eq!((reply.xid, reply.err), (2, -5), "{name}");
        client.send(3, 5, &set("/w", None, -1)).unwrap();
        if name == "apache" {
            assert_eq!(client.read().unwrap().xid, -1, "the watch that was set");
        }
        assert_eq!(client.read().unwrap().xid, 3, "{name}");
    });
}

/// getACL hides the hash in a digest id from who may not see it. Apache's pattern hides it up to the end of a line only; a
/// hash has none, but an id that a client sends may.
#[test]
fn all_of_a_hash_is_hidden() {
    both(|name, mut client| {
        let lines = [(31, "digest", "user:two\nlines"), (1, "world", "anyone")];
        assert_eq!(client.call(1, 1, &create_acl("/two", None, &lines, 0)).unwrap().err, 0);
        let reply = client.call(2, 6, &Body::new().text("/two").0).unwrap();
        let shown = if name == "ostler" { "user:x" } else { "user:x\nlines" };
        let expected = Body::new().int(2).int(31).text("digest").text(shown).0;
        assert_eq!(reply.body[..expected.len()], expected, "{name}");
    });
}

/// A null path in a multiRead makes the whole of it -5. Apache sends what it had read by then behind the error, and the
/// end of a list; clients look at neither.
#[test]
fn an_error_has_no_body() {
    both(|name, mut client| {
        let body = multi(&[(4, watch("/", false)), (4, Body::new().int(-1).byte(0).0)]);
        let reply = client.call(1, 22, &body).unwrap();
        assert_eq!((reply.err, reply.body.is_empty()), (-5, name == "ostler"), "{name}");
    });
}

/// getChildrenPaginated is unknown to Apache, which answers so and closes the connection. Ostler answers with a page, as
/// LinkedIn's fork does.
#[test]
fn children_come_in_pages() {
    both(|name, mut client| {
        for path in ["/p", "/p/b", "/p/a"] {
            assert_eq!(client.call(1, 1, &create(path, b"", 0)).unwrap().err, 0, "{name}");
        }
        let page = |czxid_min: i64| Body::new().text("/p").int(1).long(czxid_min).int(0).byte(1).0;
        let first = client.call(2, 71, &page(0)).unwrap();
        if name == "apache" {
            assert_eq!((first.zxid, first.err, first.body.len()), (-1, -6, 0));
            client.expect_closed().unwrap();
            return;
        }
        let next = first.zxid;
        let names = Body::new().int(1).text("b").0;
        assert_eq!((first.xid, first.err), (2, 0));
        assert_eq!(first.body[..names.len()], names);
        assert_eq!(first.body[names.len() + 68..], Body::new().long(next).int(0).0);
        // No watch: it was not the last page.
        assert_eq!(client.call(3, 2, &path_version("/p/b", -1)).unwrap().err, 0);
        let last = client.call(4, 71, &page(next)).unwrap();
        assert_eq!(last.body[..names.len()], Body::new().int(1).text("a").0);
        assert_eq!(last.body[names.len() + 68..], Body::new().long(-1).int(-1).0);
        client.send(5, 2, &path_version("/p/a", -1)).unwrap();
        assert_eq!([(); 2].map(|()| client.read().unwrap().xid), [-1, 5], "the last page's watch");
    });
}

/// Limits for the root: Apache's connection ends without an answer, since its `PathTrie` takes no empty path when the txn
/// is applied. To Ostler they are a znode like any other.
#[test]
fn limits_for_the_root_are_a_znode_like_any_other() {
    both(|name, mut client| {
        let limits = client.call(1, 1, &create("/zookeeper/quota/zookeeper_limits", b"count=1,bytes=1", 0));
        if name == "apache" {
            assert!(limits.is_err(), "{limits:?}");
            return;
        }
        assert_eq!(limits.unwrap().err, 0);
        for xid in 2..5 {
            assert_eq!(client.call(xid, 1, &create(&format!("/{xid}"), b"xyz", 0)).unwrap().err, 0);
        }
        assert_eq!(client.call(5, 2, &path_version("/zookeeper/quota/zookeeper_limits", -1)).unwrap().err, 0);
    });
}
