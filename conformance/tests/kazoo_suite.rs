//! The tests that kazoo's authors wrote, from its source package, against Ostler.
//!
//! They start servers with `java`; a program of that name of ours starts Ostler instead. What can't pass yet stands in
//! `python/kazoo-skipped.txt`, each with its reason.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ostler_conformance::{ostler, python};

/// The workers: kazoo's tests wait more than they work.
const WORKERS: &str = "8";

/// `java FLAGS QuorumPeerMain zoo.cfg`: the flag with the super user's digest, and the file without what is not there yet.
fn write_java(path: &Path, ostler: &Path) {
    let script = format!(
        r#"#!/bin/sh
flags=
for argument; do
  case $argument in -Dzookeeper.DigestAuthenticationProvider.*) flags="$flags $argument" ;; esac
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

#[test]
fn kazoo_passes_its_own_tests() {
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
        .args(["-p", "kazoo_suite", "-p", "no:cacheprovider", "-n", WORKERS, "--dist", "loadscope", "kazoo/tests"])
        .current_dir(python::kazoo_source().unwrap())
        .env("PYTHONPATH", python::python_dir())
        .env("PATH", path)
        .env("TMPDIR", dir.path())
        .envs([("ZOOKEEPER_VERSION", "3.9.5"), ("ZOOKEEPER_CLASSPATH", "none"), ("ZOOKEEPER_CLUSTER_SIZE", "1")])
        // One of kazoo's tests looks only at how it was started.
        .env_remove("CI")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let from = text.find("= FAILURES =").or_else(|| text.find("= ERRORS =")).unwrap_or(0);
    let last = text.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{}", &text[from..], String::from_utf8_lossy(&output.stderr));
    // Nobody wants to find out that it has been an empty run for months.
    let passed: u32 = last.split(" passed").next().and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
    assert!(passed > 460, "only {passed} passed: {last}");
    println!("{last}");
}
