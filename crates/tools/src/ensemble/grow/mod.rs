//! `ostler grow`: members join and leave, one at a time, each step explained and looked at before the next.
//!
//! The ensemble may be of Apache's servers, of ours, or of both: what is asked and sent here is what any client may. With
//! `reconfigEnabled=true` the steps are done, one reconfig each; with `false`, the default, they are told in the order in
//! which an operator can do them without a moment at which two leaders are possible.
//!
//! | room | job |
//! |---|---|
//! | `plan` | the steps, and what each does to the quorums; asks nobody |
//! | `order` | the same steps by hand: lines, restarts; asks nobody |
//! | `client` | a session: `/zookeeper/config`, reconfig |
//! | `live` | the ensemble as it is; a step done and waited for |
//! | `told` | what is told, as text or as JSON lines |

mod client;
mod live;
mod order;
mod plan;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use wire::ServerId;

use super::seconds;
use crate::{Outcome, with_output};
use client::Auth;
use live::Live;
use plan::{Plan, Quorum, parse_member};
use told::{Event, Told};

/// `ostler grow`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Grow {
    /// A zoo.cfg of a member, or client ports of members: zk1:2181,zk2:2181
    #[arg(value_name = "ZOO.CFG|HOSTS")]
    pub of: String,
    /// A server that is to join, or to get another role: `N=HOST:QUORUM-PORT:ELECTION-PORT[:observer];CLIENT-PORT`; may
    /// be given several times
    #[arg(long, value_name = "SERVER", required_unless_present = "remove")]
    pub add: Vec<String>,
    /// The number of a server that is to leave; may be given several times
    #[arg(long, value_name = "N")]
    pub remove: Vec<i64>,
    /// Who you are, as addauth takes it: digest:super:secret; may be given several times
    #[arg(long, value_name = "SCHEME:AUTH")]
    pub auth: Vec<String>,
    /// The same from a file, one a line, so that no list of processes shows it
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// Tell the steps, and do none
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How long to wait in each step until the server is in sync, and until the change is seen, in seconds
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub wait: f64,
    /// How long to wait for a server's answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub timeout: f64,
}

const AFTER_HELP: &str = "\
Examples:
  ostler grow zoo.cfg --dry-run --add '4=zk4:2888:3888;2181' --add '5=zk5:2888:3888;2181'
  ostler grow zk1,zk2,zk3 --auth-file super.txt --add '4=zk4:2888:3888;2181' --remove 1

Where reconfigEnabled=false the safe order is printed, and nothing is done. It can be given again after an error: what is done
already is no step. Exit codes: 0 done, or told; 1 a step does not hold, nothing behind it is done; 2 wrong arguments.";

/// Runs `ostler grow`.
pub fn run(args: &Grow) -> Result<Outcome> {
    with_output(|out| change(args, &mut Told::new(out, args.json)))
}

fn change(args: &Grow, told: &mut Told<'_>) -> Result<Outcome> {
    let adds = args.add.iter().map(|text| parse_member(text).map_err(|why| anyhow!("--add {text}: {why}")));
    let adds = adds.collect::<Result<Vec<_>>>()?;
    let removes: Vec<ServerId> = args.remove.iter().map(|&id| ServerId(id)).collect();
    let mut live = Live::find(&args.of, auths(args)?, seconds(args.timeout), wait(args.wait))?;
    let by_reconfig = live.reconfig_is_enabled()?;
    let health = live.health()?;
    let plan = Plan::new(live.config(), &adds, &removes, Some(health.leader))?;
    told.tell(&Event::Begins { config: live.config(), leader: health.leader, by_reconfig })?;
    for text in &plan.done {
        told.tell(&Event::IsSo { text })?;
    }
    if !by_reconfig || plan.steps.is_empty() {
        for alarm in &health.alarms {
            told.tell(&Event::Note {
                text: format!("look at this first, unless it is a step that you are doing: {alarm}"),
            })?;
        }
    }
    if plan.steps.is_empty() {
        // What one of them has is not done while others have another list, or something else is wrong.
        ensure!(
            health.alarms.is_empty(),
            "by the list of server.{} nothing is to be done, but that is not the end of it: see above",
            health.leader
        );
        told.tell(&Event::Ends { text: "nothing is to be done".to_owned() })?;
        return Ok(Outcome::Good);
    }
    if !by_reconfig {
        return by_hand(&plan, health.leader, &health.lists, told);
    }
    if let Some(alarm) = health.alarms.first() {
        bail!("{alarm}; mend that first");
    }
    let of = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        told.tell(&Event::Step { number, of, step })?;
        if args.dry_run {
            live.foresee(step, told)?;
        } else {
            live.take(step, told).with_context(|| match number {
                1 => format!("step 1 of {of} is not done, and nothing was"),
                _ => format!("step {number} of {of} is not done; those before it are"),
            })?;
        }
    }
    let text = if args.dry_run {
        "nothing was changed: without --dry-run these steps are done".to_owned()
    } else {
        format!("all is done: {}", Quorum::of(live.config()))
    };
    told.tell(&Event::Ends { text })?;
    Ok(Outcome::Good)
}

/// The order for an operator.
fn by_hand(
    plan: &Plan,
    leader: ServerId,
    lists: &BTreeMap<ServerId, Vec<i64>>,
    told: &mut Told<'_>,
) -> Result<Outcome> {
    let of = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        told.tell(&Event::Step { number, of, step })?;
        // Behind the first step another one leads.
        let leader = (number == 1).then_some(leader);
        for (at, instruction) in (1..).zip(&order::by_hand(step, leader, lists)) {
            told.tell(&Event::ByHand { step: number, number: at, instruction })?;
        }
    }
    if let (Some([old, new]), [first, .., last]) = (plan.two_leaders(Some(leader)), plan.steps.as_slice()) {
        let (before, after) = (Quorum::of(&first.before), Quorum::of(&last.after));
        told.tell(&Event::TwoLeaders { old: &old, new: &new, before, after })?;
    }
    let text = "nothing was changed. This command tells what is left, whenever it is given again".to_owned();
    told.tell(&Event::Ends { text })?;
    Ok(Outcome::Good)
}

fn auths(args: &Grow) -> Result<Vec<Auth>> {
    let mut auths = Vec::new();
    for text in &args.auth {
        auths.push(Auth::parse(text).map_err(|why| anyhow!("--auth: {why}"))?);
    }
    if let Some(file) = &args.auth_file {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for (number, line) in (1..).zip(text.lines()) {
            if !line.trim().is_empty() && !line.starts_with('#') {
                auths.push(Auth::parse(line).map_err(|why| anyhow!("{}:{number}: {why}", file.display()))?);
            }
        }
        ensure!(!auths.is_empty(), "{}: no line SCHEME:AUTH is in it", file.display());
    }
    Ok(auths)
}

/// A wait may be as long as a copy of all data takes.
fn wait(written: f64) -> Duration {
    Duration::try_from_secs_f64(written).unwrap_or_default().min(Duration::from_hours(24))
}
