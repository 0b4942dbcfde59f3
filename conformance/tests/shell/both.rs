//! Runs zkCli and `ostler shell`, and takes from their output what is not to be compared.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ostler_conformance::{Options, Server, apache, java, ostler};

/// The two programs.
pub const PROGRAMS: [Program; 2] = [Program::ZkCli, Program::Shell];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    ZkCli,
    Shell,
}

/// What a program printed, line by line, ready to be compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub out: Vec<String>,
    pub err: Vec<String>,
    /// Events of znodes, in their order.
    pub events: Vec<String>,
    pub code: Option<i32>,
}

/// Starts a server of each kind.
pub fn servers() -> Vec<(tempfile::TempDir, Box<dyn Server>)> {
    servers_with(&[])
}

/// The same with these lines in their `zoo.cfg`.
pub fn servers_with(cfg: &[&str]) -> Vec<(tempfile::TempDir, Box<dyn Server>)> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = dirs;
    let options = |dir: &Path| cfg.iter().fold(Options::new(dir), |options, line| options.cfg(*line));
    let apache = Box::new(apache::Server::start(&options(one.path())).unwrap());
    let ostler = Box::new(ostler::Server::start(&options(other.path())).unwrap());
    vec![(one, apache as Box<dyn Server>), (other, ostler as Box<dyn Server>)]
}

/// `ostler shell` at a server, without a home of its own.
pub fn shell(addr: SocketAddr) -> Command {
    let mut command = Command::new(ostler::binary().unwrap());
    command.args(["shell", "-server", &addr.to_string()]).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    command
}

impl Program {
    fn command(self, addr: SocketAddr) -> Command {
        if self == Self::Shell {
            return shell(addr);
        }
        let flags = [
            "-Dostler.log.level=OFF",
            "-XX:TieredStopAtLevel=1",
            "-Dfile.encoding=UTF-8",
            "-Dsun.stdout.encoding=UTF-8",
            "-Dsun.stderr.encoding=UTF-8",
        ];
        let mut command = java::program("org.apache.zookeeper.ZooKeeperMain", &flags).unwrap();
        command.args(["-server", &addr.to_string()]).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command
    }

    /// One command, its words as arguments.
    pub fn one_shot(self, addr: SocketAddr, words: &[&str]) -> Said {
        let output = self.command(addr).args(words).stdin(Stdio::null()).output().unwrap();
        said(&output)
    }

    /// Lines through standard input.
    pub fn script(self, addr: SocketAddr, lines: &str) -> Said {
        said(&with_input(self.command(addr), lines))
    }
}

/// Runs a program with this standard input.
pub fn with_input(mut command: Command, input: impl AsRef<[u8]>) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_owned();
    // It may end before it has read everything.
    let writing = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

fn said(output: &Output) -> Said {
    let out = String::from_utf8_lossy(&output.stdout);
    let lines = || out.lines().map(|line| without_prompts(line).to_owned());
    let is_event = |line: &String| line.starts_with("WatchedEvent ");
    let header = |line: &String| {
        ["Connecting to ", "Welcome to ZooKeeper!", "JLine support is "].iter().any(|it| line.starts_with(it))
    };
    let empty_or_watch = |line: &String| line.is_empty() || line == "WATCHER::";
    Said {
        out: lines().filter(|it| !is_event(it) && !header(it) && !empty_or_watch(it)).map(|it| masked(&it)).collect(),
        err: error_lines(&String::from_utf8_lossy(&output.stderr)),
        events: lines().filter(|it| is_event(it) && !it.contains("type:None")).map(|it| masked(&it)).collect(),
        code: output.status.code(),
    }
}

/// zkCli prints its prompt even where nobody types; several in a row, where commands print nothing.
fn without_prompts(mut line: &str) -> &str {
    while let Some((_, rest)) = line.strip_prefix("[zk: ").and_then(|it| it.split_once("] ")) {
        line = rest;
    }
    if line.starts_with("[zk: ") && line.ends_with(']') { "" } else { line }
}

/// Without what JLine, the logger and the list of all commands add; commons-cli's exceptions without their class.
fn error_lines(err: &str) -> Vec<String> {
    let noise = |line: &&str| {
        line.contains("org.jline.utils.Log")
            || line.starts_with("WARNING: ")
            || line.starts_with("ZooKeeper -server ")
            || line.starts_with('\t')
            || line.is_empty()
    };
    let short = |line: &str| match line.strip_prefix("org.apache.commons.cli.").and_then(|it| it.split_once(": ")) {
        Some((_, text)) => text.to_owned(),
        None => line.to_owned(),
    };
    err.lines().filter(|it| !noise(it)).map(short).collect()
}

/// Times, zxids and session ids differ from run to run; that they are there, and 0 where they are 0, does not.
fn masked(line: &str) -> String {
    let digits = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect::<String>();
    for name in ["ctime = ", "mtime = "] {
        if let Some(value) = line.strip_prefix(name) {
            return format!("{name}{}", if value.ends_with("1970") { value.to_owned() } else { digits(value) });
        }
    }
    for name in ["cZxid = ", "mZxid = ", "pZxid = ", "ephemeralOwner = "] {
        if let Some(value) = line.strip_prefix(name) {
            return format!("{name}{}", if value == "0x0" { value } else { "0x…" });
        }
    }
    match line.split_once(" zxid: ") {
        Some((event, _)) => format!("{event} zxid: …"),
        None => line.to_owned(),
    }
}

/// Fails with the first line that differs, and what came before it.
pub fn assert_same(what: &str, apache: &[String], ostler: &[String]) {
    let mut at = 0;
    while at < apache.len().max(ostler.len()) {
        let [one, other] = [apache, ostler].map(|it| it.get(at));
        assert!(
            one == other,
            "{what}, line {at}\n  zkCli:  {one:?}\n  ostler: {other:?}\nbehind:\n{}",
            apache[at.saturating_sub(6)..at.min(apache.len())].join("\n")
        );
        at += 1;
    }
}
