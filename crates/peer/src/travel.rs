//! Reads that travel: they wait behind a write of their connection, another write comes, and they go with it through the
//! pipeline, to be answered between the two.
//!
//! Their answers are made whether the client reads or not, so they are weighed before: those that go with one write, and all
//! of a connection that are under way, and of all connections of the shard with what those have still to read. An answer is as long as what the tree holds when it is made, which may be more than it
//! holds now: what the writes ahead of it in its own connection bring counts, too. What others bring can't be known; for that
//! there is the bound of [`Pipeline::answer_reads`], and the one of a connection that does not read.

use std::collections::VecDeque;

use tree::{NodeRef, Tree};
use wire::request::{PathRequest, ReadRequest as ReadBody};
use wire::{OpCode, Reader, SessionId};

use crate::connection::{Connection, Waiting};
use crate::inbox::{ConnId, InboxEntry, ReadRequest};
use crate::pipeline::Pipeline;
use crate::shared::Shared;
use crate::watch_bound::sets_watch;

/// The most reads that travel with a write, and the most bytes that their answers are expected to have.
const TRAVELLERS_MAX: usize = 64;
const TRAVELLERS_BYTES_MAX: usize = 256 * 1024;

/// The same of all of a connection that are under way.
pub(crate) const UNDER_WAY_BYTES_MAX: usize = 4 << 20;

/// So little more, as a write with a shorter body may bring, does not matter to an answer.
const LONG_BODY: usize = 4 * 1024;

/// What a child counts for at least: it has to be looked up.
const CHILD_WEIGHT: usize = 32;

/// What the answer to a write counts for, but for the path in it.
const REPLY_WEIGHT: usize = 128;
/// The answer to a multi has at most so many times the bytes of the request: a Stat for a setData of nothing.
const REPLY_TIMES: usize = 4;

/// The answers to the reads of one write can't be longer but by what others wrote meanwhile.
const GROWN_BYTES: usize = TRAVELLERS_BYTES_MAX + TRAVELLERS_MAX * LONG_BODY;

/// Bytes of answers on their way to the shards, beyond which connections are closed whose answers have grown so.
const GROWN_TOTAL_MAX: usize = 64 << 20;

/// A write that is with the pipeline, as far as reads behind it are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brings {
    /// Bytes that it may add to a list of children.
    names: usize,
    /// Bytes of its body.
    body: usize,
    /// What the answers weigh of the reads that travel with it.
    answers: usize,
    /// What its own answer weighs, no less than it may be.
    reply: usize,
}

impl Brings {
    /// What this write does.
    pub(crate) fn of(op: OpCode, body: &[u8]) -> Self {
        let names = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                let path = body.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
                CHILD_WEIGHT + path.min(body.len())
            }
            OpCode::Multi => body.len(),
            _ => 0,
        };
        let reply = match op {
            OpCode::Multi => REPLY_TIMES * body.len(),
            _ => names,
        };
        Self { names, body: body.len(), answers: 0, reply: REPLY_WEIGHT + reply }
    }

    /// What is to be sent for it.
    pub(crate) fn weight(self) -> usize {
        self.answers + self.reply
    }
}

/// What the requests of a connection that are with the pipeline may lead to.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay {
    /// Bytes that its writes may add to a list of children.
    names: usize,
    /// The lengths of their bodies, of those that are long, oldest first: so long may data or an ACL become.
    long: VecDeque<usize>,
    /// What the answers weigh of its reads.
    answers: usize,
    /// And those of the writes themselves.
    replies: usize,
}

impl UnderWay {
    /// About how many bytes the answers to its reads are.
    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    /// About how many bytes are to be sent when all of them are answered.
    pub(crate) fn total(&self) -> usize {
        self.answers + self.replies
    }

    /// A write goes to the pipeline.
    pub(crate) fn begin(&mut self, write: Brings) {
        self.names += write.names;
        self.answers += write.answers;
        self.replies += write.reply;
        if write.body > LONG_BODY {
            self.long.push_back(write.body);
        }
    }

    /// The oldest of them is answered.
    pub(crate) fn end(&mut self, write: Brings) {
        self.names -= write.names;
        self.answers -= write.answers;
        self.replies -= write.reply;
        if write.body > LONG_BODY {
            self.long.pop_front();
            if self.long.is_empty() {
                // Of many connections most have none.
                self.long = VecDeque::new();
            }
        }
    }

    /// About how many bytes the answer of a read has, counted no further than a little beyond `max`, if it may travel: what
    /// looks at the shard's watch tables may not, nor what may be long in a way that nobody can foresee.
    fn weight(&self, tree: &Tree, op: OpCode, body: &[u8], max: usize) -> Option<usize> {
        let answer = match op {
            OpCode::Ping | OpCode::Sync | OpCode::Exists | OpCode::Error => 0,
            OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetAcl => {
                // Of getACL it is the path alone, which comes first.
                let path = match op {
                    OpCode::GetAcl => Reader::new(body).read().ok().and_then(|r: PathRequest<'_>| r.path),
                    _ => Reader::new(body).read().ok().and_then(|r: ReadBody<'_>| r.path),
                };
                let node = path.as_deref().and_then(|path| tree.get(path));
                let longest = || self.long.iter().copied().max().unwrap_or(0);
                match op {
                    OpCode::GetData => node.map_or(0, NodeRef::data_length).max(longest()),
                    OpCode::GetAcl => node.map_or(0, |node| node.acl_encoded().as_bytes().len()).max(longest()),
                    _ => self.names + node.map_or(0, |node| list_weight(node, max)),
                }
            }
            _ => return None,
        };
        Some(100 + body.len() + answer)
    }
}

/// What a list of children weighs: a name may be as long as a frame.
fn list_weight(node: NodeRef<'_>, max: usize) -> usize {
    let least = CHILD_WEIGHT * node.child_count() as usize;
    if least > max {
        return least;
    }
    let mut bytes = 0;
    for child in node.children() {
        bytes += CHILD_WEIGHT.max(4 + child.name().len());
        if bytes > max {
            break;
        }
    }
    bytes
}

pub(crate) struct Blocked;

/// The reads that wait behind the last write, to travel with this one. If they can't, or would be too many, the write has to
/// wait until they are answered. `room` is what may be sent to all connections of the shard, beside what is on its way.
pub(crate) fn take_waiting_reads(
    shared: &Shared,
    conn: &mut Connection,
    may_watch: bool,
    room: usize,
    write: &mut Brings,
) -> Result<Vec<ReadRequest>, Blocked> {
    // They are the last ones: each write takes all that wait with it.
    let first = conn.waiting.iter().rposition(|w| !matches!(w, Waiting::Read(_))).map_or(0, |at| at + 1);
    if first == conn.waiting.len() {
        return Ok(Vec::new());
    }
    let bytes_max = TRAVELLERS_BYTES_MAX.min(UNDER_WAY_BYTES_MAX.saturating_sub(conn.under_way.answers)).min(room);
    let (mut travellers, mut bytes) = (0, 0);
    let tree = shared.tree.read();
    for waiting in conn.waiting.range(first..) {
        let Waiting::Read(read) = waiting else { continue };
        travellers += 1;
        // Whether there is room for its watch is for its shard to say.
        if !may_watch && sets_watch(read.op, &read.body) {
            return Err(Blocked);
        }
        bytes += conn.under_way.weight(&tree, read.op, &read.body, bytes_max - bytes).ok_or(Blocked)?;
        if travellers > TRAVELLERS_MAX || bytes > bytes_max {
            return Err(Blocked);
        }
    }
    drop(tree);
    write.answers = bytes;
    let mut reads = Vec::with_capacity(travellers);
    for waiting in conn.waiting.range_mut(first..) {
        if matches!(waiting, Waiting::Read(_))
            && let Waiting::Read(read) = std::mem::replace(waiting, Waiting::Traveller)
        {
            reads.push(read);
        }
    }
    conn.waiting_bytes = 0;
    Ok(reads)
}

impl Pipeline {
    /// Answers the reads that travelled with a write. While they were under way others may have written what makes them longer
    /// than was expected. If that is much, and there is much on its way to the shards already, the connection is closed.
    pub(crate) fn answer_reads(
        &mut self,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        session: SessionId,
        reads: &[ReadRequest],
    ) {
        let mut bytes = 0;
        for read in reads {
            if bytes > GROWN_BYTES && self.answer_bytes + shared.answer_bytes() > GROWN_TOTAL_MAX {
                self.send(conn, InboxEntry::Close { conn, why: "the answers to its reads have grown too much" });
                return;
            }
            bytes += self.answer_read(shared, tree, conn, session, read);
        }
    }
}
