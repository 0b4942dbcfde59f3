//! `ostler log cut`: the good beginning of a log, in a new file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use storage::last_stop::{LOCK_FILE, LastStop};
use storage::log::reader::{End, LogReader, Step};
use storage::log::record::{HEADER, encode};
use storage::names::{LOG, numbered, zxid_of};
use storage::{Dir, Disk};
use wire::Zxid;

use super::{Cut, RECORD_MAX, wants_progress};
use crate::Outcome;
use crate::folder::Folder;
use crate::progress::{self, Told};

/// Writes the new file.
pub fn run(args: &Cut, out: &mut dyn Write) -> Result<Outcome> {
    let shown = args.file.display();
    let source = File::open(&args.file).with_context(|| shown.to_string())?;
    let length = source.metadata().with_context(|| shown.to_string())?.len();
    let bar = progress::bar(length, "copying", wants_progress());
    let opened = LogReader::open(Told::new(source, &bar), RECORD_MAX).with_context(|| shown.to_string())?;
    let mut reader = opened.map_err(|flaw| anyhow::anyhow!("{shown} is no txn log: {flaw}"))?;
    let made = OpenOptions::new().write(true).create_new(true).open(&args.output);
    let made = made.with_context(|| format!("{} can't be made", args.output.display()))?;
    let mut to = BufWriter::with_capacity(1 << 18, made);
    to.write_all(&HEADER)?;
    let limit = args.zxid.map(Zxid);
    let (mut last, mut txns, mut record_bytes) = (Zxid::ZERO, 0u64, Vec::new());
    let mut left_out = None;
    let end = loop {
        match reader.step().with_context(|| shown.to_string())? {
            Step::End(end) => break Some(end),
            Step::Record(record) if limit.is_some_and(|limit| record.zxid > limit) => {
                left_out = Some((record.zxid, record.offset));
                break None;
            }
            Step::Record(record) => {
                record_bytes.clear();
                encode(record.blob, &mut record_bytes);
                to.write_all(&record_bytes)?;
                (last, txns) = (record.zxid, txns + 1);
            }
        }
    };
    let file = to.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all().with_context(|| args.output.display().to_string())?;
    bar.finish_and_clear();
    if limit.is_some_and(|limit| txns == 0 || last != limit) {
        std::fs::remove_file(&args.output)?;
        bail!(
            "{shown} does not hold txn {} before its end or a damage; nothing was written",
            limit.unwrap_or_default()
        );
    }
    let output = args.output.display();
    writeln!(out, "{output}: {txns} txns, the last is {last}")?;
    let mut is_followed = false;
    match end {
        None => {
            if let Some((zxid, offset)) = left_out {
                writeln!(out, "left out: txn {zxid} at byte {offset} of {shown}, and all behind it")?;
            }
        }
        Some(End::Eof { .. }) => writeln!(out, "{shown} was not damaged; this is a copy")?,
        Some(End::Padding { offset }) => {
            let behind = reader.look_behind(last)?;
            is_followed = behind.record.is_some();
            match behind.record {
                Some((at, zxid)) => {
                    writeln!(out, "left out: zeros at byte {offset}, and txn {zxid} at byte {at} and all behind it")?;
                }
                None => writeln!(out, "{shown} was not damaged; this is a copy without the zeros at its end")?,
            }
        }
        Some(End::Broken { offset, flaw }) => {
            writeln!(out, "left out: the record at byte {offset}, {flaw}")?;
            if let Some((at, zxid)) = reader.look_behind(last)?.record {
                writeln!(out, "left out, though whole: txn {zxid} at byte {at}, and what is behind it")?;
            }
        }
    }
    writeln!(
        out,
        "To use it: stop the server, keep the old file elsewhere, and put this one in its place under the same name."
    )?;
    // What follows in later files would be behind a gap, and the next start refused.
    let is_whole = matches!(end, Some(End::Eof { .. })) || matches!(end, Some(End::Padding { .. })) && !is_followed;
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
