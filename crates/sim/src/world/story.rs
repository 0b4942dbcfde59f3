//! Worlds with a name, small enough to be read from beginning to end. Each has a golden trace in `crates/sim/stories`, and an
//! ending that is written down beside it, so that a trace that was blessed without a look does not pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use wire::Zxid;
use zab::Options;

use super::World;
use super::setup::Setup;
use super::trace::{Keep, Kind, Line, Trace};
use crate::check::Violation;

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// What it is called.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    pub(super) setup: fn() -> Setup,
    pub(super) until_ms: u64,
    /// How it is to end.
    pub ending: fn() -> Ending,
}

/// How a learner was brought to its leader's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It kept what it had.
    Diff,
    /// It cut its log.
    Trunc,
    /// It got a snapshot.
    Snap,
}

/// What has come of a story. Servers are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// Who leads at the end, and which epoch: two, if that is what a story warns of.
    pub leads: Vec<(i64, i32)>,
    /// Who serves besides.
    pub learns: Vec<i64>,
    /// The last txns that those have applied, each once.
    pub last: Vec<Zxid>,
    /// How learners were brought to their leader's history, in order.
    pub syncs: Vec<(i64, Sync)>,
    /// Whose roles ended before they served anybody, in order.
    pub in_vain: Vec<i64>,
    /// Who answered a read or a sync, and with which last txn, in order.
    pub answers: Vec<(i64, Zxid)>,
    /// The checker that found what a story warns of.
    pub breaks: Option<&'static str>,
}

/// A story that was played.
#[derive(Debug)]
pub struct Played {
    /// What happened, without the effects on disks.
    pub trace: Trace,
    /// What went wrong.
    pub violation: Option<Violation>,
    /// What has come of it.
    pub ending: Ending,
}

impl Story {
    /// How many servers it has.
    pub fn servers(&self) -> usize {
        (self.setup)().servers()
    }

    /// Plays it.
    pub fn play(&self) -> Played {
        self.play_with(&|_| ())
    }

    /// Plays it with other servers.
    pub fn play_with(&self, change: &dyn Fn(&mut Options)) -> Played {
        let mut world = World::new((self.setup)(), Keep::Outline, change);
        world.run_until(self.until_ms * 1000);
        let ending = Ending::of(&world);
        Played { trace: world.trace, violation: world.truth.violation, ending }
    }

    /// Is this how it is to end?
    pub fn is_right(&self, played: &Played) -> bool {
        played.ending == (self.ending)()
    }

    /// Its file: a comment, the command, the trace, and what has come of it.
    pub fn text(&self, played: &Played) -> String {
        let mut text = format!("# {}\n# ostler sim --scenario {}\n\n", self.about, self.name);
        for line in played.trace.lines() {
            text.push_str(line.to_string().trim_end());
            text.push('\n');
        }
        text + "\n" + &self.end(played)
    }

    /// What has come of it, and what is wrong with that, in lines.
    pub fn end(&self, played: &Played) -> String {
        let mut text = format!("In the end: {}\n", played.ending);
        if let Some(violation) = &played.violation {
            let is_expected = (self.ending)().breaks == Some(violation.checker);
            let as_expected = if is_expected { "as expected, a " } else { "" };
            let _ = writeln!(text, "{as_expected}VIOLATION {violation}");
        }
        if !self.is_right(played) {
            let _ = writeln!(text, "NOT AS EXPECTED: {}", (self.ending)());
        }
        text
    }
}

impl Ending {
    fn of(world: &World) -> Self {
        let mut this = Self { breaks: world.truth.violation.as_ref().map(|it| it.checker), ..Self::default() };
        let mut last = BTreeSet::new();
        for server in &world.servers {
            let Some(process) = server.process.as_ref().filter(|it| it.is_serving) else { continue };
            last.insert(process.applied);
            match process.ensemble.member().as_leader().and_then(zab::Leader::established) {
                Some(epoch) => this.leads.push((server.id.0, epoch.0)),
                None => this.learns.push(server.id.0),
            }
        }
        this.last.extend(last);
        let mut served = BTreeMap::new();
        for line in world.trace.lines() {
            this.take(line, &mut served);
        }
        this
    }

    /// What a line adds. `served`: whose roles have served.
    fn take(&mut self, line: &Line, served: &mut BTreeMap<i64, bool>) {
        let begins = |with: &[&str]| with.iter().any(|it| line.what.starts_with(it));
        match (line.kind, line.between, line.who) {
            (Kind::Message, Some((_, to)), _) => {
                let kinds = [("DIFF ", Sync::Diff), ("TRUNC ", Sync::Trunc), ("SNAP ", Sync::Snap)];
                self.syncs.extend(kinds.iter().filter(|(word, _)| begins(&[word])).map(|&(_, kind)| (to, kind)));
            }
            (Kind::Role | Kind::Process, _, Some(who)) => {
                if begins(&["serves in ", "leads epoch "]) {
                    served.insert(who, true);
                } else if begins(&["follows ", "leads: "]) {
                    served.insert(who, false);
                } else if begins(&["looks for ", "is killed", "has no power"]) && served.remove(&who) == Some(false) {
                    self.in_vain.push(who);
                }
            }
            (Kind::Txn, _, Some(who)) => {
                let zxid = line.what.strip_prefix("answers the read: up to 0x");
                let zxid = zxid.or_else(|| line.what.strip_prefix("answers the sync: up to 0x"));
                let zxid = zxid.and_then(|it| i64::from_str_radix(it, 16).ok());
                self.answers.extend(zxid.map(|it| (who, Zxid(it))));
            }
            _ => {}
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: Vec<String>| if of.is_empty() { "nobody".to_owned() } else { of.join(", ") };
        let ids = |of: &[i64]| list(of.iter().map(ToString::to_string).collect());
        let leads = list(self.leads.iter().map(|(server, epoch)| format!("{server} leads epoch {epoch}")).collect());
        let last: Vec<String> = self.last.iter().map(ToString::to_string).collect();
        let syncs = list(self.syncs.iter().map(|(server, sync)| format!("{server} {sync:?}")).collect());
        let leads = if self.leads.is_empty() { "nobody leads" } else { &leads };
        write!(f, "{leads}; {} learn", ids(&self.learns))?;
        if !last.is_empty() {
            write!(f, ", the last txn is {}", last.join(" or "))?;
        }
        write!(f, "; synced: {syncs}; in a role in vain: {}", ids(&self.in_vain))?;
        for (server, zxid) in &self.answers {
            write!(f, "; {server} answered with all up to {zxid}")?;
        }
        self.breaks.map_or(Ok(()), |it| write!(f, "; broken: {it}"))
    }
}
