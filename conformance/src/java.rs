//! The Java programs in `conformance/java`, compiled when they have changed.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::paths::target;
use crate::{apache, jvm};

/// A Java program of ours, ready to run: `java` with its class path and name. Add arguments, then run it.
pub fn program(class: &str, jvm: &[&str]) -> Result<Command> {
    // An archive of classes is good for class paths that begin with its own, and that has no directory.
    let classpath = format!("{}:{}", apache::classpath()?, classes()?.display());
    let mut java = Command::new("java");
    java.args(jvm::flags())
        .args(["-Xmx1g", "-Dostler.log.level=WARN"])
        .arg(apache::logging())
        .args(jvm)
        .args(["-cp", &classpath, class]);
    Ok(java)
}

/// Runs a program to its end and returns what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("java cannot be started: {}", apache::INSTALL))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("a Java program failed ({}):\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// Everything in a data directory, as Apache reads it, one line each: znodes in the order of their paths, sessions,
/// the last zxid, the digest of the tree. It reads a copy, since Apache writes to what it opens.
pub fn dump_dir(data: &Path) -> Result<String> {
    dump_dirs(data, data)
}

/// The same, where snapshots (`dataDir`) and log (`dataLogDir`) lie apart.
pub fn dump_dirs(data: &Path, log: &Path) -> Result<String> {
    let copy = tempfile::tempdir()?;
    let to = copy.path().join("version-2");
    fs::create_dir_all(&to)?;
    for from in [data, log] {
        let from = from.join("version-2");
        let entries = fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    run(program("Dump", &[])?.arg("dir").arg(copy.path()))
}

/// Every znode that a running server shows to a client, in the same lines as [`dump_dir`]. `auth` is a scheme and its
/// credentials (`digest`, `super:secret`), for znodes that the world cannot read.
pub fn dump_server(addr: SocketAddr, auth: Option<(&str, &str)>) -> Result<String> {
    let mut command = program("Dump", &[])?;
    command.arg("server").arg(addr.to_string());
    if let Some((scheme, credentials)) = auth {
        command.args([scheme, credentials]);
    }
    run(&mut command)
}

/// A dump without what differs between two servers that were asked the same: times, session ids, and the digest that
/// both go into.
pub fn masked_dump(dump: &str) -> String {
    let word = |word: &str| match word.split_once('=') {
        Some((name @ ("ctime" | "mtime"), value)) if value != "0" => format!("{name}=time"),
        Some(("owner", value)) if value.starts_with("0x1") && value.len() > 14 => "owner=session".to_owned(),
        _ if word.starts_with("0x1") && word.len() > 14 => "id".to_owned(),
        _ => word.to_owned(),
    };
    let lines = dump.lines().filter(|line| !line.starts_with("digest "));
    lines.map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// Runs `operations` pseudo-random operations of Apache's client against a server; one line per acknowledged operation.
pub fn workload(addr: SocketAddr, seed: u64, operations: u32) -> Result<String> {
    run(program("Workload", &[])?.arg(addr.to_string()).arg(seed.to_string()).arg(operations.to_string()))
}

/// The directory with the compiled programs; its name tells the sources it was made of.
fn classes() -> Result<PathBuf> {
    let classpath = apache::classpath()?;
    let _one = apache::TOOLS.lock().map_err(|_| anyhow!("another thread failed while compiling"))?;
    let dir = apache::java_dir();
    let mut sources: Vec<PathBuf> = fs::read_dir(&dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "java"))
        .collect();
    sources.sort();
    let mut hash = DefaultHasher::new();
    classpath.hash(&mut hash);
    for source in &sources {
        fs::read(source)?.hash(&mut hash);
    }
    let root = target().join("apache/classes");
    let made = root.join(format!("{:016x}", hash.finish()));
    if made.is_dir() {
        return Ok(made);
    }
    fs::create_dir_all(&root)?;
    let fresh = tempfile::tempdir_in(&root)?;
    let output = Command::new("javac")
        .args(["-nowarn", "-Xlint:none", "-cp", &classpath, "-d"])
        .arg(fresh.path())
        .args(&sources)
        .output()
        .with_context(|| format!("javac cannot be started: {}", apache::INSTALL))?;
    if !output.status.success() {
        bail!("javac refused the programs in {}:\n{}", dir.display(), String::from_utf8_lossy(&output.stderr));
    }
    // Another process may have been faster; its classes are the same.
    if fs::rename(fresh.path(), &made).is_ok() {
        let _ = fresh.keep();
    }
    Ok(made)
}
