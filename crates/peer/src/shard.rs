//! A shard: one IO thread's connections, their order of replies, and their watches.
//!
//! What it does with what they send is in `shard_receive`, with what the pipeline answers in `shard_inbox`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

use auth::{AuthConfig, Verdicts};
use tree::watch::WatchTable;

use crate::connection::{Connection, Phase, Waiting};
use crate::inbox::{ConnId, Submission};
use crate::long_read::StepLimits;
use crate::shard_long::WishedWatch;
use crate::shared::Shared;
use crate::state::hash_text;
use crate::telling::Telling;
use crate::time::Now;
use crate::unprocessed::Room;

/// What a shard is told at its start.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Its number.
    pub shard: u16,
    /// The longest frame: `jute.maxbuffer`.
    pub frame_max: usize,
    /// The longest string or buffer in a request: `jute.maxbuffer` and its extra size.
    pub length_max: usize,
    /// `minSessionTimeout`.
    pub timeout_min_ms: i32,
    /// `maxSessionTimeout`.
    pub timeout_max_ms: i32,
    /// Who may do what.
    pub auth: Arc<AuthConfig>,
    /// Requests of the whole server in the pipeline beyond which a connection with one of its own there is not read
    /// (`globalOutstandingLimit`).
    pub in_flight_max: usize,
    /// Bytes of requests in the pipeline beyond which writes wait, and a connection with a request there is not read.
    pub in_flight_bytes_max: usize,
    /// Bytes to be sent beyond which a connection is not read.
    pub out_pause: usize,
    /// Bytes to be sent beyond which a connection, which can only be one that does not read, is closed.
    pub out_max: usize,
    /// Bytes to be sent to all connections of this shard together beyond which those that read least are closed; from half
    /// of it on, who has something to read is not read.
    pub out_total_max: usize,
    /// Bytes of events and answers after which a shard writes what it has, before it tells more.
    pub tell_step: usize,
    /// Bytes received from all connections of all shards that are not processed, beyond which those that hold some wait, or
    /// are closed if they don't go on.
    pub unprocessed_max: usize,
    /// Bytes of the watches of all shards beyond which more are refused; setWatches may take as much again.
    pub watch_bytes_max: usize,
    /// Bytes of large requests in the pipeline beyond which who sends one more is closed (`largeRequestMaxBytes`).
    pub large_bytes_max: usize,
    /// The request throttle.
    pub throttle: RequestThrottle,
    /// How long reads are cut into steps.
    pub steps: StepLimits,
    /// Keys of the hash maps.
    pub keys: tree::HashKeys,
}

/// The request throttle: the keys `request_throttle_…`, `request_stale_…` and `throttled_op_wait_time`.
///
/// Source: `RequestThrottler`, which stalls one thread for all. Here each connection waits for itself, its requests in
/// their order, and goes on as soon as there is room; pings are answered meanwhile if nothing stands before them, and no
/// session ends because of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestThrottle {
    /// Requests in the pipeline from which on others wait; `None`: none waits.
    pub requests_max: Option<usize>,
    /// A request that waited longer, in ms, is answered with THROTTLEDOP; `None`: never.
    pub op_wait_ms: Option<i64>,
    /// A request that waited longer than the timeout of its session is stale.
    pub stale_by_latency: bool,
    /// A stale request is dropped, with its connection.
    pub drop_stale: bool,
}

/// The paths that are looked at in one piece of the work that nobody waits for: some tens of µs.
pub(crate) const CHORE_PATHS: usize = 256;
/// And their bytes: each name of a path is looked for in the tree.
pub(crate) const CHORE_BYTES: usize = 16 * 1024;

/// A shard.
#[derive(Debug, Clone)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Places of connections that have gone, whose watches are still being removed. They hear of nothing.
    leaving: Vec<u32>,
    pub(crate) watches: WatchTable,
    pub(crate) verdicts: RefCell<Verdicts>,
    submissions: Vec<Submission>,
    /// Connections with something to send, or to close.
    pub(crate) dirty: Vec<u32>,
    /// Connections that were told of an event and of nothing else since: they may be thousands, and come after the others.
    pub(crate) told: VecDeque<u32>,
    /// Connections whose setWatches is being answered in steps, in turn.
    pub(crate) setting: VecDeque<ConnId>,
    /// Connections whose waiting reads have their turn, under the next guard for which the inbox is drained.
    pub(crate) to_go_on: Vec<ConnId>,
    /// Connections that have whole frames but had to wait.
    pub(crate) paused: Vec<u32>,
    /// Connections that may be read again.
    pub(crate) resumed: Vec<ConnId>,
    /// Connections with a read that is made in steps; those in front have their turns, the others wait for one.
    pub(crate) long: VecDeque<ConnId>,
    /// The watches that pages under way may set.
    pub(crate) wished: Vec<WishedWatch>,
    /// What was done under the guard that is held now.
    pub(crate) work: usize,
    /// What was done before that for the connection that has its turn.
    pub(crate) turn_work: usize,
    /// The last drain ended because of its work.
    pub(crate) is_tired: bool,
    /// What the answers weigh to all requests that are with the pipeline.
    pub(crate) under_way: usize,
    /// Bytes to be sent to all connections, as of the last [`wrote`](Self::wrote) of each.
    pub(crate) out_total: usize,
    /// Who waits for room for what it sends.
    pub(crate) room: Room,
    /// Counts looks at who reads what it is sent.
    pub(crate) round: u32,
    /// What it has still to tell.
    pub(crate) telling: Telling,
    /// Paths whose interest could not be taken back yet.
    pub(crate) unwatched: Vec<(Box<str>, tree::watch::Modes)>,
    /// When sessions were heard of last whose connections have gone since touches were collected.
    pub(crate) departed: Vec<(wire::SessionId, i64)>,
    /// The round of the pipeline that asks what was heard, and has no answer yet.
    pub(crate) asked: Option<u64>,
}

impl Shard {
    /// A shard without connections.
    pub fn new(config: ShardConfig) -> Self {
        let watches = WatchTable::new(config.keys);
        Self {
            config,
            connections: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            watches,
            verdicts: RefCell::default(),
            submissions: Vec::new(),
            dirty: Vec::new(),
            told: VecDeque::new(),
            setting: VecDeque::new(),
            to_go_on: Vec::new(),
            paused: Vec::new(),
            resumed: Vec::new(),
            long: VecDeque::new(),
            wished: Vec::new(),
            work: 0,
            turn_work: 0,
            is_tired: false,
            under_way: 0,
            out_total: 0,
            room: Room::default(),
            round: 0,
            telling: Telling::default(),
            unwatched: Vec::new(),
            departed: Vec::new(),
            asked: None,
        }
    }

    /// A connection was accepted.
    pub fn open(&mut self, now: Now, peer: SocketAddr) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.generations.push(0);
            self.connections.len() as u32 - 1
        });
        let id = ConnId { shard: self.config.shard, slot, generation: self.generations[slot as usize] };
        self.connections[slot as usize] = Some(Box::new(Connection::new(id, peer, now)));
        id
    }

    /// A connection is gone: closed by the other end, or by the driver because [`wants_close`](Self::wants_close).
    pub fn closed(&mut self, shared: &Shared, conn: ConnId) {
        let Some(found) = self.get(conn) else { return };
        let (session, heard, heard_ms) = (found.session, found.heard, found.heard_ms);
        if heard && session.0 != 0 {
            self.departed.push((session, heard_ms));
        }
        if shared.is_member && session.0 != 0 {
            self.submit(Submission::Gone { conn, session });
        }
        self.end_long(shared, conn);
        self.out_total -= self.get(conn).map_or(0, |found| found.counted);
        self.under_way -= self.get(conn).map_or(0, |found| found.under_way.total());
        self.uncount_held(shared, conn);
        self.connections[conn.slot as usize] = None;
        self.generations[conn.slot as usize] = conn.generation.wrapping_add(1);
        self.leaving.push(conn.slot);
        self.tidy(shared);
    }

    /// A piece of the work that is done in pieces, so that it holds up nobody: long setWatches; what connections left behind
    /// that had many watches; the interest in paths that nobody watches any more. Call it while
    /// [`has_chores`](Self::has_chores), with turns for others in between.
    pub fn chore(&mut self, now: Now, shared: &Shared) {
        self.step_set_watches(now, shared);
        self.tidy(shared);
    }

    fn tidy(&mut self, shared: &Shared) {
        if let Some(&slot) = self.leaving.last() {
            let unwatched = &mut self.unwatched;
            if self.watches.remove_some(slot, CHORE_PATHS, |path, modes| unwatched.push((path.into(), modes))) {
                self.leaving.pop();
                self.free.push(slot);
            }
            self.count_watches(shared);
        }
        if !self.unwatched.is_empty() && !self.is_untold(shared) {
            let tree = shared.tree.read();
            self.take_back_interest(&tree, shared);
        }
    }

    /// Is there work that is done in pieces?
    pub fn has_chores(&self, shared: &Shared) -> bool {
        let takes_back = shared.is_serving() && self.unwatched.len() > CHORE_PATHS;
        // What looks at the tree waits until everything is told.
        !self.leaving.is_empty() || !self.is_behind() && (!self.setting.is_empty() || takes_back)
    }

    /// The connection, if it is still there.
    pub fn get(&self, conn: ConnId) -> Option<&Connection> {
        let found = self.connections.get(conn.slot as usize)?.as_deref()?;
        (found.id == conn).then_some(found)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let found = self.connections.get_mut(conn.slot as usize)?.as_deref_mut()?;
        (found.id == conn).then_some(found)
    }

    /// All connections, in the order of their slots.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter_map(Option::as_deref)
    }

    /// How many slots for connections there are, taken or not.
    pub fn slots(&self) -> usize {
        self.connections.len()
    }

    /// The connection in a slot.
    pub fn at(&self, slot: u32) -> Option<&Connection> {
        self.connections.get(slot as usize)?.as_deref()
    }

    /// The session of the connection in a slot.
    pub fn session_at(&self, slot: u32) -> Option<i64> {
        self.at(slot).map(|conn| conn.session.0)
    }

    /// The watch tables.
    pub fn watches(&self) -> &WatchTable {
        &self.watches
    }

    /// What has to go through the pipeline.
    pub fn take_submissions(&mut self, into: &mut Vec<Submission>) {
        into.append(&mut self.submissions);
    }

    /// Is there something for the pipeline?
    pub fn has_submissions(&self) -> bool {
        !self.submissions.is_empty()
    }

    /// The connections with something to send, or to be closed; each once.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        for slot in self.dirty.drain(..) {
            if let Some(conn) = self.connections[slot as usize].as_deref_mut() {
                conn.dirty = false;
                into.push(conn.id);
            }
        }
    }

    /// The next connections, at most `max`, that were told of an event; each once. Those are fewer than there are if more
    /// [`are_told`](Self::are_told).
    pub fn take_told(&mut self, max: usize, into: &mut Vec<ConnId>) {
        let next = self.told.len().min(max);
        for slot in self.told.drain(..next) {
            if let Some(conn) = self.connections[slot as usize].as_deref_mut().filter(|conn| conn.told) {
                conn.told = false;
                into.push(conn.id);
            }
        }
        if self.told.is_empty() && self.told.capacity() > 64 {
            self.told = VecDeque::new();
        }
    }

    /// How many connections were told of an event, and are still to be written to.
    pub fn are_told(&self) -> usize {
        self.told.len()
    }

    pub(crate) fn mark_dirty(&mut self, slot: u32) {
        if let Some(conn) = self.connections[slot as usize].as_deref_mut()
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// The connections that had to wait and may be read again, if they want to.
    pub fn take_resumed(&mut self, into: &mut Vec<ConnId>) {
        into.append(&mut self.resumed);
    }

    /// Notes that a connection has frames that had to wait.
    pub(crate) fn pause(&mut self, slot: u32) {
        if let Some(conn) = self.connections[slot as usize].as_deref_mut()
            && !conn.paused
        {
            conn.paused = true;
            self.paused.push(slot);
        }
    }

    /// The bytes to send to a connection.
    pub fn to_send(&self, conn: ConnId) -> &[u8] {
        self.get(conn).map_or(&[], Connection::to_send)
    }

    /// So many of them were sent.
    pub fn sent(&mut self, now: Now, conn: ConnId, bytes: usize) {
        let (slot, out_pause, round) = (conn.slot, self.config.out_pause, self.round);
        let Some(conn) = self.get_mut(conn) else { return };
        conn.read_in_round = round;
        if bytes > 0 {
            conn.took_ms = now.mono_ms();
        }
        let was_full = conn.unsent() > out_pause;
        conn.sent_bytes(bytes);
        let id = conn.id;
        let has_reads = matches!(conn.waiting.front(), Some(Waiting::Read(_)));
        if (has_reads || !conn.unread.is_empty()) && conn.phase == Phase::Established && conn.long.is_none() {
            self.pause(slot);
        } else if was_full {
            self.resumed.push(id);
        }
    }

    /// Frees what an idle connection does not need.
    pub fn shrink(&mut self, conn: ConnId) {
        if let Some(conn) = self.get_mut(conn)
            && conn.unsent() == 0
            && conn.long.is_none()
            && conn.unread.is_empty()
        {
            conn.out = Vec::new();
            conn.unread = Vec::new();
            conn.waiting.shrink_to_fit();
        }
    }

    /// Should the driver close it, now that everything is sent?
    pub fn wants_close(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|c| c.phase == Phase::Closing && c.to_send().is_empty())
    }

    /// Does it close because its client closed the session, and has the reply?
    pub fn has_closed_session(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|c| c.closed_session)
    }

    /// Is it to be closed when everything is sent?
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|c| c.phase == Phase::Closing)
    }

    /// Should the driver read from it?
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|c| match c.phase {
            Phase::Handshake => true,
            // What comes meanwhile waits, a frame's worth of it.
            Phase::Connecting => c.unread.len() <= self.config.frame_max,
            Phase::Closing => false,
            Phase::Established => {
                c.unsent() <= self.config.out_pause && c.setting.is_none() && !c.unread_has_frame(self.config.frame_max)
            }
        })
    }

    pub(crate) fn count_watches(&self, shared: &Shared) {
        let stats = &shared.shard_stats[self.config.shard as usize];
        stats.watches.set(self.watches.table_entries() as u64);
        stats.watch_table_bytes.set(self.watches.bytes() as u64);
    }

    /// Marks a connection to be closed without a word beyond what it was told already.
    pub(crate) fn drop_connection(&mut self, conn: ConnId) {
        if let Some(found) = self.get_mut(conn) {
            found.phase = Phase::Closing;
            found.clear_unsent();
            self.mark_dirty(conn.slot);
        }
    }

    pub(crate) fn hash_state(&self, hasher: &mut impl Hasher) {
        hash_text(&(&self.connections, &self.generations, &self.free, &self.leaving), hasher);
        hash_text(
            &(
                &self.submissions,
                &self.dirty,
                (&self.told, &self.setting, &self.to_go_on, &self.room, &self.telling),
                &self.paused,
                &self.resumed,
                &self.unwatched,
                &self.departed,
                &self.asked,
            ),
            hasher,
        );
        self.watches.hash_state(hasher);
    }

    pub(crate) fn submit(&mut self, submission: Submission) {
        self.submissions.push(submission);
    }
}
