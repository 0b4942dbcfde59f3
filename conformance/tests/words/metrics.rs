//! `mntr`: the same names in the same groups, the same formats, and equal numbers wherever they are no times.

use std::collections::BTreeMap;

use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, create, multi, path, path_version, set, set_acl, watch};

use super::{Side, sides};

/// What can't be equal: times, the process's own affairs, and what `docs/four-letter-words.md` lists.
fn varies(key: &str) -> bool {
    const ITS_OWN: [&str; 8] = [
        "zk_version",
        "zk_uptime",
        "zk_open_file_descriptor_count",
        "zk_avg_latency",
        "zk_min_latency",
        "zk_max_latency",
        "zk_response_packet_cache_misses",
        "zk_response_packet_get_children_cache_misses",
    ];
    /// Lengths of queues when somebody looked: it depends on who was faster.
    const QUEUES: [&str; 2] = ["prep_processor_queue_size", "sync_processor_queue_size"];
    const TIMES: [&str; 16] = [
        "close_session_prep_time",
        "fsynctime",
        "prep_process_time",
        "prep_processor_queue_time_ms",
        "propagation_latency",
        "proposal_process_time",
        "readlatency",
        "request_throttle_queue_time_ms",
        "sync_process_time",
        "sync_processor_queue_and_flush_time_ms",
        "sync_processor_queue_flush_time_ms",
        "sync_processor_queue_time_ms",
        "updatelatency",
        "dbinittime",
        "startup_snap_load_time",
        "snapshottime",
    ];
    let of_summary = |statistic: &str, names: &[&str]| {
        key.strip_prefix(&format!("zk_{statistic}_")).is_some_and(|name| names.contains(&name))
    };
    let values = ["avg", "min", "max", "sum", "p50", "p95", "p99", "p999"];
    ITS_OWN.contains(&key)
        || values.iter().any(|statistic| of_summary(statistic, &TIMES) || of_summary(statistic, &QUEUES))
}

/// The kinds of metrics in the order in which they come, each kind once.
fn groups(keys: &[String]) -> Vec<&'static str> {
    let statistic =
        |key: &str| key.strip_prefix("zk_").and_then(|key| key.split('_').next()).unwrap_or_default().to_owned();
    let is_advanced = |name: &str| keys.iter().any(|key| *key == format!("zk_p50_{name}"));
    let has_sum = |name: &str| keys.iter().any(|key| *key == format!("zk_sum_{name}"));
    let mut all: Vec<&str> = keys
        .iter()
        .map(|key| {
            let statistic = statistic(key);
            let name = key.strip_prefix(&format!("zk_{statistic}_")).unwrap_or_default();
            match statistic.as_str() {
                _ if key == "zk_version" || key == "zk_server_state" => "about the server",
                "avg" | "min" | "max" | "cnt" | "sum" | "p50" | "p95" | "p99" | "p999" if has_sum(name) => {
                    if name.ends_with("_per_namespace") {
                        "sets of summaries"
                    } else if is_advanced(name) {
                        "advanced summaries"
                    } else {
                        "basic summaries"
                    }
                }
                _ if GAUGES.contains(&key.strip_prefix("zk_").unwrap_or_default()) => "gauges",
                _ => "counters",
            }
        })
        .collect();
    all.dedup();
    all
}

const GAUGES: [&str; 24] = [
    "avg_latency",
    "max_latency",
    "min_latency",
    "packets_received",
    "packets_sent",
    "num_alive_connections",
    "outstanding_requests",
    "uptime",
    "znode_count",
    "watch_count",
    "ephemerals_count",
    "approximate_data_size",
    "global_sessions",
    "local_sessions",
    "open_file_descriptor_count",
    "max_file_descriptor_count",
    "connection_drop_probability",
    "last_client_response_size",
    "max_client_response_size",
    "min_client_response_size",
    "outstanding_tls_handshake",
    "auth_failed_count",
    "non_mtls_remote_conn_count",
    "non_mtls_local_conn_count",
];

fn play(side: &mut Side) {
    side.word("srst");
    for name in ["a", "b"] {
        side.connect(name);
    }
    let open: &[(i32, &str, &str)] = &[(31, "world", "anyone")];
    side.call("a", 1, &create("/app", b"12345", 0));
    side.call("a", 1, &create("/app/x", b"", 0));
    side.call("a", 1, &create("/app/x", b"", 0));
    side.call("a", 1, &create("/app/e", b"77", 1));
    side.call("a", 5, &set("/app", Some(b"123456789"), -1));
    side.call("a", 7, &set_acl("/app", open, -1));
    side.call("a", 14, &multi(&[(1, create("/other", b"abc", 0)), (5, set("/app/x", Some(b"1"), -1))]));
    side.call("a", 14, &multi(&[(1, create("/other2", b"abc", 0)), (13, path_version("/app", 99))]));
    side.call("b", 4, &watch("/app", true));
    side.call("b", 3, &watch("/app/new", true));
    side.call("b", 8, &watch("/app", true));
    side.call("b", 12, &watch("/app", false));
    side.call("b", 6, &path("/app"));
    side.call("b", 4, &watch("/none", false));
    side.call("b", 22, &multi(&[(4, watch("/app", false)), (8, watch("/", false))]));
    side.call("b", 106, &Body::new().text("/other").int(0).0);
    side.call("a", 5, &set("/app", Some(b"1"), -1));
    side.events("b", 1);
    side.call("a", 1, &create("/app/new", b"", 0));
    side.events("b", 2);
    side.call("b", 8, &watch("/other", true));
    side.call("b", 4, &watch("/other", true));
    side.call("a", 2, &path_version("/other", -1));
    side.events("b", 1);
    side.call("b", 9, &path("/app"));
    side.ping("a");
    side.close("a");
    side.ping("b");
    side.settle();
}

fn metrics(side: &mut Side) -> (Vec<String>, BTreeMap<String, String>) {
    let before = side.words;
    let text = side.word("mntr");
    let mut keys = Vec::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('\t').unwrap();
        // What Apache has no name for.
        if key.starts_with("zk_ostler_") {
            continue;
        }
        keys.push(key.to_owned());
        let mut value = value.to_owned();
        // Without the words that were asked to wait for the counters; this one is received, but not sent yet.
        let of_words = match key {
            "zk_packets_received" => Some(before[0] + 1),
            "zk_packets_sent" => Some(before[1]),
            "zk_bytes_received_count" => Some(4 * (before[0] + 1)),
            _ => None,
        };
        if let Some(words) = of_words {
            value = (value.parse::<i64>().unwrap() - words).to_string();
        }
        all.insert(key.to_owned(), value);
    }
    (keys, all)
}

/// `1` is an integer, `0.5` and `1.0E7` are not, and a text is neither.
fn format_of(value: &str) -> &'static str {
    if value.parse::<i64>().is_ok() {
        "integer"
    } else if value.parse::<f64>().is_ok() {
        "double"
    } else {
        "text"
    }
}

#[test]
fn names_formats_and_numbers() {
    let [(apache_keys, apache), (ostler_keys, ostler)] = sides(&[]).map(|mut side| {
        play(&mut side);
        metrics(&mut side)
    });
    let mut differs = Vec::new();
    for key in apache.keys().chain(ostler.keys().filter(|key| !apache.contains_key(*key))) {
        match (apache.get(key), ostler.get(key)) {
            (Some(one), Some(other)) if format_of(one) != format_of(other) => {
                differs.push(format!("{key} has another format: {one}, {other}"));
            }
            (Some(one), Some(other)) if one != other && !varies(key) => {
                differs.push(format!("{key}: Apache {one}, Ostler {other}"));
            }
            (Some(_), Some(_)) => {}
            (one, other) => differs.push(format!("{key}: Apache {one:?}, Ostler {other:?}")),
        }
    }
    assert!(differs.is_empty(), "{differs:#?}");
    let expected =
        ["about the server", "gauges", "counters", "basic summaries", "advanced summaries", "sets of summaries"];
    assert_eq!(groups(&apache_keys), expected);
    assert_eq!(groups(&ostler_keys), expected);
    // What the conversation must have led to, so that equal does not mean 0.
    for key in [
        "zk_watch_count",
        "zk_cnt_node_created_watch_count",
        "zk_cnt_node_deleted_watch_count",
        "zk_cnt_node_changed_watch_count",
        "zk_cnt_node_children_watch_count",
        "zk_watch_bytes",
        "zk_response_bytes",
        "zk_cnt_fsynctime",
        "zk_sum_app_read_per_namespace",
        "zk_outstanding_changes_queued",
    ] {
        assert_ne!(ostler[key], "0", "{key}");
    }
}

#[test]
fn the_start_is_told_until_it_is_reset() {
    let [apache, ostler] = sides(&[]).map(|mut side| {
        let (_, fresh) = metrics(&mut side);
        let none = fresh["zk_last_client_response_size"] == "-1";
        side.word("srst");
        let (_, reset) = metrics(&mut side);
        let start =
            ["dbinittime", "snapshottime", "startup_snap_load_time", "startup_txns_loaded", "startup_txns_load_time"];
        let counts =
            start.map(|name| (fresh[&format!("zk_cnt_{name}")].clone(), reset[&format!("zk_cnt_{name}")].clone()));
        let sizes = ["last", "max", "min"].map(|which| reset[&format!("zk_{which}_client_response_size")].clone());
        assert!(none, "{fresh:?}");
        (counts, sizes)
    });
    assert_eq!(apache, ostler);
}

#[test]
fn limits_and_departures_are_counted() {
    let counts = sides(&["maxClientCnxns=4"]).map(|mut side| {
        side.word("srst");
        side.connect("a");
        side.connect("b");
        let granted = side.clients["a"].granted.clone();
        // Hangs up, and comes back.
        side.clients.remove("a");
        while !side.word("mntr").contains("zk_connection_drop_count\t1\n") {}
        let request = ConnectRequest {
            session_id: granted.session_id,
            password: Some(granted.password),
            ..ConnectRequest::default()
        };
        side.connect_with("c", &request);
        side.settle();
        let (_, all) = metrics(&mut side);
        ["connection_drop_count", "connection_revalidate_count", "connection_request_count", "num_alive_connections"]
            .map(|name| all[&format!("zk_{name}")].clone())
    });
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[1], ["1", "1", "3", "3"]);
}
