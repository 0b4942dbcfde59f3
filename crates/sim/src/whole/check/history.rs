//! Logs: two that have one txn have the same history before it; what is committed is on the disks of a quorum and stays there;
//! a disk never forgets what was durable; a server applies only what its own log has.
//!
//! A log is looked at where it goes to the disk: the records are read out of the effects of its batches.

use storage::disk::Effect;
use storage::log::record::{HEADER_LENGTH, PREFIX_LENGTH, zxid_of};
use wire::jute::Field;
use wire::txn::{Txn, TxnEntry};
use wire::{OpCode, ServerId, Zxid};
use zab::QuorumVerifier;
use zab::quorum_verifier::TextRules;

use super::Truth;

impl Truth {
    /// These effects, which write a batch, go to the log's disk.
    pub(in crate::whole) fn on_appended(&mut self, server: usize, effects: &[Effect]) {
        for effect in effects {
            let Effect::WriteAt { offset, bytes, .. } = effect else { continue };
            let mut rest = bytes.get(if *offset == 0 { HEADER_LENGTH as usize } else { 0 }..).unwrap_or_default();
            while let Some(blob) = next_record(&mut rest) {
                self.on_record(server, blob);
            }
        }
    }

    fn on_record(&mut self, server: usize, blob: &[u8]) {
        let Some(zxid) = zxid_of(blob) else { return };
        let before = std::mem::replace(&mut self.appended[server], zxid);
        if before >= zxid {
            self.wrong("log order", format!("server {} logs {zxid} behind {before}", server + 1));
        }
        if let Some(other) = self.before.insert(zxid, before).filter(|it| *it != before) {
            let what = format!("server {} logs {zxid} behind {before}, and another has {other} before it", server + 1);
            self.wrong("agreement", what);
        }
        if self.txns.get(&zxid).is_none_or(|it| it[..] != *blob) {
            if let Ok(entry) = TxnEntry::from_slice(blob)
                && matches!(entry.txn, Txn::CloseSession(_))
            {
                self.closing.insert(entry.header.session);
            }
            let is_other = self.txns.insert(zxid, blob.to_vec().into()).is_some();
            if is_other {
                self.wrong("integrity", format!("two txns have the zxid {zxid}"));
            }
        }
    }

    /// All that is in its log up to there is durable.
    pub(in crate::whole) fn on_durable(&mut self, server: usize, zxid: Zxid) {
        self.durable[server] = zxid;
    }

    /// A start has found a history that ends so.
    pub(in crate::whole) fn on_started(&mut self, server: usize, last: Zxid) {
        let durable = self.durable[server];
        if !self.has(last, durable) {
            let what = format!("server {} finds a history up to {last}, and {durable} was durable", server + 1);
            self.wrong("recovery", what);
        }
        self.ends_with(server, last);
    }

    /// Its history is about to be another one, which ends so.
    pub(in crate::whole) fn on_changing(&mut self, server: usize, to: Zxid) {
        // Until it is done, a crash may leave the one or the other, or the old one cut anywhere between.
        let durable = &mut self.durable[server];
        *durable = to.min(*durable);
        while !self.has(to, self.durable[server]) {
            self.durable[server] = self.before(self.durable[server]);
        }
    }

    /// Its history is another one.
    pub(in crate::whole) fn on_changed(&mut self, server: usize, to: Zxid) {
        self.ends_with(server, to);
    }

    fn ends_with(&mut self, server: usize, last: Zxid) {
        self.appended[server] = last;
        self.durable[server] = last;
        self.check_quorum_has(self.end());
    }

    /// The machine gets an empty disk.
    pub(in crate::whole) fn on_wiped(&mut self, server: usize) {
        self.wiped.insert(server);
        self.damaged.remove(&server);
        self.appended[server] = Zxid::ZERO;
        self.durable[server] = Zxid::ZERO;
    }

    /// A server shows that it has applied all up to `zxid`.
    pub(in crate::whole) fn on_applied(&mut self, server: usize, zxid: Zxid) {
        if !self.has(self.durable[server], zxid) {
            let what = format!(
                "server {} has applied {zxid}, and its log is durable up to {}",
                server + 1,
                self.durable[server]
            );
            self.wrong("applies only what it logged", what);
        }
        let end = self.end();
        if zxid <= end {
            if zxid > Zxid::ZERO && self.committed.binary_search(&zxid).is_err() {
                let what = format!("server {} delivers {zxid}, which the committed history lacks", server + 1);
                self.wrong("agreement", what);
            }
            return;
        }
        self.commit(&format!("server {}", server + 1), zxid);
    }

    /// A client is answered at `zxid`. Whoever leaves its role by a reconfig has applied it, has an answer for its client, and serves
    /// nobody any more before anybody could look at it: then the answer shows it, if a quorum has it.
    pub(super) fn on_shown_to(&mut self, client: usize, zxid: Zxid) {
        if zxid > self.end() && self.is_on_quorum(zxid) {
            self.commit(&format!("an answer to client {client}"), zxid);
        }
    }

    /// The history up to `zxid` is delivered for the first time.
    fn commit(&mut self, who: &str, zxid: Zxid) {
        let end = self.end();
        let (mut new, mut at) = (Vec::new(), zxid);
        while at > end {
            new.push(at);
            at = self.before(at);
        }
        if at != end {
            let what = format!("{who} delivers {zxid}, whose history lacks {end}, which was delivered");
            return self.wrong("agreement", what);
        }
        for zxid in new.into_iter().rev() {
            self.committed.push(zxid);
            let Some(blob) = self.txns.get(&zxid).cloned() else { continue };
            let Ok(entry) = TxnEntry::from_slice(&blob) else {
                return self.wrong("integrity", format!("{zxid} can't be read"));
            };
            if let Err(what) = self.sessions.on_committed(&entry) {
                self.wrong("session order", what);
            }
            if let Err(what) = self.lifetimes.on_committed(&entry, &self.model) {
                self.wrong("lifetimes", what);
            }
            if let Err(what) = self.model.apply(&entry) {
                self.wrong("model", format!("{zxid}: {what}"));
            }
            self.on_reconfig(&entry);
        }
        self.check_quorum_has(self.end());
    }

    /// If this committed txn is a reconfig, a quorum of both configurations has it, and from there on the new one decides alone.
    fn on_reconfig(&mut self, entry: &TxnEntry<'_>) {
        let (OpCode::Reconfig, Txn::SetData(set)) = (entry.header.op, &entry.txn) else { return };
        let zxid = entry.header.zxid;
        let text = String::from_utf8_lossy(set.data.unwrap_or_default());
        self.check_quorum_has(zxid);
        match QuorumVerifier::parse(&text, TextRules::default()) {
            Ok(next) => self.verifier = next,
            Err(error) => self.wrong("model", format!("{zxid} is a reconfig that can't be read: {error}")),
        }
        self.reconfigured += 1;
        self.check_quorum_has(zxid);
    }

    fn is_on_quorum(&self, zxid: Zxid) -> bool {
        self.verifier.contains_quorum(|id: ServerId| {
            let server = (id.0 - 1) as usize;
            self.has(self.durable[server], zxid) || self.wiped.contains(&server)
        })
    }

    fn check_quorum_has(&mut self, zxid: Zxid) {
        if !self.is_on_quorum(zxid) {
            self.wrong("committed is never lost", format!("{zxid} is committed, and no quorum has it on its disks"));
        }
    }

    fn before(&self, zxid: Zxid) -> Zxid {
        self.before.get(&zxid).copied().unwrap_or(Zxid::ZERO)
    }

    /// Does the history that ends with `end` have this txn?
    fn has(&self, end: Zxid, zxid: Zxid) -> bool {
        let mut at = end;
        while at > zxid {
            // What is committed is one history.
            if self.committed.binary_search(&at).is_ok() && self.committed.binary_search(&zxid).is_ok() {
                return true;
            }
            at = self.before(at);
        }
        at == zxid
    }
}

/// The blob of the next record; `None` at the end, which zeros are too.
fn next_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let prefix = rest.get(..PREFIX_LENGTH)?;
    let length = i32::from_be_bytes(*prefix.last_chunk::<4>()?) as usize;
    let blob = rest.get(PREFIX_LENGTH..PREFIX_LENGTH + length).filter(|it| !it.is_empty())?;
    *rest = rest.get(PREFIX_LENGTH + length + 1..)?;
    Some(blob)
}
