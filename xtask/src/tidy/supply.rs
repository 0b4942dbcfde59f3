//! Licences, sources and bans of all dependencies, by `deny.toml`: what of cargo-deny needs no cargo-deny.
//!
//! It reads the three lists of that file that matter (`allow` under `[licenses]`, `deny` under `[bans]`,
//! `allow-registry` under `[sources]`) and holds them against `cargo metadata`. Advisories need the real tool.

use std::fs;

use anyhow::{Context, Result, ensure};
use ostler_conformance::workspace;

use super::{Finding, list, metadata, string};

/// What cargo calls crates.io.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks them.
pub(super) fn check() -> Result<Vec<Finding>> {
    let path = workspace().join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let licences = strings(&text, "licenses", "allow");
    let banned = strings(&text, "bans", "deny");
    ensure!(!licences.is_empty(), "{} allows no licence: [licenses] allow is missing", path.display());

    let metadata = metadata(&["--locked"])?;
    let mut findings = Vec::new();
    for package in list(&metadata, "packages") {
        let (name, version) = (string(package, "name"), string(package, "version"));
        let mut refuse =
            |what: String| findings.push(Finding::error("Cargo.lock", 1, format!("{name} {version}: {what}")));
        // Ours have no source.
        let source = string(package, "source");
        if source.is_empty() {
            continue;
        }
        if source != CRATES_IO {
            refuse(format!("comes from {source}, use instead a release on crates.io"));
        }
        if banned.iter().any(|it| it == name) {
            refuse("is banned in deny.toml, use instead what its comment there says".to_owned());
        }
        let licence = string(package, "license");
        if !allowed(licence, &licences) {
            refuse(format!("has the licence `{licence}`, use instead a crate with one that deny.toml allows"));
        }
    }
    Ok(findings)
}

/// The strings in a list of a TOML file: those of `key = [...]` in `[section]`, and of the tables in it only the first.
fn strings(toml: &str, section: &str, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut in_section, mut in_list) = (false, false);
    for line in toml.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') && !in_list {
            in_section = line == format!("[{section}]");
        }
        let mut values = line;
        if in_section
            && !in_list
            && let Some((name, rest)) = line.split_once('=')
            && name.trim() == key
        {
            in_list = true;
            values = rest;
        }
        if in_list {
            let tables = values.contains('{');
            let mut quoted = values.split('"').skip(1).step_by(2);
            if tables {
                found.extend(quoted.next().map(str::to_owned));
            } else {
                found.extend(quoted.map(str::to_owned));
            }
            in_list = !values.ends_with(']');
        }
    }
    found
}

/// Whether an SPDX expression can be met with `licences`.
fn allowed(expression: &str, licences: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = either(&mut words, licences);
    words.next().is_none() && met
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, licences: &[String]) -> bool {
    let mut met = both(words, licences);
    while words.next_if_eq(&"OR").is_some() {
        met |= both(words, licences);
    }
    met
}

fn both(words: &mut Words<'_>, licences: &[String]) -> bool {
    let mut met = one(words, licences);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, licences);
    }
    met
}

fn one(words: &mut Words<'_>, licences: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let met = either(words, licences);
            words.next_if_eq(&")").is_some() && met
        }
        Some(licence) => {
            let mut licence = licence.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                licence = format!("{licence} WITH {}", words.next().unwrap_or_default());
            }
            licences.contains(&licence)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_understood() {
        let licences = ["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        assert!(allowed("MIT OR Apache-2.0", &licences));
        assert!(allowed("Apache-2.0/MIT", &licences));
        assert!(allowed("(GPL-3.0 OR MIT) AND Apache-2.0 WITH LLVM-exception", &licences));
        assert!(!allowed("MIT AND GPL-3.0", &licences));
        assert!(!allowed("", &licences));
        assert!(!allowed("(MIT", &licences));
    }

    #[test]
    fn lists_are_read() {
        let toml = "[other]\nallow = [\"x\"]\n[licenses]\n# no\nallow = [\n  \"MIT\", # yes\n  \"ISC\",\n]\nallow2 = [\"y\"]\n[bans]\ndeny = [\n  { crate = \"openssl\", reason = \"rustls\" },\n]\n";
        assert_eq!(strings(toml, "licenses", "allow"), ["MIT", "ISC"]);
        assert_eq!(strings(toml, "bans", "deny"), ["openssl"]);
    }
}
