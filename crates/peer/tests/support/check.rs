//! A run against the model: every log entry is what a naive prep makes of its request, in the order of the log; every
//! reply is what the model answers at the reply's zxid; every event comes once, before the first reply that shows its
//! change, and after the reply that set its watch.

use std::collections::BTreeMap;

use ostler_peer::LocalSessions;
use ostler_tree::TriggerKind;
use ostler_tree::owner::OwnerRules;
use wire::connect::ConnectResponse;
use wire::frame::ReplyHeader;
use wire::multi::{MultiHeader, write_error_result};
use wire::response::{Create2Response, PathResponse};
use wire::txn::{CloseSessionTxn, CreateSessionTxn, ErrorTxn, Txn, TxnEntry, TxnHeader};
use wire::watcher::WatcherEvent;
use wire::{ErrorCode, Field, OpCode, Reader, SessionId, Stat, Xid, Zxid};

use super::model::{Model, ModelApplied, ModelEvent};
use super::naive_prep::{Asker, prep};
use super::naive_read::{Watches, answer};
use super::world::World;

/// What the log led to.
pub struct History {
    /// The state after each zxid, from 0.
    pub states: Vec<Model>,
    /// What happened in each.
    events: Vec<Vec<ModelEvent>>,
    /// The reply to each write: by session and xid.
    replies: BTreeMap<(i64, i32), (Zxid, ErrorCode, Vec<u8>)>,
    /// When sessions ended, by whom (0: the server).
    pub closed: BTreeMap<i64, (Zxid, i32, i64)>,
    /// Those that txns made, and their timeouts.
    pub sessions: BTreeMap<i64, i32>,
}

const fn is_write(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::Reconfig
            | OpCode::CloseSession
    )
}

/// Checks all of a world that has come to rest.
pub fn check(world: &World) -> History {
    let history = replay(world);
    for client in 0..world.clients.len() {
        check_client(world, &history, client);
    }
    assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0, "predicted digests are the applied ones");
    use std::sync::atomic::Ordering::Relaxed;
    assert_eq!(world.shared.in_flight.load(Relaxed), 0, "nothing is in flight");
    assert_eq!(world.shared.in_flight_bytes.load(Relaxed), 0, "nor any bytes");
    assert_eq!(world.shared.unprocessed.load(Relaxed), 0, "nor is anything kept that was received");
    history
}

fn replay(world: &World) -> History {
    let rules = OwnerRules { extended_types: world.options.extended_types, emulate_353: false };
    let mut requests = BTreeMap::new();
    for (i, client) in world.clients.iter().enumerate() {
        let Some(session) = world.session_of_requests(i) else { continue };
        for sent in client.sent.iter().filter(|sent| OpCode::from_code(sent.op).is_some_and(is_write)) {
            assert!(requests.insert((session.0, sent.xid), sent).is_none(), "xids of a session differ");
        }
    }
    let mut history = History {
        states: vec![Model::new(rules)],
        events: vec![Vec::new()],
        replies: BTreeMap::new(),
        closed: BTreeMap::new(),
        sessions: BTreeMap::new(),
    };
    for entry in &world.entries {
        let mut model = history.states.last().unwrap().clone();
        assert_eq!(entry.zxid, model.last.next(), "no gap, no repetition");
        let parsed = TxnEntry::from_slice(&entry.bytes).unwrap();
        let (header, key) = (parsed.header, (parsed.header.session.0, parsed.header.cxid.0));
        assert_eq!(header.zxid, entry.zxid);
        let sent = requests.get(&key);
        match (header.op, sent) {
            (OpCode::CreateSession, None) => check_create_session(&mut history, &parsed),
            (OpCode::CloseSession, _) => {
                check_close_session(world, &model, &parsed);
                let told = history.closed.insert(key.0, (entry.zxid, key.1, entry.at_ms));
                assert_eq!(told, None, "a session is closed once");
            }
            (_, Some(sent)) => {
                let is_local = world.options.local_sessions == LocalSessions::On;
                let (ids, time_ms) = (sent.ids.as_slice(), header.time_ms);
                let asker = Asker { session: key.0, ids, zxid: entry.zxid, time_ms, is_local };
                let op = OpCode::from_code(sent.op).unwrap();
                let (op, body) = prep(&model, asker, op, &sent.body)
                    .unwrap_or_else(|err| (OpCode::Error, ErrorTxn { err }.to_vec()));
                let mut expected = TxnHeader { op, ..header }.to_vec();
                expected.extend_from_slice(&body);
                let got = entry.bytes.get(..expected.len());
                assert_eq!(got, Some(&expected[..]), "{sent:?} became {parsed:?}, not {op:?}");
                assert!(!history.closed.contains_key(&key.0), "a write of a session that is over");
            }
            other => panic!("an entry that nobody asked for: {other:?}"),
        }
        let mut events = Vec::new();
        let applied = model.apply(&parsed, &mut events);
        assert_eq!(parsed.digest.is_some(), header.op != OpCode::Error, "errors alone have no digest");
        if let Some(digest) = parsed.digest {
            assert_eq!((digest.version, digest.digest), (2, model.digest()), "digest of {parsed:?}");
        }
        if let Some(sent) = sent {
            let op = OpCode::from_code(sent.op).unwrap();
            history.replies.insert(key, (entry.zxid, applied.err, reply_body(op, &parsed.txn, applied)));
        }
        let known = |owner: &i64| history.sessions.contains_key(owner) && !history.closed.contains_key(owner);
        assert!(model.owners().iter().all(known), "an ephemeral of a session that no txn made, or that one has ended");
        history.states.push(model);
        history.events.push(events);
    }
    ostler_tree_equal(world, &history);
    history
}

fn ostler_tree_equal(world: &World, history: &History) {
    let (tree, model) = (world.shared.tree.read(), history.states.last().unwrap());
    assert_eq!(tree.last_processed(), model.last);
    assert_eq!(tree.node_count(), model.nodes.len() + 1);
    assert_eq!(tree.digest().0, model.digest());
}

fn check_create_session(history: &mut History, entry: &TxnEntry<'_>) {
    let Txn::CreateSession(CreateSessionTxn { timeout_ms }) = entry.txn else { panic!("{entry:?}") };
    assert_eq!(entry.header.cxid, Xid(0));
    let before = history.sessions.insert(entry.header.session.0, timeout_ms);
    assert_eq!(before, None, "each session has an id of its own");
}

fn check_close_session(world: &World, model: &Model, entry: &TxnEntry<'_>) {
    let Txn::CloseSession(list) = &entry.txn else { panic!("{entry:?}") };
    assert_eq!(list.is_some(), world.options.close_session_paths);
    if let Some(CloseSessionTxn { paths_to_delete }) = list {
        let mut paths: Vec<_> = paths_to_delete.iter().flatten().map(|p| p.as_deref().unwrap().to_owned()).collect();
        paths.sort_unstable();
        assert_eq!(paths, model.ephemerals(entry.header.session.0), "all its ephemerals, and nothing else");
    }
}

fn reply_body(op: OpCode, txn: &Txn<'_>, applied: ModelApplied) -> Vec<u8> {
    if applied.err != ErrorCode::OK {
        return Vec::new();
    }
    let path = match txn {
        Txn::Create(t) => t.path.clone(),
        Txn::CreateTtl(t) => t.path.clone(),
        Txn::CreateContainer(t) => t.path.clone(),
        _ => None,
    };
    match (op, applied.stat, applied.subs) {
        (OpCode::Create, ..) => PathResponse { path }.to_vec(),
        (_, Some(stat), _) if path.is_some() => Create2Response { path, stat }.to_vec(),
        (_, Some(stat), _) => Stat::to_vec(&stat),
        (_, _, Some(subs)) => {
            let mut out = Vec::new();
            for (op, err, path, stat) in subs {
                let kind = match op {
                    OpCode::CreateTtl | OpCode::CreateContainer => 15,
                    op => op.code(),
                };
                if op == OpCode::Error {
                    write_error_result(err, &mut out);
                    continue;
                }
                MultiHeader { kind, done: false, err: 0 }.write(&mut out);
                let path = path.map(Into::into);
                match kind {
                    1 => PathResponse { path }.write(&mut out),
                    15 => Create2Response { path, stat: stat.unwrap() }.write(&mut out),
                    5 => stat.unwrap().write(&mut out),
                    _ => {}
                }
            }
            MultiHeader::END.write(&mut out);
            out
        }
        _ => Vec::new(),
    }
}

type Heard = (Zxid, TriggerKind, String);

fn event_of(zxid: Zxid, body: &[u8]) -> Heard {
    let event = WatcherEvent::from_slice(body).unwrap();
    assert_eq!(event.state, 3, "SyncConnected");
    let kind = match event.kind {
        1 => TriggerKind::Created,
        2 => TriggerKind::Deleted,
        3 => TriggerKind::DataChanged,
        4 => TriggerKind::ChildrenChanged,
        other => panic!("event type {other}"),
    };
    (zxid, kind, event.path.unwrap().into_owned())
}

/// getEphemerals has no order of its own.
fn sorted_names(body: &[u8]) -> Vec<String> {
    let names: Option<Vec<String>> = Reader::new(body).read().unwrap();
    let mut names = names.unwrap();
    names.sort_unstable();
    names
}

fn check_client(world: &World, history: &History, at: usize) {
    let client = &world.clients[at];
    let frames = world.frames(at);
    let Some((first, frames)) = frames.split_first() else {
        assert!(client.closed || client.hung_up, "client {at} got no answer at all");
        return;
    };
    let response = ConnectResponse::from_slice(first).unwrap();
    if response.session.0 == 0 {
        assert_eq!((response.timeout_ms, response.password), (0, Some(&[0; 16][..])));
        assert!(client.closed || client.hung_up);
        assert!(frames.is_empty(), "nothing follows a refusal");
        return;
    }
    assert_eq!(response.password, Some(&ostler_peer::session::password(response.session)[..]));
    let stream = Stream {
        history,
        session: response.session,
        ids: client.ids.as_slice().to_vec(),
        lists_paths: world.options.close_session_paths,
        watches: Watches::default(),
        seen: Zxid(0),
        heard: Vec::new(),
    };
    let answered = stream.run(world, at, frames);
    let after_close = client.sent.iter().position(|sent| sent.op == OpCode::CloseSession.code()).map(|i| i + 1);
    if let Some(most) = after_close {
        assert!(answered <= most, "client {at}: nothing behind closeSession is answered");
    }
    if !client.closed && !client.hung_up {
        let conn = world.shards[client.conn.shard as usize].get(client.conn);
        let missing = client.sent.get(answered);
        assert_eq!(answered, client.sent.len(), "client {at}: everything is answered, not {missing:?} of {conn:?}");
    }
    if after_close == Some(answered) {
        assert!(client.closed || client.hung_up, "client {at}: closed after the reply to closeSession");
    }
}

/// What one connection hears, frame by frame.
struct Stream<'a> {
    history: &'a History,
    session: SessionId,
    ids: Vec<wire::Id>,
    /// Do closeSession txns list the ephemerals?
    lists_paths: bool,
    watches: Watches,
    /// Events of txns up to here have been told.
    seen: Zxid,
    /// Events since the last reply.
    heard: Vec<Heard>,
}

impl Stream<'_> {
    fn run(mut self, world: &World, at: usize, frames: &[&[u8]]) -> usize {
        let client = &world.clients[at];
        let mut answered = 0;
        for frame in frames {
            let mut r = Reader::new(frame);
            let header: ReplyHeader = r.read().unwrap();
            if header.xid == Xid::NOTIFICATION {
                self.heard.push(event_of(header.zxid, r.remaining()));
                continue;
            }
            let Some(sent) = client.sent.get(answered) else { panic!("client {at}: a reply too many: {header:?}") };
            let op = OpCode::from_code(sent.op);
            let xid = if op == Some(OpCode::Ping) { -2 } else { sent.xid };
            let what = format!("client {at}, request {answered}: {op:?} {sent:?}");
            assert_eq!(header.xid.0, xid, "replies in the order of requests: {what}");
            answered += 1;
            match op {
                Some(OpCode::CloseSession) if !self.history.sessions.contains_key(&self.session.0) => {
                    assert_ne!(world.options.local_sessions, LocalSessions::Off, "{what}");
                    self.events_up_to(header.zxid, &[], &what);
                    assert_eq!((header.err, r.remaining()), (ErrorCode::OK, &[][..]), "{what}");
                }
                Some(OpCode::Auth) => assert_eq!((header.zxid, header.err), (Zxid(0), ErrorCode::OK), "{what}"),
                Some(op) if is_write(op) => {
                    let Some(expected) = self.history.replies.get(&(self.session.0, sent.xid)) else {
                        panic!("{what} is answered but not in the log")
                    };
                    self.events_up_to(header.zxid, &[], &what);
                    assert_eq!(header.zxid, expected.0, "its own zxid: {what}");
                    assert_eq!((header.err, r.remaining()), (expected.1, &expected.2[..]), "{what}");
                }
                Some(op) => {
                    let last = self.history.states.last().unwrap().last;
                    assert!(header.zxid >= sent.applied_before && header.zxid <= last, "{header:?} to {what}");
                    self.is_before_the_next_write(client, answered, header.zxid, &what);
                    let model = &self.history.states[header.zxid.0 as usize];
                    let mut watches = self.watches_at(header.zxid);
                    let who = (self.session.0, sent.ids.as_slice(), world.options.frame_max);
                    let expected = answer(model, who, op, &sent.body, &mut watches);
                    self.events_up_to(header.zxid, &expected.events, &what);
                    self.watches = watches;
                    assert_eq!(header.err, expected.err, "{what}");
                    if op == OpCode::GetEphemerals && header.err == ErrorCode::OK {
                        assert_eq!(sorted_names(r.remaining()), sorted_names(&expected.body), "{what}");
                    } else {
                        assert_eq!(r.remaining(), expected.body, "at {:?}: {what}", header.zxid);
                    }
                }
                None => assert_eq!((header.zxid, header.err), (Zxid(-1), ErrorCode::UNIMPLEMENTED), "{what}"),
            }
        }
        let mut heard = std::mem::take(&mut self.heard);
        let mut expected = Vec::new();
        self.fire_up_to(self.history.states.last().unwrap().last, &mut expected);
        if !self.lists_paths {
            heard.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
            expected.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        }
        if client.closed || client.hung_up {
            // Those that a setWatches brings along come before its reply, which may be lost.
            heard.retain(|(zxid, ..)| *zxid != Zxid(-1));
            assert!(expected.starts_with(&heard), "client {at}, at its end: {heard:?}, expected {expected:?}");
        } else {
            assert_eq!(heard, expected, "client {at}, at its end");
        }
        answered
    }

    /// The watches as they are when all events up to `zxid` have been told.
    fn watches_at(&self, zxid: Zxid) -> Watches {
        let mut copy = self.watches.clone();
        for z in self.seen.0 + 1..=zxid.0 {
            for event in &self.history.events[z as usize] {
                copy.fire(event, &self.ids);
            }
        }
        copy
    }

    fn fire_up_to(&mut self, zxid: Zxid, into: &mut Vec<Heard>) {
        for z in self.seen.0 + 1..=zxid.0 {
            for event in &self.history.events[z as usize] {
                if self.watches.fire(event, &self.ids) {
                    into.push((Zxid(z), event.kind, event.path.clone()));
                }
            }
        }
        self.seen = self.seen.max(zxid);
    }

    /// Exactly the events up to a reply's zxid have come since the last reply, then those that the reply brings along.
    fn events_up_to(&mut self, zxid: Zxid, brought: &[(TriggerKind, String)], what: &str) {
        assert!(zxid >= self.seen, "{zxid:?} after {:?}: {what}", self.seen);
        let mut expected = Vec::new();
        let (watches, seen) = (self.watches.clone(), self.seen);
        self.fire_up_to(zxid, &mut expected);
        expected.extend(brought.iter().map(|(kind, path)| (Zxid(-1), *kind, path.clone())));
        let mut heard = std::mem::take(&mut self.heard);
        if !self.lists_paths {
            // Then the order in which a session's ephemerals go is the tree's own.
            heard.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
            expected.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        }
        assert_eq!(heard, expected, "events behind {seen} up to {zxid} with {watches:?}, before the reply to {what}");
    }

    fn is_before_the_next_write(&self, client: &super::world::Client, from: usize, zxid: Zxid, what: &str) {
        let mut later = client.sent[from..].iter();
        let next = later.find_map(|sent| {
            self.history
                .replies
                .get(&(self.session.0, sent.xid))
                .filter(|_| OpCode::from_code(sent.op).is_some_and(is_write))
        });
        if let Some((next, ..)) = next {
            assert!(zxid < *next, "a read sees no later write of its own session: {what}");
        }
    }
}
