//! The tests that kazoo's authors wrote, from its source package, against Ostler.
//!
//! They start servers with `java`; a program of that name of ours starts Ostler instead. What can't pass yet, or not with one
//! server, stands in `python/kazoo-skipped.txt`, each with its reason; those that need an ensemble are run with three.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ostler_conformance::{ostler, python};

/// `java FLAGS QuorumPeerMain zoo.cfg`: the flags with the super user's digest and of reading without a leader, and the file
/// without what is not there yet.
fn write_java(path: &Path, ostler: &Path) {
    let script = format!(
        r#"#!/bin/sh
flags=
for argument; do
  case $argument in
    -Dzookeeper.DigestAuthenticationProvider.* | -Dreadonlymode.*) flags="$flags $argument" ;;
  esac
done
sed -i '/^secureClientPort=/d; /^ssl\./d; /^authProvider\./d; /^serverCnxnFactory=/d; /^admin\./d' "$argument"
SERVER_JVMFLAGS="$flags" exec "{}" server "$argument"
"#,
        ostler.display()
    );
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How long all of them may take, in seconds; they take a hundred.
const LIMIT_S: &str = "600";

/// One run at a time: each looks for ports of its own before it starts servers.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs tests, each worker with so many servers; how many passed, and the line that says so.
fn run(tests: &[String], servers: u32, workers: u32) -> (usize, String) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    write_java(&bin.join("java"), &ostler::binary().unwrap());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // Each test has a limit of its own, which a thread that never ends can outlive.
    let output = Command::new("timeout")
        .args(["-k", "10", LIMIT_S])
        .arg(python::environment().unwrap())
        .args(["-B", "-m", "pytest", "-q", "--no-header", "--disable-warnings", "--log-cli-level=CRITICAL"])
        .args(["-p", "kazoo_suite", "-p", "no:cacheprovider", "--dist", "loadscope", "-n", &workers.to_string()])
        .args(tests)
        .current_dir(python::kazoo_source().unwrap())
        .env("PYTHONPATH", python::python_dir())
        .env("PATH", path)
        .env("TMPDIR", dir.path())
        .envs([("ZOOKEEPER_VERSION", "3.9.5"), ("ZOOKEEPER_CLASSPATH", "none")])
        .env("ZOOKEEPER_CLUSTER_SIZE", servers.to_string())
        // One of kazoo's tests looks only at how it was started.
        .env_remove("CI")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let from = text.find("= FAILURES =").or_else(|| text.find("= ERRORS =")).unwrap_or(0);
    let last = text.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{}", &text[from..], String::from_utf8_lossy(&output.stderr));
    let passed = last.split(" passed").next().and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
    (passed, last.to_owned())
}

#[test]
fn kazoo_passes_its_own_tests() {
    // kazoo's tests wait more than they work.
    let (passed, last) = run(&["kazoo/tests".to_owned()], 1, 8);
    // Nobody wants to find out that it has been an empty run for months.
    assert!(passed > 460, "only {passed} passed: {last}");
    println!("{last}");
}

#[test]
fn kazoo_passes_its_tests_of_ensembles() {
    let listed = fs::read_to_string(python::python_dir().join("kazoo-skipped.txt")).unwrap();
    let needing = listed.lines().filter_map(|line| line.split_once(": needs an ensemble"));
    let tests: Vec<String> = needing.map(|(test, _)| format!("kazoo/tests/{test}")).collect();
    let (passed, last) = run(&tests, 3, 2);
    assert!(passed == tests.len() && passed > 5, "{last}: {tests:?}");
    println!("{last}");
}
