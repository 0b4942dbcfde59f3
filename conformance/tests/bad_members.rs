//! Members that should not be: what is wrong with them is said in a line, and the others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::history::Left;
use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::{self, Connection};
use ostler_conformance::script::create;
use ostler_conformance::{Options, Ready, Server as _, ostler};
use wire::election::{HostPort, InitialMessage, InitialVersion};
use wire::quorum::{LearnerInfo, PROTOCOL_VERSION, Packet};
use wire::{Epoch, ServerId, Zxid};

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

/// A start that is to fail: the exit code, and the last line.
fn refused(dir: &Path, cfg: &str) -> (i32, String) {
    let path = dir.join("bad.cfg");
    fs::write(&path, cfg).unwrap();
    let mut child = Command::new(ostler::binary().unwrap())
        .arg("server")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it goes on: {cfg}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.code().unwrap(), errors.lines().last().unwrap_or_default().to_owned())
}

/// Each ends by itself with its reason in the last line, and leaves the files as they were.
#[test]
fn a_member_that_can_not_start_says_why_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = started(dir.path());
    write(&ensemble, VICTIM, "first");
    ensemble.stop(VICTIM).unwrap();
    let (home, my_id) = (ensemble.dir(VICTIM), ensemble.data_dir(VICTIM).join("myid"));
    let cfg = fs::read_to_string(home.join("zoo.cfg")).unwrap();
    let (member, whole) = (ensemble.member(VICTIM).unwrap(), fs::read(&my_id).unwrap());
    for (text, told) in [
        (None, "myid: cannot be read: "),
        (Some(""), "myid: \"\" is not a server's number; allowed: one of 1, 2, 3"),
        (Some("two"), "myid: \"two\" is not a server's number; allowed: one of 1, 2, 3"),
        (Some("9"), "myid: server 9 is not among the members, which are 1, 2, 3"),
    ] {
        match text {
            Some(text) => fs::write(&my_id, text).unwrap(),
            None => fs::remove_file(&my_id).unwrap(),
        }
        let (code, line) = refused(&home, &cfg);
        assert!(code == 2 && line.contains(told), "{text:?}: {code}, {line}");
    }
    fs::write(&my_id, whole).unwrap();
    // The election port is tried as often as it is asked for.
    let tries = cfg.clone() + "\nelectionPortBindRetry=1\n";
    for (taken, code, told) in [
        (member.client, 1, format!("can't listen on {}: ", member.client)),
        (member.quorum, 14, format!("quorum port {}: the port is taken", member.quorum)),
        (member.election, 14, format!("election port {}: the port is taken", member.election)),
    ] {
        let _holds = TcpListener::bind(taken).unwrap();
        let (got, line) = refused(&home, &tries);
        assert!(got == code && line.contains(&told), "{taken}: {got}, {line}");
    }
    let (own, nowhere) = (format!("server.{VICTIM}=127.0.0.1:"), format!("server.{VICTIM}=no.such.host.invalid:"));
    assert!(tries.contains(&own));
    for (cfg, code, told) in [
        (tries.replace(&own, &nowhere), 14, "election port no.such.host.invalid:"),
        (
            tries.replace("clientPortAddress=127.0.0.1", "clientPortAddress=no.such.host.invalid"),
            2,
            "clientPortAddress = no.such.host.invalid: failed to lookup address information",
        ),
        (
            tries.replace("clientPortAddress=127.0.0.1", "clientPortAddress=192.0.2.1"),
            1,
            "this machine does not have that address",
        ),
    ] {
        let (got, line) = refused(&home, &cfg);
        assert!(got == code && line.contains(told), "{got}, {line}");
    }
    write(&ensemble, 1, "without");
    ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
    ensemble.serving(VICTIM).unwrap();
    write(&ensemble, VICTIM, "again");
    are_equal(&ensemble);
}

fn initial(server: i64) -> Vec<u8> {
    let addresses = vec![HostPort { host: "127.0.0.1".to_owned(), port: 1 }];
    let mut hello = Vec::new();
    InitialMessage { version: InitialVersion::V1, server: ServerId(server), addresses }.write(&mut hello);
    hello
}

fn follower_info(server: i64, protocol_version: Option<i32>) -> Vec<u8> {
    let info = LearnerInfo { protocol_version, ..LearnerInfo::new(ServerId(server), 0) };
    Packet::FollowerInfo { zxid: Zxid::new(Epoch(1), 0), info }.to_vec()
}

/// Bytes, and what is said of them.
type Sent = (Vec<u8>, &'static str);

/// What comes to the two ports that nobody should send, and what is said of it.
fn nonsense() -> (Vec<Sent>, Vec<Sent>) {
    let long = i32::MAX.to_be_bytes();
    let election = vec![
        ([&(-65534_i64).to_be_bytes()[..], &initial(8)[8..]].concat(), "version -65534 is unknown; known: -65536 and"),
        ([&initial(8)[..], &long].concat(), "election port: "),
        ([&initial(8)[..16], &long].concat(), "bytes of addresses; allowed: 1 to "),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "election port: "),
    ];
    let quorum = vec![
        (follower_info(8, Some(1)), "it speaks protocol version 0x1, of before 3.4; 0x10000 is needed: upgrade it"),
        (follower_info(8, None), "it speaks protocol version 0x0, of before 3.4; 0x10000 is needed: upgrade it"),
        ([&11_i32.to_be_bytes()[..], &[0; 8], &long].concat(), "quorum port: unreasonable length 2147483647"),
        (Packet::Ack { zxid: Zxid(1) }.to_vec(), "quorum port: ACK is no hello"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "quorum port: "),
    ];
    (election, quorum)
}

/// So many connections at a time, each of which says something, or nothing.
fn flood(at: SocketAddr, said: &[(Vec<u8>, &str)], is_over: &AtomicBool, count: &AtomicUsize) {
    let mut open = std::collections::VecDeque::new();
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = TcpStream::connect(at) else { continue };
        if let Some((bytes, _)) = said.get(n % (said.len() + 1)) {
            // Whoever closes at once may do so before all is sent.
            let _ = stream.write_all(bytes);
        }
        count.fetch_add(1, Ordering::Relaxed);
        open.push_back(stream);
        if open.len() > 200 {
            open.pop_front();
        }
    }
}

/// Ends the floods, also when a write that is to go well does not.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All of it costs the others nothing: they go on under the same leader, with as many descriptors, and few lines.
#[test]
fn floods_of_nonsense_on_the_ports_between_servers() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = started(dir.path());
    let before = leader(&ensemble).unwrap();
    write(&ensemble, 1, "before");
    let files = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let pid = ensemble.pid(before).unwrap();
    let files_before = files(pid);
    let (election, quorum) = nonsense();
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let took = Instant::now();
    std::thread::scope(|scope| {
        let _over = Ends(&is_over);
        let ports = ensemble.members().iter().map(|it| (it.election, &election));
        let leaders = std::iter::once((ensemble.member(before).unwrap().quorum, &quorum));
        for (at, said) in ports.chain(leaders) {
            let (is_over, count) = (&is_over, &count);
            scope.spawn(move || flood(at, said, is_over, count));
        }
        let until = Instant::now() + Duration::from_secs(4);
        for n in 0.. {
            (1..=3).for_each(|id| write(&ensemble, id, &format!("beside-{n}-{id}")));
            if Instant::now() > until {
                break;
            }
        }
    });
    assert!(count.load(Ordering::Relaxed) > 1000, "{count:?}");
    assert_eq!(leader(&ensemble), Some(before), "nobody had to look for another one");
    let log = fs::read_to_string(ensemble.dir(before).join("server.log")).unwrap();
    for (_, told) in election.iter().chain(&quorum) {
        assert!(log.contains(told), "{told}");
    }
    // Ten at once of each kind, and then one a second.
    let seconds = took.elapsed().as_secs() as usize + 1;
    for told in ["election port: initial message", "quorum port: ", "it speaks protocol version"] {
        let lines = log.matches(told).count();
        assert!((1..=10 + seconds).contains(&lines), "{told}: {lines} lines in {seconds} s");
    }
    // Those that wait to be greeted are bounded, and go with their time.
    ensemble.until("it has let go of all", || files(pid) <= files_before + 40).unwrap();
    // A later version is not turned away.
    let mut later = TcpStream::connect(ensemble.member(before).unwrap().quorum).unwrap();
    later.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    later.write_all(&follower_info(9, Some(PROTOCOL_VERSION + 0x10000))).unwrap();
    let mut kind = [0; 4];
    later.read_exact(&mut kind).unwrap();
    assert_eq!(i32::from_be_bytes(kind), 17, "LEADERINFO");
    are_equal(&ensemble);
}
