//! `ostler sim`: a simulated ensemble, from a seed or as a story.

use std::fmt::Write as _;
use std::process::ExitCode;

use ::sim::whole;
use ::sim::world::{self, Keep, Outcome, STORIES, Setup, diagram};

/// Plays a world of simulated servers: the machines are the real ones, networks, disks and clocks are not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The world of this seed, with what goes wrong in it: a line an event
    #[arg(long, value_name = "N", required_unless_present = "scenario", conflicts_with = "scenario")]
    seed: Option<u64>,
    /// A story as a sequence diagram; `list` shows which there are
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// With --seed: show effects on disks and answers to clients too
    #[arg(long, requires = "seed")]
    all: bool,
    /// With --seed: a world of whole servers with trees, sessions and watches, not of their cores alone
    #[arg(long, requires = "seed")]
    whole: bool,
    /// With --seed, if it fails: look for a smaller world that fails too, and show that one
    #[arg(long, requires = "seed")]
    shrink: bool,
}

/// Plays it. Exit code 1: something happened that may never happen, or there is no such story.
#[allow(clippy::print_stdout, reason = "what happened is the command's purpose")]
pub fn play(args: &Args) -> ExitCode {
    let (text, is_good) = match &args.scenario {
        Some(name) => scenario(name),
        None => seed(args),
    };
    print!("{text}");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scenario(name: &str) -> (String, bool) {
    let mut text = String::new();
    if name == "list" {
        for story in STORIES {
            let _ = writeln!(text, "{:<26}{}", story.name, story.about);
        }
        return (text, true);
    }
    let Some(story) = STORIES.iter().find(|it| it.name == name) else {
        return (format!("there is no story {name}; `ostler sim --scenario list` shows which there are\n"), false);
    };
    let played = story.play();
    let _ = writeln!(text, "{}\n", story.about);
    for line in diagram(played.trace.lines(), story.servers()) {
        let _ = writeln!(text, "{line}");
    }
    let _ = write!(text, "\n{}", story.end(&played));
    (text, story.is_right(&played))
}

/// The most worlds that are tried to find a smaller one.
const SHRINK_RUNS: usize = 2000;

fn seed(args: &Args) -> (String, bool) {
    let mut setup = Setup::of_seed(args.seed.unwrap_or_default());
    let play = |setup: Setup, keep: Keep| -> Outcome {
        if args.whole { whole::run(setup, keep, &|_| ()) } else { world::run(setup, keep, &|_| ()) }
    };
    if args.shrink
        && let Some(violation) = play(setup.clone(), Keep::Hash).violation
    {
        setup = setup.shrunk(SHRINK_RUNS, &mut |it| {
            play(it.clone(), Keep::Hash).violation.is_some_and(|it| it.checker == violation.checker)
        });
    }
    let mut text = setup.to_string();
    let outcome = play(setup, if args.all { Keep::Lines } else { Keep::Outline });
    for line in outcome.trace.lines() {
        let _ = writeln!(text, "{line}");
    }
    let (events, hash) = (outcome.trace.events(), outcome.trace.hash());
    let _ = writeln!(text, "{events} events, trace {hash:016x}");
    match &outcome.violation {
        Some(violation) => {
            let _ = writeln!(text, "VIOLATION {violation}");
        }
        None => text.push_str("nothing went wrong that may not\n"),
    }
    (text, outcome.violation.is_none())
}
