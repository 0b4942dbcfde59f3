//! Sessions live for as long as their clients are heard of, and not much longer, as far as one leader can be blamed: what a
//! client says to the leader itself is heard in time, whatever the network does, and a leader that has led for long enough
//! without a break knows of every client that is still there.
//!
//! Of clients of other servers it hears by these servers' pings, which may be late: what such a ping has told it counts.
//!
//! What is over stays over: no write of the session is committed behind its end, and no server that has applied the end gives the
//! session to anybody. That its ephemerals go with it is for `model`.

use std::collections::{BTreeMap, BTreeSet};

use wire::quorum::Touch;
use wire::txn::{Txn, TxnEntry};
use wire::{SessionId, Zxid};
use zab::RoleId;

use super::{Model, Truth};
use crate::world::net::ConnNumber;

/// A process, and the role in which it leads.
type Leads = (u32, RoleId);

/// What a server has heard of a session last.
#[derive(Debug, Clone, Copy)]
pub(in crate::whole) struct Heard {
    pub(in crate::whole) process: u32,
    /// On that server's clock.
    pub(in crate::whole) at_ms: i64,
    pub(in crate::whole) timeout_ms: u64,
}

/// A leader, as it looks at its clock.
#[derive(Clone, Copy)]
pub(in crate::whole) struct Leader<'a> {
    pub(in crate::whole) server: usize,
    pub(in crate::whole) leads: Leads,
    pub(in crate::whole) now_us: u64,
    /// What its clock showed then, in ms.
    pub(in crate::whole) clock_ms: &'a dyn Fn(u64) -> i64,
    /// Without a word for so long, by that clock, a session is over, however late anything comes.
    pub(in crate::whole) bound_ms: i64,
}

/// Who was heard of, and when.
#[derive(Debug, Default)]
pub(in crate::whole) struct Lifetimes {
    /// What each server has heard of each session. Nothing while its client is on its way to another server.
    by: BTreeMap<(SessionId, usize), Heard>,
    /// When, in µs.
    at_us: BTreeMap<SessionId, u64>,
    /// Whose clients have asked for the end.
    asked: BTreeSet<SessionId>,
    /// Since when each leader has led.
    since_us: BTreeMap<usize, (Leads, u64)>,
    /// Which txn ended each session.
    over: BTreeMap<SessionId, Zxid>,
    /// What a server had applied when a client's connection came.
    knocked: BTreeMap<ConnNumber, Zxid>,
}

impl Lifetimes {
    /// A server reads what the client of this session has sent.
    pub(in crate::whole) fn on_heard(&mut self, session: SessionId, server: usize, now_us: u64, heard: Heard) {
        self.by.insert((session, server), heard);
        self.at_us.insert(session, now_us);
    }

    /// A ping tells a leader of these.
    pub(in crate::whole) fn on_told(&mut self, server: usize, process: u32, at_ms: i64, touched: &[Touch]) {
        for touch in touched {
            let heard = Heard { process, at_ms, timeout_ms: touch.timeout_ms as u64 };
            self.by.insert((touch.session, server), heard);
        }
    }

    /// A client goes to another server, and may get another timeout there.
    pub(in crate::whole) fn on_moves(&mut self, session: SessionId, now_us: u64) {
        self.by.retain(|(it, _), _| *it != session);
        self.at_us.insert(session, now_us);
    }

    /// A client asks for the end of its session.
    pub(in crate::whole) fn on_end_asked(&mut self, session: SessionId) {
        self.asked.insert(session);
    }

    /// The first bytes of a connection come to a server that has applied all up to `applied`.
    pub(in crate::whole) fn on_knock(&mut self, conn: ConnNumber, applied: Zxid) {
        self.knocked.insert(conn, applied);
    }

    /// `Err`: it may not be committed here.
    pub(super) fn on_committed(&mut self, entry: &TxnEntry<'_>, model: &Model) -> Result<(), String> {
        let (session, zxid) = (entry.header.session, entry.header.zxid);
        match (&entry.txn, self.over.get(&session)) {
            // Why a request is refused; that an end is no second one is for `model`.
            (Txn::Error(_) | Txn::CreateSession(_), None) | (Txn::Error(_), Some(_)) => {}
            (Txn::CloseSession(_), _) => {
                self.over.entry(session).or_insert(zxid);
            }
            (_, Some(end)) => return Err(format!("{zxid} is a write of session {session}, which ended with {end}")),
            // Session 0 is the server itself.
            (_, None) if session != SessionId(0) && !model.lives(session) => {
                return Err(format!("{zxid} is a write of session {session}, which never began"));
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// A server does not lead, or did not run for a while.
    pub(in crate::whole) fn on_break(&mut self, server: usize) {
        self.since_us.remove(&server);
    }

    /// Somebody did not run, and lets the sessions of its clients live for as much longer.
    pub(in crate::whole) fn on_slept(&mut self) {
        self.since_us.clear();
    }
}

impl Truth {
    /// A leader has decided by its clock that these end, or a client has.
    pub(in crate::whole) fn on_leader_closing(
        &mut self,
        server: usize,
        process: u32,
        now_ms: i64,
        sessions: impl Iterator<Item = SessionId>,
    ) {
        for session in sessions.filter(|it| !self.closing.contains(it)).collect::<Vec<_>>() {
            let Some(heard) = self.lifetimes.by.get(&(session, server)) else { continue };
            let silent_ms = now_ms - heard.at_ms;
            if heard.process == process
                && silent_ms < heard.timeout_ms as i64
                && !self.lifetimes.asked.contains(&session)
            {
                let what = format!(
                    "server {} ends session {session}, whose client it has heard {silent_ms} ms ago, with a timeout of {} ms",
                    server + 1,
                    heard.timeout_ms
                );
                self.wrong("lifetimes", what);
            }
        }
    }

    /// A client is given its session again, on this connection.
    pub(in crate::whole) fn on_given_again(&mut self, session: SessionId, conn: ConnNumber) {
        let applied = self.lifetimes.knocked.get(&conn);
        if let (Some(end), Some(applied)) = (self.lifetimes.over.get(&session), applied)
            && end <= applied
        {
            let what = format!("session {session} ended with {end}, and a server that was at {applied} gives it again");
            self.wrong("lifetimes", what);
        }
    }

    /// A leader that serves looks at its clock.
    pub(in crate::whole) fn on_leader_tick(&mut self, leader: Leader<'_>) {
        let Leader { server, leads, now_us, clock_ms, bound_ms } = leader;
        let since = self.lifetimes.since_us.entry(server).or_insert((leads, now_us));
        if since.0 != leads {
            *since = (leads, now_us);
        }
        let (since_us, now_ms) = (since.1, clock_ms(now_us));
        let mut over = Vec::new();
        for session in self.model.live().filter(|it| !self.closing.contains(it)) {
            let heard_us = *self.lifetimes.at_us.entry(session).or_insert(now_us);
            let silent_ms = now_ms - clock_ms(heard_us.max(since_us));
            if silent_ms > bound_ms {
                over.push(format!(
                    "server {} has led for long, has not heard of session {session} for {silent_ms} ms, and lets it live",
                    server + 1
                ));
            }
        }
        for what in over {
            self.wrong("lifetimes", what);
        }
    }
}
