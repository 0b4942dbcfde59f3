//! Watches: `wchs` in brief, `wchc` by session, `wchp` by path. All three are about watches of data and existence;
//! child watches are not shown by Apache either.

use std::fmt::Write as _;

/// What `wchs` tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchSummary {
    /// Connections with a watch.
    pub connections: usize,
    /// Paths with a watch.
    pub paths: usize,
    /// Watches.
    pub watches: usize,
}

/// The answer to `wchs`.
pub fn wchs(summary: WatchSummary) -> String {
    let WatchSummary { connections, paths, watches } = summary;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

/// The answer to `wchc`: sessions with the paths that they watch.
pub fn wchc<'a, P: IntoIterator<Item = &'a str>>(sessions: impl IntoIterator<Item = (i64, P)>) -> String {
    let mut text = String::new();
    for (session, paths) in sessions {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "0x{session:x}");
        for path in paths {
            let _ = writeln!(text, "\t{path}");
        }
    }
    text.push('\n');
    text
}

/// The answer to `wchp`: paths with the sessions that watch them.
pub fn wchp<'a, S: IntoIterator<Item = i64>>(paths: impl IntoIterator<Item = (&'a str, S)>) -> String {
    let mut text = String::new();
    for (path, sessions) in paths {
        let _ = writeln!(text, "{path}");
        for session in sessions {
            let _ = writeln!(text, "\t0x{session:x}");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_by_line() {
        let summary = WatchSummary { connections: 1, paths: 2, watches: 3 };
        assert_eq!(wchs(summary), "1 connections watching 2 paths\nTotal watches:3\n");
        assert_eq!(wchc([(16, ["/a", "/b"])]), "0x10\n\t/a\n\t/b\n\n");
        assert_eq!(wchp([("/a", [16, 17])]), "/a\n\t0x10\n\t0x11\n\n");
    }
}
