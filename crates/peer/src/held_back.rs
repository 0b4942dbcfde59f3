//! Of a leader whose log has no room: learners' requests that wait for some.
//!
//! A learner's client is answered by a txn and by nothing else: Apache's protocol has no packet in which a leader could refuse
//! a request. So a write that does not fit becomes an error txn, which takes part of the reserve; and when that part is used
//! up, or the reserve where a session is to begin or to end, the request waits here, its client for its answer, and all that
//! comes behind it in its session's name, since a learner expects the answers in the order of the requests; and the learner's syncs, since
//! it expects the answers to those in their order, whosever they are. Nobody else waits, nothing is read less, and no session
//! ends for it.
//!
//! If more wait than may, the oldest are proposed without room. Then a batch waits for the disk, and after `syncLimit` another
//! server leads.

use std::collections::VecDeque;

use wire::SessionId;
use wire::quorum::Forwarded;

/// The most requests that wait.
pub(crate) const HELD_BACK_MAX: usize = 4096;
/// The most bytes of their bodies.
pub(crate) const HELD_BACK_BYTES_MAX: usize = 16 << 20;

/// Them, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldBack {
    requests: VecDeque<(zab::ConnId, Forwarded)>,
    bytes: usize,
}

impl HeldBack {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() > HELD_BACK_MAX || self.bytes > HELD_BACK_BYTES_MAX
    }

    /// How many, and how many bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.requests.len(), self.bytes)
    }

    /// Does anything wait in this session's name?
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.requests.iter().any(|(_, request)| request.session == session)
    }

    /// Or from this learner?
    pub(crate) fn has_of(&self, learner: zab::ConnId) -> bool {
        self.requests.iter().any(|&(it, _)| it == learner)
    }

    pub(crate) fn push(&mut self, learner: zab::ConnId, request: Forwarded) {
        self.bytes += request.body.len();
        self.requests.push_back((learner, request));
    }

    /// Back to where it was.
    pub(crate) fn push_front(&mut self, learner: zab::ConnId, request: Forwarded) {
        self.bytes += request.body.len();
        self.requests.push_front((learner, request));
    }

    pub(crate) fn pop(&mut self) -> Option<(zab::ConnId, Forwarded)> {
        let (learner, request) = self.requests.pop_front()?;
        self.bytes -= request.body.len();
        Some((learner, request))
    }
}
