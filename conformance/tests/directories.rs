//! Data directories that wander between Apache and Ostler: each opens what the other wrote under load and was killed
//! over, with nothing lost, nothing added, and each goes on with it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, set, watch};
use ostler_conformance::{Options, Server, apache, java, ostler};

/// Lets `super:secret` see everything.
const SUPER: &str = "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
/// Containers are looked at once a day.
const NO_CHECKS: &str = "znode.container.checkIntervalMs=86400000";
/// Snapshots of each directory that are opened one by one.
const SNAPSHOTS_TRIED: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Apache,
    Ostler,
}

impl Kind {
    fn start(self, dir: &Path) -> Box<dyn Server> {
        self.start_with(dir, "")
    }

    fn start_with(self, dir: &Path, line: &str) -> Box<dyn Server> {
        // No session may run out of time between two looks at what is there, and no container be removed.
        let options = Options::new(dir).cfg(SUPER).cfg("snapCount=100").cfg("preAllocSize=64");
        let options = options.cfg("maxSessionTimeout=3600000").cfg(line);
        match self {
            // It reads this from its command line only.
            Self::Apache => Box::new(apache::Server::start(&options.jvm(format!("-D{NO_CHECKS}"))).unwrap()),
            Self::Ostler => Box::new(ostler::Server::start(&options.cfg(NO_CHECKS)).unwrap()),
        }
    }
}

/// Apache's client at work in a process of its own.
struct Load {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Load {
    fn start(server: &dyn Server, seed: u64) -> Self {
        let mut command = java::program("Workload", &[]).unwrap();
        command.arg(server.addr().to_string()).arg(seed.to_string()).arg("1000000");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until so many more operations are acknowledged.
    fn wait(&mut self, operations: usize) {
        for _ in 0..operations {
            self.lines.next().expect("the load ended").unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two clients at work; the server is killed while they are.
fn load_and_kill(server: &mut dyn Server, seed: u64, operations: usize) {
    let mut loads = [Load::start(server, seed), Load::start(server, seed + 1)];
    loads[0].wait(operations);
    loads[1].wait(1);
    server.kill().unwrap();
}

fn znodes(dump: &str) -> String {
    dump.lines().filter(|line| line.starts_with("znode ")).flat_map(|line| [line, "\n"]).collect()
}

fn seen(server: &dyn Server) -> String {
    java::dump_server(server.addr(), Some(("digest", "super:secret"))).unwrap()
}

/// Equal, or the first lines that differ.
fn assert_same(what: &str, one: &str, other: &str) {
    if one == other {
        return;
    }
    let (left, right): (BTreeSet<&str>, BTreeSet<&str>) = (one.lines().collect(), other.lines().collect());
    let only = |these: &BTreeSet<&str>, those: &BTreeSet<&str>| {
        these.difference(those).take(5).copied().collect::<Vec<_>>().join("\n")
    };
    panic!("{what}: only before:\n{}\nonly after:\n{}", only(&left, &right), only(&right, &left));
}

/// The files in `version-2` whose names begin with `prefix`, oldest first.
fn files(data: &Path, prefix: &str) -> Vec<PathBuf> {
    let zxid = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        u64::from_str_radix(name.split('.').nth(1).unwrap(), 16).unwrap()
    };
    let entries = fs::read_dir(data.join("version-2")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    found.sort_by_key(zxid);
    found
}

/// A copy of the directory with one of its snapshots and all of its logs.
fn with_one_snapshot(data: &Path, snapshot: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("data/version-2");
    fs::create_dir_all(&to).unwrap();
    let logs = files(data, "log.");
    for file in logs.iter().map(PathBuf::as_path).chain([snapshot]) {
        fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
    }
    copy
}

/// Whoever reads: each snapshot, most of them taken while writes went on, leads to the same znodes with the log behind it.
fn each_snapshot_leads_to_the_same(data: &Path, reader: Kind, expected: &str) {
    let snapshots = files(data, "snapshot.");
    assert!(snapshots.len() > 2, "too few snapshots: {snapshots:?}");
    let step = snapshots.len().div_ceil(SNAPSHOTS_TRIED);
    for snapshot in snapshots.iter().step_by(step) {
        let copy = with_one_snapshot(data, snapshot);
        let what = format!("{} read by {reader:?}", snapshot.display());
        match reader {
            Kind::Apache => assert_same(&what, expected, &java::dump_dir(&copy.path().join("data")).unwrap()),
            Kind::Ostler => {
                let server = reader.start(copy.path());
                assert_same(&what, &znodes(expected), &seen(&*server));
            }
        }
    }
}

/// `first` writes and is killed, `second` opens, goes on and is killed, `first` opens again.
fn wander(first: Kind, second: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = first.start(dir.path());
    load_and_kill(&mut *server, 11, 1500);
    let written = java::dump_dir(&data).unwrap();
    assert!(znodes(&written).lines().count() > 100, "little was written");
    assert!(written.contains("\nsession 0x") && written.contains("owner=0x1"), "no session or no ephemeral is left");
    assert!(files(&data, "log.").len() > 2, "too few logs");
    each_snapshot_leads_to_the_same(&data, second, &written);

    // Opened and closed: the same sessions, zxid and digest too.
    server = second.start(dir.path());
    assert!(server.stop().unwrap().success() || second == Kind::Apache);
    assert_same("opened and closed", &written, &java::dump_dir(&data).unwrap());

    server = second.start(dir.path());
    assert_same("opened, seen by a client", &znodes(&written), &seen(&*server));
    load_and_kill(&mut *server, 21, 1500);
    let more = java::dump_dir(&data).unwrap();
    assert_ne!(znodes(&written), znodes(&more));
    each_snapshot_leads_to_the_same(&data, first, &more);

    server = first.start(dir.path());
    assert_same("opened by the first again", &znodes(&more), &seen(&*server));
    let load = java::workload(server.addr(), 31, 200).unwrap();
    assert!(load.lines().count() >= 200);
    let last = seen(&*server);
    server.stop().unwrap();
    assert_same("closed by the first", &last, &znodes(&java::dump_dir(&data).unwrap()));
    server = second.start(dir.path());
    assert_same("opened by the second again", &last, &seen(&*server));
}

#[test]
fn ostler_goes_on_where_apache_was_killed() {
    wander(Kind::Apache, Kind::Ostler);
}

#[test]
fn apache_goes_on_where_ostler_was_killed() {
    wander(Kind::Ostler, Kind::Apache);
}

/// Compressed snapshots that one writes under load are read by the other, and by one that is told to write no such.
fn compressed(first: Kind, second: Kind, method: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = first.start_with(dir.path(), &format!("snapshot.compression.method={method}"));
    load_and_kill(&mut *server, 41, 700);
    let snapshots = files(&data, "snapshot.");
    assert!(snapshots.iter().all(|file| file.extension().is_some_and(|it| it == method)), "{snapshots:?}");
    let written = java::dump_dir(&data).unwrap();
    assert!(znodes(&written).lines().count() > 50, "little was written");
    each_snapshot_leads_to_the_same(&data, second, &written);
    server = second.start(dir.path());
    assert_same("opened by the other", &znodes(&written), &seen(&*server));
    assert!(server.stop().unwrap().success() || second == Kind::Apache);
}

#[test]
fn ostler_reads_the_compressed_snapshots_of_apache() {
    compressed(Kind::Apache, Kind::Ostler, "gz");
    compressed(Kind::Apache, Kind::Ostler, "snappy");
}

#[test]
fn apache_reads_the_compressed_snapshots_of_ostler() {
    compressed(Kind::Ostler, Kind::Apache, "gz");
    compressed(Kind::Ostler, Kind::Apache, "snappy");
}

/// Renews a session on another server.
fn renew(server: &dyn Server, session: i64, password: &[u8]) -> Connection {
    let request = ConnectRequest {
        session_id: session,
        password: Some(password.to_vec()),
        timeout_ms: 20_000,
        ..ConnectRequest::default()
    };
    let (connection, granted) = Connection::connect(server.addr(), &request).unwrap();
    assert_eq!(granted.session_id, session, "{} does not know the session", server.name());
    assert_eq!(granted.password, password);
    connection
}

fn sessions_move(first: Kind, second: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = first.start(dir.path());
    let short = ConnectRequest { timeout_ms: 4000, ..ConnectRequest::default() };
    let long = ConnectRequest { timeout_ms: 20_000, ..ConnectRequest::default() };
    let (mut stays, granted) = Connection::connect(server.addr(), &long).unwrap();
    let (mut goes, _) = Connection::connect(server.addr(), &short).unwrap();
    assert_eq!(stays.call(1, 1, &create("/stays", b"x", 1)).unwrap().err, 0);
    assert_eq!(goes.call(1, 1, &create("/goes", b"x", 1)).unwrap().err, 0);
    server.kill().unwrap();
    for (round, kind) in [second, first, second].into_iter().enumerate() {
        server = kind.start(dir.path());
        stays = renew(&*server, granted.session_id, &granted.password);
        let mine = stays.call(2, 3, &watch("/stays", false)).unwrap();
        assert_eq!((mine.err, &mine.body[44..52]), (0, &granted.session_id.to_be_bytes()[..]), "the owner");
        assert_eq!(stays.call(3, 5, &set("/stays", Some(b"y"), round as i32)).unwrap().err, 0);
        if round == 0 {
            // The other one does not come back.
            assert_eq!(stays.call(4, 3, &watch("/goes", true)).unwrap().err, 0);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            loop {
                assert!(std::time::Instant::now() < deadline, "the other session does not expire");
                stays.send(-2, 11, &[]).unwrap();
                if stays.read().unwrap().xid == -1 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        } else {
            assert_eq!(stays.call(4, 3, &watch("/goes", false)).unwrap().err, -101);
        }
        if round == 1 {
            server.stop().unwrap();
        } else {
            server.kill().unwrap();
        }
    }
}

#[test]
fn sessions_and_ephemerals_move_from_apache_to_ostler_and_back() {
    sessions_move(Kind::Apache, Kind::Ostler);
}

#[test]
fn sessions_and_ephemerals_move_from_ostler_to_apache_and_back() {
    sessions_move(Kind::Ostler, Kind::Apache);
}
