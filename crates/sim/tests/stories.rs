//! Stories end as they are to end, and are told as they were before. `OSTLER_BLESS=1` writes them anew: look at each difference.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ostler_sim::world::STORIES;
use zab::{Defect, Options};

#[test]
fn every_story_ends_well_and_is_told_as_before() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let (mut differ, mut wrong) = (Vec::new(), Vec::new());
    for story in STORIES {
        let file = dir.join(format!("{}.txt", story.name));
        let played = story.play();
        let text = story.text(&played);
        if std::env::var_os("OSTLER_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        if std::fs::read_to_string(&file).unwrap_or_default() != text {
            differ.push(story.name);
        }
        if !story.is_right(&played) {
            wrong.push(format!("{}: {}", story.name, story.end(&played)));
        }
    }
    assert!(wrong.is_empty(), "these end otherwise than they are to:\n{}", wrong.join("\n"));
    assert!(differ.is_empty(), "these are told in another way than in {}: {differ:?}", dir.display());
}

/// Each story here ends otherwise when the servers have this defect.
const NOTICED: &[(&str, Defect)] = &[
    ("old-leader-returns-late", Defect::SettledNotBelieved),
    ("follower-restarts", Defect::EpochAckedTwice),
    ("leader-loses-its-quorum", Defect::LeadsWithoutQuorum),
    ("leader-loses-its-quorum", Defect::SnapshotInMemory),
    ("proposal-never-left", Defect::TruncIgnored),
    ("commit-reached-none", Defect::OwnLogDecides),
    ("extra-txn-across-epochs", Defect::GapServed),
    ("observer-writes", Defect::VoteToldOnce),
    ("sync-behind-a-slow-disk", Defect::SyncBeforeOwnLog),
    ("lost-disk", Defect::EmptyIsNew),
    ("reconfig-unheard", Defect::OldConfigurationAlone),
    ("reconfig-half-known", Defect::RoundOfNobodyIgnored),
    ("leader-removed", Defect::LeaderIgnoresItsRemoval),
    ("leader-removed", Defect::LooksBeforeDrained),
];

#[test]
fn stories_end_otherwise_with_defects() {
    let mut missed = Vec::new();
    for &(name, defect) in NOTICED {
        let story = STORIES.iter().find(|it| it.name == name).unwrap();
        let put_in = |options: &mut Options| {
            options.defects.insert(defect);
        };
        // An assertion of the machines counts too.
        let is_right = catch_unwind(AssertUnwindSafe(|| story.is_right(&story.play_with(&put_in))));
        if is_right.unwrap_or(false) {
            missed.push((name, defect));
        }
    }
    assert!(missed.is_empty(), "these end as if nothing were wrong: {missed:?}");
}
