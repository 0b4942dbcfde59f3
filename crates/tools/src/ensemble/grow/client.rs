//! A session with one server: blocking, one request after the other, with a time limit for each.
//!
//! It reads `/zookeeper/config` and sends reconfigs. Everything else about an ensemble is asked by four-letter words.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::election::HostPort;
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::request::{AuthPacket, ReadRequest, ReconfigRequest};
use wire::response::GetDataResponse;
use wire::{ErrorCode, Field, OpCode, Reader, ServerId, SessionId, Xid, Zxid};

/// Where a server shows the configuration that holds. Source: `ZooDefs.CONFIG_NODE`.
const CONFIG_PATH: &str = "/zookeeper/config";
/// The longest answer that is read: 1024 members have room in it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The session timeout to ask for, in ms. Nobody holds anything by this session.
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// Frames that come by before an answer: there are no watches, so any is one too many.
const STRAY_FRAMES_MAX: usize = 16;

/// Who somebody is: a scheme and what it takes, as `addauth` has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    scheme: String,
    secret: String,
}

impl Auth {
    /// `digest:super:secret`, or with a space behind the scheme.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split =
            text.split_once([':', ' ', '\t']).filter(|(scheme, secret)| !scheme.is_empty() && !secret.is_empty());
        let (scheme, secret) = split.ok_or("write SCHEME:AUTH, as digest:super:secret")?;
        Ok(Self { scheme: scheme.to_owned(), secret: secret.trim_start().to_owned() })
    }
}

/// Without the secret.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:…", self.scheme)
    }
}

/// An open session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    at: HostPort,
    session: SessionId,
    xid: i32,
}

impl Client {
    /// Opens a session at this server, and shows who we are.
    pub fn open(at: &HostPort, auths: &[Auth], timeout: Duration) -> Result<Self> {
        Self::try_open(at, auths, timeout).with_context(|| format!("a session at {at}"))
    }

    fn try_open(at: &HostPort, auths: &[Auth], timeout: Duration) -> Result<Self> {
        let mut last = anyhow::anyhow!("the name has no address");
        let mut found = None;
        for address in (at.host.as_str(), at.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    found = Some(stream);
                    break;
                }
                Err(error) => last = error.into(),
            }
        }
        let Some(stream) = found else { return Err(last) };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut client = Self { stream, at: at.clone(), session: SessionId(0), xid: 0 };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: SESSION_TIMEOUT_MS,
            session: SessionId(0),
            password: Some(&[0; 16]),
            read_only: Some(false),
        };
        client.send(|out| request.write(out))?;
        let answer = client.receive()?;
        let response = ConnectResponse::from_slice(&answer).context("it answers the handshake with nonsense")?;
        ensure!(response.timeout_ms > 0, "it grants no session");
        client.session = response.session;
        for auth in auths {
            let header = RequestHeader { xid: Xid::AUTH, op: OpCode::Auth as i32 };
            let scheme = Some(Cow::Borrowed(auth.scheme.as_str()));
            let packet = AuthPacket { kind: 0, scheme, auth: Some(auth.secret.as_bytes()) };
            match client.exchange(header, |out| packet.write(out))? {
                Ok(_) => {}
                Err(code) => bail!("it does not take the credentials of scheme {} ({code})", auth.scheme),
            }
        }
        Ok(client)
    }

    /// Is it this server? A new session has the low eight bits of the server's number in front, at Apache's and at ours.
    /// Source: `SessionTrackerImpl.initializeNextSessionId`.
    pub fn is_of(&self, id: ServerId) -> bool {
        (self.session.0 as u64 >> 56) == (id.0 as u64 & 0xff)
    }

    /// The text of the configuration that holds at this server.
    pub fn config(&mut self) -> Result<String> {
        let request = ReadRequest { path: Some(Cow::Borrowed(CONFIG_PATH)), watch: false };
        let what = format!("{CONFIG_PATH} at {}", self.at);
        let body = match self.call(OpCode::GetData, |out| request.write(out)).context(what.clone())? {
            Ok(body) => body,
            Err(code) => bail!("{what}: {code}"),
        };
        let response = GetDataResponse::from_slice(&body).context(what)?;
        Ok(String::from_utf8_lossy(response.data.unwrap_or_default()).into_owned())
    }

    /// Asks for a change of the members, if the configuration has this version (-1: any). The answer is the new
    /// configuration, or why it was refused.
    pub fn reconfig(&mut self, joining: &str, leaving: &str, version: i64) -> Result<Result<String, ErrorCode>> {
        let list = |text| Some(text).filter(|it: &&str| !it.is_empty()).map(Cow::Borrowed);
        let request = ReconfigRequest {
            joining_servers: list(joining),
            leaving_servers: list(leaving),
            new_members: None,
            cur_config_id: version,
        };
        let answer = self.call(OpCode::Reconfig, |out| request.write(out)).context("the answer to the reconfig")?;
        Ok(match answer {
            Ok(body) => {
                let response = GetDataResponse::from_slice(&body).context("the answer to the reconfig")?;
                Ok(String::from_utf8_lossy(response.data.unwrap_or_default()).into_owned())
            }
            Err(code) => Err(code),
        })
    }

    /// Ends the session. Errors don't matter: its timeout ends it too.
    pub fn close(mut self) {
        let _ = self.call(OpCode::CloseSession, |_| {});
    }

    fn call(&mut self, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Result<Result<Vec<u8>, ErrorCode>> {
        self.xid += 1;
        self.exchange(RequestHeader { xid: Xid(self.xid), op: op as i32 }, body)
    }

    fn exchange(
        &mut self,
        header: RequestHeader,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Result<Vec<u8>, ErrorCode>> {
        let xid = header.xid;
        self.send(|out| {
            header.write(out);
            body(out);
        })?;
        for _ in 0..STRAY_FRAMES_MAX {
            let answer = self.receive()?;
            let mut reader = Reader::new(&answer);
            let header: ReplyHeader = reader.read().context("it answers with nonsense")?;
            if header.xid == xid {
                let is_good = header.err == ErrorCode::OK;
                return Ok(if is_good { Ok(reader.remaining().to_vec()) } else { Err(header.err) });
            }
        }
        bail!("it sends frames that nobody asked for")
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut out = Vec::new();
        let start = frame::begin(&mut out);
        write(&mut out);
        frame::finish(&mut out, start);
        self.stream.write_all(&out).context("the connection is lost")
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("the connection is lost")?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|it| *it <= ANSWER_BYTES_MAX);
        let length = length.with_context(|| format!("an answer of more than {ANSWER_BYTES_MAX} bytes"))?;
        // It grows as bytes arrive, not with what the length promises.
        let mut answer = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut answer).context("the connection is lost")?;
        ensure!(answer.len() == length, "the connection is lost");
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_one_is() {
        let auth = Auth::parse("digest:super:a b:c").unwrap();
        assert_eq!((auth.scheme.as_str(), auth.secret.as_str()), ("digest", "super:a b:c"));
        assert_eq!(Auth::parse("digest super:a b:c").unwrap(), auth);
        assert_eq!(format!("{auth:?}"), "digest:…");
        assert!(Auth::parse("digest").is_err() && Auth::parse(":x").is_err() && Auth::parse("x:").is_err());
    }

    #[test]
    fn nonsense_is_an_error_and_takes_no_memory() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let answers: [&[u8]; 4] = [&[0x7f, 0xff, 0xff, 0xff], &[0xff; 4], &[0, 0, 0, 2, 1, 2], b"HTTP/1.1 400\r\n"];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer).unwrap();
                let _ = stream.read(&mut [0; 100]);
            }
        });
        for _ in answers {
            assert!(Client::open(&at, &[], Duration::from_secs(5)).is_err());
        }
        server.join().unwrap();
    }
}
