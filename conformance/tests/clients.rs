//! Clients that people use, unchanged: kazoo, Apache's Java client, and Apache's command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::Stdio;

use ostler_conformance::{Options, Server, apache, java, ostler, python};

/// kazoo's recipes; each prints a line when it is done.
#[test]
fn kazoo() {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let output = python::program("recipes.py").unwrap().arg(server.addr().to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 16, "{text}");
}

/// The same operations, the same answers; then the same tree.
#[test]
fn java_client_gets_the_same_answers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    // The sessions that are left open must not end, on one of the two, before the last operation.
    let options = |at: usize| {
        let options = Options::new(dirs[at].path()).cfg("maxSessionTimeout=3600000");
        // Nor may a container go on one of the two.
        let checks = "znode.container.checkIntervalMs=86400000";
        options.jvm(format!("-D{checks}")).cfg(checks)
    };
    let one = apache::Server::start(&options(0)).unwrap();
    let other = ostler::Server::start(&options(1)).unwrap();
    for seed in [5, 6] {
        let answers = std::thread::scope(|scope| {
            let running =
                [one.addr(), other.addr()].map(|addr| scope.spawn(move || java::workload(addr, seed, 1200).unwrap()));
            running.map(|it| it.join().unwrap())
        });
        let differs = answers[0].lines().zip(answers[1].lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: Apache, then Ostler");
        assert_eq!(answers[0].len(), answers[1].len());
    }
    let trees = [one.addr(), other.addr()].map(|addr| java::masked_dump(&java::dump_server(addr, None).unwrap()));
    assert!(trees[0].lines().count() > 100);
    let differs = trees[0].lines().zip(trees[1].lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None, "the trees: Apache, then Ostler");
    assert_eq!(trees[0].len(), trees[1].len());
}

/// Starts a server with these options.
type Start = fn(&Options) -> Box<dyn Server>;

fn comes_back(start: Start) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&Options::new(dir.path()));
    let port = server.port();
    let mut command = java::program("Reconnect", &[]).unwrap();
    let mut child = command
        .arg(server.addr().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The client's own log comes to the same place.
    let mut until = |word: &str| {
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if line == word {
                return;
            }
            said = said + &line + "\n";
        }
        panic!("never {word}:\n{said}");
    };
    until("ready");
    server.kill().unwrap();
    let mut again = Options::new(dir.path());
    again.port = Some(port);
    let _server = start(&again);
    until("done");
    assert!(child.wait().unwrap().success());
}

#[test]
fn java_client_comes_back_to_a_killed_server() {
    let servers: [Start; 2] = [
        |options| Box::new(ostler::Server::start(options).unwrap()),
        |options| Box::new(apache::Server::start(options).unwrap()),
    ];
    std::thread::scope(|scope| {
        for start in servers {
            scope.spawn(move || comes_back(start));
        }
    });
}

/// What zkCli prints for a script, and for single commands, with the parts masked that differ between two servers.
fn zk_cli(addr: SocketAddr) -> Vec<String> {
    let run = |arguments: &[&str], script: &str| {
        let mut command =
            java::program("org.apache.zookeeper.ZooKeeperMain", &["-Dorg.jline.terminal.dumb=true"]).unwrap();
        command.args(["-server", &addr.to_string()]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        format!("exit {:?}\n{text}", output.status.code())
    };
    let mut said = vec![run(&[], SCRIPT)];
    for command in COMMANDS {
        said.push(run(&command.split(' ').collect::<Vec<_>>(), ""));
    }
    // What its other thread prints of the connection comes between any two lines, and with empty ones around it.
    let connected = ["", "WATCHER::", "WatchedEvent state:SyncConnected type:None path:null zxid: -1"];
    let lines = said.iter().flat_map(|it| it.lines()).filter(|line| !connected.contains(line));
    let lines = lines.filter(|line| !line.contains(" WARN ") && !line.contains(" ERROR "));
    let mut lines: Vec<String> = lines.map(|line| masked_line(line, addr)).collect();
    // The identities of whoami are a set.
    let identities = 1 + lines.iter().position(|line| line.ends_with("Auth scheme: User")).expect("whoami");
    lines[identities..identities + 2].sort();
    lines
}

fn masked_line(line: &str, addr: SocketAddr) -> String {
    for time in ["ctime = ", "mtime = "] {
        if line.starts_with(time) && !line.contains("1970") {
            return format!("{time}masked");
        }
    }
    if line.starts_with("ephemeralOwner = 0x") && line.len() > 24 {
        return "ephemeralOwner = a session".to_owned();
    }
    line.replace(&addr.to_string(), "server")
}

const SCRIPT: &str = "\
ls /
create /cli data
create /cli again
create -s /cli/s- x
create -s /cli/s- y
create -e /cli/e mine
create -c /cli/box
create -t 1000 /cli/ttl
create /missing/x
create /cli/nothing
get /cli
get -s /cli
get -s /cli/e
get /cli/none
set /cli other
set -s /cli more
set -v 1 /cli wrong
set -v 2 -s /cli right
stat /cli
stat /cli/e
stat /
stat /zookeeper
ls -s /cli
ls -R /
ls /none
getAcl /cli
getAcl -s /cli
addauth digest me:secret
whoami
setAcl /cli/nothing auth::cdrwa
getAcl /cli/nothing
setAcl /cli/nothing digest:x:y:r
setAcl -v 9 /cli world:anyone:r
setAcl -s /cli world:anyone:cdrw
setAcl /cli world:anyone:cdrwa
getEphemerals
getEphemerals /cli
getAllChildrenNumber /cli
getAllChildrenNumber /
sync /cli
listquota /cli
delete /cli
delete -v 7 /cli/s-0000000000
delete /cli/s-0000000000
delete /none
delete /
deleteall /cli
deleteall /none
ls /
version
quit
";

const COMMANDS: &[&str] = &["create /one data", "set /one other", "get -s /one", "stat /none", "delete /one"];

#[test]
fn zk_cli_prints_the_same() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let one = apache::Server::start(&Options::new(dirs[0].path())).unwrap();
    let other = ostler::Server::start(&Options::new(dirs[1].path())).unwrap();
    let [one, other] = std::thread::scope(|scope| {
        let running = [one.addr(), other.addr()].map(|addr| scope.spawn(move || zk_cli(addr)));
        running.map(|it| it.join().unwrap())
    });
    for (at, (apache, ostler)) in one.iter().zip(&other).enumerate() {
        let before = one[at.saturating_sub(5)..at].join("\n  ");
        assert_eq!(apache, ostler, "Apache, then Ostler, after\n  {before}");
    }
    assert_eq!(one.len(), other.len());
    let text = one.join("\n");
    for word in ["Created /cli/s-0000000001", "ephemeralOwner = a session", "'digest,'me", "dataVersion = 3"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}
