//! A directory of real files: every log record and every snapshot in it, encoded again, gives the same bytes, and the whole
//! recovers. Run with `OSTLER_DATA=<a version-2 directory> cargo test -p ostler-storage --test real_files -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::fs::File;
use std::io;
use std::path::PathBuf;

use common::Memory;
use ostler_storage::disk::{Dir, Disk, DiskRead, Effect, Entry, FileRef};
use ostler_storage::log::dir::{ReadLogError, ReadOptions, read_history};
use ostler_storage::log::reader::{LogReader, Step};
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::names::{LOG, numbered};
use ostler_storage::recover::{RecoverOptions, recover};
use ostler_storage::snapshot::decode::{SnapshotVisitor, decode};
use ostler_storage::snapshot::encode::SnapshotEncoder;
use wire::jute::{Buffer, Field};
use wire::txn::TxnEntry;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

struct Files(PathBuf);

impl Disk for Files {
    fn is_separate(&self) -> bool {
        false
    }
    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        if matches!(dir, Dir::DataParent | Dir::LogParent) {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(&self.0)?;
        entries
            .map(|entry| {
                let entry = entry?;
                Ok(Entry { name: entry.file_name().into_string().unwrap(), length: entry.metadata()?.len() })
            })
            .collect()
    }
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        Ok(Box::new(File::open(self.0.join(file.to_string()))?))
    }
    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        panic!("{effect:?}: nothing is changed here")
    }
}

#[derive(Default)]
struct All {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<u8>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
}

impl SnapshotVisitor for All {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.push((session, timeout_ms));
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.acls.push((id, acl.as_bytes().to_vec()));
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), acl_id, *stat));
        Ok(())
    }
}

#[test]
#[ignore = "needs a directory"]
fn encoded_again_they_are_the_same() {
    let dir = PathBuf::from(std::env::var("OSTLER_DATA").unwrap());
    let mut disk = Files(dir.clone());
    for entry in disk.list(Dir::Data).unwrap() {
        let bytes = std::fs::read(dir.join(&entry.name)).unwrap();
        if entry.name.starts_with("log.") {
            let mut reader = LogReader::open(bytes.as_slice(), 1 << 21).unwrap().unwrap();
            let (mut again, mut txns) = (HEADER.to_vec(), 0);
            let end = loop {
                match reader.step().unwrap() {
                    Step::Record(record) => {
                        txns += 1;
                        encode(&TxnEntry::from_slice(record.blob).unwrap().to_vec(), &mut again);
                    }
                    Step::End(end) => break end,
                }
            };
            assert!(bytes.starts_with(&again), "{}", entry.name);
            println!("{}: {txns} txns, {end:?} of {}", entry.name, bytes.len());
        } else if entry.name.starts_with("snapshot.") {
            let mut all = All::default();
            let end = decode(bytes.as_slice(), 1 << 21, &mut all).unwrap();
            let (mut encoder, mut again) = (SnapshotEncoder::new(), Vec::new());
            let acls = all.acls.iter().map(|(id, acl)| (*id, AclVec::parse(acl).unwrap()));
            encoder.begin(all.sessions.iter().copied(), acls, &mut again);
            for (path, data, acl_id, stat) in &all.nodes {
                encoder.node(path, data.as_deref(), *acl_id, stat, &mut again);
            }
            encoder.finish(end.digest, end.last_processed, &mut again);
            assert!(bytes == again, "{}", entry.name);
            println!("{}: {end:?}", entry.name);
        }
    }
    let options = RecoverOptions { repair: false, ..RecoverOptions::default() };
    let mut memory = Memory::default();
    let found = recover(&mut disk, &options, &mut memory, &mut |_| ()).unwrap();
    println!("{found:?}");
    // All of the logs, from the oldest on, are one history.
    let oldest = numbered(&disk.list(Dir::Log).unwrap(), LOG).first().unwrap().zxid;
    let options =
        ReadOptions { blob_max: 1 << 21, batch_max: 8 << 20, went_on: false, closed: None, initial_counter: 0 };
    let before = Zxid(oldest.0 - 1);
    let history = read_history::<ReadLogError>(&disk, before, &options, &mut |_, _| Ok(())).unwrap();
    println!("{history:?}");
    assert_eq!(history.last, found.last_zxid);
}
