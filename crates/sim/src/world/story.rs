//! Worlds with a name, small enough to be read from beginning to end. Each has a golden trace in `crates/sim/stories`.

use super::World;
use super::setup::{Fault, Setup, Span, Timed};
use super::trace::{Keep, Trace};
use crate::check::Violation;

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// What it is called.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    setup: fn() -> Setup,
    until_ms: u64,
}

/// All of them.
pub const STORIES: &[Story] = &[
    Story {
        name: "one-by-one",
        about: "three servers start one by one: 2 leads as soon as it is there, 3 comes late and follows",
        setup: || Setup { start_us: vec![0, 1_000_000, 2_000_000], ..quiet(3, 0) },
        until_ms: 2600,
    },
    Story {
        name: "all-at-once",
        about: "three servers start at once: epoch and zxid are equal, so the largest myid wins",
        setup: || quiet(3, 0),
        until_ms: 600,
    },
    Story {
        name: "five-in-order",
        about: "five servers start in order: with the third there is a quorum, and it leads",
        setup: || Setup { start_us: (0..5).map(|it| it * 1_000_000).collect(), ..quiet(5, 0) },
        until_ms: 4600,
    },
    Story {
        name: "leader-dies-zxids-differ",
        about: "the leader dies when one follower has a txn more: that one leads, though a commit was never sent",
        setup: || Setup {
            schedule: vec![
                write(1000, 2),
                write(1100, 2),
                at(1200, block(&[(2, 0)], 60_000)),
                write(1201, 2),
                at_us(1_201_150, off(2, 60_000)),
            ],
            ..quiet(3, 0)
        },
        until_ms: 16_000,
    },
    Story {
        name: "leader-dies-zxids-equal",
        about: "the leader dies, and both followers have the same history: the larger myid wins",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 60_000_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
    },
    Story {
        name: "old-leader-returns-late",
        about: "the old leader comes back when there is another one, and follows, though it has the largest myid",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 2_000_000 })],
            ..quiet(3, 0)
        },
        until_ms: 3700,
    },
    Story {
        name: "old-leader-returns-in-time",
        about: "the old leader is back before the others have agreed, and wins again",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 50_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
    },
    Story {
        name: "follower-restarts",
        about: "a follower is killed and comes back: it hears who leads, and gets a DIFF of what it has missed",
        setup: || Setup {
            schedule: vec![at(900, Fault::Kill { server: 0, down_us: 500_000 }), write(1000, 2), write(1100, 2)],
            ..quiet(3, 0)
        },
        until_ms: 1900,
    },
    Story {
        name: "leader-loses-its-quorum",
        about: "a leader that reaches nobody steps down; its last txn, which nobody else has, is cut when it comes back (TRUNC)",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                at(1000, block(&[(2, 0), (2, 1), (0, 2), (1, 2)], 6_000)),
                write(1050, 2),
                write(5000, 1),
            ],
            ..quiet(3, 0)
        },
        until_ms: 9000,
    },
    Story {
        name: "proposal-never-left",
        about: "the leader dies with a txn that only its own log has: the others go on without it, and it is cut later (TRUNC)",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                at(999, block(&[(2, 0), (2, 1)], 1000)),
                write(1000, 2),
                at(1010, Fault::Kill { server: 2, down_us: 3_000_000 }),
                write(3500, 1),
            ],
            ..quiet(3, 0)
        },
        until_ms: 5000,
    },
    Story {
        name: "observer-writes",
        about: "writes through the leader, a follower and an observer: the quorum is of voters, the observer gets INFORM",
        setup: || Setup { schedule: vec![write(1000, 4), write(1100, 0), write(1200, 5)], ..quiet(5, 1) },
        until_ms: 1300,
    },
    Story {
        name: "lost-disk",
        about: "a server comes back with an empty disk: it has no vote, and gets a snapshot",
        setup: || Setup {
            schedule: vec![write(800, 2), at(900, Fault::Wipe { server: 0, down_us: 100_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
    },
];

impl Story {
    /// How many servers it has.
    pub fn servers(&self) -> usize {
        (self.setup)().servers()
    }

    /// Plays it: what happened, without the effects on disks, and what went wrong.
    pub fn play(&self) -> (Trace, Option<Violation>) {
        let mut world = World::new((self.setup)(), Keep::Outline, &|_| ());
        world.run_until(self.until_ms * 1000);
        (world.trace, world.truth.violation)
    }

    /// Its file: a comment, the command, the trace.
    pub fn text(&self) -> String {
        let (trace, violation) = self.play();
        let mut text = format!("# {}\n# ostler sim --scenario {}\n\n", self.about, self.name);
        for line in trace.lines() {
            text.push_str(line.to_string().trim_end());
            text.push('\n');
        }
        if let Some(violation) = violation {
            text.push_str("\nVIOLATION ");
            text.push_str(&violation.to_string());
        }
        text
    }
}

/// Fast disks and networks, and always the same times.
fn quiet(voters: usize, observers: usize) -> Setup {
    Setup { latency: Span::new(100, 100), sync: Span::new(300, 300), ..Setup::calm(1, voters, observers, 0) }
}

fn at(ms: u64, fault: Fault) -> Timed {
    at_us(ms * 1000, fault)
}

fn at_us(at_us: u64, fault: Fault) -> Timed {
    Timed { at_us, fault }
}

fn write(ms: u64, server: usize) -> Timed {
    at(ms, Fault::Write { server })
}

fn off(server: usize, ms: u64) -> Fault {
    Fault::PowerOff { server, down_us: ms * 1000 }
}

fn block(pairs: &[(usize, usize)], ms: u64) -> Fault {
    Fault::Block { pairs: pairs.to_vec(), for_us: ms * 1000 }
}
