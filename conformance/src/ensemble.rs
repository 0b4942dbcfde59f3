//! An ensemble of servers on the loopback, Apache's or ours, with a recording proxy in front of each quorum and election port.
//!
//! Each server has a configuration of its own: its own line names the ports that it listens on, the others name proxies.
//! A server tells others its own address in its initial message, so a connection that is asked for that way passes by the
//! proxies; servers that are started in the order of their ids open all their connections through them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::raw;
use crate::recorder::Recorder;
use crate::server::{Options, Ready};
use crate::{apache, ostler, server};

/// How long a server of an ensemble may take until it serves.
const SERVING_LIMIT: Duration = Duration::from_mins(1);

/// A server's place in an ensemble, running or not.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub id: u8,
    /// Is it an observer?
    pub observer: bool,
    /// Where it listens for clients.
    pub client: SocketAddr,
    /// Where it listens for learners.
    pub quorum: SocketAddr,
    /// Where it listens for election connections.
    pub election: SocketAddr,
    /// What others connect to instead of `quorum`; none: the port itself.
    pub quorum_recorder: Option<Recorder>,
    /// What others connect to instead of `election`; none: the port itself.
    pub election_recorder: Option<Recorder>,
    /// The server, if it runs.
    pub server: Option<Running>,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache's.
    Apache,
    /// Ours.
    Ostler,
}

/// A server of either kind.
#[derive(Debug)]
pub enum Running {
    /// Apache's.
    Apache(apache::Server),
    /// Ours.
    Ostler(ostler::Server),
}

impl Running {
    fn server(&mut self) -> &mut dyn server::Server {
        match self {
            Self::Apache(it) => it,
            Self::Ostler(it) => it,
        }
    }
}

/// All members; a test that plays one itself simply never starts it here.
#[derive(Debug)]
pub struct Ensemble {
    dir: PathBuf,
    members: Vec<Member>,
    /// More lines for each `zoo.cfg`.
    cfg: Vec<String>,
    /// More flags of the Java machines.
    jvm: Vec<String>,
}

impl Ensemble {
    /// Members 1 to `participants`, and then observers; nobody runs yet. With `recorded`, proxies are between them.
    pub fn new(dir: impl Into<PathBuf>, participants: u8, observers: u8, recorded: bool) -> Result<Self> {
        let mut members = Vec::new();
        for id in 1..=participants + observers {
            let [client, quorum, election] = free_addrs()?;
            let recorder = |target| if recorded { Recorder::start(target).map(Some) } else { Ok(None) };
            members.push(Member {
                id,
                observer: id > participants,
                client,
                quorum,
                election,
                quorum_recorder: recorder(quorum)?,
                election_recorder: recorder(election)?,
                server: None,
            });
        }
        Ok(Self { dir: dir.into(), members, cfg: Vec::new(), jvm: Vec::new() })
    }

    /// Adds a line to each `zoo.cfg`.
    pub fn cfg(mut self, line: &str) -> Self {
        self.cfg.push(line.to_owned());
        self
    }

    /// Adds a flag of each Java machine.
    pub fn jvm(mut self, flag: &str) -> Self {
        self.jvm.push(flag.to_owned());
        self
    }

    /// The member with this id.
    pub fn member(&self, id: u8) -> Result<&Member> {
        self.members.iter().find(|it| it.id == id).with_context(|| format!("there is no member {id}"))
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The lines `server.N` as member `id` has them.
    pub fn lines(&self, id: u8) -> Vec<String> {
        let line = |it: &Member| {
            let through = |recorder: &Option<Recorder>, addr: SocketAddr| match recorder {
                Some(recorder) if it.id != id => recorder.addr().port(),
                _ => addr.port(),
            };
            let (quorum, election) =
                (through(&it.quorum_recorder, it.quorum), through(&it.election_recorder, it.election));
            let role = if it.observer { "observer" } else { "participant" };
            format!("server.{}=127.0.0.1:{quorum}:{election}:{role}", it.id)
        };
        self.members.iter().map(line).collect()
    }

    /// Starts one of Apache's servers and waits only until its process runs.
    pub fn start(&mut self, id: u8) -> Result<()> {
        self.start_as(id, Kind::Apache)
    }

    /// Starts a server of this kind, on what the one before it left, and waits only until its process runs.
    pub fn start_as(&mut self, id: u8, kind: Kind) -> Result<()> {
        let lines = self.lines(id);
        let member = self.member(id)?;
        let mut options = Options::new(self.dir.join(id.to_string()));
        options.port = Some(member.client.port());
        options.my_id = Some(id);
        options.ready = Ready::Started;
        options.cfg.clone_from(&self.cfg);
        options.cfg.extend(lines);
        options.jvm.clone_from(&self.jvm);
        if member.observer {
            options = options.cfg("peerType=observer");
        }
        let server = match kind {
            Kind::Apache => Running::Apache(apache::Server::start(&options)?),
            Kind::Ostler => Running::Ostler(ostler::Server::start(&options)?),
        };
        let member = self.members.iter_mut().find(|it| it.id == id).context("it was there a moment ago")?;
        member.server = Some(server);
        Ok(())
    }

    /// Waits until a server serves clients.
    pub fn serving(&self, id: u8) -> Result<()> {
        let addr = self.member(id)?.client;
        self.until(&format!("server {id} serves"), || raw::is_serving(addr))
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + SERVING_LIMIT;
        while !holds() {
            if Instant::now() > until {
                bail!("not within {SERVING_LIMIT:?}: {what}; the servers' logs are in {}", self.dir.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Does the log of a server contain this text?
    pub fn log_contains(&self, id: u8, text: &str) -> bool {
        let log = std::fs::read(self.dir.join(id.to_string()).join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).contains(text)
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u8) -> Result<()> {
        self.take(id)?.server().kill().map(|_| ())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, id: u8) -> Result<()> {
        self.take(id)?.server().stop().map(|_| ())
    }

    fn take(&mut self, id: u8) -> Result<Running> {
        let member = self.members.iter_mut().find(|it| it.id == id).with_context(|| format!("no member {id}"))?;
        member.server.take().with_context(|| format!("server {id} does not run"))
    }
}

/// Three loopback ports that were free a moment ago.
fn free_addrs() -> Result<[SocketAddr; 3]> {
    let one = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free loopback port");
    let all = [one()?, one()?, one()?];
    Ok([all[0].local_addr()?, all[1].local_addr()?, all[2].local_addr()?])
}
