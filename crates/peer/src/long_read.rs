//! Reads that may take long: each goes on in steps, under a short guard a step, so that it holds up nobody.
//!
//! * getChildren, getChildren2 and getChildrenPaginated are answered as of the zxid of their first step: what is deleted
//!   before the walk comes by is handed to it ([`tree::cursor`]). Events that come meanwhile wait behind the answer.
//! * getAllChildrenNumber, getEphemerals and multiRead are answered as of the zxid of their last step: a count is kept
//!   right by the tree; the others begin again when something that they have read has changed. Events that come
//!   meanwhile go before the answer.
//!
//! The first step is made at once, under the guard that is held anyway: most of them need no second.

use std::ops::ControlFlow;

use bytes::Bytes;
use tree::cursor::{CursorId, Walked};
use tree::watch::Modes;
use tree::{NodeId, NodeRef, Tree};
use wire::acl::READ;
use wire::frame::ReplyHeader;
use wire::multi::{MultiHeader, write_error_result, write_result_header};
use wire::request::{GetChildrenPaginatedRequest, PathRequest, ReadRequest as ReadBody};
use wire::{ErrorCode, Field, OpCode, Reader, Stat, Zxid};

use crate::inbox::ReadRequest;
use crate::reads::{MULTI_READ_MAX, ReadContext, STAT_BYTES, WatchSet, descendants, ephemeral_prefix, read};

/// How reads are cut into steps.
#[derive(Debug, Clone, Copy)]
pub struct StepLimits {
    /// Directories and lists of more than so many entries are read in steps.
    pub entries_max: usize,
    /// About how much is done in a step, in bytes.
    pub work: usize,
    /// How many reads of a shard go on at once; more of them wait for their turn.
    pub at_once: usize,
    /// How often a multiRead, or a list of ephemerals, begins again because something in it changed; then it goes on.
    pub restarts_max: u32,
}

impl Default for StepLimits {
    fn default() -> Self {
        Self { entries_max: 1000, work: 128 * 1024, at_once: 8, restarts_max: 8 }
    }
}

/// The length of a frame, and of the header in it.
const HEAD_BYTES: usize = 20;
/// What a page has beside its names: header, count, Stat, next page.
const PAGE_BYTES: usize = 16 + 4 + 68 + 12;
/// A page's next page, of the last.
const LAST: (Zxid, i32) = (Zxid(-1), -1);
/// What a look at a znode counts, in bytes.
pub(crate) const LOOK_BYTES: usize = 128;
/// Answers are made in parts of about this size: none is moved when more comes.
const PART_BYTES: usize = 64 * 1024;

/// A read on its way.
#[derive(Debug, Clone)]
pub(crate) struct LongRead {
    pub request: ReadRequest,
    /// Of the answer: of the first step, or of the last.
    zxid: Zxid,
    state: State,
    restarts: u32,
    out: Parts,
}

#[derive(Debug, Clone)]
enum State {
    /// Its first step has not been made.
    Waiting,
    Children {
        cursor: CursorId,
        count: i32,
        stat: Option<Stat>,
    },
    Page(Page),
    Count {
        cursor: CursorId,
        more: i32,
    },
    Ephemerals {
        after: Option<NodeId>,
        seen: usize,
        count: i32,
    },
    Multi(Multi),
}

#[derive(Debug, Clone)]
struct Page {
    cursor: CursorId,
    stat: Stat,
    max: usize,
    czxid_min: Zxid,
    to_skip: i32,
    /// The czxid of the last child that this page or those before it had, and how many of that txn.
    group: (Zxid, i32),
    count: i32,
    room: usize,
    bytes: usize,
    next: Option<(Zxid, i32)>,
    path: Option<Box<str>>,
}

#[derive(Debug, Clone)]
struct Multi {
    /// What was read in earlier steps.
    set: Option<CursorId>,
    /// How much of the request has been answered, in bytes.
    offset: usize,
    /// The getChildren that is being answered: its walk, the place of its count, the count.
    children: Option<(CursorId, Place, i32)>,
    /// Of that one: how long the answer was before it, and its path.
    listed: (usize, Box<str>),
}

/// What a step led to.
#[derive(Debug)]
pub(crate) enum Stepped {
    /// There is more to do.
    More,
    /// The answer is there.
    Done(Finished),
    /// It has to begin again.
    Again,
}

/// The end of a read.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The frame, in parts.
    pub parts: Vec<Vec<u8>>,
    /// How long it is, without the length before it.
    pub bytes: usize,
    /// The zxid in it.
    pub zxid: Zxid,
    /// The watch that it sets.
    pub watch: WatchSet,
}

/// What the first step may set: the watch of a getChildren. That of a page is set by the end of it, see
/// [`LongRead::wished_watch`].
type Begun = (State, WatchSet);

impl LongRead {
    pub fn new(request: ReadRequest) -> Self {
        Self { request, zxid: Zxid::ZERO, state: State::Waiting, restarts: 0, out: Parts::new() }
    }

    /// Bytes of the request's body.
    pub fn body_length(&self) -> usize {
        self.request.body.len()
    }

    /// Has its first step not been made?
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Do events that come now belong behind its answer?
    pub fn holds_events(&self) -> bool {
        matches!(self.state, State::Children { .. } | State::Page(_))
    }

    /// The path of a page that, if it is the last, sets a watch as of its first step.
    pub fn wished_watch(&self) -> Option<&str> {
        match &self.state {
            State::Page(page) => page.path.as_deref(),
            _ => None,
        }
    }

    /// Makes a step of about `work` bytes. In the first one, the watch that it sets is `set`.
    pub fn step(&mut self, context: &ReadContext<'_>, work: usize, limits: &StepLimits, set: &mut WatchSet) -> Stepped {
        let mut budget = work as isize;
        if self.is_waiting() {
            self.zxid = context.tree.last_processed();
            self.out = Parts::new();
            match self.begin(context, work) {
                Ok(ControlFlow::Continue((state, watch))) => (self.state, *set) = (state, watch),
                Ok(ControlFlow::Break(())) => return self.done(context, ErrorCode::OK, None),
                Err(err) => return self.done(context, err, None),
            }
        }
        let body = self.request.body.clone();
        let again = match &mut self.state {
            State::Waiting => false,
            State::Children { cursor, count, stat } => {
                let (out, cursor) = (&mut self.out, *cursor);
                let walked = context.tree.walk(cursor, work, |_, name| {
                    Some(name).write(out.room());
                    *count += 1;
                    true
                });
                match walked {
                    Walked::More => return Stepped::More,
                    Walked::Done => {
                        self.out.put_count(Place::FIRST, *count);
                        record_names(context, &body, &self.out, *count);
                        if let Some(stat) = stat {
                            stat.write(self.out.room());
                        }
                        false
                    }
                    Walked::Lost => true,
                }
            }
            State::Page(page) => {
                let (out, cursor) = (&mut self.out, page.cursor);
                match context.tree.walk(cursor, work, |czxid, name| page.take(czxid, name, out)) {
                    Walked::More if page.next.is_none() => return Stepped::More,
                    Walked::More | Walked::Done => {
                        context.tree.close_cursor(cursor);
                        self.out.put_count(Place::FIRST, page.count);
                        record_names(context, &body, &self.out, page.count);
                        page.stat.write(self.out.room());
                        let (czxid, offset) = page.next.unwrap_or(LAST);
                        czxid.write(self.out.room());
                        offset.write(self.out.room());
                        let watch = page.path.take().filter(|_| page.next.is_none());
                        return self.done(context, ErrorCode::OK, watch.map(|path| (path, Modes::CHILD)));
                    }
                    Walked::Lost => true,
                }
            }
            State::Count { cursor, more } => {
                let Some(counted) = context.tree.count(*cursor, (work / 16).max(1)) else { return Stepped::More };
                (counted as i32 + *more).write(self.out.room());
                false
            }
            State::Ephemerals { after, seen, count } => {
                let request: Result<PathRequest<'_>, ErrorCode> =
                    read(&mut Reader::with_limit(&body, context.length_max));
                let Ok(request) = request else { return self.done(context, ErrorCode::MARSHALLING_ERROR, None) };
                let prefix = ephemeral_prefix(&request);
                for node in context.tree.ephemerals_after(context.session, *after) {
                    if budget <= 0 {
                        return Stepped::More;
                    }
                    let path = node.path();
                    budget -= (path.len() + LOOK_BYTES) as isize;
                    if path.starts_with(prefix) {
                        path.write(self.out.room());
                        *count += 1;
                    }
                    *seen += 1;
                    *after = Some(node.id());
                }
                self.out.put_count(Place::FIRST, *count);
                // The session itself creates none meanwhile, so equal numbers are equal sets.
                *seen != context.tree.ephemeral_count_of(context.session) && self.restarts < limits.restarts_max
            }
            State::Multi(multi) => {
                let mut paths = Vec::new();
                let stepped = multi.step(context, &body, &mut budget, &mut self.out, &mut paths);
                let has_set = multi.set.is_some();
                if has_set || matches!(stepped, Ok(ControlFlow::Continue(()))) {
                    let set = *multi.set.get_or_insert_with(|| context.tree.open_read_set());
                    let is_fresh = context.tree.add_to_read_set(set, paths.iter().map(|path| &**path));
                    if !is_fresh && self.restarts < limits.restarts_max {
                        return self.again(context.tree);
                    }
                }
                match stepped {
                    Ok(ControlFlow::Continue(())) => return Stepped::More,
                    Ok(ControlFlow::Break(())) => false,
                    Err(Failed::Lost) => true,
                    Err(Failed::Err(err)) => return self.done(context, err, None),
                }
            }
        };
        if again { self.again(context.tree) } else { self.done(context, ErrorCode::OK, None) }
    }

    fn again(&mut self, tree: &Tree) -> Stepped {
        self.close(tree);
        self.restarts += 1;
        self.state = State::Waiting;
        Stepped::Again
    }

    /// The first step: either it is all done, or this is how to go on.
    fn begin(&mut self, context: &ReadContext<'_>, work: usize) -> Result<ControlFlow<(), Begun>, ErrorCode> {
        let tree = context.tree;
        let body = self.request.body.clone();
        let mut r = Reader::with_limit(&body, context.length_max);
        let state = match self.request.op {
            op @ (OpCode::GetChildren | OpCode::GetChildren2) => {
                let request: ReadBody<'_> = read(&mut r)?;
                let (path, node) = context.readable(&request)?;
                0i32.write(self.out.room());
                let stat = (op == OpCode::GetChildren2).then(|| node.stat());
                let state = State::Children { cursor: tree.open_walk(node, Zxid(i64::MIN)), count: 0, stat };
                let watch = request.watch.then(|| (path.into(), Modes::CHILD));
                return Ok(ControlFlow::Continue((state, watch)));
            }
            OpCode::GetChildrenPaginated => State::Page(Page::begin(context, &read(&mut r)?, &mut self.out)?),
            OpCode::GetAllChildrenNumber => {
                let request: PathRequest<'_> = read(&mut r)?;
                let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
                let node = tree.get(path).ok_or(ErrorCode::NO_NODE)?;
                context.allowed(node, READ)?;
                // Apache counts the keys that begin with the path and a slash; for the path "" the key of the root does.
                let more = i32::from(path.is_empty());
                if let Some(count) = descendants(node, work / LOOK_BYTES) {
                    (count + more).write(self.out.room());
                    return Ok(ControlFlow::Break(()));
                }
                State::Count { cursor: tree.open_count(node), more }
            }
            OpCode::GetEphemerals => {
                0i32.write(self.out.room());
                State::Ephemerals { after: None, seen: 0, count: 0 }
            }
            OpCode::MultiRead => {
                State::Multi(Multi { set: None, offset: 0, children: None, listed: Default::default() })
            }
            _ => return Err(ErrorCode::UNIMPLEMENTED),
        };
        Ok(ControlFlow::Continue((state, None)))
    }

    fn done(&mut self, context: &ReadContext<'_>, err: ErrorCode, watch: WatchSet) -> Stepped {
        let zxid = if self.holds_events() { self.zxid } else { context.tree.last_processed() };
        self.close(context.tree);
        let mut out = std::mem::replace(&mut self.out, Parts::new());
        if err != ErrorCode::OK {
            out = Parts::new();
        }
        let header = ReplyHeader { xid: self.request.xid, zxid, err };
        Stepped::Done(Finished { bytes: out.bytes() - 4, zxid, parts: out.finish(&header), watch })
    }

    /// Ends it: nothing of it is left in the tree.
    pub fn close(&self, tree: &Tree) {
        match &self.state {
            State::Waiting | State::Ephemerals { .. } => {}
            State::Children { cursor, .. } | State::Count { cursor, .. } => tree.close_cursor(*cursor),
            State::Page(page) => tree.close_cursor(page.cursor),
            State::Multi(multi) => {
                multi.set.iter().chain(multi.children.iter().map(|(cursor, ..)| cursor)).for_each(|cursor| {
                    tree.close_cursor(*cursor);
                });
            }
        }
    }
}

/// Counts a list of names that was read: the names without their lengths.
fn record_names(context: &ReadContext<'_>, body: &Bytes, out: &Parts, count: i32) {
    if let Ok(PathRequest { path: Some(path) }) = Reader::with_limit(body, context.length_max).read() {
        context.reads.record(&path, out.bytes() - HEAD_BYTES - 4 * (count as usize + 1) + STAT_BYTES);
    }
}

/// May it take long? Then it is made in steps. What may not is answered at once, as in [`crate::reads`].
pub(crate) fn may_be_long(context: &ReadContext<'_>, op: OpCode, body: &[u8], limits: &StepLimits) -> bool {
    match op {
        OpCode::GetChildrenPaginated | OpCode::GetAllChildrenNumber | OpCode::MultiRead => true,
        OpCode::GetChildren | OpCode::GetChildren2 => {
            let request: Option<ReadBody<'_>> = Reader::with_limit(body, context.length_max).read().ok();
            let node = request.as_ref().and_then(|r| r.path.as_deref()).and_then(|path| context.tree.get(path));
            node.is_some_and(|node| node.child_count() as usize > limits.entries_max)
        }
        OpCode::GetEphemerals => context.tree.ephemeral_count_of(context.session) > limits.entries_max,
        _ => false,
    }
}

impl Page {
    fn begin(
        context: &ReadContext<'_>,
        request: &GetChildrenPaginatedRequest<'_>,
        out: &mut Parts,
    ) -> Result<Self, ErrorCode> {
        let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node: NodeRef<'_> = context.tree.get(path).ok_or(ErrorCode::NO_NODE)?;
        context.allowed(node, READ)?;
        // The fork's client refuses such a number itself. An empty page would lead back to itself.
        let max = usize::try_from(request.max_returned).ok().filter(|max| *max > 0).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        0i32.write(out.room());
        Ok(Self {
            cursor: context.tree.open_walk(node, request.czxid_min),
            stat: node.stat(),
            max,
            czxid_min: request.czxid_min,
            to_skip: request.czxid_offset,
            group: (Zxid(i64::MIN), 0),
            count: 0,
            room: context.page_max.saturating_sub(PAGE_BYTES),
            bytes: 0,
            next: None,
            path: request.watch.then(|| path.into()),
        })
    }

    /// The next child. Returns false when the page is full: the next one begins with this child.
    fn take(&mut self, czxid: Zxid, name: &[u8], out: &mut Parts) -> bool {
        if czxid < self.czxid_min {
            return true;
        }
        let is_skipped = self.to_skip > 0 && czxid == self.czxid_min;
        let of_txn = if czxid == self.group.0 { self.group.1 } else { 0 };
        if is_skipped {
            self.to_skip -= 1;
        } else {
            let bytes = self.bytes + 4 + name.len();
            // A name that is too long for a page of its own comes alone: else nobody would ever get past it.
            if self.count as usize >= self.max || bytes > self.room && self.count > 0 {
                self.next = Some((czxid, of_txn));
                return false;
            }
            self.bytes = bytes;
            Some(name).write(out.room());
            self.count += 1;
        }
        self.group = (czxid, of_txn + 1);
        true
    }
}

enum Failed {
    /// A walk was lost.
    Lost,
    Err(ErrorCode),
}

impl From<ErrorCode> for Failed {
    fn from(err: ErrorCode) -> Self {
        Self::Err(err)
    }
}

impl Multi {
    /// Answers operations until the budget is used up. The paths that were read are added to `paths`.
    fn step(
        &mut self,
        context: &ReadContext<'_>,
        body: &Bytes,
        budget: &mut isize,
        out: &mut Parts,
        paths: &mut Vec<Box<str>>,
    ) -> Result<ControlFlow<()>, Failed> {
        loop {
            if *budget <= 0 {
                return Ok(ControlFlow::Continue(()));
            }
            if let Some((cursor, place, count)) = &mut self.children {
                let walked = context.tree.walk(*cursor, *budget as usize, |_, name| {
                    Some(name).write(out.room());
                    *count += 1;
                    *budget -= (name.len() + 32) as isize;
                    true
                });
                match walked {
                    Walked::More => return Ok(ControlFlow::Continue(())),
                    Walked::Lost => return Err(Failed::Lost),
                    Walked::Done => {
                        out.put_count(*place, *count);
                        let (before, path) = &self.listed;
                        context.reads.record(path, out.bytes() - before - 4 * (*count as usize + 1) + STAT_BYTES);
                        self.children = None;
                    }
                }
            }
            let mut r = Reader::with_limit(&body[self.offset..], context.length_max);
            let header: MultiHeader = read(&mut r)?;
            if header.done {
                MultiHeader::END.write(out.room());
                return Ok(ControlFlow::Break(()));
            }
            let Some(op @ (OpCode::GetData | OpCode::GetChildren)) = OpCode::from_code(header.kind) else {
                return Err(ErrorCode::MARSHALLING_ERROR.into());
            };
            let request: ReadBody<'_> = read(&mut r)?;
            self.offset = body.len() - r.remaining().len();
            if out.bytes() > MULTI_READ_MAX {
                return Err(ErrorCode::QUOTA_EXCEEDED.into());
            }
            *budget -= LOOK_BYTES as isize;
            // A null path is an exception in Apache, and not one of an operation's own.
            paths.push(request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?.into());
            match context.readable(&request) {
                Ok((path, node)) if op == OpCode::GetData => {
                    let part = out.room();
                    write_result_header(op, part);
                    context.write_data(path, node, part);
                    *budget -= node.data_length() as isize;
                }
                Ok((path, node)) => {
                    write_result_header(op, out.room());
                    let place = out.place();
                    self.listed = (out.bytes(), path.into());
                    0i32.write(out.room());
                    self.children = Some((context.tree.open_walk(node, Zxid(i64::MIN)), place, 0));
                }
                Err(err) => write_error_result(err, out.room()),
            }
            *budget -= context.work.take() as isize;
        }
    }
}

/// A place in an answer: part, offset.
#[derive(Debug, Clone, Copy)]
struct Place(usize, usize);

impl Place {
    /// Behind the header.
    const FIRST: Self = Self(0, HEAD_BYTES);
}

/// A frame in parts.
#[derive(Debug, Clone)]
struct Parts {
    parts: Vec<Vec<u8>>,
    /// Of all but the last.
    bytes: usize,
}

impl Parts {
    fn new() -> Self {
        Self { parts: vec![vec![0; HEAD_BYTES]], bytes: 0 }
    }

    /// Where to write something that stays together.
    fn room(&mut self) -> &mut Vec<u8> {
        let last = self.parts.len() - 1;
        if self.parts[last].len() < PART_BYTES {
            return &mut self.parts[last];
        }
        self.bytes += self.parts[last].len();
        self.parts.push(Vec::with_capacity(PART_BYTES + 1024));
        &mut self.parts[last + 1]
    }

    /// Where the next thing will stand.
    fn place(&mut self) -> Place {
        let offset = self.room().len();
        Place(self.parts.len() - 1, offset)
    }

    fn put_count(&mut self, place: Place, count: i32) {
        self.parts[place.0][place.1..place.1 + 4].copy_from_slice(&count.to_be_bytes());
    }

    fn bytes(&self) -> usize {
        self.bytes + self.parts[self.parts.len() - 1].len()
    }

    fn finish(mut self, header: &ReplyHeader) -> Vec<Vec<u8>> {
        let mut head = ((self.bytes() - 4) as i32).to_vec();
        header.write(&mut head);
        self.parts[0][..HEAD_BYTES].copy_from_slice(&head);
        self.parts
    }
}
