//! A leader's part in what learners hand on: their clients' writes and sessions.
//!
//! A learner's request becomes a txn in any case, because the txn is the answer: one that is refused becomes an error txn. Where
//! the log has no room even for that, it waits (`held_back`). Source: `LearnerHandler`, `LeaderZooKeeperServer`, `LeaderSessionTracker`.

use auth::Identities;
use tree::Tree;
use wire::quorum::{Forwarded, Touch};
use wire::txn::ErrorTxn;
use wire::{ErrorCode, Field, OpCode, Reader, SessionId};

use crate::inbox::InboxEntry;
use crate::pending::Origin;
use crate::pipeline::Pipeline;
use crate::pipeline_roles::{Role, Wish};
use crate::pipeline_sessions::LocalSessions;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;

/// Bytes of learners' requests that are not applied, beyond which a further one is refused. The answer is a txn, so it is
/// none of them; and a learner must be read in any case, since it acknowledges what is to be applied.
pub(crate) const FORWARDED_BYTES_MAX: usize = 256 << 20;

/// Does what becomes of a request have to fit into what the log can still take?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Yes; else it waits.
    Needed,
    /// No: too many wait.
    AnyHow,
}

impl Pipeline {
    /// A learner hands on what a client of its wants written, or that a session begins or ends.
    pub fn forwarded(&mut self, now: Now, shared: &Shared, learner: zab::ConnId, request: Forwarded) -> ShardSet {
        if !matches!(self.role, Role::Leading(_)) || !self.role.has_zxids(1) || self.is_leaving {
            return ShardSet::default();
        }
        let tree = shared.tree.read();
        self.go_on_with_held_back(now, shared, &tree);
        // Its learner expects the answers of a session in their order.
        let is_behind = self.held_back.has(request.session);
        if is_behind || !self.take_forwarded(now, shared, &tree, learner, &request, Room::Needed) {
            self.held_back.push(learner, request);
        }
        self.keep_bound(now, shared, &tree);
        self.count_proposals(shared);
        self.flush(shared)
    }

    /// A learner hands on a client's sync. False: it has to wait behind what is held back of that learner's, and comes back as
    /// [`Wish::LearnersSync`].
    pub fn may_sync(&mut self, now: Now, shared: &Shared, learner: zab::ConnId, request: &Forwarded) -> bool {
        let waits = self.held_back.has_of(learner);
        if waits {
            self.held_back.push(learner, request.clone());
            self.keep_bound(now, shared, &shared.tree.read());
        }
        !waits
    }

    /// The oldest go, with or without room, until no more wait than may.
    fn keep_bound(&mut self, now: Now, shared: &Shared, tree: &Tree) {
        while self.held_back.is_full()
            && let Some((learner, oldest)) = self.held_back.pop()
        {
            self.take_forwarded(now, shared, tree, learner, &oldest, Room::AnyHow);
        }
    }

    /// The log may have room for what is held back.
    pub fn take_held_back(&mut self, now: Now, shared: &Shared) -> ShardSet {
        if self.held_back.is_empty() || self.is_leaving {
            return ShardSet::default();
        }
        self.go_on_with_held_back(now, shared, &shared.tree.read());
        self.count_proposals(shared);
        self.flush(shared)
    }

    fn go_on_with_held_back(&mut self, now: Now, shared: &Shared, tree: &Tree) {
        while self.role.has_zxids(1)
            && let Some((learner, request)) = self.held_back.pop()
        {
            if !self.take_forwarded(now, shared, tree, learner, &request, Room::Needed) {
                return self.held_back.push_front(learner, request);
            }
        }
    }

    /// Makes a txn of it, if the log has room for that. A write that it has no room for is refused, with the same code as one
    /// of a client of this server, but by an error txn.
    fn take_forwarded(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        learner: zab::ConnId,
        request: &Forwarded,
        room: Room,
    ) -> bool {
        let (session, cxid) = (request.session, request.cxid);
        match OpCode::from_code(request.op) {
            Some(OpCode::Sync) => self.wishes.push(Wish::LearnersSync(learner, request.clone())),
            Some(OpCode::CreateSession | OpCode::CloseSession)
                if room == Room::Needed && !self.has_room_for_session() =>
            {
                return false;
            }
            Some(OpCode::CreateSession) => {
                let timeout_ms = Reader::new(&request.body).read().unwrap_or(0);
                // The client may write before this server has applied the txn.
                self.tracker.add_proposed(session, timeout_ms, None, now.mono_ms());
                if let Some(old) = self.tracker.moves_to(session, learner) {
                    self.send(old, InboxEntry::Close { conn: old, why: "its session is with another server" });
                }
                self.propose_session(now, session, timeout_ms, Origin::Elsewhere, now.mono_us);
            }
            // It is over already, or its client has gone on elsewhere while this waited where it was.
            op @ Some(OpCode::CloseSession) if self.check_session(session, learner).is_err() => {
                return self.forwarded_write(now, shared, tree, learner, op, request, room);
            }
            Some(OpCode::CloseSession) => {
                self.propose_close(now, tree, session, Origin::Elsewhere, cxid, now.mono_us, Vec::new());
            }
            op => return self.forwarded_write(now, shared, tree, learner, op, request, room),
        }
        true
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a request")]
    fn forwarded_write(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        learner: zab::ConnId,
        op: Option<OpCode>,
        request: &Forwarded,
        room: Room,
    ) -> bool {
        let (session, cxid) = (request.session, request.cxid);
        let mut checked = if self.forwarded_bytes > FORWARDED_BYTES_MAX {
            Err(ErrorCode::THROTTLED_OP)
        } else {
            self.check_session(session, learner)
        };
        if checked.is_ok() && room == Room::Needed && self.must_wait(request.body.len()) {
            return false;
        }
        if checked.is_ok() && !self.takes_write(request.body.len()) {
            checked = Err(ErrorCode::SYSTEM_ERROR);
        }
        if checked.is_err() && room == Room::Needed && !self.has_room_for_refusal() {
            return false;
        }
        let mut entry = self.begin_entry(session, cxid, now);
        let is_local = match checked {
            Ok(is_local) => is_local,
            Err(err) => {
                shared.pipeline_stats.refused.add(u64::from(err == ErrorCode::SYSTEM_ERROR));
                ErrorTxn { err }.write(&mut entry.1);
                self.propose(now, entry, OpCode::Error, Origin::Elsewhere, session, now.mono_us, Vec::new(), 0);
                return true;
            }
        };
        let identities = Identities::forwarded(request.identities.iter().flatten().cloned());
        // What no write is becomes an error txn there.
        let op = op.unwrap_or(OpCode::Error);
        self.forwarded_bytes += request.body.len();
        self.prepare(
            now,
            tree,
            entry,
            op,
            &request.body,
            Origin::Elsewhere,
            session,
            is_local,
            &identities,
            now.mono_us,
            Vec::new(),
            request.body.len(),
        );
        true
    }

    /// This leader is about to stop: what learners hand on from now on is nobody's, and they hand it on anew to the next one.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// May this learner write in this session's name? True: it is a session that only the learner knows.
    fn check_session(&mut self, session: SessionId, learner: zab::ConnId) -> Result<bool, ErrorCode> {
        match self.tracker.get(session).copied() {
            Some(found) if found.closing => Err(ErrorCode::SESSION_EXPIRED),
            Some(_) if self.tracker.is_with(session, learner) => Ok(false),
            Some(_) => Err(ErrorCode::SESSION_MOVED),
            None => {
                let has_local = self.config.local_sessions != LocalSessions::Off;
                let is_ours = (session.0 as u64) >> 56 == self.config.server.0 as u64 & 0xff;
                if has_local && !is_ours { Ok(true) } else { Err(ErrorCode::SESSION_EXPIRED) }
            }
        }
    }

    /// A learner asks whether a session is alive. If so, its client is there from now on.
    pub fn revalidate(
        &mut self,
        now: Now,
        shared: &Shared,
        learner: zab::ConnId,
        session: SessionId,
        timeout_ms: i32,
    ) -> (bool, ShardSet) {
        let valid = self.tracker.touch_with(session, timeout_ms, now.mono_ms());
        if valid && let Some(old) = self.tracker.moves_to(session, learner) {
            self.send(old, InboxEntry::Close { conn: old, why: "its session goes on at another server" });
        }
        (valid, self.flush(shared))
    }

    /// Learners heard of these sessions.
    pub fn touched(&mut self, now: Now, touched: &[Touch]) {
        for touch in touched {
            self.tracker.touch_with(touch.session, touch.timeout_ms, now.mono_ms());
        }
    }
}
