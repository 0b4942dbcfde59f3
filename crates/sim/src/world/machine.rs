//! A machine: its disk, the process on it, and what is to go wrong with it. The same in worlds of cores and of whole servers.

use wire::ServerId;
use zab::{Options, QuorumVerifier};

use super::later::Armed;
use super::setup::DiskError;
use crate::disk::{Faults, VirtualDisk};
use crate::rng::Rng;

/// A machine on which a process `P` runs, and which events `E` wait for.
#[derive(Debug, Clone)]
pub(crate) struct Machine<P, E> {
    pub(crate) id: ServerId,
    pub(crate) options: Options,
    pub(crate) disk: VirtualDisk,
    /// The last copy of it.
    backup: Option<VirtualDisk>,
    /// When it is started next, its disk is that copy.
    pub(crate) is_to_be_restored: bool,
    pub(crate) process: Option<P>,
    /// The number of the last process.
    pub(crate) processes: u32,
    /// Has it power?
    pub(crate) is_on: bool,
    /// It is started when this call comes.
    pub(crate) start_call: u32,
    pub(crate) paused_until_us: Option<u64>,
    /// What came while it was paused.
    pub(crate) held: Vec<E>,
    /// How long a sync takes, and until when.
    pub(crate) slow: Option<(u64, u64)>,
    /// The power fails after so many effects, for so long.
    pub(crate) power_off_in: Option<Armed<u64>>,
    /// The power fails after so many effects of the next recovery, for so long.
    pub(crate) power_off_in_recovery: Option<Armed<u64>>,
    /// An effect fails after so many others.
    pub(crate) error_in: Option<Armed<DiskError>>,
    /// A configuration that is on its way into the server's file, and when it is there, in µs. `options` has what the file holds.
    pub(crate) file: Option<(u64, QuorumVerifier)>,
    /// How fast its clocks go, in millionths of the world's.
    pub(crate) clock_ppm: u64,
    /// By how much its wall clock is wrong, in ms. Cores have none.
    pub(crate) wall_off_ms: i64,
}

impl<P, E> Machine<P, E> {
    /// One that was not started yet.
    pub(crate) fn new(options: Options, disk: VirtualDisk, clock_ppm: u64) -> Self {
        Self {
            id: options.me,
            options,
            disk,
            backup: None,
            is_to_be_restored: false,
            process: None,
            processes: 0,
            is_on: true,
            start_call: 0,
            paused_until_us: None,
            held: Vec::new(),
            slow: None,
            power_off_in: None,
            power_off_in_recovery: None,
            error_in: None,
            file: None,
            clock_ppm,
            wall_off_ms: 0,
        }
    }

    /// What is in its file now; a configuration that was not written by then is lost.
    pub(crate) fn read_file(&mut self, now_us: u64) {
        if let Some((_, verifier)) = self.file.take().filter(|(written_us, _)| *written_us <= now_us) {
            self.options.verifier = verifier;
        }
    }

    /// The process is gone. What was held for it: what others wait for goes on, and what was for it finds nobody.
    pub(crate) fn stop(&mut self) -> Vec<E> {
        self.process = None;
        self.paused_until_us = None;
        self.power_off_in = None;
        self.error_in = None;
        std::mem::take(&mut self.held)
    }

    /// Its process does not run until then. False: there is none.
    pub(crate) fn pause(&mut self, until_us: u64) -> bool {
        if self.process.is_some() {
            self.paused_until_us = Some(self.paused_until_us.unwrap_or(0).max(until_us));
        }
        self.process.is_some()
    }

    /// What was held for it, if it runs again now.
    pub(crate) fn resume(&mut self, now_us: u64) -> Option<Vec<E>> {
        self.paused_until_us.take_if(|until_us| *until_us <= now_us)?;
        Some(std::mem::take(&mut self.held))
    }

    /// Nothing goes wrong with it any more. It is still paused.
    pub(crate) fn heal(&mut self) {
        self.slow = None;
        self.disk.faults.read_only_from = None;
        self.disk.faults.heal_reads();
        self.power_off_in = None;
        self.power_off_in_recovery = None;
        self.error_in = None;
        self.is_to_be_restored = false;
    }

    /// Its files are copied as a power failure would leave them now. False: it is not running.
    pub(crate) fn back_up(&mut self, rng: &mut Rng) -> bool {
        if self.process.is_some() {
            let mut copy = self.disk.clone();
            copy.faults = Faults::default();
            copy.crash_random(rng);
            self.backup = Some(copy);
        }
        self.process.is_some()
    }

    /// What its disk is to be from now on.
    pub(crate) fn copy_to_restore(&mut self) -> Option<VirtualDisk> {
        if std::mem::take(&mut self.is_to_be_restored) { self.backup.clone() } else { None }
    }
}
