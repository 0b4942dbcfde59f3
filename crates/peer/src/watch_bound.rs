//! A bound for the watches of all sessions together (`ostler.watches.bytesMax`): what would go over it is refused with
//! QuotaExceeded, whatever else the read would have been answered. A watch that is there already can be asked for again.
//!
//! A shard may always fill its own share, so that as long as it does it looks at nothing but its own tables. Apache has no
//! such bound.

use tree::watch::Modes;
use wire::{OpCode, Reader, UStr};

use crate::inbox::ConnId;
use crate::shard::Shard;
use crate::shared::Shared;

impl Shard {
    /// Do the watches take so many times the bytes that they may?
    pub(crate) fn watches_are_full(&self, shared: &Shared, times: usize) -> bool {
        let max = self.config.watch_bytes_max.saturating_mul(times);
        let own = self.watches.bytes();
        if own < max / shared.inboxes.len() {
            return false;
        }
        let others = shared.shard_stats.iter().enumerate().filter(|(shard, _)| *shard != self.config.shard as usize);
        let others = others.map(|(_, stats)| usize::try_from(stats.watch_table_bytes.get()).unwrap_or(usize::MAX));
        others.fold(own, usize::saturating_add) >= max
    }

    /// Would this request set a watch that is one too many?
    pub(crate) fn is_one_watch_too_many(&self, shared: &Shared, conn: ConnId, op: OpCode, body: &[u8]) -> bool {
        if !self.watches_are_full(shared, 1) {
            return false;
        }
        let modes = match op {
            OpCode::AddWatch if body.last() == Some(&0) => Modes::PERSISTENT,
            OpCode::AddWatch => Modes::RECURSIVE,
            _ if !sets_watch(op, body) => return false,
            OpCode::GetData | OpCode::Exists => Modes::DATA,
            _ => Modes::CHILD,
        };
        let path = Reader::with_limit(body, self.config.length_max).read::<UStr<'_>>();
        let has = |path: &str| self.watches.modes_of(conn.slot, path).has(modes);
        // One that can't be read is refused as such.
        path.is_ok_and(|path| path.as_deref().is_some_and(|path| !has(path)))
    }
}

/// Does this read set a watch? The wish stands last in each of them.
pub(crate) fn sets_watch(op: OpCode, body: &[u8]) -> bool {
    let may = matches!(
        op,
        OpCode::GetData | OpCode::Exists | OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetChildrenPaginated
    );
    may && body.last().is_some_and(|wish| *wish != 0)
}
