//! `ostler status`, `ostler check` and `ostler grow` beside ensembles of Apache's, and of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter::ask;
use ostler_conformance::ostler::binary;
use serde_json::Value;

fn ostler(args: &[&str]) -> Output {
    Command::new(binary().unwrap()).args(args).output().unwrap()
}

fn status(of: &Path) -> (i32, Value) {
    let done = ostler(&["status", "--json", of.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&done.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{:?}", done.stderr));
    (done.status.code().unwrap(), value)
}

fn states(status: &Value) -> Vec<&str> {
    let mut states: Vec<&str> =
        status["members"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    states
}

#[test]
fn an_ensemble_of_apaches_is_seen_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap();
    for id in 1..=3 {
        ensemble.start(id).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let lines: Vec<String> = ensemble
        .lines(1)
        .iter()
        .zip(ensemble.members())
        .map(|(line, member)| format!("{line};{}\n", member.client))
        .collect();
    let file = dir.path().join("all.cfg");
    std::fs::write(&file, lines.concat()).unwrap();

    let (code, seen) = status(&file);
    assert_eq!(code, 0, "{seen}");
    assert_eq!(seen["healthy"], true, "{seen}");
    assert_eq!(states(&seen), ["follower", "follower", "leader"], "{seen}");
    let members = seen["members"].as_array().unwrap();
    assert!(members.iter().all(|it| it["version"] == "3.9.5"), "{seen}");
    assert_eq!(seen["alarms"].as_array().unwrap().len(), 0, "{seen}");
    let leader = members.iter().find(|it| it["state"] == "leader").unwrap()["id"].as_i64().unwrap();

    // Each of Apache's own files, with the directory of a server that runs.
    let files: Vec<String> =
        (1..=3).map(|id| dir.path().join(id.to_string()).join("zoo.cfg").display().to_string()).collect();
    let mut args = vec!["check"];
    args.extend(files.iter().map(String::as_str));
    let done = ostler(&args);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(told.contains("they agree on members"), "{told}");
    assert!(told.contains(&format!("server.{leader} leads: swap it last")), "{told}");
    assert_eq!(told.matches("may go: the others are a quorum without it").count(), 2, "{told}");

    let followers: Vec<u8> = (1..=3).filter(|&id| i64::from(id) != leader).collect();
    ensemble.kill(followers[0]).unwrap();
    let (code, seen) = status(&file);
    assert_eq!((code, &seen["healthy"]), (0, &Value::Bool(true)), "{seen}");
    assert_eq!(states(&seen), ["down", "follower", "leader"], "{seen}");
    let done = ostler(&args);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("server.{} may not go", followers[1])), "{told}");

    ensemble.kill(followers[1]).unwrap();
    let leads = || states(&status(&file).1).contains(&"leader");
    ensemble.until("the leader without followers steps down", || !leads()).unwrap();
    let (code, seen) = status(&file);
    assert_eq!((code, &seen["healthy"]), (1, &Value::Bool(false)), "{seen}");
}

#[test]
fn a_leader_that_takes_no_clients_is_a_leader() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("leaderServes=no");
        for id in 1..=3 {
            ensemble.start_as(id, kind).unwrap();
        }
        let client = |id: u8| ensemble.member(id).unwrap().client;
        let serves = |id: u8| ask(client(id), "isro").is_ok_and(|it| it == "rw");
        ensemble.until("the followers serve", || (1..=3).filter(|&id| serves(id)).count() == 2).unwrap();
        let leader = (1..=3).find(|&id| !serves(id)).unwrap();

        let hosts: Vec<String> = (1..=3).map(|id| client(id).to_string()).collect();
        let done = ostler(&["status", "--json", &hosts.join(",")]);
        let seen: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((done.status.code(), &seen["healthy"]), (Some(0), &Value::Bool(true)), "{kind:?}: {seen}");
        let state = &seen["members"][usize::from(leader) - 1]["state"];
        assert_eq!(state, "leader-without-clients", "{kind:?}: {seen}");

        let files: Vec<String> =
            (1..=3).map(|id| dir.path().join(id.to_string()).join("zoo.cfg").display().to_string()).collect();
        let done = ostler(&[&["check"], files.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(0), "{kind:?}: {told}");
        assert!(told.contains(&format!("server.{leader} leads: swap it last")), "{kind:?}: {told}");

        let add = "4=127.0.0.1:1:2;3";
        let done = ostler(&["grow", &hosts.join(","), "--dry-run", "--add", add]);
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{kind:?}: {told}{why}");
        assert!(told.contains(&format!("server.{leader}")), "{kind:?}: {told}");
    }
}

/// `ostler status --follow --json`, running.
struct Follow {
    child: Child,
    lines: Receiver<String>,
}

impl Follow {
    fn start(hosts: &str) -> Self {
        let mut command = Command::new(binary().unwrap());
        command.args(["status", "--follow", "--json", "--interval", "0.2", hosts]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// All that it tells until `is_last` says that this was the one.
    fn until(&self, what: &str, mut is_last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let limit = Instant::now() + Duration::from_mins(1);
        let mut all: Vec<Value> = Vec::new();
        loop {
            let line = self.lines.recv_timeout(limit.saturating_duration_since(Instant::now()));
            let Ok(line) = line else { panic!("it never told: {what}; but {all:#?}") };
            all.push(serde_json::from_str(&line).unwrap());
            if is_last(all.last().unwrap()) {
                return all;
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The votes of Apache's are seen where ours hear them.
#[test]
fn an_election_is_followed_vote_by_vote() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("tickTime=500");
    for (id, kind) in [(1, Kind::Apache), (2, Kind::Ostler), (3, Kind::Ostler)] {
        ensemble.start_as(id, kind).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let hosts: Vec<String> = ensemble.members().iter().map(|it| it.client.to_string()).collect();
    let follow = Follow::start(&hosts.join(","));
    follow.until("the ensemble is healthy", |it| it["healthy"] == true);
    let leader = (1..=3).find(|&id| ensemble.mode(id) == "leader").unwrap();
    ensemble.kill(leader).unwrap();

    // Ours that is left tells each vote of the other one, its own, and what came of it.
    let name = |id: u8| format!("server.{id}");
    let ours = if leader == 2 { 3 } else { 2 };
    let other = i64::from(6 - leader - ours);
    let tells = |it: &Value, what: &str| it["election"] == what && it["member"] == name(ours);
    let told = follow.until("another leader serves", |it| {
        it["healthy"] == true && it["members"][usize::from(leader) - 1]["state"] == "down"
    });
    let decided = told.iter().rposition(|it| tells(it, "decided")).unwrap_or_else(|| panic!("{told:#?}"));
    let in_round = |it: &&Value| it["round"] == told[decided]["round"];
    let heard =
        told.iter().filter(in_round).find(|it| tells(it, "heard") && it["from"] == other && it["state"] == "LOOKING");
    let heard = heard.unwrap_or_else(|| panic!("no vote of server.{other}: {told:#?}"));
    assert!(heard["vote"].is_i64() && heard["epoch"].is_i64() && heard["zxid"].is_string(), "{heard}");
    let own = told[..decided].iter().filter(in_round).any(|it| tells(it, "votes"));
    assert!(own, "{told:#?}");
    let (decided, healthy) = (&told[decided], told.last().unwrap());
    let members = healthy["members"].as_array().unwrap();
    let leads = members.iter().find(|it| it["state"] == "leader").unwrap();
    assert_eq!(decided["leader"], leads["id"], "{decided} and {healthy}");
    // It is what the word says.
    let text = ask(ensemble.member(ours).unwrap().client, "elec").unwrap();
    assert!(text.contains(&format!("heard from={other} state=LOOKING leader=")), "{text}");
}
