//! Txn in, changed tree out. Source: Apache `DataTree.processTxn`.
//!
//! Total: whatever stands in a log is applied or found to be already applied (a fuzzy snapshot is replayed over, and a
//! txn may meet its own effect). Deterministic: nothing but the tree and the txn decides.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use wire::stat::CONTAINER_OWNER;
use wire::txn::{CloseSessionTxn, MultiTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{Acl, AclVec, ErrorCode, OpCode, Reader, Stat, StatPersisted, UStr, Zxid};

use crate::acl_table;
use crate::interest::ShardMask;
use crate::node::NodeId;
use crate::owner::ttl_owner;
use crate::tree::{CONFIG_PATH, NodeRef, Tree};

/// What became of a txn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// 0, or the error that the txn is or met.
    pub err: ErrorCode,
    /// What a reply needs beside.
    pub outcome: Outcome,
}

/// The part of a result that replies are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    None,
    /// The Stat after create, setData or setACL.
    Stat(Stat),
    /// Of each operation of a multi.
    Multi(Vec<SubOutcome>),
}

/// The result of one operation of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubOutcome {
    /// Its txn's type; `Error` in a failed multi.
    pub op: OpCode,
    /// Its error; 0 for those before the failed one.
    pub err: ErrorCode,
    /// The path that a create made.
    pub path: Option<Box<str>>,
    /// The Stat after create or setData.
    pub stat: Option<Stat>,
}

/// What happened, for the watch tables of the shards in its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// What.
    pub kind: TriggerKind,
    /// To which znode.
    pub path: Arc<str>,
    /// The ACL it had, unless that was the open one.
    pub acl: Option<Arc<[Acl]>>,
    /// The shards that watch.
    pub shards: ShardMask,
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// It came to be: data watches.
    Created,
    /// It is gone: data watches, then child watches of those who had none.
    Deleted,
    /// Its data was set: data watches.
    DataChanged,
    /// A child came or went: child watches.
    ChildrenChanged,
}

const NOTHING: Applied = Applied { err: ErrorCode::OK, outcome: Outcome::None };

fn failed(err: ErrorCode) -> Applied {
    Applied { err, outcome: Outcome::None }
}

struct NewNode<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: AclVec<'a>,
    owner: i64,
    parent_cversion: i32,
    /// Only `create` raises the parent's numbers when the znode is already there (`DataTree.processTxn`).
    raises_parent_on_conflict: bool,
}

impl Tree {
    /// Applies a txn. What shards have to hear of it is appended to `triggers`, in the order of its events.
    pub fn apply(&mut self, entry: &TxnEntry<'_>, triggers: &mut Vec<Trigger>) -> Applied {
        let applied = self.apply_body(&entry.header, entry.header.op, &entry.txn, triggers);
        if !self.unsorted.is_empty() {
            self.sort_unsorted();
        }
        self.last_processed = self.last_processed.max(entry.header.zxid);
        applied
    }

    fn apply_body(&mut self, header: &TxnHeader, op: OpCode, txn: &Txn<'_>, triggers: &mut Vec<Trigger>) -> Applied {
        match txn {
            Txn::Create(txn) => self.create(
                header,
                &NewNode {
                    path: text(&txn.path),
                    data: txn.data,
                    acl: txn.acl,
                    owner: if txn.ephemeral { header.session.0 } else { 0 },
                    parent_cversion: txn.parent_cversion,
                    raises_parent_on_conflict: op == OpCode::Create,
                },
                triggers,
            ),
            Txn::CreateTtl(txn) => self.create(
                header,
                &NewNode {
                    path: text(&txn.path),
                    data: txn.data,
                    acl: txn.acl,
                    owner: ttl_owner(txn.ttl),
                    parent_cversion: txn.parent_cversion,
                    raises_parent_on_conflict: false,
                },
                triggers,
            ),
            Txn::CreateContainer(txn) => self.create(
                header,
                &NewNode {
                    path: text(&txn.path),
                    data: txn.data,
                    acl: txn.acl,
                    owner: CONTAINER_OWNER,
                    parent_cversion: txn.parent_cversion,
                    raises_parent_on_conflict: false,
                },
                triggers,
            ),
            Txn::Delete(txn) => self.delete(header.zxid, text(&txn.path), triggers),
            Txn::SetData(txn) => self.set_data(header, txn, triggers),
            Txn::SetAcl(txn) => self.set_acl(text(&txn.path), txn.acl, txn.version),
            Txn::Check(_) | Txn::CreateSession(_) => NOTHING,
            Txn::CloseSession(txn) => {
                self.close_session(header, txn.as_ref(), triggers);
                NOTHING
            }
            Txn::Error(txn) => failed(txn.err),
            Txn::Multi(txn) => self.multi(header, txn, triggers),
        }
    }

    fn create(&mut self, header: &TxnHeader, new: &NewNode<'_>, triggers: &mut Vec<Trigger>) -> Applied {
        let Some((parent_path, name)) = wire::path::split(new.path) else { return failed(ErrorCode::BAD_ARGUMENTS) };
        let Some(parent) = self.find(parent_path) else { return failed(ErrorCode::NO_NODE) };
        let cversion = match new.parent_cversion {
            -1 => self.ext(parent).map_or(0, |e| e.cversion).wrapping_add(1),
            given => given,
        };
        let existing = if name.is_empty() { Some(parent) } else { self.find_child(parent, name) };
        if let Some(id) = existing {
            // Only the replay over a fuzzy snapshot gets here: its ACL table may lack the list (ZOOKEEPER-4846).
            self.touch(id);
            let acl = self.acls.acquire(new.acl);
            let old = std::mem::replace(&mut self.nodes.get_mut(id.0).acl, acl);
            self.acls.release(old);
            if new.raises_parent_on_conflict {
                self.raise_parent(parent, parent_path, cversion, header.zxid);
            }
            return failed(ErrorCode::NODE_EXISTS);
        }
        self.touch(parent);
        self.raise_parent(parent, parent_path, cversion, header.zxid);
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: new.owner,
            pzxid: header.zxid,
        };
        let id = self.insert(parent, new.path, name, new.data, new.acl, &stat);
        self.touch_created(id);
        if let Some(bits) = self.absent.take(new.path) {
            // The bits stay with the znode until a shard finds that it has no watch left.
            let node = self.nodes.get_mut(id.0);
            *node.data_interest.get_mut() = bits;
            *node.child_interest.get_mut() = bits;
            *node.recursive_interest.get_mut() = bits;
        }
        self.trigger(TriggerKind::Created, id, new.path, triggers);
        self.trigger(TriggerKind::ChildrenChanged, parent, or_root(parent_path), triggers);
        // The Stat of a usage is from before it was counted, as in Apache.
        let stat = self.node(id).stat();
        self.quota_created(id, new.path);
        Applied { err: ErrorCode::OK, outcome: Outcome::Stat(stat) }
    }

    fn raise_parent(&mut self, parent: NodeId, path: &str, cversion: i32, zxid: Zxid) {
        if cversion > self.ext(parent).map_or(0, |e| e.cversion) {
            self.touch(parent);
            let before = self.stat_of(parent);
            let ext = self.ext_mut(parent);
            ext.cversion = cversion;
            ext.pzxid = zxid;
            self.redigest_stat(parent, path, &before);
        }
    }

    fn delete(&mut self, zxid: Zxid, path: &str, triggers: &mut Vec<Trigger>) -> Applied {
        let Some((parent_path, name)) = wire::path::split(path) else { return failed(ErrorCode::BAD_ARGUMENTS) };
        let Some(parent) = self.find(parent_path) else { return failed(ErrorCode::NO_NODE) };
        // Before the test whether the znode is there: a fuzzy snapshot may have seen the delete, not this
        // (ZOOKEEPER-3145).
        if zxid > self.ext(parent).map_or(self.nodes.get(parent.0).czxid, |e| e.pzxid) {
            self.touch(parent);
            let before = self.stat_of(parent);
            self.ext_mut(parent).pzxid = zxid;
            self.redigest_stat(parent, parent_path, &before);
        }
        let Some(id) = self.find_child(parent, name) else { return failed(ErrorCode::NO_NODE) };
        if self.node(id).child_count() > 0 {
            // Never in a log that prep wrote; a subtree without its root would be worse than a refusal.
            return failed(ErrorCode::NOT_EMPTY);
        }
        self.touch(id);
        self.trigger(TriggerKind::Deleted, id, path, triggers);
        let node = self.nodes.get_mut(id.0);
        let bits = *node.data_interest.get_mut() | *node.child_interest.get_mut() | *node.recursive_interest.get_mut();
        if bits != 0 {
            self.absent.set_mut(path, bits);
        }
        let bytes = i64::from(node.data_length.max(0));
        self.remove(id, path);
        self.quota_deleted(parent, path, bytes);
        self.trigger(TriggerKind::ChildrenChanged, parent, or_root(parent_path), triggers);
        NOTHING
    }

    fn set_data(&mut self, header: &TxnHeader, txn: &SetDataTxn<'_>, triggers: &mut Vec<Trigger>) -> Applied {
        let path = text(&txn.path);
        let Some(id) = self.find(path) else { return failed(ErrorCode::NO_NODE) };
        self.touch(id);
        let bytes_before = i64::from(self.nodes.get(id.0).data_length.max(0));
        self.replace_data(id, txn.data);
        let node = self.nodes.get_mut(id.0);
        node.mtime = header.time_ms;
        node.mzxid = header.zxid;
        node.version = txn.version;
        self.redigest(id, path);
        self.trigger(TriggerKind::DataChanged, id, path, triggers);
        let stat = self.node(id).stat();
        self.quota_set(id, path, bytes_before);
        Applied { err: ErrorCode::OK, outcome: Outcome::Stat(stat) }
    }

    /// Sets the text of [`CONFIG_PATH`](crate::CONFIG_PATH) without a txn, as each server does by itself; the Stat's version
    /// is -1, its mzxid that of the configuration. The digest has no part of it.
    pub fn set_configuration(&mut self, text: &[u8], version: Zxid, time_ms: i64, triggers: &mut Vec<Trigger>) {
        let Some(id) = self.find(CONFIG_PATH) else { return };
        self.touch(id);
        self.replace_data(id, Some(text));
        let node = self.nodes.get_mut(id.0);
        node.mtime = time_ms;
        node.mzxid = version;
        node.version = -1;
        self.trigger(TriggerKind::DataChanged, id, CONFIG_PATH, triggers);
    }

    fn set_acl(&mut self, path: &str, acl: AclVec<'_>, version: i32) -> Applied {
        let Some(id) = self.find(path) else { return failed(ErrorCode::NO_NODE) };
        self.touch(id);
        let acl = self.acls.acquire(acl);
        let old = std::mem::replace(&mut self.nodes.get_mut(id.0).acl, acl);
        self.acls.release(old);
        let before = self.stat_of(id);
        self.ext_mut(id).aversion = version;
        self.redigest_stat(id, path, &before);
        Applied { err: ErrorCode::OK, outcome: Outcome::Stat(self.node(id).stat()) }
    }

    /// Deletes the paths that the txn lists, then what else the session has here.
    fn close_session(&mut self, header: &TxnHeader, txn: Option<&CloseSessionTxn<'_>>, triggers: &mut Vec<Trigger>) {
        for path in txn.and_then(|t| t.paths_to_delete.as_ref()).into_iter().flatten() {
            self.delete(header.zxid, text(path), triggers);
        }
        let rest: Vec<String> = self.ephemerals(header.session).map(NodeRef::path).collect();
        for path in rest {
            self.delete(header.zxid, &path, triggers);
        }
    }

    fn multi(&mut self, header: &TxnHeader, txn: &MultiTxn<'_>, triggers: &mut Vec<Trigger>) -> Applied {
        let subs = txn.txns.as_deref().unwrap_or_default();
        let is_failed = subs.iter().any(|sub| sub.kind == OpCode::Error.code());
        let mut outcomes = Vec::with_capacity(subs.len());
        for sub in subs {
            let data = sub.data.unwrap_or_default();
            let body = OpCode::from_code(sub.kind).and_then(|op| {
                let mut r = Reader::with_limit(data, data.len());
                Txn::read_body(op, true, &mut r).ok().map(|body| (op, body))
            });
            let Some((op, body)) = body else {
                outcomes.push(sub_error(ErrorCode::MARSHALLING_ERROR));
                continue;
            };
            if is_failed {
                outcomes.push(sub_error(if let Txn::Error(e) = body { e.err } else { ErrorCode::OK }));
                continue;
            }
            let applied = self.apply_body(header, op, &body, triggers);
            let path = match &body {
                Txn::Create(t) => Some(text(&t.path)),
                Txn::CreateTtl(t) => Some(text(&t.path)),
                Txn::CreateContainer(t) => Some(text(&t.path)),
                _ => None,
            };
            let stat = if let Outcome::Stat(stat) = applied.outcome { Some(stat) } else { None };
            outcomes.push(SubOutcome { op, err: applied.err, path: path.map(Into::into), stat });
        }
        Applied { err: ErrorCode::OK, outcome: Outcome::Multi(outcomes) }
    }

    fn trigger(&self, kind: TriggerKind, id: NodeId, path: &str, triggers: &mut Vec<Trigger>) {
        let node = self.nodes.get(id.0);
        let mut bits = match kind {
            TriggerKind::Created | TriggerKind::DataChanged => node.data_interest.load(Relaxed),
            TriggerKind::ChildrenChanged => node.child_interest.load(Relaxed),
            TriggerKind::Deleted => node.data_interest.load(Relaxed) | node.child_interest.load(Relaxed),
        };
        if kind != TriggerKind::ChildrenChanged && self.recursive_seen.load(Relaxed) != 0 {
            bits |= self.recursive_interest_above(id);
        }
        if bits == 0 {
            return;
        }
        let acl = (node.acl != acl_table::OPEN).then(|| self.acls.decoded(node.acl).clone());
        triggers.push(Trigger { kind, path: path.into(), acl, shards: ShardMask(bits) });
    }

    fn recursive_interest_above(&self, mut id: NodeId) -> u8 {
        // An ancestor of a znode exists, so no bit that counts here stands in the map of absent paths.
        let mut bits = 0;
        loop {
            let node = self.nodes.get(id.0);
            bits |= node.recursive_interest.load(Relaxed);
            if id == NodeId::ROOT {
                return bits;
            }
            id = node.parent;
        }
    }
}

fn sub_error(err: ErrorCode) -> SubOutcome {
    SubOutcome { op: OpCode::Error, err, path: None, stat: None }
}

fn text<'a>(path: &'a UStr<'_>) -> &'a str {
    path.as_deref().unwrap_or_default()
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}
