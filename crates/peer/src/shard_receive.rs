//! What a shard does with the bytes that come: whole frames in their order, each to be read, or written, or refused.
//!
//! A read is answered here, at once, if nothing of its connection waits for an answer; else it waits behind what does.
//! A read that waits when another write of its connection comes travels with that write through the pipeline, so that
//! it is answered from the state between the two.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::RwLockReadGuard;
use tree::Tree;
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::{ErrorCode, Field, OpCode, Reader, Xid};

use crate::connection::{Connection, Phase, Waiting};
use crate::inbox::{ConnId, ReadRequest, Submission, WriteRequest};
use crate::long_read::may_be_long;
use crate::pipeline::keep_body;
use crate::reads::{ReadContext, is_about_watches};
use crate::shard::Shard;
use crate::shard_limits::Throttled;
use crate::shared::Shared;
use crate::tally::Answered;
use crate::time::Now;
use crate::travel::{Blocked, Brings, take_waiting_reads};

/// The most requests of one connection that wait for an answer; then it is not read until some have theirs.
pub(crate) const WAITING_MAX: usize = 4096;

/// Bytes of reads of one connection that wait; beyond, it is not read.
pub(crate) const WAITING_BYTES_MAX: usize = 1 << 20;

/// The work after which a guard of the tree is let go, roughly in bytes; a read counts [`READ_WORK`] beside its answer.
pub(crate) const GUARD_WORK: usize = 128 * 1024;
const READ_WORK: usize = 2048;

/// The work after which what came in one go waits for its next turn: a ms or two. A whole piece of pings is half of it.
pub(crate) const TURN_WORK: usize = 4 << 20;

/// What one frame led to.
pub(crate) enum Step {
    /// On to the next.
    Next,
    /// It must wait; so must what is behind it.
    Wait,
    /// The connection is to be closed without a word.
    Close,
}

impl Shard {
    /// Bytes came. Four-letter words are the driver's to find before this.
    pub fn receive(&mut self, now: Now, shared: &Shared, conn: ConnId, bytes: &[u8]) {
        let stats = &shared.shard_stats[self.config.shard as usize];
        stats.bytes_received.add(bytes.len() as u64);
        let Some(found) = self.get_mut(conn) else { return };
        if found.phase == Phase::Closing {
            return;
        }
        found.heard_ms = now.mono_ms();
        if found.unread.is_empty() {
            let used = self.frames(now, shared, conn, bytes);
            let frame_max = self.config.frame_max;
            if let Some(found) = self.get_mut(conn)
                && found.phase != Phase::Closing
            {
                found.keep_unread(&bytes[used..], frame_max);
            }
            self.count_held(now, shared, conn);
        } else {
            let frame_max = self.config.frame_max;
            if let Some(found) = self.get_mut(conn) {
                found.keep_unread(bytes, frame_max);
            }
            self.resume(now, shared, conn);
        }
    }

    /// Goes on with frames that had to wait.
    pub(crate) fn resume(&mut self, now: Now, shared: &Shared, conn: ConnId) {
        let Some(found) = self.get_mut(conn) else { return };
        let mut unread = std::mem::take(&mut found.unread);
        let used = self.frames(now, shared, conn, &unread);
        if let Some(found) = self.get_mut(conn) {
            if used == unread.len() || found.phase == Phase::Closing {
                unread.clear();
                if unread.capacity() > 4096 {
                    unread = Vec::new();
                }
            } else {
                unread.drain(..used);
            }
            found.unread = unread;
        }
        self.count_held(now, shared, conn);
    }

    /// Handles the whole frames at the beginning of `bytes`; returns how many bytes they were.
    fn frames(&mut self, now: Now, shared: &Shared, conn: ConnId, bytes: &[u8]) -> usize {
        let stats = &shared.shard_stats[self.config.shard as usize];
        let mut rest = bytes;
        let mut guard: Option<RwLockReadGuard<'_, Tree>> = None;
        self.work = 0;
        self.turn_work = 0;
        let (mut is_blocked, mut is_tired) = (false, false);
        loop {
            if self.must_wait(shared, conn) {
                is_blocked = true;
                break;
            }
            if self.turn_work + self.work > TURN_WORK {
                is_tired = true;
                break;
            }
            if self.is_too_much(shared, rest) {
                stats.large_requests_rejected.add(1);
                self.drop_connection(conn);
                break;
            }
            let (payload, behind) = match frame::split(rest, self.config.frame_max) {
                Ok(Some(split)) => split,
                Ok(None) => break,
                Err(_) => {
                    self.drop_connection(conn);
                    break;
                }
            };
            if self.work > GUARD_WORK {
                guard = None;
                self.turn_work += std::mem::take(&mut self.work);
            }
            let step = self.frame(now, shared, conn, payload, &mut guard);
            if matches!(step, Step::Next | Step::Close) {
                stats.packets_received.add(1);
                if let Some(found) = self.get_mut(conn) {
                    found.received += 1;
                }
            }
            match step {
                Step::Next => rest = behind,
                Step::Wait => {
                    is_blocked = true;
                    break;
                }
                Step::Close => {
                    self.drop_connection(conn);
                    break;
                }
            }
        }
        drop(guard);
        self.turn_work += std::mem::take(&mut self.work);
        if !is_blocked && let Some(found) = self.get_mut(conn) {
            found.held_ms = 0;
        }
        if let Some(found) = self.get(conn)
            && found.phase == Phase::Established
            && found.setting.is_none()
            && found.long.is_none()
            && rest.len() >= 4
            && (is_blocked || is_tired)
        {
            self.pause(conn.slot);
        }
        bytes.len() - rest.len()
    }

    /// Backpressure: may this connection's next frame be looked at?
    fn must_wait(&self, shared: &Shared, conn: ConnId) -> bool {
        let Some(found) = self.get(conn) else { return true };
        match found.phase {
            Phase::Handshake => false,
            Phase::Connecting | Phase::Closing => true,
            Phase::Established => {
                !shared.is_serving()
                    || matches!(found.waiting.back(), Some(Waiting::Sync(_)))
                    || found.long.is_some()
                    || found.setting.is_some()
                    || found.waiting.len() >= WAITING_MAX
                    || found.waiting_bytes > WAITING_BYTES_MAX
                    || found.unsent() > self.config.out_pause
                    || found.counted > 0 && self.out_total > self.config.out_total_max / 2
                    || !found.waiting.is_empty()
                        && (self.is_pipeline_full(shared) || shared.in_flight.load(Relaxed) > self.config.in_flight_max)
            }
        }
    }

    /// What may be sent to all connections of this shard, beside what they have still to read and what is on its way.
    fn room_to_answer(&self) -> usize {
        (self.config.out_total_max / 2).saturating_sub(self.out_total.saturating_add(self.under_way))
    }

    /// Then writes wait, and whatever comes behind one; who only reads, or pings, goes on. What the shards have still to tell is
    /// part of it: a shard that waits for those who read must not have more and more to tell.
    fn is_pipeline_full(&self, shared: &Shared) -> bool {
        let bytes = shared.in_flight_bytes.load(Relaxed).saturating_add(shared.untold.load(Relaxed));
        bytes > self.config.in_flight_bytes_max
    }

    fn frame<'s>(
        &mut self,
        now: Now,
        shared: &'s Shared,
        conn: ConnId,
        payload: &[u8],
        guard: &mut Option<RwLockReadGuard<'s, Tree>>,
    ) -> Step {
        let slot = conn.slot;
        let Some(found) = self.get_mut(conn) else { return Step::Close };
        if found.phase == Phase::Handshake {
            return self.connect(now, shared, conn, payload);
        }
        let mut r = Reader::new(payload);
        let Ok(header) = r.read::<RequestHeader>() else { return Step::Close };
        let body = r.remaining();
        let op = OpCode::from_code(header.op);
        if op == Some(OpCode::Auth) {
            *guard = None;
            return self.auth(now, shared, conn, header.xid, body);
        }
        if op == Some(OpCode::Sasl) {
            return self.sasl(now, shared, conn, header.xid, body);
        }
        found.heard = true;
        found.heard_ms = now.mono_ms();
        let session = found.session;
        if !self.config.auth.enforced_schemes.is_empty()
            && self.get(conn).is_some_and(|found| !found.identities.satisfy(&self.config.auth))
        {
            return self.refuse_unauthenticated(now, shared, conn, header.xid);
        }
        let class = op.map_or(Class::Refused, class_of);
        let mut op = op.unwrap_or(OpCode::Error);
        let class = match op {
            OpCode::Sync if shared.is_member => Class::Write,
            _ => class,
        };
        if class == Class::Write && self.is_pipeline_full(shared) {
            return Step::Wait;
        }
        let class = match self.throttled(now, shared, conn, op, class) {
            Throttled::No => class,
            // Error stands for a request that is answered with THROTTLEDOP in its turn.
            Throttled::Answer => {
                op = OpCode::Error;
                Class::Read
            }
            Throttled::Wait => return Step::Wait,
            Throttled::Drop => return Step::Close,
        };
        match class {
            Class::Read => {}
            Class::Write => {
                *guard = None;
                let may_watch = !self.watches_are_full(shared, 1);
                let room = self.room_to_answer();
                let out_max = self.config.out_max;
                let Some(found) = self.get_mut(conn) else { return Step::Close };
                let is_behind_others = !found.waiting.is_empty();
                if is_behind_others && grows(&found.identities, body) {
                    // One at a time: what it becomes is not known here, and would count for nothing.
                    return Step::Wait;
                }
                let mut brings = Brings::of(op, body);
                if is_behind_others {
                    let of_it = found.unsent() + found.under_way.total();
                    if brings.weight() > room || of_it + brings.weight() > out_max {
                        // What it is to be sent for those before may be more than it reads.
                        return Step::Wait;
                    }
                }
                let reads_before = match take_waiting_reads(shared, found, may_watch, room, &mut brings) {
                    Ok(reads) => reads,
                    Err(Blocked) => return Step::Wait,
                };
                let body = keep_body(body);
                shared.begin_request(body.len());
                found.under_way.begin(brings);
                found.waiting.push_back(if op == OpCode::Sync {
                    Waiting::Sync(brings)
                } else {
                    Waiting::Write(brings)
                });
                let is_last = op == OpCode::CloseSession;
                let write = WriteRequest {
                    conn,
                    session,
                    xid: header.xid,
                    op,
                    body,
                    identities: found.identities.clone(),
                    received_us: now.mono_us,
                    told_ms: found.took_ms,
                    reads_before,
                };
                self.under_way += brings.weight();
                if is_last && let Some(found) = self.get_mut(conn) {
                    // Nothing behind it is looked at, or answered.
                    found.phase = Phase::Connecting;
                }
                self.submit(Submission::Write(write));
                return Step::Next;
            }
            Class::Refused => return self.unimplemented(now, shared, conn, header.xid),
        }
        let Some(found) = self.get_mut(conn) else { return Step::Close };
        if !found.waiting.is_empty() {
            let read = ReadRequest {
                xid: if op == OpCode::Ping { Xid::PING } else { header.xid },
                op,
                body: keep_body(body),
                identities: found.identities.clone(),
                received_us: now.mono_us,
            };
            found.waiting_bytes += read.waiting_bytes();
            found.waiting.push_back(Waiting::Read(read));
            return Step::Next;
        }
        let tree = match guard {
            Some(tree) => tree,
            None => {
                self.turn_work += std::mem::take(&mut self.work);
                self.drain_ahead(now, shared);
                if self.is_behind() {
                    if op == OpCode::Ping && shared.is_serving() {
                        self.answer_ping(now, shared, conn);
                        return Step::Next;
                    }
                    return Step::Wait;
                }
                let tree = shared.tree.read();
                if !self.drain_under(now, shared, &tree) {
                    return Step::Wait;
                }
                let is_closing = self.get(conn).is_none_or(|found| found.phase == Phase::Closing);
                if is_closing || !shared.is_serving() {
                    return Step::Wait;
                }
                guard.insert(tree)
            }
        };
        let xid = if op == OpCode::Ping { Xid::PING } else { header.xid };
        self.read(now, shared, tree, conn, xid, op, body, now.mono_us);
        self.mark_dirty(slot);
        Step::Next
    }

    /// Answers a read, under a guard for which the inbox has been drained.
    #[allow(clippy::too_many_arguments, reason = "a read and what it is answered from")]
    pub(crate) fn read(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        xid: Xid,
        op: OpCode,
        body: &[u8],
        received_us: u64,
    ) {
        if matches!(op, OpCode::SetWatches | OpCode::SetWatches2) {
            self.work += READ_WORK + body.len();
            self.begin_set_watches(now, shared, tree, conn, xid, op, body, received_us);
            return;
        }
        let Some(mut before) = self.get(conn).map(|found| found.out.len()) else { return };
        if self.is_one_watch_too_many(shared, conn, op, body) {
            let Some(found) = self.get_mut(conn) else { return };
            let start = frame::begin(&mut found.out);
            ReplyHeader { xid, zxid: tree.last_processed(), err: ErrorCode::QUOTA_EXCEEDED }.write(&mut found.out);
            frame::finish(&mut found.out, start);
        } else if is_about_watches(op) {
            self.work += READ_WORK + body.len();
            before = self.watch_request(shared, tree, conn, xid, op, body);
        } else {
            let Some(Some(found)) = self.connections.get_mut(conn.slot as usize) else { return };
            let context = ReadContext {
                tree,
                auth: &self.config.auth,
                identities: &found.identities,
                verdicts: &self.verdicts,
                session: found.session,
                shard: self.config.shard as usize,
                length_max: self.config.length_max,
                reads: &shared.shard_stats[self.config.shard as usize].reads,
                page_max: self.config.frame_max,
                work: Cell::new(0),
            };
            if may_be_long(&context, op, body, &self.config.steps) {
                let identities = found.identities.clone();
                let request = ReadRequest { xid, op, body: keep_body(body), identities, received_us };
                self.begin_long(now, shared, tree, conn, request);
                return;
            }
            let watch = context.answer(xid, op, body, &mut found.out);
            self.work += READ_WORK + context.work.get() + found.out.len() - before;
            if let Some((path, modes)) = watch {
                self.watches.add(conn.slot, &path, modes);
                self.count_watches(shared);
            }
        }
        let zxid = tree.last_processed();
        self.answered(now, shared, conn, Answered::Read(op), xid, zxid, received_us, before);
    }
}

impl Connection {
    /// Is there a whole frame that waits for its turn? Then more need not be read.
    pub(crate) fn unread_has_frame(&self, frame_max: usize) -> bool {
        self.unread.len() >= 4 && !matches!(frame::split(&self.unread, frame_max), Ok(None))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    Write,
    Refused,
}

const fn class_of(op: OpCode) -> Class {
    match op {
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::GetChildren2
        | OpCode::GetChildrenPaginated
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::MultiRead
        | OpCode::SetWatches
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => Class::Read,
        OpCode::Create
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Multi
        | OpCode::Create2
        | OpCode::Reconfig
        | OpCode::CreateContainer
        | OpCode::DeleteContainer
        | OpCode::CreateTtl
        | OpCode::CloseSession => Class::Write,
        OpCode::Notification | OpCode::Check | OpCode::Auth | OpCode::Sasl | OpCode::CreateSession | OpCode::Error => {
            Class::Refused
        }
    }
}

/// Whether a write may become much longer than it came: each `auth` entry of a list stands for all identities.
fn grows(identities: &auth::Identities, body: &[u8]) -> bool {
    identities.as_slice().len() > GROWTH_IDENTITIES && body.windows(4).any(|part| part == b"auth")
}

/// With so few identities, a list with `auth` in it stays in proportion to what came.
const GROWTH_IDENTITIES: usize = 4;
