//! What is read of a directory at the start, and what is done if it can't be, or if there is nothing where something was.

use std::time::{Duration, Instant};

use storage::epoch;
use storage::recover::{Origin, Progress};
use storage::{RecoverOptions, recover};
use tree::TreeConfig;

use crate::config::Config;
use crate::directories;
use crate::disk::{LOCK_FILE, RealDisk};
use crate::last_stop::{self, LastStop};
use crate::restore::Rebuild;
use crate::set_aside;
use crate::start::StartError;

/// A member whose files are damaged begins anew, without a vote: see [`set_aside`].
pub(crate) fn rebuild_or_begin_anew(
    config: &Config,
    tree_config: TreeConfig,
    disk: &mut RealDisk,
    last_stop: &LastStop,
) -> Result<(Rebuild, storage::Recovered), StartError> {
    let (storage, is_member) = (&config.storage, config.ensemble.is_some());
    let tell = |name: &str, why: &str| {
        tracing::error!(
            "all files are set aside, in {name} beside them, and this member has no vote until it has a copy of the leader's \
             data. If the others have no quorum without it, stop it, and move the files back. The reason: {why}"
        );
    };
    if let Some(name) = set_aside::resume(storage, is_member)? {
        tell(&name, "damaged files were being moved when this server stopped");
    }
    match rebuild(config, tree_config, disk, last_stop) {
        Err(StartError::Recover { error, .. }) if is_member && error.is_mended_by_a_copy() => {
            let name = set_aside::set_aside(storage).map_err(|denied| StartError::Directory {
                path: storage.data_dir.clone(),
                reason: format!("{error}; {denied}"),
            })?;
            tell(&name, &error.to_string());
            *disk = disk.anew();
            // What the last server said was said of files that are elsewhere now.
            rebuild(config, tree_config, disk, &LastStop::default())
        }
        done => done,
    }
}

fn rebuild(
    config: &Config,
    tree_config: TreeConfig,
    disk: &mut RealDisk,
    last_stop: &LastStop,
) -> Result<(Rebuild, storage::Recovered), StartError> {
    let storage = &config.storage;
    let begun = has_begun(config, disk, last_stop);
    let mut rebuilt = Rebuild::new(tree_config, config.tree.digest);
    let went_on = last_stop.is_of(last_stop::boot().as_deref());
    let options = recover_options(config);
    let autocreate = options.autocreate && begun.is_none();
    let options = RecoverOptions { went_on, closed: last_stop.closed.clone(), autocreate, ..options };
    let (began, mut told) = (Instant::now(), Instant::now());
    let mut progress = |progress: Progress| {
        // Only a start that takes long enough to wonder about says how far it is.
        if began.elapsed() < Duration::from_secs(2) || told.elapsed() < Duration::from_secs(1) {
            return;
        }
        told = Instant::now();
        match progress {
            Progress::Snapshot { zxid, bytes, total } => {
                tracing::info!("reading snapshot.{:x}: {} %", zxid.0, bytes * 100 / total.max(1));
            }
            Progress::Txns { txns, zxid } => tracing::info!("replayed {txns} txns, up to {zxid}"),
        }
    };
    let recovered = recover(disk, &options, &mut rebuilt, &mut progress)
        .map_err(|error| StartError::Recover { paths: directories::folders(storage), error: Box::new(error) })?;
    if let Some(evidence) = begun.filter(|_| recovered.origin == Origin::Nothing) {
        emptied(config, &evidence)?;
    }
    Ok((rebuilt, recovered))
}

/// What says that a server has begun here, beside its history: an epoch that a member has taken part in, or the word that a
/// server of ours leaves once it has a snapshot.
fn has_begun(config: &Config, disk: &RealDisk, last_stop: &LastStop) -> Option<String> {
    let epoch = config.ensemble.as_ref().and_then(|_| epoch::has_begun(disk));
    let word = (*last_stop != LastStop::default()).then(|| format!("{LOCK_FILE} says that a server has begun there"));
    epoch.map(|(file, epoch)| format!("{} says {epoch}", file.name())).or(word)
}

/// There is nothing where a server has begun. A member gets all from a leader, and must not vote before: it may have acknowledged
/// what is gone.
///
/// # Errors
/// There is nobody to get it from.
fn emptied(config: &Config, evidence: &str) -> Result<(), StartError> {
    let storage = &config.storage;
    let folders: Vec<_> = directories::folders(storage).iter().map(|folder| folder.display().to_string()).collect();
    let found = format!("there is neither a snapshot nor a log in {}, although {evidence}", folders.join(" or "));
    if config.ensemble.is_some() {
        tracing::warn!(
            "{found}: this member has lost what it had, and has no vote until it has a copy of a leader's data. If all members are to \
             begin anew, remove acceptedEpoch, currentEpoch and {LOCK_FILE} of each as well, or create a file `initialize` in its \
             dataDir"
        );
        return Ok(());
    }
    let reason = format!(
        "{found}: were they removed, or is another disk mounted? Bring them back, or a copy of them. To begin with an empty database, \
         remove {LOCK_FILE} as well, or create a file `initialize` in dataDir"
    );
    Err(StartError::Directory { path: storage.data_dir.clone(), reason })
}

/// How the directory is read.
pub(crate) fn recover_options(config: &Config) -> RecoverOptions {
    let storage = &config.storage;
    RecoverOptions {
        trust_empty: storage.trust_empty_snapshot,
        // What was set aside was not nothing.
        autocreate: storage.database_autocreate && !(config.ensemble.is_some() && set_aside::was_done(storage)),
        accept_suspect_tail: storage.accept_suspect_tail,
        length_max: config.limits.record_bytes_max as usize,
        ..RecoverOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    /// Of a directory that holds only these files, and `ostler.lock` with this word.
    fn start(files: &[(&str, &str)], is_member: bool, word: &LastStop) -> Result<Origin, String> {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["data/version-2", "log/version-2"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let config = config(dir.path(), is_member);
        let mut disk = RealDisk::new(&config.storage.data_dir, &config.storage.data_log_dir);
        let done = rebuild_or_begin_anew(&config, TreeConfig::default(), &mut disk, word);
        done.map(|(_, recovered)| recovered.origin).map_err(|e| e.to_string())
    }

    fn config(dir: &Path, is_member: bool) -> Config {
        let cfg = dir.join("zoo.cfg");
        let mut text = format!("dataDir={0}/data\ndataLogDir={0}/log\nclientPort=1\n", dir.display());
        if is_member {
            fs::write(dir.join("data/myid"), "1").unwrap();
            text += "initLimit=5\nsyncLimit=2\nserver.1=127.0.0.1:21:31\nserver.2=127.0.0.1:22:32\nserver.3=127.0.0.1:23:33\n";
        }
        fs::write(&cfg, text).unwrap();
        Config::load(&cfg, &Environment::default()).unwrap()
    }

    #[test]
    fn a_directory_that_was_emptied_is_no_new_one() {
        let (none, word) = (LastStop::default(), LastStop { boot: Some("b-1".to_owned()), closed: None });
        let epochs = [("data/version-2/currentEpoch", "1"), ("data/version-2/acceptedEpoch", "1")];
        let accepted = [("data/version-2/currentEpoch", "0"), ("data/version-2/acceptedEpoch", "1")];
        let fresh = [("data/version-2/currentEpoch", "0"), ("data/version-2/acceptedEpoch", "0")];
        for files in [&fresh[..], &[]] {
            assert_eq!(start(files, true, &none), Ok(Origin::New));
        }
        for (files, word) in [(&epochs[..], &none), (&accepted[..], &none), (&[], &word), (&fresh, &word)] {
            assert_eq!(start(files, true, word), Ok(Origin::Nothing), "{files:?} {word:?}");
            let declared = [files, &[("data/initialize", "")]].concat();
            assert_eq!(start(&declared, true, word), Ok(Origin::New), "{files:?} {word:?}");
        }
        // A standalone server has no epochs, and nobody to copy from.
        assert_eq!(start(&epochs, false, &none), Ok(Origin::New));
        let error = start(&[], false, &word).unwrap_err();
        assert!(
            error.contains("there is neither a snapshot nor a log") && error.contains("remove ostler.lock"),
            "{error}"
        );
        assert_eq!(start(&[("data/initialize", "")], false, &word), Ok(Origin::New));
    }
}
