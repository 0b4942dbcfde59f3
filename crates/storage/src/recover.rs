//! From a directory to a tree: which snapshot, which txns, what is cut (`FileTxnSnapLog.restore`, `FileSnap.deserialize`).
//!
//! The newest snapshot that is whole, and then every txn behind it, without a gap. Whatever is not certain is either said
//! ([`Recovered::warnings`]) or ends the recovery with the file, the offset and the zxid; nothing is skipped in silence.

use std::fmt;
use std::io::{self, Read, SeekFrom};

use wire::jute::{Buffer, Field, Reader};
use wire::txn::TxnEntry;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::log::dir::{History, ReadLogError, ReadOptions, Tail, TailEnd, read_history};
use crate::log::reader::Record;
use crate::names::{self, FileName, Numbered};
use crate::settle::settle;
use crate::snapshot::decode::{LoadSnapshotError, SnapshotVisitor, decode_file};
use crate::snapshot::stream::Compression;
use crate::snapshot::{SEAL_LENGTH, SnapshotDigest};

/// How many snapshots are tried (`FileSnap.deserialize`).
const CANDIDATES: usize = 100;
/// After how many txns progress is told.
const PROGRESS_TXNS: u64 = 10_000;
/// How many bytes of a tail are copied at a time.
const KEPT_CHUNK: u64 = 1 << 20;

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
    /// The snapshot is whole: the tree is (at least) at `zxid`, and has `digest` once the txn `digest.zxid` is applied.
    /// An error makes this snapshot one that can't be loaded.
    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String>;
    /// A txn behind the snapshot. The tree may contain its effect already (a snapshot of Apache's is taken while txns
    /// are applied). An error ends the recovery.
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String>;
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

/// Why there is no tree.
#[derive(Debug)]
pub enum RecoverError {
    /// The disk failed.
    Io {
        /// The file, or what was tried.
        what: String,
        /// How.
        error: io::Error,
    },
    /// A log file is in the snapshots' directory, or the other way round (`LogDirContentCheckException`).
    Misplaced {
        /// The file.
        file: String,
        /// Where it is.
        dir: Dir,
    },
    /// There are snapshots, but none can be loaded.
    NoSnapshot {
        /// Each with its reason, newest first.
        tried: Vec<(String, LoadSnapshotError)>,
    },
    /// There are txns but no snapshot (ZOOKEEPER-2325).
    SnapshotMissing {
        /// The oldest log.
        log: FileRef,
    },
    /// The log is damaged or has a gap.
    Log {
        /// How.
        error: ReadLogError,
        /// The snapshots that could not be loaded before: the cause, if the history is missing only behind an older one.
        failed_snapshots: Vec<String>,
    },
    /// The last record is broken, no interrupted write explains it, and `accept_suspect_tail` is not set.
    SuspectTail {
        /// Where, and behind which txn.
        tail: Tail,
    },
    /// A record whose checksum is right holds no txn that this version knows, or one that the tree refuses.
    BadTxn {
        /// The file.
        file: FileRef,
        /// Where the record begins.
        offset: u64,
        /// The txn.
        zxid: Zxid,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Misplaced { file, dir } => write!(
                f,
                "{file} is in the {dir} directory; with a dataLogDir of its own, snapshots belong into dataDir and logs \
                 into dataLogDir: move the files to where they belong"
            ),
            Self::NoSnapshot { tried } => {
                write!(f, "no snapshot can be loaded")?;
                for (name, error) in tried {
                    write!(f, "; {name}: {error}")?;
                }
                write!(f, "; restore one from a copy, or, in an ensemble, move this server's data directory away")
            }
            Self::SnapshotMissing { log } => write!(
                f,
                "no snapshot was found, but there are txns in {log}: was the dataDir lost or changed? If these logs are \
                 of 3.4 or older and never had a snapshot, set snapshot.trust.empty=true for one start"
            ),
            Self::Log { error, failed_snapshots } => {
                error.fmt(f)?;
                if !failed_snapshots.is_empty() {
                    write!(f, " (newer snapshots could not be loaded: {})", failed_snapshots.join("; "))?;
                }
                Ok(())
            }
            Self::SuspectTail { tail } => write!(
                f,
                "{tail}; it may have been acknowledged, so nothing was changed; in an ensemble, move this server's data \
                 directory away and let it sync from the others; to go on from txn {} without what is behind it, start \
                 once with ostler.log.acceptSuspectTail=true in zoo.cfg: it is cut then, and its bytes are kept in a \
                 file {}.{:x}",
                tail.after,
                names::CUT,
                tail.after.0
            ),
            Self::BadTxn { file, offset, zxid, reason } => {
                write!(f, "txn {zxid}, at byte {offset} of {file}, can't be applied: {reason}")
            }
        }
    }
}

impl std::error::Error for RecoverError {}

impl From<ReadLogError> for RecoverError {
    fn from(error: ReadLogError) -> Self {
        Self::Log { error, failed_snapshots: Vec::new() }
    }
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
    into.reset();
    let mut loaded = load_snapshot(disk, options, into, progress, &mut warnings)?;
    let start = loaded.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
    if loaded.is_none() && !options.trust_empty {
        refuse_logs(disk, options)?;
    }
    let failed = loaded.as_ref().map_or(&[][..], |snapshot| &snapshot.failed);
    let history = replay(disk, start, failed, options, into, progress);
    let history = history.map_err(|error| match error {
        RecoverError::Log { error, .. } => RecoverError::Log { error, failed_snapshots: warnings.clone() },
        other => other,
    })?;
    let suspect = history.tails.iter().find(|tail| tail.is_suspect());
    if let Some(tail) = suspect.filter(|_| options.repair && !options.accept_suspect_tail) {
        return Err(RecoverError::SuspectTail { tail: tail.clone() });
    }
    let mut is_suspect = suspect.is_some();
    // Nothing was changed before here.
    let marks = find_marks(disk)?;
    remove_leftovers(disk, options, &mut warnings)?;
    mend(disk, options, &history, &mut warnings)?;
    if options.repair {
        settle(disk, options, &history)?;
    }
    if let Some(newer) = failed.last()
        && history.last < newer.zxid
    {
        is_suspect = true;
        warnings.push(format!(
            "the history ends at txn {}, before {}, which can't be loaded: the txns up to there are lost to this server",
            history.last, newer.name
        ));
    }
    let origin = match &loaded {
        Some(snapshot) => Origin::Snapshot { zxid: snapshot.zxid, bytes: snapshot.bytes, nodes: snapshot.nodes },
        None if history.txns > 0 => Origin::LogsOnly,
        None if !marks.is_empty() || options.autocreate => Origin::New,
        None => Origin::Nothing,
    };
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
        is_suspect,
        warnings,
        when_begun,
    })
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

/// Removes what our own machines have not finished.
fn remove_leftovers(
    disk: &mut dyn Disk,
    options: &RecoverOptions,
    warnings: &mut Vec<String>,
) -> Result<(), RecoverError> {
    let leftovers = [(Dir::Log, FileName::NextLog), (Dir::Log, FileName::NewLog), (Dir::Data, FileName::SnapshotTemp)];
    for (dir, name) in leftovers {
        if options.repair && list(disk, dir)?.iter().any(|entry| entry.name == name.to_string()) {
            if name == FileName::SnapshotTemp {
                warnings.push(format!("{name}, a snapshot that was never finished, was removed"));
            }
            execute(disk, &Effect::Remove(FileRef::new(dir, name)))?;
        }
    }
    Ok(())
}

struct Loaded {
    zxid: Zxid,
    file: FileRef,
    bytes: u64,
    nodes: u64,
    /// Newer ones that could not be loaded, oldest first. Each was the state after a txn that the logs must hold, unless it
    /// came from a leader (SNAP).
    failed: Vec<Numbered>,
}

/// Loads the newest snapshot that can be. `None`: there is none at all.
fn load_snapshot(
    disk: &dyn Disk,
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
    warnings: &mut Vec<String>,
) -> Result<Option<Loaded>, RecoverError> {
    let files = names::numbered(&list(disk, Dir::Data)?, names::SNAPSHOT);
    let mut tried = Vec::new();
    for file in files.iter().rev().take(CANDIDATES) {
        match load(disk, file, options, into, progress) {
            Ok(loaded) => {
                let failed = files.iter().filter(|newer| newer.zxid > loaded.zxid).cloned().collect();
                return Ok(Some(Loaded { failed, ..loaded }));
            }
            Err(error) => {
                warnings.push(format!("snapshot {} was not loaded: {error}", file.name));
                tried.push((file.name.to_string(), error));
                into.reset();
            }
        }
    }
    // The first snapshot of all, of an empty tree, may be torn by a crash: nothing is lost with it if nothing was logged.
    let is_first = files.iter().all(|file| file.zxid == Zxid::ZERO);
    if tried.is_empty() || (is_first && first_record(disk, options)?.is_none()) {
        return Ok(None);
    }
    Err(RecoverError::NoSnapshot { tried })
}

fn load(
    disk: &dyn Disk,
    numbered: &Numbered,
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
) -> Result<Loaded, LoadSnapshotError> {
    let Numbered { zxid, ref name, length: total } = *numbered;
    // Cheap, and it spares reading a torn file to its end.
    if !looks_valid(disk, numbered)? {
        return Err(LoadSnapshotError::CutOff { offset: total });
    }
    let file = FileRef::new(Dir::Data, name.clone());
    let source = disk.open(&file)?;
    let mut told = |bytes| progress(Progress::Snapshot { zxid, bytes, total });
    let end = decode_file(source, Compression::of(name), options.length_max, &mut Visitor(into), &mut told)?;
    // A digest from before the name's zxid says nothing about this tree.
    let digest = end.digest.filter(|digest| digest.zxid >= zxid && digest.zxid != Zxid::ZERO);
    let refused = |reason| LoadSnapshotError::Refused { path: String::new(), reason };
    into.snapshot_end(zxid, digest).map_err(refused)?;
    Ok(Loaded { zxid, file, bytes: total, nodes: end.nodes, failed: Vec::new() })
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

struct Visitor<'a>(&'a mut dyn Restore);

impl SnapshotVisitor for Visitor<'_> {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.0.session(session, timeout_ms);
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.0.acl(id, acl);
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.0.node(path, data, acl_id, stat)
    }
}

pub(crate) fn read_options(options: &RecoverOptions) -> ReadOptions {
    ReadOptions { blob_max: options.length_max, batch_max: options.batch_max }
}

/// The file of the first record that any log holds, whatever its state.
fn first_record(disk: &dyn Disk, options: &RecoverOptions) -> Result<Option<FileRef>, RecoverError> {
    struct Found(Option<FileRef>);
    impl From<ReadLogError> for Found {
        fn from(_: ReadLogError) -> Self {
            Self(None)
        }
    }
    let oldest = names::numbered(&list(disk, Dir::Log)?, names::LOG).into_iter().next();
    let oldest = oldest.map(|file| FileRef::new(Dir::Log, file.name));
    let mut first = |file: &FileRef, _: &Record<'_>| Err(Found(Some(file.clone())));
    match read_history::<Found>(disk, Zxid::ZERO, &read_options(options), &mut first) {
        Ok(_) => Ok(None),
        Err(Found(Some(file))) => Ok(Some(file)),
        // It can't be read: there is something, then.
        Err(Found(None)) => Ok(oldest),
    }
}

/// Txns without a snapshot are the rest of something bigger.
fn refuse_logs(disk: &dyn Disk, options: &RecoverOptions) -> Result<(), RecoverError> {
    first_record(disk, options)?.map_or(Ok(()), |log| Err(RecoverError::SnapshotMissing { log }))
}

fn replay(
    disk: &dyn Disk,
    start: Zxid,
    failed: &[Numbered],
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
) -> Result<History, RecoverError> {
    let mut txns = 0;
    let (mut last, mut passed) = (start, 0);
    read_history(disk, start, &read_options(options), &mut |file, record| {
        // Between epochs no number shows that txns are missing; a snapshot that can't be loaded does.
        if failed.get(passed).is_some_and(|snapshot| snapshot.zxid < record.zxid) {
            let (file, next) = (file.clone(), record.zxid);
            return Err(ReadLogError::Gap { file, offset: record.offset, last, next }.into());
        }
        passed += failed[passed..].iter().take_while(|snapshot| snapshot.zxid == record.zxid).count();
        last = record.zxid;
        let bad =
            |reason| RecoverError::BadTxn { file: file.clone(), offset: record.offset, zxid: record.zxid, reason };
        let mut reader = Reader::with_limit(record.blob, options.length_max);
        let entry = TxnEntry::read(&mut reader).map_err(|e| bad(e.to_string()))?;
        into.txn(&entry).map_err(bad)?;
        txns += 1;
        if txns % PROGRESS_TXNS == 0 {
            progress(Progress::Txns { txns, zxid: record.zxid });
        }
        Ok(())
    })
}

/// Cuts what is torn, and says what was found.
fn mend(
    disk: &mut dyn Disk,
    options: &RecoverOptions,
    history: &History,
    warnings: &mut Vec<String>,
) -> Result<(), RecoverError> {
    for tail in &history.tails {
        if tail.is_torn() {
            let fate = match tail.end {
                _ if !options.repair => "it is left out".to_owned(),
                // Whole records, or what may have been one, are not thrown away.
                TailEnd::Torn { offset, is_explained, behind, .. } if !is_explained || behind.is_some() => {
                    let kept = keep(disk, tail, offset)?;
                    format!("it was cut, and its bytes are kept in {kept}")
                }
                _ => "it was cut".to_owned(),
            };
            warnings.push(format!("{tail}; {fate}"));
        }
        if options.repair {
            execute(disk, &tail.cut())?;
        }
    }
    if history.repeated > 0 {
        warnings.push(format!("{} log records repeat a txn and were left out", history.repeated));
    }
    if let Some(zxid) = history.odd_epoch {
        warnings.push(format!("epoch {} begins with txn {zxid} instead of counter 1", zxid.epoch()));
    }
    Ok(())
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
