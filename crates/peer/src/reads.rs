//! Reads: a request and the tree in, a reply frame out. Run by a shard at once, or by the pipeline between two txns.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::long_read::LOOK_BYTES;
use crate::stats::Namespaces;
use auth::{AuthConfig, Identities, Verdicts};
use tree::watch::Modes;
use tree::{NodeRef, Tree};
use wire::acl::{ADMIN, READ};
use wire::frame::{self, ReplyHeader};
use wire::request::{PathRequest, ReadRequest as ReadBody};
use wire::response::GetAclResponse;
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, Reader, SessionId, UStr, Xid};

/// What a read may look at.
pub(crate) struct ReadContext<'a> {
    pub tree: &'a Tree,
    pub auth: &'a AuthConfig,
    pub identities: &'a Identities,
    pub verdicts: &'a RefCell<Verdicts>,
    pub session: SessionId,
    pub shard: usize,
    pub length_max: usize,
    /// Where reads are counted.
    pub reads: &'a Namespaces,
    /// The longest page of children.
    pub page_max: usize,
    /// What was looked at, roughly in bytes: ACL entries count, since each may have to be compared.
    pub work: Cell<usize>,
}

/// A watch that a read sets.
pub(crate) type WatchSet = Option<(Box<str>, Modes)>;

/// Does it look at the shard's own watch tables?
pub(crate) const fn is_about_watches(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::SetWatches | OpCode::SetWatches2 | OpCode::AddWatch | OpCode::RemoveWatches | OpCode::CheckWatches
    )
}

/// What a Stat counts for among the bytes read. Source: Apache `DataTree.STAT_OVERHEAD_BYTES`.
pub(crate) const STAT_BYTES: usize = 68;

/// The longest answer of a multiRead, in bytes; one that would be longer is refused.
pub(crate) const MULTI_READ_MAX: usize = 16 << 20;

impl ReadContext<'_> {
    /// Appends the reply frame of a read. The zxid in it is that of the tree.
    pub(crate) fn answer(&self, xid: Xid, op: OpCode, body: &[u8], out: &mut Vec<u8>) -> WatchSet {
        let start = frame::begin(out);
        let header = ReplyHeader { xid, zxid: self.tree.last_processed(), err: ErrorCode::OK };
        header.write(out);
        let body_start = out.len();
        let mut watch = None;
        if let Err(err) = self.body(op, body, out, &mut watch) {
            out.truncate(body_start);
            out[body_start - 4..].copy_from_slice(&err.0.to_be_bytes());
        }
        frame::finish(out, start);
        if let Some((path, modes)) = &watch {
            for interest in modes.interests() {
                self.tree.add_interest(path, interest, self.shard);
            }
        }
        watch
    }

    fn body(&self, op: OpCode, body: &[u8], out: &mut Vec<u8>, watch: &mut WatchSet) -> Result<(), ErrorCode> {
        let mut r = Reader::with_limit(body, self.length_max);
        match op {
            OpCode::Ping => Ok(()),
            OpCode::Error => Err(ErrorCode::THROTTLED_OP),
            OpCode::Sync => {
                let request: PathRequest<'_> = read(&mut r)?;
                request.path.write(out);
                Ok(())
            }
            OpCode::Exists => {
                let request: ReadBody<'_> = read(&mut r)?;
                let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
                if path.contains('\0') {
                    return Err(ErrorCode::BAD_ARGUMENTS);
                }
                let node = self.tree.get(path);
                if let Some(node) = node {
                    self.allowed(node, READ)?;
                }
                // Also where there is no znode: the watch then waits for its creation.
                set_watch(&request, path, Modes::DATA, watch);
                node.ok_or(ErrorCode::NO_NODE)?.stat().write(out);
                self.reads.record(path, STAT_BYTES);
                Ok(())
            }
            OpCode::GetData => {
                let request: ReadBody<'_> = read(&mut r)?;
                let (path, node) = self.readable(&request)?;
                set_watch(&request, path, Modes::DATA, watch);
                self.write_data(path, node, out);
                Ok(())
            }
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let request: ReadBody<'_> = read(&mut r)?;
                let (path, node) = self.readable(&request)?;
                set_watch(&request, path, Modes::CHILD, watch);
                self.write_children(path, node, out);
                if op == OpCode::GetChildren2 {
                    node.stat().write(out);
                }
                Ok(())
            }
            OpCode::GetAcl => self.get_acl(&read(&mut r)?, out),
            OpCode::GetEphemerals => {
                let request: PathRequest<'_> = read(&mut r)?;
                let prefix = ephemeral_prefix(&request);
                let mut looked_at = 0;
                let mine = self.tree.ephemerals(self.session).map(NodeRef::path);
                // Also what does not fit has to be made to be looked at.
                let mine = mine.inspect(|path| looked_at += path.len() + LOOK_BYTES);
                let paths: Vec<UStr<'_>> =
                    mine.filter(|path| path.starts_with(prefix)).map(|path| Some(path.into())).collect();
                self.work.set(self.work.get() + looked_at);
                Some(paths).write(out);
                Ok(())
            }
            OpCode::WhoAmI => {
                let ids = self.identities.as_slice();
                (ids.len() as i32).write(out);
                for id in ids {
                    id.scheme.write(out);
                    user_of(&id.scheme, &id.id).write(out);
                }
                Ok(())
            }
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    pub(crate) fn allowed(&self, node: NodeRef<'_>, wanted: i32) -> Result<(), ErrorCode> {
        self.work.set(self.work.get() + 32 * node.restricted_acl().map_or(0, |acl| acl.len()));
        match node.restricted_acl() {
            Some(acl) if !self.check(acl, wanted) => Err(ErrorCode::NO_AUTH),
            _ => Ok(()),
        }
    }

    fn check(&self, acl: &Arc<[Acl]>, wanted: i32) -> bool {
        self.verdicts.borrow_mut().check(self.auth, acl, wanted, self.identities)
    }

    pub(crate) fn readable<'b>(&'b self, request: &'b ReadBody<'_>) -> Result<(&'b str, NodeRef<'b>), ErrorCode> {
        let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.tree.get(path).ok_or(ErrorCode::NO_NODE)?;
        self.allowed(node, READ)?;
        Ok((path, node))
    }

    fn get_acl(&self, request: &PathRequest<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.tree.get(path).ok_or(ErrorCode::NO_NODE)?;
        let Some(acl) = node.restricted_acl() else {
            GetAclResponse { acl: AclVec::OPEN, stat: node.stat() }.write(out);
            return Ok(());
        };
        self.work.set(self.work.get() + 64 * acl.len());
        if !self.check(acl, READ | ADMIN) {
            return Err(ErrorCode::NO_AUTH);
        }
        let shown = auth::redact_acl(self.auth, acl.to_vec(), self.identities);
        out.extend_from_slice(&AclVec::encode(&shown));
        node.stat().write(out);
        Ok(())
    }

    pub(crate) fn write_data(&self, path: &str, node: NodeRef<'_>, out: &mut Vec<u8>) {
        node.data().write(out);
        node.stat().write(out);
        self.reads.record(path, node.data_length() + STAT_BYTES);
    }

    fn write_children(&self, path: &str, node: NodeRef<'_>, out: &mut Vec<u8>) {
        let (start, count) = (out.len(), node.child_count() as usize);
        (count as i32).write(out);
        for child in node.children() {
            Some(child.name()).write(out);
        }
        // The names without their lengths.
        self.reads.record(path, out.len() - start - 4 * (count + 1) + STAT_BYTES);
    }
}

pub(crate) fn read<'a, T: Field<'a>>(r: &mut Reader<'a>) -> Result<T, ErrorCode> {
    r.read().map_err(|_| ErrorCode::MARSHALLING_ERROR)
}

fn set_watch(request: &ReadBody<'_>, path: &str, modes: Modes, watch: &mut WatchSet) {
    if request.watch {
        *watch = Some((path.into(), modes));
    }
}

/// All below it, if they are at most so many; `/` does not count the znode that Apache's map holds twice.
pub(crate) fn descendants(node: NodeRef<'_>, max: usize) -> Option<i32> {
    let mut count = 0;
    let mut open: Vec<NodeRef<'_>> = vec![node];
    while let Some(node) = open.pop() {
        for child in node.children() {
            if count as usize >= max {
                return None;
            }
            count += 1;
            if child.child_count() > 0 {
                open.push(child);
            }
        }
    }
    Some(count)
}

/// What the paths of ephemerals have to begin with: blank, or blanks around a slash, is everything; else the prefix counts
/// as it is.
pub(crate) fn ephemeral_prefix<'a>(request: &'a PathRequest<'_>) -> &'a str {
    // Java's trim: all up to the blank, and nothing beyond it.
    let trimmed = |p: &str| matches!(p.trim_matches(|c: char| c <= ' '), "" | "/");
    request.path.as_deref().filter(|p| !trimmed(p)).unwrap_or("/")
}

/// What may be shown of an identity: of digest the user alone, of super nothing.
fn user_of(scheme: &str, id: &str) -> String {
    match scheme {
        "digest" => id.split(':').next().unwrap_or_default().to_owned(),
        "super" => String::new(),
        _ => id.to_owned(),
    }
}
