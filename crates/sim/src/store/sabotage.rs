//! Effects left out, or done too early, to see that a proof notices.

use std::collections::BTreeSet;

use storage::disk::{Effect, FileRef};
use storage::names::FileName;

/// Who asks for an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// The log's writer.
    Log,
    /// The fill of the next log file.
    Fill,
    /// The snapshot's writer.
    Snapshot,
    /// The purge.
    Purge,
    /// A snapshot of the leader's, received and installed.
    Install,
    /// An epoch file.
    Epoch,
    /// A truncation.
    Truncate,
    /// A clean stop.
    Close,
    /// A recovery.
    Recovery,
}

/// Where an effect comes from and what it does to what: a place in the code, more or less.
pub type Site = String;

/// The site of an effect.
pub fn site(machine: Machine, effect: &Effect) -> Site {
    let class = |file: &FileRef| match &file.name {
        FileName::Log(_) => "a log".to_owned(),
        FileName::Snapshot(_) => "a snapshot".to_owned(),
        FileName::Other(name) if name.starts_with("ostler.cut") => "what was cut".to_owned(),
        name => name.to_string(),
    };
    let what = match effect {
        Effect::Create(file) => format!("create {}", class(file)),
        Effect::WriteAt { file, .. } => format!("write {}", class(file)),
        Effect::ZeroFill { file, .. } => format!("fill {}", class(file)),
        Effect::Allocate { file, .. } => format!("allocate {}", class(file)),
        Effect::Truncate { file, .. } => format!("truncate {}", class(file)),
        Effect::Fdatasync(file) | Effect::Fsync(file) => format!("sync {}", class(file)),
        Effect::Rename { file, .. } => format!("rename {}", class(file)),
        Effect::Remove(file) => format!("remove {}", class(file)),
        Effect::FsyncDir(dir) => format!("sync the {dir} directory"),
    };
    format!("{machine:?}: {what}")
}

/// The site of one of some effects that are done in this order.
fn site_among(machine: Machine, effects: &[Effect], at: usize) -> Option<Site> {
    let effect = effects.get(at)?;
    let is_log = |effect: &Effect| matches!(effect, Effect::Fdatasync(file) if matches!(file.name, FileName::Log(_)));
    // A recovery syncs the logs that it has read, the newest one last.
    if machine == Machine::Recovery && is_log(effect) && effects[at + 1..].iter().any(is_log) {
        return Some(OLDER_LOG.to_owned());
    }
    Some(site(machine, effect))
}

/// The syncs of the logs before the newest one.
pub const OLDER_LOG: &str = "Recovery: sync an older log";

/// Is it there for order and durability only, and changes nothing that can be read?
pub fn is_sync(effect: &Effect) -> bool {
    matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_))
}

/// What is done wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// The syncs of this site are left out.
    Skip(Site),
    /// The syncs of this site are done before the effect that they follow.
    Early(Site),
}

impl Sabotage {
    /// The effects, as they are done.
    pub fn apply(&self, machine: Machine, effects: Vec<Effect>) -> Vec<Effect> {
        let hits = |wanted: &Site| -> Vec<bool> {
            let is_hit = |at| site_among(machine, &effects, at).as_ref() == Some(wanted);
            effects.iter().enumerate().map(|(at, effect)| is_sync(effect) && is_hit(at)).collect()
        };
        match self {
            Self::None => effects,
            Self::Skip(wanted) => {
                let hits = hits(wanted);
                effects.into_iter().zip(hits).filter(|(_, hit)| !hit).map(|(effect, _)| effect).collect()
            }
            Self::Early(wanted) => {
                let hits = hits(wanted);
                let mut out: Vec<Effect> = Vec::with_capacity(effects.len());
                for (effect, hit) in effects.into_iter().zip(hits) {
                    // Without anything before it that it is there for, it is early already.
                    let before = out.iter().rposition(|before| hit && covers(&effect, before));
                    out.insert(before.unwrap_or(out.len()), effect);
                }
                out
            }
        }
    }
}

/// Does this sync make durable what that effect does?
fn covers(sync: &Effect, effect: &Effect) -> bool {
    match (sync, effect) {
        (
            Effect::Fdatasync(synced) | Effect::Fsync(synced),
            Effect::WriteAt { file, .. }
            | Effect::ZeroFill { file, .. }
            | Effect::Allocate { file, .. }
            | Effect::Truncate { file, .. },
        ) => synced == file,
        (Effect::FsyncDir(dir), Effect::Create(file) | Effect::Rename { file, .. } | Effect::Remove(file)) => {
            *dir == file.dir
        }
        _ => false,
    }
}

/// The syncs among some effects.
pub fn syncs(machine: Machine, effects: &[Effect], into: &mut BTreeSet<Site>) {
    let syncs = effects.iter().enumerate().filter(|(_, effect)| is_sync(effect));
    into.extend(syncs.filter_map(|(at, _)| site_among(machine, effects, at)));
}
