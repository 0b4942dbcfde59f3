//! From a configuration to a member's machines and ports.

use std::time::Duration;

use node::{MemberConfig, TaskOptions};
use storage::epoch;
use storage::recover::Origin;
use tree::TreeConfig;
use wire::Zxid;
use zab::{CommittedLog, CommittedLogLimits, QuorumVerifier, Recovered, election};

use crate::config::{Config, EnsembleConfig};
use crate::disk::RealDisk;
use crate::dynamic_files::DynamicFiles;
use crate::quorum;
use crate::recovery::recover_options;
use crate::start::StartError;
use crate::threads::execute;

/// What the ports between servers are told.
pub(crate) fn ports(config: &Config, ensemble: &EnsembleConfig) -> quorum::Options {
    let ms = |ms: u32| Duration::from_millis(u64::from(ms));
    let ticks = |ticks: u32| ms(config.sessions.tick_ms.saturating_mul(ticks));
    let own = ensemble.verifier.member(ensemble.me).map(|it| it.addresses.clone()).unwrap_or_default();
    quorum::Options {
        me: ensemble.me,
        own,
        observer_master_port: ensemble.observer_master_port,
        multi_address: ensemble.text_rules.multi_address,
        listen_on_all: ensemble.listen_on_all,
        election_connect: ms(ensemble.election_connect_ms),
        election_hello: ms(ensemble.election_hello_ms),
        learner_hello: ticks(ensemble.init_limit_ticks),
        election_bind_tries: ensemble.election_bind_tries,
        tcp_keep_alive: ensemble.tcp_keep_alive,
        leader_connect: ticks(ensemble.connect_limit_ticks),
        leader_connect_pause: ms(ensemble.connect_pause_ms),
        length_max: config.limits.record_bytes_max as usize,
    }
}

/// Is a snapshot the first thing to be written? A member whose directory is empty, and that nobody declared to be new, has lost
/// its state: a snapshot of nothing would hide that from its next start, and it would vote (ZOOKEEPER-261).
pub(crate) fn needs_snapshot(origin: Origin, is_member: bool) -> bool {
    match origin {
        Origin::Snapshot { .. } => false,
        Origin::Nothing => !is_member,
        Origin::New | Origin::LogsOnly => true,
    }
}

/// Has it lost state, or may it have? Then it has no vote before it has synced with a leader.
pub(crate) fn has_lost_state(recovered: &storage::Recovered) -> bool {
    recovered.origin == Origin::Nothing || recovered.is_suspect
}

/// What the machines are told, and what is on the disk. `last` is the last txn there, `configuration` the text of
/// `/zookeeper/config` behind it.
pub(crate) fn member(
    config: &Config,
    ensemble: &EnsembleConfig,
    disk: &mut RealDisk,
    tree: TreeConfig,
    last: Zxid,
    configuration: &[u8],
    is_lost: bool,
) -> Result<MemberConfig, StartError> {
    let unusable = |reason: String| StartError::Directory { path: config.storage.data_dir.clone(), reason };
    let epochs = epoch::read(disk, last).map_err(|e| unusable(e.to_string()))?;
    execute(disk, &epochs.effects).map_err(|e| unusable(e.to_string()))?;
    for warning in &epochs.warnings {
        tracing::warn!("{warning}");
    }
    let mut options = zab::Options::new(ensemble.me, (*ensemble.verifier).clone());
    options.config = ensemble.verifier.to_string().into();
    options.config_version = ensemble.verifier.version();
    options.reconfig_enabled = ensemble.reconfig.is_some();
    options.text_rules = ensemble.text_rules;
    options.last_seen = last_seen(ensemble, configuration);
    options.read_only = ensemble.read_only;
    options.observer_masters = ensemble.observer_master_port.is_some();
    options.observer_log_bytes_max = ensemble.observer_log_bytes_max as usize;
    options.tick_ms = u64::from(config.sessions.tick_ms);
    options.init_limit_ticks = u64::from(ensemble.init_limit_ticks);
    options.sync_limit_ticks = u64::from(ensemble.sync_limit_ticks);
    options.epoch_wait_ms_max = ensemble.epoch_wait_ms_max.map(u64::from);
    options.force_snapshot_sync = ensemble.force_snapshot_sync;
    options.snap_syncs_max = ensemble.snap_syncs_max as usize;
    options.diff_syncs_max = ensemble.diff_syncs_max as usize;
    let limits = CommittedLogLimits { txns: ensemble.commit_log_count as usize, ..CommittedLogLimits::default() };
    options.committed_log = limits;
    let mut settings = election::Settings::new(ensemble.me);
    settings.notification_interval_ms_min = u64::from(ensemble.notification_ms_min);
    settings.notification_interval_ms_max = u64::from(ensemble.notification_ms_max);
    settings.text_rules = ensemble.text_rules;
    Ok(MemberConfig {
        options,
        election: settings,
        recovered: Recovered {
            accepted: epochs.accepted,
            current: epochs.current,
            log: CommittedLog::new(limits, last),
            is_lost,
        },
        tasks: TaskOptions {
            snapshot_size_factor: ensemble.snapshot_size_factor,
            ..TaskOptions::new(recover_options(config), tree, config.tree.digest)
        },
    })
}

/// The newest configuration that this server may have acknowledged. A reconfig is a txn: what it set stands in the tree,
/// committed or not. The file of the next one is for the first configuration, which has a version but no txn.
pub(crate) fn last_seen(ensemble: &EnsembleConfig, configuration: &[u8]) -> Option<QuorumVerifier> {
    let reconfig = ensemble.reconfig.as_ref()?;
    let of_tree = QuorumVerifier::parse(&String::from_utf8_lossy(configuration), ensemble.text_rules).ok();
    let of_file = reconfig.next.as_deref().filter(|it| Zxid(it.version()).counter() == 0).cloned();
    let seen = of_tree.into_iter().chain(of_file).max_by_key(QuorumVerifier::version)?;
    (seen.version() > ensemble.verifier.version()).then_some(seen)
}

/// Where configurations are written; a file that was not split yet is kept.
pub(crate) fn dynamic_files(ensemble: &EnsembleConfig) -> Result<Option<DynamicFiles>, StartError> {
    let Some(reconfig) = &ensemble.reconfig else { return Ok(None) };
    let files = DynamicFiles::new(&reconfig.file, ensemble.me, ensemble.verifier.version()).and_then(|files| {
        if !reconfig.is_split {
            files.back_up()?;
        }
        Ok(files)
    });
    let unusable = |e: std::io::Error| StartError::Directory {
        path: reconfig.file.clone(),
        reason: format!("with reconfigEnabled its folder must be writable: {e}"),
    };
    files.map(Some).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_lost_its_state_stays_so_until_it_has_synced() {
        let recovered = |origin, is_suspect| storage::Recovered {
            last_zxid: Zxid(-1),
            origin,
            snapshot_file: None,
            txns_replayed: 0,
            bytes_replayed: 0,
            is_suspect,
            warnings: Vec::new(),
            when_begun: Vec::new(),
        };
        assert!(has_lost_state(&recovered(Origin::Nothing, false)) && !needs_snapshot(Origin::Nothing, true));
        assert!(
            has_lost_state(&recovered(Origin::LogsOnly, true)),
            "a history that ends too early may have lost its end"
        );
        assert!(!has_lost_state(&recovered(Origin::New, false)) && needs_snapshot(Origin::New, true));
        assert!(needs_snapshot(Origin::LogsOnly, true) && needs_snapshot(Origin::Nothing, false));
    }
}
