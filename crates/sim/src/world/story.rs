//! Worlds with a name, small enough to be read from beginning to end. Each has a golden trace in `crates/sim/stories`.

use std::fmt::Write as _;

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
    /// The checker that it shows to be broken, since what is done in it is wrong.
    breaks: Option<&'static str>,
}

/// All of them.
pub const STORIES: &[Story] = &[
    Story {
        name: "one-by-one",
        about: "three servers start one by one: 2 leads as soon as it is there, 3 comes late and follows",
        setup: || Setup { start_us: vec![0, 1_000_000, 2_000_000], ..quiet(3, 0) },
        until_ms: 2600,
        breaks: None,
    },
    Story {
        name: "all-at-once",
        about: "three servers start at once: epoch and zxid are equal, so the largest myid wins",
        setup: || quiet(3, 0),
        until_ms: 600,
        breaks: None,
    },
    Story {
        name: "five-in-order",
        about: "five servers start in order: with the third there is a quorum, and it leads",
        setup: || Setup { start_us: (0..5).map(|it| it * 1_000_000).collect(), ..quiet(5, 0) },
        until_ms: 4600,
        breaks: None,
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
        breaks: None,
    },
    Story {
        name: "leader-dies-zxids-equal",
        about: "the leader dies, and both followers have the same history: the larger myid wins",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 60_000_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        breaks: None,
    },
    Story {
        name: "old-leader-returns-late",
        about: "the old leader comes back when there is another one, and follows, though it has the largest myid",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 2_000_000 })],
            ..quiet(3, 0)
        },
        until_ms: 3700,
        breaks: None,
    },
    Story {
        name: "old-leader-returns-in-time",
        about: "the old leader is back before the others have agreed, and wins again",
        setup: || Setup {
            schedule: vec![write(1000, 2), at(1100, Fault::Kill { server: 2, down_us: 50_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        breaks: None,
    },
    Story {
        name: "follower-restarts",
        about: "a follower is killed and comes back: it hears who leads, and gets a DIFF of what it has missed",
        setup: || Setup {
            schedule: vec![at(900, Fault::Kill { server: 0, down_us: 500_000 }), write(1000, 2), write(1100, 2)],
            ..quiet(3, 0)
        },
        until_ms: 1900,
        breaks: None,
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
        breaks: None,
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
        breaks: None,
    },
    Story {
        name: "commit-reached-one",
        about: "the leader dies when one of two followers has its COMMIT: what it has applied is in the new leader's history",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                write(1000, 2),
                at_us(1_000_150, block(&[(2, 1)], 60_000)),
                at_us(1_000_700, off(2, 60_000)),
            ],
            ..quiet(3, 0)
        },
        until_ms: 3500,
        breaks: None,
    },
    Story {
        name: "commit-reached-none",
        about: "the leader applies a txn and dies before any COMMIT arrives: the others have it in their logs, and commit it",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                write(1000, 2),
                at_us(1_000_150, block(&[(2, 0), (2, 1)], 60_000)),
                at_us(1_000_700, off(2, 60_000)),
            ],
            ..quiet(3, 0)
        },
        until_ms: 3500,
        breaks: None,
    },
    Story {
        name: "votes-10-1-and-8-3",
        about: "server 1 has ten txns, server 3 has eight, the leader dies: the longer history wins, not the larger myid",
        setup: || {
            let mut schedule: Vec<Timed> = (0..8).map(|it| write(3000 + it * 10, 1)).collect();
            schedule.push(at(3100, block(&[(1, 2)], 60_000)));
            schedule.extend([write(3110, 1), write(3120, 1), at(3130, off(1, 60_000))]);
            Setup { tick_ms: 200, start_us: vec![0, 1_000_000, 2_000_000], schedule, ..quiet(3, 0) }
        },
        until_ms: 5500,
        breaks: None,
    },
    Story {
        name: "extra-txn-across-epochs",
        about: "an old leader returns after two epochs with a txn that nobody has: too much lies between, it gets a snapshot",
        setup: || {
            let mut schedule = vec![
                write(800, 2),
                at(999, block(&[(2, 0), (2, 1)], 1000)),
                write(1000, 2),
                at(1010, Fault::Kill { server: 2, down_us: 7_000_000 }),
            ];
            schedule.extend((0..4).map(|it| write(3500 + it * 10, 1)));
            schedule.push(at(4000, Fault::Kill { server: 1, down_us: 100_000 }));
            schedule.extend((0..4).map(|it| write(6500 + it * 10, 1)));
            Setup { tick_ms: 200, committed_log_txns: 2, snap_count: 4, schedule, ..quiet(3, 0) }
        },
        until_ms: 8500,
        breaks: None,
    },
    Story {
        name: "observer-writes",
        about: "writes through the leader, a follower and an observer: the quorum is of voters, the observer gets INFORM",
        setup: || Setup { schedule: vec![write(1000, 4), write(1100, 0), write(1200, 5)], ..quiet(5, 1) },
        until_ms: 1300,
        breaks: None,
    },
    Story {
        name: "sync-behind-a-slow-disk",
        about: "the followers commit a txn while the leader's own disk hangs: its sync waits until it has applied the txn itself",
        setup: || Setup {
            schedule: vec![
                at(990, Fault::SlowDisk { server: 2, sync_us: 100_000, for_us: 1_000_000 }),
                write(1000, 2),
                at(1010, Fault::Sync { server: 2 }),
                at(1020, Fault::Sync { server: 0 }),
            ],
            ..quiet(3, 0)
        },
        until_ms: 1500,
        breaks: None,
    },
    Story {
        name: "leader-disk-hangs",
        about: "the leader's disk hangs for longer than syncLimit: it steps down, says nothing until its disk goes on, and another leads",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                at(990, Fault::SlowDisk { server: 2, sync_us: 8_000_000, for_us: 1_000_000 }),
                write(1000, 2),
                write(5000, 0),
                write(6000, 1),
            ],
            ..quiet(3, 0)
        },
        until_ms: 10_000,
        breaks: None,
    },
    Story {
        name: "lost-disk",
        about: "a server comes back with an empty disk: it has no vote, and gets a snapshot",
        setup: || Setup {
            schedule: vec![write(800, 2), at(900, Fault::Wipe { server: 0, down_us: 100_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        breaks: None,
    },
    Story {
        name: "growth-in-wrong-order",
        about: "from 3 to 5 by static files, the new servers first: in a partition both 1,3 and 2,4,5 are quorums, and two lead",
        setup: || {
            let mut setup = growth(&[1]);
            setup.schedule.extend([at(4000, apart(&[0, 2], &[1, 3, 4])), write(4100, 2), write(7000, 4)]);
            setup
        },
        until_ms: 9000,
        breaks: Some("leader completeness"),
    },
    Story {
        name: "growth-in-right-order",
        about: "from 3 to 5 by static files, the old servers first, one by one: in the same partition 1 and 3 serve nobody",
        setup: || {
            let mut setup = growth(&[0, 1, 2]);
            setup.start_us = vec![0, 0, 0, 6_000_000, 6_500_000];
            setup.schedule.extend([at(9000, apart(&[0, 2], &[1, 3, 4])), write(9100, 2), write(13_000, 4)]);
            setup
        },
        until_ms: 15_000,
        breaks: None,
    },
];

/// Three servers, and two that come later and know of five; the old ones learn of them in this order.
fn growth(told: &[usize]) -> Setup {
    let configure = |(n, &server): (usize, &usize)| {
        at(2500 + n as u64 * 1500, Fault::Configure { server, voters: 5, down_us: 50_000 })
    };
    Setup {
        tick_ms: 200,
        known: vec![3, 3, 3, 5, 5],
        start_us: vec![0, 0, 0, 1_500_000, 2_000_000],
        schedule: [write(1000, 2)].into_iter().chain(told.iter().enumerate().map(configure)).collect(),
        ..quiet(5, 0)
    }
}

/// Nothing gets from the ones to the others.
fn apart(ones: &[usize], others: &[usize]) -> Fault {
    let each = ones.iter().flat_map(|&one| others.iter().flat_map(move |&other| [(one, other), (other, one)]));
    block(&each.collect::<Vec<_>>(), 60_000)
}

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

    /// Is this how it is to end?
    pub fn is_right(&self, violation: Option<&Violation>) -> bool {
        violation.map(|it| it.checker) == self.breaks
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
            let as_expected = if self.is_right(Some(&violation)) { "as expected, a " } else { "" };
            let _ = write!(text, "\n{as_expected}VIOLATION {violation}");
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
