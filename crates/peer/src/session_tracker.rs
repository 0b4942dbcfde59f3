//! The sessions of a standalone server or a leader, and when they end. Source: Apache `SessionTrackerImpl`,
//! `ExpiryQueue`.
//!
//! Sessions expire at tick boundaries only, in whole buckets, `timeout` to `timeout + tick` after the last touch; what the
//! server itself slept does not count (`Lived`).
//!
//! A *local* session (`localSessionsEnabled`) is known to its own server alone: no txn makes it or ends it, no snapshot
//! holds it. When it wants an ephemeral it is upgraded: a createSession txn makes it like the others. Source: Apache
//! `UpgradeableSessionTracker`.

use std::collections::{BTreeMap, BTreeSet};

use ahash::RandomState;
use hashbrown::HashMap;
use wire::{ServerId, SessionId};

use crate::inbox::ConnId;
use crate::lived::Lived;
use crate::session::first_session_id;
use crate::state::hash_text;

/// Who knows a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This server alone.
    Local,
    /// This server, as a local one until its createSession, which is on its way, is applied.
    Upgrading,
    /// A createSession that is on its way; until it is applied nobody else knows of it, and if the role ends before, it
    /// may never have been.
    Proposed,
    /// Everybody: its createSession was applied.
    Global,
}

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Who knows it.
    pub scope: Scope,
    /// As negotiated last.
    pub timeout_ms: i32,
    /// As its createSession txn says; snapshots hold this one.
    pub logged_timeout_ms: i32,
    /// The tick boundary that ends it, in ms that the server lived through: see [`SessionTracker::to_mono_ms`].
    pub expires_ms: i64,
    /// The connection that may write in its name.
    pub owner: Option<ConnId>,
    /// Its closeSession is on its way.
    pub closing: bool,
    /// The log was given a txn in its name that did not come by its owner: its client may be elsewhere.
    pub strayed: bool,
}

/// Whose end this server decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expires {
    /// Everybody's: it stands alone, or leads.
    #[default]
    All,
    /// That of its local sessions. The others' is the leader's to decide.
    Local,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct SessionTracker {
    sessions: HashMap<SessionId, Session, RandomState>,
    /// Those that a txn ends, where this server decides that. While the log has no room, they wait here, however many.
    global: ExpiryQueue,
    /// The local ones, which end without a txn, whatever the others wait for.
    local: ExpiryQueue,
    tick_ms: i64,
    next_id: SessionId,
    clock: Lived,
    local_count: usize,
    expires: Expires,
    /// At a leader: the sessions whose clients are with a learner.
    learners: BTreeMap<SessionId, zab::ConnId>,
}

/// Sessions by the tick boundaries that end them. Source: Apache `ExpiryQueue`.
#[derive(Debug, Clone, Default)]
struct ExpiryQueue(BTreeMap<i64, BTreeSet<SessionId>>);

impl ExpiryQueue {
    fn insert(&mut self, at: i64, id: SessionId) {
        self.0.entry(at).or_default().insert(id);
    }

    fn remove(&mut self, at: i64, id: SessionId) {
        if let Some(bucket) = self.0.get_mut(&at) {
            bucket.remove(&id);
            if bucket.is_empty() {
                self.0.remove(&at);
            }
        }
    }

    fn first(&self) -> Option<i64> {
        self.0.first_key_value().map(|(&at, _)| at)
    }

    /// Takes those whose time is up, bucket by bucket, each in ascending order.
    fn take_up_to(&mut self, now: i64) -> Vec<SessionId> {
        let mut taken = Vec::new();
        while self.first().is_some_and(|at| at <= now) {
            taken.extend(self.0.pop_first().into_iter().flat_map(|(_, bucket)| bucket));
        }
        taken
    }
}

impl SessionTracker {
    /// A tracker without sessions. `wall_ms` makes the first id.
    pub fn new(hasher: RandomState, server: ServerId, tick_ms: i64, wall_ms: i64) -> Self {
        Self {
            sessions: HashMap::with_hasher(hasher),
            global: ExpiryQueue::default(),
            local: ExpiryQueue::default(),
            tick_ms: tick_ms.max(1),
            next_id: first_session_id(server, wall_ms),
            clock: Lived::default(),
            local_count: 0,
            expires: Expires::All,
            learners: BTreeMap::new(),
        }
    }

    /// An id that no living session has.
    pub fn allocate_id(&mut self) -> SessionId {
        loop {
            let id = self.next_id;
            self.next_id = SessionId(id.0.wrapping_add(1));
            // A clock that was set back could lead into ids that are in use.
            if id.0 != 0 && id.0 != i64::MIN && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// A shard slept from `from_ms` to `to_ms`, on the clock that never goes back: that time counts for no session.
    pub fn slept(&mut self, from_ms: i64, to_ms: i64) {
        self.clock.slept(from_ms, to_ms);
    }

    /// When, on the clock that never goes back, a session ends whose [`Session::expires_ms`] this is.
    pub fn to_mono_ms(&self, expires_ms: i64) -> i64 {
        self.clock.to_mono(expires_ms)
    }

    /// How many of them are local ones.
    pub fn local_len(&self) -> usize {
        self.local_count
    }

    /// How many sessions, local ones among them.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The session.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// The sessions that a txn made, and the timeouts of these txns, in ascending order.
    pub fn for_snapshot(&self) -> Vec<(SessionId, i32)> {
        let global = self.sessions.iter().filter(|(_, s)| s.scope == Scope::Global);
        let mut all: Vec<_> = global.map(|(id, s)| (*id, s.logged_timeout_ms)).collect();
        all.sort_unstable();
        all
    }

    /// Those whose closeSession is on its way, in no order.
    pub fn closing(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().filter(|(_, session)| session.closing).map(|(&id, _)| id)
    }

    pub(crate) fn hash_state(&self, hasher: &mut impl std::hash::Hasher) {
        let mut all: Vec<_> = self.sessions.iter().collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        hash_text(&(all, &self.global, &self.local, self.next_id, &self.clock, &self.learners), hasher);
    }

    /// Appends at most `max` sessions that are not closing and the moments that end them, in the order of these, from the
    /// one behind `after` on. Were there more?
    pub fn after(&self, after: Option<(i64, SessionId)>, max: usize, into: &mut Vec<(i64, SessionId)>) -> bool {
        use std::ops::Bound::{Excluded, Unbounded};
        let (mut from, mut behind) = after.map_or((i64::MIN, Unbounded), |(at, id)| (at, Excluded(id)));
        let end = into.len() + max;
        let none = BTreeSet::new();
        let next = |queue: &ExpiryQueue, from: i64| queue.0.range(from..).next().map(|(&at, _)| at);
        while let Some(at) = [&self.global, &self.local].into_iter().filter_map(|queue| next(queue, from)).min() {
            if at > from {
                behind = Unbounded;
            }
            let [global, local] = [&self.global, &self.local].map(|queue| queue.0.get(&at).unwrap_or(&none));
            let (mut global, mut local) = (global.range((behind, Unbounded)), local.range((behind, Unbounded)));
            let (mut one, mut other) = (global.next(), local.next());
            while let Some(&id) = [one, other].into_iter().flatten().min() {
                if into.len() >= end {
                    return true;
                }
                into.push((at, id));
                if one == Some(&id) {
                    one = global.next();
                } else {
                    other = local.next();
                }
            }
            // There is no boundary behind the last moment of all.
            let Some(later) = at.checked_add(1) else { break };
            (from, behind) = (later, Unbounded);
        }
        false
    }

    /// The next tick boundary that has sessions to end, on the clock that never goes back.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        let first = [&self.global, &self.local].into_iter().filter_map(ExpiryQueue::first).min();
        first.map(|at| self.clock.to_mono(at))
    }

    fn boundary(&self, now_ms: i64, timeout_ms: i32) -> i64 {
        ((self.clock.at(now_ms) + i64::from(timeout_ms)) / self.tick_ms + 1) * self.tick_ms
    }

    /// A session's createSession was applied, or it was there when the server started: it is tracked from now on, and
    /// known to everybody.
    pub fn add(&mut self, id: SessionId, timeout_ms: i32, owner: Option<ConnId>, now_ms: i64) {
        if let Some(known) = self.sessions.get_mut(&id).filter(|s| s.scope != Scope::Global) {
            let was_local = std::mem::replace(&mut known.scope, Scope::Global) == Scope::Local;
            known.logged_timeout_ms = timeout_ms;
            known.owner = known.owner.or(owner);
            self.local_count -= usize::from(was_local);
            let at = known.expires_ms;
            self.rebucket(id, at);
        } else {
            self.track(id, timeout_ms, owner, now_ms, Scope::Global);
        }
    }

    /// A session whose createSession is on its way.
    pub fn add_proposed(&mut self, id: SessionId, timeout_ms: i32, owner: Option<ConnId>, now_ms: i64) {
        if !self.sessions.contains_key(&id) {
            self.track(id, timeout_ms, owner, now_ms, Scope::Proposed);
        }
    }

    /// A session that this server alone knows.
    pub fn add_local(&mut self, id: SessionId, timeout_ms: i32, owner: ConnId, now_ms: i64) {
        self.track(id, timeout_ms, Some(owner), now_ms, Scope::Local);
    }

    /// A local session gets a createSession txn, with the timeout that is returned; `None`: it is no local one.
    pub fn upgrade(&mut self, id: SessionId) -> Option<i32> {
        let session = self.sessions.get_mut(&id).filter(|s| s.scope == Scope::Local)?;
        session.scope = Scope::Upgrading;
        self.local_count -= 1;
        let (timeout_ms, at) = (session.timeout_ms, session.expires_ms);
        self.rebucket(id, at);
        Some(timeout_ms)
    }

    fn track(&mut self, id: SessionId, timeout_ms: i32, owner: Option<ConnId>, now_ms: i64, scope: Scope) {
        self.remove(id);
        let expires_ms = self.boundary(now_ms, timeout_ms);
        let (logged_timeout_ms, closing, strayed) = (timeout_ms, false, false);
        let session = Session { scope, timeout_ms, logged_timeout_ms, expires_ms, owner, closing, strayed };
        self.sessions.insert(id, session);
        self.rebucket(id, expires_ms);
        self.local_count += usize::from(scope == Scope::Local);
    }

    /// A session goes on at another connection, with another timeout, which may end it earlier than the old one would
    /// have. False: there is no such session any more.
    pub fn renew(&mut self, id: SessionId, timeout_ms: i32, owner: ConnId, now_ms: i64) -> bool {
        match self.sessions.get_mut(&id) {
            Some(session) if !session.closing => {
                session.timeout_ms = timeout_ms;
                session.owner = Some(owner);
                session.strayed = false;
                let expires_ms = self.boundary(now_ms, timeout_ms);
                self.rebucket(id, expires_ms);
                self.learners.remove(&id);
                true
            }
            _ => false,
        }
    }

    /// Something was heard of it at `heard_ms`.
    pub fn touch(&mut self, id: SessionId, heard_ms: i64) {
        let Some(session) = self.sessions.get(&id).copied().filter(|s| !s.closing) else { return };
        let expires_ms = self.boundary(heard_ms, session.timeout_ms);
        if expires_ms > session.expires_ms {
            self.rebucket(id, expires_ms);
        }
    }

    /// Lets it end at this boundary, unless its end is on its way, or somebody else's to decide.
    fn rebucket(&mut self, id: SessionId, expires_ms: i64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let before = std::mem::replace(&mut session.expires_ms, expires_ms);
        let (scope, closing) = (session.scope, session.closing);
        self.unbucket(id, before);
        match scope {
            _ if closing => {}
            Scope::Local => self.local.insert(expires_ms, id),
            _ if self.expires == Expires::All => self.global.insert(expires_ms, id),
            _ => {}
        }
    }

    fn unbucket(&mut self, id: SessionId, at: i64) {
        // It may have been in the other one until now.
        self.global.remove(at, id);
        self.local.remove(at, id);
    }

    /// Its closeSession is on its way: it is touched no more.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.closing = true;
            let at = session.expires_ms;
            self.unbucket(id, at);
        }
    }

    /// Its closeSession was applied, or it was a local one and is over.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.local_count -= usize::from(session.scope == Scope::Local);
        self.unbucket(id, session.expires_ms);
        self.learners.remove(&id);
        Some(session)
    }

    /// A role begins: all sessions have their whole timeouts ahead.
    pub fn begin_role(&mut self, expires: Expires, now_ms: i64) {
        self.expires = expires;
        (self.global, self.local) = (ExpiryQueue::default(), ExpiryQueue::default());
        let fresh: Vec<(SessionId, i64)> =
            self.sessions.iter().map(|(&id, s)| (id, self.boundary(now_ms, s.timeout_ms))).collect();
        for (id, expires_ms) in fresh {
            self.rebucket(id, expires_ms);
        }
    }

    /// A role is over. What was proposed and is not applied may come to nothing. Returns the connections of sessions that
    /// may never have been, in ascending order of these.
    pub fn end_role(&mut self) -> Vec<ConnId> {
        self.learners.clear();
        let mut unborn: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.scope == Scope::Proposed).map(|(&id, _)| id).collect();
        unborn.sort_unstable();
        let closed = unborn.into_iter().filter_map(|id| self.remove(id)?.owner).collect();
        for session in self.sessions.values_mut() {
            session.closing = false;
            if session.scope == Scope::Upgrading {
                session.scope = Scope::Local;
                self.local_count += 1;
            }
        }
        closed
    }

    /// Another tree: its sessions, and nobody else's but those that this server alone knows.
    pub fn replace(&mut self, sessions: impl IntoIterator<Item = (SessionId, i32)>, now_ms: i64) {
        let mut gone: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.scope != Scope::Local).map(|(&id, _)| id).collect();
        gone.sort_unstable();
        for id in gone {
            self.remove(id);
        }
        for (id, timeout_ms) in sessions {
            self.add(id, timeout_ms, None, now_ms);
        }
    }

    /// The sessions that everybody knows, or will, and that have a connection here, in ascending order, with their timeouts.
    pub fn owned(&self) -> Vec<(SessionId, i32, ConnId)> {
        self.connected_where(|scope| scope != Scope::Local)
    }

    /// All sessions that have a connection here, in ascending order, with their timeouts.
    pub fn connected(&self) -> Vec<(SessionId, i32, ConnId)> {
        self.connected_where(|_| true)
    }

    fn connected_where(&self, wanted: impl Fn(Scope) -> bool) -> Vec<(SessionId, i32, ConnId)> {
        let of = |(&id, s): (&SessionId, &Session)| {
            s.owner.filter(|_| wanted(s.scope)).map(|owner| (id, s.timeout_ms, owner))
        };
        let mut owned: Vec<_> = self.sessions.iter().filter_map(of).collect();
        owned.sort_unstable();
        owned
    }

    /// Something was heard of it by a learner, which knows its timeout. False: it is over, or about to be.
    pub fn touch_with(&mut self, id: SessionId, timeout_ms: i32, heard_ms: i64) -> bool {
        let Some(session) = self.sessions.get_mut(&id).filter(|s| !s.closing) else { return false };
        session.timeout_ms = timeout_ms;
        self.touch(id, heard_ms);
        true
    }

    /// The session's client is with this learner from now on. Returns the connection that it had here.
    pub fn moves_to(&mut self, id: SessionId, learner: zab::ConnId) -> Option<ConnId> {
        let session = self.sessions.get_mut(&id)?;
        self.learners.insert(id, learner);
        session.owner.take()
    }

    /// A txn in its name came, and not by the connection that it has here, if it has one.
    pub fn set_strayed(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.strayed = true;
        }
    }

    /// The connections of the sessions that have strayed, in ascending order. They have none any more.
    pub fn take_strayed(&mut self) -> Vec<ConnId> {
        let strayed = self.sessions.values_mut().filter(|session| session.strayed);
        let mut conns: Vec<_> = strayed.filter_map(|session| session.owner.take()).collect();
        conns.sort_unstable();
        conns
    }

    /// Its client is nowhere any more, as far as is known here.
    pub fn disown(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.owner = None;
        }
    }

    /// A connection is gone; if it was this session's, the session has none.
    pub fn on_gone(&mut self, id: SessionId, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.owner == Some(conn)) {
            session.owner = None;
        }
    }

    /// Its owner has written, and the leader took it: the client is here.
    pub fn is_here(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.strayed = false;
        }
    }

    /// Its end was refused: it goes on.
    pub fn unset_closing(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.closing) else { return };
        session.closing = false;
        let expires_ms = session.expires_ms;
        self.rebucket(id, expires_ms);
    }

    /// At a leader: is its client with a learner?
    pub fn is_with_learner(&self, id: SessionId) -> bool {
        self.learners.contains_key(&id)
    }

    /// No session has a connection any more.
    pub fn disown_everybody(&mut self) {
        self.sessions.values_mut().for_each(|session| session.owner = None);
    }

    /// These connections are closed. What else came by them may not be done: what came before it may not have been.
    pub fn disown_all(&mut self, closed: &[ConnId]) {
        let closed: BTreeSet<ConnId> = closed.iter().copied().collect();
        for session in self.sessions.values_mut() {
            session.owner = session.owner.filter(|owner| !closed.contains(owner));
        }
    }

    /// May this learner write in the session's name? The first that does so for a session that is nowhere has it, as with
    /// Apache. Source: `SessionTrackerImpl.checkSession`.
    pub fn is_with(&mut self, id: SessionId, learner: zab::ConnId) -> bool {
        match self.sessions.get(&id) {
            Some(session) if session.owner.is_none() => *self.learners.entry(id).or_insert(learner) == learner,
            _ => false,
        }
    }

    /// The local sessions whose time is up, bucket by bucket, each in ascending order. It costs nothing for the others, however
    /// long they have to wait.
    pub fn expire_local(&mut self, now_ms: i64) -> Vec<SessionId> {
        let now_ms = self.clock.at(now_ms);
        self.local.take_up_to(now_ms)
    }

    /// The other sessions whose time is up, in the same order; they are closing from now on.
    pub fn expire(&mut self, now_ms: i64) -> Vec<SessionId> {
        let now_ms = self.clock.at(now_ms);
        let expired = self.global.take_up_to(now_ms);
        for id in &expired {
            if let Some(session) = self.sessions.get_mut(id) {
                session.closing = true;
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> SessionTracker {
        SessionTracker::new(RandomState::with_seeds(1, 2, 3, 4), ServerId(1), 2000, 5)
    }

    #[test]
    fn expiry_is_rounded_up_to_the_next_tick() {
        let mut t = tracker();
        t.add(SessionId(1), 4000, None, 100);
        assert_eq!(t.next_expiry_ms(), Some(6000));
        t.touch(SessionId(1), 1999);
        assert_eq!(t.next_expiry_ms(), Some(6000), "same tick, same bucket");
        t.touch(SessionId(1), 2000);
        assert_eq!(t.next_expiry_ms(), Some(8000));
        t.touch(SessionId(1), 50);
        assert_eq!(t.next_expiry_ms(), Some(8000), "an old touch shortens nothing");
        assert!(t.expire(7999).is_empty());
        assert_eq!(t.expire(8000), [SessionId(1)]);
        assert!(t.expire(90000).is_empty(), "once");
        assert!(t.get(SessionId(1)).is_some(), "it lives until its closeSession is applied");
        t.touch(SessionId(1), 9000);
        assert_eq!(t.next_expiry_ms(), None);
        let conn = ConnId { shard: 0, slot: 0, generation: 0 };
        assert!(!t.renew(SessionId(1), 4000, conn, 9000), "and can't be renewed");
    }

    #[test]
    fn what_the_server_slept_counts_for_no_session() {
        let mut t = tracker();
        t.add(SessionId(1), 4000, None, 100);
        t.slept(1000, 31_000);
        assert_eq!(t.next_expiry_ms(), Some(36_000));
        assert!(t.expire(35_999).is_empty());
        // Heard before the sleep, told after it.
        t.touch(SessionId(1), 990);
        t.add(SessionId(2), 4000, None, 32_500);
        assert_eq!(t.expire(36_000), [SessionId(1)]);
        assert_eq!(t.next_expiry_ms(), Some(38_000));
    }

    #[test]
    fn a_local_session_is_in_no_snapshot_until_its_txn_is_applied() {
        let mut t = tracker();
        let conn = ConnId { shard: 0, slot: 0, generation: 0 };
        t.add_local(SessionId(1), 4000, conn, 100);
        t.add(SessionId(2), 5000, None, 100);
        assert_eq!((t.len(), t.local_len(), t.for_snapshot()), (2, 1, vec![(SessionId(2), 5000)]));
        assert_eq!(t.upgrade(SessionId(2)), None);
        assert_eq!(t.upgrade(SessionId(1)), Some(4000));
        assert_eq!(t.upgrade(SessionId(1)), None, "once");
        assert_eq!((t.local_len(), t.for_snapshot().len()), (0, 1));
        t.set_closing(SessionId(1));
        t.add(SessionId(1), 4000, None, 200);
        assert_eq!(t.for_snapshot(), [(SessionId(1), 4000), (SessionId(2), 5000)]);
        assert!(t.get(SessionId(1)).is_some_and(|s| s.closing && s.owner == Some(conn)), "an end on its way stays");
    }

    #[test]
    fn a_renewal_with_a_shorter_timeout_ends_the_session_earlier() {
        let mut t = tracker();
        t.add(SessionId(1), 40_000, None, 0);
        let conn = ConnId { shard: 0, slot: 0, generation: 0 };
        assert!(t.renew(SessionId(1), 4000, conn, 100));
        assert_eq!(t.next_expiry_ms(), Some(6000));
        t.touch(SessionId(1), 3000);
        assert_eq!(t.expire(8000), [SessionId(1)]);
        assert_eq!(t.next_expiry_ms(), None);
    }

    #[test]
    fn listed_in_pieces() {
        let mut t = tracker();
        for id in 1..=20 {
            t.add(SessionId(id), if id % 3 == 0 { 4000 } else { 9000 }, None, 0);
        }
        t.set_closing(SessionId(6));
        let mut all = Vec::new();
        let mut pieces = 1;
        while t.after(all.last().copied(), 4, &mut all) {
            pieces += 1;
        }
        assert_eq!((all.len(), pieces), (19, 5));
        assert!(all.is_sorted() && all[0] == (6000, SessionId(3)) && !all.contains(&(6000, SessionId(6))), "{all:?}");
    }

    #[test]
    fn local_sessions_end_by_themselves_and_are_listed_with_the_others() {
        let mut t = tracker();
        let conn = ConnId { shard: 0, slot: 0, generation: 0 };
        for id in 1..=20 {
            if id % 2 == 0 { t.add_local(SessionId(id), 4000, conn, 0) } else { t.add(SessionId(id), 4000, None, 0) }
        }
        assert_eq!(t.upgrade(SessionId(2)), Some(4000));
        let mut all = Vec::new();
        while t.after(all.last().copied(), 3, &mut all) {}
        assert_eq!(all, (1..=20).map(|id| (6000, SessionId(id))).collect::<Vec<_>>());
        let even: Vec<SessionId> = (2..=10).map(|n| SessionId(2 * n)).collect();
        assert_eq!(t.expire_local(6000), even, "not the one that is none any more");
        assert!(t.expire_local(6000).is_empty());
        let others: Vec<SessionId> = [1, 2].into_iter().chain((1..10).map(|n| 2 * n + 1)).map(SessionId).collect();
        assert_eq!(t.expire(6000), others);
        assert_eq!(t.next_expiry_ms(), None);
    }

    #[test]
    fn where_a_client_was_is_forgotten_with_its_session() {
        let mut t = tracker();
        for id in 1..=3 {
            t.add(SessionId(id), 4000, None, 0);
            t.moves_to(SessionId(id), zab::ConnId(7));
        }
        assert!(!t.is_with(SessionId(9), zab::ConnId(7)), "no session, and nothing remembered of it");
        t.remove(SessionId(1));
        let conn = ConnId { shard: 0, slot: 0, generation: 0 };
        assert!(t.renew(SessionId(2), 4000, conn, 0));
        assert_eq!(t.learners.keys().copied().collect::<Vec<_>>(), [SessionId(3)]);
        t.end_role();
        assert!(t.learners.is_empty());
    }

    #[test]
    fn ids_in_use_are_skipped() {
        let mut t = tracker();
        let first = t.allocate_id();
        t.add(SessionId(first.0 + 1), 4000, None, 0);
        assert_eq!(t.allocate_id(), SessionId(first.0 + 2));
    }
}
