//! The C programs in `conformance/c`: with ZooKeeper's C client as Debian ships it, and one that makes disk calls fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::workspace;

/// Compiles a program of ours into `dir`.
pub fn compile(name: &str, dir: &Path) -> Result<PathBuf> {
    let made = dir.join(name);
    let output = Command::new("cc")
        .args(["-Wall", "-Wextra", "-O1", "-o"])
        .arg(&made)
        .arg(workspace().join("conformance/c").join(format!("{name}.c")))
        .args(["-lzookeeper_mt", "-lpthread"])
        .output()
        .context("cc cannot be started; on Debian: apt-get install gcc libc6-dev libzookeeper-mt-dev")?;
    ensure!(
        output.status.success(),
        "{name}.c can't be compiled; it needs libzookeeper-mt-dev:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(made)
}

/// Compiles `faults.c` into `dir`: a library for `LD_PRELOAD` that makes calls fail as the file of `OSTLER_FAULTS` says.
pub fn compile_faults(dir: &Path) -> Result<PathBuf> {
    let made = dir.join("faults.so");
    let output = Command::new("cc")
        .args(["-Wall", "-Wextra", "-O1", "-shared", "-fPIC", "-o"])
        .arg(&made)
        .arg(workspace().join("conformance/c/faults.c"))
        .arg("-ldl")
        .output()
        .context("cc cannot be started; on Debian: apt-get install gcc libc6-dev")?;
    ensure!(output.status.success(), "faults.c can't be compiled:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(made)
}
