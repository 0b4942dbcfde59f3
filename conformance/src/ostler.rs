//! Our server, started as an operator starts it: `ostler server zoo.cfg`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::target;
use crate::process::Process;
use crate::server::{self, Options};

/// A running Ostler server.
#[derive(Debug)]
pub struct Server(Process);

impl Server {
    /// Starts one.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_binary(&binary()?, options)
    }

    /// Starts one from a certain binary.
    pub fn start_binary(binary: &Path, options: &Options) -> Result<Self> {
        let process = Process::start(options, |cfg| {
            let mut command = Command::new(binary);
            command.arg("server").arg(cfg);
            command
        });
        process.map(Self).context("an Ostler server")
    }
}

impl server::Server for Server {
    fn name(&self) -> &'static str {
        "Ostler"
    }

    fn process(&self) -> &Process {
        &self.0
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// The binary: `OSTLER_BIN`, or the younger one of the release and the debug build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("OSTLER_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("OSTLER_BIN names {}, which is no file", path.display());
        }
        return Ok(path);
    }
    let built = ["release", "debug"].into_iter().filter_map(|profile| {
        let path = target().join(profile).join("ostler");
        let when = path.metadata().and_then(|it| it.modified()).ok()?;
        Some((when, path))
    });
    match built.max_by_key(|(when, _)| *when) {
        Some((_, path)) => Ok(path),
        None => bail!("no ostler binary in {}: cargo build --release -p ostler", target().display()),
    }
}
