//! The bodies of requests, each behind a [`crate::frame::RequestHeader`]. Source: `zookeeper.jute`.

use crate::acl::AclVec;
use crate::ids::Zxid;
use crate::jute::{Buffer, UStr};

record! {
    /// Of create, create2 and createContainer.
    pub struct CreateRequest<'a> {
        /// The path, or its beginning when sequential.
        path: UStr<'a>,
        /// The data.
        data: Buffer<'a>,
        /// Who may do what.
        acl: AclVec<'a>,
        /// A [`CreateMode`].
        flags: i32,
    }
}

record! {
    /// Of createTTL.
    pub struct CreateTtlRequest<'a> {
        /// The path, or its beginning when sequential.
        path: UStr<'a>,
        /// The data.
        data: Buffer<'a>,
        /// Who may do what.
        acl: AclVec<'a>,
        /// A [`CreateMode`].
        flags: i32,
        /// The time to live in ms, 1 to 2^40 - 1.
        ttl: i64,
    }
}

record! {
    /// Of delete.
    pub struct DeleteRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The expected version; -1: any.
        version: i32,
    }
}

record! {
    /// Of deleteContainer: the path stands as a buffer.
    pub struct DeleteContainerRequest<'a> {
        /// The znode.
        path: Buffer<'a>,
    }
}

record! {
    /// Of exists, getData, getChildren and getChildren2.
    pub struct ReadRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// Set a watch?
        watch: bool,
    }
}

record! {
    /// Of getChildrenPaginated. Source: LinkedIn's fork, `GetChildrenPaginatedRequest`.
    pub struct GetChildrenPaginatedRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The most names in the page, 1 and more.
        max_returned: i32,
        /// The page begins at the first child that this txn or a later one created.
        czxid_min: Zxid,
        /// So many of the children that just this txn created are passed over: earlier pages had them.
        czxid_offset: i32,
        /// Set a watch, if this is the last page?
        watch: bool,
    }
}

record! {
    /// Of setData.
    pub struct SetDataRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The new data.
        data: Buffer<'a>,
        /// The expected version; -1: any.
        version: i32,
    }
}

record! {
    /// Of getACL, sync, getAllChildrenNumber and getEphemerals: a path alone.
    pub struct PathRequest<'a> {
        /// The znode (getEphemerals: a prefix).
        path: UStr<'a>,
    }
}

record! {
    /// Of setACL.
    pub struct SetAclRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The new list.
        acl: AclVec<'a>,
        /// The expected aversion; -1: any.
        version: i32,
    }
}

record! {
    /// Of check, inside a multi.
    pub struct CheckVersionRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// The expected version; -1: it only has to exist.
        version: i32,
    }
}

record! {
    /// Of reconfig.
    pub struct ReconfigRequest<'a> {
        /// Servers to add.
        joining_servers: UStr<'a>,
        /// Servers to remove.
        leaving_servers: UStr<'a>,
        /// All servers, instead.
        new_members: UStr<'a>,
        /// The configuration that the change was made for; -1: any.
        cur_config_id: i64,
    }
}

record! {
    /// Of checkWatches and removeWatches.
    pub struct WatchesRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
        kind: i32,
    }
}

record! {
    /// Of addWatch.
    pub struct AddWatchRequest<'a> {
        /// The znode.
        path: UStr<'a>,
        /// 0 persistent, 1 persistent recursive.
        mode: i32,
    }
}

record! {
    /// Of auth.
    pub struct AuthPacket<'a> {
        /// 0; not looked at.
        kind: i32,
        /// The scheme.
        scheme: UStr<'a>,
        /// The credentials.
        auth: Buffer<'a>,
    }
}

record! {
    /// Of sasl, both ways.
    pub struct SaslToken<'a> {
        /// The token.
        token: Buffer<'a>,
    }
}

record! {
    /// Of setWatches.
    pub struct SetWatches<'a> {
        /// The newest zxid that the client had seen.
        relative_zxid: Zxid,
        /// Watches of getData, and of exists on znodes that were there.
        data_watches: Option<Vec<UStr<'a>>>,
        /// Watches of exists on znodes that were not there.
        exist_watches: Option<Vec<UStr<'a>>>,
        /// Watches of getChildren.
        child_watches: Option<Vec<UStr<'a>>>,
    }
}

record! {
    /// Of setWatches2.
    pub struct SetWatches2<'a> {
        /// The newest zxid that the client had seen.
        relative_zxid: Zxid,
        /// Watches of getData, and of exists on znodes that were there.
        data_watches: Option<Vec<UStr<'a>>>,
        /// Watches of exists on znodes that were not there.
        exist_watches: Option<Vec<UStr<'a>>>,
        /// Watches of getChildren.
        child_watches: Option<Vec<UStr<'a>>>,
        /// Persistent watches.
        persistent_watches: Option<Vec<UStr<'a>>>,
        /// Persistent recursive watches.
        persistent_recursive_watches: Option<Vec<UStr<'a>>>,
    }
}

/// What kind of znode to create. Source: Apache `CreateMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Stays; its name ends in a number.
    PersistentSequential = 2,
    /// Goes with its session; its name ends in a number.
    EphemeralSequential = 3,
    /// Goes when its last child has gone.
    Container = 4,
    /// Goes when unchanged for its time to live.
    PersistentTtl = 5,
    /// The same; its name ends in a number.
    PersistentSequentialTtl = 6,
}

impl CreateMode {
    /// The mode with these flags.
    pub const fn from_flags(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentTtl,
            6 => Self::PersistentSequentialTtl,
            _ => return None,
        })
    }

    /// Does it go with its session?
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Does its name end in a number?
    pub const fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialTtl)
    }

    /// Does it have a time to live?
    pub const fn is_ttl(self) -> bool {
        matches!(self, Self::PersistentTtl | Self::PersistentSequentialTtl)
    }
}
