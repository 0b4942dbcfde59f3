//! Data directories that this server may not use: another server's, another user's, read-only ones. Each is refused before
//! anything is changed, with a line that says whose it is and what to do, word for word.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it leaves out"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, watch};
use ostler_conformance::{Options, Server, ostler, ports};

/// Somebody who is not us: `nobody`.
const OTHER: u32 = 65534;

/// A server that should be refused; one that is not, is ended after a minute, with code 124.
fn bounded(binary: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary);
    command
}

/// A directory with a log of some txns, left by a server that was stopped or killed.
struct Left {
    dir: tempfile::TempDir,
}

impl Left {
    fn new(is_killed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut server = ostler::Server::start(&Options::new(dir.path()).cfg("preAllocSize=64")).unwrap();
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        assert_eq!(client.call(1, 1, &create("/a", b"x", 0)).unwrap().err, 0);
        if is_killed {
            server.kill().unwrap();
        } else {
            assert!(server.stop().unwrap().success());
        }
        Self { dir }
    }

    fn version(&self) -> PathBuf {
        self.dir.path().join("data/version-2")
    }

    /// All of it belongs to somebody else now.
    fn give_away(&self) {
        let version = self.version();
        let inside = fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path());
        for path in inside.chain([version.clone(), self.dir.path().join("data"), self.dir.path().to_owned()]) {
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        }
    }

    /// Starts as another user; the exit code and the last line.
    fn start_as(&self, user: u32) -> (Option<i32>, String) {
        let binary = self.dir.path().join("ostler");
        if !binary.exists() {
            fs::copy(ostler::binary().unwrap(), &binary).unwrap();
        }
        let output =
            bounded(&binary).arg("server").arg(self.dir.path().join("zoo.cfg")).uid(user).gid(user).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
    }

    /// Of a few txns: each number has one digit.
    fn newest_log(&self) -> String {
        let names = fs::read_dir(self.version()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|it| it.to_string_lossy().into_owned()).filter(|it| it.starts_with("log.")).max().unwrap()
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = fs::read_dir(self.version()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    /// A start as `user` is refused with just this, and changes nothing.
    fn is_refused(&self, user: u32, expected: &str) {
        let before = self.files();
        let (code, last) = self.start_as(user);
        assert_eq!((code, last.as_str()), (Some(3), expected));
        assert_eq!(self.files(), before, "refused, and changed all the same");
    }
}

fn may_be_others() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("left out: only root can start a server as somebody else");
    }
    is_root
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn another_users_directory_is_refused() {
    if !may_be_others() {
        return;
    }
    let left = Left::new(true);
    let version = left.version();
    let shown = version.display();
    mode(&version, 0o755);
    mode(&version.join("ostler.lock"), 0o644);
    left.is_refused(OTHER, &format!(
        "ostler: {data}: opening the lock {shown}/ostler.lock: Permission denied (os error 13); {shown}/ostler.lock belongs to \
         user 0, with mode 0644, and this process runs as user {OTHER}: start the server as user 0, or give all files to user \
         {OTHER} (chown -R)",
        data = version.parent().unwrap().display()
    ));
}

#[test]
fn files_of_an_earlier_start_as_root_are_named() {
    if !may_be_others() {
        return;
    }
    let left = Left::new(true);
    left.give_away();
    let version = left.version();
    let shown = version.display();
    // A client that is quick finds no next file yet, and then there is more than one.
    let newest = left.newest_log();
    // The usual mishap: one file is root's. Only the newest log is written to.
    for (name, bits, what) in
        [("log.1", 0o600, "opening"), ("snapshot.0", 0o600, "opening"), (newest.as_str(), 0o644, "writing")]
    {
        let path = version.join(name);
        assert!(path.exists(), "{name}");
        chown(&path, Some(0), Some(0)).unwrap();
        mode(&path, bits);
        let (code, last) = left.start_as(OTHER);
        println!("{what} {name}: {code:?} {last}");
        assert_eq!(code, Some(3), "{last}");
        let belongs = format!(
            "Permission denied (os error 13); {shown}/{name} belongs to user 0, with mode {bits:04o}, and this process runs as \
             user {OTHER}: start the server as user 0, or give all files to user {OTHER} (chown -R)"
        );
        assert!(last.contains(&belongs), "{last}");
        chown(&path, Some(OTHER), Some(OTHER)).unwrap();
    }
    // Another owner is no reason not to start for one who may do everything, but one to warn.
    let server = ostler::Server::start(&Options::new(left.dir.path())).unwrap();
    let log = fs::read_to_string(server.log()).unwrap();
    let warning = format!(
        "{shown} belongs to user {OTHER}, and this server runs as user 0: a server that runs as user {OTHER} will not be able \
         to use what this one writes; start it as the owner of its files"
    );
    assert!(log.contains(&warning), "{log}");
}

#[test]
fn a_directory_that_can_not_be_written_is_refused() {
    if !may_be_others() {
        return;
    }
    let left = Left::new(false);
    left.give_away();
    let version = left.version();
    let shown = version.display();
    fs::remove_file(version.join("ostler.lock")).unwrap();
    mode(&version, 0o555);
    left.is_refused(OTHER, &format!(
        "ostler: {data}: opening the lock {shown}/ostler.lock: Permission denied (os error 13); {shown} belongs to user \
         {OTHER}, with mode 0555, and this process runs as user {OTHER}: give it the rights back (chmod)",
        data = version.parent().unwrap().display()
    ));
}

#[test]
fn two_servers_on_one_directory() {
    let left = Left::new(false);
    let mut first = ostler::Server::start(&Options::new(left.dir.path())).unwrap();
    let (mut client, _) = Connection::session(first.addr()).unwrap();
    // The same files by another way.
    let link = left.dir.path().join("link");
    std::os::unix::fs::symlink(left.dir.path().join("data"), &link).unwrap();
    for data in [left.dir.path().join("data"), link] {
        let cfg = left.dir.path().join("second.cfg");
        let port = ports::free_port().unwrap();
        fs::write(&cfg, format!("dataDir={}\nclientPort={port}\n", data.display())).unwrap();
        let output = bounded(&ostler::binary().unwrap()).arg("server").arg(&cfg).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        let data = data.display();
        assert_eq!(
            text.lines().last().unwrap(),
            format!(
                "ostler: {data}: another server uses it (it holds the lock {data}/version-2/ostler.lock); stop that one, or \
                 give this one a dataDir and a dataLogDir of its own"
            )
        );
    }
    assert_eq!(client.call(1, 1, &create("/goes-on", b"", 0)).unwrap().err, 0, "the first one is unharmed");
    first.kill().unwrap();
    // The lock of one that was killed is none.
    ostler::Server::start(&Options::new(left.dir.path())).unwrap();
}

#[test]
fn a_log_directory_that_is_the_data_directory_by_a_symlink_is_one_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("logs");
    fs::create_dir(dir.path().join("data")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("data"), &link).unwrap();
    let options = Options::new(dir.path()).cfg("preAllocSize=64").cfg(format!("dataLogDir={}", link.display()));
    for round in 1..=2 {
        let mut server = ostler::Server::start(&options).unwrap();
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        assert_eq!(client.call(1, 1, &create(&format!("/a{round}"), b"x", 0)).unwrap().err, 0);
        server.kill().unwrap();
        assert!(fs::read_to_string(server.log()).unwrap().contains("by another path"));
    }
    // The same files by one name alone.
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for round in 1..=2 {
        assert_eq!(client.call(round, 3, &watch(&format!("/a{round}"), false)).unwrap().err, 0);
    }
}
