//! The handshake: the first frame each way, without a header. Source: Apache `ProtocolManager`, `ZooKeeperServer`.

use crate::ids::{SessionId, Zxid};
use crate::jute::{Buffer, DecodeError, Field, Reader};

/// A client's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// 0; servers don't look at it.
    pub protocol_version: i32,
    /// The newest zxid that the client has seen in a reply.
    pub last_zxid_seen: Zxid,
    /// The session timeout it wishes, in ms.
    pub timeout_ms: i32,
    /// The session to go on with; 0 asks for a new one.
    pub session: SessionId,
    /// That session's password.
    pub password: Buffer<'a>,
    /// Would a read-only server do? `None`: an old client (3.3, go-zookeeper) that does not send the field, and must
    /// not be sent it.
    pub read_only: Option<bool>,
}

impl<'a> Field<'a> for ConnectRequest<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: r.read()?,
            last_zxid_seen: r.read()?,
            timeout_ms: r.read()?,
            session: r.read()?,
            password: r.read()?,
            read_only: if r.remaining().is_empty() { None } else { Some(r.read()?) },
        })
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.protocol_version.write(out);
        self.last_zxid_seen.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        self.password.write(out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}

/// The server's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse<'a> {
    /// Always 0.
    pub protocol_version: i32,
    /// The negotiated timeout in ms; 0: the session is over.
    pub timeout_ms: i32,
    /// The session; 0 when it is over.
    pub session: SessionId,
    /// Its password, 16 bytes.
    pub password: Buffer<'a>,
    /// Is this server read-only? `None` to a client that did not send the field either.
    pub read_only: Option<bool>,
}

impl ConnectResponse<'static> {
    /// The answer that ends a session: clients take it as SESSION EXPIRED.
    pub fn expired(read_only: Option<bool>) -> Self {
        Self { protocol_version: 0, timeout_ms: 0, session: SessionId(0), password: Some(&[0; 16]), read_only }
    }
}

impl<'a> Field<'a> for ConnectResponse<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: r.read()?,
            timeout_ms: r.read()?,
            session: r.read()?,
            password: r.read()?,
            read_only: if r.remaining().is_empty() { None } else { Some(r.read()?) },
        })
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.protocol_version.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        self.password.write(out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_clients() {
        let mut request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(5),
            timeout_ms: 30000,
            session: SessionId(0),
            password: Some(&[0; 16]),
            read_only: None,
        };
        assert_eq!(request.to_vec().len(), 44);
        assert_eq!(ConnectRequest::from_slice(&request.to_vec()), Ok(request.clone()));
        request.read_only = Some(true);
        assert_eq!(request.to_vec().len(), 45);
        assert_eq!(ConnectRequest::from_slice(&request.to_vec()), Ok(request));
        assert_eq!(ConnectResponse::expired(None).to_vec().len(), 36);
        assert_eq!(ConnectResponse::expired(Some(false)).to_vec().len(), 37);
    }
}
