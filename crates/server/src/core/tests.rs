//! Snapshots as the server takes them, one after another.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use node::NodeConfig;
use peer::{ContainerRules, LocalSessions, Pipeline, PipelineConfig};
use storage::LogOptions;
use storage::policy::SnapPolicy;
use storage::snapshot::stream::Compression;
use tree::{HashKeys, Tree, TreeConfig};
use wire::txn::{CreateTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{AclVec, OpCode, ServerId, SessionId, Xid, Zxid};

use super::*;
use crate::disk::{RealDisk, VERSION_DIR};
use crate::snapshots::{SnapshotOptions, run_snapshots};

const ZNODES: i64 = 200;
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that stands alone, with an empty tree. For a snapshot under way it keeps so many bytes at first.
fn core(images: usize) -> Core {
    let clock = Clock::default();
    let shared = Arc::new(Shared::new(Tree::new(TreeConfig::default()), 1));
    let config = PipelineConfig {
        server: ServerId(1),
        tick_ms: 1000,
        auth: Arc::default(),
        length_max: 1 << 20,
        digests: true,
        close_session_paths: true,
        sessions_max: usize::MAX,
        enforce_quota: false,
        reconfig_enabled: false,
        local_sessions: LocalSessions::Off,
        containers: ContainerRules { check_ms: 60_000, per_minute_max: 1000, never_used_ms: None },
        keys: HashKeys::default(),
    };
    let pipeline = Pipeline::new(config, &shared.tree.read(), [], 1, clock.now());
    let policy = SnapPolicy::new(1_000_000, 0, 0);
    let node = NodeConfig { pipeline, log: LogOptions::default(), last: Zxid::ZERO, policy, seed: 1 };
    Core { images: ImageBound::new(images), ..Core::new(shared, clock, Node::standalone(node), None) }
}

/// Each znode is created, or gets other data.
fn change_all(core: &Core, data: &[u8]) {
    let mut tree = core.shared.tree.write();
    let is_first = tree.get("/1").is_none();
    for i in 1..=ZNODES {
        let path = format!("/{i}");
        let path = Some(path.as_str().into());
        let (op, txn) = if is_first {
            let acl = AclVec::OPEN;
            let create = CreateTxn { path, data: Some(data), acl, ephemeral: false, parent_cversion: i as i32 };
            (OpCode::Create, Txn::Create(create))
        } else {
            (OpCode::SetData, Txn::SetData(SetDataTxn { path, data: Some(data), version: 1 }))
        };
        let zxid = tree.last_processed().next();
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid, time_ms: 5, op };
        tree.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
    }
    tree.settle_children();
}

/// Begins a snapshot; with `meanwhile`, all znodes are changed before any of them is read.
fn begin(core: &Core, meanwhile: Option<&[u8]>) {
    let header = core.shared.tree.write().begin_cut(Vec::new(), core.images.bytes());
    if let Some(data) = meanwhile {
        change_all(core, data);
    }
    *core.snapshot_next.lock() = Some(header);
    core.snapshot_wake.notify_one();
}

#[test]
fn one_that_was_given_up_lets_the_next_one_keep_more() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
    let core = Arc::new(core(2000));
    change_all(&core, &[1; 900]);
    let options =
        SnapshotOptions { force_sync: false, digest: true, compression: Compression::None, last_processed: true };
    let (running, disk) = (core.clone(), RealDisk::new(dir.path(), dir.path()));
    let thread = std::thread::spawn(move || run_snapshots(&running, disk, options));
    let meanwhile: [Option<&[u8]>; 4] = [Some(&[2; 900]), Some(&[3; 900]), None, None];
    for (meanwhile, then) in meanwhile.into_iter().zip([4000, 8000, 4000, 2000]) {
        begin(&core, meanwhile);
        let deadline = Instant::now() + PATIENCE;
        while core.images.bytes() != then {
            assert!(Instant::now() < deadline, "in vain: {then} bytes, and not {}", core.images.bytes());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!core.shared.tree.read().has_cut());
    }
    core.stop();
    thread.join().unwrap().unwrap();
}
