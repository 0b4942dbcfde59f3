//! `ostler log verify`: each file by itself, then a folder as the history that a start would read.
//!
//! Where a server runs, the end of the newest log is on its way: what is there of it now says nothing. Damage stays where it is,
//! and a record that was being written does not.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use storage::Dir;
use storage::disk::Disk;
use storage::log::dir::is_next;
use storage::log::reader::{End, LogReader, Step};
use storage::names::{LOG, SNAPSHOT, numbered};
use wire::txn::TxnEntry;
use wire::{Field, Reader, Zxid};

use super::zeros::behind_zeros;
use super::{RECORD_MAX, Verify, as_a_start};
use crate::folder::Folder;
use crate::input::{self, Input};
use crate::progress::{self, Told};
use crate::{Outcome, text};

/// What was found in one file.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    bytes: u64,
    txns: u64,
    first: Option<String>,
    last: Option<String>,
    verdict: &'static str,
    details: Option<String>,
    /// Where its records end.
    #[serde(skip)]
    end: u64,
    /// Is there, behind that, what no write that is under way explains?
    #[serde(skip)]
    is_sure: bool,
}

/// How often what is broken at the end of a file that a server writes to is looked at, and how long after the last time.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Of the newest log where a server runs.
const BEING_WRITTEN: &str = "being written";

impl Report {
    fn is_bad(&self) -> bool {
        matches!(self.verdict, "damaged" | "unreadable")
    }

    /// A piece of the file can't be read, and what is behind it is not known.
    fn unreadable(mut self, offset: u64, error: &io::Error) -> Self {
        let before = self.details.map(|details| format!("{details}; ")).unwrap_or_default();
        self.verdict = "unreadable";
        self.details = Some(format!("{before}it can't be read from byte {offset} on: {error}"));
        self
    }
}

/// Prints what it found.
pub fn run(args: &Verify, out: &mut dyn Write) -> Result<Outcome> {
    let files = input::logs(&args.paths)?;
    let bar = progress::bar(files.iter().map(|file| file.length).sum(), "checking", progress::is_watched());
    let mut reports = Vec::new();
    let is_listed = args.paths.iter().any(|path| path.is_dir());
    for file in &files {
        let source = match File::open(&file.path) {
            // Purged since it was listed.
            Err(e) if is_listed && e.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.with_context(|| file.shown())?,
        };
        // Asked before it is read: one that is closed meanwhile is read to its end.
        let is_written = is_written(&file.path);
        let report = check(file, Told::new(source, &bar));
        reports.push(if is_written { while_written(report, || look_again(file))? } else { report });
    }
    bar.finish_and_clear();
    let (mut starts, mut in_use) = (Vec::new(), Vec::new());
    for folder in args.paths.iter().filter(|path| path.is_dir()).map(|path| Folder::new(path)) {
        if folder.is_in_use() {
            in_use.push(folder.path().display().to_string());
        } else {
            starts.push(as_a_start::read(&folder));
        }
    }
    let is_bad = starts.iter().any(|start| start.is_refused) || reports.iter().any(Report::is_bad);
    if args.json {
        for report in &reports {
            writeln!(out, "{}", serde_json::to_string(report)?)?;
        }
        for start in &starts {
            writeln!(out, "{}", serde_json::to_string(start)?)?;
        }
        for folder in &in_use {
            writeln!(out, "{}", json!({ "folder": folder, "is_in_use": true }))?;
        }
    } else {
        let head = ["FILE", "TXNS", "FIRST", "LAST", "BYTES", "VERDICT"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
        rows.extend(reports.iter().map(|report| {
            let (first, last) = (id(&report.first), id(&report.last));
            let bytes = report.bytes.to_string();
            vec![report.file.clone(), report.txns.to_string(), first, last, bytes, report.verdict.to_owned()]
        }));
        write!(out, "{}", text::table(&rows, &[false, true, false, false, true, false]))?;
        for report in &reports {
            if let Some(details) = &report.details {
                writeln!(out, "{}: {details}", report.file)?;
            }
        }
        for start in &starts {
            write!(out, "{start}")?;
        }
        for folder in &in_use {
            writeln!(out, "{folder}: a server is running there, so what its next start would say was not looked at")?;
        }
        if !is_bad {
            let txns: u64 = reports.iter().map(|report| report.txns).sum();
            writeln!(out, "{txns} txns, each whole and readable")?;
        }
    }
    Ok(if is_bad { Outcome::Bad } else { Outcome::Good })
}

/// Is it the newest log of a folder on which a server runs?
fn is_written(file: &Path) -> bool {
    let Some(folder) = file.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    else {
        return false;
    };
    let newest = Folder::new(folder).list(Dir::Log).ok().and_then(|files| numbered(&files, LOG).pop());
    newest.is_some_and(|newest| file.file_name().is_some_and(|name| *name == *newest.name.to_string()))
        && Folder::new(folder).is_in_use()
}

/// The same file, a little later.
fn look_again(file: &Input) -> Result<Report> {
    sleep(LOOK_AGAIN);
    let source = File::open(&file.path).with_context(|| file.shown())?;
    let length = source.metadata().with_context(|| file.shown())?.len();
    Ok(check(&Input { length, ..file.clone() }, source))
}

/// What is to be said of a file to which a server writes: damage only if it stays.
fn while_written(first: Report, mut again: impl FnMut() -> Result<Report>) -> Result<Report> {
    let mut report = first;
    for _ in 1..LOOKS {
        if report.verdict != "damaged" {
            break;
        }
        let next = again()?;
        if next.end == report.end && next.verdict == report.verdict && next.is_sure {
            return Ok(next);
        }
        report = next;
    }
    if report.verdict != "unreadable" {
        report.verdict = BEING_WRITTEN;
        report.details =
            Some(format!("a server is running there and writes to it; behind byte {} nothing was judged", report.end));
    }
    Ok(report)
}

/// One file by itself. Its last record may be unfinished; whether that is damage, its folder tells.
fn check(file: &Input, source: impl io::Read) -> Report {
    let mut report = Report {
        file: file.shown(),
        bytes: file.length,
        txns: 0,
        first: None,
        last: None,
        verdict: "whole",
        details: None,
        end: 0,
        is_sure: true,
    };
    let mut reader = match LogReader::open(source, RECORD_MAX) {
        Ok(Ok(reader)) => reader,
        Ok(Err(flaw)) => {
            report.verdict = "damaged";
            report.details = Some(flaw.to_string());
            return report;
        }
        Err(error) => return report.unreadable(0, &error),
    };
    let beside = file.path.parent().and_then(|dir| Folder::new(dir).list(Dir::Data).ok()).unwrap_or_default();
    let snapshots: Vec<Zxid> = numbered(&beside, SNAPSHOT).iter().map(|file| file.zxid).collect();
    let mut last: Option<Zxid> = None;
    let mut bad = None;
    let end = loop {
        match reader.step() {
            Ok(Step::End(end)) => break Ok(end),
            Err(error) => break Err((reader.read_to(), error)),
            Ok(Step::Record(record)) => {
                report.txns += 1;
                report.first.get_or_insert_with(|| record.zxid.to_string());
                if bad.is_none()
                    && let Err(e) = TxnEntry::read(&mut Reader::with_limit(record.blob, RECORD_MAX))
                {
                    let (zxid, offset) = (record.zxid, record.offset);
                    bad = Some(format!("txn {zxid}, at byte {offset}, is whole but can't be read: {e}"));
                }
                if let Some(last) = last
                    && bad.is_none()
                    && record.zxid != last
                    && !is_next(last, record.zxid, 0)
                {
                    let (zxid, offset) = (record.zxid, record.offset);
                    let what = format!("txn {zxid}, at byte {offset}, follows {last}");
                    // Apache's server goes on in the file that it has when its leader has sent it a snapshot.
                    match snapshots.iter().find(|&&snapshot| last < zxid && snapshot >= last && snapshot.next() >= zxid)
                    {
                        Some(snapshot) => {
                            report.details = Some(format!("{what}: snapshot.{:x} holds what is between", snapshot.0));
                        }
                        None => bad = Some(format!("{what}: txns are missing or out of order")),
                    }
                }
                last = Some(record.zxid);
            }
        }
    };
    report.last = last.map(|zxid| zxid.to_string());
    if let Some(bad) = bad {
        report.verdict = "damaged";
        report.details = Some(bad);
    }
    let is_bad = report.verdict != "whole";
    let end = match end {
        Ok(end) => end,
        Err((offset, error)) => return report.unreadable(offset, &error),
    };
    report.end = end.offset();
    let flaw = match end {
        End::Eof { .. } => return report,
        End::Padding { .. } => None,
        End::Broken { flaw, .. } => Some(flaw),
    };
    let offset = end.offset();
    // A long end of zeros would be taken in, in case that it was a record.
    if flaw.is_none() && matches!(behind_zeros(&file.path, offset), Ok(None)) {
        return report;
    }
    let behind = match reader.look_behind(last.unwrap_or(Zxid::ZERO)) {
        Ok(behind) => behind,
        Err(error) => return report.unreadable(reader.read_to(), &error),
    };
    // What stands in the data of a broken record says nothing, as for a start.
    let (behind, _) = behind.without_data(last.unwrap_or(Zxid::ZERO), 0);
    let what =
        flaw.map_or_else(|| "zeros where a record should be".to_owned(), |flaw| format!("a broken record, {flaw}"));
    if let Some((at, zxid)) = behind.record {
        report.verdict = "damaged";
        report
            .details
            .get_or_insert(format!("at byte {offset} there is {what}, while txn {zxid} is whole at byte {at}"));
    } else if flaw.is_some() || behind.is_dirty() {
        let again = File::open(&file.path).and_then(|mut source| behind.is_explained(&mut source));
        let explained = match again {
            Ok(explained) => explained,
            Err(error) => return report.unreadable(offset, &error),
        };
        report.is_sure = is_bad;
        if report.verdict == "whole" {
            report.verdict = if explained { "torn end" } else { "damaged" };
        }
        let why = if explained {
            "as an interrupted write leaves it; the next start cuts it"
        } else {
            "and no interrupted write explains it: it may have been acknowledged"
        };
        report.details.get_or_insert(format!("at byte {offset} there is {what}, {why}"));
    }
    report
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::fs;
    use std::path::Path;

    use storage::log::record::{HEADER, encode};
    use wire::txn::{SetDataTxn, Txn, TxnHeader};
    use wire::{OpCode, SessionId, Xid};

    use super::*;
    use crate::input::logs;

    fn put(zxid: i64, data: Option<&[u8]>, bytes: &mut Vec<u8>) {
        let header =
            TxnHeader { session: SessionId(1), cxid: Xid(2), zxid: Zxid(zxid), time_ms: 3, op: OpCode::SetData };
        let txn = Txn::SetData(SetDataTxn { path: Some("/a".into()), data, version: 1 });
        encode(&TxnEntry { header, txn, digest: None }.to_vec(), bytes);
    }

    fn write_log(dir: &Path, zxids: &[i64]) {
        let mut bytes = HEADER.to_vec();
        for &zxid in zxids {
            put(zxid, None, &mut bytes);
        }
        fs::write(dir.join("log.1"), bytes).unwrap();
    }

    fn verdict(dir: &Path) -> (&'static str, Option<String>) {
        let file = &logs(&[dir.to_owned()]).unwrap()[0];
        let report = check(file, File::open(&file.path).unwrap());
        (report.verdict, report.details)
    }

    /// As a start has it: a record in a znode's data is none, and one that has only lost its length was whole.
    #[test]
    fn what_an_interrupted_write_has_left_is_told_from_a_lost_length() {
        let dir = tempfile::tempdir().unwrap();
        let (mut bytes, mut inner) = (HEADER.to_vec(), Vec::new());
        put(1, None, &mut bytes);
        let begin = bytes.len();
        put(3, None, &mut inner);
        put(2, Some(&[&[7; 700][..], &inner, &[7; 700]].concat()), &mut bytes);
        let end = bytes.len();
        bytes[end - 300..].fill(0);
        fs::write(dir.path().join("log.1"), &bytes).unwrap();
        assert_eq!(verdict(dir.path()).0, "torn end");
        bytes.truncate(begin);
        put(2, Some(&[7; 700]), &mut bytes);
        put(3, Some(&[7; 700]), &mut bytes);
        let end = bytes.len();
        bytes[end - 300..].fill(0);
        fs::write(dir.path().join("log.1"), &bytes).unwrap();
        assert_eq!(verdict(dir.path()).0, "torn end");
        bytes[begin + 9] ^= 1;
        fs::write(dir.path().join("log.1"), &bytes).unwrap();
        assert_eq!(verdict(dir.path()).0, "damaged");
    }

    /// Gives so many bytes, and then EIO.
    struct BadSector<'a>(&'a [u8]);

    impl io::Read for BadSector<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::from_raw_os_error(storage::disk::EIO)),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_to_its_end_has_a_verdict_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        write_log(dir.path(), &[1, 2, 3]);
        let bytes = fs::read(dir.path().join("log.1")).unwrap();
        let file = &logs(&[dir.path().to_owned()]).unwrap()[0];
        let record = (bytes.len() - HEADER.len()) / 3;
        for (given, txns, last) in
            [(7, 0, None), (HEADER.len() + record + 9, 1, Some("0x1")), (bytes.len(), 3, Some("0x3"))]
        {
            let report = check(file, BadSector(&bytes[..given]));
            assert_eq!((report.verdict, report.txns, report.last.as_deref()), ("unreadable", txns, last));
            assert!(report.is_bad());
            let from = if txns == 0 { 0 } else { given };
            let details = report.details.unwrap();
            assert!(details.starts_with(&format!("it can't be read from byte {from} on: ")), "{details}");
        }
    }

    #[test]
    fn what_a_running_server_writes_is_no_damage_and_damage_stays_it() {
        let report = |verdict, end, is_sure| Report {
            file: "log.1".to_owned(),
            bytes: 9,
            txns: 1,
            first: None,
            last: None,
            verdict,
            details: None,
            end,
            is_sure,
        };
        // As it is, and what it is the next times.
        let (whole, torn, broken) = (report("whole", 90, true), ("torn end", 50, false), ("damaged", 50, false));
        let (damaged, later) = (("damaged", 50, true), ("damaged", 70, true));
        type Files<'a> = &'a [(&'static str, u64, bool)];
        let cases: [(Files<'_>, &str); 6] = [
            (&[torn], BEING_WRITTEN),
            (&[broken, broken, broken, broken, broken], BEING_WRITTEN),
            (&[damaged, later, ("damaged", 90, true), ("damaged", 91, true), ("damaged", 92, true)], BEING_WRITTEN),
            (&[damaged, torn], BEING_WRITTEN),
            (&[damaged, damaged], "damaged"),
            (&[damaged, later, later], "damaged"),
        ];
        for (looks, verdict) in cases {
            let mut looks = looks.iter().map(|&(verdict, end, is_sure)| report(verdict, end, is_sure));
            let first = looks.next().unwrap();
            let told = while_written(first, || Ok(looks.next().unwrap())).unwrap();
            assert_eq!(told.verdict, verdict);
            assert_eq!(looks.count(), 0, "not looked at");
            assert_eq!(told.is_bad(), verdict == "damaged");
        }
        let told = while_written(whole, || unreachable!("nothing is broken")).unwrap();
        assert_eq!(
            told.details.unwrap(),
            "a server is running there and writes to it; behind byte 90 nothing was judged"
        );
    }

    #[test]
    fn only_the_newest_log_of_a_folder_with_a_server_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        write_log(dir.path(), &[1, 2, 3]);
        let verify_as = |path: &Path, json| {
            let mut out = Vec::new();
            let args = Verify { paths: vec![path.to_owned()], json };
            (run(&args, &mut out).unwrap(), String::from_utf8(out).unwrap())
        };
        let verify = |path: &Path| verify_as(path, false);
        let tail = |name: &str| {
            let mut bytes = fs::read(dir.path().join("log.1")).unwrap();
            bytes.truncate(bytes.len() - 3);
            fs::write(dir.path().join(name), bytes).unwrap();
        };
        tail("log.2");
        let lock = File::open(dir.path()).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        for path in [dir.path().to_owned(), dir.path().join("log.2")] {
            let (outcome, said) = verify(&path);
            assert!(outcome == Outcome::Good && said.contains("being written\n"), "{said}");
            assert_eq!(said.contains("a server is running there, so what its next start"), path.is_dir(), "{said}");
        }
        let last = verify_as(dir.path(), true).1.lines().last().unwrap().to_owned();
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last, json!({ "folder": dir.path().to_str().unwrap(), "is_in_use": true }));
        tail("log.1");
        let (_, said) = verify(dir.path());
        assert!(said.contains("torn end\n") && said.contains("being written\n"), "{said}");
        drop(lock);
        let (_, said) = verify(dir.path());
        assert!(!said.contains("being written") && said.contains("as a start would read it"), "{said}");
    }

    #[test]
    fn txns_are_missing_unless_a_snapshot_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        write_log(dir.path(), &[1, 2, 0x1_0000_0001]);
        assert_eq!(verdict(dir.path()), ("whole", None));
        let cases: [([i64; 3], i64, i64); 2] =
            [([1, 2, 9], 7, 8), ([1, 2, 0x1_0000_0004], 0x1_0000_0002, 0x1_0000_0003)];
        for (zxids, too_old, held) in cases {
            write_log(dir.path(), &zxids);
            for _ in 0..2 {
                let (verdict, details) = verdict(dir.path());
                assert!(
                    verdict == "damaged" && details.unwrap().contains("follows 0x2: txns are missing"),
                    "{zxids:x?}"
                );
                fs::write(dir.path().join(format!("snapshot.{too_old:x}")), b"").unwrap();
            }
            fs::write(dir.path().join(format!("snapshot.{held:x}")), b"").unwrap();
            let (verdict, details) = verdict(dir.path());
            assert_eq!(verdict, "whole");
            assert!(details.unwrap().ends_with(&format!("snapshot.{held:x} holds what is between")));
            fs::remove_file(dir.path().join(format!("snapshot.{held:x}"))).unwrap();
        }
        // Backwards is another matter.
        write_log(dir.path(), &[1, 2, 9, 3]);
        fs::write(dir.path().join("snapshot.8"), b"").unwrap();
        assert!(verdict(dir.path()).1.unwrap().contains("follows 0x9: txns are missing or out of order"));
    }
}
