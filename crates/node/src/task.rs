//! What a node asks of the disk beside the log: epochs, a history that is cut or replaced, parts of the log, snapshots.
//!
//! A task is data; [`Task::run`] carries it out on any [`Disk`] and takes as long as that takes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use storage::disk::is_no_room;
use storage::epoch::EpochFile;
use storage::log::dir::files_from;
use storage::log::truncate::{self, TruncateError};
use storage::names::{self, numbered};
use storage::snapshot::decode::{Ignore, LoadSnapshotError, decode_file};
use storage::snapshot::install;
use storage::snapshot::stream::Compression;
use storage::{Dir, Disk, Effect, FileRef, RecoverError, RecoverOptions, recover};
use tree::{Tree, TreeConfig};
use wire::{Epoch, SessionId, Zxid};
use zab::{ConnId, LogPart, RoleId, Token};

use crate::log_part::read_log;
use crate::rebuild::Rebuild;

/// How tasks are done.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// How a directory is recovered, again, after a change.
    pub recover: RecoverOptions,
    /// The tree that is made of it.
    pub tree: TreeConfig,
    /// `digest.enabled`.
    pub digests: bool,
    /// `zookeeper.snapshotSizeFactor`: a learner that lacks more of the log on the disk than this part of a snapshot gets a
    /// snapshot. 0: the log, however long it is; below 0: always a snapshot. Apache's default is 0.33.
    pub snapshot_size_factor: f64,
    /// About how many bytes of the log are read at a time for a learner.
    pub part_bytes: usize,
}

impl TaskOptions {
    /// Apache's defaults.
    pub fn new(recover: RecoverOptions, tree: TreeConfig, digests: bool) -> Self {
        Self { recover, tree, digests, snapshot_size_factor: SNAPSHOT_SIZE_FACTOR, part_bytes: 2 << 20 }
    }
}

/// Apache's default: a third.
pub const SNAPSHOT_SIZE_FACTOR: f64 = 0.33;

/// Something for the disk.
#[derive(Debug, Clone)]
pub struct Task {
    pub(crate) kind: Kind,
    pub(crate) options: Arc<TaskOptions>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    WriteEpoch {
        token: Token,
        file: EpochFile,
        epoch: Epoch,
    },
    /// The log's writer is closed with these effects; then the history ends at `to`.
    Truncate {
        token: Token,
        to: Zxid,
        close: Vec<Effect>,
        rebuild: bool,
    },
    /// Likewise; then the history is the snapshot that was received.
    Install {
        token: Token,
        zxid: Zxid,
        close: Vec<Effect>,
    },
    ReadLog {
        role: RoleId,
        conn: ConnId,
        token: Token,
        from: Zxid,
        up_to: Zxid,
        is_first: bool,
    },
    FindSnapshot {
        role: RoleId,
        conn: ConnId,
        token: Token,
        at_least: Zxid,
    },
}

/// What a task came to.
#[derive(Debug)]
pub struct TaskDone(pub(crate) Done);

#[derive(Debug)]
pub(crate) enum Done {
    Epoch {
        token: Token,
    },
    /// `None`: the tree is still right.
    Truncated {
        token: Token,
        to: Zxid,
        rebuilt: Option<Box<Rebuilt>>,
        notes: Vec<String>,
    },
    NotTruncated {
        token: Token,
        why: String,
    },
    Installed {
        token: Token,
        zxid: Zxid,
        rebuilt: Box<Rebuilt>,
    },
    /// What came is no snapshot, and the history is what it was.
    NotInstalled {
        token: Token,
        why: String,
    },
    LogRead {
        role: RoleId,
        conn: ConnId,
        token: Token,
        part: Option<LogPart>,
    },
    Found {
        role: RoleId,
        conn: ConnId,
        token: Token,
        at_least: Zxid,
        zxid: Option<Zxid>,
    },
}

impl TaskDone {
    /// The txn with which the history on the disk ends now, if the task has changed it.
    pub fn history_end(&self) -> Option<Zxid> {
        match self.0 {
            Done::Truncated { to, .. } => Some(to),
            Done::Installed { zxid, .. } => Some(zxid),
            Done::Epoch { .. }
            | Done::NotTruncated { .. }
            | Done::NotInstalled { .. }
            | Done::LogRead { .. }
            | Done::Found { .. } => None,
        }
    }
}

/// A tree made anew.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub tree: Tree,
    pub sessions: BTreeMap<SessionId, i32>,
}

/// Why a task could not be done. But for [`NoRoom`](Self::NoRoom) the directory is as a crash would leave it, and the process
/// has to end.
#[derive(Debug)]
pub enum TaskError {
    /// There is no room for an epoch file, and the old one is still there. Run the task again after a while, as often as it takes:
    /// until it is done, the member takes no part in what the epoch is for, nor in an election when that role is over.
    NoRoom {
        /// What was tried.
        what: String,
        /// How it failed.
        error: io::Error,
    },
    /// The disk failed.
    Io {
        /// What was tried.
        what: String,
        /// How.
        error: io::Error,
    },
    /// The changed history can't be recovered.
    Recover(Box<RecoverError>),
    /// It is not the one that it was changed to.
    WrongEnd {
        /// Where it was to end.
        expected: Zxid,
        /// Where it does.
        found: Zxid,
    },
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } | Self::NoRoom { what, error } => write!(f, "{what}: {error}"),
            Self::Recover(error) => error.fmt(f),
            Self::WrongEnd { expected, found } => write!(
                f,
                "the history was to end with txn {expected}, but ends with {found}; move this server's data directory \
                 away and let it sync from the others"
            ),
        }
    }
}

impl std::error::Error for TaskError {}

impl Task {
    /// The txn behind which the history on the disk will end, if this changes it. Once it runs, what was behind is not safe.
    pub fn ends_history_at(&self) -> Option<Zxid> {
        match self.kind {
            Kind::Truncate { to, .. } => Some(to),
            Kind::Install { zxid, .. } => Some(zxid),
            Kind::WriteEpoch { .. } | Kind::ReadLog { .. } | Kind::FindSnapshot { .. } => None,
        }
    }

    /// Does it only read? Then it takes no sync.
    pub fn only_reads(&self) -> bool {
        matches!(self.kind, Kind::ReadLog { .. } | Kind::FindSnapshot { .. })
    }

    /// Does it. Reading for others never fails: what can't be read is not there, and they get something else.
    pub fn run(&self, disk: &mut dyn Disk) -> Result<TaskDone, TaskError> {
        let options = &*self.options;
        let done = match &self.kind {
            &Kind::WriteEpoch { token, file, epoch } => {
                write_epoch(disk, &file.write(epoch))?;
                Done::Epoch { token }
            }
            Kind::Truncate { token, to, close, rebuild } => {
                let (token, to) = (*token, *to);
                execute(disk, close)?;
                match truncate::plan(disk, to, &options.recover) {
                    Ok(plan) => {
                        execute(disk, &plan.effects)?;
                        let rebuilt = if *rebuild { Some(Box::new(rebuild_at(disk, to, options)?)) } else { None };
                        Done::Truncated { token, to, rebuilt, notes: plan.notes }
                    }
                    Err(TruncateError::Io(error)) => {
                        return Err(TaskError::Io { what: format!("truncating the log to {to}"), error });
                    }
                    Err(why) => Done::NotTruncated { token, why: why.to_string() },
                }
            }
            Kind::Install { token, zxid, close } => {
                execute(disk, close)?;
                install_snapshot(disk, *token, *zxid, options)?
            }
            &Kind::ReadLog { role, conn, token, from, up_to, is_first } => {
                let is_wanted =
                    !is_first || matches!(is_snapshot_cheaper(disk, from, options.snapshot_size_factor), Ok(false));
                let read = || read_log(disk, from, up_to, options.part_bytes, &options.recover);
                let part = is_wanted.then(read).flatten();
                Done::LogRead { role, conn, token, part }
            }
            &Kind::FindSnapshot { role, conn, token, at_least } => {
                let zxid = find_snapshot(disk, at_least, options.recover.length_max);
                Done::Found { role, conn, token, at_least, zxid }
            }
        };
        Ok(TaskDone(done))
    }
}

/// The newest snapshot, if it is not older and all of it is as it was written: what a learner gets has no checksum on its
/// way, and would become its state. Without one, a new one is taken.
fn find_snapshot(disk: &dyn Disk, at_least: Zxid, length_max: usize) -> Option<Zxid> {
    let listing = disk.list(Dir::Data).ok()?;
    let newest = numbered(&listing, names::SNAPSHOT).pop().filter(|file| file.zxid >= at_least)?;
    let source = disk.open(&FileRef::new(Dir::Data, newest.name.clone())).ok()?;
    decode_file(source, Compression::of(&newest.name), length_max, &mut Ignore, &mut |_| ()).ok()?;
    Some(newest.zxid)
}

fn execute(disk: &mut dyn Disk, effects: &[Effect]) -> Result<(), TaskError> {
    effects
        .iter()
        .try_for_each(|effect| disk.execute(effect).map_err(|error| TaskError::Io { what: effect.describe(), error }))
}

/// A full disk keeps a member waiting, it does not end it: the sync has not been tried yet, or was good.
fn write_epoch(disk: &mut dyn Disk, effects: &[Effect]) -> Result<(), TaskError> {
    effects.iter().try_for_each(|effect| {
        disk.execute(effect).map_err(|error| match effect.describe() {
            what if is_no_room(error.kind()) && effect.may_wait_for_room() => TaskError::NoRoom { what, error },
            what => TaskError::Io { what, error },
        })
    })
}

/// Makes what was received the history, if it is a snapshot: the tree that is made of it to see that is the new one.
fn install_snapshot(disk: &mut dyn Disk, token: Token, zxid: Zxid, options: &TaskOptions) -> Result<Done, TaskError> {
    let failed = |error| TaskError::Io { what: format!("installing the snapshot of {zxid}"), error };
    let mut rebuild = Rebuild::new(options.tree, options.digests);
    match install::load(disk, zxid, &options.recover, &mut rebuild) {
        Ok(()) => {}
        Err(LoadSnapshotError::Io(error)) => return Err(failed(error)),
        Err(error) => {
            execute(disk, &install::refuse())?;
            let why = format!(
                "the snapshot of {zxid} that the leader has sent can't be taken: {error}; this server keeps the history that it has"
            );
            return Ok(Done::NotInstalled { token, why });
        }
    }
    let effects = install::plan(disk, zxid, &options.recover).map_err(|error| failed(io::Error::other(error)))?;
    execute(disk, &effects)?;
    let (tree, sessions, _) = rebuild.finish();
    Ok(Done::Installed { token, zxid, rebuilt: Box::new(Rebuilt { tree, sessions }) })
}

fn rebuild_at(disk: &mut dyn Disk, end: Zxid, options: &TaskOptions) -> Result<Rebuilt, TaskError> {
    let mut rebuild = Rebuild::new(options.tree, options.digests);
    let recovered = recover(disk, &options.recover, &mut rebuild, &mut |_| ());
    let recovered = recovered.map_err(|error| TaskError::Recover(Box::new(error)))?;
    if recovered.last_zxid != end {
        return Err(TaskError::WrongEnd { expected: end, found: recovered.last_zxid });
    }
    let (tree, sessions, _) = rebuild.finish();
    Ok(Rebuilt { tree, sessions })
}

/// Is a snapshot so small beside the log that it is sent instead? A factor of 0: never.
fn is_cheaper(snapshot_bytes: u64, log_bytes: u64, factor: f64) -> bool {
    factor > 0.0 && log_bytes as f64 > snapshot_bytes as f64 * factor
}

/// Has the log so much behind `from` that a snapshot is cheaper? Also, if a snapshot is always to be sent.
fn is_snapshot_cheaper(disk: &dyn Disk, from: Zxid, factor: f64) -> io::Result<bool> {
    let files = files_from(&disk.list(Dir::Log)?, from.next());
    let snapshots = numbered(&disk.list(Dir::Data)?, names::SNAPSHOT);
    // Of a log that is being written, only what is filled counts, and that is not known here.
    let whole_files = files.len().saturating_sub(1);
    let bytes_to_send: u64 = files[..whole_files].iter().skip(1).map(|file| file.length).sum();
    Ok(factor < 0.0 || snapshots.last().is_some_and(|it| is_cheaper(it.length, bytes_to_send, factor)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::Cursor;

    use storage::disk::{DiskRead, Entry};
    use storage::snapshot::encode::SnapshotEncoder;
    use wire::StatPersisted;

    use super::*;

    /// The newest snapshot, and nothing else.
    struct Snapshot(Vec<u8>);

    impl Disk for Snapshot {
        fn is_separate(&self) -> bool {
            false
        }
        fn list(&self, _: Dir) -> io::Result<Vec<Entry>> {
            Ok(vec![Entry { name: "snapshot.9".to_owned(), length: self.0.len() as u64 }])
        }
        fn open(&self, _: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
            Ok(Box::new(Cursor::new(&self.0[..])))
        }
        fn execute(&mut self, _: &Effect) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Fails from the effect with this number on, and takes the ones before it.
    struct Failing {
        at: usize,
        kind: io::ErrorKind,
    }

    impl Disk for Failing {
        fn is_separate(&self) -> bool {
            false
        }
        fn list(&self, _: Dir) -> io::Result<Vec<Entry>> {
            Ok(Vec::new())
        }
        fn open(&self, _: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn execute(&mut self, _: &Effect) -> io::Result<()> {
            let left = self.at.checked_sub(1);
            self.at = left.ok_or(self.kind)?;
            Ok(())
        }
    }

    #[test]
    fn an_epoch_waits_for_room_but_not_behind_a_sync_that_failed() {
        let run = |at, kind| write_epoch(&mut Failing { at, kind }, &EpochFile::Accepted.write(Epoch(7)));
        // Create, write, fsync, rename, fsync of the directory.
        let waits: Vec<bool> =
            (0..5).map(|at| matches!(run(at, io::ErrorKind::StorageFull), Err(TaskError::NoRoom { .. }))).collect();
        assert_eq!(waits, [true, true, false, true, false]);
        assert!(matches!(run(1, io::ErrorKind::QuotaExceeded), Err(TaskError::NoRoom { .. })));
        assert!((0..5).all(|at| matches!(run(at, io::ErrorKind::Other), Err(TaskError::Io { .. }))));
        assert!(run(5, io::ErrorKind::Other).is_ok());
    }

    #[test]
    fn a_snapshot_that_is_damaged_is_not_sent() {
        let (mut encoder, mut bytes) = (SnapshotEncoder::new(), Vec::new());
        encoder.begin([].into_iter(), [].into_iter(), &mut bytes);
        encoder.node("", Some(b"data"), -1, &StatPersisted::default(), &mut bytes);
        let data = bytes.windows(4).position(|it| it == b"data").unwrap();
        encoder.finish(None, Some(Zxid(9)), &mut bytes);
        let find = |bytes: &[u8], at_least| find_snapshot(&Snapshot(bytes.to_vec()), Zxid(at_least), 1000);
        assert_eq!((find(&bytes, 9), find(&bytes, 10)), (Some(Zxid(9)), None));
        bytes[data] ^= 1;
        assert_eq!(find(&bytes, 9), None, "what a learner gets has no checksum on its way");
    }

    #[test]
    fn a_snapshot_is_sent_instead_of_a_log_that_is_longer_than_a_part_of_it() {
        assert!(!is_cheaper(1000, 330, 0.33) && is_cheaper(1000, 331, 0.33));
        assert!(!is_cheaper(1000, 1000, 1.0) && is_cheaper(1000, 1001, 1.0));
        assert!(!is_cheaper(1, u64::MAX, 0.0), "0 is no limit");
    }
}
