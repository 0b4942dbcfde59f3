//! What a connection was answered, for `cons`. Source: Apache `ServerCnxn.updateStatsForResponse`, `resetStats`.

use std::fmt;

use wire::{OpCode, Xid, Zxid};

use crate::time::Now;

/// The last operation that a connection had an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastOp {
    /// None since the connection was opened: Apache prints Java's `null`.
    #[default]
    Never,
    /// None since the counters were reset, or a write that was refused: `NA`.
    Unnamed,
    /// This one.
    Of(OpCode),
}

/// Statistics of one connection, in 64 bytes.
#[derive(Clone, Default)]
pub struct Answers {
    /// When the connection was accepted, in ms since 1970.
    pub opened_wall_ms: i64,
    /// When the last answer was given, in ms of the clock that never goes back; 0 for none.
    pub last_ms: i64,
    /// The zxid of the last answer; -1 after a reset.
    pub last_zxid: Zxid,
    /// The sum of all latencies.
    total_us: u64,
    /// How many.
    count: u32,
    /// The latency of the last answer; all of them are capped at 71 minutes.
    last_us: u32,
    /// The shortest.
    min_us: u32,
    /// The longest.
    max_us: u32,
    /// The last xid that was not negative; -1 after a reset.
    pub last_cxid: Xid,
    /// What was asked.
    pub last_op: LastOp,
}

impl Answers {
    /// Of a connection that was accepted at this time.
    pub(crate) fn new(opened_wall_ms: i64) -> Self {
        Self { opened_wall_ms, min_us: u32::MAX, ..Self::default() }
    }

    /// One more answer; returns its latency in µs.
    pub(crate) fn add(&mut self, now: Now, op: LastOp, xid: Xid, zxid: Zxid, received_us: u64) -> u64 {
        let latency_us = now.mono_us.saturating_sub(received_us);
        if xid.0 >= 0 {
            self.last_cxid = xid;
        }
        self.last_zxid = zxid;
        self.last_op = op;
        self.last_ms = now.mono_ms();
        let short = u32::try_from(latency_us).unwrap_or(u32::MAX);
        self.last_us = short;
        self.min_us = self.min_us.min(short);
        self.max_us = self.max_us.max(short);
        self.count = self.count.saturating_add(1);
        self.total_us = self.total_us.saturating_add(latency_us);
        latency_us
    }

    /// `crst`.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            last_zxid: Zxid(-1),
            last_cxid: Xid(-1),
            last_op: LastOp::Unnamed,
            ..Self::new(self.opened_wall_ms)
        };
    }

    /// Latencies in ms: last, shortest, average, longest; 0 without any.
    pub fn latencies_ms(&self) -> [i64; 4] {
        if self.count == 0 {
            return [0; 4];
        }
        let average_us = self.total_us / u64::from(self.count);
        [i64::from(self.last_us), i64::from(self.min_us), average_us as i64, i64::from(self.max_us)].map(|us| us / 1000)
    }
}

/// Numbers that decide nothing are no part of a state that is compared.
impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_us: u64) -> Now {
        Now { mono_us, wall_ms: 1_000_000 }
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<Answers>() <= 64, "{}", size_of::<Answers>());
    }

    #[test]
    fn latencies_and_the_last_answer() {
        let mut answers = Answers::new(7);
        assert_eq!((answers.last_op, answers.last_cxid, answers.latencies_ms()), (LastOp::Never, Xid(0), [0; 4]));
        answers.add(at(9_000), LastOp::Of(OpCode::GetData), Xid(3), Zxid(5), 2_000);
        answers.add(at(12_500), LastOp::Of(OpCode::Ping), Xid::PING, Zxid(6), 11_500);
        assert_eq!(answers.last_cxid, Xid(3), "a ping has no number");
        assert_eq!((answers.last_op, answers.last_zxid, answers.last_ms), (LastOp::Of(OpCode::Ping), Zxid(6), 12));
        assert_eq!(answers.latencies_ms(), [1, 1, 4, 7]);
        answers.reset();
        assert_eq!((answers.last_op, answers.last_cxid, answers.last_zxid), (LastOp::Unnamed, Xid(-1), Zxid(-1)));
        assert_eq!((answers.latencies_ms(), answers.last_ms, answers.opened_wall_ms), ([0; 4], 0, 7));
    }
}
