//! What a start has replayed is log behind the newest snapshot: it counts towards the next one. Without that, a server that is
//! started again and again before it comes to `snapCount` txns would replay more each time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::start;
use ostler_server::Running;
use ostler_server::disk::RealDisk;
use storage::{Dir, Disk, LogOptions, LogWriter};
use wire::txn::{CreateTxn, Txn, TxnEntry, TxnHeader};
use wire::{AclVec, Field, OpCode, SessionId, Xid, Zxid};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_mins(1);
/// `snapCount`: a snapshot is due after a random number of txns between half of it and all of it.
const SNAP_COUNT: i64 = 100;

fn snap_count() -> String {
    format!("snapCount={SNAP_COUNT}")
}

/// One txn: a session begins.
fn session(server: &Running) {
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // Version, zxid, timeout, session, password, read-only.
    let mut request = vec![0; 12];
    request.extend_from_slice(&30_000_i32.to_be_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&16_i32.to_be_bytes());
    request.extend_from_slice(&[0; 17]);
    connection.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    connection.write_all(&request).unwrap();
    connection.read_exact(&mut [0; 4]).unwrap();
}

/// What another server has logged: so many creations.
fn log(dir: &Path, txns: i64) {
    let data = dir.join("data");
    let (mut disk, mut writer) = (RealDisk::new(&data, &data), LogWriter::new(LogOptions::default(), Zxid::ZERO));
    for zxid in (1..=txns).map(Zxid) {
        let path = format!("/n{}", zxid.0);
        let create = CreateTxn {
            path: Some(path.as_str().into()),
            data: Some(b"data"),
            acl: AclVec::OPEN,
            ephemeral: false,
            parent_cversion: zxid.0 as i32,
        };
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid, time_ms: 5, op: OpCode::Create };
        writer.append(zxid, &TxnEntry { header, txn: Txn::Create(create), digest: None }.to_vec()).unwrap();
    }
    while let Some(job) = writer.next_job() {
        job.effects().iter().for_each(|effect| disk.execute(effect).unwrap());
        writer.job_done(job);
    }
}

fn snapshots(dir: &Path) -> Vec<String> {
    let data = dir.join("data");
    let listing = RealDisk::new(&data, &data).list(Dir::Data).unwrap();
    listing.into_iter().map(|entry| entry.name).filter(|name| name.starts_with("snapshot.")).collect()
}

#[test]
fn what_a_start_has_replayed_counts_towards_the_next_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), &snap_count()).stop().unwrap();
    assert_eq!(snapshots(dir.path()), ["snapshot.0"], "that of the empty tree");
    log(dir.path(), SNAP_COUNT);
    let server = start(dir.path(), &snap_count());
    assert_eq!(snapshots(dir.path()), ["snapshot.0"], "a start takes none by itself");
    session(&server);
    let deadline = Instant::now() + PATIENCE;
    while snapshots(dir.path()).len() < 2 {
        assert!(Instant::now() < deadline, "in vain: a snapshot behind {SNAP_COUNT} txns that were replayed, and one");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop().unwrap();
}
