//! Watch events. Source: Apache `Watcher.Event`, `WatcherEvent`.

use crate::jute::UStr;

record! {
    /// What a client hears when a watch fires.
    pub struct WatcherEvent<'a> {
        /// An [`EventType`].
        kind: i32,
        /// 3, SyncConnected, in all that a server sends.
        state: i32,
        /// The znode concerned.
        path: UStr<'a>,
    }
}

/// The state in every event that a server sends.
pub const SYNC_CONNECTED: i32 = 3;

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum EventType {
    /// It came to be.
    Created = 1,
    /// It is gone.
    Deleted = 2,
    /// Its data was set.
    DataChanged = 3,
    /// A child came or went.
    ChildrenChanged = 4,
}
