//! What a server leaves word of for the next start on its directory, in the lock's file: which run of the machine it was on, and,
//! when it stopped in order, how its log ended.
//!
//! ```text
//! boot <Linux's name for one run of the machine>
//! closed log.<zxid> <bytes>
//! ```
//!
//! A record that is broken in the middle may be what a machine leaves that fails during a write. It is damage if the machine has
//! gone on since (its boot id is the same), or if the log was whole when its server stopped. Apache's server writes none of this:
//! what it logged meanwhile stands in newer files, and the boot id holds for it, too.
//!
//! After a sync that failed the kernel may drop what it did not write, without any failure of the machine: then the boot id goes.

use std::fmt;

use crate::disk::{Dir, Disk, FileRef};
use crate::names::{self, FileName};

/// The file that Linux tells its boot id in.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The lock of a server on a folder, in it.
pub const LOCK_FILE: &str = "ostler.lock";

/// What is known of the last server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastStop {
    /// The run of the machine that it was on.
    pub boot: Option<String>,
    /// The newest log when it stopped in order, and its length in bytes.
    pub closed: Option<(FileRef, u64)>,
}

impl LastStop {
    /// Of one that has closed its log just now, on this run of the machine.
    pub fn in_order(disk: &dyn Disk, boot: Option<String>) -> std::io::Result<Self> {
        let newest = names::numbered(&disk.list(Dir::Log)?, names::LOG).pop();
        let closed = newest.map(|file| (FileRef::new(Dir::Log, file.name), file.length));
        Ok(Self { boot, closed })
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

    /// The same, of one whose files may have lost what was handed to the kernel.
    pub fn without_boot(self) -> Self {
        Self { boot: None, ..self }
    }

    /// Has the machine gone on since then, if this is its run now?
    pub fn is_of(&self, boot: Option<&str>) -> bool {
        self.boot.is_some() && self.boot.as_deref() == boot
    }
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
        let of = |boot: Option<&str>| LastStop { boot: boot.map(str::to_owned), closed: None };
        assert!(of(Some("b-1")).is_of(Some("b-1")));
        for (left, now) in [(None, None), (None, Some("b-1")), (Some("b-1"), None), (Some("b-1"), Some("b-2"))] {
            assert!(!of(left).is_of(now), "{left:?} {now:?}");
        }
    }
}
