//! The bodies of replies, each behind a [`crate::frame::ReplyHeader`]. Source: `zookeeper.jute`.

use crate::acl::AclVec;
use crate::error_code::ErrorCode;
use crate::ids::Zxid;
use crate::jute::{Buffer, UStr};
use crate::stat::Stat;

record! {
    /// Of create and sync: a path alone.
    pub struct PathResponse<'a> {
        /// The znode.
        path: UStr<'a>,
    }
}

record! {
    /// Of create2, createContainer and createTTL.
    pub struct Create2Response<'a> {
        /// The path created.
        path: UStr<'a>,
        /// Its Stat.
        stat: Stat,
    }
}

record! {
    /// Of exists, setData and setACL: a Stat alone.
    pub struct StatResponse {
        /// The znode's Stat.
        stat: Stat,
    }
}

record! {
    /// Of getData and reconfig.
    pub struct GetDataResponse<'a> {
        /// The data.
        data: Buffer<'a>,
        /// The Stat.
        stat: Stat,
    }
}

record! {
    /// Of getACL.
    pub struct GetAclResponse<'a> {
        /// The list.
        acl: AclVec<'a>,
        /// The Stat.
        stat: Stat,
    }
}

record! {
    /// Of getChildren and getEphemerals: names or paths.
    pub struct NamesResponse<'a> {
        /// The names.
        names: Option<Vec<UStr<'a>>>,
    }
}

record! {
    /// Of getChildren2.
    pub struct GetChildren2Response<'a> {
        /// The children's names.
        children: Option<Vec<UStr<'a>>>,
        /// The znode's Stat.
        stat: Stat,
    }
}

record! {
    /// Of getChildrenPaginated. Source: LinkedIn's fork, `GetChildrenPaginatedResponse`.
    pub struct GetChildrenPaginatedResponse<'a> {
        /// The names, in ascending order of (czxid, name).
        children: Option<Vec<UStr<'a>>>,
        /// The znode's Stat.
        stat: Stat,
        /// Where the next page begins; -1 of the last page.
        next_czxid: Zxid,
        /// How many children of that txn this page and those before it had; -1 of the last page.
        next_czxid_offset: i32,
    }
}

record! {
    /// Of getAllChildrenNumber.
    pub struct GetAllChildrenNumberResponse {
        /// How many descendants.
        total_number: i32,
    }
}

record! {
    /// Of addWatch, and of a failed operation in a multi.
    pub struct ErrorResponse {
        /// The error.
        err: ErrorCode,
    }
}

record! {
    /// One identity of a connection.
    pub struct ClientInfo<'a> {
        /// The scheme.
        auth_scheme: UStr<'a>,
        /// The identity, as far as it may be shown.
        user: UStr<'a>,
    }
}

record! {
    /// Of whoAmI.
    pub struct WhoAmIResponse<'a> {
        /// The connection's identities.
        client_info: Option<Vec<ClientInfo<'a>>>,
    }
}
