//! The rules of this workspace that compiler and clippy don't know.

mod crates;
mod supply;
mod text;

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use ostler_conformance::workspace;

/// Something against the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the root of the workspace.
    file: PathBuf,
    line: usize,
    what: String,
    /// Only said, not counted.
    warning: bool,
}

impl Finding {
    fn error(file: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.into(), line, what: what.into(), warning: false }
    }

    fn warning(file: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Self {
        Self { warning: true, ..Self::error(file, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {kind}{}", self.file.display(), self.line, self.what)
    }
}

/// Checks the rules and prints what is against them.
pub(crate) fn run() -> Result<ExitCode> {
    let mut findings = crates::check()?;
    for file in files()? {
        // A file may be listed and deleted, or not be text; neither is our business.
        if let Ok(content) = std::fs::read_to_string(workspace().join(&file)) {
            findings.extend(text::check(&file, &content));
        }
    }
    Ok(report(findings))
}

/// Checks licences, sources and bans of all dependencies.
pub(crate) fn run_supply() -> Result<ExitCode> {
    Ok(report(supply::check()?))
}

fn report(mut findings: Vec<Finding>) -> ExitCode {
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.iter().all(|it| it.warning) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The files of the project: all that git knows or would add.
fn files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(workspace());
    let output = git.output().context("starting git, to list the files")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|it| !it.is_empty()).map(PathBuf::from).collect())
}

/// What cargo says of the workspace.
fn metadata(more: &[&str]) -> Result<serde_json::Value> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1"]).args(more).current_dir(workspace());
    let output = cargo.output().context("starting cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading what cargo metadata said")
}

/// A member of a JSON object as text, or nothing.
fn string<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// A member of a JSON object as a list, or an empty one.
fn list<'a>(value: &'a serde_json::Value, key: &str) -> &'a [serde_json::Value] {
    value.get(key).and_then(serde_json::Value::as_array).map_or(&[], Vec::as_slice)
}
