//! `cargo xtask soak --worlds` and `--whole`: ensembles of cores and their storage, or of whole servers; a world a seed.
//!
//! What the runs of one version of the crates that worlds are made of have covered adds up in `target/soak`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sim::world::{Keep, Outcome, Setup, Tally};

use super::{Args, VIOLATIONS_MAX, Violation, new_seed};

/// What one run has covered, or all runs of a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Report {
    runs: u64,
    seconds: f64,
    /// The time of all cores together.
    core_seconds: f64,
    first_seed: u64,
    worlds: u64,
    /// States of worlds that the checkers have looked at: one behind each event.
    states: u64,
    simulated_seconds: u64,
    /// Simulated time against the time of one core.
    times_real_time_a_core: u64,
    starts: u64,
    /// Crashes between two effects of a disk's work, or of a recovery.
    crashes_between_effects: u64,
    /// Different points of them: which work, and before which of its effects.
    crash_points: u64,
    /// How often each was met.
    crashes_at: BTreeMap<String, u64>,
    effects: u64,
    messages: u64,
    epochs: u64,
    reconfigs: u64,
    truncations: u64,
    installations: u64,
    txns_proposed: u64,
    answers: u64,
    faults: BTreeMap<String, u64>,
    violations: u64,
    shown: Vec<Violation>,
}

impl Report {
    fn add(&mut self, tally: &Tally) {
        self.states += tally.steps;
        self.starts += tally.starts;
        for (point, count) in &tally.crash_points {
            *self.crashes_at.entry(point.to_string()).or_default() += count;
        }
        self.crash_points = self.crashes_at.len() as u64;
        self.crashes_between_effects += tally.crashes_in_work;
        self.effects += tally.effects;
        self.messages += tally.messages;
        self.epochs += tally.epochs;
        self.reconfigs += tally.reconfigs;
        self.truncations += tally.truncations;
        self.installations += tally.installations;
        self.txns_proposed += tally.proposed;
        self.answers += tally.answers;
        for (fault, count) in &tally.faults {
            *self.faults.entry((*fault).to_owned()).or_default() += count;
        }
    }

    /// Another run of the same version.
    fn join(&mut self, other: &Self) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.core_seconds += other.core_seconds;
        if self.first_seed == 0 {
            self.first_seed = other.first_seed;
        }
        for (mine, its) in [
            (&mut self.worlds, other.worlds),
            (&mut self.states, other.states),
            (&mut self.simulated_seconds, other.simulated_seconds),
            (&mut self.starts, other.starts),
            (&mut self.crashes_between_effects, other.crashes_between_effects),
            (&mut self.effects, other.effects),
            (&mut self.messages, other.messages),
            (&mut self.epochs, other.epochs),
            (&mut self.reconfigs, other.reconfigs),
            (&mut self.truncations, other.truncations),
            (&mut self.installations, other.installations),
            (&mut self.txns_proposed, other.txns_proposed),
            (&mut self.answers, other.answers),
            (&mut self.violations, other.violations),
        ] {
            *mine += its;
        }
        for (mine, its) in [(&mut self.faults, &other.faults), (&mut self.crashes_at, &other.crashes_at)] {
            for (what, count) in its {
                *mine.entry(what.clone()).or_default() += count;
            }
        }
        self.crash_points = self.crashes_at.len() as u64;
        self.shown.extend(other.shown.iter().take(VIOLATIONS_MAX.saturating_sub(self.shown.len())).cloned());
        self.count_speed();
    }

    fn count_speed(&mut self) {
        self.times_real_time_a_core = (self.simulated_seconds as f64 / self.core_seconds.max(0.001)) as u64;
    }

    fn print(&self, title: &str) {
        println!("{title}: {:.0} s from seed {}", self.seconds, self.first_seed);
        let line = |what: &str, count: u64| println!("  {what:<42} {count:>14}");
        line("runs", self.runs);
        line("worlds", self.worlds);
        line("seconds of their time", self.simulated_seconds);
        line("times real time, a core", self.times_real_time_a_core);
        line("states", self.states);
        line("starts", self.starts);
        line("crashes between effects", self.crashes_between_effects);
        line("different points of these crashes", self.crash_points);
        line("effects", self.effects);
        line("messages", self.messages);
        // Whole servers are looked at from outside: what they don't show is not counted.
        for (what, count) in [
            ("epochs", self.epochs),
            ("truncations", self.truncations),
            ("installations of snapshots", self.installations),
            ("txns proposed", self.txns_proposed),
        ] {
            if count > 0 {
                line(what, count);
            }
        }
        line("reconfigs committed", self.reconfigs);
        line("answers", self.answers);
        for (fault, count) in &self.faults {
            line(&format!("fault: {fault}"), *count);
        }
        line("violations", self.violations);
        for violation in &self.shown {
            println!("\nseed {}: {}\n  again: {}", violation.seed, violation.what, violation.replay);
        }
    }
}

/// What worlds are made of: the folders in `crates` whose trees are the version. What stands on them may change meanwhile.
const MADE_OF: &[&str] = &["auth", "node", "peer", "sim", "storage", "tree", "wire", "zab"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

/// The version that is played; `None`: something in it is not committed, or nobody knows.
fn version() -> Option<String> {
    let git = |args: &[&str], of: &[&str], input: &str| {
        let mut git = Command::new("git");
        git.args(args).args(of).current_dir(crates()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = git.stderr(Stdio::null()).spawn().ok()?;
        git.stdin.take()?.write_all(input.as_bytes()).ok()?;
        let out = git.wait_with_output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let is_changed = !git(&["status", "--porcelain", "--"], MADE_OF, "")?.is_empty();
    let trees = git(&["ls-tree", "HEAD"], MADE_OF, "")?;
    let version = git(&["hash-object", "--stdin"], &[], &trees)?;
    (!is_changed && trees.lines().count() == MADE_OF.len()).then(|| version.chars().take(12).collect())
}

/// Why a run is not added to those before it.
fn why_not_added(is_one: bool, before: Option<&str>, after: Option<&str>) -> Option<&'static str> {
    match (before, after) {
        _ if is_one => Some("it was one world"),
        (None, _) => Some("something in the crates of the worlds is not committed"),
        (before, after) if before != after => Some("the crates of the worlds were changed while it ran"),
        _ => None,
    }
}

/// Where the runs of this version add up.
fn sum_file(is_whole: bool, version: &str) -> PathBuf {
    let kind = if is_whole { "whole" } else { "worlds" };
    crates().join("../target/soak").join(format!("{kind}-{version}.json"))
}

/// All runs of this version, with this one. Another run may add to it at the same moment: one waits for the other, and who is
/// killed meanwhile leaves the old sum.
fn add_up(report: &Report, file: &Path) -> Result<Report> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock = File::create(file.with_extension("lock"))?;
    lock.lock()?;
    let mut sum = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is no sum of runs", file.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Report::default(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    sum.join(report);
    let next = file.with_extension("next");
    fs::write(&next, serde_json::to_vec_pretty(&sum)?)?;
    fs::rename(&next, file)?;
    Ok(sum)
}

/// The most worlds that are tried to find a smaller one that fails.
const SHRINK_RUNS: usize = 300;

/// One world. A panic is one more thing that must not happen, and not the end of the soak.
fn play(setup: Setup, is_whole: bool) -> Option<Outcome> {
    let play = if is_whole { sim::whole::run } else { sim::world::run };
    std::panic::catch_unwind(|| play(setup, Keep::Hash, &|_| ())).ok()
}

/// A small world that fails as this one does, in words.
fn shrunk(seed: u64, is_whole: bool, checker: Option<&str>) -> String {
    let setup = Setup::of_seed(seed).shrunk(SHRINK_RUNS, &mut |it| {
        let found = play(it.clone(), is_whole).map(|it| it.violation.map(|it| it.checker));
        // A panic has no checker.
        found.map_or(checker.is_none(), |it| it.is_some() && it == checker)
    });
    setup.to_string()
}

/// Plays worlds until the time is up; the exit code says whether a promise was broken.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let first_seed = args.seed.unwrap_or_else(new_seed);
    let played = version();
    let began = Instant::now();
    let time = if args.one { Duration::ZERO } else { Duration::from_secs(args.seconds) };
    let cores = if args.one { 1 } else { args.cores() };
    let (next, total) = (AtomicU64::new(first_seed), Mutex::new((Report::default(), 0)));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    let outcome = play(Setup::of_seed(seed), args.whole);
                    let checker = outcome.as_ref().and_then(|it| it.violation.as_ref()).map(|it| it.checker);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let (report, simulated_us) = &mut *total;
                    report.worlds += 1;
                    let what = match outcome {
                        Some(outcome) => {
                            *simulated_us += outcome.simulated_us;
                            report.add(&outcome.tally);
                            outcome.violation.map(|it| it.to_string())
                        }
                        None => Some("it panicked".to_owned()),
                    };
                    if let Some(what) = what {
                        report.violations += 1;
                        let is_shown = report.shown.len() < VIOLATIONS_MAX;
                        if is_shown {
                            let whole = if args.whole { " --whole" } else { "" };
                            let replay = format!("ostler sim{whole} --seed {seed}");
                            report.shown.push(Violation { seed, what, replay });
                        }
                        drop(total);
                        if is_shown {
                            eprintln!("seed {seed} fails; so does this:\n{}", shrunk(seed, args.whole, checker));
                        }
                    }
                    if began.elapsed() >= time {
                        return;
                    }
                }
            });
        }
    });
    let (mut report, simulated_us) = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.runs = 1;
    report.seconds = began.elapsed().as_secs_f64();
    report.core_seconds = report.seconds * cores as f64;
    report.first_seed = first_seed;
    report.simulated_seconds = simulated_us / 1_000_000;
    report.count_speed();
    // One world again is no news.
    let why_not = why_not_added(args.one, played.as_deref(), version().as_deref());
    let version = played.filter(|_| why_not.is_none());
    let sum = version.as_ref().map(|it| add_up(&report, &sum_file(args.whole, it))).transpose()?;
    if args.json {
        let all = serde_json::json!({ "version": version, "run": report, "sum": sum, "not_added_up": why_not });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        report.print("this run");
        if let Some((sum, version)) = sum.zip(version) {
            sum.print(&format!("all runs of version {version}"));
        }
        if let Some(why_not) = why_not {
            println!("not added up: {why_not}");
        }
    }
    Ok(if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("soak/worlds-1.json");
        let mut run = Report { runs: 1, core_seconds: 2.0, first_seed: 7, worlds: 3, ..Report::default() };
        (run.simulated_seconds, run.violations) = (100, 1);
        run.faults.insert("kill".to_owned(), 5);
        run.shown.push(Violation { seed: 8, what: "w".to_owned(), replay: "r".to_owned() });
        assert_eq!(add_up(&run, &file).expect("added").worlds, 3);
        let other =
            Report { first_seed: 50, faults: [("kill".to_owned(), 1), ("reconfig".to_owned(), 2)].into(), ..run };
        let sum = add_up(&other, &file).expect("added");
        assert_eq!((sum.runs, sum.first_seed, sum.worlds, sum.times_real_time_a_core), (2, 7, 6, 50));
        assert_eq!((sum.faults["kill"], sum.faults["reconfig"], sum.violations, sum.shown.len()), (6, 2, 2, 2));
        fs::write(&file, "{}{").expect("written");
        assert!(add_up(&other, &file).is_err(), "what was counted is not thrown away");
    }

    #[test]
    fn runs_that_end_at_once_are_all_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("whole-1.json");
        let run = Report { runs: 1, worlds: 3, ..Report::default() };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..8).for_each(|_| drop(add_up(&run, &file).expect("added"))));
            }
        });
        let sum = add_up(&run, &file).expect("added");
        assert_eq!((sum.runs, sum.worlds), (65, 195));
    }

    #[test]
    fn what_is_not_one_version_is_not_added() {
        assert_eq!(why_not_added(false, Some("a"), Some("a")), None);
        for (is_one, before, after) in [(true, "a", "a"), (false, "a", "b"), (false, "a", ""), (false, "", "a")] {
            let of = |it: &'static str| Some(it).filter(|it| !it.is_empty());
            assert!(why_not_added(is_one, of(before), of(after)).is_some(), "{is_one} {before} {after}");
        }
    }

    #[test]
    fn the_version_is_of_all_that_worlds_are_made_of() {
        let manifest = fs::read_to_string(crates().join("sim/Cargo.toml")).expect("read");
        let used = manifest.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
        let mut made_of: Vec<&str> = used.filter(|it| crates().join(it).is_dir()).chain(["sim"]).collect();
        made_of.sort_unstable();
        assert_eq!(made_of, MADE_OF);
    }
}
