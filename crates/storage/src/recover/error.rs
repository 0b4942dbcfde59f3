//! Why a directory gives no tree, and what to do about it: one line each, with file, place and txn.

use std::fmt;
use std::io;

use wire::Zxid;

use crate::disk::{Dir, FileRef, is_lost};
use crate::log::dir::{Ahead, ReadLogError, Tail};
use crate::names;
use crate::snapshot::decode::LoadSnapshotError;

/// Why there is no tree. Nothing was changed on the disk, unless the disk itself failed on the way.
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
    /// A snapshot is whole, and holds something longer than what is accepted. It was written under a higher limit.
    SnapshotOverLimit {
        /// The file.
        file: FileRef,
        /// Where the first such length stands.
        offset: u64,
        /// The length in bytes.
        length: i32,
        /// The longest that is accepted.
        limit: usize,
    },
    /// There are txns but no snapshot (ZOOKEEPER-2325).
    SnapshotMissing {
        /// The oldest log.
        log: FileRef,
    },
    /// There are txns but no snapshot, `trust_empty` is set, and the txns are not all that there ever were.
    Beheaded {
        /// The file of the first txn that is left.
        file: FileRef,
        /// Where it begins.
        offset: u64,
        /// Its zxid.
        first: Zxid,
        /// The txn that shows it, by its digest or by what it changes, if the number of the first one does not.
        shown_by: Option<Zxid>,
    },
    /// The tree is the log's at the end of an epoch, and is not at the beginning of the next, and `accept_suspect_tail` is not set.
    Missing {
        /// The file of the first txn whose digest is wrong.
        file: FileRef,
        /// Where it begins.
        offset: u64,
        /// The last txn whose digest was right.
        last: Zxid,
        /// The first one whose digest is wrong.
        next: Zxid,
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
    /// The log ends before a snapshot that can't be loaded, and `accept_suspect_tail` is not set.
    EndsBeforeSnapshot {
        /// The last txn that is left.
        last: Zxid,
        /// The snapshot.
        snapshot: FileRef,
        /// The zxid in its name.
        zxid: Zxid,
        /// Why it can't be loaded.
        reason: String,
    },
    /// A snapshot of the beginning of an epoch can't be loaded, nothing shows whether all that it held is in the log, and
    /// `accept_suspect_tail` is not set.
    NotShown {
        /// The last txn before it.
        last: Zxid,
        /// The snapshot.
        snapshot: FileRef,
        /// The zxid in its name.
        zxid: Zxid,
        /// Why it can't be loaded.
        reason: String,
        /// The file of the txn behind it, where that begins there, and its zxid.
        next: Option<(FileRef, u64, Zxid)>,
    },
    /// A log shows by its name that there was more before it, and `accept_suspect_tail` is not set.
    Ahead(Ahead),
    /// A log is called by a txn behind the last one, and holds earlier ones only.
    NamedAhead {
        /// The last txn there is.
        last: Zxid,
        /// The one in the name.
        named: Zxid,
        /// The file.
        file: String,
    },
    /// The newest log was longer when its server stopped, and all of it was whole.
    NotAsClosed {
        /// The file.
        file: FileRef,
        /// Where what can be read of it ends.
        end: u64,
        /// Where it ended.
        length: u64,
        /// The last txn there is.
        last: Zxid,
    },
    /// The headers of two files name two databases.
    TwoDatabases {
        /// A file and what it names.
        one: (FileRef, i64),
        /// Another one.
        other: (FileRef, i64),
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

/// How many of the snapshots that can't be loaded are named.
const NAMED_MAX: usize = 5;
/// Where a file header names its database.
pub(super) const DBID_OFFSET: u64 = 8;
/// Where a file header names its version.
pub(super) const VERSION_OFFSET: u64 = 4;

/// A member has the others.
const SYNC_ANEW: &str = "in an ensemble, move this server's data directory away and let it sync from the others";

impl RecoverError {
    /// Is that damage, which a member may mend by a copy of its leader's data, once its own files are set aside?
    ///
    /// A log that does not begin as one is damage like a broken record: in a directory whose other files can be read, its name
    /// says that a server made it. A sector that can't be read is damage too. What is a matter of the configuration, of
    /// permissions or of a disk that can't be listed is no damage, and files of another database may be somebody's.
    pub fn is_mended_by_a_copy(&self) -> bool {
        match self {
            Self::NoSnapshot { tried } => !tried.iter().any(|(_, why)| match why {
                LoadSnapshotError::Io(error) | LoadSnapshotError::Unreadable { error, .. } => !is_lost(error),
                _ => false,
            }),
            Self::Log { error, .. } => match error {
                ReadLogError::Header { .. }
                | ReadLogError::Damaged { .. }
                | ReadLogError::Forked { .. }
                | ReadLogError::Gap { .. } => true,
                ReadLogError::Unreadable { error, .. } => is_lost(error),
                ReadLogError::Io { .. } | ReadLogError::OverLimit { .. } => false,
            },
            Self::SuspectTail { .. }
            | Self::EndsBeforeSnapshot { .. }
            | Self::NotShown { .. }
            | Self::NotAsClosed { .. }
            | Self::Ahead(_)
            | Self::Missing { .. } => true,
            Self::Io { .. }
            | Self::Misplaced { .. }
            | Self::SnapshotOverLimit { .. }
            | Self::SnapshotMissing { .. }
            | Self::Beheaded { .. }
            | Self::NamedAhead { .. }
            | Self::TwoDatabases { .. }
            | Self::BadTxn { .. } => false,
        }
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => {
                let error = error.to_string();
                // Who did it may have said already what it was.
                if error.starts_with(what.as_str()) { f.write_str(&error) } else { write!(f, "{what}: {error}") }
            }
            Self::Misplaced { file, dir } => write!(
                f,
                "{file} is in the {dir} directory; with a dataLogDir of its own, snapshots belong into dataDir and logs \
                 into dataLogDir: move the files to where they belong"
            ),
            Self::NoSnapshot { tried } => {
                write!(f, "no snapshot can be loaded")?;
                for (name, error) in tried.iter().take(NAMED_MAX) {
                    write!(f, "; {name}: {error}")?;
                }
                if let Some(more @ 1..) = tried.len().checked_sub(NAMED_MAX) {
                    write!(f, "; and {more} others")?;
                }
                write!(f, "; restore one from a copy; {SYNC_ANEW}; nothing was changed")
            }
            Self::SnapshotOverLimit { file, offset, length, limit } => write!(
                f,
                "{file} is whole, and holds a string or data of {length} bytes, at byte {offset}, more than the {limit} that are \
                 accepted; raise jute.maxbuffer (or jute.maxbuffer.extrasize) to at least {length} and start again; nothing was \
                 changed"
            ),
            Self::SnapshotMissing { log } => write!(
                f,
                "no snapshot was found, but there are txns in {log}: was the dataDir lost or changed? Bring its snapshots \
                 back; {SYNC_ANEW}; if these logs are of 3.4 or older and never had a snapshot, set \
                 snapshot.trust.empty=true for one start; nothing was changed"
            ),
            Self::Beheaded { file, offset, first, shown_by } => {
                write!(
                    f,
                    "no snapshot was found, and the oldest txn that is left is {first}, at byte {offset} of {file}"
                )?;
                if let Some(zxid) = shown_by {
                    write!(f, ", and txn {zxid} does not fit what the txns before it have made")?;
                }
                write!(
                    f,
                    ": snapshot.trust.empty=true is for logs that hold everything from the first txn on, and these are the rest \
                     of more; bring the snapshots of the dataDir back; {SYNC_ANEW}; nothing was changed"
                )
            }
            Self::Missing { file, offset, last, next } => write!(
                f,
                "txns are missing between {last} and {next}, at byte {offset} of {file}, or one of the two is damaged: the digest of \
                 {last} is that of this tree, and the digest of {next} is not, although nothing stands in between; nothing was \
                 changed; was a log removed, or cut? Bring it back; {SYNC_ANEW}; to go on with what there is, start once with \
                 ostler.log.acceptSuspectTail=true in zoo.cfg"
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
                "{tail}; it may have been acknowledged, so nothing was changed; {SYNC_ANEW}; to go on from txn {} without \
                 what is behind it, start once with ostler.log.acceptSuspectTail=true in zoo.cfg: it is cut then, and its \
                 bytes are kept in a file {}.{:x}",
                tail.after,
                names::CUT,
                tail.after.0
            ),
            Self::EndsBeforeSnapshot { last, snapshot, zxid, reason } => write!(
                f,
                "the log ends with txn {last}, before {snapshot}, which can't be loaded: {reason}; the txns up to {zxid} \
                 were acknowledged and are missing, so nothing was changed; bring the missing log back, or a copy of the \
                 snapshot; {SYNC_ANEW}; to go on without them, start once with ostler.log.acceptSuspectTail=true in zoo.cfg"
            ),
            Self::NotShown { last, snapshot, zxid, reason, next } => {
                let epoch = zxid.epoch().0;
                write!(
                    f,
                    "{snapshot} can't be loaded: {reason}; with what it holds epoch {epoch} began, and nothing shows whether that is all \
                     in the log, where txn {last} is the last one before it"
                )?;
                match next {
                    Some((file, offset, next)) => {
                        write!(f, " and txn {next}, at byte {offset} of {file}, the next one")?;
                    }
                    None => f.write_str(" and no other follows")?,
                }
                write!(
                    f,
                    "; nothing was changed; bring a copy of the snapshot back; {SYNC_ANEW}; if this server had all before epoch {epoch} \
                     (it led that epoch, for example), or to go on all the same, start once with ostler.log.acceptSuspectTail=true in \
                     zoo.cfg"
                )
            }
            Self::Ahead(ahead) => write!(
                f,
                "{ahead}; what is missing may have been acknowledged, so nothing was changed; bring a copy of it back; {SYNC_ANEW}; \
                 to go on without it, start once with ostler.log.acceptSuspectTail=true in zoo.cfg"
            ),
            Self::NamedAhead { last, named, file } => write!(
                f,
                "by its name {file} begins with txn {named}, but the last txn there is is {last}: it was renamed, or is \
                 another server's; a new log would take its place, so give it back its name (that of its first txn: \
                 `ostler log verify`) or move it elsewhere; nothing was changed"
            ),
            Self::NotAsClosed { file, end, length, last } => write!(
                f,
                "{file} was whole up to byte {length} when its server stopped, and now {}, and the last txn there is is {last}: \
                 what was there was acknowledged and is missing, so nothing was changed; bring a copy of it back; {SYNC_ANEW}; \
                 to go on without it, start once with ostler.log.acceptSuspectTail=true in zoo.cfg",
                if *end > 0 { format!("ends at byte {end}") } else { "is gone, or has no record".to_owned() }
            ),
            Self::TwoDatabases { one: (file, dbid), other: (other, named) } => write!(
                f,
                "{file} names database {dbid} at byte {DBID_OFFSET}, and {other} names {named}: files of two databases are \
                 mixed; move those that are not this server's elsewhere; nothing was changed"
            ),
            Self::BadTxn { file, offset, zxid, reason } => {
                write!(
                    f,
                    "txn {zxid}, at byte {offset} of {file}, can't be applied: {reason}; it was written by another version \
                     or another program: start with that one, or, {SYNC_ANEW}; nothing was changed"
                )
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
