//! How full a leader's queues are.

use super::Leader;
use super::broadcast::PINGS_MAX;
use super::handler::Stage;
use crate::queues::{Queue, Visit};

impl Leader {
    /// Shows them all.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        let mut show = |what, length, max| visit(Queue { what, length, max });
        let options = &self.options;
        show("learners of a leader that are in no configuration", self.strangers(), options.strangers_max);
        show("learners that have not said who they are", self.nameless().count(), options.strangers_max);
        show("syncs that wait at a leader", self.syncs.len(), options.syncs_max);
        for handler in self.handlers.values() {
            show("PINGs of a learner without an answer", handler.pings.len(), PINGS_MAX);
            // What is read from the log for the others has a bound of its own, where it is read.
            if matches!(handler.stage, Stage::ExpectAckNewLeader | Stage::AwaitStartup | Stage::Broadcasting) {
                show("bytes to be sent to a learner in sync", handler.queue_bytes, options.learner_queue_bytes_max);
            }
        }
    }
}
