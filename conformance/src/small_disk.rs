//! A small file system in memory, which a test can really fill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// A file system of its own, until it is dropped.
#[derive(Debug)]
pub struct Small(PathBuf);

impl Small {
    /// One of so many MiB at this folder, which is made. None where this process may not mount; then it says so.
    #[allow(clippy::print_stdout, reason = "it says what a test leaves out")]
    pub fn mount(at: impl Into<PathBuf>, mib: u32) -> Option<Self> {
        let at = at.into();
        let left_out = |why: &str| println!("left out, a file system can't be mounted: {why}");
        if let Err(error) = std::fs::create_dir_all(&at) {
            left_out(&error.to_string());
            return None;
        }
        let options = format!("size={mib}m,mode=755");
        match Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output() {
            Ok(output) if output.status.success() => return Some(Self(at)),
            Ok(output) => left_out(String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => left_out(&error.to_string()),
        }
        None
    }

    /// Takes so much of it away.
    pub fn ballast(&self, mib: usize) -> Result<()> {
        std::fs::write(self.file(), vec![1; mib << 20]).context("writing the ballast")
    }

    /// Takes all that is left. A server may give some back just then: what it had begun and has no room for.
    pub fn fill(&self) -> Result<()> {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.file()).context("creating the ballast")?;
        while file.write_all(&[1; 4096]).is_ok() {}
        Ok(())
    }

    /// Gives it back.
    pub fn unload(&self) -> Result<()> {
        std::fs::remove_file(self.file()).context("removing the ballast")
    }

    fn file(&self) -> PathBuf {
        Path::join(&self.0, "ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
