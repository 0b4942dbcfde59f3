//! What a directory's names are now, and what of them the medium may hold.
//!
//! POSIX makes a name durable by a sync of its directory and promises nothing before. So every subset of the operations
//! since then may be on the medium, each whole: a rename takes the old name away and gives the new one, or neither. Those
//! that are there have happened in their order, because two changes to one name are changes of the same entry.

use std::collections::BTreeMap;

/// A file, whatever it is called.
pub(super) type InodeId = u64;

/// The names of a directory.
pub(super) type Names = BTreeMap<String, InodeId>;

/// A change to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameOp {
    /// A file was created.
    Link { name: String, inode: InodeId },
    /// A name was removed.
    Unlink { name: String },
    /// A file got another name.
    Rename { from: String, to: String, inode: InodeId },
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// A directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// As everybody sees it.
    pub(super) now: Names,
    /// As of its last sync.
    pub(super) kept: Names,
    /// What happened since, in order.
    pub(super) pending: Vec<NameOp>,
}

impl Directory {
    pub(super) fn act(&mut self, op: NameOp) {
        op.apply(&mut self.now);
        self.pending.push(op);
    }

    pub(super) fn sync(&mut self) {
        self.kept.clone_from(&self.now);
        self.pending.clear();
    }

    /// The names on the medium if of the pending operations those are there that `survives` says.
    pub(super) fn with(&self, survives: &mut dyn FnMut() -> bool) -> Names {
        let mut names = self.kept.clone();
        for op in &self.pending {
            if survives() {
                op.apply(&mut names);
            }
        }
        names
    }

    /// These are the names now, and for good.
    pub(super) fn settle(&mut self, names: Names) {
        self.now.clone_from(&names);
        self.kept = names;
        self.pending.clear();
    }
}
