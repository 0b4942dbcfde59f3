//! A bound for the watches of all sessions together (`ostler.watches.bytesMax`): what would go over it is refused with
//! QuotaExceeded, whatever else the read would have been answered. A watch that is there already can be asked for again.
//!
//! A shard may always fill its own share, so that as long as it does it looks at nothing but its own tables. Apache has no
//! such bound.

use std::borrow::Cow;

use tree::watch::Modes;
use wire::request::{AddWatchRequest, GetChildrenPaginatedRequest, ReadRequest};
use wire::{OpCode, Reader};

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
        // One that can't be read is refused as such.
        wish(op, body).is_some_and(|(path, modes)| !self.watches.modes_of(conn.slot, &path).has(modes))
    }
}

/// Does this read set a watch?
pub(crate) fn sets_watch(op: OpCode, body: &[u8]) -> bool {
    op != OpCode::AddWatch && wish(op, body).is_some()
}

/// The watch that a request asks for: of which path, and of what. It is read field by field: bytes behind the last one mean
/// nothing.
fn wish(op: OpCode, body: &[u8]) -> Option<(Cow<'_, str>, Modes)> {
    let mut r = Reader::new(body);
    let (path, modes) = match op {
        OpCode::GetData | OpCode::Exists | OpCode::GetChildren | OpCode::GetChildren2 => {
            let request: ReadRequest<'_> = r.read().ok()?;
            let is_data = matches!(op, OpCode::GetData | OpCode::Exists);
            (request.path.filter(|_| request.watch), if is_data { Modes::DATA } else { Modes::CHILD })
        }
        OpCode::GetChildrenPaginated => {
            let request: GetChildrenPaginatedRequest<'_> = r.read().ok()?;
            (request.path.filter(|_| request.watch), Modes::CHILD)
        }
        OpCode::AddWatch => {
            let request: AddWatchRequest<'_> = r.read().ok()?;
            let modes = match request.mode {
                0 => Modes::PERSISTENT,
                1 => Modes::RECURSIVE,
                _ => return None,
            };
            (request.path, modes)
        }
        _ => return None,
    };
    Some((path?, modes))
}
