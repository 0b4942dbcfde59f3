//! How full the queues of a pipeline and of a shard are, for whoever looks at whether each keeps its bound.

use zab::Queue;

use crate::connection::Waiting;
use crate::held_back::{HELD_BACK_BYTES_MAX, HELD_BACK_MAX};
use crate::pipeline::Pipeline;
use crate::pipeline_leading::FORWARDED_BYTES_MAX;
use crate::pipeline_roles::HELD_MAX;
use crate::pipeline_sessions::EXPIRIES_UNDER_WAY_MAX;
use crate::shard::Shard;
use crate::shard_receive::{WAITING_BYTES_MAX, WAITING_MAX};
use crate::travel::UNDER_WAY_BYTES_MAX;

impl Pipeline {
    /// Shows them, between two inputs.
    pub fn each_queue(&self, visit: &mut dyn FnMut(Queue)) {
        let mut show = |what, length, max| visit(Queue { what, length, max });
        // One request more is taken while there is room.
        let forwarded_max = FORWARDED_BYTES_MAX + self.config.length_max;
        show("bytes of learners' requests that are not applied", self.forwarded_bytes, forwarded_max);
        let (held_back, held_back_bytes) = self.held_back.size();
        show("learners' requests that wait for room", held_back, HELD_BACK_MAX);
        show("bytes of learners' requests that wait for room", held_back_bytes, HELD_BACK_BYTES_MAX);
        show("ConnectRequests that wait for a leader", self.held.len(), HELD_MAX);
        show("closeSession txns under way", self.expiries_under_way, EXPIRIES_UNDER_WAY_MAX);
    }
}

impl Shard {
    /// Shows them, between two inputs.
    pub fn each_queue(&self, visit: &mut dyn FnMut(Queue)) {
        let config = &self.config;
        for conn in self.connections() {
            let mut show = |what, length, max| visit(Queue { what, length, max });
            // One request more is taken while there is room, and one answer more is sent.
            show("requests of a connection without an answer", conn.waiting.len(), WAITING_MAX);
            let waiting_max = WAITING_BYTES_MAX + size_of::<Waiting>() + config.frame_max;
            show("bytes of reads of a connection that wait", conn.waiting_bytes, waiting_max);
            let under_way = conn.under_way.answers();
            show("bytes of answers of a connection that are under way", under_way, UNDER_WAY_BYTES_MAX);
            let out_max = config.out_max + config.length_max;
            show("bytes to be sent to a connection", conn.unsent_behind_parts(), out_max);
        }
    }
}
