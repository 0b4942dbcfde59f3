//! What a shard does with reads that are made in steps: their order, their watches, and what waits behind them.

use std::ops::Range;

use tree::Tree;
use tree::watch::Modes;

use crate::connection::Phase;
use crate::inbox::{ConnId, ReadRequest};
use crate::long_read::{Finished, LongRead, Stepped};
use crate::reads::ReadContext;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::tally::Answered;
use crate::time::Now;

/// The watch that a page sets if it turns out to be the last: as of the page's zxid, though that is known at its end only.
#[derive(Debug, Clone)]
pub(crate) struct WishedWatch {
    pub slot: u32,
    pub path: Box<str>,
    /// It has fired, and this is where the event lies among the bytes that wait behind the page. Nowhere, if it was not to
    /// be told, or if another watch of the connection told it.
    pub fired: Option<Range<usize>>,
}

impl Shard {
    /// Has it reads that go on in steps? Then [`step_long_reads`](Self::step_long_reads) should be called, with turns for
    /// others in between.
    pub fn has_long_reads(&self) -> bool {
        !self.long.is_empty() && !self.is_behind()
    }

    /// Makes the first step of a read, under a guard for which the inbox has been drained.
    pub(crate) fn begin_long(&mut self, now: Now, shared: &Shared, tree: &Tree, conn: ConnId, request: ReadRequest) {
        let long = Box::new(LongRead::new(request));
        if self.long.len() < self.config.steps.at_once {
            self.step_long(now, shared, tree, conn, long);
        } else if let Some(found) = self.get_mut(conn) {
            found.long = Some(long);
            self.long.push_back(conn);
        }
    }

    /// Makes one step of one of the reads. Returns true when it was the last, and its connection can go on.
    pub fn step_long_reads(&mut self, now: Now, shared: &Shared) -> bool {
        let Some(conn) = self.long.pop_front() else { return false };
        let tree = shared.tree.read();
        if !self.drain_under(now, shared, &tree) {
            self.long.push_front(conn);
            return false;
        }
        let Some(found) = self.get_mut(conn) else { return false };
        let Some(long) = found.long.take() else { return false };
        if !shared.is_serving() {
            // A server without a leader does not know how long it will be without one. Its client asks another server.
            found.phase = Phase::Closing;
        }
        if found.phase == Phase::Closing {
            // Who is being closed hears nothing more, and what waits behind the answer can't come without it.
            if long.holds_events() {
                found.out.clear();
            }
            self.forget_wish(conn.slot);
            long.close(&tree);
            self.mark_dirty(conn.slot);
            return true;
        }
        self.step_long(now, shared, &tree, conn, long);
        if self.get(conn).is_some_and(|found| found.long.is_none()) {
            // What had to wait behind it.
            self.pause(conn.slot);
            return true;
        }
        false
    }

    fn step_long(&mut self, now: Now, shared: &Shared, tree: &Tree, conn: ConnId, mut long: Box<LongRead>) {
        let limits = self.config.steps;
        let Some(Some(found)) = self.connections.get_mut(conn.slot as usize) else { return };
        let context = ReadContext {
            tree,
            auth: &self.config.auth,
            identities: &long.request.identities.clone(),
            verdicts: &self.verdicts,
            session: found.session,
            shard: self.config.shard as usize,
            length_max: self.config.length_max,
            page_max: self.config.frame_max,
            reads: &shared.shard_stats[self.config.shard as usize].reads,
            work: std::cell::Cell::new(0),
        };
        let is_first = long.is_waiting();
        let mut watch = None;
        let stepped = long.step(&context, limits.work, &limits, &mut watch);
        let bits = watch.as_ref().map(|(path, modes)| (&**path, *modes));
        let wished = long.wished_watch().map(|path| (path, Modes::CHILD));
        for (path, modes) in bits.into_iter().chain(wished.filter(|_| is_first)) {
            modes.interests().for_each(|interest| tree.add_interest(path, interest, context.shard));
        }
        if let Some((path, modes)) = watch {
            self.watches.add(conn.slot, &path, modes);
            self.count_watches(shared);
        }
        self.work += limits.work;
        match stepped {
            Stepped::More => {
                if is_first && long.holds_events() {
                    if let Some(path) = long.wished_watch() {
                        self.wished.push(WishedWatch { slot: conn.slot, path: path.into(), fired: None });
                    }
                    if let Some(found) = self.get_mut(conn) {
                        found.seal();
                    }
                }
                self.put_back(conn, long);
            }
            Stepped::Again => {
                // What waited behind the answer goes before it now: it will show what the events tell of.
                self.take_wish(conn.slot);
                if let Some(found) = self.get_mut(conn) {
                    found.seal();
                }
                self.put_back(conn, long);
            }
            Stepped::Done(finished) => self.finish_long(now, shared, tree, conn, &long, is_first, finished),
        }
        self.mark_dirty(conn.slot);
    }

    /// It goes on when the others that are under way had their turn, before those that wait for theirs.
    fn put_back(&mut self, conn: ConnId, long: Box<LongRead>) {
        let Some(found) = self.get_mut(conn) else { return };
        found.long = Some(long);
        let behind = self.long.len().min(self.config.steps.at_once.saturating_sub(1));
        self.long.insert(behind, conn);
    }

    #[allow(clippy::too_many_arguments, reason = "a read and its end")]
    fn finish_long(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        long: &LongRead,
        is_first: bool,
        finished: Finished,
    ) {
        if let Some((path, modes)) = finished.watch {
            // The last page: its watch holds from its first step on.
            let has_fired = self.forget_wish(conn.slot).is_some_and(|wished| wished.fired.is_some());
            if !has_fired {
                modes.interests().for_each(|interest| {
                    tree.add_interest(&path, interest, self.config.shard as usize);
                });
                self.watches.add(conn.slot, &path, modes);
                self.count_watches(shared);
            }
        } else {
            self.take_wish(conn.slot);
        }
        let (zxid, bytes) = (finished.zxid, finished.bytes);
        let Some(found) = self.get_mut(conn) else { return };
        if is_first && found.parts.is_empty() {
            finished.parts.iter().for_each(|part| found.out.extend_from_slice(part));
        } else {
            if is_first || !long.holds_events() {
                found.seal();
            }
            finished.parts.into_iter().for_each(|part| found.push_part(part));
        }
        let (what, xid) = (Answered::Read(long.request.op), long.request.xid);
        self.answered_with(now, shared, conn, what, xid, zxid, long.request.received_us, bytes);
    }

    /// Ends the read of a connection that is gone.
    pub(crate) fn end_long(&mut self, shared: &Shared, conn: ConnId) {
        if let Some(long) = self.get_mut(conn).and_then(|found| found.long.take()) {
            let wished = self.forget_wish(conn.slot);
            self.unwatched.extend(wished.map(|wished| (wished.path, Modes::CHILD)));
            self.long.retain(|other| *other != conn);
            long.close(&shared.tree.read());
        }
    }

    /// The watch that a page of the connection may set, which is over as a wish.
    fn forget_wish(&mut self, slot: u32) -> Option<WishedWatch> {
        let at = self.wished.iter().position(|wished| wished.slot == slot)?;
        Some(self.wished.swap_remove(at))
    }

    /// The page of a connection sets no watch after all: its event, if there was one, is not told.
    fn take_wish(&mut self, slot: u32) {
        let Some(wished) = self.forget_wish(slot) else { return };
        self.unwatched.push((wished.path, Modes::CHILD));
        if let Some(fired) = wished.fired.filter(|fired| !fired.is_empty())
            && let Some(Some(found)) = self.connections.get_mut(slot as usize)
        {
            found.out.drain(fired);
            // `crst` may have come in between.
            found.sent = found.sent.saturating_sub(1);
        }
    }

    /// Which modes does anybody have on `path`, or may have at the end of a page?
    pub(crate) fn modes_on(&self, path: &str) -> Modes {
        self.with_wished(path, self.watches.modes_on(path))
    }

    /// These modes on `path`, and those that a page may set.
    pub(crate) fn with_wished(&self, path: &str, modes: Modes) -> Modes {
        let is_wished = self.wished.iter().any(|wished| wished.fired.is_none() && &*wished.path == path);
        if is_wished { modes.with(Modes::CHILD) } else { modes }
    }
}
