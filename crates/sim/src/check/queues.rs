//! Each queue keeps its bound: what others do, or don't do, costs no more memory than was said.

use zab::Queue;

use super::Truth;

impl Truth {
    /// A server's queue, behind an event.
    pub(crate) fn on_queue(&mut self, server: usize, queue: Queue) {
        if let Some(what) = too_long(server, queue) {
            self.wrong("bounded queues", what);
        }
    }
}

/// What is wrong with it.
pub(crate) fn too_long(server: usize, queue: Queue) -> Option<String> {
    let Queue { what, length, max } = queue;
    (length > max).then(|| format!("server {}: {what}: {length}, and {max} may be", server + 1))
}
