//! `dump`, `hash`, `wchs`, `wchc`, `wchp`, `conf`, `dirs`, `envi`.

use std::collections::{BTreeMap, BTreeSet};

use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, create, path_version, set, watch};

use super::{Side, compare};

/// The lines of `dump`, with its dates masked, sets that are empty left out, and what has no order sorted.
fn dump(side: &mut Side) -> Vec<String> {
    let text = side.word("dump");
    let mut noted = Vec::new();
    let mut group: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_member = line.starts_with('\t');
        if !is_member {
            group.sort();
            noted.append(&mut group);
        }
        if is_member {
            group.push(line.to_owned());
        } else if let Some((members, date)) = line.split_once(" expire at ") {
            assert!(is_java_date(date.trim_end_matches(':')), "{date}");
            // Apache keeps sets that everybody has left, until their time comes.
            if members != "0" {
                noted.push(format!("{members} expire"));
            }
        } else if let Some((head, rest)) = line.split_once(" Sets (") {
            let (_, members) = rest.split_once("/(").unwrap();
            noted.push(format!("{head} Sets ({members}"));
        } else {
            noted.push(line.to_owned());
        }
    }
    group.sort();
    noted.append(&mut group);
    noted
}

/// `Tue Nov 14 10:00:00 UTC 2023`.
fn is_java_date(text: &str) -> bool {
    let words: Vec<_> = text.split(' ').collect();
    let [day, month, date, time, zone, year] = words[..] else { return false };
    day.len() == 3
        && month.len() == 3
        && date.len() == 2
        && time.len() == 8
        && time.split(':').all(|part| part.parse::<u32>().is_ok())
        && !zone.is_empty()
        && year.parse::<u32>().is_ok()
}

#[test]
fn dump_is_equal() {
    compare(&[], |side| {
        let mut noted = dump(side);
        side.connect("a");
        side.call("a", 1, &create("/a", b"1", 0));
        noted.extend(dump(side));
        side.call("a", 1, &create("/a/e1", b"1", 1));
        side.call("a", 1, &create("/a/e2", b"1", 1));
        noted.extend(dump(side));
        side.connect("b");
        side.call("b", 1, &create("/a/e3", b"1", 1));
        side.call("a", 2, &path_version("/a/e2", -1));
        let mut both = dump(side);
        // Two sessions, in no order, and those of one tick or of two.
        both.retain(|line| !line.ends_with(" expire"));
        both.sort();
        noted.extend(both);
        side.close("a");
        let mut one = dump(side);
        one.retain(|line| !line.ends_with(" expire"));
        noted.extend(one);
        noted
    });
}

#[test]
fn dates_are_in_the_time_zone_of_the_server() {
    use ostler_conformance::{Options, Server, apache, four_letter, ostler};
    let zone = |server: &dyn Server| {
        let (_session, _) = ostler_conformance::raw::Connection::session(server.addr()).unwrap();
        let dump = four_letter::ask(server.addr(), "dump").unwrap();
        let line = dump.lines().find(|line| line.contains("expire at")).unwrap().to_owned();
        line.split(' ').nth_back(1).unwrap().to_owned()
    };
    for name in ["America/New_York", "Asia/Tokyo", "UTC"] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let options = |at: usize| {
            let mut options = Options::new(dirs[at].path());
            options.env.push(("TZ".to_owned(), name.to_owned()));
            options
        };
        let apache = apache::Server::start(&options(0)).unwrap();
        let ostler = ostler::Server::start(&options(1)).unwrap();
        assert_eq!(zone(&apache), zone(&ostler), "{name}");
    }
}

#[test]
fn hash_is_equal_also_after_a_restart() {
    use ostler_conformance::{Options, Server, apache, four_letter, ostler};
    let noted = [true, false].map(|is_apache| {
        let dir = tempfile::tempdir().unwrap();
        let start = || -> Box<dyn Server> {
            let options = Options::new(dir.path());
            if is_apache {
                Box::new(apache::Server::start(&options).unwrap())
            } else {
                Box::new(ostler::Server::start(&options).unwrap())
            }
        };
        let mut server = start();
        let mut noted = vec![four_letter::ask(server.addr(), "hash").unwrap()];
        let (mut client, granted) = ostler_conformance::raw::Connection::session(server.addr()).unwrap();
        // Digests have no times in them that differ: the Stats of the znodes have. So only zxids can be compared.
        for n in 0..700 {
            let body = create(&format!("/n{n}"), b"x", 0);
            assert_eq!(client.call(n + 1, 1, &body).unwrap().err, 0);
        }
        noted.push(four_letter::ask(server.addr(), "hash").unwrap());
        let before = noted[1].clone();
        drop(client);
        server.kill().unwrap();
        drop(server);
        let server = start();
        let after = four_letter::ask(server.addr(), "hash").unwrap();
        assert_eq!(after, before, "digests of the txns that were replayed: {granted:?}");
        noted
    });
    let zxids = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| {
                let (zxid, digest) = line.split_once(": ").unwrap();
                assert!(digest.parse::<i64>().is_ok(), "{line}");
                zxid.to_owned()
            })
            .collect()
    };
    assert_eq!(zxids(&noted[0][0]), zxids(&noted[1][0]));
    assert_eq!(zxids(&noted[0][1]), zxids(&noted[1][1]));
    assert_eq!(zxids(&noted[1][1]), ["80", "100", "180", "200", "280"]);
}

/// Lines of `wchc` or `wchp`: heads with their members, in order.
fn groups(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    assert!(text.ends_with("\n\n") || text == "\n", "{text:?}");
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut head = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(member) = line.strip_prefix('\t') {
            assert!(all.get_mut(&head).unwrap().insert(member.to_owned()), "{line} twice");
        } else {
            line.clone_into(&mut head);
            assert!(all.insert(head.clone(), BTreeSet::new()).is_none(), "{line} twice");
        }
    }
    all
}

#[test]
fn watches_are_listed_by_session_and_by_path() {
    compare(&[], |side| {
        let mut noted = Vec::new();
        let mut note = |side: &mut Side| {
            noted.push(side.word("wchs"));
            for word in ["wchc", "wchp"] {
                noted.push(format!("{:?}", groups(&side.word(word))));
            }
        };
        note(side);
        for name in ["a", "b", "c"] {
            side.connect(name);
        }
        side.call("a", 1, &create("/x", b"", 0));
        side.call("a", 1, &create("/y", b"", 0));
        for name in ["a", "b", "c"] {
            side.call(name, 4, &watch("/x", true));
        }
        side.call("a", 3, &watch("/none", true));
        side.call("a", 8, &watch("/", true));
        side.call("b", 8, &watch("/x", true));
        side.call("b", 106, &Body::new().text("/y").int(0).0);
        side.call("c", 106, &Body::new().text("/y").int(1).0);
        side.call("c", 4, &watch("/y", true));
        note(side);
        // Everything that is told once is told, the rest stays.
        side.call("a", 5, &set("/y", Some(b"1"), -1));
        side.events("b", 1);
        side.events("c", 1);
        side.call("b", 18, &Body::new().text("/y").int(4).0);
        note(side);
        side.close("c");
        note(side);
        noted
    });
}

#[test]
fn a_path_watched_by_very_many_is_told_once() {
    compare(&["maxClientCnxns=0", "maxSessionTimeout=600000"], |side| {
        let names: Vec<&'static str> = (0..150).map(|n| &*format!("client{n:03}-").leak()).collect();
        for name in &names {
            // As long as a slow machine may need.
            side.connect_with(name, &ConnectRequest { timeout_ms: 600_000, ..ConnectRequest::default() });
            let paths = (0..20).map(|n| format!("/shared{n}")).chain([format!("/own/{name}")]);
            side.call_all(name, 3, &paths.map(|path| watch(&path, true)).collect::<Vec<_>>());
        }
        vec![
            side.word("wchs"),
            format!("{:?}", groups(&side.word("wchc"))),
            format!("{:?}", groups(&side.word("wchp"))),
            format!("{:?}", side.sorted("stat").len()),
        ]
    });
}

#[test]
fn environment_is_that_of_the_machine() {
    compare(&[], |side| {
        let dir = side.server.dir().display().to_string();
        let text = side.word("envi").replace(&dir, "DIR");
        let masked = text.lines().map(|line| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let is_elsewhere = key.starts_with("java.") || key.starts_with("os.memory.") || key == "zookeeper.version";
            if key.starts_with("os.memory.") {
                assert!(value.strip_suffix("MB").is_some_and(|mb| mb.parse::<u64>().is_ok()), "{line}");
            }
            if is_elsewhere { key.to_owned() } else { line.to_owned() }
        });
        masked.collect()
    });
}

#[test]
fn configuration_is_equal_but_for_directories() {
    compare(&["maxClientCnxns=70", "minSessionTimeout=3000", "clientPortListenBacklog=99"], |side| {
        let dir = side.server.dir().display().to_string();
        let port = side.server.port().to_string();
        let text = side.word("conf").replace(&dir, "DIR").replace(&port, "PORT");
        let dirs = side.word("dirs");
        let masked = text.lines().chain(dirs.lines()).map(|line| {
            let (key, value) = line.split_once(['=', ':']).unwrap();
            if key.contains("Size") || key.contains("_size") {
                assert!(value.trim().parse::<u64>().is_ok_and(|bytes| bytes > 0), "{line}");
                return key.to_owned();
            }
            line.to_owned()
        });
        masked.collect()
    });
}
