//! Each distinct ACL once. Source of the ids: Apache `ReferenceCountedACLCache` (-1 is `world:anyone` with all rights).
//!
//! The key is a list's wire form: equality of lists, order included, is equality of bytes. An id is used again only when
//! no znode has it, and a snapshot takes ids and lists from the same cut, so an id in a file never means two lists.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use wire::{Acl, AclVec};

/// The id of [`AclVec::OPEN`] in a node; -1 in files.
pub const OPEN: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Entry {
    encoded: Arc<[u8]>,
    decoded: Arc<[Acl]>,
    count: u32,
}

/// The table.
#[derive(Debug, Clone)]
pub struct AclTable {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ids: HashMap<Arc<[u8]>, u32, RandomState>,
    open: Entry,
}

impl AclTable {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let open = Entry {
            encoded: AclVec::OPEN.as_bytes().into(),
            decoded: AclVec::OPEN.decode().unwrap_or_default().into(),
            count: 0,
        };
        Self { entries: Vec::new(), free: Vec::new(), ids: HashMap::with_hasher(hasher), open }
    }

    /// The id of `acl`, with one more user. A null list is the open one, as in Apache.
    pub(crate) fn acquire(&mut self, acl: AclVec<'_>) -> u32 {
        if acl == AclVec::OPEN || acl == AclVec::NULL {
            return OPEN;
        }
        if let Some(&id) = self.ids.get(acl.as_bytes()) {
            if let Some(entry) = &mut self.entries[id as usize] {
                entry.count += 1;
            }
            return id;
        }
        let encoded: Arc<[u8]> = acl.as_bytes().into();
        let entry = Entry { encoded: encoded.clone(), decoded: acl.decode().unwrap_or_default().into(), count: 1 };
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            id
        } else {
            self.entries.push(Some(entry));
            self.entries.len() as u32 - 1
        };
        self.ids.insert(encoded, id);
        id
    }

    pub(crate) fn release(&mut self, id: u32) {
        let Some(slot) = self.entries.get_mut(id as usize) else { return };
        let Some(entry) = slot else { return };
        entry.count -= 1;
        if entry.count == 0 {
            self.ids.remove(&entry.encoded);
            *slot = None;
            self.free.push(id);
        }
    }

    fn entry(&self, id: u32) -> &Entry {
        self.entries.get(id as usize).and_then(Option::as_ref).unwrap_or(&self.open)
    }

    /// The list in its wire form.
    pub fn encoded(&self, id: u32) -> AclVec<'_> {
        AclVec::of_encoded(&self.entry(id).encoded)
    }

    /// The list, decoded.
    pub fn decoded(&self, id: u32) -> &Arc<[Acl]> {
        &self.entry(id).decoded
    }

    /// The lists with the ids that a snapshot file gives them: 1 and up.
    pub fn for_snapshot(&self) -> Vec<(i64, Arc<[u8]>)> {
        let lists = self.entries.iter().enumerate();
        lists.filter_map(|(id, e)| e.as_ref().map(|e| (file_id(id as u32), e.encoded.clone()))).collect()
    }
}

/// The id that a snapshot file gives a list.
pub fn file_id(id: u32) -> i64 {
    if id == OPEN { -1 } else { i64::from(id) + 1 }
}
