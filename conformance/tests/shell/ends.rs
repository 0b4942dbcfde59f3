//! Each way to end, and each way not to: the terminal is as it was ([`Terminal::end`] looks), the exit code says how.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use ostler_conformance::{Options, Server, ostler};
use rustix::process::Signal;

use crate::both::{shell, with_input};
use crate::pty::Terminal;

fn server() -> (tempfile::TempDir, ostler::Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    (dir, server)
}

#[test]
fn ctrl_d_leaves_an_empty_line_only() {
    let (dir, server) = server();
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    // It deletes what is below the cursor, as in any shell; at the end of a line it does nothing.
    terminal.send("create /xa y\x04\x1b[D\x1b[D\x1b[D\x04\r");
    terminal.expect("Created /x");
    terminal.expect_prompt(1);
    terminal.send("get /nothing\r");
    terminal.expect("Node does not exist: /nothing");
    terminal.expect_prompt(2);
    terminal.send("\x04");
    assert_eq!(terminal.end().code(), Some(1), "the last command's");
    assert!(!terminal.screen().contains("Created /xa"), "{}", terminal.screen());
}

#[test]
fn every_signal_leaves_the_terminal_as_it_was() {
    let (dir, mut server) = server();
    let others = [(Signal::QUIT, 131), (Signal::USR1, 138), (Signal::USR2, 140), (Signal::ALARM, 142)];
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)].into_iter().chain(others) {
        let mut terminal = Terminal::start(server.addr(), 80, dir.path());
        terminal.expect_prompt(0);
        terminal.send("half a li");
        terminal.expect("half a li");
        terminal.signal(signal);
        assert_eq!(terminal.end().code(), Some(code));
    }
    // In the middle of a command, and in one without a prompt.
    for words in [&[][..], &["ls", "/"]] {
        let mut terminal = Terminal::start_with(server.addr(), &[], 80, dir.path());
        terminal.expect_prompt(0);
        server.process_mut().signal(Signal::STOP).unwrap();
        if words.is_empty() {
            terminal.begin("ls /");
        } else {
            terminal = Terminal::start_with(server.addr(), words, 80, dir.path());
            terminal.wait_for_signals();
        }
        let (signal, code) = if words.is_empty() { (Signal::TERM, 143) } else { (Signal::INT, 130) };
        terminal.signal(signal);
        assert_eq!(terminal.end().code(), Some(code), "{}", terminal.screen());
        server.process_mut().signal(Signal::CONT).unwrap();
    }
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("create -e /mine x\r");
    terminal.expect("Created /mine");
    assert_eq!(terminal.hang_up().code(), Some(129));
    // The session was closed: what was its own has gone with it, long before its time is up.
    let left = shell(server.addr()).args(["ls", "/"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "[zookeeper]\n");
}

#[test]
fn a_reader_that_goes_away_ends_a_script_quietly() {
    let (_dir, server) = server();
    let pipe = |flags: &str, script: &str| {
        let shell = format!("{} shell {flags} -s {}", ostler::binary().unwrap().display(), server.addr());
        let line = format!("{script} | {shell} | head -1; echo ${{PIPESTATUS[1]}}");
        let output = Command::new("bash").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), err)
    };
    let endless = "while echo ls /; do :; done 2>/dev/null";
    assert_eq!(pipe("", endless), ("[zookeeper]\n141\n".to_owned(), String::new()));
    let (out, err) = pipe("--json", endless);
    assert!(out.contains(r#""command":"ls""#) && out.ends_with("\n141\n"), "{out}");
    assert_eq!(err, "");
    // Nobody reads at all, not even what fits into the buffer.
    let mut child =
        shell(server.addr()).args(["ls", "/"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]));
    // Standard error without a reader is no reason to end.
    let line =
        format!("{} shell -s {} get /none 2>&1 >&3 3>&- | true", ostler::binary().unwrap().display(), server.addr());
    let output =
        Command::new("bash").args(["-c", &format!("({line}; echo ${{PIPESTATUS[0]}}) 3>&1")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
}

/// Twenty columns: what is listed in columns stays in them, whatever its letters.
#[test]
fn twenty_columns_and_wide_letters() {
    let (dir, server) = server();
    let mut script = String::from("create /果 x\n");
    let names = ["苹果", "香蕉", "aaaa", "b", "一二三", "梨"];
    for name in names {
        let _ = writeln!(script, "create /果/{name} {}", "数据".repeat(20));
    }
    assert!(with_input(shell(server.addr()), &script).status.success());
    let mut terminal = Terminal::start(server.addr(), 20, dir.path());
    terminal.expect_prompt(0);
    terminal.send("ls /果/\t\t");
    terminal.expect("\r\n");
    for name in ["aaaa", "一二三"] {
        terminal.expect(name);
    }
    terminal.expect("果/");
    let screen = terminal.screen();
    // The list: below the line, above the prompt that comes again.
    let rows: Vec<&str> = screen.lines().filter(|it| names.iter().any(|name| it.starts_with(name))).collect();
    let starts = |row: &str| -> Vec<usize> {
        let mut out = Vec::new();
        let (mut column, mut blank) = (0, true);
        for letter in row.trim_end().chars() {
            if letter != ' ' && blank {
                out.push(column);
            }
            blank = letter == ' ';
            column += if letter.is_ascii() { 1 } else { 2 };
        }
        out
    };
    assert!(rows.len() > 1, "{screen:?}");
    let widest: Vec<usize> = rows.iter().map(|it| starts(it)).max_by_key(Vec::len).unwrap();
    assert!(widest.len() > 1, "{screen:?}");
    for row in &rows {
        assert!(widest.starts_with(&starts(row)), "{row:?} is not in the columns {widest:?}: {screen:?}");
    }
    terminal.send("\x15");
    terminal.send("get /果/苹果\r");
    terminal.expect(&"数据".repeat(20));
    terminal.expect_prompt(1);
    terminal.send("deleteall /果\r");
    terminal.expect_prompt(2);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
}
