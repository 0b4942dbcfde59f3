//! The prompt, typed at.

use std::os::unix::fs::PermissionsExt;

use ostler_conformance::{Options, Server, ostler};
use rustix::process::Signal;

use crate::both::shell;
use crate::pty::Terminal;

fn server() -> (tempfile::TempDir, ostler::Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    (dir, server)
}

fn one(server: &ostler::Server, words: &[&str]) -> String {
    let output = shell(server.addr()).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn history_completion_and_editing() {
    let (dir, server) = server();
    let home = dir.path().join("state");
    for path in ["/apple", "/apple/红富士", "/apple/国光"] {
        one(&server, &["create", path, "x"]);
    }
    let mut terminal = Terminal::start(server.addr(), 100, &home);
    terminal.expect("(");
    terminal.expect_prompt(0);
    terminal.send("create /x hello\r");
    terminal.expect("Created /x");
    terminal.expect_prompt(1);
    terminal.send("\x1b[A\r");
    terminal.expect("Node already exists: /x");
    terminal.expect("`set /x data`");
    terminal.expect_prompt(2);
    // A command, then a path from the tree, then its only child that begins so.
    terminal.send("getAll\t /ap\t\r");
    terminal.expect("\r\n2\r\n");
    terminal.expect_prompt(3);
    terminal.send("get /apple/红\t\r");
    terminal.expect("红富士");
    terminal.expect("\r\nx\r\n");
    terminal.expect_prompt(4);
    // In the middle of a line with wide letters.
    terminal.send("create /中 文\x1b[D\x1b[D路\r");
    terminal.expect("Created /中路");
    terminal.expect_prompt(5);
    terminal.send("addauth digest alice:secret\r");
    terminal.expect_prompt(6);
    terminal.send("history\r");
    terminal.expect("addauth digest ******");
    terminal.expect_prompt(7);
    terminal.send("\x04");
    assert_eq!(terminal.end().code(), Some(0));
    assert_eq!(one(&server, &["get", "/中路"]), "文");

    let file = home.join("ostler/shell_history");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("create /x hello") && !kept.contains("secret"), "{kept}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut again = Terminal::start(server.addr(), 100, &home);
    again.expect_prompt(0);
    again.send("\x1b[A\x1b[A\r");
    again.expect("Node already exists: /中路");
}

#[test]
fn ctrl_c_clears_the_line_and_ends_a_long_command() {
    let (dir, mut server) = server();
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("create /never x");
    terminal.expect("create /never x");
    terminal.send("\x03");
    terminal.expect("\x1b[?2004l");
    terminal.expect_prompt(0);
    terminal.send("create /other x\r");
    terminal.expect("Created /other");
    terminal.expect_prompt(1);
    server.process_mut().signal(Signal::STOP).unwrap();
    terminal.begin("sync /");
    terminal.interrupt_command("Interrupted");
    server.process_mut().signal(Signal::CONT).unwrap();
    terminal.leave();
    assert_eq!(one(&server, &["ls", "/"]), "[other, zookeeper]");
}

#[test]
fn a_watch_arrives_while_a_line_is_typed() {
    let (dir, server) = server();
    one(&server, &["create", "/w", "x"]);
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("get -w /w\r");
    terminal.expect_prompt(1);
    terminal.send("create /mid ha");
    terminal.expect("create /mid ha");
    one(&server, &["set", "/w", "y"]);
    terminal.expect("WatchedEvent state:SyncConnected type:NodeDataChanged path:/w");
    // The line is there again, and goes on.
    terminal.expect("create /mid ha");
    terminal.send("lf\r");
    terminal.expect("Created /mid");
    terminal.expect_prompt(2);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
    assert_eq!(one(&server, &["get", "/mid"]), "half");
}

#[test]
fn a_terminal_can_be_too_narrow() {
    let (dir, server) = server();
    for path in ["/苹果", "/苹果/一", "/苹果/二"] {
        one(&server, &["create", path, "x"]);
    }
    for columns in 1..=10 {
        let mut terminal = Terminal::start(server.addr(), columns, dir.path());
        // Before that it has nothing to complete from, and says so.
        terminal.expect("CONNECTED");
        terminal.expect_prompt(0);
        terminal.send("ls /苹\t\t\t\x1b[D\x1b[C");
        terminal.expect("苹果/");
        terminal.resize(11 - columns);
        // As on any terminal, Ctrl-C takes what was typed behind it too, as far as it is there already.
        terminal.send("\x03");
        terminal.expect("\x1b[?2004l");
        terminal.expect_prompt(0);
        terminal.send("create /n 中文中文中文\r");
        terminal.expect_prompt(1);
        terminal.send("delete /n\r");
        terminal.expect_prompt(2);
        terminal.send("quit\r");
        let status = terminal.end();
        assert_eq!(status.code(), Some(0), "{columns} columns: {}", terminal.screen());
        assert!(!terminal.screen().contains("panicked"), "{}", terminal.screen());
    }
}

/// No question stands before it that only some of its keys would end.
#[test]
fn a_long_list_is_shown_at_once_and_can_be_left() {
    let (dir, server) = server();
    let children: Vec<String> = (0..300).map(|n| format!("create /long/c{n:03}\n")).collect();
    let children = children.concat();
    let file = dir.path().join("children");
    std::fs::write(&file, format!("create /long\n{children}")).unwrap();
    one(&server, &["-f", file.to_str().unwrap()]);
    let mut terminal = Terminal::start(server.addr(), 40, dir.path());
    terminal.expect("CONNECTED");
    terminal.expect_prompt(0);
    terminal.send("ls /long/\t\t");
    terminal.expect("--More--");
    terminal.send("q");
    terminal.expect("ls /long/");
    terminal.send("\x03");
    terminal.expect("\x1b[?2004l");
    terminal.expect_prompt(0);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(!terminal.screen().contains("possibilities"), "{}", terminal.screen());
}

#[test]
fn sigterm_leaves_the_terminal_as_it_was() {
    let (dir, server) = server();
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("create -e /e x\r");
    terminal.expect_prompt(1);
    terminal.send("half a li");
    terminal.expect("half a li");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.end().code(), Some(143));
    assert_eq!(one(&server, &["ls", "/"]), "[zookeeper]", "the session was closed, its ephemeral is gone");
}

#[test]
fn what_is_no_utf8_costs_its_line_only() {
    let (dir, server) = server();
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("create -e /mine x\r");
    terminal.expect_prompt(1);
    // What comes with it is dropped too: the end of a line is no command.
    for keys in
        [&b"get /caf\xe9\r"[..], b"create /\xff x\rdelete /mine\r", b"\x1b[200~create /\xff\ndelete /mine\n\x1b[201~\r"]
    {
        terminal.send(keys);
        terminal.expect("no UTF-8: the line is dropped");
        terminal.expect_prompt(1);
    }
    terminal.send("ls /\r");
    terminal.expect("[mine, zookeeper]");
    terminal.expect_prompt(2);
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn pasted_lines_are_done_in_turn() {
    let (dir, mut server) = server();
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.paste("create /one 1\r\n# a remark\rcreate /two 'a\nb'\nget /none\nls /\n");
    terminal.send("\r");
    terminal.expect("CONNECTED) 0] create /one 1\r\nCreated /one\r\n");
    terminal.expect("CONNECTED) 1] create /two 'a\r\nb'\r\nCreated /two\r\n");
    terminal.expect("CONNECTED) 2] get /none\r\n");
    terminal.expect("Node does not exist: /none");
    terminal.expect("CONNECTED) 3] ls /\r\n[one, two, zookeeper]\r\n");
    terminal.expect_prompt(4);
    assert_eq!(one(&server, &["get", "/two"]), "a\nb");
    // One line is not said twice.
    terminal.paste("get /one\n");
    terminal.send("\r");
    terminal.expect("\x1b[?2004l\r\n1\r\n");
    terminal.expect_prompt(5);
    // Ctrl-C ends what runs, and what is behind it.
    server.process_mut().signal(Signal::STOP).unwrap();
    terminal.paste("sync /\ncreate /three 3\n");
    terminal.send("\r");
    terminal.expect("CONNECTED) 5] sync /\r\n");
    terminal.interrupt_command("what was pasted behind it is not done: 1 more");
    server.process_mut().signal(Signal::CONT).unwrap();
    terminal.leave();
    assert_eq!(one(&server, &["ls", "/"]), "[one, two, zookeeper]");
}

#[test]
fn a_terminal_gets_the_answer_and_nothing_else() {
    let (dir, server) = server();
    one(&server, &["create", "/a\u{202e}b", "x\u{200b}\x1b[2Jy"]);
    let said = |words: &[&str]| {
        let mut terminal = Terminal::start_with(server.addr(), words, 80, dir.path());
        assert_eq!(terminal.end().code(), Some(0));
        let screen = terminal.screen();
        screen[..screen.find("<the end>").unwrap()].to_owned()
    };
    assert_eq!(said(&["ls", "/"]), "[a<U+202E>b, zookeeper]\r\n");
    assert_eq!(said(&["ls", "-R", "/a\u{202e}b"]), "/a<U+202E>b\r\n");
    assert_eq!(said(&["get", "/a\u{202e}b"]), "x<U+200B>^[[2Jy\r\n");
    assert!(said(&["--json", "ls", "/"]).contains(r#""children":["a\u202eb","zookeeper"]"#));
    assert_eq!(said(&["--color", "never", "create", "/c\u{feff}", "x"]), "Created /c<U+FEFF>\r\n");
    assert_eq!(one(&server, &["ls", "/"]), "[a\u{202e}b, c\u{feff}, zookeeper]", "a pipe has what is there");
    assert_eq!(one(&server, &["get", "/a\u{202e}b"]), "x\u{200b}\x1b[2Jy");
}

#[test]
fn what_cannot_be_shown_is_not_completed() {
    let (dir, server) = server();
    for path in ["/dir", "/dir/b\u{202e}d", "/dir/bc"] {
        one(&server, &["create", path, "x"]);
    }
    let mut terminal = Terminal::start(server.addr(), 80, dir.path());
    terminal.expect_prompt(0);
    terminal.send("get -w /dir/b\t");
    terminal.expect("/dir/bc");
    terminal.send("\x03");
    terminal.expect("\x1b[?2004l");
    terminal.expect_prompt(0);
    // Events name paths too.
    terminal.send("addWatch /dir\r");
    terminal.expect_prompt(1);
    one(&server, &["set", "/dir/b\u{202e}d", "y"]);
    terminal.expect("path:/dir/b<U+202E>d");
    terminal.send("quit\r");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(!terminal.screen().contains('\u{202e}'), "{:?}", terminal.screen());
}
