//! A cut: the tree as it was at one zxid, read out in chunks while txns go on.
//!
//! From the cut on, apply keeps the old image of a znode that it touches first, and of one that it deletes. The walker
//! goes through the *slots*, not through the tree: a znode's slot never changes, so nothing that is created, deleted or
//! moved in a list meanwhile can make it skip or repeat one. A slot's znode at the cut is its image, if it has one, else
//! what lies there now. Parents are written before children by walking up from each slot first.
//!
//! The images are capped in bytes: over the cap the cut is given up ([`Chunk::GivenUp`]) and tried later.

use std::sync::Arc;

use hashbrown::HashMap;
use wire::{SessionId, StatPersisted, Zxid};

use crate::acl_table::file_id;
use crate::digest::TreeDigest;
use crate::node::NodeId;
use crate::tree::{Tree, get_mut, lock};

/// What a snapshot has beside its znodes.
#[derive(Debug, Clone)]
pub struct CutHeader {
    /// The zxid that the cut stands at.
    pub zxid: Zxid,
    /// The tree's digest there.
    pub digest: TreeDigest,
    /// The sessions and their timeouts in ms.
    pub sessions: Vec<(SessionId, i32)>,
    /// The ACLs in wire form, under the ids that [`CutNode::acl_id`] means.
    pub acls: Vec<(i64, Arc<[u8]>)>,
    /// How many znodes.
    pub node_count: usize,
}

/// A znode at the cut.
#[derive(Debug, Clone, Copy)]
pub struct CutNode<'a> {
    /// Its path; the root's is empty.
    pub path: &'a str,
    /// Its data.
    pub data: Option<&'a [u8]>,
    /// Its ACL: -1 the open one, else one of the header's.
    pub acl_id: i64,
    /// Its Stat.
    pub stat: StatPersisted,
}

/// How far the walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// There is more.
    More,
    /// All znodes of the cut have been read; it is over.
    Done,
    /// Its images outgrew their cap, or there is no cut; what was read is worth nothing.
    GivenUp,
}

#[derive(Debug, Clone)]
struct Image {
    parent: NodeId,
    /// In full: an ancestor that is written already may be gone, and its slot taken, when this znode's turn comes.
    path: Box<str>,
    data: Option<Box<[u8]>>,
    acl: u32,
    stat: StatPersisted,
}

#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// `None`: the slot held no znode at the cut.
    images: HashMap<NodeId, Option<Image>, ahash::RandomState>,
    image_bytes: usize,
    image_bytes_max: usize,
    given_up: bool,
    /// A bit a slot: written.
    written: Vec<u64>,
    /// Slots from here on did not exist at the cut.
    slots: u32,
    next: u32,
}

impl Cut {
    fn is_written(&self, id: NodeId) -> bool {
        self.written[id.0 as usize / 64] & (1 << (id.0 % 64)) != 0
    }

    fn mark(&mut self, id: NodeId) {
        self.written[id.0 as usize / 64] |= 1 << (id.0 % 64);
    }

    /// Does the slot still need its znode of the cut kept?
    fn wants(&self, id: NodeId) -> bool {
        !self.given_up && id.0 < self.slots && !self.is_written(id) && !self.images.contains_key(&id)
    }

    fn keep(&mut self, id: NodeId, image: Option<Image>) {
        const ENTRY_BYTES: usize = 128;
        let bytes = image.as_ref().map_or(0, |i| i.path.len() + i.data.as_ref().map_or(0, |d| d.len()));
        self.image_bytes += ENTRY_BYTES + bytes;
        if self.image_bytes > self.image_bytes_max {
            self.given_up = true;
            self.images.clear();
            self.images.shrink_to_fit();
        } else {
            self.images.insert(id, image);
        }
    }
}

/// The path of the znode that was read last. Its parent's is mostly that of the next one, too.
#[derive(Debug, Default)]
struct CutPath {
    text: String,
    /// The parent, and how much of the text is its path.
    parent: Option<(NodeId, usize)>,
}

impl CutPath {
    fn of(&mut self, tree: &Tree, id: NodeId) -> &str {
        let parent = tree.nodes.get(id.0).parent;
        let length = match self.parent {
            Some((known, length)) if known == parent => length,
            _ => {
                self.text.clear();
                tree.write_path(parent, &mut self.text);
                self.text.len()
            }
        };
        self.parent = Some((parent, length));
        self.text.truncate(length);
        if id != NodeId::ROOT {
            tree.write_name(id, &mut self.text);
        }
        &self.text
    }
}

impl Tree {
    /// Begins a cut here and now; at most `image_bytes_max` bytes of old images are kept for it. One at a time: a cut
    /// that is under way is dropped.
    pub fn begin_cut(&mut self, sessions: Vec<(SessionId, i32)>, image_bytes_max: usize) -> CutHeader {
        let slots = self.nodes.high_water();
        *get_mut(&mut self.cut) = Some(Cut {
            images: HashMap::with_hasher(self.config.keys.hasher()),
            image_bytes: 0,
            image_bytes_max,
            given_up: false,
            written: vec![0; slots.div_ceil(64) as usize],
            slots,
            next: 0,
        });
        CutHeader {
            zxid: self.last_processed,
            digest: self.digest,
            sessions,
            acls: self.acls.for_snapshot(),
            node_count: self.count,
        }
    }

    /// Is a cut under way?
    pub fn has_cut(&self) -> bool {
        lock(&self.cut).is_some()
    }

    /// How much of what may be kept for the cut is kept, in bytes, and how much may be; `None`: there is no cut.
    pub fn cut_images(&self) -> Option<(usize, usize)> {
        lock(&self.cut).as_ref().map(|cut| (cut.image_bytes, cut.image_bytes_max))
    }

    /// Drops the cut.
    pub fn end_cut(&self) {
        *lock(&self.cut) = None;
    }

    /// Reads the next znodes of the cut, until about `bytes_max` bytes of paths and data have been seen.
    pub fn read_cut(&self, bytes_max: usize, mut each: impl FnMut(CutNode<'_>)) -> Chunk {
        let mut guard = lock(&self.cut);
        let Some(cut) = guard.as_mut().filter(|cut| !cut.given_up) else {
            *guard = None;
            return Chunk::GivenUp;
        };
        let mut bytes = 0;
        let (mut chain, mut path) = (Vec::new(), CutPath::default());
        while cut.next < cut.slots {
            if bytes >= bytes_max {
                return Chunk::More;
            }
            let id = NodeId(cut.next);
            cut.next += 1;
            // A free slot costs a look, too: a long run of them must not hold the guard.
            bytes += 16;
            if cut.is_written(id) || !self.existed(cut, id) {
                continue;
            }
            chain.clear();
            let mut at = id;
            while !cut.is_written(at) {
                chain.push(at);
                if at == NodeId::ROOT {
                    break;
                }
                at = self.parent_at(cut, at);
            }
            for &id in chain.iter().rev() {
                bytes += self.emit(cut, id, &mut path, &mut each);
                cut.mark(id);
                cut.images.remove(&id);
            }
        }
        *guard = None;
        Chunk::Done
    }

    fn emit(&self, cut: &Cut, id: NodeId, path: &mut CutPath, each: &mut impl FnMut(CutNode<'_>)) -> usize {
        let node = match cut.images.get(&id) {
            Some(Some(image)) => {
                CutNode { path: &image.path, data: image.data.as_deref(), acl_id: file_id(image.acl), stat: image.stat }
            }
            _ => {
                let acl_id = file_id(self.nodes.get(id.0).acl);
                CutNode { path: path.of(self, id), data: self.data(id), acl_id, stat: self.stat_of(id) }
            }
        };
        let bytes = 80 + node.path.len() + node.data.map_or(0, <[u8]>::len);
        each(node);
        bytes
    }

    fn existed(&self, cut: &Cut, id: NodeId) -> bool {
        match cut.images.get(&id) {
            Some(image) => image.is_some(),
            None => self.nodes.get(id.0).parent != NodeId::NONE,
        }
    }

    fn parent_at(&self, cut: &Cut, id: NodeId) -> NodeId {
        match cut.images.get(&id) {
            Some(Some(image)) => image.parent,
            _ => self.nodes.get(id.0).parent,
        }
    }

    /// Called before a znode is changed or removed.
    pub(crate) fn touch(&mut self, id: NodeId) {
        self.tell_read_sets(id);
        let Some(cut) = get_mut(&mut self.cut) else { return };
        if !cut.wants(id) {
            return;
        }
        let node = self.nodes.get(id.0);
        if node.parent == NodeId::NONE {
            return;
        }
        let image = self.image(id);
        if let Some(cut) = get_mut(&mut self.cut) {
            cut.keep(id, Some(image));
        }
    }

    fn image(&self, id: NodeId) -> Image {
        let node = self.nodes.get(id.0);
        let mut path = String::new();
        self.write_path(id, &mut path);
        Image {
            parent: node.parent,
            path: path.into(),
            data: self.data(id).map(Into::into),
            acl: node.acl,
            stat: self.stat_of(id),
        }
    }

    /// Called after a znode was created: what lies in its slot now is not of the cut.
    pub(crate) fn touch_created(&mut self, id: NodeId) {
        if let Some(cut) = get_mut(&mut self.cut)
            && cut.wants(id)
        {
            cut.keep(id, None);
        }
    }
}
