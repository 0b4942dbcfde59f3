//! `dump`: sessions by expiry, ephemerals by session, connections by expiry.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::java_text::{java_date, socket_address};

/// What `dump` of a standalone server or a leader tells. The driver collects it in chunks: a server may have a
/// million sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpStats {
    /// When sessions expire, in ms since 1970, ascending, with the sessions of that moment.
    pub session_buckets: Vec<(i64, Vec<i64>)>,
    /// Sessions with ephemerals, and their paths.
    pub ephemerals: Vec<(i64, Vec<String>)>,
    /// When connections are closed for being idle, ascending, with client and session (0 for none).
    pub connection_buckets: Vec<(i64, Vec<(SocketAddr, i64)>)>,
}

/// The answer to `dump`.
pub fn dump(stats: &DumpStats) -> String {
    let mut text = "SessionTracker dump:\n".to_owned();
    let sessions: usize = stats.session_buckets.iter().map(|(_, sessions)| sessions.len()).sum();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Session Sets ({})/({sessions}):", stats.session_buckets.len());
    for (expires_ms, sessions) in &stats.session_buckets {
        let _ = writeln!(text, "{} expire at {}:", sessions.len(), java_date(*expires_ms));
        for session in sessions {
            let _ = writeln!(text, "\t0x{session:x}");
        }
    }
    text.push_str("ephemeral nodes dump:\n");
    let _ = writeln!(text, "Sessions with Ephemerals ({}):", stats.ephemerals.len());
    for (session, paths) in &stats.ephemerals {
        let _ = writeln!(text, "0x{session:x}:");
        for path in paths {
            let _ = writeln!(text, "\t{path}");
        }
    }
    text.push_str("Connections dump:\n");
    let connections: usize = stats.connection_buckets.iter().map(|(_, connections)| connections.len()).sum();
    let _ = writeln!(text, "Connections Sets ({})/({connections}):", stats.connection_buckets.len());
    for (expires_ms, connections) in &stats.connection_buckets {
        let _ = writeln!(text, "{} expire at {}:", connections.len(), java_date(*expires_ms));
        for (remote, session) in connections {
            let _ = writeln!(text, "\tip: {} sessionId: 0x{session:x}", socket_address(*remote));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn line_by_line() {
        let stats = DumpStats {
            session_buckets: vec![(1_699_956_000_000, vec![0x0100_005f_2d9d_0000])],
            ephemerals: vec![(0x0100_005f_2d9d_0000, vec!["/path".into()])],
            connection_buckets: vec![(1_699_956_000_000, vec![("10.0.0.7:53112".parse().unwrap(), 0x10)])],
        };
        assert_eq!(
            dump(&stats),
            "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Tue Nov 14 10:00:00 UTC 2023:\n\
             \t0x100005f2d9d0000\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100005f2d9d0000:\n\t/path\n\
             Connections dump:\nConnections Sets (1)/(1):\n1 expire at Tue Nov 14 10:00:00 UTC 2023:\n\
             \tip: /10.0.0.7:53112 sessionId: 0x10\n"
        );
        assert!(dump(&DumpStats::default()).starts_with("SessionTracker dump:\nSession Sets (0)/(0):\nephemeral"));
    }
}
