//! `dump`, line by line: sessions by expiry, ephemerals by session, connections by expiry.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::java_text::{ZoneMoment, java_date, socket_address};

/// Those that expire together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// When, in ms since 1970.
    pub expires_ms: i64,
    /// How many.
    pub members: usize,
}

impl Set {
    /// The line before its members.
    pub fn write_line(self, zone: &ZoneMoment, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} expire at {}:", self.members, java_date(self.expires_ms, zone));
    }
}

/// What comes before sets: `Session` or `Connections`, how many sets, and how many members they have together.
pub fn sets_head(what: &str, sets: usize, members: usize) -> String {
    format!("{what} Sets ({sets})/({members}):\n")
}

/// A session among those that expire together.
pub fn session_line(session: i64, text: &mut String) {
    let _ = writeln!(text, "\t0x{session:x}");
}

/// A connection among those that expire together; its session may be 0.
pub fn connection_line(remote: SocketAddr, session: i64, text: &mut String) {
    let _ = writeln!(text, "\tip: {} sessionId: 0x{session:x}", socket_address(remote));
}

/// What comes before the ephemerals of so many sessions.
pub fn ephemerals_head(sessions: usize) -> String {
    format!("ephemeral nodes dump:\nSessions with Ephemerals ({sessions}):\n")
}

/// A session, before its ephemerals (`None`), or one of them.
pub fn ephemeral_line(session: i64, path: Option<&str>, text: &mut String) {
    let _ = match path {
        None => writeln!(text, "0x{session:x}:"),
        Some(path) => writeln!(text, "\t{path}"),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn line_by_line() {
        let zone = ZoneMoment { offset_s: 0, name: "UTC".to_owned() };
        let mut text = sets_head("Session", 1, 1);
        Set { expires_ms: 1_699_956_000_000, members: 1 }.write_line(&zone, &mut text);
        session_line(0x0100_005f_2d9d_0000, &mut text);
        text += &ephemerals_head(1);
        ephemeral_line(0x0100_005f_2d9d_0000, None, &mut text);
        ephemeral_line(0x0100_005f_2d9d_0000, Some("/path"), &mut text);
        text += &sets_head("Connections", 2, 1);
        connection_line("10.0.0.7:53112".parse().unwrap(), 0x10, &mut text);
        assert_eq!(
            text,
            "Session Sets (1)/(1):\n1 expire at Tue Nov 14 10:00:00 UTC 2023:\n\t0x100005f2d9d0000\n\
             ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100005f2d9d0000:\n\t/path\n\
             Connections Sets (2)/(1):\n\tip: /10.0.0.7:53112 sessionId: 0x10\n"
        );
    }
}
