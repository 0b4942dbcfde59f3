//! The worlds are tested: each defect that is put in must be found by some seed.

#![allow(clippy::print_stdout, reason = "it tells what it found")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ostler_sim::world::{Keep, Setup, run};
use zab::{Defect, Options};

/// Those that an ordinary test run looks for: they take a few worlds each. `OSTLER_SIM_DEFECTS=all` looks for all.
const QUICK: &[Defect] =
    &[Defect::AckBeforeItsSync, Defect::CurrentEpochBeforeHistory, Defect::HalfIsQuorum, Defect::OwnLogDecides];

/// All that the machines can be given.
const ALL: &[Defect] = &[
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
    Defect::EpochOfItsOwn,
    Defect::OldEpochTaken,
    Defect::EpochAckedTwice,
    Defect::UpToDateBeforeQuorum,
    Defect::SyncBeforeOwnLog,
    Defect::SyncWaitsForNothing,
    Defect::LeadsWithoutQuorum,
    Defect::AcksForEverything,
    Defect::OutstandingLeftOut,
    Defect::EpochAcksEstablish,
    Defect::LogNotSynced,
    Defect::EpochNotSynced,
    Defect::TruncNotSynced,
    Defect::TruncRemovesTooMuch,
    Defect::SnapshotNotSynced,
    Defect::InstallKeepsLog,
    Defect::SnapshotOfUncommitted,
];

/// The most worlds that one defect may take.
fn seeds_max() -> u64 {
    std::env::var("OSTLER_SIM_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(400)
}

/// A defect that a seed has found: how, and in what time.
struct Found {
    seed: u64,
    what: String,
    took: Duration,
}

/// The first seed that finds it. An assertion of the machines counts too.
fn find(defect: Defect) -> Option<Found> {
    let put_in = |options: &mut Options| {
        options.defects.insert(defect);
        options.force_snapshot_sync |= defect == Defect::SnapshotOfAnyAge;
    };
    let began = Instant::now();
    (1..=seeds_max()).find_map(|seed| {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(Setup::of_seed(seed), Keep::Hash, &put_in)));
        let what = match outcome {
            Ok(outcome) => outcome.violation?.to_string(),
            Err(_) => "an assertion".to_owned(),
        };
        Some(Found { seed, what, took: began.elapsed() })
    })
}

#[test]
fn defects_are_found() {
    let wants_all = std::env::var("OSTLER_SIM_DEFECTS").is_ok_and(|it| it == "all");
    let defects = if wants_all { ALL } else { QUICK };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut times = Vec::new();
    for defect in defects {
        match find(*defect) {
            Some(Found { seed, what, took }) => {
                println!("{defect:?}: seed {seed}, {} ms: {what}", took.as_millis());
                times.push(took);
            }
            None => println!("{defect:?}: NOT FOUND in {} worlds", seeds_max()),
        }
    }
    std::panic::set_hook(hook);
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(0, Duration::as_millis);
    println!("found {} of {} seeded defects, median time {median} ms", times.len(), defects.len());
    assert!(times.len() == defects.len() || wants_all, "some were not found");
}
