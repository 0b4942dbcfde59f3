//! Where the bytes of znodes live: slots of some fifty sizes, in pages that are never moved.
//!
//! A slot wastes at most an eighth of its bytes beyond 512, at most 15 bytes below. What is larger than the largest
//! size has an allocation of its own. A freed slot is used again by the next blob of its size.

/// Where a blob lies: its size class in the high 6 bits, its slot in the low 26.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobId(u32);

const SLOT_BITS: u32 = 26;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
/// Sizes 16 to 512 in steps of 16, then eight steps an octave up to 4096.
const CLASSES: usize = 32 + 24;
const OWN: usize = CLASSES;
/// A page holds at least this many bytes.
const PAGE_BYTES_MIN: usize = 32 * 1024;

const fn class_size(class: usize) -> usize {
    if class < 32 {
        (class + 1) * 16
    } else {
        let octave = (class - 32) / 8;
        let step = (class - 32) % 8 + 1;
        (512 << octave) + step * (64 << octave)
    }
}

const fn class_of(length: usize) -> usize {
    if length <= 512 {
        if length == 0 { 0 } else { (length - 1) / 16 }
    } else if length <= 4096 {
        let octave = if length <= 1024 {
            0
        } else if length <= 2048 {
            1
        } else {
            2
        };
        32 + octave * 8 + (length - (512 << octave) - 1) / (64 << octave)
    } else {
        OWN
    }
}

#[derive(Debug, Clone, Default)]
struct Class {
    pages: Vec<Box<[u8]>>,
    /// Slots ever used.
    used: u32,
    free: Vec<u32>,
}

/// The arena.
#[derive(Debug, Clone)]
pub struct Arena {
    classes: Vec<Class>,
    own: Vec<Box<[u8]>>,
    own_free: Vec<u32>,
}

const fn page_shift(class: usize) -> u32 {
    let mut shift = 3;
    while class_size(class) << shift < PAGE_BYTES_MIN {
        shift += 1;
    }
    shift
}

/// Size and shift of each class: every look at a znode asks for them.
const SHAPES: [(u16, u8); CLASSES] = {
    let mut shapes = [(0, 0); CLASSES];
    let mut class = 0;
    while class < CLASSES {
        shapes[class] = (class_size(class) as u16, page_shift(class) as u8);
        class += 1;
    }
    shapes
};

fn shape(class: usize) -> (usize, u32) {
    let (size, shift) = SHAPES[class];
    (size.into(), shift.into())
}

impl Default for Arena {
    fn default() -> Self {
        Self { classes: vec![Class::default(); CLASSES], own: Vec::new(), own_free: Vec::new() }
    }
}

impl Arena {
    /// A place for `length` bytes; they are not cleared.
    pub fn alloc(&mut self, length: usize) -> BlobId {
        // A class whose 2^26 slots are all taken sends its blobs to the next larger one.
        for class in class_of(length)..CLASSES {
            let slots = &mut self.classes[class];
            let (size, shift) = shape(class);
            if let Some(slot) = slots.free.pop() {
                return BlobId((class as u32) << SLOT_BITS | slot);
            }
            let slot = slots.used;
            if slot > SLOT_MASK {
                continue;
            }
            if (slot >> shift) as usize == slots.pages.len() {
                slots.pages.push(vec![0; size << shift].into_boxed_slice());
            }
            slots.used += 1;
            return BlobId((class as u32) << SLOT_BITS | slot);
        }
        let bytes = vec![0; length].into_boxed_slice();
        let slot = if let Some(slot) = self.own_free.pop() {
            self.own[slot as usize] = bytes;
            slot
        } else {
            self.own.push(bytes);
            self.own.len() as u32 - 1
        };
        assert!(slot <= SLOT_MASK, "2^26 blobs of over 4 KiB are this arena's end");
        BlobId((OWN as u32) << SLOT_BITS | slot)
    }

    /// Would `length` bytes fit where `id` is, and not in a smaller slot?
    pub fn fits(&self, id: BlobId, length: usize) -> bool {
        let class = (id.0 >> SLOT_BITS) as usize;
        if class == OWN { self.own[(id.0 & SLOT_MASK) as usize].len() == length } else { class_of(length) == class }
    }

    /// Gives a slot back.
    pub fn free(&mut self, id: BlobId) {
        let (class, slot) = ((id.0 >> SLOT_BITS) as usize, id.0 & SLOT_MASK);
        if class == OWN {
            self.own[slot as usize] = Box::default();
            self.own_free.push(slot);
        } else {
            self.classes[class].free.push(slot);
        }
    }

    /// The whole slot; its user knows how much of it is its own.
    pub fn get(&self, id: BlobId) -> &[u8] {
        let (class, slot) = ((id.0 >> SLOT_BITS) as usize, (id.0 & SLOT_MASK) as usize);
        if class == OWN {
            return &self.own[slot];
        }
        let (size, shift) = shape(class);
        let at = (slot & ((1 << shift) - 1)) * size;
        &self.classes[class].pages[slot >> shift][at..at + size]
    }

    /// The whole slot, to write.
    pub fn get_mut(&mut self, id: BlobId) -> &mut [u8] {
        let (class, slot) = ((id.0 >> SLOT_BITS) as usize, (id.0 & SLOT_MASK) as usize);
        if class == OWN {
            return &mut self.own[slot];
        }
        let (size, shift) = shape(class);
        let at = (slot & ((1 << shift) - 1)) * size;
        &mut self.classes[class].pages[slot >> shift][at..at + size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        for length in 0..=4096 {
            let class = class_of(length);
            assert!(class_size(class) >= length, "{length}");
            assert!(class == 0 || class_size(class - 1) < length, "{length}");
        }
        assert_eq!(class_size(CLASSES - 1), 4096);
        assert_eq!(class_of(4097), OWN);
    }

    #[test]
    fn slots_do_not_overlap_and_are_used_again() {
        let mut arena = Arena::default();
        let lengths: Vec<usize> = (0..3000).map(|i| (i * 7) % 5000).collect();
        let ids: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let id = arena.alloc(n);
                arena.get_mut(id)[..n].fill(i as u8);
                id
            })
            .collect();
        for (i, (&n, &id)) in lengths.iter().zip(&ids).enumerate() {
            assert!(arena.get(id)[..n].iter().all(|&b| b == i as u8), "{i}");
        }
        let freed = ids[10];
        arena.free(freed);
        assert_eq!(arena.alloc(lengths[10]), freed);
    }
}
