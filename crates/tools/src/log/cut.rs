//! `ostler log cut`: the good beginning of a log, in a new file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use storage::disk::is_lost;
use storage::last_stop::{LOCK_FILE, LastStop};
use storage::log::reader::{End, LogReader, Step};
use storage::log::record::{HEADER, encode};
use storage::names::{LOG, numbered, zxid_of};
use storage::{Dir, Disk};
use wire::Zxid;

use super::{Cut, RECORD_MAX};
use crate::Outcome;
use crate::folder::Folder;
use crate::progress::{self, Told};

/// Where the copy ends.
enum Rest {
    /// As the file does.
    End(End),
    /// Before this txn, at this byte, as was asked for.
    Txn(Zxid, u64),
    /// What is behind this byte can't be read.
    Unreadable(u64, io::Error),
}

/// Writes the new file.
pub fn run(args: &Cut, out: &mut dyn Write) -> Result<Outcome> {
    let source = File::open(&args.file).with_context(|| args.file.display().to_string())?;
    let length = source.metadata().with_context(|| args.file.display().to_string())?.len();
    let bar = progress::bar(length, "copying", progress::is_watched());
    cut(args, Told::new(source, &bar), &mut || bar.finish_and_clear(), out)
}

fn cut(args: &Cut, source: impl Read, read: &mut dyn FnMut(), out: &mut dyn Write) -> Result<Outcome> {
    let shown = args.file.display();
    let opened = LogReader::open(source, RECORD_MAX).with_context(|| shown.to_string())?;
    let mut reader = opened.map_err(|flaw| anyhow::anyhow!("{shown} is no txn log: {flaw}"))?;
    let made = OpenOptions::new().write(true).create_new(true).open(&args.output);
    let made = made.with_context(|| format!("{} can't be made", args.output.display()))?;
    let copied = copy(args, &mut reader, made);
    read();
    if copied.is_err() {
        // A part of a file would be taken for a result, and stand in the way of the next try.
        let _ = std::fs::remove_file(&args.output);
    }
    let (end, txns, last) = copied?;
    let output = args.output.display();
    writeln!(out, "{output}: {txns} txns, the last is {last}")?;
    let mut is_followed = false;
    let is_eof = matches!(end, Rest::End(End::Eof { .. }));
    let is_padding = matches!(end, Rest::End(End::Padding { .. }));
    match end {
        Rest::Txn(zxid, offset) => {
            writeln!(out, "left out: txn {zxid} at byte {offset} of {shown}, and all behind it")?;
        }
        Rest::Unreadable(offset, error) => {
            writeln!(out, "left out: what can't be read, from byte {offset} of {shown} on: {error}")?;
        }
        Rest::End(End::Eof { .. }) => writeln!(out, "{shown} was not damaged; this is a copy")?,
        Rest::End(End::Padding { offset }) => {
            let behind = reader.look_behind(last).map(|behind| behind.record);
            is_followed = !matches!(behind, Ok(None));
            match behind {
                Err(error) => {
                    let from = reader.read_to();
                    writeln!(
                        out,
                        "left out: zeros at byte {offset}, and what can't be read, from byte {from} on: {error}"
                    )?;
                }
                Ok(Some((at, zxid))) => {
                    writeln!(out, "left out: zeros at byte {offset}, and txn {zxid} at byte {at} and all behind it")?;
                }
                Ok(None) => writeln!(out, "{shown} was not damaged; this is a copy without the zeros at its end")?,
            }
        }
        Rest::End(End::Broken { offset, flaw }) => {
            writeln!(out, "left out: the record at byte {offset}, {flaw}")?;
            match reader.look_behind(last).map(|behind| behind.without_data(last, 0).0.record) {
                Ok(None) => {}
                Ok(Some((at, zxid))) => {
                    writeln!(out, "left out, though whole: txn {zxid} at byte {at}, and what is behind it")?;
                }
                Err(error) => {
                    let from = reader.read_to();
                    writeln!(out, "left out: what can't be read, from byte {from} on: {error}")?;
                }
            }
        }
    }
    writeln!(
        out,
        "To use it: stop the server, keep the old file elsewhere, and put this one in its place under the same name."
    )?;
    // What follows in later files would be behind a gap, and the next start refused.
    let is_whole = is_eof || is_padding && !is_followed;
    let later = if is_whole { Vec::new() } else { later_logs(&args.file)? };
    if !later.is_empty() {
        writeln!(
            out,
            "Later logs go on behind what was left out, and a start with them would be refused: move them elsewhere too: {}. The \
             txns behind {last} are given up then, but for those that a later snapshot holds.",
            later.join(", ")
        )?;
    }
    if !is_whole && has_word(&args.file) {
        writeln!(
            out,
            "Remove {LOCK_FILE} beside it as well, while no server runs: it says how long the logs were when the server \
             stopped, and a start would miss what was left out."
        )?;
    }
    Ok(Outcome::Good)
}

/// Copies the whole records, durably, and says where they end, how many they are, and the last.
fn copy<R: Read>(args: &Cut, reader: &mut LogReader<R>, made: File) -> Result<(Rest, u64, Zxid)> {
    let (shown, output) = (args.file.display(), || args.output.display().to_string());
    let mut to = BufWriter::with_capacity(1 << 18, made);
    to.write_all(&HEADER).with_context(output)?;
    let limit = args.zxid.map(Zxid);
    let (mut last, mut txns, mut record_bytes) = (Zxid::ZERO, 0u64, Vec::new());
    let end = loop {
        match reader.step() {
            Ok(Step::End(end)) => break Rest::End(end),
            Ok(Step::Record(record)) if limit.is_some_and(|limit| record.zxid > limit) => {
                break Rest::Txn(record.zxid, record.offset);
            }
            Ok(Step::Record(record)) => {
                record_bytes.clear();
                encode(record.blob, &mut record_bytes);
                to.write_all(&record_bytes).with_context(output)?;
                (last, txns) = (record.zxid, txns + 1);
            }
            Err(error) if is_lost(&error) => break Rest::Unreadable(reader.read_to(), error),
            Err(error) => return Err(error).with_context(|| shown.to_string()),
        }
    };
    if limit.is_some_and(|limit| txns == 0 || last != limit) {
        bail!(
            "{shown} does not hold txn {} before its end or a damage; nothing was written",
            limit.unwrap_or_default()
        );
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error).with_context(output)?;
    file.sync_all().with_context(output)?;
    // Its name, too.
    File::open(beside(&args.output)).and_then(|folder| folder.sync_all()).with_context(output)?;
    Ok((end, txns, last))
}

/// The logs beside this one that are later by their names.
fn later_logs(file: &Path) -> Result<Vec<String>> {
    let zxid = file.file_name().and_then(|name| zxid_of(&name.to_string_lossy(), LOG));
    let Some(zxid) = zxid else { return Ok(Vec::new()) };
    let listing = Folder::new(beside(file)).list(Dir::Log).with_context(|| beside(file).display().to_string())?;
    let later = numbered(&listing, LOG).into_iter().filter(|log| log.zxid > zxid);
    Ok(later.map(|log| log.name.to_string()).collect())
}

/// Has a server left word of how long the newest log was?
fn has_word(file: &Path) -> bool {
    let word = std::fs::read(beside(file).join(LOCK_FILE)).unwrap_or_default();
    LastStop::parse(&String::from_utf8_lossy(&word)).closed.is_some()
}

fn beside(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::fs;

    use super::*;

    /// Gives so many bytes, and then an error.
    struct Bad<'a>(&'a [u8], i32);

    impl Read for Bad<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::from_raw_os_error(self.1)),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn what_is_before_a_bad_sector_is_saved_and_no_part_is_left_of_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let (file, output) = (dir.path().join("log.1"), dir.path().join("new"));
        let mut bytes = HEADER.to_vec();
        for zxid in 1..=3_u8 {
            let mut blob = [7; 64];
            blob[12..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, zxid]);
            encode(&blob, &mut bytes);
        }
        let record = (bytes.len() - HEADER.len()) / 3;
        let given = HEADER.len() + 2 * record + 9;
        let cut = |zxid, error| {
            let args = Cut { file: file.clone(), output: output.clone(), zxid };
            let mut out = Vec::new();
            let done = cut(&args, Bad(&bytes[..given], error), &mut || (), &mut out);
            (done.map_err(|error| format!("{error:#}")), String::from_utf8(out).unwrap())
        };
        // Too little memory is no bad sector, and a txn behind one is not there.
        for (zxid, error) in [(None, 12), (Some(3), storage::disk::EIO)] {
            let (done, said) = cut(zxid, error);
            assert!(done.is_err() && said.is_empty() && !output.exists(), "{done:?} {said}");
        }
        let (done, said) = cut(None, storage::disk::EIO);
        assert!(done.unwrap() == Outcome::Good && said.contains(": 2 txns, the last is 0x2\n"), "{said}");
        let what = format!("left out: what can't be read, from byte {given} of {} on: ", file.display());
        assert!(said.contains(&what), "{said}");
        assert_eq!(fs::read(&output).unwrap(), bytes[..HEADER.len() + 2 * record]);
    }
}
