//! `ostler log` and `ostler snapshot` on what is damaged, cut, removed or not there yet: each says so, and what a start would do.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;
use ostler_conformance::{Options, Server, ostler};

const SECTOR: usize = 512;
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_mins(1);

fn run(arguments: &[&str]) -> Output {
    Command::new(ostler::binary().unwrap()).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("data/version-2")
}

/// The logs or snapshots, oldest first.
fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(folder(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = names.filter(|path| zxid_of(path, prefix).is_some()).collect();
    found.sort_by_key(|path| zxid_of(path, prefix));
    found
}

fn zxid_of(path: &Path, prefix: &str) -> Option<u64> {
    u64::from_str_radix(path.file_name()?.to_str()?.strip_prefix(prefix)?, 16).ok()
}

fn options(dir: &Path) -> Options {
    Options::new(dir).cfg("snapCount=1000000")
}

/// Starts a server and creates some znodes; `stop`: in order, else it is killed.
fn written(options: &Options, from: i32, count: i32, stop: bool) {
    let mut server = ostler::Server::start(options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for i in from..from + count {
        assert_eq!(client.call(i, 1, &create(&format!("/z{i}"), b"data", 0)).unwrap().err, 0);
    }
    if stop {
        drop(client);
        assert!(server.stop().unwrap().success());
    } else {
        server.kill().unwrap();
    }
}

#[test]
fn verify_says_what_a_start_would_do_and_the_start_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    written(&options, 1, 100, false);
    let shown = folder(dir.path());
    let shown = shown.to_str().unwrap();
    let whole = run(&["log", "verify", shown]);
    assert!(whole.status.success(), "{}", text(&whole));
    let line = "as a start would read it: snapshot.0 with 4 znodes, and 101 txns behind it; the last is 0x65";
    assert!(text(&whole).contains(line), "{}", text(&whole));

    // A sector of zeros: the machine has gone on, so it is damage.
    let log = files(dir.path(), "log.").pop().unwrap();
    let bytes = fs::read(&log).unwrap();
    let mut holed = bytes.clone();
    holed[2 * SECTOR..3 * SECTOR].fill(0);
    fs::write(&log, &holed).unwrap();
    let refused = run(&["log", "verify", shown]);
    assert_eq!(refused.status.code(), Some(1));
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(text(&refused).contains(&format!("as a start would read it: refused: {name} ")), "{}", text(&refused));
    let why = format!("{:#}", ostler::Server::start(&options).unwrap_err());
    let line = text(&refused).lines().find(|line| line.contains("refused")).unwrap().to_owned();
    let reason = line.split_once("refused: ").unwrap().1.to_owned();
    assert!(why.contains(&reason), "{reason}\n{why}");
    // Nobody knows it: then it may be what a failure of the machine leaves, and the start goes on and says what may be lost.
    let lock = folder(dir.path()).join("ostler.lock");
    let word = fs::read(&lock).unwrap();
    fs::write(&lock, b"").unwrap();
    let cut = text(&run(&["log", "verify", shown]));
    assert!(
        cut.contains(&format!("it would say: {name} ends at byte")) && cut.contains("the disk has lost a piece"),
        "{cut}"
    );
    assert!(fs::read(&log).unwrap() == holed, "nothing is changed");
    fs::write(&lock, word).unwrap();
    fs::write(&log, &bytes).unwrap();

    // A log that was made for a later txn, and holds none.
    let made = folder(dir.path()).join("log.68");
    fs::write(&made, [&bytes[..16], &[0; 4096]].concat()).unwrap();
    let refused = run(&["log", "verify", shown]);
    assert_eq!(refused.status.code(), Some(1));
    let line = text(&refused).lines().find(|line| line.contains("refused")).unwrap().to_owned();
    let reason = line.split_once("refused: ").unwrap().1.to_owned();
    assert!(reason.contains("by its name log.68 was made for txn 0x68"), "{reason}");
    let why = format!("{:#}", ostler::Server::start(&options).unwrap_err());
    assert!(why.contains(&reason), "{reason}\n{why}");
    // It may be the snapshot that is missing.
    let (snapshot, away) = (folder(dir.path()).join("snapshot.0"), dir.path().join("snapshot.0"));
    fs::rename(&snapshot, &away).unwrap();
    let alone = text(&run(&["log", "verify", shown]));
    assert!(alone.contains(&reason) && alone.contains("nothing of this, if the dataDir has a snapshot"), "{alone}");
    fs::rename(&away, &snapshot).unwrap();
    fs::remove_file(&made).unwrap();

    // Stopped in order, and shorter now.
    written(&options, 101, 10, true);
    let log = files(dir.path(), "log.").pop().unwrap();
    let length = fs::metadata(&log).unwrap().len();
    fs::File::options().write(true).open(&log).unwrap().set_len(length - 10).unwrap();
    let short = text(&run(&["log", "verify", shown]));
    assert!(short.contains(&format!("was whole up to byte {length} when its server stopped")), "{short}");
    // The same logs with their snapshots elsewhere.
    fs::remove_file(folder(dir.path()).join("snapshot.0")).unwrap();
    let alone = text(&run(&["log", "verify", shown]));
    assert!(alone.contains(&format!("was whole up to byte {length} when its server stopped")), "{alone}");
    fs::write(&lock, b"").unwrap();
    let alone = text(&run(&["log", "verify", shown]));
    assert!(
        alone.contains("no snapshot is here, and a start needs one") && alone.contains("never finished"),
        "{alone}"
    );
}

#[test]
fn a_start_goes_on_after_what_cut_advises() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    // Each start goes on in a file of its own.
    written(&options, 1, 40, false);
    let log = files(dir.path(), "log.").pop().unwrap();
    written(&options, 101, 40, false);
    written(&options, 201, 40, true);
    let logs = files(dir.path(), "log.");
    let later: Vec<&PathBuf> = logs.iter().skip_while(|it| **it != log).skip(1).collect();
    assert!(later.len() >= 2);
    // In the second record.
    let mut bytes = fs::read(&log).unwrap();
    let second = 16 + 13 + u32::from_be_bytes(*bytes[24..].first_chunk().unwrap()) as usize;
    bytes[second + 30] ^= 1;
    fs::write(&log, bytes).unwrap();
    let why = format!("{:#}", ostler::Server::start(&options).unwrap_err());
    assert!(why.contains("ostler log cut"), "{why}");
    let good = dir.path().join("good");
    let said = text(&run(&["log", "cut", log.to_str().unwrap(), "-o", good.to_str().unwrap()]));
    let names: Vec<&str> = later.iter().map(|log| log.file_name().unwrap().to_str().unwrap()).collect();
    assert!(said.contains(&format!("move them elsewhere too: {}.", names.join(", "))), "{said}");
    assert!(said.contains("Remove ostler.lock"), "{said}");
    // As it is told.
    fs::rename(&good, &log).unwrap();
    for (log, name) in later.iter().zip(&names) {
        fs::rename(log, dir.path().join(name)).unwrap();
    }
    fs::remove_file(folder(dir.path()).join("ostler.lock")).unwrap();
    written(&options, 1000, 1, true);

    // A whole one needs nothing of it.
    let log = files(dir.path(), "log.")[0].clone();
    let copy = dir.path().join("copy");
    let said = text(&run(&["log", "cut", log.to_str().unwrap(), "-o", copy.to_str().unwrap()]));
    assert!(!said.contains("elsewhere too") && !said.contains("ostler.lock"), "{said}");
}

fn follow(dir: &Path) -> Child {
    Command::new(ostler::binary().unwrap())
        .args(["log", "follow", "--all", folder(dir).to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// It ends by itself, with an error; what it says.
fn gives_up(mut follower: Child) -> String {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = follower.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            follower.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (mut shown, mut said) = (String::new(), String::new());
    follower.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    follower.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "it says: {said}\nand has shown: {shown}");
    said
}

#[test]
fn follow_says_what_it_can_not_follow() {
    let dir = tempfile::tempdir().unwrap();
    // A new server goes on to a file that was made beforehand when that is there: the newest one may hold next to nothing.
    let mut from = 1;
    let (log, bytes, at) = loop {
        assert!(from < 1000, "in vain: a log with some txns");
        written(&options(dir.path()), from, 40, false);
        from += 40;
        let log = files(dir.path(), "log.").pop().unwrap();
        let bytes = fs::read(&log).unwrap();
        let is_path = |at: &usize| bytes[*at..].starts_with(b"/z");
        let paths: Vec<usize> = (0..bytes.len()).filter(is_path).take(20).collect();
        if paths.len() == 20 {
            break (log, bytes, paths[10]);
        }
    };
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(&log, damaged).unwrap();
    let said = gives_up(follow(dir.path()));
    assert!(said.contains("the record at byte") && said.contains("is broken"), "{said}");
    // Zeros from the beginning of a record on, with others behind.
    let mut holed = bytes.clone();
    let record = 12 + u32::from_be_bytes(*bytes[24..].first_chunk().unwrap()) as usize + 1;
    holed[16 + record..16 + 2 * record].fill(0);
    fs::write(&log, holed).unwrap();
    let said = gives_up(follow(dir.path()));
    assert!(said.contains("there are zeros at byte") && said.contains("behind them"), "{said}");
    // Cut, and removed, while it is followed.
    for (is_cut, words) in [(true, "was cut to 100 bytes"), (false, "was removed")] {
        fs::write(&log, &bytes).unwrap();
        let mut follower = follow(dir.path());
        // It is there when it has shown something.
        let mut first = [0; 200];
        follower.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        if is_cut {
            fs::File::options().write(true).open(&log).unwrap().set_len(100).unwrap();
        } else {
            fs::remove_file(&log).unwrap();
        }
        let said = gives_up(follower);
        assert!(said.contains(words) || said.contains("no txn logs there"), "{said}");
    }
}

#[test]
fn follow_waits_for_the_first_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder(dir.path())).unwrap();
    let mut follower = Command::new(ostler::binary().unwrap())
        .args(["log", "follow", "--count", "3", folder(dir.path()).to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = vec![0; 10];
    follower.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    written(&options(dir.path()), 1, 5, false);
    let deadline = Instant::now() + PATIENCE;
    while follower.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            follower.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success(), "in vain: three txns");
    assert_eq!(text(&output).lines().count(), 4, "{}", text(&output));
    let said = String::from_utf8([said, output.stderr].concat()).unwrap();
    assert!(said.contains("no txn log there yet; waiting for the first"), "{said}");
}

#[test]
fn diff_names_the_sessions_that_differ() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg("snapCount=1000000").cfg("snapSizeLimitInKb=32");
    let mut server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    let (mut sent, mut others, mut snapshots) = (0, Vec::new(), Vec::new());
    for round in 1..=2 {
        let (other, granted) = Connection::session(server.addr()).unwrap();
        others.push((other, granted.session_id));
        let mut begun = None;
        let deadline = Instant::now() + PATIENCE;
        let snapshot = loop {
            assert!(Instant::now() < deadline, "in vain: snapshot {round}");
            sent += 1;
            let reply = client.call(sent, 1, &create(&format!("/n{sent}"), &[7; 1000], 0)).unwrap();
            assert_eq!(reply.err, 0);
            // One that was begun before the session does not have it.
            let begun = *begun.get_or_insert(reply.zxid);
            let has_it = |path: &&PathBuf| zxid_of(path, "snapshot.").is_some_and(|zxid| zxid >= begun as u64);
            if let Some(found) = files(dir.path(), "snapshot.").iter().find(has_it) {
                break found.clone();
            }
        };
        snapshots.push(snapshot);
    }
    server.kill().unwrap();
    let ids: Vec<i64> = others.iter().map(|(_, id)| *id).collect();
    let (left, right) = (snapshots[0].to_str().unwrap(), snapshots[1].to_str().unwrap());
    let told = text(&run(&["snapshot", "diff", left, right]));
    let line = format!("session       {:#x} only right", ids[1]);
    assert!(told.lines().any(|it| it == line), "{line} is missing in:\n{told}");
    let told = text(&run(&["snapshot", "diff", right, left, "--json"]));
    assert!(told.contains(&format!("\"session\":\"{:#x}\"", ids[1])), "{told}");
    assert!(!told.contains(&format!("{:#x}", ids[0])), "{told}");
}
