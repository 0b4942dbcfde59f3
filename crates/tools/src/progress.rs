//! How far a long reading is, on terminals only.

use std::io::{self, IsTerminal, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on standard error that moves while bytes are read; nothing where that is no terminal.
pub fn bar(total: u64, what: &str, wanted: bool) -> ProgressBar {
    let target = if wanted { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    // The template is a constant that is right.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// Does somebody look? For those who answer when all is read: the line is gone by then.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// The same for those who print while they read: only where the line does not meet the answer.
pub fn is_apart() -> bool {
    is_watched() && !io::stdout().is_terminal()
}

/// Tells a bar what is read through it.
#[derive(Debug)]
pub struct Told<R> {
    source: R,
    bar: ProgressBar,
}

impl<R> Told<R> {
    /// Around `source`.
    pub fn new(source: R, bar: &ProgressBar) -> Self {
        Self { source, bar: bar.clone() }
    }
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        self.bar.inc(n as u64);
        Ok(n)
    }
}
