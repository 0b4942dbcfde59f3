//! Txns: what is logged, proposed and applied. Source: Apache `SerializeUtils.deserializeTxn`, `zookeeper.jute`.
//!
//! An entry is a [`TxnHeader`], the body that the header's type names, and, unless digests are off or the txn is an
//! error, a [`TxnDigest`]. Older formats are read too: a create without `parentCVersion` (3.4), a closeSession without
//! its list (before 3.6), an entry without a digest.

use crate::acl::AclVec;
use crate::error_code::ErrorCode;
use crate::ids::{SessionId, Xid, Zxid};
use crate::jute::{Buffer, DecodeError, Field, Reader, UStr};
use crate::op::OpCode;

record! {
    /// Who wrote it, when, and as which txn (32 bytes).
    #[derive(Copy)]
    pub struct TxnHeader {
        /// The session; 0 of the server's own.
        session: SessionId,
        /// The client's number of the request.
        cxid: Xid,
        /// The txn's place in history.
        zxid: Zxid,
        /// The leader's wall clock, ms since 1970.
        time_ms: i64,
        /// What the body is.
        op: OpCode,
    }
}

record! {
    /// The tree's digest after the txn (12 bytes).
    #[derive(Copy)]
    pub struct TxnDigest {
        /// How it is computed: 2.
        version: i32,
        /// The sum over all znodes.
        digest: i64,
    }
}

/// The one way of computing digests that 3.6 to 3.9 know (`DigestCalculator.DIGEST_VERSION`).
pub const DIGEST_VERSION: i32 = 2;

record! {
    /// Of create and create2.
    pub struct CreateTxn<'a> {
        /// The final path.
        path: UStr<'a>,
        /// The data.
        data: Buffer<'a>,
        /// The expanded list.
        acl: AclVec<'a>,
        /// Does it go with the header's session?
        ephemeral: bool,
        /// The parent's cversion after it; -1: one more than before (3.4).
        parent_cversion: i32,
    }
}

record! {
    /// Of createTTL.
    pub struct CreateTtlTxn<'a> {
        /// The final path.
        path: UStr<'a>,
        /// The data.
        data: Buffer<'a>,
        /// The expanded list.
        acl: AclVec<'a>,
        /// The parent's cversion after it.
        parent_cversion: i32,
        /// The time to live in ms.
        ttl: i64,
    }
}

record! {
    /// Of createContainer.
    pub struct CreateContainerTxn<'a> {
        /// The final path.
        path: UStr<'a>,
        /// The data.
        data: Buffer<'a>,
        /// The expanded list.
        acl: AclVec<'a>,
        /// The parent's cversion after it.
        parent_cversion: i32,
    }
}

record! {
    /// Of delete and deleteContainer.
    pub struct DeleteTxn<'a> {
        /// The znode.
        path: UStr<'a>,
    }
}

record! {
    /// Of setData and reconfig.
    pub struct SetDataTxn<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The new data.
        data: Buffer<'a>,
        /// The version after it.
        version: i32,
    }
}

record! {
    /// Of setACL.
    pub struct SetAclTxn<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The expanded list.
        acl: AclVec<'a>,
        /// The aversion after it.
        version: i32,
    }
}

record! {
    /// Of check, inside a multi.
    pub struct CheckVersionTxn<'a> {
        /// The znode.
        path: UStr<'a>,
        /// One more than its version.
        version: i32,
    }
}

record! {
    /// Of createSession.
    pub struct CreateSessionTxn {
        /// The negotiated timeout.
        timeout_ms: i32,
    }
}

record! {
    /// Of closeSession, since 3.6.
    pub struct CloseSessionTxn<'a> {
        /// The session's ephemerals, in the order of their deletion.
        paths_to_delete: Option<Vec<UStr<'a>>>,
    }
}

record! {
    /// Of a refused write.
    pub struct ErrorTxn {
        /// Why.
        err: ErrorCode,
    }
}

record! {
    /// One operation of a multi.
    pub struct SubTxn<'a> {
        /// What it is; -1 in a failed multi from the failed one on.
        kind: i32,
        /// Its body.
        data: Buffer<'a>,
    }
}

record! {
    /// Of multi.
    pub struct MultiTxn<'a> {
        /// The operations.
        txns: Option<Vec<SubTxn<'a>>>,
    }
}

/// The body of a txn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn<'a> {
    /// create, create2.
    Create(CreateTxn<'a>),
    /// createTTL.
    CreateTtl(CreateTtlTxn<'a>),
    /// createContainer.
    CreateContainer(CreateContainerTxn<'a>),
    /// delete, deleteContainer.
    Delete(DeleteTxn<'a>),
    /// setData, reconfig.
    SetData(SetDataTxn<'a>),
    /// setACL.
    SetAcl(SetAclTxn<'a>),
    /// check, in a multi.
    Check(CheckVersionTxn<'a>),
    /// createSession.
    CreateSession(CreateSessionTxn),
    /// closeSession; `None` from before 3.6 or with `closeSessionTxn.enabled=false`.
    CloseSession(Option<CloseSessionTxn<'a>>),
    /// A refused write.
    Error(ErrorTxn),
    /// multi.
    Multi(MultiTxn<'a>),
}

impl<'a> Txn<'a> {
    /// Reads the body that a txn of type `op` has. In a multi, `check` has one too (`in_multi`).
    pub fn read_body(op: OpCode, in_multi: bool, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 => Self::Create(read_create(r)?),
            OpCode::CreateTtl => Self::CreateTtl(r.read()?),
            OpCode::CreateContainer => Self::CreateContainer(r.read()?),
            OpCode::Delete | OpCode::DeleteContainer => Self::Delete(r.read()?),
            OpCode::SetData | OpCode::Reconfig => Self::SetData(r.read()?),
            OpCode::SetAcl => Self::SetAcl(r.read()?),
            OpCode::Error => Self::Error(r.read()?),
            OpCode::Check if in_multi => Self::Check(r.read()?),
            OpCode::Multi if !in_multi => Self::Multi(r.read()?),
            OpCode::CreateSession if !in_multi => Self::CreateSession(r.read()?),
            OpCode::CloseSession if !in_multi => Self::CloseSession(read_close_session(r)),
            _ => return Err(r.value_error("not a type that a txn has")),
        })
    }

    /// Appends the body.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(txn) => txn.write(out),
            Self::CreateTtl(txn) => txn.write(out),
            Self::CreateContainer(txn) => txn.write(out),
            Self::Delete(txn) => txn.write(out),
            Self::SetData(txn) => txn.write(out),
            Self::SetAcl(txn) => txn.write(out),
            Self::Check(txn) => txn.write(out),
            Self::CreateSession(txn) => txn.write(out),
            Self::CloseSession(txn) => {
                if let Some(txn) = txn {
                    txn.write(out);
                }
            }
            Self::Error(txn) => txn.write(out),
            Self::Multi(txn) => txn.write(out),
        }
    }
}

/// A create body that ends before `parentCVersion` is the one of 3.4.
fn read_create<'a>(r: &mut Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
    Ok(CreateTxn {
        path: r.read()?,
        data: r.read()?,
        acl: r.read()?,
        ephemeral: r.read()?,
        parent_cversion: if r.remaining().is_empty() { -1 } else { r.read()? },
    })
}

/// A closeSession whose list can't be read has none, as Apache takes it. A digest behind an empty body begins with its
/// version, 2, and could read as a list of two: so a list is one only if each of its entries is a path.
fn read_close_session<'a>(r: &mut Reader<'a>) -> Option<CloseSessionTxn<'a>> {
    let mut ahead = r.clone();
    let body: CloseSessionTxn<'a> = ahead.read().ok()?;
    let is_path = |entry: &UStr<'a>| entry.as_deref().is_some_and(|path| path.starts_with('/'));
    if !body.paths_to_delete.iter().flatten().all(is_path) {
        return None;
    }
    *r = ahead;
    Some(body)
}

/// A whole txn, as it stands in a log record or a PROPOSAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnEntry<'a> {
    /// Who, when, which.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn<'a>,
    /// The digest that the tree has after it.
    pub digest: Option<TxnDigest>,
}

impl<'a> Field<'a> for TxnEntry<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header: TxnHeader = r.read()?;
        let txn = Txn::read_body(header.op, false, r)?;
        let digest = if r.remaining().is_empty() { None } else { Some(r.read()?) };
        Ok(Self { header, txn, digest })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.header.write(out);
        self.txn.write_body(out);
        if let Some(digest) = self.digest {
            digest.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(op: OpCode) -> TxnHeader {
        TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(9), time_ms: 1000, op }
    }

    #[test]
    fn sizes_of_the_fixed_parts() {
        assert_eq!(header(OpCode::Create).to_vec().len(), 32);
        assert_eq!(TxnDigest { version: 2, digest: 0 }.to_vec().len(), 12);
    }

    #[test]
    fn create_of_3_4_has_no_parent_cversion() {
        let entry = TxnEntry {
            header: header(OpCode::Create),
            txn: Txn::Create(CreateTxn {
                path: Some("/a".into()),
                data: Some(b"x"),
                acl: AclVec::OPEN,
                ephemeral: false,
                parent_cversion: -1,
            }),
            digest: None,
        };
        let bytes = entry.to_vec();
        assert_eq!(TxnEntry::from_slice(&bytes[..bytes.len() - 4]), Ok(entry));
    }

    #[test]
    fn close_session_without_its_list() {
        let bare = TxnEntry { header: header(OpCode::CloseSession), txn: Txn::CloseSession(None), digest: None };
        assert_eq!(TxnEntry::from_slice(&bare.to_vec()), Ok(bare));
        let digested = TxnEntry {
            header: header(OpCode::CloseSession),
            txn: Txn::CloseSession(None),
            digest: Some(TxnDigest { version: 2, digest: -1 }),
        };
        assert_eq!(TxnEntry::from_slice(&digested.to_vec()), Ok(digested));
    }
}
