//! Whole runs against a server that does what it should, and ones that do not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;

use clap::Parser;
use fake::{Fake, Fault};
use ostler_bench::{Args, Report};

fn run(fake: &Fake, command: &str) -> anyhow::Result<Report> {
    let addr = fake.addr.to_string();
    let args = ["ostler-bench", "--host", &addr].into_iter().chain(command.split_whitespace());
    ostler_bench::run(&Args::try_parse_from(args)?)
}

#[test]
fn every_workload_runs_without_errors_and_cleans_up() {
    for command in [
        "create --count 3000 --payload 100",
        "set --count 3000 --connections 5 --outstanding 3",
        "get --count 3000 --payload 0",
        "exists --count 3000 --payload 1",
        "children --count 300 --znodes 50",
        "mixed --count 3000 --reads 50 --threads 2",
        "mixed --count 3001 --reads 50 --znodes 3 --connections 7",
        "mixed --count 500 --reads 50 --rate 20000 --connections 3",
        "mixed --duration 0.2 --warmup 0.1",
        "mixed --duration 0.2 --warmup 0.1 --rate 500 --threads 2",
    ] {
        let fake = Fake::start(Fault::None);
        let report = run(&fake, command).unwrap();
        assert_eq!((report.errors, report.first_error), (0, None), "{command}");
        if let Some((_, count)) = command.split_once("--count ") {
            assert_eq!(report.ops.to_string(), count.split(' ').next().unwrap(), "{command}");
        }
        assert!(report.latency.p50_us <= report.latency.p99_us && report.latency.p99_us <= report.latency.max_us);
        assert_eq!(fake.znodes(), 0, "{command} leaves nothing behind");
    }
}

#[test]
fn the_znodes_stay_if_asked() {
    let fake = Fake::start(Fault::None);
    run(&fake, "get --count 100 --znodes 20 --keep").unwrap();
    assert_eq!(fake.znodes(), 21);
}

#[test]
fn a_lost_write_is_noticed() {
    let fake = Fake::start(Fault::LosesSets);
    let report = run(&fake, "mixed --reads 50 --count 20000").unwrap();
    assert!(report.errors > 0);
    assert!(report.first_error.unwrap().contains("version"));
}

#[test]
fn a_refusal_is_counted_and_named() {
    let fake = Fake::start(Fault::RefusesSets);
    let report = run(&fake, "set --count 1000 --connections 1").unwrap();
    // The handshake and the 1000 creates take their numbers first.
    assert_eq!(report.errors, 10);
    assert!(report.first_error.unwrap().contains("refused with"));
}

#[test]
fn replies_out_of_order_and_lost_connections_end_the_run() {
    let error = run(&Fake::start(Fault::MixesReplies), "get --count 1000 --connections 4").unwrap_err();
    assert!(format!("{error:#}").contains("out of order"), "{error:#}");
    let error = run(&Fake::start(Fault::HangsUp), "get --count 1000 --connections 4").unwrap_err();
    assert!(format!("{error:#}").contains("the server"), "{error:#}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let error = ostler_bench::run(&Args::try_parse_from(["ostler-bench", "--host", "127.0.0.1:1"]).unwrap());
    assert!(format!("{:#}", error.unwrap_err()).contains("does a server run there?"));
}
