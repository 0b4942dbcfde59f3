//! Which crate may depend on which, and that all have the workspace's lints.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ostler_conformance::workspace;

use super::{Finding, list, metadata, string};

/// A crate and which others of the workspace its code may use. A crate that is missing here may not be there.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ostler-wire", &[]),
    ("ostler-tree", &["ostler-wire"]),
    ("ostler-zab", &["ostler-wire"]),
    ("ostler-auth", &["ostler-wire"]),
    ("ostler-peer", &["ostler-wire", "ostler-tree", "ostler-zab", "ostler-auth"]),
    ("ostler-storage", &["ostler-wire"]),
    ("ostler-node", &["ostler-wire", "ostler-tree", "ostler-zab", "ostler-auth", "ostler-peer", "ostler-storage"]),
    (
        "ostler-server",
        &["ostler-wire", "ostler-tree", "ostler-zab", "ostler-auth", "ostler-peer", "ostler-storage", "ostler-node"],
    ),
    (
        "ostler-sim",
        &["ostler-wire", "ostler-tree", "ostler-zab", "ostler-auth", "ostler-peer", "ostler-storage", "ostler-node"],
    ),
    ("ostler-recipes", &[]),
    ("ostler-bench", &["ostler-wire"]),
    ("ostler-tools", &["ostler-wire", "ostler-storage", "ostler-tree", "ostler-zab", "ostler-server"]),
    ("ostler-shell", &["ostler-wire"]),
    (
        "ostler",
        &[
            "ostler-server",
            "ostler-sim",
            "ostler-recipes",
            "ostler-bench",
            "ostler-shell",
            "ostler-tools",
            "ostler-storage",
            "ostler-wire",
        ],
    ),
    ("ostler-conformance", &["ostler-wire"]),
    ("xtask", &["ostler-conformance", "ostler-bench", "ostler-sim"]),
    ("ostler-fuzz", &["ostler-wire", "ostler-tree", "ostler-zab", "ostler-auth", "ostler-peer", "ostler-storage"]),
];

/// All that this crate may use, from outside or inside.
const WIRE_MAY_USE: &[&str] = &["bytes"];

/// The deciding crates and their simulator, whose code does no IO, and what would let it.
const DECIDING: &[&str] = &[
    "ostler-wire",
    "ostler-tree",
    "ostler-zab",
    "ostler-auth",
    "ostler-peer",
    "ostler-storage",
    "ostler-node",
    "ostler-sim",
];
const IO_CRATES: &[&str] = &["tokio", "mio", "rand", "fastrand", "getrandom", "socket2", "rustix", "libc", "nix"];

/// Checks the manifests.
pub(super) fn check() -> Result<Vec<Finding>> {
    let metadata = metadata(&["--no-deps"])?;
    let mut findings = Vec::new();
    for package in list(&metadata, "packages") {
        let name = string(package, "name");
        let path = PathBuf::from(string(package, "manifest_path"));
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let manifest = Manifest { file: path.strip_prefix(workspace()).unwrap_or(&path), text: &text };
        if !has_workspace_lints(&text) {
            findings.push(manifest.finding("", "the crate has lints of its own, use instead [lints] workspace = true"));
        }
        let Some((_, may_use)) = MAY_USE.iter().find(|(it, _)| *it == name) else {
            let what = "a crate that the rules do not know, add it to MAY_USE in xtask/src/tidy/crates.rs";
            findings.push(manifest.finding(name, what));
            continue;
        };
        for dependency in list(package, "dependencies") {
            // Tests and build scripts may use what they like.
            if dependency.get("kind").is_some_and(|it| !it.is_null()) {
                continue;
            }
            let used = string(dependency, "name");
            let ours = MAY_USE.iter().any(|(it, _)| *it == used);
            let line = dependency.get("rename").and_then(serde_json::Value::as_str).unwrap_or(used);
            if ours && !may_use.contains(&used) {
                let rest = if may_use.is_empty() { "nothing of ours".to_owned() } else { may_use.join(", ") };
                findings.push(manifest.finding(line, &format!("{name} may not use {used}, use instead {rest}")));
            }
            if name == "ostler-wire" && !WIRE_MAY_USE.contains(&used) {
                let what = format!("{name} may not use {used}, use instead only the standard library and bytes");
                findings.push(manifest.finding(line, &what));
            }
            if DECIDING.contains(&name) && IO_CRATES.contains(&used) {
                let what = format!(
                    "{name} decides and does no IO, use instead an effect that ostler-server executes ({used})"
                );
                findings.push(manifest.finding(line, &what));
            }
        }
    }
    Ok(findings)
}

/// A manifest, to find the line that something is about.
struct Manifest<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Manifest<'_> {
    fn finding(&self, word: &str, what: &str) -> Finding {
        let line = self.text.lines().position(|it| !word.is_empty() && it.starts_with(word));
        Finding::error(self.file, line.map_or(1, |it| it + 1), what)
    }
}

fn has_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|it| it == "[lints]") && lines.next() == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_of_the_workspace_are_seen() {
        assert!(has_workspace_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!has_workspace_lints("[package]\nname = \"a\"\n"));
        assert!(!has_workspace_lints("[lints]\n[dependencies]\nworkspace = true\n"));
    }
}
