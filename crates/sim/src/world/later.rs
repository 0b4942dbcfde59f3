//! Faults that wait for their moment, as a rare one is not met by chance; and what is remembered until it ends.

use std::collections::BTreeMap;

use super::setup::DiskError;

/// A fault that comes after some more effects of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed<T> {
    /// How many effects are done before.
    pub(crate) left: u64,
    /// For how long the power is off, or how the effect fails.
    pub(crate) what: T,
    /// Its kind, which counts when it takes place.
    pub(crate) name: &'static str,
}

/// The kind of a fault that takes place several times.
pub(super) const POWER_OFF_IN_EPOCH: &str = "power off with a new epoch";

/// What is still to come, or to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Later {
    /// Of the next change of a history: the power fails after so many effects, for so long.
    pub(crate) power_off_in_change: Option<Armed<u64>>,
    /// Of who is to lead next: the power fails when it has accepted its epoch; so many times, the last time for so long.
    power_off_in_epoch: Option<(u32, u64)>,
    /// Of the next change of a history: an effect fails after so many others of that change.
    pub(crate) error_in_change: Option<Armed<DiskError>>,
    /// Partitions whose sides were not known beforehand, by the number of the fault.
    cut_off: BTreeMap<usize, Vec<(usize, usize)>>,
    /// Until when clients keep still.
    pub(crate) quiet_until_us: u64,
}

impl Later {
    /// So many more times the power fails with a new epoch, the last time for so long.
    pub(crate) fn arm_epoch(&mut self, times: u32, down_us: u64) {
        self.power_off_in_epoch = Some((times, down_us));
    }

    /// A server that is to lead has accepted its epoch: for how long its power fails now.
    pub(crate) fn fails_with_epoch(&mut self) -> Option<u64> {
        let (times, down_us) = self.power_off_in_epoch.as_mut()?;
        *times = times.saturating_sub(1);
        if *times > 0 {
            return Some(0);
        }
        let down_us = *down_us;
        self.power_off_in_epoch = None;
        Some(down_us)
    }

    /// This server is cut off from all others: from whom to whom nothing gets through.
    pub(crate) fn cut_off(&mut self, number: usize, server: usize, servers: usize) -> Vec<(usize, usize)> {
        let others = (0..servers).filter(|&it| it != server);
        let pairs: Vec<_> = others.flat_map(|it| [(server, it), (it, server)]).collect();
        self.cut_off.insert(number, pairs.clone());
        pairs
    }

    /// It is not any more.
    pub(crate) fn rejoined(&mut self, number: usize) -> Option<Vec<(usize, usize)>> {
        self.cut_off.remove(&number)
    }
}
