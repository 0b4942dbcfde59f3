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
/// So many sessions are asked for before the first answer is read: fewer than a listener's default backlog of 50, beyond
/// which a connect is tried again after a second.
const OPENED_TOGETHER: usize = 32;

/// Connects and opens a session.
pub(crate) fn open(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = ask(addr)?;
    granted(&mut stream)?;
    Ok(stream)
}

/// Opens many sessions, some at a time, so that they share the server's syncs.
pub(crate) fn open_many(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let mut all: Vec<TcpStream> = Vec::with_capacity(count);
    while all.len() < count {
        let from = all.len();
        for number in from..count.min(from + OPENED_TOGETHER) {
            all.push(ask(addr).with_context(|| format!("session {number}"))?);
        }
        for (number, stream) in all[from..].iter_mut().enumerate() {
            granted(stream).with_context(|| {
                format!("session {}: does the server allow so many (maxClientCnxns=0)?", from + number)
            })?;
        }
    }
    Ok(all)
}

/// Connects and asks for a session.
pub(crate) fn ask(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, LIMIT)
        .with_context(|| format!("connecting to {addr}: does a server run there?"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&connect_request())?;
    Ok(stream)
}

/// The frame that asks for a new session.
pub(crate) fn connect_request() -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: SESSION_MS,
        session: SessionId(0),
        password: Some(&[0; 16]),
        read_only: Some(false),
    };
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    request.write(&mut out);
    frame::finish(&mut out, start);
    out
}

/// Reads the answer to a request for a session.
fn granted(stream: &mut TcpStream) -> Result<()> {
    let reply = read(stream).context("no answer to the request for a session")?;
    let response = ConnectResponse::from_slice(&reply).context("the answer to the request for a session")?;
    ensure!(response.timeout_ms > 0, "the server refused a new session");
    Ok(())
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
    stream.write_all(&request(1, op, body))?;
    answer(stream, op)
}

/// The frame of a request.
pub(crate) fn request(xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    RequestHeader { xid: Xid(xid), op: op.code() }.write(&mut out);
    body(&mut out);
    frame::finish(&mut out, start);
    out
}

/// Reads the answer to a request.
pub(crate) fn answer(stream: &mut TcpStream, op: OpCode) -> Result<ErrorCode> {
    let reply = read(stream).with_context(|| format!("no answer to {}", op.name()))?;
    let header = ReplyHeader::from_slice(&reply).with_context(|| format!("the answer to {}", op.name()))?;
    Ok(header.err)
}

/// Reads a frame.
pub(crate) fn read(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = i32::from_be_bytes(length);
    ensure!((0..=1 << 20).contains(&length), "a frame of {length} bytes");
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}
