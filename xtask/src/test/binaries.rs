//! Test binaries, several at a time.
//!
//! Cargo runs one after the other, so a binary with one long test leaves all but one core idle. Here the next one begins
//! as soon as a place is free, the longest first. What a binary prints is shown when it has ended, in one piece.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::layer::{Outcome, counted};

/// A line of `cargo --message-format=json`, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// A test binary.
#[derive(Debug)]
struct Binary {
    name: String,
    path: PathBuf,
    /// Where it is run: the directory of its package, as cargo does it.
    dir: PathBuf,
}

/// Builds the tests with `build` (a `cargo test`) and runs their binaries, `at_once` at a time; those whose names stand in
/// `first` begin, in this order. `OSTLER_BIN` is set to `ostler`.
pub(super) fn run(mut build: Command, at_once: usize, first: &[&str], ostler: &Path) -> Result<Outcome> {
    let output = build
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(output.status.success(), "the tests could not be built");
    let mut binaries = binaries(&String::from_utf8_lossy(&output.stdout))?;
    ensure!(!binaries.is_empty(), "cargo names no test binary");
    let rank = |binary: &Binary| first.iter().position(|it| *it == binary.name).unwrap_or(first.len());
    binaries.sort_by_key(rank);

    let mut outcome = Outcome::default();
    let queue = Mutex::new(VecDeque::from(binaries));
    let (say, said) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (say, queue) = (say.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(binary) = next else { return };
                    let began = Instant::now();
                    let done = execute(&binary, ostler);
                    if say.send((binary, done, began.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(say);
        for (binary, done, took) in said {
            let (text, one) = done.unwrap_or_else(|e| (format!("{e:#}\n"), Outcome { passed: 0, failed: 1 }));
            let result = if one.failed > 0 { "FAILED" } else { "passed" };
            println!("== {} {result}  {:.1} s\n{text}", binary.name, took.as_secs_f64());
            outcome.passed += one.passed;
            outcome.failed += one.failed;
        }
    });
    Ok(outcome)
}

/// The test binaries that cargo's messages name.
fn binaries(messages: &str) -> Result<Vec<Binary>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("a message of cargo's")?;
        let Message {
            manifest_path: Some(manifest),
            target: Some(target),
            profile: Some(profile),
            executable: Some(path),
        } = message
        else {
            continue;
        };
        if profile.test {
            let dir = manifest.parent().unwrap_or(Path::new(".")).to_owned();
            found.push(Binary { name: target.name, path, dir });
        }
    }
    Ok(found)
}

/// Runs one to its end; what it printed, and what it counted.
fn execute(binary: &Binary, ostler: &Path) -> Result<(String, Outcome)> {
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    let mut command = Command::new(&binary.path);
    command.current_dir(&binary.dir).env("OSTLER_BIN", ostler).env("CARGO_MANIFEST_DIR", &binary.dir);
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("starting {}", binary.path.display()))?;
    // Its ends of the pipe are the child's alone now.
    drop(command);
    let (mut text, mut outcome) = (String::new(), Outcome::default());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("reading what a test prints")? > 0 {
        let one = String::from_utf8_lossy(&line);
        if let Some(counts) = counted(one.trim_end()) {
            outcome.passed += counts.passed;
            outcome.failed += counts.failed;
        }
        text.push_str(&one);
        line.clear();
    }
    // What ends before it can count fails too.
    if !child.wait()?.success() && outcome.failed == 0 {
        outcome.failed = 1;
    }
    Ok((text, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_are_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/a/b/Cargo.toml","target":{"name":"one"},"profile":{"test":true},"executable":"/t/one-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/a/b/Cargo.toml","target":{"name":"b"},"profile":{"test":false},"executable":"/t/b"}"#,
            "\n",
            r#"{"reason":"build-script-executed","out_dir":"/x"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        let found = binaries(messages).unwrap();
        let [only] = &found[..] else { panic!("{found:?}") };
        assert_eq!((only.name.as_str(), only.dir.to_str()), ("one", Some("/a/b")));
        assert!(binaries("{").is_err());
    }

    #[test]
    fn what_a_binary_prints_is_counted_and_an_end_without_counts_fails() {
        let binary = |path: &str| Binary { name: "it".to_owned(), path: path.into(), dir: "/".into() };
        let (_, outcome) = execute(&binary("/bin/false"), Path::new("/x")).unwrap();
        assert_eq!(outcome, Outcome { passed: 0, failed: 1 });
        assert!(execute(&binary("/nowhere"), Path::new("/x")).is_err());
        let script = tempfile();
        let (text, outcome) = execute(&binary(script.to_str().unwrap()), Path::new("/the/binary")).unwrap();
        assert_eq!(outcome, Outcome { passed: 3, failed: 1 });
        assert!(text.contains("/the/binary in /\n"), "{text}");
    }

    fn tempfile() -> tempfile::TempPath {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "#!/bin/sh\necho \"$OSTLER_BIN in $PWD\"\necho 'test result: FAILED. 3 passed; 1 failed; 0 ignored'\nexit 1\n";
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(PermissionsExt::from_mode(0o700)).unwrap();
        file.into_temp_path()
    }
}
