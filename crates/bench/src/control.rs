//! Sessions before and after the load: opened, used for a request or two, and closed, one step after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wire::acl::AclVec;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::jute::Field;
use wire::request::{CreateRequest, DeleteRequest};
use wire::{ErrorCode, OpCode, SessionId, Xid, Zxid};

/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The session timeout asked for: as long as a server with `tickTime=2000` grants.
const SESSION_MS: i32 = 40_000;

/// Connects and opens a session.
pub(crate) fn open(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, LIMIT)
        .with_context(|| format!("connecting to {addr}: does a server run there?"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: SESSION_MS,
        session: SessionId(0),
        password: Some(&[0; 16]),
        read_only: Some(false),
    };
    send(&mut stream, |out| request.write(out))?;
    let reply = read(&mut stream).with_context(|| format!("{addr} did not answer the request for a session"))?;
    let response = ConnectResponse::from_slice(&reply).context("the answer to the request for a session")?;
    ensure!(response.timeout_ms > 0, "{addr} refused a new session");
    Ok(stream)
}

/// Creates a znode.
pub(crate) fn create(stream: &mut TcpStream, path: &str) -> Result<()> {
    let request = CreateRequest { path: Some(path.into()), data: Some(b""), acl: AclVec::OPEN, flags: 0 };
    match call(stream, OpCode::Create, |out| request.write(out))? {
        ErrorCode(0) => Ok(()),
        code => bail!("the server refused to create {path}: {code:?}"),
    }
}

/// Deletes a znode.
pub(crate) fn delete(stream: &mut TcpStream, path: &str) -> Result<()> {
    let request = DeleteRequest { path: Some(path.into()), version: -1 };
    match call(stream, OpCode::Delete, |out| request.write(out))? {
        ErrorCode(0) => Ok(()),
        code => bail!("the server refused to delete {path}: {code:?}"),
    }
}

/// Closes a session and waits for the answer.
pub(crate) fn close(stream: &mut TcpStream) -> Result<()> {
    call(stream, OpCode::CloseSession, |_| ()).map(|_| ())
}

fn call(stream: &mut TcpStream, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Result<ErrorCode> {
    send(stream, |out| {
        RequestHeader { xid: Xid(1), op: op.code() }.write(out);
        body(out);
    })?;
    let reply = read(stream).with_context(|| format!("no answer to {}", op.name()))?;
    let header = ReplyHeader::from_slice(&reply).with_context(|| format!("the answer to {}", op.name()))?;
    Ok(header.err)
}

fn send(stream: &mut TcpStream, payload: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    payload(&mut out);
    frame::finish(&mut out, start);
    Ok(stream.write_all(&out)?)
}

fn read(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = i32::from_be_bytes(length);
    ensure!((0..=1 << 20).contains(&length), "a frame of {length} bytes");
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}
