//! The layers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use ostler_conformance::{jvm, target, workspace};

use super::binaries::{self, Binaries};
use super::setup;

/// A part of the tests.
#[derive(Debug)]
pub(super) struct Layer {
    /// What `--only` calls it.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) about: &'static str,
    /// The seconds that it should take at most, with a cold cache on two cores.
    pub(super) budget_s: u64,
    /// Does it.
    pub(super) run: fn(Build) -> Result<Outcome>,
}

/// How the binary is built that the conformance tests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// As the unit tests are: it is there already, and it checks more.
    Checked,
    /// As users have it.
    Release,
}

/// How many tests, or layers without tests, passed and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// These passed.
    pub(super) passed: u64,
    /// These did not.
    pub(super) failed: u64,
    /// What tests have told of what they have covered.
    pub(super) covered: Vec<String>,
}

impl Outcome {
    fn of_layer(success: bool) -> Self {
        Self { passed: u64::from(success), failed: u64::from(!success), ..Self::default() }
    }

    /// One that failed, before it could count.
    pub(super) fn failure() -> Self {
        Self::of_layer(false)
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.covered.extend(other.covered);
    }

    /// Takes in a line that a test binary has printed.
    pub(super) fn line(&mut self, line: &str) {
        if let Some((passed, failed)) = counted(line) {
            self.passed += passed;
            self.failed += failed;
        }
        self.covered.extend(line.strip_prefix(COVERED).map(str::to_owned));
    }
}

/// With this begins what a test tells of what it has covered. It writes it past the harness, which swallows what a test prints
/// that passes.
const COVERED: &str = "covered: ";

/// All layers, the quick ones first.
pub(super) const LAYERS: &[Layer] = &[
    Layer { name: "setup", about: "install what the tests need", budget_s: 300, run: |_| setup::run() },
    Layer {
        name: "fmt",
        about: "the code is formatted",
        budget_s: 20,
        run: |_| plain(cargo(&["fmt", "--all", "--check"])),
    },
    Layer { name: "tidy", about: "the rules of this workspace", budget_s: 20, run: |_| plain(xtask("tidy")) },
    Layer { name: "deny", about: "licences, sources and bans of dependencies", budget_s: 420, run: |_| deny() },
    Layer {
        name: "clippy",
        about: "no warnings",
        budget_s: 240,
        run: |_| plain(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    },
    Layer {
        name: "doc",
        about: "the documentation is complete and its links lead somewhere",
        budget_s: 180,
        run: |_| {
            let mut cargo = cargo(&["doc", "--no-deps", "--workspace", "--locked"]);
            cargo.env("RUSTDOCFLAGS", "-D warnings");
            plain(cargo)
        },
    },
    Layer { name: "unit", about: "unit and property tests", budget_s: 400, run: |_| unit() },
    Layer { name: "conformance", about: "against Apache ZooKeeper and its clients", budget_s: 600, run: conformance },
];

/// So many test binaries of unit tests run at a time. They need their core, so each has one thread.
const UNITS_AT_ONCE: usize = 2;

/// And so many of the conformance tests, which wait for most of their time.
const CONFORMANCE_AT_ONCE: usize = 3;

/// The package of the conformance tests.
const CONFORMANCE: &str = "ostler-conformance";

/// Those that take longest, which begin.
const LONGEST: &[&str] = &[
    "kazoo_suite",
    "directories",
    "conversation",
    "shell",
    "rolling",
    "generated",
    "grow",
    "bad_input",
    "reconfig",
    "tools",
    "clients",
    "matrix",
    "limits",
];

/// One selection for all that is built, or cargo would build what they share anew, with other features.
const TESTS: &[&str] = &["test", "--workspace", "--locked"];

fn unit() -> Result<Outcome> {
    let chosen = |package: &str| package != CONFORMANCE;
    let how = Binaries {
        at_once: UNITS_AT_ONCE,
        threads: Some(1),
        first: &["worlds", "whole", "enumerate", "exhaustive"],
        env: Vec::new(),
    };
    let mut outcome = binaries::run(cargo(TESTS), chosen, &how)?;
    let mut docs = cargo(TESTS);
    docs.args(["--doc", "--no-fail-fast"]);
    outcome.add(tests(docs)?);
    Ok(outcome)
}

fn conformance(build: Build) -> Result<Outcome> {
    let dir = match build {
        // Built with the tests: one of its own package needs it.
        Build::Checked => "debug",
        Build::Release => {
            let built = plain(cargo(&["build", "--release", "--locked", "-p", "ostler"]))?;
            if built.failed > 0 {
                return Ok(built);
            }
            "release"
        }
    };
    let ostler = target().join(dir).join("ostler");
    let env = vec![("OSTLER_BIN", ostler.into_os_string()), (jvm::VARIABLE, jvm::quick()?.into())];
    let how = Binaries { at_once: CONFORMANCE_AT_ONCE, threads: None, first: LONGEST, env };
    binaries::run(cargo(TESTS), |package| package == CONFORMANCE, &how)
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(workspace());
    cargo
}

/// This program again, for another task.
fn xtask(task: &str) -> Command {
    cargo(&["run", "--quiet", "--package", "xtask", "--", task])
}

/// Runs a command that succeeds or not.
fn plain(mut command: Command) -> Result<Outcome> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    Ok(Outcome::of_layer(status.success()))
}

/// Runs tests and counts what their harness reports.
fn tests(mut command: Command) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let output = child.stdout.take().context("the output of cargo")?;
    let mut outcome = Outcome::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading the output of cargo")?;
        outcome.line(&line);
        println!("{line}");
    }
    // What does not compile, or ends before it can count, fails too.
    if !child.wait()?.success() && outcome.failed == 0 {
        outcome.failed = 1;
    }
    Ok(outcome)
}

/// How many passed and failed, in a line such as `test result: ok. 3 passed; 0 failed; ...`.
fn counted(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split("; ").find_map(|it| it.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

/// cargo-deny, built where it is missing: some minutes, once a machine. Without it, our own check of the same file.
fn deny() -> Result<Outcome> {
    let is_there = || {
        let mut version = Command::new("cargo");
        version.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|it| it.success())
    };
    if !is_there() {
        println!("cargo-deny is not installed: building it");
        // What went wrong is on the screen, and the check below does without.
        let _ = cargo(&["install", "--locked", "--quiet", "cargo-deny"]).status();
    }
    if is_there() {
        return plain(cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]));
    }
    println!("cargo-deny can't be installed: checking licences, sources and bans without it");
    plain(xtask("supply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.0s";
        let mut outcome = Outcome::default();
        for line in ["running 3 tests", line, "covered: 3 states", "test it ... covered: no", line] {
            outcome.line(line);
        }
        assert_eq!(outcome, Outcome { passed: 24, failed: 6, covered: vec!["3 states".to_owned()] });
    }
}
