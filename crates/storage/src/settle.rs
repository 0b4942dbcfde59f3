//! What a recovery has shown must last.
//!
//! A process that was killed leaves what it had not synced in the kernel's cache, and the next one reads it there: the last
//! batch of the log, a log file's or a snapshot's name, an epoch. That is told to clients and built upon, so it has to be
//! on the medium before anything else is. If the process ended because a sync had failed, it is worse: the kernel takes
//! the pages for written, and another sync does nothing about them. So the end of the newest log is written once more,
//! with the bytes that were read, as far back as the last batch may reach; what is before it was acknowledged after a
//! sync that worked.
//!
//! Older logs and the snapshot are synced only: without forceSync, or after a kill of Apache's server between a new file and
//! the commit of what is in the old one, they too may be in the cache alone. Where they are not, that costs nothing.

use std::io::{self, Read, SeekFrom};

use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::log::dir::History;
use crate::log::record::{HEADER_LENGTH, OVERHEAD};
use crate::recover::{RecoverError, RecoverOptions, execute};

/// How many bytes are read and written at a time.
const CHUNK: u64 = 1 << 20;

/// Makes the history durable, once everything else about it is mended.
pub(crate) fn settle(
    disk: &mut dyn Disk,
    options: &RecoverOptions,
    snapshot: Option<&FileRef>,
    history: &History,
) -> Result<(), RecoverError> {
    let newest = history.newest.as_ref().map(|(file, _)| file);
    for file in snapshot.into_iter().chain(history.files.iter().filter(|file| Some(*file) != newest)) {
        execute(disk, &Effect::Fdatasync(file.clone()))?;
    }
    if let Some((file, end)) = &history.newest {
        let batch_max = options.batch_max.max((options.length_max + OVERHEAD) as u64);
        let from = end.saturating_sub(batch_max).max(HEADER_LENGTH);
        rewrite(disk, file, from, *end)?;
        execute(disk, &Effect::Fdatasync(file.clone()))?;
    }
    execute(disk, &Effect::FsyncDir(Dir::Log))?;
    if disk.is_separate() {
        execute(disk, &Effect::FsyncDir(Dir::Data))?;
    }
    Ok(())
}

fn rewrite(disk: &mut dyn Disk, file: &FileRef, from: u64, to: u64) -> Result<(), RecoverError> {
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; CHUNK.min(to - at) as usize];
        let read = disk.open(file).and_then(|mut source| {
            source.seek(SeekFrom::Start(at))?;
            source.read_exact(&mut bytes)
        });
        read.map_err(|error: io::Error| RecoverError::Io { what: file.to_string(), error })?;
        let length = bytes.len() as u64;
        execute(disk, &Effect::WriteAt { file: file.clone(), offset: at, bytes })?;
        at += length;
    }
    Ok(())
}
