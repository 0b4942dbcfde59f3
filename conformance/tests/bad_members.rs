//! Members that should not be: what is wrong with them is said in a line, and the others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::history::Left;
use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::{self, Connection};
use ostler_conformance::script::create;
use ostler_conformance::{Options, Ready, Server as _, ostler};

/// Who is spoiled or doubled.
const VICTIM: u8 = 2;

fn started(dir: &Path) -> Ensemble {
    let mut ensemble = Ensemble::new(dir, 3, 0, false).unwrap().cfg("tickTime=500");
    (1..=3).for_each(|id| ensemble.start_as(id, Kind::Ostler).unwrap());
    (1..=3).for_each(|id| ensemble.serving(id).unwrap());
    ensemble
}

fn write(ensemble: &Ensemble, through: u8, names: &str) {
    let (mut session, _) = Connection::session(ensemble.member(through).unwrap().client).unwrap();
    for n in 0..20 {
        let reply = session.call(n + 1, 1, &create(&format!("/{names}-{n}"), b"kept", 0)).unwrap();
        assert_eq!(reply.err, 0, "{names}-{n}");
    }
}

fn leader(ensemble: &Ensemble) -> Option<u8> {
    (1..=3).find(|&id| ensemble.mode(id) == "leader")
}

fn are_equal(ensemble: &Ensemble) {
    let left = |id: u8| Left::of(ensemble.member(id).unwrap().client).unwrap();
    ensemble.until("all have the same", || (2..=3).all(|id| left(1).difference(&left(id)).is_none())).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_directory_from_an_old_backup_gets_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = started(dir.path());
    write(&ensemble, VICTIM, "first");
    ensemble.stop(VICTIM).unwrap();
    let (folder, backup) = (ensemble.data_dir(VICTIM).join("version-2"), dir.path().join("backup"));
    copy(&folder, &backup);
    ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
    ensemble.serving(VICTIM).unwrap();
    write(&ensemble, VICTIM, "second");
    // A later epoch, which it has accepted.
    let old = leader(&ensemble).unwrap();
    ensemble.kill(old).unwrap();
    ensemble.until("another leads", || leader(&ensemble).is_some()).unwrap();
    ensemble.start_as(old, Kind::Ostler).unwrap();
    ensemble.serving(old).unwrap();
    write(&ensemble, old, "third");
    ensemble.kill(VICTIM).unwrap();
    ensemble.until("the others serve", || leader(&ensemble).is_some()).unwrap();
    ensemble.serving(1).unwrap();
    write(&ensemble, 1, "without");
    fs::remove_dir_all(&folder).unwrap();
    copy(&backup, &folder);
    ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
    ensemble.serving(VICTIM).unwrap();
    write(&ensemble, VICTIM, "again");
    are_equal(&ensemble);
}

#[test]
fn epoch_files_that_are_missing_or_contradict_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = started(dir.path());
    write(&ensemble, VICTIM, "first");
    let folder = ensemble.data_dir(VICTIM).join("version-2");
    ensemble.stop(VICTIM).unwrap();
    let whole = ["acceptedEpoch", "currentEpoch"].map(|name| fs::read(folder.join(name)).unwrap());
    let refused = [
        ("acceptedEpoch", "none", "acceptedEpoch holds \"none\", which is no epoch"),
        ("currentEpoch", "", "currentEpoch holds \"\", which is no epoch"),
        ("acceptedEpoch", "0", "acceptedEpoch is 0, older than currentEpoch, "),
    ];
    for (name, text, told) in refused {
        fs::write(folder.join(name), text).unwrap();
        ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
        let last = |ensemble: &Ensemble| {
            let log = fs::read_to_string(ensemble.dir(VICTIM).join("server.log")).unwrap_or_default();
            log.lines().last().unwrap_or_default().to_owned()
        };
        ensemble.until(told, || last(&ensemble).contains(told)).unwrap();
        assert!(last(&ensemble).contains("let the server sync from the others"), "{}", last(&ensemble));
        // It has ended by itself, and changed nothing.
        ensemble.kill(VICTIM).unwrap();
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text);
        for (name, bytes) in ["acceptedEpoch", "currentEpoch"].iter().zip(&whole) {
            fs::write(folder.join(name), bytes).unwrap();
        }
        write(&ensemble, 1, &format!("beside-{}-{}", name, text.len()));
    }
    for name in ["acceptedEpoch", "currentEpoch"] {
        fs::remove_file(folder.join(name)).unwrap();
        ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
        ensemble.serving(VICTIM).unwrap();
        assert!(ensemble.log_contains(VICTIM, &format!("{name} is missing, and was written anew")), "{name}");
        ensemble.stop(VICTIM).unwrap();
    }
    ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
    ensemble.serving(VICTIM).unwrap();
    are_equal(&ensemble);
}

/// A second server with the number of a member, at other ports: it and the member take turns, and the others go on.
#[test]
fn two_servers_with_the_same_number() {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = started(dir.path());
    let before = leader(&ensemble);
    write(&ensemble, VICTIM, "first");
    let [client, quorum, election] = free_addrs().unwrap().map(|it| it.port());
    let mut options = Options::new(dir.path().join("other"));
    (options.my_id, options.port, options.ready) = (Some(VICTIM), Some(client), Ready::Started);
    options.cfg = ensemble.lines(VICTIM);
    let own = format!("server.{VICTIM}=");
    options.cfg.retain(|line| !line.starts_with(&own));
    options.cfg.extend([format!("{own}127.0.0.1:{quorum}:{election}:participant"), "tickTime=500".to_owned()]);
    let mut other = ostler::Server::start(&options).unwrap();
    let told = format!("server {VICTIM} has another list of members than this server");
    ensemble.until(&told, || [1, 3].iter().all(|&id| ensemble.log_contains(id, &told))).unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    for n in 0.. {
        write(&ensemble, 1, &format!("one-{n}"));
        write(&ensemble, 3, &format!("three-{n}"));
        if Instant::now() > until {
            break;
        }
    }
    assert_eq!(leader(&ensemble), before, "nobody had to look for another one");
    other.kill().unwrap();
    ensemble.serving(VICTIM).unwrap();
    write(&ensemble, VICTIM, "again");
    are_equal(&ensemble);
}

/// A server that nobody has in its list, with the data of another ensemble, which is of later epochs.
#[test]
fn a_member_of_another_ensemble() {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = started(dir.path());
    let before = leader(&ensemble);
    write(&ensemble, 1, "ours");
    let [client, quorum, election] = free_addrs().unwrap();
    let mut options = Options::new(dir.path().join("stranger"));
    options.port = Some(client.port());
    let mut stranger = ostler::Server::start(&options).unwrap();
    let (mut session, _) = Connection::session(client).unwrap();
    assert_eq!(session.call(1, 1, &create("/theirs", b"", 0)).unwrap().err, 0);
    stranger.stop().unwrap();
    for name in ["acceptedEpoch", "currentEpoch"] {
        fs::write(dir.path().join("stranger/data/version-2").join(name), "9").unwrap();
    }
    (options.my_id, options.ready) = (Some(4), Ready::Started);
    options.cfg = ensemble.lines(1);
    options.cfg.push(format!("server.4=127.0.0.1:{}:{}:participant", quorum.port(), election.port()));
    options.cfg.push("tickTime=500".to_owned());
    let mut stranger = ostler::Server::start(&options).unwrap();
    let log = || fs::read_to_string(dir.path().join("stranger/server.log")).unwrap_or_default();
    let told = "is older than what this server accepted, 9";
    ensemble.until(told, || log().contains(told)).unwrap();
    let told = "server 4 has another list of members than this server";
    ensemble.until(told, || (1..=3).all(|id| ensemble.log_contains(id, told))).unwrap();
    let (said, until) = (log().matches("is elected").count(), Instant::now() + Duration::from_secs(3));
    for n in 0.. {
        for id in 1..=3 {
            write(&ensemble, id, &format!("beside-{n}-{id}"));
        }
        if Instant::now() > until {
            break;
        }
    }
    let said = log().matches("is elected").count() - said;
    assert!(said < 30, "it asks at each tick, and asked {said} times");
    assert_eq!(leader(&ensemble), before, "nobody had to look for another one");
    assert!(!raw::is_serving(client));
    stranger.kill().unwrap();
    are_equal(&ensemble);
    assert!(!Left::of(ensemble.member(1).unwrap().client).unwrap().0.contains_key("/theirs"));
}

/// Three of four are a quorum, and say which name is wrong; once, although they call it again and again.
#[test]
fn a_name_that_can_not_be_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("tickTime=500");
    ensemble = ensemble.cfg("server.4=no.such.host.invalid:2888:3888");
    (1..=3).for_each(|id| ensemble.start_as(id, Kind::Ostler).unwrap());
    (1..=3).for_each(|id| ensemble.serving(id).unwrap());
    let told = "server 4 can't be called: no.such.host.invalid:3888: its name can't be looked up";
    ensemble.until(told, || (1..=3).all(|id| ensemble.log_contains(id, told))).unwrap();
    write(&ensemble, 1, "three-of-four");
    // Who comes back calls everybody anew.
    ensemble.stop(VICTIM).unwrap();
    ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
    ensemble.serving(VICTIM).unwrap();
    write(&ensemble, VICTIM, "again");
    for id in [1, 3] {
        let log = fs::read_to_string(ensemble.dir(id).join("server.log")).unwrap();
        assert_eq!(log.matches(told).count(), 1, "server {id}");
    }
    are_equal(&ensemble);
}
