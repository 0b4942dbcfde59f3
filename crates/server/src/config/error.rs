//! Why a start was refused, in one line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1; line 0 means the file as a whole.
    File {
        /// The name as the operator gave it.
        name: Arc<str>,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// The short form on the command line.
    CommandLine,
    /// A value of the mode without a file.
    BuiltIn,
}

impl Place {
    pub(super) fn file(path: &Path, line: usize) -> Self {
        Self::File { name: path.to_string_lossy().into(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0 } => f.write_str(name),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::CommandLine => f.write_str("command line"),
            Self::BuiltIn => f.write_str("built-in"),
        }
    }
}

/// A configuration with which the server must not start. [`fmt::Display`] is the one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        /// The file.
        place: Place,
        /// What the system said.
        reason: String,
    },
    /// The file is not in Java's properties format.
    Malformed {
        /// The line.
        place: Place,
        /// What is wrong.
        what: String,
    },
    /// A key has a value that cannot be.
    BadValue {
        /// Where it stands.
        place: Place,
        /// The key as written.
        key: Box<str>,
        /// The value as written; hidden for secrets.
        value: Box<str>,
        /// What is wrong with it.
        what: Box<str>,
        /// What would be right.
        allowed: Box<str>,
    },
    /// A key asks for something that this server does not have: refused by name, never ignored.
    NotSupported {
        /// Where it stands.
        place: Place,
        /// The key as written.
        key: Box<str>,
        /// The value as written; hidden for secrets.
        value: Box<str>,
        /// What is missing, and what to do.
        why: Box<str>,
    },
    /// A key that must be there is not.
    Missing {
        /// The file, or the command line.
        place: Place,
        /// The key.
        key: &'static str,
        /// What it is for.
        what: &'static str,
    },
    /// Wrong number of arguments.
    Usage(String),
    /// A key that this code asks for is not in its own table: a defect of ours, held by a test.
    NoSuchKey(&'static str),
}

impl ConfigError {
    /// The exit code of a process that ends with this: Apache's code for a bad invocation or configuration.
    pub const EXIT_CODE: u8 = 2;
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { place, reason } => write!(f, "{place}: cannot be read: {reason}"),
            Self::Malformed { place, what } => write!(f, "{place}: {what}"),
            Self::BadValue { place, key, value, what, allowed } => {
                write!(f, "{place}: {key} = {}: {what}; allowed: {allowed}", one_line(value))
            }
            Self::NotSupported { place, key, value, why } => {
                write!(f, "{place}: {key} = {}: not supported: {why}", one_line(value))
            }
            Self::Missing { place, key, what } => write!(f, "{place}: {key} is not set: {what}"),
            Self::Usage(text) => f.write_str(text),
            Self::NoSuchKey(name) => write!(f, "defect: the key {name} is not in the table of keys"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Control characters escaped, so that a value never breaks the line.
fn one_line(value: &str) -> String {
    value.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let place = Place::file(Path::new("zoo.cfg"), 3);
        let error = ConfigError::BadValue {
            place: place.clone(),
            key: "tickTime".into(),
            value: "a\nb".into(),
            what: "not a number".into(),
            allowed: "1 to 5".into(),
        };
        assert_eq!(error.to_string(), "zoo.cfg:3: tickTime = a\\nb: not a number; allowed: 1 to 5");
        let error = ConfigError::NotSupported {
            place: Place::Environment("SERVER_JVMFLAGS"),
            key: "zookeeper.ssl.clientAuth".into(),
            value: "need".into(),
            why: "no TLS yet".into(),
        };
        assert_eq!(error.to_string(), "SERVER_JVMFLAGS: zookeeper.ssl.clientAuth = need: not supported: no TLS yet");
    }
}
