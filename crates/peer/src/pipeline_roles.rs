//! What a pipeline is for its clients, one role after another: standalone, or as a member of an ensemble looking, leading or
//! learning. The tree, the sessions and what is logged but not applied outlive a role.
//!
//! How a driver goes with a member's pipeline ([`Pipeline::look`] makes it one; `zab::Member` decides the roles):
//!
//! * What the log is given ([`zab::Command::Append`]) is told with [`appended`](Pipeline::appended); what it may apply, by
//!   `Replay` or `Commit`, with [`apply`](Pipeline::apply).
//! * `Serve` is told with [`lead`](Pipeline::lead) or [`learn`](Pipeline::learn), the end of a role with
//!   [`look`](Pipeline::look). In between nobody is served: reads wait in their connections, submissions here.
//! * After each of these, and after `process` and `tick`, the leader's driver proposes what
//!   [`take_proposals`](Pipeline::take_proposals) gives, and then everybody's does what [`take_wishes`](Pipeline::take_wishes)
//!   gives, in order. A leader's driver hands in learners' requests ([`forwarded`](Pipeline::forwarded)), questions
//!   ([`revalidate`](Pipeline::revalidate)) and touches ([`touched`](Pipeline::touched)), a learner's the answers to
//!   questions ([`revalidated`](Pipeline::revalidated)), and both the answers to syncs ([`synced`](Pipeline::synced)).
//! * A history that was cut below what is applied, or replaced by a snapshot, comes as another tree with
//!   [`replace_tree`](Pipeline::replace_tree); one that was cut above with [`truncated`](Pipeline::truncated).
//!
//! When a role is over, connections stay, and go on with the next one: nothing that they were shown can be missing in it, because
//! they were shown only what is committed. What they had asked for at a learner is answered from the next leader's
//! history, or done behind it (`unanswered`); who waits for a leader's own answer is closed, since nobody knows what
//! becomes of it. So are those of sessions that were written to elsewhere since (`go_on_with_sessions`).

use std::collections::VecDeque;

use bytes::Bytes;
use tree::Tree;
use wire::quorum::{Forwarded, Touch};
use wire::txn::{Txn, TxnEntry, TxnHeader};
use wire::{Epoch, ErrorCode, OpCode, Reader, SessionId, Zxid};
use zab::Broadcast;

use crate::digest_check::Verdict;
use crate::held_back::HeldBack;
use crate::inbox::{ConnId, InboxEntry, ReadRequest, Submission, WriteRequest};
use crate::outstanding::Outstanding;
use crate::pending::{Entry, Origin, Pending};
use crate::pipeline::Pipeline;
use crate::pipeline_learning::{LearnersSync, Learning};
use crate::session_tracker::Expires;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;
use crate::unanswered::has_waited;

/// What the pipeline is at the moment.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// There is nobody else.
    Standalone(Broadcast),
    /// There is no leader that is established: nobody is served.
    Looking,
    /// It proposes.
    Leading(Leading),
    /// It forwards.
    Learning(Learning),
}

/// A leader's.
#[derive(Debug, Clone)]
pub(crate) struct Leading {
    /// The newest proposal.
    proposed: Zxid,
    /// Syncs that the leader has not answered.
    pub syncs: VecDeque<(u64, WriteRequest)>,
    last_tag: u64,
}

/// What a member's pipeline asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Of a learner: forward this.
    Request(Forwarded),
    /// Of a learner: ask whether the session is alive, and let it be here from now on.
    Revalidate {
        /// Which.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// Of a learner: tell that it was heard of.
    Touched(Touch),
    /// Of a leader: a learner's sync, which had to wait, comes now.
    LearnersSync(zab::ConnId, Forwarded),
    /// Of a leader: a sync of a client of its own. [`Pipeline::synced`] takes the answer.
    Sync(u64),
}

impl Role {
    /// The newest proposal of a server that makes proposals.
    pub(crate) fn proposed(&self) -> Option<Zxid> {
        match self {
            Self::Standalone(broadcast) => Some(broadcast.proposed()),
            Self::Leading(leading) => Some(leading.proposed),
            Self::Looking | Self::Learning(_) => None,
        }
    }

    /// The zxid of the next proposal.
    pub(crate) fn propose(&mut self) -> Zxid {
        match self {
            Self::Standalone(broadcast) => broadcast.propose(),
            Self::Leading(leading) => {
                leading.proposed = leading.proposed.next();
                leading.proposed
            }
            Self::Looking | Self::Learning(_) => unreachable!("only a leader proposes"),
        }
    }

    /// Are there so many zxids left in the epoch?
    pub(crate) fn has_zxids(&self, count: u32) -> bool {
        match self {
            Self::Leading(leading) => u32::MAX - leading.proposed.counter() > count,
            _ => true,
        }
    }
}

impl Pipeline {
    /// There is no leader (any more): nobody is served. Also what makes a new pipeline that of a member.
    pub fn look(&mut self, now: Now, shared: &Shared) -> ShardSet {
        {
            let mut tree = shared.tree.write();
            shared.set_serving(&mut tree, false);
        }
        let mut closed = self.tracker.end_role();
        // What has no zxid yet goes on with another leader, unless its connection is closed below for what came before it.
        let mut waiting = Vec::from(std::mem::take(&mut self.ahead.waiting));
        let answered_syncs = std::mem::take(&mut self.answered_syncs).into_iter().map(|(_, sync)| sync);
        match std::mem::replace(&mut self.role, Role::Looking) {
            Role::Learning(learning) => {
                let unanswered = &mut self.unanswered;
                learning.end(shared, &self.tracker, answered_syncs, unanswered, &mut closed, &mut waiting);
            }
            Role::Leading(leading) => {
                let syncs = leading.syncs.into_iter().map(|(_, sync)| sync);
                closed.extend(syncs.chain(answered_syncs).map(|sync| end_sync(shared, &sync)));
            }
            Role::Standalone(_) | Role::Looking => {}
        }
        self.hold(shared, &mut waiting);
        for (number, mut pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match std::mem::replace(&mut pending.origin, Origin::Elsewhere) {
                Origin::Write { conn, .. } | Origin::Refused { conn, .. } => {
                    shared.end_request(pending.bytes);
                    closed.push(conn);
                }
                Origin::Connect { conn, .. } | Origin::Renew { conn, .. } => closed.push(conn),
                Origin::Server | Origin::Elsewhere => {}
            }
            pending.reads_before = Vec::new();
            // What was not proposed yet never will be.
            if number < self.handed_over && !pending.entry.is_empty() {
                self.pending.push_back(pending);
            }
        }
        self.handed_over = self.pending.len();
        self.tracker.disown_all(&closed);
        for conn in closed {
            self.send(conn, InboxEntry::Close { conn, why: "the leader is gone, and with it the answer" });
        }
        self.expiring.clear();
        self.connects_under_way = 0;
        self.expiries_under_way = 0;
        self.waiting_for = ShardSet::default();
        self.round += 1;
        self.wishes.clear();
        self.held_back = HeldBack::default();
        self.looking_ms = now.mono_ms();
        self.flush(shared)
    }

    /// This server leads, and its epoch is established; its first proposal is the one behind `proposed`. All that is in its
    /// log is applied.
    pub fn lead(&mut self, now: Now, shared: &Shared, proposed: Zxid) -> ShardSet {
        assert!(self.pending.is_empty(), "a leader has applied its history before it leads");
        let leading = Leading { proposed, syncs: VecDeque::new(), last_tag: 0 };
        self.begin(now, shared, Role::Leading(leading), Expires::All);
        self.close_strayed();
        self.close_orphans(now, shared);
        let mut woken = ShardSet::default();
        if self.only_leads() {
            woken = self.close_all(shared, ONLY_LEADS);
        }
        self.hand_on_anew(now, shared, proposed.epoch());
        woken.extend(self.serve(now, shared));
        woken
    }

    /// `leaderServes`: does a leader take clients? It does by default.
    pub fn set_leader_serves(&mut self, serves: bool) {
        self.leader_serves = serves;
    }

    pub(crate) fn only_leads(&self) -> bool {
        !self.leader_serves && matches!(self.role, Role::Leading(_))
    }

    /// This server follows or observes a leader whose epoch, this one, is established. All of the history with which that began
    /// is applied.
    pub fn learn(&mut self, now: Now, shared: &Shared, epoch: Epoch) -> ShardSet {
        let learning = Learning::new(now.mono_ms(), epoch);
        self.begin(now, shared, Role::Learning(learning), Expires::Local);
        self.go_on_with_sessions();
        self.hand_on_anew(now, shared, epoch);
        self.serve(now, shared)
    }

    fn begin(&mut self, now: Now, shared: &Shared, role: Role, expires: Expires) {
        self.role = role;
        self.tracker.begin_role(expires, now.mono_ms());
        // What was prepared in an earlier role is applied by now, or was never proposed.
        self.outstanding = Outstanding::new(self.config.keys.hasher(), shared.tree.read().digest());
        self.digest_check.begin_role();
        self.changes_told = 0;
        self.forwarded_bytes = 0;
        self.held_back = HeldBack::default();
    }

    fn serve(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let mut woken = {
            // The events and answers that were held back are in the inboxes before anybody can read.
            let mut tree = shared.tree.write();
            shared.set_serving(&mut tree, true);
            self.flush(shared)
        };
        let mut held = std::mem::take(&mut self.held);
        woken.extend(self.process(now, shared, &mut held));
        // Everybody who waits goes on.
        (0..self.outbox.len()).for_each(|shard| woken.insert(shard));
        woken
    }

    /// What came while nobody is served waits; of each connection that is one ConnectRequest at most.
    pub(crate) fn hold(&mut self, shared: &Shared, submissions: &mut Vec<Submission>) {
        for submission in submissions.drain(..) {
            match submission {
                Submission::Gone { conn, session } => {
                    self.unanswered.forget(shared, session, conn);
                    self.tracker.on_gone(session, conn);
                }
                Submission::Slept { from_ms, to_ms } => self.tracker.slept(from_ms, to_ms),
                // Of a round that is over.
                Submission::Touches { .. } => {}
                Submission::Connect { conn, .. } | Submission::Renew { conn, .. } if self.held.len() >= HELD_MAX => {
                    self.send(conn, InboxEntry::Close { conn, why: "too many wait for a leader" });
                }
                Submission::Connect { .. } | Submission::Renew { .. } | Submission::Write(_) => {
                    self.held.push(submission);
                }
            }
        }
    }

    /// The log was given a txn. A leader's own it knows already.
    ///
    /// Errors: these bytes are no txn with this zxid; they must not be logged.
    pub fn appended(&mut self, now: Now, shared: &Shared, zxid: Zxid, txn: &Bytes) -> Result<(), String> {
        if matches!(self.role, Role::Leading(_)) {
            return Ok(());
        }
        let mut r = Reader::with_limit(txn, txn.len());
        let entry: TxnEntry<'_> =
            r.read().map_err(|e| format!("what was proposed as txn {zxid} can't be read: {e}"))?;
        if entry.header.zxid != zxid {
            return Err(format!("what was proposed as txn {zxid} is txn {}", entry.header.zxid));
        }
        let TxnHeader { session, cxid, op, .. } = entry.header;
        if !matches!(&entry.txn, Txn::Error(error) if is_of_elsewhere(error.err)) {
            self.look_for_strayed(shared, session, cxid, op);
        }
        self.pending.push_back(Pending {
            zxid,
            entry: Entry::Shared(txn.clone()),
            origin: Origin::Elsewhere,
            reads_before: Vec::new(),
            session,
            bytes: 0,
            received_us: now.mono_us,
            proposed_us: now.mono_us,
        });
        self.handed_over = self.pending.len();
        Ok(())
    }

    /// Applies everything up to `zxid`: committed and logged here, or the history that a role begins with.
    pub fn apply(&mut self, now: Now, shared: &Shared, zxid: Zxid) -> ShardSet {
        let woken = self.apply_up_to(now, shared, zxid);
        let is_too_much = || self.outbox.iter().map(Vec::len).sum::<usize>() > HELD_ENTRIES_MAX;
        if !shared.is_serving() && (self.answer_bytes > HELD_ANSWER_BYTES_MAX || is_too_much()) {
            self.forget_held_entries();
            return self.close_all(shared, "it would have to be told too much at once");
        }
        woken
    }

    /// The last txn in the tree.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// The log was cut behind `zxid`, which is not below what is applied.
    pub fn truncated(&mut self, zxid: Zxid) {
        assert!(zxid >= self.applied, "the tree can't be cut");
        while self.pending.pop_back_if(|pending| pending.zxid > zxid).is_some() {}
        self.handed_over = self.pending.len();
    }

    /// The history is another one: this tree, and these sessions with their timeouts. All connections are closed, because
    /// they may have seen what is not in it, and their watches are not in the tree. Returns the old tree, too: dropping it
    /// takes a while.
    pub fn replace_tree(
        &mut self,
        now: Now,
        shared: &Shared,
        mut tree: Tree,
        sessions: impl IntoIterator<Item = (SessionId, i32)>,
    ) -> (ShardSet, Tree) {
        assert!(!shared.is_serving(), "the tree is replaced while nobody is served");
        tree.settle_children();
        self.applied = tree.last_processed();
        self.pending.clear();
        self.handed_over = 0;
        self.tracker.replace(sessions, now.mono_ms());
        self.forget_held_entries();
        let woken = self.close_all(shared, "the history that it saw was replaced");
        let old = std::mem::replace(&mut *shared.tree.write(), tree);
        shared.tree.read().continue_cursors(&old);
        (woken, old)
    }

    /// Nobody is told what was to be told when somebody is served.
    fn forget_held_entries(&mut self) {
        self.outbox.iter_mut().for_each(Vec::clear);
        self.answer_bytes = 0;
    }

    /// All connections are closed. What else comes by them is not done: what came before it may not have been.
    pub(crate) fn close_all(&mut self, shared: &Shared, why: &'static str) -> ShardSet {
        self.tracker.disown_everybody();
        self.unanswered.forget_all(shared);
        for submission in std::mem::take(&mut self.held).into_iter().chain(std::mem::take(&mut self.ahead.waiting)) {
            if let Submission::Write(write) = submission {
                shared.end_request(write.body.len());
            }
        }
        for entries in &mut self.outbox {
            entries.push(InboxEntry::CloseAll { why });
        }
        self.flush(shared)
    }

    /// A leader's new proposals, in zxid order. `propose` says whether one was taken, and so stands in the log. One that was not,
    /// and what is behind it, never will be: the role is over, or a reconfig has removed this leader, and [`look`](Self::look)
    /// comes soon.
    pub fn take_proposals(&mut self, mut propose: impl FnMut(Zxid, Bytes) -> bool) {
        if self.handed_over == self.pending.len() || !matches!(self.role, Role::Leading(_)) {
            return;
        }
        for (number, pending) in self.pending.iter_mut().enumerate().skip(self.handed_over) {
            if !pending.entry.is_empty() && !propose(pending.zxid, pending.entry.share()) {
                self.handed_over = number;
                return;
            }
        }
        self.handed_over = self.pending.len();
    }

    /// What is to be asked, in order; a leader's come behind its proposals.
    pub fn take_wishes(&mut self, into: &mut Vec<Wish>) {
        into.append(&mut self.wishes);
    }

    /// A txn led to another digest than it carries: what is to be done about it. Each is given once.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        self.digest_check.take_verdict()
    }

    /// Has a leader used up its epoch? Then it leads no more, and a new one has to begin.
    pub fn has_used_up_zxids(&self) -> bool {
        !self.role.has_zxids(1)
    }

    /// A client's write needs a zxid, or two. Where there are none, its connection is closed: the next leader serves it.
    pub(crate) fn may_propose(&mut self, shared: &Shared, conn: ConnId, bytes: usize) -> bool {
        let may = self.role.has_zxids(2);
        if !may {
            shared.end_request(bytes);
            self.send(conn, InboxEntry::Close { conn, why: "the zxids of the epoch are used up" });
        }
        may
    }

    /// A client wants to see what was committed before.
    pub(crate) fn submit_sync(&mut self, shared: &Shared, write: WriteRequest) {
        let (conn, session) = (write.conn, write.session);
        let is_here = self.tracker.get(session).is_some_and(|s| !s.closing && s.owner == Some(conn));
        match &mut self.role {
            _ if !is_here => {
                end_sync(shared, &write);
                self.send(conn, InboxEntry::Close { conn, why: "its session is over or has moved" });
            }
            Role::Leading(leading) => {
                leading.last_tag += 1;
                leading.syncs.push_back((leading.last_tag, write));
                self.wishes.push(Wish::Sync(leading.last_tag));
            }
            Role::Learning(learning) => {
                self.wishes.push(Wish::Request(Forwarded {
                    session,
                    cxid: write.xid,
                    op: OpCode::Sync.code(),
                    body: write.body.clone(),
                    identities: Some(write.identities.as_slice().to_vec()),
                }));
                learning.syncs.push_back(LearnersSync::Client(write));
            }
            Role::Standalone(_) | Role::Looking => self.answer_sync(shared, &shared.tree.read(), &write),
        }
    }

    /// A sync is through: a leader's with this tag, a learner's oldest (the tag means nothing there). It is answered when all
    /// that is known to be committed, `committed`, is applied. False: too many wait, and its connection is closed.
    pub fn synced(&mut self, now: Now, shared: &Shared, tag: u64, is_through: bool, committed: Zxid) -> ShardSet {
        let wait = match &mut self.role {
            Role::Leading(leading) => leading
                .syncs
                .iter()
                .position(|(it, _)| *it == tag)
                .and_then(|at| leading.syncs.remove(at))
                .map(|(_, wait)| wait),
            Role::Learning(learning) => match learning.syncs.pop_front() {
                Some(LearnersSync::Client(wait)) => Some(wait),
                Some(LearnersSync::Unsure(session)) => return self.be_sure(now, shared, session),
                None => None,
            },
            Role::Standalone(_) | Role::Looking => None,
        };
        let Some(wait) = wait else { return ShardSet::default() };
        if is_through {
            self.answered_syncs.push_back((committed, wait));
            self.answer_syncs(shared, &shared.tree.read());
        } else {
            let conn = end_sync(shared, &wait);
            self.send(conn, InboxEntry::Close { conn, why: "too many syncs wait" });
        }
        self.flush(shared)
    }

    /// Answers the syncs for which enough is applied.
    pub(crate) fn answer_syncs(&mut self, shared: &Shared, tree: &Tree) {
        while let Some((_, wait)) = self.answered_syncs.pop_front_if(|(committed, _)| *committed <= self.applied) {
            self.answer_sync(shared, tree, &wait);
        }
    }

    fn answer_sync(&mut self, shared: &Shared, tree: &Tree, wait: &WriteRequest) {
        let &WriteRequest { conn, session, xid, received_us, .. } = wait;
        self.answer_reads(shared, tree, conn, session, &wait.reads_before);
        // It is answered as the read that it is, from the state that it waited for.
        let read = ReadRequest {
            xid,
            op: OpCode::Sync,
            body: wait.body.clone(),
            identities: auth::Identities::none(),
            received_us,
        };
        self.answer_read(shared, tree, conn, session, &read);
        end_sync(shared, wait);
    }

    /// While nobody is served, each connection waits for half of its session's timeout. Clients go elsewhere when they have heard
    /// nothing for two thirds of it, and what they had sent here must not be done when they are there.
    pub(crate) fn tick_looking(&mut self, now: Now, shared: &Shared) -> ShardSet {
        for (session, timeout_ms, conn) in self.tracker.connected() {
            let told_ms = self.unanswered.told_ms(session).unwrap_or(self.looking_ms);
            if has_waited(now, told_ms.min(self.looking_ms), timeout_ms) {
                self.unanswered.forget(shared, session, conn);
                self.tracker.disown(session);
                self.send(
                    conn,
                    InboxEntry::Close { conn, why: "there was no leader for half of its session's timeout" },
                );
            }
        }
        self.flush(shared)
    }
}

/// A sync has its answer, or gets none.
fn end_sync(shared: &Shared, wait: &WriteRequest) -> ConnId {
    shared.end_request(wait.body.len());
    wait.conn
}

/// The leader refuses who is not where the session is: a sign that it is not there, and none that it is not here.
fn is_of_elsewhere(err: ErrorCode) -> bool {
    matches!(err, ErrorCode::SESSION_MOVED | ErrorCode::SESSION_EXPIRED)
}

pub(crate) const ONLY_LEADS: &str = "this server leads, and leaderServes=no";

/// The most submissions that wait for a leader; beyond, who asks for a session is closed. Writes are bounded as in the
/// pipeline.
pub(crate) const HELD_MAX: usize = 1 << 16;

/// The most events and answers that are held back while nobody is served, and the most bytes of reads' answers among them;
/// beyond, all connections are closed instead.
const HELD_ENTRIES_MAX: usize = 1 << 16;
const HELD_ANSWER_BYTES_MAX: usize = 16 << 20;
