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

use super::zeros::behind_zeros;
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
    let first = newest(args)?;
    follow(args, first, &mut || input::logs(std::slice::from_ref(&args.folder)), out)
}

/// From this file on; true: it was waited for. `list` names the logs, oldest first.
fn follow(
    args: &Follow,
    (mut file, is_first): (Input, bool),
    list: &mut dyn FnMut() -> Result<Vec<Input>>,
    out: &mut dyn Write,
) -> Result<Outcome> {
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
        // Before it is read: a file is left for good once there is a newer one, so what is read then is all of it.
        let following = list()?.into_iter().find(|log| is_newer(log, &file));
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
        match (following, end) {
            (Some(log), End::Eof { .. } | End::Padding { .. }) => {
                // What is left of an older file is a start's matter, but for whole txns.
                no_txn_behind(&file, at, end, last)?;
                (file, at) = (log, HEADER_LENGTH);
            }
            // A server that runs finishes what it has begun to write.
            (_, End::Broken { flaw, .. }) if stuck > PATIENCE => {
                bail!("{}: the record at byte {at} is broken, {flaw}: nothing behind it can be followed", file.shown());
            }
            (None, End::Padding { .. }) if stuck == PATIENCE => {
                no_txn_behind(&file, at, end, last)?;
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

/// Fails if the records of a file end with zeros, and a whole txn stands behind them.
fn no_txn_behind(file: &Input, at: u64, end: End, last: Zxid) -> Result<()> {
    if !matches!(end, End::Padding { .. }) || behind_zeros(&file.path, at).with_context(|| file.shown())?.is_none() {
        return Ok(());
    }
    let mut reader = open(file, at)?;
    reader.step().with_context(|| file.shown())?;
    let behind = reader.look_behind(last).with_context(|| file.shown())?;
    match behind.record {
        Some((_, zxid)) => {
            bail!("{}: there are zeros at byte {at}, and txn {zxid} behind them: it is damaged", file.shown());
        }
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::fs;
    use std::path::Path;

    use storage::log::record::encode;
    use wire::txn::{SetDataTxn, Txn, TxnHeader};
    use wire::{OpCode, SessionId, Xid};

    use super::*;
    use crate::filter::TxnFilter;

    /// The records of these txns.
    fn records(zxids: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &zxid in zxids {
            let header =
                TxnHeader { session: SessionId(1), cxid: Xid(2), zxid: Zxid(zxid), time_ms: 3, op: OpCode::SetData };
            let txn = Txn::SetData(SetDataTxn { path: Some("/a".into()), data: None, version: 1 });
            encode(&TxnEntry { header, txn, digest: None }.to_vec(), &mut bytes);
        }
        bytes
    }

    fn write(dir: &Path, name: &str, zxids: &[i64]) {
        fs::write(dir.join(name), [&HEADER[..], &records(zxids)].concat()).unwrap();
    }

    /// Follows until so many txns were shown. `meanwhile` happens each time before the folder is looked at.
    fn followed(dir: &Path, count: u64, meanwhile: &mut dyn FnMut()) -> Result<Vec<i64>> {
        let args =
            Follow { folder: dir.to_owned(), filter: TxnFilter::default(), json: true, all: true, count: Some(count) };
        let first = input::logs(std::slice::from_ref(&args.folder))?.swap_remove(0);
        let mut list = || {
            meanwhile();
            input::logs(std::slice::from_ref(&args.folder))
        };
        let mut out = Vec::new();
        follow(&args, (first, false), &mut list, &mut out)?;
        let lines = String::from_utf8(out).unwrap();
        let zxid = |line: &str| {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            i64::from_str_radix(object["zxid"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        Ok(lines.lines().map(zxid).collect())
    }

    #[test]
    fn what_is_written_just_before_a_file_is_left_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "log.1", &[1, 2]);
        let mut looks = 0;
        let mut meanwhile = || {
            looks += 1;
            // Nothing came for some time; then a txn, and at once the next file.
            if looks == 4 {
                write(dir.path(), "log.1", &[1, 2, 3]);
                write(dir.path(), "log.4", &[4]);
            }
        };
        assert_eq!(followed(dir.path(), 3, &mut meanwhile).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn no_file_is_left_behind_zeros_that_hide_a_txn() {
        let dir = tempfile::tempdir().unwrap();
        let (one, all) = (HEADER.len() + records(&[1]).len(), records(&[1, 2, 3]).len());
        write(dir.path(), "log.4", &[4]);
        write(dir.path(), "log.1", &[1, 2, 3]);
        let mut bytes = fs::read(dir.path().join("log.1")).unwrap();
        bytes[one..one + all / 3].fill(0);
        fs::write(dir.path().join("log.1"), &bytes).unwrap();
        let why = format!("{:#}", followed(dir.path(), 2, &mut || ()).unwrap_err());
        let expected = format!("log.1: there are zeros at byte {one}, and txn 0x3 behind them: it is damaged");
        assert!(why.ends_with(&expected), "{why}");
        // Room that was made for what never came hides nothing.
        bytes.truncate(one);
        bytes.resize(9000, 0);
        fs::write(dir.path().join("log.1"), bytes).unwrap();
        assert_eq!(followed(dir.path(), 2, &mut || ()).unwrap(), [1, 4]);
    }
}
