//! What programs use: JSON, files, pipes, exit codes, connect strings.

use std::fmt::Write;
use std::process::{Command, Stdio};

use ostler_conformance::{Options, Server, ostler};

use crate::both::{shell, with_input};
use crate::pty::until;

fn server() -> (tempfile::TempDir, ostler::Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    (dir, server)
}

fn run(server: &ostler::Server, words: &[&str]) -> (String, String, Option<i32>) {
    let output = shell(server.addr()).args(words).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn json_is_one_object_a_line() {
    let (_dir, server) = server();
    let script = "create /a '数据'\nget /a\ncreate /null\nget /null\nset -b /a /w==\nget /a\nls /\nget /b\nget -b /null\nset -b /a aA==\nget -b /a\nfoo\n";
    let mut command = shell(server.addr());
    command.arg("--json");
    let output = with_input(command, script);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert!(lines[0].contains(r#""command":"create""#) && lines[0].contains(r#""path":"/a""#), "{text}");
    assert!(lines[1].contains(r#""data":"数据""#), "{text}");
    assert!(lines[3].contains(r#""data":null"#), "{text}");
    assert!(lines[5].contains(r#""base64":"/w==""#), "{text}");
    assert!(lines[6].contains(r#""children":["a","null","zookeeper"]"#), "{text}");
    assert!(lines[7].contains(r#""code":"NoNode""#) && lines[7].contains(r#""number":-101"#), "{text}");
    assert!(lines[8].contains(r#""data":null"#), "{text}");
    assert!(lines[10].contains(r#""base64":"aA==""#) && !lines[10].contains("data\":"), "{text}");
    assert!(lines[11].contains(r#""code":"UnknownCommand""#), "{text}");
    assert_eq!(output.status.code(), Some(127));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_go_on_or_stop() {
    let (dir, server) = server();
    let file = dir.path().join("commands");
    std::fs::write(&file, "# a remark\n\ncreate /a x\nget /nothing\ncreate /b x\n").unwrap();
    let name = file.to_str().unwrap();
    let (_, err, code) = run(&server, &["--stop-on-error", "-f", name]);
    assert_eq!(code, Some(1));
    assert!(err.contains("commands:4: stopped at the first error"), "{err}");
    assert_eq!(run(&server, &["ls", "/"]).0, "[a, zookeeper]\n");
    let (_, err, code) = run(&server, &["-f", name]);
    assert_eq!(code, Some(0), "the last command's, as zkCli's");
    assert_eq!(err, "Node already exists: /a\nNode does not exist: /nothing\nCreated /b\n");
    assert_eq!(run(&server, &["-f", "/no/such/file"]).2, Some(2));
}

/// As editors on Windows write it: a mark of the encoding, and two bytes at the end of each line.
#[test]
fn a_file_may_begin_with_a_mark() {
    let (dir, server) = server();
    let text = "\u{feff}create /a x\r\nget /a\r\n";
    let file = dir.path().join("commands");
    std::fs::write(&file, text).unwrap();
    assert_eq!(run(&server, &["-f", file.to_str().unwrap()]), ("x\n".into(), "Created /a\n".into(), Some(0)));
    let output = with_input(shell(server.addr()), "\u{feff}# a remark\nls /\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[a, zookeeper]\n");
}

/// Null data go by a second connection. Where the server serves no more of them, the error says so, and what goes without.
#[test]
fn a_second_connection_that_is_not_served_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = ostler::Server::start(&Options::new(dir.path()).cfg("maxClientCnxns=1")).unwrap();
    let mut said = (String::new(), String::new());
    // The connections of the harness, and of the shells before, may still be counted.
    until(|| {
        let output = with_input(shell(server.addr()), "create /null\ncreate /empty ''\nls /\n");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        said = (text(&output.stdout), text(&output.stderr));
        said.0.contains("zookeeper")
    });
    assert_eq!(said.0, "[empty, zookeeper]\n");
    let lines: Vec<&str> = said.1.lines().collect();
    assert_eq!(lines[0], "KeeperErrorCode = ConnectionLoss for /null", "{said:?}");
    assert!(lines[1].contains("a second connection, and it was not served"), "{said:?}");
    assert!(lines[1].contains("`create path ''`") && lines[1].contains("maxClientCnxns"), "{said:?}");
    assert_eq!(lines[2..], ["Created /empty"]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let (_dir, server) = server();
    let mut script = String::from("create /big x\n");
    for n in 0..300 {
        let _ = writeln!(script, "create /big/{n}-{} x", "n".repeat(400));
    }
    assert!(with_input(shell(server.addr()), &script).status.success());
    let pipe = format!(
        "{} shell -s {} ls -R / | head -1; echo ${{PIPESTATUS[0]}}",
        ostler::binary().unwrap().display(),
        server.addr()
    );
    let output = Command::new("bash").args(["-c", &pipe]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/\n141\n");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn several_hosts_and_a_chroot() {
    let (dir, server) = server();
    assert_eq!(run(&server, &["create", "/app", "x"]).2, Some(0));
    let hosts = format!("127.0.0.1:1,{}/app", server.addr());
    let at = |words: &[&str]| {
        let output =
            Command::new(ostler::binary().unwrap()).args(["shell", "-s", &hosts]).args(words).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(at(&["create", "/in"]).1, "Created /in\n");
    assert_eq!(at(&["create", "-s", "/s-", "x"]).1, "Created /s-0000000001\n");
    assert_eq!(at(&["get", "/in"]).0, "null\n");
    assert_eq!(run(&server, &["ls", "/app"]).0, "[in, s-0000000001]\n");

    let file = dir.path().join("client.properties");
    std::fs::write(&file, "zookeeper.client.secure=true\n").unwrap();
    let (_, err, code) = run(&server, &["-client-configuration", file.to_str().unwrap(), "ls", "/"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("line 1: zookeeper.client.secure = true: the shell can't speak TLS yet"), "{err}");
}

#[test]
fn nobody_there_says_why() {
    let hosts = "nosuch.host.invalid:2181,127.0.0.1:1/app";
    let at = |flags: &[&str]| {
        let mut command = Command::new(ostler::binary().unwrap());
        command.arg("shell").args(flags).args(["-s", hosts, "get", "/a"]).output().unwrap()
    };
    let output = at(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let err = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert_eq!(lines[0], "KeeperErrorCode = ConnectionLoss for /a", "zkCli's own line stays as it is");
    assert!(lines[1].contains("nosuch.host.invalid: "), "{err}");
    assert!(lines[1].contains("127.0.0.1:1: connection refused"), "{err}");
    assert!(lines[1].contains("`-s host:port` names another server"), "{err}");

    let output = at(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(r#""code":"ConnectionLoss""#), "{text}");
    assert!(text.contains(r#""cause":"nosuch.host.invalid: "#), "{text}");
    assert!(text.contains("127.0.0.1:1: connection refused"), "{text}");
    assert!(text.contains(r#""hint":"`-s host:port` names another server"#), "{text}");
}

#[test]
fn input_that_cannot_be_read() {
    let (dir, server) = server();
    let input = b"create /before x\ncreate /\xff x\ncreate /behind x\n";
    let file = dir.path().join("commands");
    std::fs::write(&file, input).unwrap();
    let output = with_input(shell(server.addr()), input);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("standard input:2: no UTF-8"), "{err}");
    assert_eq!(run(&server, &["ls", "/"]).0, "[before, zookeeper]\n");
    let (_, err, code) = run(&server, &["-f", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("commands:2: no UTF-8"), "{err}");
}
