//! Watches: `wchs` in brief, `wchc` by session, `wchp` by path. The last two end with an empty
//! line. All three are about watches of data and existence;
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

/// A line of `wchc`: a session, or (with a path) what it watches.
pub fn connection_of_watches(session: i64, path: Option<&str>, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = match path {
        None => writeln!(text, "0x{session:x}"),
        Some(path) => writeln!(text, "\t{path}"),
    };
}

/// A line of `wchp`: a path, or (with a session) who watches it.
pub fn path_of_watches(path: &str, session: Option<i64>, text: &mut String) {
    let _ = match session {
        None => writeln!(text, "{path}"),
        Some(session) => writeln!(text, "\t0x{session:x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_by_line() {
        let summary = WatchSummary { connections: 1, paths: 2, watches: 3 };
        assert_eq!(wchs(summary), "1 connections watching 2 paths\nTotal watches:3\n");
        let mut text = String::new();
        connection_of_watches(16, None, &mut text);
        connection_of_watches(16, Some("/a"), &mut text);
        path_of_watches("/a", None, &mut text);
        path_of_watches("/a", Some(16), &mut text);
        assert_eq!(text, "0x10\n\t/a\n/a\n\t0x10\n");
    }
}
