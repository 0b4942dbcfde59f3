//! What may not stand in a file.

use std::path::Path;

use super::Finding;

/// Files longer than this are said, or refused.
const LINES_WARN: usize = 600;
const LINES_MAX: usize = 1000;

/// The sources of the deciding crates.
const DECIDING: &[&str] = &[
    "crates/wire/src/",
    "crates/tree/src/",
    "crates/zab/src/",
    "crates/auth/src/",
    "crates/peer/src/",
    "crates/storage/src/",
    // It decides nothing, and would not be repeatable either.
    "crates/sim/src/",
];
/// Those of them that drive a real disk.
const DRIVERS: &[&str] = &["crates/storage/src/disk/"];

/// What deciding code may not do, and what it does instead.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["std::fs"], "an effect that ostler-server executes"),
    (&["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "ToSocketAddrs"], "messages in and out"),
    (&["Instant::now", "SystemTime::now"], "the time given as an argument"),
    (&["thread::spawn", "thread::Builder", "thread::sleep", "thread::scope"], "an effect, or a timer"),
    (&["tokio::"], "a state machine that ostler-server runs"),
    (&["rand::", "RandomState::new"], "a key or a seed given as an argument"),
    (&["std::env", "env::var"], "a parameter"),
    (&["std::process"], "an error that the caller acts on"),
];

/// What a `use std::{...}` may not import, and what is used instead.
const FORBIDDEN_MODULES: &[(&str, &str)] = &[
    ("fs", "an effect that ostler-server executes"),
    ("env", "a parameter"),
    ("process", "an error that the caller acts on"),
    ("thread", "an effect, or a timer"),
];

/// What may stand nowhere, in small letters, and why. Put together here so that this file does not offend itself.
const WORDS: &[(&str, &str)] = &[
    (concat!("/work", "/main"), "a path of some machine, use instead one from the root of the workspace"),
    (concat!("/work", "/shared"), "a path of some machine, use instead the text itself"),
    (concat!("/work", "/."), "a path of some machine, use instead one from the root of the workspace"),
    (concat!("/root", "/."), "a path of some machine, use instead one from the root of the workspace"),
    (concat!("/home", "/"), "a path of some machine, use instead one from the root of the workspace"),
    (concat!("index.", "crates.io"), "the host of a registry, use instead the registry's name"),
    (concat!("static.", "crates.io"), "the host of a registry, use instead the registry's name"),
    (concat!("repo1.", "maven.org"), "the host of a registry, use instead the registry's name"),
    (concat!("repo.", "maven.apache.org"), "the host of a registry, use instead the registry's name"),
    (concat!("files.", "pythonhosted.org"), "the host of a registry, use instead the registry's name"),
    (concat!("registry.", "npmjs.org"), "the host of a registry, use instead the registry's name"),
    (concat!("proxy.", "golang.org"), "the host of a registry, use instead the registry's name"),
    (concat!("artifac", "tory"), "the host of a registry, use instead the registry's name"),
    (concat!("cla", "ude"), "who wrote it is in the history, use instead no name"),
    (concat!("anthro", "pic"), "who wrote it is in the history, use instead no name"),
    (concat!("session", " number"), "words about how this was made, use instead what it does"),
    (concat!("issue", " #"), "a number that readers cannot look up, use instead the reason"),
];

/// Checks one file.
pub(super) fn check(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A lock file is written by a program.
    if file.extension().is_some_and(|it| it == "lock") {
        return findings;
    }
    for (number, line) in numbered(content) {
        let line = line.to_lowercase();
        for (word, what) in WORDS.iter().filter(|(word, _)| line.contains(word)) {
            findings.push(Finding::error(file, number, format!("`{word}`: {what}")));
        }
    }
    if file.extension().is_some_and(|it| it == "rs") {
        findings.extend(length(file, content));
        let name = file.to_string_lossy();
        let within = |dirs: &[&str]| dirs.iter().any(|it| name.starts_with(it));
        if within(DECIDING) && !within(DRIVERS) && !is_test(&name) {
            findings.extend(forbidden(file, content));
        }
    }
    findings
}

fn length(file: &Path, content: &str) -> Option<Finding> {
    let lines = content.lines().count();
    if lines > LINES_MAX {
        let what = format!("{lines} lines, use instead several files of at most {LINES_WARN}");
        return Some(Finding::error(file, LINES_MAX, what));
    }
    let what = format!("{lines} lines, better several files of at most {LINES_WARN}");
    (lines > LINES_WARN).then(|| Finding::warning(file, LINES_WARN, what))
}

/// Looks for what deciding code may not do. Unit tests, at the end of a file, may.
fn forbidden(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut import = String::new();
    let mut lines = numbered(content).peekable();
    while let Some((number, line)) = lines.next() {
        let code = line.trim();
        let inline_tests =
            lines.peek().is_some_and(|(_, next)| next.contains("mod ") && next.trim_end().ends_with('{'));
        if code == "#[cfg(test)]" && inline_tests {
            break;
        }
        let code = code.split("//").next().unwrap_or_default();
        for (words, instead) in FORBIDDEN {
            if let Some(word) = words.iter().find(|word| has_word(code, word)) {
                findings.push(Finding::error(
                    file,
                    number,
                    format!("`{word}` in a deciding crate, use instead {instead}"),
                ));
            }
        }
        // An import may go over several lines.
        if !import.is_empty() || code.contains("use std::{") {
            import.extend(code.chars().filter(|it| !it.is_whitespace()));
            if code.contains(';') {
                for (module, instead) in FORBIDDEN_MODULES.iter().filter(|(it, _)| imports(&import, it)) {
                    let what = format!("`std::{module}` in a deciding crate, use instead {instead}");
                    findings.push(Finding::error(file, number, what));
                }
                import.clear();
            }
        }
    }
    findings
}

/// Whether `word` stands in `code` and is not the end of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_')
    })
}

/// Whether `use std::{...}`, without its spaces, imports `module`.
fn imports(import: &str, module: &str) -> bool {
    ["{", ","].iter().any(|before| {
        [",", "}", "::"].iter().any(|after| {
            let pattern = format!("{before}{module}{after}");
            import.contains(&pattern)
        })
    })
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("_tests.rs") || name.contains("/tests/")
}

fn numbered(content: &str) -> impl Iterator<Item = (usize, &str)> {
    content.lines().enumerate().map(|(at, line)| (at + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, content: &str) -> Vec<String> {
        check(Path::new(file), content).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn deciding_code_does_no_io() {
        let bad = "use std::fs::File;\nfn f() { let t = std::time::Instant::now(); }\n";
        let findings = found("crates/tree/src/lib.rs", bad);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("crates/tree/src/lib.rs:1: `std::fs`"), "{findings:?}");
        assert!(findings[1].starts_with("crates/tree/src/lib.rs:2: `Instant::now`"), "{findings:?}");
        assert_eq!(found("crates/server/src/lib.rs", bad), [""; 0]);
        assert_eq!(found("crates/storage/src/disk/real.rs", bad), [""; 0]);
        assert_eq!(found("crates/tree/tests/big.rs", bad), [""; 0]);
    }

    #[test]
    fn imports_over_several_lines_are_seen() {
        let findings = found("crates/zab/src/a.rs", "use std::{\n    fmt,\n    fs::File,\n};\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(found("crates/zab/src/a.rs", "use std::{fmt, offset};\n"), [""; 0]);
    }

    #[test]
    fn comments_and_unit_tests_may_say_it() {
        let code = "// like std::fs\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(found("crates/wire/src/lib.rs", code), [""; 0]);
        assert_eq!(found("crates/wire/src/lib.rs", "let operand::x = 1;"), [""; 0]);
    }

    #[test]
    fn long_files_and_machine_paths_are_found() {
        assert_eq!(found("crates/cli/src/a.rs", &"\n".repeat(1001)).len(), 1);
        assert!(found("crates/cli/src/a.rs", &"\n".repeat(601))[0].contains("warning"));
        let path = concat!("see /work", "/main/README.md");
        assert!(found("README.md", path)[0].starts_with("README.md:1:"));
    }
}
