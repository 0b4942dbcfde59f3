//! The order of the checks on writes, a row for each pair that decides it: what is wrong, and which error is told.

extern crate tree as ostler_tree;

#[allow(clippy::expect_used, reason = "a test may stop where it stands")]
mod support;

use support::check::check;
use support::talk::{connect, create, delete, read, set_data};
use support::world::{Options, World};
use wire::frame::ReplyHeader;
use wire::multi::{MultiHeader, MultiOp, MultiRequest};
use wire::request::{CheckVersionRequest, CreateTtlRequest, DeleteContainerRequest, SetAclRequest};
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Zxid};

const OPEN: AclVec<'static> = AclVec::OPEN;
/// No list at all: invalid in a request.
const BAD: AclVec<'static> = AclVec::NULL;

fn set_acl(path: &str, acl: AclVec<'_>, version: i32) -> Vec<u8> {
    SetAclRequest { path: Some(path.into()), acl, version }.to_vec()
}

/// `/open`; `/open/full` (version 1) with a child; `/locked`, which may only be looked at, with a child; `/secret`, which
/// may not even be; the ephemeral `/eph`.
fn furnished(extended_types: bool) -> (World, usize) {
    let mut world = World::new(3, Options { extended_types, ..Options::default() });
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    let only_read = AclVec::encode(&[Acl::new(1, "world", "anyone")]);
    let nothing = AclVec::encode(&[Acl::new(0, "world", "anyone")]);
    let mut bodies = Vec::new();
    for path in ["/open", "/open/full", "/open/full/child", "/locked", "/locked/child", "/secret"] {
        bodies.push((OpCode::Create, create(path, b"", OPEN, 0)));
    }
    bodies.push((OpCode::Create, create("/eph", b"", OPEN, 1)));
    bodies.push((OpCode::SetData, set_data("/open/full", b"", 0)));
    for (path, acl) in [("/locked", only_read), ("/secret", nothing)] {
        bodies.push((OpCode::SetAcl, SetAclRequest { path: Some(path.into()), acl: list(&acl), version: 0 }.to_vec()));
    }
    for (xid, (op, body)) in bodies.iter().enumerate() {
        world.request(client, xid as i32 + 1, *op, body);
    }
    world.settle();
    check(&world);
    (world, client)
}

fn list(encoded: &[u8]) -> AclVec<'_> {
    AclVec::parse(encoded).unwrap_or(BAD)
}

/// Sends it; the error in the reply, which comes with a zxid of its own: a refused write is a txn, too.
fn error_of(extended_types: bool, op: OpCode, body: &[u8]) -> i32 {
    let (mut world, client) = furnished(extended_types);
    let before = world.applied();
    world.request(client, 100, op, body);
    world.settle();
    check(&world);
    let frames = world.frames(client);
    let Some(Ok(header)) = frames.last().map(|frame| ReplyHeader::from_slice(frame)) else { panic!("no reply") };
    assert_eq!((header.xid.0, header.zxid), (100, before.next()));
    header.err.0
}

#[test]
fn create_is_checked_in_this_order() {
    for (what, body, err) in [
        ("flags before all else", create("none", b"", BAD, 7), -8),
        ("TTL flags without TTLs before the path", create("none", b"", BAD, 5), -6),
        ("the path's form before the ACL", create("none", b"", BAD, 0), -8),
        ("so with NUL", create("/none/a\0", b"", BAD, 0), -8),
        ("the ACL before the parent", create("/none/a", b"", BAD, 0), -114),
        ("the parent before the path's characters", create("/none/\u{1}", b"", OPEN, 0), -101),
        ("permission before the path's characters", create("/locked/\u{1}", b"", OPEN, 0), -102),
        ("permission before existence", create("/locked/child", b"", OPEN, 0), -102),
        ("characters before an ephemeral parent", create("/eph/\u{1}", b"", OPEN, 0), -8),
        ("existence", create("/open/full", b"", OPEN, 0), -110),
        ("the root exists", create("/", b"", OPEN, 0), -110),
        ("a slash at the end", create("/open/", b"", OPEN, 0), -8),
        ("but not of a sequential one", create("/open/", b"", OPEN, 2), 0),
        ("an ephemeral parent", create("/eph/a", b"", OPEN, 0), -108),
        ("nothing wrong", create("/open/new", b"", OPEN, 0), 0),
    ] {
        for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer] {
            assert_eq!(error_of(false, op, &body), err, "{what} ({op:?})");
        }
    }
}

#[test]
fn create_ttl_is_checked_in_this_order() {
    let body = |path: &str, acl, flags, ttl| {
        CreateTtlRequest { path: Some(path.into()), data: None, acl, flags, ttl }.to_vec()
    };
    for (what, extended_types, body, err) in [
        ("flags first", false, body("none", BAD, 7, 0), -8),
        ("TTLs switched off before a bad TTL", false, body("none", BAD, 5, 0), -6),
        ("a TTL of 0", true, body("/none/a", BAD, 5, 0), -8),
        ("a TTL too long", true, body("/none/a", BAD, 6, 1 << 40), -8),
        ("a TTL without TTL flags", true, body("/none/a", BAD, 0, 5), -8),
        ("neither", true, body("/open/a", OPEN, 0, -1), -8),
        ("then as create", true, body("/none/a", BAD, 5, 1), -114),
        ("the longest", true, body("/open/a", OPEN, 5, (1 << 40) - 1), 0),
    ] {
        assert_eq!(error_of(extended_types, OpCode::CreateTtl, &body), err, "{what}");
    }
}

#[test]
fn delete_is_checked_in_this_order() {
    for (what, body, err) in [
        ("no slash", delete("none", 9), -8),
        ("NUL", delete("/none/a\0", 9), -8),
        ("the root", delete("/", 9), -8),
        ("the system's", delete("/zookeeper/config", 9), -8),
        ("the parent", delete("/none/a", 9), -101),
        ("permission on the parent before existence", delete("/locked/none", 9), -102),
        ("permission on the parent before the version", delete("/locked/child", 9), -102),
        ("existence", delete("/open/none", 9), -101),
        ("a slash at the end names no znode", delete("/open/", -1), -101),
        ("the version before children", delete("/open/full", 9), -103),
        ("children", delete("/open/full", 1), -111),
        ("its own ACL is nobody's business", delete("/secret", -1), 0),
        ("nothing wrong", delete("/open/full/child", 0), 0),
    ] {
        assert_eq!(error_of(false, OpCode::Delete, &body), err, "{what}");
    }
    for (what, path, err) in [
        ("no slash", "none", -8),
        ("the root", "/", -8),
        ("existence", "/none/a", -101),
        ("children", "/open", -111),
        ("an ephemeral", "/eph", -103),
        ("no permission is asked for", "/locked/child", 0),
    ] {
        let body = DeleteContainerRequest { path: Some(path.as_bytes()) }.to_vec();
        assert_eq!(error_of(false, OpCode::DeleteContainer, &body), err, "deleteContainer: {what}");
    }
}

#[test]
fn set_data_and_set_acl_are_checked_in_this_order() {
    for (what, op, body, err) in [
        ("the path before existence", OpCode::SetData, set_data("/none/", b"", 9), -8),
        ("existence", OpCode::SetData, set_data("/none", b"", 9), -101),
        ("permission before the version", OpCode::SetData, set_data("/locked", b"", 9), -102),
        ("the version", OpCode::SetData, set_data("/open/full", b"", 0), -103),
        ("nothing wrong", OpCode::SetData, set_data("/open/full", b"", 1), 0),
        ("the path before the ACL", OpCode::SetAcl, set_acl("/none/", BAD, 9), -8),
        ("the ACL before existence", OpCode::SetAcl, set_acl("/none", BAD, 9), -114),
        ("existence", OpCode::SetAcl, set_acl("/none", OPEN, 9), -101),
        ("permission before the version", OpCode::SetAcl, set_acl("/locked", OPEN, 9), -102),
        ("the aversion, not the version", OpCode::SetAcl, set_acl("/open/full", OPEN, 1), -103),
        ("nothing wrong", OpCode::SetAcl, set_acl("/open/full", OPEN, 0), 0),
    ] {
        assert_eq!(error_of(false, op, &body), err, "{op:?}: {what}");
    }
}

#[test]
fn check_is_checked_in_this_order() {
    for (what, path, version, err) in [
        ("the path before existence", "/none/", 9, -8),
        ("existence", "/none", 9, -101),
        ("permission before the version", "/secret", 9, -102),
        ("the version", "/open/full", 0, -103),
        ("nothing wrong", "/open/full", 1, 0),
        ("any version", "/open/full", -1, 0),
    ] {
        let (mut world, client) = furnished(false);
        let op = MultiOp::Check(CheckVersionRequest { path: Some(path.into()), version });
        world.request(client, 100, OpCode::Multi, &MultiRequest { ops: vec![op] }.to_vec());
        world.settle();
        check(&world);
        let frames = world.frames(client);
        let mut r = Reader::new(frames[frames.len() - 1]);
        let headers = (r.read::<ReplyHeader>(), r.read::<MultiHeader>());
        let (Ok(header), Ok(result)) = headers else { panic!("{what}: {headers:?}") };
        assert_eq!((header.err, result.err), (ErrorCode::OK, err), "{what}");
    }
}

#[test]
fn what_can_not_be_read_is_a_marshalling_error_and_the_connection_stays() {
    for op in [
        OpCode::Create,
        OpCode::Create2,
        OpCode::CreateTtl,
        OpCode::CreateContainer,
        OpCode::Delete,
        OpCode::DeleteContainer,
        OpCode::SetData,
        OpCode::SetAcl,
        OpCode::Multi,
    ] {
        for body in [&[][..], &[0, 0, 0], &[0, 0, 0, 9, b'/'], &[255, 255, 255, 254]] {
            assert_eq!(error_of(false, op, body), -5, "{op:?} {body:?}");
        }
    }
}

/// A refused multi leaves nothing behind, also where it follows what is not applied yet.
#[test]
fn a_failed_multi_is_undone_before_the_next_write_looks() {
    let (mut world, client) = furnished(false);
    let sub = |path: &'static str| {
        let request = wire::request::CreateRequest { path: Some(path.into()), data: None, acl: OPEN, flags: 2 };
        MultiOp::Create(OpCode::Create, request)
    };
    let fails = MultiOp::Check(CheckVersionRequest { path: Some("/none".into()), version: 0 });
    // All at once, so that each is prepared while those before it are outstanding.
    world.request(client, 100, OpCode::Create, &create("/open/s", b"", OPEN, 2));
    world.request(client, 101, OpCode::Multi, &MultiRequest { ops: vec![sub("/open/m"), fails] }.to_vec());
    world.request(client, 102, OpCode::Create, &create("/open/s", b"", OPEN, 2));
    world.request(client, 103, OpCode::Multi, &MultiRequest { ops: vec![sub("/open/m"), sub("/open/m")] }.to_vec());
    world.request(client, 104, OpCode::GetChildren, &read("/open", false));
    world.settle();
    check(&world);
    let frames = world.frames(client);
    let mut r = Reader::new(&frames[frames.len() - 1][16..]);
    let names: Option<Vec<String>> = r.read().unwrap_or_default();
    let expected = ["full", "s0000000001", "s0000000002", "m0000000003", "m0000000004"];
    assert_eq!(names.unwrap_or_default(), expected);
}
