//! Faults of the members of mixed ensembles: who leads, who meets the fault, which fault, and how it is brought in line
//! afterwards, with [clients](crate::history) at work from the beginning to the end.
//!
//! Three members. In most cells two of one kind elect a leader, and a third one of the other kind, a follower or an
//! observer, meets the fault; in the others it is the leader. Then it must join in the way that the cell asks for, all
//! histories must be in order, and all members must show and keep the same.
//!
//! For a TRUNC the one that meets the fault leads at first; it is cut off and proposes what nobody hears. An observer
//! never has more than was committed, so it is made one of a leader, by its own list of members.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::ensemble::{Ensemble, Kind};
use crate::history::{Clients, Left, Tally, Ttls, check, check_left};
use crate::java;
use crate::links::Join;
use crate::raw::Connection;
use crate::script::create;

/// Who meets the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A follower of the other kind than the leader.
    Follower,
    /// An observer of the other kind.
    Observer,
    /// The leader, with followers of the other kind; one of those leads then.
    Leader,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a start.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Stop,
    /// Its connections with other members carry nothing any more, and then do again.
    Partition,
    /// kill -9, and a start with nothing on the disk but the id.
    Wipe,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The kind of the leader, where the fault meets a learner: of the one who leads afterwards, too.
    pub leader: Kind,
    /// Who meets the fault.
    pub role: Role,
    /// How it joins again; of a leader, that is whatever it comes to.
    pub join: Option<Join>,
    /// What happens to it.
    pub fault: Fault,
}

/// What a cell came to.
#[derive(Clone, Debug)]
pub struct Counts {
    /// What the histories had.
    pub tally: Tally,
    /// How the member was brought in line behind the fault, if that was looked at.
    pub joined: Option<Join>,
    /// The znodes that all members have at the end.
    pub znodes: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = self.join.map_or_else(|| "any".to_owned(), |it| format!("{it:?}").to_uppercase());
        let (leader, role, fault) = (self.leader, self.role, self.fault);
        write!(f, "{leader:?}-{role:?}-{join}-{fault:?}")
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.tally;
        write!(
            f,
            "{:<5} {:>6} {:>7} {:>6} {:>6} {:>6} {:>5} {:>7} {:>7} {:>6} {:>5.1}",
            self.joined.map_or_else(|| "-".to_owned(), |it| format!("{it:?}").to_uppercase()),
            t.writes,
            t.unknown,
            t.reads,
            t.synced,
            t.synced_stale,
            t.events,
            t.connections,
            t.expired,
            self.znodes,
            self.took.as_secs_f64()
        )
    }
}

/// The columns of [`Counts`].
pub const HEADER: &str = "join  writes unknown  reads synced  stale watch connect expired znodes     s";

/// All cells.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for leader in [Kind::Apache, Kind::Ostler] {
        for role in [Role::Follower, Role::Observer] {
            for join in [Join::Diff, Join::Trunc, Join::Snap] {
                for fault in [Fault::Kill, Fault::Stop, Fault::Partition, Fault::Wipe] {
                    // A wiped disk has nothing to be truncated or added to; a role changes with a start.
                    let makes_sense = match (role, join) {
                        (_, Join::Diff) => fault != Fault::Wipe,
                        (Role::Observer, Join::Trunc) => fault == Fault::Kill,
                        (_, Join::Trunc) => fault != Fault::Wipe,
                        (_, Join::Snap) => true,
                    };
                    if makes_sense {
                        cells.push(Cell { leader, role, join: Some(join), fault });
                    }
                }
            }
        }
        for fault in [Fault::Kill, Fault::Stop, Fault::Partition, Fault::Wipe] {
            cells.push(Cell { leader, role: Role::Leader, join: None, fault });
        }
    }
    cells
}

/// Clients of each cell.
const CLIENTS: usize = 5;
/// Who meets the fault; the largest id, since it wins an election that all begin with.
const VICTIM: u8 = 3;
/// Writes before the fault, and after all is well again.
const WRITES: u64 = 150;
/// Writes while it is away: fewer and more than a leader remembers.
const WRITES_DIFF: u64 = 60;
const WRITES_SNAP: u64 = 900;
/// Writes of a leader that nobody hears.
const DOOMED: usize = 20;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(90);
/// Each member has its own list of members there, and here these differ.
const CONFIG: &str = "znode /zookeeper/config ";
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Cell {
    /// Plays it in a directory of its own.
    pub fn play(&self, dir: &Path, seed: u64) -> Result<Counts> {
        let began = Instant::now();
        let (ensemble, clients) = self.start(dir, seed)?;
        let mut play = Play { cell: *self, ensemble, clients };
        let joined = play.fault().with_context(|| format!("{self}, its files are in {}", dir.display()))?;
        let (tally, znodes) = play.end().with_context(|| format!("{self}, its files are in {}", dir.display()))?;
        Ok(Counts { tally, joined: Some(joined), znodes, took: began.elapsed() })
    }

    fn other(&self) -> Kind {
        if self.leader == Kind::Apache { Kind::Ostler } else { Kind::Apache }
    }

    /// The kinds of members 1 and 2, and of the one that meets the fault.
    fn kinds(&self) -> (Kind, Kind) {
        if self.role == Role::Leader { (self.other(), self.leader) } else { (self.leader, self.other()) }
    }

    /// Does the one that meets the fault lead at first?
    fn victim_leads(&self) -> bool {
        self.role == Role::Leader || self.join == Some(Join::Trunc)
    }

    fn start(&self, dir: &Path, seed: u64) -> Result<(Ensemble, Clients)> {
        let observers = u8::from(self.role == Role::Observer && self.join != Some(Join::Trunc));
        let mut ensemble = Ensemble::linked(dir, 3 - observers, observers)?
            .cfg("tickTime=500")
            // The end of a session is a txn, and none may come between a leader that is cut off and its TRUNC.
            .cfg("maxSessionTimeout=30000")
            .cfg("initLimit=20")
            .cfg("syncLimit=4")
            .cfg("preAllocSize=1024")
            .cfg("extendedTypesEnabled=true")
            .cfg("znode.container.checkIntervalMs=500")
            .jvm("-Dznode.container.checkIntervalMs=500");
        // Many small log files, too: ours counts those that it would have to send against the newest snapshot.
        let lines = match self.join {
            Some(Join::Snap) => ["commitLogCount=500", "snapshotSizeFactor=-1", "snapCount=200"],
            _ => ["commitLogCount=100000", "snapshotSizeFactor=0.33", "snapCount=1000"],
        };
        for line in lines {
            ensemble = ensemble.cfg(line);
        }
        let (others, victim) = self.kinds();
        let order = if self.victim_leads() { [VICTIM, 1, 2] } else { [1, 2, VICTIM] };
        let leads = if self.victim_leads() { VICTIM } else { 2 };
        for id in order {
            ensemble.start_as(id, if id == VICTIM { victim } else { others })?;
            if id == order[1] {
                ensemble.until(&format!("server {leads} leads"), || ensemble.mode(leads) == "leader")?;
            }
        }
        for id in order {
            ensemble.serving(id)?;
        }
        let servers = ensemble.members().iter().map(|it| it.client).collect();
        // The end of one with a TTL is a txn, too.
        let ttls = if self.join == Some(Join::Trunc) { Ttls::Long } else { Ttls::All };
        let clients = Clients::with_ttls(servers, CLIENTS, seed, ttls)?;
        Ok((ensemble, clients))
    }
}

/// A cell that is being played.
struct Play {
    cell: Cell,
    ensemble: Ensemble,
    clients: Clients,
}

impl Play {
    /// The fault, and the way back.
    fn fault(&mut self) -> Result<Join> {
        self.writes(WRITES, "before the fault")?;
        // A leader sends a TRUNC only to who has more than all it has itself, so nothing may happen meanwhile.
        let holds = self.cell.join == Some(Join::Trunc);
        if self.cell.join == Some(Join::Trunc) {
            self.clients.hold(holds);
            self.doomed_writes()?;
        }
        let (_, kind) = self.cell.kinds();
        match self.cell.fault {
            Fault::Kill | Fault::Wipe => self.ensemble.kill(VICTIM)?,
            Fault::Stop => self.ensemble.signal(VICTIM, Signal::STOP)?,
            Fault::Partition => self.ensemble.links()?.cut(VICTIM),
        }
        let ensemble = &self.ensemble;
        ensemble.until("the others have a leader", || [1, 2].iter().any(|&id| ensemble.mode(id) == "leader"))?;
        let lacks = if self.cell.join == Some(Join::Snap) { WRITES_SNAP } else { WRITES_DIFF };
        if !holds {
            self.writes(lacks, "during the fault")?;
        }
        if self.cell.fault == Fault::Stop {
            self.is_left_behind()?;
        }
        if self.cell.fault == Fault::Wipe {
            self.ensemble.wipe(VICTIM)?;
        }
        // Not before: on a slow machine it may have left its leader, and come back, before the fault.
        let before = self.ensemble.links()?.joins(VICTIM).len();
        self.ensemble.links()?.heal();
        match self.cell.fault {
            Fault::Kill | Fault::Wipe => {
                if self.cell.role == Role::Observer && self.cell.join == Some(Join::Trunc) {
                    self.ensemble.becomes_observer(VICTIM)?;
                }
                self.ensemble.start_as(VICTIM, kind)?;
            }
            Fault::Stop => self.ensemble.signal(VICTIM, Signal::CONT)?,
            Fault::Partition => {}
        }
        let links = self.ensemble.links()?;
        self.ensemble.until("it has joined", || links.joins(VICTIM).len() > before)?;
        self.ensemble.serving(VICTIM)?;
        let joins = links.joins(VICTIM);
        let joined = *joins.get(before).context("it has joined")?;
        if let Some(wanted) = self.cell.join {
            ensure!(joined == wanted, "it joined by {joined:?} ({joins:?} in all), not by {wanted:?}");
        }
        let wanted = if self.cell.role == Role::Observer { "observer" } else { "follower" };
        let ensemble = &self.ensemble;
        ensemble.until(&format!("it is back as {wanted}"), || ensemble.mode(VICTIM) == wanted)?;
        self.clients.hold(false);
        self.writes(WRITES, "after the fault")?;
        Ok(joined)
    }

    /// Cut off from all others, it logs what nobody will acknowledge.
    fn doomed_writes(&self) -> Result<()> {
        let (mut client, _) = Connection::session(self.ensemble.member(VICTIM)?.client)?;
        self.ensemble.links()?.cut(VICTIM);
        for number in 0..DOOMED {
            client.send(number as i32 + 1, 1, &create(&format!("/doomed-{number}"), b"", 0))?;
        }
        let last = format!("/doomed-{}", DOOMED - 1);
        let logs = self.ensemble.data_dir(VICTIM).join("version-2");
        self.ensemble.until("it has logged what nobody hears", || {
            let files = std::fs::read_dir(&logs).into_iter().flatten().flatten();
            files.filter(|it| it.file_name().to_string_lossy().starts_with("log.")).any(|it| {
                let bytes = std::fs::read(it.path()).unwrap_or_default();
                bytes.windows(last.len()).any(|it| it == last.as_bytes())
            })
        })
    }

    /// A stopped member must have been given up by all others, or there is nothing to join.
    fn is_left_behind(&self) -> Result<()> {
        let links = self.ensemble.links()?;
        self.ensemble.until("the others have given it up", || links.quorum_connections(VICTIM) == 0)
    }

    /// Waits for so many acknowledged writes.
    fn writes(&self, count: u64, when: &str) -> Result<()> {
        let (until, wanted) = (Instant::now() + LIMIT, self.clients.writes() + count);
        while self.clients.writes() < wanted {
            let lacking = wanted - self.clients.writes();
            ensure!(Instant::now() < until, "{when}: {lacking} of {count} writes were not acknowledged in {LIMIT:?}");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Everything that must hold at the end.
    fn end(self) -> Result<(Tally, usize)> {
        // Under a leader of Apache's that others have left, a sync asks nobody else.
        let may_be_stale = self.cell.victim_leads() && self.cell.kinds().1 == Kind::Apache;
        settle(self.ensemble, self.clients, may_be_stale)
    }
}

/// Everything that must hold at the end, of three members. Reads behind a sync may have been stale or not.
pub(crate) fn settle(mut ensemble: Ensemble, clients: Clients, may_be_stale: bool) -> Result<(Tally, usize)> {
    let until = Instant::now() + LIMIT;
    let sessions = loop {
        if let Some(sessions) = clients.pause()? {
            break sessions;
        }
        ensure!(Instant::now() < until, "the clients' sessions found no servers in {LIMIT:?}");
        std::thread::sleep(LOOK_EVERY);
    };
    let addr = ensemble.member(1)?.client;
    // Sessions that nobody went on with expire, and znodes whose TTL is over go.
    let with_sessions = loop {
        let left = Left::of(addr)?;
        let of_living = left.0.values().all(|it| it.owner() == 0 || sessions.contains(&it.owner()));
        if of_living && left.short_lived().is_none() || Instant::now() > until {
            break left;
        }
        std::thread::sleep(LOOK_EVERY * 10);
    };
    let histories = clients.finish()?;
    let tally = check(&histories)?;
    ensure!(may_be_stale || tally.synced_stale == 0, "{} reads behind a sync showed too little", tally.synced_stale);
    check_left(&histories, &with_sessions, &sessions)?;
    ensure!(!with_sessions.0.contains_key("/doomed-0"), "what nobody acknowledged was done");

    // A client that was between two servers could not say that it ends; its session expires.
    let until = Instant::now() + LIMIT;
    while Left::of(addr)?.0.values().any(|it| it.owner() != 0) {
        ensure!(Instant::now() < until, "ephemerals outlive the sessions by {LIMIT:?}");
        std::thread::sleep(LOOK_EVERY * 10);
    }
    let mut all = Vec::new();
    for id in 1..=3 {
        all.push((id, Left::of(ensemble.member(id)?.client)?));
    }
    let (_, first) = &all[0];
    for (id, left) in &all {
        if let Some(difference) = first.difference(left) {
            anyhow::bail!("servers 1 and {id} differ: {difference}");
        }
    }
    let znodes = first.0.len();
    for id in 1..=3 {
        ensemble.stop(id)?;
    }
    let mut dumps = Vec::new();
    for id in 1..=3 {
        let dump = java::dump_dir(&ensemble.data_dir(id))?;
        let znodes = dump.lines().filter(|it| it.starts_with("znode ") && !it.starts_with(CONFIG));
        dumps.push(znodes.map(str::to_owned).collect::<Vec<_>>());
    }
    for (id, dump) in (1..).zip(&dumps) {
        let difference = dumps[0].iter().zip(dump).find(|(one, other)| one != other);
        ensure!(difference.is_none(), "the files of 1 and {id} differ: {difference:?}");
        ensure!(dumps[0].len() == dump.len(), "the files of 1 and {id} have {} and {}", dumps[0].len(), dump.len());
    }
    Ok((tally, znodes))
}
