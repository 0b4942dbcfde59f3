//! A directory of logs: which files hold the txns from a zxid on, and reading them as one history.
//!
//! Checked across files: inside an epoch every zxid is one more than the last, and an epoch begins with counter 1
//! (`Leader.lead` sets the zxid to `epoch << 32`, and `ZooKeeperServer.getNextZxid` adds one before it gives it away). What
//! Apache's own files may have is tolerated and counted: a txn that is there twice, a torn record at the end of a file that
//! is not the last one (Apache never cuts it). A zxid that is there twice, for two txns, is not.
//!
//! A log is called by its first txn and made when that is about to be written, and by then all that came before is in the older
//! ones: written, if not synced. So as long as the machine goes on, also one without a whole record says how they ended.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, SeekFrom};
use std::mem;

use wire::Zxid;

pub use super::error::ReadLogError;
use super::reader::{End, Flaw, Header, HeaderFlaw, LogReader, Record, Step, split_prefix};
use super::record::{self, BLOB_MIN, HEADER_LENGTH, OVERHEAD, PREFIX_LENGTH, TERMINATOR};
use super::tail::Behind;
use super::writer::follows;
use crate::disk::{Dir, Disk, Effect, Entry, FileRef};
use crate::names::{self, FileName, Numbered};

/// The files that hold the txns from `start` on, oldest first: all that are named `start` or later, and the newest of the
/// ones before (`FileTxnLog.FileTxnIterator.init`).
pub fn files_from(listing: &[Entry], start: Zxid) -> Vec<Numbered> {
    let mut files = names::numbered(listing, names::LOG);
    let before = files.iter().filter(|file| file.zxid < start).count();
    files.drain(..before.saturating_sub(1));
    files
}

/// Does `next` stand right behind `last` in a whole history: the next txn of the epoch, or the first of a later one, whose
/// counter is one more than `initial_counter`?
pub fn is_next(last: Zxid, next: Zxid, initial_counter: u32) -> bool {
    follows(last, next) && (next.epoch() == last.epoch() || next.counter() == initial_counter.wrapping_add(1))
}

/// A file whose end is not clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The file.
    pub file: FileRef,
    /// How its records end.
    pub end: TailEnd,
    /// The last txn before it.
    pub after: Zxid,
}

/// How the records of a file end that does not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailEnd {
    /// The file has no whole header, or is all zeros: nothing was ever written to it, or it was emptied.
    NoHeader {
        /// Its length in bytes.
        length: u64,
    },
    /// A record that was never finished, or the rest of one.
    Torn {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it; `None`: zeros, with something behind them.
        flaw: Option<Flaw>,
        /// Did the crash leave whole records behind it?
        behind: Option<(u64, Zxid)>,
        /// What looks like a whole record, and is its data.
        within: Option<(u64, Zxid)>,
        /// Does an interrupted write explain it, a sector that was never written or a file that had not grown yet?
        /// Otherwise it may have been whole once.
        is_explained: bool,
    },
    /// The file has a header, and not a single record: a first batch that never came.
    NoRecords,
    /// Zeros up to the end of the file, the room that was made for records to come.
    Padding {
        /// The first of them.
        offset: u64,
    },
}

impl Tail {
    /// Was a record, or what could have become one, found that is not part of the history?
    pub fn is_torn(&self) -> bool {
        !matches!(self.end, TailEnd::Padding { .. } | TailEnd::NoRecords)
    }

    /// Is it torn in a way that an interrupted write does not explain?
    pub fn is_suspect(&self) -> bool {
        matches!(self.end, TailEnd::Torn { is_explained: false, .. })
    }

    /// The effect that removes it, so that the file ends with its last record. That it lasts is for whoever syncs the
    /// newest log and the directory afterwards (`settle`).
    pub fn cut(&self) -> Effect {
        match self.end {
            // Its name says that it begins with a txn that it does not hold, and that another file may.
            TailEnd::NoHeader { .. } | TailEnd::NoRecords => Effect::Remove(self.file.clone()),
            TailEnd::Torn { offset: HEADER_LENGTH, .. } => Effect::Remove(self.file.clone()),
            TailEnd::Torn { offset, .. } | TailEnd::Padding { offset } => {
                Effect::Truncate { file: self.file.clone(), length: offset }
            }
        }
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, after, .. } = self;
        match self.end {
            TailEnd::NoHeader { length } => {
                write!(f, "{file} has {length} bytes and no header")
            }
            TailEnd::Torn { offset, flaw, behind, within, .. } => {
                write!(f, "{file} ends at byte {offset}, behind txn {after}, with ")?;
                f.write_str(if self.is_suspect() {
                    "a broken record that no interrupted write explains"
                } else {
                    "a record that was never finished"
                })?;
                if let Some(flaw) = flaw {
                    write!(f, " ({flaw})")?;
                }
                if let Some((at, zxid)) = within {
                    write!(f, ", in whose data something looks like a whole one (txn {zxid} at byte {at})")?;
                }
                if let Some((at, zxid)) = behind {
                    write!(f, ", and pieces of its batch behind it (txn {zxid} at byte {at})")?;
                }
                Ok(())
            }
            TailEnd::NoRecords => write!(f, "{file} has no records"),
            TailEnd::Padding { offset } => write!(f, "{file} has zeros from byte {offset} on, behind txn {after}"),
        }
    }
}

/// What reading found beside the txns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The last zxid; the one before `start` if there was no txn.
    pub last: Zxid,
    /// How many txns were shown.
    pub txns: u64,
    /// How many bytes their records have.
    pub bytes: u64,
    /// Records that repeat a txn and were left out.
    pub repeated: Option<Repeated>,
    /// The files that don't end cleanly.
    pub tails: Vec<Tail>,
    /// The files that have a record, in order.
    pub files: Vec<FileRef>,
    /// The newest file that has a header, and where its records end.
    pub newest: Option<(FileRef, u64)>,
    /// The files whose header is not the one that every server writes.
    pub odd_headers: Vec<(FileRef, Header)>,
    /// The first file that shows by its name alone that txns are missing, if the machine has gone on.
    pub ahead: Option<Ahead>,
}

/// A file without a whole record, called by a txn that can't follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The file.
    pub file: FileRef,
    /// The txn that it was made for.
    pub named: Zxid,
    /// The last one before it.
    pub last: Zxid,
    /// The file before it, and where that one's records end.
    pub end: Option<(FileRef, u64)>,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, named, last, end } = self;
        write!(f, "txns are missing behind {last}")?;
        if let Some((end, offset)) = end {
            write!(f, ", with which {end} ends at byte {offset}")?;
        }
        write!(
            f,
            ": by its name {file} was made for txn {named} when all before that was there, and the machine has gone on since"
        )
    }
}

/// Records that repeat a txn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// How many.
    pub count: u64,
    /// The first one's file.
    pub file: FileRef,
    /// Where it begins there.
    pub offset: u64,
    /// Its txn.
    pub zxid: Zxid,
}

/// How to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The longest blob to accept, in bytes.
    pub blob_max: usize,
    /// The most bytes that one batch of the writer had, whoever it was.
    pub batch_max: u64,
    /// The machine has not failed since the last write: only the process may have.
    pub went_on: bool,
    /// The newest log when a server of ours stopped in order, and none has started since: later ones are Apache's.
    pub closed: Option<Zxid>,
    /// The counter that epochs begin behind: 0, but where a test wants to reach their end
    /// (`zookeeper.testingonly.initialZxid`).
    pub initial_counter: u32,
}

/// Reads all txns behind `last`, in order, and shows each to `visit`; an error of `visit` ends it.
///
/// Only the last file may end with zeros and something behind them.
pub fn read_history<E: From<ReadLogError>>(
    disk: &dyn Disk,
    last: Zxid,
    options: &ReadOptions,
    visit: &mut dyn FnMut(&FileRef, &Record<'_>) -> Result<(), E>,
) -> Result<History, E> {
    let listing = disk.list(Dir::Log);
    let listing = listing.map_err(|error| ReadLogError::Io { what: "the log directory".to_owned(), error })?;
    let mut files = files_from(&listing, last.next());
    let all = names::numbered(&listing, names::LOG);
    // A file that a crash left without records says nothing of which txns the one before it ends with.
    while let Some(first) = files.first().filter(|first| first.zxid < last.next())
        && let Some(before) = all.iter().position(|file| file == first).and_then(|at| all.get(at.checked_sub(1)?))
        && is_empty(disk, &FileRef::new(Dir::Log, first.name.clone()), options)?
    {
        files.insert(0, before.clone());
    }
    let history = History {
        last,
        txns: 0,
        bytes: 0,
        repeated: None,
        tails: Vec::new(),
        files: Vec::new(),
        newest: None,
        odd_headers: Vec::new(),
        ahead: None,
    };
    let mut reading = Reading {
        disk,
        start: last.next(),
        options,
        history,
        recent: VecDeque::new(),
        only_at_the_end: None,
        only_in_epoch: None,
        only_before_a_first: None,
        unjudged: None,
        dirty: Vec::new(),
        end: None,
    };
    for (i, numbered) in files.iter().enumerate() {
        let file = FileRef::new(Dir::Log, numbered.name.clone());
        let is_last = i + 1 == files.len();
        reading.file(&file, is_last, visit)?;
    }
    // Those behind it hold no txn, and go: it is the last one then.
    if let Some(ending) = reading.unjudged.take() {
        reading.judge(ending, true)?;
    }
    Ok(reading.history)
}

/// Is it a log without a single record, and without anything that may have been one?
fn is_empty(disk: &dyn Disk, file: &FileRef, options: &ReadOptions) -> Result<bool, ReadLogError> {
    let io = |error| ReadLogError::Io { what: file.to_string(), error };
    let bad = |offset, error| ReadLogError::Unreadable { file: file.clone(), offset, after: Zxid::ZERO, error };
    let source = disk.open(file).map_err(io)?;
    let Ok(mut reader) = LogReader::open(source, options.blob_max).map_err(|error| bad(0, error))? else {
        return Ok(false);
    };
    match reader.step() {
        Ok(Step::End(End::Eof { .. })) => Ok(true),
        Ok(Step::End(End::Padding { .. })) => match reader.look_behind(Zxid::ZERO) {
            Ok(behind) => Ok(!behind.is_dirty()),
            Err(error) => Err(bad(reader.read_to(), error)),
        },
        Ok(_) => Ok(false),
        Err(error) => Err(bad(reader.read_to(), error)),
    }
}

/// A reading that is under way.
struct Reading<'a> {
    disk: &'a dyn Disk,
    start: Zxid,
    options: &'a ReadOptions,
    history: History,
    /// The last txns that were taken, the newest in front: zxid, file, and header.
    recent: VecDeque<(Zxid, FileRef, [u8; BLOB_MIN])>,
    /// A tail that is acceptable only if no txn follows in a later file.
    only_at_the_end: Option<ReadLogError>,
    /// Records behind zeros that are acceptable only if the same epoch goes on in a later file, without a gap.
    only_in_epoch: Option<ReadLogError>,
    /// A torn end that is acceptable only if what follows, if anything does, is the next txn or the first of a later epoch.
    only_before_a_first: Option<ReadLogError>,
    /// The end of an older file that the txns of a later one are to check, if there are any.
    unjudged: Option<Ending>,
    /// Ends of zeros with something behind them that is no whole record. While the same epoch goes on without a gap, nothing is
    /// missing there.
    dirty: Vec<Ending>,
    /// The last file that has a header, and where its records end.
    end: Option<(FileRef, u64)>,
}

/// Where the records of a file end, and what stands behind them.
#[derive(Clone)]
struct Ending {
    file: FileRef,
    offset: u64,
    flaw: Option<Flaw>,
    behind: Behind,
    after: Zxid,
}

impl Ending {
    fn damage(&self) -> ReadLogError {
        let Self { file, offset, flaw, behind, after } = self;
        ReadLogError::Damaged { file: file.clone(), offset: *offset, flaw: *flaw, after: *after, next: behind.record }
    }
}

impl Reading<'_> {
    fn file<E: From<ReadLogError>>(
        &mut self,
        file: &FileRef,
        is_last: bool,
        visit: &mut dyn FnMut(&FileRef, &Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let io = |error| ReadLogError::Io { what: file.to_string(), error };
        let bad = |offset, after, error| ReadLogError::Unreadable { file: file.clone(), offset, after, error };
        let source = self.disk.open(file).map_err(io)?;
        let mut reader = match LogReader::open(source, self.options.blob_max) {
            Ok(Ok(reader)) => reader,
            Ok(Err(flaw)) => return self.header_flaw(file, is_last, flaw).map_err(E::from),
            Err(error) => return Err(bad(0, self.history.last, error).into()),
        };
        if reader.header() != (Header { version: record::VERSION, dbid: record::DBID }) {
            self.history.odd_headers.push((file.clone(), reader.header()));
        }
        // The last txn that was seen, also of those before `start`.
        let mut after = Zxid::ZERO;
        let end = loop {
            match reader.step() {
                Ok(Step::End(end)) => break end,
                Ok(Step::Record(record)) => {
                    after = after.max(record.zxid);
                    if record.zxid >= self.start && self.take(file, &record)? {
                        visit(file, &record)?;
                    }
                }
                Err(error) => return Err(bad(reader.read_to(), after.max(self.history.last), error).into()),
            }
        };
        let has_records = end.offset() > HEADER_LENGTH;
        if !has_records {
            self.check_name(file, end == End::Eof { offset: HEADER_LENGTH })?;
        }
        self.end = Some((file.clone(), end.offset()));
        if has_records {
            self.unjudged = None;
            self.history.files.push(file.clone());
            self.history.newest = Some((file.clone(), end.offset()));
        } else if is_empty(self.disk, file, self.options)? {
            self.history.tails.push(Tail { file: file.clone(), end: TailEnd::NoRecords, after: self.history.last });
            return Ok(());
        }
        let (offset, flaw) = match end {
            End::Eof { .. } => return Ok(()),
            End::Padding { offset } => (offset, None),
            End::Broken { offset, flaw } => (offset, Some(flaw)),
        };
        let after = after.max(self.history.last);
        let behind = reader.look_behind(after);
        let mut behind = behind.map_err(|error| bad(reader.read_to(), after, error))?;
        for long in behind.long() {
            let found = whole_record(self.disk, file, long.offset, long.end);
            if found.map_err(|error| bad(long.offset, after, error))?.is_some() {
                behind = behind.with_long(&long);
            }
        }
        let ending = Ending { file: file.clone(), offset, flaw, behind, after };
        if flaw.is_none() && !is_last {
            // The zeros at the end of an older file are checked by the txns of the next one, but across epochs nothing
            // shows that some are missing.
            if behind.record.is_some() {
                self.only_in_epoch = Some(ending.damage());
            } else if behind.is_dirty() {
                self.dirty.push(ending.clone());
            }
            self.unjudged = has_records.then_some(ending);
            return Ok(());
        }
        Ok(self.judge(ending, is_last)?)
    }

    /// Is what stands at the end of a file what a server leaves, or damage?
    fn judge(&mut self, mut ending: Ending, is_last: bool) -> Result<(), ReadLogError> {
        let Ending { ref file, offset, flaw, behind, after } = ending.clone();
        let bad = |error| ReadLogError::Unreadable { file: file.clone(), offset, after, error };
        if let Some(Flaw::Length(length)) = flaw
            && let Some(length) = u64::try_from(length).ok().filter(|length| *length > self.options.blob_max as u64)
            && let Some(zxid) = whole_record(self.disk, file, offset, offset + length + OVERHEAD as u64).map_err(bad)?
        {
            let limit = self.options.blob_max as u64;
            return Err(ReadLogError::OverLimit { file: file.clone(), offset, zxid, length, limit });
        }
        // All of it is there, and only its length is wrong: no interrupted write does that.
        let is_whole =
            self.disk.open(file).and_then(|mut source| behind.is_whole_somewhere(&mut *source)).map_err(bad)?;
        if is_whole && behind.record.is_some() {
            return Err(ending.damage());
        }
        let (without_data, within) = behind.without_data(after, self.options.initial_counter);
        ending.behind = without_data;
        let behind = &ending.behind;
        let damage = || ending.damage();
        let is_explained = !is_whole
            && if self.options.went_on {
                behind.is_beginning()
            } else {
                self.disk.open(file).and_then(|mut source| behind.is_explained(&mut *source)).map_err(bad)?
            };
        if !behind.is_torn(self.options.batch_max, is_explained) {
            return Err(damage());
        }
        // Apache leaves the tail of an interrupted write where it is, and goes on in another file.
        if !is_explained || behind.record.is_some() {
            self.only_at_the_end = Some(damage());
        } else if !is_last {
            // At these it stops itself, and does not go on with another epoch.
            let stops = matches!(flaw, Some(Flaw::Checksum | Flaw::Length(_)));
            // Ours cuts the end before it goes on, so if it is the one that was there, this end was whole.
            let is_apaches = self.options.closed.is_some_and(|closed| name_of(file) > Some(closed));
            if stops || (self.options.went_on && !is_apaches) {
                self.only_in_epoch = Some(damage());
            }
            if !stops {
                self.only_before_a_first = Some(damage());
            }
        }
        let end = match flaw {
            None if !behind.is_dirty() => TailEnd::Padding { offset },
            flaw => TailEnd::Torn { offset, flaw, behind: behind.record, within, is_explained },
        };
        self.history.tails.push(Tail { file: file.clone(), end, after });
        Ok(())
    }

    /// A file without a whole record: does its name show that the ones before it held more?
    fn check_name(&mut self, file: &FileRef, is_bare: bool) -> Result<(), ReadLogError> {
        let history = &mut self.history;
        let last = history.last;
        let Some(named) = name_of(file).filter(|named| self.options.went_on && *named > last) else { return Ok(()) };
        if let Some(error) = self.only_in_epoch.take_if(|_| named.epoch() != last.epoch()) {
            return Err(error);
        }
        // Earlier versions left this of a log when a TRUNC led back to a snapshot with a gap behind it.
        let is_cut = is_bare && history.txns == 0 && !history.tails.iter().any(Tail::is_torn);
        if !is_cut && !is_next(last, named, self.options.initial_counter) {
            let end = self.end.clone();
            history.ahead.get_or_insert(Ahead { file: file.clone(), named, last, end });
        }
        Ok(())
    }

    /// Takes a record into the history; false if it repeats one.
    fn take(&mut self, file: &FileRef, record: &Record<'_>) -> Result<bool, ReadLogError> {
        if let Some(error) = self.only_at_the_end.take() {
            return Err(error);
        }
        let (last, next) = (self.history.last, record.zxid);
        if next > last {
            // The rest of a write that was interrupted, or of a txn that was acknowledged.
            let endings = mem::take(&mut self.dirty).into_iter();
            for ending in endings.filter(|_| next.epoch() != last.epoch()) {
                self.judge(ending, false)?;
                if let Some(error) = self.only_at_the_end.take().or_else(|| self.only_in_epoch.take()) {
                    return Err(error);
                }
            }
        }
        let history = &mut self.history;
        if let Some(error) = self.only_in_epoch.take_if(|_| next > last)
            && next.epoch() != last.epoch()
        {
            return Err(error);
        }
        if let Some(error) = self.only_before_a_first.take_if(|_| next > last)
            && !is_next(last, next, self.options.initial_counter)
        {
            return Err(error);
        }
        if next <= last {
            if let Some(before) = other_txn(&self.recent, record) {
                let (file, before) = (file.clone(), before.clone());
                return Err(ReadLogError::Forked { file, offset: record.offset, zxid: next, before });
            }
            let (file, offset) = (file.clone(), record.offset);
            history.repeated.get_or_insert(Repeated { count: 0, file, offset, zxid: next }).count += 1;
            return Ok(false);
        }
        if !is_next(last, next, self.options.initial_counter) {
            return Err(ReadLogError::Gap { file: file.clone(), offset: record.offset, last, next });
        }
        history.last = next;
        history.txns += 1;
        history.bytes += record.end() - record.offset;
        if let Some(header) = record.blob.first_chunk() {
            self.recent.truncate(RECENT - 1);
            self.recent.push_front((next, file.clone(), *header));
        }
        Ok(true)
    }

    /// A file without a header: one that was never written to, if it is the last (ZOOKEEPER-1621, 2332).
    fn header_flaw(&mut self, file: &FileRef, is_last: bool, flaw: HeaderFlaw) -> Result<(), ReadLogError> {
        let length = match flaw {
            HeaderFlaw::CutOff { length } => Some(length),
            HeaderFlaw::Magic(0) => zero_length(self.disk, file, self.history.last)?,
            HeaderFlaw::Magic(_) | HeaderFlaw::Foreign { .. } => None,
        };
        match length {
            // Our files and Apache's get their header before anything else: zeros in its place are what a machine leaves that
            // fails.
            Some(length) if is_last && !(self.options.went_on && flaw == HeaderFlaw::Magic(0)) => {
                self.check_name(file, false)?;
                let end = TailEnd::NoHeader { length };
                self.history.tails.push(Tail { file: file.clone(), end, after: self.history.last });
                Ok(())
            }
            _ => Err(ReadLogError::Header { file: file.clone(), flaw }),
        }
    }
}

/// The txn that a log is called by; `None` of one whose name has more to it.
pub(crate) fn name_of(file: &FileRef) -> Option<Zxid> {
    if let FileName::Log(zxid) = file.name { Some(zxid) } else { None }
}

/// How many txns are remembered to compare repeated ones with. A server logs again what it gets again when it syncs anew,
/// and those are the last ones.
const RECENT: usize = 1024;

/// The file of a txn with the record's zxid that is another one: of another session, time or type.
fn other_txn<'a>(recent: &'a VecDeque<(Zxid, FileRef, [u8; BLOB_MIN])>, record: &Record<'_>) -> Option<&'a FileRef> {
    // The newest are in front.
    let at = recent.binary_search_by(|(zxid, ..)| record.zxid.cmp(zxid)).ok()?;
    let (_, file, header) = recent.get(at)?;
    (!record.blob.starts_with(header)).then_some(file)
}

/// The zxid of the record from `offset` to `end`, if it is whole, whatever length it names. In little memory, however
/// long it is.
fn whole_record(disk: &dyn Disk, file: &FileRef, offset: u64, end: u64) -> io::Result<Option<Zxid>> {
    let Some(length) = end.checked_sub(offset + OVERHEAD as u64).filter(|length| *length >= BLOB_MIN as u64) else {
        return Ok(None);
    };
    let mut source = disk.open(file)?;
    if source.seek(SeekFrom::End(0))? < end {
        return Ok(None);
    }
    source.seek(SeekFrom::Start(offset))?;
    let mut prefix = [0; PREFIX_LENGTH];
    source.read_exact(&mut prefix)?;
    let (sum, _) = split_prefix(&prefix);
    let mut adler = simd_adler32::Adler32::new();
    let mut zxid = None;
    let mut chunk = vec![0; length.min(1 << 18) as usize];
    let mut left = length;
    while left > 0 {
        let n = left.min(chunk.len() as u64) as usize;
        source.read_exact(&mut chunk[..n])?;
        // All of a header is in the first one.
        zxid = zxid.or_else(|| record::zxid_of(&chunk[..n]));
        adler.write(&chunk[..n]);
        left -= n as u64;
    }
    let mut terminator = [0];
    source.read_exact(&mut terminator)?;
    Ok(zxid.filter(|_| terminator == [TERMINATOR] && i64::from(adler.finish()) == sum))
}

/// The length of a file that is all zeros.
fn zero_length(disk: &dyn Disk, file: &FileRef, after: Zxid) -> Result<Option<u64>, ReadLogError> {
    let io = |error| ReadLogError::Io { what: file.to_string(), error };
    let mut source = disk.open(file).map_err(io)?;
    let mut chunk = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(Some(length)),
            Ok(n) if chunk[..n].iter().any(|b| *b != 0) => return Ok(None),
            Ok(n) => length += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(ReadLogError::Unreadable { file: file.clone(), offset: length, after, error });
            }
        }
    }
}
