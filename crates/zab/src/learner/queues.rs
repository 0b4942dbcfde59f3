//! How full a learner's queues are.

use super::Learner;
use crate::queues::{Queue, Visit};

impl Learner {
    /// Shows them all, and those to its observers.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        let (what, max) = ("bytes that a learner holds back during its sync", self.options.sync_queue_bytes_max);
        visit(Queue { what, length: self.held_bytes, max });
        if let Some(master) = self.observers.master() {
            master.each_queue(visit);
            let (syncs, questions) = self.observers.waiting();
            visit(Queue { what: "syncs of a follower's observers", length: syncs, max: self.options.syncs_max });
            let what = "questions of a follower's observers about sessions";
            visit(Queue { what, length: questions, max: self.options.syncs_max });
        }
    }
}
