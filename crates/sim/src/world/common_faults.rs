//! Faults, as far as they are the same in worlds of cores and of whole servers: those that wait for their moment, and those that
//! concern a disk or a connection and nobody else.

use super::later::{Armed, Later};
use super::machine::Machine;
use super::net::{ConnNumber, Net};
use super::setup::{Fault, Setup, Span};

/// A server has come back with an old copy of its files.
pub(crate) const RESTORED: &str = "old copy of a disk";
/// A role begins in the last round that there is. It and the others below are no faults of the schedule: they count when they come.
pub(crate) const LAST_ROUND: &str = "election in the last round";
/// The version behind a znode's last one.
pub(crate) const LAST_VERSION: &str = "version behind the last one";
/// A parent has no numbers left for sequential children.
pub(crate) const LAST_NUMBER: &str = "no number left for a sequential znode";

/// Begins a fault. `Some(false)`: it finds nothing to do, or waits for its moment and counts then. `None`: the world has to do it.
pub(crate) fn begin<P, E, M: Clone>(
    fault: &Fault,
    now_us: u64,
    servers: &mut [Machine<P, E>],
    net: &mut Net<M>,
    later: &mut Later,
) -> Option<bool> {
    let name = fault.name();
    match *fault {
        Fault::PowerOffAtEffect { server, effects, down_us } => {
            servers[server].power_off_in = Some(Armed { left: effects, what: down_us, name });
            Some(false)
        }
        Fault::PowerOffInRecovery { server, effects, down_us } => {
            servers[server].power_off_in_recovery = Some(Armed { left: effects, what: down_us, name });
            Some(false)
        }
        Fault::DiskError { server, effects, kind } => {
            servers[server].error_in = Some(Armed { left: effects, what: kind, name });
            Some(false)
        }
        Fault::PowerOffInChange { effects, down_us } => {
            later.power_off_in_change = Some(Armed { left: effects, what: down_us, name });
            Some(false)
        }
        Fault::DiskErrorInChange { effects, kind } => {
            later.error_in_change = Some(Armed { left: effects, what: kind, name });
            Some(false)
        }
        Fault::SlowDisk { server, sync_us, for_us } => {
            servers[server].slow = Some((sync_us, now_us + for_us));
            Some(true)
        }
        Fault::ReadOnlyDisk { server, for_us } => {
            servers[server].disk.make_read_only(now_us + for_us);
            Some(true)
        }
        Fault::Restore { server, .. } => {
            servers[server].is_to_be_restored = true;
            // The world has to turn it off.
            None
        }
        Fault::Quiet { for_us } => {
            later.quiet_until_us = later.quiet_until_us.max(now_us + for_us);
            Some(true)
        }
        Fault::HalfOpen { connection } => {
            let conn = net.nth(connection).and_then(|it| net.conns.get_mut(&it));
            Some(conn.is_some_and(|conn| !std::mem::replace(&mut conn.is_dead, true)))
        }
        _ => None,
    }
}

/// A partition ends: what waited in it and gets through now, as [`Net::go_on`] gives it.
pub(crate) fn unblock<M: Clone>(
    number: usize,
    setup: &Setup,
    net: &mut Net<M>,
    later: &mut Later,
) -> Vec<(u64, ConnNumber, usize)> {
    let pairs = match setup.schedule.get(number).map(|it| it.fault.clone()) {
        Some(Fault::Block { pairs, .. }) => pairs,
        _ => later.rejoined(number).unwrap_or_default(),
    };
    for (from, to) in pairs {
        net.block(from, to, -1);
    }
    net.go_on(setup)
}

impl Setup {
    /// Networks and clients are as they are when nothing goes wrong.
    pub(crate) fn calm_down(&mut self) {
        self.late_per_mille = 0;
        if self.initial_counter > 0 {
            // Epochs that end as soon as they begin leave no time to come together.
            self.think = Span::new(300_000, 1_000_000);
            self.pipelined = 1;
        }
    }
}
