//! `ostler demo`: a whole ensemble on the loopback, to try things on.
//!
//! Its servers are processes of this binary, each with a `zoo.cfg` and a directory of its own in one directory that goes when
//! the demo ends. The demo asks them what they are, a few times a second, and tells what has changed; a server that was
//! killed is started again after a while. A server ends when its standard input does, so none outlives the demo, however it
//! ends.

mod events;
mod member;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fail;
use events::{Event, Told};
use member::{Member, Ports, write_files};

/// How often servers are asked what they are.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long servers may take to stop; then they are killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// So often a server is started again that ends at once.
const FAILED_STARTS_MAX: u32 = 3;
/// A server that ran for less has not come up.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Runs an ensemble on this machine until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 a server does not start; 2 wrong arguments.")]
pub struct Args {
    /// How many servers vote
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    servers: u8,
    /// How many observers there are besides
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    observers: u8,
    /// Where its files are: a directory that does not exist yet; without it one among the temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the files when the demo ends
    #[arg(long)]
    keep: bool,
    /// After how many seconds a server that was killed is started again
    #[arg(long, value_name = "S", default_value_t = 5)]
    restart_after: u64,
    /// A line in zoo.cfg of each server; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    cfg: Vec<String>,
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

/// Runs it until a signal ends it.
pub fn run(args: &Args) -> ExitCode {
    let told = Told::new(args.json);
    let dir = args.dir.clone().unwrap_or_else(|| {
        let name = format!("ostler-demo-{}", std::process::id());
        std::env::temp_dir().join(name)
    });
    let signals = match listen_for_signals() {
        Ok(signals) => signals,
        Err(e) => return fail(&format!("signals can't be handled: {e}"), 1),
    };
    // What is there already is somebody's.
    let made = std::path::absolute(&dir).and_then(|dir| std::fs::create_dir(&dir).map(|()| dir));
    let dir = match made {
        Ok(dir) => dir,
        Err(e) => return fail(&format!("{}: {e}: the demo makes a directory of its own", dir.display()), 1),
    };
    let ended = Demo::new(args, &dir, told).and_then(|mut demo| {
        let ended = demo.run(&signals);
        demo.stop();
        ended
    });
    let removed = if args.keep { Ok(()) } else { std::fs::remove_dir_all(&dir) };
    told.tell(&Event::Stopped { dir: (args.keep || removed.is_err()).then(|| dir.clone()) });
    match (ended, removed) {
        (Err(why), _) => fail(&why, 1),
        (_, Err(e)) => fail(&format!("{}: {e}", dir.display()), 1),
        _ => ExitCode::SUCCESS,
    }
}

struct Demo {
    members: Vec<Member>,
    restart_after: Duration,
    told: Told,
    dir: PathBuf,
    began: Instant,
    is_ready: bool,
    leader: Option<u8>,
    /// What adds one more, whose files are there.
    more: String,
}

impl Demo {
    fn new(args: &Args, dir: &Path, told: Told) -> Result<Self, String> {
        let count = args.servers + args.observers;
        let mut ports = Ports::free(usize::from(count) + 1).map_err(|e| format!("there are no free ports: {e}"))?;
        let of_more = ports.pop().ok_or("there are no free ports")?;
        let mut lines: Vec<String> =
            ports.iter().zip(1..).map(|(ports, id)| ports.line(id, id > args.servers)).collect();
        let binary = std::env::current_exe().map_err(|e| format!("this binary can't be found: {e}"))?;
        let members = ports.iter().zip(1..).map(|(ports, id)| {
            let of = dir.join(id.to_string());
            Member::new(id, id > args.servers, *ports, of, &binary, &lines, &args.cfg)
        });
        let in_dir = |e: io::Error| format!("{}: {e}", dir.display());
        let members = members.collect::<io::Result<_>>().map_err(in_dir)?;
        let more = of_more.line(count + 1, false);
        lines.push(more.clone());
        write_files(count + 1, false, &dir.join((count + 1).to_string()), &lines, &args.cfg).map_err(in_dir)?;
        told.tell(&Event::Began { servers: args.servers, observers: args.observers, dir });
        let restart_after = Duration::from_secs(args.restart_after);
        let began = Instant::now();
        Ok(Self { members, restart_after, told, dir: dir.to_owned(), began, is_ready: false, leader: None, more })
    }

    fn run(&mut self, signals: &mpsc::Receiver<()>) -> Result<(), String> {
        loop {
            for number in 0..self.members.len() {
                self.look_after(number)?;
            }
            self.look_for_leader();
            match signals.recv_timeout(LOOK_EVERY) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Starts a server that does not run, if it is time for that, and tells what has changed.
    fn look_after(&mut self, number: usize) -> Result<(), String> {
        let member = &mut self.members[number];
        if let Some((status, ran)) = member.look_for_end() {
            member.failed_starts = if ran < AT_ONCE { member.failed_starts + 1 } else { 0 };
            // It may lead again when it is back, with another process.
            self.leader.take_if(|leader| *leader == member.id);
            self.told.tell(&Event::Ended { id: member.id, how: status.to_string(), again: self.restart_after });
            if member.failed_starts >= FAILED_STARTS_MAX || !self.is_ready && ran < AT_ONCE {
                return Err(format!("server.{} does not start: {}", member.id, member.last_words()));
            }
        }
        if member.may_start(self.restart_after) {
            let pid = member.start().map_err(|e| format!("server.{} can't be started: {e}", member.id))?;
            let (id, client) = (member.id, member.ports.client);
            self.told.tell(&Event::Started { id, pid, client, log: member.log() });
        }
        if let Some(state) = member.look_for_change() {
            self.told.tell(&Event::State { id: member.id, state });
        }
        Ok(())
    }

    fn look_for_leader(&mut self) {
        let leader = self.members.iter().find(|it| it.leads()).map(|it| it.id);
        if !self.is_ready && self.members.iter().all(Member::serves) {
            self.is_ready = true;
            let hosts: Vec<String> = self.members.iter().map(|it| it.ports.client.to_string()).collect();
            let cfg_of = |id: usize| self.dir.join(id.to_string()).join("zoo.cfg");
            let (cfg, more_cfg) = (cfg_of(1), cfg_of(self.members.len() + 1));
            let (took, hosts) = (self.began.elapsed(), hosts.join(","));
            self.told.tell(&Event::Ready { took, hosts, cfg, more: &self.more, more_cfg });
        }
        if self.is_ready && leader.is_some() && leader != self.leader {
            self.leader = leader;
            if let Some(member) = self.members.iter().find(|it| Some(it.id) == leader)
                && let Some(pid) = member.pid()
            {
                self.told.tell(&Event::Leads { id: member.id, pid, again: self.restart_after });
            }
        }
    }

    /// All at once: they need not wait for each other.
    fn stop(&mut self) {
        self.told.tell(&Event::Stopping);
        for member in &mut self.members {
            member.begin_stop();
        }
        let until = Instant::now() + STOP_MAX;
        for member in &mut self.members {
            member.stop(until);
        }
    }
}

/// A message for each SIGINT and SIGTERM.
fn listen_for_signals() -> io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (send, signals) = mpsc::channel();
    let (mut term, mut int) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("ostler-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                if send.send(()).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(signals)
}
