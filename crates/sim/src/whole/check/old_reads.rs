//! What a server without a leader shows may be old, and may never be committed. But it is one state, that of a history which its
//! own log has, and no connection goes back.

use std::collections::{BTreeMap, BTreeSet};

use wire::Zxid;
use wire::jute::Field;
use wire::txn::TxnEntry;

use super::reads::wrong_in;
use super::{Model, Read, Truth};

/// What servers without a leader may show.
#[derive(Debug, Default)]
pub(in crate::whole) struct OldReads {
    /// What each process had applied whenever it began to serve alone.
    shown: BTreeMap<(usize, u32), BTreeSet<Zxid>>,
    /// What there was before the world begins.
    pub(super) begun: Model,
    /// What a history comes to that is not committed: the one that was asked for last.
    branch: Option<(Zxid, Model)>,
}

impl Truth {
    /// A server begins to serve alone, with what it has applied.
    pub(in crate::whole) fn on_alone(&mut self, server: usize, process: u32, applied: Zxid) {
        let durable = self.durable[server];
        if !self.has(durable, applied) {
            let what = format!("server {} shows {applied} without a leader, and has logged {durable}", server + 1);
            self.wrong("old reads", what);
        }
        self.old_reads.shown.entry((server, process)).or_default().insert(applied);
    }

    /// Such a process answers a client, to which it showed `seen` on this connection.
    pub(in crate::whole) fn on_old_answer(&mut self, client: usize, by: (usize, u32), seen: Zxid, zxid: Zxid) {
        let server = by.0 + 1;
        if self.old_reads.shown.get(&by).is_none_or(|it| !it.contains(&zxid)) {
            let what = format!("client {client} is shown {zxid} by server {server}, which never served that alone");
            self.wrong("old reads", what);
        }
        if zxid < seen {
            let what = format!("client {client} was shown {seen} by server {server} alone, and is shown {zxid} now");
            self.wrong("old reads", what);
        }
    }

    /// What it shows.
    pub(in crate::whole) fn on_old_read(&mut self, client: usize, zxid: Zxid, read: &Read<'_>) {
        let what = if zxid == Zxid::ZERO || self.is_committed(zxid) {
            wrong_in(&self.model, client, zxid, read)
        } else {
            match self.branch(zxid) {
                Ok(model) => wrong_in(model, client, zxid, read),
                Err(what) => Some(what),
            }
        };
        if let Some(what) = what {
            self.wrong("old reads", what);
        }
    }

    /// What the history that ends there comes to.
    fn branch(&mut self, zxid: Zxid) -> Result<&Model, String> {
        if self.old_reads.branch.as_ref().is_none_or(|(it, _)| *it != zxid) {
            let mut history = Vec::new();
            let mut at = zxid;
            while let Some(txn) = self.txns.get(&at) {
                history.push(txn);
                at = self.before(at);
            }
            let mut model = self.old_reads.begun.clone();
            for txn in history.into_iter().rev() {
                let entry = TxnEntry::from_slice(txn).map_err(|error| format!("a txn can't be read: {error}"))?;
                model.apply(&entry).map_err(|what| format!("{}: {what}", entry.header.zxid))?;
            }
            self.old_reads.branch = Some((zxid, model));
        }
        self.old_reads.branch.as_ref().map(|it| &it.1).ok_or_else(String::new)
    }
}
