//! A server of a demo: its files, its process, what it says of itself.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tools::ensemble::{Mode, mode_at};

/// How long a server may take to say what it is. One that was stopped (SIGSTOP) holds up the others no longer.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// The pause between two looks at a server that stops.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much of the end of its log is shown of a server that does not start, in bytes.
const LAST_WORDS_BYTES_MAX: usize = 400;

/// Where a server listens, all on the loopback.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub client: SocketAddr,
    quorum: u16,
    election: u16,
}

impl Ports {
    /// Ports that were free a moment ago, for so many servers.
    pub(super) fn free(servers: usize) -> io::Result<Vec<Self>> {
        // All are held until the last one is found: none is given twice.
        let listeners = (0..3 * servers).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let ports = addresses.chunks_exact(3).map(|three| Self {
            client: three[0],
            quorum: three[1].port(),
            election: three[2].port(),
        });
        Ok(ports.collect())
    }

    /// The line of a configuration.
    pub(super) fn line(&self, id: u8, is_observer: bool) -> String {
        let Self { client, quorum, election } = self;
        let role = if is_observer { "observer" } else { "participant" };
        format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};{client}")
    }
}

/// The password of the super user in a demo: its members let him change the ensemble.
pub(super) const SUPER_PASSWORD: &str = "demo";
/// `super:demo`, as members have it. Source: `DigestAuthenticationProvider.generateDigest`.
const SUPER_DIGEST: &str = "super:Mu21HtWlRAklIDWMDpPe9W6jsII=";

/// A server.
#[derive(Debug)]
pub(super) struct Member {
    pub id: u8,
    pub ports: Ports,
    /// How often in a row it ended at once.
    pub failed_starts: u32,
    dir: PathBuf,
    binary: PathBuf,
    running: Option<(Child, Instant)>,
    ended: Option<Instant>,
    /// What it was told to be last.
    told: Mode,
}

impl Member {
    /// Writes its files.
    pub(super) fn new(
        id: u8,
        is_observer: bool,
        ports: Ports,
        dir: PathBuf,
        binary: &Path,
        lines: &[String],
        more: &[String],
    ) -> io::Result<Self> {
        write_files(id, is_observer, &dir, lines, more)?;
        let (binary, told) = (binary.to_owned(), Mode::Down);
        Ok(Self { id, ports, failed_starts: 0, dir, binary, running: None, ended: None, told })
    }

    /// What it prints.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    pub(super) fn leads(&self) -> bool {
        self.told == Mode::Leader
    }

    pub(super) fn serves(&self) -> bool {
        self.told.serves()
    }

    /// It does not run, and has not for as long as one that was killed is left dead.
    pub(super) fn may_start(&self, after: Duration) -> bool {
        self.running.is_none() && self.ended.is_none_or(|ended| ended.elapsed() >= after)
    }

    /// Starts it; its process id.
    pub(super) fn start(&mut self) -> io::Result<u32> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.binary)
            .arg("server")
            .arg("--until-stdin-ends")
            .arg(self.dir.join("zoo.cfg"))
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for the demo, which stops its servers itself.
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        self.running = Some((child, Instant::now()));
        Ok(pid)
    }

    /// If it has ended: how, and how long it ran.
    pub(super) fn look_for_end(&mut self) -> Option<(ExitStatus, Duration)> {
        let (child, began) = self.running.as_mut()?;
        let status = child.try_wait().ok()??;
        let ran = began.elapsed();
        self.running = None;
        self.ended = Some(Instant::now());
        self.told = Mode::Down;
        Some((status, ran))
    }

    /// What it is, if that is something new.
    pub(super) fn look_for_change(&mut self) -> Option<&'static str> {
        self.running.as_ref()?;
        let mode = mode_at(self.ports.client, ANSWER_MAX);
        (std::mem::replace(&mut self.told, mode) != mode).then(|| mode.name())
    }

    /// The end of what it printed, for a line about a server that does not start.
    pub(super) fn last_words(&self) -> String {
        let printed = std::fs::read(self.log()).unwrap_or_default();
        let end = &printed[printed.len().saturating_sub(LAST_WORDS_BYTES_MAX)..];
        String::from_utf8_lossy(end).lines().next_back().unwrap_or("it printed nothing").to_owned()
    }

    /// Tells it to stop.
    pub(super) fn begin_stop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            drop(child.stdin.take());
        }
    }

    /// Waits until it has stopped; one that does not is killed.
    pub(super) fn stop(&mut self, until: Instant) {
        let Some((mut child, _)) = self.running.take() else { return };
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                // It ended meanwhile, or now.
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Writes the files of a server, which need not be started.
pub(super) fn write_files(id: u8, is_observer: bool, dir: &Path, lines: &[String], more: &[String]) -> io::Result<()> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join("myid"), format!("{id}\n"))?;
    let mut cfg = format!(
        "# Made by `ostler demo`.\ntickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\n4lw.commands.whitelist=*\n\
         reconfigEnabled=true\nDigestAuthenticationProvider.superDigest={SUPER_DIGEST}\n",
        data.display()
    );
    if is_observer {
        cfg.push_str("peerType=observer\n");
    }
    for line in lines.iter().chain(more) {
        cfg.push_str(line);
        cfg.push('\n');
    }
    std::fs::write(dir.join("zoo.cfg"), cfg)
}

impl Drop for Member {
    fn drop(&mut self) {
        self.begin_stop();
        self.stop(Instant::now() + Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_gets_ports_of_its_own() {
        let ports = Ports::free(3).unwrap();
        let mut all: Vec<u16> = ports.iter().flat_map(|it| [it.client.port(), it.quorum, it.election]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn files_are_a_members() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports::free(1).unwrap()[0];
        let line = ports.line(4, true);
        let of = dir.path().join("4");
        Member::new(
            4,
            true,
            ports,
            of.clone(),
            Path::new("/none"),
            std::slice::from_ref(&line),
            &["snapCount=7".into()],
        )
        .unwrap();
        let cfg = std::fs::read_to_string(of.join("zoo.cfg")).unwrap();
        assert!(cfg.contains(&line) && cfg.contains("peerType=observer") && cfg.ends_with("snapCount=7\n"), "{cfg}");
        assert_eq!(std::fs::read_to_string(of.join("data/myid")).unwrap(), "4\n");
    }
}
