//! `ostler status`: the members as a table, once or again and again.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ask::{Answer, Mode, SyncOf, ask};
use super::elections::Elections;
use super::judge::{Seen, Verdict, judge, lag, tell_silent_leader, zxid};
use super::members::{self, Members};
use super::{Status, seconds};
use crate::{Outcome, text};

/// The pause between two looks while somebody looks for a leader, if no shorter one is wanted.
const INTERVAL_LOOKING: Duration = Duration::from_millis(200);
/// Lines of elections below the table.
const SAID_MAX: usize = 20;

/// Takes a look, or many.
pub fn run(args: &Status, out: &mut dyn Write) -> Result<Outcome> {
    let members = members::read(&args.of)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut before: Option<(Vec<Seen>, Verdict)> = None;
    let mut elections = Elections::default();
    // On a terminal, where all is drawn anew: the last of them.
    let mut said = VecDeque::new();
    loop {
        let seen = look(&members, seconds(args.timeout));
        if args.follow {
            for told in elections.look(&seen, seconds(args.timeout)) {
                if args.json {
                    writeln!(out, "{}", told.as_json())?;
                } else if is_terminal {
                    said.truncate(SAID_MAX - 1);
                    said.push_front(told.to_string());
                } else {
                    writeln!(out, "{told}")?;
                }
            }
            out.flush()?;
        }
        let verdict = judge(&members, &seen);
        let has_changed = before.as_ref().is_none_or(|(old, judged)| *judged != verdict || !is_same(old, &seen));
        if has_changed || is_terminal {
            if args.json {
                writeln!(out, "{}", as_json(&seen, &verdict))?;
            } else {
                if args.follow {
                    // On a terminal the table stays where it is.
                    let clear = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
                    writeln!(out, "{clear}{}", text::time(Timestamp::now().as_millisecond()))?;
                }
                write!(out, "{}", as_text(&seen, &verdict))?;
                for (at, line) in said.iter().rev().enumerate() {
                    writeln!(out, "{}{line}", if at == 0 { "\n" } else { "" })?;
                }
                if args.follow && !is_terminal {
                    writeln!(out)?;
                }
            }
            out.flush()?;
        }
        if !args.follow {
            return Ok(if verdict.is_healthy { Outcome::Good } else { Outcome::Bad });
        }
        let looks = seen.iter().any(|it| matches!(it.answer.mode, Mode::NotServing | Mode::ReadOnly));
        before = Some((seen, verdict));
        let interval = seconds(args.interval);
        thread::sleep(if looks { interval.min(INTERVAL_LOOKING) } else { interval });
    }
}

/// Asks all at once.
pub fn look(members: &Members, timeout: Duration) -> Vec<Seen> {
    let asked: Vec<_> = members
        .targets
        .iter()
        .map(|target| {
            let client = target.client.clone();
            (target.clone(), thread::spawn(move || client.map(|client| ask(&client, timeout))))
        })
        .collect();
    let mut seen: Vec<Seen> = asked
        .into_iter()
        .map(|(target, thread)| {
            let unknown = || {
                let why = "its client port is not in the configuration".to_owned();
                Answer::without(Mode::Unknown, Some(why))
            };
            let answer = thread.join().ok().flatten().unwrap_or_else(unknown);
            Seen { target, answer }
        })
        .collect();
    tell_silent_leader(&mut seen);
    seen
}

/// The same but for what always moves.
fn is_same(old: &[Seen], new: &[Seen]) -> bool {
    let fixed = |seen: &[Seen]| -> Vec<_> {
        seen.iter()
            .map(|it| {
                (
                    it.answer.mode,
                    it.answer.observes,
                    it.answer.version.clone(),
                    it.answer.members.clone(),
                    it.answer.note.clone(),
                    it.answer.syncs.clone(),
                )
            })
            .collect()
    };
    fixed(old) == fixed(new)
}

fn as_text(seen: &[Seen], verdict: &Verdict) -> String {
    let heading = ["ID", "ROLE", "ADDRESS", "STATE", "EPOCH", "ZXID", "LAG", "CLIENTS", "ZNODES", "VERSION"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let dash = || "-".to_owned();
    for it in seen {
        rows.push(vec![
            it.id().map_or_else(dash, |id| id.to_string()),
            it.target.role.map_or_else(dash, |role| role.to_string()),
            it.target.client.as_ref().map_or_else(dash, ToString::to_string),
            state(&it.answer),
            it.answer.zxid.map_or_else(dash, |zxid| zxid.epoch().to_string()),
            zxid(it.answer.zxid),
            lag(seen, it).unwrap_or_else(dash),
            it.answer.connections.map_or_else(dash, |n| n.to_string()),
            it.answer.znodes.map_or_else(dash, |n| n.to_string()),
            it.answer.version.clone().unwrap_or_else(dash),
        ]);
    }
    let right = [true, false, false, false, true, false, true, true, true, false];
    let mut out = format!("{}\n\n{}", verdict.line, text::table(&rows, &right));
    let notes = seen.iter().filter_map(|it| it.answer.note.as_ref().map(|note| format!("{}: {note}", it.name())));
    let alarms = verdict.alarms.iter().map(|alarm| format!("ALARM: {alarm}"));
    let syncs = seen.iter().flat_map(|it| it.answer.syncs.iter().map(|sync| in_sync(&it.name(), sync)));
    for (at, line) in alarms.chain(syncs).chain(notes).enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        out.push_str(gap);
        out.push_str(&text::escaped(&line));
        out.push('\n');
    }
    out
}

/// How far a learner is that is being brought in sync.
fn in_sync(by: &str, sync: &SyncOf) -> String {
    let bytes = |n: i64| text::bytes(n.max(0).cast_unsigned());
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let snapshot = match sync.snapshot_bytes {
        0 => String::new(),
        all => format!("{} of {} of a snapshot, ", bytes(sync.snapshot_bytes_sent), bytes(all)),
    };
    let of = sync.txns.map(|all| format!(" of {all}")).unwrap_or_default();
    let left = sync.left_ms.map(|ms| format!(", about {:.1} s left", seconds(ms))).unwrap_or_default();
    format!(
        "{by} brings server.{} in sync: it was sent {snapshot}{}{of} txns, in {:.1} s{left}",
        sync.server,
        sync.txns_sent,
        seconds(sync.elapsed_ms)
    )
}

/// What it is, and of an observer from whom it learns.
fn state(answer: &Answer) -> String {
    let of = answer.observes.map(|id| format!(" of {id}")).unwrap_or_default();
    answer.mode.name().to_owned() + &of
}

fn as_json(seen: &[Seen], verdict: &Verdict) -> Value {
    let members: Vec<Value> = seen
        .iter()
        .map(|it| {
            json!({
                "id": it.id().map(|id| id.0),
                "role": it.target.role.map(|role| role.to_string()),
                "address": it.target.client.as_ref().map(ToString::to_string),
                "state": it.answer.mode,
                "epoch": it.answer.zxid.map(|zxid| zxid.epoch().0),
                "zxid": it.answer.zxid.map(|zxid| format!("0x{:x}", zxid.0)),
                "lag": lag(seen, it).and_then(|lag| lag.parse::<u64>().ok()),
                "clients": it.answer.connections,
                "znodes": it.answer.znodes,
                "version": it.answer.version,
                "members": it.answer.members,
                "observes": it.answer.observes,
                "syncs": it.answer.syncs,
                "note": it.answer.note,
            })
        })
        .collect();
    json!({
        "time": text::time(Timestamp::now().as_millisecond()),
        "healthy": verdict.is_healthy,
        "summary": verdict.line,
        "alarms": verdict.alarms,
        "members": members,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_in_words() {
        let mut sync = SyncOf {
            server: 3,
            elapsed_ms: 2000,
            left_ms: Some(6000),
            snapshot_bytes: 4 << 20,
            snapshot_bytes_sent: 1 << 20,
            txns: Some(8),
            txns_sent: 0,
        };
        let begin = "server.1 brings server.3 in sync: it was sent ";
        let text = in_sync("server.1", &sync);
        assert_eq!(text, format!("{begin}1.0 MiB of 4.0 MiB of a snapshot, 0 of 8 txns, in 2.0 s, about 6.0 s left"));
        (sync.snapshot_bytes, sync.txns, sync.left_ms) = (0, None, None);
        assert_eq!(in_sync("server.1", &sync), format!("{begin}0 txns, in 2.0 s"));
    }
}
