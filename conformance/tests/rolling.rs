//! Members that are restarted and swapped one after the other while clients write, kazoo's or Java's: nothing acknowledged is
//! lost, and clients see nothing else, and not more of it, than when Apache's servers are restarted among themselves.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tell what it counted")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::ostler::binary;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{path, watch};
use ostler_conformance::{java, python};

const CLIENTS: usize = 4;
/// How long the clients may take to write some more: longer than any session lives.
const LIMIT: Duration = Duration::from_mins(1);

/// Whose clients write.
#[derive(Clone, Copy, Debug)]
enum Clients {
    Kazoo,
    Java,
}

/// Clients at work in a process of their own.
struct Load {
    child: Child,
    /// Its end ends the clients.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Load {
    fn start(ensemble: &Ensemble, clients: Clients) -> Self {
        let hosts: Vec<String> = ensemble.members().iter().map(|it| it.client.to_string()).collect();
        let mut command = match clients {
            Clients::Kazoo => python::program("rolling.py").unwrap(),
            Clients::Java => java::program("Rolling", &["-Dostler.log.level=OFF"]).unwrap(),
        };
        command.arg(hosts.join(",")).arg(CLIENTS.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, lines }
    }

    /// Waits until every client has written some more.
    fn goes_on(&self) {
        let until = Instant::now() + LIMIT;
        let mut seen = [false; CLIENTS];
        // What waits was written before.
        while self.lines.try_recv().is_ok() {}
        while seen.contains(&false) {
            let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("not every client went on within {LIMIT:?}: {seen:?}"));
            seen[line.split(' ').next().unwrap().parse::<usize>().unwrap()] = true;
        }
    }

    /// What the clients know at the end.
    fn end(mut self) -> Vec<serde_json::Value> {
        drop(self.input.take());
        let last = self.lines.iter().last().unwrap();
        self.child.wait().unwrap();
        serde_json::from_str(&last).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The members are stopped and started one by one, followers first, as these kinds.
fn roll(ensemble: &mut Ensemble, load: &Load, kind: Kind) {
    let mut ids = [1, 2, 3];
    ids.sort_by_key(|&id| ensemble.mode(id) == "leader");
    for id in ids {
        ensemble.stop(id).unwrap();
        ensemble.until("others lead", || ids.iter().any(|&it| it != id && ensemble.mode(it) == "leader")).unwrap();
        ensemble.start_as(id, kind).unwrap();
        ensemble.serving(id).unwrap();
        load.goes_on();
    }
}

/// The same by `ostler swap`, as an operator does it; its commands ask this test, which has the processes.
fn swap(dir: &Path, ensemble: &mut Ensemble, load: &Load, kind: Kind) {
    let lines: Vec<String> = ensemble
        .lines(1)
        .iter()
        .zip(ensemble.members())
        .map(|(line, member)| format!("{line};{}\n", member.client))
        .collect();
    let (file, asked) = (dir.join("all.cfg"), dir.join("asked"));
    fs::write(&file, lines.concat()).unwrap();
    fs::create_dir_all(&asked).unwrap();
    let ask = |what: &str| {
        let asks = format!("{}/{what}-$SERVER_ID", asked.display());
        format!("touch {asks}; while [ -e {asks} ]; do sleep 0.05; done")
    };
    let to = match kind {
        Kind::Ostler => "ostler",
        Kind::Apache => "apache",
    };
    let mut command = Command::new(binary().unwrap());
    command.args(["swap", "--wait", "60", "--json", "--to", to, "--stop", &ask("stop"), "--start", &ask("start")]);
    let mut swapping = Owned(command.arg(&file).stdout(Stdio::piped()).spawn().unwrap());
    let mut order = Vec::new();
    let status = loop {
        for id in 1..=3 {
            let (stop, start) = (asked.join(format!("stop-{id}")), asked.join(format!("start-{id}")));
            if stop.exists() {
                load.goes_on();
                order.push((id, ensemble.mode(id)));
                ensemble.stop(id).unwrap();
                fs::remove_file(stop).unwrap();
            } else if start.exists() {
                ensemble.start_as(id, kind).unwrap();
                fs::remove_file(start).unwrap();
            }
        }
        if let Some(status) = swapping.0.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut told = String::new();
    swapping.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(status.success(), "{told}");
    assert_eq!(told.matches("\"event\":\"in-sync\"").count(), 3, "{told}");
    let modes: Vec<&str> = order.iter().map(|(_, mode)| mode.as_str()).collect();
    assert_eq!(modes, ["follower", "follower", "leader"], "{told}");
    load.goes_on();
    // Given again, it has nothing to do.
    let again = Command::new(binary().unwrap()).args(["swap", "--to", to]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success() && told.contains("nothing is to be done"), "{told}");
}

/// A process that ends with the test.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Rolls through these kinds, begun by Apache's. How many requests of clients failed, by the exception's name.
fn failures(clients: Clients, kinds: &[Kind]) -> BTreeMap<String, u64> {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("tickTime=500").cfg("initLimit=20");
    for id in 1..=3 {
        ensemble.start_as(id, Kind::Apache).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let load = Load::start(&ensemble, clients);
    load.goes_on();
    let mut before = Kind::Apache;
    for &kind in kinds {
        if kind == before {
            roll(&mut ensemble, &load, kind);
        } else {
            swap(dir.path(), &mut ensemble, &load, kind);
        }
        before = kind;
    }
    let results = load.end();
    let (mut failed, mut sent) = (BTreeMap::new(), 0);
    for member in ensemble.members() {
        for (client, result) in results.iter().enumerate() {
            kept(member.client, client, result);
        }
    }
    for result in &results {
        sent += result["sent"].as_u64().unwrap();
        for (name, count) in result["failures"].as_object().unwrap() {
            *failed.entry(name.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    println!("{clients:?} {kinds:?}: {sent} numbers sent, failed: {failed:?}, {:.1} s", began.elapsed().as_secs_f64());
    failed
}

/// What a client was acknowledged is there, at this server.
fn kept(at: SocketAddr, client: usize, result: &serde_json::Value) {
    let (mut connection, _) = Connection::session(at).unwrap();
    let own = format!("/k{client}");
    assert_eq!(connection.call(1, 9, &path(&own)).unwrap().err, 0);
    let data = connection.call(2, 4, &watch(&own, false)).unwrap().body;
    let length = i32::from_be_bytes(*data.first_chunk().unwrap()) as usize;
    let number: u64 = std::str::from_utf8(&data[4..4 + length]).unwrap().parse().unwrap();
    let (acknowledged, sent) = (result["acknowledged"].as_u64().unwrap(), result["sent"].as_u64().unwrap());
    assert!((acknowledged..=sent).contains(&number), "{own} at {at} is {number}, {acknowledged} was acknowledged");
    for child in result["children"].as_array().unwrap() {
        let there = connection.call(3, 3, &watch(&format!("{own}/{child}"), false)).unwrap();
        assert_eq!(there.err, 0, "{own}/{child} is gone at {at}");
    }
}

#[test]
fn a_swap_and_back_costs_kazoo_no_more_than_restarts() {
    costs_no_more(Clients::Kazoo);
}

#[test]
fn a_swap_and_back_costs_java_no_more_than_restarts() {
    costs_no_more(Clients::Java);
}

fn costs_no_more(clients: Clients) {
    // A stopped server takes with it what is under way there, one request of each of its clients, and a leader that goes
    // makes followers of Apache's let go of theirs: connection loss, and nothing else.
    let restart = failures(clients, &[Kind::Apache]);
    let swap = failures(clients, &[Kind::Ostler, Kind::Apache]);
    for failed in [&restart, &swap] {
        let others: Vec<_> = failed.iter().filter(|(name, _)| *name != "ConnectionLoss").collect();
        assert!(others.is_empty(), "{others:?}");
    }
    let count = |failed: &BTreeMap<String, u64>| failed.values().sum::<u64>();
    // A swap and back are two rounds of restarts. Whether a request is under way when a server goes is chance.
    let most = 2 * count(&restart) + 3 * CLIENTS as u64;
    assert!(count(&swap) <= most, "{} requests failed in a swap and back, {restart:?} in restarts", count(&swap));
}
