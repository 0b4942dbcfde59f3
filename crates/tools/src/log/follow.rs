//! `ostler log follow`: the txns of a running server as they are written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use storage::log::reader::{End, LogReader, Step};
use storage::log::record::{HEADER, HEADER_LENGTH};
use storage::names::{LOG, numbered, zxid_of};
use storage::{Dir, Disk};
use wire::txn::TxnEntry;
use wire::{Field, Reader, Zxid};

use super::{Follow, RECORD_MAX, line};
use crate::Outcome;
use crate::folder::Folder;
use crate::input::{self, Input};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often a record that does not become whole is looked at before the end is called broken.
const PATIENCE: u32 = 20;

/// Runs until it is stopped.
pub fn run(args: &Follow, out: &mut dyn Write) -> Result<Outcome> {
    let (mut file, is_first) = newest(args)?;
    let mut last = Zxid::ZERO;
    let mut at = HEADER_LENGTH;
    let mut left = args.count.unwrap_or(u64::MAX);
    // Of one that was waited for, all is new.
    if !args.all && !is_first {
        (at, _) = read_from(&file, at, &mut |_, entry| {
            last = entry.header.zxid;
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
            last = entry.header.zxid;
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
            // A server that runs finishes what it has begun to write.
            (_, End::Broken { flaw, .. }) if stuck > PATIENCE => {
                bail!("{}: the record at byte {at} is broken, {flaw}: nothing behind it can be followed", file.shown());
            }
            (None, End::Padding { .. }) if stuck == PATIENCE => {
                if let Some(zxid) = behind(&file, at, last)? {
                    bail!("{}: there are zeros at byte {at}, and txn {zxid} behind them: it is damaged", file.shown());
                }
                std::thread::sleep(INTERVAL);
            }
            _ => std::thread::sleep(INTERVAL),
        }
    }
    Ok(Outcome::Good)
}

/// The newest log. A server that has logged nothing yet has none: it is waited for; true if it was.
fn newest(args: &Follow) -> Result<(Input, bool)> {
    let folder = Folder::new(&args.folder);
    let mut is_told = false;
    loop {
        let logs = folder.list(Dir::Log).with_context(|| args.folder.display().to_string())?;
        if !numbered(&logs, LOG).is_empty() {
            let mut logs = input::logs(std::slice::from_ref(&args.folder))?;
            return Ok((logs.pop().context("no txn log there")?, is_told));
        }
        if !std::mem::replace(&mut is_told, true) {
            writeln!(io::stderr(), "{}: no txn log there yet; waiting for the first", args.folder.display())?;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The first txn that is whole behind this place.
fn behind(file: &Input, at: u64, last: Zxid) -> Result<Option<Zxid>> {
    let mut reader = open(file, at)?;
    reader.step().with_context(|| file.shown())?;
    Ok(reader.look_behind(last).with_context(|| file.shown())?.record.map(|(_, zxid)| zxid))
}

/// Reads from a place on, as if the file began there.
fn open(file: &Input, at: u64) -> Result<LogReader<impl Read>> {
    let mut source = match File::open(&file.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!("{} was removed", file.shown()),
        opened => opened.with_context(|| file.shown())?,
    };
    let length = source.metadata().with_context(|| file.shown())?.len();
    // One that was made just now may have no header yet.
    if length < at && at > HEADER_LENGTH {
        bail!("{} was cut to {length} bytes; txns up to byte {at} of it were read, and are gone", file.shown());
    }
    source.seek(SeekFrom::Start(at))?;
    // The reader wants a header.
    let opened = LogReader::open(io::Cursor::new(HEADER).chain(source), RECORD_MAX).with_context(|| file.shown())?;
    opened.map_err(|flaw| anyhow::anyhow!("{}: {flaw}", file.shown()))
}

fn is_newer(log: &Input, than: &Input) -> bool {
    let zxid = |input: &Input| zxid_of(&input.name.to_string(), LOG);
    zxid(log) > zxid(than)
}

/// Shows the whole records from `at` on; where the next one would begin, and how they end. `show` may say stop.
fn read_from(file: &Input, at: u64, show: &mut dyn FnMut(u64, &TxnEntry<'_>) -> Result<bool>) -> Result<(u64, End)> {
    let mut reader = open(file, at)?;
    // Offsets are counted from the header.
    let base = at - HEADER_LENGTH;
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
