//! Test binaries, several at a time.
//!
//! Cargo runs one after the other, so a binary with one long test leaves all but one core idle. Here the next one begins
//! as soon as a place is free, the longest first. What a binary prints is shown when it has ended, in one piece.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::layer::Outcome;

/// A line of `cargo --message-format=json`, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Message {
    package_id: Option<String>,
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

/// How test binaries are run.
#[derive(Debug)]
pub(super) struct Binaries<'a> {
    /// So many at a time.
    pub(super) at_once: usize,
    /// The threads of each; none: the harness decides.
    pub(super) threads: Option<usize>,
    /// Those with these names begin, in this order.
    pub(super) first: &'a [&'a str],
    /// Variables of their environment.
    pub(super) env: Vec<(&'static str, OsString)>,
}

/// A test binary.
#[derive(Debug)]
struct Binary {
    name: String,
    package: String,
    path: PathBuf,
    /// Where it is run: the directory of its package, as cargo does it.
    dir: PathBuf,
}

/// Builds the tests with `build` (a `cargo test`) and runs those of the chosen packages.
pub(super) fn run(mut build: Command, chosen: impl Fn(&str) -> bool, how: &Binaries<'_>) -> Result<Outcome> {
    let output = build
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(output.status.success(), "the tests could not be built");
    let mut binaries = binaries(&String::from_utf8_lossy(&output.stdout))?;
    binaries.retain(|binary| chosen(&binary.package));
    ensure!(!binaries.is_empty(), "cargo names no test binary of those packages");
    let rank = |binary: &Binary| how.first.iter().position(|it| *it == binary.name).unwrap_or(how.first.len());
    binaries.sort_by_key(rank);

    let mut outcome = Outcome::default();
    let queue = Mutex::new(VecDeque::from(binaries));
    let (say, said) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..how.at_once {
            let (say, queue) = (say.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(binary) = next else { return };
                    let began = Instant::now();
                    let done = execute(&binary, how);
                    if say.send((binary, done, began.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(say);
        for (binary, done, took) in said {
            let (text, one) = done.unwrap_or_else(|e| (format!("{e:#}\n"), Outcome::failure()));
            let result = if one.failed > 0 { "FAILED" } else { "passed" };
            let (name, package) = (&binary.name, &binary.package);
            println!("== {package} {name} {result}  {:.1} s\n{text}", took.as_secs_f64());
            outcome.add(one);
        }
    });
    Ok(outcome)
}

/// The test binaries that cargo's messages name.
fn binaries(messages: &str) -> Result<Vec<Binary>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("a message of cargo's")?;
        let (Some(package), Some(manifest), Some(target)) = (message.package_id, message.manifest_path, message.target)
        else {
            continue;
        };
        let (Some(profile), Some(path)) = (message.profile, message.executable) else { continue };
        if profile.test {
            let dir = manifest.parent().unwrap_or(Path::new(".")).to_owned();
            found.push(Binary { name: target.name, package: package_name(&package, &dir), path, dir });
        }
    }
    Ok(found)
}

/// The name in a package id, `path+file:///dir#name@version`, or `…/name#version` where the directory has that name.
fn package_name(id: &str, dir: &Path) -> String {
    let behind = id.rsplit_once('#').map_or(id, |(_, behind)| behind);
    match behind.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Runs one to its end; what it printed, and what it counted.
fn execute(binary: &Binary, how: &Binaries<'_>) -> Result<(String, Outcome)> {
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    let mut command = Command::new(&binary.path);
    command.current_dir(&binary.dir).env("CARGO_MANIFEST_DIR", &binary.dir);
    command.envs(how.env.iter().map(|(name, value)| (name, value)));
    if let Some(threads) = how.threads {
        command.env("RUST_TEST_THREADS", threads.to_string());
    }
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("starting {}", binary.path.display()))?;
    // Its ends of the pipe are the child's alone now.
    drop(command);
    let (mut text, mut outcome) = (String::new(), Outcome::default());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("reading what a test prints")? > 0 {
        let one = String::from_utf8_lossy(&line);
        outcome.line(one.trim_end());
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
        let artifact = |package: &str, dir: &str, name: &str, test: bool| {
            let path = if test { format!("\"/t/{name}\"") } else { "null".to_owned() };
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{package}","manifest_path":"{dir}/Cargo.toml","target":{{"name":"{name}"}},"profile":{{"test":{test}}},"executable":{path}}}"#
            ) + "\n"
        };
        let messages = artifact("path+file:///a/b#pack@0.1.0", "/a/b", "one", true)
            + &artifact("path+file:///a/c#0.1.0", "/a/c", "two", true)
            + &artifact("path+file:///a/b#pack@0.1.0", "/a/b", "lib", false)
            + "{\"reason\":\"build-script-executed\",\"package_id\":\"x\"}\n{\"reason\":\"build-finished\",\"success\":true}\n";
        let found = binaries(&messages).unwrap();
        let told: Vec<_> =
            found.iter().map(|it| (it.package.as_str(), it.name.as_str(), it.dir.to_str().unwrap())).collect();
        assert_eq!(told, [("pack", "one", "/a/b"), ("c", "two", "/a/c")]);
        assert!(binaries("{").is_err());
    }

    #[test]
    fn what_a_binary_prints_is_counted_and_an_end_without_counts_fails() {
        let how =
            Binaries { at_once: 1, threads: Some(3), first: &[], env: vec![("OSTLER_BIN", "/the/binary".into())] };
        let binary =
            |path: &str| Binary { name: "it".to_owned(), package: "of".to_owned(), path: path.into(), dir: "/".into() };
        let (_, outcome) = execute(&binary("/bin/false"), &how).unwrap();
        assert_eq!(outcome, Outcome::failure());
        assert!(execute(&binary("/nowhere"), &how).is_err());
        let script = script();
        let (text, outcome) = execute(&binary(script.to_str().unwrap()), &how).unwrap();
        assert_eq!(outcome, Outcome { passed: 3, failed: 1, covered: vec!["all of it".to_owned()] });
        assert!(text.contains("/the/binary in / with 3\n"), "{text}");
    }

    fn script() -> tempfile::TempPath {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "#!/bin/sh\necho \"$OSTLER_BIN in $PWD with $RUST_TEST_THREADS\"\n\
            echo 'covered: all of it'\necho 'test result: FAILED. 3 passed; 1 failed; 0 ignored'\nexit 1\n";
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(PermissionsExt::from_mode(0o700)).unwrap();
        file.into_temp_path()
    }
}
