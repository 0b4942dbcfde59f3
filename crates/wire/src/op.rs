//! Opcodes: what a request asks for, and the type of a txn. Source: Apache `ZooDefs.OpCode`.

use crate::jute::{DecodeError, Field, Reader};

macro_rules! opcodes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// An operation of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$meta])* $name = $code,)* }
        impl OpCode {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name),*];
            /// The operation with this code.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// Its name as ZooKeeper's tools print it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

opcodes! {
    /// A watch event; never a request.
    Notification = 0, "notification";
    /// Create a znode, answer its path.
    Create = 1, "create";
    /// Delete a znode.
    Delete = 2, "delete";
    /// The Stat of a znode, if there is one.
    Exists = 3, "exists";
    /// Data and Stat.
    GetData = 4, "getData";
    /// Replace the data.
    SetData = 5, "setData";
    /// The ACL and Stat.
    GetAcl = 6, "getACL";
    /// Replace the ACL.
    SetAcl = 7, "setACL";
    /// The children's names.
    GetChildren = 8, "getChildren";
    /// See all that was committed before.
    Sync = 9, "sync";
    /// Keep the session alive.
    Ping = 11, "ping";
    /// The children's names and the Stat.
    GetChildren2 = 12, "getChildren2";
    /// A version check inside a multi.
    Check = 13, "check";
    /// Several writes, all or none.
    Multi = 14, "multi";
    /// Create a znode, answer its path and Stat.
    Create2 = 15, "create2";
    /// Change the ensemble's membership.
    Reconfig = 16, "reconfig";
    /// Is there a watch?
    CheckWatches = 17, "checkWatches";
    /// Remove watches.
    RemoveWatches = 18, "removeWatches";
    /// Create a container znode.
    CreateContainer = 19, "createContainer";
    /// Delete an empty container or an expired TTL znode.
    DeleteContainer = 20, "deleteContainer";
    /// Create a znode with a time to live.
    CreateTtl = 21, "createTTL";
    /// Several reads.
    MultiRead = 22, "multiRead";
    /// A page of the children's names, in the order of their creation. An extension: LinkedIn's fork has it, Apache not.
    GetChildrenPaginated = 71, "getChildrenPaginated";
    /// Add an identity to the connection.
    Auth = 100, "auth";
    /// Register watches again after a reconnect.
    SetWatches = 101, "setWatches";
    /// A SASL token.
    Sasl = 102, "sasl";
    /// The session's own ephemerals.
    GetEphemerals = 103, "getEphemerals";
    /// How many descendants.
    GetAllChildrenNumber = 104, "getAllChildrenNumber";
    /// Register watches again, persistent ones too.
    SetWatches2 = 105, "setWatches2";
    /// Add a persistent watch.
    AddWatch = 106, "addWatch";
    /// The connection's identities.
    WhoAmI = 107, "whoAmI";
    /// A session begins (a txn).
    CreateSession = -10, "createSession";
    /// A session ends.
    CloseSession = -11, "closeSession";
    /// A refused write (a txn).
    Error = -1, "error";
}

impl OpCode {
    /// Its number on the wire and in the log.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl<'a> Field<'a> for OpCode {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::from_code(i32::read(r)?).ok_or_else(|| r.value_error("an unknown operation"))
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.code().write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &op in OpCode::ALL {
            assert_eq!(OpCode::from_code(op.code()), Some(op));
        }
        assert_eq!(OpCode::from_code(10), None);
    }
}
