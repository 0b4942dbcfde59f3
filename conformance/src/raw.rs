//! A blocking client that speaks frames and nothing more, for scripted conversations.
//!
//! It never waits for more than [`LIMIT`], keeps no queue, and hides nothing: what a test sends is what goes out, and
//! [`Connection::read_frame`] returns whatever comes next, be it a reply or a watch event.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long one read or write may take.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Longer frames than this are a mistake of the server's.
const MAX_FRAME: usize = 64 << 20;

/// The first frame of a client. The default asks for a new session of 30 seconds.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Zero, for all clients so far.
    pub protocol_version: i32,
    /// The last zxid that the client has seen.
    pub last_zxid_seen: i64,
    /// The session timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// Zero for a new session.
    pub session_id: i64,
    /// The password of the session.
    pub password: Option<Vec<u8>>,
    /// The last byte of the frame; none: clients of 3.4 and before do not send it.
    pub read_only: Option<bool>,
}

impl Default for ConnectRequest {
    fn default() -> Self {
        Self {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 30_000,
            session_id: 0,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }
}

impl ConnectRequest {
    /// The bytes of the frame, without its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(45);
        out.extend(self.protocol_version.to_be_bytes());
        out.extend(self.last_zxid_seen.to_be_bytes());
        out.extend(self.timeout_ms.to_be_bytes());
        out.extend(self.session_id.to_be_bytes());
        match &self.password {
            Some(password) => {
                out.extend((password.len() as i32).to_be_bytes());
                out.extend(password);
            }
            None => out.extend((-1_i32).to_be_bytes()),
        }
        out.extend(self.read_only.map(u8::from));
        out
    }
}

/// The first frame of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Zero.
    pub protocol_version: i32,
    /// The session timeout granted, in milliseconds; zero if the session is refused.
    pub timeout_ms: i32,
    /// Zero if the session is refused.
    pub session_id: i64,
    /// 16 bytes, all zero if the session is refused.
    pub password: Vec<u8>,
    /// Absent if the request had none.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// Reads the bytes of the frame, without its length.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let mut rest = frame;
        let protocol_version = i32::from_be_bytes(take(&mut rest)?);
        let timeout_ms = i32::from_be_bytes(take(&mut rest)?);
        let session_id = i64::from_be_bytes(take(&mut rest)?);
        let length = i32::from_be_bytes(take(&mut rest)?).max(0) as usize;
        ensure!(rest.len() >= length, "a connect response whose password is cut off: {frame:02x?}");
        let (password, rest) = rest.split_at(length);
        let read_only = match rest {
            [] => None,
            [byte] => Some(*byte != 0),
            _ => bail!("a connect response with {} bytes too many: {frame:02x?}", rest.len() - 1),
        };
        Ok(Self { protocol_version, timeout_ms, session_id, password: password.to_vec(), read_only })
    }
}

/// A frame from the server, after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The xid of the request, or one of the special ones.
    pub xid: i32,
    /// The zxid that the server reports.
    pub zxid: i64,
    /// The error code.
    pub err: i32,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads the bytes of a frame, without its length.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let mut rest = frame;
        Ok(Self {
            xid: i32::from_be_bytes(take(&mut rest)?),
            zxid: i64::from_be_bytes(take(&mut rest)?),
            err: i32::from_be_bytes(take(&mut rest)?),
            body: rest.to_vec(),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk().context("the frame is too short")?;
    *rest = tail;
    Ok(*head)
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// The socket, for who wants to do without frames.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Connects the socket and sends nothing.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, LIMIT).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream })
    }

    /// Connects and asks for a session.
    pub fn connect(addr: SocketAddr, request: &ConnectRequest) -> Result<(Self, ConnectResponse)> {
        let mut connection = Self::open(addr)?;
        let response = connection.handshake(request)?;
        Ok((connection, response))
    }

    /// Another limit than [`LIMIT`] for each read.
    pub fn set_limit(&mut self, limit: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// Connects with a new session, which must be granted.
    pub fn session(addr: SocketAddr) -> Result<(Self, ConnectResponse)> {
        let (connection, response) = Self::connect(addr, &ConnectRequest::default())?;
        ensure!(response.timeout_ms > 0, "{addr} refused a new session");
        Ok((connection, response))
    }

    /// Asks for a session on a connection that has sent nothing yet.
    pub fn handshake(&mut self, request: &ConnectRequest) -> Result<ConnectResponse> {
        self.send_frame(&request.encode())?;
        ConnectResponse::decode(&self.read_frame()?)
    }

    /// The same socket once more, so that one thread can send while another reads.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { stream: self.stream.try_clone()? })
    }

    /// Our end's address.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Sends one frame: its length, then `frame`, in one write.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(4 + frame.len());
        out.extend((frame.len() as i32).to_be_bytes());
        out.extend(frame);
        self.send_bytes(&out)
    }

    /// Sends a request: header and record.
    pub fn send(&mut self, xid: i32, op: i32, record: &[u8]) -> Result<()> {
        self.send_together(&[(xid, op, record)])
    }

    /// Sends requests (xid, opcode, record) in one write.
    pub fn send_together(&mut self, requests: &[(i32, i32, &[u8])]) -> Result<()> {
        let mut out = Vec::new();
        for (xid, op, record) in requests {
            out.extend((8 + record.len() as i32).to_be_bytes());
            out.extend(xid.to_be_bytes());
            out.extend(op.to_be_bytes());
            out.extend(*record);
        }
        self.send_bytes(&out)
    }

    /// The next frame, without its length.
    pub fn read_frame(&mut self) -> Result<Vec<u8>> {
        self.next_frame()?.context("the server closed the connection")
    }

    /// The next frame as a reply or watch event.
    pub fn read(&mut self) -> Result<Reply> {
        Reply::decode(&self.read_frame()?)
    }

    /// Sends a request and reads the next frame, which must bear its xid.
    pub fn call(&mut self, xid: i32, op: i32, record: &[u8]) -> Result<Reply> {
        self.send(xid, op, record)?;
        let reply = self.read()?;
        ensure!(reply.xid == xid, "asked with xid {xid} (op {op}), and this came: {reply:?}");
        Ok(reply)
    }

    /// The next frame, without its length; none when the server has closed the connection.
    pub fn frame_or_end(&mut self) -> Result<Option<Vec<u8>>> {
        self.next_frame()
    }

    /// Waits until the server closes the connection; anything it sends before that is an error.
    pub fn expect_closed(&mut self) -> Result<()> {
        match self.next_frame()? {
            None => Ok(()),
            Some(frame) => bail!("the connection should have been closed, and this came: {frame:02x?}"),
        }
    }

    /// Closes our half: the server reads the end of the stream.
    pub fn shut_writing(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(std::net::Shutdown::Write)?)
    }

    fn next_frame(&mut self) -> Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut length) {
            return match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(None),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    bail!("nothing came for {:?}", self.stream.read_timeout()?.unwrap_or_default())
                }
                _ => Err(error).context("reading a frame"),
            };
        }
        let length = i32::from_be_bytes(length);
        ensure!((0..=MAX_FRAME as i32).contains(&length), "the server sent a frame length of {length}");
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).context("reading the rest of a frame")?;
        Ok(Some(frame))
    }
}

/// Whether the server looks at sessions: it refuses one that cannot be, which writes no txn, where a server that does not
/// serve yet would close the connection. An Apache server that is still starting may forget to, so the wait is short.
pub fn is_serving(addr: SocketAddr) -> bool {
    let request = ConnectRequest { session_id: 1, password: Some(vec![1; 16]), ..ConnectRequest::default() };
    let ask = || -> Result<ConnectResponse> {
        let mut connection = Connection::open(addr)?;
        connection.stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.handshake(&request)
    };
    ask().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_request_has_the_length_that_clients_send() {
        assert_eq!(ConnectRequest::default().encode().len(), 45);
        let old = ConnectRequest { read_only: None, ..ConnectRequest::default() };
        assert_eq!(old.encode().len(), 44);
    }

    #[test]
    fn a_connect_response_is_read_with_and_without_the_last_byte() {
        let mut frame = vec![0; 36];
        frame[6] = 0x75;
        frame[7] = 0x30;
        frame[19] = 16;
        let old = ConnectResponse::decode(&frame).unwrap();
        assert_eq!((old.timeout_ms, old.password.len(), old.read_only), (30_000, 16, None));
        frame.push(1);
        assert_eq!(ConnectResponse::decode(&frame).unwrap().read_only, Some(true));
        frame.push(1);
        assert!(ConnectResponse::decode(&frame).is_err());
        assert!(ConnectResponse::decode(&frame[..10]).is_err());
    }
}
