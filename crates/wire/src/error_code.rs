//! The error codes of replies. Source: Apache `KeeperException.Code`.

use std::fmt;

use crate::jute::{DecodeError, Field, Reader};

/// A reply's error; 0 is none. Any number can stand in a log, so it is a number with names, not an enum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i32);

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal;)*) => {
        impl ErrorCode {
            $($(#[$meta])* pub const $name: Self = Self($code);)*

            /// Its name in ZooKeeper, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

codes! {
    /// No error.
    OK = 0;
    /// The server can't do it now, through no fault of the request, and has not done it.
    SYSTEM_ERROR = -1;
    /// Filler of a failed multi for the operations behind the failed one.
    RUNTIME_INCONSISTENCY = -2;
    /// The request's body can't be parsed.
    MARSHALLING_ERROR = -5;
    /// Not an operation of this server.
    UNIMPLEMENTED = -6;
    /// A bad path, flag, TTL.
    BAD_ARGUMENTS = -8;
    /// Internal: the tracker does not know the session.
    UNKNOWN_SESSION = -12;
    /// The new configuration's quorum is not connected.
    NEW_CONFIG_NO_QUORUM = -13;
    /// Another reconfig is under way.
    RECONFIG_IN_PROGRESS = -14;
    /// No such znode.
    NO_NODE = -101;
    /// The ACL denies it.
    NO_AUTH = -102;
    /// The expected version is not the current one.
    BAD_VERSION = -103;
    /// An ephemeral has no children.
    NO_CHILDREN_FOR_EPHEMERALS = -108;
    /// The znode exists.
    NODE_EXISTS = -110;
    /// The znode has children.
    NOT_EMPTY = -111;
    /// The session is over.
    SESSION_EXPIRED = -112;
    /// The ACL can't be.
    INVALID_ACL = -114;
    /// Authentication refused.
    AUTH_FAILED = -115;
    /// The session lives on another connection.
    SESSION_MOVED = -118;
    /// This server is read-only.
    NOT_READ_ONLY = -119;
    /// An ephemeral on a local session.
    EPHEMERAL_ON_LOCAL_SESSION = -120;
    /// No such watch.
    NO_WATCHER = -121;
    /// Reconfig is switched off.
    RECONFIG_DISABLED = -123;
    /// Authentication is demanded and missing.
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124;
    /// A hard quota, or one of our own limits, is exceeded.
    QUOTA_EXCEEDED = -125;
    /// The request waited too long.
    THROTTLED_OP = -127;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ErrorCode {}

impl<'a> Field<'a> for ErrorCode {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self(i32::read(r)?))
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}
