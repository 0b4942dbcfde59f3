//! The pipeline's way back: what is committed is applied, told and answered.
//!
//! A batch at a time under one write guard of the tree; events and replies are in the inboxes before that guard is let go.

use std::cell::Cell;

use tree::{Applied, Outcome, Tree, UsageCount};
use wire::txn::{Txn, TxnEntry};
use wire::{ErrorCode, OpCode, Reader, SessionId, Zxid};

use crate::digest_check::Proposer;
use crate::inbox::{ConnId, Granted, InboxEntry, ReadRequest, ReplyBody};
use crate::pending::{Origin, Pending};
use crate::pipeline::{BATCH_MAX, Pipeline};
use crate::pipeline_roles::Role;
use crate::reads::ReadContext;
use crate::shared::{ShardSet, Shared};
use crate::tally;
use crate::time::Now;
use crate::unanswered::UNKNOWN;

impl Pipeline {
    /// Everything up to `zxid` is durable here: commits, applies, answers. Returns the shards to wake.
    pub fn logged(&mut self, now: Now, shared: &Shared, zxid: Zxid) -> ShardSet {
        let Role::Standalone(broadcast) = &mut self.role else { return ShardSet::default() };
        let applicable = broadcast.on_logged(zxid);
        self.apply_up_to(now, shared, applicable)
    }

    pub(crate) fn apply_up_to(&mut self, now: Now, shared: &Shared, applicable: Zxid) -> ShardSet {
        let mut woken = ShardSet::default();
        while self.pending.front().is_some_and(|pending| pending.zxid <= applicable) {
            let mut counted = self.count_ahead(shared);
            let mut tree = shared.tree.write();
            let mut bytes = 0;
            for done in 0..BATCH_MAX {
                if done > 0 && self.counts_next() {
                    break;
                }
                let Some(pending) = self.pending.pop_front_if(|pending| pending.zxid <= applicable) else { break };
                self.handed_over = self.handed_over.saturating_sub(1);
                if pending.entry.is_empty() {
                    self.answer_without_txn(shared, &tree, &pending);
                    continue;
                }
                bytes += pending.entry.len();
                let session = pending.session;
                self.apply_txn(now, shared, &mut tree, pending, counted.take());
                self.answer_those_behind(shared, &tree, session);
                if bytes > BATCH_BYTES {
                    break;
                }
            }
            // Under the guard: what can be read from now on is in the inboxes.
            woken.extend(self.flush(shared));
        }
        if !self.answered_syncs.is_empty() {
            self.answer_syncs(shared, &shared.tree.read());
            woken.extend(self.flush(shared));
        }
        if !self.expiring.is_empty() {
            self.go_on_expiring(now, &shared.tree.read());
            woken.extend(self.flush(shared));
        }
        shared.pipeline_stats.sessions.set(self.tracker.len() as u64);
        woken
    }

    fn apply_txn(
        &mut self,
        now: Now,
        shared: &Shared,
        tree: &mut Tree,
        mut pending: Pending,
        counted: Option<UsageCount>,
    ) {
        match &mut self.role {
            Role::Learning(learning) => learning.find_origin(&mut pending),
            Role::Looking => {
                if let Some(conn) = self.unanswered.find_origin(&mut pending) {
                    self.close_unanswered(shared, pending.session, conn, UNKNOWN);
                }
            }
            Role::Standalone(_) | Role::Leading(_) => {}
        }
        let Pending { zxid, entry, origin, reads_before, session, bytes, received_us, proposed_us } = pending;
        if let Origin::Write { conn, .. } = origin {
            self.answer_reads(shared, tree, conn, session, &reads_before);
        }
        let mut r = Reader::with_limit(&entry, entry.len());
        let parsed: TxnEntry<'_> = match r.read() {
            Ok(parsed) => parsed,
            Err(e) => unreachable!("txn {zxid}, written by prep or read before it was logged, can't be read: {e}"),
        };
        self.triggers.clear();
        let applied = match counted {
            Some(counted) => tree.apply_counted(&parsed, counted, &mut self.triggers),
            None => tree.apply(&parsed, &mut self.triggers),
        };
        let proposer = match self.role {
            Role::Standalone(_) => Proposer::Alone,
            Role::Leading(_) => Proposer::Leader,
            Role::Learning(_) => Proposer::Another,
            Role::Looking => Proposer::Earlier,
        };
        if self.digest_check.applied(proposer, zxid, parsed.digest, tree.digest().0) {
            shared.pipeline_stats.digest_mismatches.add(1);
        }
        self.applied = zxid;
        let gone = self.outstanding.applied(zxid);
        shared.pipeline_stats.changes_removed.add(gone);
        tree.record_digest(self.config.digests);
        self.send_events(zxid);
        tally::applied(&shared.pipeline_stats, now, &parsed, received_us, proposed_us);
        self.connects_under_way -= usize::from(matches!(origin, Origin::Connect { .. }));
        let owner = match &parsed.txn {
            Txn::CreateSession(txn) => {
                let owner = if let Origin::Connect { conn, .. } = origin { Some(conn) } else { None };
                self.tracker.add(session, txn.timeout_ms, owner, now.mono_ms());
                None
            }
            Txn::CloseSession(_) => {
                self.forget_place(session);
                self.expiries_under_way -= usize::from(matches!(origin, Origin::Server));
                self.tracker.remove(session).and_then(|s| s.owner)
            }
            _ => None,
        };
        if matches!(origin, Origin::Elsewhere) {
            self.forwarded_bytes = self.forwarded_bytes.saturating_sub(bytes);
        }
        match origin {
            Origin::Write { conn, xid, op } => {
                shared.end_request(bytes);
                let (err, body) = reply_body(op, applied, &parsed.txn);
                let last = op == OpCode::CloseSession;
                if matches!(self.role, Role::Learning(_)) {
                    if !matches!(parsed.txn, Txn::Error(_)) {
                        self.tracker.is_here(session);
                    } else if last {
                        self.tracker.unset_closing(session);
                    }
                }
                if let Some(other) = owner.filter(|&owner| owner != conn) {
                    self.send(
                        other,
                        InboxEntry::Close { conn: other, why: "its session was closed by another connection" },
                    );
                }
                if err == ErrorCode::SESSION_MOVED {
                    // As Apache does it: the client is elsewhere, and so nothing behind this is done.
                    let why = "its session has moved to another server";
                    if matches!(self.role, Role::Looking) {
                        self.close_unanswered(shared, session, conn, why);
                    } else {
                        self.send(conn, InboxEntry::Close { conn, why });
                    }
                    return;
                }
                self.send(conn, InboxEntry::Reply { conn, xid, op, zxid, err, body, received_us, last });
            }
            Origin::Connect { conn, .. } if !matches!(parsed.txn, Txn::CreateSession(_)) => {
                self.send(conn, InboxEntry::Close { conn, why: "the leader makes no session" });
            }
            Origin::Connect { conn, timeout_ms } => {
                let granted = Granted::Created { zxid, received_us };
                self.send(conn, InboxEntry::Established { conn, session, timeout_ms, granted });
            }
            // A renewal has no txn, nor has a write that was refused.
            Origin::Server | Origin::Elsewhere | Origin::Renew { .. } | Origin::Refused { .. } => {
                if let Some(conn) = owner {
                    self.send(conn, InboxEntry::Close { conn, why: "its session ran out of time" });
                }
            }
        }
    }

    /// What the txn, or whatever has filled `triggers`, is told of.
    pub(crate) fn send_events(&mut self, zxid: Zxid) {
        for trigger in self.triggers.drain(..) {
            for shard in (0..self.outbox.len()).filter(|&shard| trigger.shards.has(shard)) {
                self.outbox[shard].push(InboxEntry::Event {
                    zxid,
                    kind: trigger.kind,
                    path: trigger.path.clone(),
                    acl: trigger.acl.clone(),
                });
            }
        }
    }

    /// Returns how many bytes the answer is.
    pub(crate) fn answer_read(
        &mut self,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        session: SessionId,
        read: &ReadRequest,
    ) -> usize {
        let mut frame = Vec::with_capacity(128);
        let context = ReadContext {
            tree,
            auth: &self.config.auth,
            identities: &read.identities,
            verdicts: &self.verdicts,
            session,
            shard: conn.shard as usize,
            length_max: self.config.length_max,
            reads: &shared.shard_stats[conn.shard as usize].reads,
            // Pages don't travel.
            page_max: 0,
            work: Cell::new(0),
        };
        let watch = context.answer(read.xid, read.op, &read.body, &mut frame);
        let bytes = frame.len();
        self.answer_bytes += bytes;
        self.send(conn, InboxEntry::ReadReply { conn, op: read.op, frame, watch, received_us: read.received_us });
        bytes
    }
}

fn reply_body(op: OpCode, applied: Applied, txn: &Txn<'_>) -> (ErrorCode, ReplyBody) {
    if applied.err != ErrorCode::OK {
        return (applied.err, ReplyBody::None);
    }
    let path: Option<Box<str>> = match txn {
        Txn::Create(txn) => txn.path.as_deref().map(Into::into),
        Txn::CreateTtl(txn) => txn.path.as_deref().map(Into::into),
        Txn::CreateContainer(txn) => txn.path.as_deref().map(Into::into),
        _ => None,
    };
    let body = match (applied.outcome, path) {
        (Outcome::Stat(stat), None) if op == OpCode::Reconfig => match txn {
            Txn::SetData(set) => ReplyBody::Data(set.data.unwrap_or_default().into(), stat),
            _ => ReplyBody::Stat(stat),
        },
        (Outcome::Stat(_), Some(path)) if op == OpCode::Create => ReplyBody::Path(path),
        (Outcome::Stat(stat), Some(path)) => ReplyBody::PathAndStat(path, stat),
        (Outcome::Stat(stat), None) => ReplyBody::Stat(stat),
        (Outcome::Multi(results), _) => ReplyBody::Multi(results),
        (Outcome::None, _) => ReplyBody::None,
    };
    (ErrorCode::OK, body)
}

/// The bytes of txns after which the guard is let go.
const BATCH_BYTES: usize = 128 * 1024;
