//! Ensembles that change while they run: of ours, of Apache's and ours together. The shell reconfigures, and Apache's zkCli.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::ostler::binary;
use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::{self, Connection};
use ostler_conformance::script::create;
use ostler_conformance::{four_letter, java};

/// One command of the shell: whether it went well, and what it said.
fn shell(at: SocketAddr, command: &[&str]) -> (bool, String) {
    let done = Command::new(binary().unwrap()).args(["shell", "-s", &at.to_string()]).args(command).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}

struct World(Ensemble);

impl World {
    /// The first three are the ensemble.
    fn started(dir: &tempfile::TempDir, kinds: &[Kind]) -> Self {
        let mut ensemble =
            Ensemble::new(dir.path(), kinds.len() as u8, 0, false).unwrap().growing_from(3).cfg("tickTime=500");
        for (id, kind) in (1..).zip(kinds).take(3) {
            ensemble.start_as(id, *kind).unwrap();
        }
        let world = Self(ensemble);
        world.serving(&[1, 2, 3]);
        world
    }

    fn at(&self, id: u8) -> SocketAddr {
        self.0.member(id).unwrap().client
    }

    fn mode(&self, id: u8) -> String {
        let done =
            Command::new(binary().unwrap()).args(["status", "--json", &self.at(id).to_string()]).output().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        value["members"][0]["state"].as_str().unwrap().to_owned()
    }

    fn serving(&self, ids: &[u8]) {
        for &id in ids {
            let serves = || ["leader", "follower", "observer"].contains(&self.mode(id).as_str());
            self.0.until(&format!("server {id} serves"), serves).unwrap();
        }
    }

    fn leader(&self, ids: &[u8]) -> u8 {
        *ids.iter().find(|id| self.mode(**id) == "leader").expect("there is a leader")
    }

    /// What comes of a command that is tried until its server has a leader.
    fn said(&self, id: u8, command: &[&str]) -> (bool, String) {
        let said = std::cell::RefCell::default();
        let is_through = || {
            *said.borrow_mut() = shell(self.at(id), command);
            !said.borrow().1.contains("ConnectionLoss")
        };
        self.0.until(&format!("{command:?} through {id}"), is_through).unwrap();
        said.into_inner()
    }

    /// Tried until it goes: whoever has just joined may not be in sync yet.
    fn reconfig(&self, through: u8, args: &[&str]) {
        let at = self.at(through);
        let command = [&["reconfig"], args].concat();
        let goes = || {
            let (is_good, text) = shell(at, &command);
            assert!(is_good || text.contains("No quorum of new config") || text.contains("ConnectionLoss"), "{text}");
            is_good
        };
        self.0.until(&format!("{command:?} through {through}"), goes).unwrap();
    }

    /// The servers in `/zookeeper/config`, as this one has it.
    fn config(&self, id: u8) -> Vec<String> {
        let text = self.said(id, &["config"]).1;
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.starts_with("server.")).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn have(&self, ids: &[u8], servers: &[&str]) {
        for &id in ids {
            let has = || {
                let config = self.config(id);
                config.len() == servers.len() && config.iter().zip(servers).all(|(it, wanted)| it.contains(wanted))
            };
            self.0.until(&format!("server {id} knows {servers:?}"), has).unwrap();
        }
    }

    fn writes(&self, path: &str, ids: &[u8]) {
        for &id in ids {
            let path = format!("/{path}-{id}");
            let goes = || shell(self.at(id), &["create", &path, "x"]).0 || shell(self.at(id), &["get", &path]).0;
            self.0.until(&format!("{path} through server {id}"), goes).unwrap();
        }
    }
}

fn grows_and_shrinks(kinds: [Kind; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &kinds);
    let three = ["server.1=", "server.2=", "server.3="];
    world.have(&[1, 2, 3], &three);
    // The first leader names the configuration, and the file is split.
    for id in 1..=3 {
        let cfg = world.0.dir(id).join("zoo.cfg");
        let is_split = || std::fs::read_to_string(&cfg).is_ok_and(|it| it.contains("dynamicConfigFile="));
        world.0.until("the file is split", is_split).unwrap();
        let text = std::fs::read_to_string(&cfg).unwrap();
        assert!(!text.contains("server.1=") && text.contains("reconfigEnabled=true"), "{text}");
    }

    // One joins.
    world.0.start_as(4, kinds[3]).unwrap();
    world.serving(&[4]);
    let add = world.0.joining(4, "participant").unwrap();
    world.reconfig(1, &["-add", &add]);
    let four = ["server.1=", "server.2=", "server.3=", "server.4="];
    world.have(&[1, 2, 3, 4], &four);
    world.writes("four", &[1, 2, 3, 4]);

    // Four outlive their leader, who comes back by its own files.
    let leader = world.leader(&[1, 2, 3, 4]);
    world.0.kill(leader).unwrap();
    let left: Vec<u8> = (1..=4).filter(|&id| id != leader).collect();
    world.0.until("another leads", || left.iter().any(|&id| world.mode(id) == "leader")).unwrap();
    world.serving(&left);
    world.writes("without", &left);
    world.0.start_as(leader, kinds[usize::from(leader) - 1]).unwrap();
    world.serving(&[leader]);
    world.have(&[leader], &four);

    // A follower becomes an observer, and votes again.
    let leader = world.leader(&[1, 2, 3, 4]);
    let other = (1..=4).find(|&id| id != leader).unwrap();
    world.reconfig(leader, &["-add", &world.0.joining(other, "observer").unwrap()]);
    world.0.until("it observes", || world.mode(other) == "observer").unwrap();
    world.writes("observed", &[other]);

    // The leader leaves: another one leads, named by the reconfig.
    world.reconfig(leader, &["-remove", &leader.to_string()]);
    let left: Vec<u8> = (1..=4).filter(|&id| id != leader).collect();
    world.0.until("another leads", || left.iter().any(|&id| world.mode(id) == "leader")).unwrap();
    world.serving(&left);
    let names: Vec<String> = left.iter().map(|id| format!("server.{id}=")).collect();
    world.have(&left, &names.iter().map(String::as_str).collect::<Vec<_>>());
    world.writes("left", &left);
}

#[test]
fn ours_grow_and_shrink() {
    grows_and_shrinks([Kind::Ostler; 4]);
}

#[test]
fn ours_grow_by_one_of_apaches() {
    grows_and_shrinks([Kind::Ostler, Kind::Ostler, Kind::Ostler, Kind::Apache]);
}

#[test]
fn apaches_grow_by_one_of_ours() {
    grows_and_shrinks([Kind::Apache, Kind::Ostler, Kind::Apache, Kind::Ostler]);
}

#[test]
fn what_is_refused_is_refused_as_apache_does() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::started(&dir, &[kind; 3]);
        for (command, error) in [
            (&["reconfig", "-add", "server.9=127.0.0.1:1:1;2"][..], "Arguments are not valid"),
            (&["reconfig", "-add", "server.9=127.0.0.1:1:2"], "Arguments are not valid"),
            (&["reconfig", "-remove", "2,3"], "Arguments are not valid"),
            (&["reconfig", "-v", "77", "-remove", "3"], "version No is not valid"),
            (&["reconfig", "-members", "server.7=127.0.0.1:1:2;3,server.8=127.0.0.1:4:5;6"], "No quorum of new config"),
        ] {
            let (is_good, text) = world.said(1, command);
            assert!(!is_good && text.contains(error), "{kind:?} {command:?}: {text}");
        }
        assert_eq!(world.config(1).len(), 3);
    }
}

impl World {
    /// A line that names another client address.
    fn line(&self, id: u8, client: SocketAddr) -> String {
        let line = self.0.joining(id, "participant").unwrap();
        format!("{};{client}", line.split_once(';').unwrap().0)
    }
}

/// The port that `conf` tells.
fn port_told(at: SocketAddr) -> Option<u16> {
    let text = four_letter::ask(at, "conf").ok()?;
    text.lines().find_map(|line| line.strip_prefix("clientPort=")?.parse().ok())
}

/// Clients find each server at the port that its line says now; who is connected stays, and the next start goes there.
fn client_ports_move(kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &[kind; 3]);
    let leader = world.leader(&[1, 2, 3]);
    let follower = leader % 3 + 1;
    for (id, through) in [(follower, leader), (leader, leader % 3 + 2)] {
        let (old, [new, ..]) = (world.at(id), free_addrs().unwrap());
        let through = if through > 3 { through - 3 } else { through };
        let (mut session, _) = Connection::session(old).unwrap();
        world.reconfig(through, &["-add", &world.line(id, new)]);
        world.0.until("it serves at its new port", || raw::is_serving(new)).unwrap();
        world.0.until("nobody listens at the old one", || TcpStream::connect(old).is_err()).unwrap();
        assert_eq!(session.call(1, 1, &create(&format!("/stays-{id}"), b"", 0)).unwrap().err, 0);
        assert_eq!(port_told(new), Some(new.port()));
        let has = || four_letter::ask(new, "conf").is_ok_and(|text| text.contains(&format!(";{new}")));
        world.0.until("it knows its line", has).unwrap();
        world.0.stop(id).unwrap();
        world.0.start_as(id, kind).unwrap();
        world.0.until("it is there when it has been stopped", || raw::is_serving(new)).unwrap();
        assert!(TcpStream::connect(old).is_err());
    }
}

#[test]
fn client_ports_of_ours_move() {
    client_ports_move(Kind::Ostler);
}

#[test]
fn client_ports_of_apaches_move() {
    client_ports_move(Kind::Apache);
}

/// Somebody has the new port: the server stays where it is, says so once, and moves when it can.
#[test]
fn a_client_port_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &[Kind::Ostler; 3]);
    let (old, [new, ..]) = (world.at(2), free_addrs().unwrap());
    let other = TcpListener::bind(new).unwrap();
    world.reconfig(1, &["-add", &world.line(2, new)]);
    let told = format!("clients can't find this server at {new}, where its own line says: can't listen on {new}: ");
    world.0.until(&told, || world.0.log_contains(2, &told)).unwrap();
    world.writes("taken", &[2]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(port_told(old), Some(old.port()));
    let log = std::fs::read_to_string(world.0.dir(2).join("server.log")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&told)).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(
        line.contains("the port is taken") && line.ends_with(&format!("it stays at {old}, and tries again")),
        "{line}"
    );
    drop(other);
    world.0.until("it has moved", || raw::is_serving(new) && TcpStream::connect(old).is_err()).unwrap();
    world.0.kill(2).unwrap();
}

/// One command of Apache's zkCli: its lines, without what it tells of the connection.
fn zk_cli(at: SocketAddr, command: &[&str]) -> Vec<String> {
    let mut java = java::program("org.apache.zookeeper.ZooKeeperMain", &["-Dorg.jline.terminal.dumb=true"]).unwrap();
    let done = java.args(["-server", &at.to_string()]).args(command).output().unwrap();
    let text = [done.stdout, done.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    let noise = ["WATCHER::", "WatchedEvent ", "Connecting to "];
    let lines = text.lines().filter(|line| !line.is_empty() && !noise.iter().any(|it| line.starts_with(it)));
    lines.filter(|line| !line.contains(" WARN ") && !line.contains(" ERROR ")).map(str::to_owned).collect()
}

/// What zkCli prints of an ensemble of this kind that grows and shrinks, without what differs: ports and versions.
fn changed_by_zk_cli(kind: Kind) -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, &[kind; 4]);
    world.0.start_as(4, kind).unwrap();
    world.serving(&[4]);
    let leader = world.leader(&[1, 2, 3]);
    let (through, at) = ((1..=3).find(|&id| id != leader).unwrap(), |id| world.at(id));
    let add = world.0.joining(4, "participant").unwrap();
    let observer = world.0.joining(4, "observer").unwrap();
    let members: Vec<String> = (1..=3).map(|id| world.0.joining(id, "participant").unwrap()).collect();
    let mut said = Vec::new();
    // Until the newcomer is in sync there is no quorum of four with it.
    let joins = std::cell::RefCell::default();
    let goes = || {
        *joins.borrow_mut() = zk_cli(at(through), &["reconfig", "-add", &add]);
        joins.borrow().iter().any(|line: &String| line.starts_with("Committed new configuration"))
    };
    world.0.until("the fourth joins", goes).unwrap();
    said.push(joins.into_inner());
    world.have(&[1, 2, 3, 4], &["server.1=", "server.2=", "server.3=", "server.4="]);
    said.push(zk_cli(at(4), &["config"]));
    said.push(zk_cli(at(4), &["config", "-c"]));
    said.push(zk_cli(at(through), &["reconfig", "-v", "77", "-remove", "4"]));
    said.push(zk_cli(at(through), &["reconfig", "-add", "server.9=127.0.0.1:1:1;2"]));
    said.push(zk_cli(at(leader), &["reconfig", "-add", &observer]));
    world.0.until("it observes", || world.mode(4) == "observer").unwrap();
    said.push(zk_cli(at(through), &["reconfig", "-remove", "4"]));
    said.push(zk_cli(at(through), &["reconfig", "-members", &members.join(",")]));
    world.writes("after", &[1, 2, 3]);
    said.into_iter().map(|lines| lines.iter().map(|line| masked(line)).collect()).collect()
}

/// Ports and versions are long numbers, and nothing else is.
fn masked(line: &str) -> String {
    let (mut out, mut number) = (String::new(), String::new());
    for it in line.chars().chain([' ']) {
        if it.is_ascii_hexdigit() {
            number.push(it);
            continue;
        }
        let is_long = number.len() >= 5 && number.starts_with(|first: char| first.is_ascii_digit());
        out.push_str(if is_long { "N" } else { &number });
        number.clear();
        out.push(it);
    }
    out
}

#[test]
fn zk_cli_changes_ours_as_it_changes_apaches() {
    let (apaches, ours) = (changed_by_zk_cli(Kind::Apache), changed_by_zk_cli(Kind::Ostler));
    assert!(
        apaches[0].iter().any(|line| line.starts_with("server.4=127.0.0.1:N:N:participant;127.0.0.1:N")),
        "{apaches:?}"
    );
    for (at, (theirs, ours)) in apaches.iter().zip(&ours).enumerate() {
        assert_eq!(theirs, ours, "command {at}");
    }
}
