//! The terminal is left as it was, however the shell ends; and signals.

use std::io::{Write, stdin, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, read};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How the terminal was before the shell did anything; only where there is a prompt.
static BEFORE: OnceLock<Termios> = OnceLock::new();
/// Does the editor have the terminal? Its modes are the editor's then, and pasted text comes in brackets.
static EDITING: AtomicBool = AtomicBool::new(false);
/// Terminals that the editor only reads lines from. Source: `rustyline::tty::UNSUPPORTED_TERM`.
const PLAIN: [&str; 3] = ["dumb", "cons25", "emacs"];
/// The exit code of a program that a hang-up ends.
pub const HUNG_UP: u8 = 129;
/// Most bytes that [`drop_input`] drops.
const DROPPED_MAX: usize = 16 << 20;

/// Looks at the terminal, and has it put back when a panic ends the program. For a shell with a prompt; nothing else
/// changes the terminal.
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

/// Does what changes the terminal, and puts it back itself at the end.
pub fn editing<T>(edit: impl FnOnce() -> T) -> T {
    EDITING.store(true, Ordering::Relaxed);
    let done = edit();
    EDITING.store(false, Ordering::Relaxed);
    done
}

/// Puts it back where the editor can't any more: modes, and the way of taking pasted text.
pub fn restore() {
    if !EDITING.swap(false, Ordering::Relaxed) {
        return;
    }
    let Some(modes) = BEFORE.get() else { return };
    let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    if std::env::var("TERM").is_ok_and(|term| PLAIN.iter().any(|it| it.eq_ignore_ascii_case(&term))) {
        return;
    }
    let mut out = stdout().lock();
    let _ = out.write_all(b"\x1b[?2004l");
    let _ = out.flush();
}

/// Was there a terminal, and is none any more?
pub fn is_gone() -> bool {
    BEFORE.get().is_some() && tcgetattr(stdin()).is_err()
}

/// Reads away what was typed or pasted so far, until nothing has come for a tenth of a second: the end of a line whose
/// beginning is lost must not be taken for a command.
pub fn drop_input() {
    let Ok(before) = tcgetattr(stdin()) else { return };
    let mut raw = before.clone();
    raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    raw.special_codes[SpecialCodeIndex::VMIN] = 0;
    raw.special_codes[SpecialCodeIndex::VTIME] = 1;
    if tcsetattr(stdin(), OptionalActions::Now, &raw).is_err() {
        return;
    }
    let (mut bytes, mut dropped) = ([0; 4096], 0);
    while dropped < DROPPED_MAX {
        match read(stdin(), &mut bytes) {
            Ok(0) => break,
            Ok(n) => dropped += n,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
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
    // Whose usual end would leave the terminal as the editor has it.
    let mut quit = signal(SignalKind::quit())?;
    let mut alarm = signal(SignalKind::alarm())?;
    let (mut user1, mut user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
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
                _ = hangup.recv() => Signal::End(HUNG_UP),
                _ = quit.recv() => Signal::End(131),
                _ = user1.recv() => Signal::End(138),
                _ = user2.recv() => Signal::End(140),
                _ = alarm.recv() => Signal::End(142),
            };
            if send.send(signal).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}
