//! A small ensemble of three, and a history of two txns.

use bytes::Bytes;
use ostler_zab::{CommittedLog, Options, Proposal, QuorumVerifier, Start};
use wire::{Epoch, ServerId, Zxid};

#[allow(dead_code, reason = "not every test has three")]
pub fn options(me: i64) -> Options {
    Options::new(ServerId(me), QuorumVerifier::of_participants([1, 2, 3].map(ServerId)))
}

pub fn z(epoch: i32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

pub fn proposal(zxid: Zxid) -> Proposal {
    Proposal { zxid, txn: Bytes::from(zxid.to_string()) }
}

/// A server whose history ends with 1:2.
pub fn start(options: &Options) -> Start {
    let mut log = CommittedLog::new(options.committed_log, z(1, 0));
    log.append(proposal(z(1, 1))).unwrap();
    log.append(proposal(z(1, 2))).unwrap();
    Start { accepted: Epoch(1), current: Epoch(1), is_lost: false, log, role: 1 }
}
