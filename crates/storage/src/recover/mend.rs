//! What a recovery cuts, removes and keeps of what it has found, and how it tells so: a sentence each, with what to do.

use std::io::{Read, Seek, SeekFrom};

use super::error::{DBID_OFFSET, VERSION_OFFSET};
use super::{Origin, RecoverError, RecoverOptions, execute, list};
use wire::Zxid;

use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::log::dir::{Ahead, History, Repeated, Tail, TailEnd};
use crate::log::reader::Flaw;
use crate::log::record;
use crate::names::{self, FileName, Numbered, SNAPSHOT, UNFINISHED};
use crate::snapshot;
use crate::snapshot::install::RECEIVED;

/// How many bytes of a tail are copied at a time.
const KEPT_CHUNK: u64 = 1 << 20;
/// What an interrupted write costs, where nothing else can have happened.
const NOTHING_LOST: &str = "nothing that was acknowledged after a sync is missing";
/// The same, where the machine may have failed: damage may look like what that leaves.
const IF_A_CRASH: &str = "if the machine, or its power, failed during a write, that is what is left of it, and nothing that was \
     acknowledged after a sync is missing; if not, the disk has lost a piece of the log, and what is behind it may have been \
     acknowledged: compare this server's data with another's or a copy";

/// The same, where the machine has gone on, and the file is no longer than what there is of the record. One that is not made longer
/// in advance ends like that when its server is killed, and any other one when something has cut it.
const IF_NOT_CUT: &str = "if its server was killed while it wrote, nothing that was acknowledged after a sync is missing; if \
     something else has cut the file, what is gone may have been acknowledged: compare this server's data with another's or a copy";
/// The same of a file that was never begun, or emptied.
const IF_NOT_EMPTIED: &str = "Apache's server leaves that when it ends before its first write to a log, and then nothing is missing; if \
     something else has emptied the file, what was in it may have been acknowledged: compare this server's data with another's or a \
     copy";

/// What to do once txns were given up.
pub(super) const TAKE_IT_OUT: &str = "take that line out of zoo.cfg now";

/// Says which txns are missing, as the name of a log shows.
pub(super) fn given_up(ahead: &Ahead) -> String {
    format!(
        "{ahead}; what is missing may have been acknowledged, and was given up because of ostler.log.acceptSuspectTail=true; \
         {TAKE_IT_OUT}"
    )
}

/// Removes what no machine has finished, ours or Apache's: none of it was ever relied on.
pub(super) fn remove_leftovers(disk: &mut dyn Disk, warnings: &mut Vec<String>) -> Result<(), RecoverError> {
    let is_snapshot = |name: &str| name.strip_prefix(SNAPSHOT).is_some_and(|rest| rest.starts_with('.'));
    for dir in [Dir::Log, Dir::Data] {
        for entry in list(disk, dir)? {
            let name = FileName::parse(&entry.name);
            let is_leftover = match &name {
                FileName::NextLog | FileName::NewLog => dir == Dir::Log,
                FileName::SnapshotTemp => dir == Dir::Data,
                FileName::Other(text) if &**text == RECEIVED => dir == Dir::Data,
                FileName::Other(text) => dir == Dir::Data && is_snapshot(text) && text.ends_with(UNFINISHED),
                _ => false,
            };
            if is_leftover {
                if dir == Dir::Data {
                    warnings
                        .push(format!("{name}, a snapshot that was never finished, was removed; nothing is missing"));
                }
                execute(disk, &Effect::Remove(FileRef::new(dir, name)))?;
            }
        }
    }
    Ok(())
}

/// Says what earlier recoveries have cut and kept.
pub(super) fn tell_of_cuts(disk: &dyn Disk, warnings: &mut Vec<String>) -> Result<(), RecoverError> {
    let mut cuts = names::numbered(&list(disk, Dir::Log)?, names::CUT);
    if disk.is_separate() {
        cuts.extend(names::numbered(&list(disk, Dir::Data)?, names::CUT));
    }
    for cut in cuts {
        let (name, zxid, length) = (cut.name, cut.zxid, cut.length);
        let what = if name.to_string().contains(SNAPSHOT) {
            format!("that were snapshot.{:x}, which an earlier start gave up", zxid.0)
        } else {
            format!("that an earlier start cut from a log, behind txn {zxid}")
        };
        warnings.push(format!(
            "{name} keeps {length} bytes {what}; a purge removes it with the logs of its time, or remove it when nobody needs it"
        ));
    }
    Ok(())
}

/// Gives snapshots that are behind the end of the history, and can't be loaded, names that nobody takes for snapshots: the
/// history that goes on from here is another one, and the next start must not miss their txns again.
pub(super) fn set_aside(
    disk: &mut dyn Disk,
    snapshots: &[&Numbered],
    warnings: &mut Vec<String>,
) -> Result<(), RecoverError> {
    for snapshot in snapshots {
        let name = snapshot.name.to_string();
        let ending = name.splitn(3, '.').nth(2).map(|ending| format!(".{ending}")).unwrap_or_default();
        let to = FileName::Other(format!("{}.{:x}.{SNAPSHOT}{ending}", names::CUT, snapshot.zxid.0).into());
        warnings.push(format!(
            "{name} was given up because of ostler.log.acceptSuspectTail=true, and is called {to} now; {TAKE_IT_OUT}"
        ));
        execute(disk, &Effect::Rename { file: FileRef::new(Dir::Data, snapshot.name.clone()), to })?;
    }
    Ok(())
}

/// Cuts what is torn, and says what was found.
pub(super) fn mend(
    disk: &mut dyn Disk,
    options: &RecoverOptions,
    history: &History,
    warnings: &mut Vec<String>,
) -> Result<(), RecoverError> {
    for tail in &history.tails {
        // Only the end of a process is known to have no other way of leaving this.
        let cost = match tail.end {
            TailEnd::Torn { flaw: Some(Flaw::CutOff), .. } if options.went_on => IF_NOT_CUT,
            _ if options.went_on => NOTHING_LOST,
            _ => IF_A_CRASH,
        };
        if tail.is_torn() {
            let fate = match tail.end {
                _ if !options.repair => "it is left out".to_owned(),
                TailEnd::NoHeader { .. } => format!("it was removed; {IF_NOT_EMPTIED}"),
                // Whole records, or what may have been one, are not thrown away.
                TailEnd::Torn { offset, is_explained: false, .. } => {
                    let kept = keep(disk, tail, offset)?;
                    format!(
                        "it may have been acknowledged, and was cut because of ostler.log.acceptSuspectTail=true; its bytes \
                         are kept in {kept}; {TAKE_IT_OUT}"
                    )
                }
                TailEnd::Torn { offset, behind: Some(_), .. } | TailEnd::Torn { offset, within: Some(_), .. } => {
                    let kept = keep(disk, tail, offset)?;
                    format!("it was cut, and its bytes are kept in {kept}; {cost}")
                }
                _ => format!("it was cut; {cost}"),
            };
            warnings.push(format!("{tail}; {fate}"));
        }
        if options.repair {
            execute(disk, &tail.cut())?;
        }
    }
    if let Some(Repeated { count, file, offset, zxid }) = &history.repeated {
        let what = if *count == 1 { "1 log record repeats".to_owned() } else { format!("{count} log records repeat") };
        warnings.push(format!(
            "{what} what was logged before, first txn {zxid} at byte {offset} of {file}, and was left out; Apache's server \
             leaves that when it syncs anew, and nothing needs to be done"
        ));
    }
    Ok(())
}

/// Says what is odd about a file's header: nobody goes by it, so it is no reason not to start.
pub(super) fn odd_header(file: &FileRef, version: i32, dbid: i64) -> Option<String> {
    let usual = if matches!(file.name, FileName::Log(_)) { record::DBID } else { snapshot::DBID };
    let (byte, what, should) = if version != record::VERSION {
        (VERSION_OFFSET, format!("version {version}"), i64::from(record::VERSION))
    } else if dbid != usual {
        (DBID_OFFSET, format!("database {dbid}"), usual)
    } else {
        return None;
    };
    Some(format!(
        "{file} names {what} at byte {byte}, where ZooKeeper always writes {should}; what it holds was read all the same; if \
         the file is not this server's, stop the server and move it elsewhere"
    ))
}

/// Copies what stands from `offset` on into a file that nobody takes for a log, durably, without the zeros at its end.
fn keep(disk: &mut dyn Disk, tail: &Tail, offset: u64) -> Result<FileRef, RecoverError> {
    let taken = list(disk, Dir::Log)?;
    let first = format!("{}.{:x}", names::CUT, tail.after.0);
    // What an earlier cut has kept stays.
    let mut names = std::iter::once(first.clone()).chain((2..).map(|i: u64| format!("{first}.{i}")));
    let name = names.find(|name| taken.iter().all(|entry| entry.name != *name)).unwrap_or(first);
    let kept = FileRef::new(Dir::Log, FileName::Other(name.into()));
    execute(disk, &Effect::Create(kept.clone()))?;
    let mut from = offset;
    loop {
        let mut bytes = Vec::new();
        let read = disk.open(&tail.file).and_then(|mut source| {
            source.seek(SeekFrom::Start(from))?;
            source.take(KEPT_CHUNK).read_to_end(&mut bytes)
        });
        let read = read.map_err(|error| RecoverError::Io { what: tail.file.to_string(), error })?;
        if read == 0 {
            break;
        }
        // Where nothing is written before the end, there are zeros.
        bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1));
        if !bytes.is_empty() {
            execute(disk, &Effect::WriteAt { file: kept.clone(), offset: from - offset, bytes })?;
        }
        from += read as u64;
    }
    execute(disk, &Effect::Fsync(kept.clone()))?;
    execute(disk, &Effect::FsyncDir(Dir::Log))?;
    Ok(kept)
}

/// What is to be said of logs without a snapshot, and of a snapshot without logs. `replayed` are the first and the last of
/// the former.
pub(super) fn what_is_not_there(
    options: &RecoverOptions,
    origin: Origin,
    replayed: Option<(Zxid, Zxid)>,
    has_logs: bool,
) -> Vec<String> {
    const OUT_WITH_THE_KEY: &str = "take snapshot.trust.empty=true out of zoo.cfg now: with it, a dataDir that is lost may go \
        unnoticed";
    let mut warnings = Vec::new();
    match (origin, replayed) {
        (Origin::LogsOnly, Some((first, last))) => warnings.push(format!(
            "no snapshot was found, and the txns from {first} to {last} were replayed on an empty tree; if there were \
             earlier ones, they are missing; {OUT_WITH_THE_KEY}"
        )),
        (Origin::Snapshot { .. }, _) if options.trust_empty => {
            warnings.push(format!("there is a snapshot, so nothing depends on the logs alone; {OUT_WITH_THE_KEY}"));
        }
        _ => {}
    }
    // A server that has logged anything, or taken a snapshot of it, leaves a log; one that came from a leader needs none.
    if let Origin::Snapshot { zxid, .. } = origin
        && zxid > Zxid::ZERO
        && !has_logs
    {
        warnings.push(format!(
            "there is no log beside the snapshot of txn {zxid}: whatever was acknowledged behind it is missing; was the \
             dataLogDir lost or changed? After a restore from a snapshot alone, all is well"
        ));
    }
    warnings
}
