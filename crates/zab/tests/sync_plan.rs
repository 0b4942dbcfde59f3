//! The way that a leader chooses brings any learner that ZAB allows to exactly the leader's history.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use ostler_zab::sync_plan::{plan, plan_from_disk};
use ostler_zab::{CommittedLog, CommittedLogLimits, LogPart, Proposal, SyncPlan};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::{Epoch, Zxid};

const LIMITS: CommittedLogLimits = CommittedLogLimits { txns: 500, bytes: 1 << 20 };

fn z(epoch: i32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn proposal(&zxid: &Zxid) -> Proposal {
    Proposal { zxid, txn: Bytes::from(zxid.0.to_be_bytes().to_vec()) }
}

/// A leader's committed history, and a learner's that comes from the same ensemble.
#[derive(Debug, Clone)]
struct Case {
    /// The leader's, oldest first; it begins behind 0.
    history: Vec<Zxid>,
    learner: Vec<Zxid>,
    /// The learner calls its history by the zxid of an epoch without a txn.
    new_epoch: Option<Zxid>,
    /// How much of the history is not in memory any more.
    start: usize,
    /// How much is not on the disk.
    disk_start: usize,
}

/// Epochs that have `lengths` txns; an empty one has none in the history.
fn history(lengths: &[u32]) -> Vec<Zxid> {
    let of = |(epoch, &length): (usize, &u32)| (1..=length).map(move |n| z(epoch as i32 + 1, n));
    lengths.iter().enumerate().flat_map(of).collect()
}

prop_compose! {
    fn cases()(lengths in vec(0..4_u32, 1..5))(
        history in Just(history(&lengths)),
        common in 0..=history(&lengths).len(),
        epochs in 0..3_i32,
        extra in 0..3_u32,
        is_named_by_epoch in any::<bool>(),
        start in 0..=history(&lengths).len(),
        disk_start in 0..=history(&lengths).len(),
    ) -> Case {
        let mut learner = history[..common].to_vec();
        let last = learner.last().copied().unwrap_or(Zxid::ZERO);
        // The leader of a later epoch took the whole history that an epoch began with: so what a learner has alone is of
        // the epoch in which its common part ends, or of one that began with that part, and the leader goes on later.
        let goes_on_in = history.get(common).map_or(i32::MAX, |next| next.epoch().0);
        let epoch = last.epoch().0 + epochs;
        let mut new_epoch = None;
        if epoch < goes_on_in && epoch > 0 {
            let from = if epoch == last.epoch().0 { last.counter() } else { 0 };
            learner.extend((1..=extra).map(|n| z(epoch, from + n)));
            if extra == 0 && is_named_by_epoch && epoch > last.epoch().0 {
                new_epoch = Some(z(epoch, 0));
            }
        }
        // It may also be the epoch that the leader goes on in.
        if epoch == goes_on_in && epoch > last.epoch().0 && is_named_by_epoch {
            new_epoch = Some(z(epoch, 0));
        }
        Case { history, learner, new_epoch, start, disk_start: disk_start.min(start) }
    }
}

impl Case {
    fn last(&self) -> Zxid {
        self.new_epoch.unwrap_or_else(|| end(&self.learner))
    }

    fn in_memory(&self) -> CommittedLog {
        let mut log = CommittedLog::new(LIMITS, end(&self.history[..self.start]));
        for zxid in &self.history[self.start..] {
            log.append(proposal(zxid)).unwrap();
        }
        log.commit(end(&self.history));
        log
    }

    /// What the disk gives from `zxid` on.
    fn on_disk(&self, zxid: Zxid) -> Option<LogPart> {
        let at = self.history.partition_point(|&it| it <= zxid);
        let known = at >= self.disk_start && (at > 0 || self.disk_start == 0);
        known.then(|| LogPart {
            before: end(&self.history[..at]),
            proposals: self.history[at..self.start.max(at)].iter().map(proposal).collect(),
        })
    }

    fn plan(&self) -> SyncPlan {
        match plan(self.last(), &self.in_memory(), false) {
            SyncPlan::ReadLog => plan_from_disk(self.last(), self.on_disk(self.last()).as_ref(), &self.in_memory()),
            decided => decided,
        }
    }

    fn behind(&self, after: Zxid) -> impl Iterator<Item = Zxid> + '_ {
        self.history.iter().copied().filter(move |&zxid| zxid > after)
    }
}

fn end(history: &[Zxid]) -> Zxid {
    history.last().copied().unwrap_or(Zxid::ZERO)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_leads_to_the_leaders_history(case in cases()) {
        let committed = end(&case.history);
        match case.plan() {
            SyncPlan::Diff { to, after } => {
                prop_assert!(to == committed || to == case.last());
                let whole: Vec<Zxid> = case.learner.iter().copied().chain(case.behind(after)).collect();
                prop_assert_eq!(&whole, &case.history);
            }
            SyncPlan::Trunc { to } => {
                let at = case.learner.iter().position(|&zxid| zxid == to);
                prop_assert!(at.is_some(), "the learner has no {to}");
                let kept = case.learner[..=at.unwrap()].iter().copied();
                prop_assert_eq!(&kept.chain(case.behind(to)).collect::<Vec<_>>(), &case.history);
            }
            SyncPlan::Snap { at_least } => {
                // Nothing that the learner may have acknowledged goes before it has it again.
                let shared = case.learner.iter().filter(|zxid| case.history.contains(zxid));
                prop_assert!(shared.max().is_none_or(|&shared| shared <= at_least) && at_least <= committed);
            }
            SyncPlan::ReadLog => prop_assert!(false, "it was read"),
        }
    }

    #[test]
    fn nobody_whose_history_is_shared_and_at_hand_gets_a_snapshot(case in cases()) {
        let at_hand = case.learner.len() >= case.disk_start && case.new_epoch.is_none_or(|zxid| zxid <= end(&case.history));
        if at_hand && case.history.starts_with(&case.learner) {
            prop_assert!(matches!(case.plan(), SyncPlan::Diff { .. }), "{:?}", case.plan());
        }
    }

    #[test]
    fn with_all_in_memory_it_is_the_table_of_apache(case in cases()) {
        let case = Case { start: 0, disk_start: 0, ..case };
        let kind = match case.plan() {
            SyncPlan::Diff { to, .. } => ("DIFF", to),
            SyncPlan::Trunc { to } => ("TRUNC", to),
            SyncPlan::Snap { .. } => ("SNAP", Zxid::ZERO),
            SyncPlan::ReadLog => ("read", Zxid::ZERO),
        };
        let expected = table(case.last(), &case.history);
        // Ours begins where the history does, so a learner without any needs no snapshot if all is in memory.
        if case.last() >= case.history.first().copied().unwrap_or(Zxid::ZERO) {
            prop_assert_eq!(kind, expected);
        }
    }
}

/// `LearnerHandler.syncFollower` and `queueCommittedProposals` as the reference tells them, with all txns in the committed
/// log and no log to be read.
fn table(peer: Zxid, history: &[Zxid]) -> (&'static str, Zxid) {
    let max = end(history);
    let min = history.first().copied().unwrap_or(Zxid::ZERO);
    let is_new_epoch = peer.counter() == 0;
    if max == peer {
        return ("DIFF", peer);
    }
    if peer > max && !is_new_epoch {
        return if max.counter() == 0 { ("SNAP", Zxid::ZERO) } else { ("TRUNC", max) };
    }
    if peer > max || peer < min {
        return ("SNAP", Zxid::ZERO);
    }
    let mut before = None;
    for &zxid in history {
        if zxid < peer {
            before = Some(zxid);
        } else if zxid == peer || is_new_epoch {
            return ("DIFF", max);
        } else if zxid.epoch() != peer.epoch() {
            return ("SNAP", Zxid::ZERO);
        } else {
            return ("TRUNC", before.unwrap_or_default());
        }
    }
    if is_new_epoch { ("DIFF", max) } else { ("SNAP", Zxid::ZERO) }
}

fn log(zxids: &[Zxid]) -> CommittedLog {
    Case { history: zxids.to_vec(), learner: vec![], new_epoch: None, start: 0, disk_start: 0 }.in_memory()
}

#[test]
fn who_has_lost_its_history_gets_a_snapshot() {
    let log = log(&[z(1, 1), z(1, 2)]);
    assert_eq!(plan(Zxid(-1), &log, false), SyncPlan::Snap { at_least: z(1, 2) }, "all that is committed");
    assert_eq!(plan(z(1, 2), &log, true), SyncPlan::Snap { at_least: z(1, 2) }, "forced");
    assert_eq!(plan(z(1, 9), &log, true), SyncPlan::Snap { at_least: z(1, 2) }, "forced");
}

#[test]
fn an_unknown_txn_never_leads_across_an_epoch() {
    // Epoch 2 went on at 2:3 here: an odd beginning, but one that Apache's test option can make.
    let log = log(&[z(1, 1), z(1, 2), z(2, 3), z(2, 4)]);
    assert_eq!(plan(z(1, 3), &log, false), SyncPlan::Snap { at_least: z(1, 3) });
    assert_eq!(plan(z(2, 1), &log, false), SyncPlan::Snap { at_least: z(2, 1) }, "what is before it is of epoch 1");
}

#[test]
fn a_cut_never_goes_to_where_no_txn_is() {
    let mut log = CommittedLog::new(LIMITS, z(3, 0));
    assert_eq!(plan(z(3, 1), &log, false), SyncPlan::Snap { at_least: z(3, 0) });
    log.append(proposal(&z(4, 1))).unwrap();
    log.commit(z(4, 1));
    assert_eq!(plan(z(4, 2), &log, false), SyncPlan::Trunc { to: z(4, 1) });
}

#[test]
fn a_log_with_a_hole_is_not_served() {
    let log = log(&[]);
    let mut part = LogPart { before: z(1, 1), proposals: [z(1, 2), z(1, 4)].iter().map(proposal).collect() };
    assert_eq!(plan_from_disk(z(1, 1), Some(&part), &log), SyncPlan::Snap { at_least: Zxid::ZERO });
    part.proposals.pop();
    assert_eq!(plan_from_disk(z(1, 1), Some(&part), &log), SyncPlan::Diff { to: Zxid::ZERO, after: z(1, 1) });
    part.before = z(1, 2);
    assert_eq!(plan_from_disk(z(1, 1), Some(&part), &log), SyncPlan::Snap { at_least: Zxid::ZERO }, "begins too late");
}
