//! Everything that must hold before a change goes in.

use std::process::ExitCode;

use anyhow::Result;

/// Which layers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs them.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
