//! The files `acceptedEpoch` and `currentEpoch` of a member of an ensemble (`QuorumPeer.loadDataBase`, `AtomicFileWritingIdiom`).
//!
//! The order is the caller's: history, then `currentEpoch`, then the ACK of NEWLEADER; `acceptedEpoch` before ACKEPOCH.
//! Other than Apache's, the directory is synced too. A standalone server neither reads nor writes them.

use std::fmt;
use std::io;

use wire::{Epoch, Zxid};

use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::names::FileName;

/// The longest file that is read.
const LENGTH_MAX: u64 = 64;
/// How many characters of a file that holds no epoch are shown.
const FOUND_SHOWN: usize = 20;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EpochFile {
    /// The newest epoch that this server has agreed to take part in.
    Accepted,
    /// The epoch of the last leader whose history this server has taken.
    Current,
}

impl EpochFile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "acceptedEpoch",
            Self::Current => "currentEpoch",
        }
    }

    fn file(self) -> FileRef {
        FileRef::new(Dir::Data, FileName::Other(self.name().into()))
    }

    fn temp(self) -> FileRef {
        FileRef::new(Dir::Data, FileName::Other(format!("{}.tmp", self.name()).into()))
    }

    /// The effects after which the file durably holds `epoch`.
    pub fn write(self, epoch: Epoch) -> Vec<Effect> {
        let temp = self.temp();
        vec![
            Effect::Create(temp.clone()),
            Effect::WriteAt { file: temp.clone(), offset: 0, bytes: epoch.0.to_string().into_bytes() },
            Effect::Fsync(temp.clone()),
            Effect::Rename { file: temp, to: self.file().name },
            Effect::FsyncDir(Dir::Data),
        ]
    }
}

/// What the two files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// The accepted epoch.
    pub accepted: Epoch,
    /// The current epoch.
    pub current: Epoch,
    /// To be executed before anything else: writes what was missing.
    pub effects: Vec<Effect>,
    /// What an operator should know of it, a sentence each.
    pub warnings: Vec<String>,
}

/// Why a server may not start with these files.
#[derive(Debug)]
pub enum EpochError {
    /// The disk failed.
    Io {
        /// The file.
        file: FileRef,
        /// How.
        error: io::Error,
    },
    /// A file that holds no number.
    NotANumber {
        /// The file.
        file: FileRef,
        /// The beginning of what it holds.
        found: String,
    },
    /// The history is of a later epoch than `currentEpoch`.
    Behind {
        /// `currentEpoch`.
        current: Epoch,
        /// The last txn.
        last: Zxid,
    },
    /// `acceptedEpoch` is older than `currentEpoch`.
    AcceptedBehind {
        /// `acceptedEpoch`.
        accepted: Epoch,
        /// `currentEpoch`.
        current: Epoch,
    },
}

impl fmt::Display for EpochError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str = "the files of this data directory do not belong together; \
            move it away and let the server sync from the others";
        match self {
            Self::Io { file, error } => write!(f, "{file}: {error}"),
            Self::NotANumber { file, found } => write!(
                f,
                "{file} holds {found:?}, which is no epoch; move the data directory away and let the server sync from the \
                 others"
            ),
            Self::Behind { current, last } => {
                write!(f, "currentEpoch is {current}, but the last txn is {last}, of epoch {}; {ADVICE}", last.epoch())
            }
            Self::AcceptedBehind { accepted, current } => {
                write!(f, "acceptedEpoch is {accepted}, older than currentEpoch, {current}; {ADVICE}")
            }
        }
    }
}

impl std::error::Error for EpochError {}

/// Reads both, after a recovery whose last txn is `last`.
///
/// A file that is missing gets the epoch of `last`. If the history is ahead of `currentEpoch`, a crash has come between the
/// two: the history that a new leader gives is durable before `currentEpoch` is, and has txns of epochs that this server
/// has missed. Then `currentEpoch` becomes the epoch of `last`, of whose leader's history the server has a beginning. Not
/// if `acceptedEpoch`, which is written before any of that, is older too. Apache starts only if it finds a
/// `currentEpoch.tmp` (ZOOKEEPER-4269), which is there or not by chance.
pub fn read(disk: &dyn Disk, last: Zxid) -> Result<Epochs, EpochError> {
    let of_last = Epoch(last.epoch().0.max(0));
    let (mut effects, mut warnings) = (Vec::new(), Vec::new());
    let found = [EpochFile::Current, EpochFile::Accepted].map(|file| read_one(disk, &file.file()));
    let [found_current, found_accepted] = found;
    let (found_current, found_accepted) = (found_current?, found_accepted?);
    // A first start has neither.
    let is_new = found_current.is_none() && found_accepted.is_none() && last <= Zxid::ZERO;
    let mut or_write = |file: EpochFile, found: Option<Epoch>| {
        found.unwrap_or_else(|| {
            if !is_new {
                warnings.push(format!(
                    "{} is missing, and was written anew with {of_last}, the epoch of the last txn, {last}; that is right for a \
                     standalone server that becomes a member; if this one was a member before, somebody has removed the file, \
                     and a vote for a later epoch may be forgotten: let it sync from the others, with an empty data directory",
                    file.file()
                ));
            }
            effects.extend(file.write(of_last));
            of_last
        })
    };
    let mut current = or_write(EpochFile::Current, found_current);
    let accepted = or_write(EpochFile::Accepted, found_accepted);
    if of_last > current {
        if accepted < of_last {
            return Err(EpochError::Behind { current, last });
        }
        warnings.push(format!(
            "{} was {current}, and the last txn is {last}: this server ended while it took over the history of epoch {of_last}, \
             and the file says {of_last} now; nothing needs to be done",
            EpochFile::Current.file()
        ));
        current = of_last;
        effects.extend(EpochFile::Current.write(current));
    }
    if accepted < current {
        return Err(EpochError::AcceptedBehind { accepted, current });
    }
    // What a crash has left of a write, ours or Apache's: nobody was told of it, and Apache would believe it (ZOOKEEPER-4269).
    for temp in [EpochFile::Accepted.temp(), EpochFile::Current.temp()] {
        match disk.open(&temp) {
            Ok(_) => effects.push(Effect::Remove(temp)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(EpochError::Io { file: temp, error }),
        }
    }
    Ok(Epochs { accepted, current, effects, warnings })
}

/// The file that says that this server has taken part in an epoch, if one does: then it had a history.
pub fn has_begun(disk: &dyn Disk) -> Option<(EpochFile, Epoch)> {
    let files = [EpochFile::Current, EpochFile::Accepted];
    let mut found = files.into_iter().filter_map(|file| Some((file, read_one(disk, &file.file()).ok()??)));
    found.find(|(_, epoch)| *epoch > Epoch(0))
}

/// The number in the first line, and nothing else there, as Apache's server has it: with one changed bit the last digit of 10
/// is a space, and a 1 that was read instead would take back what this server has promised. A digit that has become another one
/// shows only if history and the other file contradict it; the format has no checksum.
fn read_one(disk: &dyn Disk, file: &FileRef) -> Result<Option<Epoch>, EpochError> {
    use io::Read;
    let io = |error| EpochError::Io { file: file.clone(), error };
    let source = match disk.open(file) {
        Ok(source) => source,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let mut bytes = Vec::new();
    source.take(LENGTH_MAX).read_to_end(&mut bytes).map_err(io)?;
    let text = String::from_utf8_lossy(&bytes);
    let epoch = text.lines().next().and_then(|line| line.parse().ok());
    let no_number = || EpochError::NotANumber { file: file.clone(), found: text.chars().take(FOUND_SHOWN).collect() };
    epoch.filter(|epoch| *epoch >= 0).map(|epoch| Some(Epoch(epoch))).ok_or_else(no_number)
}
