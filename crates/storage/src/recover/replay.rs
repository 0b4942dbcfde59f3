//! Replaying the log behind a snapshot, and what the digests in both say of it.
//!
//! A txn carries the digest of the tree that its leader had behind it, and a snapshot one of the tree that it holds. Inside an epoch
//! the zxids show what is missing; between two epochs, where any number may be the last, nothing but the digests does: if the tree
//! was the log's at the end of one, and is not at the beginning of the next, then txns are missing in between.
//!
//! Anywhere else a wrong digest is no more than a warning. It says that a server had another tree, not that this one is wrong: the
//! leader's memory may have been damaged, or its own files. And no directory that a server has left in good order may be refused.

use wire::jute::{Field, Reader};
use wire::txn::{Txn, TxnEntry};
use wire::{Zxid, txn};

use super::{First, Loaded, PROGRESS_TXNS, Progress, RecoverError, RecoverOptions, Restore, read_options};
use crate::disk::{Dir, Disk, FileRef};
use crate::log::dir::{History, ReadLogError, read_history};
use crate::names::{FileName, Numbered};

/// What the digest that came with a snapshot or a txn says of the tree that it has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fit {
    /// Nothing: there is none, or one that is computed in another way, or it is of a later tree.
    #[default]
    Unknown,
    /// It is the digest of this tree.
    Right,
    /// It is that of another one.
    Wrong,
}

impl Fit {
    /// Of a digest of this version beside that of the tree.
    pub fn of(version: i32, digest: i64, tree: i64) -> Self {
        match version {
            txn::DIGEST_VERSION if digest == tree => Self::Right,
            txn::DIGEST_VERSION => Self::Wrong,
            _ => Self::Unknown,
        }
    }
}

/// The first txn with a wrong digest.
pub(super) struct Doubt {
    file: FileRef,
    offset: u64,
    zxid: Zxid,
    /// The first one behind it with a right digest.
    again: Option<Zxid>,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, offset, zxid, again } = self;
        write!(f, "from txn {zxid} on, at byte {offset} of {file}, the tree's digest is not the one in the log")?;
        if let Some(again) = again {
            write!(f, ", and from {again} on it is")?;
        }
        f.write_str(": compare this server's data with its source")
    }
}

/// What a replay has come to.
pub(super) struct Replayed {
    pub(super) history: History,
    pub(super) doubt: Option<Doubt>,
    /// Txns that are missing, as the digests say, or may be, and that were given up.
    pub(super) given_up: Vec<RecoverError>,
    /// The snapshots that can't be loaded and may hold some of those.
    pub(super) not_shown: Vec<FileName>,
}

/// Why a replay did not come to its end.
pub(super) enum Stop {
    /// What this snapshot holds is not what its digest is of.
    WrongSnapshot(FileName),
    Failed(RecoverError),
}

/// Is it a snapshot of the beginning of an epoch, and of no txn that a log could have?
pub(super) fn is_beginning(snapshot: &Numbered, initial_counter: u32) -> bool {
    snapshot.zxid.epoch().0 > 0 && snapshot.zxid.counter() == initial_counter
}

impl From<ReadLogError> for Stop {
    fn from(error: ReadLogError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<RecoverError> for Stop {
    fn from(error: RecoverError) -> Self {
        Self::Failed(error)
    }
}

/// Replays the txns behind the snapshot, if there is one; `first` is the first one there is, if there is none.
pub(super) fn replay(
    disk: &dyn Disk,
    loaded: Option<&Loaded>,
    first: Option<&First>,
    options: &RecoverOptions,
    into: &mut dyn Restore,
    progress: &mut dyn FnMut(Progress),
) -> Result<Replayed, Stop> {
    let start = loaded.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
    let failed = loaded.map_or(&[][..], |snapshot| &snapshot.failed);
    // Apache may write a snapshot's digest while a txn is half applied, and half of it is in the file then: the tree is whole
    // again behind that txn, which is the next one. If it is not, the snapshot is damaged.
    let mut wrong = loaded.filter(|snapshot| snapshot.fit == Fit::Wrong).map(|snapshot| &snapshot.file.name);
    // The last txn at which the tree was the log's, if nothing is unknown since then. The empty tree is known.
    let mut right = loaded.is_none_or(|snapshot| snapshot.fit == Fit::Right).then_some(start);
    let (mut doubt, mut given_up, mut not_shown) = (None::<Doubt>, Vec::new(), Vec::new());
    let mut txns = 0;
    let mut last = start;
    // Beside those of the txn of the one that was loaded.
    let mut passed = failed.partition_point(|(snapshot, _)| snapshot.zxid <= start);
    let history = read_history(disk, start, &read_options(options), &mut |file, record| {
        // Between epochs no number shows that txns are missing; a snapshot that can't be loaded does, if it is of a txn. One of the
        // beginning of an epoch may: a leader of Apache's has one before anything is written in its epoch, and the log has all
        // of that; but who got its state from such a leader has it too, without the end of earlier epochs. The digest of the next
        // txn does not decide: sessions, quotas and the configuration are not in it.
        while let Some((snapshot, reason)) = failed.get(passed).filter(|(snapshot, _)| snapshot.zxid < record.zxid) {
            let (file, offset, next) = (file.clone(), record.offset, record.zxid);
            if !is_beginning(snapshot, options.initial_counter) {
                return Err(ReadLogError::Gap { file, offset, last, next }.into());
            }
            let (name, zxid, reason) = (snapshot.name.clone(), snapshot.zxid, reason.clone());
            let snapshot = FileRef::new(Dir::Data, name.clone());
            let next = Some((file, offset, next));
            let error = RecoverError::NotShown { last, snapshot, zxid, reason, next };
            if !options.accept_suspect_tail {
                return Err(error.into());
            }
            given_up.push(error);
            not_shown.push(name);
            passed += 1;
        }
        passed += failed[passed..].iter().take_while(|(snapshot, _)| snapshot.zxid == record.zxid).count();
        last = record.zxid;
        let bad =
            |reason| RecoverError::BadTxn { file: file.clone(), offset: record.offset, zxid: record.zxid, reason };
        let mut reader = Reader::with_limit(record.blob, options.length_max);
        let entry = TxnEntry::read(&mut reader).map_err(|e| bad(e.to_string()))?;
        into.txn(&entry).map_err(bad)?;
        let fit = into.fit();
        if let Some(name) = wrong.take().filter(|_| fit != Fit::Right) {
            return Err(Stop::WrongSnapshot(name.clone()));
        }
        // Txns of a later epoch are no beginning of all if what they change is not there, or they say that more was.
        if let Some(First { file, txn: Some((offset, first)) }) = first
            && (into.misses_a_znode() || fit == Fit::Wrong && right.is_some())
            && first.epoch().0 > 0
            && !options.accept_suspect_tail
        {
            let (file, shown_by) = (file.clone(), Some(record.zxid));
            return Err(RecoverError::Beheaded { file, offset: *offset, first: *first, shown_by }.into());
        }
        match fit {
            Fit::Right => {
                right = Some(record.zxid);
                if let Some(doubt) = &mut doubt {
                    doubt.again.get_or_insert(record.zxid);
                }
            }
            // An error has no digest, and changes nothing.
            Fit::Unknown => right = right.filter(|_| matches!(entry.txn, Txn::Error(_))),
            Fit::Wrong => {
                let (offset, zxid) = (record.offset, record.zxid);
                if let Some(last) = right.take().filter(|last| last.epoch() != zxid.epoch()) {
                    let missing = RecoverError::Missing { file: file.clone(), offset, last, next: zxid };
                    if !options.accept_suspect_tail {
                        return Err(missing.into());
                    }
                    given_up.push(missing);
                } else if doubt.is_none() {
                    doubt = Some(Doubt { file: file.clone(), offset, zxid, again: None });
                }
            }
        }
        txns += 1;
        if txns % PROGRESS_TXNS == 0 {
            progress(Progress::Txns { txns, zxid: record.zxid });
        }
        Ok(())
    })?;
    if let Some(name) = wrong {
        return Err(Stop::WrongSnapshot(name.clone()));
    }
    Ok(Replayed { history, doubt, given_up, not_shown })
}
