//! Snapshots on their way: from the leader into their file, and out of a file to a learner.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use storage::snapshot::install::SnapshotReceiver;
use storage::snapshot::raw::{HEADER_LENGTH, RawEncoder, RawSplitter};
use storage::snapshot::stream::Compression;
use storage::{Dir, Disk, Effect, FileRef, names};
use tokio::sync::mpsc;
use wire::Zxid;

use crate::disk::RealDisk;
use crate::quorum::SnapshotBytes;
use crate::syncs::SnapshotSent;

/// How much of a snapshot is read, or written, at once.
const PIECE_BYTES: usize = 256 << 10;
/// How often who waits looks whether its role is over.
const LOOK: Duration = Duration::from_millis(500);

/// Those who receive snapshots, one at a time: all of them write to one file, and a role that is over does not wait for its
/// receiver, which may hang in a sync. What that wrote when it goes on would stand in the midst of what the next one has written.
#[derive(Debug, Default)]
pub(super) struct Receivers(Mutex<()>);

impl Receivers {
    /// Writes what comes to its file, when the one before is done. Returns how many bytes it has; `None`: it broke off, or the role
    /// was over before anything was written. Who has to wait says so now and then.
    pub(super) fn receive(
        &self,
        disk: &mut dyn Disk,
        zxid: Zxid,
        pieces: &mut mpsc::Receiver<SnapshotBytes>,
        is_over: &dyn Fn() -> bool,
        waits: &mut dyn FnMut(),
    ) -> io::Result<Option<u64>> {
        let turn = loop {
            let turn = self.0.try_lock_for(LOOK);
            if is_over() {
                return Ok(None);
            }
            match turn {
                Some(turn) => break turn,
                None => waits(),
            }
        };
        let received = receive(disk, zxid, pieces);
        drop(turn);
        received
    }
}

/// `None`: it broke off.
fn receive(disk: &mut dyn Disk, zxid: Zxid, pieces: &mut mpsc::Receiver<SnapshotBytes>) -> io::Result<Option<u64>> {
    let mut execute = |effects: Vec<Effect>| effects.iter().try_for_each(|effect| disk.execute(effect));
    let (mut receiver, mut encoder, mut out) = (SnapshotReceiver::default(), RawEncoder::default(), Vec::new());
    execute(receiver.start())?;
    encoder.begin(&mut out);
    loop {
        match pieces.blocking_recv() {
            Some(SnapshotBytes::Piece(piece)) => {
                encoder.add(&piece);
                out.extend_from_slice(&piece);
            }
            Some(SnapshotBytes::End) => break,
            None => return Ok(None),
        }
        if out.len() >= PIECE_BYTES {
            execute(receiver.chunk(std::mem::take(&mut out)))?;
        }
    }
    encoder.finish(zxid, &mut out);
    execute(receiver.chunk(out))?;
    let bytes = receiver.bytes();
    execute(receiver.finish())?;
    Ok(Some(bytes))
}

/// Reads a snapshot's file and passes on what travels of it.
pub(super) fn send(
    disk: &RealDisk,
    zxid: Zxid,
    length_max: usize,
    to: &mpsc::Sender<io::Result<Bytes>>,
    sent: &Arc<SnapshotSent>,
) -> io::Result<()> {
    let listing = disk.list(Dir::Data)?;
    let file = names::numbered(&listing, names::SNAPSHOT).into_iter().rev().find(|it| it.zxid == zxid);
    let file = file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("snapshot.{:x} is gone", zxid.0)))?;
    let compression = Compression::of(&file.name);
    let source = disk.open(&FileRef::new(Dir::Data, file.name))?;
    let mut source = compression.reader(sent.counted(source)?);
    source.read_exact(&mut [0; HEADER_LENGTH])?;
    let mut splitter = RawSplitter::new(length_max);
    while !splitter.is_end() {
        let mut piece = vec![0; PIECE_BYTES];
        let length = source.read(&mut piece)?;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("snapshot.{:x} ends early", zxid.0)));
        }
        piece.truncate(length);
        let taken = splitter.feed(&piece).map_err(io::Error::other)?;
        piece.truncate(taken);
        if to.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::sync::mpsc::{Receiver, Sender, channel};

    use storage::disk::{DiskRead, Entry};

    use super::*;

    /// The file of all receivers, and what happens before a write with this number.
    struct OneFile {
        bytes: Arc<Mutex<Vec<u8>>>,
        writes: usize,
        hangs: Option<(usize, Sender<&'static str>, Receiver<()>)>,
    }

    impl Disk for OneFile {
        fn is_separate(&self) -> bool {
            false
        }
        fn list(&self, _: Dir) -> io::Result<Vec<Entry>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn open(&self, _: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn execute(&mut self, effect: &Effect) -> io::Result<()> {
            match effect {
                Effect::Create(_) => self.bytes.lock().clear(),
                Effect::WriteAt { offset, bytes, .. } => {
                    self.writes += 1;
                    if let Some((_, tell, go_on)) = self.hangs.take_if(|(at, ..)| *at == self.writes) {
                        tell.send("hangs").unwrap();
                        go_on.recv().unwrap();
                    }
                    let (mut file, from) = (self.bytes.lock(), *offset as usize);
                    let length = file.len().max(from + bytes.len());
                    file.resize(length, 0);
                    file[from..from + bytes.len()].copy_from_slice(bytes);
                }
                _ => {}
            }
            Ok(())
        }
    }

    /// A snapshot that has come, of pieces filled with this byte.
    fn came(pieces: usize, fill: u8) -> mpsc::Receiver<SnapshotBytes> {
        let (to, from) = mpsc::channel(pieces + 1);
        for _ in 0..pieces {
            assert!(to.try_send(SnapshotBytes::Piece(vec![fill; PIECE_BYTES].into())).is_ok());
        }
        assert!(to.try_send(SnapshotBytes::End).is_ok());
        from
    }

    #[test]
    fn a_receiver_that_hangs_writes_nothing_into_the_next_ones_file() {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let file = |hangs| OneFile { bytes: bytes.clone(), writes: 0, hangs };
        let alone = Receivers::default();
        alone.receive(&mut file(None), Zxid(2), &mut came(2, 2), &|| false, &mut || ()).unwrap().unwrap();
        let right = std::mem::take(&mut *bytes.lock());

        let receivers = Receivers::default();
        let (tell, told) = channel();
        let (go_on, may_go_on) = channel();
        std::thread::scope(|scope| {
            // It goes when the test fails, and with it who hangs.
            let go_on = go_on;
            let mut disk = file(Some((3, tell.clone(), may_go_on)));
            let receivers = &receivers;
            let old = scope
                .spawn(move || receivers.receive(&mut disk, Zxid(1), &mut came(4, 1), &|| false, &mut || ()).unwrap());
            assert_eq!(told.recv(), Ok("hangs"));
            let before = bytes.lock().clone();
            // Its role is over, and that of the next one; the one behind that gets a snapshot, too.
            let over = receivers.receive(&mut file(None), Zxid(3), &mut came(1, 3), &|| true, &mut || ());
            assert_eq!(over.unwrap(), None);
            let mut disk = file(None);
            scope.spawn(move || {
                let mut waits = || tell.send("waits").unwrap();
                let received = receivers.receive(&mut disk, Zxid(2), &mut came(2, 2), &|| false, &mut waits);
                assert!(received.unwrap().is_some());
                tell.send("came").unwrap();
            });
            assert_eq!(told.recv(), Ok("waits"));
            assert!(*bytes.lock() == before, "the file is another one's");
            go_on.send(()).unwrap();
            assert!(old.join().unwrap().is_some());
            assert_eq!(told.iter().find(|it| *it != "waits"), Some("came"));
        });
        assert!(*bytes.lock() == right, "it is not what the last one got");
    }
}
