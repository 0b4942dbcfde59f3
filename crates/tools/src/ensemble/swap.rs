//! `ostler swap`: the members become ours, or Apache's again, one after the other, while the others serve.
//!
//! Each step is looked at before it is taken and behind it: the others are a quorum without this member; it is stopped;
//! there is a leader; another server is started on the same `zoo.cfg` and data directory; it serves, it is of the right kind,
//! and it has all that the leader had when it was started. Followers and observers come first, the leader comes last.
//! Whoever gives the two commands has it done; otherwise it is told what to do by hand, and waited for.

use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use wire::election::HostPort;
use wire::{ServerId, Zxid};
use zab::quorum_verifier::Role;

use super::ask::{Mode, is_ours};
use super::judge::{Seen, has_quorum, judge, may_lead_silently, zxid};
use super::members::{self, Members};
use super::seconds;
use super::status::look;
use crate::text::escaped;
use crate::{Outcome, with_output};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `ostler swap`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Swap {
    /// A zoo.cfg with the members, or their client ports: zk1:2181,zk2:2181,zk3:2181
    #[arg(value_name = "ZOO.CFG|HOSTS")]
    pub of: String,
    /// What the members are to become
    #[arg(long, value_enum, default_value_t = Kind::Ostler)]
    pub to: Kind,
    /// The number of a member that is to be swapped, and no other; may be given several times
    #[arg(long, value_name = "N")]
    pub only: Vec<i64>,
    /// A command of the shell that stops the server `$SERVER_ID` at `$SERVER_HOST`
    #[arg(long, value_name = "COMMAND", requires = "start")]
    pub stop: Option<String>,
    /// A command of the shell that starts the other kind there, on the same zoo.cfg and data directory, and then ends
    #[arg(long, value_name = "COMMAND", requires = "stop")]
    pub start: Option<String>,
    /// Tell the steps, and do none
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How long to wait for each step, in seconds
    #[arg(long, value_name = "S", default_value_t = 600.0)]
    pub wait: f64,
    /// How long to wait for a server's answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub timeout: f64,
}

const AFTER_HELP: &str = "\
Examples:
  ostler swap zoo.cfg --dry-run
  ostler swap zoo.cfg --stop 'ssh $SERVER_HOST sudo systemctl stop zookeeper' \\
                      --start 'ssh $SERVER_HOST sudo systemctl start ostler'
  ostler swap zoo.cfg --to apache --stop 'ssh $SERVER_HOST sudo systemctl stop ostler' \\
                      --start 'ssh $SERVER_HOST sudo systemctl start zookeeper'

Without the commands it tells what to do by hand, and waits for it. It ends at the first step that does not hold, and can be given
again: who is swapped already is no step. Exit codes: 0 done, or told; 1 a step does not hold; 2 wrong arguments.";

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ours.
    Ostler,
    /// Apache's.
    Apache,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ostler => "Ostler",
            Self::Apache => "Apache's",
        })
    }
}

/// Runs `ostler swap`.
pub fn run(args: &Swap) -> Result<Outcome> {
    with_output(|out| swap(args, out))
}

/// A member that is to be swapped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    id: Option<ServerId>,
    /// Its client port, by which it is known while it is down.
    at: HostPort,
    mode: Mode,
    /// It is down already, as after a start that came to nothing.
    is_down: bool,
}

fn swap(args: &Swap, out: &mut dyn Write) -> Result<Outcome> {
    let mut it = Swapping { args, out, members: members::read(&args.of)? };
    let seen = it.healthy()?;
    let steps = it.order(&seen)?;
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    it.tell("begins", json!({"to": args.to.to_string(), "order": &names}), || {
        format!(
            "to become {}, in this order: {}",
            args.to,
            if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
        )
    })?;
    let of = steps.len();
    for (number, step) in (1..).zip(&steps) {
        let (name, mode) = (&step.name, step.mode.name());
        it.tell("step", json!({"number": number, "of": of, "member": name, "state": mode}), || {
            format!("\nstep {number} of {of}: {name}, {mode}")
        })?;
        if !args.dry_run {
            it.take(step).with_context(|| format!("step {number} of {of}: {name}"))?;
        }
    }
    let text = match (of, args.dry_run) {
        (0, _) => "nothing is to be done",
        (_, true) => "nothing was changed: without --dry-run these steps are done",
        (_, false) => "all is done",
    };
    it.tell("ends", json!({"text": text}), || format!("\n{text}"))?;
    Ok(Outcome::Good)
}

struct Swapping<'a> {
    args: &'a Swap,
    out: &'a mut dyn Write,
    members: Members,
}

impl Swapping<'_> {
    fn tell(&mut self, event: &str, mut more: Value, text: impl FnOnce() -> String) -> Result<()> {
        if self.args.json {
            let mut value = json!({"event": event});
            if let (Some(into), Some(from)) = (value.as_object_mut(), more.as_object_mut()) {
                into.append(from);
            }
            writeln!(self.out, "{value}")?;
        } else {
            for line in text().split('\n') {
                writeln!(self.out, "{}", escaped(line))?;
            }
        }
        Ok(self.out.flush()?)
    }

    fn look(&self) -> Vec<Seen> {
        look(&self.members, seconds(self.args.timeout))
    }

    /// The members, when a quorum serves and nothing is wrong.
    fn healthy(&self) -> Result<Vec<Seen>> {
        let seen = self.look();
        let verdict = judge(&self.members, &seen);
        ensure!(verdict.is_healthy, "{}", verdict.line);
        ensure!(seen.len() > 1, "one server is named: name the members, or a zoo.cfg that has them");
        if let Some(alarm) = verdict.alarms.first() {
            bail!("{alarm}; mend that first");
        }
        Ok(seen)
    }

    /// Who is to be swapped: those that are down, then followers and observers, then the leader.
    fn order(&self, seen: &[Seen]) -> Result<Vec<Step>> {
        let only: Vec<ServerId> = self.args.only.iter().map(|&id| ServerId(id)).collect();
        if let Some(id) = only.iter().find(|&&id| !seen.iter().any(|it| it.id() == Some(id))) {
            bail!("--only {id}: there is no such member");
        }
        let mut steps = Vec::new();
        for it in seen.iter().filter(|it| only.is_empty() || it.id().is_some_and(|id| only.contains(&id))) {
            let at = it.target.client.clone();
            let at = at.with_context(|| {
                format!("where {} serves clients is not known: name all client ports, as zk1:2181,zk2:2181", it.name())
            })?;
            let is_down = it.answer.mode == Mode::Down;
            if is_down || self.is_other(it, &at)? {
                steps.push(Step { name: it.name(), id: it.id(), at, mode: it.answer.mode, is_down });
            }
        }
        let leads = |mode: Mode| mode.leads() || !mode.serves() && mode != Mode::Down;
        steps.sort_by_key(|it| (!it.is_down, leads(it.mode)));
        Ok(steps)
    }

    /// Is it of the other kind than it is to become?
    fn is_other(&self, it: &Seen, at: &HostPort) -> Result<bool> {
        let ours = it.answer.is_ours.or_else(|| is_ours(at, seconds(self.args.timeout)));
        let ours = ours.with_context(|| {
            format!("{} is {}, and does not say whose server it is", it.name(), it.answer.mode.name())
        })?;
        Ok(ours != (self.args.to == Kind::Ostler))
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        let name = &step.name;
        if !step.is_down {
            let without = |this: &Self| this.is_quorum_without(step);
            self.until("the others are no quorum without it: bring them up first", without)?;
            match &self.args.stop {
                Some(command) => self.command("stops", step, command)?,
                None => {
                    let text = format!("stop {name} now");
                    self.tell("by-hand", json!({"member": name, "do": "stop"}), || format!("  {text}"))?;
                }
            }
            self.until("it still answers", |this| this.seen_of(step).is_some_and(|it| it.answer.mode == Mode::Down))?;
            self.tell("stopped", json!({"member": name}), || "  it is stopped".to_owned())?;
        }
        // A leader that went is missed for a moment.
        self.until("the others have no leader without it", |this| this.healthy().is_ok())?;
        let wanted = self.look().iter().filter_map(|it| it.answer.zxid).max().unwrap_or(Zxid::ZERO);
        let to = self.args.to;
        match &self.args.start {
            Some(command) => self.command("starts", step, command)?,
            None => {
                let text = format!(
                    "start {to} server for {name} now, on the same zoo.cfg and data directory, as the same user"
                );
                self.tell("by-hand", json!({"member": name, "do": "start"}), || format!("  {text}"))?;
            }
        }
        self.until("it is not in sync", |this| this.seen_of(step).is_some_and(|it| this.is_in_sync(&it, wanted)))?;
        self.until("the members are not healthy with it", |this| this.healthy().is_ok())?;
        let at = self.seen_of(step).map_or_else(|| "?".to_owned(), |it| zxid(it.answer.zxid));
        self.tell("in-sync", json!({"member": name, "zxid": &at}), || format!("  {name} is {to}, and in sync at {at}"))
    }

    fn seen_of(&self, step: &Step) -> Option<Seen> {
        self.look().into_iter().find(|it| it.target.client.as_ref() == Some(&step.at))
    }

    fn is_quorum_without(&self, step: &Step) -> bool {
        let seen = self.look();
        let silent = may_lead_silently(&seen);
        let is_another = |it: &Seen| it.target.client.as_ref() != Some(&step.at);
        judge(&self.members, &seen).is_healthy
            && has_quorum(self.members.verifier.as_ref(), &seen, silent.first().copied(), is_another)
    }

    /// Does it serve, as what it is to become, with all that the others had?
    fn is_in_sync(&self, it: &Seen, wanted: Zxid) -> bool {
        let is_right = it.answer.is_ours == Some(self.args.to == Kind::Ostler);
        let role = match it.target.role {
            Some(Role::Observer) => it.answer.mode == Mode::Observer,
            _ => matches!(it.answer.mode, Mode::Leader | Mode::Follower | Mode::Observer),
        };
        is_right && role && it.answer.zxid >= Some(wanted)
    }

    /// Looks again and again.
    fn until(&self, why: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let wait = Duration::try_from_secs_f64(self.args.wait).unwrap_or_default().min(Duration::from_hours(24));
        let until = Instant::now() + wait;
        while !holds(self) {
            if Instant::now() >= until {
                let verdict = judge(&self.members, &self.look());
                bail!("{why}, after {wait:?}; {}", [vec![verdict.line], verdict.alarms].concat().join("; "));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn command(&mut self, what: &str, step: &Step, command: &str) -> Result<()> {
        let id = step.id.map(|id| id.to_string()).unwrap_or_default();
        self.tell(what, json!({"member": step.name, "command": command}), || format!("  {what} it: {command}"))?;
        // What it prints goes beside the answers, which may be JSON.
        let status = Command::new("sh")
            .args(["-c", command])
            .env("SERVER_ID", id)
            .env("SERVER_HOST", &step.at.host)
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::io::stderr()))
            .status()
            .context("sh")?;
        ensure!(status.success(), "the command ended with {status}: {command}");
        Ok(())
    }
}
