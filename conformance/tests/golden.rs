//! Bytes that Apache wrote, kept in `conformance/golden`: our records read them whole and write them again unchanged.
//! Needs no Apache; only [`record`], which makes them anew, does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{Body, auth, create, create_acl, multi, path, path_version, set, set_acl, watch};
use ostler_conformance::{Options, Server, apache, workspace};
use wire::connect;
use wire::frame::{ReplyHeader, RequestHeader};
use wire::multi::{MultiHeader, MultiRequest};
use wire::request::*;
use wire::response::*;
use wire::txn::{Txn, TxnEntry};
use wire::watcher::WatcherEvent;
use wire::{AclVec, Buffer, Field, OpCode, Reader, StatPersisted, UStr};

fn golden() -> PathBuf {
    workspace().join("conformance/golden")
}

/// Reads a record that fills `bytes`, and writes it again.
fn same<'a, T: Field<'a>>(bytes: &'a [u8]) {
    let mut r = Reader::new(bytes);
    let record: T = r.read().unwrap();
    assert!(r.remaining().is_empty(), "{} bytes are left of {bytes:02x?}", r.remaining().len());
    assert_eq!(record.to_vec(), bytes);
}

fn same_request(op: OpCode, body: &[u8]) {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => same::<CreateRequest<'_>>(body),
        OpCode::Delete => same::<DeleteRequest<'_>>(body),
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => same::<ReadRequest<'_>>(body),
        OpCode::SetData => same::<SetDataRequest<'_>>(body),
        OpCode::GetAcl | OpCode::Sync | OpCode::GetEphemerals | OpCode::GetAllChildrenNumber => {
            same::<PathRequest<'_>>(body);
        }
        OpCode::SetAcl => same::<SetAclRequest<'_>>(body),
        OpCode::Multi | OpCode::MultiRead => same::<MultiRequest<'_>>(body),
        OpCode::Auth => same::<AuthPacket<'_>>(body),
        OpCode::SetWatches => same::<SetWatches<'_>>(body),
        OpCode::SetWatches2 => same::<SetWatches2<'_>>(body),
        OpCode::AddWatch => same::<AddWatchRequest<'_>>(body),
        OpCode::RemoveWatches | OpCode::CheckWatches => same::<WatchesRequest<'_>>(body),
        OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession => assert!(body.is_empty()),
        op => panic!("no request of {op:?} was to be in the session"),
    }
}

fn same_reply(op: OpCode, body: &[u8]) {
    match op {
        OpCode::Create | OpCode::Sync => same::<PathResponse<'_>>(body),
        OpCode::Create2 | OpCode::CreateContainer => same::<Create2Response<'_>>(body),
        OpCode::Exists | OpCode::SetData | OpCode::SetAcl => same::<StatResponse>(body),
        OpCode::GetData => same::<GetDataResponse<'_>>(body),
        OpCode::GetAcl => same::<GetAclResponse<'_>>(body),
        OpCode::GetChildren | OpCode::GetEphemerals => same::<NamesResponse<'_>>(body),
        OpCode::GetChildren2 => same::<GetChildren2Response<'_>>(body),
        OpCode::GetAllChildrenNumber => same::<GetAllChildrenNumberResponse>(body),
        OpCode::WhoAmI => same::<WhoAmIResponse<'_>>(body),
        OpCode::AddWatch => same::<ErrorResponse>(body),
        OpCode::Multi | OpCode::MultiRead => same_results(body),
        _ => assert!(body.is_empty(), "{op:?} has no body, and this came: {body:02x?}"),
    }
}

fn same_results(body: &[u8]) {
    let mut r = Reader::new(body);
    let mut out = Vec::new();
    loop {
        let header: MultiHeader = r.read().unwrap();
        header.write(&mut out);
        if header.done {
            break;
        }
        match OpCode::from_code(header.kind).unwrap() {
            OpCode::Create => r.read::<PathResponse<'_>>().unwrap().write(&mut out),
            OpCode::Create2 => r.read::<Create2Response<'_>>().unwrap().write(&mut out),
            OpCode::SetData => r.read::<StatResponse>().unwrap().write(&mut out),
            OpCode::GetData => r.read::<GetDataResponse<'_>>().unwrap().write(&mut out),
            OpCode::GetChildren => r.read::<NamesResponse<'_>>().unwrap().write(&mut out),
            OpCode::Error => r.read::<ErrorResponse>().unwrap().write(&mut out),
            OpCode::Delete | OpCode::Check => {}
            op => panic!("no result of {op:?} was to be in the session"),
        }
    }
    assert_eq!(out, body);
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn frames_of_a_session() {
    let text = fs::read_to_string(golden().join("session.txt")).unwrap();
    let mut frames = text.lines().map(|line| line.split_once(' ').unwrap()).map(|(who, hex)| (who, bytes_of(hex)));
    let (who, first) = frames.next().unwrap();
    assert_eq!(who, "c");
    same::<connect::ConnectRequest<'_>>(&first);
    let (who, second) = frames.next().unwrap();
    assert_eq!(who, "s");
    same::<connect::ConnectResponse<'_>>(&second);

    let mut asked = Vec::new();
    let (mut replies, mut events, mut refusals) = (0, 0, 0);
    for (who, frame) in frames {
        let mut r = Reader::new(&frame);
        if who == "c" {
            let header: RequestHeader = r.read().unwrap();
            let op = OpCode::from_code(header.op).unwrap();
            same_request(op, r.remaining());
            asked.push((header.xid, op));
            continue;
        }
        let header: ReplyHeader = r.read().unwrap();
        assert_eq!(header.to_vec(), frame[..16]);
        if header.xid.0 == -1 {
            same::<WatcherEvent<'_>>(r.remaining());
            events += 1;
        } else {
            let (xid, op) = asked.remove(0);
            assert_eq!(header.xid, xid);
            if header.err.0 == 0 {
                same_reply(op, r.remaining());
            } else {
                assert!(r.remaining().is_empty());
                refusals += 1;
            }
            replies += 1;
        }
    }
    assert!(asked.is_empty() && replies > 30 && events > 3 && refusals > 3, "{replies}, {events}, {refusals}");
}

/// The checksum of both kinds of file.
fn adler32(bytes: &[u8]) -> i64 {
    let (a, b) = bytes.iter().fold((1_i64, 0_i64), |(a, b), byte| {
        let a = (a + i64::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

fn file(prefix: &str) -> Vec<u8> {
    let found = fs::read_dir(golden()).unwrap().map(|it| it.unwrap().path());
    let mut found = found.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    let path = found.next().expect("it is recorded");
    assert!(found.next().is_none(), "one of each");
    fs::read(path).unwrap()
}

#[test]
fn records_of_a_log() {
    let bytes = file("log.");
    let mut r = Reader::new(&bytes);
    let head: (i32, i32, i64) = (r.read().unwrap(), r.read().unwrap(), r.read().unwrap());
    assert_eq!(head, (0x5a4b_4c47, 2, 0));
    let (mut zxid, mut multis) = (0, 0);
    while let Ok(checksum) = r.read::<i64>() {
        let entry = r.read::<Buffer<'_>>().unwrap().unwrap();
        if entry.is_empty() {
            break;
        }
        assert_eq!(checksum, adler32(entry));
        assert_eq!(r.take(1).unwrap(), b"B");
        same::<TxnEntry<'_>>(entry);
        let txn = TxnEntry::from_slice(entry).unwrap();
        zxid += 1;
        assert_eq!(txn.header.zxid.0, zxid, "no gap");
        if let Txn::Multi(multi) = &txn.txn {
            multis += 1;
            for sub in multi.txns.iter().flatten() {
                let data = sub.data.unwrap();
                let body = Txn::read_body(OpCode::from_code(sub.kind).unwrap(), true, &mut Reader::new(data)).unwrap();
                let mut again = Vec::new();
                body.write_body(&mut again);
                assert_eq!(again, data);
            }
        }
    }
    assert!(zxid == 18 && multis == 3, "{zxid} txns, {multis} multis");
    assert!(r.remaining().iter().all(|byte| *byte == 0), "padding");
}

#[test]
fn records_of_a_snapshot() {
    let bytes = file("snapshot.");
    let mut r = Reader::new(&bytes);
    let mut out = Vec::new();
    let head: (i32, i32, i64) = (r.read().unwrap(), r.read().unwrap(), r.read().unwrap());
    assert_eq!(head, (0x5a4b_534e, 2, -1));
    let sessions: i32 = r.read().unwrap();
    assert_eq!(sessions, 1);
    let _session: (i64, i32) = (r.read().unwrap(), r.read().unwrap());
    let acls: i32 = r.read().unwrap();
    assert!(acls > 0);
    for _ in 0..acls {
        let from = r.offset();
        let _id: i64 = r.read().unwrap();
        let acl: AclVec<'_> = r.read().unwrap();
        assert_eq!(acl.to_vec(), r.since(from)[8..]);
        assert_eq!(AclVec::encode(&acl.decode().unwrap()), acl.to_vec());
    }
    let mut znodes = 0;
    loop {
        let from = r.offset();
        let path: UStr<'_> = r.read().unwrap();
        out.clear();
        path.write(&mut out);
        if path.as_deref() == Some("/") {
            break;
        }
        let data: Buffer<'_> = r.read().unwrap();
        let acl: i64 = r.read().unwrap();
        let stat: StatPersisted = r.read().unwrap();
        data.write(&mut out);
        acl.write(&mut out);
        stat.write(&mut out);
        assert_eq!(out, r.since(from));
        znodes += 1;
    }
    assert!(znodes > 6, "{znodes} znodes");
    seal(&bytes, &mut r);
    let _digest: (i64, i32, i64) = (r.read().unwrap(), r.read().unwrap(), r.read().unwrap());
    seal(&bytes, &mut r);
    let _last_processed: i64 = r.read().unwrap();
    seal(&bytes, &mut r);
    assert!(r.remaining().is_empty());
}

fn seal(bytes: &[u8], r: &mut Reader<'_>) {
    let sealed = &bytes[..r.offset()];
    assert_eq!(r.read::<i64>().unwrap(), adler32(sealed));
    assert_eq!(r.take(5).unwrap(), b"\0\0\0\x01/");
}

/// What is asked in the recorded session.
fn requests() -> Vec<(i32, Vec<u8>)> {
    let both = [(1, create("/g/m", b"", 0)), (15, create("/g/m-", b"x", 3)), (5, set("/g", None, -1))];
    let more = [(13, path_version("/g", 2)), (2, path_version("/g/m", -1))];
    let watches = Body::new().long(1).texts(&["/g"]).texts(&["/none"]).texts(&["/g"]);
    vec![
        (100, auth("digest", b"me:secret")),
        (107, Vec::new()),
        (1, create("/g", b"golden", 0)),
        (1, create("/g", b"", 0)),
        (15, create_acl("/g/mine", Some(b""), &[(1, "world", "anyone"), (31, "auth", "")], 0)),
        (15, create_acl("/g/null", None, &[(31, "world", "anyone")], 1)),
        (1, create("/g/seq-", b"", 2)),
        (19, create("/g/box", b"", 4)),
        (1, create("/none/x", b"", 0)),
        (1, create("/bad/", b"", 0)),
        (3, watch("/g", true)),
        (3, watch("/new", true)),
        (8, watch("/g", true)),
        (5, set("/g", Some(b"more"), 0)),
        (5, set("/g", Some(b"more"), 0)),
        (4, watch("/g", false)),
        (12, watch("/g", false)),
        (8, watch("/", false)),
        (6, path("/g/mine")),
        (7, set_acl("/g/mine", &[(31, "auth", "")], 0)),
        (14, multi(&both)),
        (14, multi(&more)),
        (14, multi(&[both[0].clone(), (13, path_version("/g", 99)), more[1].clone()])),
        (22, multi(&[(4, watch("/g", false)), (8, watch("/g", false)), (4, watch("/none", false))])),
        (9, path("/g")),
        (103, path("/")),
        (104, path("/g")),
        (106, Body::new().text("/g").int(1).0),
        (1, create("/new", b"", 0)),
        (17, Body::new().text("/g").int(3).0),
        (18, Body::new().text("/g").int(3).0),
        (101, watches.clone().0),
        (105, watches.texts(&["/p"]).texts(&["/r"]).0),
        (2, path_version("/new", -1)),
        (2, path_version("/g", -1)),
        (11, Vec::new()),
    ]
}

/// Makes the golden files anew, with Apache.
#[test]
#[ignore = "writes the golden files"]
fn record() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg("preAllocSize=1");
    let mut server = apache::Server::start(&options).unwrap();
    let mut text = String::new();
    let mut note = |who: char, frame: &[u8]| {
        let hex = frame.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        writeln!(text, "{who} {hex}").unwrap();
    };
    let mut client = Connection::open(server.addr()).unwrap();
    let hello = ConnectRequest::default().encode();
    note('c', &hello);
    client.send_frame(&hello).unwrap();
    note('s', &client.read_frame().unwrap());
    for (at, (op, body)) in requests().into_iter().enumerate() {
        let xid = if op == 11 { -2 } else { at as i32 + 1 };
        let frame = Body::new().int(xid).int(op).raw(&body).0;
        note('c', &frame);
        client.send_frame(&frame).unwrap();
        loop {
            let reply = client.read_frame().unwrap();
            note('s', &reply);
            if reply[..4] == xid.to_be_bytes() {
                break;
            }
        }
    }
    server.stop().unwrap();
    server = apache::Server::start(&options).unwrap();
    server.stop().unwrap();
    for entry in fs::read_dir(golden()).unwrap().map(|it| it.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("log.") || name.starts_with("snapshot.") {
            fs::remove_file(entry).unwrap();
        }
    }
    fs::write(golden().join("session.txt"), text).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(server.data_dir().join("version-2")).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort_by_key(|path| path.metadata().unwrap().len());
    for prefix in ["log.", "snapshot."] {
        let largest = files.iter().rev().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
        let largest = largest.unwrap();
        fs::copy(largest, golden().join(largest.file_name().unwrap())).unwrap();
    }
}
