//! What every log was given: which txns there are, which one is before each, and where each server's log ends. The checkers of
//! logs ask here.
//!
//! A log is looked at where it goes to the disk: the records are read out of the effects of its batches.

use storage::disk::Effect;
use storage::log::record::{HEADER_LENGTH, PREFIX_LENGTH, zxid_of};
use wire::Zxid;
use wire::jute::Field;
use wire::txn::{Txn, TxnEntry};

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
        self.check_log_order(server, before, zxid);
        self.check_same_before(server, before, zxid);
        if self.txns.get(&zxid).is_none_or(|it| it[..] != *blob) {
            if let Ok(entry) = TxnEntry::from_slice(blob)
                && matches!(entry.txn, Txn::CloseSession(_))
            {
                self.closing.insert(entry.header.session);
            }
            self.check_one_txn(zxid, blob);
        }
    }

    /// All that is in its log up to there is durable.
    pub(in crate::whole) fn on_durable(&mut self, server: usize, zxid: Zxid) {
        self.durable[server] = zxid;
    }

    /// The txn before this one, in every log.
    pub(super) fn before(&self, zxid: Zxid) -> Zxid {
        self.before.get(&zxid).copied().unwrap_or(Zxid::ZERO)
    }

    /// Does the history that ends with `end` have this txn?
    pub(super) fn has(&self, end: Zxid, zxid: Zxid) -> bool {
        let mut at = end;
        while at > zxid {
            // What is committed is one history.
            if self.is_committed(at) && self.is_committed(zxid) {
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
