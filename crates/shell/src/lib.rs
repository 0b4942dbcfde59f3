//! `ostler shell`: zkCli's commands for any ZooKeeper server, built on the `zookeeper-client` crate.
//!
//! In: a command line, a file, a pipe or a terminal. Out: what Apache's zkCli prints, byte for byte where scripts read it
//! (`conformance/tests/shell` compares the two), or one JSON object an answer. What differs on purpose is in
//! `docs/shell.md`.
//!
//! * `words`, `flags`, [`command`] make a line a typed command; nothing there touches a socket.
//! * `session` keeps the session and the watches, `raw` is a second connection for null data; `hosts`, `properties` and
//!   [`Args`] say how to connect.
//! * `run`, `walk`, `quota`, `ensemble` do the commands; `acl`, `stat`, `failure` are their texts.
//! * `screen`, `printable`, `editor`, `terminal` are the way to the person.
//!
//! Two threads: one runs the async runtime with the session, the signals and the watches; the other one reads lines and
//! waits for each command's end.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic"))]

mod acl;
pub mod command;
mod editor;
mod ensemble;
pub mod failure;
mod flags;
mod hosts;
mod options;
mod path;
mod printable;
mod properties;
mod quota;
mod raw;
mod run;
mod screen;
mod session;
mod stat;
mod terminal;
mod walk;
mod words;

use std::io::{BufRead, IsTerminal, Read, stdin};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

pub use options::{Args, zkcli_spelling};

use editor::{Line, LineEditor};
use failure::{Failure, Kind};
use run::Shell;
use screen::Screen;
use session::{Live, Session};
use terminal::Signal;

/// The longest line of a file or a pipe. No server takes a request of that length.
const LINE_MAX: u64 = 16 << 20;
/// The exit code of a wrong option, and of input that can't be read.
const USAGE: u8 = 2;

/// Runs a shell to its end; the exit code.
pub fn run(args: &Args) -> u8 {
    let screen = Arc::new(Screen::new(args.color, args.json));
    match start(args, &screen) {
        Ok(code) => code,
        Err(why) => {
            screen.err(&format!("ostler: {why}\n"));
            USAGE
        }
    }
}

/// What drives a shell.
struct Driver {
    shell: Shell,
    screen: Arc<Screen>,
    handle: Handle,
    signals: watch::Receiver<Signal>,
    /// The exit code so far: the last command's.
    code: u8,
}

fn start(args: &Args, screen: &Arc<Screen>) -> Result<u8, String> {
    let interactive = args.command.is_empty() && args.file.is_none() && stdin().is_terminal() && screen.out_terminal;
    let mut input = match &args.file {
        Some(file) => Some(open(file)?),
        None => None,
    };
    let configuration = match &args.client_configuration {
        None => properties::ClientConfiguration::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            properties::read(&text).map_err(|why| format!("{}: {why}", file.display()))?
        }
    };
    let options = args.session(interactive)?;
    if interactive {
        terminal::remember();
    }
    let (handle, _stop) = runtime()?;
    let signals = {
        let _inside = handle.enter();
        terminal::signals().map_err(|e| format!("signals can't be handled: {e}"))?
    };
    let print_watches = Arc::new(AtomicBool::new(true));
    let session = Session::new(options, screen.clone(), print_watches.clone());
    handle.spawn(end_on_signal(signals.clone(), session.closer(), interactive));
    let mut shell = Shell::new(session, screen.clone(), print_watches);
    shell.request_timeout = configuration.request_timeout;
    let mut driver = Driver { shell, screen: screen.clone(), handle, signals, code: 0 };
    driver.connect();
    if args.wait_for_connection && !driver.wait_for_connection() {
        return Ok(driver.end());
    }
    if !args.command.is_empty() {
        driver.line(&args.command);
    } else if let Some(input) = &mut input {
        let name = args.file.as_deref().unwrap_or(Path::new("-")).display().to_string();
        driver.script(&mut **input, &name, args.stop_on_error);
    } else if interactive {
        if let Err(why) = driver.prompt() {
            // The session is closed, so that its ephemerals go.
            driver.end();
            return Err(why);
        }
    } else {
        driver.script(&mut stdin().lock(), "standard input", args.stop_on_error);
    }
    Ok(driver.end())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, String> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::BufReader::new(stdin())));
    }
    let opened = std::fs::File::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Box::new(std::io::BufReader::new(opened)))
}

/// A runtime on a thread of its own, which ends with the sender.
fn runtime() -> Result<(Handle, oneshot::Sender<()>), String> {
    let failed = |e: std::io::Error| format!("no runtime: {e}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("ostler-session".to_owned());
    thread.spawn(move || runtime.block_on(stopped)).map_err(failed)?;
    Ok((handle, stop))
}

/// SIGTERM, SIGHUP and the other signals that end a program end the shell, Ctrl-C too where there is no prompt to come back to: the session is closed, the
/// terminal put back.
async fn end_on_signal(mut signals: watch::Receiver<Signal>, closer: session::Closer, interactive: bool) {
    loop {
        if signals.changed().await.is_err() {
            return;
        }
        let code = match *signals.borrow_and_update() {
            Signal::End(code) => code,
            Signal::Interrupt(_) if !interactive => Kind::Interrupted.exit_code(),
            Signal::Interrupt(_) | Signal::None => continue,
        };
        closer.close().await;
        terminal::restore();
        std::process::exit(i32::from(code));
    }
}

impl Driver {
    fn connect(&mut self) {
        let _inside = self.handle.enter();
        self.shell.session.start(None);
    }

    fn wait_for_connection(&mut self) -> bool {
        match self.handle.block_on(self.shell.session.client("")) {
            Ok(_) => true,
            Err(failure) => {
                self.failed("connect", &failure);
                false
            }
        }
    }

    /// Does one line's words.
    fn line(&mut self, words: &[String]) {
        let mut signals = self.signals.clone();
        signals.mark_unchanged();
        let shell = &mut self.shell;
        let work = async {
            tokio::select! {
                done = shell.perform(words) => done,
                () = interrupted(&mut signals) => Err(Failure::new(Kind::Interrupted, "Interrupted")
                    .hint("what was on its way to the server may still be done")),
            }
        };
        // A bug in one command must not take the session, and its ephemerals, with it.
        let done = catch_unwind(AssertUnwindSafe(|| self.handle.block_on(work)));
        let done = done.unwrap_or_else(|_| {
            Err(Failure::new(Kind::Other, "an internal error (above) ended this command; please report it"))
        });
        match done {
            Ok(()) => self.code = 0,
            Err(failure) => {
                let name = words.first().map_or("", String::as_str);
                self.failed(name, &failure);
            }
        }
    }

    fn failed(&mut self, command: &str, failure: &Failure) {
        self.code = failure.kind.exit_code();
        self.screen.end_progress();
        let shown = self.screen.failure(command, failure).and_then(|()| self.screen.flush());
        if let Err(failure) = shown {
            self.code = failure.kind.exit_code();
        }
    }

    fn output_closed(&self) -> bool {
        self.code == Kind::OutputClosed.exit_code()
    }

    /// Line after line, to the end, to `quit`, or to an error where that was asked for.
    fn script(&mut self, input: &mut dyn BufRead, name: &str, stop_on_error: bool) {
        for number in 1_usize.. {
            let line = match read_line(input) {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(why) => {
                    self.failed("", &Failure::new(Kind::Other, format!("{name}:{number}: {why}")));
                    if !self.output_closed() {
                        self.code = USAGE;
                    }
                    return;
                }
            };
            // Some editors begin a file with a mark of its encoding.
            let line = line.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(&line);
            if words::is_nothing(line) {
                continue;
            }
            self.remember_and_do(line);
            if self.shell.quits || self.output_closed() {
                return;
            }
            if self.code != 0 && stop_on_error {
                self.screen.err(&format!("ostler: {name}:{number}: stopped at the first error\n"));
                return;
            }
        }
    }

    fn remember_and_do(&mut self, line: &str) {
        self.shell.remember(line);
        match run::split(line) {
            Ok(words) => self.line(&words),
            Err(failure) => self.failed("", &failure),
        }
    }

    /// Line after line from a person.
    fn prompt(&mut self) -> Result<(), String> {
        let failed = |e: rustyline::error::ReadlineError| format!("the terminal can't be used: {e}");
        let live = self.shell.session.live();
        let mut editor = LineEditor::new(live.clone(), self.handle.clone(), &self.screen).map_err(failed)?;
        self.screen.remark("Welcome to Ostler's shell: `help` lists the commands, Tab completes, Ctrl-D leaves\n");
        self.handle.block_on(self.shell.session.look());
        while !self.shell.quits && !self.output_closed() {
            match editor.read(&self.prompt_text(&live)).map_err(failed)? {
                Line::GivenUp => {}
                Line::End => break,
                Line::HungUp => {
                    self.code = terminal::HUNG_UP;
                    break;
                }
                Line::Dropped(why) => self.failed("", &Failure::new(Kind::Other, why)),
                Line::Text(text) => self.typed(&mut editor, &live, &text),
            }
        }
        Ok(())
    }

    fn prompt_text(&self, live: &Live) -> String {
        format!("[zk: {}({}) {}] ", self.shell.session.hosts().text, live.state(), self.shell.next_number())
    }

    /// Does the command that was typed; or several that were pasted, each behind its prompt, until Ctrl-C.
    fn typed(&mut self, editor: &mut LineEditor, live: &Live, text: &str) {
        let commands = words::commands(text);
        let mut signals = self.signals.clone();
        signals.mark_unchanged();
        for (at, command) in commands.iter().enumerate() {
            if commands.len() > 1 {
                let shown = self.screen.out(format!("{}{command}\n", self.prompt_text(live)).as_bytes());
                if shown.and_then(|()| self.screen.flush()).is_err() {
                    self.code = Kind::OutputClosed.exit_code();
                    return;
                }
            }
            editor.keep(command);
            self.remember_and_do(command);
            if self.shell.quits || self.output_closed() {
                return;
            }
            let left = commands.len() - at - 1;
            if left > 0 && signals.has_changed().unwrap_or(true) {
                self.screen.remark(&format!("what was pasted behind it is not done: {left} more\n"));
                return;
            }
        }
    }

    fn end(mut self) -> u8 {
        self.handle.block_on(self.shell.session.close());
        let _ = self.screen.flush();
        terminal::restore();
        self.code
    }
}

async fn interrupted(signals: &mut watch::Receiver<Signal>) {
    while signals.changed().await.is_ok() {
        if matches!(*signals.borrow_and_update(), Signal::Interrupt(_)) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The next line without its end; none at the end of the input.
fn read_line(input: &mut dyn BufRead) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let read = input.take(LINE_MAX).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == LINE_MAX {
        return Err(format!("a line of more than {LINE_MAX} bytes"));
    }
    let line = String::from_utf8(line).map_err(|e| format!("no UTF-8: {e}"))?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}
