//! What a change of the members tells while it goes on: text for people, or a JSON object a line.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};
use wire::ServerId;
use wire::election::HostPort;
use zab::QuorumVerifier;

use super::order::Instruction;
use super::plan::{Quorum, Step, names};
use crate::text::escaped;

/// Something to be told.
#[derive(Debug)]
pub enum Event<'a> {
    /// How things are before anything is done.
    Begins { config: &'a QuorumVerifier, leader: ServerId, by_reconfig: bool },
    /// What needs no step.
    IsSo { text: &'a str },
    /// The next step.
    Step { number: usize, of: usize, step: &'a Step },
    /// Something of that step, or a warning, in a sentence.
    Note { text: String },
    /// It is waited for a server, or would be.
    Waits { id: ServerId, at: &'a HostPort, state: &'static str, lines: Vec<String> },
    /// A server has all that the leader had.
    InSync { id: ServerId, zxid: String },
    /// A step is done.
    Changed { config: &'a QuorumVerifier },
    /// What is to be done by hand for that step.
    ByHand { step: usize, number: usize, instruction: &'a Instruction },
    /// Why it must be one step after the other.
    TwoLeaders { old: &'a [ServerId], new: &'a [ServerId], before: Quorum, after: Quorum },
    /// The end.
    Ends { text: String },
}

/// Where it is told, and how.
pub struct Told<'a> {
    out: &'a mut dyn Write,
    as_json: bool,
}

impl<'a> Told<'a> {
    /// Text, or JSON lines.
    pub fn new(out: &'a mut dyn Write, as_json: bool) -> Self {
        Self { out, as_json }
    }

    /// Tells it, now.
    pub fn tell(&mut self, event: &Event<'_>) -> Result<()> {
        if self.as_json {
            writeln!(self.out, "{}", event.json())?;
        } else {
            for line in event.text().lines() {
                writeln!(self.out, "{}", escaped(line))?;
            }
        }
        Ok(self.out.flush()?)
    }
}

impl Event<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Begins { config, leader, by_reconfig } => json!({
                "event": "begins", "members": lines(config), "version": version(config), "leader": leader.0,
                "quorum": quorum_json(Quorum::of(config)), "reconfig": by_reconfig,
            }),
            Self::IsSo { text } => json!({"event": "is-so", "text": text}),
            Self::Step { number, of, step } => json!({
                "event": "step", "number": number, "of": of, "text": step.change.to_string(), "id": step.change.id().0,
                "before": quorum_json(Quorum::of(&step.before)), "after": quorum_json(Quorum::of(&step.after)),
            }),
            Self::Note { text } => json!({"event": "note", "text": text}),
            Self::Waits { id, at, state, lines } => {
                json!({"event": "waits", "id": id.0, "at": at.to_string(), "state": state, "lines": lines})
            }
            Self::InSync { id, zxid } => json!({"event": "in-sync", "id": id.0, "zxid": zxid}),
            Self::Changed { config } => {
                json!({"event": "changed", "members": lines(config), "version": version(config)})
            }
            Self::ByHand { step, number, instruction } => {
                let mut value = json!({"event": "by-hand", "step": step, "number": number});
                if let (Some(into), Ok(Value::Object(more))) =
                    (value.as_object_mut(), serde_json::to_value(instruction))
                {
                    into.extend(more);
                }
                value
            }
            Self::TwoLeaders { old, new, .. } => {
                let numbers = |ids: &[ServerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
                json!({"event": "why", "old": numbers(old), "new": numbers(new), "text": self.text().trim_end()})
            }
            Self::Ends { text } => json!({"event": "ends", "text": text}),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Begins { config, leader, by_reconfig } => {
                let way = if *by_reconfig {
                    "reconfigEnabled=true: the members change while they run, one reconfig a step"
                } else {
                    "reconfigEnabled=false: the members change by editing zoo.cfg and restarting, in this order"
                };
                format!("now: {}; server.{leader} leads\n{way}\n", Quorum::of(config))
            }
            Self::IsSo { text } => format!("{text}: nothing to do\n"),
            Self::Step { number, of, step } => {
                let (before, after) = (Quorum::of(&step.before), Quorum::of(&step.after));
                let mut text =
                    format!("\nstep {number} of {of}: {}\n  before: {before}\n  behind: {after}\n", step.change);
                if after.voters > before.voters && after.may_fail() == before.may_fail() {
                    text += "  an even number of participants tolerates no more failures than one less would\n";
                }
                text
            }
            Self::Note { text } => format!("  {text}\n"),
            Self::Waits { id, at, state, lines } => {
                let mut text = format!("  server.{id} at {at}: {state}\n");
                if !lines.is_empty() {
                    let how = "in its myid, an empty dataDir, and these lines in its zoo.cfg";
                    let _ = writeln!(text, "  start it with {id} {how}:");
                    for line in lines {
                        let _ = writeln!(text, "      {line}");
                    }
                }
                text
            }
            Self::InSync { id, zxid } => format!("  server.{id} is in sync, at {zxid}\n"),
            Self::Changed { config } => {
                format!("  done: {}, version {}\n", names(config.members().map(|it| it.id)), version(config))
            }
            Self::ByHand { number, instruction, .. } => {
                let mut text = format!("  {number}. {}\n", instruction.text);
                for line in &instruction.lines {
                    let _ = writeln!(text, "       {line}");
                }
                text
            }
            Self::TwoLeaders { old, new, before, after } => format!(
                "\nWhy not all at once: {} make a quorum of the {} that are there now, {} one of the {}. In a partition between \
                 them, while only some have heard of the new list, both would elect a leader, and both would take writes. From \
                 one step to the next that can't be: any two quorums have a member in common.\n",
                names(old.iter().copied()),
                before.voters,
                names(new.iter().copied()),
                after.voters
            ),
            Self::Ends { text } => format!("\n{text}\n"),
        }
    }
}

fn lines(config: &QuorumVerifier) -> Vec<String> {
    config.members().map(|it| format!("server.{}={it}", it.id)).collect()
}

fn version(config: &QuorumVerifier) -> String {
    format!("{:x}", config.version())
}

fn quorum_json(quorum: Quorum) -> Value {
    json!({
        "participants": quorum.voters, "observers": quorum.observers, "needed": quorum.needed,
        "may_fail": quorum.may_fail(),
    })
}
