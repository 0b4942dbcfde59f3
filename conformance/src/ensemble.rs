//! An ensemble of servers on the loopback, Apache's or ours, with a recording proxy in front of each quorum and election port.
//!
//! Each server has a configuration of its own: its own line names the ports that it listens on, the others name proxies.
//! A server tells others its own address in its initial message, so a connection that is asked for that way passes by the
//! proxies; servers that are started in the order of their ids open all their connections through them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use rustix::process::Signal;

use crate::links::Links;
use crate::netns::Lan;
use crate::ports::free_addrs;
use crate::raw;
use crate::recorder::Recorder;
use crate::server::{Options, Ready};
use crate::{apache, four_letter, ostler, server};

/// How long a server of an ensemble may take until it serves.
const SERVING_LIMIT: Duration = Duration::from_mins(2);

/// A server's place in an ensemble, running or not.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub id: u8,
    /// Is it an observer?
    pub observer: bool,
    /// Is it an observer in its own list alone?
    turned: bool,
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
    /// The server, whosever it is.
    pub fn server(&mut self) -> &mut dyn server::Server {
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
    /// What the members are connected through; none: the ports themselves, or recorders.
    links: Option<Links>,
    /// Ours; none: the one that was built last.
    binary: Option<PathBuf>,
    /// The ensemble begins with so many; each further member knows these and itself.
    first: u8,
    /// Files that a reconfig has written are left as they are.
    keeps_cfg: bool,
    /// Each has a loopback address of its own for the others.
    is_apart: bool,
    /// Each has a network namespace of its own.
    lan: Option<Lan>,
    /// Each has two addresses.
    is_doubled: bool,
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
                turned: false,
                client,
                quorum,
                election,
                quorum_recorder: recorder(quorum)?,
                election_recorder: recorder(election)?,
                server: None,
            });
        }
        Ok(Self {
            dir: dir.into(),
            members,
            cfg: Vec::new(),
            jvm: Vec::new(),
            links: None,
            binary: None,
            first: u8::MAX,
            keeps_cfg: false,
            is_apart: false,
            lan: None,
            is_doubled: false,
        })
    }

    /// The same, with links between the members that can be cut.
    pub fn linked(dir: impl Into<PathBuf>, participants: u8, observers: u8) -> Result<Self> {
        let mut ensemble = Self::new(dir, participants, observers, false)?;
        let ports: Vec<_> = ensemble.members.iter().map(|it| (it.id, it.quorum, it.election)).collect();
        ensemble.links = Some(Links::start(&ports)?);
        Ok(ensemble)
    }

    /// The same, each in a network namespace of its own.
    ///
    /// # Errors
    /// There can be none here.
    pub fn in_namespaces(dir: impl Into<PathBuf>, participants: u8, observers: u8) -> Result<Self> {
        let mut ensemble = Self::new(dir, participants, observers, false)?;
        let ids: Vec<u8> = ensemble.members.iter().map(|it| it.id).collect();
        let lan = Lan::start(&ids)?;
        for member in &mut ensemble.members {
            member.client = lan.client(member.id, member.client.port());
        }
        ensemble.lan = Some(lan);
        Ok(ensemble.cfg("clientPortAddress=0.0.0.0"))
    }

    /// The cables, if members have namespaces.
    pub fn lan(&self) -> Result<&Lan> {
        self.lan.as_ref().context("the members of this ensemble have no namespaces")
    }

    /// The links, if there are any.
    pub fn links(&self) -> Result<&Links> {
        self.links.as_ref().context("this ensemble has no links that can be cut")
    }

    /// From its next start on, this member takes itself for an observer; the others' lists stay as they are.
    pub fn becomes_observer(&mut self, id: u8) -> Result<()> {
        self.member_mut(id)?.turned = true;
        Ok(())
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

    /// Which of our binaries is started.
    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = Some(path);
        self
    }

    /// Only the first so many know each other; each further one knows them and itself.
    pub fn known(mut self, first: u8) -> Self {
        self.first = first;
        self
    }

    /// Each member has a loopback address of its own for the others: for ports that have the same number everywhere.
    pub fn apart(mut self) -> Self {
        self.is_apart = true;
        self
    }

    /// Each member has two addresses for the others, a cable each; only between namespaces.
    pub fn doubled(mut self) -> Self {
        self.is_doubled = true;
        self.cfg("multiAddress.enabled=true").jvm("-Dzookeeper.multiAddress.enabled=true")
    }

    fn host(&self, id: u8) -> Ipv4Addr {
        match &self.lan {
            Some(lan) => lan.host(id),
            None if self.is_apart => Ipv4Addr::new(127, 0, 0, id),
            None => Ipv4Addr::LOCALHOST,
        }
    }

    /// It can change while it runs.
    pub fn dynamic(mut self) -> Self {
        self.keeps_cfg = true;
        self.cfg("reconfigEnabled=true")
    }

    /// Only the first so many are an ensemble at first, and anybody can change it.
    pub fn growing_from(self, first: u8) -> Self {
        self.known(first).dynamic().cfg("skipACL=yes")
    }

    /// From their next start on, members know the first so many, and themselves.
    pub fn knows(&mut self, first: u8) {
        self.first = first;
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
            let linked = |is_election| self.links.as_ref()?.addr(id, it.id, is_election).ok().map(|addr| addr.port());
            let quorum = linked(false).unwrap_or_else(|| through(&it.quorum_recorder, it.quorum));
            let election = linked(true).unwrap_or_else(|| through(&it.election_recorder, it.election));
            let observes = it.observer || it.turned && it.id == id;
            let role = if observes { "observer" } else { "participant" };
            let second = self.lan.as_ref().filter(|_| self.is_doubled).map(|lan| lan.second(it.id));
            let second = second.map(|ip| format!("|{ip}:{quorum}:{election}")).unwrap_or_default();
            format!("server.{}={}:{quorum}:{election}{second}:{role}", it.id, self.host(it.id))
        };
        self.members.iter().filter(|it| it.id <= self.first || it.id == id).map(line).collect()
    }

    /// What a reconfig is told to add a member, with this role.
    pub fn joining(&self, id: u8, role: &str) -> Result<String> {
        let it = self.member(id)?;
        let host = self.host(id);
        Ok(format!("server.{id}={host}:{}:{}:{role};{}", it.quorum.port(), it.election.port(), it.client))
    }

    /// The directory of a member.
    pub fn dir(&self, id: u8) -> PathBuf {
        self.dir.join(id.to_string())
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
        options.netns = self.lan.as_ref().map(|lan| lan.namespace(id));
        options.ready = Ready::Started;
        options.keep_cfg = self.keeps_cfg;
        options.cfg.clone_from(&self.cfg);
        options.cfg.extend(lines);
        options.jvm.clone_from(&self.jvm);
        if member.observer || member.turned {
            options = options.cfg("peerType=observer");
        }
        let server = match kind {
            Kind::Apache => Running::Apache(apache::Server::start(&options)?),
            Kind::Ostler => Running::Ostler(match &self.binary {
                Some(binary) => ostler::Server::start_binary(binary, &options)?,
                None => ostler::Server::start(&options)?,
            }),
        };
        self.member_mut(id)?.server = Some(server);
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

    /// What a server calls itself in its answer to `srvr`; empty if it serves nobody.
    pub fn mode(&self, id: u8) -> String {
        let answer = self.member(id).and_then(|it| four_letter::ask(it.client, "srvr")).unwrap_or_default();
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
        mode.unwrap_or_default().to_owned()
    }

    /// The data directory of a member.
    pub fn data_dir(&self, id: u8) -> PathBuf {
        self.dir.join(id.to_string()).join("data")
    }

    /// Removes everything that a member that does not run has on its disk, but for its id.
    pub fn wipe(&self, id: u8) -> Result<()> {
        let dir = self.data_dir(id).join("version-2");
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
    }

    /// Sends a signal to a server.
    pub fn signal(&mut self, id: u8, signal: Signal) -> Result<()> {
        let server = self.member_mut(id)?.server.as_mut().with_context(|| format!("server {id} does not run"))?;
        server.server().process_mut().signal(signal)
    }

    /// The process of a server.
    pub fn pid(&mut self, id: u8) -> Result<u32> {
        let server = self.member_mut(id)?.server.as_mut().with_context(|| format!("server {id} does not run"))?;
        Ok(server.server().pid())
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

    fn member_mut(&mut self, id: u8) -> Result<&mut Member> {
        self.members.iter_mut().find(|it| it.id == id).with_context(|| format!("there is no member {id}"))
    }

    fn take(&mut self, id: u8) -> Result<Running> {
        self.member_mut(id)?.server.take().with_context(|| format!("server {id} does not run"))
    }
}
