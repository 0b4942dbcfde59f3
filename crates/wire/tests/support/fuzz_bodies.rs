//! What a fuzzer runs: any bytes into a decoder. Nothing may panic, and what can be decoded must survive a round trip.
//!
//! Plain functions of a slice, so that a fuzz target is one line; the tests beside them run each on random bytes and on
//! mutated records.

use std::fmt::Debug;

use ostler_wire::acl::AclVec;
use ostler_wire::connect::{ConnectRequest, ConnectResponse};
use ostler_wire::frame::{self, ReplyHeader, RequestHeader};
use ostler_wire::multi::{MultiHeader, MultiRequest};
use ostler_wire::request::*;
use ostler_wire::response::*;
use ostler_wire::txn::{Txn, TxnEntry};
use ostler_wire::watcher::WatcherEvent;
use ostler_wire::{DecodeError, Field, OpCode, Reader, Stat, StatPersisted};

/// Decodes; if that works, what is encoded from it must decode to the same.
macro_rules! stable {
    ($data:expr, $($ty:ty),+ $(,)?) => {{$(
        if let Ok(first) = <$ty>::from_slice($data) {
            let bytes = first.to_vec();
            same(stringify!($ty), &first, <$ty>::from_slice(&bytes));
        }
    )+}};
}

fn same<T: PartialEq + Debug>(what: &str, first: &T, again: Result<T, DecodeError>) {
    assert_eq!(Ok(first), again.as_ref(), "{what}: decoded, encoded, decoded again");
}

/// A request frame's payload: the header, then the body that its opcode names.
pub fn fuzz_request(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(header) = r.read::<RequestHeader>() else { return };
    let body = r.remaining();
    assert_eq!(r.offset() + body.len(), data.len());
    match OpCode::from_code(header.op) {
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer) => stable!(body, CreateRequest<'_>),
        Some(OpCode::CreateTtl) => stable!(body, CreateTtlRequest<'_>),
        Some(OpCode::Delete) => stable!(body, DeleteRequest<'_>),
        Some(OpCode::DeleteContainer) => stable!(body, DeleteContainerRequest<'_>),
        Some(OpCode::SetData) => stable!(body, SetDataRequest<'_>),
        Some(OpCode::SetAcl) => stable!(body, SetAclRequest<'_>),
        Some(OpCode::Multi | OpCode::MultiRead) => stable!(body, MultiRequest<'_>),
        Some(OpCode::Auth) => stable!(body, AuthPacket<'_>),
        Some(OpCode::Sasl) => stable!(body, SaslToken<'_>),
        Some(OpCode::SetWatches) => stable!(body, SetWatches<'_>),
        Some(OpCode::SetWatches2) => stable!(body, SetWatches2<'_>),
        Some(OpCode::AddWatch) => stable!(body, AddWatchRequest<'_>),
        Some(OpCode::GetChildrenPaginated) => stable!(body, GetChildrenPaginatedRequest<'_>),
        Some(OpCode::Reconfig) => stable!(body, ReconfigRequest<'_>),
        Some(OpCode::CheckWatches | OpCode::RemoveWatches) => stable!(body, WatchesRequest<'_>),
        _ => stable!(body, ReadRequest<'_>, PathRequest<'_>, CheckVersionRequest<'_>),
    }
}

/// Every request body from the same bytes, whatever the opcode would be.
pub fn fuzz_request_bodies(data: &[u8]) {
    stable!(
        data,
        CreateRequest<'_>,
        CreateTtlRequest<'_>,
        DeleteRequest<'_>,
        DeleteContainerRequest<'_>,
        ReadRequest<'_>,
        SetDataRequest<'_>,
        PathRequest<'_>,
        SetAclRequest<'_>,
        CheckVersionRequest<'_>,
        ReconfigRequest<'_>,
        WatchesRequest<'_>,
        AddWatchRequest<'_>,
        GetChildrenPaginatedRequest<'_>,
        AuthPacket<'_>,
        SaslToken<'_>,
        SetWatches<'_>,
        SetWatches2<'_>,
    );
}

/// A multi's body.
pub fn fuzz_multi(data: &[u8]) {
    stable!(data, MultiRequest<'_>, MultiHeader);
}

/// What a server sends.
pub fn fuzz_response(data: &[u8]) {
    stable!(
        data,
        ReplyHeader,
        PathResponse<'_>,
        Create2Response<'_>,
        StatResponse,
        GetDataResponse<'_>,
        GetAclResponse<'_>,
        NamesResponse<'_>,
        GetChildren2Response<'_>,
        GetChildrenPaginatedResponse<'_>,
        GetAllChildrenNumberResponse,
        ErrorResponse,
        WhoAmIResponse<'_>,
        WatcherEvent<'_>,
        Stat,
        StatPersisted,
    );
}

/// Both sides of the handshake.
pub fn fuzz_connect(data: &[u8]) {
    stable!(data, ConnectRequest<'_>, ConnectResponse<'_>);
}

/// A log entry, and every body alone.
pub fn fuzz_txn(data: &[u8]) {
    stable!(data, TxnEntry<'_>);
    for &op in OpCode::ALL {
        for in_multi in [false, true] {
            let Ok(first) = Txn::read_body(op, in_multi, &mut Reader::new(data)) else { continue };
            let mut bytes = Vec::new();
            first.write_body(&mut bytes);
            same("Txn", &first, Txn::read_body(op, in_multi, &mut Reader::new(&bytes)));
        }
    }
}

/// An ACL: its own bytes are kept, and it can always be decoded.
pub fn fuzz_acl(data: &[u8]) {
    let Ok(acl) = AclVec::parse(data) else { return };
    assert!(data.starts_with(acl.as_bytes()));
    assert_eq!(AclVec::parse(acl.as_bytes()), Ok(acl));
    let Ok(count) = i32::from_slice(data) else { panic!("it was read before") };
    match acl.decode() {
        None => assert_eq!(count, -1),
        Some(list) => {
            assert_eq!(list.len(), usize::try_from(count).unwrap_or(0));
            assert_eq!(AclVec::parse(&AclVec::encode(&list)).map(AclVec::decode), Ok(Some(list.clone())));
        }
    }
}

/// A stream of frames.
pub fn fuzz_frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((payload, behind))) = frame::split(rest, 64) {
        assert!(payload.len() <= 64);
        assert_eq!(4 + payload.len() + behind.len(), rest.len());
        rest = behind;
    }
}

/// A path: judged without a panic, and as the plainest form of the rule does.
pub fn fuzz_path(data: &[u8]) {
    let path = String::from_utf8_lossy(data);
    assert_eq!(ostler_wire::path::validate(&path).is_ok(), plain_rule(&path), "{path:?}");
    if let Some((parent, name)) = ostler_wire::path::split(&path) {
        assert_eq!(format!("{parent}/{name}"), path);
        assert!(!name.contains('/'));
    }
}

/// `PathUtils.validatePath`, over UTF-16 units as Java sees them.
fn plain_rule(path: &str) -> bool {
    let units: Vec<u16> = path.encode_utf16().collect();
    if units.first() != Some(&0x2f) {
        return false;
    }
    if units.len() == 1 {
        return true;
    }
    if units.last() == Some(&0x2f) {
        return false;
    }
    let allowed = |c: u16| !matches!(c, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff);
    units[1..].split(|&c| c == 0x2f).all(|component| {
        !component.is_empty()
            && component != [0x2e]
            && component != [0x2e, 0x2e]
            && component.iter().all(|&c| allowed(c))
    })
}

/// A name and what it runs.
pub type Body = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Body] = &[
    ("request", fuzz_request),
    ("request bodies", fuzz_request_bodies),
    ("multi", fuzz_multi),
    ("response", fuzz_response),
    ("connect", fuzz_connect),
    ("txn", fuzz_txn),
    ("acl", fuzz_acl),
    ("frames", fuzz_frames),
    ("path", fuzz_path),
];
