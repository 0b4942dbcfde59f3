//! A pipeline that learns, driven by hand: what its clients are told whose leader goes while they wait, and what is asked for again;
//! what a follower takes from its observers.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use ostler_peer::Wish;
use support::talk::{connect, create, read};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::quorum::Forwarded;
use wire::txn::{CreateSessionTxn, CreateTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::watcher::WatcherEvent;
use wire::{Epoch, ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};

/// Of a client elsewhere.
const ELSEWHERE: SessionId = SessionId(0x0200_0000_0000_0001);
const CREATE: i32 = OpCode::Create.code();

/// A learner, and what its leader does.
struct Learner {
    world: World,
    /// The last txn of the history.
    last: Zxid,
}

/// What a client was told: an answer's number, code and zxid, and the bytes behind it.
type Told = (i32, ErrorCode, Zxid, Vec<u8>);

impl Learner {
    /// In epoch 1.
    fn new() -> Self {
        Self::of(Options::default())
    }

    fn of(options: Options) -> Self {
        let mut world = World::new(1, options);
        world.shared.is_member = true;
        world.pipeline.look(world.now, &world.shared);
        let mut learner = Self { world, last: Zxid::ZERO };
        learner.learn(1);
        learner
    }

    fn look(&mut self) {
        let World { now, shared, pipeline, .. } = &mut self.world;
        let woken = pipeline.look(*now, shared);
        self.world.woken.extend(woken);
        self.world.settle();
    }

    /// All that it knows is the history with which this epoch begins, or goes on.
    fn learn(&mut self, epoch: i32) {
        self.last = self.last.max(Zxid::new(Epoch(epoch), 0));
        let World { now, shared, pipeline, .. } = &mut self.world;
        let woken = pipeline.learn(*now, shared, Epoch(epoch));
        self.world.woken.extend(woken);
        self.world.settle();
    }

    /// A txn comes, and is committed.
    fn commit(&mut self, session: SessionId, cxid: i32, op: OpCode, txn: Txn<'_>) {
        self.last = self.last.next();
        let header = TxnHeader { session, cxid: Xid(cxid), zxid: self.last, time_ms: 1, op };
        let txn = Bytes::from(TxnEntry { header, txn, digest: None }.to_vec());
        let World { now, shared, pipeline, .. } = &mut self.world;
        pipeline.appended(*now, shared, self.last, &txn).expect("a txn");
        let woken = pipeline.apply(*now, shared, self.last);
        self.world.woken.extend(woken);
        self.world.settle();
    }

    fn create(&mut self, session: SessionId, cxid: i32, path: &str, data: &[u8]) {
        let path = Some(path.into());
        let txn = CreateTxn { path, data: Some(data), acl: AclVec::OPEN, ephemeral: false, parent_cversion: -1 };
        self.commit(session, cxid, OpCode::Create, Txn::Create(txn));
    }

    fn set(&mut self, path: &str, data: &[u8], version: i32) {
        let txn = Txn::SetData(SetDataTxn { path: Some(path.into()), data: Some(data), version });
        self.commit(ELSEWHERE, version, OpCode::SetData, txn);
    }

    /// What the leader is asked.
    fn wishes(&mut self) -> Vec<Wish> {
        self.world.settle();
        let mut wishes = Vec::new();
        self.world.pipeline.take_wishes(&mut wishes);
        wishes
    }

    /// The writes that are handed on: session, number and operation.
    fn handed_on(&mut self) -> Vec<(SessionId, i32, i32)> {
        let write = |wish| match wish {
            Wish::Request(Forwarded { session, cxid, op, .. }) if op != OpCode::Sync.code() => {
                Some((session, cxid.0, op))
            }
            _ => None,
        };
        self.wishes().into_iter().filter_map(write).collect()
    }

    /// The leader answers that the session is here, and that nothing is on its way before.
    fn is_here(&mut self, session: SessionId) {
        let World { now, shared, pipeline, .. } = &mut self.world;
        let mut woken = pipeline.revalidated(*now, shared, session, true);
        woken.extend(pipeline.synced(*now, shared, 0, true, self.last));
        self.world.woken.extend(woken);
        self.world.settle();
    }

    /// A client with a session of its own.
    fn client(&mut self) -> (usize, SessionId) {
        let client = self.world.open(0);
        self.world.write(client, &connect(SessionId(0), Zxid::ZERO, 30_000));
        let [(session, 0, _)] = self.handed_on()[..] else { panic!("a session is asked for") };
        self.commit(session, 0, OpCode::CreateSession, Txn::CreateSession(CreateSessionTxn { timeout_ms: 30_000 }));
        assert_eq!(self.world.session(client), Some((session, 30_000)));
        (client, session)
    }

    fn writes(&mut self, client: usize, xid: i32, path: &str) {
        self.world.request(client, xid, OpCode::Create, &create(path, b"", AclVec::OPEN, 0));
    }

    fn reads(&mut self, client: usize, xid: i32, path: &str, watch: bool) {
        self.world.request(client, xid, OpCode::GetData, &read(path, watch));
    }

    /// Everything behind the beginning of its session.
    fn told(&self, client: usize) -> Vec<Told> {
        let of = |frame: &[u8]| {
            let mut r = Reader::new(frame);
            let ReplyHeader { xid, zxid, err } = r.read().expect("a reply");
            (xid.0, err, zxid, r.remaining().to_vec())
        };
        self.world.frames(client).into_iter().skip(1).map(of).collect()
    }

    fn numbers(&self, client: usize) -> Vec<i32> {
        self.told(client).iter().map(|it| it.0).collect()
    }

    fn is_closed(&self, client: usize) -> bool {
        self.world.clients[client].closed
    }

    fn in_flight(&self) -> (usize, usize) {
        (self.world.shared.in_flight.load(Relaxed), self.world.shared.in_flight_bytes.load(Relaxed))
    }
}

/// The request of whoever comes back to the leader that it had may be on its way there still.
#[test]
fn what_is_handed_on_anew_in_a_later_epoch_is_not_in_the_same_one() {
    for epoch in [1, 2] {
        let mut it = Learner::new();
        let (unknown, session) = it.client();
        let (known, known_session) = it.client();
        let (idle, _) = it.client();
        it.writes(unknown, 1, "/unknown");
        it.writes(known, 1, "/known");
        assert_eq!(it.handed_on().len(), 2);
        it.look();
        it.create(known_session, 1, "/known", b"");
        assert_eq!((it.numbers(known), it.is_closed(unknown)), (vec![], false), "nothing is established");
        it.learn(epoch);
        // What the history has is told in any epoch, and who waited for nothing stays in any.
        assert_eq!((it.numbers(known), it.is_closed(known), it.is_closed(idle)), (vec![1], false, false));
        it.is_here(session);
        if epoch == 1 {
            assert_eq!((it.handed_on(), it.is_closed(unknown)), (vec![], true));
        } else {
            assert_eq!((it.handed_on(), it.is_closed(unknown)), (vec![(session, 1, CREATE)], false));
            it.create(session, 1, "/unknown", b"");
            assert_eq!(it.numbers(unknown), [1]);
        }
        assert_eq!(it.in_flight(), (0, 0));
    }
}

/// It waited until it was known that its client is here, so no leader has seen it.
#[test]
fn what_was_not_handed_on_yet_goes_on_in_the_same_epoch() {
    let mut it = Learner::new();
    let (client, session) = it.client();
    it.look();
    it.learn(2);
    it.writes(client, 1, "/waits");
    assert!(matches!(it.wishes()[..], [Wish::Revalidate { session: asked, .. }] if asked == session));
    it.look();
    it.writes(client, 2, "/waits-too");
    it.learn(2);
    assert!(matches!(it.wishes()[..], [Wish::Revalidate { session: asked, .. }] if asked == session));
    it.is_here(session);
    assert_eq!(it.handed_on(), [(session, 1, CREATE), (session, 2, CREATE)]);
    it.create(session, 1, "/waits", b"");
    it.create(session, 2, "/waits-too", b"");
    assert_eq!((it.numbers(client), it.is_closed(client), it.in_flight()), (vec![1, 2], false, (0, 0)));
}

/// A client's write, a read with a watch, and a write that the read travels with.
fn watches(it: &mut Learner) -> (usize, SessionId) {
    let (client, session) = it.client();
    it.create(ELSEWHERE, 0, "/seen", b"old");
    it.writes(client, 1, "/before");
    it.reads(client, 2, "/seen", true);
    it.writes(client, 3, "/behind");
    assert_eq!(it.handed_on(), [(session, 1, CREATE), (session, 3, CREATE)]);
    it.look();
    (client, session)
}

fn is_event_of(told: &Told, path: &str) {
    let event = WatcherEvent::from_slice(&told.3).expect("an event");
    assert_eq!((told.0, event.kind, event.path.as_deref()), (-1, 3, Some(path)));
}

/// The data is the first that stands there.
fn data(told: &Told) -> &[u8] {
    let length = told.3.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    &told.3[4..4 + length]
}

#[test]
fn a_read_that_is_held_back_watches_from_where_it_was_made() {
    let mut it = Learner::new();
    let (client, session) = watches(&mut it);
    it.create(session, 1, "/before", b"");
    it.create(session, 3, "/behind", b"");
    it.set("/seen", b"new", 1);
    assert_eq!(it.numbers(client), [], "nothing is established");
    it.learn(2);
    let told = it.told(client);
    assert_eq!(it.numbers(client), [1, 2, 3, -1]);
    // It is what stood there between the two writes, and the change is told behind it.
    assert_eq!((told[1].1, told[1].2, data(&told[1])), (ErrorCode::OK, told[0].2, &b"old"[..]));
    is_event_of(&told[3], "/seen");
    it.set("/seen", b"newer", 2);
    assert_eq!((it.numbers(client).len(), it.in_flight()), (4, (0, 0)), "a watch fires once");
}

#[test]
fn a_read_that_travels_with_what_is_handed_on_anew_is_made_there() {
    let mut it = Learner::new();
    let (client, session) = watches(&mut it);
    it.create(session, 1, "/before", b"");
    it.set("/seen", b"new", 1);
    it.learn(2);
    assert_eq!(it.numbers(client), [1]);
    it.is_here(session);
    assert_eq!(it.handed_on(), [(session, 3, CREATE)]);
    it.set("/seen", b"newer", 2);
    it.create(session, 3, "/behind", b"");
    assert_eq!(it.numbers(client), [1, 2, 3], "what it shows is no change");
    assert_eq!(data(&it.told(client)[1]), b"newer");
    it.set("/seen", b"newest", 3);
    is_event_of(it.told(client).last().expect("an event"), "/seen");
    assert_eq!((it.numbers(client), it.in_flight()), (vec![1, 2, 3, -1], (0, 0)));
}

/// Short when they were asked for, and long when they were made, while nobody can be told.
#[test]
fn answers_that_are_held_back_are_bounded() {
    const LONG: usize = 1 << 20;
    // 16 MiB, and what stands before the data of each.
    for (reads, are_kept) in [(15, true), (16, false)] {
        let mut it = Learner::of(Options { chunk_max: 1 << 20, ..Options::default() });
        let (client, session) = it.client();
        let (idle, _) = it.client();
        it.create(ELSEWHERE, 0, "/grows", b"short");
        it.writes(client, 1, "/before");
        (0..reads).for_each(|n| it.reads(client, 2 + n, "/grows", n == 0));
        it.writes(client, 2 + reads, "/behind");
        assert_eq!(it.handed_on().len(), 2);
        it.look();
        it.create(session, 1, "/before", b"");
        it.set("/grows", &vec![b'x'; LONG], 1);
        it.create(session, 2 + reads, "/behind", b"");
        let are_open = [client, idle].map(|it_is| !it.is_closed(it_is));
        assert_eq!(are_open, [are_kept; 2], "{reads}: while nobody can be told, they would be kept");
        it.learn(2);
        let all: Vec<i32> = (1..=2 + reads).collect();
        assert_eq!(it.numbers(client), if are_kept { all } else { vec![] }, "{reads}");
        assert_eq!(it.in_flight(), (0, 0));
    }
}

/// The leader sees one connection, whoever of those behind it asks.
#[test]
fn what_an_observer_has_of_a_client_that_has_gone_on_is_not_handed_on() {
    const OBSERVER: zab::ConnId = zab::ConnId(1);
    const ANOTHER: zab::ConnId = zab::ConnId(2);
    let mut it = Learner::new();
    let may = |it: &mut Learner| [OBSERVER, ANOTHER].map(|conn| it.world.pipeline.may_hand_on(conn, ELSEWHERE));
    assert_eq!(may(&mut it), [true; 2], "what is not known here is the leader's to judge");
    let txn = Txn::CreateSession(CreateSessionTxn { timeout_ms: 30_000 });
    it.commit(ELSEWHERE, 0, OpCode::CreateSession, txn);
    assert_eq!(may(&mut it), [true, false], "it is with who wrote first");

    // From the question on, it is here; also when its connection has gone.
    let client = it.world.open(0);
    it.world.write(client, &connect(ELSEWHERE, Zxid::ZERO, 30_000));
    assert!(matches!(it.wishes()[..], [Wish::Revalidate { session: ELSEWHERE, .. }]));
    assert_eq!(may(&mut it), [false; 2]);
    it.is_here(ELSEWHERE);
    assert_eq!((it.world.session(client), may(&mut it)), (Some((ELSEWHERE, 30_000)), [false; 2]));
    it.world.hang_up(client);
    it.world.settle();
    assert_eq!(may(&mut it), [false; 2]);

    // Until an observer asks for it, which closes what it has here.
    let client = it.world.open(0);
    it.world.write(client, &connect(ELSEWHERE, Zxid::ZERO, 30_000));
    assert_eq!(it.wishes().len(), 1);
    it.is_here(ELSEWHERE);
    let World { shared, pipeline, .. } = &mut it.world;
    let woken = pipeline.asked_by_observer(shared, ANOTHER, ELSEWHERE);
    it.world.woken.extend(woken);
    it.world.settle();
    assert_eq!((it.is_closed(client), may(&mut it)), (true, [false, true]));

    // Then the answer to what was asked before that comes too late.
    let client = it.world.open(0);
    it.world.write(client, &connect(ELSEWHERE, Zxid::ZERO, 30_000));
    assert_eq!(it.wishes().len(), 1);
    let World { shared, pipeline, .. } = &mut it.world;
    let woken = pipeline.asked_by_observer(shared, ANOTHER, ELSEWHERE);
    it.world.woken.extend(woken);
    it.is_here(ELSEWHERE);
    it.world.settle();
    assert_eq!((it.is_closed(client), may(&mut it)), (true, [false, true]));
}
