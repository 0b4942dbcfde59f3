//! What a file's bytes are now, and what of them the medium may hold.
//!
//! A file is a length and sectors. A write changes what a reader sees at once; which of the contents that a sector had
//! since the last sync is on the medium nobody knows, and it is another one for each sector: writes are lost, reordered
//! and kept in part. The same goes for the lengths that the file had. A sector that is not kept is zeros.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::SECTOR;

/// The content of a sector, behind the file's end too; `None` is zeros.
pub(super) type Block = Option<Arc<[u8; SECTOR]>>;

/// A sector that is not simply zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    /// What a reader sees.
    now: Block,
    /// What the medium may hold, oldest first, each once. With one of them there is no doubt.
    kept: Vec<Block>,
    /// Will the next sync write it? Not after one that failed: the kernel takes the page for clean then.
    dirty: bool,
}

/// A file without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    length: u64,
    /// As with the slots: the lengths that the medium may know.
    lengths: Vec<u64>,
    length_dirty: bool,
    slots: BTreeMap<u64, Slot>,
}

impl Hash for Inode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.length.hash(state);
        self.lengths.hash(state);
        self.length_dirty.hash(state);
        self.slots.hash(state);
    }
}

/// What is not certain about a file: a sector or its length, and how many contents it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// How long it is.
    Length { ways: usize },
    /// What this sector holds.
    Sector { number: u64, ways: usize },
}

impl Doubt {
    pub(super) fn ways(self) -> usize {
        match self {
            Self::Length { ways } | Self::Sector { ways, .. } => ways,
        }
    }
}

impl Inode {
    /// An empty file that the medium may not know.
    pub(super) fn new() -> Self {
        Self { length: 0, lengths: vec![0], length_dirty: false, slots: BTreeMap::new() }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn set_length(&mut self, length: u64) {
        if self.length == length && self.lengths.len() == 1 {
            return;
        }
        self.length = length;
        self.length_dirty = true;
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
    }

    fn set(&mut self, number: u64, block: Block) {
        let slot = self.slots.entry(number).or_insert_with(|| Slot { now: None, kept: vec![None], dirty: false });
        let is_settled = slot.kept.len() == 1;
        if is_settled && slot.kept.first() == Some(&block) {
            slot.now = block;
            if slot.now.is_none() {
                self.slots.remove(&number);
            }
            return;
        }
        if !slot.kept.contains(&block) {
            slot.kept.push(block.clone());
        }
        slot.now = block;
        slot.dirty = true;
    }

    fn block(&self, number: u64) -> Option<&[u8; SECTOR]> {
        self.slots.get(&number).and_then(|slot| slot.now.as_deref())
    }

    /// Writes, and makes the file longer if it ends before.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let sector = SECTOR as u64;
        let mut left = bytes;
        let mut at = offset;
        while !left.is_empty() {
            let (number, from) = (at / sector, (at % sector) as usize);
            let n = left.len().min(SECTOR - from);
            let mut block = self.block(number).copied().unwrap_or([0; SECTOR]);
            block[from..from + n].copy_from_slice(&left[..n]);
            self.set(number, some_block(&block));
            left = &left[n..];
            at += n as u64;
        }
        if at > self.length {
            self.set_length(at);
        }
    }

    /// Makes the file shorter, or longer with zeros.
    pub(super) fn truncate(&mut self, length: u64) {
        let sector = SECTOR as u64;
        if length < self.length {
            let gone: Vec<u64> = self.slots.range(length.div_ceil(sector)..).map(|(number, _)| *number).collect();
            for number in gone {
                self.set(number, None);
            }
            let keep = (length % sector) as usize;
            if keep > 0
                && let Some(block) = self.block(length / sector)
            {
                let mut block = *block;
                block[keep..].fill(0);
                self.set(length / sector, some_block(&block));
            }
        }
        self.set_length(length);
    }

    /// Zeros over a range. They are written like any other bytes.
    pub(super) fn zero(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        // Most of it is zeros already, so whole sectors without a slot need none.
        let sector = SECTOR as u64;
        let touched: Vec<u64> =
            self.slots.range(from / sector..to.div_ceil(sector)).map(|(number, _)| *number).collect();
        for number in touched {
            let mut block = self.block(number).copied().unwrap_or([0; SECTOR]);
            let start = from.max(number * sector) - number * sector;
            let end = to.min((number + 1) * sector) - number * sector;
            block[start as usize..end as usize].fill(0);
            self.set(number, some_block(&block));
        }
        if to > self.length {
            self.set_length(to);
        }
    }

    /// A sync that works: what a reader sees is on the medium, but for what an earlier one that failed has lost.
    pub(super) fn sync(&mut self) {
        if self.length_dirty {
            self.lengths = vec![self.length];
            self.length_dirty = false;
        }
        self.slots.retain(|_, slot| {
            if slot.dirty {
                slot.kept = vec![slot.now.clone()];
                slot.dirty = false;
            }
            slot.kept.len() > 1 || slot.now.is_some() || slot.kept.first().is_some_and(Option::is_some)
        });
    }

    /// A sync that fails: the pages count as clean, and each may be on the medium or not. The length is not in a page: the
    /// next sync writes it.
    pub(super) fn sync_failed(&mut self) {
        for slot in self.slots.values_mut() {
            slot.dirty = false;
        }
    }

    /// What is not certain.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        if self.lengths.len() > 1 {
            doubts.push(Doubt::Length { ways: self.lengths.len() });
        }
        // Nobody sees what is behind the longest end.
        let longest = self.lengths.iter().max().copied().unwrap_or(0);
        let seen = self.slots.range(..longest.div_ceil(SECTOR as u64)).filter(|(_, slot)| slot.kept.len() > 1);
        doubts.extend(seen.map(|(number, slot)| Doubt::Sector { number: *number, ways: slot.kept.len() }));
        doubts
    }

    /// Settles one doubt.
    pub(super) fn choose(&mut self, doubt: Doubt, way: usize) {
        match doubt {
            Doubt::Length { .. } => {
                let length = self.lengths.get(way).copied().unwrap_or(self.length);
                self.lengths = vec![length];
            }
            Doubt::Sector { number, .. } => {
                if let Some(slot) = self.slots.get_mut(&number) {
                    let block = slot.kept.get(way).cloned().unwrap_or_default();
                    slot.kept = vec![block];
                }
            }
        }
    }

    /// Only the medium is left. Every doubt was settled; what was not is as it was before.
    pub(super) fn forget_cache(&mut self) {
        self.lengths.truncate(1);
        self.length = self.lengths.first().copied().unwrap_or(0);
        self.length_dirty = false;
        let length = self.length;
        self.slots.retain(|number, slot| {
            slot.kept.truncate(1);
            slot.now = slot.kept.first().cloned().unwrap_or_default();
            slot.dirty = false;
            let keep = length.saturating_sub(number * SECTOR as u64).min(SECTOR as u64) as usize;
            if keep < SECTOR
                && let Some(block) = slot.now.as_deref()
            {
                let mut block = *block;
                block[keep..].fill(0);
                slot.now = some_block(&block);
                slot.kept = vec![slot.now.clone()];
            }
            slot.now.is_some()
        });
    }

    /// Are there writes of which a failed sync has lost sight?
    pub(super) fn has_lost_pages(&self) -> bool {
        self.slots.values().any(|slot| !slot.dirty && slot.kept.len() > 1)
    }

    /// The kernel drops its clean pages: where a failed sync has left a doubt, a reader sees now what the medium holds,
    /// which `choose` says.
    pub(super) fn evict(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        for slot in self.slots.values_mut().filter(|slot| !slot.dirty && slot.kept.len() > 1) {
            slot.now = slot.kept.get(choose(slot.kept.len())).cloned().unwrap_or_default();
            slot.kept = vec![slot.now.clone()];
        }
        self.slots.retain(|_, slot| slot.kept.len() > 1 || slot.now.is_some());
    }

    /// Reads what a reader sees from `offset` on, as far as `out` and the file go.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let sector = SECTOR as u64;
        let n = self.length.saturating_sub(offset).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < n {
            let at = offset + done as u64;
            let from = (at % sector) as usize;
            let length = (SECTOR - from).min(n - done);
            let part = &mut out[done..done + length];
            match self.block(at / sector) {
                Some(block) => part.copy_from_slice(&block[from..from + length]),
                None => part.fill(0),
            }
            done += length;
        }
        n
    }

    /// Changes the medium itself, and what is seen of it: damage, not a write.
    pub(super) fn damage(&mut self, number: u64, change: &mut dyn FnMut(&mut [u8; SECTOR])) {
        let slot = self.slots.entry(number).or_insert_with(|| Slot { now: None, kept: vec![None], dirty: false });
        for block in std::iter::once(&mut slot.now).chain(&mut slot.kept) {
            let mut bytes = block.as_deref().copied().unwrap_or([0; SECTOR]);
            change(&mut bytes);
            *block = some_block(&bytes);
        }
        self.slots.retain(|_, slot| slot.kept.len() > 1 || slot.now.is_some());
    }

    /// What a reader sees of a sector.
    pub(super) fn sector(&self, number: u64) -> [u8; SECTOR] {
        self.block(number).copied().unwrap_or([0; SECTOR])
    }
}

fn some_block(bytes: &[u8; SECTOR]) -> Block {
    bytes.iter().any(|b| *b != 0).then(|| Arc::new(*bytes))
}
