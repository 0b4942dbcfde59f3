//! Servers that go and come back, sessions that end meanwhile, and nobody at all.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use ostler_conformance::{Options, Server, ostler};
use rustix::process::Signal;

use crate::both::{shell, with_input};
use crate::pty::Terminal;

/// Short sessions can be asked for.
fn start(dir: &Path, port: Option<u16>) -> ostler::Server {
    let mut options = Options::new(dir).cfg("tickTime=100").cfg("maxSessionTimeout=60000");
    options.port = port;
    ostler::Server::start(&options).unwrap()
}

fn one(addr: SocketAddr, words: &[&str]) -> String {
    let output = shell(addr).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A port where nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_server_that_starts_again_has_the_session_still() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path(), None);
    let addr = server.addr();
    let mut terminal = Terminal::start(addr, 100, dir.path());
    terminal.expect_state("CONNECTED", 0);
    terminal.send("create -e /mine x\r");
    terminal.expect("Created /mine");
    terminal.expect_prompt(1);
    terminal.send("addWatch /mine\r");
    terminal.expect_prompt(2);
    server.kill().unwrap();
    terminal.expect("WatchedEvent state:Disconnected type:None path:null");
    // A command waits for the connection, and can be given up.
    terminal.begin("get /mine");
    terminal.interrupt_command("Interrupted");
    terminal.expect_state("CONNECTING", 3);
    terminal.send("half of ");
    terminal.expect("half of ");
    let server = start(dir.path(), Some(addr.port()));
    terminal.expect("WatchedEvent state:SyncConnected type:None path:null");
    // The line is there again; it does not matter what is on it.
    terminal.expect("half of ");
    terminal.send("\x03");
    terminal.expect_state("CONNECTED", 3);
    // Who has ephemerals is the session of before, and its watch is there too.
    terminal.send("set /mine y\r");
    terminal.expect("WatchedEvent state:SyncConnected type:NodeDataChanged path:/mine");
    terminal.expect_prompt(4);
    terminal.send("getEphemerals /\r");
    terminal.expect("[/mine]");
    terminal.expect_prompt(5);
    assert_eq!(one(server.addr(), &["get", "/mine"]), "y");
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
    assert_eq!(one(server.addr(), &["ls", "/"]), "[zookeeper]");
}

/// A lid that is closed for longer than the session lasts.
#[test]
fn a_session_that_expired_meanwhile_is_replaced_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), None);
    let mut terminal = Terminal::start_with(server.addr(), &["--timeout", "1000"], 100, dir.path());
    terminal.expect_prompt(0);
    terminal.send("create -e /mine x\r");
    terminal.expect("Created /mine");
    terminal.expect_prompt(1);
    terminal.send("get -w /mine\r");
    terminal.expect_prompt(2);
    terminal.signal(Signal::STOP);
    crate::pty::until(|| one(server.addr(), &["ls", "/"]) == "[zookeeper]");
    terminal.signal(Signal::CONT);
    terminal.expect("WatchedEvent state:Expired type:None path:null");
    terminal.send("\r");
    terminal.expect_state("CLOSED", 2);
    terminal.send("ls /\r");
    terminal.expect("the session had expired; a new one is opened, without the ephemerals and watches of the old one");
    terminal.expect("[zookeeper]");
    terminal.expect_state("CONNECTED", 3);
    terminal.send("create -e /mine again\r");
    terminal.expect("Created /mine");
    terminal.expect_prompt(4);
    terminal.send("\x04");
    assert_eq!(terminal.end().code(), Some(0));
    assert_eq!(one(server.addr(), &["ls", "/"]), "[zookeeper]");
}

/// The server stays away: the client gives the session up, and whoever asks next is told why nobody answers.
#[test]
fn a_server_that_stays_away_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path(), None);
    let addr = server.addr();
    let mut terminal = Terminal::start_with(addr, &["--timeout", "1000"], 100, dir.path());
    terminal.expect_state("CONNECTED", 0);
    server.kill().unwrap();
    terminal.expect("WatchedEvent state:Disconnected type:None path:null");
    terminal.expect("WatchedEvent state:Expired type:None path:null");
    terminal.send("ls /\r");
    terminal.expect("the session had expired");
    terminal.expect("KeeperErrorCode = ConnectionLoss for /");
    terminal.expect(&format!("{addr}: connection refused"));
    terminal.expect_state("CONNECTING", 1);
    let _server = start(dir.path(), Some(addr.port()));
    terminal.expect("WatchedEvent state:SyncConnected type:None path:null");
    terminal.send("ls /\r");
    terminal.expect("[zookeeper]");
    terminal.expect_state("CONNECTED", 2);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
}

/// In a script a session that is over stays over: what follows may build on its ephemerals.
#[test]
fn a_script_whose_session_expired_goes_on_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), None);
    let mut command = shell(server.addr());
    command.args(["--timeout", "1000", "--json"]).stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    std::io::Write::write_all(&mut input, b"create -e /mine x\n").unwrap();
    crate::pty::until(|| one(server.addr(), &["ls", "/"]) == "[mine, zookeeper]");
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    crate::pty::until(|| one(server.addr(), &["ls", "/"]) == "[zookeeper]");
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut line = || lines.next().map_or_else(String::new, Result::unwrap);
    while !line().contains("Expired") {}
    std::io::Write::write_all(&mut input, b"create /after x\n").unwrap();
    drop(input);
    let told = line();
    assert!(told.contains(r#""code":"NotConnected""#) && told.contains("the session has expired"), "{told}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(one(server.addr(), &["ls", "/"]), "[zookeeper]");
}

#[test]
fn nobody_at_the_prompt_then_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let addr = nobody();
    let mut terminal = Terminal::start(addr, 100, dir.path());
    terminal.expect_state("CONNECTING", 0);
    terminal.send("ls /\r");
    terminal.expect("KeeperErrorCode = ConnectionLoss for /");
    terminal.expect(&format!("{addr}: connection refused"));
    terminal.expect_prompt(1);
    terminal.send("help\r");
    terminal.expect("setquota");
    terminal.expect_prompt(2);
    let _server = start(dir.path(), Some(addr.port()));
    terminal.expect("WatchedEvent state:SyncConnected type:None path:null");
    terminal.send("ls /\r");
    terminal.expect("[zookeeper]");
    terminal.expect_state("CONNECTED", 3);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));

    let output = with_input(shell(nobody()), "ls /\ncreate /x y\n");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("ConnectionLoss for /\n") && err.contains("ConnectionLoss for /x\n"), "{err}");
    let mut command = shell(nobody());
    command.args(["--timeout", "500", "--wait-for-connection", "ls", "/"]);
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("KeeperErrorCode = ConnectionLoss\n") && err.contains("connection refused"), "{err}");
}
