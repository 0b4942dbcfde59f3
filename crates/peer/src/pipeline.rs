//! The pipeline: one a server, one owner at a time. Submissions in, proposals out; durable zxids in, replies out.
//!
//! Order: a submission is prepared (against the tree and what is outstanding), proposed (it gets a zxid) and handed to
//! the log, all under one hold of the pipeline. When the log says that a zxid is durable, everything up to it that is
//! committed is applied under one write guard of the tree, a batch at a time; events and replies are in the inboxes
//! before that guard is let go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;

use auth::{AuthConfig, Identities, Verdicts};
use bytes::Bytes;
use tree::cut::CutHeader;
use tree::{HashKeys, Tree, Trigger};
use wire::request::DeleteContainerRequest;
use wire::txn::{DIGEST_VERSION, ErrorTxn, TxnDigest, TxnHeader};
use wire::{ErrorCode, Field, OpCode, ServerId, SessionId, Xid, Zxid};
use zab::{Broadcast, QuorumVerifier};

use crate::ahead::Ahead;
use crate::digest_check::DigestCheck;
use crate::held_back::HeldBack;
use crate::inbox::{ConnId, InboxEntry, ReadRequest, Submission, WriteRequest};
use crate::orphans::Orphans;
use crate::outstanding::Outstanding;
use crate::pending::{Entry, Origin, Pending};
use crate::pipeline_roles::{ONLY_LEADS, Role, Wish};
use crate::pipeline_sessions::LocalSessions;
use crate::prep::Prep;
use crate::quota::QuotaExceeded;
use crate::read_only::Readers;
use crate::reconfig::Members;
use crate::room::LogRoom;
use crate::session_tracker::{Scope, Session, SessionTracker};
use crate::shared::{ShardSet, Shared};
use crate::state::hash_text;
use crate::sweep::{self, ContainerRules, Sweep};
use crate::time::Now;
use crate::unanswered::Unanswered;

/// What a pipeline is told at its start.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Who this is.
    pub server: ServerId,
    /// `tickTime`.
    pub tick_ms: i64,
    /// Who may do what.
    pub auth: Arc<AuthConfig>,
    /// The longest string or buffer in a request: `jute.maxbuffer` and its extra size.
    pub length_max: usize,
    /// `digest.enabled`: txns carry the tree's digest.
    pub digests: bool,
    /// `closeSessionTxn.enabled`: closeSession txns list the ephemerals.
    pub close_session_paths: bool,
    /// Do sessions begin as local ones?
    pub local_sessions: LocalSessions,
    /// Sessions beyond which no new one begins (`ostler.sessions.max`).
    pub sessions_max: usize,
    /// `enforceQuota`: writes above a quota are refused.
    pub enforce_quota: bool,
    /// `reconfigEnabled`: a reconfig is more than switched off.
    pub reconfig_enabled: bool,
    /// When containers and TTL znodes go.
    pub containers: ContainerRules,
    /// Keys of the hash maps.
    pub keys: HashKeys,
}

/// The most txns that are applied under one guard, and the most submissions prepared under one.
pub(crate) const BATCH_MAX: usize = 64;

/// The header of a txn.
const HEADER_BYTES: usize = 32;

/// What the digest adds to a txn.
pub(crate) const DIGEST_BYTES: usize = 12;

/// The pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(crate) config: PipelineConfig,
    pub(crate) role: Role,
    pub(crate) tracker: SessionTracker,
    pub(crate) outstanding: Outstanding,
    pub(crate) pending: VecDeque<Pending>,
    /// How many of `pending` the log has been given.
    pub(crate) handed_over: usize,
    /// The round of touch collection under way, and the shards that have not answered.
    pub(crate) round: u64,
    pub(crate) waiting_for: ShardSet,
    pub(crate) round_began_ms: i64,
    /// Sessions that ran out of time and whose end is not proposed yet.
    pub(crate) expiring: VecDeque<SessionId>,
    /// How many createSession txns of clients of this server are on their way.
    pub(crate) connects_under_way: usize,
    /// How many closeSession txns of the server's own are among `pending`.
    pub(crate) expiries_under_way: usize,
    /// Entries on their way to the inboxes, a vector a shard.
    pub(crate) outbox: Vec<Vec<InboxEntry>>,
    pub(crate) triggers: Vec<Trigger>,
    /// What the submissions at hand exceeded.
    exceeded: Vec<QuotaExceeded>,
    /// Parents that had no number for a sequential znode of theirs.
    pub(crate) used_up: Vec<String>,
    pub(crate) verdicts: RefCell<Verdicts>,
    sweep: Sweep,
    /// How many of the outstanding changes the statistics know of.
    pub(crate) changes_told: u64,
    /// What the log can still take, if its disk is full.
    pub(crate) room: Option<LogRoom>,
    /// Writes are refused because it can take no more.
    pub(crate) refuses: bool,
    /// What it can surely take while its next file is made, and the writes that wait for that.
    pub(crate) ahead: Ahead,
    /// The last txn in the tree.
    pub(crate) applied: Zxid,
    /// Since when nobody is served, on the clock that never goes back, in ms.
    pub(crate) looking_ms: i64,
    /// For the leader: what a member of an ensemble asks of it.
    pub(crate) wishes: Vec<Wish>,
    /// What came while nobody was served.
    pub(crate) held: Vec<Submission>,
    /// What was asked for before, and has no answer.
    pub(crate) unanswered: Unanswered,
    /// Bytes of answers to reads in the outbox, where they are held back until somebody is served.
    pub(crate) answer_bytes: usize,
    /// Of a leader: bytes of learners' requests that are not applied.
    pub(crate) forwarded_bytes: usize,
    /// Of a leader: learners' requests that wait for room in the log.
    pub(crate) held_back: HeldBack,
    /// Of a member without a leader that serves reads: the sessions of those who read.
    pub(crate) readers: Option<Readers>,
    #[cfg(feature = "seeded-defects")]
    pub(crate) read_only_defect: Option<crate::read_only::ReadOnlyDefect>,
    /// `leaderServes`: a leader takes clients.
    pub(crate) leader_serves: bool,
    /// A leader that is about to stop takes no requests of learners any more.
    pub(crate) is_leaving: bool,
    /// Of a leader: whom a reconfig changes.
    pub(crate) members: Option<Members>,
    /// Syncs that the leader has answered, and that wait for what was committed before.
    pub(crate) answered_syncs: VecDeque<(Zxid, WriteRequest)>,
    /// Did the txns lead to the digests that they carry?
    pub(crate) digest_check: DigestCheck,
    /// Those that nobody has been told of yet.
    orphans: Option<Orphans>,
}

impl Pipeline {
    /// A pipeline over a recovered tree and its sessions (id, timeout), all fresh from now on.
    pub fn new(
        config: PipelineConfig,
        tree: &Tree,
        sessions: impl IntoIterator<Item = (SessionId, i32)>,
        shards: usize,
        now: Now,
    ) -> Self {
        let hasher = config.keys.hasher();
        let mut tracker = SessionTracker::new(hasher.clone(), config.server, config.tick_ms, now.wall_ms);
        for (id, timeout_ms) in sessions {
            tracker.add(id, timeout_ms, None, now.mono_ms());
        }
        let verifier = QuorumVerifier::standalone(config.server);
        Self {
            role: Role::Standalone(Broadcast::new(config.server, verifier, tree.last_processed())),
            tracker,
            outstanding: Outstanding::new(hasher, tree.digest()),
            pending: VecDeque::new(),
            handed_over: 0,
            round: 0,
            waiting_for: ShardSet::default(),
            round_began_ms: 0,
            expiring: VecDeque::new(),
            connects_under_way: 0,
            expiries_under_way: 0,
            outbox: vec![Vec::new(); shards],
            triggers: Vec::new(),
            exceeded: Vec::new(),
            used_up: Vec::new(),
            verdicts: RefCell::default(),
            sweep: Sweep::new(&config.containers, now),
            changes_told: 0,
            room: None,
            refuses: false,
            ahead: Ahead::default(),
            applied: tree.last_processed(),
            looking_ms: now.mono_ms(),
            wishes: Vec::new(),
            held: Vec::new(),
            unanswered: Unanswered::default(),
            answer_bytes: 0,
            members: None,
            forwarded_bytes: 0,
            held_back: HeldBack::default(),
            is_leaving: false,
            leader_serves: true,
            readers: None,
            #[cfg(feature = "seeded-defects")]
            read_only_defect: None,
            answered_syncs: VecDeque::new(),
            digest_check: DigestCheck::default(),
            orphans: None,
            config,
        }
    }

    /// Proposes the end of sessions that have ephemerals but are not in the session table: a snapshot of Apache's can
    /// leave such (ZOOKEEPER-5010), and so can a log that has lost txns. [`take_orphans`](Self::take_orphans) tells of them.
    pub fn close_orphans(&mut self, now: Now, shared: &Shared) {
        let tree = shared.tree.read();
        let mut orphans = tree.sessions_with_ephemerals();
        orphans.retain(|&id| self.tracker.get(id).is_none());
        self.orphans = Orphans::of(&tree, &orphans);
        self.expiring.extend(orphans);
        self.go_on_expiring(now, &tree);
    }

    /// Ephemerals whose sessions are not known, and which this server has begun to delete. They are told once.
    pub fn take_orphans(&mut self) -> Option<Orphans> {
        self.orphans.take()
    }

    pub(crate) fn changes_queued(&self) -> u64 {
        self.outstanding.queued()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.tracker.len()
    }

    /// How many of them only this server knows.
    pub fn local_session_count(&self) -> usize {
        self.tracker.local_len()
    }

    /// The sessions that txns made, with the timeouts of those: what a snapshot that began now would hold.
    pub fn sessions_of_txns(&self) -> Vec<(SessionId, i32)> {
        self.tracker.for_snapshot()
    }

    /// The sessions whose end is on its way: a client that comes for one is told that it is over. In no order.
    pub fn closing_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.tracker.closing()
    }

    /// When a session ends that is told by [`sessions_after`](Self::sessions_after), on the clock that never goes back.
    pub fn to_mono_ms(&self, expires_ms: i64) -> i64 {
        self.tracker.to_mono_ms(expires_ms)
    }

    /// See [`SessionTracker::after`].
    pub fn sessions_after(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
        into: &mut Vec<(i64, SessionId)>,
    ) -> bool {
        self.tracker.after(after, max, into)
    }

    /// The zxid of the newest proposal.
    pub fn proposed(&self) -> Zxid {
        self.role.proposed().unwrap_or_else(|| self.pending.back().map_or(self.applied, |pending| pending.zxid))
    }

    /// Is every proposal applied, and none to come by itself?
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.expiring.is_empty() && !self.waits_for_file()
    }

    /// Takes in submissions, in order. What they become is for [`take_unlogged`](Self::take_unlogged).
    pub fn process(&mut self, now: Now, shared: &Shared, submissions: &mut Vec<Submission>) -> ShardSet {
        if matches!(self.role, Role::Looking) && self.readers.is_none() {
            self.hold(shared, submissions);
            return self.flush(shared);
        }
        shared.pipeline_stats.prep_queue.record(submissions.len().saturating_sub(1) as u64);
        shared.pipeline_stats.log_queue.record(self.pending.len() as u64);
        let mut woken = ShardSet::default();
        let mut batch = submissions.drain(..).peekable();
        while batch.peek().is_some() {
            let some = batch.by_ref().take(BATCH_MAX);
            woken.extend(self.under_guard(shared, |pipeline, tree| {
                some.for_each(|submission| pipeline.submit(now, shared, tree, submission));
            }));
        }
        drop(batch);
        self.count_proposals(shared);
        self.report_quotas(shared);
        woken
    }

    /// What submissions are taken under, and what they lead to sent on.
    pub(crate) fn under_guard(&mut self, shared: &Shared, act: impl FnOnce(&mut Self, &Tree)) -> ShardSet {
        // Where writes are refused, the reads before them are answered here, with watches, and until they are in its inbox no
        // shard may look: it could take back the interest that they need.
        let (alone, together);
        let tree: &Tree = if self.room.is_some() {
            alone = shared.tree.write();
            &alone
        } else {
            together = shared.tree.read();
            &together
        };
        act(self, tree);
        // Under the guard.
        self.flush(shared)
    }

    pub(crate) fn report_quotas(&mut self, shared: &Shared) {
        if !self.exceeded.is_empty() || !self.used_up.is_empty() {
            let mut reports = shared.quota_reports.lock();
            self.exceeded.drain(..).for_each(|exceeded| reports.add(exceeded));
            self.used_up.drain(..).for_each(|parent| reports.add_used_up(parent));
        }
    }

    fn submit(&mut self, now: Now, shared: &Shared, tree: &Tree, submission: Submission) {
        if self.readers.is_some() {
            return self.submit_read_only(now, shared, tree, submission);
        }
        if let Some(submission) = self.keep_waiting(shared, submission) {
            self.submit_now(now, shared, tree, submission);
        }
    }

    pub(crate) fn submit_now(&mut self, now: Now, shared: &Shared, tree: &Tree, submission: Submission) {
        match submission {
            Submission::Connect { conn, .. } | Submission::Renew { conn, .. } if self.only_leads() => {
                self.send(conn, InboxEntry::Close { conn, why: ONLY_LEADS });
            }
            Submission::Connect { conn, timeout_ms, received_us, .. } => {
                if !self.has_room_for_session() {
                    shared.pipeline_stats.refused.add(1);
                    self.send(conn, InboxEntry::Close { conn, why: "the log has no room for a new session" });
                } else if self.is_one_session_too_many() {
                    shared.pipeline_stats.sessions_rejected.add(1);
                    self.send(conn, InboxEntry::Close { conn, why: "there are too many sessions" });
                } else {
                    self.connect(now, conn, timeout_ms, received_us);
                }
            }
            Submission::Renew { conn, session, timeout_ms, .. } => {
                self.renew(now, shared, tree, conn, session, timeout_ms);
            }
            Submission::Write(write) => self.submit_write(now, shared, tree, write),
            Submission::Gone { conn, session } => self.on_gone(shared, conn, session),
            Submission::Slept { from_ms, to_ms } => self.tracker.slept(from_ms, to_ms),
            Submission::Touches { shard, round, heard } => self.on_touches(now, shared, tree, shard, round, &heard),
        }
    }

    fn submit_write(&mut self, now: Now, shared: &Shared, tree: &Tree, write: WriteRequest) {
        let Some(write) = self.make_sure(write) else { return };
        if write.op == OpCode::Sync {
            return self.submit_sync(shared, write);
        }
        if write.op == OpCode::CloseSession
            && self.tracker.local_len() > 0
            && self.tracker.get(write.session).is_some_and(|s| s.scope == Scope::Local && !s.closing)
        {
            self.close_local(shared, tree, write);
            return;
        }
        let (conn, session, op) = (write.conn, write.session, write.op);
        // A closeSession counts although its connection is gone: the client wants the end. Not if the client is elsewhere by now.
        let may_close = op == OpCode::CloseSession && !self.tracker.is_with_learner(session);
        let may = |s: &Session| !s.closing && (s.owner == Some(conn) || may_close && s.owner.is_none() && !s.strayed);
        if !self.tracker.get(session).is_some_and(may) {
            // Expired, closing, or moved: no reply; the client learns of it when it connects again.
            shared.end_request(write.body.len());
            self.send(conn, InboxEntry::Close { conn, why: "its session is over or has moved" });
            return;
        }
        if matches!(self.role, Role::Learning(_)) {
            return self.forward_write(now, write);
        }
        if !self.may_propose(shared, conn, write.body.len()) {
            return;
        }
        let has_room = match op {
            OpCode::CloseSession => self.has_room_for_session(),
            _ => self.takes_write(write.body.len()),
        };
        if !has_room {
            self.refuse(shared, tree, write);
            return;
        }
        let WriteRequest { conn, session, xid, op, body, identities, received_us, reads_before, .. } = write;
        let origin = Origin::Write { conn, xid, op };
        if op == OpCode::CloseSession {
            self.propose_close(now, tree, session, origin, xid, received_us, reads_before);
            if let Some(pending) = self.pending.back_mut() {
                pending.bytes = body.len();
            }
            return;
        }
        let is_local = self.upgrade_if_needed(now, session, op, &body);
        let entry = self.begin_entry(session, xid, now);
        let bytes = body.len();
        self.prepare(
            now,
            tree,
            entry,
            op,
            &body,
            origin,
            session,
            is_local,
            &identities,
            received_us,
            reads_before,
            bytes,
        );
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a write")]
    pub(crate) fn prepare(
        &mut self,
        now: Now,
        tree: &Tree,
        mut entry: (Zxid, Vec<u8>),
        op: OpCode,
        body: &Bytes,
        origin: Origin,
        session: SessionId,
        is_local: bool,
        identities: &Identities,
        received_us: u64,
        reads_before: Vec<ReadRequest>,
        bytes: usize,
    ) {
        let body_start = entry.1.len();
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
            is_local,
            identities,
            verdicts: self.verdicts.get_mut(),
            reconfig_enabled: self.config.reconfig_enabled,
            members: self.members.as_mut(),
            exceeded: self.config.enforce_quota.then_some(&mut self.exceeded),
            used_up: &mut self.used_up,
        };
        prep.outstanding.attempt();
        let mut done = prep.write(op, body, &mut entry.1);
        if done.is_ok() && entry.1.len() + DIGEST_BYTES > self.config.length_max {
            // Longer than a log record may be: neither this server nor Apache's could read it again. A list of `auth`
            // entries grows with the identities that they stand for.
            done = Err(ErrorCode::QUOTA_EXCEEDED);
        }
        self.outstanding.end_attempt(done.is_err());
        let op = match done {
            Ok(op) => op,
            Err(err) => {
                entry.1.truncate(body_start);
                ErrorTxn { err }.write(&mut entry.1);
                OpCode::Error
            }
        };
        self.propose(now, entry, op, origin, session, received_us, reads_before, bytes);
    }

    /// A zxid, and an entry that holds its header; the type in it is set when it is proposed.
    pub(crate) fn begin_entry(&mut self, session: SessionId, cxid: Xid, now: Now) -> (Zxid, Vec<u8>) {
        let zxid = self.role.propose();
        let mut entry = Vec::with_capacity(256);
        TxnHeader { session, cxid, zxid, time_ms: now.wall_ms, op: OpCode::Error }.write(&mut entry);
        (zxid, entry)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a pending proposal")]
    pub(crate) fn propose(
        &mut self,
        now: Now,
        (zxid, mut entry): (Zxid, Vec<u8>),
        op: OpCode,
        origin: Origin,
        session: SessionId,
        received_us: u64,
        reads_before: Vec<ReadRequest>,
        bytes: usize,
    ) {
        entry[28..32].copy_from_slice(&op.code().to_be_bytes());
        // Behind a list that is not there, Apache takes the digest for one, unless it is told that there are no lists.
        let is_bare = op == OpCode::CloseSession && entry.len() == HEADER_BYTES && self.config.close_session_paths;
        if self.config.digests && op != OpCode::Error && !is_bare {
            TxnDigest { version: DIGEST_VERSION, digest: self.outstanding.digest().0 }.write(&mut entry);
        }
        let proposed_us = now.mono_us;
        self.takes_room(entry.len());
        let entry = Entry::Own(entry);
        self.pending.push_back(Pending { zxid, entry, origin, reads_before, session, bytes, received_us, proposed_us });
    }

    /// What the log has not been given yet, in zxid order.
    pub fn take_unlogged(&mut self, mut append: impl FnMut(Zxid, &[u8])) {
        for pending in self.pending.iter().skip(self.handed_over).filter(|pending| !pending.entry.is_empty()) {
            append(pending.zxid, &pending.entry);
        }
        self.handed_over = self.pending.len();
    }

    pub(crate) fn send(&mut self, conn: ConnId, entry: InboxEntry) {
        self.outbox[conn.shard as usize].push(entry);
    }

    pub(crate) fn flush(&mut self, shared: &Shared) -> ShardSet {
        let mut woken = ShardSet::default();
        let holds_events = !shared.is_serving();
        if !holds_events {
            self.answer_bytes = 0;
        }
        for (shard, entries) in self.outbox.iter_mut().enumerate() {
            if holds_events {
                // What is applied before the epoch is established may yet be undone: nobody hears of it.
                let (held, others) = entries.drain(..).partition(shows_state);
                let mut others: Vec<InboxEntry> = others;
                *entries = held;
                if !others.is_empty() {
                    shared.inboxes[shard].append(&mut others);
                    woken.insert(shard);
                }
                continue;
            }
            if !entries.is_empty() {
                shared.inboxes[shard].append(entries);
                woken.insert(shard);
            }
        }
        woken
    }

    /// When [`tick`](Self::tick) has something to do, on the clock that never goes back, in ms.
    pub fn next_timeout_ms(&self) -> Option<i64> {
        if self.waiting_for != ShardSet::default() {
            return None;
        }
        let expiry_ms = self.tracker.next_expiry_ms();
        match &self.role {
            Role::Looking => expiry_ms.filter(|_| self.readers.is_some()),
            Role::Learning(learning) => Some(expiry_ms.map_or(learning.collect_ms, |at| at.min(learning.collect_ms))),
            Role::Standalone(_) | Role::Leading(_) => expiry_ms,
        }
    }

    /// Is it time to look for containers and TTL znodes whose time is up, or to go on with that?
    pub fn is_sweep_due(&self, now: Now) -> bool {
        let decides = matches!(self.role, Role::Standalone(_) | Role::Leading(_));
        decides && self.sweep.is_due(now) && !self.refuses_writes()
    }

    /// Looks at the next of them, if it [is time](Self::is_sweep_due): some hundreds, with turns for others in between.
    pub fn sweep(&mut self, now: Now, shared: &Shared) {
        if !self.is_sweep_due(now) {
            return;
        }
        let tree = shared.tree.read();
        for path in self.sweep.next(&self.config.containers, &tree, now) {
            // What the txns under way make of it decides: a child, or a set that begins its time anew, saves it. Apache looks
            // at the children alone, and deletes a TTL znode behind the set that it acknowledges.
            let Some(record) = self.outstanding.get(&tree, &path) else { continue };
            let (owner, children) = (tree.owner_rules().decode(record.stat.ephemeral_owner), record.children);
            let is_over =
                sweep::is_over(&self.config.containers, owner, &record.stat, children.max(0) as u32, now.wall_ms);
            if !is_over || !self.role.has_zxids(1) {
                continue;
            }
            let body = Bytes::from(DeleteContainerRequest { path: Some(path.as_bytes()) }.to_vec());
            let entry = self.begin_entry(SessionId(0), Xid(0), now);
            let origin = Origin::Server;
            let identities = Identities::none();
            self.prepare(
                now,
                &tree,
                entry,
                OpCode::DeleteContainer,
                &body,
                origin,
                SessionId(0),
                false,
                &identities,
                now.mono_us,
                Vec::new(),
                0,
            );
        }
    }

    pub(crate) fn hash_state(&self, hasher: &mut impl Hasher) {
        self.tracker.hash_state(hasher);
        self.outstanding.hash_state(hasher);
        hash_text(&(&self.role, &self.pending, self.handed_over, &self.outbox), hasher);
        hash_text(&(self.round, self.waiting_for, self.round_began_ms, &self.sweep), hasher);
        hash_text(&(&self.expiring, self.connects_under_way, self.expiries_under_way, self.room, self.refuses), hasher);
        hash_text(&self.ahead, hasher);
        hash_text(&self.unanswered, hasher);
        hash_text(&(&self.wishes, &self.held, &self.answered_syncs, &self.readers, &self.held_back), hasher);
    }

    /// Begins a snapshot: a cut at what is applied now, with the sessions of that moment.
    pub fn begin_cut(&self, shared: &Shared, image_bytes_max: usize) -> CutHeader {
        // The pipeline is held, so nothing is applied between the two.
        let sessions = self.sessions_of_txns();
        shared.tree.write().begin_cut(sessions, image_bytes_max)
    }
}

/// Does it show what was applied?
fn shows_state(entry: &InboxEntry) -> bool {
    matches!(entry, InboxEntry::Event { .. } | InboxEntry::Reply { .. } | InboxEntry::ReadReply { .. })
}

/// A body that is kept beyond its frame.
pub(crate) fn keep_body(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}
