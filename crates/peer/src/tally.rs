//! Where shards and the pipeline count what four-letter words and metrics tell. It costs plain adds, and decides nothing.

use wire::txn::{Txn, TxnEntry};
use wire::{ErrorCode, OpCode, Reader, Xid, Zxid};

use tree::TriggerKind;

use crate::answers::LastOp;
use crate::connection::Connection;
use crate::inbox::ConnId;
use crate::pipeline::Pipeline;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::stats::{PipelineStats, ShardStats};
use crate::time::Now;

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answered {
    /// A read.
    Read(OpCode),
    /// A write, with its error.
    Write(OpCode, ErrorCode),
}

impl Shard {
    /// A reply was written into a connection's buffer, from `start` on.
    #[allow(clippy::too_many_arguments, reason = "a request and its reply")]
    pub(crate) fn answered(
        &mut self,
        now: Now,
        shared: &Shared,
        conn: ConnId,
        what: Answered,
        xid: Xid,
        zxid: Zxid,
        received_us: u64,
        start: usize,
    ) {
        let Some(found) = self.get_mut(conn) else { return };
        let bytes = (found.out.len() - start).saturating_sub(4);
        self.answered_with(now, shared, conn, what, xid, zxid, received_us, bytes);
    }

    /// The same, where the answer has `bytes` and lies elsewhere.
    #[allow(clippy::too_many_arguments, reason = "a request and its answer")]
    pub(crate) fn answered_with(
        &mut self,
        now: Now,
        shared: &Shared,
        conn: ConnId,
        what: Answered,
        xid: Xid,
        zxid: Zxid,
        received_us: u64,
        bytes: usize,
    ) {
        let stats = &shared.shard_stats[self.config.shard as usize];
        let Some(found) = self.get_mut(conn) else { return };
        found.sent += 1;
        // Apache names a write when it is through; a refused multi is through, its parts are not.
        let (op, latencies) = match what {
            Answered::Read(op) => (LastOp::Of(op), &stats.read_latency),
            Answered::Write(op, err) if err == ErrorCode::OK => (LastOp::Of(op), &stats.update_latency),
            Answered::Write(..) => (LastOp::Unnamed, &stats.update_latency),
        };
        let latency = found.answers.add(now, op, xid, zxid, received_us);
        stats.latency.record(latency);
        latencies.record(latency);
        stats.packets_sent.add(1);
        // Apache forgets those of pings.
        if !matches!(what, Answered::Read(OpCode::Ping)) {
            stats.response_bytes.add(bytes as u64);
        }
        stats.response_sizes.record(now.mono_us, bytes);
    }

    /// A frame that answers no request of the pipeline's kind was written into a connection's buffer, from `start` on.
    pub(crate) fn count_sent(&mut self, now: Now, shared: &Shared, conn: ConnId, start: usize) {
        let Some(found) = self.get_mut(conn) else { return };
        found.sent += 1;
        let bytes = (found.out.len() - start).saturating_sub(4);
        let stats = &shared.shard_stats[self.config.shard as usize];
        stats.packets_sent.add(1);
        stats.response_sizes.record(now.mono_us, bytes);
    }

    /// An event found `told` watchers here, `in_child_table` of them (if it is a deletion) in Apache's table of children
    /// and `only` of these nowhere else. Source: Apache `WatchManager.triggerWatch`, which counts each table.
    pub(crate) fn count_told(
        &self,
        shared: &Shared,
        kind: TriggerKind,
        told: usize,
        (in_child_table, only): (usize, usize),
    ) {
        let summaries = &shared.shard_stats[self.config.shard as usize].watchers_told;
        let summary = match kind {
            TriggerKind::Created => &summaries[0],
            TriggerKind::Deleted => &summaries[1],
            TriggerKind::DataChanged => &summaries[2],
            TriggerKind::ChildrenChanged => &summaries[3],
        };
        for watchers in [told - only.min(told), in_child_table] {
            if watchers > 0 {
                summary.record(watchers as u64);
            }
        }
    }

    /// `crst`, for some of the connections: in so many slots from `from` on. Returns where to go on.
    pub fn reset_connections(&mut self, from: u32, slots: u32) -> Option<u32> {
        let end = from.saturating_add(slots);
        let of_slots = self.connections.iter_mut().skip(from as usize).take(slots as usize);
        of_slots.filter_map(Option::as_deref_mut).for_each(Connection::reset_counters);
        ((end as usize) < self.connections.len()).then_some(end)
    }

    /// A four-letter word came on this connection.
    pub fn word_received(&mut self, shared: &Shared, conn: ConnId) {
        let stats = &shared.shard_stats[self.config.shard as usize];
        stats.packets_received.add(1);
        stats.bytes_received.add(4);
        if let Some(found) = self.get_mut(conn) {
            found.received += 1;
        }
    }
}

/// An event's frame of so many bytes, its length included, goes to so many connections.
pub(crate) fn count_events(stats: &ShardStats, now: Now, frame_bytes: usize, connections: u64) {
    let bytes = frame_bytes.saturating_sub(4);
    stats.packets_sent.add(connections);
    stats.watch_bytes.add(bytes as u64 * connections);
    if connections > 0 {
        stats.response_sizes.record(now.mono_us, bytes);
    }
}

impl Pipeline {
    pub(crate) fn count_proposals(&mut self, shared: &Shared) {
        let queued = self.changes_queued();
        let stats = &shared.pipeline_stats;
        stats.changes_queued.add(queued - self.changes_told);
        self.changes_told = queued;
        stats.local_sessions.set(self.local_session_count() as u64);
    }
}

/// A txn was applied.
pub(crate) fn applied(stats: &PipelineStats, now: Now, entry: &TxnEntry<'_>, received_us: u64, proposed_us: u64) {
    stats.proposed.add(1);
    stats.prep_wait.record(proposed_us.saturating_sub(received_us));
    stats.log_wait.record(stats.batch_began_us.get().saturating_sub(proposed_us));
    stats.log.record(now.mono_us.saturating_sub(proposed_us));
    if let Ok(ms) = u64::try_from(now.wall_ms - entry.header.time_ms) {
        stats.propagation.record(ms * 1000);
    }
    if let Txn::CloseSession(_) = entry.txn {
        stats.closed_sessions.add(1);
    }
    count_writes(stats, &entry.txn);
}

fn count_writes(stats: &PipelineStats, txn: &Txn<'_>) {
    let written = match txn {
        Txn::Create(txn) => (&txn.path, txn.data),
        Txn::CreateTtl(txn) => (&txn.path, txn.data),
        Txn::CreateContainer(txn) => (&txn.path, txn.data),
        Txn::SetData(txn) => (&txn.path, txn.data),
        Txn::Delete(txn) => (&txn.path, None),
        Txn::CloseSession(Some(txn)) => {
            for path in txn.paths_to_delete.iter().flatten().filter_map(|path| path.as_deref()) {
                stats.writes.record(path, 0);
            }
            return;
        }
        // One that failed has the txns before the failure, and changes nothing.
        Txn::Multi(txn) if txn.txns.iter().flatten().any(|sub| sub.kind == OpCode::Error.code()) => return,
        Txn::Multi(txn) => {
            for sub in txn.txns.iter().flatten() {
                let mut r = Reader::new(sub.data.unwrap_or_default());
                if let Some(op) = OpCode::from_code(sub.kind)
                    && let Ok(txn) = Txn::read_body(op, true, &mut r)
                {
                    count_writes(stats, &txn);
                }
            }
            return;
        }
        Txn::CloseSession(None) | Txn::SetAcl(_) | Txn::Check(_) | Txn::CreateSession(_) | Txn::Error(_) => return,
    };
    if let Some(path) = written.0.as_deref() {
        stats.writes.record(path, written.1.map_or(0, <[u8]>::len));
    }
}
