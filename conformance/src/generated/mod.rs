//! Generated conversations: scripts that nobody thought of, for Apache and for Ostler at once.
//!
//! [`generate::script`] makes one of a seed, [`Pair::compare`] plays it against both servers and compares every reply,
//! every event and the tree at the end, [`hunt`] does so for many seeds. What differs is made short by [`shrink`], and
//! told as lines that can be kept in `tests/generated/scripts`.

mod barrier;
pub mod generate;
mod play;
mod shrink;
pub mod step;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;

pub use generate::Features;
pub use shrink::shrink;

use crate::proxy::{Proxy, Tamper};
use crate::{Options, Server, apache, java, ostler};
use step::Step;

/// The lines of `zoo.cfg` for both servers: short sessions can be asked for, nothing is swept away meanwhile.
const CFG: &[&str] = &[
    "tickTime=100",
    "maxSessionTimeout=600000",
    "extendedTypesEnabled=true",
    "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
    "znode.container.checkIntervalMs=86400000",
    "enforceQuota=true",
];

/// An Apache server and an Ostler, with the same history.
#[derive(Debug)]
pub struct Pair {
    cfg: Vec<String>,
    tamper: Option<Tamper>,
    running: Option<Running>,
    /// Requests that both refused with QuotaExceeded.
    over_quota: u64,
}

#[derive(Debug)]
struct Running {
    // Dropped in this order: the directories go last.
    proxy: Option<Proxy>,
    apache: apache::Server,
    ostler: ostler::Server,
    dirs: [TempDir; 2],
}

/// Where two servers answered differently.
#[derive(Debug)]
pub struct Difference {
    /// Both answers.
    pub text: String,
    /// The step, counted from 0.
    pub step: usize,
}

impl Pair {
    /// Servers with more lines of `zoo.cfg`; they start when they are needed.
    pub fn new(cfg: &[&str]) -> Self {
        let cfg = CFG.iter().chain(cfg).map(|it| (*it).to_owned()).collect();
        Self { cfg, tamper: None, running: None, over_quota: 0 }
    }

    /// Falsifies what Ostler says: shows that a difference is found.
    pub fn tampered(mut self, tamper: Tamper) -> Self {
        self.tamper = Some(tamper);
        self
    }

    /// Plays `steps` against both; the first difference, if there is one.
    pub fn compare(&mut self, steps: &[Step]) -> Result<Option<Difference>> {
        if self.running.is_none() {
            self.start()?;
        }
        let Some(running) = &self.running else { return Ok(None) };
        let ostler = running.proxy.as_ref().map_or_else(|| running.ostler.addr(), Proxy::addr);
        let [(one, first), (other, second)] = std::thread::scope(|scope| {
            let talks = [running.apache.addr(), ostler].map(|addr| scope.spawn(move || play::play(addr, steps)));
            talks.map(|it| it.join().unwrap_or_else(|_| (vec!["the player panicked".to_owned()], Ok(()))))
        });
        self.over_quota += one.iter().filter(|it| it.contains(OVER_QUOTA)).count() as u64;
        let at = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        if at == one.len().max(other.len()) {
            // Equal, but for what went wrong with both.
            first.and(second)?;
            return Ok(None);
        }
        let text = told(at, &one, &other);
        let end = |lines: &[String]| lines.iter().rposition(|it| it == "== the end").map(|at| lines[at..].to_vec());
        let same_end = first.is_ok() && second.is_ok() && end(&one) == end(&other);
        if !same_end {
            self.running = None;
        }
        let step = one[..at].iter().filter(|it| it.starts_with("== ")).count();
        Ok(Some(Difference { text, step: step.saturating_sub(1) }))
    }

    /// Stops both servers and compares what is on their disks.
    pub fn finish(mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.apache.kill()?;
        running.ostler.kill()?;
        let [one, other] = [running.apache.data_dir(), running.ostler.data_dir()].map(|dir| java::dump_dir(&dir));
        let (one, other) = (java::masked_dump(&one?), java::masked_dump(&other?));
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        ensure!(differs.is_none() && one.len() == other.len(), "the disks, Apache then Ostler: {differs:#?}");
        drop(running.dirs);
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let dirs = [TempDir::new()?, TempDir::new()?];
        let options = |at: usize| {
            let base = Options::new(dirs[at].path()).jvm("-Dznode.container.checkIntervalMs=86400000");
            self.cfg.iter().fold(base, Options::cfg)
        };
        let (apache, ostler) = std::thread::scope(|scope| {
            let apache = scope.spawn(|| apache::Server::start(&options(0)));
            let ostler = ostler::Server::start(&options(1));
            (apache.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a start panicked"))), ostler)
        });
        let (apache, ostler) = (apache?, ostler?);
        let proxy = self.tamper.map(|tamper| Proxy::start(ostler.addr(), Some(tamper))).transpose()?;
        self.running = Some(Running { proxy, apache, ostler, dirs });
        Ok(())
    }
}

/// How a transcript tells of a request that a hard limit refused.
const OVER_QUOTA: &str = " err=-125 ";

/// Where two transcripts part.
fn told(at: usize, apache: &[String], ostler: &[String]) -> String {
    let lines = |of: &[String]| {
        let end = of.len().min(at + SHOWN);
        of.get(at..end).filter(|it| !it.is_empty()).map_or_else(|| "(nothing more)".to_owned(), |it| it.join("\n  "))
    };
    let before = apache[at.saturating_sub(SHOWN)..at].join("\n  ");
    format!("after\n  {before}\nApache:\n  {}\nOstler:\n  {}\n", lines(apache), lines(ostler))
}

/// Lines of a transcript that are shown before a difference, and of it.
const SHOWN: usize = 5;

/// How much to look for.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The first seed.
    pub from: u64,
    /// The number of seeds.
    pub seeds: u64,
    /// No new seed after this.
    pub time: Duration,
    /// The turns of each script.
    pub turns: usize,
    /// Pairs of servers at once.
    pub pairs: usize,
    /// What may be asked for.
    pub features: Features,
}

/// What was found: the seed, and the script and both answers, to be printed.
#[derive(Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// The script, as short as it became.
    pub script: Vec<Step>,
    /// All of it for a reader.
    pub told: String,
}

/// What a hunt came back with.
#[derive(Debug)]
pub struct Hunted {
    /// The seeds done.
    pub played: u64,
    /// The requests that both servers refused with QuotaExceeded, by themselves: not those in multis.
    pub over_quota: u64,
    /// The first difference of each pair.
    pub found: Vec<Found>,
}

/// Plays script after script on pairs that `pair` makes.
pub fn hunt(hunt: Hunt, pair: impl Fn() -> Pair + Sync) -> Result<Hunted> {
    let next = AtomicU64::new(0);
    let over_quota = AtomicU64::new(0);
    let until = Instant::now() + hunt.time;
    let one = || -> Result<Option<Found>> {
        let mut pair = pair();
        while Instant::now() < until {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= hunt.seeds {
                break;
            }
            let seed = hunt.from + at;
            let script = generate::script(seed, hunt.turns, hunt.features);
            if let Some(found) = pair.compare(&script)? {
                next.store(hunt.seeds, Ordering::SeqCst);
                return Ok(Some(shorten(&mut pair, seed, script, found)));
            }
        }
        over_quota.fetch_add(pair.over_quota, Ordering::SeqCst);
        pair.finish()?;
        Ok(None)
    };
    let results = std::thread::scope(|scope| {
        let running: Vec<_> = (0..hunt.pairs).map(|_| scope.spawn(one)).collect();
        running
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a hunt panicked"))))
            .collect::<Vec<_>>()
    });
    let mut found = Vec::new();
    for result in results {
        found.extend(result?);
    }
    Ok(Hunted {
        played: next.load(Ordering::SeqCst).min(hunt.seeds),
        over_quota: over_quota.load(Ordering::SeqCst),
        found,
    })
}

/// The most scripts that are tried to make one short, and the longest that it may take.
const TRIES: usize = 1000;
const SHRINK_LIMIT: Duration = Duration::from_mins(10);

fn shorten(pair: &mut Pair, seed: u64, script: Vec<Step>, first: Difference) -> Found {
    let mut last = first;
    // What comes behind the difference can't be its cause; but it may be the final dump that shows it.
    let mut script = script;
    let cut: Vec<Step> = script.iter().take(last.step + 1).cloned().collect();
    if let Ok(Some(again)) = pair.compare(&cut) {
        last = again;
        script = cut;
    }
    let until = Instant::now() + SHRINK_LIMIT;
    let script = shrink(script, TRIES, |steps| {
        // A server that can't be started shows nothing.
        let found = if Instant::now() < until { pair.compare(steps).ok().flatten() } else { None };
        found.is_some_and(|difference| {
            last = difference;
            true
        })
    });
    let text = step::print(&script);
    let told = format!(
        "seed {seed}: Apache and Ostler differ. To keep it, put these lines into tests/generated/scripts/NAME.txt:\n\n{text}\n{}",
        last.text
    );
    Found { seed, script, told }
}
