//! Ensembles of one kind, and what becomes of them when a member is killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, set};

use super::results::{Figures, Side};
use super::scenario::ostler_binary;

/// What Apache's heap may grow to: a million znodes of 1 KiB need more than the 1 GB that tests give it.
const HEAP: &str = "-Xmx4g";
/// Between two tries to write.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// How long a try may take, and how long all of them.
const TRY_LIMIT: Duration = Duration::from_secs(2);
const WRITE_LIMIT: Duration = Duration::from_mins(1);

/// A running ensemble.
#[derive(Debug)]
pub(super) struct Servers {
    ensemble: Ensemble,
    kind: Kind,
    /// The voters.
    ids: Vec<u8>,
}

impl Servers {
    /// Starts one, with Apache's default times, and waits until all of it serves and has come to rest.
    pub(super) fn start(side: Side, dir: &Path, servers: u8, observers: u8) -> Result<Self> {
        let mut ensemble = Ensemble::new(dir, servers, observers, false)?.jvm(HEAP);
        let kind = match side {
            Side::Apache => Kind::Apache,
            Side::Ostler => {
                ensemble = ensemble.binary(ostler_binary()?);
                Kind::Ostler
            }
        };
        let ids: Vec<u8> = (1..=servers).collect();
        for id in 1..=servers + observers {
            ensemble.start_as(id, kind)?;
        }
        for id in 1..=servers + observers {
            ensemble.serving(id)?;
        }
        std::thread::sleep(Duration::from_secs(3));
        Ok(Self { ensemble, kind, ids })
    }

    /// The client addresses, by comma.
    pub(super) fn hosts(&self) -> String {
        let all: Vec<String> = self.ensemble.members().iter().map(|it| it.client.to_string()).collect();
        all.join(",")
    }

    /// Those of the voters.
    pub(super) fn voters(&self) -> Result<String> {
        let all: Vec<String> = self.addrs(0)?.iter().map(ToString::to_string).collect();
        Ok(all.join(","))
    }

    /// The process ids of the voters, by comma.
    pub(super) fn pids(&mut self) -> Result<String> {
        let mut all = Vec::new();
        for id in &self.ids {
            all.push(self.ensemble.pid(*id)?.to_string());
        }
        Ok(all.join(","))
    }

    /// Kills leaders, and sees how long nobody can write.
    pub(super) fn failover(&mut self, kills: u32) -> Result<Figures> {
        let all = self.addrs(0)?;
        let (mut first, _) = Connection::session(all[0])?;
        first.call(1, 1, &create("/failover", b"", 0))?;
        let mut times = Vec::new();
        for _ in 0..kills {
            let leader = self.leader()?;
            let others = self.addrs(leader)?;
            self.ensemble.kill(leader)?;
            times.push(until_written(&others)?.as_micros() as f64);
            self.ensemble.start_as(leader, self.kind)?;
            self.ensemble.serving(leader)?;
            // What a member does behind its return is no part of the next failover.
            std::thread::sleep(Duration::from_secs(1));
        }
        times.sort_by(f64::total_cmp);
        let worst = times.last().copied().unwrap_or_default();
        Ok(Figures { ops: 1.0, failover_us: times[times.len() / 2], failover_worst_us: worst, ..Figures::default() })
    }

    /// Kills a follower, and sees how long it takes from its start until it grants a session.
    pub(super) fn rejoin(&mut self) -> Result<Figures> {
        let leader = self.leader()?;
        let follower = self.ids.iter().copied().find(|&id| id != leader).context("there is no follower")?;
        self.ensemble.kill(follower)?;
        let addr = self.ensemble.member(follower)?.client;
        let began = Instant::now();
        self.ensemble.start_as(follower, self.kind)?;
        let until = began + WRITE_LIMIT;
        while session(addr).is_err() {
            if Instant::now() > until {
                bail!("server {follower} granted no session within {WRITE_LIMIT:?} of its start");
            }
            std::thread::sleep(TRY_EVERY);
        }
        Ok(Figures { ops: 1.0, restart_us: began.elapsed().as_micros() as f64, ..Figures::default() })
    }

    fn leader(&self) -> Result<u8> {
        self.ids.iter().copied().find(|&id| self.ensemble.mode(id) == "leader").context("nobody leads")
    }

    fn addrs(&self, without: u8) -> Result<Vec<SocketAddr>> {
        let others = self.ids.iter().filter(|&&id| id != without);
        others.map(|&id| Ok(self.ensemble.member(id)?.client)).collect()
    }
}

/// A new session that is granted, or why not, at once.
fn session(addr: SocketAddr) -> Result<Connection> {
    let mut connection = Connection::open(addr)?;
    connection.set_limit(TRY_LIMIT)?;
    let granted = connection.handshake(&ConnectRequest::default())?;
    anyhow::ensure!(granted.timeout_ms > 0, "no session was granted");
    Ok(connection)
}

/// Tries all of these in turn until one takes a write.
fn until_written(servers: &[SocketAddr]) -> Result<Duration> {
    let began = Instant::now();
    for addr in servers.iter().cycle() {
        let written = || -> Result<bool> {
            let mut connection = session(*addr)?;
            Ok(connection.call(1, 5, &set("/failover", Some(b"x"), -1))?.err == 0)
        };
        if written().unwrap_or(false) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > WRITE_LIMIT {
            break;
        }
        std::thread::sleep(TRY_EVERY);
    }
    bail!("no write worked within {WRITE_LIMIT:?}")
}
