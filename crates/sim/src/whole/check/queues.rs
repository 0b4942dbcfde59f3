//! Each queue of a node and of its shards keeps its bound.

use super::Truth;
use crate::check::too_long;
use crate::whole::server::Process;

impl Truth {
    /// A server's queues, behind an event.
    pub(in crate::whole) fn on_queues(&mut self, server: usize, process: &Process) {
        let mut visit = |queue| {
            if let Some(what) = too_long(server, queue) {
                self.wrong("bounded queues", what);
            }
        };
        if let Some(ensemble) = process.node.ensemble() {
            ensemble.each_queue(&mut visit);
        }
        process.node.pipeline.each_queue(&mut visit);
        process.shards.iter().for_each(|shard| shard.each_queue(&mut visit));
    }
}
