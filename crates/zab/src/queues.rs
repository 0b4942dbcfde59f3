//! How full a server's queues are: for whoever looks at whether each keeps its bound. What a full one means is decided where
//! it is filled.

use crate::ensemble::Ensemble;

/// A queue, or what else grows with what others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Which.
    pub what: &'static str,
    /// How much there is in it: entries, or bytes where its bound counts bytes.
    pub length: usize,
    /// The most that there may be behind an input.
    pub max: usize,
}

/// Who is shown them.
pub type Visit<'a> = dyn FnMut(Queue) + 'a;

impl Ensemble {
    /// Shows all queues of this server, once its outputs are drained.
    pub fn each_queue(&self, visit: &mut Visit<'_>) {
        self.connections().each_queue(visit);
        self.election().each_queue(visit);
        self.member().each_queue(visit);
    }
}
