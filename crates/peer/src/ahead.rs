//! A log whose next file is still being made: the writes that wait until it is there.
//!
//! A thread makes it that gives way to others. Where writes outran it, a batch would go to a place that the disk was never
//! asked for; and if the disk turned out to be full, the batch would wait there, and with it all that came later: nothing
//! answered, nothing refused. So a write for which there may be no room waits *here*, before it has a zxid, until the file is
//! there or is known not to fit, when it is refused ([`room`](crate::room)).
//!
//! All later writes wait behind it, and with them the word that a connection is gone, so that they keep their order. Sessions
//! begin, end by expiry and move meanwhile, from what is left over for them. They are no more than wait for the log in any case: each
//! connection has its bound for requests without an answer, and all together theirs for bytes of requests in flight.

use std::collections::VecDeque;

use tree::Tree;

use crate::inbox::Submission;
use crate::pipeline::{BATCH_MAX, Pipeline};
use crate::pipeline_roles::Role;
use crate::room::RECORD_MORE;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;

/// What the log can surely take, while it is not known to be all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogAhead {
    /// Bytes of records, without what is left over for sessions.
    pub bytes: u64,
    /// There is nothing to wait for: the next write is taken whatever its length is.
    pub takes_next: bool,
}

/// What waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ahead {
    /// See [`Pipeline::set_ahead`].
    known: Option<LogAhead>,
    pub(crate) waiting: VecDeque<Submission>,
}

impl Pipeline {
    /// What the log can take, while its next file is on its way; `None` where no such file is made, or where
    /// [`set_room`](Self::set_room) says all. Tell it before each [`process`](Self::process), and call
    /// [`take_waiting`](Self::take_waiting).
    pub fn set_ahead(&mut self, known: Option<LogAhead>) {
        self.ahead.known = known;
    }

    /// Do writes wait for the next file of the log?
    pub fn waits_for_file(&self) -> bool {
        !self.ahead.waiting.is_empty()
    }

    /// Must a write with a body of so many bytes wait?
    pub(crate) fn must_wait(&self, body: usize) -> bool {
        let proposes = matches!(self.role, Role::Standalone(_) | Role::Leading(_));
        let fits = |known: LogAhead| known.takes_next || known.bytes >= body as u64 + RECORD_MORE;
        proposes && !self.ahead.known.is_none_or(fits)
    }

    /// A record of so many bytes goes to the log.
    pub(crate) fn takes_ahead(&mut self, record: u64) {
        if let Some(known) = &mut self.ahead.known {
            known.bytes = known.bytes.saturating_sub(record);
            known.takes_next = false;
        }
    }

    /// Gives it back if it need not wait.
    pub(crate) fn keep_waiting(&mut self, shared: &Shared, submission: Submission) -> Option<Submission> {
        let waits = match &submission {
            Submission::Write(write) => !self.ahead.waiting.is_empty() || self.must_wait(write.body.len()),
            Submission::Gone { .. } => !self.ahead.waiting.is_empty(),
            _ => false,
        };
        if !waits {
            return Some(submission);
        }
        if self.ahead.waiting.is_empty() {
            shared.pipeline_stats.waits_for_file.add(1);
        }
        self.ahead.waiting.push_back(submission);
        None
    }

    /// Those go on that need not wait any longer.
    pub fn take_waiting(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let mut woken = ShardSet::default();
        if self.ahead.waiting.is_empty() {
            return woken;
        }
        while self.may_go_on() {
            woken.extend(self.under_guard(shared, |pipeline, tree| pipeline.go_on_waiting(now, shared, tree)));
        }
        self.count_proposals(shared);
        self.report_quotas(shared);
        woken
    }

    fn may_go_on(&self) -> bool {
        match self.ahead.waiting.front() {
            Some(Submission::Write(write)) => !self.must_wait(write.body.len()),
            Some(_) => true,
            None => false,
        }
    }

    fn go_on_waiting(&mut self, now: Now, shared: &Shared, tree: &Tree) {
        for _ in 0..BATCH_MAX {
            if !self.may_go_on() {
                return;
            }
            if let Some(submission) = self.ahead.waiting.pop_front() {
                self.submit_now(now, shared, tree, submission);
            }
        }
    }
}
