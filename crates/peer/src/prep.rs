//! Request in, txn out: every check, in ZooKeeper's order, against the tree and what is outstanding. Source: Apache
//! `PrepRequestProcessor`.
//!
//! Prep never fails: a refused write is an error txn. The order of the checks is part of the protocol, since the first
//! that fails names the error.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use auth::{AuthConfig, Identities, InvalidAcl, Verdicts, fixup_acl};
use bytes::Bytes;
use tree::owner::{Owner, OwnerRules, TTL_MAX, ttl_owner};
use tree::{CONFIG_PATH, Tree};
use wire::acl::{ADMIN, CREATE, DELETE, READ, WRITE};
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{
    CheckVersionRequest, CreateMode, CreateRequest, CreateTtlRequest, DeleteContainerRequest, DeleteRequest,
    ReconfigRequest, SetAclRequest, SetDataRequest,
};
use wire::stat::CONTAINER_OWNER;
use wire::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, ErrorTxn, MultiTxn,
    SetAclTxn, SetDataTxn, SubTxn,
};
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, Reader, SessionId, StatPersisted, UStr, Zxid};

use crate::outstanding::{Data, Outstanding, PATH_OVERHEAD, Record};
use crate::quota::{self, Growth, QuotaExceeded};
use crate::reconfig::Members;

/// What prep needs to know beside the request.
pub(crate) struct Prep<'a> {
    pub tree: &'a Tree,
    pub outstanding: &'a mut Outstanding,
    pub auth: &'a AuthConfig,
    pub owner_rules: OwnerRules,
    pub length_max: usize,
    /// Bytes that the lists of this request may still take, with what `auth` stands for.
    pub acl_room: usize,
    pub zxid: Zxid,
    pub time_ms: i64,
    pub session: SessionId,
    /// It is a local one that may not be upgraded: it can have no ephemerals.
    pub is_local: bool,
    pub identities: &'a Identities,
    pub verdicts: &'a mut Verdicts,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// Whom a reconfig changes; a server that stands alone has none.
    pub members: Option<&'a mut Members>,
    /// Where what exceeds a quota is noted; `None`: quotas are not enforced.
    pub exceeded: Option<&'a mut Vec<QuotaExceeded>>,
    /// Where parents are noted that have no numbers for sequential znodes left.
    pub used_up: &'a mut Vec<String>,
}

/// Header, count and digest of a closeSession txn.
const CLOSE_SESSION_OVERHEAD: usize = 32 + 4 + 12;

/// Quotas' usages that one multi may create. A subtree is counted for each under one guard, so that a frame full of them
/// would hold everybody up for minutes. Apache has no bound, and stands still.
const USAGES_MAX: usize = 8;

fn creates_usage(op: &MultiOp<'_>) -> bool {
    matches!(op, MultiOp::Create(..) | MultiOp::CreateTtl(_)) && op.path().is_some_and(tree::is_quota_usage)
}

/// A list that is not the open one: its wire form, and its entries.
type FixedAcl = (Vec<u8>, Vec<Acl>);

/// The body of a request and the bytes it points into, so that data can be kept without copying it.
struct Body<'a> {
    bytes: &'a Bytes,
}

impl Body<'_> {
    fn keep(&self, data: Option<&[u8]>) -> Option<Bytes> {
        data.map(|d| if d.is_empty() { Bytes::new() } else { self.bytes.slice_ref(d) })
    }
}

struct Create<'a> {
    op: OpCode,
    path: Option<&'a str>,
    data: Option<&'a [u8]>,
    acl: AclVec<'a>,
    flags: i32,
    /// -1 where the opcode carries none.
    ttl: i64,
}

impl Prep<'_> {
    /// Writes the txn body of a write to `out`, and says its type. An error leaves what was written to be thrown away.
    pub(crate) fn write(&mut self, op: OpCode, body: &Bytes, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let bytes = Body { bytes: body };
        let mut r = Reader::with_limit(body, self.length_max);
        let unreadable = |_| ErrorCode::MARSHALLING_ERROR;
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let request: CreateRequest<'_> = r.read().map_err(unreadable)?;
                self.create(&bytes, &of_create(op, &request), out)
            }
            OpCode::CreateTtl => {
                let request: CreateTtlRequest<'_> = r.read().map_err(unreadable)?;
                self.create(&bytes, &of_create_ttl(&request), out)
            }
            OpCode::Delete => self.delete(&r.read().map_err(unreadable)?, out),
            OpCode::DeleteContainer => {
                let request: DeleteContainerRequest<'_> = r.read().map_err(unreadable)?;
                self.delete_container(request.path, out)
            }
            OpCode::SetData => self.set_data(&bytes, &r.read().map_err(unreadable)?, out),
            OpCode::SetAcl => self.set_acl(&r.read().map_err(unreadable)?, out),
            OpCode::Multi => self.multi(&bytes, &r.read().map_err(unreadable)?, out),
            OpCode::Reconfig => {
                let request: ReconfigRequest<'_> = r.read().map_err(unreadable)?;
                self.reconfig(&request, out)
            }
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    fn allowed(&mut self, acl: Option<&Arc<[Acl]>>, wanted: i32) -> Result<(), ErrorCode> {
        // No list is the open one.
        match acl {
            Some(acl) if !self.verdicts.check(self.auth, acl, wanted, self.identities) => Err(ErrorCode::NO_AUTH),
            _ => Ok(()),
        }
    }

    /// The list as it will be logged, and as it will be checked (`None`: open).
    fn fix_acl(&mut self, acl: AclVec<'_>) -> Result<Option<FixedAcl>, ErrorCode> {
        if acl == AclVec::OPEN {
            return Ok(None);
        }
        let fixed =
            fixup_acl(self.auth, acl.decode().as_deref(), self.identities, self.acl_room).map_err(|e| match e {
                InvalidAcl::Unfit => ErrorCode::INVALID_ACL,
                InvalidAcl::TooLong => ErrorCode::QUOTA_EXCEEDED,
            })?;
        let encoded = AclVec::encode(&fixed);
        self.acl_room = self.acl_room.saturating_sub(encoded.len());
        Ok((encoded != AclVec::OPEN.as_bytes()).then_some((encoded, fixed)))
    }

    fn create(&mut self, body: &Body<'_>, create: &Create<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if mode.is_ttl() && !self.owner_rules.extended_types {
            return Err(ErrorCode::UNIMPLEMENTED);
        }
        let ttl_is_right = if mode.is_ttl() { (1..=TTL_MAX).contains(&create.ttl) } else { create.ttl < 0 };
        if !ttl_is_right || create.op == OpCode::CreateTtl && !mode.is_ttl() {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if mode.is_ephemeral() && self.is_local {
            return Err(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION);
        }
        // A null path is found out by an exception in Apache, which makes it -5.
        let given = create.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let (parent_path, _) = wire::path::split(given).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if given.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let acl = self.fix_acl(create.acl)?;
        let mut parent = self.outstanding.get(self.tree, parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(parent.acl.as_ref(), CREATE)?;
        let sequential;
        let path = if mode.is_sequential() {
            if parent.stat.cversion == i32::MAX {
                // Its numbers are used up (ZOOKEEPER-4706). Apache gives the last one to each, also when that was deleted.
                quota::note_used_up(parent_path, self.used_up);
                return Err(ErrorCode::QUOTA_EXCEEDED);
            }
            sequential = format!("{given}{:010}", parent.stat.cversion);
            &sequential
        } else {
            given
        };
        wire::path::validate(path).map_err(|_| ErrorCode::BAD_ARGUMENTS)?;
        if self.outstanding.get(self.tree, path).is_some() {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if matches!(self.owner_rules.decode(parent.stat.ephemeral_owner), Owner::Session(_)) {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        if let Some(exceeded) = &mut self.exceeded {
            let growth = Growth { count: 1, bytes: create.data.map_or(0, <[u8]>::len) as i64 };
            quota::check(self.tree, path, growth, exceeded)?;
        }
        if mode.is_ephemeral() {
            self.may_close_later(path)?;
        }
        // The last one stays, and with it the pzxid: applying raises both or none, in Apache too.
        let parent_cversion = parent.stat.cversion.saturating_add(1);
        let before = parent.stat;
        if parent_cversion > before.cversion {
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = self.zxid;
        }
        parent.children += 1;
        parent.zxid = self.zxid;
        self.outstanding.put_stat(parent_path, parent, &before);
        // What the txn's type is follows the opcode; what the znode becomes follows the txn's type.
        let owner = match create.op {
            OpCode::CreateContainer => CONTAINER_OWNER,
            OpCode::CreateTtl => ttl_owner(create.ttl),
            _ if mode.is_ephemeral() => self.session.0,
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: self.zxid,
            mzxid: self.zxid,
            ctime: self.time_ms,
            mtime: self.time_ms,
            ephemeral_owner: owner,
            pzxid: self.zxid,
            ..StatPersisted::default()
        };
        let record = Record {
            zxid: self.zxid,
            exists: true,
            stat,
            children: 0,
            acl: acl.as_ref().map(|(_, list)| list.as_slice().into()),
            data: Data::Request(body.keep(create.data)),
            digest: 0,
            owner: if let Owner::Session(session) = self.owner_rules.decode(owner) { session } else { SessionId(0) },
            is_new: true,
        };
        self.outstanding.put(self.tree, path, record);
        let path: UStr<'_> = Some(path.into());
        let encoded = acl.map(|(encoded, _)| encoded);
        let acl = encoded.as_deref().map_or(AclVec::OPEN, AclVec::of_encoded);
        let data = create.data;
        match create.op {
            OpCode::CreateTtl => CreateTtlTxn { path, data, acl, parent_cversion, ttl: create.ttl }.write(out),
            OpCode::CreateContainer => CreateContainerTxn { path, data, acl, parent_cversion }.write(out),
            _ => CreateTxn { path, data, acl, ephemeral: mode.is_ephemeral(), parent_cversion }.write(out),
        }
        Ok(create.op)
    }

    /// A session's end is one txn that names all its ephemerals: it must fit into what a log record may hold
    /// (ZOOKEEPER-4306), so an ephemeral too many is refused when it is created.
    fn may_close_later(&self, path: &str) -> Result<(), ErrorCode> {
        let applied = self.tree.ephemeral_bytes(self.session);
        let others = applied.saturating_add_signed(self.outstanding.ephemeral_bytes(self.session));
        let needed = CLOSE_SESSION_OVERHEAD + others + path.len() + PATH_OVERHEAD;
        if needed > self.length_max { Err(ErrorCode::QUOTA_EXCEEDED) } else { Ok(()) }
    }

    fn delete(&mut self, request: &DeleteRequest<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let path = text(&request.path)?;
        let parent_path = parent_of_deletable(path)?;
        let parent = self.outstanding.get(self.tree, parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(parent.acl.as_ref(), DELETE)?;
        let record = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        next_version(record.stat.version, request.version)?;
        if record.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        self.put_deleted(parent_path, parent, path, record);
        DeleteTxn { path: Some(path.into()) }.write(out);
        Ok(OpCode::Delete)
    }

    fn delete_container(&mut self, path: Option<&[u8]>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let path = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let path = &*wire::jute::text(path);
        let parent_path = parent_of_deletable(path)?;
        let record = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        if record.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        if matches!(self.owner_rules.decode(record.stat.ephemeral_owner), Owner::Session(_)) {
            return Err(ErrorCode::BAD_VERSION);
        }
        let parent = self.outstanding.get(self.tree, parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.put_deleted(parent_path, parent, path, record);
        DeleteTxn { path: Some(path.into()) }.write(out);
        Ok(OpCode::DeleteContainer)
    }

    fn put_deleted(&mut self, parent_path: &str, mut parent: Record, path: &str, mut record: Record) {
        let before = parent.stat;
        parent.children -= 1;
        parent.stat.pzxid = self.zxid;
        parent.zxid = self.zxid;
        self.outstanding.put_stat(parent_path, parent, &before);
        record.exists = false;
        record.zxid = self.zxid;
        self.outstanding.put(self.tree, path, record);
    }

    fn set_data(
        &mut self,
        body: &Body<'_>,
        request: &SetDataRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<OpCode, ErrorCode> {
        let path = valid(&request.path)?;
        let mut record = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(record.acl.as_ref(), WRITE)?;
        if let Some(exceeded) = &mut self.exceeded {
            let before = match &record.data {
                Data::Tree(id) => self.tree.node(*id).data_length(),
                Data::Request(data) => data.as_ref().map_or(0, Bytes::len),
            };
            let bytes = request.data.map_or(0, <[u8]>::len) as i64 - before as i64;
            quota::check(self.tree, path, Growth { count: 0, bytes }, exceeded)?;
        }
        let version = next_version(record.stat.version, request.version)?;
        record.stat.version = version;
        record.stat.mzxid = self.zxid;
        record.stat.mtime = self.time_ms;
        record.zxid = self.zxid;
        record.data = Data::Request(body.keep(request.data));
        self.outstanding.put(self.tree, path, record);
        SetDataTxn { path: Some(path.into()), data: request.data, version }.write(out);
        Ok(OpCode::SetData)
    }

    /// A reconfig is the next text of `/zookeeper/config`, whose version is -1 for ever.
    fn reconfig(&mut self, request: &ReconfigRequest<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        if !self.reconfig_enabled {
            return Err(ErrorCode::RECONFIG_DISABLED);
        }
        let next = match self.members.as_deref() {
            Some(members) => members.next(request, self.zxid)?,
            None => return Err(ErrorCode::UNIMPLEMENTED),
        };
        let mut record = self.outstanding.get(self.tree, CONFIG_PATH).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(record.acl.as_ref(), WRITE)?;
        let text = Bytes::from(next.to_string());
        record.stat.version = -1;
        record.stat.mzxid = self.zxid;
        record.stat.mtime = self.time_ms;
        record.zxid = self.zxid;
        record.data = Data::Request(Some(text.clone()));
        self.outstanding.put(self.tree, CONFIG_PATH, record);
        if let Some(members) = &mut self.members {
            members.is_changing = true;
        }
        SetDataTxn { path: Some(CONFIG_PATH.into()), data: Some(&text), version: -1 }.write(out);
        Ok(OpCode::Reconfig)
    }

    fn set_acl(&mut self, request: &SetAclRequest<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let path = valid(&request.path)?;
        let acl = self.fix_acl(request.acl)?;
        let mut record = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(record.acl.as_ref(), ADMIN)?;
        let version = next_version(record.stat.aversion, request.version)?;
        let before = record.stat;
        record.stat.aversion = version;
        record.zxid = self.zxid;
        record.acl = acl.as_ref().map(|(_, list)| list.as_slice().into());
        self.outstanding.put_stat(path, record, &before);
        let encoded = acl.map(|(encoded, _)| encoded);
        let acl = encoded.as_deref().map_or(AclVec::OPEN, AclVec::of_encoded);
        SetAclTxn { path: Some(path.into()), acl, version }.write(out);
        Ok(OpCode::SetAcl)
    }

    fn check(&mut self, request: &CheckVersionRequest<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        let path = valid(&request.path)?;
        let record = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(record.acl.as_ref(), READ)?;
        let version = next_version(record.stat.version, request.version)?;
        CheckVersionTxn { path: Some(path.into()), version }.write(out);
        Ok(OpCode::Check)
    }

    /// All or none: the first operation that fails undoes those before it, and the multi is logged as a list in which it
    /// and those behind it are errors.
    fn multi(&mut self, body: &Body<'_>, request: &MultiRequest<'_>, out: &mut Vec<u8>) -> Result<OpCode, ErrorCode> {
        // A null path is found out before any of them is looked at: not they fail, but the whole.
        if request.ops.iter().any(|op| matches!(op, MultiOp::Read(..)) || op.path().is_none()) {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        self.outstanding.attempt();
        let mut usages = 0;
        let mut failure: Option<ErrorCode> = None;
        let mut subs: Vec<(OpCode, Vec<u8>)> = Vec::with_capacity(request.ops.len());
        for op in &request.ops {
            let mut sub = Vec::new();
            usages += usize::from(creates_usage(op));
            let done = match (failure, op) {
                (Some(_), _) => Err(ErrorCode::RUNTIME_INCONSISTENCY),
                (None, op) if usages > USAGES_MAX && creates_usage(op) => Err(ErrorCode::BAD_ARGUMENTS),
                (None, MultiOp::Create(op, create)) => self.create(body, &of_create_in_multi(*op, create), &mut sub),
                (None, MultiOp::CreateTtl(create)) => self.create(body, &of_create_ttl_in_multi(create), &mut sub),
                (None, MultiOp::Delete(request)) => self.delete(request, &mut sub),
                (None, MultiOp::SetData(request)) => self.set_data(body, request, &mut sub),
                (None, MultiOp::Check(request)) => self.check(request, &mut sub),
                (None, MultiOp::Read(..)) => Err(ErrorCode::MARSHALLING_ERROR),
            };
            match done {
                Ok(op) => subs.push((op, sub)),
                // The text of a quota that can't be read: not the operation fails, but the whole.
                Err(err @ ErrorCode::MARSHALLING_ERROR) => {
                    self.outstanding.end_attempt(true);
                    return Err(err);
                }
                Err(err) => {
                    failure.get_or_insert(err);
                    subs.push((OpCode::Error, ErrorTxn { err }.to_vec()));
                }
            }
        }
        self.outstanding.end_attempt(failure.is_some());
        let txns = subs.iter().map(|(op, sub)| SubTxn { kind: op.code(), data: Some(sub) }).collect();
        MultiTxn { txns: Some(txns) }.write(out);
        Ok(OpCode::Multi)
    }

    /// The closeSession of [`Prep::session`]: its ephemerals, committed and outstanding ones.
    pub(crate) fn close_session(&mut self, with_paths: bool, out: &mut Vec<u8>) -> OpCode {
        let session = self.session.0;
        // One that will be gone by then may be there again as another's, or as nobody's: that one stays.
        let is_mine = |path: &str| {
            self.outstanding.get(self.tree, path).is_some_and(|record| record.stat.ephemeral_owner == session)
        };
        let mut pending: Vec<String> = self.outstanding.ephemerals(self.session).map(ToString::to_string).collect();
        pending.sort_unstable();
        pending.dedup();
        pending.retain(|path| is_mine(path));
        let mut paths: Vec<String> = self.tree.ephemerals(self.session).map(tree::NodeRef::path).collect();
        paths.retain(|path| pending.binary_search(path).is_err() && is_mine(path));
        paths.append(&mut pending);
        // Each parent is put once: thousands may have the same.
        let mut parents: BTreeMap<&str, Record> = BTreeMap::new();
        for path in &paths {
            let Some((parent_path, _)) = wire::path::split(path) else { continue };
            let Some(mut record) = self.outstanding.get(self.tree, path) else { continue };
            let parent = match parents.entry(parent_path) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match self.outstanding.get(self.tree, parent_path) {
                    Some(parent) => new.insert(parent),
                    None => continue,
                },
            };
            parent.children -= 1;
            record.exists = false;
            record.zxid = self.zxid;
            self.outstanding.put(self.tree, path, record);
        }
        for (path, mut parent) in parents {
            if self.outstanding.get(self.tree, path).is_none() {
                continue;
            }
            let before = parent.stat;
            parent.stat.pzxid = self.zxid;
            parent.zxid = self.zxid;
            self.outstanding.put_stat(path, parent, &before);
        }
        if with_paths {
            let paths_to_delete = Some(paths.iter().map(|path| Some(path.as_str().into())).collect());
            CloseSessionTxn { paths_to_delete }.write(out);
        }
        OpCode::CloseSession
    }
}

fn of_create<'a>(op: OpCode, request: &'a CreateRequest<'a>) -> Create<'a> {
    let path = request.path.as_deref();
    Create { op, path, data: request.data, acl: request.acl, flags: request.flags, ttl: -1 }
}

fn of_create_ttl<'a>(request: &'a CreateTtlRequest<'a>) -> Create<'a> {
    let path = request.path.as_deref();
    let CreateTtlRequest { data, acl, flags, ttl, .. } = *request;
    Create { op: OpCode::CreateTtl, path, data, acl, flags, ttl }
}

/// In a multi, Apache makes a container of a create with a container's flags; outside, it does not.
fn of_create_in_multi<'a>(op: OpCode, request: &'a CreateRequest<'a>) -> Create<'a> {
    let is_container = op == OpCode::Create && request.flags == CreateMode::Container as i32;
    of_create(if is_container { OpCode::CreateContainer } else { op }, request)
}

/// In a multi, Apache makes of a createTTL without TTL flags what the flags say, and forgets the TTL.
fn of_create_ttl_in_multi<'a>(request: &'a CreateTtlRequest<'a>) -> Create<'a> {
    let create = of_create_ttl(request);
    let op = match CreateMode::from_flags(create.flags) {
        Some(mode) if mode.is_ttl() => return create,
        Some(CreateMode::Container) => OpCode::CreateContainer,
        _ => OpCode::Create,
    };
    Create { op, ttl: -1, ..create }
}

/// A null path is found out by an exception in Apache, which makes it -5.
fn text<'a>(path: &'a UStr<'_>) -> Result<&'a str, ErrorCode> {
    path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)
}

fn valid<'a>(path: &'a UStr<'_>) -> Result<&'a str, ErrorCode> {
    let path = path.as_deref().ok_or(ErrorCode::BAD_ARGUMENTS)?;
    wire::path::validate(path).map_err(|_| ErrorCode::BAD_ARGUMENTS)?;
    Ok(path)
}

/// The weaker rule of delete: a slash, no NUL, none of the system's znodes.
fn parent_of_deletable(path: &str) -> Result<&str, ErrorCode> {
    let special = matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | CONFIG_PATH);
    match wire::path::split(path) {
        Some((parent, _)) if !special && !path.contains('\0') => Ok(parent),
        _ => Err(ErrorCode::BAD_ARGUMENTS),
    }
}

/// The version after a change that expected `expected` (-1: any). Behind the last one comes the lowest; -1, which would stand
/// for any, is left out (ZOOKEEPER-4743). In Apache 3.9 it is a version like others.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BAD_VERSION);
    }
    let next = current.wrapping_add(1);
    Ok(if next == -1 { 0 } else { next })
}
