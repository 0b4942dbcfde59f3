//! What is compared, and what each comparison must and should come to.

use super::results::Figures;

/// One measure: a figure of a scenario, and the ratio of Ostler's to Apache's that is wanted.
#[derive(Debug)]
pub(crate) struct Measure {
    /// The scenario that it comes from.
    pub(crate) scenario: &'static str,
    /// What it says.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The figure.
    pub(crate) figure: fn(&Figures) -> f64,
    /// Whether the ratio should be small or large.
    pub(crate) better: Better,
    /// The ratio that must be reached.
    pub(crate) must: f64,
    /// The ratio aimed at.
    pub(crate) aim: f64,
}

/// Which ratios are good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Small ones.
    Less,
    /// Large ones.
    More,
    /// No ratio counts, but a small figure of Ostler's.
    Absolute,
}

impl Better {
    /// Whether `ratio` reaches `goal`.
    pub(crate) fn reaches(self, ratio: f64, goal: f64) -> bool {
        match self {
            Self::Less | Self::Absolute => ratio <= goal,
            Self::More => ratio >= goal,
        }
    }

    /// How to write a goal.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Less | Self::Absolute => "<=",
            Self::More => ">=",
        }
    }
}

const fn cpu(scenario: &'static str, name: &'static str, must: f64, aim: f64) -> Measure {
    Measure { scenario, name, unit: "us", figure: |it| it.cpu_us_per_op, better: Better::Less, must, aim }
}

const fn throughput(scenario: &'static str, name: &'static str, must: f64, aim: f64) -> Measure {
    Measure { scenario, name, unit: "/s", figure: |it| it.ops_per_second, better: Better::More, must, aim }
}

const fn p99(scenario: &'static str, name: &'static str, must: f64, aim: f64) -> Measure {
    Measure { scenario, name, unit: "us", figure: |it| it.p99_us, better: Better::Less, must, aim }
}

/// Those of ensembles.
pub(crate) const ENSEMBLE_MEASURES: &[Measure] = &[
    cpu("e-set-256", "CPU per set, all servers, 256", 0.40, 0.20),
    cpu("e-set-16", "CPU per set, all servers, 16", 0.45, 0.30),
    throughput("e-set-256", "throughput of set, 256", 2.5, 4.0),
    throughput("e-create", "throughput of create, 256", 2.5, 5.0),
    throughput("e-get", "throughput of get, 256", 2.5, 4.0),
    throughput("e-mixed", "throughput 50:50, 256", 2.5, 4.0),
    Measure {
        scenario: "e-set-1",
        name: "p50 of a set, 1",
        unit: "us",
        figure: |it| it.p50_us,
        better: Better::Less,
        must: 0.75,
        aim: 0.50,
    },
    p99("e-open", "p99 at 1000/s, half sets", 0.6, 0.4),
    of_ensemble("e-failover", "kill -9 of a leader: a write", |it| it.failover_us / 1e3, 0.5, 0.3),
    of_ensemble("e-failover", "... the worst of them", |it| it.failover_worst_us / 1e3, 1.0, 0.5),
    of_ensemble("e-failover-1gb", "... with 1 GB of data", |it| it.failover_us / 1e3, 0.5, 0.3),
    of_ensemble("e-rejoin", "a killed member is back", |it| it.restart_us / 1e3, 0.4, 0.2),
];

const fn of_ensemble(
    scenario: &'static str,
    name: &'static str,
    figure: fn(&Figures) -> f64,
    must: f64,
    aim: f64,
) -> Measure {
    Measure { scenario, name, unit: "ms", figure, better: Better::Less, must, aim }
}

/// All measures, in the order of the table.
pub(crate) const MEASURES: &[Measure] = &[
    cpu("get-256", "server CPU per get, 256", 0.25, 0.15),
    cpu("get-16", "server CPU per get, 16", 0.40, 0.30),
    cpu("set-256", "server CPU per set, 256", 0.35, 0.20),
    cpu("create-256", "server CPU per create, 256", 0.30, 0.15),
    throughput("get-256", "throughput of get, 256", 2.5, 4.0),
    throughput("set-256", "throughput of set, 256", 2.0, 3.5),
    throughput("create-256", "throughput of create, 256", 2.5, 4.0),
    throughput("mixed-90", "throughput 90:10, 256", 2.5, 3.5),
    throughput("mixed-50", "throughput 50:50, 256", 2.5, 3.5),
    Measure {
        scenario: "set-1",
        name: "p50 of a set, 1",
        unit: "us",
        figure: |it| it.p50_us,
        better: Better::Less,
        must: 0.80,
        aim: 0.65,
    },
    p99("set-256", "p99 of set, 256", 0.4, 0.2),
    p99("create-256", "p99 of create, 256", 0.4, 0.2),
    p99("open", "p99 at 3000/s, half sets", 0.7, 0.5),
    Measure {
        scenario: "idle",
        name: "memory, idle",
        unit: "MiB",
        figure: |it| it.rss_bytes / f64::from(1 << 20),
        better: Better::Less,
        must: 0.15,
        aim: 0.10,
    },
    Measure {
        scenario: "million",
        name: "memory per znode of 100 B",
        unit: "B",
        figure: |it| (it.rss_bytes - it.rss_idle_bytes) / it.ops,
        better: Better::Less,
        must: 0.40,
        aim: 0.28,
    },
    Measure {
        scenario: "watches",
        name: "fan-out to 10 000: last event",
        unit: "us",
        figure: |it| it.last_event_us,
        better: Better::Less,
        must: 0.50,
        aim: 0.30,
    },
    Measure {
        scenario: "watches",
        name: "... the writer's own reply",
        unit: "us",
        figure: |it| it.reply_us,
        better: Better::Less,
        must: 0.10,
        aim: 0.03,
    },
    Measure {
        scenario: "connects",
        name: "sessions, 32 at once",
        unit: "/s",
        figure: |it| it.ops_per_second,
        better: Better::More,
        must: 2.0,
        aim: 3.0,
    },
    of_ostler("session with a watch", |it| it.session_bytes, 2048.0, 1024.0),
    of_ostler("a further watch", |it| it.watch_bytes, 150.0, 80.0),
    Measure {
        scenario: "list",
        name: "ls of 1 000 000 children",
        unit: "ms",
        figure: |it| it.list_us / 1e3,
        better: Better::Less,
        must: 0.50,
        aim: 0.25,
    },
    Measure {
        scenario: "list",
        name: "... another's longest wait",
        unit: "ms",
        figure: |it| it.stall_us / 1e3,
        better: Better::Less,
        must: 0.10,
        aim: 0.03,
    },
    of_restart("restart with 1 000 000 znodes", "ms", |it| it.restart_us / 1e3, 0.30, 0.15),
    of_restart("snapshot of 1 000 000 znodes", "ms", |it| it.snapshot_us / 1e3, 0.40, 0.20),
    of_restart("written per create of 100 B", "B", |it| it.written_bytes, 0.50, 0.25),
    Measure {
        scenario: "snapshots",
        name: "p99 with snapshots, of without",
        unit: "x",
        figure: |it| it.p99_snapshot_us / it.p99_us,
        better: Better::Absolute,
        must: 2.0,
        aim: 1.2,
    },
];

/// A figure of a server that is killed with a million znodes and starts again.
const fn of_restart(
    name: &'static str,
    unit: &'static str,
    figure: fn(&Figures) -> f64,
    must: f64,
    aim: f64,
) -> Measure {
    Measure { scenario: "restart", name, unit, figure, better: Better::Less, must, aim }
}

/// A figure of Ostler's alone, in bytes: what a heap of Java's grows by says little.
const fn of_ostler(name: &'static str, figure: fn(&Figures) -> f64, must: f64, aim: f64) -> Measure {
    Measure { scenario: "sessions", name, unit: "B", figure, better: Better::Absolute, must, aim }
}
