//! `ostler log show`, `find` and `export`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use storage::log::reader::{End, LogReader, Step};
use storage::names::{LOG, zxid_of};
use wire::txn::TxnEntry;
use wire::{Field, Reader, Zxid};

use super::zeros::behind_zeros;
use super::{RECORD_MAX, line};
use crate::filter::TxnFilter;
use crate::input::{self, Input};
use crate::progress::{self, Told};
use crate::{Outcome, text};

/// Prints what `filter` takes.
pub fn run(paths: &[PathBuf], filter: &TxnFilter, as_json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let files = needed(input::logs(paths)?, filter);
    let bar = progress::bar(files.iter().map(|file| file.length).sum(), "reading", progress::is_apart());
    if !as_json {
        writeln!(out, "{}", line::heading())?;
    }
    let mut outcome = Outcome::Good;
    let (mut shown, mut seen) = (0u64, 0u64);
    for file in &files {
        let source = File::open(&file.path).with_context(|| file.shown())?;
        let mut reader = match LogReader::open(Told::new(source, &bar), RECORD_MAX).with_context(|| file.shown())? {
            Ok(reader) => reader,
            Err(flaw) => bail!("{} is no txn log: {flaw}", file.shown()),
        };
        let end = loop {
            match reader.step().with_context(|| file.shown())? {
                Step::End(end) => break end,
                Step::Record(record) => {
                    seen += 1;
                    if !filter.takes_zxid(record.zxid) {
                        continue;
                    }
                    let entry = TxnEntry::read(&mut Reader::with_limit(record.blob, RECORD_MAX));
                    let entry = entry.with_context(|| {
                        format!("txn {}, at byte {} of {}, can't be read", record.zxid, record.offset, file.shown())
                    })?;
                    if filter.takes(&entry) {
                        shown += 1;
                        if as_json {
                            writeln!(out, "{}", line::json(&file.name.to_string(), record.offset, &entry))?;
                        } else {
                            writeln!(out, "{}", line::plain(&entry))?;
                        }
                    }
                }
            }
        };
        let what = match end {
            End::Eof { .. } => None,
            End::Padding { offset } => {
                let behind = behind_zeros(&file.path, offset).with_context(|| file.shown())?;
                behind.map(|at| format!("there are zeros at byte {offset}, and something else at byte {at}"))
            }
            End::Broken { offset, flaw } => Some(format!("the record at byte {offset} is broken, {flaw}")),
        };
        if let Some(what) = what {
            outcome = Outcome::Bad;
            out.flush()?;
            complain(&format!("{}: {what}; what is behind it is not shown (see ostler log verify)", file.shown()));
        }
    }
    bar.finish_and_clear();
    if !as_json {
        let files = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
        writeln!(out, "{shown} of {seen} txns, {files}")?;
    }
    Ok(outcome)
}

#[allow(clippy::print_stderr, reason = "this is where errors reach the person")]
fn complain(text: &str) {
    eprintln!("ostler: {}", text::escaped(text));
}

/// Without the files that can hold nothing of what is asked for: a log is named by its first txn.
fn needed(files: Vec<Input>, filter: &TxnFilter) -> Vec<Input> {
    let zxid = |file: &Input| zxid_of(&file.name.to_string(), LOG);
    let starts: Vec<Option<Zxid>> = files.iter().map(zxid).collect();
    let is_needed = |i: usize| {
        let begins_late = starts[i].is_some_and(|start| filter.to.is_some_and(|to| start.0 > to));
        let next = starts.get(i + 1).copied().flatten();
        let sorted = next.is_some_and(|next| starts[i].is_some_and(|start| next > start));
        let ends_early = sorted && next.is_some_and(|next| filter.from.is_some_and(|from| next.0 <= from));
        !begins_late && !ends_early
    };
    let keep: Vec<bool> = (0..files.len()).map(is_needed).collect();
    files.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::fs;

    use storage::log::record::{HEADER, encode};
    use wire::txn::{SetDataTxn, Txn, TxnHeader};
    use wire::{OpCode, SessionId, Xid};

    use super::*;

    #[test]
    fn zeros_that_hide_something_are_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.1");
        let mut whole = HEADER.to_vec();
        for zxid in 1..=3 {
            let header =
                TxnHeader { session: SessionId(1), cxid: Xid(2), zxid: Zxid(zxid), time_ms: 3, op: OpCode::SetData };
            let txn = Txn::SetData(SetDataTxn { path: Some("/a".into()), data: None, version: 1 });
            encode(&TxnEntry { header, txn, digest: None }.to_vec(), &mut whole);
        }
        let record = (whole.len() - HEADER.len()) / 3;
        let (first, second) = (HEADER.len() + record, HEADER.len() + 2 * record);
        let exported = |bytes: &[u8]| {
            fs::write(&log, bytes).unwrap();
            let mut out = Vec::new();
            let outcome = run(&[dir.path().to_owned()], &TxnFilter::default(), true, &mut out).unwrap();
            (outcome, String::from_utf8(out).unwrap().lines().count())
        };
        assert_eq!(exported(&whole), (Outcome::Good, 3));
        let mut padded = whole.clone();
        padded.resize(1 << 20, 0);
        assert_eq!(exported(&padded), (Outcome::Good, 3));
        let mut holed = whole.clone();
        holed[first..second].fill(0);
        assert_eq!(exported(&holed), (Outcome::Bad, 1));
        // The next checksum begins with zeros, too.
        let found = behind_zeros(&log, first as u64).unwrap().unwrap();
        assert!((second as u64 + 4..second as u64 + 8).contains(&found), "{found}");
        // What is not even a record, far behind.
        padded[second..].fill(0);
        padded[(1 << 20) - 1] = 1;
        assert_eq!(exported(&padded), (Outcome::Bad, 2));
    }
}
