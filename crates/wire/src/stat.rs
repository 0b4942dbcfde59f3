//! The two forms of a znode's Stat: what clients see, and what is kept. Source: `zookeeper.jute`, `DataNode.copyStat`.

use crate::ids::Zxid;

record! {
    /// A znode's Stat as clients see it (68 bytes).
    #[derive(Default, Copy)]
    pub struct Stat {
        /// The txn that created it.
        czxid: Zxid,
        /// The txn that last set its data.
        mzxid: Zxid,
        /// When it was created, in ms since 1970.
        ctime: i64,
        /// When its data was last set, in ms since 1970.
        mtime: i64,
        /// How often its data was set.
        version: i32,
        /// How often a child came or went (on the wire: twice the stored value, less the children).
        cversion: i32,
        /// How often its ACL was set.
        aversion: i32,
        /// The session that it belongs to; 0 of persistent, container and TTL znodes.
        ephemeral_owner: i64,
        /// The length of its data; 0 when null.
        data_length: i32,
        /// How many children it has.
        num_children: i32,
        /// The txn that last added or removed a child.
        pzxid: Zxid,
    }
}

record! {
    /// A znode's Stat as snapshots and the digest hold it (60 bytes).
    #[derive(Default, Copy)]
    pub struct StatPersisted {
        /// The txn that created it.
        czxid: Zxid,
        /// The txn that last set its data.
        mzxid: Zxid,
        /// When it was created, in ms since 1970.
        ctime: i64,
        /// When its data was last set, in ms since 1970.
        mtime: i64,
        /// How often its data was set.
        version: i32,
        /// How many children were ever created.
        cversion: i32,
        /// How often its ACL was set.
        aversion: i32,
        /// 0, a session, or the encoding of a container or TTL (`EphemeralType`).
        ephemeral_owner: i64,
        /// The txn that last added or removed a child.
        pzxid: Zxid,
    }
}

/// The stored `ephemeralOwner` of a container znode.
pub const CONTAINER_OWNER: i64 = i64::MIN;

impl StatPersisted {
    /// What clients see of it (`DataNode.copyStat`); the owner is theirs to see only when it is a session.
    pub fn to_stat(&self, data_length: i32, num_children: i32, owner_is_session: bool) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: if owner_is_session { self.ephemeral_owner } else { 0 },
            data_length,
            num_children,
            pzxid: self.pzxid,
        }
    }
}
