//! Who watches one path: one connection in place, more of them in a sorted list.

use super::Modes;

/// A connection's place in its shard.
pub type Watcher = u32;

/// Watchers are below this: an entry keeps the modes in the four bits above.
pub const WATCHERS_MAX: Watcher = 1 << 28;

/// A watcher of a path: who, how, and where the path stands in its list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    who_and_how: u32,
    place: u32,
}

impl Entry {
    fn new(watcher: Watcher, modes: Modes, place: u32) -> Self {
        Self { who_and_how: watcher << 4 | u32::from(modes.0), place }
    }

    pub(super) fn watcher(self) -> Watcher {
        self.who_and_how >> 4
    }

    pub(super) fn modes(self) -> Modes {
        Modes((self.who_and_how & 15) as u8)
    }

    pub(super) fn set_modes(&mut self, modes: Modes) {
        *self = Self::new(self.watcher(), modes, self.place);
    }

    pub(super) fn place(self) -> u32 {
        self.place
    }

    pub(super) fn set_place(&mut self, place: u32) {
        self.place = place;
    }
}

/// The watchers of a path, by ascending number.
#[derive(Debug, Clone, Default)]
pub(super) enum Watchers {
    One(Entry),
    #[allow(clippy::box_collection, reason = "a path with one watcher, which most are, has no room for three words")]
    Many(Box<Vec<Entry>>),
    #[default]
    None,
}

impl Watchers {
    pub(super) fn as_slice(&self) -> &[Entry] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn as_mut_slice(&mut self) -> &mut [Entry] {
        match self {
            Self::None => &mut [],
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many(entries) => entries,
        }
    }

    fn find(&self, watcher: Watcher) -> Result<usize, usize> {
        self.as_slice().binary_search_by_key(&watcher, |entry| entry.watcher())
    }

    pub(super) fn of(&self, watcher: Watcher) -> Option<Entry> {
        self.find(watcher).ok().and_then(|at| self.as_slice().get(at)).copied()
    }

    pub(super) fn of_mut(&mut self, watcher: Watcher) -> Option<&mut Entry> {
        self.find(watcher).ok().and_then(|at| self.as_mut_slice().get_mut(at))
    }

    /// Adds modes to what the watcher has, with `place` if it has none yet; before and after.
    pub(super) fn add(&mut self, watcher: Watcher, modes: Modes, place: u32) -> (Modes, Modes) {
        match self.find(watcher) {
            Ok(at) => {
                let entry = &mut self.as_mut_slice()[at];
                let before = entry.modes();
                let after = before.with(modes);
                entry.set_modes(after);
                (before, after)
            }
            Err(at) => {
                let entry = Entry::new(watcher, modes, place);
                match self {
                    Self::None => *self = Self::One(entry),
                    Self::One(one) => {
                        let mut both = vec![*one];
                        both.insert(at, entry);
                        *self = Self::Many(Box::new(both));
                    }
                    Self::Many(entries) => entries.insert(at, entry),
                }
                (Modes::default(), modes)
            }
        }
    }

    pub(super) fn remove(&mut self, watcher: Watcher) -> Option<Entry> {
        let at = self.find(watcher).ok()?;
        match self {
            Self::None => None,
            Self::One(one) => {
                let one = *one;
                *self = Self::None;
                Some(one)
            }
            Self::Many(entries) => {
                let removed = entries.remove(at);
                self.tidy();
                Some(removed)
            }
        }
    }

    /// Keeps those entries for which `keep`, which may change them, says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if !keep(one) {
                    *self = Self::None;
                }
            }
            Self::Many(entries) => {
                entries.retain_mut(keep);
                self.tidy();
            }
        }
    }

    fn tidy(&mut self) {
        let Self::Many(entries) = self else { return };
        match entries[..] {
            [] => *self = Self::None,
            [one] => *self = Self::One(one),
            _ if entries.len() < entries.capacity() / 4 => entries.shrink_to(entries.capacity() / 2),
            _ => {}
        }
    }
}
