//! kazoo, the Python client, in an environment of its own under the target directory.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};

use crate::paths::{target, workspace};

/// The release that the recipes were written for.
const KAZOO: &str = "kazoo==2.10.0";

/// One thread of this process installs.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A program in `conformance/python`, ready to run with kazoo. Add arguments, then run it.
pub fn program(name: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg("-B").arg(workspace().join("conformance/python").join(name)).stdin(Stdio::null());
    Ok(command)
}

/// An interpreter that has kazoo; made at the first call.
fn python() -> Result<PathBuf> {
    let _one = INSTALLING.lock().map_err(|_| anyhow!("another thread failed while installing kazoo"))?;
    let home = target().join("python");
    let python = home.join("bin/python");
    let has_kazoo = || {
        let mut command = Command::new(&python);
        command.args(["-c", "import kazoo"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|it| it.success())
    };
    if has_kazoo() {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).output();
    let made = made.context("python3 cannot be started; on Debian: apt-get install python3-venv")?;
    ensure!(made.status.success(), "python3 -m venv failed:\n{}", String::from_utf8_lossy(&made.stdout));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", KAZOO]);
    ensure!(pip.status().context("starting pip")?.success(), "pip could not install {KAZOO}");
    ensure!(has_kazoo(), "{KAZOO} was installed, but python cannot import it");
    Ok(python)
}
