//! A member's directories as they are on this machine: epochs, the newest snapshot, the end of the log, and what a start would say
//! of all of it. Nothing is changed.
//!
//! A server in it may be writing: what is found is true of a moment.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use storage::disk::Disk;
use storage::log::reader::{End, LogReader, Step};
use storage::names::{LOG, SNAPSHOT, numbered};
use storage::{Dir, RecoverOptions};
use wire::{Epoch, Zxid};

use super::check::{Finding, Level};
use crate::folder::Folder;
use crate::log::as_a_start::read_both;
use crate::text;

/// The longest record that any server's settings allow to be read here.
const RECORD_MAX: usize = 1 << 30;

/// Looks.
pub fn look(data_dir: &Path, log_dir: &Path, own_uid: Option<u32>, options: &RecoverOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !data_dir.is_dir() {
        let what = format!(
            "{} is not there: not on this machine, or a new member, which gets all from the leader",
            data_dir.display()
        );
        return vec![Finding::new(Level::Info, what)];
    }
    let mut last = None;
    match history(data_dir, log_dir, &mut findings) {
        Ok(found) => last = found,
        Err(error) => findings.push(Finding::new(Level::Bad, format!("{}: {error}", log_dir.display()))),
    }
    let folder = Folder::new(data_dir);
    epochs(folder.path(), last, &mut findings);
    if last.is_some() {
        as_a_start(folder, Folder::new(log_dir), options, &mut findings);
    }
    for dir in [data_dir, log_dir] {
        owner(Folder::new(dir).path(), own_uid, &mut findings);
    }
    findings
}

fn history(data_dir: &Path, log_dir: &Path, findings: &mut Vec<Finding>) -> io::Result<Option<Zxid>> {
    let (data, log) = (Folder::new(data_dir), Folder::new(log_dir));
    let snapshots = numbered(&data.list(Dir::Data)?, SNAPSHOT);
    let logs = if log.path().is_dir() { numbered(&log.list(Dir::Log)?, LOG) } else { Vec::new() };
    let newest = snapshots.last();
    match newest {
        Some(it) => findings.push(Finding::new(
            Level::Ok,
            format!("{} snapshots, the newest is {} ({})", snapshots.len(), it.name, text::bytes(it.length)),
        )),
        None if logs.is_empty() => {
            findings.push(Finding::new(Level::Info, format!("{}: an empty database", data.path().display())));
            return Ok(None);
        }
        None => findings.push(Finding::new(
            Level::Warning,
            format!(
                "{} holds logs, and there is no snapshot: a server refuses to start unless snapshot.trust.empty=true; were \
                 snapshots removed?",
                log.path().display()
            ),
        )),
    }
    let Some(file) = logs.last() else {
        findings.push(Finding::new(Level::Info, format!("{}: there is no log", log.path().display())));
        return Ok(newest.map(|it| it.zxid));
    };
    let path = log.path().join(file.name.to_string());
    let (mut txns, mut last) = (0_u64, None);
    let mut reader = match LogReader::open(File::open(&path)?, RECORD_MAX)? {
        Ok(reader) => reader,
        Err(flaw) => {
            findings.push(Finding::new(Level::Warning, format!("{}: {flaw}", path.display())));
            return Ok(newest.map(|it| it.zxid));
        }
    };
    let end = loop {
        match reader.step()? {
            Step::Record(record) => {
                txns += 1;
                last = Some(record.zxid);
            }
            Step::End(end) => break end,
        }
    };
    if let End::Broken { offset, flaw } = end {
        findings.push(Finding::new(
            Level::Warning,
            format!(
                "{} at byte {offset}: {flaw}; a write that is under way, or one that a crash cut: `ostler log verify {}` tells more",
                path.display(),
                log.path().display()
            ),
        ));
    }
    let last = last.max(newest.map(|it| it.zxid));
    findings.push(Finding::new(
        Level::Ok,
        format!(
            "{} logs; the newest, {}, holds {txns} txns; the last zxid is {}",
            logs.len(),
            file.name,
            super::judge::zxid(last)
        ),
    ));
    Ok(last)
}

fn epochs(folder: &Path, last: Option<Zxid>, findings: &mut Vec<Finding>) {
    let mut read = |name: &str| -> Option<Epoch> {
        let path = folder.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                findings.push(Finding::new(Level::Bad, format!("{}: {error}", path.display())));
                return None;
            }
        };
        let number = text.lines().next().unwrap_or_default().trim().parse().ok();
        if number.is_none() {
            let shown: String = text.chars().take(40).collect();
            findings.push(Finding::new(
                Level::Bad,
                format!(
                    "{}: {shown:?} is not an epoch; restore the file, or empty the directory and let the member sync",
                    path.display()
                ),
            ));
        }
        number.map(Epoch)
    };
    let (accepted, current) = (read("acceptedEpoch"), read("currentEpoch"));
    match (accepted, current) {
        (Some(accepted), Some(current)) if accepted < current => findings.push(Finding::new(
            Level::Bad,
            format!(
                "acceptedEpoch, {accepted}, is below currentEpoch, {current}: no server starts so; were the files of two servers mixed?"
            ),
        )),
        (Some(accepted), Some(current)) => {
            findings.push(Finding::new(Level::Ok, format!("accepted epoch {accepted}, current epoch {current}")));
        }
        (None, None) => {
            findings.push(Finding::new(Level::Info, "no epoch files: this server was in no ensemble yet".to_owned()));
        }
        _ => findings.push(Finding::new(
            Level::Warning,
            format!("{} holds only one of acceptedEpoch and currentEpoch; the other is made from the last zxid", folder.display()),
        )),
    }
    if let (Some(current), Some(last)) = (current, last)
        && last.epoch() > current
    {
        findings.push(Finding::new(
            Level::Bad,
            format!(
                "currentEpoch, {current}, is older than the epoch of the last zxid, {}: no server starts so; an old backup of \
                 the file, or of the logs",
                super::judge::zxid(Some(last))
            ),
        ));
    }
}

/// All of it, as the next start would read it, digests too.
fn as_a_start(data: Folder, logs: Folder, options: &RecoverOptions, findings: &mut Vec<Finding>) {
    if data.is_in_use() {
        let what = "a server is running there, so what its next start would say was not looked at".to_owned();
        findings.push(Finding::new(Level::Info, what));
        return;
    }
    let found = read_both(data, logs, options);
    let level = if found.is_refused { Level::Bad } else { Level::Ok };
    findings.push(Finding::new(level, format!("as a start would read it: {}", found.start)));
    findings
        .extend(found.says.into_iter().map(|said| Finding::new(Level::Warning, format!("a start would say: {said}"))));
}

fn owner(folder: &Path, own_uid: Option<u32>, findings: &mut Vec<Finding>) {
    let (Ok(meta), Some(own)) = (fs::metadata(folder), own_uid) else { return };
    if meta.uid() != own {
        findings.push(Finding::new(
            Level::Warning,
            format!(
                "{} belongs to user {}, and this is user {own}: start Ostler as the user that Apache ran as",
                folder.display(),
                meta.uid()
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(findings: &[Finding]) -> String {
        findings.iter().map(|it| format!("{:?}: {}", it.level, it.text)).collect::<Vec<_>>().join("\n")
    }

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("version-2")).unwrap();
        for (name, content) in files {
            fs::write(dir.path().join("version-2").join(name), content).unwrap();
        }
        dir
    }

    #[test]
    fn epochs_that_contradict_are_bad() {
        let dir = directory(&[("acceptedEpoch", "3"), ("currentEpoch", "5"), ("snapshot.600000000", "x")]);
        let found = texts(&look(dir.path(), dir.path(), None, &RecoverOptions::default()));
        assert!(found.contains("Bad: acceptedEpoch, 3, is below currentEpoch, 5"), "{found}");
        assert!(
            found.contains("Bad: currentEpoch, 5, is older than the epoch of the last zxid, 0x600000000"),
            "{found}"
        );
    }

    #[test]
    fn an_epoch_that_is_none_is_named() {
        let dir = directory(&[("acceptedEpoch", "3x"), ("currentEpoch", "3")]);
        let found = texts(&look(dir.path(), dir.path(), None, &RecoverOptions::default()));
        assert!(found.contains("acceptedEpoch: \"3x\" is not an epoch"), "{found}");
    }

    #[test]
    fn logs_without_a_snapshot_are_a_trap() {
        let dir = directory(&[("log.1", "")]);
        let found = texts(&look(dir.path(), dir.path(), None, &RecoverOptions::default()));
        assert!(found.contains("Warning") && found.contains("snapshot.trust.empty"), "{found}");
    }

    #[test]
    fn an_absent_directory_is_no_fault() {
        let found = look(
            Path::new("/nonexistent/zookeeper"),
            Path::new("/nonexistent/zookeeper"),
            None,
            &RecoverOptions::default(),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Info);
    }

    #[test]
    fn another_owner_is_told() {
        let dir = directory(&[]);
        let found = texts(&look(dir.path(), dir.path(), Some(u32::MAX - 7), &RecoverOptions::default()));
        assert!(found.contains("start Ostler as the user that Apache ran as"), "{found}");
    }
}
