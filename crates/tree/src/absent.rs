//! Which shards watch paths where there is no znode: a bit a shard.
//!
//! Clients choose these paths, and there may be millions, or there may have been. So the map is in many small parts, as that of
//! the watched paths is: one that grows or gives back its room moves a thousandth of them, and holds up no commit.

use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;

const PARTS_BITS: u32 = 10;

/// A part that has room for so many paths, or fewer, keeps it.
const KEPT_PATHS: usize = 16;

/// Paths and their bits.
type Part = HashTable<(Box<str>, u8)>;

/// All of them.
#[derive(Debug)]
pub(crate) struct Absent(Mutex<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    /// None until there is a path.
    parts: Vec<Part>,
    hasher: RandomState,
    count: usize,
}

impl Clone for Absent {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.parts().clone()))
    }
}

impl Absent {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self(Mutex::new(Parts { parts: Vec::new(), hasher, count: 0 }))
    }

    /// Sets these bits of `path`.
    pub(crate) fn set(&self, path: &str, bits: u8) {
        self.parts().set(path, bits);
    }

    /// Takes back these bits of `path`.
    pub(crate) fn clear(&self, path: &str, bits: u8) {
        self.parts().clear(path, bits);
    }

    /// [`set`](Self::set), by whom nobody else can disturb.
    pub(crate) fn set_mut(&mut self, path: &str, bits: u8) {
        self.parts_mut().set(path, bits);
    }

    /// The bits of `path`, if it is among them; it is no more.
    pub(crate) fn take(&mut self, path: &str) -> Option<u8> {
        let parts = self.parts_mut();
        if parts.count == 0 { None } else { parts.take(path) }
    }

    /// How many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.parts().count
    }

    /// For how many there is room.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.parts().parts.iter().map(HashTable::capacity).sum()
    }

    /// All of them, by path.
    pub(crate) fn sorted(&self) -> Vec<(Box<str>, u8)> {
        let parts = self.parts();
        let mut all: Vec<_> = parts.parts.iter().flatten().cloned().collect();
        all.sort_unstable();
        all
    }

    /// A panic elsewhere does not make the map wrong: each change to it is one call.
    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts_mut(&mut self) -> &mut Parts {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn hash(&self, path: &str) -> (u64, usize) {
        let hash = self.hasher.hash_one(path);
        // A table looks at the lowest bits and the highest ones.
        (hash, (hash >> 32) as usize & ((1 << PARTS_BITS) - 1))
    }

    fn set(&mut self, path: &str, bits: u8) {
        if self.parts.is_empty() {
            self.parts = vec![Part::new(); 1 << PARTS_BITS];
        }
        let (hash, part) = self.hash(path);
        let part = &mut self.parts[part];
        if let Some((_, there)) = part.find_mut(hash, |(other, _)| **other == *path) {
            *there |= bits;
        } else {
            part.insert_unique(hash, (path.into(), bits), |(other, _)| self.hasher.hash_one(&**other));
            self.count += 1;
        }
    }

    fn clear(&mut self, path: &str, bits: u8) {
        let (hash, part) = self.hash(path);
        let there = self.parts.get_mut(part).and_then(|part| part.find_mut(hash, |(other, _)| **other == *path));
        let Some((_, there)) = there else { return };
        *there &= !bits;
        if *there == 0 {
            self.take(path);
        }
    }

    fn take(&mut self, path: &str) -> Option<u8> {
        let (hash, part) = self.hash(path);
        let part = self.parts.get_mut(part)?;
        let ((_, bits), _) = part.find_entry(hash, |(other, _)| **other == *path).ok()?.remove();
        self.count -= 1;
        if part.capacity() > KEPT_PATHS && part.len() < part.capacity() / 4 {
            part.shrink_to(part.len() * 2, |(other, _)| self.hasher.hash_one(&**other));
        }
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a table may have a little more room for than it was asked.
    const KEPT_MAX: usize = 2 * (KEPT_PATHS << PARTS_BITS);

    fn absent() -> Absent {
        Absent::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    fn path(number: usize) -> String {
        format!("/not/there/{number}")
    }

    #[test]
    fn bits_come_and_go_one_by_one() {
        let mut a = absent();
        a.set("/x", 1);
        a.set("/x", 4);
        a.set("/y", 2);
        a.clear("/x", 1);
        a.clear("/z", 1);
        assert_eq!(a.sorted(), [("/x".into(), 4), ("/y".into(), 2)]);
        a.clear("/x", 4);
        assert_eq!((a.len(), a.take("/x"), a.take("/y"), a.take("/y")), (1, None, Some(2), None));
        assert_eq!((a.len(), a.clone().sorted()), (0, Vec::new()));
    }

    /// Ever new paths, of which only the last few are watched.
    #[test]
    fn paths_that_come_and_go_leave_nothing() {
        let a = absent();
        for number in 0..200_000 {
            a.set(&path(number), 1);
            if number >= 100 {
                a.clear(&path(number - 100), 1);
            }
        }
        assert_eq!(a.len(), 100);
        assert!(a.capacity() < KEPT_MAX, "room for {}", a.capacity());
    }

    #[test]
    fn what_many_needed_is_given_back() {
        let mut a = absent();
        for number in 0..200_000 {
            a.set(&path(number), 1);
        }
        assert!(a.capacity() >= 200_000);
        for number in 10_000..200_000 {
            assert_eq!(a.take(&path(number)), Some(1));
        }
        assert!(a.capacity() < 50_000, "room for {}", a.capacity());
        for number in 0..10_000 {
            a.clear(&path(number), 1);
        }
        assert!(a.len() == 0 && a.capacity() < KEPT_MAX, "room for {}", a.capacity());
    }
}
