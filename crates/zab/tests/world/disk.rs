//! A disk that can crash: what is durable, and commands that are on their way, each in the steps between which a crash may
//! come. The log and the epoch files are written by different threads, so neither waits for the other.

use std::collections::VecDeque;

use ostler_zab::committed_log::follows;
use ostler_zab::{Command, Defect, Options, Proposal, Token};
use wire::{Epoch, Zxid};

use super::Random;

/// A history, oldest first.
pub type History = Vec<Proposal>;

pub fn end(history: &[Proposal]) -> Zxid {
    history.last().map_or(Zxid::ZERO, |it| it.zxid)
}

/// What a finished command leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Finished {
    Logged(Zxid),
    Done(Token),
    NotTruncated(Token),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Disk {
    pub accepted: Epoch,
    pub current: Epoch,
    /// What each snapshot holds, oldest first.
    pub snapshots: Vec<History>,
    /// The records of the log; they go on without a gap behind the oldest snapshot.
    pub log: History,
    /// A snapshot that was received, under another name.
    pub staged: Option<History>,
    /// Appends, truncations, installations.
    log_work: VecDeque<(Command, u8)>,
    /// Writes of epoch files.
    epoch_work: VecDeque<Command>,
}

impl Disk {
    pub fn new(history: History, epoch: Epoch) -> Self {
        Self { accepted: epoch, current: epoch, snapshots: vec![vec![]], log: history, ..Self::default() }
    }

    /// What a recovery would find: the newest snapshot, and the log behind it.
    pub fn history(&self) -> History {
        let mut history = self.snapshots.last().cloned().unwrap_or_default();
        let from = end(&history);
        history.extend(self.log.iter().filter(|it| it.zxid > from).cloned());
        history
    }

    /// What a recovery would refuse.
    pub fn is_broken(&self) -> bool {
        let history = self.history();
        history.windows(2).any(|pair| !follows(pair[0].zxid, pair[1].zxid))
    }

    /// With what is on its way.
    pub fn in_memory(&self) -> History {
        let mut history = self.history();
        history.extend(self.log_work.iter().filter_map(|(command, _)| match command {
            Command::Append(proposal) => Some(proposal.clone()),
            _ => None,
        }));
        history
    }

    /// Where the log begins behind: older txns are only in snapshots.
    pub fn log_start(&self) -> Zxid {
        end(self.snapshots.first().map_or(&[], Vec::as_slice))
    }

    pub fn add(&mut self, command: Command) {
        match command {
            Command::WriteAcceptedEpoch { .. } | Command::WriteCurrentEpoch { .. } => {
                self.epoch_work.push_back(command);
            }
            _ => self.log_work.push_back((command, 0)),
        }
    }

    pub fn has_log_work(&self) -> bool {
        !self.log_work.is_empty()
    }

    pub fn has_epoch_work(&self) -> bool {
        !self.epoch_work.is_empty()
    }

    /// Writes the next epoch file.
    pub fn epoch_step(&mut self) -> Option<Finished> {
        let command = self.epoch_work.pop_front()?;
        self.write_epoch(&command);
        command.token().map(Finished::Done)
    }

    fn write_epoch(&mut self, command: &Command) {
        match command {
            Command::WriteAcceptedEpoch { epoch, .. } => self.accepted = *epoch,
            Command::WriteCurrentEpoch { epoch, .. } => self.current = *epoch,
            _ => {}
        }
    }

    /// Syncs what is appended, or does one step of what else is next.
    pub fn log_step(&mut self, options: &Options) -> Option<Finished> {
        let mut last = None;
        while let Some((Command::Append(proposal), _)) = self.log_work.front() {
            last = Some(proposal.zxid);
            self.log.push(proposal.clone());
            self.log_work.pop_front();
        }
        if let Some(last) = last {
            return Some(Finished::Logged(last));
        }
        let (command, step) = self.log_work.pop_front()?;
        let token = command.token()?;
        match (&command, step) {
            (Command::Truncate { to, .. }, 0) => {
                if !self.can_truncate(*to) {
                    return Some(Finished::NotTruncated(token));
                }
                if !options.has(Defect::TruncKeepsNewerSnapshot) {
                    self.snapshots.retain(|it| end(it) <= *to);
                }
            }
            (Command::Truncate { to, .. }, 1) => self.log.retain(|it| it.zxid <= *to),
            (Command::InstallSnapshot { zxid, .. }, 0) => {
                self.snapshots.retain(|it| end(it) != *zxid);
                let at = self.snapshots.partition_point(|it| end(it) < *zxid);
                self.snapshots.insert(at, self.staged.take().unwrap_or_default());
            }
            (Command::InstallSnapshot { zxid, .. }, 1) => self.log.retain(|it| it.zxid <= *zxid),
            (Command::InstallSnapshot { zxid, .. }, 2) => self.snapshots.retain(|it| end(it) <= *zxid),
            (Command::InstallSnapshot { zxid, .. }, 3) => {
                self.log.clear();
                self.snapshots.retain(|it| end(it) == *zxid);
            }
            _ => return Some(Finished::Done(token)),
        }
        self.log_work.push_front((command, step + 1));
        None
    }

    /// Is there a snapshot to begin from, and does the log lead from it to `zxid`?
    fn can_truncate(&self, zxid: Zxid) -> bool {
        let Some(base) = self.snapshots.iter().rev().find(|it| end(it) <= zxid) else { return false };
        end(base) == zxid || self.log.iter().any(|it| it.zxid == zxid)
    }

    /// A snapshot of what is applied. Without the old log, if `purge`.
    pub fn take_snapshot(&mut self, content: History, purge: bool) {
        if self.has_log_work() || end(&content) <= end(self.snapshots.last().map_or(&[], Vec::as_slice)) {
            return;
        }
        if purge {
            let from = end(&content);
            self.log.retain(|it| it.zxid > from);
            self.snapshots.clear();
        }
        self.snapshots.push(content);
    }

    /// The power goes: of what was on its way, some is there and some is not.
    pub fn crash(&mut self, survives: &mut dyn FnMut() -> bool) {
        for (command, _) in std::mem::take(&mut self.log_work) {
            match command {
                Command::Append(proposal) if survives() => self.log.push(proposal),
                _ => break,
            }
        }
        if let Some(command) = self.epoch_work.pop_front()
            && survives()
        {
            self.write_epoch(&command);
        }
        self.epoch_work.clear();
        self.staged = None;
    }

    pub fn crash_at_random(&mut self, random: &mut Random) {
        self.crash(&mut || random.one_in(2));
    }
}
