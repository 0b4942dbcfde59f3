//! Limits and switches that an operator sets, one by one: what a client sees of each on Apache and on Ostler.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod authentication;
mod connections;
mod sizes;
mod throttles;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ostler_conformance::script::{Talk, compare};
use ostler_conformance::{Options, Server, apache, jvm, ostler};

/// The two servers with the same lines in `zoo.cfg`; Apache is told those of `flags` in Java's way.
struct Both {
    apache: apache::Server,
    ostler: ostler::Server,
    _dirs: [tempfile::TempDir; 2],
}

impl Both {
    fn start(cfg: &[&str], flags: &[&str]) -> Self {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let options = |dir: &Path| cfg.iter().fold(Options::new(dir).cfg("tickTime=2000"), |o, line| o.cfg(*line));
        let java = flags.iter().fold(options(dirs[0].path()), |o, flag| o.jvm(format!("-D{flag}")));
        let ours = flags.iter().fold(options(dirs[1].path()), |o, flag| o.cfg(*flag));
        let starting = std::thread::spawn(move || apache::Server::start(&java).unwrap());
        let ostler = ostler::Server::start(&ours).unwrap();
        Self { apache: starting.join().unwrap(), ostler, _dirs: dirs }
    }

    /// Does the same to both, and gives what came of it: Apache's first.
    fn each<R>(&self, act: impl Fn(&dyn Server) -> R) -> [R; 2] {
        [act(&self.apache), act(&self.ostler)]
    }

    /// The same conversation with both; the transcripts must be equal.
    fn converse(&self, script: impl Fn(&mut Talk) -> anyhow::Result<()> + Sync) -> Vec<String> {
        let servers = [(self.apache.name(), self.apache.addr()), (self.ostler.name(), self.ostler.addr())];
        compare(servers, script).unwrap()
    }
}

/// What came of both must be the same, and is given.
fn same<R: PartialEq + std::fmt::Debug>([apache, ostler]: [R; 2]) -> R {
    assert_eq!(apache, ostler, "Apache, then Ostler");
    ostler
}

/// Runs a server that should not start; its exit code, and what it printed.
fn refused(server: &str, cfg: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    let data = dir.path().join("data");
    let text = format!("dataDir={}\nclientPort=1\n{}\n", data.display(), cfg.join("\n"));
    // A port that nobody may have ends a start that gets so far.
    std::fs::write(&file, text).unwrap();
    let mut command = if server == "apache" {
        let mut java = Command::new("java");
        java.args(jvm::flags());
        java.args(["-Dzookeeper.admin.enableServer=false", "-cp", &apache::classpath().unwrap()]);
        java.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        java
    } else {
        let mut ours = Command::new(ostler::binary().unwrap());
        ours.arg("server");
        ours
    };
    let output = dir.path().join("output");
    let open = || std::fs::File::options().create(true).append(true).open(&output).unwrap();
    let mut child =
        command.arg(&file).stdin(Stdio::null()).stdout(open()).stderr(open()).current_dir(&dir).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{server} started with {cfg:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    (status.code().unwrap(), std::fs::read_to_string(&output).unwrap())
}
