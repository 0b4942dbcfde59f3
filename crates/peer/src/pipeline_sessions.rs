//! The pipeline's part in sessions: how they begin, go on at another connection, and end.
//!
//! Many sessions may run out of time at once. Their closeSession txns are proposed some at a time, the next ones when those
//! are applied, so that the requests of everybody else go on in between (ZOOKEEPER-1049, ZOOKEEPER-3110).

use auth::Identities;
use bytes::Bytes;
use tree::Tree;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateMode, CreateRequest};
use wire::txn::CreateSessionTxn;
use wire::{ErrorCode, Field, OpCode, Reader, SessionId, Xid};

use crate::inbox::{ConnId, Granted, InboxEntry, ReadRequest, ReplyBody, WriteRequest};
use crate::pending::{Entry, Origin, Pending};
use crate::pipeline::{DIGEST_BYTES, Pipeline};
use crate::pipeline_roles::Role;
use crate::prep::Prep;
use crate::session_tracker::Scope;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;

/// What sessions there are beside those that everybody in the ensemble knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalSessions {
    /// None. A standalone server has no others, whatever its file says, as in Apache.
    #[default]
    Off,
    /// Every session begins as a local one (`localSessionsEnabled`), and can't have ephemerals.
    On,
    /// Every session begins as a local one, and is upgraded when it creates an ephemeral
    /// (`localSessionsUpgradingEnabled`).
    Upgrading,
}

/// The most sessions that ran out of time whose closeSession txns are under way at once.
pub(crate) const EXPIRIES_UNDER_WAY_MAX: usize = 128;

impl Pipeline {
    /// A session lives on without a connection until its time is up, so whoever connects and goes, again and again, would
    /// leave ever more of them. Those whose createSession is under way count.
    pub(crate) fn is_one_session_too_many(&self) -> bool {
        self.tracker.len() + self.connects_under_way >= self.config.sessions_max
    }

    pub(crate) fn connect(&mut self, now: Now, conn: ConnId, timeout_ms: i32, received_us: u64) {
        let session = self.tracker.allocate_id();
        if self.config.local_sessions == LocalSessions::Off {
            let origin = Origin::Connect { conn, timeout_ms };
            if matches!(self.role, Role::Learning(_)) {
                self.connects_under_way += 1;
                return self.forward_session(session, timeout_ms, origin, received_us);
            }
            if !self.role.has_zxids(1) {
                return self.send(conn, InboxEntry::Close { conn, why: "the zxids of the epoch are used up" });
            }
            self.connects_under_way += 1;
            self.propose_session(now, session, timeout_ms, origin, received_us);
        } else {
            self.tracker.add_local(session, timeout_ms, conn, now.mono_ms());
            self.send(conn, InboxEntry::Established { conn, session, timeout_ms, granted: Granted::Known });
        }
    }

    pub(crate) fn propose_session(
        &mut self,
        now: Now,
        session: SessionId,
        timeout_ms: i32,
        origin: Origin,
        received_us: u64,
    ) {
        let mut entry = self.begin_entry(session, Xid(0), now);
        CreateSessionTxn { timeout_ms }.write(&mut entry.1);
        self.propose(now, entry, OpCode::CreateSession, origin, session, received_us, Vec::new(), 0);
    }

    pub(crate) fn renew(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        session: SessionId,
        timeout_ms: i32,
    ) {
        let old = self.tracker.get(session).and_then(|s| s.owner);
        if matches!(self.role, Role::Learning(_)) && self.tracker.get(session).is_none_or(|s| s.scope != Scope::Local) {
            return self.ask_for_session(session, timeout_ms, Some(conn));
        }
        if self.tracker.renew(session, timeout_ms, conn, now.mono_ms()) {
            if let Some(old) = old.filter(|&old| old != conn) {
                self.send(old, InboxEntry::Close { conn: old, why: "its session goes on at another connection" });
            }
            if matches!(self.role, Role::Learning(_)) {
                // Those of a learner's local session are on their way by the leader.
                let pending = Pending::answer(session, Origin::Renew { conn, timeout_ms }, 0, now.mono_us);
                return self.answer_behind(shared, tree, pending);
            }
            // Writes of the old connection may be on their way. Its client does not know their outcome, and looks now: what it
            // is shown must have them, so the answer comes behind them. Where the log waits for room, only its own count:
            // who has none must not wait for hours.
            let is_stuck = self.room.is_some_and(|room| room.is_stuck);
            if self.pending.is_empty() || (is_stuck && !self.has_pending(conn, session)) {
                self.answer_renewal(conn, session, timeout_ms);
            } else {
                self.pending.push_back(Pending {
                    zxid: self.proposed(),
                    entry: Entry::NONE,
                    origin: Origin::Renew { conn, timeout_ms },
                    reads_before: Vec::new(),
                    session,
                    bytes: 0,
                    received_us: now.mono_us,
                    proposed_us: now.mono_us,
                });
            }
        } else {
            self.send(conn, InboxEntry::Expired { conn });
        }
    }

    pub(crate) fn answer_renewal(&mut self, conn: ConnId, session: SessionId, timeout_ms: i32) {
        self.send(conn, InboxEntry::Established { conn, session, timeout_ms, granted: Granted::Known });
    }

    /// A local session that wants an ephemeral is upgraded first, where that is allowed. True: it stays a local one.
    pub(crate) fn upgrade_if_needed(&mut self, now: Now, session: SessionId, op: OpCode, body: &Bytes) -> bool {
        if self.tracker.local_len() == 0 || self.tracker.get(session).is_none_or(|s| s.scope != Scope::Local) {
            return false;
        }
        if self.config.local_sessions == LocalSessions::Upgrading
            && wants_ephemeral(op, body, self.config.length_max)
            && let Some(timeout_ms) = self.tracker.upgrade(session)
        {
            if matches!(self.role, Role::Learning(_)) {
                self.forward_session(session, timeout_ms, Origin::Server, now.mono_us);
            } else {
                self.propose_session(now, session, timeout_ms, Origin::Server, now.mono_us);
            }
            return false;
        }
        true
    }

    /// A local session ends at its client's wish: no txn, but the answer comes behind those of the requests before it.
    pub(crate) fn close_local(&mut self, shared: &Shared, tree: &Tree, write: WriteRequest) {
        let WriteRequest { conn, session, xid, op, body, received_us, reads_before, .. } = write;
        let pending = Pending {
            zxid: self.proposed(),
            entry: Entry::NONE,
            origin: Origin::Write { conn, xid, op },
            reads_before,
            session,
            bytes: body.len(),
            received_us,
            proposed_us: received_us,
        };
        let owner = self.tracker.remove(session).and_then(|s| s.owner);
        if let Some(other) = owner.filter(|&owner| owner != conn) {
            self.send(other, InboxEntry::Close { conn: other, why: "its session was closed by another connection" });
        }
        self.answer_behind(shared, tree, pending);
    }

    /// All txns before an answer without one are applied.
    pub(crate) fn answer_without_txn(&mut self, shared: &Shared, tree: &Tree, pending: &Pending) {
        match pending.origin {
            Origin::Renew { conn, timeout_ms } => self.answer_renewal(conn, pending.session, timeout_ms),
            Origin::Refused { conn, xid, op } => self.answer_refused(shared, tree, conn, xid, op, pending),
            _ => self.answer_local_close(shared, tree, pending),
        }
    }

    fn answer_local_close(&mut self, shared: &Shared, tree: &Tree, pending: &Pending) {
        let Origin::Write { conn, xid, op } = pending.origin else { return };
        self.answer_reads(shared, tree, conn, pending.session, &pending.reads_before);
        shared.end_request(pending.bytes);
        let (zxid, err, received_us) = (tree.last_processed(), ErrorCode::OK, pending.received_us);
        self.send(conn, InboxEntry::Reply { conn, xid, op, zxid, err, body: ReplyBody::None, received_us, last: true });
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a pending closeSession")]
    pub(crate) fn propose_close(
        &mut self,
        now: Now,
        tree: &Tree,
        session: SessionId,
        origin: Origin,
        xid: Xid,
        received_us: u64,
        reads_before: Vec<ReadRequest>,
    ) {
        self.tracker.set_closing(session);
        let mut entry = self.begin_entry(session, xid, now);
        let mut prep = Prep {
            tree,
            outstanding: &mut self.outstanding,
            auth: &self.config.auth,
            owner_rules: tree.owner_rules(),
            length_max: self.config.length_max,
            acl_room: self.config.length_max,
            zxid: entry.0,
            time_ms: now.wall_ms,
            session,
            is_local: false,
            identities: &Identities::none(),
            verdicts: self.verdicts.get_mut(),
            reconfig_enabled: false,
            members: None,
            exceeded: None,
            used_up: &mut self.used_up,
        };
        let body_start = entry.1.len();
        let op = prep.close_session(self.config.close_session_paths, &mut entry.1);
        if entry.1.len() + DIGEST_BYTES > self.config.length_max.min(self.entry_max()) {
            // A directory of a server with a higher limit may hold more ephemerals than a record can name, and a full disk may
            // have no room for their names. Then none is named: the tree knows them all the same.
            entry.1.truncate(body_start);
        }
        if matches!(origin, Origin::Server) {
            self.expiries_under_way += 1;
        }
        self.propose(now, entry, op, origin, session, received_us, reads_before, 0);
    }

    /// A tick boundary has come: asks the shards what they heard. Sessions end when all have answered, not before, so
    /// that a shard that is late costs nobody a session.
    pub fn tick(&mut self, now: Now, shared: &Shared) -> ShardSet {
        if matches!(self.role, Role::Looking) && self.readers.is_none() {
            return self.tick_looking(now, shared);
        }
        // A learner tells its leader who lives, however full its own disk is.
        let tells = matches!(self.role, Role::Learning(_));
        if !tells && !self.may_end_sessions() && self.tracker.local_len() == 0 {
            return ShardSet::default();
        }
        if !self.expiring.is_empty() && self.expiries_under_way == 0 {
            // They had to wait for room.
            self.go_on_expiring(now, &shared.tree.read());
        }
        if self.next_timeout_ms().is_none_or(|at| at > now.mono_ms()) {
            return self.flush(shared);
        }
        if let Role::Learning(learning) = &mut self.role {
            learning.collect_ms = now.mono_ms() + (self.config.tick_ms / 2).max(1);
        }
        self.round += 1;
        self.round_began_ms = now.mono_ms();
        let mut woken = self.flush(shared);
        for (shard, inbox) in shared.inboxes.iter().enumerate() {
            inbox.ask(self.round);
            self.waiting_for.insert(shard);
            woken.insert(shard);
        }
        woken
    }

    pub(crate) fn on_touches(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &Tree,
        shard: u16,
        round: u64,
        heard: &[(SessionId, i64)],
    ) {
        for &(session, at) in heard {
            self.tracker.touch(session, at);
        }
        if matches!(self.role, Role::Learning(_)) {
            self.tell_touches(heard);
        }
        if round != self.round || self.waiting_for.0 & (1 << shard) == 0 {
            return;
        }
        self.waiting_for.0 &= !(1 << shard);
        if self.waiting_for != ShardSet::default() {
            return;
        }
        // Theirs is no txn: it waits for no room in the log, and for no others.
        let local = self.tracker.expire_local(self.round_began_ms);
        shared.pipeline_stats.expired.add(local.len() as u64);
        for session in local {
            self.end_local(session);
        }
        if self.may_end_sessions() {
            let expired = self.tracker.expire(self.round_began_ms);
            shared.pipeline_stats.expired.add(expired.len() as u64);
            self.expiring.extend(expired);
            self.go_on_expiring(now, tree);
        }
    }

    /// A local session ran out of time: no txn.
    fn end_local(&mut self, session: SessionId) {
        self.forget_reader(session);
        if let Some(conn) = self.tracker.remove(session).and_then(|s| s.owner) {
            self.send(conn, InboxEntry::Close { conn, why: "its session ran out of time" });
        }
    }

    /// The end of a local session, as a reader's is, is not logged; that of others needs room in the log.
    fn may_end_sessions(&self) -> bool {
        self.readers.is_some() || self.has_room_for_session()
    }

    /// Proposes the end of the next sessions that ran out of time, as many as may be under way.
    pub(crate) fn go_on_expiring(&mut self, now: Now, tree: &Tree) {
        while self.expiries_under_way < EXPIRIES_UNDER_WAY_MAX && self.may_end_sessions() && self.role.has_zxids(1) {
            let Some(session) = self.expiring.pop_front() else { return };
            self.propose_close(now, tree, session, Origin::Server, Xid(0), now.mono_us, Vec::new());
        }
    }
}

/// Would this write, if all goes well, create an ephemeral? One that can't be read does not.
fn wants_ephemeral(op: OpCode, body: &[u8], length_max: usize) -> bool {
    let is_ephemeral = |flags: i32| CreateMode::from_flags(flags).is_some_and(CreateMode::is_ephemeral);
    let mut r = Reader::with_limit(body, length_max);
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            r.read::<CreateRequest<'_>>().is_ok_and(|create| is_ephemeral(create.flags))
        }
        OpCode::Multi => r.read::<MultiRequest<'_>>().is_ok_and(|multi| {
            multi.ops.iter().any(|op| match op {
                MultiOp::Create(_, create) => is_ephemeral(create.flags),
                MultiOp::CreateTtl(create) => is_ephemeral(create.flags),
                _ => false,
            })
        }),
        _ => false,
    }
}
