//! Disks and starts with a deliberate defect, which the checkers have to find. In test builds alone.

use storage::disk::{Disk, Effect, FileRef};
use storage::names::{LOG, numbered};
use storage::{Dir, FileName};
use zab::{Defect, Options};

use super::server::{Server, Then};

type IsLeftOut<'a> = &'a dyn Fn(&Effect) -> bool;

/// What a disk makes of its work.
pub(super) fn effects(options: &Options, mut effects: Vec<Effect>, then: &Then) -> Vec<Effect> {
    let is_sync = |it: &Effect| matches!(it, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_));
    let is_log = |it: &Effect| matches!(it, Effect::Remove(file) if file.dir == Dir::Log);
    if let Then::Epoch(_, file, _) = then
        && options.has(Defect::EpochFileInPlace)
    {
        return in_place(file.name(), effects);
    }
    let all = |_: &Effect| true;
    let leaves_out: &[(Defect, IsLeftOut<'_>)] = match then {
        Then::Logged(_) => &[(Defect::LogNotSynced, &is_sync)],
        Then::Epoch(..) => &[(Defect::EpochNotSynced, &is_sync)],
        Then::Truncated(..) => &[(Defect::TruncNotSynced, &is_sync)],
        Then::Received(_) => &[(Defect::SnapshotNotSynced, &is_sync)],
        Then::Installed(..) => &[(Defect::InstallKeepsLog, &is_log), (Defect::SnapshotInMemory, &all)],
        Then::Snapshot => &[(Defect::OwnSnapshotNotSynced, &is_sync)],
        _ => return effects,
    };
    for (defect, is_left_out) in leaves_out {
        if options.has(*defect) {
            effects.retain(|it| !is_left_out(it));
        }
    }
    effects
}

/// The file itself is written, and no other is renamed to it.
fn in_place(name: &str, effects: Vec<Effect>) -> Vec<Effect> {
    let file = FileRef::new(Dir::Data, FileName::Other(name.into()));
    let bytes =
        effects.into_iter().find_map(|it| if let Effect::WriteAt { bytes, .. } = it { Some(bytes) } else { None });
    vec![
        Effect::Create(file.clone()),
        Effect::WriteAt { file: file.clone(), offset: 0, bytes: bytes.unwrap_or_default() },
        Effect::Fsync(file),
        Effect::FsyncDir(Dir::Data),
    ]
}

/// Does an error of this work change nothing?
pub(super) fn ignores_errors(options: &Options, then: &Then) -> bool {
    match then {
        Then::Logged(_) => options.has(Defect::LogErrorIgnored),
        Then::Truncated(..) => options.has(Defect::TruncErrorIgnored),
        _ => false,
    }
}

/// What a purge removes.
pub(super) fn purge(server: &Server, plan: std::io::Result<Vec<FileRef>>) -> std::io::Result<Vec<FileRef>> {
    if !server.options.has(Defect::PurgeRemovesNeededLog) {
        return plan;
    }
    let mut logs = numbered(&server.disk.list(Dir::Log)?, LOG);
    logs.pop();
    Ok(logs.into_iter().map(|it| FileRef::new(Dir::Log, it.name)).collect())
}
