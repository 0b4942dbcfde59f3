//! Multi: several operations in one request. Source: Apache `MultiOperationRecord`, `MultiResponse`.
//!
//! A request is a run of (header, sub-request) that ends with a header whose `done` is set; a reply likewise.

use crate::acl::AclVec;
use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Field, Reader};
use crate::op::OpCode;
use crate::request::{
    CheckVersionRequest, CreateMode, CreateRequest, CreateTtlRequest, DeleteRequest, ReadRequest, SetDataRequest,
};

record! {
    /// What stands before every operation and every result, and at the end.
    pub struct MultiHeader {
        /// The operation; -1 at the end, and of a failed result.
        kind: i32,
        /// Is this the end?
        done: bool,
        /// -1 in requests, the error in results.
        err: i32,
    }
}

impl MultiHeader {
    /// The end of a multi.
    pub const END: Self = Self { kind: -1, done: true, err: -1 };
}

/// An operation inside a multi or multiRead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2 or createContainer.
    Create(OpCode, CreateRequest<'a>),
    /// createTTL.
    CreateTtl(CreateTtlRequest<'a>),
    /// delete.
    Delete(DeleteRequest<'a>),
    /// setData.
    SetData(SetDataRequest<'a>),
    /// check.
    Check(CheckVersionRequest<'a>),
    /// getData or getChildren, in a multiRead.
    Read(OpCode, ReadRequest<'a>),
}

impl MultiOp<'_> {
    /// Its opcode.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create(op, _) | Self::Read(op, _) => *op,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check(_) => OpCode::Check,
        }
    }

    /// Its path; `None` if that is null.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Create(_, request) => request.path.as_deref(),
            Self::CreateTtl(request) => request.path.as_deref(),
            Self::Delete(request) => request.path.as_deref(),
            Self::SetData(request) => request.path.as_deref(),
            Self::Check(request) => request.path.as_deref(),
            Self::Read(_, request) => request.path.as_deref(),
        }
    }
}

/// The operations of a multi or multiRead, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultiRequest<'a> {
    /// The operations: all writes, or all reads.
    pub ops: Vec<MultiOp<'a>>,
}

impl<'a> Field<'a> for MultiRequest<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        loop {
            let header: MultiHeader = r.read()?;
            if header.done {
                return Ok(Self { ops });
            }
            let op = OpCode::from_code(header.kind).ok_or_else(|| r.value_error("an unknown operation in a multi"))?;
            let sub = match op {
                OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => MultiOp::Create(op, r.read()?),
                OpCode::CreateTtl => MultiOp::CreateTtl(r.read()?),
                OpCode::Delete => MultiOp::Delete(r.read()?),
                OpCode::SetData => MultiOp::SetData(r.read()?),
                OpCode::Check => MultiOp::Check(r.read()?),
                OpCode::GetData | OpCode::GetChildren => MultiOp::Read(op, r.read()?),
                _ => return Err(r.value_error("an operation that a multi can't hold")),
            };
            if let MultiOp::Create(_, create) = &sub
                && CreateMode::from_flags(create.flags).is_none_or(CreateMode::is_ttl)
            {
                return Err(r.value_error("create flags that a create in a multi can't have"));
            }
            if let MultiOp::Create(_, create) = &sub
                && create.acl == AclVec::NULL
            {
                // Apache's exception, before it looks at any operation. A createTTL with such a list fails for itself.
                return Err(r.value_error("a create without a list of ACLs in a multi"));
            }
            let is_read = |op: &MultiOp<'_>| matches!(op, MultiOp::Read(..));
            if ops.first().is_some_and(|first| is_read(first) != is_read(&sub)) {
                return Err(r.value_error("reads and writes in one multi"));
            }
            ops.push(sub);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for op in &self.ops {
            MultiHeader { kind: op.op().code(), done: false, err: -1 }.write(out);
            match op {
                MultiOp::Create(_, sub) => sub.write(out),
                MultiOp::CreateTtl(sub) => sub.write(out),
                MultiOp::Delete(sub) => sub.write(out),
                MultiOp::SetData(sub) => sub.write(out),
                MultiOp::Check(sub) => sub.write(out),
                MultiOp::Read(_, sub) => sub.write(out),
            }
        }
        MultiHeader::END.write(out);
    }
}

/// Appends the header of a result that succeeded; its body follows.
///
/// The results of create2, createContainer and createTTL all carry create2's type.
pub fn write_result_header(op: OpCode, out: &mut Vec<u8>) {
    let kind = match op {
        OpCode::CreateContainer | OpCode::CreateTtl => OpCode::Create2.code(),
        op => op.code(),
    };
    MultiHeader { kind, done: false, err: 0 }.write(out);
}

/// Appends a result that is an error (0 for the operations before the failed one).
pub fn write_error_result(err: ErrorCode, out: &mut Vec<u8>) {
    MultiHeader { kind: OpCode::Error.code(), done: false, err: err.0 }.write(out);
    err.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(flags: i32) -> MultiOp<'static> {
        MultiOp::Create(OpCode::Create, CreateRequest { path: Some("/a".into()), data: None, acl: AclVec::OPEN, flags })
    }

    #[test]
    fn round_trip_and_refusals() {
        let read = MultiOp::Read(OpCode::GetData, ReadRequest { path: Some("/a".into()), watch: false });
        let good = MultiRequest {
            ops: vec![create(0), MultiOp::Delete(DeleteRequest { path: Some("/a".into()), version: -1 })],
        };
        assert_eq!(MultiRequest::from_slice(&good.to_vec()), Ok(good));
        let empty = MultiRequest::default();
        assert_eq!(empty.to_vec().len(), 9);
        assert_eq!(MultiRequest::from_slice(&empty.to_vec()), Ok(empty));
        let mut without_acl = create(0);
        if let MultiOp::Create(_, create) = &mut without_acl {
            create.acl = AclVec::NULL;
        }
        for bad in [vec![create(7)], vec![without_acl], vec![create(0), read.clone()], vec![read, create(0)]] {
            assert!(MultiRequest::from_slice(&MultiRequest { ops: bad }.to_vec()).is_err());
        }
    }
}
