//! Learners that are being brought to this server's history: a line when that begins and when it ends, and how far it is.
//!
//! What is counted has been handed to the connection, so it is ahead of the learner by what is on its way.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;
use wire::Zxid;
use wire::quorum::Packet;
use zab::leader::{SyncBegins, SyncHow};
use zab::{ConnId, ToLearner};

use crate::few_lines::FewLines;
use crate::four_letter::SyncGauges;

/// All that are under way: no more than the leader has learners.
#[derive(Debug)]
pub(crate) struct Syncs {
    under_way: Mutex<BTreeMap<ConnId, Sync>>,
    /// There is none, as almost always: nothing is to be counted.
    is_idle: AtomicBool,
    lines: FewLines,
}

#[derive(Debug)]
struct Sync {
    begins: SyncBegins,
    began_ms: u64,
    txns: u64,
    bytes: u64,
    snapshot: Arc<SnapshotSent>,
}

/// How much of a snapshot's file was sent.
#[derive(Debug, Default)]
pub struct SnapshotSent {
    length: AtomicU64,
    sent: AtomicU64,
}

impl Default for Syncs {
    fn default() -> Self {
        Self { under_way: Mutex::default(), is_idle: AtomicBool::new(true), lines: FewLines::default() }
    }
}

impl Syncs {
    /// A learner is to get what it lacks.
    pub(crate) fn begin(&self, now_ms: u64, begins: SyncBegins) {
        let sync = Sync { begins, began_ms: now_ms, txns: 0, bytes: 0, snapshot: Arc::default() };
        self.under_way.lock().insert(begins.conn, sync);
        self.is_idle.store(false, Relaxed);
        let SyncBegins { server, how, to, txns, .. } = begins;
        let lacks = Lacks(txns, to);
        match how {
            // Its end says that there was nothing.
            SyncHow::Diff(_) if txns == Some(0) => {}
            SyncHow::Diff(has) => self.lines.tell(|more| {
                tracing::info!("server {server} has all up to {has} and gets {lacks} (DIFF){more}");
            }),
            SyncHow::Trunc(at) => self.lines.tell(|more| {
                tracing::info!("server {server} is to cut its log behind {at}, and gets {lacks} (TRUNC){more}");
            }),
            SyncHow::Snap(of) => self.lines.tell(|more| {
                tracing::info!("server {server} gets a snapshot, of {of}, and {lacks} (SNAP){more}");
            }),
        }
    }

    /// This goes to a learner next.
    pub(crate) fn sent(&self, conn: ConnId, packet: &ToLearner) {
        let ToLearner::Packet(Packet::Proposal { txn, .. } | Packet::Inform { txn, .. }) = packet else { return };
        if self.is_idle.load(Relaxed) {
            return;
        }
        if let Some(sync) = self.under_way.lock().get_mut(&conn) {
            sync.txns += 1;
            sync.bytes += txn.len() as u64;
        }
    }

    /// Where it is counted how much of its snapshot a learner was sent.
    pub(crate) fn snapshot(&self, conn: ConnId) -> Arc<SnapshotSent> {
        self.under_way.lock().get(&conn).map(|it| it.snapshot.clone()).unwrap_or_default()
    }

    /// It has all of it, or its connection has ended.
    pub(crate) fn end(&self, now_ms: u64, conn: ConnId, is_done: bool) {
        let removed = {
            let mut under_way = self.under_way.lock();
            let removed = under_way.remove(&conn);
            self.is_idle.store(under_way.is_empty(), Relaxed);
            removed
        };
        let Some(sync) = removed else { return };
        let server = sync.begins.server;
        let took = now_ms.saturating_sub(sync.began_ms) as f64 / 1000.0;
        self.lines.tell(|more| match (is_done, sync.is_empty()) {
            (true, true) => tracing::info!("server {server} is in sync: it lacked nothing{more}"),
            (true, false) => tracing::info!("server {server} is in sync, after {took:.1} s: it got {sync}{more}"),
            (false, _) => {
                tracing::warn!("the sync of server {server} broke off after {took:.1} s: it was sent {sync}{more}");
            }
        });
    }

    /// The role is over, and all connections with it.
    pub(crate) fn clear(&self) {
        self.under_way.lock().clear();
        self.is_idle.store(true, Relaxed);
    }

    /// How far each is.
    pub(crate) fn gauges(&self, now_ms: u64) -> Vec<SyncGauges> {
        self.under_way.lock().values().map(|sync| sync.gauges(now_ms)).collect()
    }
}

impl Sync {
    fn is_empty(&self) -> bool {
        self.txns == 0 && matches!(self.begins.how, SyncHow::Diff(_))
    }

    fn gauges(&self, now_ms: u64) -> SyncGauges {
        let (length, sent) = self.snapshot.so_far();
        let elapsed_ms = now_ms.saturating_sub(self.began_ms);
        // A snapshot is most of it; without one the txns are.
        let is_snap = matches!(self.begins.how, SyncHow::Snap(_));
        let (part, whole) = if is_snap { (sent, length) } else { (self.txns, self.begins.txns.unwrap_or(0)) };
        let left_ms = (part > 0 && whole > 0)
            .then(|| (u128::from(elapsed_ms) * u128::from(whole.saturating_sub(part)) / u128::from(part)) as i64);
        SyncGauges {
            server: self.begins.server.0,
            elapsed_ms: elapsed_ms as i64,
            left_ms: left_ms.unwrap_or(-1),
            snapshot_bytes: length as i64,
            snapshot_bytes_sent: sent as i64,
            txns: self.begins.txns.map_or(-1, |it| it as i64),
            txns_sent: self.txns as i64,
        }
    }
}

/// What it was sent.
impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let SyncHow::Snap(_) = self.begins.how {
            let (length, sent) = self.snapshot.so_far();
            write!(f, "{sent} of a snapshot's {length} bytes, and ")?;
        }
        write!(f, "{} txns, {} bytes", self.txns, self.bytes)
    }
}

/// Txns, if they are counted, and up to where.
struct Lacks(Option<u64>, Zxid);

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(txns) => write!(f, "{txns} txns, up to {}", self.1),
            None => write!(f, "the txns up to {}", self.1),
        }
    }
}

impl SnapshotSent {
    /// Its file, which is counted as it is read.
    pub(crate) fn counted<'a, R: Read + Seek + 'a>(self: &'a Arc<Self>, mut file: R) -> io::Result<impl Read + 'a> {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        self.length.store(length, Relaxed);
        Ok(Counted { file, sent: self.as_ref() })
    }

    fn so_far(&self) -> (u64, u64) {
        (self.length.load(Relaxed), self.sent.load(Relaxed))
    }
}

struct Counted<'a, R> {
    file: R,
    sent: &'a SnapshotSent,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.sent.sent.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use bytes::Bytes;
    use wire::ServerId;

    use super::*;

    const CONN: ConnId = ConnId(7);

    fn begins(how: SyncHow, txns: Option<u64>) -> SyncBegins {
        SyncBegins { conn: CONN, server: ServerId(3), how, to: Zxid(0x1_0000_0009), txns }
    }

    fn proposal(bytes: usize) -> ToLearner {
        ToLearner::Packet(Packet::Proposal { zxid: Zxid(1), txn: Bytes::from(vec![0; bytes]) })
    }

    #[test]
    fn txns_are_counted_and_what_is_left_is_reckoned() {
        let syncs = Syncs::default();
        syncs.begin(1000, begins(SyncHow::Diff(Zxid(1)), Some(8)));
        let left = |now_ms| syncs.gauges(now_ms)[0].left_ms;
        assert_eq!(left(2000), -1, "nobody knows yet");
        syncs.sent(CONN, &proposal(100));
        syncs.sent(CONN, &ToLearner::Packet(Packet::Commit { zxid: Zxid(1) }));
        syncs.sent(ConnId(8), &proposal(100));
        syncs.sent(CONN, &proposal(100));
        let expected =
            SyncGauges { server: 3, elapsed_ms: 2000, left_ms: 6000, txns: 8, txns_sent: 2, ..SyncGauges::default() };
        assert_eq!(syncs.gauges(3000), [expected]);
        assert_eq!(syncs.under_way.lock()[&CONN].to_string(), "2 txns, 200 bytes");
        syncs.end(4000, CONN, true);
        assert_eq!(syncs.gauges(4000), []);
    }

    #[test]
    fn a_snapshot_counts_by_its_file() {
        let syncs = Syncs::default();
        syncs.begin(0, begins(SyncHow::Snap(Zxid(1)), None));
        let sent = syncs.snapshot(CONN);
        let mut file = sent.counted(io::Cursor::new(vec![0; 1000])).unwrap();
        file.read_exact(&mut [0; 250]).unwrap();
        let expected = SyncGauges {
            server: 3,
            elapsed_ms: 100,
            left_ms: 300,
            snapshot_bytes: 1000,
            snapshot_bytes_sent: 250,
            txns: -1,
            txns_sent: 0,
        };
        assert_eq!(syncs.gauges(100), [expected]);
        let text = "250 of a snapshot's 1000 bytes, and 0 txns, 0 bytes";
        assert_eq!(syncs.under_way.lock()[&CONN].to_string(), text);
        syncs.clear();
        assert_eq!(syncs.gauges(100), []);
    }
}
