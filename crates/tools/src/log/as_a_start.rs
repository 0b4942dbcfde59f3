//! A folder as the next start of a server would read it, with what the last server has left word of: where that start would
//! begin, and what it would say; or why it would be refused. Nothing is changed. The tree is built as a start does it, since
//! digests show what no checksum does; so it takes the memory that the server would take.

use std::fmt;
use std::io;

use serde::Serialize;
use server::restore::Rebuild;
use storage::disk::{Disk, DiskRead, Entry, FileRef};
use storage::last_stop::{BOOT_ID, LOCK_FILE, LastStop};
use storage::log::dir::ReadLogError;
use storage::names::{LOG, SNAPSHOT, numbered};
use storage::recover::{Origin, Progress, read_logs};
use storage::{Dir, Effect, RecoverError, RecoverOptions, recover};
use tree::TreeConfig;

use super::RECORD_MAX;
use crate::folder::Folder;
use crate::progress;

/// What a start would come to.
#[derive(Debug, Serialize)]
pub struct AsAStart {
    /// Where it would begin, or why it would not.
    pub start: String,
    /// Would it be refused?
    pub is_refused: bool,
    /// What it would say.
    pub says: Vec<String>,
    /// Is it refused only because something is longer than what is accepted?
    #[serde(skip)]
    is_over_limit: bool,
}

impl fmt::Display for AsAStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "as a start would read it: {}", self.start)?;
        self.says.iter().try_for_each(|sentence| writeln!(f, "  it would say: {sentence}"))
    }
}

/// Reads one folder, as a server with the default limits does. What is longer is read all the same, and said.
pub fn read(folder: &Folder) -> AsAStart {
    let read = |options: &RecoverOptions| read_both(Folder::new(folder.path()), Folder::new(folder.path()), options);
    let options = RecoverOptions::default();
    let start = read(&options);
    if !start.is_over_limit {
        return start;
    }
    let mut wide = read(&RecoverOptions { length_max: RECORD_MAX, ..options });
    wide.says.insert(0, format!("with the default limits it would be {}", start.start));
    wide
}

/// Reads a folder with snapshots and one with logs, which may be the same one.
pub fn read_both(data: Folder, logs: Folder, options: &RecoverOptions) -> AsAStart {
    let word = std::fs::read(logs.path().join(LOCK_FILE)).unwrap_or_default();
    let word = LastStop::parse(&String::from_utf8_lossy(&word));
    let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let went_on = word.is_of(Some(boot.trim()).filter(|boot| !boot.is_empty()));
    let mut disk = Untouched { data, logs };
    let list = |dir, prefix| disk.list(dir).is_ok_and(|files| !numbered(&files, prefix).is_empty());
    let (has_snapshots, has_logs) = (list(Dir::Data, SNAPSHOT), list(Dir::Log, LOG));
    let options = RecoverOptions { went_on, closed: word.closed, ..options.clone() };
    // Logs with a dataLogDir of their own have their snapshots elsewhere.
    let done = if has_logs && !has_snapshots && !disk.is_separate() {
        read_logs(&disk, &options).map(|found| {
            let torn = found.tails.iter().filter(|tail| tail.is_torn());
            let says = torn.map(|tail| format!("{tail}; it was cut")).collect();
            let (txns, last) = (found.txns, found.last);
            (format!("{txns} txns, the last is {last}; {NO_SNAPSHOT}"), says)
        })
    } else {
        let mut rebuilt = Rebuild::new(TreeConfig::default(), false);
        let bar = progress::bar(0, "as a start", progress::is_watched());
        let found = recover(&mut disk, &options, &mut rebuilt, &mut |step| match step {
            Progress::Snapshot { bytes, total, .. } => {
                bar.set_length(total);
                bar.set_position(bytes);
            }
            Progress::Txns { txns, .. } => bar.set_message(format!("as a start: {txns} txns behind the snapshot")),
        });
        bar.finish_and_clear();
        found.map(|mut found| {
            found.warnings.extend(rebuilt.finish().2);
            let (last, txns) = (found.last_zxid, found.txns_replayed);
            let start = match found.origin {
                Origin::Snapshot { zxid, nodes, .. } => {
                    format!("snapshot.{:x} with {nodes} znodes, and {txns} txns behind it; the last is {last}", zxid.0)
                }
                _ => "there is nothing to begin with".to_owned(),
            };
            (start, found.warnings)
        })
    };
    match done {
        Ok((start, says)) => AsAStart { start, is_refused: false, says, is_over_limit: false },
        Err(error) => {
            let is_over_limit = matches!(
                error,
                RecoverError::SnapshotOverLimit { .. }
                    | RecoverError::Log { error: ReadLogError::OverLimit { .. }, .. }
            );
            let is_gap =
                matches!(error, RecoverError::Log { error: ReadLogError::Gap { .. }, .. } | RecoverError::Ahead(_));
            let says = if is_gap && !has_snapshots { vec![GAP_WITHOUT_SNAPSHOTS.to_owned()] } else { Vec::new() };
            AsAStart { start: format!("refused: {error}"), is_refused: true, says, is_over_limit }
        }
    }
}

/// A folder of logs may be a `dataLogDir` of its own, or what is left of one for both.
const NO_SNAPSHOT: &str =
    "no snapshot is here, and a start needs one: with a dataLogDir of its own, the dataDir has them";
/// Logs that a leader's snapshot came between are whole only with it.
const GAP_WITHOUT_SNAPSHOTS: &str = "nothing of this, if the dataDir has a snapshot of a later txn, since it would begin there: \
    `ostler check zoo.cfg` reads both directories";

/// The folders, with a recovery that believes that it has mended what it has not touched.
struct Untouched {
    data: Folder,
    logs: Folder,
}

impl Untouched {
    fn of(&self, dir: Dir) -> &Folder {
        if matches!(dir, Dir::Log | Dir::LogParent) { &self.logs } else { &self.data }
    }
}

impl Disk for Untouched {
    fn is_separate(&self) -> bool {
        self.data.path() != self.logs.path()
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        self.of(dir).list(dir)
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        self.of(file.dir).open(file)
    }

    fn execute(&mut self, _: &Effect) -> io::Result<()> {
        Ok(())
    }
}
