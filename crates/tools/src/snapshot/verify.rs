//! `ostler snapshot verify`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use storage::names::{SNAPSHOT, zxid_of};

use super::Verify;
use super::read::{Ignore, read};
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
        let mut seen = Ignore::default();
        let done = read(&file, &mut seen)?;
        let end = done.as_ref().ok();
        reports.push(Report {
            file: file.shown(),
            bytes: file.length,
            zxid: zxid_of(&file.name.to_string(), SNAPSHOT).map(|zxid| zxid.to_string()),
            znodes: end.map(|end| end.nodes),
            sessions: end.map(|_| seen.sessions),
            acls: end.map(|_| seen.acls),
            last_processed: end.and_then(|end| end.last_processed).map(|zxid| zxid.to_string()),
            digest: end.and_then(|end| end.digest).map(|digest| digest.digest.to_string()),
            verdict: if done.is_ok() { "whole" } else { "damaged" },
            details: done.err().map(|error| error.to_string()),
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
