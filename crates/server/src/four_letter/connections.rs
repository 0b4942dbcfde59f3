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
    /// The last operation in Apache's letters, from [`operation_letters`]; `null` before the first, `NA` after a reset.
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

/// What follows the connections in `cons`, and in the middle of `stat`.
pub const CONNECTIONS_END: &str = "\n";

impl ConnectionStats {
    /// A line of `stat`, in brief, or of `cons`.
    pub fn write_line(&self, is_brief: bool, text: &mut String) {
        self.write_brief(text);
        if !is_brief {
            self.write_session(text);
        }
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

/// The letters of an operation in `lop=`; `NA` for those that leave no trace.
pub fn operation_letters(op: OpCode) -> &'static str {
    match op {
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
        OpCode::Ping => "PING",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetChildrenPaginated => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
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

    fn line(connection: &ConnectionStats) -> String {
        let mut text = String::new();
        connection.write_line(false, &mut text);
        text
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
            line(&with_session) + &line(&connection()),
            " /10.0.0.7:53112[1](queued=0,recved=27,sent=26,sid=0x100005f2d9d0000,lop=PING,est=1699999999999,to=30000,\
             lcxid=0x5,lzxid=0x1000000aa,lresp=123456,llat=0,minlat=0,avglat=0,maxlat=12)\n \
             /10.0.0.7:53112[1](queued=0,recved=27,sent=26)\n"
        );
        let session = with_session.session.as_mut().unwrap();
        (session.last_cxid, session.last_zxid) = (-1, -1);
        assert!(line(&with_session).contains("to=30000,lzxid=0xffffffffffffffff,"));
    }
}
