//! Why the logs of a directory can't be read as one history, and what to do about it.

use std::fmt;
use std::io;

use wire::Zxid;

use super::reader::{Flaw, HeaderFlaw};
use crate::disk::{FileRef, is_lost};

/// Why the logs can't be read as a history.
#[derive(Debug)]
pub enum ReadLogError {
    /// A file can't be opened, or the directory not be listed.
    Io {
        /// The file, or the directory.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A file is open, and a piece of it can't be read.
    Unreadable {
        /// The file.
        file: FileRef,
        /// From where on.
        offset: u64,
        /// The last txn before it.
        after: Zxid,
        /// Why.
        error: io::Error,
    },
    /// A file is no log.
    Header {
        /// The file.
        file: FileRef,
        /// What is wrong with it.
        flaw: HeaderFlaw,
    },
    /// A record is broken, and no crash explains it.
    Damaged {
        /// The file.
        file: FileRef,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it; `None`: there are zeros where it should be.
        flaw: Option<Flaw>,
        /// The last txn before it.
        after: Zxid,
        /// The first whole record behind it, if there is one: its offset and zxid.
        next: Option<(u64, Zxid)>,
    },
    /// A record is whole, and longer than what is accepted. It was written under a higher limit.
    OverLimit {
        /// The file.
        file: FileRef,
        /// Where the record begins.
        offset: u64,
        /// Its txn.
        zxid: Zxid,
        /// The length of its blob in bytes.
        length: u64,
        /// The longest that is accepted.
        limit: u64,
    },
    /// A zxid is there twice, and not for the same txn.
    Forked {
        /// The file with the second one.
        file: FileRef,
        /// Where its record begins.
        offset: u64,
        /// The zxid.
        zxid: Zxid,
        /// The file with the first one.
        before: FileRef,
    },
    /// Txns are missing.
    Gap {
        /// The file in which the history goes on.
        file: FileRef,
        /// The record with which it does.
        offset: u64,
        /// The last txn before the gap.
        last: Zxid,
        /// The first one behind it.
        next: Zxid,
    },
}

impl fmt::Display for ReadLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Unreadable { file, offset, after, error } if is_lost(error) => write!(
                f,
                "{file} can't be read from byte {offset} on, behind txn {after}: {error}; look at the disk; {ADVICE}"
            ),
            Self::Unreadable { file, offset, after, error } => write!(
                f,
                "{file} can't be read from byte {offset} on, behind txn {after}: {error}; nothing was changed"
            ),
            Self::Header { file, flaw } => {
                write!(
                    f,
                    "{file} is no txn log: {flaw}; if it is not the server's, move it elsewhere; otherwise: {ADVICE}"
                )
            }
            Self::Damaged { file, offset, flaw, after, next } => {
                write!(f, "{file} is damaged at byte {offset}, behind txn {after}: ")?;
                match flaw {
                    Some(flaw) => write!(f, "the record there is broken, {flaw}")?,
                    None => write!(f, "there are zeros where a record should be")?,
                }
                if let Some((at, zxid)) = next {
                    write!(f, ", while txn {zxid} is whole at byte {at}")?;
                }
                write!(f, "; {ADVICE}")
            }
            Self::OverLimit { file, offset, zxid, length, limit } => write!(
                f,
                "{file} holds txn {zxid} at byte {offset}, a whole record of {length} bytes, more than the {limit} that \
                 are accepted; raise jute.maxbuffer (or jute.maxbuffer.extrasize) to at least {length} and start again; \
                 nothing was changed"
            ),
            Self::Forked { file, offset, zxid, before } => write!(
                f,
                "{file} holds another txn {zxid}, at byte {offset}, than {before}: two histories are mixed; if one of the \
                 files is not this server's, move it elsewhere; otherwise: {ADVICE}"
            ),
            Self::Gap { file, offset, last, next } => {
                write!(f, "txns are missing: {last} is followed by {next}, at byte {offset} of {file}; {ADVICE}")
            }
        }
    }
}

/// What to do about a log that can't be read.
const ADVICE: &str = "in an ensemble, move this server's data directory away and let it sync from the others; \
    a standalone server needs a copy of the files from before that, or gives up what is behind it (ostler log cut); nothing \
    was changed";

impl std::error::Error for ReadLogError {}
