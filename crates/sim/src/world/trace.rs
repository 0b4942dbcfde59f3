//! What happened, a line an event, and a hash of all of it: the same seed gives the same one.

use std::fmt;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A fault begins or ends.
    Fault,
    /// A server's process starts or ends.
    Process,
    /// What an election does.
    Election,
    /// A role begins or ends.
    Role,
    /// A message between servers arrives.
    Message,
    /// An effect on a disk.
    Disk,
    /// A txn is proposed, committed or applied.
    Txn,
    /// A client asks or is answered.
    Client,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, in µs from the beginning of the world.
    pub at_us: u64,
    /// What kind.
    pub kind: Kind,
    /// From whom to whom, if it is a message between two servers.
    pub between: Option<(i64, i64)>,
    /// Whom it is about, if it is about one server.
    pub who: Option<i64>,
    /// What.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}.{:06}  ", self.at_us / 1_000_000, self.at_us % 1_000_000)?;
        match (self.between, self.who) {
            (Some((from, to)), _) => write!(f, "{:<9}", format!("{from} → {to}"))?,
            (_, Some(who)) => write!(f, "{who:<9}")?,
            _ => write!(f, "{:<9}", "")?,
        }
        f.write_str(&self.what)
    }
}

/// How much of a trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Only its hash.
    #[default]
    Hash,
    /// All lines.
    Lines,
    /// The lines of everything but effects on disks and clients.
    Outline,
}

/// The trace of a world.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    keep: Keep,
    hash: u64,
    events: u64,
    lines: Vec<Line>,
}

impl Trace {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines that were kept.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// An event: numbers for the hash, which is always made, and words, which are made only if they are kept.
    pub(crate) fn event(&mut self, at_us: u64, kind: Kind, numbers: [u64; 3], words: impl FnOnce() -> Words) {
        self.events += 1;
        for number in [at_us, kind as u64, numbers[0], numbers[1], numbers[2]] {
            // FNV's step on whole words, and a turn, so that the high bits reach the low ones.
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3_9e4d).rotate_left(29);
        }
        let is_kept = match self.keep {
            Keep::Hash => false,
            Keep::Lines => true,
            Keep::Outline => !matches!(kind, Kind::Disk | Kind::Client),
        };
        if is_kept {
            let Words { between, who, what } = words();
            self.lines.push(Line { at_us, kind, between, who, what });
        }
    }
}

/// What a line says.
#[derive(Debug)]
pub(crate) struct Words {
    between: Option<(i64, i64)>,
    who: Option<i64>,
    what: String,
}

impl Words {
    pub(crate) fn of(who: i64, what: impl Into<String>) -> Self {
        Self { between: None, who: Some(who), what: what.into() }
    }

    pub(crate) fn between(from: i64, to: i64, what: impl Into<String>) -> Self {
        Self { between: Some((from, to)), who: None, what: what.into() }
    }

    pub(crate) fn world(what: impl Into<String>) -> Self {
        Self { between: None, who: None, what: what.into() }
    }
}
