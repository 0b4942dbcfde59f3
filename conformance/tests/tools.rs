//! `ostler log` and `ostler snapshot` beside Apache's own tools, on directories that both servers wrote; and on damaged
//! files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ostler_conformance::{Options, Server, apache, java, ostler};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(ostler::binary().unwrap()).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("version-2")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    let zxid = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        u64::from_str_radix(name.split('.').nth(1).unwrap(), 16).unwrap()
    };
    found.sort_by_key(zxid);
    found
}

/// A directory with some logs and snapshots, the server killed.
fn written(server: &mut dyn Server) -> PathBuf {
    java::workload(server.addr(), 77, 900).unwrap();
    server.kill().unwrap();
    server.process().dir().join("data")
}

fn options(dir: &Path) -> Options {
    Options::new(dir).cfg("snapCount=400").cfg("preAllocSize=64")
}

/// `session zxid cxid operation` of each txn, as Apache's tool prints them.
fn apaches_txns(log: &Path) -> Vec<String> {
    let mut tool = java::program("org.apache.zookeeper.server.persistence.TxnLogToolkit", &[]).unwrap();
    let printed = java::run(tool.arg("-d").arg(log)).unwrap();
    let mut txns = Vec::new();
    for line in printed.lines() {
        // A list of ACLs is spread over several lines.
        let Some((_, rest)) = line.split_once(" session ") else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [session, "cxid", cxid, "zxid", zxid, operation, ..] = words[..] else { panic!("{line}") };
        txns.push(format!("{session} {zxid} {cxid} {operation}"));
    }
    txns
}

fn our_txns(exported: &[Value]) -> Vec<String> {
    let field = |txn: &Value, name: &str| txn[name].as_str().unwrap().to_owned();
    let one = |txn: &Value| {
        let cxid = txn["cxid"].as_i64().unwrap() as i32;
        format!("{} {} {cxid:#x} {}", field(txn, "session"), field(txn, "zxid"), field(txn, "op"))
    };
    exported.iter().map(one).collect()
}

fn looks_alike(server: &mut dyn Server) {
    let data = written(server);
    let mut all = Vec::new();
    let logs = files(&data, "log.");
    for log in &logs {
        let ours = lines(&run(&["log", "export", log.to_str().unwrap()]));
        assert_eq!(our_txns(&ours), apaches_txns(log), "{}", log.display());
        all.extend(ours);
    }
    assert!(logs.len() > 1 && all.len() > 700, "{} txns in {} files", all.len(), logs.len());
    let folder = data.to_str().unwrap();
    let verified = run(&["log", "verify", folder]);
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains(&format!("{} txns, each whole", all.len())), "{}", text(&verified));

    // What is found is what a reader of everything would pick.
    let by_zxid = |txns: &[Value]| -> Vec<String> { txns.iter().map(|txn| txn["zxid"].to_string()).collect() };
    let session = all[all.len() / 2]["session"].as_str().unwrap().to_owned();
    let found = lines(&run(&["log", "find", folder, "--session", &session, "--json"]));
    let meant: Vec<Value> = all.iter().filter(|txn| txn["session"] == session.as_str()).cloned().collect();
    assert_eq!(by_zxid(&found), by_zxid(&meant));
    let named = all.iter().rev().find_map(|txn| txn["path"].as_str()).unwrap().to_owned();
    let found = lines(&run(&["log", "find", folder, "--path", &named, "--exact", "--json"]));
    assert!(found.iter().any(|txn| txn["path"] == named.as_str()), "{named}");
    for txn in &found {
        assert!(txn.to_string().contains(&named), "{txn} does not concern {named}");
    }
    let (from, to) = (all[100]["zxid"].as_str().unwrap(), all[200]["zxid"].as_str().unwrap());
    let found = lines(&run(&["log", "export", folder, "--from", from, "--to", to]));
    assert_eq!(by_zxid(&found), by_zxid(&all[100..=200]));

    // Snapshots: the znodes are those that Apache reads from them.
    for snapshot in files(&data, "snapshot.") {
        let path = snapshot.to_str().unwrap();
        let exported = lines(&run(&["snapshot", "export", path]));
        let ours: BTreeSet<String> =
            exported.iter().filter_map(|line| line["path"].as_str()).map(str::to_owned).collect();
        let mut tool = java::program("org.apache.zookeeper.server.SnapshotFormatter", &[]).unwrap();
        let printed = java::run(tool.arg(path)).unwrap();
        let theirs: BTreeSet<String> =
            printed.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect();
        assert_eq!(ours, theirs, "{path}");
        assert!(run(&["snapshot", "verify", path]).status.success());
        assert!(run(&["snapshot", "diff", path, path]).status.success());
    }
    let snapshots = files(&data, "snapshot.");
    let (first, last) = (snapshots[0].to_str().unwrap(), snapshots[snapshots.len() - 1].to_str().unwrap());
    let differences = run(&["snapshot", "diff", first, last, "--json"]);
    assert_eq!(differences.status.code(), Some(1), "they differ");
    let summary = lines(&run(&["snapshot", "summary", last, "--json"]));
    let count = lines(&run(&["snapshot", "export", last])).iter().filter(|line| line["path"].is_string()).count();
    assert_eq!(summary[0]["znodes"].as_u64(), Some(count as u64));
}

#[test]
fn what_apache_wrote_looks_as_apaches_tools_show_it() {
    let dir = tempfile::tempdir().unwrap();
    looks_alike(&mut apache::Server::start(&options(dir.path())).unwrap());
}

#[test]
fn what_ostler_wrote_looks_as_apaches_tools_show_it() {
    let dir = tempfile::tempdir().unwrap();
    looks_alike(&mut ostler::Server::start(&options(dir.path())).unwrap());
}

#[test]
fn damage_is_named_and_can_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&Options::new(dir.path()).cfg("preAllocSize=0")).unwrap();
    java::workload(server.addr(), 5, 300).unwrap();
    assert!(server.stop().unwrap().success());
    let data = dir.path().join("data");
    let log = files(&data, "log.").pop().unwrap();
    let path = log.to_str().unwrap().to_owned();
    let txns = lines(&run(&["log", "export", &path]));
    let middle = &txns[txns.len() / 2];
    let offset = middle["offset"].as_u64().unwrap();

    let mut bytes = fs::read(&log).unwrap();
    bytes[offset as usize + 20] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let verified = run(&["log", "verify", &path]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified).contains(&format!("at byte {offset}")), "{}", text(&verified));
    let shown = run(&["log", "export", &path]);
    assert_eq!(shown.status.code(), Some(1));
    assert_eq!(text(&shown).lines().count(), txns.len() / 2);

    let output = dir.path().join("cut");
    let cut = run(&["log", "cut", &path, "-o", output.to_str().unwrap()]);
    assert!(cut.status.success() && text(&cut).contains("left out, though whole"), "{}", text(&cut));
    assert_eq!(fs::read(&log).unwrap(), bytes, "the old file was changed");
    assert_eq!(apaches_txns(&output), our_txns(&txns[..txns.len() / 2]));
    assert!(!run(&["log", "cut", &path, "-o", output.to_str().unwrap()]).status.success(), "it was written over");

    // Up to a txn.
    let zxid = txns[10]["zxid"].as_str().unwrap();
    let shorter = dir.path().join("shorter");
    assert!(run(&["log", "cut", &path, "-o", shorter.to_str().unwrap(), "--zxid", zxid]).status.success());
    assert_eq!(apaches_txns(&shorter), our_txns(&txns[..=10]));
    let absent = run(&["log", "cut", &path, "-o", dir.path().join("no").to_str().unwrap(), "--zxid", "0x7fffffff"]);
    assert!(!absent.status.success() && !dir.path().join("no").exists());

    // A snapshot.
    let snapshot = files(&data, "snapshot.").pop().unwrap();
    let mut bytes = fs::read(&snapshot).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let verified = run(&["snapshot", "verify", snapshot.to_str().unwrap(), "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let report: Value = serde_json::from_str(text(&verified).trim()).unwrap();
    assert_eq!(report["verdict"], "damaged", "{report}");
}

#[test]
fn follow_shows_each_txn_once_over_new_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    java::workload(server.addr(), 1, 50).unwrap();
    let data = dir.path().join("data");
    let follower = Command::new(ostler::binary().unwrap())
        .args(["log", "follow", "--all", "--json", "--count", "450", data.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    java::workload(server.addr(), 2, 600).unwrap();
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success());
    server.kill().unwrap();
    let all = lines(&run(&["log", "export", data.to_str().unwrap()]));
    let followed = our_txns(&lines(&followed));
    assert_eq!(followed.len(), 450);
    let first = our_txns(&all).iter().position(|txn| *txn == followed[0]).unwrap();
    assert_eq!(followed, our_txns(&all)[first..first + 450]);
}
