//! A znode with so many children that Ostler lists them in steps. Apache does it at once, and nobody can tell: the same
//! lists where nothing happens, and the same promises where another connection creates and deletes meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use ostler_conformance::raw::{Connection, Reply};
use ostler_conformance::script::{create, multi, path, path_version, watch};
use ostler_conformance::{Options, Server, apache, ostler};

const CHILDREN: usize = 20_000;
const ROUNDS: usize = 60;
const DELETE: i32 = 2;
const GET_CHILDREN: i32 = 8;
const GET_CHILDREN2: i32 = 12;
const MULTI_READ: i32 = 22;
const GET_ALL_CHILDREN_NUMBER: i32 = 104;

/// Long enough that the list takes more than a step.
fn name(number: usize) -> String {
    format!("{number:05}-a-child-with-a-name-of-some-sixty-bytes-{}", "ü".repeat(number % 10))
}

fn servers() -> [(tempfile::TempDir, Box<dyn Server>); 2] {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = dirs;
    let apache = apache::Server::start(&Options::new(one.path())).unwrap();
    let ostler = ostler::Server::start(&Options::new(other.path())).unwrap();
    [(one, Box::new(apache)), (other, Box::new(ostler))]
}

/// Creates the znode and its children; some in a txn of their own, most a thousand at a time.
fn fill(client: &mut Connection) {
    assert_eq!(client.call(1, 1, &create("/many", b"", 0)).unwrap().err, 0);
    let paths: Vec<String> = (0..CHILDREN).map(|number| format!("/many/{}", name(number))).collect();
    for alone in &paths[..500] {
        assert_eq!(client.call(1, 1, &create(alone, b"", 0)).unwrap().err, 0);
    }
    for together in paths[500..].chunks(1000) {
        let ops: Vec<_> = together.iter().map(|path| (1, create(path, b"", 0))).collect();
        assert_eq!(client.call(1, 14, &multi(&ops)).unwrap().err, 0);
    }
    let below = format!("/many/{}/below", name(7));
    assert_eq!(client.call(1, 1, &create(&below, b"", 0)).unwrap().err, 0);
}

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn int(&mut self) -> i32 {
        let (head, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        i32::from_be_bytes(*head)
    }

    fn long(&mut self) -> i64 {
        let (head, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        i64::from_be_bytes(*head)
    }

    fn text(&mut self) -> String {
        let length = self.int() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// The names, each once.
    fn names(&mut self) -> BTreeSet<String> {
        let count = self.int();
        let names: BTreeSet<String> = (0..count).map(|_| self.text()).collect();
        assert_eq!(names.len(), count as usize, "a name came twice");
        names
    }

    /// All of a Stat but its times.
    fn stat(&mut self) -> Stat {
        let (czxid, mzxid, _) = (self.long(), self.long(), (self.long(), self.long()));
        let versions = [self.int(), self.int(), self.int()];
        let (owner, length, children) = (self.long(), self.int(), self.int());
        Stat { czxid, mzxid, versions, owner, length, children, pzxid: self.long() }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    czxid: i64,
    mzxid: i64,
    versions: [i32; 3],
    owner: i64,
    length: i32,
    children: i32,
    pzxid: i64,
}

#[test]
fn a_long_list_is_the_same() {
    let mut answers = Vec::new();
    for (_dir, server) in &servers() {
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        fill(&mut client);
        let mut all = Vec::new();
        for op in [GET_CHILDREN, GET_CHILDREN2] {
            let reply = client.call(2, op, &watch("/many", true)).unwrap();
            let mut body = Body(&reply.body);
            let names = body.names();
            let stat = (op == GET_CHILDREN2).then(|| body.stat());
            assert!(body.0.is_empty());
            all.push((reply.zxid, reply.err, names, stat));
        }
        let counts = ["/", "/many", "/none"].map(|at| client.call(3, GET_ALL_CHILDREN_NUMBER, &path(at)).unwrap());
        let missing = client.call(4, GET_CHILDREN2, &watch("/none", true)).unwrap();
        // The watch that both lists set is one.
        client.send(5, DELETE, &path_version(&format!("/many/{}", name(3)), -1)).unwrap();
        let after = [client.read().unwrap(), client.read().unwrap()];
        answers.push((all, counts, missing, after));
    }
    let [apache, ostler] = &answers[..] else { panic!("two servers") };
    assert_eq!(apache.0[1].2.len(), CHILDREN);
    assert!(
        apache == ostler,
        "Apache and Ostler differ: {:?} and {:?}",
        (&apache.1, &apache.2),
        (&ostler.1, &ostler.2)
    );
}

/// A change of the znode's children.
struct Change {
    zxid: i64,
    name: String,
    is_creation: bool,
}

/// Creates and deletes until it is over, of the old children and of its own.
fn keep_changing(addr: SocketAddr, over: &AtomicBool) -> Vec<Change> {
    let (mut client, _) = Connection::session(addr).unwrap();
    let mut changes = Vec::new();
    for round in 0.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        let mut change = |name: String, is_creation: bool| {
            let path = format!("/many/{name}");
            let (op, body) = if is_creation { (1, create(&path, b"", 0)) } else { (DELETE, path_version(&path, -1)) };
            let reply = client.call(1, op, &body).unwrap();
            assert_eq!(reply.err, 0);
            changes.push(Change { zxid: reply.zxid, name, is_creation });
        };
        change(format!("late-{round:05}"), true);
        // From the end, where a walk comes last, and from all over.
        let old = if round % 2 == 0 { CHILDREN - 1 - round } else { round * 7919 % (CHILDREN / 2) };
        // One of them has a child of its own.
        if round < CHILDREN / 2 && old != 7 {
            change(name(old), false);
        }
        if round >= 5 && round % 3 == 0 {
            change(format!("late-{:05}", round - 5), false);
        }
    }
    changes
}

fn check(name: &str, frames: &[(i32, Reply)], changes: &[Change], mut names: BTreeSet<String>) {
    let mut done = 0;
    let mut set = None;
    for (op, reply) in frames {
        if reply.xid == -1 {
            let mut body = Body(&reply.body);
            assert_eq!((body.int(), body.int(), body.text().as_str()), (4, 3, "/many"), "{name}");
            let set: i64 = set.take().unwrap_or_else(|| panic!("{name}: an event without a watch"));
            let first = changes.iter().find(|change| change.zxid > set).map(|change| change.zxid);
            assert_eq!(first, Some(reply.zxid), "{name}: of a watch set at {set:#x}");
            continue;
        }
        assert_eq!(reply.err, 0, "{name}");
        if let Some(set) = set {
            let seen = changes.iter().find(|change| (set + 1..=reply.zxid).contains(&change.zxid));
            assert!(seen.is_none(), "{name}: an answer shows a change before its event came");
        }
        // A multiRead that is disturbed again and again may tell of any moment since the answer before it.
        let mut moments = vec![names.clone()];
        while let Some(change) = changes.get(done).filter(|change| change.zxid <= reply.zxid) {
            if change.is_creation {
                names.insert(change.name.clone());
            } else {
                assert!(names.remove(&change.name));
            }
            done += 1;
            if *op == MULTI_READ {
                moments.push(names.clone());
            }
        }
        let mut body = Body(&reply.body);
        let what = format!("{name}, {op} at {:#x}", reply.zxid);
        match *op {
            GET_ALL_CHILDREN_NUMBER => assert_eq!(body.int() as usize, names.len() + 1, "{what}"),
            MULTI_READ => {
                let header = body.int();
                body.0 = &body.0[5..];
                assert_eq!(header, GET_CHILDREN, "{what}");
                let told = body.names();
                assert!(moments.contains(&told), "{what}: other names");
            }
            op => {
                assert!(body.names() == names, "{what}: other names");
                set.get_or_insert(reply.zxid);
                if op == GET_CHILDREN2 {
                    let stat = body.stat();
                    assert_eq!(stat.children as usize, names.len(), "{what}");
                    assert_eq!(stat.versions[1] as usize, CHILDREN + done, "{what}");
                    if let Some(last) = done.checked_sub(1) {
                        assert_eq!(stat.pzxid, changes[last].zxid, "{what}");
                    }
                }
            }
        }
    }
    assert_eq!(done, changes.len(), "{name}: the last answer shows all");
}

#[test]
fn lists_hold_at_their_zxid_while_others_write() {
    for (_dir, server) in &servers() {
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        fill(&mut client);
        let names: BTreeSet<String> = (0..CHILDREN).map(name).collect();
        let over = AtomicBool::new(false);
        let mut frames = Vec::new();
        let changes = std::thread::scope(|scope| {
            let (addr, over) = (server.addr(), &over);
            let writer = scope.spawn(move || keep_changing(addr, over));
            let both = multi(&[(GET_CHILDREN, watch("/many", false)), (4, watch("/many", false))]);
            for round in 0..ROUNDS {
                let list = [GET_CHILDREN, GET_CHILDREN2][round % 2];
                let ops = [
                    (list, watch("/many", true)),
                    (GET_ALL_CHILDREN_NUMBER, path("/many")),
                    (MULTI_READ, both.clone()),
                ];
                for (op, body) in &ops {
                    client.send(1, *op, body).unwrap();
                }
                read(&mut client, &ops.map(|(op, _)| op), &mut frames);
            }
            over.store(true, Ordering::Release);
            writer.join().unwrap()
        });
        // Whatever was still to be told comes before this.
        client.send(1, GET_ALL_CHILDREN_NUMBER, &path("/many")).unwrap();
        read(&mut client, &[GET_ALL_CHILDREN_NUMBER], &mut frames);
        assert!(changes.len() > ROUNDS, "{} changes", changes.len());
        check(server.name(), &frames, &changes, names);
    }
}

/// Reads the answers to these, and the events between them.
fn read(client: &mut Connection, ops: &[i32], frames: &mut Vec<(i32, Reply)>) {
    for op in ops {
        loop {
            let reply = client.read().unwrap();
            let is_event = reply.xid == -1;
            frames.push((*op, reply));
            if !is_event {
                break;
            }
        }
    }
}
