//! A cut that is written to real files: whole or not at all, whatever goes on meanwhile.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ostler_server::disk::{RealDisk, VERSION_DIR};
use ostler_server::restore::Rebuild;
use ostler_server::snapshots::{ImageBound, SnapshotError, SnapshotOptions, write_snapshot};
use peer::Shared;
use storage::snapshot::stream::Compression;
use storage::{Dir, Disk, RecoverOptions, recover};
use tree::{Tree, TreeConfig};
use wire::txn::{CreateTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{AclVec, OpCode, SessionId, Xid, Zxid};

/// Somebody waits: no rests.
static AWAITED: AtomicBool = AtomicBool::new(true);

struct World {
    shared: Arc<Shared>,
    zxid: i64,
    disk: RealDisk,
    _dir: tempfile::TempDir,
}

impl World {
    /// With so many znodes, of data that is `length` bytes long at most.
    fn new(znodes: usize, length: usize) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
        let disk = RealDisk::new(dir.path(), dir.path());
        let shared = Arc::new(Shared::new(Tree::new(TreeConfig::default()), 1));
        let mut world = Self { shared, zxid: 0, disk, _dir: dir };
        for i in 0..znodes {
            let (path, data) = (path(i), bytes(i, i * 31 % (length + 1)));
            let txn = CreateTxn {
                path: Some(path.as_str().into()),
                data: Some(&data),
                acl: AclVec::OPEN,
                ephemeral: false,
                parent_cversion: i as i32 + 1,
            };
            world.apply(OpCode::Create, Txn::Create(txn));
        }
        world
    }

    fn apply(&mut self, op: OpCode, txn: Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(self.zxid), time_ms: 5, op };
        let mut tree = self.shared.tree.write();
        tree.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
        tree.settle_children();
    }

    fn set(&mut self, i: usize, data: &[u8]) {
        let path = path(i);
        let txn = SetDataTxn { path: Some(path.as_str().into()), data: Some(data), version: 1 };
        self.apply(OpCode::SetData, Txn::SetData(txn));
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.disk.list(Dir::Data).unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    /// What the files say, and the digest of it.
    fn recovered(&mut self) -> (Tree, Zxid) {
        let mut rebuilt = Rebuild::new(TreeConfig::default(), true);
        let recovered = recover(&mut self.disk, &RecoverOptions::default(), &mut rebuilt, &mut |_| ()).unwrap();
        let (tree, _, warnings) = rebuilt.finish();
        assert_eq!(warnings, Vec::<String>::new());
        (tree, recovered.last_zxid)
    }
}

fn path(i: usize) -> String {
    format!("/{i:06}")
}

/// Bytes that don't compress to nothing.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (((seed + i) * 2_654_435_761) >> 11) as u8).collect()
}

fn options(compression: Compression) -> SnapshotOptions {
    SnapshotOptions { force_sync: true, digest: true, compression, last_processed: true }
}

#[test]
fn what_is_written_is_the_cut_whatever_its_length() {
    // From less than a block to some pieces, one znode that is longer than a piece among them.
    for (znodes, length) in [(0, 0), (30, 100), (3000, 1500), (3, 3 << 20)] {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let mut world = World::new(znodes, length);
            let header = world.shared.tree.write().begin_cut(Vec::new(), usize::MAX);
            let (digest, zxid) = (header.digest, header.zxid);
            // Not of the cut.
            for i in 0..znodes.min(5) {
                world.set(i, b"later");
            }
            let written =
                write_snapshot(&world.shared, &mut world.disk, header, options(compression), &AWAITED).unwrap();
            let listing = world.disk.list(Dir::Data).unwrap();
            assert_eq!(world.names(), [compression.name(zxid).to_string()]);
            assert_eq!(written, Some(listing[0].length));
            let (tree, last) = world.recovered();
            assert_eq!((tree.digest(), last), (digest, zxid), "{compression}");
            for i in 0..znodes {
                let expected = bytes(i, i * 31 % (length + 1));
                assert_eq!(tree.get(&path(i)).unwrap().data(), Some(expected.as_slice()), "{i} {compression}");
            }
        }
    }
}

#[test]
fn under_a_load_that_lasts_a_snapshot_is_got_in_the_end() {
    let mut world = World::new(200, 1000);
    let bound = ImageBound::new(2000);
    let mut tries = 0;
    for data in [&b"one"[..], &[2; 900], &[3; 900]] {
        let digest = loop {
            let header = world.shared.tree.write().begin_cut(Vec::new(), bound.bytes());
            let (digest, zxid) = (header.digest, header.zxid);
            // All of it, before any of it is read.
            for i in 0..200 {
                world.set(i, data);
            }
            tries += 1;
            assert!(tries < 20, "{} bytes are not enough", bound.bytes());
            let written =
                write_snapshot(&world.shared, &mut world.disk, header, options(Compression::None), &AWAITED).unwrap();
            bound.ended(written.is_some());
            if written.is_some() {
                assert!(world.names().contains(&Compression::None.name(zxid).to_string()));
                break digest;
            }
        };
        assert_eq!(world.recovered().0.digest(), digest);
    }
    assert!(tries > 3, "none was given up");
}

#[test]
fn a_cut_that_keeps_too_much_leaves_nothing_behind_and_the_next_one_is_whole() {
    let mut world = World::new(200, 1000);
    let first = world.shared.tree.write().begin_cut(Vec::new(), usize::MAX);
    write_snapshot(&world.shared, &mut world.disk, first, options(Compression::None), &AWAITED).unwrap();
    let before = world.names();
    world.set(0, b"between");
    let header = world.shared.tree.write().begin_cut(Vec::new(), 2000);
    for i in 0..200 {
        world.set(i, b"meanwhile");
    }
    let written = write_snapshot(&world.shared, &mut world.disk, header, options(Compression::None), &AWAITED).unwrap();
    assert_eq!(written, None);
    assert_eq!(world.names(), before, "no trace of it");
    assert!(!world.shared.tree.read().has_cut());
    let digest = world.shared.tree.read().digest();
    let header = world.shared.tree.write().begin_cut(Vec::new(), 2000);
    assert!(
        write_snapshot(&world.shared, &mut world.disk, header, options(Compression::None), &AWAITED).unwrap().is_some()
    );
    assert_eq!(world.names().len(), 2);
    let (tree, last) = world.recovered();
    assert_eq!((tree.digest(), last), (digest, Zxid(world.zxid)));
    assert_eq!(tree.get(&path(7)).unwrap().data(), Some(&b"meanwhile"[..]));
}

#[test]
fn a_tree_that_is_not_what_its_txns_made_of_it_gets_into_no_file() {
    let mut world = World::new(300, 100);
    let mut header = world.shared.tree.write().begin_cut(Vec::new(), usize::MAX);
    // As if a bit of a znode had changed by itself.
    header.digest = header.digest.replace(1, 2);
    let written = write_snapshot(&world.shared, &mut world.disk, header, options(Compression::None), &AWAITED);
    let found = written.unwrap_err();
    assert!(matches!(found, SnapshotError::Memory { zxid: Zxid(300), .. }), "{found}");
    assert_eq!(world.names(), Vec::<String>::new());
}
