//! The tree: znodes, their ACLs, the ephemerals of sessions, and the watches that shards keep.
//!
//! [`Tree`] is the replicated state that a txn changes. It decides nothing about who may do what (that is prep's work, in
//! `peer`): [`Tree::apply`] is total and deterministic, on live txns and on the replay of Apache's fuzzy snapshots alike.
//!
//! # Shape
//! * [`slab`](node): packed 72-byte nodes under 32-bit ids; what only some znodes have (children, an owner, a changed ACL)
//!   lives in a second slab.
//! * [`arena`]: name and data of a znode, once, in size-classed slots.
//! * [`index`]: (parent, name) → id, keyed-hash, in many small parts, so that no growth moves more than one part.
//! * `acl_table`: each distinct ACL once, by its wire form.
//! * `quota`: who is charged for a znode; the usage is data of a znode.
//! * [`cut`]: the tree as it was at one zxid, written out while txns go on.
//! * `children`: the list of a znode's children, in order, with an index when they are many.
//! * [`cursor`]: reads that go on over many short guards.
//! * [`watch`]: the watch tables of one shard. The tree itself keeps only a bit a shard ([`Interest`]).
//!
//! # Invariants
//! * A lookup and the zxid it is answered with come from the same [`Tree`] under the same guard.
//! * No order of a hash map is ever visible: children are listed in ascending order of
//!   (czxid, name), which is the order of their creation.
//! * `digest` is at every zxid what Apache computes (`DigestCalculator`, version 2).

mod absent;
mod acl_table;
pub mod apply;
pub mod arena;
mod children;
pub mod cursor;
pub mod cut;
pub mod digest;
pub mod index;
mod interest;
pub mod node;
pub mod owner;
mod quota;
pub mod restore;
mod state;
mod stats_track;
mod tree;
mod varint;
pub mod watch;

pub use apply::{Applied, Outcome, SubOutcome, Trigger, TriggerKind};
pub use interest::{Interest, ShardMask};
pub use node::NodeId;
pub use quota::{Quota, QuotaTotals, UsageCount, is_quota_usage};
pub use stats_track::StatsTrack;
pub use tree::{CONFIG_PATH, HashKeys, NodeRef, Tree, TreeConfig};
