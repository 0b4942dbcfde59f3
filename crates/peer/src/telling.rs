//! Telling in steps: what one write leads to may be a thousand times as long as the write, and what waits in an inbox longer
//! than all that may wait to be sent.
//!
//! A shard that has put a step's bytes into its connections' buffers stops, in the midst of an event's watchers if need be,
//! until its driver has written to all of them what their sockets take. Then it knows who reads, and goes on. What is left
//! stays in its order, and nobody is answered a read until it is told: an event comes before the answer that shows its change.
//! Pings show nothing, and are answered at once.
//!
//! If that which nobody has read is near the bound for all, telling waits for those who read, as long as they do: at each look,
//! every [`LOOK_MS`], somewhat less has to be left, and no longer than for [`BEHIND_MS_MAX`]. Else those are closed who took
//! nothing, and go on not to; then those with the most to read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tree::TriggerKind;
use tree::watch::Modes;
use wire::acl::READ;
use wire::frame::{self, ReplyHeader};
use wire::{Acl, ErrorCode, Field, OpCode, Xid, Zxid};

use crate::connection::Phase;
use crate::inbox::{ConnId, InboxEntry};
use crate::shard::Shard;
use crate::shard_inbox::write_event;
use crate::shared::Shared;
use crate::tally::{Answered, count_events};
use crate::time::Now;

/// Between two looks at whether those who have something to read do so.
const LOOK_MS: i64 = 40;
/// After looking at so many entries of ACLs a step ends: a long list takes as long as some thousand events, and who may not read is
/// sent nothing.
const STEP_WORK: usize = 64 * 1024;
/// Of the bound: the part that has to be read between two looks, lest somebody is closed.
const PROGRESS_PART: usize = 64;

/// After so long nobody is waited for any more, even one who reads: all reads of the shard wait meanwhile, and the shortest
/// session of Apache's default is 4 s.
const BEHIND_MS_MAX: i64 = 2000;

/// What a shard has still to tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telling {
    /// The event that some of its watchers know of.
    event: Option<Event>,
    /// What came behind it.
    entries: VecDeque<InboxEntry>,
    /// Bytes put into buffers since all of them were written from last.
    bytes: usize,
    /// Entries of ACLs that were looked at in this step.
    work: usize,
    /// Since when it waits for those who read, in ms of the clock that never goes back, and how much was to be read then.
    waits: Option<(i64, usize)>,
    /// Since when something is left to be told, on the same clock.
    behind_since_ms: Option<i64>,
}

#[derive(Debug, Clone)]
struct Event {
    frame: Vec<u8>,
    acl: Option<Arc<[Acl]>>,
    /// Those to be told, last ones first: a slot may have another connection by the time it has its turn.
    left: Vec<ConnId>,
    /// Bytes of its entry.
    weight: usize,
}

impl Telling {
    /// Is nothing left to be told?
    pub fn is_done(&self) -> bool {
        self.event.is_none() && self.entries.is_empty()
    }

    /// So many bytes were put into a buffer.
    pub fn put(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    fn is_a_step(&self, tell_step: usize) -> bool {
        self.bytes > tell_step || self.work > STEP_WORK
    }
}

impl Shard {
    /// Is there something that it has taken from its inbox and not told? Then [`drain`](Self::drain) goes on when what was told
    /// is written; until then reads wait.
    pub fn is_behind(&self) -> bool {
        !self.telling.is_done()
    }

    /// The same, of the inbox too: exact under a guard of the tree.
    pub(crate) fn is_untold(&self, shared: &Shared) -> bool {
        self.is_behind() || !shared.inboxes[self.config.shard as usize].is_empty()
    }

    /// Answers a ping while others are told, which may take long, or who pings is still to be told of something: so its zxid is 0,
    /// which clients don't keep. With a later one a client that comes back would not hear of what it missed, with an earlier one it
    /// could see an older state than before.
    pub(crate) fn answer_ping(&mut self, now: Now, shared: &Shared, conn: ConnId) {
        let Some(found) = self.get_mut(conn) else { return };
        let before = found.out.len();
        let start = frame::begin(&mut found.out);
        ReplyHeader { xid: Xid::PING, zxid: Zxid::ZERO, err: ErrorCode::OK }.write(&mut found.out);
        frame::finish(&mut found.out, start);
        let zxid = found.answers.last_zxid;
        self.answered(now, shared, conn, Answered::Read(OpCode::Ping), Xid::PING, zxid, now.mono_us, before);
        self.mark_dirty(conn.slot);
    }

    /// Could it go on at once? What was told is written, and there is room.
    pub fn can_tell(&self) -> bool {
        self.is_behind() && self.told.is_empty() && self.dirty.is_empty() && self.out_total <= self.tell_max()
    }

    /// Beyond this, telling waits for those who read.
    fn tell_max(&self) -> usize {
        self.config.out_total_max - self.config.out_total_max / 4
    }

    /// Takes what is in the inbox, without a guard: telling ten thousand watchers of an event takes a while, and no commit
    /// has to wait for it. Under a guard, only what came meanwhile is left to be taken.
    ///
    /// Everything is told only if the shard [`is_untold`](Self::is_untold) no more.
    pub(crate) fn drain_ahead(&mut self, now: Now, shared: &Shared) {
        let inbox = &shared.inboxes[self.config.shard as usize];
        if self.telling.is_done() && inbox.is_empty() {
            return;
        }
        self.telling.work = 0;
        if self.told.is_empty() && self.dirty.is_empty() {
            self.telling.bytes = 0;
        }
        let (mut done, mut answers) = (0, 0);
        let mut to_go_on = std::mem::take(&mut self.to_go_on);
        while self.may_tell(now, shared) {
            if self.telling.event.is_some() {
                done += self.tell_on(now, shared);
                continue;
            }
            if self.telling.entries.is_empty() && !inbox.is_empty() {
                inbox.take(&mut self.telling.entries);
            }
            let Some(entry) = self.telling.entries.pop_front() else { break };
            let weight = entry.weight();
            answers += entry.answer_length();
            self.take_in(now, shared, entry, &mut to_go_on);
            match &mut self.telling.event {
                Some(event) => event.weight = weight,
                None => done += weight,
            }
        }
        if self.telling.is_done() && !inbox.is_empty() {
            // It has to be seen that there is something, whoever rang for it.
            inbox.take(&mut self.telling.entries);
        }
        if self.telling.entries.is_empty() && self.telling.entries.capacity() > KEPT_ENTRIES {
            self.telling.entries = VecDeque::new();
        }
        if self.telling.is_done() {
            (self.telling.waits, self.telling.behind_since_ms) = (None, None);
        } else {
            self.telling.behind_since_ms.get_or_insert(now.mono_ms());
        }
        self.to_go_on = to_go_on;
        inbox.told(done, answers);
        self.count_watches(shared);
    }

    /// May more be told now?
    fn may_tell(&mut self, now: Now, shared: &Shared) -> bool {
        if self.telling.is_a_step(self.config.tell_step) {
            return false;
        }
        if self.out_total <= self.tell_max() {
            self.telling.waits = None;
            return true;
        }
        let now_ms = now.mono_ms();
        if self.telling.behind_since_ms.is_some_and(|since| now_ms - since > BEHIND_MS_MAX) {
            self.telling.waits = None;
            self.shed(shared, self.config.out_total_max / 2, now_ms - LOOK_MS);
            return true;
        }
        match self.telling.waits {
            Some((since_ms, _)) if now_ms - since_ms < LOOK_MS => false,
            Some((since_ms, before))
                if before.saturating_sub(self.out_total) < self.config.out_total_max / PROGRESS_PART =>
            {
                self.telling.waits = None;
                self.shed(shared, self.config.out_total_max / 2, since_ms);
                true
            }
            _ => {
                self.telling.waits = Some((now_ms, self.out_total));
                false
            }
        }
    }

    /// Tells some more of the watchers of an event; returns what its entry weighed, if those were the last.
    fn tell_on(&mut self, now: Now, shared: &Shared) -> usize {
        let Some(mut event) = self.telling.event.take() else { return 0 };
        let (mut packets, bytes) = (0, event.frame.len());
        while let Some(conn) = event.left.pop() {
            if self.get(conn).is_some() {
                packets += u64::from(!self.tell(conn.slot, &event.frame, event.acl.as_ref()).is_empty());
            }
            if self.telling.is_a_step(self.config.tell_step) {
                break;
            }
        }
        count_events(&shared.shard_stats[self.config.shard as usize], now, bytes, packets);
        if event.left.is_empty() {
            return event.weight;
        }
        self.telling.event = Some(event);
        0
    }

    /// Tells those who watch, and may read; those who are left when it is much for once, later.
    pub(crate) fn event(
        &mut self,
        now: Now,
        shared: &Shared,
        zxid: Zxid,
        kind: TriggerKind,
        path: &str,
        acl: Option<&Arc<[Acl]>>,
    ) {
        let in_child_table = self.watches.in_child_table(kind, path);
        let tree::watch::Fired { watchers: fired, left } = self.watches.fire(kind, path);
        self.count_told(shared, kind, fired.len(), in_child_table);
        if !fired.is_empty() || !self.wished.is_empty() {
            let mut frame = Vec::with_capacity(64);
            write_event(&mut frame, zxid, kind, path);
            let mut packets = 0;
            let is_of_children = matches!(kind, TriggerKind::ChildrenChanged | TriggerKind::Deleted);
            for at in 0..self.wished.len() {
                let wished = &self.wished[at];
                let slot = wished.slot;
                if is_of_children && wished.fired.is_none() && &*wished.path == path {
                    let told = if fired.contains(&slot) { 0..0 } else { self.tell(slot, &frame, acl) };
                    packets += u64::from(!told.is_empty());
                    self.wished[at].fired = Some(told);
                }
            }
            for (at, &slot) in fired.iter().enumerate() {
                if self.telling.is_a_step(self.config.tell_step) {
                    let ids = fired[at..].iter().rev().filter_map(|slot| self.at(*slot).map(|conn| conn.id));
                    let left: Vec<ConnId> = ids.collect();
                    self.telling.event = Some(Event { frame: frame.clone(), acl: acl.cloned(), left, weight: 0 });
                    break;
                }
                packets += u64::from(!self.tell(slot, &frame, acl).is_empty());
            }
            count_events(&shared.shard_stats[self.config.shard as usize], now, frame.len(), packets);
        }
        let left = self.with_wished(path, left);
        let gone = Modes::ALL.without(left);
        // What changes again and again is looked for in the tree once.
        if !self.unwatched.last().is_some_and(|(last, modes)| **last == *path && *modes == gone) {
            self.unwatched.push((path.into(), gone));
        }
    }

    /// Tells a connection of an event; returns where it lies among the bytes to be sent.
    fn tell(&mut self, slot: u32, frame: &[u8], acl: Option<&Arc<[Acl]>>) -> Range<usize> {
        let Some(conn) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return 0..0 };
        let verdicts = self.verdicts.get_mut();
        let may_read = acl.is_none_or(|acl| verdicts.check(&self.config.auth, acl, READ, &conn.identities));
        self.telling.work += verdicts.take_work();
        if !may_read || conn.phase == Phase::Closing {
            return 0..0;
        }
        // An answer that was made in steps may be longer: who reads gets it, events behind it or not.
        if conn.unsent_behind_parts() + frame.len() > self.config.out_max {
            let id = conn.id;
            self.drop_connection(id);
            return 0..0;
        }
        let start = conn.out.len();
        conn.out.extend_from_slice(frame);
        conn.sent += 1;
        // Counted now: thousands are written to in pieces, and a writer of many changes does not wait for that.
        if conn.counted == 0 {
            conn.read_in_round = self.round;
        }
        conn.counted += frame.len();
        self.out_total += frame.len();
        self.telling.put(frame.len());
        if !conn.told && !conn.dirty {
            conn.told = true;
            self.told.push_back(slot);
        }
        start..start + frame.len()
    }
}

/// A shard's list of entries keeps its room up to so many.
const KEPT_ENTRIES: usize = 16 * 1024;
