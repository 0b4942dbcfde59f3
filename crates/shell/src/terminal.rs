//! The terminal is left as it was, however the shell ends; and signals.

use std::io::{Write, stdin, stdout};
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How the terminal was before the shell did anything.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Looks at the terminal, and has it put back when a panic ends the program.
pub fn remember() {
    if let Ok(modes) = tcgetattr(stdin()) {
        let _ = BEFORE.set(modes);
    }
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

/// Puts it back: modes, cursor, colours, and the editor's way of taking pasted text.
pub fn restore() {
    let Some(modes) = BEFORE.get() else { return };
    let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    if isatty(stdout()) {
        let mut out = stdout().lock();
        let _ = out.write_all(b"\x1b[?2004l\x1b[?25h\x1b[0m");
        let _ = out.flush();
    }
}

/// What came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Nothing yet.
    None,
    /// Ctrl-C, so many times.
    Interrupt(u64),
    /// The process is to end, with this exit code.
    End(u8),
}

/// Starts to listen. Needs a runtime.
pub fn signals() -> std::io::Result<watch::Receiver<Signal>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (send, receive) = watch::channel(Signal::None);
    tokio::spawn(async move {
        let mut interrupts = 0;
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => {
                    interrupts += 1;
                    Signal::Interrupt(interrupts)
                }
                _ = terminate.recv() => Signal::End(143),
                _ = hangup.recv() => Signal::End(129),
            };
            if send.send(signal).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}
