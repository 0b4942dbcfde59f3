//! kazoo, the Python client, in an environment of its own under the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};

use crate::paths::{target, workspace};

/// The release that the recipes were written for, and whose own tests are run. `requirements.txt` names it too.
const KAZOO: &str = "kazoo==2.10.0";

/// One thread of this process installs.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A program in `conformance/python`, ready to run with kazoo. Add arguments, then run it.
pub fn program(name: &str) -> Result<Command> {
    let mut command = Command::new(environment()?);
    command.arg("-B").arg(python_dir().join(name)).stdin(Stdio::null());
    Ok(command)
}

/// Where our Python programs lie.
pub fn python_dir() -> PathBuf {
    workspace().join("conformance/python")
}

/// An interpreter that has all of `requirements.txt`; made at the first call.
pub fn environment() -> Result<PathBuf> {
    let _one = INSTALLING.lock().map_err(|_| anyhow!("another thread failed while installing kazoo"))?;
    let home = target().join("python");
    let python = home.join("bin/python");
    let list = python_dir().join("requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let installed = home.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|it| it == wanted) && python.exists() {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).output();
    let made = made.context("python3 cannot be started; on Debian: apt-get install python3-venv")?;
    ensure!(made.status.success(), "python3 -m venv failed:\n{}", String::from_utf8_lossy(&made.stdout));
    pip(&python, &["install", "--no-deps", "--requirement"], &list)
        .with_context(|| format!("pip could not install {}: is PyPI reachable?", list.display()))?;
    fs::write(&installed, wanted)?;
    Ok(python)
}

/// kazoo's source package, which has its tests; fetched at the first call.
pub fn kazoo_source() -> Result<PathBuf> {
    let python = environment()?;
    let _one = INSTALLING.lock().map_err(|_| anyhow!("another thread failed while fetching kazoo"))?;
    let dir = target().join("python/source");
    let name = KAZOO.replace("==", "-");
    let source = dir.join(&name);
    if source.join("kazoo/tests").is_dir() {
        return Ok(source);
    }
    pip(&python, &["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", KAZOO, "--dest"], &dir)
        .with_context(|| format!("pip could not fetch the source of {KAZOO}: is PyPI reachable?"))?;
    let mut unpack = Command::new(&python);
    unpack.args(["-m", "tarfile", "-e"]).arg(dir.join(format!("{name}.tar.gz"))).arg(&dir);
    let unpacked = unpack.output().context("starting python")?;
    ensure!(unpacked.status.success(), "unpacking kazoo: {}", String::from_utf8_lossy(&unpacked.stderr));
    Ok(source)
}

fn pip(python: &Path, arguments: &[&str], last: &Path) -> Result<()> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments).arg(last).stdin(Stdio::null());
    ensure!(pip.status().context("starting pip")?.success(), "pip {} failed", arguments.join(" "));
    Ok(())
}
