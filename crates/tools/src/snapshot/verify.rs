//! `ostler snapshot verify`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use storage::names::{SNAPSHOT, zxid_of};
use storage::recover::Fit;
use storage::snapshot::decode::{LoadSnapshotError, SnapshotEnd};
use wire::Zxid;

use super::Verify;
use super::read::{Count, read};
use crate::{Outcome, input, text};

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    bytes: u64,
    zxid: Option<String>,
    znodes: Option<u64>,
    sessions: Option<u64>,
    acls: Option<u64>,
    last_processed: Option<String>,
    digest: Option<String>,
    verdict: &'static str,
    details: Option<String>,
}

/// Prints what it found.
pub fn run(args: &Verify, out: &mut dyn Write) -> Result<Outcome> {
    let mut reports = Vec::new();
    for file in input::snapshots(&args.paths)? {
        let mut seen = Count::default();
        let done = read(&file, &mut seen)?;
        let named = zxid_of(&file.name.to_string(), SNAPSHOT);
        let flaw = match &done {
            Ok(end) => named.and_then(|named| flaw(named, end, &seen)),
            Err(error) => Some(error.to_string()),
        };
        let end = done.as_ref().ok();
        reports.push(Report {
            file: file.shown(),
            bytes: file.length,
            zxid: named.map(|zxid| zxid.to_string()),
            znodes: end.map(|end| end.nodes),
            sessions: end.map(|_| seen.sessions),
            acls: end.map(|_| seen.acls),
            last_processed: end.and_then(|end| end.last_processed).map(|zxid| zxid.to_string()),
            digest: end.and_then(|end| end.digest).map(|digest| digest.digest.to_string()),
            verdict: if flaw.is_none() { "whole" } else { "damaged" },
            details: flaw,
        });
    }
    let is_bad = reports.iter().any(|report| report.verdict != "whole");
    if args.json {
        for report in &reports {
            writeln!(out, "{}", serde_json::to_string(report)?)?;
        }
    } else {
        let head = ["FILE", "ZNODES", "SESSIONS", "LAST ZXID", "DIGEST", "BYTES", "VERDICT"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.extend(reports.iter().map(|report| {
            let (znodes, sessions) = (number(report.znodes), number(report.sessions));
            let (last, digest) = (word(&report.last_processed), word(&report.digest));
            let verdict = report.verdict.to_owned();
            vec![report.file.clone(), znodes, sessions, last, digest, report.bytes.to_string(), verdict]
        }));
        write!(out, "{}", text::table(&rows, &[false, true, true, false, true, true, false]))?;
        for report in &reports {
            if let Some(details) = &report.details {
                writeln!(out, "{}: {details}", report.file)?;
            }
        }
    }
    Ok(if is_bad { Outcome::Bad } else { Outcome::Good })
}

/// What is wrong with a file that is whole, as a start finds it. Its digest is that of its znodes only if no txn was applied
/// while it was taken.
fn flaw(named: Zxid, end: &SnapshotEnd, seen: &Count) -> Option<String> {
    if let Some(last) = end.last_processed.filter(|last| *last < named) {
        return Some(LoadSnapshotError::Renamed { last, named }.to_string());
    }
    let digest = end.digest.filter(|digest| digest.zxid == named && digest.zxid != Zxid::ZERO)?;
    match Fit::of(digest.version, digest.digest, seen.digest.0) {
        Fit::Wrong => Some(format!(
            "{} (unless the log's next txn makes up for it: Apache's server may leave that)",
            LoadSnapshotError::Digest
        )),
        Fit::Right | Fit::Unknown => None,
    }
}
