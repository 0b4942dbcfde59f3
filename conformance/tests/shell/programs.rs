//! What programs use: JSON, files, pipes, exit codes, connect strings.

use std::fmt::Write;
use std::process::{Command, Stdio};

use ostler_conformance::{Options, Server, ostler};

use crate::both::{shell, with_input};

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
    let script = "create /a '数据'\nget /a\ncreate /null\nget /null\nset -b /a /w==\nget /a\nls /\nget /b\nfoo\n";
    let mut command = shell(server.addr());
    command.arg("--json");
    let output = with_input(command, script);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 9, "{text}");
    assert!(lines[0].contains(r#""command":"create""#) && lines[0].contains(r#""path":"/a""#), "{text}");
    assert!(lines[1].contains(r#""data":"数据""#), "{text}");
    assert!(lines[3].contains(r#""data":null"#), "{text}");
    assert!(lines[5].contains(r#""base64":"/w==""#), "{text}");
    assert!(lines[6].contains(r#""children":["a","null","zookeeper"]"#), "{text}");
    assert!(lines[7].contains(r#""code":"NoNode""#) && lines[7].contains(r#""number":-101"#), "{text}");
    assert!(lines[8].contains(r#""code":"UnknownCommand""#), "{text}");
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
fn several_hosts_a_chroot_and_nobody_there() {
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

    let nobody =
        Command::new(ostler::binary().unwrap()).args(["shell", "-s", "127.0.0.1:1", "get", "/a"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&nobody.stderr), "KeeperErrorCode = ConnectionLoss for /a\n");
    assert_eq!(nobody.status.code(), Some(1));

    let file = dir.path().join("client.properties");
    std::fs::write(&file, "zookeeper.client.secure=true\n").unwrap();
    let (_, err, code) = run(&server, &["-client-configuration", file.to_str().unwrap(), "ls", "/"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("line 1: zookeeper.client.secure = true: the shell can't speak TLS yet"), "{err}");
}
