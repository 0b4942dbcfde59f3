//! `ostler demo`: an ensemble in one command, a leader that is killed, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ostler_conformance::ostler::binary;
use ostler_conformance::raw;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// How long until the next event, or the end.
const LIMIT: Duration = Duration::from_mins(1);

struct Demo {
    child: Child,
    lines: mpsc::Receiver<Value>,
    dir: PathBuf,
    /// By number; 0 is nobody.
    pids: Vec<Option<Pid>>,
    clients: Vec<Option<SocketAddr>>,
    states: Vec<String>,
}

fn pid_of(value: &Value) -> Pid {
    Pid::from_raw(value["pid"].as_i64().unwrap() as i32).unwrap()
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(binary().unwrap())
            .args(["demo", "--json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let out: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let _ = send.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let (pids, clients, states) = (vec![None; 20], vec![None; 20], vec![String::new(); 20]);
        let mut demo = Self { child, lines, dir: PathBuf::new(), pids, clients, states };
        let began = demo.until("began");
        demo.dir = began["dir"].as_str().unwrap().into();
        demo
    }

    fn next(&mut self) -> Value {
        let event = self.lines.recv_timeout(LIMIT).expect("the demo goes on");
        let id = event["id"].as_u64().unwrap_or_default() as usize;
        match event["event"].as_str().unwrap() {
            "started" => {
                self.pids[id] = Some(pid_of(&event));
                self.clients[id] = Some(event["client"].as_str().unwrap().parse().unwrap());
            }
            "state" => event["state"].as_str().unwrap().clone_into(&mut self.states[id]),
            "ended" => "down".clone_into(&mut self.states[id]),
            _ => {}
        }
        event
    }

    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next();
            if event["event"] == kind {
                return event;
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.pids.iter().flatten().all(|&pid| test_kill_process(pid).is_err())
    }

    fn interrupt(&self) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::INT).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its servers go with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back_and_nothing_is_left() {
    let mut demo =
        Demo::start(&["--servers", "3", "--observers", "1", "--restart-after", "0", "--cfg", "tickTime=500"]);
    let dir = demo.dir.clone();
    assert!(dir.join("4/zoo.cfg").is_file());
    demo.until("ready");
    let first = demo.until("leads");
    assert_eq!(demo.states[4], "observer");
    assert!(raw::is_serving(demo.clients[4].unwrap()));

    let id = first["id"].as_u64().unwrap() as usize;
    kill_process(pid_of(&first), Signal::KILL).unwrap();
    let ended = demo.until("ended");
    assert_eq!(ended["id"], first["id"], "{ended}");
    let again = demo.until("started");
    assert_eq!(again["id"], first["id"]);
    let second = demo.until("leads");
    assert_ne!(pid_of(&second), pid_of(&first));
    while !["leader", "follower"].contains(&demo.states[id].as_str()) {
        demo.next();
    }

    demo.interrupt();
    let stopped = demo.until("stopped");
    assert_eq!(stopped["dir"], Value::Null, "{stopped}");
    assert!(demo.child.wait().unwrap().success());
    assert!(!dir.exists(), "{} is left", dir.display());
    assert!(demo.is_gone());
}

#[test]
fn servers_end_with_a_demo_that_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("demo");
    let mut demo = Demo::start(&["--servers", "3", "--dir", dir.to_str().unwrap()]);
    demo.until("ready");
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    let until = std::time::Instant::now() + LIMIT;
    while !demo.is_gone() {
        assert!(std::time::Instant::now() < until, "servers outlive the demo");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(dir.join("1/server.log").is_file());

    // A directory that is there is somebody's.
    let done = Command::new(binary().unwrap()).args(["demo", "--dir", dir.to_str().unwrap()]).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(dir.join("1/server.log").is_file());
}

#[test]
fn the_server_that_is_prepared_becomes_a_member() {
    let mut demo = Demo::start(&["--servers", "3", "--cfg", "tickTime=500"]);
    let ready = demo.until("ready");
    let more_cfg = ready["more_cfg"].as_str().unwrap();
    let mut more = Command::new(binary().unwrap())
        .args(["server", "--until-stdin-ends", more_cfg])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let add = ready["more"].as_str().unwrap();
    let args = ["grow", ready["cfg"].as_str().unwrap(), "--auth", "digest:super:demo", "--add", add];
    let done = Command::new(binary().unwrap()).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("all is done: 4 participants, 3 make a quorum, 1 may fail"), "{told}");
    drop(more.stdin.take());
    more.wait().unwrap();
    demo.interrupt();
    demo.until("stopped");
    assert!(!demo.dir.exists());
}
