//! After every crash a disk holds what it was given: all that was durable, perhaps some of what was on its way, nothing else.

use wire::Zxid;
use zab::Proposal;

use super::Violation;
use crate::store::history::{History, Link};

/// What each disk was given.
#[derive(Debug, Clone)]
pub(crate) struct Disks {
    now: Vec<Ledger>,
    /// Of disks that are gone: another may have been given what they held.
    gone: Vec<Ledger>,
}

/// What one of them was given.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    /// All that was appended, and not taken back.
    history: History,
    /// Where it begins to be known: what is before came in a snapshot.
    base: Zxid,
    /// Up to here it is durable.
    floor: Zxid,
    /// The chain of a snapshot that was received.
    received: Option<Link>,
    /// A snapshot that is being installed.
    installing: Option<(Zxid, Link)>,
}

impl Ledger {
    /// Of a disk that holds a snapshot alone. What led to it is taken over from a disk that was given the same history.
    fn of_snapshot(disks: &Disks, zxid: Zxid, link: Link) -> Self {
        let all = disks.now.iter().chain(&disks.gone);
        let source = all.filter(|it| it.history.link(zxid) == Some(link)).min_by_key(|it| it.base);
        let (mut history, base) = match source {
            Some(it) => (it.history.clone(), it.base),
            None => (History::ending(zxid, link), zxid),
        };
        history.cut(zxid);
        Self { history, base, floor: zxid, ..Self::default() }
    }
}

impl Disks {
    pub(super) fn new(servers: usize) -> Self {
        Self { now: vec![Ledger::default(); servers], gone: Vec::new() }
    }

    pub(super) fn wipe(&mut self, server: usize) {
        self.gone.push(std::mem::take(&mut self.now[server]));
    }

    pub(super) fn ledger(&self, server: usize) -> &Ledger {
        &self.now[server]
    }

    /// The disk is an old copy of itself.
    pub(super) fn restore(&mut self, server: usize, ledger: Ledger) {
        self.gone.push(std::mem::replace(&mut self.now[server], ledger));
    }

    /// The chain of what it was given, at this zxid.
    pub(super) fn link(&self, server: usize, zxid: Zxid) -> Option<Link> {
        if zxid == Zxid::ZERO { Some(Link::START) } else { self.now[server].history.link(zxid) }
    }

    pub(crate) fn on_append(&mut self, server: usize, proposal: &Proposal) {
        self.now[server].history.push(proposal.zxid, &proposal.txn);
    }

    pub(crate) fn on_durable(&mut self, server: usize, zxid: Zxid) {
        let floor = &mut self.now[server].floor;
        *floor = zxid.max(*floor);
    }

    /// Its log is being cut: it may end anywhere between.
    pub(crate) fn on_truncating(&mut self, server: usize, to: Zxid) {
        let floor = &mut self.now[server].floor;
        *floor = to.min(*floor);
    }

    pub(super) fn on_truncated(&mut self, server: usize, to: Zxid) {
        let ledger = &mut self.now[server];
        ledger.history.cut(to);
        ledger.floor = to;
    }

    pub(crate) fn on_received(&mut self, server: usize, link: Option<Link>) {
        self.now[server].received = link;
    }

    pub(crate) fn on_installing(&mut self, server: usize, zxid: Zxid) {
        let ledger = &mut self.now[server];
        ledger.installing = ledger.received.take().map(|link| (zxid, link));
    }

    pub(super) fn on_installed(&mut self, server: usize, zxid: Zxid) {
        if let Some((at, link)) = self.now[server].installing.take().filter(|(at, _)| *at == zxid) {
            self.now[server] = Ledger::of_snapshot(self, at, link);
        }
    }

    /// A start has found a history that ends so.
    pub(crate) fn on_recovered(&mut self, server: usize, last: Zxid, link: Link, violation: &mut Option<Violation>) {
        let installing = self.now[server].installing.take();
        if installing == Some((last, link)) {
            self.now[server] = Ledger::of_snapshot(self, last, link);
            return;
        }
        let ledger = &mut self.now[server];
        // One that takes txns back removes logs, the last ones first: the history may end anywhere between.
        let floor = installing.map_or(ledger.floor, |(at, _)| ledger.floor.min(at));
        let what = if ledger.history.link(last) != Some(link) {
            format!("server {} finds a history up to {last} that it was not given", server + 1)
        } else if last < floor {
            format!("server {} finds a history up to {last}, and {} was durable", server + 1, ledger.floor)
        } else {
            ledger.history.cut(last);
            ledger.floor = last;
            ledger.received = None;
            return;
        };
        violation.get_or_insert(Violation { checker: "recovery", what });
    }

    /// Up to where it is durable.
    pub(crate) fn floor(&self, server: usize) -> Zxid {
        self.now[server].floor
    }

    /// The end of all that was appended.
    pub(super) fn end(&self, server: usize) -> (Zxid, Link) {
        let history = &self.now[server].history;
        let last = history.last();
        (last, history.link(last).unwrap_or(Link::START))
    }

    /// Has it this very txn, as far as is known?
    pub(super) fn has(&self, server: usize, zxid: Zxid) -> bool {
        let ledger = &self.now[server];
        zxid < ledger.base || ledger.history.link(zxid).is_some()
    }

    /// Lacks it the history that ends so? One that came in a later snapshot is taken to be there.
    pub(super) fn lacks(&self, server: usize, zxid: Zxid, link: Link) -> bool {
        let ledger = &self.now[server];
        zxid >= ledger.base && ledger.history.link(zxid) != Some(link)
    }

    /// What it has behind `after`, up to `to`.
    pub(super) fn between(&self, server: usize, after: Zxid, to: Zxid) -> Vec<(Zxid, Link)> {
        self.now[server].history.between(after, to).to_vec()
    }
}
