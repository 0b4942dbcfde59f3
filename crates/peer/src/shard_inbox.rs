//! What a shard does with its inbox, and with requests about its own watch tables.

use tree::Tree;
use tree::TriggerKind;
use tree::watch::Modes;
use wire::frame::{self, ReplyHeader};
use wire::multi::{MultiHeader, write_error_result, write_result_header};
use wire::request::{AddWatchRequest, WatchesRequest};
use wire::response::{Create2Response, GetDataResponse, PathResponse, StatResponse};
use wire::watcher::{EventType, SYNC_CONNECTED, WatcherEvent};
use wire::{ErrorCode, Field, OpCode, Reader, Stat, UStr, Xid, Zxid};

use crate::connection::{Connection, Phase, Waiting};
use crate::inbox::{ConnId, InboxEntry, ReplyBody};
use crate::shard::{CHORE_BYTES, CHORE_PATHS, Shard};
use crate::shard_receive::{GUARD_WORK, TURN_WORK};
use crate::shared::Shared;
use crate::tally::Answered;
use crate::time::Now;

/// The bytes of answers after which those who had to wait are left for the next drain.
const DRAIN_BYTES: usize = 4 << 20;

impl Shard {
    /// Takes what is in the inbox, and goes on with connections that had to wait.
    pub fn drain(&mut self, now: Now, shared: &Shared) {
        self.is_tired = false;
        if let Some(round) = shared.inboxes[self.config.shard as usize].take_asked() {
            // Answered when the driver has looked at the sockets of those who seem silent.
            self.asked = Some(round);
        }
        self.drain_ahead(now, shared);
        {
            let tree = shared.tree.read();
            if !self.drain_under(now, shared, &tree) {
                // What was told is to be written, and then it goes on. Nobody who waits could be answered before.
                return;
            }
            if !self.unwatched.is_empty() {
                self.take_back_interest(&tree, shared);
            }
        }
        let mut paused = std::mem::take(&mut self.paused);
        // What is answered here is counted when the driver has written: between two pieces it has its turn, lest thousands who
        // waited are answered at once and read nothing.
        let (mut answered, mut worked, mut gone_on) = (0, 0, 0);
        for &slot in &paused {
            if answered > DRAIN_BYTES.min(self.config.tell_step) || worked > TURN_WORK || self.is_behind() {
                break;
            }
            gone_on += 1;
            if let Some(conn) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) {
                conn.paused = false;
                let (conn, before) = (conn.id, conn.unsent());
                self.resumed.push(conn);
                self.go_on(now, shared, conn);
                worked += std::mem::take(&mut self.work);
                self.resume(now, shared, conn);
                worked += self.turn_work;
                answered += self.get(conn).map_or(0, |conn| conn.unsent().saturating_sub(before));
            }
        }
        paused.drain(..gone_on);
        if !paused.is_empty() {
            paused.append(&mut self.paused);
        }
        if self.paused.is_empty() {
            self.paused = paused;
        }
        self.is_tired = worked > TURN_WORK && !self.paused.is_empty();
        self.let_in(now, shared);
    }

    /// Did the last [`drain`](Self::drain) end because of its work? Others should have their turn before the next.
    pub fn had_its_turn(&self) -> bool {
        self.is_tired
    }

    /// Has it connections that could go on, were there room, or something that is to be told when what was told is written?
    pub fn has_paused(&self) -> bool {
        !self.paused.is_empty() || self.is_behind()
    }

    /// Takes what is in the inbox, under a guard: after it, everything up to the guard's zxid has been told. If that is too
    /// much for once, it returns false, and nobody may be answered from the guard's state.
    pub(crate) fn drain_under(&mut self, now: Now, shared: &Shared, tree: &Tree) -> bool {
        self.drain_ahead(now, shared);
        if self.is_behind() {
            return false;
        }
        // Only now: they are answered from the guard's state, and events up to it may have stood behind the reply.
        self.work = 0;
        for conn in std::mem::take(&mut self.to_go_on) {
            self.answer_waiting(now, shared, tree, conn);
            self.count_held(now, shared, conn);
        }
        true
    }

    /// Takes in one entry. A connection whose waiting reads have their turn now is added to `to_go_on`.
    pub(crate) fn take_in(&mut self, now: Now, shared: &Shared, entry: InboxEntry, to_go_on: &mut Vec<ConnId>) {
        match entry {
            InboxEntry::Event { zxid, kind, path, acl } => self.event(now, shared, zxid, kind, &path, acl.as_ref()),
            InboxEntry::Reply { conn, xid, op, zxid, err, body, received_us, last } => {
                // Who is being closed hears no events any more, so no reply either: it could show their changes.
                let Some(found) = self.get_mut(conn).filter(|found| found.phase != Phase::Closing) else { return };
                let before = found.out.len();
                write_reply(&mut found.out, xid, zxid, err, &body);
                let written = found.out.len() - before;
                let weight = found.is_answered();
                if last {
                    found.phase = Phase::Closing;
                    found.closed_session = true;
                    found.heard = false;
                    found.unread = Vec::new();
                }
                if matches!(found.waiting.front(), Some(Waiting::Read(_))) {
                    to_go_on.push(conn);
                }
                self.under_way -= weight;
                self.answered(now, shared, conn, Answered::Write(op, err), xid, zxid, received_us, before);
                self.telling.put(written);
                self.mark_dirty(conn.slot);
            }
            InboxEntry::ReadReply { conn, op, frame, watch, received_us } => {
                let out_max = self.config.out_max;
                let Some(found) = self.get_mut(conn).filter(|found| found.phase != Phase::Closing) else {
                    // Nobody is left to watch, but the tree has a bit for it.
                    self.unwatched.extend(watch);
                    return;
                };
                let weight = found.is_answered();
                // Only what others wrote while it was under way can make it so much, for somebody who does not read.
                let is_too_much = found.unsent_behind_parts() + frame.len() > out_max;
                self.under_way -= weight;
                if is_too_much {
                    self.unwatched.extend(watch);
                    self.drop_connection(conn);
                    return;
                }
                let Some(found) = self.get_mut(conn) else { return };
                let before = found.out.len();
                found.out.extend_from_slice(&frame);
                let header = Reader::new(frame.get(4..).unwrap_or_default()).read::<ReplyHeader>();
                let (xid, zxid) = header.map_or((Xid(0), Zxid::ZERO), |header| (header.xid, header.zxid));
                self.answered(now, shared, conn, Answered::Read(op), xid, zxid, received_us, before);
                self.telling.put(frame.len());
                if let Some((path, modes)) = watch {
                    self.watches.add(conn.slot, &path, modes);
                }
                self.mark_dirty(conn.slot);
            }
            InboxEntry::Established { conn, session, timeout_ms, granted } => {
                self.established(now, shared, conn, session, timeout_ms, granted);
            }
            InboxEntry::Expired { conn } => self.expired(shared, conn),
            InboxEntry::Close { conn, .. } => {
                if let Some(found) = self.get_mut(conn) {
                    found.phase = Phase::Closing;
                    self.mark_dirty(conn.slot);
                }
            }
            InboxEntry::CloseAll { .. } => {
                for slot in 0..self.connections.len() as u32 {
                    if let Some(found) = self.connections[slot as usize].as_deref_mut()
                        && !matches!(found.phase, Phase::Handshake | Phase::Closing)
                    {
                        found.phase = Phase::Closing;
                        self.mark_dirty(slot);
                    }
                }
            }
        }
    }

    /// Goes on with reads that had to stop because there was too much to send.
    fn go_on(&mut self, now: Now, shared: &Shared, conn: ConnId) {
        let waits = |c: &Connection| c.long.is_none() && matches!(c.waiting.front(), Some(Waiting::Read(_)));
        if self.get(conn).is_some_and(waits) {
            self.drain_ahead(now, shared);
            let tree = shared.tree.read();
            if self.drain_under(now, shared, &tree) {
                self.answer_waiting(now, shared, &tree, conn);
            } else {
                self.pause(conn.slot);
            }
        }
    }

    /// Answers the reads that waited for the write that was just answered, as far as there is room for the answers.
    fn answer_waiting(&mut self, now: Now, shared: &Shared, tree: &Tree, conn: ConnId) {
        let out_pause = self.config.out_pause;
        let is_much_unsent = self.out_total > self.config.out_total_max / 2;
        loop {
            let is_tired = self.work > GUARD_WORK;
            let Some(found) = self.get_mut(conn) else { return };
            let is_next = found.long.is_none()
                && found.setting.is_none()
                && matches!(found.waiting.front(), Some(Waiting::Read(_)));
            if found.phase == Phase::Closing || !is_next {
                return;
            }
            // Nobody is served while a member of an ensemble has no leader. The drain after it has one goes on.
            if !shared.is_serving() {
                self.pause(conn.slot);
                return;
            }
            // Too much to send, or too much under this guard: thousands of reads of many connections may have waited for one
            // batch. The next drain goes on.
            if found.unsent() > out_pause || is_tired || found.counted > 0 && is_much_unsent {
                self.pause(conn.slot);
                return;
            }
            let Some(Waiting::Read(read)) = found.waiting.pop_front() else { return };
            found.waiting_bytes -= read.waiting_bytes();
            self.read(now, shared, tree, conn, read.xid, read.op, &read.body, read.received_us);
            self.mark_dirty(conn.slot);
        }
    }

    /// Takes back the interest in some of the paths that nobody here watches any more. Only under a guard with an empty inbox: a
    /// registration could be on its way. Nor while nobody is served: it could be held back.
    pub(crate) fn take_back_interest(&mut self, tree: &Tree, shared: &Shared) {
        let shard = self.config.shard as usize;
        if !shared.is_serving() || self.is_untold(shared) {
            return;
        }
        let mut bytes = 0;
        let paths = self.unwatched.iter().rev().take(CHORE_PATHS).take_while(|(path, _)| {
            let is_first = bytes == 0;
            bytes += path.len();
            is_first || bytes <= CHORE_BYTES
        });
        let piece = self.unwatched.len() - paths.count();
        for (path, gone) in self.unwatched.split_off(piece) {
            let left = self.modes_on(&path);
            let kept: Vec<_> = left.interests().collect();
            if !kept.is_empty() && tree.get(&path).is_none() {
                // Where there is no znode, one bit stands for all kinds of interest.
                continue;
            }
            for interest in gone.interests().filter(|interest| !kept.contains(interest)) {
                tree.remove_interest(&path, interest, shard);
            }
        }
    }

    /// Requests about watches: they look at this shard's tables, so they are answered here and nowhere else. Returns
    /// where in the connection's buffer the reply begins; events may come before it.
    pub(crate) fn watch_request(
        &mut self,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        xid: Xid,
        op: OpCode,
        body: &[u8],
    ) -> usize {
        let mut r = Reader::with_limit(body, self.config.length_max);
        let done = match op {
            OpCode::AddWatch => r.read::<AddWatchRequest<'_>>().map(|request| {
                let modes = match request.mode {
                    0 => Modes::PERSISTENT,
                    1 => Modes::RECURSIVE,
                    _ => return ErrorCode::MARSHALLING_ERROR,
                };
                let Some(path) = request.path.as_deref() else { return ErrorCode::MARSHALLING_ERROR };
                self.register(tree, conn, path, modes);
                ErrorCode::OK
            }),
            _ => r.read::<WatchesRequest<'_>>().map(|request| self.find_watches(conn, op, &request)),
        };
        let err = done.unwrap_or(ErrorCode::MARSHALLING_ERROR);
        self.count_watches(shared);
        let Some(found) = self.get_mut(conn) else { return 0 };
        let start = frame::begin(&mut found.out);
        ReplyHeader { xid, zxid: tree.last_processed(), err }.write(&mut found.out);
        if op == OpCode::AddWatch && err == ErrorCode::OK {
            err.write(&mut found.out);
        }
        frame::finish(&mut found.out, start);
        start
    }

    pub(crate) fn register(&mut self, tree: &Tree, conn: ConnId, path: &str, modes: Modes) {
        for interest in modes.interests() {
            tree.add_interest(path, interest, self.config.shard as usize);
        }
        self.watches.add(conn.slot, path, modes);
    }

    fn find_watches(&mut self, conn: ConnId, op: OpCode, request: &WatchesRequest<'_>) -> ErrorCode {
        let modes = match request.kind {
            1 => Modes::CHILD,
            2 => Modes::DATA,
            3 => Modes::ALL,
            4 => Modes::PERSISTENT,
            5 => Modes::RECURSIVE,
            _ => return ErrorCode::MARSHALLING_ERROR,
        };
        let Some(path) = request.path.as_deref() else { return ErrorCode::NO_WATCHER };
        let found = if op == OpCode::RemoveWatches {
            let removed = self.watches.remove(conn.slot, path, modes);
            if removed {
                self.unwatched.push((path.into(), modes));
            }
            removed
        } else {
            self.watches.modes_of(conn.slot, path).has(modes)
        };
        if found { ErrorCode::OK } else { ErrorCode::NO_WATCHER }
    }
}

pub(crate) fn write_event(out: &mut Vec<u8>, zxid: Zxid, kind: TriggerKind, path: &str) {
    let kind = match kind {
        TriggerKind::Created => EventType::Created,
        TriggerKind::Deleted => EventType::Deleted,
        TriggerKind::DataChanged => EventType::DataChanged,
        TriggerKind::ChildrenChanged => EventType::ChildrenChanged,
    };
    let start = frame::begin(out);
    ReplyHeader { xid: Xid::NOTIFICATION, zxid, err: ErrorCode::OK }.write(out);
    WatcherEvent { kind: kind as i32, state: SYNC_CONNECTED, path: Some(path.into()) }.write(out);
    frame::finish(out, start);
}

fn write_reply(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, err: ErrorCode, body: &ReplyBody) {
    let start = frame::begin(out);
    ReplyHeader { xid, zxid, err }.write(out);
    match body {
        ReplyBody::None => {}
        ReplyBody::Path(path) => PathResponse { path: Some((&**path).into()) }.write(out),
        ReplyBody::PathAndStat(path, stat) => {
            Create2Response { path: Some((&**path).into()), stat: *stat }.write(out);
        }
        ReplyBody::Stat(stat) => StatResponse { stat: *stat }.write(out),
        ReplyBody::Data(data, stat) => GetDataResponse { data: Some(data), stat: *stat }.write(out),
        ReplyBody::Multi(results) => {
            for result in results {
                if result.op == OpCode::Error || result.err != ErrorCode::OK {
                    write_error_result(result.err, out);
                    continue;
                }
                write_result_header(result.op, out);
                let path: UStr<'_> = result.path.as_deref().map(Into::into);
                match (result.op, path, result.stat) {
                    (OpCode::Create, path, _) => path.write(out),
                    (_, Some(path), Some(stat)) => Create2Response { path: Some(path), stat }.write(out),
                    (OpCode::SetData, _, Some(stat)) => Stat::write(&stat, out),
                    _ => {}
                }
            }
            MultiHeader::END.write(out);
        }
    }
    frame::finish(out, start);
}
