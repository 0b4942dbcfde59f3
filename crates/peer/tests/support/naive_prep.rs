//! Every write's checks in the order of the protocol's description, against a tree in which all earlier writes are done:
//! what prep must come to, although it runs ahead of the tree.

use ostler_tree::owner::Owner;
use wire::acl::{ADMIN, CREATE, DELETE, READ, WRITE};
use wire::multi::{MultiOp, MultiRequest};
use wire::request::*;
use wire::txn::*;
use wire::{Acl, AclVec, ErrorCode, Field, Id, OpCode, SessionId, Xid, Zxid};

use super::model::Model;

/// Who asks, and as which txn.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub session: i64,
    pub ids: &'a [Id],
    pub zxid: Zxid,
    pub time_ms: i64,
    /// Its session is a local one and stays so.
    pub is_local: bool,
}

type Prepared = Result<(OpCode, Vec<u8>), ErrorCode>;

/// May one of `ids` do one of `wanted`?
pub fn allowed(acl: &[u8], wanted: i32, ids: &[Id]) -> bool {
    let list = AclVec::parse(acl).unwrap().decode().unwrap_or_default();
    list.is_empty()
        || list.iter().any(|entry| {
            let is_anyone = entry.id.scheme == "world" && entry.id.id == "anyone";
            entry.perms & wanted != 0 && (is_anyone || ids.contains(&entry.id))
        })
}

fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn node_acl<'a>(model: &'a Model, path: &str) -> Option<&'a [u8]> {
    model.nodes.get(key(path)).map(|node| &node.acl[..])
}

fn check_node(model: &Model, path: &str, wanted: i32, ids: &[Id]) -> Result<(), ErrorCode> {
    let acl = node_acl(model, path).ok_or(ErrorCode::NO_NODE)?;
    if allowed(acl, wanted, ids) { Ok(()) } else { Err(ErrorCode::NO_AUTH) }
}

fn fixed(acl: AclVec<'_>, ids: &[Id]) -> Result<Vec<u8>, ErrorCode> {
    let list = acl.decode().filter(|list| !list.is_empty()).ok_or(ErrorCode::INVALID_ACL)?;
    let mut distinct: Vec<Acl> = Vec::new();
    for entry in list {
        if !distinct.contains(&entry) {
            distinct.push(entry);
        }
    }
    let mut out = Vec::new();
    for entry in distinct {
        match entry.id.scheme.as_str() {
            "auth" => {
                let mine: Vec<_> = ids.iter().filter(|id| id.scheme == "digest").collect();
                if mine.is_empty() {
                    return Err(ErrorCode::INVALID_ACL);
                }
                out.extend(mine.into_iter().map(|id| Acl { perms: entry.perms, id: id.clone() }));
            }
            "world" if entry.id.id == "anyone" => out.push(entry),
            "digest" if entry.id.id.split(':').count() == 2 => out.push(entry),
            _ => return Err(ErrorCode::INVALID_ACL),
        }
    }
    Ok(AclVec::encode(&out))
}

fn next(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    match current.wrapping_add(1) {
        _ if expected != -1 && expected != current => Err(ErrorCode::BAD_VERSION),
        -1 => Ok(0),
        next => Ok(next),
    }
}

fn valid(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| wire::path::validate(path).is_ok()).ok_or(ErrorCode::BAD_ARGUMENTS)
}

/// The txn that a request becomes: its type and body, or the error that is logged in its stead.
pub fn prep(model: &Model, asker: Asker<'_>, op: OpCode, body: &[u8]) -> Prepared {
    let broken = |_| ErrorCode::MARSHALLING_ERROR;
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            let r = CreateRequest::from_slice(body).map_err(broken)?;
            create(model, asker, op, r.path.as_deref(), r.data, r.acl, r.flags, -1)
        }
        OpCode::CreateTtl => {
            let r = CreateTtlRequest::from_slice(body).map_err(broken)?;
            create(model, asker, op, r.path.as_deref(), r.data, r.acl, r.flags, r.ttl)
        }
        OpCode::Delete => {
            let r = DeleteRequest::from_slice(body).map_err(broken)?;
            delete(model, asker, r.path.as_deref(), r.version)
        }
        OpCode::DeleteContainer => {
            let r = DeleteContainerRequest::from_slice(body).map_err(broken)?;
            let path = std::str::from_utf8(r.path.ok_or(ErrorCode::MARSHALLING_ERROR)?).unwrap();
            deletable(path)?;
            let node = model.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
            if !model.children(path).is_empty() {
                return Err(ErrorCode::NOT_EMPTY);
            }
            if matches!(model.rules.decode(node.stat.ephemeral_owner), Owner::Session(_)) {
                return Err(ErrorCode::BAD_VERSION);
            }
            Ok((op, DeleteTxn { path: Some(path.into()) }.to_vec()))
        }
        OpCode::SetData => {
            let r = SetDataRequest::from_slice(body).map_err(broken)?;
            set_data(model, asker, r.path.as_deref(), r.data, r.version)
        }
        OpCode::SetAcl => {
            let r = SetAclRequest::from_slice(body).map_err(broken)?;
            let path = valid(r.path.as_deref())?;
            let acl = fixed(r.acl, asker.ids)?;
            check_node(model, path, ADMIN, asker.ids)?;
            let version = next(model.nodes[key(path)].stat.aversion, r.version)?;
            let acl = AclVec::parse(&acl).unwrap();
            Ok((op, SetAclTxn { path: Some(path.into()), acl, version }.to_vec()))
        }
        OpCode::Multi => multi(model, asker, &MultiRequest::from_slice(body).map_err(broken)?),
        OpCode::Reconfig => Err(ErrorCode::RECONFIG_DISABLED),
        other => panic!("{other:?} is not a write"),
    }
}

#[allow(clippy::too_many_arguments, reason = "the fields of a request")]
fn create(
    model: &Model,
    asker: Asker<'_>,
    op: OpCode,
    path: Option<&str>,
    data: Option<&[u8]>,
    acl: AclVec<'_>,
    flags: i32,
    ttl: i64,
) -> Prepared {
    // A null path is an exception wherever it is looked at; nothing is said about which comes first.
    let path = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let (sequential, ephemeral, with_ttl) = match flags {
        0 | 4 => (false, false, false),
        1 => (false, true, false),
        2 => (true, false, false),
        3 => (true, true, false),
        5 => (false, false, true),
        6 => (true, false, true),
        _ => return Err(ErrorCode::BAD_ARGUMENTS),
    };
    if with_ttl && !model.rules.extended_types {
        return Err(ErrorCode::UNIMPLEMENTED);
    }
    let ttl_fits = if with_ttl { ttl > 0 && ttl <= 0xff_ffff_ffff } else { ttl < 0 && op != OpCode::CreateTtl };
    if !ttl_fits {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    if ephemeral && asker.is_local {
        return Err(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION);
    }
    let slash = path.rfind('/').filter(|_| !path.contains('\0')).ok_or(ErrorCode::BAD_ARGUMENTS)?;
    let acl = fixed(acl, asker.ids)?;
    let parent_path = &path[..slash];
    check_node(model, parent_path, CREATE, asker.ids)?;
    let parent = &model.nodes[key(parent_path)];
    let path = if sequential { format!("{path}{:010}", parent.stat.cversion) } else { path.to_owned() };
    valid(Some(&path))?;
    if model.nodes.contains_key(key(&path)) {
        return Err(ErrorCode::NODE_EXISTS);
    }
    if matches!(model.rules.decode(parent.stat.ephemeral_owner), Owner::Session(_)) {
        return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
    }
    let parent_cversion = parent.stat.cversion.saturating_add(1);
    let (path, acl) = (Some(path.into()), AclVec::parse(&acl).unwrap());
    let txn = match op {
        OpCode::CreateTtl => CreateTtlTxn { path, data, acl, parent_cversion, ttl }.to_vec(),
        OpCode::CreateContainer => CreateContainerTxn { path, data, acl, parent_cversion }.to_vec(),
        _ => CreateTxn { path, data, acl, ephemeral, parent_cversion }.to_vec(),
    };
    Ok((op, txn))
}

fn deletable(path: &str) -> Result<usize, ErrorCode> {
    let special = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(&path);
    path.rfind('/').filter(|_| !special && !path.contains('\0')).ok_or(ErrorCode::BAD_ARGUMENTS)
}

fn delete(model: &Model, asker: Asker<'_>, path: Option<&str>, version: i32) -> Prepared {
    let path = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let slash = deletable(path)?;
    check_node(model, &path[..slash], DELETE, asker.ids)?;
    let node = model.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
    next(node.stat.version, version)?;
    if !model.children(path).is_empty() {
        return Err(ErrorCode::NOT_EMPTY);
    }
    Ok((OpCode::Delete, DeleteTxn { path: Some(path.into()) }.to_vec()))
}

fn set_data(model: &Model, asker: Asker<'_>, path: Option<&str>, data: Option<&[u8]>, version: i32) -> Prepared {
    let path = valid(path)?;
    check_node(model, path, WRITE, asker.ids)?;
    let version = next(model.nodes[key(path)].stat.version, version)?;
    Ok((OpCode::SetData, SetDataTxn { path: Some(path.into()), data, version }.to_vec()))
}

fn multi(model: &Model, asker: Asker<'_>, request: &MultiRequest<'_>) -> Prepared {
    if request.ops.iter().any(|op| matches!(op, MultiOp::Read(..)) || op.path().is_none()) {
        return Err(ErrorCode::MARSHALLING_ERROR);
    }
    // Each operation sees what those before it did: on a copy, which is thrown away.
    let mut model = model.clone();
    let mut failed = false;
    let mut subs: Vec<(i32, Vec<u8>)> = Vec::new();
    for op in &request.ops {
        let done = if failed { Err(ErrorCode::RUNTIME_INCONSISTENCY) } else { sub(&model, asker, op) };
        match done {
            Ok((op, body)) => {
                let txn = Txn::read_body(op, true, &mut wire::Reader::new(&body)).unwrap();
                let (zxid, time_ms) = (asker.zxid, asker.time_ms);
                let header = TxnHeader { session: SessionId(asker.session), cxid: Xid(0), zxid, time_ms, op };
                model.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
                subs.push((op.code(), body));
            }
            Err(err) => {
                failed = true;
                subs.push((-1, ErrorTxn { err }.to_vec()));
            }
        }
    }
    let txns = subs.iter().map(|(kind, data)| SubTxn { kind: *kind, data: Some(data) }).collect();
    Ok((OpCode::Multi, MultiTxn { txns: Some(txns) }.to_vec()))
}

fn sub(model: &Model, asker: Asker<'_>, op: &MultiOp<'_>) -> Prepared {
    match op {
        MultiOp::Create(op, r) => {
            // In a multi the flags make a container, outside of one the opcode alone does.
            let op = if *op == OpCode::Create && r.flags == 4 { OpCode::CreateContainer } else { *op };
            create(model, asker, op, r.path.as_deref(), r.data, r.acl, r.flags, -1)
        }
        MultiOp::CreateTtl(r) => {
            // And a createTTL without a TTL's flags is what they say.
            let (op, ttl) = match r.flags {
                0..=3 => (OpCode::Create, -1),
                4 => (OpCode::CreateContainer, -1),
                _ => (OpCode::CreateTtl, r.ttl),
            };
            create(model, asker, op, r.path.as_deref(), r.data, r.acl, r.flags, ttl)
        }
        MultiOp::Delete(r) => delete(model, asker, r.path.as_deref(), r.version),
        MultiOp::SetData(r) => set_data(model, asker, r.path.as_deref(), r.data, r.version),
        MultiOp::Check(r) => {
            let path = valid(r.path.as_deref())?;
            check_node(model, path, READ, asker.ids)?;
            let version = next(model.nodes[key(path)].stat.version, r.version)?;
            Ok((OpCode::Check, CheckVersionTxn { path: Some(path.into()), version }.to_vec()))
        }
        MultiOp::Read(..) => Err(ErrorCode::MARSHALLING_ERROR),
    }
}
