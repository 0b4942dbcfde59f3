//! An ACK implies durable; what is committed is on the disks of a quorum, and is never lost; what is applied is logged here.

use std::collections::BTreeMap;

use ostler_zab::reconfig::configuration_in;
use wire::{ServerId, Zxid};

use super::Truth;
use crate::world::{Disk, Server, end};

impl Truth {
    /// `id` sends an ACK.
    pub fn on_ack(&mut self, id: ServerId, zxid: Zxid, disk: &Disk) {
        let has = if zxid.counter() == 0 {
            let epoch = zxid.epoch();
            let initial = self.initial.get(&epoch).map(Vec::as_slice).unwrap_or_default();
            disk.current == epoch && disk.history().starts_with(initial)
        } else {
            disk.history().iter().any(|it| it.zxid == zxid)
        };
        if !has {
            self.wrong(format!("ack implies durable: {id} acknowledges {zxid}, and has not got it on its disk"));
        }
    }

    /// `id` applied up to `zxid`; its log is durable up to `logged`.
    pub fn on_applied(&mut self, id: ServerId, zxid: Zxid, logged: Zxid) {
        if zxid > logged {
            self.wrong(format!("{id} applies {zxid}, but its log ends at {logged}"));
        }
    }

    /// At every moment.
    pub(super) fn check_quorum_has_committed(&mut self, servers: &BTreeMap<ServerId, Server>) {
        let Some(options) = servers.values().next().map(|it| &it.options) else { return };
        let has = |id: ServerId| {
            self.wiped.contains(&id)
                || servers.get(&id).is_some_and(|it| it.disk.history().starts_with(&self.committed))
        };
        let of_txns = || self.committed.iter().rev().find_map(|it| configuration_in(it, options));
        let verifier = self.verifier.as_ref().and_then(|_| of_txns()).or(self.verifier.clone());
        if !verifier.as_ref().unwrap_or(&options.verifier).contains_quorum(has) {
            let last = end(&self.committed);
            self.wrong(format!("committed is never lost: {last} is committed, and no quorum has it on its disks"));
        }
        if let Some((id, _)) = servers.iter().find(|(_, it)| it.disk.is_broken()) {
            self.wrong(format!("the log of {id} has a gap"));
        }
    }
}
