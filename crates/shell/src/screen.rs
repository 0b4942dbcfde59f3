//! Where everything that the shell says goes: standard output, standard error, and, while a line is edited, above it.
//! Whatever goes to a terminal is made [`printable`](crate::printable) here, so there is no way past that.

use std::borrow::Cow;
use std::io::{BufWriter, IsTerminal, Stdout, Write, stderr, stdout};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::printable::{clean, clean_json};

/// Most watch events that wait while a line is edited; what comes on top is only counted.
const EVENTS_MAX: usize = 1024;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On terminals, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The way out.
#[derive(Debug)]
pub struct Screen {
    inner: Mutex<Inner>,
    /// One JSON object an answer.
    pub json: bool,
    /// Is standard output a terminal?
    pub out_terminal: bool,
    /// Is standard error a terminal?
    pub err_terminal: bool,
    /// Colours on standard output?
    pub out_color: bool,
    err_color: bool,
}

#[derive(Debug)]
struct Inner {
    out: BufWriter<Stdout>,
    editor: Option<SyncSender<String>>,
    lost: usize,
    /// Is there a progress line on the terminal?
    progress: bool,
}

impl Screen {
    /// The process's own.
    pub fn new(color: Color, json: bool) -> Self {
        let (out_terminal, err_terminal) = (stdout().is_terminal(), stderr().is_terminal());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        let color = |terminal: bool| match color {
            Color::Auto => terminal && !plain,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            inner: Mutex::new(Inner { out: BufWriter::new(stdout()), editor: None, lost: 0, progress: false }),
            json,
            out_terminal,
            err_terminal,
            out_color: color(out_terminal),
            err_color: color(err_terminal),
        }
    }

    /// From now on events appear above the line that is edited. They go through a thread: the editor takes one at a
    /// time, and who waits for it must not be the one that answers the editor.
    pub fn events_to(&self, mut printer: impl rustyline::ExternalPrinter + Send + 'static) {
        let (send, receive) = sync_channel::<String>(EVENTS_MAX);
        let printing = move || {
            while let Ok(text) = receive.recv() {
                if printer.print(text).is_err() {
                    break;
                }
            }
        };
        if std::thread::Builder::new().name("ostler-events".to_owned()).spawn(printing).is_ok() {
            self.lock().editor = Some(send);
        }
    }

    /// Text of an answer, kept until [`Screen::flush`]. Bytes that are no UTF-8 stay as they are, except on a terminal.
    pub fn out(&self, text: &[u8]) -> Result<(), Failure> {
        let mut inner = self.lock();
        inner.clear_progress();
        if self.out_terminal {
            return Ok(inner.out.write_all(clean(&String::from_utf8_lossy(text)).as_bytes())?);
        }
        Ok(inner.out.write_all(text)?)
    }

    /// Shows what was kept.
    pub fn flush(&self) -> Result<(), Failure> {
        Ok(self.lock().out.flush()?)
    }

    /// Text that comes with an answer on standard error.
    pub fn err(&self, text: &str) {
        self.styled_err("", text, "");
    }

    /// The same between what switches a style on and off.
    fn styled_err(&self, on: &str, text: &str, off: &str) {
        let mut inner = self.lock();
        inner.clear_progress();
        let _ = inner.out.flush();
        let text = if self.err_terminal { clean(text) } else { Cow::Borrowed(text) };
        let text = match text.strip_suffix('\n') {
            Some(line) => format!("{on}{line}{off}\n"),
            None => format!("{on}{text}{off}"),
        };
        // There is no place left to complain at.
        let _ = stderr().lock().write_all(text.as_bytes());
    }

    /// A remark of the shell's own; for people only.
    pub fn remark(&self, text: &str) {
        let (on, off) = if self.err_color { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        self.styled_err(on, text, off);
    }

    /// A command that failed: Apache's text, what is known of the cause, and on terminals what to try.
    pub fn failure(&self, command: &str, failure: &Failure) -> Result<(), Failure> {
        if failure.kind == Kind::OutputClosed {
            return Ok(());
        }
        if self.json {
            return self.json_line(&error_json(command, failure));
        }
        if failure.kind == Kind::NotConnected {
            // Where zkCli says it.
            self.out(format!("{}\n", failure.text).as_bytes())?;
        } else {
            let (on, off) = if self.err_color { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            self.styled_err(on, &format!("{}\n", failure.text), off);
        }
        match (&failure.cause, &failure.hint) {
            // A log should tell whoever reads it later what to do about it.
            (Some(cause), hint) => {
                let todo = hint.as_ref().map_or_else(String::new, |it| format!("; {it}"));
                self.remark(&format!("  {}{}\n", clean(cause), clean(&todo)));
            }
            (None, Some(hint)) if self.err_terminal => self.remark(&format!("  {hint}\n")),
            (None, _) => {}
        }
        self.flush()
    }

    /// One object, one line.
    pub fn json_line(&self, value: &Value) -> Result<(), Failure> {
        let line = format!("{value}\n");
        self.out(if self.out_terminal { clean_json(&line) } else { Cow::Borrowed(line.as_str()) }.as_bytes())
    }

    /// A watch event: as it comes, and never inside something else.
    pub fn event(&self, mut text: String) {
        if self.out_terminal {
            text = if self.json { clean_json(&text) } else { clean(&text) }.into_owned();
        }
        let mut inner = self.lock();
        inner.clear_progress();
        let Some(editor) = &inner.editor else {
            let _ = inner.out.write_all(text.as_bytes());
            let _ = inner.out.flush();
            return;
        };
        let text = match inner.lost {
            0 => text,
            lost => format!("{lost} events came too fast to be shown\n{text}"),
        };
        match editor.try_send(text) {
            Ok(()) => inner.lost = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => inner.lost += 1,
        }
    }

    /// How far a long command is, on a terminal; the next text takes its place. Nothing where there is no terminal.
    pub fn progress(&self, text: &str) {
        if !self.err_terminal || self.json {
            return;
        }
        let mut inner = self.lock();
        inner.progress = true;
        let width = rustix::termios::tcgetwinsize(stderr()).map_or(80, |it| usize::from(it.ws_col));
        let text = cut(text, width.saturating_sub(1));
        let _ = write!(stderr().lock(), "\r{text}\x1b[K");
    }

    /// Takes the progress line away.
    pub fn end_progress(&self) {
        self.lock().clear_progress();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking writer left is text, not state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

/// A failure for programs.
pub fn error_json(command: &str, failure: &Failure) -> Value {
    let mut error = json!({ "code": failure.kind.name(), "message": failure.text });
    if let Some(code) = failure.zookeeper() {
        error["number"] = json!(code.0);
    }
    if let Some(cause) = &failure.cause {
        error["cause"] = json!(cause);
    }
    if let Some(hint) = &failure.hint {
        error["hint"] = json!(hint);
    }
    json!({ "command": command, "error": error })
}

/// As much of the text as fits into so many columns; a Chinese character takes two.
pub fn cut(text: &str, columns: usize) -> &str {
    use unicode_width::UnicodeWidthChar;
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// The text and blanks up to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    use unicode_width::UnicodeWidthStr;
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    #[test]
    fn columns_count_not_letters() {
        assert_eq!(pad("中文", 6), "中文  ");
        assert_eq!(pad("ab", 6), "ab    ");
        assert_eq!(cut("中文路径", 5), "中文");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_failure_for_programs() {
        let failure = Failure::code(Code::NO_NODE, "/x").hint("h");
        let expected = json!({ "command": "get", "error": {
            "code": "NoNode", "message": "Node does not exist: /x", "number": -101, "hint": "h" } });
        assert_eq!(error_json("get", &failure), expected);
    }
}
