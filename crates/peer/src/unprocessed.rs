//! What was received and is not processed: parts of requests, and requests that wait. One bound for all connections of a
//! server, so that ten thousand of them can't each hold the longest frame that one may send.
//!
//! What a connection holds up to [`FREE_BYTES`] counts for nothing, so small requests touch nothing that shards share and
//! never wait. When the bound is reached, who holds more is not read, [`TURNS_MAX`] connections of a shard excepted: so
//! there is always somebody whose request becomes whole. Who had a large request processed before has
//! its turn first, then the youngest, since among those that have
//! waited for long most are hoarders; who does nothing with it for [`PATIENCE_MS`] is closed. And those are closed, until
//! half of the bound is free, that took the room and did nothing with it for the longest time: neither
//! [`STRIDE_BYTES`] more came nor was a request processed for [`PATIENCE_MS`], or for [`WAIT_MS`] of those that had to wait.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use crate::connection::{Connection, Phase};
use crate::inbox::ConnId;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::time::Now;

/// What a connection may hold without being counted, or being kept from reading.
pub(crate) const FREE_BYTES: usize = 4 * 1024;

/// So many bytes more are progress: less than that in [`PATIENCE_MS`] is slow for a request that is larger.
pub(crate) const STRIDE_BYTES: usize = 16 * 1024;

/// When the bound is reached, who made no progress for longer than this, in ms, is closed.
pub(crate) const PATIENCE_MS: i64 = 2000;

/// The same for those that wait for room.
pub(crate) const WAIT_MS: i64 = 5000;

/// Connections of a shard that are read on when the bound is reached.
const TURNS_MAX: usize = 4;

/// Who waits for room in a shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    /// Connections that are not read until there is room: whether a large request of theirs was processed before, and since
    /// when each holds something. The last one goes first.
    waiting: BTreeSet<(bool, i64, ConnId)>,
    /// Connections that are read although there is none.
    turns: Vec<Turn>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    conn: ConnId,
    /// The bytes that it held when it last went on, and when that was seen.
    bytes: usize,
    seen_ms: i64,
}

/// What one connection holds, as far as it is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    /// Bytes, as of the last progress.
    counted: usize,
    /// Since when it holds what belongs to the request that is not processed, on the clock that never goes back.
    since_ms: i64,
    /// When it made progress last, on the clock that never goes back.
    progress_ms: i64,
    /// Was a request processed that was large enough to count?
    is_proven: bool,
    /// Is it read although there is no room?
    has_turn: bool,
    /// Does it wait for room?
    pub waits: bool,
}

impl Connection {
    /// Bytes received from it that are not processed.
    fn held_bytes(&self) -> usize {
        let bodies = self.setting.as_ref().map_or(0, |steps| steps.body_length())
            + self.long.as_ref().map_or(0, |long| long.body_length());
        self.unread.len() + self.waiting_bytes + bodies
    }

    /// Bytes that are missing from the frame that is being received.
    fn frame_rest(&self, frame_max: usize) -> usize {
        let length = self.unread.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
        (4 + length.min(frame_max)).saturating_sub(self.unread.len())
    }

    /// Appends what is not a whole frame yet, or has to wait. The buffer grows by doubling, but not beyond the frame that
    /// is being received.
    pub(crate) fn keep_unread(&mut self, bytes: &[u8], frame_max: usize) {
        let needed = self.unread.len() + bytes.len();
        if needed > self.unread.capacity() {
            let mut prefix = self.unread.iter().chain(bytes).take(4);
            let length = prefix.by_ref().fold(0_u32, |length, byte| length << 8 | u32::from(*byte)) as usize;
            let mut room = needed.max(2 * self.unread.capacity());
            if (needed - 4.min(needed)..=frame_max).contains(&length) {
                room = room.min(4 + length);
            }
            self.unread.reserve_exact(room - self.unread.len());
        }
        self.unread.extend_from_slice(bytes);
    }
}

impl Shard {
    /// Counts what a connection holds, after that may have changed.
    pub(crate) fn count_held(&mut self, now: Now, shared: &Shared, conn: ConnId) {
        let Some(found) = self.get_mut(conn) else { return };
        let bytes = found.held_bytes();
        let before = found.held.counted;
        if bytes <= FREE_BYTES && before == 0 {
            return;
        }
        let counted = if bytes <= FREE_BYTES { 0 } else { bytes };
        if counted < before || before == 0 || counted >= before + STRIDE_BYTES {
            found.held.counted = counted;
            found.held.progress_ms = now.mono_ms();
            if counted < before || before == 0 {
                found.held.since_ms = now.mono_ms();
            }
            shared.unprocessed.fetch_add(counted, Relaxed);
            shared.unprocessed.fetch_sub(before, Relaxed);
        }
        if counted < before {
            found.held.is_proven = true;
            self.end_turn(conn);
        }
    }

    /// It has gone.
    pub(crate) fn uncount_held(&mut self, shared: &Shared, conn: ConnId) {
        self.end_turn(conn);
        let Some(found) = self.get_mut(conn) else { return };
        shared.unprocessed.fetch_sub(std::mem::take(&mut found.held.counted), Relaxed);
    }

    fn end_turn(&mut self, conn: ConnId) {
        if self.get_mut(conn).is_some_and(|found| std::mem::take(&mut found.held.has_turn)) {
            self.room.turns.retain(|turn| turn.conn != conn);
        }
    }

    /// May more be read from this connection, which [`wants_read`](Self::wants_read)? If not, it is among those that
    /// [`take_resumed`](Self::take_resumed) names when there is room.
    pub fn may_read(&mut self, shared: &Shared, conn: ConnId) -> bool {
        let is_full = shared.unprocessed.load(Relaxed) >= self.config.unprocessed_max;
        let Some(found) = self.get_mut(conn).filter(|_| is_full) else { return true };
        if found.held.has_turn || found.held_bytes() <= FREE_BYTES {
            return true;
        }
        if !std::mem::replace(&mut found.held.waits, true) {
            let key = (found.held.is_proven, found.held.since_ms, conn);
            self.room.waiting.insert(key);
        }
        false
    }

    /// Does anybody wait for room, or is there none? Then call [`make_room`](Self::make_room) now and then;
    /// [`drain`](Self::drain) lets those go on that wait, and closes nobody.
    pub fn needs_room(&self, shared: &Shared) -> bool {
        !self.room.waiting.is_empty() || shared.unprocessed.load(Relaxed) >= self.config.unprocessed_max
    }

    /// Closes those that keep the room from others, and lets those go on that wait and have room now, or their turn. A
    /// connection is idle only if there is nothing to be read in its socket either, which `is_silent` tells.
    pub fn make_room(&mut self, now: Now, shared: &Shared, is_silent: impl Fn(ConnId) -> bool) {
        if shared.unprocessed.load(Relaxed) >= self.config.unprocessed_max {
            self.close_idle_holders(now, shared, &is_silent);
            self.end_idle_turns(now, shared, &is_silent);
        }
        self.let_in(now, shared);
    }

    /// Closes those that have their turn and do nothing with it.
    fn end_idle_turns(&mut self, now: Now, shared: &Shared, is_silent: &impl Fn(ConnId) -> bool) {
        for at in (0..self.room.turns.len()).rev() {
            let turn = self.room.turns[at];
            let Some(found) = self.get(turn.conn) else { continue };
            let bytes = found.held_bytes();
            if bytes != turn.bytes || !self.is_idle(found) || !is_silent(turn.conn) {
                self.room.turns[at] = Turn { conn: turn.conn, bytes, seen_ms: now.mono_ms() };
            } else if now.mono_ms() - turn.seen_ms > PATIENCE_MS {
                self.close_holder(shared, turn.conn);
            }
        }
    }

    fn close_holder(&mut self, shared: &Shared, conn: ConnId) {
        self.uncount_held(shared, conn);
        self.drop_connection(conn);
        if let Some(found) = self.get_mut(conn) {
            found.unread = Vec::new();
        }
        shared.shard_stats[self.config.shard as usize].idle_holders_closed.add(1);
    }

    /// Those that wait go on, as far as there is room for their requests, or turns.
    pub(crate) fn let_in(&mut self, now: Now, shared: &Shared) {
        if self.room.waiting.is_empty() {
            return;
        }
        let mut room = self.config.unprocessed_max.saturating_sub(shared.unprocessed.load(Relaxed));
        while let Some((is_proven, since_ms, conn)) = self.room.waiting.pop_last() {
            let frame_max = self.config.frame_max;
            let Some(found) = self.get_mut(conn) else { continue };
            let needs = found.frame_rest(frame_max);
            let has_turn = found.held.counted > 0 && needs > room;
            if has_turn && self.room.turns.len() >= TURNS_MAX {
                self.room.waiting.insert((is_proven, since_ms, conn));
                return;
            }
            let Some(found) = self.get_mut(conn) else { continue };
            found.held.waits = false;
            // It could do nothing until now.
            found.held.progress_ms = now.mono_ms();
            if has_turn {
                found.held.has_turn = true;
                let bytes = found.held_bytes();
                self.room.turns.push(Turn { conn, bytes, seen_ms: now.mono_ms() });
            } else {
                room = room.saturating_sub(needs);
            }
            self.resumed.push(conn);
        }
    }

    /// Closes connections that made no progress, for the longest time first, until there is room again. Beyond twice the
    /// bound, and what those need whose turn it is, patience is at an end.
    fn close_idle_holders(&mut self, now: Now, shared: &Shared, is_silent: &impl Fn(ConnId) -> bool) {
        let max = self.config.unprocessed_max;
        let in_turn = TURNS_MAX * shared.inboxes.len() * self.config.frame_max;
        let has_patience = shared.unprocessed.load(Relaxed) < max.saturating_mul(2).saturating_add(in_turn);
        let now_ms = now.mono_ms();
        let idle = self.connections.iter().flatten().filter(|conn| {
            let patience_ms = if conn.held.waits { WAIT_MS } else { PATIENCE_MS };
            conn.held.counted > 0
                && (now_ms - conn.held.progress_ms > patience_ms || !has_patience)
                && (conn.held.waits || self.is_idle(conn))
        });
        let mut all: Vec<_> = idle
            .map(|conn| (conn.held.is_proven, conn.held.progress_ms, Reverse(conn.held.counted), conn.id))
            .collect();
        all.sort_unstable();
        let goal = max / 2;
        for (_, _, _, conn) in all {
            if shared.unprocessed.load(Relaxed) <= goal {
                break;
            }
            // Else it is this server that is late.
            let waits = self.get(conn).is_some_and(|found| found.held.waits);
            if has_patience && !waits && !is_silent(conn) {
                continue;
            }
            self.close_holder(shared, conn);
        }
    }

    /// Is it for this connection's other end to go on? It has not sent the rest of a request, or does not read.
    fn is_idle(&self, conn: &Connection) -> bool {
        let sends = conn.waiting.is_empty()
            && conn.setting.is_none()
            && conn.long.is_none()
            && !conn.unread_has_frame(self.config.frame_max);
        match conn.phase {
            Phase::Handshake => sends,
            Phase::Established => sends || conn.counted > 0 && self.round.wrapping_sub(conn.read_in_round) > 1,
            Phase::Connecting | Phase::Closing => false,
        }
    }
}
