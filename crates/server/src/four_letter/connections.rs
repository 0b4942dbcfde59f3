//! Connections, one a line: in brief in `stat`, in full in `cons`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use wire::OpCode;

use super::java_text::{java_double, socket_address};

/// One client connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionStats {
    /// The client.
    pub remote: SocketAddr,
    /// What the socket waits for: 1 to read, 4 to write, 5 both, 0 for the connection of the word itself.
    pub interest_ops: u8,
    /// Requests without a reply.
    pub queued: i64,
    /// Packets received.
    pub received: i64,
    /// Packets sent.
    pub sent: i64,
    /// Its session, once there is one.
    pub session: Option<SessionOfConnection>,
}

/// What `cons` tells about a connection with a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOfConnection {
    /// The session.
    pub id: i64,
    /// The last operation in Apache's letters, from [`operation_letters`].
    pub last_operation: &'static str,
    /// When the connection was accepted, in ms since 1970.
    pub established_ms: i64,
    /// The negotiated timeout.
    pub timeout_ms: u32,
    /// The last xid; below 0 it is not shown.
    pub last_cxid: i64,
    /// The last zxid of a reply; -1 for none.
    pub last_zxid: i64,
    /// When the last reply was sent, on the monotonic clock.
    pub last_response_ms: i64,
    /// Latencies in ms.
    pub latency_ms_last: i64,
    /// The shortest.
    pub latency_ms_min: i64,
    /// The average.
    pub latency_ms_avg: i64,
    /// The longest.
    pub latency_ms_max: i64,
}

/// The answer to `cons`: every connection in full, and an empty line.
pub fn cons<'a>(connections: impl IntoIterator<Item = &'a ConnectionStats>) -> String {
    let mut text = String::new();
    for connection in connections {
        connection.write_brief(&mut text);
        connection.write_session(&mut text);
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

impl ConnectionStats {
    /// A line of `stat`.
    pub(super) fn write_line(&self, text: &mut String) {
        self.write_brief(text);
        text.push_str(")\n");
    }

    fn write_brief(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " {}[{:x}](queued={},recved={},sent={}",
            socket_address(self.remote),
            self.interest_ops,
            self.queued,
            self.received,
            self.sent
        );
    }

    fn write_session(&self, text: &mut String) {
        let Some(session) = self.session.as_ref().filter(|session| session.id != 0) else { return };
        let _ = write!(
            text,
            ",sid=0x{:x},lop={},est={},to={}",
            session.id, session.last_operation, session.established_ms, session.timeout_ms
        );
        if session.last_cxid >= 0 {
            let _ = write!(text, ",lcxid=0x{:x}", session.last_cxid);
        }
        let _ = write!(
            text,
            ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            session.last_zxid,
            session.last_response_ms,
            session.latency_ms_last,
            session.latency_ms_min,
            session.latency_ms_avg,
            session.latency_ms_max
        );
    }
}

/// The letters of an operation in `lop=`. `None` (no operation yet, or one that leaves no trace): `NA`.
pub fn operation_letters(op: Option<OpCode>) -> &'static str {
    match op {
        Some(OpCode::CreateSession) => "SESS",
        Some(OpCode::CloseSession) => "CLOS",
        Some(OpCode::Ping) => "PING",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer) => "CREA",
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Check) => "CHEC",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error) | None => "NA",
    }
}

/// `a/b/c` with the average in the middle.
pub(super) fn min_avg_max(min: i64, avg: f64, max: i64) -> String {
    format!("{min}/{}/{max}", java_double(avg))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(in crate::four_letter) fn connection() -> ConnectionStats {
        ConnectionStats {
            remote: "10.0.0.7:53112".parse().unwrap(),
            interest_ops: 1,
            queued: 0,
            received: 27,
            sent: 26,
            session: None,
        }
    }

    #[test]
    fn full_lines() {
        let mut with_session = connection();
        with_session.session = Some(SessionOfConnection {
            id: 0x0100_005f_2d9d_0000,
            last_operation: "PING",
            established_ms: 1_699_999_999_999,
            timeout_ms: 30_000,
            last_cxid: 5,
            last_zxid: 0x1_0000_00aa,
            last_response_ms: 123_456,
            latency_ms_last: 0,
            latency_ms_min: 0,
            latency_ms_avg: 0,
            latency_ms_max: 12,
        });
        assert_eq!(
            cons([&with_session, &connection()]),
            " /10.0.0.7:53112[1](queued=0,recved=27,sent=26,sid=0x100005f2d9d0000,lop=PING,est=1699999999999,to=30000,\
             lcxid=0x5,lzxid=0x1000000aa,lresp=123456,llat=0,minlat=0,avglat=0,maxlat=12)\n \
             /10.0.0.7:53112[1](queued=0,recved=27,sent=26)\n\n"
        );
        let session = with_session.session.as_mut().unwrap();
        (session.last_cxid, session.last_zxid) = (-1, -1);
        assert!(cons([&with_session]).contains("to=30000,lzxid=0xffffffffffffffff,"));
        assert_eq!(cons([]), "\n");
    }
}
