//! From a directory to a tree: which snapshot, which txns, what is cut (`FileTxnSnapLog.restore`, `FileSnap.deserialize`).
//!
//! The newest snapshot that is whole, and then every txn behind it, without a gap. Whatever is not certain is either said
//! ([`Recovered::warnings`]) or ends the recovery with the file, the offset and the zxid; nothing is skipped in silence.

mod error;
mod mend;
mod rebuild;
mod replay;

use std::io::{self, SeekFrom};

use wire::jute::Buffer;
use wire::txn::TxnEntry;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use crate::disk::{Dir, Disk, Effect, FileRef, is_lost};
use crate::log;
use crate::log::dir::{History, ReadLogError, ReadOptions, name_of, read_history};
use crate::log::reader::{Header, Record};
use crate::names::{self, FileName, Numbered};
use crate::settle::settle;
use crate::snapshot::decode::{LoadSnapshotError, is_whole};
use crate::snapshot::stream::Compression;
use crate::snapshot::{self, SEAL_LENGTH, SnapshotDigest};
pub use error::RecoverError;
pub(crate) use rebuild::decode_into;
pub use replay::Fit;
use replay::{Replayed, Stop, is_beginning, replay};

/// How many snapshots are tried (`FileSnap.deserialize`).
const CANDIDATES: usize = 100;
/// After how many txns progress is told.
const PROGRESS_TXNS: u64 = 10_000;

/// What is to be rebuilt: the tree and the sessions.
pub trait Restore {
    /// Forget everything: an empty tree, no sessions. Called before each snapshot that is tried, and if there is none.
    fn reset(&mut self);
    /// A session of the snapshot.
    fn session(&mut self, session: SessionId, timeout_ms: i32);
    /// An entry of the snapshot's ACL table.
    fn acl(&mut self, id: i64, acl: AclVec<'_>);
    /// A znode of the snapshot, parents first; the root has the path `""`. An error makes this snapshot one that can't
    /// be loaded.
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String>;
    /// Has it refused a znode that it was shown, without having said so yet? Its path, and why. Asked when all of the
    /// snapshot was shown, or as much of it as can be read: who builds the tree on another thread knows only then.
    fn refused(&mut self) -> Option<(String, String)> {
        None
    }
    /// The snapshot is whole: the tree is (at least) at `zxid`, and has `digest` once the txn `digest.zxid` is applied.
    /// An error makes this snapshot one that can't be loaded.
    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String>;
    /// A txn behind the snapshot. The tree may contain its effect already (a snapshot of Apache's is taken while txns
    /// are applied). An error ends the recovery.
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String>;
    /// What the digest of the snapshot, or of the txn, that came last says of what was rebuilt; one of the snapshot only if it
    /// is that of its own zxid. Who rebuilds no tree does not know.
    fn fit(&self) -> Fit {
        Fit::Unknown
    }
    /// Was the last txn one of a znode that is not there, or of a child of one? Replaying over a snapshot of Apache's may
    /// meet that, but not replaying all that there ever was.
    fn misses_a_znode(&self) -> bool {
        false
    }
}

/// How to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverOptions {
    /// `zookeeper.snapshot.trust.empty`: logs without any snapshot are replayed on an empty tree.
    pub trust_empty: bool,
    /// `zookeeper.db.autocreate`: an empty directory is an empty database.
    pub autocreate: bool,
    /// The longest string, buffer or log record to accept: `jute.maxbuffer` plus `jute.maxbuffer.extrasize`, in bytes.
    pub length_max: usize,
    /// The most bytes of one batch of the log's writer.
    pub batch_max: u64,
    /// Cut also a last record that is broken in a way that no interrupted write explains: it may have been acknowledged.
    /// Its bytes are kept in a file `ostler.cut.<hex>`, named by the last txn before it. Without it such a record ends
    /// the recovery, unless nothing is to be repaired anyway.
    pub accept_suspect_tail: bool,
    /// The machine has not failed since the log was written last: what a write has left was left by the end of the process
    /// alone, which loses nothing that was handed to the kernel.
    pub went_on: bool,
    /// The newest log when its server stopped, and how long it was: all of it was whole.
    pub closed: Option<(FileRef, u64)>,
    /// The counter that epochs begin behind: 0, but where a test wants to reach their end
    /// (`zookeeper.testingonly.initialZxid`).
    pub initial_counter: u32,
    /// Cut torn tails and remove leftovers. Without it nothing on the disk changes.
    pub repair: bool,
}

impl Default for RecoverOptions {
    fn default() -> Self {
        Self {
            trust_empty: false,
            autocreate: true,
            length_max: 2 * wire::jute::MAX_BUFFER_DEFAULT,
            batch_max: 8 << 20,
            accept_suspect_tail: false,
            went_on: false,
            closed: None,
            initial_counter: 0,
            repair: true,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A snapshot is being read.
    Snapshot {
        /// The zxid in its name.
        zxid: Zxid,
        /// Bytes read.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// Txns are being replayed.
    Txns {
        /// How many were.
        txns: u64,
        /// The last of them.
        zxid: Zxid,
    },
}

/// What the directory was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A snapshot was loaded.
    Snapshot {
        /// The zxid in its name.
        zxid: Zxid,
        /// The file's length in bytes.
        bytes: u64,
        /// How many znodes it has.
        nodes: u64,
    },
    /// There are only logs, and `trust_empty` lets them be replayed on an empty tree. A snapshot has to be taken soon.
    LogsOnly,
    /// A new database. Write the snapshot 0 of the empty tree before serving, as Apache does.
    New,
    /// An empty directory that nobody has declared to be a new database: this server has lost its state and must not
    /// vote before it has synced (ZOOKEEPER-261). [`Recovered::last_zxid`] is -1.
    Nothing,
}

/// What a recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The last txn that is in the tree; -1 if there is no state at all.
    pub last_zxid: Zxid,
    /// Where the tree comes from.
    pub origin: Origin,
    /// The snapshot's name, if one was loaded.
    pub snapshot_file: Option<FileRef>,
    /// How many txns were replayed.
    pub txns_replayed: u64,
    /// How many bytes their records have.
    pub bytes_replayed: u64,
    /// Was a record cut (or, without `repair`, left out) that an interrupted write does not explain, or does the history
    /// end before a snapshot that can't be loaded? Then it can't be shown that nothing acknowledged is missing, and in an
    /// ensemble such a server counts as one that lost state.
    pub is_suspect: bool,
    /// What an operator should know, a sentence each.
    pub warnings: Vec<String>,
    /// To be executed when the first snapshot of a new database is durable: `initialize` goes. Earlier, a crash in between
    /// would leave a directory that is empty and that nobody has declared to be a new database.
    pub when_begun: Vec<Effect>,
}

/// Rebuilds what the directory holds. `progress` is told now and then.
pub fn recover(
    disk: &mut dyn Disk,
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoverError> {
    check_places(disk)?;
    let mut warnings = Vec::new();
    let mut wrong = Vec::new();
    let (mut loaded, first, replayed) = loop {
        into.reset();
        let loaded = load_snapshot(disk, options, &wrong, into, progress, &mut warnings)?;
        let first = if loaded.is_none() { check_logs_alone(disk, options)? } else { None };
        match replay(disk, loaded.as_ref(), first.as_ref(), options, into, progress) {
            Ok(replayed) => break (loaded, first, replayed),
            Err(Stop::WrongSnapshot(name)) => wrong.push(name),
            Err(Stop::Failed(RecoverError::Log { error, .. })) => {
                let failed = loaded.iter().flat_map(|snapshot| snapshot.failed.iter().rev());
                let failed_snapshots = failed.map(|(file, why)| format!("{}: {why}", file.name)).collect();
                return Err(RecoverError::Log { error, failed_snapshots });
            }
            Err(Stop::Failed(other)) => return Err(other),
        }
    };
    let Replayed { history, doubt, given_up, not_shown } = replayed;
    let failed = loaded.as_ref().map_or(&[][..], |snapshot| &snapshot.failed);
    warnings.extend(doubt.map(|doubt| doubt.to_string()));
    warnings.extend(given_up.iter().map(|missing| {
        format!("{missing}; it went on because of ostler.log.acceptSuspectTail=true; {}", mend::TAKE_IT_OUT)
    }));
    check_headers(loaded.as_ref(), &history, &mut warnings)?;
    let suspect = history.tails.iter().find(|tail| tail.is_suspect());
    let may_lose = !options.repair || options.accept_suspect_tail;
    if let Some(tail) = suspect.filter(|_| !may_lose) {
        return Err(RecoverError::SuspectTail { tail: tail.clone() });
    }
    check_names(disk, &history)?;
    if !may_lose {
        check_closed(disk, options, &history)?;
    }
    // One that is of a txn says more than one of the beginning of an epoch, of which the log may have everything.
    let mut behind = failed.iter().rev().take_while(|(newer, _)| history.last < newer.zxid);
    let is_of_a_txn = |(newer, _): &&(Numbered, String)| !is_beginning(newer, options.initial_counter);
    let newer = behind.clone().find(is_of_a_txn).or_else(|| behind.next());
    if let Some(newer) = newer {
        let of_a_txn = is_of_a_txn(&newer);
        let (last, zxid, reason) = (history.last, newer.0.zxid, newer.1.clone());
        let snapshot = FileRef::new(Dir::Data, newer.0.name.clone());
        if !may_lose && of_a_txn {
            return Err(RecoverError::EndsBeforeSnapshot { last, snapshot, zxid, reason });
        }
        if !may_lose {
            return Err(RecoverError::NotShown { last, snapshot, zxid, reason, next: None });
        }
        let lost = if of_a_txn {
            format!("the txns up to {zxid} are lost to this server")
        } else {
            format!(
                "the txns before epoch {} that the log does not have, if any, are lost to this server",
                zxid.epoch().0
            )
        };
        warnings
            .push(format!("the log ends with txn {last}, before {snapshot}, which can't be loaded: {reason}; {lost}"));
    }
    if options.accept_suspect_tail {
        warnings.extend(history.ahead.as_ref().map(mend::given_up));
    } else {
        check_ahead(&history)?;
    }
    let is_without = |file: &Numbered| history.last < file.zxid || not_shown.contains(&file.name);
    for (file, reason) in failed.iter().rev().filter(|(file, _)| !is_without(file)) {
        warnings.push(format!(
            "{} can't be loaded: {reason}; an older snapshot and the log behind it make up for it, and a purge removes it in \
             time",
            file.name
        ));
    }
    let without: Vec<_> = failed.iter().map(|(file, _)| file).filter(|file| is_without(file)).collect();
    let is_suspect = suspect.is_some() || newer.is_some() || !given_up.is_empty() || history.ahead.is_some();
    let has_logs = !names::numbered(&list(disk, Dir::Log)?, names::LOG).is_empty();
    // Nothing was changed before here.
    let marks = find_marks(disk)?;
    if options.repair {
        mend::tell_of_cuts(disk, &mut warnings)?;
        mend::remove_leftovers(disk, &mut warnings)?;
        mend::set_aside(disk, &without, &mut warnings)?;
    }
    mend::mend(disk, options, &history, &mut warnings)?;
    if options.repair {
        settle(disk, options, loaded.as_ref().map(|snapshot| &snapshot.file), &history)?;
    }
    let origin = match &loaded {
        Some(snapshot) => Origin::Snapshot { zxid: snapshot.zxid, bytes: snapshot.bytes, nodes: snapshot.nodes },
        None if history.txns > 0 => Origin::LogsOnly,
        None if !marks.is_empty() || options.autocreate => Origin::New,
        None => Origin::Nothing,
    };
    warnings.extend(mend::what_is_not_there(
        options,
        origin,
        first.and_then(|first| first.txn).map(|(_, zxid)| (zxid, history.last)),
        has_logs,
    ));
    let mut when_begun = Vec::new();
    if origin == Origin::New {
        when_begun = marks;
    } else if options.repair {
        marks.iter().try_for_each(|mark| execute(disk, mark))?;
    }
    Ok(Recovered {
        last_zxid: if origin == Origin::Nothing { Zxid(-1) } else { history.last },
        origin,
        snapshot_file: loaded.take().map(|snapshot| snapshot.file),
        txns_replayed: history.txns,
        bytes_replayed: history.bytes,
        is_suspect,
        warnings,
        when_begun,
    })
}

/// The logs alone, from the first txn that is there on, as [`recover`] would read them behind a snapshot from before it: for those
/// who have no snapshots at hand.
pub fn read_logs(disk: &dyn Disk, options: &RecoverOptions) -> Result<History, RecoverError> {
    let first = names::numbered(&list(disk, Dir::Log)?, names::LOG).first().map_or(0, |file| file.zxid.0);
    let before = Zxid(first.saturating_sub(1).max(0));
    let history = read_history::<RecoverError>(disk, before, &read_options(options), &mut |_, _| Ok(()))?;
    if let Some(tail) = history.tails.iter().find(|tail| tail.is_suspect()) {
        return Err(RecoverError::SuspectTail { tail: tail.clone() });
    }
    check_ahead(&history)?;
    check_names(disk, &history)?;
    check_closed(disk, options, &history)?;
    Ok(history)
}

fn list(disk: &dyn Disk, dir: Dir) -> Result<Vec<crate::disk::Entry>, RecoverError> {
    disk.list(dir).map_err(|error| RecoverError::Io { what: format!("the {dir} directory"), error })
}

pub(crate) fn execute(disk: &mut dyn Disk, effect: &Effect) -> Result<(), RecoverError> {
    disk.execute(effect).map_err(|error| RecoverError::Io { what: effect.describe(), error })
}

/// With two directories, no file may be in the other's (`FileTxnSnapLog.checkLogDir`, `checkSnapDir`).
fn check_places(disk: &dyn Disk) -> Result<(), RecoverError> {
    if !disk.is_separate() {
        return Ok(());
    }
    for (dir, prefix) in [(Dir::Data, "log."), (Dir::Log, "snapshot.")] {
        if let Some(entry) = list(disk, dir)?.into_iter().find(|entry| entry.name.starts_with(prefix)) {
            return Err(RecoverError::Misplaced { file: entry.name, dir });
        }
    }
    Ok(())
}

/// What removes `initialize`, where it is.
///
/// Apache looks for it beside the log's directory only, while its script puts it beside the snapshots'; both count here.
fn find_marks(disk: &dyn Disk) -> Result<Vec<Effect>, RecoverError> {
    let mut marks = Vec::new();
    for dir in [Dir::LogParent, Dir::DataParent] {
        if list(disk, dir)?.iter().any(|entry| entry.name == FileName::Initialize.to_string()) {
            marks.push(Effect::Remove(FileRef::new(dir, FileName::Initialize)));
        }
    }
    Ok(marks)
}

struct Loaded {
    zxid: Zxid,
    file: FileRef,
    bytes: u64,
    nodes: u64,
    /// What its header names.
    header: Header,
    /// What its digest says of it.
    fit: Fit,
    /// Newer ones, and those of the same txn, that could not be loaded, oldest first, and why. Each was the state after a txn
    /// that the logs must hold, unless it came from a leader (SNAP).
    failed: Vec<(Numbered, String)>,
}

/// Loads the newest snapshot that can be, and is none of those that are known to hold another tree than they say. `None`: there
/// is none at all.
fn load_snapshot(
    disk: &dyn Disk,
    options: &RecoverOptions,
    wrong: &[FileName],
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
    warnings: &mut Vec<String>,
) -> Result<Option<Loaded>, RecoverError> {
    let files = names::numbered(&list(disk, Dir::Data)?, names::SNAPSHOT);
    let mut tried: Vec<(Numbered, LoadSnapshotError)> = Vec::new();
    for file in files.iter().rev().take(CANDIDATES) {
        let is_wrong = wrong.contains(&file.name);
        let done = if is_wrong { Err(LoadSnapshotError::Digest) } else { load(disk, file, options, into, progress) };
        match done {
            Ok(loaded) => {
                let failed = tried.into_iter().rev().map(|(file, error)| (file, error.to_string())).collect();
                return Ok(Some(Loaded { failed, ..loaded }));
            }
            // Nothing is wrong with it, as far as anybody knows: whoever gives the rights has all of it.
            Err(LoadSnapshotError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(RecoverError::Io { what: file.name.to_string(), error });
            }
            Err(error) => {
                // What was built of it is of no use, and the memory is.
                into.reset();
                // Nor is anything wrong with this one, under the limit that it was written with.
                if let LoadSnapshotError::Length { offset, length } = error
                    && usize::try_from(length).is_ok_and(|length| length > options.length_max)
                    && all_is_there(disk, file).unwrap_or(false)
                {
                    let (file, limit) = (FileRef::new(Dir::Data, file.name.clone()), options.length_max);
                    return Err(RecoverError::SnapshotOverLimit { file, offset, length, limit });
                }
                tried.push((file.clone(), error));
            }
        }
    }
    // The first snapshot of all, of an empty tree, may be torn by a crash: nothing is lost with it if nothing was logged.
    // One that the disk does not give was perhaps whole.
    let is_torn =
        |error: &LoadSnapshotError| !matches!(error, LoadSnapshotError::Io(_) | LoadSnapshotError::Unreadable { .. });
    let is_first = files.iter().all(|file| file.zxid == Zxid::ZERO) && tried.iter().all(|(_, error)| is_torn(error));
    if is_first && first_record(disk, options)?.is_none() {
        let told = |(file, error): &(Numbered, LoadSnapshotError)| {
            format!(
                "{} can't be loaded: {error}; nothing was ever logged, so it is the rest of a first start that was \
                 interrupted, and the database begins anew",
                file.name
            )
        };
        warnings.extend(tried.iter().map(told));
        return Ok(None);
    }
    if tried.is_empty() {
        return Ok(None);
    }
    Err(RecoverError::NoSnapshot { tried: tried.into_iter().map(|(file, why)| (file.name.to_string(), why)).collect() })
}

fn load(
    disk: &dyn Disk,
    numbered: &Numbered,
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
) -> Result<Loaded, LoadSnapshotError> {
    let Numbered { zxid, ref name, length: total } = *numbered;
    // Cheap, and it spares reading a torn file to its end. Where one can't be read, the load says.
    if !looks_valid(disk, numbered).or_else(|error| if is_lost(&error) { Ok(true) } else { Err(error) })? {
        return Err(LoadSnapshotError::CutOff { offset: total });
    }
    let file = FileRef::new(Dir::Data, name.clone());
    let source = disk.open(&file)?;
    let mut told = |bytes| progress(Progress::Snapshot { zxid, bytes, total });
    let end = decode_into(source, Compression::of(name), zxid, options.length_max, into, &mut told)?;
    let header = Header { version: end.version, dbid: end.dbid };
    Ok(Loaded { zxid, file, bytes: total, nodes: end.nodes, header, fit: into.fit(), failed: Vec::new() })
}

/// Is all of a snapshot as it was written, whatever the lengths in it?
fn all_is_there(disk: &dyn Disk, file: &Numbered) -> io::Result<bool> {
    is_whole(disk.open(&FileRef::new(Dir::Data, file.name.clone()))?, Compression::of(&file.name))
}

/// The test that comes before a load (`SnapStream.isValidSnapshot`): the file ends with a seal, or begins as a
/// compressed one does.
pub fn looks_valid(disk: &dyn Disk, file: &Numbered) -> io::Result<bool> {
    let mut source = disk.open(&FileRef::new(Dir::Data, file.name.clone()))?;
    let compression = Compression::of(&file.name);
    let mut magic = compression.magic();
    if compression == Compression::None {
        if file.length < SEAL_LENGTH as u64 {
            return Ok(false);
        }
        source.seek(SeekFrom::End(-5))?;
        magic = b"\0\0\0\x01/";
    }
    let mut found = vec![0; magic.len()];
    match source.read_exact(&mut found) {
        Ok(()) => Ok(found == magic),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// How its logs are read.
pub fn read_options(options: &RecoverOptions) -> ReadOptions {
    let RecoverOptions { length_max, batch_max, went_on, initial_counter, .. } = *options;
    let closed = options.closed.as_ref().and_then(|(file, _)| name_of(file));
    ReadOptions { blob_max: length_max, batch_max, went_on, closed, initial_counter }
}

/// The first record that any log holds, whatever its state.
struct First {
    file: FileRef,
    /// Where it begins, and which txn it is, if it can be read.
    txn: Option<(u64, Zxid)>,
}

fn first_record(disk: &dyn Disk, options: &RecoverOptions) -> Result<Option<First>, RecoverError> {
    enum Stop {
        Found(FileRef, u64, Zxid),
        // A first record that does not follow the beginning of all.
        Gap(FileRef, u64, Zxid),
        Unreadable,
    }
    impl From<ReadLogError> for Stop {
        fn from(error: ReadLogError) -> Self {
            match error {
                ReadLogError::Gap { file, offset, next, .. } => Self::Gap(file, offset, next),
                _ => Self::Unreadable,
            }
        }
    }
    let oldest = names::numbered(&list(disk, Dir::Log)?, names::LOG).into_iter().next();
    let oldest = oldest.map(|file| FileRef::new(Dir::Log, file.name));
    let mut first = |file: &FileRef, record: &Record<'_>| Err(Stop::Found(file.clone(), record.offset, record.zxid));
    match read_history::<Stop>(disk, Zxid::ZERO, &read_options(options), &mut first) {
        Ok(_) => Ok(None),
        Err(Stop::Found(file, offset, zxid) | Stop::Gap(file, offset, zxid)) => {
            Ok(Some(First { file, txn: Some((offset, zxid)) }))
        }
        // There is something, then.
        Err(Stop::Unreadable) => Ok(oldest.map(|file| First { file, txn: None })),
    }
}

/// Txns without a snapshot are the rest of something bigger, unless somebody says that they are not. Even then they must
/// begin where a history does: `snapshot.trust.empty` is left on after an upgrade, the `dataDir` gets lost, and what the last
/// purge has left of the logs would pass for everything.
/// Returns the first of them.
fn check_logs_alone(disk: &dyn Disk, options: &RecoverOptions) -> Result<Option<First>, RecoverError> {
    let Some(First { file, txn }) = first_record(disk, options)? else { return Ok(None) };
    if !options.trust_empty {
        return Err(RecoverError::SnapshotMissing { log: file });
    }
    match txn {
        Some((offset, first)) if first.counter() != 1 => {
            Err(RecoverError::Beheaded { file, offset, first, shown_by: None })
        }
        txn => Ok(Some(First { file, txn })),
    }
}

/// A log that was made for a txn, and holds none, shows that all before that txn was there.
fn check_ahead(history: &History) -> Result<(), RecoverError> {
    history.ahead.clone().map_or(Ok(()), |ahead| Err(RecoverError::Ahead(ahead)))
}

/// A log is called by its first txn, so none that holds anything can be called by one behind the end of the history: it was
/// renamed, or is another's, and the next log would take its name from it.
fn check_names(disk: &dyn Disk, history: &History) -> Result<(), RecoverError> {
    let is_removed = |file: &Numbered| {
        let is_it = |tail: &log::dir::Tail| tail.file.name == file.name && matches!(tail.cut(), Effect::Remove(_));
        history.tails.iter().any(is_it)
    };
    let logs = names::numbered(&list(disk, Dir::Log)?, names::LOG);
    match logs.into_iter().find(|file| file.zxid > history.last && !is_removed(file)) {
        Some(file) => {
            Err(RecoverError::NamedAhead { last: history.last, named: file.zxid, file: file.name.to_string() })
        }
        None => Ok(()),
    }
}

/// A log that was whole when its server stopped, and to which nobody has logged since, is as long as it was.
fn check_closed(disk: &dyn Disk, options: &RecoverOptions, history: &History) -> Result<(), RecoverError> {
    let Some((file, length)) = &options.closed else { return Ok(()) };
    let FileName::Log(closed) = file.name else { return Ok(()) };
    if names::numbered(&list(disk, Dir::Log)?, names::LOG).last().is_some_and(|newest| newest.zxid > closed) {
        return Ok(());
    }
    let end = history.newest.as_ref().filter(|(newest, _)| newest == file).map_or(0, |(_, end)| *end);
    if end >= *length || *length <= log::record::HEADER_LENGTH {
        return Ok(());
    }
    Err(RecoverError::NotAsClosed { file: file.clone(), end, length: *length, last: history.last })
}

/// Nobody goes by what headers name, but two that contradict each other are of two databases.
fn check_headers(loaded: Option<&Loaded>, history: &History, warnings: &mut Vec<String>) -> Result<(), RecoverError> {
    let of_snapshot = loaded.map(|loaded| (loaded.file.clone(), loaded.header));
    let mut named: Option<(FileRef, i64)> = None;
    for (file, header) in of_snapshot.iter().chain(&history.odd_headers) {
        warnings.extend(mend::odd_header(file, header.version, header.dbid));
        if [log::record::DBID, snapshot::DBID].contains(&header.dbid) {
            continue;
        }
        match &named {
            Some(other) if other.1 != header.dbid => {
                return Err(RecoverError::TwoDatabases { one: (file.clone(), header.dbid), other: other.clone() });
            }
            _ => named = Some((file.clone(), header.dbid)),
        }
    }
    Ok(())
}
