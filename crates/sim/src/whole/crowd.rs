//! What clients do, and what they are answered.

use peer::session::password;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::multi::MultiHeader;
use wire::request::{CreateRequest, DeleteRequest, PathRequest, ReadRequest, SetDataRequest, SetWatches};
use wire::response::{GetChildren2Response, GetDataResponse, PathResponse, StatResponse};
use wire::watcher::{EventType, WatcherEvent};
use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Stat, Xid, Zxid};

use super::check::{Outcome, Read, WatchKind};
use super::client::{Asked, Phase, What};
use super::{Event, Message, Sabotage, World};
use crate::world::Kind;
use crate::world::common_faults::LAST_NUMBER;
use crate::world::net::{ConnNumber, Port, Who};
use crate::world::trace::Words;

/// Directories that clients share, and names in them.
pub(super) const DIRECTORIES: u64 = 4;
const NAMES: u64 = 3;
/// The xid of a setWatches, in every client.
const SET_WATCHES: Xid = Xid(-8);

impl World {
    pub(super) fn wake_client(&mut self, c: usize) {
        let think_us = self.setup.think.draw(&mut self.rng);
        let client = &mut self.clients[c];
        client.calls += 1;
        let call = client.calls;
        self.queue.push(self.now_us + think_us, Event::Client { client: c, call });
    }

    pub(super) fn on_client(&mut self, c: usize, call: u32) {
        let now_us = self.now_us;
        let client = &mut self.clients[c];
        if client.calls != call {
            return;
        }
        let timeout_us = client.timeout_ms * 1000;
        match client.conn {
            None if client.is_done => return,
            None if now_us < self.later.quiet_until_us => {}
            None => self.client_connects(c),
            Some(conn) if now_us > client.heard_us + timeout_us * 2 / 3 => {
                client.lost();
                self.close_end(conn, 0);
            }
            Some(_) if client.phase == Phase::Away => {}
            Some(_) => {
                if now_us > client.spoke_us + timeout_us / 4 {
                    self.say(c, &RequestHeader { xid: Xid::PING, op: OpCode::Ping.code() }.to_vec());
                }
                if !self.clients[c].is_done && now_us >= self.later.quiet_until_us {
                    let burst = self.rng.between(1, self.setup.pipelined as u64);
                    (0..burst).for_each(|_| self.act(c));
                }
            }
        }
        self.wake_client(c);
    }

    fn client_connects(&mut self, c: usize) {
        let s = self.rng.below(self.servers.len() as u64) as usize;
        let Some(process) = &self.servers[s].process else { return };
        let conn = self.net.open(Port::Client, Who::Client(c), Who::Server(s, process.number));
        let timeout_ms = self.setup.tick_ms * self.rng.between(4, 20);
        let takes_old = self.setup.read_only && self.rng.chance(300);
        let client = &mut self.clients[c];
        client.conn = Some(conn);
        client.connections += 1;
        client.takes_old = takes_old;
        client.timeout_ms = timeout_ms;
        client.heard_us = self.now_us;
        self.truth.lifetimes.on_moves(client.session, self.now_us);
        let mut password = password(client.session);
        if self.sabotage == Sabotage::WrongPassword {
            password[0] ^= 1;
        }
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: if self.sabotage == Sabotage::ForgetsSeen { Zxid::ZERO } else { client.seen },
            timeout_ms: timeout_ms as i32,
            session: client.session,
            password: Some(&password),
            read_only: Some(takes_old || self.sabotage == Sabotage::AllTakeOld),
        };
        let payload = request.to_vec();
        self.say(c, &payload);
    }

    fn say(&mut self, c: usize, payload: &[u8]) {
        let Some(conn) = self.clients[c].conn else { return };
        self.clients[c].spoke_us = self.now_us;
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        bytes.extend_from_slice(payload);
        frame::finish(&mut bytes, start);
        self.send_from(conn, 0, Message::Bytes(bytes.into()));
    }

    /// Asks for something, if it may.
    pub(super) fn ask(&mut self, c: usize, op: OpCode, body: &[u8], what: What) {
        let floor = self.truth.acknowledged;
        let client = &mut self.clients[c];
        if client.asked.len() > self.setup.pipelined.max(1) {
            return;
        }
        let xid = match what {
            What::SetWatches(_) => SET_WATCHES,
            _ => {
                client.last_xid += 1;
                Xid(client.last_xid)
            }
        };
        if !client.only_reads && matches!(what, What::Create | What::Write | What::Multi | What::Reconfig | What::Close)
        {
            self.truth.sessions.on_sent(client.session, xid, client.connections);
        }
        if what == What::Close {
            self.truth.lifetimes.on_end_asked(client.session);
        }
        client.asked.push_back(Asked { xid, what, floor });
        let mut payload = RequestHeader { xid, op: op.code() }.to_vec();
        payload.extend_from_slice(body);
        self.say(c, &payload);
    }

    /// One thing that clients do.
    fn act(&mut self, c: usize) {
        let directory = format!("/k{}", self.rng.below(DIRECTORIES));
        let name = self.rng.below(NAMES);
        let data = format!("{c}-{}", self.clients[c].last_xid);
        let data = Some(data.as_bytes());
        let watch = self.rng.chance(400);
        let create =
            |path: &str, flags: i32| CreateRequest { path: Some(path.into()), data, acl: AclVec::OPEN, flags }.to_vec();
        let set = |path: &str| SetDataRequest { path: Some(path.into()), data, version: -1 }.to_vec();
        let delete = |path: &str| DeleteRequest { path: Some(path.into()), version: -1 }.to_vec();
        let read = |path: &str| ReadRequest { path: Some(path.into()), watch }.to_vec();
        let (plain, ephemeral) = (format!("{directory}/c{name}"), format!("{directory}/e{name}"));
        let any = match self.rng.below(3) {
            0 => directory.clone(),
            1 => plain.clone(),
            _ => ephemeral.clone(),
        };
        match self.rng.below(100) {
            0..10 => self.ask(c, OpCode::Create, &create(&directory, 0), What::Create),
            10..18 => self.ask(c, OpCode::Create, &create(&plain, 0), What::Create),
            18..26 => self.ask(c, OpCode::Create, &create(&ephemeral, 1), What::Create),
            26..34 => match self.clients[c].sequential.take() {
                Some(path) => self.ask(c, OpCode::Delete, &delete(&path), What::Write),
                None => {
                    let flags = 2 + self.rng.below(2) as i32;
                    self.ask(c, OpCode::Create, &create(&format!("{directory}/s-"), flags), What::Create);
                }
            },
            34..44 => self.ask(c, OpCode::SetData, &set(&any), What::Write),
            44..52 => self.ask(c, OpCode::Delete, &delete(&any), What::Write),
            52..56 => {
                let mut body = Vec::new();
                for (op, part) in [(OpCode::SetData, set(&directory)), (OpCode::Create, create(&plain, 0))] {
                    MultiHeader { kind: op.code(), done: false, err: -1 }.write(&mut body);
                    body.extend(part);
                }
                MultiHeader { kind: -1, done: true, err: -1 }.write(&mut body);
                self.ask(c, OpCode::Multi, &body, What::Multi);
            }
            56..70 => self.ask(c, OpCode::GetData, &read(&any), What::Get { path: any.clone(), watch }),
            70..82 => self.ask(c, OpCode::Exists, &read(&any), What::Exists { path: any.clone(), watch }),
            82..92 => {
                let what = What::Children { path: directory.clone(), watch };
                self.ask(c, OpCode::GetChildren2, &read(&directory), what);
            }
            92..99 => {
                let body = PathRequest { path: Some("/".into()) }.to_vec();
                if self.sabotage == Sabotage::SyncsAreReads {
                    let body = ReadRequest { path: Some("/".into()), watch: false }.to_vec();
                    self.ask(c, OpCode::Exists, &body, What::Sync);
                } else {
                    self.ask(c, OpCode::Sync, &body, What::Sync);
                }
                self.ask(c, OpCode::GetData, &read(&any), What::Get { path: any.clone(), watch });
            }
            _ if self.rng.chance(300) => self.ask(c, OpCode::CloseSession, &[], What::Close),
            _ => {}
        }
    }

    pub(super) fn on_client_message(&mut self, c: usize, conn: ConnNumber, message: Message) {
        if self.clients[c].conn != Some(conn) {
            return;
        }
        match message {
            Message::Bytes(bytes) => {
                self.clients[c].received.extend_from_slice(&bytes);
                loop {
                    let client = &mut self.clients[c];
                    let Ok(Some((payload, rest))) = frame::split(&client.received, 1 << 20) else { return };
                    let (payload, rest) = (payload.to_vec(), rest.to_vec());
                    client.received = rest;
                    client.heard_us = self.now_us;
                    if self.on_frame(c, &payload).is_err() {
                        let what = format!("client {c} gets a frame that it can't read: {payload:02x?}");
                        self.truth.wrong("encoding", what);
                    }
                    if self.clients[c].conn != Some(conn) {
                        return;
                    }
                }
            }
            Message::End => {
                self.clients[c].lost();
                self.close_end(conn, 0);
            }
            _ => {}
        }
    }

    fn on_frame(&mut self, c: usize, payload: &[u8]) -> Result<(), wire::DecodeError> {
        let mut r = Reader::new(payload);
        if self.clients[c].phase == Phase::Away {
            let response: ConnectResponse<'_> = r.read()?;
            self.on_connected(c, &response);
            return Ok(());
        }
        let header: ReplyHeader = r.read()?;
        match header.xid {
            Xid::PING => Ok(()),
            Xid(-1) => {
                let event: WatcherEvent<'_> = r.read()?;
                let times = match self.sabotage {
                    Sabotage::LosesEvents => 0,
                    Sabotage::RepeatsEvents => 2,
                    _ => 1,
                };
                (0..times).for_each(|_| self.on_event(c, &event));
                Ok(())
            }
            _ => self.on_reply(c, header, &mut r),
        }
    }

    fn on_connected(&mut self, c: usize, response: &ConnectResponse<'_>) {
        let client = &mut self.clients[c];
        let old = client.session;
        if response.timeout_ms <= 0 {
            if !self.truth.is_closing(old) {
                let what = format!("client {c} is told that session {old} is over, and nobody has closed it");
                self.truth.wrong("sessions", what);
            }
            client.forget_session();
            if let Some(conn) = client.conn {
                client.lost();
                self.close_end(conn, 0);
            }
            return;
        }
        if old != SessionId(0) && response.session != old {
            self.truth.wrong("sessions", format!("client {c} asks for session {old}, and gets {}", response.session));
            return;
        }
        client.only_reads = response.read_only == Some(true);
        if client.only_reads && !client.takes_old {
            self.truth.on_old_for_all(c);
        }
        if let (Some(conn), true) = (client.conn, old != SessionId(0)) {
            self.truth.on_given_again(old, conn);
        }
        client.session = response.session;
        client.timeout_ms = response.timeout_ms as u64;
        client.phase = Phase::Served;
        if !client.watches.is_empty() {
            client.phase = Phase::SettingWatches;
            let seen = client.seen;
            let of = |kind| Some(client.watches.of(kind).map(|path| Some(path.into())).collect());
            let body = SetWatches {
                relative_zxid: if self.sabotage == Sabotage::SetsWatchesLate { Zxid(i64::MAX) } else { seen },
                data_watches: of(WatchKind::Data),
                exist_watches: of(WatchKind::Exist),
                child_watches: of(WatchKind::Child),
            };
            let body = body.to_vec();
            self.ask(c, OpCode::SetWatches, &body, What::SetWatches(seen));
        }
    }

    fn on_event(&mut self, c: usize, event: &WatcherEvent<'_>) {
        let kinds = [EventType::Created, EventType::Deleted, EventType::DataChanged, EventType::ChildrenChanged];
        let kind = kinds.into_iter().find(|it| *it as i32 == event.kind);
        let path = event.path.as_deref().unwrap_or_default();
        self.trace.event(self.now_us, Kind::Client, [c as u64, event.kind as u64, u64::MAX], || {
            Words::world(format!("client {c}: hears {kind:?} of {path}"))
        });
        let heard = match kind {
            Some(kind) => {
                let client = &mut self.clients[c];
                let is_setting = client.phase == Phase::SettingWatches;
                client.watches.on_event(path, kind, is_setting, &self.truth.model)
            }
            None => Err(format!("an event of kind {}", event.kind)),
        };
        if let Err(what) = heard {
            self.truth.wrong("watches", format!("client {c}: {what}"));
        }
    }

    fn on_reply(&mut self, c: usize, header: ReplyHeader, r: &mut Reader<'_>) -> Result<(), wire::DecodeError> {
        let ReplyHeader { xid, zxid, err } = header;
        let client = &mut self.clients[c];
        let Some(asked) = client.asked.pop_front().filter(|it| it.xid == xid) else {
            self.truth.wrong("answers", format!("client {c} is answered {}, and did not ask that next", xid.0));
            return Ok(());
        };
        self.tally.answers += 1;
        self.trace.event(self.now_us, Kind::Client, [c as u64, xid.0 as u64, zxid.0 as u64], || {
            Words::world(format!("client {c}: {:?} {} is answered {err:?} at {zxid}", asked.what, xid.0))
        });
        if matches!(err, ErrorCode::SESSION_EXPIRED | ErrorCode::SESSION_MOVED) {
            // The connection ends with it.
            return Ok(());
        }
        if client.only_reads {
            return self.on_reply_to_reader(c, &asked.what, header, r);
        }
        let seen = client.seen;
        client.seen = zxid.max(seen);
        self.truth.on_answer(c, seen, zxid);
        if err == ErrorCode::QUOTA_EXCEEDED {
            let is_used_up = |n| self.truth.model.at(&format!("/k{n}"), zxid).is_some_and(|it| it.cversion == i32::MAX);
            if (0..DIRECTORIES).any(is_used_up) {
                self.tally.took_place(LAST_NUMBER);
            } else {
                self.truth.wrong("answers", format!("client {c} is refused a number, and there are some left"));
            }
        }
        let session = self.clients[c].session;
        let mut write = |created: Option<&str>, results: &[ErrorCode]| {
            let floor = asked.floor;
            self.truth.on_write(c, Outcome { session, xid, zxid, err, created, results, floor });
        };
        let is_ok = err == ErrorCode::OK;
        match &asked.what {
            What::Create => {
                let response: Option<PathResponse<'_>> = if is_ok { Some(r.read()?) } else { None };
                let created = response.and_then(|it| it.path);
                write(created.as_deref(), &[]);
                if let Some(path) = created.filter(|it| it.contains("/s-")) {
                    self.clients[c].sequential = Some(path.into());
                }
            }
            What::Write | What::Reconfig => write(None, &[]),
            What::Multi => {
                let mut results = if is_ok { multi_results(r)? } else { Vec::new() };
                if self.sabotage == Sabotage::MultisNeverFail {
                    results.fill(ErrorCode::OK);
                }
                write(None, &results);
            }
            What::Close => {
                write(None, &[]);
                let client = &mut self.clients[c];
                client.forget_session();
                if let Some(conn) = client.conn {
                    client.lost();
                    self.close_end(conn, 0);
                }
                return Ok(());
            }
            What::Sync => self.truth.on_synced(c, zxid, asked.floor),
            What::SetWatches(seen) => {
                let client = &mut self.clients[c];
                client.phase = Phase::Served;
                if let Err(what) = client.watches.on_set_again(zxid, *seen, &self.truth.model) {
                    self.truth.wrong("watches", format!("client {c}: {what}"));
                }
            }
            What::Get { path, watch } | What::Exists { path, watch } | What::Children { path, watch } => {
                read_of(&asked.what, is_ok, r, |read| self.truth.on_read(c, zxid, read))?;
                let kind = match asked.what {
                    What::Children { .. } => WatchKind::Child,
                    What::Exists { .. } if !is_ok => WatchKind::Exist,
                    _ => WatchKind::Data,
                };
                self.watch(c, path, kind, zxid, *watch && (is_ok || kind == WatchKind::Exist));
            }
        }
        self.check_shown(c, zxid);
        Ok(())
    }

    /// An answer of a server without a leader. What it shows may be old, or never be committed; but it is what that server has,
    /// and nothing is written.
    fn on_reply_to_reader(
        &mut self,
        c: usize,
        what: &What,
        header: ReplyHeader,
        r: &mut Reader<'_>,
    ) -> Result<(), wire::DecodeError> {
        let ReplyHeader { zxid, err, .. } = header;
        let zxid = if self.sabotage == Sabotage::OldAnswersRunAhead { Zxid(zxid.0 + 1) } else { zxid };
        let client = &mut self.clients[c];
        let seen = std::mem::replace(&mut client.seen_alone, zxid);
        if let Some(Who::Server(s, process)) = client.conn.and_then(|it| self.net.conns.get(&it)).map(|it| it.ends[1]) {
            self.truth.on_old_answer(c, (s, process), seen, zxid);
        }
        match what {
            What::Create | What::Write | What::Multi | What::Reconfig | What::Sync => {
                self.truth.on_reader_writes(c, err);
            }
            What::Close => {
                let client = &mut self.clients[c];
                if let Some(conn) = client.conn {
                    client.lost();
                    self.close_end(conn, 0);
                }
            }
            What::SetWatches(_) => self.clients[c].phase = Phase::Served,
            What::Get { .. } | What::Exists { .. } | What::Children { .. } => {
                let is_lie = self.sabotage == Sabotage::OldAnswersAreWrong;
                read_of(what, err == ErrorCode::OK, r, |read| {
                    let stat = read.stat.map(|it| Stat { version: it.version ^ i32::from(is_lie), ..it });
                    self.truth.on_old_read(c, zxid, &Read { stat, ..read.clone() });
                })?;
            }
        }
        Ok(())
    }

    fn watch(&mut self, c: usize, path: &str, kind: WatchKind, zxid: Zxid, is_set: bool) {
        if is_set {
            self.clients[c].watches.set(path, kind, zxid);
        }
    }

    /// A reply shows the state at this zxid: all events up to it have come.
    fn check_shown(&mut self, c: usize, zxid: Zxid) {
        let client = &self.clients[c];
        if client.phase == Phase::Served
            && let Err(what) = client.watches.on_shown(zxid, &self.truth.model)
        {
            self.truth.wrong("watches", format!("client {c}: {what}"));
        }
    }
}

/// Looks at what the answer to a read shows.
fn read_of(
    what: &What,
    is_ok: bool,
    r: &mut Reader<'_>,
    look: impl FnOnce(&Read<'_>),
) -> Result<(), wire::DecodeError> {
    match what {
        What::Get { path, .. } => {
            let response: Option<GetDataResponse<'_>> = if is_ok { Some(r.read()?) } else { None };
            let stat = response.as_ref().map(|it| it.stat);
            let data = response.as_ref().map(|it| it.data.unwrap_or_default());
            look(&Read { path, stat, data, children: None });
        }
        What::Exists { path, .. } => {
            let response: Option<StatResponse> = if is_ok { Some(r.read()?) } else { None };
            look(&Read { path, stat: response.map(|it| it.stat), data: None, children: None });
        }
        What::Children { path, .. } => {
            let response: Option<GetChildren2Response<'_>> = if is_ok { Some(r.read()?) } else { None };
            let stat = response.as_ref().map(|it| it.stat);
            let names = response.iter().flat_map(|it| it.children.iter().flatten().flatten());
            let children = is_ok.then(|| names.map(|it| &**it).collect());
            look(&Read { path, stat, data: None, children });
        }
        _ => {}
    }
    Ok(())
}

/// What became of each operation of a multi.
fn multi_results(r: &mut Reader<'_>) -> Result<Vec<ErrorCode>, wire::DecodeError> {
    let mut results = Vec::new();
    loop {
        let header: MultiHeader = r.read()?;
        if header.done {
            return Ok(results);
        }
        results.push(match OpCode::from_code(header.kind) {
            Some(OpCode::Create) => r.read::<PathResponse<'_>>().map(|_| ErrorCode::OK)?,
            Some(OpCode::SetData) => r.read::<StatResponse>().map(|_| ErrorCode::OK)?,
            _ => r.read()?,
        });
    }
}
