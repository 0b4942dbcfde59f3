//! A server process: started with its output in a file, watched until it is ready, ended.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::ports::free_port;
use crate::server::{Options, Ready};
use crate::{four_letter, raw};

/// How long a server may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks at a server that starts or stops.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server process and where it listens. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    dir: PathBuf,
    port: u16,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Writes `zoo.cfg` into the directory of `options`, starts what `command` makes of its path, and waits.
    pub(crate) fn start(options: &Options, command: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let dir = &options.dir;
        let data = dir.join("data");
        fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        if let Some(id) = options.my_id {
            fs::write(data.join("myid"), format!("{id}\n"))?;
        }
        let port = match options.port {
            Some(port) => port,
            None => free_port()?,
        };
        let cfg = dir.join("zoo.cfg");
        if !(options.keep_cfg && cfg.is_file()) {
            fs::write(&cfg, config(&data, port, &options.cfg)?)
                .with_context(|| format!("writing {}", cfg.display()))?;
        }

        let log = open_log(dir)?;
        let mut command = command(&cfg);
        if let Some(netns) = &options.netns {
            // It becomes what it runs: the process id is the server's.
            let mut within = Command::new("ip");
            within.args(["netns", "exec", netns]).arg(command.get_program()).args(command.get_args());
            command = within;
        }
        command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .envs(options.env.iter().cloned());
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut process = Self { child, dir: dir.clone(), port, exited: None };
        process.wait_ready(options)?;
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The client address: always the loopback.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The directory it was started in: `zoo.cfg`, `server.log`, `data`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it printed.
    pub fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
        }
        Ok(self.exited)
    }

    /// Sends `signal` to a server that still runs. Behind a SIGSTOP, none of its threads does anything any more.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_none() {
            let pid = Pid::from_raw(self.pid() as i32).context("a process id is positive")?;
            kill_process(pid, signal)?;
            if signal == Signal::STOP {
                wait_until_stopped(self.pid())?;
            }
        }
        Ok(())
    }

    /// SIGTERM, then waits until it has ended.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let until = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > until {
                self.kill()?;
                bail!("{} did not end within {STOP_LIMIT:?} of SIGTERM; {}", self.name(), self.last_lines());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGKILL, then waits until it has ended.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.exited = Some(status);
        Ok(status)
    }

    fn name(&self) -> String {
        format!("the server in {}", self.dir.display())
    }

    fn wait_ready(&mut self, options: &Options) -> Result<()> {
        let until = Instant::now() + options.start_limit;
        while !self.is_ready(options.ready) {
            if let Some(status) = self.exited()? {
                bail!("{} ended at its start ({status}); {}", self.name(), self.last_lines());
            }
            if Instant::now() > until {
                bail!("{} is not ready after {:?}; {}", self.name(), options.start_limit, self.last_lines());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn is_ready(&self, ready: Ready) -> bool {
        match ready {
            Ready::Started => true,
            Ready::Answering => four_letter::is_ok(self.addr()),
            Ready::Serving => self.is_ready(Ready::Answering) && raw::is_serving(self.addr()),
        }
    }

    /// The end of the log, for error messages.
    fn last_lines(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<&str> = text.lines().rev().take(15).collect();
        lines.reverse();
        format!("its last lines:\n{}", lines.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to be done about an error here: the process is gone or not ours to end.
        let _ = self.kill();
    }
}

/// On a busy machine a thread may still answer a request before it notices that it is stopped.
fn wait_until_stopped(pid: u32) -> Result<()> {
    let until = Instant::now() + STOP_LIMIT;
    loop {
        let mut all = true;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            all &= stat.rsplit_once(") ").is_none_or(|(_, behind)| behind.starts_with(['T', 't', 'Z', 'X']));
        }
        if all {
            return Ok(());
        }
        ensure!(Instant::now() < until, "process {pid} has not stopped in {STOP_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open_log(dir: &Path) -> Result<File> {
    let path = dir.join("server.log");
    OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("opening {}", path.display()))
}

/// The configuration: Apache's sample, loopback only, and the lines asked for.
fn config(data: &Path, port: u16, extra: &[String]) -> Result<String> {
    let data = data.to_str().context("the directory of a server must have a name in UTF-8")?;
    let mut lines = vec![
        "tickTime=2000".to_owned(),
        "initLimit=10".to_owned(),
        "syncLimit=5".to_owned(),
        format!("dataDir={data}"),
        "clientPortAddress=127.0.0.1".to_owned(),
        format!("clientPort={port}"),
        "maxClientCnxns=0".to_owned(),
        "admin.enableServer=false".to_owned(),
        "4lw.commands.whitelist=*".to_owned(),
    ];
    // A line given by the caller replaces ours.
    for line in extra {
        if let Some((key, _)) = line.split_once('=') {
            lines.retain(|it| it.split_once('=').is_none_or(|(ours, _)| ours != key));
        }
    }
    lines.extend_from_slice(extra);
    Ok(lines.join("\n") + "\n")
}
