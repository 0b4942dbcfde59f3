//! What no client should do, and what no operator means to do: after each of it the server lives, and the session of
//! another client works; or the server says in its last line why it does not start.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test tells what it measured, and what a server said that did not do well")]

mod crowds;
mod frames;
mod good;
mod hostile;
mod multitude;
mod renewals;
mod slow;
mod starts;

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, set, watch};
use ostler_conformance::{Options, Server, ostler};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A server, and a client whose session must work whatever the others do.
struct Bystander {
    server: ostler::Server,
    client: Connection,
    session: i64,
    sets: i32,
    _dir: tempfile::TempDir,
}

impl Bystander {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        Self::with(dir, &options)
    }

    fn with(dir: tempfile::TempDir, options: &Options) -> Self {
        let server = ostler::Server::start(options).unwrap();
        // As long as the server grants: nobody pings for it while a crowd gathers.
        let request = ConnectRequest { timeout_ms: i32::MAX, ..ConnectRequest::default() };
        let (mut client, granted) = Connection::connect(server.addr(), &request).unwrap();
        assert_eq!(client.call(1, 1, &create("/bystander", b"", 1)).unwrap().err, 0);
        Self { server, client, session: granted.session_id, sets: 0, _dir: dir }
    }

    /// Nothing in what the server printed tells of a mistake of its own.
    fn printed_no_panic(&self) {
        let log = std::fs::read_to_string(self.server.log()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// A client that will misbehave.
    fn other(&self) -> Connection {
        Connection::session(self.server.addr()).unwrap().0
    }

    /// The server lives, this session works, and nothing that was done to the server is to be seen in it.
    fn works(&mut self, after: &str) {
        assert!(self.server.process_mut().exited().unwrap().is_none(), "the server ended after {after}");
        let reply = self.client.call(2, 5, &set("/bystander", Some(after.as_bytes()), self.sets)).unwrap();
        assert_eq!(reply.err, 0, "after {after}");
        self.sets += 1;
        let reply = self.client.call(3, 4, &watch("/bystander", false)).unwrap();
        assert_eq!(&reply.body[4..4 + after.len()], after.as_bytes());
        assert_eq!(&reply.body[4 + after.len() + 44..][..8], &self.session.to_be_bytes(), "the owner");
        let _ = self.other();
    }

    /// The server's resident memory in bytes.
    fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that it ever was.
    fn peak(&self) -> usize {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).expect("a process has a size");
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.server.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the server's last lines:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Room for so many open files, here and in the servers that are started from now on.
fn room_for_files(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    assert!(limit.maximum.is_none_or(|max| max > files), "this machine allows fewer than {files} open files");
}

/// Room for `wanted` open files beside `others`, or, where this machine allows fewer, for how many of them.
fn room_for_some_files(wanted: usize, others: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let allowed = limit.maximum.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let room = wanted.min(allowed.saturating_sub(others));
    if room < wanted {
        eprintln!("this machine allows {allowed} open files: {room} connections instead of {wanted}");
    }
    room
}
