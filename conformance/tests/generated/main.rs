//! Conversations that nobody wrote: random operations, watches, multis, ACLs, quotas and ends of sessions of several clients,
//! the same for Apache and for Ostler. Every reply, every event and the final tree are compared.
//!
//! `OSTLER_CONVERSATION_SECONDS` lets the hunt run longer, `OSTLER_CONVERSATION_SEEDS` says how many scripts it plays at
//! most, `OSTLER_CONVERSATION_FROM` where it begins. A difference is told as a short script; kept in `scripts`, it is played
//! at each run.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use ostler_conformance::generated::{Features, Hunt, Pair, hunt, step};

/// Scripts played when nothing else is asked for.
const SEEDS: u64 = 60;
/// And the seconds after which no new one begins.
const SECONDS: u64 = 75;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn nothing_differs_in_generated_conversations() {
    let seconds = number("OSTLER_CONVERSATION_SECONDS", SECONDS);
    let seeds = number("OSTLER_CONVERSATION_SEEDS", if seconds == SECONDS { SEEDS } else { u64::MAX / 2 });
    let wanted = Hunt {
        from: number("OSTLER_CONVERSATION_FROM", 1),
        seeds,
        time: Duration::from_secs(seconds),
        turns: 300,
        pairs: 2,
        features: Features { quotas: true },
    };
    let hunted = hunt(wanted, || Pair::new(&[])).unwrap();
    let told: Vec<&str> = hunted.found.iter().map(|it| it.told.as_str()).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    assert!(hunted.played > 3, "only {} scripts", hunted.played);
    assert!(hunted.over_quota > 0, "no script went over a quota");
    println!("{} scripts, {} requests over a quota", hunted.played, hunted.over_quota);
}

/// A server that says NoNode where it should say NotEmpty is found out, and the script that shows it is short.
#[test]
fn a_false_reply_is_found_and_told_in_few_lines() {
    let wanted =
        Hunt { from: 1, seeds: 20, time: Duration::from_mins(5), turns: 60, pairs: 1, features: Features::default() };
    let tampered = || {
        Pair::new(&[]).tampered(|frame| {
            if frame.get(12..16) == Some((-111_i32).to_be_bytes().as_slice()) {
                frame[12..16].copy_from_slice(&(-101_i32).to_be_bytes());
            }
        })
    };
    let found = hunt(wanted, tampered).unwrap().found;
    let script = step::print(&found[0].script);
    // A parent, a child, and the delete that is refused.
    assert!(found[0].script.len() <= 4 && script.contains("delete"), "{script}");
    assert!(found[0].told.contains("err=-111") && found[0].told.contains("err=-101"), "{}", found[0].told);
}

/// What was found once: a file each.
#[test]
fn what_was_found_once_stays_mended() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generated/scripts");
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let mut pair = Pair::new(&[]);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let steps = step::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
        let found = pair.compare(&steps).unwrap();
        assert!(found.is_none(), "{}: {}", file.display(), found.unwrap().text);
    }
    pair.finish().unwrap();
}
