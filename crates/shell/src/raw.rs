//! A second, small connection of our own, for the one thing that the `zookeeper-client` crate can't do: tell null data
//! from empty data, and write null.
//!
//! zkCli's `create /a` writes null and `get /a` prints `null` for it; Java programs see null, not an empty array. In the
//! crate, data are `&[u8]` and `Vec<u8>`, both ways. So a `get` that comes back with nothing is asked again here, and a
//! `create` without data goes out here, unless it makes an ephemeral, which has to belong to the shell's own session.
//! The connection has a session of its own, closed behind the last use, and the same identities.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::acl::AclVec;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::request::{AuthPacket, CreateMode, CreateRequest, CreateTtlRequest, ReadRequest};
use wire::response::{GetDataResponse, PathResponse};
use wire::{ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};
use zookeeper_client::{Acl, Permission};

use crate::command::CreateKind;
use crate::failure::Code;
use crate::hosts::Hosts;

/// The longest answer that is read: what a server may send of one znode's data, with room.
const FRAME_MAX: usize = 64 << 20;
/// The session's timeout, and how long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was not used for so long is opened afresh: nobody sends pings for it.
const FRESH: Duration = Duration::from_secs(3);

/// What opening one takes.
#[derive(Debug, Clone)]
pub struct Account {
    /// Where.
    pub hosts: Hosts,
    /// Would a read-only server do?
    pub read_only: bool,
    /// The identities to show: scheme and credentials.
    pub auths: Vec<(String, Vec<u8>)>,
}

/// The connection, while there is one.
#[derive(Debug, Default)]
pub struct Raw(Option<Open>);

/// Why there is no answer to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The connection was not opened, so that nothing was asked.
    NotOpened,
    /// The server's code, or a lost connection.
    Said(Code),
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::Said(code)
    }
}

#[derive(Debug)]
struct Open {
    stream: TcpStream,
    xid: i32,
    used: Instant,
}

impl Raw {
    /// Is the data of this znode null? `path` is the server's, with the chroot.
    pub async fn is_null(&mut self, account: &Account, path: &str) -> Result<bool, Refusal> {
        let request = ReadRequest { path: Some(Cow::Borrowed(path)), watch: false };
        let body = self.call(account, OpCode::GetData, &Of(&request)).await?;
        let response = GetDataResponse::from_slice(&body).map_err(|_| Code::CONNECTION_LOSS)?;
        Ok(response.data.is_none())
    }

    /// Creates a znode whose data is null; its path, with the chroot.
    pub async fn create(
        &mut self,
        account: &Account,
        path: &str,
        acl: &[Acl],
        kind: CreateKind,
    ) -> Result<String, Refusal> {
        let acl = acl_bytes(acl);
        let acl = AclVec::read(&mut Reader::new(&acl)).map_err(|_| Code::INVALID_ACL)?;
        let path = Some(Cow::Borrowed(path));
        let (op, mode, ttl) = match kind {
            CreateKind::Container => (OpCode::CreateContainer, CreateMode::Container, 0),
            CreateKind::Ttl { ttl_ms, sequential: false } => (OpCode::CreateTtl, CreateMode::PersistentTtl, ttl_ms),
            CreateKind::Ttl { ttl_ms, sequential: true } => {
                (OpCode::CreateTtl, CreateMode::PersistentSequentialTtl, ttl_ms)
            }
            CreateKind::Plain { sequential: false, .. } => (OpCode::Create, CreateMode::Persistent, 0),
            CreateKind::Plain { sequential: true, .. } => (OpCode::Create, CreateMode::PersistentSequential, 0),
        };
        let flags = mode as i32;
        let body = if op == OpCode::CreateTtl {
            self.call(account, op, &Of(&CreateTtlRequest { path, data: None, acl, flags, ttl })).await?
        } else {
            self.call(account, op, &Of(&CreateRequest { path, data: None, acl, flags })).await?
        };
        // create2's answer would begin with the path as well.
        let mut reader = Reader::new(&body);
        let response: PathResponse<'_> = reader.read().map_err(|_| Code::CONNECTION_LOSS)?;
        Ok(response.path.unwrap_or_default().into_owned())
    }

    /// Ends the session, if there is one. Errors don't matter: the session's timeout ends it too.
    pub async fn close(&mut self) {
        if let Some(mut open) = self.0.take() {
            let header = RequestHeader { xid: Xid(open.xid), op: OpCode::CloseSession as i32 };
            if open.send(|out| header.write(out)).await.is_ok() {
                let _ = open.receive().await;
            }
        }
    }

    async fn call(&mut self, account: &Account, op: OpCode, body: &impl Body) -> Result<Vec<u8>, Refusal> {
        if self.0.as_ref().is_some_and(|it| it.used.elapsed() > FRESH) {
            self.close().await;
        }
        // Taken out meanwhile: whoever gives the answer up gives the connection up, which may be inside a frame.
        let mut open = match self.0.take() {
            Some(open) => open,
            None => match Open::connect(account).await {
                Err(Code::CONNECTION_LOSS) => return Err(Refusal::NotOpened),
                opened => opened?,
            },
        };
        let answer = open.call(op, body).await;
        if !matches!(answer, Err(Code::CONNECTION_LOSS)) {
            self.0 = Some(open);
        }
        Ok(answer?)
    }
}

/// What can stand behind a request's header.
trait Body {
    fn write_to(&self, out: &mut Vec<u8>);
}

impl<'a, T: Field<'a>> Body for Of<'_, T> {
    fn write_to(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

/// A record as a [`Body`], whatever it borrows.
struct Of<'r, T>(&'r T);

impl Open {
    async fn connect(account: &Account) -> Result<Self, Code> {
        for (host, port) in &account.hosts.servers {
            let connecting = TcpStream::connect((host.as_str(), *port));
            let Ok(Ok(stream)) = tokio::time::timeout(TIMEOUT, connecting).await else { continue };
            let mut open = Self { stream, xid: 1, used: Instant::now() };
            match open.handshake(account).await {
                Err(Code::CONNECTION_LOSS) => {}
                done => return done.map(|()| open),
            }
        }
        Err(Code::CONNECTION_LOSS)
    }

    async fn handshake(&mut self, account: &Account) -> Result<(), Code> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: TIMEOUT.as_millis() as i32,
            session: SessionId(0),
            password: Some(&[0; 16]),
            read_only: Some(account.read_only),
        };
        self.send(|out| request.write(out)).await?;
        let body = self.receive().await?;
        let response = ConnectResponse::from_slice(&body).map_err(|_| Code::CONNECTION_LOSS)?;
        if response.session == SessionId(0) {
            return Err(Code::CONNECTION_LOSS);
        }
        for (scheme, auth) in &account.auths {
            let header = RequestHeader { xid: Xid::AUTH, op: OpCode::Auth as i32 };
            let packet = AuthPacket { kind: 0, scheme: Some(Cow::Borrowed(scheme)), auth: Some(auth) };
            self.exchange(header, &Of(&packet)).await?;
        }
        Ok(())
    }

    async fn call(&mut self, op: OpCode, body: &impl Body) -> Result<Vec<u8>, Code> {
        self.xid += 1;
        let header = RequestHeader { xid: Xid(self.xid), op: op as i32 };
        self.exchange(header, body).await
    }

    async fn exchange(&mut self, header: RequestHeader, body: &impl Body) -> Result<Vec<u8>, Code> {
        let xid = header.xid;
        self.used = Instant::now();
        self.send(|out| {
            header.write(out);
            body.write_to(out);
        })
        .await?;
        loop {
            let payload = self.receive().await?;
            let mut reader = Reader::new(&payload);
            let header: ReplyHeader = reader.read().map_err(|_| Code::CONNECTION_LOSS)?;
            if header.xid != xid {
                continue;
            }
            return match header.err {
                ErrorCode::OK => Ok(reader.remaining().to_vec()),
                ErrorCode(code) => Err(Code(code)),
            };
        }
    }

    async fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Code> {
        let mut out = Vec::new();
        let start = frame::begin(&mut out);
        write(&mut out);
        frame::finish(&mut out, start);
        in_time(self.stream.write_all(&out)).await
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Code> {
        in_time(async {
            let length = self.stream.read_i32().await?;
            let length = usize::try_from(length).ok().filter(|it| *it <= FRAME_MAX);
            let length = length.ok_or(std::io::ErrorKind::InvalidData)?;
            // It grows as bytes arrive, not with what the length promises.
            let mut payload = Vec::new();
            (&mut self.stream).take(length as u64).read_to_end(&mut payload).await?;
            if payload.len() < length { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(payload) }
        })
        .await
    }
}

async fn in_time<T>(io: impl Future<Output = std::io::Result<T>>) -> Result<T, Code> {
    match tokio::time::timeout(TIMEOUT, io).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => Err(Code::CONNECTION_LOSS),
    }
}

/// A list in its wire form.
fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    const BITS: [(Permission, i32); 5] = [
        (Permission::READ, wire::acl::READ),
        (Permission::WRITE, wire::acl::WRITE),
        (Permission::CREATE, wire::acl::CREATE),
        (Permission::DELETE, wire::acl::DELETE),
        (Permission::ADMIN, wire::acl::ADMIN),
    ];
    let mut out = Vec::new();
    (acl.len() as i32).write(&mut out);
    for entry in acl {
        let perms = BITS.iter().filter(|(it, _)| entry.permission().has(*it)).map(|(_, bit)| bit).sum();
        wire::Acl::new(perms, entry.scheme(), entry.id()).write(&mut out);
    }
    out
}
