//! A learner's part in writes and sessions: they are the leader's to decide, and come back as txns.
//!
//! What is forwarded in a session's name is remembered in its order, and the txns that the leader makes of it come in that
//! order; each answers the oldest, which is known by its number. What comes in the same session's name from another server
//! has another number, or comes when nothing is remembered. Source: `FollowerRequestProcessor`, `CommitProcessor`,
//! `LearnerSessionTracker`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tree::Tree;
use wire::quorum::{Forwarded, Touch};
use wire::request::PathRequest;
use wire::txn::TxnHeader;
use wire::{Epoch, Field, OpCode, Reader, SessionId, Xid};

use crate::inbox::{ConnId, InboxEntry, Submission, WriteRequest};
use crate::pending::{Entry, Origin, Pending};
use crate::pipeline::Pipeline;
use crate::pipeline_roles::{Role, Wish};
use crate::session_tracker::{Scope, SessionTracker};
use crate::shared::{ShardSet, Shared};
use crate::time::Now;
use crate::unanswered::Unanswered;

/// A learner's.
#[derive(Debug, Clone)]
pub(crate) struct Learning {
    /// What was forwarded, by session, oldest first.
    in_flight: BTreeMap<SessionId, VecDeque<InFlight>>,
    /// Syncs that were forwarded, oldest first.
    pub syncs: VecDeque<LearnersSync>,
    /// Sessions that went on from an earlier role, and whose clients have written nothing since.
    unasked: BTreeSet<SessionId>,
    /// Of those: the ones that the leader is asked for, and what is to be written when it is known that they are here. The
    /// shards bound it, as all that is in flight.
    unsure: BTreeMap<SessionId, Vec<WriteRequest>>,
    /// Sessions that were asked for by this server, and by no observer of its since.
    here: BTreeSet<SessionId>,
    /// Questions about sessions, oldest first, and who asked; nobody, if the session was here when the role began.
    questions: VecDeque<Question>,
    /// When the shards are asked next what they heard, on the clock that never goes back.
    pub collect_ms: i64,
    /// The leader's.
    epoch: Epoch,
}

/// Something that has no answer yet.
#[derive(Debug, Clone)]
enum InFlight {
    /// A client's, that was forwarded; the txn that comes of it is the answer.
    Write(WriteRequest),
    /// A session's beginning, that was.
    Session(Pending),
    /// It is answered behind those before it, without a txn.
    Answer(Pending),
}

/// Who waits for the answer to a sync.
#[derive(Debug, Clone)]
pub(crate) enum LearnersSync {
    /// A client.
    Client(WriteRequest),
    /// A session that is [`unsure`](Learning::unsure).
    Unsure(SessionId),
}

#[derive(Debug, Clone)]
struct Question {
    session: SessionId,
    timeout_ms: i32,
    conn: Option<ConnId>,
}

impl Learning {
    pub(crate) fn new(now_ms: i64, epoch: Epoch) -> Self {
        Self {
            in_flight: BTreeMap::new(),
            syncs: VecDeque::new(),
            unasked: BTreeSet::new(),
            unsure: BTreeMap::new(),
            here: BTreeSet::new(),
            questions: VecDeque::new(),
            collect_ms: now_ms,
            epoch,
        }
    }

    /// A txn is about to be applied: whose is it?
    pub(crate) fn find_origin(&mut self, pending: &mut Pending) {
        let Some(queue) = self.in_flight.get_mut(&pending.session) else { return };
        let Ok(header) = Reader::new(&pending.entry).read::<TxnHeader>() else { return };
        match queue.pop_front_if(|first| first.is_asked_by(header.cxid, header.op)) {
            Some(InFlight::Write(write)) => write.answered_by(pending),
            Some(InFlight::Session(waits)) => {
                let entry = std::mem::replace(&mut pending.entry, Entry::NONE);
                let (zxid, proposed_us) = (pending.zxid, pending.proposed_us);
                *pending = Pending { zxid, entry, proposed_us, ..waits };
            }
            _ => {}
        }
    }

    /// Is a txn like this what becomes of something that was forwarded in this session's name?
    fn has_asked_for(&self, session: SessionId, cxid: Xid, op: OpCode) -> bool {
        self.in_flight.get(&session).is_some_and(|queue| queue.iter().any(|it| it.is_asked_by(cxid, op)))
    }

    /// Its client has gone, or has come again: what was to be written by its connection from an earlier role is not.
    fn forget_unsure(&mut self, shared: &Shared, session: SessionId) -> bool {
        let writes = self.unsure.remove(&session);
        let was = writes.is_some() | self.unasked.remove(&session);
        writes.into_iter().flatten().for_each(|write| shared.end_request(write.body.len()));
        was
    }

    /// The next answer that waits for no txn any more.
    fn next_answer(&mut self, session: SessionId) -> Option<Pending> {
        let queue = self.in_flight.get_mut(&session)?;
        let next = queue.pop_front_if(|first| matches!(first, InFlight::Answer(_)));
        if queue.is_empty() {
            self.in_flight.remove(&session);
        }
        match next {
            Some(InFlight::Answer(pending)) => Some(pending),
            _ => None,
        }
    }

    /// Lets an answer wait behind what is in flight in its session's name, if anything is.
    fn wait_behind(&mut self, pending: Pending) -> Option<Pending> {
        match self.in_flight.get_mut(&pending.session) {
            Some(queue) => {
                queue.push_back(InFlight::Answer(pending));
                None
            }
            None => Some(pending),
        }
    }

    /// The role is over. `unanswered` gets what its clients wait for, and nobody knows what becomes of, `again` what is simply
    /// asked for again, and `closed` the connections of others.
    pub(crate) fn end(
        self,
        shared: &Shared,
        tracker: &SessionTracker,
        answered_syncs: impl Iterator<Item = WriteRequest>,
        unanswered: &mut Unanswered,
        closed: &mut Vec<ConnId>,
        again: &mut Vec<Submission>,
    ) {
        unanswered.begin(self.epoch);
        let has = |session, conn| tracker.get(session).is_some_and(|found| found.owner == Some(conn));
        for (session, queue) in self.in_flight {
            let is_kept = |it: &InFlight| matches!(it, InFlight::Write(write) if has(session, write.conn));
            // All in their order, or none.
            let are_kept = queue.iter().all(is_kept);
            for it in queue {
                match it {
                    InFlight::Write(write) if are_kept => unanswered.keep(write, true),
                    InFlight::Write(write) => closed.push(end_write(shared, &write)),
                    InFlight::Session(waits) | InFlight::Answer(waits) => end_waiting(shared, waits, closed, again),
                }
            }
        }
        let lost: BTreeSet<ConnId> = closed.iter().copied().collect();
        let syncs = self.syncs.into_iter().filter_map(|sync| match sync {
            LearnersSync::Client(sync) => Some(sync),
            LearnersSync::Unsure(_) => None,
        });
        // Each is the last of its connection.
        for write in answered_syncs.chain(syncs).chain(self.unsure.into_values().flatten()) {
            if has(write.session, write.conn) && !lost.contains(&write.conn) {
                unanswered.keep(write, false);
            } else {
                closed.push(end_write(shared, &write));
            }
        }
        let asked = self.questions.into_iter().filter_map(|it| Some((it.conn?, it.session, it.timeout_ms)));
        again.extend(asked.map(|(conn, session, timeout_ms)| renewal(conn, session, timeout_ms)));
    }
}

impl InFlight {
    fn is_asked_by(&self, cxid: Xid, op: OpCode) -> bool {
        match self {
            Self::Write(write) => write.is_asked_by(cxid, op),
            Self::Session(_) => cxid == Xid(0) && op != OpCode::CloseSession,
            Self::Answer(_) => false,
        }
    }
}

fn end_write(shared: &Shared, write: &WriteRequest) -> ConnId {
    shared.end_request(write.body.len());
    write.conn
}

fn end_waiting(shared: &Shared, waits: Pending, closed: &mut Vec<ConnId>, again: &mut Vec<Submission>) {
    let Pending { origin, session, bytes, received_us, .. } = waits;
    match origin {
        Origin::Write { conn, .. } | Origin::Refused { conn, .. } => {
            shared.end_request(bytes);
            closed.push(conn);
        }
        Origin::Connect { conn, timeout_ms } => {
            again.push(Submission::Connect { conn, timeout_ms, read_only: false, received_us });
        }
        Origin::Renew { conn, timeout_ms } => again.push(renewal(conn, session, timeout_ms)),
        Origin::Server | Origin::Elsewhere => {}
    }
}

fn renewal(conn: ConnId, session: SessionId, timeout_ms: i32) -> Submission {
    Submission::Renew { conn, session, timeout_ms, read_only: false }
}

impl Pipeline {
    /// Sends an answer that needs no txn of its own, once all before it in its session are answered.
    pub(crate) fn answer_behind(&mut self, shared: &Shared, tree: &Tree, pending: Pending) {
        let at_once = match &mut self.role {
            Role::Learning(learning) => learning.wait_behind(pending),
            _ if self.pending.is_empty() => Some(pending),
            _ => {
                self.pending.push_back(pending);
                None
            }
        };
        if let Some(pending) = at_once {
            self.answer_without_txn(shared, tree, &pending);
        }
    }

    /// A txn of this session was applied: what waited for it alone is answered.
    pub(crate) fn answer_those_behind(&mut self, shared: &Shared, tree: &Tree, session: SessionId) {
        while let Role::Learning(learning) = &mut self.role
            && let Some(pending) = learning.next_answer(session)
        {
            self.answer_without_txn(shared, tree, &pending);
        }
    }

    fn forward(&mut self, request: Forwarded, in_flight: InFlight) {
        if let Role::Learning(learning) = &mut self.role {
            learning.in_flight.entry(request.session).or_default().push_back(in_flight);
            self.wishes.push(Wish::Request(request));
        }
    }

    /// A client's write, in a session that is here. A local session that stays one has no session at the leader, which
    /// knows that such exist.
    pub(crate) fn forward_write(&mut self, now: Now, write: WriteRequest) {
        self.upgrade_if_needed(now, write.session, write.op, &write.body);
        if write.op == OpCode::CloseSession {
            self.tracker.set_closing(write.session);
        }
        let identities = Some(write.identities.as_slice().to_vec());
        let (session, cxid, op, body) = (write.session, write.xid, write.op.code(), write.body.clone());
        self.forward(Forwarded { session, cxid, op, body, identities }, InFlight::Write(write));
    }

    /// A session begins here, with an id of this server's.
    pub(crate) fn forward_session(&mut self, session: SessionId, timeout_ms: i32, origin: Origin, received_us: u64) {
        let body = Bytes::from(timeout_ms.to_vec());
        let request = Forwarded { session, cxid: Xid(0), op: OpCode::CreateSession.code(), body, identities: None };
        self.forward(request, InFlight::Session(Pending::answer(session, origin, 0, received_us)));
    }

    /// Asks the leader for a session that somebody else made; `conn` waits for the answer.
    pub(crate) fn ask_for_session(&mut self, session: SessionId, timeout_ms: i32, conn: Option<ConnId>) {
        if let Role::Learning(learning) = &mut self.role {
            learning.here.insert(session);
            learning.questions.push_back(Question { session, timeout_ms, conn });
            self.wishes.push(Wish::Revalidate { session, timeout_ms });
        }
    }

    /// Goes on with the sessions that have connections here from an earlier role. Their clients may have gone to other servers,
    /// and then nothing of what they had sent here may be done any more. A client goes when it has heard nothing for two
    /// thirds of its timeout; before that, connections are closed that nobody served
    /// ([`tick_looking`](Pipeline::tick_looking)). And who writes, or waited here with a write, is asked for at the leader
    /// first, which takes the session from whoever has it, and waits for a sync behind the answer. By then the log was given
    /// all that was proposed before: a txn in the session's name among that, or the end of the connection, shows that the
    /// client has gone. Apache closes all connections instead.
    pub(crate) fn go_on_with_sessions(&mut self) {
        self.close_strayed();
        let owned = self.tracker.owned();
        if let Role::Learning(learning) = &mut self.role {
            learning.unasked = owned.into_iter().map(|(session, ..)| session).collect();
        }
    }

    /// A client writes. `None`: it has to wait until it is known that its client is here.
    pub(crate) fn make_sure(&mut self, write: WriteRequest) -> Option<WriteRequest> {
        let Role::Learning(learning) = &mut self.role else { return Some(write) };
        if let Some(waiting) = learning.unsure.get_mut(&write.session) {
            waiting.push(write);
            return None;
        }
        let session = write.session;
        if write.op == OpCode::Sync {
            return Some(write);
        }
        let found = self.tracker.get(session).filter(|found| found.owner == Some(write.conn));
        let Some(timeout_ms) = found.map(|found| found.timeout_ms) else { return Some(write) };
        if !learning.unasked.remove(&session) {
            return Some(write);
        }
        learning.unsure.insert(session, vec![write]);
        self.ask_for_session(session, timeout_ms, None);
        None
    }

    /// It is asked for and answered: what the leader had proposed by then comes before the answer to a sync.
    fn sync_the_unsure(&mut self, session: SessionId) {
        if let Role::Learning(learning) = &mut self.role {
            learning.syncs.push_back(LearnersSync::Unsure(session));
            let (op, body) = (OpCode::Sync.code(), PathRequest { path: Some("/".into()) }.to_vec());
            let request = Forwarded { session, cxid: Xid(0), op, body: body.into(), identities: Some(Vec::new()) };
            self.wishes.push(Wish::Request(request));
        }
    }

    /// Its client is here: what waited for that goes on.
    pub(crate) fn be_sure(&mut self, now: Now, shared: &Shared, session: SessionId) -> ShardSet {
        let Role::Learning(learning) = &mut self.role else { return ShardSet::default() };
        let Some(writes) = learning.unsure.remove(&session) else { return ShardSet::default() };
        let mut writes = writes.into_iter().map(Submission::Write).collect();
        self.process(now, shared, &mut writes)
    }

    /// A connection is gone. At a leader its session stays where it was until its client comes again: were it nowhere, what
    /// comes late from a learner where the client had been before would be taken for its own.
    pub(crate) fn on_gone(&mut self, shared: &Shared, conn: ConnId, session: SessionId) {
        if matches!(self.role, Role::Leading(_)) {
            return;
        }
        let is_its_own = self.tracker.get(session).is_some_and(|found| found.owner == Some(conn));
        if is_its_own && let Role::Learning(learning) = &mut self.role {
            learning.forget_unsure(shared, session);
        }
        self.tracker.on_gone(session, conn);
    }

    /// The log is given a txn in this session's name. Did its client ask for it elsewhere?
    pub(crate) fn look_for_strayed(&mut self, shared: &Shared, session: SessionId, cxid: Xid, op: OpCode) {
        let Some(conn) = self.tracker.get(session).and_then(|s| s.owner) else { return };
        if let Role::Learning(learning) = &mut self.role {
            if learning.has_asked_for(session, cxid, op) {
                return;
            }
            if learning.forget_unsure(shared, session) {
                self.tracker.set_strayed(session);
                self.tracker.disown(session);
                return self.send(conn, InboxEntry::Close { conn, why: STRAYED });
            }
        } else if self.unanswered.has_asked_for(session, cxid, op) {
            return;
        }
        // The leader knows where it is; at the next one, nothing of it goes on here. It may be its write by an earlier
        // connection: an observer hears of the session's return before it hears of that.
        self.tracker.set_strayed(session);
    }

    /// Closes the connections of sessions whose clients may be elsewhere.
    pub(crate) fn close_strayed(&mut self) {
        for conn in self.tracker.take_strayed() {
            self.send(conn, InboxEntry::Close { conn, why: STRAYED });
        }
    }

    /// The leader's answer to the oldest question about a session.
    pub fn revalidated(&mut self, now: Now, shared: &Shared, session: SessionId, valid: bool) -> ShardSet {
        let Role::Learning(learning) = &mut self.role else { return ShardSet::default() };
        // Answers come in the order of questions; one to none changes nothing.
        let Some(question) = learning.questions.pop_front_if(|question| question.session == session) else {
            return ShardSet::default();
        };
        if !valid {
            learning.here.remove(&session);
        }
        let owner = self.tracker.get(session).and_then(|s| s.owner);
        match question.conn {
            None if valid => self.sync_the_unsure(session),
            None => {
                learning.forget_unsure(shared, session);
                if let Some(conn) = owner {
                    self.tracker.disown(session);
                    self.send(conn, InboxEntry::Close { conn, why: "its session is over" });
                }
            }
            Some(conn) if !valid => self.send(conn, InboxEntry::Expired { conn }),
            // Its client has asked an observer of this follower meanwhile, and is there.
            Some(conn) if !learning.here.contains(&session) => {
                self.send(conn, InboxEntry::Close { conn, why: "its session goes on at another server" });
            }
            Some(conn) => {
                // It may be that this server has not heard of its beginning yet.
                self.tracker.add_proposed(session, question.timeout_ms, None, now.mono_ms());
                learning.forget_unsure(shared, session);
                if !self.tracker.renew(session, question.timeout_ms, conn, now.mono_ms()) {
                    self.send(conn, InboxEntry::Close { conn, why: "its session is about to end" });
                    return self.flush(shared);
                }
                if let Some(old) = owner.filter(|&old| old != conn) {
                    self.send(old, InboxEntry::Close { conn: old, why: "its session goes on at another connection" });
                }
                // Writes of the old connection may be on their way, and the client looks for them.
                let origin = Origin::Renew { conn, timeout_ms: question.timeout_ms };
                let pending = Pending::answer(session, origin, 0, now.mono_us);
                self.answer_behind(shared, &shared.tree.read(), pending);
            }
        }
        self.flush(shared)
    }

    /// Of a follower: an observer of its asks for a session, whose client goes on there.
    pub fn asked_by_observer(&mut self, shared: &Shared, observer: zab::ConnId, session: SessionId) -> ShardSet {
        let Role::Learning(learning) = &mut self.role else { return ShardSet::default() };
        learning.here.remove(&session);
        learning.forget_unsure(shared, session);
        if let Some(old) = self.tracker.moves_to(session, observer) {
            self.send(old, InboxEntry::Close { conn: old, why: "its session goes on at another server" });
        }
        self.flush(shared)
    }

    /// Of a follower: may an observer of its hand on a write in this session's name? What it has kept of a client that went on
    /// here, or at another observer, may not be done behind what that client has asked for since. A leader refuses what comes so
    /// late; but it knows a session's place by the connection, and all that comes by this server comes by one. A session that
    /// is not known here is the leader's to judge. Apache's follower hands on everything.
    pub fn may_hand_on(&mut self, observer: zab::ConnId, session: SessionId) -> bool {
        let Role::Learning(learning) = &self.role else { return true };
        !learning.here.contains(&session)
            && (self.tracker.get(session).is_none() || self.tracker.is_with(session, observer))
    }

    /// A session is over.
    pub(crate) fn forget_place(&mut self, session: SessionId) {
        if let Role::Learning(learning) = &mut self.role {
            learning.here.remove(&session);
        }
    }

    /// Tells the leader of sessions that were heard of, other than local ones.
    pub(crate) fn tell_touches(&mut self, heard: &[(SessionId, i64)]) {
        for &(session, _) in heard {
            if let Some(found) = self.tracker.get(session).filter(|s| !s.closing && s.scope != Scope::Local) {
                self.wishes.push(Wish::Touched(Touch { session, timeout_ms: found.timeout_ms }));
            }
        }
    }
}

const STRAYED: &str = "its session was written to at another server";
