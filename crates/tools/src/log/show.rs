//! `ostler log show`, `find` and `export`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use storage::log::reader::{End, LogReader, Step};
use storage::names::{LOG, zxid_of};
use wire::txn::TxnEntry;
use wire::{Field, Reader, Zxid};

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
        if let End::Broken { offset, flaw } = end {
            outcome = Outcome::Bad;
            out.flush()?;
            complain(&format!(
                "{}: the record at byte {offset} is broken, {flaw}; what is behind it is not shown (see ostler log verify)",
                file.shown()
            ));
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
