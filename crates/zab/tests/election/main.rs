//! Elections of whole ensembles: small ones in every order of events, larger ones at random with faults.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it covered")]

mod exhaustive;
mod random;
mod witness;

use ostler_zab::election::Proposal;
use wire::{ServerId, Zxid};

/// What a server has to offer.
fn offer(server: i64, peer_epoch: i64, zxid: i64) -> Proposal {
    Proposal { leader: ServerId(server), zxid: Zxid(zxid), peer_epoch }
}

/// The best of them; who lost its state offers nothing.
fn best(offers: &[Proposal]) -> Proposal {
    let with_state = offers.iter().filter(|it| it.zxid != Zxid(-1));
    *with_state.max_by_key(|it| (it.peer_epoch, it.zxid, it.leader)).unwrap()
}
