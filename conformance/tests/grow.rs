//! `ostler grow`: from three members to five in one command, and back; and the order by hand where reconfigs are off.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::history::{Clients, Left, check, check_left};
use ostler_conformance::ostler::binary;
use ostler_conformance::raw::{self, Connection};
use ostler_conformance::script::{create, watch};
use serde_json::Value;

/// `super:secret`, as the members have it. Source: `DigestAuthenticationProvider.generateDigest`.
const SUPER: &str = "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// A command that is under way.
struct Grow {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Grow {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(binary().unwrap())
            .args(["grow", "--json"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next thing that it tells; it ends by its own time limits.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        (self.out.read_line(&mut line).unwrap() > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// What it still tells, whether it went well, and why not.
    fn rest(mut self) -> (Vec<Value>, bool, String) {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            events.push(event);
        }
        let mut why = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        (events, self.child.wait().unwrap().success(), why)
    }
}

fn done(args: &[&str]) -> (Vec<Value>, bool, String) {
    Grow::start(args).rest()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|it| it["event"] == kind).collect()
}

struct World {
    ensemble: Ensemble,
    kinds: Vec<Kind>,
}

impl World {
    /// Three members of these kinds run.
    fn started(dir: &tempfile::TempDir, kinds: &[Kind], with: impl Fn(Ensemble) -> Ensemble) -> Self {
        let ensemble = Ensemble::new(dir.path(), kinds.len() as u8, 0, false).unwrap();
        let ensemble = with(ensemble.known(3).cfg("tickTime=500"));
        let mut world = Self { ensemble, kinds: kinds.to_vec() };
        for id in 1..=3 {
            world.start(id);
        }
        world.serving(&[1, 2, 3]);
        world
    }

    fn start(&mut self, id: u8) {
        self.ensemble.start_as(id, self.kinds[usize::from(id) - 1]).unwrap();
    }

    fn serving(&self, ids: &[u8]) {
        for &id in ids {
            let serves = || ["leader", "follower"].contains(&self.ensemble.mode(id).as_str());
            self.ensemble.until(&format!("server {id} serves"), serves).unwrap();
        }
    }

    fn at(&self, id: u8) -> SocketAddr {
        self.ensemble.member(id).unwrap().client
    }

    fn hosts(&self, ids: &[u8]) -> String {
        ids.iter().map(|&id| self.at(id).to_string()).collect::<Vec<_>>().join(",")
    }

    /// What `--add` takes.
    fn adding(&self, id: u8) -> String {
        self.ensemble.joining(id, "participant").unwrap().trim_start_matches("server.").to_owned()
    }

    fn leader(&self, ids: &[u8]) -> u8 {
        *ids.iter().find(|id| self.ensemble.mode(**id) == "leader").expect("there is a leader")
    }

    /// A znode of that name is there, made by this try or one before it.
    fn writes(&self, through: u8, path: &str) {
        let written = || -> anyhow::Result<bool> {
            let (mut connection, _) = Connection::session(self.at(through))?;
            let err = connection.call(1, 1, &create(path, b"x", 0))?.err;
            Ok(err == 0 || err == -110)
        };
        self.ensemble.until(&format!("{path} through {through}"), || written().unwrap_or(false)).unwrap();
    }

    fn reads(&self, at: u8, path: &str) {
        let read = || -> anyhow::Result<bool> {
            let (mut connection, _) = Connection::session(self.at(at))?;
            Ok(connection.call(1, 4, &watch(path, false))?.err == 0)
        };
        self.ensemble.until(&format!("{path} at {at}"), || read().unwrap_or(false)).unwrap();
    }
}

fn grows_and_shrinks(kinds: [Kind; 5]) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &kinds, |it| it.dynamic().cfg(SUPER));
    world.writes(1, "/before");
    let (four, five) = (world.adding(4), world.adding(5));
    let hosts = world.hosts(&[1, 2, 3]);

    // Who may not, may not, and nothing is half done.
    world.start(4);
    let (_, is_good, why) = done(&[&hosts, "--add", &four, "--wait", "30"]);
    assert!(!is_good && why.contains("step 1 of 1 is not done, and nothing was") && why.contains("--auth"), "{why}");

    // The other newcomer is started when the command asks for it.
    let mut grow = Grow::start(&[&hosts, "--auth", "digest:super:secret", "--add", &four, "--add", &five]);
    let mut events = Vec::new();
    while let Some(event) = grow.next() {
        if event["event"] == "waits" && event["state"] == "down" {
            let id = event["id"].as_u64().unwrap() as u8;
            assert_eq!(event["lines"].as_array().unwrap().len(), usize::from(id), "{event}");
            world.start(id);
        }
        events.push(event);
    }
    let (_, is_good, why) = grow.rest();
    assert!(is_good, "{why}{events:#?}");
    assert_eq!(of_kind(&events, "begins")[0]["reconfig"], true);
    let quorums = |it: &Value| ["before", "after"].map(|at| it[at]["needed"].as_u64().unwrap());
    assert_eq!(of_kind(&events, "step").into_iter().map(quorums).collect::<Vec<_>>(), [[2, 3], [3, 3]]);
    assert_eq!(of_kind(&events, "in-sync").len(), 2, "{events:#?}");
    assert_eq!(of_kind(&events, "changed")[1]["members"].as_array().unwrap().len(), 5, "{events:#?}");

    // Five survive the loss of two, the leader among them.
    let leader = world.leader(&[1, 2, 3, 4, 5]);
    let other = if leader == 1 { 2 } else { 1 };
    for id in [leader, other] {
        world.ensemble.kill(id).unwrap();
    }
    let left: Vec<u8> = (1..=5).filter(|&id| id != leader && id != other).collect();
    world.ensemble.until("another leads", || left.iter().any(|&id| world.ensemble.mode(id) == "leader")).unwrap();
    world.serving(&left);
    for &id in &left {
        world.reads(id, "/before");
        world.writes(id, &format!("/without-{id}"));
    }

    // Four of five are asked to go on, and only three serve: the step that needs the others is not begun.
    for id in [leader, other] {
        world.start(id);
    }
    world.serving(&[1, 2, 3, 4, 5]);
    let leader = world.leader(&[1, 2, 3, 4, 5]);
    let other = if leader == 5 { 4 } else { 5 };
    let args = ["--auth", "digest:super:secret", "--remove", &leader.to_string(), "--remove", &other.to_string()];
    let (events, is_good, why) = done(&[&[world.hosts(&[1, 2, 3, 4, 5]).as_str()], &args[..]].concat());
    assert!(is_good, "{why}{events:#?}");
    let steps: Vec<_> = of_kind(&events, "step").into_iter().map(|it| it["id"].as_u64().unwrap() as u8).collect();
    assert_eq!(steps, [other, leader], "the leader leaves last");
    let left: Vec<u8> = (1..=5).filter(|&id| id != leader && id != other).collect();
    world.serving(&left);
    let (events, is_good, why) = done(&[&world.hosts(&left), "--remove", &other.to_string()]);
    assert!(is_good && of_kind(&events, "is-so").len() == 1, "{why}{events:#?}");
}

#[test]
fn ours_grow_and_shrink() {
    grows_and_shrinks([Kind::Ostler; 5]);
}

#[test]
fn apaches_and_ours_grow_and_shrink_together() {
    grows_and_shrinks([Kind::Apache, Kind::Ostler, Kind::Apache, Kind::Ostler, Kind::Apache]);
}

#[test]
fn what_does_not_hold_ends_it_in_plain_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &[Kind::Ostler; 4], |it| it.dynamic().cfg("skipACL=yes"));
    let (hosts, four) = (world.hosts(&[1, 2, 3]), world.adding(4));
    let refused = |args: &[&str], why: &str| {
        let (events, is_good, told) = done(args);
        assert!(!is_good && told.contains(why), "{args:?}: {told}{events:#?}");
        assert_eq!(of_kind(&events, "changed").len(), 0, "{events:#?}");
    };
    refused(&[&hosts, "--add", &four, "--wait", "0.3"], "is not in sync after 300ms, but down (nobody listens there)");
    refused(&[&hosts, "--add", "4=127.0.0.1:1:2"], "where does server.4 serve clients?");
    let elsewhere = format!("4=127.0.0.1:1:2;{}", world.at(2));
    refused(&[&hosts, "--add", &elsewhere, "--wait", "10"], "is another server than server.4");

    // A dry run asks, and changes nothing.
    let (events, is_good, told) = done(&[&hosts, "--dry-run", "--add", &four, "--remove", "1"]);
    assert!(
        is_good && of_kind(&events, "step").len() == 2 && of_kind(&events, "changed").is_empty(),
        "{told}{events:#?}"
    );
    assert_eq!(of_kind(&events, "waits")[0]["lines"].as_array().unwrap().len(), 4);

    // Without a quorum nothing begins.
    world.ensemble.kill(1).unwrap();
    let leader = world.leader(&[2, 3]);
    refused(&[&world.hosts(&[2, 3]), "--remove", &leader.to_string()], "would be no quorum of");
    world.ensemble.kill(if leader == 2 { 3 } else { 2 }).unwrap();
    world.ensemble.until("nobody leads", || world.ensemble.mode(leader) != "leader").unwrap();
    refused(&[&hosts, "--add", &four], "not healthy");
}

#[test]
fn without_reconfigs_the_safe_order_is_told() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        // Apache's answer nothing but srvr, unless they are told to.
        let world = World::started(&dir, &[kind; 5], |it| it.cfg("4lw.commands.whitelist=srvr"));
        let (hosts, four, five) = (world.hosts(&[1, 2, 3]), world.adding(4), world.adding(5));
        let leader = world.leader(&[1, 2, 3]);
        let (events, is_good, why) = done(&[&hosts, "--add", &four, "--add", &five]);
        assert!(is_good, "{kind:?}: {why}{events:#?}");
        assert_eq!(of_kind(&events, "begins")[0]["reconfig"], false);
        let restarts = of_kind(&events, "by-hand").into_iter().filter(|it| it["do"] == "restart");
        let orders: Vec<Vec<u8>> = restarts.map(|it| serde_json::from_value(it["servers"].clone()).unwrap()).collect();
        assert_eq!(orders[0].last(), Some(&leader), "{events:#?}");
        assert_eq!((orders[0].len(), orders[1].len()), (3, 4), "{events:#?}");
        let why = of_kind(&events, "why")[0];
        assert!(why["old"].as_array().unwrap().contains(&leader.into()), "{why}");
        assert_eq!(why["new"].as_array().unwrap().len(), 3, "{why}");
        assert!([1, 2, 3].iter().all(|&id| raw::is_serving(world.at(id))));
    }
}

/// How long clients may take to find servers again.
const LIMIT: Duration = Duration::from_mins(1);

/// Follows the order that is told, with clients at work from the beginning to the end.
fn grows_by_hand(kinds: [Kind; 5]) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &kinds, |it| it);
    let servers = (1..=3).map(|id| world.at(id)).collect();
    let clients = Clients::start(servers, 4, 11).unwrap();
    for joins in [4, 5] {
        let members: Vec<u8> = (1..joins).collect();
        let (events, is_good, why) = done(&[&world.hosts(&members), "--add", &world.adding(joins)]);
        assert!(is_good, "{why}{events:#?}");
        for it in of_kind(&events, "by-hand") {
            let servers: Vec<u8> = serde_json::from_value(it["servers"].clone()).unwrap();
            match it["do"].as_str().unwrap() {
                "write" => world.ensemble.knows(joins),
                "start" => {
                    assert_eq!(servers, [joins]);
                    world.start(joins);
                    world.serving(&servers);
                }
                "restart" => {
                    assert_eq!(servers.len(), members.len());
                    for id in servers {
                        world.ensemble.stop(id).unwrap();
                        world.start(id);
                        world.serving(&[id]);
                        let more = clients.writes() + 20;
                        world.ensemble.until("clients write", || clients.writes() >= more).unwrap();
                    }
                }
                other => panic!("{other}: {it}"),
            }
        }
        world.serving(&(1..=joins).collect::<Vec<_>>());
        world.writes(joins, &format!("/by-{joins}"));
    }
    let (events, is_good, why) =
        done(&[&world.hosts(&[1, 2, 3, 4, 5]), "--add", &world.adding(4), "--add", &world.adding(5)]);
    assert!(is_good && of_kind(&events, "is-so").len() == 2, "{why}{events:#?}");

    let until = Instant::now() + LIMIT;
    let sessions = loop {
        match clients.pause().unwrap() {
            Some(sessions) => break sessions,
            None => assert!(Instant::now() < until, "the clients' sessions find no servers"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Sessions that nobody went on with expire.
    let lives = |left: &Left| left.0.values().all(|it| it.owner() == 0 || sessions.contains(&it.owner()));
    world.ensemble.until("old sessions expire", || Left::of(world.at(1)).is_ok_and(|left| lives(&left))).unwrap();
    let left = Left::of(world.at(1)).unwrap();
    let histories = clients.finish().unwrap();
    let tally = check(&histories).unwrap();
    check_left(&histories, &left, &sessions).unwrap();
    assert!(tally.writes > 100, "{tally:?}");
    let first = Left::of(world.at(1)).unwrap();
    for id in 2..=5 {
        let difference = first.difference(&Left::of(world.at(id)).unwrap());
        assert!(difference.is_none(), "servers 1 and {id} differ: {difference:?}");
    }
    // Five survive the loss of two.
    let leader = world.leader(&[1, 2, 3, 4, 5]);
    let other = if leader == 1 { 2 } else { 1 };
    for id in [leader, other] {
        world.ensemble.kill(id).unwrap();
    }
    let left: Vec<u8> = (1..=5).filter(|&id| id != leader && id != other).collect();
    world.ensemble.until("another leads", || left.iter().any(|&id| world.ensemble.mode(id) == "leader")).unwrap();
    world.writes(left[0], "/without-two");
}

#[test]
fn ours_grow_by_hand_in_the_order_that_is_told() {
    grows_by_hand([Kind::Ostler; 5]);
}

#[test]
fn apaches_and_ours_grow_by_hand_in_the_order_that_is_told() {
    grows_by_hand([Kind::Ostler, Kind::Apache, Kind::Ostler, Kind::Apache, Kind::Ostler]);
}
