//! Every record: what is encoded decodes to the same; what is cut off anywhere is an error, except where an older
//! format ends there; what promises more than it holds is refused at once.

#[path = "support/parts.rs"]
mod support;

use std::time::{Duration, Instant};

use ostler_wire::acl::AclVec;
use ostler_wire::connect::{ConnectRequest, ConnectResponse};
use ostler_wire::frame::{ReplyHeader, RequestHeader};
use ostler_wire::multi::{MultiHeader, MultiOp, MultiRequest, write_error_result, write_result_header};
use ostler_wire::request::*;
use ostler_wire::response::*;
use ostler_wire::txn::*;
use ostler_wire::watcher::WatcherEvent;
use ostler_wire::{
    Acl, DecodeError, ErrorCode, Field, OpCode, Reader, SessionId, Stat, StatPersisted, UStr, Xid, Zxid,
};
use proptest::prelude::*;
use support::{Parts, parts};

#[allow(clippy::ref_option, reason = "it is what the parts hold")]
fn s(text: &Option<String>) -> UStr<'_> {
    text.as_deref().map(Into::into)
}

#[allow(clippy::ref_option, reason = "it is what the parts hold")]
fn list(names: &Option<Vec<Option<String>>>) -> Option<Vec<UStr<'_>>> {
    names.as_ref().map(|names| names.iter().map(s).collect())
}

/// Round trip; garbage behind is left alone; every cut is an error, unless `lenient` names what it reads as.
macro_rules! check {
    ($ty:ty, $value:expr) => {
        check!($ty, $value, [])
    };
    ($ty:ty, $value:expr, $lenient:expr) => {{
        let value: $ty = $value;
        let mut bytes = value.to_vec();
        let length = bytes.len();
        let lenient: Vec<(usize, $ty)> = $lenient.into();
        for cut in 0..length {
            let got = <$ty>::from_slice(&bytes[..cut]);
            match lenient.iter().find(|(at, _)| *at == cut) {
                Some((_, expected)) => {
                    assert_eq!(got.as_ref(), Ok(expected), "{} cut at {cut} of {length}", stringify!($ty))
                }
                None => assert!(got.is_err(), "{} cut at {cut} of {length} is {got:?}", stringify!($ty)),
            }
        }
        assert_eq!(<$ty>::from_slice(&bytes), Ok(value.clone()), "{}", stringify!($ty));
        bytes.extend_from_slice(&[0xff, 0, 7]);
        let mut r = Reader::new(&bytes);
        assert_eq!(r.read::<$ty>(), Ok(value), "{} with more behind it", stringify!($ty));
        assert_eq!(r.offset(), length, "{}: reads its own bytes and no more", stringify!($ty));
    }};
}

fn stat(p: &Parts) -> Stat {
    Stat {
        czxid: Zxid(p.long[0]),
        mzxid: Zxid(p.long[1]),
        ctime: p.long[2],
        mtime: p.long[3],
        version: p.int[0],
        cversion: p.int[1],
        aversion: p.int[2],
        ephemeral_owner: p.long[4],
        data_length: p.int[3],
        num_children: p.int[4],
        pzxid: Zxid(p.long[5]),
    }
}

fn encoded_acl(p: &Parts) -> Vec<u8> {
    p.acl.as_ref().map_or(AclVec::NULL.as_bytes().to_vec(), |acl| AclVec::encode(acl))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn requests(p in parts()) {
        let (path, data) = (s(&p.text[0]), p.data[0].as_deref());
        let acl = encoded_acl(&p);
        let acl = AclVec::parse(&acl).unwrap();
        let (flags, ttl, version, kind) = (p.int[0], p.long[0], p.int[1], p.int[2]);
        check!(RequestHeader, RequestHeader { xid: Xid(p.int[0]), op: p.int[1] });
        check!(CreateRequest<'_>, CreateRequest { path: path.clone(), data, acl, flags });
        check!(CreateTtlRequest<'_>, CreateTtlRequest { path: path.clone(), data, acl, flags, ttl });
        check!(DeleteRequest<'_>, DeleteRequest { path: path.clone(), version });
        check!(DeleteContainerRequest<'_>, DeleteContainerRequest { path: data });
        check!(ReadRequest<'_>, ReadRequest { path: path.clone(), watch: p.flag });
        check!(SetDataRequest<'_>, SetDataRequest { path: path.clone(), data, version });
        check!(PathRequest<'_>, PathRequest { path: path.clone() });
        check!(SetAclRequest<'_>, SetAclRequest { path: path.clone(), acl, version });
        check!(CheckVersionRequest<'_>, CheckVersionRequest { path: path.clone(), version });
        check!(WatchesRequest<'_>, WatchesRequest { path: path.clone(), kind });
        check!(AddWatchRequest<'_>, AddWatchRequest { path: path.clone(), mode: kind });
        check!(GetChildrenPaginatedRequest<'_>, GetChildrenPaginatedRequest {
            path: path.clone(),
            max_returned: p.int[0],
            czxid_min: Zxid(p.long[0]),
            czxid_offset: p.int[1],
            watch: p.flag,
        });
        check!(AuthPacket<'_>, AuthPacket { kind, scheme: path, auth: data });
        check!(SaslToken<'_>, SaslToken { token: data });
        check!(ReconfigRequest<'_>, ReconfigRequest {
            joining_servers: s(&p.text[0]),
            leaving_servers: s(&p.text[1]),
            new_members: s(&p.text[2]),
            cur_config_id: p.long[0],
        });
        let [data_watches, exist_watches, child_watches, persistent, recursive] = [0, 1, 2, 3, 4].map(|i| list(&p.names[i]));
        check!(SetWatches<'_>, SetWatches {
            relative_zxid: Zxid(p.long[0]),
            data_watches: data_watches.clone(),
            exist_watches: exist_watches.clone(),
            child_watches: child_watches.clone(),
        });
        check!(SetWatches2<'_>, SetWatches2 {
            relative_zxid: Zxid(p.long[0]),
            data_watches,
            exist_watches,
            child_watches,
            persistent_watches: persistent,
            persistent_recursive_watches: recursive,
        });
    }

    #[test]
    fn responses(p in parts()) {
        let (path, data, stat) = (s(&p.text[0]), p.data[0].as_deref(), stat(&p));
        let acl = encoded_acl(&p);
        let acl = AclVec::parse(&acl).unwrap();
        check!(ReplyHeader, ReplyHeader { xid: Xid(p.int[0]), zxid: Zxid(p.long[0]), err: ErrorCode(p.int[1]) });
        check!(PathResponse<'_>, PathResponse { path: path.clone() });
        check!(Create2Response<'_>, Create2Response { path: path.clone(), stat });
        check!(StatResponse, StatResponse { stat });
        check!(GetDataResponse<'_>, GetDataResponse { data, stat });
        check!(GetAclResponse<'_>, GetAclResponse { acl, stat });
        check!(NamesResponse<'_>, NamesResponse { names: list(&p.names[0]) });
        check!(GetChildren2Response<'_>, GetChildren2Response { children: list(&p.names[1]), stat });
        check!(GetChildrenPaginatedResponse<'_>, GetChildrenPaginatedResponse {
            children: list(&p.names[2]),
            stat,
            next_czxid: Zxid(p.long[0]),
            next_czxid_offset: p.int[0],
        });
        check!(GetAllChildrenNumberResponse, GetAllChildrenNumberResponse { total_number: p.int[0] });
        check!(ErrorResponse, ErrorResponse { err: ErrorCode(p.int[0]) });
        let info = ClientInfo { auth_scheme: s(&p.text[1]), user: s(&p.text[2]) };
        check!(WhoAmIResponse<'_>, WhoAmIResponse { client_info: p.flag.then(|| vec![info.clone(), info]) });
        check!(WatcherEvent<'_>, WatcherEvent { kind: p.int[0], state: p.int[1], path });
        check!(Stat, stat);
        prop_assert_eq!(stat.to_vec().len(), 68);
    }

    #[test]
    fn handshakes(p in parts()) {
        let request = ConnectRequest {
            protocol_version: p.int[0],
            last_zxid_seen: Zxid(p.long[0]),
            timeout_ms: p.int[1],
            session: SessionId(p.long[1]),
            password: p.data[0].as_deref(),
            read_only: Some(p.flag),
        };
        // Without its last byte it is the request of an old client.
        let old = ConnectRequest { read_only: None, ..request.clone() };
        let end = old.to_vec().len();
        check!(ConnectRequest<'_>, request, [(end, old)]);
        let response = ConnectResponse {
            protocol_version: p.int[0],
            timeout_ms: p.int[1],
            session: SessionId(p.long[1]),
            password: p.data[0].as_deref(),
            read_only: Some(p.flag),
        };
        let old = ConnectResponse { read_only: None, ..response.clone() };
        let end = old.to_vec().len();
        check!(ConnectResponse<'_>, response, [(end, old)]);
    }

    #[test]
    fn acls(p in parts()) {
        let list = p.acl.clone().unwrap_or_default();
        check!(Option<Vec<Acl>>, p.acl.clone());
        let encoded = encoded_acl(&p);
        check!(AclVec<'_>, AclVec::parse(&encoded).unwrap());
        prop_assert_eq!(AclVec::parse(&encoded).unwrap().decode(), p.acl.clone());
        if let Some(acl) = list.first() {
            check!(Acl, acl.clone());
        }
    }

    #[test]
    fn multis(all in proptest::collection::vec((parts(), 0..7u8), 0..5), reads in any::<bool>()) {
        let acls: Vec<_> = all.iter().map(|(p, _)| encoded_acl(p)).collect();
        let ops = all.iter().zip(&acls).map(|((p, kind), acl)| {
            let (path, data, version) = (s(&p.text[0]), p.data[0].as_deref(), p.int[0]);
            let (given, flags) = (AclVec::parse(acl).unwrap(), p.int[1].rem_euclid(5));
            // No list at all: only in a createTTL.
            let acl = if given == AclVec::NULL && *kind != 3 { AclVec::OPEN } else { given };
            let read = ReadRequest { path: path.clone(), watch: p.flag };
            match (reads, kind) {
                (true, 0..3) => MultiOp::Read(OpCode::GetData, read),
                (true, _) => MultiOp::Read(OpCode::GetChildren, read),
                (_, 0) => MultiOp::Create(OpCode::Create, CreateRequest { path, data, acl, flags }),
                (_, 1) => MultiOp::Create(OpCode::Create2, CreateRequest { path, data, acl, flags }),
                (_, 2) => MultiOp::Create(OpCode::CreateContainer, CreateRequest { path, data, acl, flags }),
                (_, 3) => MultiOp::CreateTtl(CreateTtlRequest { path, data, acl, flags, ttl: p.long[0] }),
                (_, 4) => MultiOp::Delete(DeleteRequest { path, version }),
                (_, 5) => MultiOp::SetData(SetDataRequest { path, data, version }),
                _ => MultiOp::Check(CheckVersionRequest { path, version }),
            }
        });
        check!(MultiRequest<'_>, MultiRequest { ops: ops.collect() });
        if let Some((p, _)) = all.first() {
            check!(MultiHeader, MultiHeader { kind: p.int[0], done: p.flag, err: p.int[1] });
        }
    }

    #[test]
    fn txns(p in parts(), digest in any::<Option<i64>>(), which in 0..13u8) {
        let path = s(&p.text[0]);
        let (data, version, parent_cversion) = (p.data[0].as_deref(), p.int[0], p.int[1]);
        let acl = encoded_acl(&p);
        let acl = AclVec::parse(&acl).unwrap();
        let deleted: Option<Vec<UStr<'_>>> = p.names[0].as_ref().map(|names| {
            names.iter().map(|name| Some(format!("/{}", name.as_deref().unwrap_or("x")).into())).collect()
        });
        let subs: Vec<_> = p.int.iter().zip(p.data.iter().cycle()).map(|(&kind, data)| {
            SubTxn { kind, data: data.as_deref() }
        }).collect();
        let (op, txn) = match which {
            0 | 1 => {
                let op = if which == 0 { OpCode::Create } else { OpCode::Create2 };
                (op, Txn::Create(CreateTxn { path, data, acl, ephemeral: p.flag, parent_cversion }))
            }
            2 => (OpCode::CreateTtl, Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl: p.long[0] })),
            3 => {
                let txn = CreateContainerTxn { path, data, acl, parent_cversion };
                (OpCode::CreateContainer, Txn::CreateContainer(txn))
            }
            4 => (OpCode::Delete, Txn::Delete(DeleteTxn { path })),
            5 => (OpCode::DeleteContainer, Txn::Delete(DeleteTxn { path })),
            6 => (OpCode::SetData, Txn::SetData(SetDataTxn { path, data, version })),
            7 => (OpCode::SetAcl, Txn::SetAcl(SetAclTxn { path, acl, version })),
            8 => (OpCode::Error, Txn::Error(ErrorTxn { err: ErrorCode(version) })),
            9 => (OpCode::CreateSession, Txn::CreateSession(CreateSessionTxn { timeout_ms: version })),
            10 => (OpCode::CloseSession, Txn::CloseSession(Some(CloseSessionTxn { paths_to_delete: deleted }))),
            11 => (OpCode::CloseSession, Txn::CloseSession(None)),
            _ => (OpCode::Multi, Txn::Multi(MultiTxn { txns: p.flag.then_some(subs) })),
        };
        let header = TxnHeader { session: SessionId(p.long[0]), cxid: Xid(p.int[2]), zxid: Zxid(p.long[1]), time_ms: p.long[2], op };
        check!(TxnHeader, header);
        let digest = digest.map(|digest| TxnDigest { version: DIGEST_VERSION, digest });
        let entry = TxnEntry { header, txn: txn.clone(), digest };
        let bytes = entry.to_vec();
        let bare = TxnEntry { header, txn: txn.clone(), digest: None };
        let body_end = bare.to_vec().len();
        for cut in 0..bytes.len() {
            let got = TxnEntry::from_slice(&bytes[..cut]);
            match &txn {
                // Nothing behind the body: an entry without a digest.
                _ if cut == body_end => prop_assert_eq!(&got, &Ok(bare.clone()), "cut at the body's end"),
                // What stands before the parent's cversion is the create of 3.4.
                Txn::Create(create) if cut == body_end - 4 => {
                    let old = Txn::Create(CreateTxn { parent_cversion: -1, ..create.clone() });
                    prop_assert_eq!(&got, &Ok(TxnEntry { txn: old, ..bare.clone() }), "3.4");
                }
                // A list that can't be read is none, as in Apache; what is there of it may pass for a digest.
                Txn::CloseSession(_) if cut >= 32 => {
                    if let Ok(got) = &got {
                        let is_none = matches!(got.txn, Txn::CloseSession(None));
                        prop_assert!(is_none || got.digest.is_none(), "{:?} cut at {}", got, cut);
                    }
                }
                _ => prop_assert!(got.is_err(), "{:?} cut at {} is {:?}", &entry, cut, got),
            }
        }
        prop_assert_eq!(TxnEntry::from_slice(&bytes), Ok(entry));
        check!(TxnDigest, TxnDigest { version: p.int[0], digest: p.long[0] });
        check!(StatPersisted, StatPersisted {
            czxid: Zxid(p.long[0]),
            mzxid: Zxid(p.long[1]),
            ctime: p.long[2],
            mtime: p.long[3],
            version: p.int[0],
            cversion: p.int[1],
            aversion: p.int[2],
            ephemeral_owner: p.long[4],
            pzxid: Zxid(p.long[5]),
        });
        let check = CheckVersionTxn { path: s(&p.text[1]), version };
        check!(CheckVersionTxn<'_>, check.clone());
        let body = Txn::read_body(OpCode::Check, true, &mut Reader::new(&check.to_vec())).map(|t| t == Txn::Check(check.clone()));
        prop_assert_eq!(body, Ok(true));
        prop_assert!(Txn::read_body(OpCode::Check, false, &mut Reader::new(&check.to_vec())).is_err());
    }
}

#[test]
fn results_of_a_multi_have_the_types_that_apache_gives_them() {
    for (op, kind) in [
        (OpCode::Create, 1),
        (OpCode::Create2, 15),
        (OpCode::CreateContainer, 15),
        (OpCode::CreateTtl, 15),
        (OpCode::Delete, 2),
        (OpCode::SetData, 5),
        (OpCode::Check, 13),
        (OpCode::GetData, 4),
        (OpCode::GetChildren, 8),
    ] {
        let mut out = Vec::new();
        write_result_header(op, &mut out);
        assert_eq!(MultiHeader::from_slice(&out), Ok(MultiHeader { kind, done: false, err: 0 }), "{op:?}");
        assert_eq!(out.len(), 9);
    }
    let mut out = Vec::new();
    write_error_result(ErrorCode::NO_NODE, &mut out);
    assert_eq!(MultiHeader::from_slice(&out), Ok(MultiHeader { kind: -1, done: false, err: -101 }));
    assert_eq!(out[9..], (-101i32).to_be_bytes());
}

/// A count of two thousand million and a few bytes: refused at once, and nothing is set aside for the promise.
#[test]
fn promises_cost_nothing() {
    fn refused<T: std::fmt::Debug>(what: &str, decode: impl FnOnce() -> Result<T, DecodeError>) {
        let began = Instant::now();
        let got = decode();
        let took = began.elapsed();
        assert!(got.is_err(), "{what}: {got:?}");
        // Setting aside 2^31 of even one byte, or looping over them, takes longer.
        assert!(took < Duration::from_millis(100), "{what} took {took:?}");
    }
    for tail in [0usize, 1, 4, 9, 64, 1000] {
        let mut bytes = i32::MAX.to_be_bytes().to_vec();
        bytes.resize(4 + tail, 0);
        refused("strings", || NamesResponse::from_slice(&bytes));
        refused("ACL in wire form", || AclVec::parse(&bytes));
        refused("ACL", || <Option<Vec<Acl>>>::from_slice(&bytes));
        refused("closeSession", || CloseSessionTxn::from_slice(&bytes));
        refused("multi txn", || MultiTxn::from_slice(&bytes));
        refused("identities", || WhoAmIResponse::from_slice(&bytes));
        refused("integers", || <Option<Vec<i32>>>::from_slice(&bytes));
        refused("string", || UStr::from_slice(&bytes));
        let mut set_watches = vec![0; 8];
        set_watches.extend_from_slice(&bytes);
        refused("setWatches", || SetWatches::from_slice(&set_watches));
        refused("setWatches2", || SetWatches2::from_slice(&set_watches));
        let mut delete = bytes.clone();
        delete.extend_from_slice(&[0; 4]);
        refused("delete", || DeleteRequest::from_slice(&delete));
    }
}

#[test]
fn the_limit_of_strings_and_buffers_is_exact() {
    let bytes = PathRequest { path: Some("/abcdef".into()) }.to_vec();
    assert!(Reader::with_limit(&bytes, 7).read::<PathRequest<'_>>().is_ok());
    assert_eq!(
        Reader::with_limit(&bytes, 6).read::<PathRequest<'_>>(),
        Err(DecodeError::Length { offset: 0, length: 7 }),
        "refused although it is all there"
    );
}
