//! Why a command failed: Apache's text for scripts and old hands, and what to try for everybody else.

use zookeeper_client::Error;

/// A command that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure; a name for programs.
    pub kind: Kind,
    /// The text, as zkCli prints it. May be several lines.
    pub text: String,
    /// What can be seen from here of why; said to scripts too, behind the text.
    pub cause: Option<String>,
    /// What to try.
    pub hint: Option<String>,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word or a value that the command does not take.
    Usage,
    /// No such command.
    UnknownCommand,
    /// The server, or the way to it, refused.
    ZooKeeper(Code),
    /// There is no session.
    NotConnected,
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads standard output any more.
    OutputClosed,
    /// A file could not be read, an answer not be understood.
    Other,
}

impl Kind {
    /// Its name in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::UnknownCommand => "UnknownCommand",
            Self::ZooKeeper(code) => code.name(),
            Self::NotConnected => "NotConnected",
            Self::Interrupted => "Interrupted",
            Self::OutputClosed => "OutputClosed",
            Self::Other => "Other",
        }
    }

    /// The exit code of a shell whose last command failed so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::UnknownCommand => 127,
            Self::Interrupted => 130,
            // What a shell reports of a program that SIGPIPE ended.
            Self::OutputClosed => 141,
            _ => 1,
        }
    }
}

/// An error code of the protocol, with Apache's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// Not of a server: the connection went away.
    pub const CONNECTION_LOSS: Self = Self(-4);
    /// The request took too long.
    pub const OPERATION_TIMEOUT: Self = Self(-7);
    const BAD_ARGUMENTS: Self = Self(-8);
    /// No such znode.
    pub const NO_NODE: Self = Self(-101);
    const NO_AUTH: Self = Self(-102);
    /// The ACL can't be.
    pub const INVALID_ACL: Self = Self(-114);
    /// No such watch.
    pub const NO_WATCHER: Self = Self(-121);

    /// Apache's name of it (`KeeperException.Code`) in Java's spelling, for programs.
    pub fn name(self) -> &'static str {
        match self.0 {
            -1 => "SystemError",
            -2 => "RuntimeInconsistency",
            -3 => "DataInconsistency",
            -4 => "ConnectionLoss",
            -5 => "MarshallingError",
            -6 => "Unimplemented",
            -7 => "OperationTimeout",
            -8 => "BadArguments",
            -13 => "NewConfigNoQuorum",
            -14 => "ReconfigInProgress",
            -101 => "NoNode",
            -102 => "NoAuth",
            -103 => "BadVersion",
            -108 => "NoChildrenForEphemerals",
            -110 => "NodeExists",
            -111 => "NotEmpty",
            -112 => "SessionExpired",
            -113 => "InvalidCallback",
            -114 => "InvalidACL",
            -115 => "AuthFailed",
            -118 => "SessionMoved",
            -119 => "NotReadOnly",
            -120 => "EphemeralOnLocalSession",
            -121 => "NoWatcher",
            -123 => "ReconfigDisabled",
            -124 => "SessionClosedRequireSaslAuth",
            -125 => "QuotaExceeded",
            -127 => "ThrottledOp",
            _ => "Unknown",
        }
    }

    /// Apache's message of it. Source: `KeeperException.getCodeMessage`.
    fn message(self) -> String {
        match self.0 {
            -111 => "Directory not empty",
            -112 => "Session expired",
            -113 => "Invalid callback",
            -118 => "Session moved",
            -119 => "Not a read-only call",
            -120 => "Ephemeral node on local session",
            -121 => "No such watcher",
            -123 => "Reconfig is disabled",
            -124 => "Session closed because client failed to authenticate",
            -125 => "Quota has exceeded",
            -127 => "Op throttled due to high load",
            number if self.name() == "Unknown" => return format!("Unknown error {number}"),
            _ => self.name(),
        }
        .to_owned()
    }

    /// The code of an error of the client library. Whatever goes wrong on the way is a lost connection to the one who
    /// asked; the details are the library's.
    pub fn of(error: &Error) -> Self {
        Self(match error {
            Error::RuntimeInconsistent => -2,
            Error::UnmarshalError { .. } | Error::MarshallingError => -5,
            Error::Unimplemented => -6,
            Error::BadArguments(_) => -8,
            Error::NoNode => -101,
            Error::NoAuth => -102,
            Error::BadVersion => -103,
            Error::NoChildrenForEphemerals => -108,
            Error::NodeExists => -110,
            Error::NotEmpty => -111,
            Error::SessionExpired => -112,
            Error::InvalidAcl => -114,
            Error::AuthFailed => -115,
            Error::SessionMoved => -118,
            Error::NotReadOnly => -119,
            Error::NoWatcher => -121,
            Error::ReconfigDisabled => -123,
            Error::QuotaExceeded => -125,
            Error::Throttled => -127,
            Error::UnexpectedErrorCode(code) => *code,
            // NoHosts, Timeout, ConnectionLoss, ClientClosed, and what the operating system says.
            _ => -4,
        })
    }

    /// The message of an exception without a path, or with one.
    pub fn exception(self, path: &str) -> String {
        let message = self.message();
        if path.is_empty() {
            format!("KeeperErrorCode = {message}")
        } else {
            format!("KeeperErrorCode = {message} for {path}")
        }
    }

    /// What zkCli prints of it. Source: `CliWrapperException.getMessage`.
    fn text(self, path: &str) -> String {
        let what = match self.0 {
            -101 => "Node does not exist: ",
            -108 => "Ephemerals cannot have children: ",
            -110 => "Node already exists: ",
            -111 => "Node not empty: ",
            -119 => "Not a read-only call: ",
            -114 => "Acl is not valid : ",
            -102 => "Insufficient permission : ",
            -8 => "Arguments are not valid : ",
            -103 => "version No is not valid : ",
            -125 => "Quota has exceeded : ",
            -14 => {
                return "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned();
            }
            -13 => {
                return "No quorum of new config is connected and up-to-date with the leader of last commmitted config - \
                        try invoking reconfiguration after new servers are connected and synced"
                    .to_owned();
            }
            _ => return self.exception(path),
        };
        format!("{what}{path}")
    }
}

impl Failure {
    /// One without a hint.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), cause: None, hint: None }
    }

    /// A word or value that does not fit.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// A code about a path; the path may be empty.
    pub fn code(code: Code, path: &str) -> Self {
        let hint = hint(code, path);
        Self { kind: Kind::ZooKeeper(code), text: code.text(path), cause: None, hint }
    }

    /// An error of the client library about a path.
    pub fn client(error: &Error, path: &str) -> Self {
        Self::code(Code::of(error), path)
    }

    /// Standard output is closed.
    pub fn output() -> Self {
        Self::new(Kind::OutputClosed, "nobody reads standard output any more")
    }

    /// With what can be seen of why.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The code, where it is one of the protocol.
    pub fn zookeeper(&self) -> Option<Code> {
        match self.kind {
            Kind::ZooKeeper(code) => Some(code),
            _ => None,
        }
    }
}

/// What to try, as far as the code alone tells; `run` knows more about some.
fn hint(code: Code, path: &str) -> Option<String> {
    Some(match code.0 {
        -102 => {
            format!("`whoami` shows who you are, `getAcl {path}` who may; `addauth digest user:password` adds an identity")
        }
        -103 => format!("another version is there now: `stat {path}` shows dataVersion and aclVersion"),
        -108 => "only a persistent znode has children: create it without -e".to_owned(),
        -110 => format!("`set {path} data` changes it; with -s the server adds a number to the name"),
        -111 => format!("`deleteall {path}` deletes it with all below it"),
        -112 => "the session is over, and with it its ephemerals and watches; `connect` opens another".to_owned(),
        -114 => "an entry is scheme:id:perms, as world:anyone:cdrwa or digest:user:hash:r; `auth::cdrwa` needs an addauth first"
            .to_owned(),
        -115 => "the server refused these credentials and ended the session; `connect` opens another".to_owned(),
        -119 => "this server is cut off from its ensemble and only reads; connect to another one to write".to_owned(),
        -121 => "only watches of this session can be removed".to_owned(),
        -123 => "the server's configuration has to say reconfigEnabled=true".to_owned(),
        -125 => format!("`listquota {path}` shows the limit of a path; a parent's limit counts too"),
        -127 => "the server is overloaded; try again".to_owned(),
        -4 => "it is not known whether the request was carried out".to_owned(),
        _ => return None,
    })
}

impl From<std::io::Error> for Failure {
    /// Of writing to standard output or standard error.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::output()
        } else {
            Self::new(Kind::Other, format!("writing to standard output: {error}"))
        }
    }
}

impl Code {
    /// Is it a client's fault?
    pub fn is_bad_arguments(self) -> bool {
        self == Self::BAD_ARGUMENTS
    }

    /// Is it about permission?
    pub fn is_no_auth(self) -> bool {
        self == Self::NO_AUTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apaches_texts() {
        let text = |error: Error| Failure::client(&error, "/x").text;
        assert_eq!(text(Error::NoNode), "Node does not exist: /x");
        assert_eq!(text(Error::NoAuth), "Insufficient permission : /x");
        assert_eq!(text(Error::BadVersion), "version No is not valid : /x");
        assert_eq!(text(Error::NotEmpty), "Node not empty: /x");
        assert_eq!(text(Error::NoWatcher), "KeeperErrorCode = No such watcher for /x");
        assert_eq!(text(Error::NoHosts), "KeeperErrorCode = ConnectionLoss for /x");
        assert_eq!(text(Error::UnexpectedErrorCode(-99)), "KeeperErrorCode = Unknown error -99 for /x");
        assert_eq!(Failure::code(Code(-123), "").text, "KeeperErrorCode = Reconfig is disabled");
        assert!(text(Error::UnexpectedErrorCode(-14)).starts_with("Another reconfiguration"));
    }

    #[test]
    fn exit_codes() {
        assert_eq!(Failure::client(&Error::NoNode, "/x").kind.exit_code(), 1);
        assert_eq!(Kind::UnknownCommand.exit_code(), 127);
    }
}
