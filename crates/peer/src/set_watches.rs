//! setWatches and setWatches2: the watches of a client that comes back, hundreds of thousands of them, set again in steps.
//!
//! Each path is judged on its own, under the guard of its step: an event that the client missed is told at once, else the
//! watch is set, and what changes from there on fires it. So it does not matter that other paths are judged at another
//! zxid. Until the reply is written the connection is *setting*: nothing behind it is looked at ([`Shard::begin_set_watches`]
//! says so to `must_wait`, `wants_read` and `answer_waiting`), while events that fire meanwhile go out before the reply, as
//! they may. Source of the rules: Apache `DataTree.setWatches`.

use bytes::Bytes;
use tree::watch::Modes;
use tree::{Tree, TriggerKind};
use wire::frame::{self, ReplyHeader};
use wire::jute::DecodeError;
use wire::request::{SetWatches, SetWatches2};
use wire::{ErrorCode, Field, OpCode, Reader, UStr, Xid, Zxid};

use crate::connection::Phase;
use crate::inbox::ConnId;
use crate::pipeline::keep_body;
use crate::shard::Shard;
use crate::shard_inbox::write_event;
use crate::shared::Shared;
use crate::tally::{Answered, count_events};
use crate::time::Now;

/// The paths of one step: a fraction of a ms.
const STEP_PATHS: usize = 512;
/// And the bytes of the request: a path may have a znode for each two of its bytes.
const STEP_BYTES: usize = 32 * 1024;

/// One that is under way.
#[derive(Debug, Clone)]
pub(crate) struct SetWatchesSteps {
    op: OpCode,
    xid: Xid,
    body: Bytes,
    received_us: u64,
    place: Place,
}

impl SetWatchesSteps {
    /// Bytes of its body.
    pub(crate) fn body_length(&self) -> usize {
        self.body.len()
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// What the client had seen.
    seen: Zxid,
    /// Lists: 3 in setWatches, 5 in setWatches2.
    lists: usize,
    /// The list that is being read, from 1.
    list: usize,
    /// Paths left in it.
    left: i32,
    /// Bytes of the body that have been read.
    offset: usize,
}

/// The lists in the order of the request.
const DATA: usize = 1;
const EXIST: usize = 2;
const CHILD: usize = 3;
const PERSISTENT: usize = 4;

impl Shard {
    /// Answers one, or makes its first step, under a guard for which the inbox has been drained.
    #[allow(clippy::too_many_arguments, reason = "a request and what it is answered from")]
    pub(crate) fn begin_set_watches(
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
        let lists = if op == OpCode::SetWatches { 3 } else { 5 };
        let Some(seen) = check(body, lists, self.config.length_max) else {
            return self.end_set_watches(now, shared, tree, conn, op, xid, ErrorCode::MARSHALLING_ERROR, received_us);
        };
        let mut place = Place { seen, lists, list: 0, left: 0, offset: 8 };
        if self.set_some(now, shared, tree, conn, body, &mut place) {
            return self.end_set_watches(now, shared, tree, conn, op, xid, ErrorCode::OK, received_us);
        }
        let steps = Box::new(SetWatchesSteps { op, xid, body: keep_body(body), received_us, place });
        if let Some(found) = self.get_mut(conn) {
            found.setting = Some(steps);
            self.setting.push_back(conn);
            self.mark_dirty(conn.slot);
        }
    }

    /// The next step of one of those under way.
    pub(crate) fn step_set_watches(&mut self, now: Now, shared: &Shared) {
        let Some(conn) = self.setting.pop_front() else { return };
        self.drain_ahead(now, shared);
        let tree = shared.tree.read();
        if !self.drain_under(now, shared, &tree) {
            self.setting.push_front(conn);
            return;
        }
        let Some(mut steps) = self.get_mut(conn).and_then(|found| found.setting.take()) else { return };
        if self.get(conn).is_none_or(|found| found.phase == Phase::Closing) {
            return;
        }
        if !shared.is_serving() {
            return self.drop_connection(conn);
        }
        if self.set_some(now, shared, &tree, conn, &steps.body, &mut steps.place) {
            self.end_set_watches(now, shared, &tree, conn, steps.op, steps.xid, ErrorCode::OK, steps.received_us);
            // What is behind it has its turn.
            self.pause(conn.slot);
        } else if let Some(found) = self.get_mut(conn) {
            found.setting = Some(steps);
            self.setting.push_back(conn);
        }
        self.mark_dirty(conn.slot);
        self.count_watches(shared);
    }

    /// Goes on by some paths; is it done?
    fn set_some(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        body: &[u8],
        place: &mut Place,
    ) -> bool {
        let end = place.offset + STEP_BYTES;
        for _ in 0..STEP_PATHS {
            if place.offset > end {
                break;
            }
            // It was checked as a whole: an error can't come.
            let Ok(Some(path)) = next(body, place) else { return true };
            let Some(path) = path.as_deref() else { continue };
            let missed = match place.list {
                DATA => match tree.get(path).map(|node| node.stat_persisted().mzxid > place.seen) {
                    None => Some(TriggerKind::Deleted),
                    Some(true) => Some(TriggerKind::DataChanged),
                    Some(false) => None,
                },
                EXIST => tree.get(path).map(|_| TriggerKind::Created),
                CHILD => match tree.get(path).map(|node| node.stat_persisted().pzxid > place.seen) {
                    None => Some(TriggerKind::Deleted),
                    Some(true) => Some(TriggerKind::ChildrenChanged),
                    Some(false) => None,
                },
                _ => None,
            };
            if let Some(kind) = missed {
                let Some(found) = self.get_mut(conn) else { return true };
                let before = found.out.len();
                write_event(&mut found.out, Zxid(-1), kind, path);
                let bytes = found.out.len() - before;
                found.sent += 1;
                count_events(&shared.shard_stats[self.config.shard as usize], now, bytes, 1);
                continue;
            }
            let modes = match place.list {
                DATA | EXIST => Modes::DATA,
                CHILD => Modes::CHILD,
                PERSISTENT => Modes::PERSISTENT,
                _ => Modes::RECURSIVE,
            };
            // What it sets again may be counted still for the connection that it lost, so there is room for both. A client
            // that kept its session, but not its watches, would wait for ever: rather it comes once more.
            if self.watches_are_full(shared, 2) {
                self.drop_connection(conn);
                return true;
            }
            self.register(tree, conn, path, modes);
        }
        false
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a reply")]
    fn end_set_watches(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        op: OpCode,
        xid: Xid,
        err: ErrorCode,
        received_us: u64,
    ) {
        self.count_watches(shared);
        let Some(found) = self.get_mut(conn).filter(|found| found.phase != Phase::Closing) else { return };
        let start = frame::begin(&mut found.out);
        let zxid = tree.last_processed();
        ReplyHeader { xid, zxid, err }.write(&mut found.out);
        frame::finish(&mut found.out, start);
        self.answered(now, shared, conn, Answered::Read(op), xid, zxid, received_us, start);
    }
}

/// What the client has seen, if the request is a whole one: a list that is null is an exception in Apache, and so is a
/// null path whose znode would be looked up. Persistent watches look nothing up.
fn check(body: &[u8], lists: usize, length_max: usize) -> Option<Zxid> {
    let mut r = Reader::with_limit(body, length_max);
    let has_paths = |list: &Option<Vec<UStr<'_>>>| list.as_ref().is_some_and(|paths| paths.iter().all(Option::is_some));
    if lists == 3 {
        let request: SetWatches<'_> = r.read().ok()?;
        let all = [&request.data_watches, &request.exist_watches, &request.child_watches];
        return all.into_iter().all(has_paths).then_some(request.relative_zxid);
    }
    let request: SetWatches2<'_> = r.read().ok()?;
    let looked_up = [&request.data_watches, &request.exist_watches, &request.child_watches];
    let persistent = [&request.persistent_watches, &request.persistent_recursive_watches];
    let is_whole = looked_up.into_iter().all(has_paths) && persistent.into_iter().all(Option::is_some);
    is_whole.then_some(request.relative_zxid)
}

/// The next path; `None` behind the last one.
fn next<'a>(body: &'a [u8], place: &mut Place) -> Result<Option<UStr<'a>>, DecodeError> {
    let mut r = Reader::with_limit(body.get(place.offset..).unwrap_or_default(), body.len());
    while place.left <= 0 {
        if place.list == place.lists {
            return Ok(None);
        }
        place.list += 1;
        place.left = r.read::<i32>()?;
    }
    let path = r.read()?;
    place.left -= 1;
    place.offset = body.len() - r.remaining().len();
    Ok(Some(path))
}
