//! The world is tested: each defect that is put in must be found by some seed.

#![allow(clippy::print_stdout, reason = "it tells what it found")]

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ostler_zab::{Defect, Options};
use world::run::run;

const DEFECTS: &[Defect] = &[
    Defect::AckBeforeItsSync,
    Defect::CurrentEpochBeforeHistory,
    Defect::NewLeaderAckBeforeHistory,
    Defect::AckEpochBeforeAcceptedEpoch,
    Defect::TruncKeepsNewerSnapshot,
    Defect::NonVotersCount,
    Defect::SummariesNotCompared,
    Defect::GapServed,
    Defect::AcksOutliveConnection,
    Defect::NewLeaderBeforeHistory,
    Defect::EpochWithoutQuorum,
    Defect::HalfIsQuorum,
    Defect::LostStateCounts,
    Defect::ServesBeforeQuorum,
    Defect::AppliesUnlogged,
    Defect::TruncIgnored,
    Defect::LooksBeforeDrained,
    Defect::SnapshotOfAnyAge,
    Defect::SyncUnconfirmed,
    Defect::OwnLogDecides,
    Defect::QueuedProposalsDropped,
];

/// The most worlds that one defect may take.
const SEEDS_MAX: u64 = 40_000;

/// The first seed that finds it, and how. An assertion of the machines counts too.
fn find(defect: Defect) -> Option<(u64, String)> {
    let put_in = |options: &mut Options| {
        options.defects.insert(defect);
        options.force_snapshot_sync = defect == Defect::SnapshotOfAnyAge;
    };
    (1..SEEDS_MAX).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(seed, put_in))) {
        Ok(Ok(_)) => None,
        Ok(Err(what)) => Some((seed, what)),
        Err(_) => Some((seed, "an assertion".to_owned())),
    })
}

#[test]
fn every_defect_is_found() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    // One half beside the other: they take different times, so every second one.
    let half = |from: usize| DEFECTS.iter().skip(from).step_by(2).map(|&it| (it, find(it))).collect::<Vec<_>>();
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut found = half(0);
        found.extend(other.join().unwrap_or_default());
        found
    });
    std::panic::set_hook(hook);
    for (defect, it) in &found {
        match it {
            Some((seed, what)) => println!("{defect:?}: seed {seed}: {what}"),
            None => println!("{defect:?}: NOT FOUND in {SEEDS_MAX} worlds"),
        }
    }
    let count = found.iter().filter(|(_, it)| it.is_some()).count();
    println!("found {count} of {} seeded defects", DEFECTS.len());
    assert_eq!(count, DEFECTS.len());
}
