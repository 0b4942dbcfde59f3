//! Whole servers of ours as members of ensembles: among themselves, and beside Apache's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::process::Command;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::ostler::binary;

/// One command of the shell at one server. `None`: it failed.
fn shell(at: SocketAddr, command: &[&str]) -> Option<String> {
    let done = Command::new(binary().unwrap()).args(["shell", "-s", &at.to_string()]).args(command).output().unwrap();
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

struct World(Ensemble);

impl World {
    fn at(&self, id: u8) -> SocketAddr {
        self.0.member(id).unwrap().client
    }

    /// Creates a znode through this server. Tried again: one that has not noticed yet that its leader is gone, or that got no
    /// CPU for as long as members wait for each other, closes the connection.
    fn create(&self, id: u8, path: &str, data: &str) {
        let at = self.at(id);
        let goes = || shell(at, &["create", path, data]).is_some() || shell(at, &["get", path]).is_some();
        self.0.until(&format!("{path} through server {id}"), goes).unwrap();
    }

    /// The data, as this server has it once it has caught up.
    fn holds(&self, id: u8, path: &str, data: &str) {
        let at = self.at(id);
        let what = format!("server {id} has {path}");
        let read = || shell(at, &["get", path]).is_some_and(|text| text.lines().any(|line| line.trim() == data));
        self.0.until(&what, read).unwrap();
    }

    /// Created through each of `through`, and there at each of `at`.
    fn all_agree(&self, round: &str, ids: &[u8]) {
        for through in ids {
            self.create(*through, &format!("/{round}-{through}"), &format!("by{through}"));
        }
        for at in ids {
            for through in ids {
                self.holds(*at, &format!("/{round}-{through}"), &format!("by{through}"));
            }
        }
    }

    fn serving(&self, ids: &[u8]) {
        for &id in ids {
            let serves = || ["leader", "follower", "observer"].contains(&self.mode(id).as_str());
            self.0.until(&format!("server {id} serves"), serves).unwrap();
        }
    }

    fn mode(&self, id: u8) -> String {
        let done =
            Command::new(binary().unwrap()).args(["status", "--json", &self.at(id).to_string()]).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["members"][0]["state"].as_str().unwrap().to_owned()
    }

    fn leader(&self, ids: &[u8]) -> u8 {
        *ids.iter().find(|id| self.mode(**id) == "leader").expect("there is a leader")
    }
}

fn started(dir: &tempfile::TempDir, kinds: &[Kind], observers: u8) -> World {
    let participants = kinds.len() as u8 - observers;
    let mut ensemble = Ensemble::new(dir.path(), participants, observers, false).unwrap().cfg("tickTime=500");
    for (id, kind) in (1..).zip(kinds) {
        ensemble.start_as(id, *kind).unwrap();
    }
    World(ensemble)
}

#[test]
fn three_of_ours_and_an_observer_outlive_their_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = started(&dir, &[Kind::Ostler; 4], 1);
    world.serving(&[1, 2, 3, 4]);
    assert_eq!(world.mode(4), "observer");
    world.all_agree("first", &[1, 2, 3, 4]);
    let leader = world.leader(&[1, 2, 3]);
    world.0.kill(leader).unwrap();
    let left: Vec<u8> = (1..=4).filter(|&id| id != leader).collect();
    let voters: Vec<u8> = left.iter().copied().filter(|&id| id != 4).collect();
    world.0.until("another leads", || voters.iter().any(|&id| world.mode(id) == "leader")).unwrap();
    world.serving(&left);
    world.all_agree("second", &left);
    world.0.start_as(leader, Kind::Ostler).unwrap();
    world.serving(&[leader]);
    world.all_agree("third", &[1, 2, 3, 4]);
    world.holds(leader, "/second-4", "by4");
}

#[test]
fn ours_follows_and_observes_under_an_apache_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = started(&dir, &[Kind::Ostler, Kind::Apache, Kind::Apache, Kind::Ostler], 1);
    world.serving(&[1, 2, 3, 4]);
    world.all_agree("first", &[1, 2, 3, 4]);
    let leader = world.leader(&[1, 2, 3]);
    assert_ne!(leader, 1, "the larger ids win with equal histories");
    // Back with a gap of its own.
    world.0.kill(1).unwrap();
    world.create(2, "/while-away", "x");
    world.0.start_as(1, Kind::Ostler).unwrap();
    world.serving(&[1]);
    world.holds(1, "/while-away", "x");
    world.all_agree("second", &[1, 2, 3, 4]);
}

#[test]
fn apaches_follow_and_observe_under_our_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = started(&dir, &[Kind::Apache, Kind::Apache, Kind::Ostler, Kind::Apache], 1);
    world.serving(&[1, 2, 3, 4]);
    world.all_agree("first", &[1, 2, 3, 4]);
    assert_eq!(world.leader(&[1, 2, 3]), 3, "the largest id wins with equal histories");
    world.0.kill(1).unwrap();
    world.create(2, "/while-away", "x");
    world.0.start_as(1, Kind::Apache).unwrap();
    world.serving(&[1]);
    world.holds(1, "/while-away", "x");
    world.all_agree("second", &[1, 2, 3, 4]);
}

#[test]
fn a_member_is_swapped_and_swapped_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = started(&dir, &[Kind::Apache; 3], 0);
    world.serving(&[1, 2, 3]);
    world.all_agree("apache", &[1, 2, 3]);
    for (round, kind) in [("ours", Kind::Ostler), ("back", Kind::Apache)] {
        for id in 1..=3 {
            world.0.stop(id).unwrap();
            let others: Vec<u8> = (1..=3).filter(|&other| other != id).collect();
            world.0.until("the others have a leader", || others.iter().any(|&it| world.mode(it) == "leader")).unwrap();
            world.serving(&others);
            world.create(others[0], &format!("/{round}-without-{id}"), "x");
            world.0.start_as(id, kind).unwrap();
            world.serving(&[id]);
            world.holds(id, &format!("/{round}-without-{id}"), "x");
        }
        world.all_agree(round, &[1, 2, 3]);
    }
    for id in 1..=3 {
        world.holds(id, "/apache-1", "by1");
        world.holds(id, "/ours-without-2", "x");
    }
}
