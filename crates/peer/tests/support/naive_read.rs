//! Reads against the model, and one connection's watches in Apache's two tables.

use std::collections::{BTreeMap, BTreeSet};

use ostler_tree::TriggerKind;
use wire::acl::{ADMIN, READ};
use wire::multi::{MultiHeader, MultiOp, MultiRequest};
use wire::request::*;
use wire::{Acl, AclVec, ErrorCode, Field, Id, OpCode, UStr, Zxid};

use super::model::{Model, ModelEvent};
use super::naive_prep::allowed;

/// The kinds of a connection's watches on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Data,
    Child,
    Persistent,
    Recursive,
}

/// A connection's watches.
#[derive(Debug, Clone, Default)]
pub struct Watches(BTreeMap<String, BTreeSet<Kind>>);

impl Watches {
    pub fn add(&mut self, path: &str, kind: Kind) {
        self.0.entry(path.to_owned()).or_default().insert(kind);
    }

    fn has(&self, path: &str, kinds: &[Kind]) -> bool {
        self.0.get(path).is_some_and(|mine| kinds.iter().any(|kind| mine.contains(kind)))
    }

    fn drop_all(&mut self, path: &str, kinds: &[Kind]) {
        if let Some(mine) = self.0.get_mut(path) {
            mine.retain(|kind| !kinds.contains(kind));
        }
    }

    /// Does the connection hear of the event? Its one-shot watches are gone after it, heard or not.
    pub fn fire(&mut self, event: &ModelEvent, ids: &[Id]) -> bool {
        let path = &event.path;
        let exact: &[Kind] = match event.kind {
            TriggerKind::Created | TriggerKind::DataChanged => &[Kind::Data, Kind::Persistent],
            TriggerKind::Deleted => &[Kind::Data, Kind::Child, Kind::Persistent],
            TriggerKind::ChildrenChanged => &[Kind::Child, Kind::Persistent],
        };
        let above = |watched: &str| {
            watched == path || watched == "/" || path.strip_prefix(watched).is_some_and(|rest| rest.starts_with('/'))
        };
        let is_recursive = event.kind != TriggerKind::ChildrenChanged
            && self
                .0
                .iter()
                .any(|(watched, kinds)| kinds.contains(&Kind::Recursive) && !watched.is_empty() && above(watched));
        let hears = self.has(path, exact) || is_recursive;
        match event.kind {
            TriggerKind::Created | TriggerKind::DataChanged => self.drop_all(path, &[Kind::Data]),
            TriggerKind::Deleted => self.drop_all(path, &[Kind::Data, Kind::Child]),
            TriggerKind::ChildrenChanged => self.drop_all(path, &[Kind::Child]),
        }
        hears && allowed(&event.acl, READ, ids)
    }
}

/// What a read is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub err: ErrorCode,
    pub body: Vec<u8>,
    /// Events without a zxid that come just before it.
    pub events: Vec<(TriggerKind, String)>,
}

fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// The answer from the state `model`; watches are set and removed in `watches`.
pub fn answer(
    model: &Model,
    (session, ids, page_max): (i64, &[Id], usize),
    op: OpCode,
    body: &[u8],
    watches: &mut Watches,
) -> Answer {
    let mut events = Vec::new();
    let done = match op {
        OpCode::GetChildrenPaginated => page(model, ids, page_max, body, watches),
        _ => body_of(model, session, ids, op, body, watches, &mut events),
    };
    match done {
        Ok(body) => Answer { err: ErrorCode::OK, body, events },
        Err(err) => Answer { err, body: Vec::new(), events },
    }
}

fn readable<'a>(model: &'a Model, path: &str, ids: &[Id]) -> Result<&'a super::model::ModelNode, ErrorCode> {
    let node = model.nodes.get(key(path)).ok_or(ErrorCode::NO_NODE)?;
    if allowed(&node.acl, READ, ids) { Ok(node) } else { Err(ErrorCode::NO_AUTH) }
}

fn names(all: Vec<&str>) -> Vec<u8> {
    let names: Vec<UStr<'_>> = all.into_iter().map(|name| Some(name.into())).collect();
    Some(names).to_vec()
}

/// As LinkedIn's `DataTree.getPaginatedChildren` does it: all that qualify are sorted, some passed over, and taken as long
/// as there is room. Unlike there, a page has at least one name.
fn page(model: &Model, ids: &[Id], page_max: usize, body: &[u8], watches: &mut Watches) -> Result<Vec<u8>, ErrorCode> {
    let r = GetChildrenPaginatedRequest::from_slice(body).map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    let path = r.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
    readable(model, path, ids)?;
    if r.max_returned <= 0 {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    let czxid = |name: &str| model.nodes[&format!("{}/{name}", key(path))].stat.czxid;
    let mut all: Vec<(Zxid, &str)> = model.children(path).into_iter().map(|name| (czxid(name), name)).collect();
    all.retain(|(czxid, _)| *czxid >= r.czxid_min);
    all.sort_unstable();
    let skipped = all.iter().take_while(|(czxid, _)| *czxid == r.czxid_min).count().min(r.czxid_offset.max(0) as usize);
    let mut taken = Vec::new();
    let mut bytes = 100;
    for (_, name) in &all[skipped..] {
        bytes += name.len() + 4;
        if taken.len() == r.max_returned as usize || bytes > page_max && !taken.is_empty() {
            break;
        }
        taken.push(*name);
    }
    let (before, after) = all.split_at(skipped + taken.len());
    let (next_czxid, next_czxid_offset) = match after.first() {
        None => (Zxid(-1), -1),
        Some((next, _)) => (*next, before.iter().filter(|(czxid, _)| czxid == next).count() as i32),
    };
    if r.watch && after.is_empty() {
        watches.add(path, Kind::Child);
    }
    let children = Some(taken.into_iter().map(|name| Some(name.into())).collect());
    let stat = model.stat(path);
    Ok(wire::response::GetChildrenPaginatedResponse { children, stat, next_czxid, next_czxid_offset }.to_vec())
}

fn body_of(
    model: &Model,
    session: i64,
    ids: &[Id],
    op: OpCode,
    body: &[u8],
    watches: &mut Watches,
    events: &mut Vec<(TriggerKind, String)>,
) -> Result<Vec<u8>, ErrorCode> {
    let broken = |_| ErrorCode::MARSHALLING_ERROR;
    let null = ErrorCode::MARSHALLING_ERROR;
    match op {
        OpCode::Ping => Ok(Vec::new()),
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            let r = ReadRequest::from_slice(body).map_err(broken)?;
            let path = r.path.as_deref().ok_or(null)?;
            if op == OpCode::Exists && path.contains('\0') {
                return Err(ErrorCode::BAD_ARGUMENTS);
            }
            let node = readable(model, path, ids);
            let is_exist_watch = op == OpCode::Exists && node.as_ref().is_err_and(|err| *err == ErrorCode::NO_NODE);
            if r.watch && (node.is_ok() || is_exist_watch) {
                let is_data = matches!(op, OpCode::Exists | OpCode::GetData);
                watches.add(path, if is_data { Kind::Data } else { Kind::Child });
            }
            let node = node?;
            let mut out = match op {
                OpCode::GetData => node.data.as_deref().to_vec(),
                OpCode::Exists => Vec::new(),
                _ => names(model.children(path)),
            };
            if op != OpCode::GetChildren {
                model.stat(path).write(&mut out);
            }
            Ok(out)
        }
        OpCode::GetAcl => {
            let r = PathRequest::from_slice(body).map_err(broken)?;
            let path = r.path.as_deref().ok_or(null)?;
            let node = model.nodes.get(key(path)).ok_or(ErrorCode::NO_NODE)?;
            if !allowed(&node.acl, READ | ADMIN, ids) {
                return Err(ErrorCode::NO_AUTH);
            }
            let mut list: Vec<Acl> = AclVec::parse(&node.acl).unwrap().decode().unwrap();
            if !allowed(&node.acl, ADMIN, ids) {
                for entry in list.iter_mut().filter(|entry| entry.id.scheme == "digest") {
                    entry.id.id = format!("{}:x", entry.id.id.split(':').next().unwrap());
                }
            }
            let mut out = AclVec::encode(&list);
            model.stat(path).write(&mut out);
            Ok(out)
        }
        OpCode::Sync => Ok(PathRequest::from_slice(body).map_err(broken)?.to_vec()),
        OpCode::GetEphemerals => {
            let r = PathRequest::from_slice(body).map_err(broken)?;
            let prefix = r.path.as_deref().unwrap_or("");
            let all = prefix.trim().is_empty() || prefix == "/";
            let mine = model.ephemerals(session);
            Ok(names(mine.iter().map(String::as_str).filter(|path| all || path.starts_with(prefix)).collect()))
        }
        OpCode::GetAllChildrenNumber => {
            let r = PathRequest::from_slice(body).map_err(broken)?;
            let path = r.path.as_deref().ok_or(ErrorCode::NO_NODE)?;
            readable(model, path, ids)?;
            let below = format!("{}/", key(path));
            // The root's second key, `/`, counts as one below ``, but not below `/`.
            let second = i32::from(path.is_empty());
            Ok((second + model.nodes.keys().filter(|path| path.starts_with(&below)).count() as i32).to_vec())
        }
        OpCode::WhoAmI => {
            let mut out = (ids.len() as i32).to_vec();
            for id in ids {
                id.scheme.write(&mut out);
                id.id.split(':').next().unwrap().to_owned().write(&mut out);
            }
            Ok(out)
        }
        OpCode::MultiRead => {
            let r = MultiRequest::from_slice(body).map_err(broken)?;
            let mut out = Vec::new();
            for op in &r.ops {
                let MultiOp::Read(code, r) = op else { return Err(null) };
                let path = r.path.as_deref().unwrap();
                match readable(model, path, ids) {
                    Ok(node) => {
                        MultiHeader { kind: code.code(), done: false, err: 0 }.write(&mut out);
                        if *code == OpCode::GetData {
                            node.data.as_deref().write(&mut out);
                            model.stat(path).write(&mut out);
                        } else {
                            out.extend_from_slice(&names(model.children(path)));
                        }
                    }
                    Err(err) => {
                        MultiHeader { kind: -1, done: false, err: err.0 }.write(&mut out);
                        err.write(&mut out);
                    }
                }
            }
            MultiHeader::END.write(&mut out);
            Ok(out)
        }
        OpCode::AddWatch => {
            let r = AddWatchRequest::from_slice(body).map_err(broken)?;
            let kind = match r.mode {
                0 => Kind::Persistent,
                1 => Kind::Recursive,
                _ => return Err(null),
            };
            watches.add(r.path.as_deref().ok_or(null)?, kind);
            Ok(vec![0; 4])
        }
        OpCode::CheckWatches | OpCode::RemoveWatches => {
            let r = WatchesRequest::from_slice(body).map_err(broken)?;
            let kinds: &[Kind] = match r.kind {
                1 => &[Kind::Child],
                2 => &[Kind::Data],
                3 => &[Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive],
                4 => &[Kind::Persistent],
                5 => &[Kind::Recursive],
                _ => return Err(null),
            };
            let path = r.path.as_deref().ok_or(null)?;
            let had = watches.has(path, kinds);
            if op == OpCode::RemoveWatches {
                watches.drop_all(path, kinds);
            }
            if had { Ok(Vec::new()) } else { Err(ErrorCode::NO_WATCHER) }
        }
        OpCode::SetWatches2 => {
            let r = SetWatches2::from_slice(body).map_err(broken)?;
            set_watches(model, &r, watches, events);
            Ok(Vec::new())
        }
        other => panic!("{other:?} is not a read"),
    }
}

fn set_watches(model: &Model, r: &SetWatches2<'_>, watches: &mut Watches, events: &mut Vec<(TriggerKind, String)>) {
    let list = |list: &Option<Vec<UStr<'_>>>| -> Vec<String> {
        list.iter().flatten().map(|path| path.as_deref().unwrap().to_owned()).collect()
    };
    let newer = |path: &str, of: fn(&super::model::ModelNode) -> Zxid| {
        model.nodes.get(key(path)).map(|node| of(node) > r.relative_zxid)
    };
    for path in list(&r.data_watches) {
        match newer(&path, |node| node.stat.mzxid) {
            None => events.push((TriggerKind::Deleted, path)),
            Some(true) => events.push((TriggerKind::DataChanged, path)),
            Some(false) => watches.add(&path, Kind::Data),
        }
    }
    for path in list(&r.exist_watches) {
        if model.nodes.contains_key(key(&path)) {
            events.push((TriggerKind::Created, path));
        } else {
            watches.add(&path, Kind::Data);
        }
    }
    for path in list(&r.child_watches) {
        match newer(&path, |node| node.stat.pzxid) {
            None => events.push((TriggerKind::Deleted, path)),
            Some(true) => events.push((TriggerKind::ChildrenChanged, path)),
            Some(false) => watches.add(&path, Kind::Child),
        }
    }
    for path in list(&r.persistent_watches) {
        watches.add(&path, Kind::Persistent);
    }
    for path in list(&r.persistent_recursive_watches) {
        watches.add(&path, Kind::Recursive);
    }
}
