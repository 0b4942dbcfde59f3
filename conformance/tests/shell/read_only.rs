//! A server that is cut off from its ensemble and only reads: Apache's, one of three.

use std::net::SocketAddr;

use ostler_conformance::{Options, Ready, Server, apache, four_letter, ports};

use crate::both::{PROGRAMS, assert_same, shell};
use crate::pty::{Terminal, until};

/// Two ports for each of three members; only the first of them runs.
fn alone(dir: &std::path::Path, local_sessions: bool) -> apache::Server {
    let ports: Vec<u16> = (0..6).map(|_| ports::free_port().unwrap()).collect();
    let mut options = Options::new(dir).jvm("-Dreadonlymode.enabled=true").cfg("tickTime=500");
    options = options.cfg(format!("localSessionsEnabled={local_sessions}"));
    options.my_id = Some(1);
    options.ready = Ready::Answering;
    for (id, ports) in ports.chunks(2).enumerate() {
        options = options.cfg(format!("server.{}=127.0.0.1:{}:{}", id + 1, ports[0], ports[1]));
    }
    let server = apache::Server::start(&options).unwrap();
    until(|| four_letter::ask(server.addr(), "isro").is_ok_and(|it| it == "ro"));
    server
}

fn run(addr: SocketAddr, words: &[&str]) -> (String, String, Option<i32>) {
    let output = shell(addr).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn a_server_that_only_reads() {
    let dir = tempfile::tempdir().unwrap();
    let server = alone(dir.path(), true);
    let addr = server.addr();
    // Whoever does not ask for it has no session there.
    let (out, err, code) = run(addr, &["--timeout", "2000", "ls", "/"]);
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    assert!(err.starts_with("KeeperErrorCode = ConnectionLoss for /\n"), "{err}");
    assert!(err.contains("only reads; `-r` makes do with it"), "{err}");

    assert_eq!(run(addr, &["-r", "ls", "/"]), ("[zookeeper]\n".to_owned(), String::new(), Some(0)));
    let json = run(addr, &["-r", "--json", "create", "/x"]);
    assert!(json.0.contains(r#""code":"NotReadOnly""#) && json.0.contains(r#""number":-119"#), "{json:?}");
    for words in [
        &["-r", "ls", "/"][..],
        &["-r", "get", "/zookeeper"],
        &["-r", "create", "/x", "y"],
        &["-r", "create", "-e", "/x", "y"],
        &["-r", "set", "/", "y"],
        &["-r", "delete", "/x"],
        &["-r", "setAcl", "/", "world:anyone:r"],
        &["-r", "getAcl", "/"],
    ] {
        let [apache, ostler] = PROGRAMS.map(|it| it.one_shot(addr, words));
        assert_same(&format!("{words:?}: standard output"), &apache.out, &ostler.out);
        assert_same(&format!("{words:?}: standard error"), &apache.err, &ostler.err);
        assert_eq!(apache.code, ostler.code, "{words:?}");
    }

    // zkCli says it on standard output, with exit code 0.
    let (_, err, code) = run(addr, &["-r", "sync", "/"]);
    assert_eq!((err.as_str(), code), ("Sync has failed. rc=-119\n", Some(1)));

    let mut terminal = Terminal::start_with(addr, &["-r"], 100, dir.path());
    terminal.expect_state("CONNECTEDREADONLY", 0);
    terminal.send("create /x y\r");
    terminal.expect("Not a read-only call: /x");
    terminal.expect("this server is cut off from its ensemble and only reads; connect to another one to write");
    terminal.expect_state("CONNECTEDREADONLY", 1);
    terminal.send("ls /\r");
    terminal.expect("[zookeeper]");
    terminal.expect_prompt(2);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_server_that_only_reads_and_opens_no_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let server = alone(dir.path(), false);
    let (_, err, code) = run(server.addr(), &["-r", "ls", "/"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("KeeperErrorCode = ConnectionLoss for /\n"), "{err}");
    assert!(err.contains("only with localSessionsEnabled=true it can"), "{err}");
}
