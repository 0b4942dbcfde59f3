//! The worlds are tested: each defect that is put in must be found by some seed.

#![allow(clippy::print_stdout, reason = "it tells what it found")]

mod abreast;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ostler_sim::world::{Keep, Setup, run};
use zab::{Defect, Options};

/// Those that an ordinary test run looks for: they take a few worlds each. `OSTLER_SIM_DEFECTS=all` looks for all.
const QUICK: &[Defect] = &[
    Defect::AckBeforeItsSync,
    Defect::CurrentEpochBeforeHistory,
    Defect::HalfIsQuorum,
    Defect::OwnLogDecides,
    Defect::QueueHasNoBound,
    Defect::GroupsIgnored,
    Defect::InformBeforeCommit,
    Defect::ReadOnlyGoesOn,
];

/// All that these worlds can be given, and the numbers of the bugs in ZooKeeper that they stand for; some are mistakes that
/// nobody made, as far as we know.
const ALL: &[(Defect, &[u32])] = &[
    (Defect::AckBeforeItsSync, &[]),
    (Defect::CurrentEpochBeforeHistory, &[4643, 1264, 1282]),
    (Defect::NewLeaderAckBeforeHistory, &[3911, 4646, 4785]),
    (Defect::AckEpochBeforeAcceptedEpoch, &[]),
    (Defect::TruncKeepsNewerSnapshot, &[4837]),
    (Defect::NonVotersCount, &[764, 769, 2959]),
    (Defect::SummariesNotCompared, &[917]),
    (Defect::GapServed, &[2418, 4925]),
    (Defect::AcksOutliveConnection, &[]),
    (Defect::NewLeaderBeforeHistory, &[3104, 3589]),
    (Defect::EpochWithoutQuorum, &[335]),
    (Defect::HalfIsQuorum, &[]),
    (Defect::LostStateCounts, &[261]),
    (Defect::ServesBeforeQuorum, &[790]),
    (Defect::AppliesUnlogged, &[4882, 4502]),
    (Defect::TruncIgnored, &[1154]),
    (Defect::LooksBeforeDrained, &[2845, 4712]),
    (Defect::SnapshotOfAnyAge, &[]),
    (Defect::SyncUnconfirmed, &[1675]),
    (Defect::OwnLogDecides, &[]),
    (Defect::QueuedProposalsDropped, &[3023, 4394]),
    (Defect::EpochOfItsOwn, &[1343]),
    (Defect::OldEpochTaken, &[1343]),
    (Defect::EpochAckedTwice, &[335]),
    (Defect::UpToDateBeforeQuorum, &[3615]),
    (Defect::SyncBeforeOwnLog, &[]),
    (Defect::SyncWaitsForNothing, &[]),
    (Defect::LeadsWithoutQuorum, &[1492, 1699]),
    (Defect::AcksForEverything, &[4685]),
    (Defect::OutstandingLeftOut, &[962]),
    (Defect::EpochAcksEstablish, &[3104]),
    (Defect::LogNotSynced, &[1069]),
    (Defect::EpochNotSynced, &[1387, 1653, 2033]),
    (Defect::TruncNotSynced, &[]),
    (Defect::LogGoesOnBehindCut, &[1489]),
    (Defect::TruncRemovesTooMuch, &[1156]),
    (Defect::SnapshotNotSynced, &[2872]),
    (Defect::InstallKeepsLog, &[2099, 2846, 4352]),
    (Defect::SnapshotOfUncommitted, &[1549, 1558]),
    (Defect::OwnSnapshotNotSynced, &[3056]),
    (Defect::PurgeRemovesNeededLog, &[3231]),
    (Defect::SnapshotInMemory, &[3642]),
    (Defect::EpochFileInPlace, &[2307, 4269]),
    (Defect::TruncErrorIgnored, &[3701]),
    (Defect::LogErrorIgnored, &[4541]),
    (Defect::SnapshotEndsHistory, &[882]),
    (Defect::EmptyIsNew, &[2325, 3781]),
    (Defect::CounterRunsOver, &[1277, 2789, 4870]),
    (Defect::QueueHasNoBound, &[880, 3340]),
    (Defect::VoteToldOnce, &[1419, 4605]),
    (Defect::SettledNotBelieved, &[975, 1514]),
    (Defect::SettledWhileDraining, &[]),
    (Defect::RoundOfNobodyIgnored, &[]),
    (Defect::OldConfigurationAlone, &[1699]),
    (Defect::OldConfigurationGoesOn, &[]),
    (Defect::SeenConfigurationForgotten, &[]),
    (Defect::LeaderIgnoresItsRemoval, &[]),
    (Defect::GroupsIgnored, &[]),
    (Defect::WeightlessCount, &[]),
    (Defect::InformBeforeCommit, &[]),
    (Defect::ObserverSyncUnasked, &[]),
    (Defect::ReadOnlyGoesOn, &[]),
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
    let asked = std::env::var("OSTLER_SIM_DEFECTS").ok();
    let is_wanted = |defect: &Defect| match asked.as_deref() {
        None => QUICK.contains(defect),
        Some("all") => true,
        Some(names) => names.split(',').any(|it| format!("{defect:?}") == it),
    };
    let defects: Vec<_> = ALL.iter().filter(|(defect, _)| is_wanted(defect)).collect();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let found = abreast::each(&defects, |(defect, _)| find(*defect));
    std::panic::set_hook(hook);
    let (mut times, mut bugs, mut bugs_seeded) = (Vec::new(), BTreeSet::<u32>::new(), BTreeSet::<u32>::new());
    for ((defect, numbers), found) in defects.iter().zip(found) {
        bugs_seeded.extend(*numbers);
        match found.flatten() {
            Some(Found { seed, what, took }) => {
                println!("{defect:?}: seed {seed}, {} ms: {what}", took.as_millis());
                times.push(took);
                bugs.extend(*numbers);
            }
            None => println!("{defect:?}: NOT FOUND in {} worlds", seeds_max()),
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(0, Duration::as_millis);
    println!("found {} of {} seeded defects, median time {median} ms", times.len(), defects.len());
    println!("they stand for {} of {} bugs of ZooKeeper", bugs.len(), bugs_seeded.len());
    assert!(times.len() == defects.len() || asked.is_some(), "some were not found");
    assert!(!times.is_empty(), "no such defect");
}
