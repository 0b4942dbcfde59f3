//! What an ensemble has left before the world begins: the directories of its clients, whose numbers are about to end.

use storage::snapshot::encode::SnapshotEncoder;
use storage::{Dir, FileName, FileRef};
use wire::{Epoch, StatPersisted, Zxid};

use super::check::{Model, Znode};
use super::crowd::DIRECTORIES;
use crate::disk::VirtualDisk;
use crate::world::Setup;

/// The last txn before the world begins: of the first epoch.
pub(super) const LAST: Zxid = Zxid::new(Epoch(1), 7);

/// The znodes that are there.
#[derive(Debug)]
pub(super) struct Begun {
    directories: Vec<(String, StatPersisted)>,
}

impl Begun {
    /// As the setup says, if it says something.
    pub(super) fn of(setup: &Setup) -> Option<Self> {
        let left = setup.changes_left?;
        let directories = (0..DIRECTORIES).map(|n| {
            // Behind the last version comes the lowest, and one before 0 is left out.
            let version = if n % 2 == 0 { i32::MAX - left } else { -2 - left };
            let cversion = i32::MAX - left;
            let stat =
                StatPersisted { czxid: LAST, mzxid: LAST, pzxid: LAST, version, cversion, ..StatPersisted::default() };
            (format!("/k{n}"), stat)
        });
        Some(Self { directories: directories.collect() })
    }

    /// Every server has a snapshot of it, and nothing else.
    pub(super) fn put(&self, disk: &mut VirtualDisk) {
        let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
        encoder.begin([].into_iter(), [].into_iter(), &mut out);
        let none = StatPersisted::default();
        let all = ["", "/zookeeper", "/zookeeper/quota", tree::CONFIG_PATH].into_iter().map(|path| (path, &none));
        for (path, stat) in all.chain(self.directories.iter().map(|(path, stat)| (path.as_str(), stat))) {
            encoder.node(path, Some(b""), OPEN, stat, &mut out);
        }
        encoder.finish(None, Some(LAST), &mut out);
        disk.put(&FileRef::new(Dir::Data, FileName::Snapshot(LAST)), &out);
    }

    /// The plainest tree of it.
    pub(super) fn model(&self) -> Model {
        let znodes = self.directories.iter().map(|(path, stat)| (path.clone(), LAST, Znode::of(stat)));
        Model::beginning_with(znodes)
    }
}

/// The id of the ACL that lets everybody do everything.
const OPEN: i64 = -1;
