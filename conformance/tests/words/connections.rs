//! `cons`, `stat`, `crst`, `srst`, `srvr`.

use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, auth, create, multi, path, path_version, set, set_acl, watch};

use super::{Side, compare, mask_numbers};

const TIMES: [&str; 6] = ["est=", "lresp=", "llat=", "minlat=", "avglat=", "maxlat="];

/// The line of one client in `cons`, without its times.
fn line(side: &mut Side, name: &str) -> String {
    side.settle();
    let cons = side.word("cons");
    let line = cons.lines().find(|line| line.contains(&format!(":{name}["))).unwrap_or("none");
    mask_numbers(line, &TIMES)
}

#[test]
fn every_operation_leaves_the_same_trace() {
    compare(&[], |side| {
        let mut noted = Vec::new();
        side.connect("a");
        noted.push(line(side, "a"));
        let open: &[(i32, &str, &str)] = &[(31, "world", "anyone")];
        let steps: &[(&str, i32, Vec<u8>)] = &[
            ("create", 1, create("/a", b"1", 0)),
            ("create again", 1, create("/a", b"1", 0)),
            ("create2", 15, create("/a/b", b"1", 1)),
            ("container", 19, create("/box", b"", 4)),
            ("a read that fails", 4, watch("/none", false)),
            ("getData", 4, watch("/a", true)),
            ("exists", 3, watch("/a", false)),
            ("exists without a znode", 3, watch("/none", true)),
            ("setData", 5, set("/a", Some(b"22"), -1)),
            ("setData of a version that is not", 5, set("/a", Some(b"22"), 77)),
            ("getACL", 6, path("/a")),
            ("setACL", 7, set_acl("/a", open, -1)),
            ("getChildren", 8, watch("/a", true)),
            ("getChildren2", 12, watch("/a", false)),
            ("sync", 9, path("/a")),
            ("check watches", 17, Body::new().text("/a").int(1).0),
            ("remove watches", 18, Body::new().text("/a").int(3).0),
            ("remove no watches", 18, Body::new().text("/a").int(3).0),
            ("add a watch", 106, Body::new().text("/a").int(1).0),
            ("ephemerals", 103, path("/")),
            ("all children", 104, path("/")),
            ("who am I", 107, vec![]),
            ("multi", 14, multi(&[(1, create("/m", b"", 0)), (13, path_version("/a", -1))])),
            ("a multi that fails", 14, multi(&[(1, create("/m2", b"", 0)), (13, path_version("/a", 99))])),
            ("multiRead", 22, multi(&[(4, watch("/a", false)), (8, watch("/a", false))])),
            ("auth", 100, auth("digest", b"user:secret")),
            ("setWatches", 101, Body::new().long(0).texts(&["/a"]).texts(&["/m"]).texts(&["/"]).0),
            ("delete", 2, path_version("/a/b", -1)),
            ("delete nothing", 2, path_version("/a/b", -1)),
        ];
        for (what, op, body) in steps {
            match op {
                100 => side.call_xid("a", Some(-4), *op, body),
                _ => side.call("a", *op, body),
            };
            noted.push(format!("{what}: {}", line(side, "a")));
        }
        side.ping("a");
        noted.push(format!("ping: {}", line(side, "a")));
        assert_eq!(side.word("crst"), "Connection stats reset.\n");
        // What it sends is counted on its own connection.
        let cons = side.word("cons");
        let after = cons.lines().find(|line| line.contains(":a[")).unwrap();
        noted.push(mask_numbers(after, &TIMES));
        side.clients.get_mut("a").unwrap().frames = 0;
        side.ping("a");
        noted.push(line(side, "a"));
        noted
    });
}

#[test]
fn a_renewed_session_has_no_last_operation() {
    compare(&[], |side| {
        side.connect("a");
        let granted = side.clients["a"].granted.clone();
        let (id, password) = (granted.session_id, Some(granted.password));
        side.clients.remove("a");
        let request = ConnectRequest { session_id: id, password, timeout_ms: 12_000, ..ConnectRequest::default() };
        side.connect_with("b", &request);
        let before = line(side, "b");
        side.ping("b");
        vec![before, line(side, "b")]
    });
}

#[test]
fn clients_are_listed_in_brief_and_in_full() {
    compare(&[], |side| {
        side.word("srst");
        for name in ["a", "b", "c"] {
            side.connect(name);
        }
        side.call("a", 1, &create("/a", b"1", 0));
        side.call("b", 4, &watch("/a", false));
        side.settle();
        let stat = side.word("stat");
        let words = side.words;
        let mut noted: Vec<String> = side
            .sorted("cons")
            .iter()
            .map(|line| if line.contains("sid=") { mask_numbers(line, &TIMES) } else { line.clone() })
            .collect();
        // A connection that has said nothing yet.
        let silent = std::net::TcpStream::connect(side.addr()).unwrap();
        side.masks.push((format!(":{}", silent.local_addr().unwrap().port()), ":silent".to_owned()));
        while !side.word("stat").contains(":silent") {}
        noted.extend(side.sorted("stat").into_iter().filter(|line| line.contains(":silent")));
        drop(silent);
        let (clients, rest) = stat.split_once("\n\n").unwrap();
        let mut clients: Vec<_> = clients.lines().skip(1).map(str::to_owned).collect();
        clients.sort();
        noted.extend(clients);
        for (line, number) in rest.lines().zip(["Latency", "Received", "Sent", "Connections", "Outstanding", "Zxid"]) {
            assert!(line.starts_with(number), "{line}");
        }
        // Without the words that waited for the counters.
        let number = |key: &str| -> i64 {
            rest.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
        };
        noted.extend(rest.lines().skip(3).map(str::to_owned));
        noted.push(format!("{} received", number("Received:") - words[0]));
        noted.push(format!("{} sent", number("Sent:") - words[1]));
        noted
    });
}

#[test]
fn srvr_is_equal_but_for_version_and_latencies() {
    compare(&[], |side| {
        side.word("srst");
        let fresh = side.word("srvr");
        side.connect("a");
        side.call("a", 1, &create("/a", b"1", 0));
        // Apache counts behind the write.
        side.settle();
        let words = side.words;
        let after = side.word("srvr");
        let mut noted: Vec<String> = fresh.lines().skip(2).map(str::to_owned).collect();
        let number = |key: &str| -> i64 {
            after.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
        };
        // Without the words that waited for the counters.
        noted.push(format!("{} received", number("Received:") - words[0]));
        noted.push(format!("{} sent", number("Sent:") - words[1]));
        noted.extend(after.lines().skip(4).map(str::to_owned));
        noted
    });
}
