//! Connections that have not said who they are yet.
//!
//! A server says it in its first bytes, so those that wait for long are no servers. There are few places; when all are
//! taken, the oldest goes, of the address that has too many first: a flood pushes itself out, and a server that comes
//! meanwhile has as much time as the flood needs to fill all places once.

use std::collections::VecDeque;
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// Places for connections on each port.
pub(super) const WAITING_MAX: usize = 64;
/// Places of one address.
pub(super) const WAITING_PER_ADDRESS_MAX: usize = 16;

/// The connections that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(IpAddr, AbortHandle)>);

impl Waiting {
    /// One more.
    pub(super) fn add(&mut self, from: IpAddr, task: AbortHandle) {
        self.0.retain(|(_, task)| !task.is_finished());
        let from_there = self.0.iter().filter(|(ip, _)| *ip == from).count();
        let oldest = if from_there >= WAITING_PER_ADDRESS_MAX {
            self.0.iter().position(|(ip, _)| *ip == from)
        } else {
            (self.0.len() >= WAITING_MAX).then_some(0)
        };
        if let Some((_, task)) = oldest.and_then(|at| self.0.remove(at)) {
            task.abort();
        }
        self.0.push_back((from, task));
    }
}
