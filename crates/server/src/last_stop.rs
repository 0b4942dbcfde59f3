//! What a server leaves word of for the next start on its directory, in the lock's file: which run of the machine it was on, and,
//! when it stopped in order, how its log ended.
//!
//! A record that is broken in the middle may be what a machine leaves that fails during a write. It is damage if the machine has
//! gone on since (its boot id is the same), or if the log was whole when its server stopped. Apache's server writes none of this:
//! what it logged meanwhile stands in newer files, and the boot id holds for it, too.

use std::fmt;
use std::path::Path;

use storage::names::{self, FileName};
use storage::{Dir, Disk, FileRef};

use crate::disk::DirLock;

/// Linux's name for one run of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is known of the last server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastStop {
    boot: Option<String>,
    /// The newest log when it stopped in order, and its length in bytes.
    pub closed: Option<(FileRef, u64)>,
}

impl fmt::Display for LastStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(boot) = &self.boot {
            writeln!(f, "boot {boot}")?;
        }
        if let Some((file, length)) = &self.closed {
            writeln!(f, "closed {} {length}", file.name)?;
        }
        Ok(())
    }
}

impl LastStop {
    /// Of a server that runs now.
    pub fn running() -> Self {
        let boot = std::fs::read_to_string(Path::new(BOOT_ID)).ok().map(|id| id.trim().to_owned());
        Self { boot: boot.filter(|id| !id.is_empty()), closed: None }
    }

    /// Of one that has closed its log just now.
    pub fn in_order(disk: &dyn Disk) -> std::io::Result<Self> {
        let newest = names::numbered(&disk.list(Dir::Log)?, names::LOG).pop();
        let closed = newest.map(|file| (FileRef::new(Dir::Log, file.name), file.length));
        Ok(Self { closed, ..Self::running() })
    }

    /// What a lock's file says. A part of it that makes no sense says nothing.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["boot", id] => found.boot = Some(id.to_owned()),
                ["closed", name, length] => {
                    if let (name @ FileName::Log(_), Ok(length)) = (FileName::parse(name), length.parse()) {
                        found.closed = Some((FileRef::new(Dir::Log, name), length));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Has the machine gone on since then?
    pub fn is_of_this_boot(&self) -> bool {
        self.boot.is_some() && self.boot == Self::running().boot
    }

    /// Leaves it for the next start. Where there is no room for it, that one only knows less.
    pub fn leave(&self, lock: &DirLock) {
        if let Err(e) = lock.write(&self.to_string()) {
            tracing::warn!("the next start will know less of how this server ended: {e}");
        }
    }

    /// Reads it.
    pub fn of(lock: &DirLock) -> Self {
        match lock.read() {
            Ok(text) => Self::parse(&text),
            Err(e) => {
                tracing::debug!("what the last server has left in its lock can't be read: {e}");
                Self::default()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use wire::Zxid;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_half_of_it_says_nothing() {
        let stop = LastStop { boot: Some("b-1".to_owned()), closed: Some((FileRef::log(Zxid(0x1f)), 4711)) };
        let text = stop.to_string();
        assert_eq!(text, "boot b-1\nclosed log.1f 4711\n");
        assert_eq!(LastStop::parse(&text), stop);
        for length in 0..text.len() {
            let part = LastStop::parse(&text[..length]);
            assert_eq!(part.boot.is_some(), length > 8, "{length}");
            assert_eq!(part.closed, None, "{length}");
        }
        for odd in ["", "closed log.1f x\n", "closed snapshot.1 5\n", "closed log.1 -5\n", "boot\n", "\n\u{fffd}\n"] {
            assert_eq!(LastStop::parse(odd), LastStop::default(), "{odd:?}");
        }
    }

    #[test]
    fn another_run_of_the_machine_is_not_this_one() {
        assert!(!LastStop::default().is_of_this_boot());
        assert!(!LastStop { boot: Some("another".to_owned()), closed: None }.is_of_this_boot());
    }
}
