//! A shard's part in sessions: the handshake, its answers, auth packets, and the last words to a connection.

use auth::AuthError;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::{self, ReplyHeader};
use wire::request::AuthPacket;
use wire::{Buffer, ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};

use crate::answers::LastOp;
use crate::connection::{Connection, Phase};
use crate::inbox::{ConnId, Granted, Submission};
use crate::session::{password, password_matches};
use crate::shard::Shard;
use crate::shard_receive::Step;
use crate::shared::Shared;
use crate::throttle::SessionWish;
use crate::time::Now;

impl Shard {
    pub(crate) fn connect(&mut self, now: Now, shared: &Shared, conn: ConnId, payload: &[u8]) -> Step {
        let mut r = Reader::with_limit(payload, self.config.length_max);
        let Ok(request) = r.read::<ConnectRequest<'_>>() else { return Step::Close };
        let stats = &shared.shard_stats[self.config.shard as usize];
        if let Some(throttle) = &shared.connection_throttle {
            let wish = if request.session.0 == 0 { SessionWish::New } else { SessionWish::Renew };
            let mut throttle = throttle.lock();
            if !throttle.admit(now, wish) {
                stats.connection_rejected.add(1);
                return Step::Close;
            }
            stats.token_deficit.record(throttle.deficit());
        }
        stats.connection_requests.add(1);
        if request.last_zxid_seen > shared.tree.read().last_processed() {
            // It has seen a future that this server does not know: it shall try another one.
            return Step::Close;
        }
        let timeout_ms = request.timeout_ms.max(self.config.timeout_min_ms).min(self.config.timeout_max_ms);
        let Some(found) = self.get_mut(conn) else { return Step::Close };
        found.sends_read_only = request.read_only.is_some();
        found.phase = Phase::Connecting;
        found.heard = true;
        let (session, read_only) = (request.session, request.read_only == Some(true));
        if session.0 == 0 {
            self.submit(Submission::Connect { conn, timeout_ms, read_only, received_us: now.mono_us });
        } else if password_matches(session, request.password) {
            stats.revalidated.add(1);
            self.submit(Submission::Renew { conn, session, timeout_ms, read_only });
        } else if shared.is_serving() {
            stats.revalidated.add(1);
            self.expired(shared, conn);
        } else {
            // Who has no leader says nothing about sessions.
            return Step::Close;
        }
        Step::Next
    }

    /// Answers a ConnectRequest whose session is there.
    pub(crate) fn established(
        &mut self,
        now: Now,
        shared: &Shared,
        conn: ConnId,
        session: SessionId,
        timeout_ms: i32,
        granted: Granted,
    ) {
        let stats = &shared.shard_stats[self.config.shard as usize];
        // The session may have gone on elsewhere meanwhile: then this connection closes.
        let Some(found) = self.get_mut(conn).filter(|found| found.phase == Phase::Connecting) else { return };
        found.phase = Phase::Established;
        found.session = session;
        found.timeout_ms = timeout_ms;
        found.heard_ms = now.mono_ms();
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session,
            password: Some(&password(session)),
            read_only: found.sends_read_only.then_some(granted == Granted::ToRead),
        };
        let start = frame::begin(&mut found.out);
        response.write(&mut found.out);
        frame::finish(&mut found.out, start);
        found.sent += 1;
        stats.packets_sent.add(1);
        if let Granted::Created { zxid, received_us } = granted {
            // Asked with the number 0.
            let latency = found.answers.add(now, LastOp::Of(OpCode::CreateSession), Xid(0), zxid, received_us);
            stats.latency.record(latency);
            stats.update_latency.record(latency);
        }
        if !found.unread.is_empty() {
            self.pause(conn.slot);
        }
        self.mark_dirty(conn.slot);
    }

    /// Answers a ConnectRequest whose session is over.
    pub(crate) fn expired(&mut self, shared: &Shared, conn: ConnId) {
        let Some(found) = self.get_mut(conn) else { return };
        let response = ConnectResponse::expired(found.sends_read_only.then_some(false));
        let start = frame::begin(&mut found.out);
        response.write(&mut found.out);
        frame::finish(&mut found.out, start);
        found.phase = Phase::Closing;
        found.sent += 1;
        shared.shard_stats[self.config.shard as usize].packets_sent.add(1);
        self.mark_dirty(conn.slot);
    }

    /// An auth packet acts at once: what is behind it has the new identity. Its reply may overtake.
    pub(crate) fn auth(&mut self, now: Now, shared: &Shared, conn: ConnId, xid: Xid, body: &[u8]) -> Step {
        let schemes = self.config.auth.clone();
        let mut r = Reader::with_limit(body, self.config.length_max);
        // One that can't be read ends the connection, as in Apache, which reads it outside of the pipeline.
        let Ok(packet) = r.read::<AuthPacket<'_>>() else { return Step::Close };
        let stats = &shared.shard_stats[self.config.shard as usize];
        let Some(found) = self.get_mut(conn) else { return Step::Close };
        let scheme = packet.scheme.as_deref().unwrap_or_default();
        let key = || shared.tree.read().get("/key").and_then(|node| node.data().map(<[u8]>::to_vec));
        let login = found.identities.login(&schemes, scheme, packet.auth, key);
        let names_ensemble = scheme == "ensemble" && packet.auth.is_some_and(|a| !a.is_empty());
        let err = match login {
            Ok(identities) => {
                found.identities = identities;
                if let Some(names) = schemes.ensemble.as_ref().filter(|_| scheme == "ensemble") {
                    let counted = names_ensemble && !names.is_empty();
                    if counted { &stats.ensemble_auth_success } else { &stats.ensemble_auth_skip }.add(1);
                }
                ErrorCode::OK
            }
            Err(AuthError::WrongEnsemble) => {
                stats.ensemble_auth_fail.add(1);
                return Step::Close;
            }
            Err(_) => {
                found.phase = Phase::Closing;
                stats.auth_failed.add(1);
                ErrorCode::AUTH_FAILED
            }
        };
        self.reply(now, shared, conn, xid, Zxid::ZERO, err);
        Step::Next
    }

    /// A SASL token, where SASL is not set up: answered with no token at all, as Apache does. One that is null itself ends
    /// the connection there, too.
    pub(crate) fn sasl(&mut self, now: Now, shared: &Shared, conn: ConnId, xid: Xid, body: &[u8]) -> Step {
        let mut r = Reader::with_limit(body, self.config.length_max);
        let Ok(Some(_)) = r.read::<Buffer<'_>>() else { return Step::Close };
        let Some(found) = self.get_mut(conn) else { return Step::Close };
        let start = frame::begin(&mut found.out);
        ReplyHeader { xid, zxid: Zxid::ZERO, err: ErrorCode::OK }.write(&mut found.out);
        let no_token: Buffer<'_> = None;
        no_token.write(&mut found.out);
        frame::finish(&mut found.out, start);
        self.count_sent(now, shared, conn, start);
        self.mark_dirty(conn.slot);
        Step::Next
    }

    /// Does the pipeline ask which sessions were heard of? Then the driver looks at the sockets of those that
    /// [`doubtful`](Self::doubtful) names, and [`tell_touches`](Self::tell_touches) answers.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The connections whose sessions would end now: nothing was heard for their timeout. What they said may be in their
    /// sockets, if this thread was late, or if they have so much to read that they are not read. Of these, a client that
    /// takes nothing of it is not among them: its socket is not read for its own fault.
    pub fn doubtful(&self, now: Now) -> impl Iterator<Item = ConnId> {
        let is_doubtful = move |c: &&Connection| {
            c.phase == Phase::Established
                && c.heard_ms + i64::from(c.timeout_ms) <= now.mono_ms()
                && (c.unsent() <= self.config.out_pause || c.took_ms > c.heard_ms)
        };
        self.connections().filter(is_doubtful).map(|c| c.id)
    }

    /// There is something in the socket of this connection: it was not silent. Who is not read for what it has to read was
    /// heard when it last took some of that: a client on a slow link lives, a deaf one has its timeout from there.
    pub fn has_unread(&mut self, now: Now, conn: ConnId) {
        let out_pause = self.config.out_pause;
        if let Some(found) = self.get_mut(conn) {
            found.heard = true;
            let is_read = found.unsent() <= out_pause;
            found.heard_ms = if is_read { now.mono_ms() } else { found.heard_ms.max(found.took_ms) };
        }
    }

    /// Answers the pipeline's question.
    pub fn tell_touches(&mut self) {
        let Some(round) = self.asked.take() else { return };
        let mut heard = std::mem::take(&mut self.departed);
        for conn in self.connections.iter_mut().filter_map(Option::as_deref_mut) {
            // A frame that waits, whatever for, was heard when it came.
            let is_behind = conn.paused || conn.held.waits || conn.long.is_some();
            let waits = conn.phase == Phase::Established && is_behind;
            if (std::mem::take(&mut conn.heard) || waits) && conn.session.0 != 0 {
                heard.push((conn.session, conn.heard_ms));
            }
        }
        let shard = self.config.shard;
        self.submit(Submission::Touches { shard, round, heard });
    }

    /// This shard's thread did not run from `from_ms` to `to_ms`, on the clock that never goes back.
    pub fn slept(&mut self, from_ms: i64, to_ms: i64) {
        self.submit(Submission::Slept { from_ms, to_ms });
    }

    /// Anything but a login from a connection without an identity that is demanded: said so, then closed. The session
    /// lives on. Source: `AuthenticationHelper.enforceAuthentication`.
    pub(crate) fn refuse_unauthenticated(&mut self, now: Now, shared: &Shared, conn: ConnId, xid: Xid) -> Step {
        self.reply(now, shared, conn, xid, Zxid::ZERO, ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH);
        if let Some(found) = self.get_mut(conn) {
            found.phase = Phase::Closing;
        }
        Step::Next
    }

    /// An operation that this server does not have: said so, then closed. The session lives on.
    pub(crate) fn unimplemented(&mut self, now: Now, shared: &Shared, conn: ConnId, xid: Xid) -> Step {
        self.reply(now, shared, conn, xid, Zxid(-1), ErrorCode::UNIMPLEMENTED);
        if let Some(found) = self.get_mut(conn) {
            found.phase = Phase::Closing;
        }
        Step::Next
    }

    fn reply(&mut self, now: Now, shared: &Shared, conn: ConnId, xid: Xid, zxid: Zxid, err: ErrorCode) {
        let Some(found) = self.get_mut(conn) else { return };
        let start = frame::begin(&mut found.out);
        ReplyHeader { xid, zxid, err }.write(&mut found.out);
        frame::finish(&mut found.out, start);
        self.count_sent(now, shared, conn, start);
        self.mark_dirty(conn.slot);
    }
}
