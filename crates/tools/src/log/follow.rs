//! `ostler log follow`: the txns of a running server as they are written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use storage::log::reader::{End, LogReader, Step};
use storage::log::record::{HEADER, HEADER_LENGTH};
use wire::txn::TxnEntry;
use wire::{Field, Reader};

use super::{Follow, RECORD_MAX, line};
use crate::Outcome;
use crate::input::{self, Input};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often a record that does not become whole is looked at before the end is called broken, if a newer file exists.
const PATIENCE: u32 = 20;

/// Runs until it is stopped.
pub fn run(args: &Follow, out: &mut dyn Write) -> Result<Outcome> {
    let mut file = newest(args)?;
    let mut at = HEADER_LENGTH;
    let mut left = args.count.unwrap_or(u64::MAX);
    if !args.all {
        let mut skipped = 0;
        (at, _) = read_from(&file, at, &mut |_, _| {
            skipped += 1;
            Ok(true)
        })?;
    }
    if !args.json {
        writeln!(out, "{}", line::heading())?;
        out.flush()?;
    }
    let mut stuck = 0;
    while left > 0 {
        let (next, end) = read_from(&file, at, &mut |offset, entry| {
            if args.filter.takes(entry) {
                if args.json {
                    writeln!(out, "{}", line::json(&file.name.to_string(), offset, entry))?;
                } else {
                    writeln!(out, "{}", line::plain(entry))?;
                }
                left -= 1;
            }
            Ok(left > 0)
        })?;
        stuck = if next == at { stuck + 1 } else { 0 };
        at = next;
        out.flush()?;
        if left == 0 {
            break;
        }
        // A file is left for good once a newer one exists; what was written to it before is read once more first.
        let following = input::logs(std::slice::from_ref(&args.folder))?.into_iter().find(|log| is_newer(log, &file));
        match (following, end) {
            (Some(log), End::Eof { .. } | End::Padding { .. }) if stuck > 0 => (file, at) = (log, HEADER_LENGTH),
            (Some(_), End::Broken { offset, flaw }) if stuck > PATIENCE => {
                anyhow::bail!("{}: the record at byte {offset} is broken, {flaw}", file.shown());
            }
            _ => std::thread::sleep(INTERVAL),
        }
    }
    Ok(Outcome::Good)
}

fn newest(args: &Follow) -> Result<Input> {
    let mut logs = input::logs(std::slice::from_ref(&args.folder))?;
    logs.pop().context("no txn log there")
}

fn is_newer(log: &Input, than: &Input) -> bool {
    let zxid = |input: &Input| storage::names::zxid_of(&input.name.to_string(), storage::names::LOG);
    zxid(log) > zxid(than)
}

/// Shows the whole records from `at` on; where the next one would begin, and how they end. `show` may say stop.
fn read_from(file: &Input, at: u64, show: &mut dyn FnMut(u64, &TxnEntry<'_>) -> Result<bool>) -> Result<(u64, End)> {
    let mut source = File::open(&file.path).with_context(|| file.shown())?;
    source.seek(SeekFrom::Start(at))?;
    // The reader wants a header; offsets are counted from there.
    let base = at - HEADER_LENGTH;
    let opened = LogReader::open(io::Cursor::new(HEADER).chain(source), RECORD_MAX).with_context(|| file.shown())?;
    let mut reader = opened.map_err(|flaw| anyhow::anyhow!("{}: {flaw}", file.shown()))?;
    let mut next = at;
    loop {
        match reader.step().with_context(|| file.shown())? {
            Step::End(end) => return Ok((next, end)),
            Step::Record(record) => {
                let entry = TxnEntry::read(&mut Reader::with_limit(record.blob, RECORD_MAX));
                let entry = entry.with_context(|| format!("txn {} in {}", record.zxid, file.shown()))?;
                next = base + record.end();
                if !show(base + record.offset, &entry)? {
                    return Ok((next, End::Eof { offset: next }));
                }
            }
        }
    }
}
