//! Installs what the tests need and this machine lacks.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ostler_conformance::{apache, jvm, python};

use super::layer::Outcome;

/// A program, the arguments that make it say its version, and the Debian package that it is in.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("java", "-version", "openjdk-17-jdk-headless"),
    ("javac", "-version", "openjdk-17-jdk-headless"),
    ("mvn", "--version", "maven"),
    ("python3", "--version", "python3"),
    ("cc", "--version", "gcc"),
];

/// The C client, and the compiler's own headers: packages that bring no program.
const LIBRARIES: &[(&str, &str)] =
    &[("/usr/include/zookeeper/zookeeper.h", "libzookeeper-mt-dev"), ("/usr/include/stdio.h", "libc6-dev")];

/// Installs Java, Maven, Python and the C client as root, then Apache ZooKeeper (with Maven) and kazoo (with pip) under `target`.
pub(super) fn run() -> Result<Outcome> {
    let programs = PROGRAMS.iter().filter(|(program, version, _)| !answers(program, version));
    let libraries = LIBRARIES.iter().filter(|(header, _)| !Path::new(header).exists());
    let missing: Vec<&str> =
        programs.map(|(.., package)| *package).chain(libraries.map(|(_, package)| *package)).collect();
    if !missing.is_empty() {
        install(missing)?;
    }
    apache::classpath()?;
    jvm::quick()?;
    kazoo()?;
    Ok(Outcome { passed: 1, ..Outcome::default() })
}

fn answers(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|it| it.success())
}

fn install(mut packages: Vec<&str>) -> Result<()> {
    packages.dedup();
    let list = packages.join(" ");
    let by_hand = format!("install it yourself; on Debian: apt-get install {list}");
    let root = Command::new("id").arg("-u").output().is_ok_and(|it| it.stdout == b"0\n");
    if !root || !answers("apt-get", "--version") {
        bail!("{list} is missing: {by_hand}");
    }
    println!("installing {list}");
    apt_get(&["update", "-qq"]).with_context(|| by_hand.clone())?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    apt_get(&arguments).context(by_hand)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    ensure!(command.status().context("starting apt-get")?.success(), "apt-get {} failed", arguments.join(" "));
    Ok(())
}

/// The Python client, in an environment of its own, and its tests.
fn kazoo() -> Result<()> {
    let mut has_venv = Command::new("python3");
    has_venv.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !has_venv.status().is_ok_and(|it| it.success()) {
        // Debian keeps this module in a package of its own.
        install(vec!["python3-venv"])?;
    }
    python::environment()?;
    python::kazoo_source()?;
    Ok(())
}
