//! Faults of members while their ensemble is reconfigured, again and again, with [clients](crate::history) at work from the
//! beginning to the end. Members have [network namespaces](crate::netns): a configuration is the same for all of them.
//!
//! Three participants, one of the other kind than the two that are left. The leader meets the fault; meanwhile, and before and
//! behind it, an observer that does not run is added and removed. Then all histories must be in order, all members must show and
//! keep the same, and have the same configuration, not older than the last one that was acknowledged.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use crate::ensemble::{Ensemble, Kind};
use crate::history::{Clients, Ttls};
use crate::matrix::{Counts, Fault, settle};
use crate::raw::Connection;
use crate::script::{Body, watch};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The kind of the leader that meets the fault; one of the others is of the other kind.
    pub leader: Kind,
    /// What happens to it.
    pub fault: Fault,
}

impl fmt::Display for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}-Reconfig-{:?}", self.leader, self.fault)
    }
}

/// All of them.
pub fn all() -> Vec<Moving> {
    let faults = [Fault::Kill, Fault::Stop, Fault::Partition, Fault::Wipe];
    let of = |leader| faults.map(|fault| Moving { leader, fault });
    [of(Kind::Apache), of(Kind::Ostler)].concat()
}

/// The largest id wins the first election.
const LEADER: u8 = 3;
const CLIENTS: usize = 4;
/// Writes before the fault, during it, and after.
const WRITES: u64 = 100;
/// Reconfigs in each of these.
const CHANGES: u64 = 2;
const LIMIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const GET_DATA: i32 = 4;
const RECONFIG: i32 = 16;
const CONFIG: &str = "/zookeeper/config";

impl Moving {
    /// Plays it in a directory of its own.
    pub fn play(&self, dir: &Path, seed: u64) -> Result<Counts> {
        let began = Instant::now();
        let (tally, znodes) =
            self.run(dir, seed).with_context(|| format!("{self}, its files are in {}", dir.display()))?;
        Ok(Counts { tally, joined: None, znodes, took: began.elapsed() })
    }

    fn run(&self, dir: &Path, seed: u64) -> Result<(crate::history::Tally, usize)> {
        let mut ensemble = Ensemble::in_namespaces(dir, 3, 0)?
            .dynamic()
            .cfg("skipACL=yes")
            .cfg("tickTime=500")
            .cfg("initLimit=20")
            .cfg("syncLimit=4")
            .cfg("maxSessionTimeout=30000")
            .cfg("preAllocSize=1024")
            .cfg("extendedTypesEnabled=true")
            .cfg("znode.container.checkIntervalMs=500")
            .jvm("-Dznode.container.checkIntervalMs=500");
        let other = if self.leader == Kind::Apache { Kind::Ostler } else { Kind::Apache };
        for (id, kind) in [(1, other), (2, self.leader), (LEADER, self.leader)] {
            ensemble.start_as(id, kind)?;
        }
        for id in 1..=3 {
            ensemble.serving(id)?;
        }
        let leads = || (1..=3).find(|&id| ensemble.mode(id) == "leader");
        let victim = leads().context("nobody leads")?;
        let kind = if victim == 1 { other } else { self.leader };
        let servers: Vec<SocketAddr> = ensemble.members().iter().map(|it| it.client).collect();
        let clients = Clients::with_ttls(servers.clone(), CLIENTS, seed, Ttls::All)?;
        let changes = Changes::start(servers.clone());
        goes_on(&clients, &changes, "before the fault")?;

        match self.fault {
            Fault::Kill | Fault::Wipe => ensemble.kill(victim)?,
            Fault::Stop => ensemble.signal(victim, Signal::STOP)?,
            Fault::Partition => ensemble.lan()?.cut(victim)?,
        }
        let another = || (1..=3).any(|id| id != victim && ensemble.mode(id) == "leader");
        ensemble.until("another leads", another)?;
        goes_on(&clients, &changes, "during the fault")?;
        if self.fault == Fault::Wipe {
            ensemble.wipe(victim)?;
        }
        match self.fault {
            Fault::Kill | Fault::Wipe => ensemble.start_as(victim, kind)?,
            Fault::Stop => ensemble.signal(victim, Signal::CONT)?,
            Fault::Partition => ensemble.lan()?.heal(victim)?,
        }
        ensemble.until("it is back", || ensemble.mode(victim) == "follower")?;
        goes_on(&clients, &changes, "after the fault")?;

        let last = changes.end()?;
        let mut versions = Vec::new();
        for (addr, id) in servers.iter().zip(1..) {
            versions.push(version_behind_sync(*addr).with_context(|| format!("server {id}, at {addr}"))?);
        }
        let same = versions.iter().all(|it| it == &versions[0]);
        ensure!(same && versions[0] >= last, "0x{last:x} was acknowledged, and the members have {versions:x?}");
        settle(ensemble, clients, kind == Kind::Apache)
    }
}

/// Waits until clients have written and the configuration has changed.
fn goes_on(clients: &Clients, changes: &Changes, when: &str) -> Result<()> {
    let until = Instant::now() + LIMIT;
    let (writes, done) = (clients.writes() + WRITES, changes.done() + CHANGES);
    while clients.writes() < writes || changes.done() < done {
        ensure!(
            Instant::now() < until,
            "{when}: in {LIMIT:?} there were {} of {writes} writes and {} of {done} reconfigs",
            clients.writes(),
            changes.done()
        );
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Somebody who adds an observer and removes it, over and over, through whichever member takes it.
struct Changes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// How many were acknowledged, and the version of the last one.
    done: AtomicU64,
    version: AtomicU64,
}

impl Changes {
    fn start(servers: Vec<SocketAddr>) -> Self {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for addr in servers.iter().cycle() {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever is cut off, or has no leader, or loses it meanwhile: the next one is asked.
                if let Ok(version) = change(*addr) {
                    own.version.fetch_max(version, Ordering::SeqCst);
                    own.done.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(LOOK_EVERY * 5);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// No more of them; the version of the last one that was acknowledged.
    fn end(mut self) -> Result<u64> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it runs")?;
        thread.join().map_err(|_| anyhow!("whoever reconfigures panicked"))?;
        Ok(self.shared.version.load(Ordering::SeqCst))
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

/// Adds the observer, or removes it; the version that this made.
fn change(addr: SocketAddr) -> Result<u64> {
    let (mut connection, _) = Connection::session(addr)?;
    connection.set_limit(Duration::from_secs(3))?;
    // Who joins, who leaves, all members, and from which version: what is not meant is null.
    let body = if config_at(&mut connection)?.contains("server.9=") {
        Body::new().int(-1).text("9").int(-1)
    } else {
        Body::new().text("server.9=10.99.99.9:1:2:observer;3").int(-1).int(-1)
    };
    let reply = connection.call(7, RECONFIG, &body.long(-1).0)?;
    ensure!(reply.err == 0, "it is refused: {}", reply.err);
    version_at(&mut connection)
}

/// The version at this server, behind a sync.
fn version_behind_sync(addr: SocketAddr) -> Result<u64> {
    let (mut connection, _) = Connection::session(addr)?;
    ensure!(connection.call(1, 9, &crate::script::path(CONFIG))?.err == 0, "a sync was refused");
    version_at(&mut connection)
}

fn config_at(connection: &mut Connection) -> Result<String> {
    let reply = connection.call(8, GET_DATA, &watch(CONFIG, false))?;
    ensure!(reply.err == 0, "{CONFIG}: {}", reply.err);
    let length = reply.body.first_chunk().map_or(0, |it| i32::from_be_bytes(*it)).max(0) as usize;
    Ok(String::from_utf8_lossy(reply.body.get(4..4 + length).unwrap_or_default()).into_owned())
}

fn version_at(connection: &mut Connection) -> Result<u64> {
    let config = config_at(connection)?;
    let version = config.lines().find_map(|line| line.strip_prefix("version="));
    u64::from_str_radix(version.context("a configuration without a version")?, 16).context("its version")
}
