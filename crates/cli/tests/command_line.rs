//! The binary, from outside: what scripts look at.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn ostler(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ostler")).args(words).output().unwrap()
}

#[test]
fn the_version_is_that_of_the_workspace() {
    let output = ostler(&["--version"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), format!("ostler {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_no_command_is_said_on_standard_error() {
    let output = ostler(&["horse"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'horse'"));
}

#[test]
fn a_configuration_that_is_not_there_ends_a_server_with_apaches_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    let output = ostler(&["server", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
}
