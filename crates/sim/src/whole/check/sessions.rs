//! The writes of a session are committed in the order in which they were sent, whichever servers they went through; and of
//! those of one connection, none is left out before one that is committed.

use std::collections::{BTreeMap, BTreeSet};

use wire::txn::{Txn, TxnEntry};
use wire::{SessionId, Xid};

/// What each session sent, and what became of it.
#[derive(Debug, Default)]
pub(in crate::whole) struct Sessions {
    of: BTreeMap<SessionId, Writes>,
    /// A log had no room once. A write is refused then without a txn, and one behind it may be committed before its client is
    /// told of both; whether it is told in order is for another checker.
    pub may_refuse: bool,
}

#[derive(Debug, Default)]
struct Writes {
    /// The number of the connection of each.
    sent: BTreeMap<i32, u32>,
    done: BTreeSet<i32>,
    last: i32,
}

impl Sessions {
    /// A client sends a write.
    pub(in crate::whole) fn on_sent(&mut self, session: SessionId, xid: Xid, connection: u32) {
        self.of.entry(session).or_default().sent.insert(xid.0, connection);
    }

    /// It is told that there is no room for it: it may never be committed.
    pub(super) fn on_refused(&mut self, session: SessionId, xid: Xid) {
        if let Some(writes) = self.of.get_mut(&session) {
            writes.sent.remove(&xid.0);
        }
    }

    /// `Err`: it may not be committed here.
    pub(super) fn on_committed(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        let (session, xid) = (entry.header.session, entry.header.cxid.0);
        let Some(writes) = self.of.get_mut(&session) else { return Ok(()) };
        // A close by the server, or the session's beginning, has no number of a request.
        let Some(&connection) = writes.sent.get(&xid) else {
            let is_of_server = matches!(entry.txn, Txn::CloseSession(_) | Txn::CreateSession(_));
            return if is_of_server { Ok(()) } else { Err(format!("session {session} never sent {xid}")) };
        };
        if !writes.done.insert(xid) {
            return Err(format!("write {xid} of session {session} is committed twice"));
        }
        if matches!(entry.txn, Txn::Error(_)) {
            return Ok(());
        }
        let last = std::mem::replace(&mut writes.last, xid);
        if last > xid {
            return Err(format!("write {xid} of session {session} is committed behind {last}"));
        }
        let mut between = writes.sent.range(last + 1..xid);
        match between.find(|(it, at)| **at == connection && !writes.done.contains(it)) {
            Some((lost, _)) if !self.may_refuse => {
                Err(format!("write {xid} of session {session} is committed, and {lost} before it is not"))
            }
            _ => Ok(()),
        }
    }
}
