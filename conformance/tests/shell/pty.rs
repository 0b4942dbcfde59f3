//! A shell on a pseudo-terminal, as a person has it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ostler_conformance::ostler;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is written to the terminal at last, by the test.
const END: &str = "<the end>";

/// Waits until something holds.
pub fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "it does not come to that within {LIMIT:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

pub struct Terminal {
    master: File,
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    /// Up to here the output was looked at.
    at: usize,
    child: Child,
    before: Termios,
}

impl Terminal {
    /// Starts `ostler shell` at a server, on a terminal with so many columns; its history is below `home`.
    pub fn start(addr: SocketAddr, columns: u16, home: &Path) -> Self {
        Self::start_with(addr, &[], columns, home)
    }

    /// The same with more words on its command line.
    pub fn start_with(addr: SocketAddr, words: &[&str], columns: u16, home: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        // Ctrl-C makes a terminal forget what was said and not shown yet. A person can bear that, a test can't.
        let mut before = tcgetattr(&slave).unwrap();
        before.local_modes.insert(LocalModes::NOFLSH);
        tcsetattr(&slave, OptionalActions::Now, &before).unwrap();
        let io = || Stdio::from(slave.try_clone().unwrap());
        // `setsid --ctty` makes it the controlling terminal, so that Ctrl-C is a signal.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(ostler::binary().unwrap())
            .args(["shell", "-s", &addr.to_string()])
            .args(words)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env("XDG_STATE_HOME", home)
            .stdin(io())
            .stdout(io())
            .stderr(io())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || send.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { master, slave, output, seen: Vec::new(), at: 0, child, before }
    }

    /// Types.
    pub fn send(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).unwrap();
    }

    /// Pastes, as a terminal does that was asked to put brackets around it.
    pub fn paste(&mut self, text: &str) {
        self.send(format!("\x1b[200~{text}\x1b[201~"));
    }

    /// Waits until the output behind what was waited for before contains this.
    pub fn expect(&mut self, text: &str) {
        let until = Instant::now() + LIMIT;
        loop {
            let new = String::from_utf8_lossy(&self.seen[self.at..]).into_owned();
            if let Some(found) = new.find(text) {
                // Lossy text is as long as the bytes, unless a character is cut, which is then behind.
                self.at += (found + text.len()).min(self.seen.len() - self.at);
                return;
            }
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(RecvTimeoutError::Timeout) => panic!("never {text:?}; behind it came {new:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {text:?}; it said {new:?}"),
            }
        }
    }

    /// Waits for the prompt of the command with this number.
    pub fn expect_prompt(&mut self, number: usize) {
        self.expect(&format!(" {number}] "));
    }

    /// The same with the state of the session in it.
    pub fn expect_state(&mut self, state: &str, number: usize) {
        self.expect(&format!("{state}\x1b[0m) {number}] "));
    }

    /// Types a command, and waits until it runs.
    pub fn begin(&mut self, command: &str) {
        self.send(command);
        self.send("\r");
        self.expect(command);
        self.expect("\x1b[?2004l\r\n");
    }

    /// Ctrl-C while a command runs. Before that, it would clear a line: it is pressed again until the command has heard.
    pub fn interrupt_command(&mut self, heard: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            self.send("\x03");
            if self.has_come(heard) {
                break;
            }
            let new = String::from_utf8_lossy(&self.seen[self.at..]);
            assert!(Instant::now() < end, "Ctrl-C, and never {heard:?}; this came: {new:?}");
        }
        self.expect(heard);
    }

    /// Ctrl-D at the prompt. Between two prompts the terminal itself would take it: it is pressed until the shell ends.
    pub fn leave(&mut self) -> ExitStatus {
        until(|| {
            self.send("\x04");
            let end = Instant::now() + LOOK_EVERY * 10;
            while Instant::now() < end && self.child.try_wait().unwrap().is_none() {
                std::thread::sleep(LOOK_EVERY);
            }
            self.child.try_wait().unwrap().is_some()
        });
        self.end()
    }

    /// Whether this comes within a moment.
    fn has_come(&mut self, text: &str) -> bool {
        while let Ok(bytes) = self.output.recv_timeout(LOOK_EVERY * 10) {
            self.seen.extend(bytes);
        }
        String::from_utf8_lossy(&self.seen[self.at..]).contains(text)
    }

    /// Waits until the process handles SIGINT itself.
    pub fn wait_for_signals(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        until(|| {
            let text = std::fs::read_to_string(&status).unwrap();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
            u64::from_str_radix(caught, 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    pub fn resize(&self, columns: u16) {
        tcsetwinsize(&self.slave, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    /// What a person sees who closes the window.
    pub fn hang_up(mut self) -> ExitStatus {
        let null = File::from(open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap());
        drop(std::mem::replace(&mut self.master, null));
        self.signal(Signal::HUP);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        until(|| self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    /// Waits for its end; the terminal must be as it was before.
    pub fn end(&mut self) -> ExitStatus {
        let status = self.wait();
        let now = tcgetattr(&self.slave).unwrap();
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        assert_eq!(now.control_modes, self.before.control_modes);
        assert_eq!(format!("{:?}", now.special_codes), format!("{:?}", self.before.special_codes));
        // Behind everything that the shell has said.
        File::from(self.slave.try_clone().unwrap()).write_all(END.as_bytes()).unwrap();
        self.expect(END);
        let screen = self.screen();
        let (on, off) = (screen.matches("\x1b[?2004h").count(), screen.matches("\x1b[?2004l").count());
        assert_eq!(on, off, "brackets around pasted text, on and off: {screen:?}");
        status
    }

    /// Everything so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
