//! The tree in its plainest form: a map from paths to znodes, every rule written out, every number computed from scratch.

use std::collections::BTreeMap;

use ostler_tree::TriggerKind;
use ostler_tree::owner::{Owner, OwnerRules};
use wire::stat::CONTAINER_OWNER;
use wire::txn::{Txn, TxnEntry, TxnHeader};
use wire::{AclVec, ErrorCode, OpCode, Reader, Stat, StatPersisted, Zxid};

/// A znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelNode {
    pub data: Option<Vec<u8>>,
    /// In wire form; a null list is the open one.
    pub acl: Vec<u8>,
    pub stat: StatPersisted,
    /// Its place among those that a session's end takes along.
    pub born: u64,
}

/// What a txn led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelApplied {
    pub err: ErrorCode,
    pub stat: Option<Stat>,
    pub subs: Option<Vec<ModelSub>>,
}

/// What an operation of a multi led to: type, error, path, Stat.
pub type ModelSub = (OpCode, ErrorCode, Option<String>, Option<Stat>);

/// What happened to which znode, and the ACL that decides who may hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEvent {
    pub kind: TriggerKind,
    pub path: String,
    pub acl: Vec<u8>,
}

/// The map; the root's key is empty.
#[derive(Debug, Clone)]
pub struct Model {
    pub nodes: BTreeMap<String, ModelNode>,
    pub last: Zxid,
    pub rules: OwnerRules,
    born: u64,
}

fn parent_of(path: &str) -> &str {
    &path[..path.rfind('/').unwrap()]
}

fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn shown(path: &str) -> String {
    if path.is_empty() { "/".into() } else { path.into() }
}

fn open_if_null(acl: AclVec<'_>) -> Vec<u8> {
    if acl == AclVec::NULL { AclVec::OPEN.as_bytes().to_vec() } else { acl.as_bytes().to_vec() }
}

impl Model {
    /// A fresh database.
    pub fn new(rules: OwnerRules) -> Self {
        let mut model = Self { nodes: BTreeMap::new(), last: Zxid(0), rules, born: 0 };
        for (path, acl, aversion) in [
            ("", AclVec::OPEN, 0),
            ("/zookeeper", AclVec::OPEN, 0),
            ("/zookeeper/quota", AclVec::OPEN, 0),
            ("/zookeeper/config", AclVec::READ, -1),
        ] {
            let stat = StatPersisted { aversion, ..StatPersisted::default() };
            model.put_new(path, Some(b""), acl, stat);
        }
        model
    }

    fn put_new(&mut self, path: &str, data: Option<&[u8]>, acl: AclVec<'_>, stat: StatPersisted) {
        self.born += 1;
        let node = ModelNode { data: data.map(Into::into), acl: open_if_null(acl), stat, born: self.born };
        self.nodes.insert(path.into(), node);
    }

    /// The children's names, oldest first; those of one txn by name.
    pub fn children(&self, path: &str) -> Vec<&str> {
        let path = key(path);
        let mut children: Vec<_> = self.nodes.iter().filter(|(p, _)| !p.is_empty() && parent_of(p) == path).collect();
        children.sort_by_key(|(path, node)| (node.stat.czxid, *path));
        children.into_iter().map(|(p, _)| &p[path.len() + 1..]).collect()
    }

    /// What clients see.
    pub fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[key(path)];
        let children = self.children(path).len() as i32;
        let s = node.stat;
        Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: s.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: s.aversion,
            ephemeral_owner: match self.rules.decode(s.ephemeral_owner) {
                Owner::Session(session) => session.0,
                _ => 0,
            },
            data_length: node.data.as_ref().map_or(0, Vec::len) as i32,
            num_children: children,
            pzxid: s.pzxid,
        }
    }

    /// The paths of a session's ephemerals.
    pub fn ephemerals(&self, session: i64) -> Vec<String> {
        let mine =
            |node: &ModelNode| self.rules.decode(node.stat.ephemeral_owner) == Owner::Session(wire::SessionId(session));
        self.nodes.iter().filter(|(_, node)| mine(node)).map(|(path, _)| path.clone()).collect()
    }

    /// All sessions with ephemerals, ascending.
    pub fn owners(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self
            .nodes
            .values()
            .filter_map(|node| match self.rules.decode(node.stat.ephemeral_owner) {
                Owner::Session(session) => Some(session.0),
                _ => None,
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Apache's `approximate_data_size`: the root stands in its map twice, as `` and as `/`.
    pub fn data_size(&self) -> i64 {
        let of = |(path, node): (&String, &ModelNode)| path.len() + node.data.as_ref().map_or(0, Vec::len);
        1 + self.nodes.iter().map(of).sum::<usize>() as i64
    }

    /// The digest, over all znodes.
    pub fn digest(&self) -> i64 {
        let counted = self.nodes.iter().filter(|(path, _)| !path.starts_with("/zookeeper/"));
        counted.fold(0i64, |sum, (path, node)| {
            let s = &node.stat;
            let mut bytes = path.as_bytes().to_vec();
            bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
            for long in [s.czxid.0, s.mzxid.0, s.pzxid.0, s.ctime, s.mtime] {
                bytes.extend_from_slice(&long.to_be_bytes());
            }
            for int in [s.version, s.cversion, s.aversion] {
                bytes.extend_from_slice(&int.to_be_bytes());
            }
            bytes.extend_from_slice(&s.ephemeral_owner.to_be_bytes());
            sum.wrapping_add(i64::from(crc32(&bytes)))
        })
    }

    /// Applies a txn by the rules of `DataTree`; appends what happened.
    pub fn apply(&mut self, entry: &TxnEntry<'_>, events: &mut Vec<ModelEvent>) -> ModelApplied {
        let applied = self.body(&entry.header, entry.header.op, &entry.txn, events);
        self.last = self.last.max(entry.header.zxid);
        applied
    }

    fn body(&mut self, h: &TxnHeader, op: OpCode, txn: &Txn<'_>, events: &mut Vec<ModelEvent>) -> ModelApplied {
        let path_of = |path: &wire::UStr<'_>| path.as_deref().unwrap().to_owned();
        match txn {
            Txn::Create(t) => {
                let owner = if t.ephemeral { h.session.0 } else { 0 };
                let raises = op == OpCode::Create;
                self.create(h, &path_of(&t.path), t.data, t.acl, owner, t.parent_cversion, raises, events)
            }
            Txn::CreateTtl(t) => {
                let owner = (0xffu64 << 56) as i64 | t.ttl;
                self.create(h, &path_of(&t.path), t.data, t.acl, owner, t.parent_cversion, false, events)
            }
            Txn::CreateContainer(t) => {
                self.create(h, &path_of(&t.path), t.data, t.acl, CONTAINER_OWNER, t.parent_cversion, false, events)
            }
            Txn::Delete(t) => only(self.delete(h.zxid, &path_of(&t.path), events)),
            Txn::SetData(t) => {
                let path = path_of(&t.path);
                let Some(node) = self.nodes.get_mut(key(&path)) else { return only(ErrorCode::NO_NODE) };
                let before = node.data.as_ref().map_or(0, Vec::len) as i64;
                node.data = t.data.map(Into::into);
                node.stat.mtime = h.time_ms;
                node.stat.mzxid = h.zxid;
                node.stat.version = t.version;
                let acl = node.acl.clone();
                events.push(ModelEvent { kind: TriggerKind::DataChanged, path: path.clone(), acl });
                let stat = self.stat(&path);
                self.charge(&path, 0, t.data.map_or(0, <[u8]>::len) as i64 - before);
                done(stat)
            }
            Txn::SetAcl(t) => {
                let path = path_of(&t.path);
                let Some(node) = self.nodes.get_mut(key(&path)) else { return only(ErrorCode::NO_NODE) };
                node.acl = open_if_null(t.acl);
                node.stat.aversion = t.version;
                done(self.stat(&path))
            }
            Txn::Check(_) | Txn::CreateSession(_) => only(ErrorCode::OK),
            Txn::CloseSession(t) => {
                for path in t.iter().filter_map(|t| t.paths_to_delete.as_ref()).flatten() {
                    self.delete(h.zxid, &path_of(path), events);
                }
                // What the txn does not list; whatever it is, all of it goes.
                let mut rest = self.ephemerals(h.session.0);
                rest.sort_by_key(|path| self.nodes[path].born);
                for path in rest {
                    self.delete(h.zxid, &path, events);
                }
                only(ErrorCode::OK)
            }
            Txn::Error(t) => only(t.err),
            Txn::Multi(t) => self.multi(h, t, events),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of three txns")]
    fn create(
        &mut self,
        h: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        acl: AclVec<'_>,
        owner: i64,
        parent_cversion: i32,
        raises: bool,
        events: &mut Vec<ModelEvent>,
    ) -> ModelApplied {
        let parent_path = parent_of(path).to_owned();
        let exists = self.nodes.contains_key(path);
        let Some(parent) = self.nodes.get_mut(&parent_path) else { return only(ErrorCode::NO_NODE) };
        let cversion = if parent_cversion == -1 { parent.stat.cversion.wrapping_add(1) } else { parent_cversion };
        if (!exists || raises) && cversion > parent.stat.cversion {
            parent.stat.cversion = cversion;
            parent.stat.pzxid = h.zxid;
        }
        let parent_acl = parent.acl.clone();
        if exists {
            self.nodes.get_mut(path).unwrap().acl = open_if_null(acl);
            return only(ErrorCode::NODE_EXISTS);
        }
        let stat = StatPersisted {
            czxid: h.zxid,
            mzxid: h.zxid,
            pzxid: h.zxid,
            ctime: h.time_ms,
            mtime: h.time_ms,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        self.put_new(path, data, acl, stat);
        events.push(ModelEvent { kind: TriggerKind::Created, path: path.into(), acl: open_if_null(acl) });
        events.push(ModelEvent { kind: TriggerKind::ChildrenChanged, path: shown(&parent_path), acl: parent_acl });
        let stat = self.stat(path);
        if let Some(of) = path.strip_suffix("/zookeeper_stats").and_then(|p| p.strip_prefix(QUOTA))
            && (of.is_empty() || of.starts_with('/'))
        {
            let usage = self.usage(of);
            self.nodes.get_mut(path).unwrap().data = Some(usage);
        }
        self.charge(path, 1, data.map_or(0, <[u8]>::len) as i64);
        done(stat)
    }

    fn delete(&mut self, zxid: Zxid, path: &str, events: &mut Vec<ModelEvent>) -> ErrorCode {
        let parent_path = parent_of(path).to_owned();
        let Some(parent) = self.nodes.get_mut(&parent_path) else { return ErrorCode::NO_NODE };
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        let parent_acl = parent.acl.clone();
        if !self.nodes.contains_key(path) {
            return ErrorCode::NO_NODE;
        }
        if !self.children(path).is_empty() {
            return ErrorCode::NOT_EMPTY;
        }
        let node = self.nodes.remove(path).unwrap();
        self.charge(path, -1, -(node.data.as_ref().map_or(0, Vec::len) as i64));
        events.push(ModelEvent { kind: TriggerKind::Deleted, path: path.into(), acl: node.acl });
        events.push(ModelEvent { kind: TriggerKind::ChildrenChanged, path: shown(&parent_path), acl: parent_acl });
        ErrorCode::OK
    }

    /// Charges the deepest quota that has limits, if its usage can be read.
    fn charge(&mut self, path: &str, count: i64, bytes: i64) {
        let ends = path.char_indices().skip(1).filter(|&(_, c)| c == '/').map(|(at, _)| at).chain([path.len()]);
        let above = ends.map(|end| &path[..end]).filter(|above| above.len() > 1);
        let limited = above.filter(|of| self.nodes.contains_key(&format!("{QUOTA}{of}/zookeeper_limits")));
        let Some(of) = limited.last() else { return };
        let Some(stats) = self.nodes.get_mut(&format!("{QUOTA}{of}/zookeeper_stats")) else { return };
        let Some(mut numbers) = numbers(stats.data.as_deref()) else { return };
        let of_all = (numbers.remove("count").unwrap_or(-1) + count, numbers.remove("bytes").unwrap_or(-1) + bytes);
        let more: Vec<String> = numbers.iter().map(|(key, number)| format!(";{key}={number}")).collect();
        let mark = if more.is_empty() { "" } else { "=" };
        let text = format!("count={},bytes={}{mark}{}", of_all.0, of_all.1, more.concat());
        stats.data = Some(text.into_bytes());
    }

    /// The text for what lies at and below a path now.
    fn usage(&self, of: &str) -> Vec<u8> {
        let below = format!("{of}/");
        let all = self.nodes.iter().filter(|(path, _)| *path == of || path.starts_with(&below));
        let (count, bytes) =
            all.fold((0, 0), |(count, bytes), (_, node)| (count + 1, bytes + node.data.as_ref().map_or(0, Vec::len)));
        format!("count={count},bytes={bytes}").into_bytes()
    }

    /// As after a restart: usage is counted where there are limits.
    #[allow(dead_code, reason = "not every test restores")]
    pub fn restored(&self) -> Self {
        let mut restored = self.clone();
        for path in self.nodes.keys() {
            let Some(of) = path.strip_suffix("/zookeeper_limits").and_then(|p| p.strip_prefix(QUOTA)) else { continue };
            if let Some(stats) = restored.nodes.get_mut(&format!("{QUOTA}{of}/zookeeper_stats"))
                && of.starts_with('/')
            {
                stats.data = Some(self.usage(of));
            }
        }
        restored
    }

    fn multi(&mut self, h: &TxnHeader, txn: &wire::txn::MultiTxn<'_>, events: &mut Vec<ModelEvent>) -> ModelApplied {
        let subs = txn.txns.as_deref().unwrap_or_default();
        let failed = subs.iter().any(|sub| sub.kind == -1);
        let mut results = Vec::new();
        for sub in subs {
            let op = OpCode::from_code(sub.kind).unwrap();
            let body = Txn::read_body(op, true, &mut Reader::new(sub.data.unwrap())).unwrap();
            if failed {
                let err = if let Txn::Error(t) = body { t.err } else { ErrorCode::OK };
                results.push((OpCode::Error, err, None, None));
                continue;
            }
            let applied = self.body(h, op, &body, events);
            let path = match &body {
                Txn::Create(t) => t.path.as_deref().map(Into::into),
                Txn::CreateTtl(t) => t.path.as_deref().map(Into::into),
                Txn::CreateContainer(t) => t.path.as_deref().map(Into::into),
                _ => None,
            };
            results.push((op, applied.err, path, applied.stat));
        }
        ModelApplied { err: ErrorCode::OK, stat: None, subs: Some(results) }
    }
}

const QUOTA: &str = "/zookeeper/quota";

/// The numbers of a quota's text. The histories know no text that needs more care.
fn numbers(data: Option<&[u8]>) -> Option<BTreeMap<String, i64>> {
    let text = String::from_utf8(data.filter(|data| data.len() <= 4096)?.to_vec()).ok()?;
    let pairs = text.split([',', ';']).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').and_then(|(k, v)| Some((k.to_owned(), v.split('=').next()?.parse().ok()?))))
        .collect()
}

fn only(err: ErrorCode) -> ModelApplied {
    ModelApplied { err, stat: None, subs: None }
}

fn done(stat: Stat) -> ModelApplied {
    ModelApplied { err: ErrorCode::OK, stat: Some(stat), subs: None }
}

/// CRC-32, a bit at a time.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
