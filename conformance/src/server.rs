//! What an Apache server and ours have in common, so that a test or a measurement is written once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use crate::process::Process;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `zoo.cfg`, `server.log` and the `data` directory go. Starting a second server here continues the first one's data.
    pub dir: PathBuf,
    /// The client port; none: a free one.
    pub port: Option<u16>,
    /// Written to `data/myid`, for a member of an ensemble.
    pub my_id: Option<u8>,
    /// More lines of `zoo.cfg`; a line replaces the one that would have been written for its key.
    pub cfg: Vec<String>,
    /// Leave a `zoo.cfg` that is there as it is: a reconfig has written it.
    pub keep_cfg: bool,
    /// More flags of the Java machine, such as `-Dzookeeper.snapCount=100`. Ostler has no use for them.
    pub jvm: Vec<String>,
    /// More environment variables.
    pub env: Vec<(String, String)>,
    /// The network namespace that it runs in; none: this one's.
    pub netns: Option<String>,
    /// What to wait for.
    pub ready: Ready,
    /// How long to wait for it.
    pub start_limit: Duration,
}

impl Options {
    /// A standalone server in `dir` on a free port, ready when it serves.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: None,
            my_id: None,
            cfg: Vec::new(),
            keep_cfg: false,
            jvm: Vec::new(),
            env: Vec::new(),
            netns: None,
            ready: Ready::Serving,
            start_limit: Duration::from_mins(1),
        }
    }

    /// Adds a line to `zoo.cfg`.
    pub fn cfg(mut self, line: impl Into<String>) -> Self {
        self.cfg.push(line.into());
        self
    }

    /// Adds a flag of the Java machine.
    pub fn jvm(mut self, flag: impl Into<String>) -> Self {
        self.jvm.push(flag.into());
        self
    }
}

/// When a starting server counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// As soon as the process runs.
    Started,
    /// `ruok` is answered: a member of an ensemble answers before there is a quorum.
    Answering,
    /// It looks at sessions too: a connect request with a wrong password is refused, rather than dropped. This writes no txn.
    Serving,
}

/// A running server.
pub trait Server {
    /// "Apache ZooKeeper 3.9.5" or "Ostler", for messages.
    fn name(&self) -> &'static str;

    /// The process behind it.
    fn process(&self) -> &Process;

    /// The process behind it.
    fn process_mut(&mut self) -> &mut Process;

    /// The process id.
    fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// The client port.
    fn port(&self) -> u16 {
        self.process().port()
    }

    /// The client address.
    fn addr(&self) -> SocketAddr {
        self.process().addr()
    }

    /// The directory it was started in.
    fn dir(&self) -> &Path {
        self.process().dir()
    }

    /// Its data directory.
    fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// What it printed.
    fn log(&self) -> PathBuf {
        self.process().log()
    }

    /// SIGTERM, then waits until it has ended.
    fn stop(&mut self) -> Result<ExitStatus> {
        self.process_mut().stop()
    }

    /// SIGKILL, then waits until it has ended.
    fn kill(&mut self) -> Result<ExitStatus> {
        self.process_mut().kill()
    }
}
