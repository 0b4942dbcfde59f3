//! A server's life with its directory: write, snapshot, roll, stop, start.

mod common;

use common::*;
use ostler_storage::disk::{Dir, FileRef};
use ostler_storage::recover::{Origin, RecoverOptions};
use ostler_storage::snapshot::write::SnapshotWriter;
use ostler_storage::{LogOptions, LogWriter, MemDisk};
use wire::Zxid;

fn write(writer: &mut LogWriter, disk: &mut MemDisk, zxids: impl IntoIterator<Item = i64>) {
    for zxid in zxids {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 50, zxid as u8)).unwrap();
        drain(writer, disk);
        fill(writer, disk);
    }
}

#[test]
fn first_start_write_stop_start() {
    let mut disk = MemDisk::new(false);
    let (found, _) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.origin, found.last_zxid), (Origin::New, Zxid(0)));
    for effects in [
        SnapshotWriter::new(Zxid(0), true).start(),
        SnapshotWriter::new(Zxid(0), true).chunk(snapshot_bytes(1, true, true)),
        SnapshotWriter::new(Zxid(0), true).finish(),
    ] {
        run(&mut disk, &effects);
    }
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    fill(&mut writer, &mut disk);
    assert_eq!(disk.names(Dir::Log), ["ostler.next", "snapshot.0"], "no log before the first append");
    write(&mut writer, &mut disk, 1..=5);
    assert_eq!(disk.names(Dir::Log), ["log.1", "snapshot.0"]);
    let effects = writer.close().unwrap();
    run(&mut disk, &effects);
    assert_eq!(disk.bytes(&FileRef::log(Zxid(1))).unwrap().len(), 16 + 5 * (entry(Zxid(1), 50, 0).len() + 13));
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(5), vec![1, 2, 3, 4, 5]));
    assert_eq!(memory.txns[3].1, entry(Zxid(4), 50, 4));
    let mut writer = LogWriter::new(LogOptions::default(), found.last_zxid);
    fill(&mut writer, &mut disk);
    write(&mut writer, &mut disk, 6..=7);
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.6", "snapshot.0"], "a start begins a new file");
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(7), vec![1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(found.warnings, Vec::<String>::new(), "zeros behind the last record are nothing to talk about");
}
