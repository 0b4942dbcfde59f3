//! The stories, and what belongs to them.

use wire::Zxid;

use super::setup::{Change, Fault, Setup, Span, Timed};
use super::story::Sync::{Diff, Snap, Trunc};
use super::story::{Ending, Story};

/// All of them.
pub const STORIES: &[Story] = &[
    Story {
        name: "one-by-one",
        about: "three servers start one by one: 2 leads as soon as it is there, 3 comes late and follows",
        setup: || Setup { start_us: vec![0, 1_000_000, 2_000_000], ..quiet(3, 0) },
        until_ms: 2600,
        ending: || Ending { syncs: vec![(1, Diff), (3, Diff)], ..led(2, 1, &[1, 3], zxid(0, 0)) },
    },
    Story {
        name: "all-at-once",
        about: "three servers start at once: epoch and zxid are equal, so the largest myid wins",
        setup: || quiet(3, 0),
        until_ms: 600,
        ending: || Ending { syncs: vec![(2, Diff), (1, Diff)], in_vain: vec![1], ..led(3, 1, &[1, 2], zxid(0, 0)) },
    },
    Story {
        name: "five-in-order",
        about: "five servers start in order: with the third there is a quorum, and it leads",
        setup: || Setup { start_us: (0..5).map(|it| it * 1_000_000).collect(), ..quiet(5, 0) },
        until_ms: 4600,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (4, Diff), (5, Diff)],
            ..led(3, 1, &[1, 2, 4, 5], zxid(0, 0))
        },
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
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1], zxid(1, 3))
        },
    },
    Story {
        name: "leader-dies-zxids-equal",
        about: "the leader dies, and both followers have the same history: the larger myid wins",
        setup: || Setup { schedule: vec![write(1000, 2), at(1100, kill(2, 60_000))], ..quiet(3, 0) },
        until_ms: 2000,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1], zxid(1, 1))
        },
    },
    Story {
        name: "old-leader-returns-late",
        about: "the old leader comes back when there is another one, and follows, though it has the largest myid",
        setup: || Setup { schedule: vec![write(1000, 2), at(1100, kill(2, 2000))], ..quiet(3, 0) },
        until_ms: 3700,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff), (3, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3], zxid(1, 1))
        },
    },
    Story {
        name: "old-leader-returns-in-time",
        about: "one follower sleeps, so the other one is not elected yet when the old leader is back, which wins again",
        setup: || Setup {
            schedule: vec![
                write(1000, 2),
                at(1090, Fault::Pause { server: 0, for_us: 200_000 }),
                at(1100, kill(2, 50)),
            ],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (2, Diff), (1, Diff)],
            in_vain: vec![1, 1],
            ..led(3, 2, &[1, 2], zxid(1, 1))
        },
    },
    Story {
        name: "follower-restarts",
        about: "a follower is killed and comes back: it hears who leads, and gets a DIFF of what it has missed",
        setup: || Setup { schedule: vec![at(900, kill(0, 500)), write(1000, 2), write(1100, 2)], ..quiet(3, 0) },
        until_ms: 1900,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2], zxid(1, 2))
        },
    },
    Story {
        name: "leader-loses-its-quorum",
        about: "a leader that reaches nobody steps down; its last txn is in no later epoch, and goes when it is back (SNAP, across epochs)",
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
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff), (3, Snap)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3], zxid(2, 1))
        },
    },
    Story {
        name: "proposal-never-left",
        about: "the leader dies with a txn that only its log has; it is back before the others propose anything, and is cut (TRUNC)",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                at(999, block(&[(2, 0), (2, 1)], 1000)),
                write(1000, 2),
                at(1010, kill(2, 3000)),
                write(4500, 2),
            ],
            ..quiet(3, 0)
        },
        until_ms: 5000,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff), (3, Trunc)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3], zxid(2, 1))
        },
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
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1], zxid(1, 2))
        },
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
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1], zxid(1, 2))
        },
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
        ending: || Ending { syncs: vec![(1, Diff), (3, Diff), (3, Diff)], ..led(1, 2, &[3], zxid(1, 10)) },
    },
    Story {
        name: "extra-txn-across-epochs",
        about: "an old leader returns after two epochs with a txn that nobody has: too much lies between, it gets a snapshot",
        setup: || {
            let mut schedule =
                vec![write(800, 2), at(999, block(&[(2, 0), (2, 1)], 1000)), write(1000, 2), at(1010, kill(2, 7000))];
            schedule.extend((0..4).map(|it| write(3500 + it * 10, 1)));
            schedule.push(at(4000, kill(1, 100)));
            schedule.extend((0..4).map(|it| write(6500 + it * 10, 1)));
            Setup { tick_ms: 200, committed_log_txns: 2, snap_count: 4, schedule, ..quiet(3, 0) }
        },
        until_ms: 8500,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff), (1, Diff), (3, Snap)],
            in_vain: vec![1],
            ..led(2, 3, &[1, 3], zxid(3, 4))
        },
    },
    Story {
        name: "observer-writes",
        about: "writes through the leader, a follower and an observer: the quorum is of voters, the observer gets INFORM",
        setup: || Setup { schedule: vec![write(1000, 4), write(1100, 0), write(1200, 5)], ..quiet(5, 1) },
        until_ms: 1300,
        ending: || Ending {
            syncs: vec![(4, Diff), (3, Diff), (1, Diff), (2, Diff), (6, Diff)],
            ..led(5, 1, &[1, 2, 3, 4, 6], zxid(1, 3))
        },
    },
    Story {
        name: "elected-by-one",
        about: "server 2 dies when server 1 has elected it: 1 tries to connect for a bounded time, and looks again",
        setup: || Setup {
            start_us: vec![0, 0, 5_000_000],
            schedule: vec![at_us(300, kill(1, 1000)), write(1500, 0)],
            ..quiet(3, 0)
        },
        until_ms: 1600,
        ending: || Ending { syncs: vec![(1, Diff)], in_vain: vec![1], ..led(2, 1, &[1], zxid(1, 1)) },
    },
    Story {
        name: "follower-cut-off",
        about: "a follower is cut off for longer than syncLimit, and looks; behind the partition it follows again, and gets a DIFF",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![
                write(800, 2),
                at(1000, apart(&[0], &[1, 2], 3000)),
                write(1500, 2),
                write(1600, 1),
                write(4500, 0),
            ],
            ..quiet(3, 0)
        },
        until_ms: 4600,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2], zxid(1, 4))
        },
    },
    Story {
        name: "observer-reads",
        about: "what an observer shows is old while the leader's packets are late; behind a sync it is not",
        setup: || Setup {
            schedule: vec![
                at(990, block(&[(2, 3)], 60)),
                write(1000, 2),
                read(1010, 0),
                read(1011, 3),
                at(1020, Fault::Sync { server: 3 }),
                read(1030, 3),
                read(1060, 3),
            ],
            ..quiet(3, 1)
        },
        until_ms: 1100,
        ending: || Ending {
            answers: vec![(1, zxid(1, 1)), (4, zxid(0, 0)), (4, zxid(0, 0)), (4, zxid(1, 1)), (4, zxid(1, 1))],
            syncs: vec![(2, Diff), (4, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2, 4], zxid(1, 1))
        },
    },
    Story {
        name: "observers-never-vote",
        about: "two of three voters die: the third one and two observers are three of five servers, and elect nobody",
        setup: || Setup {
            tick_ms: 200,
            schedule: vec![at(1000, kill(2, 60_000)), at(1500, kill(1, 60_000))],
            ..quiet(3, 2)
        },
        until_ms: 4000,
        ending: || Ending {
            syncs: vec![(2, Diff), (4, Diff), (5, Diff), (1, Diff), (4, Diff), (5, Diff), (1, Diff)],
            in_vain: vec![1],
            ..Ending::default()
        },
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
        ending: || Ending {
            answers: vec![(1, zxid(1, 1)), (3, zxid(1, 1))],
            syncs: vec![(2, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2], zxid(1, 1))
        },
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
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff), (3, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3], zxid(2, 2))
        },
    },
    Story {
        name: "lost-disk",
        about: "a server comes back with an empty disk: it has no vote, and gets a snapshot",
        setup: || Setup {
            schedule: vec![write(800, 2), at(900, Fault::Wipe { server: 0, down_us: 100_000 })],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Snap)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2], zxid(1, 1))
        },
    },
    Story {
        name: "old-backup",
        about: "a follower gets back an old copy of its files: nobody but the leader can see that, and says so",
        setup: || Setup {
            schedule: vec![
                write(800, 2),
                at(900, Fault::BackUp { server: 0 }),
                write(1000, 2),
                write(1100, 2),
                at(1200, Fault::Restore { server: 0, down_us: 100_000 }),
            ],
            ..quiet(3, 0)
        },
        until_ms: 2500,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1, 2], zxid(1, 3))
        },
    },
    Story {
        name: "growth-in-wrong-order",
        about: "from 3 to 5 by static files, the new servers first: in a partition both 1,3 and 2,4,5 are quorums, and two lead",
        setup: || {
            let mut setup = growth(&[1]);
            setup.schedule.extend([at(4000, apart(&[0, 2], &[1, 3, 4], 60_000)), write(4100, 2), write(7000, 4)]);
            setup
        },
        until_ms: 9000,
        ending: || Ending {
            leads: vec![(3, 1), (5, 2)],
            last: vec![zxid(1, 1), zxid(1, 2)],
            breaks: Some("leader completeness"),
            syncs: vec![(2, Diff), (1, Diff), (4, Diff), (5, Diff), (2, Diff), (4, Diff), (2, Diff)],
            in_vain: vec![1],
            ..led(3, 1, &[1], zxid(1, 1))
        },
    },
    Story {
        name: "growth-in-right-order",
        about: "from 3 to 5 by static files, the old servers first, one by one: in the same partition 1 and 3 serve nobody",
        setup: || {
            let mut setup = growth(&[0, 1, 2]);
            setup.start_us = vec![0, 0, 0, 6_000_000, 6_500_000];
            setup.schedule.extend([at(9000, apart(&[0, 2], &[1, 3, 4], 60_000)), write(9100, 2), write(13_000, 4)]);
            setup
        },
        until_ms: 15_000,
        ending: || Ending {
            syncs: vec![
                (2, Diff),
                (1, Diff),
                (2, Diff),
                (1, Diff),
                (2, Diff),
                (1, Diff),
                (4, Diff),
                (5, Diff),
                (2, Diff),
                (4, Diff),
            ],
            in_vain: vec![1],
            ..led(5, 4, &[2, 4], zxid(4, 1))
        },
    },
    Story {
        name: "reconfig-unheard",
        about: "a leader that is cut off logs a reconfig; then it follows one that never saw it, though nobody else of the new members says so",
        setup: || Setup {
            tick_ms: 200,
            spares: 2,
            reconfig_enabled: true,
            schedule: vec![
                write(800, 2),
                at(1000, apart(&[2], &[0, 1], 4000)),
                at(1000, apart(&[2], &[3, 4], 60_000)),
                at(1010, reconfig(Change::Whole { voters: vec![2, 3, 4], observers: vec![] })),
                write(6500, 2),
            ],
            ..quiet(3, 0)
        },
        until_ms: 6600,
        ending: || Ending {
            syncs: vec![(2, Diff), (4, Diff), (5, Diff), (1, Diff), (1, Diff), (4, Diff), (5, Diff), (3, Trunc)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3, 4, 5], zxid(2, 1))
        },
    },
    Story {
        name: "reconfig-half-known",
        about: "who is to vote by a reconfig does not know it yet, and is a round ahead of those that do: they join it, and there is a leader",
        setup: || Setup {
            tick_ms: 200,
            spares: 1,
            reconfig_enabled: true,
            schedule: vec![
                at(800, reconfig(Change::Whole { voters: vec![0, 2], observers: vec![1] })),
                write(1200, 2),
                at(1500, apart(&[0, 2], &[1, 3], 3000)),
                at(1510, reconfig(Change::Whole { voters: vec![0, 1, 3], observers: vec![] })),
                at(3500, off(0, 100)),
                at(3500, off(2, 100)),
            ],
            ..quiet(3, 0)
        },
        until_ms: 8000,
        ending: || Ending {
            syncs: vec![
                (2, Diff),
                (4, Diff),
                (1, Diff),
                (2, Diff),
                (4, Diff),
                (1, Diff),
                (2, Diff),
                (1, Diff),
                (3, Diff),
            ],
            in_vain: vec![1, 4, 2],
            ..led(4, 3, &[1, 2, 3], zxid(1, 3))
        },
    },
    Story {
        name: "leader-removed",
        about: "a reconfig removes the leader, with writes right behind it: it names who leads next, with all of them, and the old one follows",
        setup: || Setup {
            tick_ms: 200,
            reconfig_enabled: true,
            schedule: vec![write(800, 2), at(1000, reconfig(Change::Leave(2))), write(1000, 2), write(1000, 0)],
            ..quiet(3, 0)
        },
        until_ms: 2000,
        ending: || Ending {
            syncs: vec![(2, Diff), (1, Diff), (3, Diff), (1, Diff)],
            in_vain: vec![1],
            ..led(2, 2, &[1, 3], zxid(1, 4))
        },
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

/// Nothing gets from the ones to the others, nor back.
fn apart(ones: &[usize], others: &[usize], ms: u64) -> Fault {
    let each = ones.iter().flat_map(|&one| others.iter().flat_map(move |&other| [(one, other), (other, one)]));
    block(&each.collect::<Vec<_>>(), ms)
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

fn kill(server: usize, ms: u64) -> Fault {
    Fault::Kill { server, down_us: ms * 1000 }
}

fn read(ms: u64, server: usize) -> Timed {
    at(ms, Fault::Read { server })
}

fn reconfig(change: Change) -> Fault {
    Fault::Reconfigure { change }
}

/// This server leads this epoch, these learn, and all have applied everything up to there.
fn led(server: i64, epoch: i32, learns: &[i64], last: Zxid) -> Ending {
    Ending { leads: vec![(server, epoch)], learns: learns.to_vec(), last: vec![last], ..Ending::default() }
}

const fn zxid(epoch: i64, counter: i64) -> Zxid {
    Zxid((epoch << 32) | counter)
}
