//! A shard's limits beside those of one connection: requests that wait because there are too many, large ones that are too
//! much together, and what all connections together still have to read.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use wire::OpCode;
use wire::frame;

use crate::connection::Phase;
use crate::inbox::ConnId;
use crate::shard::Shard;
use crate::shard_receive::Class;
use crate::shared::Shared;
use crate::time::Now;

/// What the request throttle makes of a request.
pub(crate) enum Throttled {
    /// Nothing.
    No,
    /// It waits.
    Wait,
    /// It waited too long: THROTTLEDOP.
    Answer,
    /// It is stale: it is dropped, with its connection, so that nothing behind it is done either.
    Drop,
}

impl Shard {
    /// The request throttle's word on the next request of a connection. A ping never waits on its own account.
    pub(crate) fn throttled(&mut self, now: Now, shared: &Shared, conn: ConnId, op: OpCode, class: Class) -> Throttled {
        let throttle = self.config.throttle;
        let Some(max) = throttle.requests_max else { return Throttled::No };
        let stats = &shared.shard_stats[self.config.shard as usize];
        let Some(found) = self.get_mut(conn) else { return Throttled::No };
        let was_held = found.held_ms != 0;
        if was_held && op != OpCode::CloseSession && throttle.stale_by_latency {
            let waited_ms = now.mono_ms() - found.held_ms;
            if waited_ms > i64::from(found.timeout_ms) {
                if throttle.drop_stale {
                    stats.stale_requests_dropped.add(1);
                    return Throttled::Drop;
                }
                stats.stale_requests.add(1);
            }
        }
        if op == OpCode::Ping || class == Class::Refused {
            return Throttled::No;
        }
        if shared.in_flight.load(Relaxed) >= max {
            if !was_held {
                // 0 stands for "not held".
                found.held_ms = now.mono_ms().max(1);
                stats.throttle_waits.add(1);
            }
            return Throttled::Wait;
        }
        let waited_ms = if was_held { now.mono_ms() - found.held_ms } else { 0 };
        stats.throttle_queue_ms.record(waited_ms.unsigned_abs());
        if op != OpCode::CloseSession && throttle.op_wait_ms.is_some_and(|max| waited_ms > max) {
            stats.throttled_ops.add(1);
            return Throttled::Answer;
        }
        Throttled::No
    }

    /// The connections whose next request waits because of the request throttle.
    pub fn held(&self) -> impl Iterator<Item = ConnId> {
        let connections = self.paused.iter().filter_map(|slot| self.connections[*slot as usize].as_deref());
        connections.filter(|conn| conn.held_ms != 0).map(|conn| conn.id)
    }

    /// The other end of a connection has gone while its request waited: what waits is dropped.
    pub fn drop_stale(&mut self, shared: &Shared, conn: ConnId) {
        let frame_max = self.config.frame_max;
        let Some(found) = self.get_mut(conn) else { return };
        let (mut rest, mut requests) = (&found.unread[..], 0);
        while let Ok(Some((_, behind))) = frame::split(rest, frame_max) {
            requests += 1;
            rest = behind;
        }
        found.unread = Vec::new();
        found.held_ms = 0;
        shared.shard_stats[self.config.shard as usize].stale_requests_dropped.add(requests);
        self.drop_connection(conn);
    }

    /// Would the frame at the beginning of `bytes`, whole or not, be one large request too many? Source:
    /// `ZooKeeperServer.checkRequestSizeWhenReceivingMessage`.
    pub(crate) fn is_too_much(&self, shared: &Shared, bytes: &[u8]) -> bool {
        if shared.large_threshold == usize::MAX {
            return false;
        }
        let Some(length) = bytes.first_chunk().map(|length| i32::from_be_bytes(*length)) else { return false };
        let Ok(length) = usize::try_from(length) else { return false };
        length > shared.large_threshold
            && shared.large_bytes.load(Relaxed).saturating_add(length) > self.config.large_bytes_max
    }

    /// To be called when the driver has written what it could: counts what is left. If that is too much for all
    /// connections together, those that have not read for the longest time are closed, the largest first.
    pub fn wrote(&mut self, shared: &Shared, conn: ConnId) {
        let round = self.round;
        let Some(found) = self.get_mut(conn) else { return };
        let (before, left) = (found.counted, found.unsent());
        if before == left {
            return;
        }
        found.counted = left;
        if before == 0 {
            found.read_in_round = round;
        }
        self.out_total = self.out_total - before + left;
        if self.out_total > self.config.out_total_max {
            // Somewhat below the limit, so that the next bytes do not lead here again.
            self.shed(shared, self.config.out_total_max / 8 * 7, i64::MIN);
        }
    }

    /// A new round: who reads nothing until the next is slower than who does. To be called every second or so.
    pub fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Bytes to be sent to all connections.
    pub fn out_total(&self) -> usize {
        self.out_total
    }

    /// Closes connections until no more than `goal` is left to be sent: those first that have read nothing for the longest
    /// time; of those that are equal in this, who took nothing since `since_ms`; then the largest.
    pub(crate) fn shed(&mut self, shared: &Shared, goal: usize, since_ms: i64) {
        let round = self.round;
        let waiting = self.connections.iter().flatten().filter(|conn| conn.counted > 0);
        let mut all: Vec<_> = waiting
            .map(|conn| {
                let rounds = Reverse(round.wrapping_sub(conn.read_in_round));
                (rounds, conn.took_ms >= since_ms, Reverse(conn.counted), conn.id)
            })
            .collect();
        all.sort_unstable();
        for (_, _, Reverse(bytes), conn) in all {
            if self.out_total <= goal {
                break;
            }
            self.out_total -= bytes;
            self.drop_connection(conn);
            if let Some(found) = self.get_mut(conn) {
                found.counted = 0;
                found.phase = Phase::Closing;
                found.out = Vec::new();
            }
            shared.shard_stats[self.config.shard as usize].shed.add(1);
        }
    }
}
