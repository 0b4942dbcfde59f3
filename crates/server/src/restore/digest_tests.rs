//! What digests show: txns that are missing where no number shows it, and snapshots that hold something else than they say.

use sim::VirtualDisk;
use storage::disk::FileRef;
use storage::log::record::{HEADER, encode};
use storage::recover::{RecoverError, Recovered};
use storage::snapshot::encode::SnapshotEncoder;
use storage::{RecoverOptions, recover};
use tree::{Tree, TreeConfig};
use wire::txn::{CreateTxn, DIGEST_VERSION, ErrorTxn, Txn, TxnDigest, TxnHeader};
use wire::{ErrorCode, Field, OpCode, Xid, Zxid};

use super::*;

/// A server with its tree.
struct Writer {
    tree: Tree,
    digests: bool,
}

impl Writer {
    fn new() -> Self {
        Self { tree: Tree::new(TreeConfig::default()), digests: true }
    }

    /// The entry of a txn that it applies.
    fn write(&mut self, zxid: i64, op: OpCode, txn: Txn<'_>) -> Vec<u8> {
        let header = TxnHeader { session: SessionId(1), cxid: Xid(2), zxid: Zxid(zxid), time_ms: zxid, op };
        let mut entry = TxnEntry { header, txn, digest: None };
        self.tree.apply(&entry, &mut Vec::new());
        let digest = TxnDigest { version: DIGEST_VERSION, digest: self.tree.digest().0 };
        entry.digest = (self.digests && op != OpCode::Error).then_some(digest);
        entry.to_vec()
    }

    fn create(&mut self, zxid: i64, path: &str) -> Vec<u8> {
        let parent = wire::path::split(path).map_or("", |(parent, _)| parent);
        let parent = self.tree.get(if parent.is_empty() { "/" } else { parent }).unwrap();
        let parent_cversion = parent.stat_persisted().cversion + 1;
        let txn = CreateTxn {
            path: Some(path.into()),
            data: Some(b"data"),
            acl: AclVec::OPEN,
            ephemeral: false,
            parent_cversion,
        };
        self.write(zxid, OpCode::Create, Txn::Create(txn))
    }

    fn error(&mut self, zxid: i64) -> Vec<u8> {
        self.write(zxid, OpCode::Error, Txn::Error(ErrorTxn { err: ErrorCode::NO_NODE }))
    }

    /// Txns of an epoch, each of a znode of its own.
    fn epoch(&mut self, epoch: i64, txns: i64) -> Vec<Vec<u8>> {
        (1..=txns).map(|counter| self.create((epoch << 32) | counter, &format!("/{epoch}-{counter}"))).collect()
    }

    /// A snapshot of what it has now, named and sealed as of another tree, perhaps.
    fn snapshot(&self, zxid: i64, digest: i64) -> Vec<u8> {
        let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
        encoder.begin([].into_iter(), [].into_iter(), &mut out);
        let mut paths = vec![String::new()];
        while let Some(path) = paths.pop() {
            let node = self.tree.get(if path.is_empty() { "/" } else { &path }).unwrap();
            encoder.node(&path, node.data(), -1, &node.stat_persisted(), &mut out);
            node.children().for_each(|child| paths.push(format!("{path}/{}", str::from_utf8(child.name()).unwrap())));
        }
        let digest = SnapshotDigest { zxid: Zxid(zxid), version: DIGEST_VERSION, digest };
        encoder.finish(Some(digest), Some(Zxid(zxid)), &mut out);
        out
    }
}

fn put_log(disk: &mut VirtualDisk, first: i64, entries: &[Vec<u8>]) {
    let mut bytes = HEADER.to_vec();
    for entry in entries {
        encode(entry, &mut bytes);
    }
    disk.put(&FileRef::log(Zxid(first)), &bytes);
}

fn put_snapshot(disk: &mut VirtualDisk, zxid: i64, bytes: &[u8]) {
    disk.put(&FileRef::snapshot(Zxid(zxid)), bytes);
}

/// A directory that begins with the empty tree, with logs of these epochs.
fn begun(logs: &[(i64, Vec<Vec<u8>>)]) -> VirtualDisk {
    let mut disk = VirtualDisk::new(false);
    put_snapshot(&mut disk, 0, &Writer::new().snapshot(0, 0));
    for (epoch, entries) in logs {
        put_log(&mut disk, (epoch << 32) | 1, entries);
    }
    disk
}

fn start(disk: &VirtualDisk, options: &RecoverOptions) -> Result<(Tree, Recovered), RecoverError> {
    let mut rebuilt = Rebuild::new(TreeConfig::default(), true);
    let mut disk = disk.clone();
    let before = disk.clone();
    let found = recover(&mut disk, options, &mut rebuilt, &mut |_| ());
    if found.is_err() {
        assert!(disk == before, "refused, and changed all the same");
    }
    found.map(|found| (rebuilt.finish().0, found))
}

fn accepting() -> RecoverOptions {
    RecoverOptions { accept_suspect_tail: true, ..RecoverOptions::default() }
}

#[test]
fn an_epoch_that_is_gone_is_missed() {
    let mut writer = Writer::new();
    let logs: Vec<_> = (1..=3).map(|epoch| (epoch, writer.epoch(epoch, 5))).collect();
    let (tree, found) = start(&begun(&logs), &RecoverOptions::default()).unwrap();
    assert_eq!((tree.digest(), found.warnings.clone(), found.is_suspect), (writer.tree.digest(), vec![], false));
    // Whichever is gone: the first, one in between, or the end of one. Of the last one's end nobody knows.
    for (gone, last) in [(0, "0x0"), (1, "0x100000005")] {
        let mut logs = logs.clone();
        let (epoch, _) = logs.remove(gone);
        let (disk, next) = (begun(&logs), format!("{:#x}", ((epoch + 1) << 32) | 1));
        let error = start(&disk, &RecoverOptions::default()).map(|_| ()).unwrap_err().to_string();
        let expected = format!("txns are missing between {last} and {next}, at byte 16 of log.{}", &next[2..]);
        assert!(error.starts_with(&expected), "{error}");
        let (_, found) = start(&disk, &accepting()).unwrap();
        assert!(found.is_suspect && found.warnings.iter().any(|it| it.starts_with(&expected)), "{:?}", found.warnings);
    }
    let mut cut = logs;
    cut[1].1.pop();
    let error = start(&begun(&cut), &RecoverOptions::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("between 0x200000004 and 0x300000001"), "{error}");
}

#[test]
fn errors_between_epochs_hide_nothing() {
    let mut writer = Writer::new();
    let mut one = writer.epoch(1, 3);
    one.push(writer.error((1 << 32) | 4));
    let mut two = writer.epoch(2, 3);
    two.push(writer.error((2 << 32) | 4));
    let three = vec![writer.error((3 << 32) | 1), writer.create((3 << 32) | 2, "/late")];
    let whole = begun(&[(1, one.clone()), (2, two), (3, three.clone())]);
    assert_eq!(start(&whole, &RecoverOptions::default()).unwrap().1.warnings, Vec::<String>::new());
    let error = start(&begun(&[(1, one), (3, three)]), &RecoverOptions::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("between 0x100000003 and 0x300000002"), "{error}");
}

#[test]
fn inside_an_epoch_a_wrong_digest_is_a_warning() {
    let mut writer = Writer::new();
    let mut entries = writer.epoch(1, 4);
    // What a leader with damaged memory writes, for a while.
    let at = entries[2].len() - 1;
    entries[2][at] ^= 1;
    let (tree, found) = start(&begun(&[(1, entries)]), &RecoverOptions::default()).unwrap();
    assert_eq!((tree.digest(), found.is_suspect), (writer.tree.digest(), false));
    let warned = "from txn 0x100000003 on, at byte ";
    let again = ", and from 0x100000004 on it is: compare this server's data with its source";
    assert!(found.warnings[0].starts_with(warned) && found.warnings[0].ends_with(again), "{:?}", found.warnings);
}

#[test]
fn without_digests_nothing_is_known() {
    let mut writer = Writer::new();
    let one = writer.epoch(1, 3);
    writer.digests = false;
    let two = writer.epoch(2, 3);
    writer.epoch(3, 3);
    writer.digests = true;
    // Nothing says at which txn the tree was not the log's any more.
    let four = writer.epoch(4, 3);
    let (_, found) = start(&begun(&[(1, one), (2, two), (4, four)]), &RecoverOptions::default()).unwrap();
    assert!(found.warnings[0].starts_with("from txn 0x400000001 on"), "{:?}", found.warnings);
}

#[test]
fn a_snapshot_with_another_digest_is_passed_over() {
    let mut writer = Writer::new();
    let entries = writer.epoch(0, 6);
    let right = writer.snapshot(6, writer.tree.digest().0);
    let mut other = Writer::new();
    other.epoch(0, 5);
    let mut wrong = other.snapshot(6, writer.tree.digest().0);
    let mut disk = begun(&[(0, entries)]);
    put_snapshot(&mut disk, 6, &right);
    let (_, found) = start(&disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.txns_replayed, found.warnings), (0, vec![]));
    put_snapshot(&mut disk, 6, &wrong);
    let (tree, found) = start(&disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.txns_replayed, tree.digest()), (6, writer.tree.digest()));
    let said = "snapshot.6 can't be loaded: what it holds is not what its digest is of";
    assert!(found.warnings[0].starts_with(said), "{:?}", found.warnings);
    // There is no other, and whatever is behind it does not put it right.
    let mut alone = VirtualDisk::new(false);
    put_snapshot(&mut alone, 6, &wrong);
    let more = writer.create(7, "/more");
    for with_log in [false, true] {
        if with_log {
            put_log(&mut alone, 7, std::slice::from_ref(&more));
        }
        let error = start(&alone, &accepting()).map(|_| ()).unwrap_err();
        assert!(matches!(error, RecoverError::NoSnapshot { .. }), "{error}");
        assert!(error.to_string().contains("a piece of it is damaged"), "{error}");
    }
    // A digest that is computed in another way says nothing.
    let version = wrong.len() - 8 - 13 - 13 - 8 - 1;
    wrong[version] = 1;
    put_snapshot(&mut disk, 6, &wrong);
    assert!(start(&disk, &RecoverOptions::default()).is_ok());
}

#[test]
fn a_txn_that_was_half_applied_when_apache_ended_its_snapshot_makes_up_for_it() {
    let mut writer = Writer::new();
    let entries = writer.epoch(0, 6);
    let digest = writer.tree.digest().0;
    let next = writer.create(7, "/next");
    let mut disk = VirtualDisk::new(false);
    put_snapshot(&mut disk, 6, &writer.snapshot(6, digest));
    put_log(&mut disk, 1, &entries);
    put_log(&mut disk, 7, &[next]);
    let (tree, found) = start(&disk, &RecoverOptions::default()).unwrap();
    assert_eq!((tree.digest(), found.warnings), (writer.tree.digest(), vec![]));
}

#[test]
fn a_purge_leaves_so_much_that_a_start_finds_what_it_found_before() {
    let (mut writer, mut other) = (Writer::new(), Writer::new());
    other.create(1, "/another");
    let mut disk = begun(&[]);
    let mut txns = Vec::new();
    for zxid in 1..=7 {
        txns.push(writer.create(zxid, &format!("/{zxid}")));
        let digest = writer.tree.digest().0;
        match zxid {
            2 => put_snapshot(&mut disk, zxid, &writer.snapshot(zxid, digest)),
            // Whole, and of another tree than they say.
            4..=6 => put_snapshot(&mut disk, zxid, &other.snapshot(zxid, digest)),
            _ => {}
        }
    }
    put_log(&mut disk, 1, &txns[..3]);
    put_log(&mut disk, 4, &txns[3..]);
    let found = |disk: &VirtualDisk| {
        let (tree, found) = start(disk, &RecoverOptions::default()).unwrap();
        (tree.digest(), found.last_zxid, found.origin)
    };
    let before = found(&disk);
    assert_eq!(before.0, writer.tree.digest());
    let files = storage::purge::plan(&disk, 3, 1 << 20, tree::digest::node_digest).unwrap();
    for effect in storage::purge::removal(&disk, files, 1 << 20).unwrap() {
        storage::Disk::execute(&mut disk, &effect).unwrap();
    }
    assert_eq!(found(&disk), before);
}

#[test]
fn logs_alone_that_begin_with_a_later_epoch_are_the_rest_of_more() {
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    for digests in [true, false] {
        let mut writer = Writer { digests, ..Writer::new() };
        let mut disk = VirtualDisk::new(false);
        let parent = writer.create((1 << 32) | 1, "/a");
        let child = writer.create((2 << 32) | 1, "/a/b");
        put_log(&mut disk, (2 << 32) | 1, std::slice::from_ref(&child));
        let error = start(&disk, &trust).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("the oldest txn that is left is 0x200000001, at byte 16 of log.200000001"), "{error}");
        assert!(error.contains(", and txn 0x200000001 does not fit"), "{error}");
        put_log(&mut disk, (1 << 32) | 1, &[parent]);
        assert_eq!(start(&disk, &trust).unwrap().0.digest(), writer.tree.digest());
    }
}
