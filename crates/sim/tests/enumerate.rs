//! Every crash of every scenario is recovered from; and a proof that can fail: without any one sync of the storage
//! machines, or with it before what it is there for, something is lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says what it has covered"
)]

use std::collections::BTreeMap;
use std::io::Write;

use ostler_sim::store::check::{Counts, ways_back_behind_a_purge, what_is_cut_is_kept, what_was_read_lasts};
use ostler_sim::store::explore::{Report, Scenario};
use ostler_sim::store::sabotage::{OLDER_LOG, Sabotage, Site};
use ostler_sim::store::scenarios;

/// Says what was covered, past the harness, which swallows what a test prints that passes.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// Runs a scenario and says how it went.
fn explore(scenario: &Scenario) -> Report {
    let report = scenario.explore(&Sabotage::None).unwrap_or_else(|violation| panic!("{violation}"));
    say(&format!("{:<28} {report}", scenario.name));
    assert!(report.is_complete(), "{}", scenario.name);
    report
}

#[test]
fn every_crash_is_recovered_from() {
    let mut states = 0;
    // Behind what the harness has begun to say.
    say("");
    for scenario in scenarios::all() {
        states += explore(&scenario).counts.states;
    }
    for (what, looked_at) in BY_THEMSELVES {
        let Counts { moments, states, sampled, .. } = looked_at(&Sabotage::None).unwrap();
        say(&format!("{what:<28} {moments} moments, {states} crash states: complete"));
        assert!(sampled == 0 && states > 0, "{what}");
    }
    say(&format!("covered: {states} crash states of {} scenarios: complete", scenarios::all().len()));
}

type LookedAt = fn(&Sabotage) -> Result<Counts, String>;

/// What is looked at beside the scenarios.
const BY_THEMSELVES: [(&str, LookedAt); 3] = [
    ("what is cut is kept", what_is_cut_is_kept),
    ("what was read lasts", what_was_read_lasts),
    ("ways back behind a purge", ways_back_behind_a_purge),
];

/// Syncs of which nothing depends on their coming after what they follow.
const MAY_BE_EARLY: &[(&str, &str)] = &[
    (
        "Recovery: sync the snapshot directory",
        "only the removal of an unfinished snapshot comes before, which may as well be done again",
    ),
    ("Recovery: sync a snapshot", "a recovery writes nothing to it"),
    (
        "Install: sync the snapshot directory",
        "no log goes that the older snapshots need before the last of these, which is synced, too",
    ),
    (OLDER_LOG, "what it cuts from one may as well be cut again"),
];

/// Syncs that nothing depends on at all.
const MAY_BE_LEFT_OUT: &[(&str, &str)] = &[(
    "Install: sync a log",
    "the log that it cuts is removed behind it, and for good; what comes back before that is this server's own history",
)];

#[test]
fn no_sync_can_be_left_out_or_come_too_early() {
    let all = scenarios::all();
    let mut sites: BTreeMap<Site, Vec<(u64, usize)>> = BTreeMap::new();
    for (i, scenario) in all.iter().enumerate() {
        let report = scenario.explore(&Sabotage::None).unwrap();
        for site in report.sites {
            // The cheapest first.
            sites.entry(site).or_default().push((report.counts.moments, i));
        }
    }
    sites.entry("Recovery: sync what was cut".to_owned()).or_default();
    assert!(sites.len() >= 25 && sites.contains_key(OLDER_LOG), "{sites:?}");
    let mut unnoticed = Vec::new();
    for (site, scenarios) in &mut sites {
        scenarios.sort_unstable();
        for sabotage in [Sabotage::Skip(site.clone()), Sabotage::Early(site.clone())] {
            let of_scenario = scenarios.iter().find_map(|(_, i)| all[*i].explore(&sabotage).err());
            let found = of_scenario
                .map(|violation| violation.to_string())
                .or_else(|| BY_THEMSELVES.iter().find_map(|(_, looked_at)| looked_at(&sabotage).err()));
            let line = found.as_ref().and_then(|found| found.lines().next()).unwrap_or("NOT NOTICED");
            println!("{sabotage:?}: {line}");
            let is_early = matches!(sabotage, Sabotage::Early(_));
            let is_known =
                MAY_BE_LEFT_OUT.iter().chain(MAY_BE_EARLY.iter().filter(|_| is_early)).any(|(it, _)| it == site);
            if found.is_some() == is_known {
                unnoticed.push(format!("{sabotage:?}"));
            }
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
