//! The tools themselves, against Apache alone: what they say of it must hold together.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ostler_conformance::{Options, Server, apache, four_letter, java, raw};

/// Lets `super:secret` see everything.
const SUPER: &str = "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

#[test]
fn a_dump_of_the_directory_equals_what_clients_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = apache::Server::start(&Options::new(dir.path()).cfg(SUPER)).unwrap();
    let lines = java::workload(server.addr(), 7, 400).unwrap();
    assert!(lines.lines().count() >= 400, "a line per operation: {lines}");
    // A session that is still open, so that the sessions in the dump are not empty.
    let (_open, granted) = raw::Connection::session(server.addr()).unwrap();
    let seen = java::dump_server(server.addr(), Some(("digest", "super:secret"))).unwrap();
    server.stop().unwrap();
    let stored = java::dump_dir(&server.data_dir()).unwrap();

    let znodes: String = stored.lines().filter(|it| it.starts_with("znode ")).flat_map(|it| [it, "\n"]).collect();
    assert_eq!(znodes, seen);
    assert!(stored.contains(&format!("session 0x{:x} timeout=30000", granted.session_id)), "{stored}");
    assert!(stored.contains("\nlastProcessedZxid 0x") && stored.contains("\ndigest 0x"), "{stored}");
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let answers = [1, 2].map(|_| {
        let dir = tempfile::tempdir().unwrap();
        let server = apache::Server::start(&Options::new(dir.path())).unwrap();
        assert!(four_letter::ask(server.addr(), "srvr").unwrap().contains("Mode: standalone"));
        java::workload(server.addr(), 42, 300).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
}
