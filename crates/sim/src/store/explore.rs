//! Every order in which the threads of a server may get along, and every crash after each effect.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use super::check::{Counts, Judge};
use super::life::{self, Actor, Command, Life, Memory, Setup};
use super::sabotage::{Sabotage, Site};
use crate::disk::VirtualDisk;

/// A directory, and what a server is asked to do with it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How the server is set up.
    pub setup: Setup,
    /// The disk at the start.
    pub disk: VirtualDisk,
    /// What of it must not be forgotten.
    pub memory: Memory,
    /// Do all files on it come from our machines?
    pub is_pure: bool,
    /// What is done, in this order.
    pub script: Vec<Command>,
}

/// What came out of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was looked at.
    pub counts: Counts,
    /// The syncs that were met.
    pub sites: BTreeSet<Site>,
}

impl Report {
    /// Was every crash state produced?
    pub fn is_complete(&self) -> bool {
        self.counts.sampled == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { moments, states, recoveries, sampled } = self.counts;
        write!(f, "{moments} moments, {states} crash states, {recoveries} recoveries: ")?;
        if sampled == 0 { f.write_str("complete") } else { write!(f, "sampled at {sampled} moments") }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In which scenario.
    pub scenario: &'static str,
    /// The steps that led there.
    pub steps: Vec<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scenario, self.what)?;
        for step in &self.steps {
            write!(f, "\n    {step}")?;
        }
        Ok(())
    }
}

/// The way to a world, from its end.
struct Way {
    step: String,
    before: Option<Rc<Self>>,
}

fn steps(way: Option<&Rc<Way>>) -> Vec<String> {
    let mut steps = Vec::new();
    let mut way = way;
    while let Some(at) = way {
        steps.push(at.step.clone());
        way = at.before.as_ref();
    }
    steps.reverse();
    steps
}

impl Scenario {
    /// Runs it, in every order and with every crash.
    pub fn explore(&self, sabotage: &Sabotage) -> Result<Report, Violation> {
        let mut judge = Judge::new(&self.setup, sabotage);
        judge.is_pure = self.is_pure;
        let violation =
            |what: String, way: Option<&Rc<Way>>| Violation { scenario: self.name, steps: steps(way), what };
        judge.crash(&self.disk, &self.memory).map_err(|e| violation(e, None))?;
        let mut disk = self.disk.clone();
        let start = life::start(&mut disk, &self.setup).map_err(|e| violation(format!("no start: {e}"), None))?;
        let mut sites = BTreeSet::new();
        let mut known: HashSet<u64, BuildHasherDefault<DefaultHasher>> = HashSet::default();
        let first = Life::new(disk, &start, self.memory.clone(), &self.setup, sabotage);
        let mut open: Vec<(Life, usize, Option<Rc<Way>>)> = vec![(first, 0, None)];
        while let Some((life, at, way)) = open.pop() {
            let next = self.script.get(at);
            for actor in life.enabled(next) {
                let mut life = life.clone();
                let (step, at) = match (actor, next) {
                    (Actor::Driver, Some(command)) => {
                        life.begin(command).map_err(|e| violation(e.to_string(), way.as_ref()))?;
                        (format!("{command:?}"), at + 1)
                    }
                    _ => {
                        life.take_work(actor);
                        let what = life.next_effect(actor).map(storage::Effect::describe);
                        life.step(actor).map_err(|e| violation(format!("{actor:?}: {e}"), way.as_ref()))?;
                        (format!("{actor:?}: {}", what.unwrap_or_else(|| "reads again".to_owned())), at)
                    }
                };
                let mut hasher = DefaultHasher::new();
                (&life, at).hash(&mut hasher);
                if !known.insert(hasher.finish()) {
                    continue;
                }
                life.sites(&mut sites);
                let way = Some(Rc::new(Way { step, before: way.clone() }));
                let (disk, memory) = (&life.disk, &life.memory);
                let judged = judge.kill(disk, memory).and_then(|()| judge.crash(disk, memory));
                judged.map_err(|e| violation(e, way.as_ref()))?;
                open.push((life, at, way));
            }
        }
        sites.extend(std::mem::take(&mut judge.sites));
        Ok(Report { counts: judge.counts, sites })
    }
}
