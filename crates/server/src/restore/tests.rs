//! One thread or two: the same tree, and the same error.

use storage::disk::{Disk, Effect, FileRef};
use storage::recover::{Progress, RecoverError};
use storage::snapshot::encode::SnapshotEncoder;
use storage::snapshot::stream::{Compression, Compressor};
use storage::{RecoverOptions, recover};
use tree::TreeConfig;
use wire::{StatPersisted, Zxid};

use super::*;
use crate::disk::{RealDisk, VERSION_DIR};

/// More than one batch for the other thread, and what waits for it.
const ZNODES: usize = 30_000;

/// A snapshot of the root and these znodes, with 100 bytes of data each.
fn snapshot(paths: impl Iterator<Item = String>) -> Vec<u8> {
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    let acl = AclVec::encode(&[wire::Acl::new(1, "world", "anyone")]);
    encoder.begin([(SessionId(7), 4000)].into_iter(), [(1, AclVec::of_encoded(&acl))].into_iter(), &mut out);
    encoder.node("", Some(b""), -1, &StatPersisted::default(), &mut out);
    for (i, path) in paths.enumerate() {
        let data = (i % 5 > 0).then_some([i as u8; 100]);
        let stat = StatPersisted { czxid: Zxid(i as i64), ..StatPersisted::default() };
        encoder.node(&path, data.as_ref().map(<[u8; 100]>::as_slice), 1, &stat, &mut out);
    }
    encoder.finish(None, Some(Zxid(0x20)), &mut out);
    out
}

fn paths() -> impl Iterator<Item = String> {
    std::iter::once("/a".to_owned()).chain((0..ZNODES).map(|i| format!("/a/{i:06}")))
}

struct Loaded {
    result: Result<(Tree, BTreeMap<SessionId, i32>), String>,
    told: Vec<(u64, u64)>,
}

fn load(bytes: &[u8], compression: Compression, on_two_threads: bool) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
    let mut disk = RealDisk::new(dir.path(), dir.path());
    let file = FileRef::new(storage::Dir::Data, compression.name(Zxid(0x20)));
    let mut compressor = Compressor::new(compression);
    let mut packed = compressor.add(bytes.to_vec()).unwrap();
    packed.extend(compressor.finish().unwrap());
    disk.execute(&Effect::Create(file.clone())).unwrap();
    disk.execute(&Effect::WriteAt { file, offset: 0, bytes: packed }).unwrap();
    let mut told = Vec::new();
    let mut rebuilt = Rebuild { on_two_threads, ..Rebuild::new(TreeConfig::default(), true) };
    let result = recover(&mut disk, &RecoverOptions::default(), &mut rebuilt, &mut |progress| {
        if let Progress::Snapshot { bytes, total, zxid } = progress {
            assert_eq!(zxid, Zxid(0x20));
            told.push((bytes, total));
        }
    });
    let result = match result {
        Ok(_) => {
            let (tree, sessions, warnings) = rebuilt.finish();
            assert_eq!(warnings, Vec::<String>::new());
            Ok((tree, sessions))
        }
        Err(RecoverError::NoSnapshot { tried }) => Err(tried.iter().map(|(_, error)| error.to_string()).collect()),
        Err(other) => panic!("{other}"),
    };
    Loaded { result, told }
}

#[test]
fn two_threads_build_the_same_tree_and_tell_their_progress() {
    let bytes = snapshot(paths());
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let one = load(&bytes, compression, false);
        let two = load(&bytes, compression, true);
        let ((one_tree, one_sessions), (two_tree, two_sessions)) = (one.result.unwrap(), two.result.unwrap());
        assert!(one_tree.node_count() > ZNODES);
        assert_eq!(two_tree.node_count(), one_tree.node_count());
        assert_eq!(two_tree.digest(), one_tree.digest());
        assert_eq!(two_sessions, one_sessions);
        assert_eq!(two.told, one.told, "how far the file is read");
        assert!(two.told.is_sorted() && two.told.len() > 1);
        assert!(two.told.iter().all(|(bytes, total)| bytes <= total));
        assert_eq!(two.told.last().map(|(bytes, total)| bytes == total), Some(true), "to its end");
    }
}

#[test]
fn two_threads_find_the_same_fault() {
    // The place of the znode that is wrong: in the first batch, in the middle, among the last.
    for at in [1, 2, ZNODES / 2, ZNODES - 1] {
        for wrong in ["/b/orphan", "/a", "nonsense", ""] {
            let bytes = snapshot(paths().enumerate().map(|(i, path)| if i == at { wrong.to_owned() } else { path }));
            // The whole file; one that breaks off later; one with a checksum that is wrong as well.
            let mut cut = bytes[..bytes.len() - 3000].to_vec();
            cut.extend_from_slice(b"\0\0\0\x01/");
            let mut unsealed = bytes.clone();
            let middle = unsealed.len() - 700;
            unsealed[middle] ^= 0x10;
            for bytes in [&bytes, &cut, &unsealed] {
                let error =
                    |on_two_threads| load(bytes, Compression::None, on_two_threads).result.map(|_| ()).unwrap_err();
                assert_eq!(error(true), error(false), "{wrong:?} at {at}");
            }
        }
    }
}

#[test]
fn two_threads_report_damage_that_is_no_znode() {
    let bytes = snapshot(paths());
    for at in [0, 20, 60, bytes.len() / 2, bytes.len() - 30, bytes.len() - 7] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x80;
        let error = |on_two_threads| load(&damaged, Compression::None, on_two_threads).result.map(|_| ()).unwrap_err();
        assert_eq!(error(true), error(false), "byte {at}");
    }
}

/// How long the parts of a load take, for who wants to make it faster. Run with `cargo test --release -p ostler-server restore --
/// --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it prints what it has measured")]
fn how_long_each_part_takes() {
    use storage::snapshot::decode::{Ignore, SnapshotVisitor, decode};
    use tree::restore::TreeBuilder;

    struct Digests(i64);
    impl SnapshotVisitor for Digests {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, _: i64, _: AclVec<'_>) {}
        fn node(&mut self, path: &str, data: Buffer<'_>, _: i64, stat: &StatPersisted) -> Result<(), String> {
            self.0 += i64::from(tree::digest::node_digest(path, data, stat));
            Ok(())
        }
    }
    struct Build(TreeBuilder);
    impl SnapshotVisitor for Build {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, id: i64, acl: AclVec<'_>) {
            self.0.acl(id, acl);
        }
        fn node(&mut self, path: &str, data: Buffer<'_>, acl: i64, stat: &StatPersisted) -> Result<(), String> {
            self.0.node(path, data, acl, stat).map_err(|e| e.to_string())
        }
    }
    let million = std::iter::once("/a".to_owned()).chain((0..1_000_000).map(|i| format!("/a/{i:010}")));
    let bytes = snapshot(million);
    for _ in 0..3 {
        let began = Instant::now();
        decode(bytes.as_slice(), 1 << 20, &mut Ignore).unwrap();
        let read = began.elapsed();
        let began = Instant::now();
        decode(bytes.as_slice(), 1 << 20, &mut Digests(0)).unwrap();
        let digests = began.elapsed();
        let began = Instant::now();
        let mut build = Build(TreeBuilder::new(TreeConfig::default()));
        decode(bytes.as_slice(), 1 << 20, &mut build).unwrap();
        let built = began.elapsed();
        let began = Instant::now();
        let tree = build.0.finish(Zxid(0x20)).unwrap();
        let ordered = began.elapsed();
        println!(
            "{} znodes: read {read:?}, with digests {digests:?}, built {built:?}, then put in order {ordered:?}",
            tree.node_count()
        );
        for on_two_threads in [false, true] {
            let began = Instant::now();
            assert!(load(&bytes, Compression::None, on_two_threads).result.is_ok());
            println!("  from a file, two threads {on_two_threads}: {:?}", began.elapsed());
        }
    }
}
