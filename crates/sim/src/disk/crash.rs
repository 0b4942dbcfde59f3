//! What a crash of the machine leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::inode::Doubt;
use super::names::{InodeId, Names};
use super::{SECTOR, VirtualDisk};
use crate::rng::Rng;

/// The most states of one crash that are looked at one by one; of more, [`SAMPLES`] are drawn.
pub const WAYS_MAX: u64 = 1 << 14;
/// How many states are drawn where there are too many.
pub const SAMPLES: u64 = 400;
/// The most operations on names whose subsets are all formed; of more, some are drawn.
const NAME_OPS_MAX: usize = 14;

/// Was every state of a crash produced?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every one.
    Complete,
    /// There are more than [`WAYS_MAX`]: some were drawn.
    Sampled,
}

impl Coverage {
    /// Of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Complete { other } else { self }
    }
}

/// What is not certain about the files that have names.
type Doubts = Vec<(InodeId, Doubt)>;

impl VirtualDisk {
    /// The power fails. Everything that was not synced is gone.
    pub fn crash(&mut self) {
        self.crash_torn(&mut || false);
    }

    /// The power fails, and of what was not synced each sector, each length and each operation on a name survives where
    /// `survives` says so. A file that grew has zeros where a sector did not make it.
    pub fn crash_torn(&mut self, survives: &mut dyn FnMut() -> bool) {
        let names = self.dirs.each_ref().map(|dir| dir.with(survives));
        *self = self.settled(names, &mut |doubt| if survives() { doubt.ways() - 1 } else { 0 });
    }

    /// The power fails; a draw says what is left.
    pub fn crash_random(&mut self, rng: &mut Rng) {
        // All old, all new, or anything between: the extremes are what a real disk leaves most of the time.
        let share = [0, 500, 1000, 100, 900][rng.below(5) as usize];
        let names = self.dirs.each_ref().map(|dir| dir.with(&mut || rng.chance(share)));
        *self = self.settled(names, &mut |doubt| {
            if rng.chance(share) { doubt.ways() - 1 } else { rng.below(doubt.ways() as u64) as usize }
        });
    }

    /// The kernel drops clean pages: what a failed sync has lost is seen now.
    pub fn evict(&mut self, rng: &mut Rng) {
        for inode in self.inodes.values_mut() {
            inode.evict(&mut |ways| rng.below(ways as u64) as usize);
        }
    }

    /// Is there something that a reader sees and no sync will ever write?
    pub fn has_lost_pages(&self) -> bool {
        self.inodes.values().any(super::inode::Inode::has_lost_pages)
    }

    /// Shows `visit` every state that a crash may leave now, each once for each set of names; draws by `rng` where they
    /// are too many. An error of `visit` ends it.
    pub fn for_each_crash<E>(
        &self,
        rng: &mut Rng,
        visit: &mut dyn FnMut(Self) -> Result<(), E>,
    ) -> Result<Coverage, E> {
        let pending: usize = self.dirs.iter().map(|dir| dir.pending.len()).sum();
        let mut coverage = Coverage::Complete;
        let mut all_names: BTreeSet<[Names; 4]> = BTreeSet::new();
        if pending <= NAME_OPS_MAX {
            for subset in 0..1u32 << pending {
                let mut bit = 0;
                all_names.insert(self.dirs.each_ref().map(|dir| {
                    dir.with(&mut || {
                        bit += 1;
                        subset >> (bit - 1) & 1 == 1
                    })
                }));
            }
        } else {
            coverage = Coverage::Sampled;
            for _ in 0..SAMPLES {
                all_names.insert(self.dirs.each_ref().map(|dir| dir.with(&mut || rng.chance(500))));
            }
        }
        for names in all_names {
            coverage = coverage.and(self.for_each_content(&names, rng, visit)?);
        }
        Ok(coverage)
    }

    /// Every content that the files with these names may have.
    fn for_each_content<E>(
        &self,
        names: &[Names; 4],
        rng: &mut Rng,
        visit: &mut dyn FnMut(Self) -> Result<(), E>,
    ) -> Result<Coverage, E> {
        let doubts = self.doubts(names);
        let ways = doubts.iter().try_fold(1u64, |all, (_, doubt)| all.checked_mul(doubt.ways() as u64));
        let Some(ways) = ways.filter(|ways| *ways <= WAYS_MAX) else {
            for share in 0..SAMPLES {
                let share = (share * 7) % 1001;
                visit(self.settled(names.clone(), &mut |doubt| {
                    if rng.chance(share) { doubt.ways() - 1 } else { rng.below(doubt.ways() as u64) as usize }
                }))?;
            }
            return Ok(Coverage::Sampled);
        };
        for way in 0..ways {
            let mut left = way;
            visit(self.settled(names.clone(), &mut |doubt| {
                let ways = doubt.ways() as u64;
                let chosen = left % ways;
                left /= ways;
                chosen as usize
            }))?;
        }
        Ok(Coverage::Complete)
    }

    /// What is not certain of the files that have a name here.
    fn doubts(&self, names: &[Names; 4]) -> Doubts {
        let live: BTreeSet<InodeId> = names.iter().flat_map(BTreeMap::values).copied().collect();
        let inodes = live.iter().filter_map(|id| Some((*id, self.inodes.get(id)?)));
        inodes.flat_map(|(id, inode)| inode.doubts().into_iter().map(move |doubt| (id, doubt))).collect()
    }

    /// The disk with these names, after each doubt was settled.
    fn settled(&self, names: [Names; 4], choose: &mut dyn FnMut(Doubt) -> usize) -> Self {
        let mut left = self.clone();
        for (id, doubt) in self.doubts(&names) {
            let way = choose(doubt);
            if let Some(inode) = left.inodes.get_mut(&id) {
                inode.choose(doubt, way);
            }
        }
        for (dir, names) in left.dirs.iter_mut().zip(names) {
            dir.settle(names);
        }
        left.collect();
        for inode in left.inodes.values_mut() {
            inode.forget_cache();
        }
        left
    }

    /// Tears one sector that a crash left: its first `keep` bytes are those, the rest is as it was before. `other` is the
    /// same file in another state of the same crash.
    pub fn tear(&mut self, other: &Self, file: &storage::FileRef, number: u64, keep: usize) {
        let Some(was) = other.sector(file, number) else { return };
        let keep = keep.min(SECTOR);
        self.damage_sector(file, number, &mut |block| block[keep..].copy_from_slice(&was[keep..]));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use storage::disk::{Dir, Disk, Effect, FileRef};
    use storage::names::FileName;

    use super::*;
    use crate::disk::{Fault, SECTOR};

    fn file(name: &str) -> FileRef {
        FileRef::new(Dir::Data, FileName::parse(name))
    }

    fn write(disk: &mut VirtualDisk, name: &str, offset: u64, bytes: &[u8]) {
        disk.execute(&Effect::WriteAt { file: file(name), offset, bytes: bytes.to_vec() }).unwrap();
    }

    /// All states, as the names with the first byte of each sector.
    fn states(disk: &VirtualDisk) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let all = disk.for_each_crash::<()>(&mut Rng::new(1), &mut |state| {
            let show = |name: &String| {
                let bytes = state.bytes(&file(name)).unwrap();
                let firsts: String = bytes.chunks(SECTOR).map(|sector| (b'0' + sector[0]) as char).collect();
                format!("{name}={firsts} ")
            };
            found.insert(state.names(Dir::Data).iter().map(show).collect::<String>().trim().to_owned());
            Ok(())
        });
        assert_eq!(all, Ok(Coverage::Complete));
        found
    }

    fn set(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn each_sector_and_the_length_on_its_own() {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file("a"), &[1; SECTOR]);
        write(&mut disk, "a", 0, &[2; 2 * SECTOR]);
        assert_eq!(states(&disk), set(&["a=1", "a=2", "a=10", "a=12", "a=20", "a=22"]));
        disk.execute(&Effect::Fdatasync(file("a"))).unwrap();
        assert_eq!(states(&disk), set(&["a=22"]));
        // What was there before the file was cut may come back when it grows again.
        disk.execute(&Effect::Truncate { file: file("a"), length: SECTOR as u64 }).unwrap();
        write(&mut disk, "a", SECTOR as u64, &[3; SECTOR]);
        assert_eq!(states(&disk), set(&["a=2", "a=22", "a=20", "a=23"]));
    }

    #[test]
    fn each_operation_on_names_on_its_own_and_whole() {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file("a"), &[1; SECTOR]);
        disk.execute(&Effect::Create(file("b"))).unwrap();
        disk.execute(&Effect::Rename { file: file("a"), to: FileName::parse("c") }).unwrap();
        assert_eq!(states(&disk), set(&["a=1", "a=1 b=", "c=1", "b= c=1"]));
        disk.execute(&Effect::Remove(file("b"))).unwrap();
        disk.execute(&Effect::FsyncDir(Dir::Data)).unwrap();
        assert_eq!(states(&disk), set(&["c=1"]));
    }

    #[test]
    fn a_name_is_not_its_content() {
        let mut disk = VirtualDisk::new(false);
        disk.execute(&Effect::Create(file("a"))).unwrap();
        write(&mut disk, "a", 0, &[1; SECTOR]);
        disk.execute(&Effect::FsyncDir(Dir::Data)).unwrap();
        assert_eq!(states(&disk), set(&["a=", "a=0", "a=1"]));
        let mut disk = VirtualDisk::new(false);
        disk.execute(&Effect::Create(file("a"))).unwrap();
        write(&mut disk, "a", 0, &[1; SECTOR]);
        disk.execute(&Effect::Fsync(file("a"))).unwrap();
        assert_eq!(states(&disk), set(&["", "a=1"]));
    }

    #[test]
    fn a_failed_sync_is_not_made_up_for_by_the_next() {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file("a"), &[1; SECTOR]);
        write(&mut disk, "a", 0, &[2; SECTOR]);
        disk.faults.at.insert(disk.effects(), Fault::SyncLost);
        assert!(disk.execute(&Effect::Fdatasync(file("a"))).is_err());
        disk.execute(&Effect::Fdatasync(file("a"))).unwrap();
        assert_eq!(disk.bytes(&file("a")).unwrap()[0], 2);
        assert_eq!(states(&disk), set(&["a=1", "a=2"]));
        assert!(disk.has_lost_pages());
        let mut evicted = disk.clone();
        evicted.evict(&mut Rng::new(1));
        assert_eq!(states(&evicted).len(), 1);
        // Writing it again does.
        write(&mut disk, "a", 0, &[2; SECTOR]);
        disk.execute(&Effect::Fdatasync(file("a"))).unwrap();
        assert_eq!(states(&disk), set(&["a=2"]));
    }

    #[test]
    fn the_same_state_by_another_way_has_the_same_hash() {
        let (mut one, mut two) = (VirtualDisk::new(false), VirtualDisk::new(false));
        for (disk, order) in [(&mut one, ["a", "b"]), (&mut two, ["b", "a"])] {
            for name in order {
                disk.execute(&Effect::Create(file(name))).unwrap();
                write(disk, name, 0, name.as_bytes());
            }
            disk.execute(&Effect::FsyncDir(Dir::Data)).unwrap();
        }
        assert_eq!(one.state_hash(), two.state_hash());
        write(&mut two, "a", 0, b"c");
        assert_ne!(one.state_hash(), two.state_hash());
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file("a"), &[1; 100]);
        disk.faults.capacity = Some(4 * SECTOR as u64);
        let effect = Effect::WriteAt { file: file("a"), offset: 100, bytes: vec![2; 4 * SECTOR] };
        assert_eq!(disk.execute(&effect).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(disk.length(&file("a")), Some(3 * SECTOR as u64));
        assert!(disk.execute(&Effect::Create(file("b"))).is_err());
        write(&mut disk, "a", 0, &[3; SECTOR]);
        disk.faults.read_only_from = Some(disk.effects());
        assert_eq!(disk.execute(&Effect::Fsync(file("a"))).unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }

    #[test]
    fn too_many_states_are_said_to_be_drawn() {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file("a"), &[1; SECTOR]);
        write(&mut disk, "a", 0, &[2; 20 * SECTOR]);
        let mut count = 0;
        let covered = disk.for_each_crash::<()>(&mut Rng::new(1), &mut |_| {
            count += 1;
            Ok(())
        });
        assert_eq!((covered, count), (Ok(Coverage::Sampled), SAMPLES));
    }
}
