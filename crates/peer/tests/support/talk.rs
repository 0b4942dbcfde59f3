//! What clients say: frames of requests, and random ones.

use ostler_peer::session::password;
use wire::connect::ConnectRequest;
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::multi::{MultiOp, MultiRequest};
use wire::request::*;
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, SessionId, Xid, Zxid};

use super::world::{Rng, Sent, World};

/// A frame around a payload.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    out.extend_from_slice(payload);
    frame::finish(&mut out, start);
    out
}

/// A handshake: for a new session (0) or an old one, with the right password.
pub fn connect(session: SessionId, last_zxid_seen: Zxid, timeout_ms: i32) -> Vec<u8> {
    connect_with(session, &password(session), last_zxid_seen, timeout_ms)
}

/// A handshake with any password.
pub fn connect_with(session: SessionId, password: &[u8], last_zxid_seen: Zxid, timeout_ms: i32) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms,
        session,
        password: Some(password),
        read_only: Some(false),
    };
    framed(&request.to_vec())
}

impl World {
    /// The client sends a request, and it is remembered for the checker.
    pub fn request(&mut self, client: usize, xid: i32, op: OpCode, body: &[u8]) {
        self.request_code(client, xid, op.code(), body);
    }

    /// The same with any opcode.
    pub fn request_code(&mut self, client: usize, xid: i32, op: i32, body: &[u8]) {
        let mut payload = RequestHeader { xid: Xid(xid), op }.to_vec();
        payload.extend_from_slice(body);
        self.write(client, &framed(&payload));
        let (ids, applied_before) = (self.clients[client].ids.clone(), self.applied());
        self.clients[client].sent.push(Sent { xid, op, body: body.to_vec(), ids, applied_before });
    }

    /// The client logs in; what it sends from now on has the identity.
    pub fn login(&mut self, client: usize, credentials: &str) {
        let packet = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(credentials.as_bytes()) };
        self.request(client, -4, OpCode::Auth, &packet.to_vec());
        let config = auth::AuthConfig::default();
        let found = &mut self.clients[client];
        if let Ok(ids) = found.ids.login(&config, "digest", Some(credentials.as_bytes()), || None) {
            found.ids = ids;
        }
    }
}

/// Body of create and its kin.
pub fn create(path: &str, data: &[u8], acl: AclVec<'_>, flags: i32) -> Vec<u8> {
    CreateRequest { path: Some(path.into()), data: Some(data), acl, flags }.to_vec()
}

/// Body of delete.
pub fn delete(path: &str, version: i32) -> Vec<u8> {
    DeleteRequest { path: Some(path.into()), version }.to_vec()
}

/// Body of setData.
pub fn set_data(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    SetDataRequest { path: Some(path.into()), data: Some(data), version }.to_vec()
}

/// Body of exists, getData, getChildren and getChildren2.
pub fn read(path: &str, watch: bool) -> Vec<u8> {
    ReadRequest { path: Some(path.into()), watch }.to_vec()
}

/// Lists to choose from: valid ones, and some that are refused.
pub fn acls() -> Vec<Vec<u8>> {
    vec![
        AclVec::OPEN.as_bytes().to_vec(),
        AclVec::encode(&[Acl::new(31, "auth", "")]),
        AclVec::encode(&[Acl::new(1, "world", "anyone"), Acl::new(31, "auth", ""), Acl::new(1, "world", "anyone")]),
        AclVec::encode(&[Acl::new(29, "world", "anyone")]),
        AclVec::encode(&[Acl::new(16, "world", "anyone"), Acl::new(15, "digest", "u:somehash")]),
        AclVec::encode(&[Acl::new(31, "world", "someone")]),
        AclVec::encode(&[Acl::new(31, "nobody", "knows")]),
        AclVec::encode(&[]),
        AclVec::NULL.as_bytes().to_vec(),
    ]
}

const PATHS: [&str; 10] = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/z", "/e", "/e/x", "/a/", "/"];
const ODD: [&str; 10] =
    ["", "a", "//", "/a//b", "/a/./b", "/a\u{1}", "/zookeeper", "/zookeeper/quota/q", "/a\u{0}b", "/zookeeper/config"];

fn path(rng: &mut Rng) -> &'static str {
    if rng.chance(7) { rng.pick::<&str>(&ODD) } else { rng.pick::<&str>(&PATHS) }
}

fn an_acl(rng: &mut Rng) -> Vec<u8> {
    let all = acls();
    if rng.chance(75) { all[0].clone() } else { rng.pick(&all).clone() }
}

fn version(rng: &mut Rng) -> i32 {
    *rng.pick(&[-1, -1, -1, 0, 1, 2])
}

/// A random write: opcode and body.
pub fn random_write(rng: &mut Rng) -> (OpCode, Vec<u8>) {
    let data = vec![b'd'; rng.below(20)];
    let target = path(rng);
    match rng.below(20) {
        0..8 => {
            let op = *rng.pick(&[OpCode::Create, OpCode::Create, OpCode::Create2, OpCode::CreateContainer]);
            let flags = *rng.pick(&[0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 9]);
            let acl = an_acl(rng);
            let Ok(acl) = AclVec::parse(&acl) else { unreachable!("made above") };
            let data = if rng.chance(5) { None } else { Some(&data[..]) };
            (op, CreateRequest { path: Some(target.into()), data, acl, flags }.to_vec())
        }
        8 => {
            let (flags, ttl) = (*rng.pick(&[5, 5, 6, 0, 9]), *rng.pick(&[1000, 1, 0, -1, 1 << 40]));
            let request = CreateTtlRequest { path: Some(target.into()), data: None, acl: AclVec::OPEN, flags, ttl };
            (OpCode::CreateTtl, request.to_vec())
        }
        9..12 => (OpCode::Delete, delete(target, version(rng))),
        12..15 => (OpCode::SetData, set_data(target, &data, version(rng))),
        15 => {
            let acl = an_acl(rng);
            let Ok(acl) = AclVec::parse(&acl) else { unreachable!("made above") };
            let version = version(rng);
            (OpCode::SetAcl, SetAclRequest { path: Some(target.into()), acl, version }.to_vec())
        }
        16 => (OpCode::DeleteContainer, DeleteContainerRequest { path: Some(target.as_bytes()) }.to_vec()),
        17 => {
            let (op, mut body) = random_write(rng);
            body.truncate(rng.below(body.len() + 1));
            (op, body)
        }
        _ => (OpCode::Multi, random_multi(rng)),
    }
}

fn random_multi(rng: &mut Rng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..rng.below(4) {
        let target = path(rng);
        let op = match rng.below(6) {
            5 => {
                let (flags, ttl) = (*rng.pick(&[0, 1, 2, 4, 5, 6, 9]), *rng.pick(&[1000, -1, 0]));
                let (data, acl) = (Some(&b"ttl"[..]), AclVec::OPEN);
                MultiOp::CreateTtl(CreateTtlRequest { path: Some(target.into()), data, acl, flags, ttl })
            }
            0 | 1 => {
                let op = *rng.pick(&[OpCode::Create, OpCode::Create2, OpCode::CreateContainer]);
                let flags = *rng.pick(&[0, 0, 1, 2, 4]);
                let acl = AclVec::OPEN;
                MultiOp::Create(op, CreateRequest { path: Some(target.into()), data: Some(b"m"), acl, flags })
            }
            2 => MultiOp::Delete(DeleteRequest { path: Some(target.into()), version: version(rng) }),
            3 => {
                let version = version(rng);
                MultiOp::SetData(SetDataRequest { path: Some(target.into()), data: Some(b"multi"), version })
            }
            _ => MultiOp::Check(CheckVersionRequest { path: Some(target.into()), version: version(rng) }),
        };
        let one = MultiRequest { ops: vec![op] }.to_vec();
        body.extend_from_slice(&one[..one.len() - 9]);
    }
    body.extend_from_slice(&MultiRequest::default().to_vec());
    body
}

/// Body of getChildrenPaginated, some of it odd.
pub fn page(rng: &mut Rng, path: &str, near: Zxid, watch: bool) -> Vec<u8> {
    let max_returned = *rng.pick(&[i32::MAX, 1, 2, 3, 5, 20, 0, -1]);
    let czxid_min = *rng.pick(&[Zxid(0), Zxid(-1), near, Zxid(near.0 / 2)]);
    let czxid_offset = *rng.pick(&[0, 0, 1, 2, 10, -1]);
    GetChildrenPaginatedRequest { path: Some(path.into()), max_returned, czxid_min, czxid_offset, watch }.to_vec()
}

/// A random read: opcode and body.
pub fn random_read(rng: &mut Rng, relative_zxid: Zxid) -> (OpCode, Vec<u8>) {
    let (target, watch) = (path(rng), rng.chance(50));
    let alone = PathRequest { path: Some(target.into()) }.to_vec();
    match rng.below(25) {
        0..3 => (OpCode::Exists, read(target, watch)),
        3..7 => (OpCode::GetData, read(target, watch)),
        7..9 => (OpCode::GetChildren, read(target, watch)),
        9..11 => (OpCode::GetChildren2, read(target, watch)),
        11 => (OpCode::GetAcl, alone),
        12 => (OpCode::GetEphemerals, alone),
        13 => (OpCode::GetAllChildrenNumber, alone),
        14 => (OpCode::Sync, alone),
        15 => (OpCode::WhoAmI, Vec::new()),
        16 => {
            let reads = (0..rng.below(4)).map(|_| {
                let op = *rng.pick(&[OpCode::GetData, OpCode::GetChildren]);
                MultiOp::Read(op, ReadRequest { path: Some(path(rng).into()), watch: true })
            });
            let ops = reads.collect();
            (OpCode::MultiRead, MultiRequest { ops }.to_vec())
        }
        17 | 18 => {
            let mode = *rng.pick(&[0, 1, 1, 2]);
            (OpCode::AddWatch, AddWatchRequest { path: Some(target.into()), mode }.to_vec())
        }
        19 | 20 => {
            let op = *rng.pick(&[OpCode::RemoveWatches, OpCode::CheckWatches]);
            let kind = *rng.pick(&[1, 2, 3, 4, 5, 6]);
            (op, WatchesRequest { path: Some(target.into()), kind }.to_vec())
        }
        21 => {
            let mut paths = || Some((0..rng.below(3)).map(|_| Some(path(rng).into())).collect());
            let request = SetWatches2 {
                relative_zxid,
                data_watches: paths(),
                exist_watches: paths(),
                child_watches: paths(),
                persistent_watches: paths(),
                persistent_recursive_watches: paths(),
            };
            (OpCode::SetWatches2, request.to_vec())
        }
        22 => (OpCode::GetChildrenPaginated, page(rng, target, relative_zxid, watch)),
        23 => {
            let (op, mut body) = random_read(rng, relative_zxid);
            body.truncate(rng.below(body.len() + 1));
            // A PING or whoAmI has no body to break.
            (op, body)
        }
        _ => (OpCode::Ping, Vec::new()),
    }
}

/// A client with a session.
pub fn joined(world: &mut World, shard: usize) -> (usize, SessionId) {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    (client, world.session(client).unwrap().0)
}

/// What a client was answered behind its ConnectResponse: xid and error of each.
pub fn answers(world: &World, client: usize) -> Vec<(i32, ErrorCode)> {
    let frames = world.frames(client);
    let headers = frames.iter().skip(1).map(|frame| ReplyHeader::from_slice(frame).unwrap());
    headers.map(|header| (header.xid.0, header.err)).collect()
}

/// A create of a znode that everybody may change.
pub fn creation(path: &str) -> Vec<u8> {
    create(path, b"data", AclVec::OPEN, 0)
}
