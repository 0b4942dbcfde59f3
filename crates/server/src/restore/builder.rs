//! The tree of a snapshot, built on a thread of its own.
//!
//! One thread reads the file, checks it, takes it apart and computes the digests of the znodes; they go to another, some
//! hundred KiB at a time, which puts them into the tree. That is most of the work, and a third thread would have none: what it
//! could take over from the first is a small part (`how_long_each_part_takes` in the tests tells), and into the tree they go
//! one by one. What the tree refuses is known late, so it is asked for when the file was read to its end, or to where it is
//! broken ([`Building::settle`]): the first fault in the file is the one that is reported, as if there were one thread.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use tree::TreeConfig;
use tree::digest::node_digest;
use tree::restore::TreeBuilder;
use wire::{AclVec, Buffer, StatPersisted};

/// How many bytes of paths and data go to the other thread at once; a longer znode goes alone.
const BATCH_BYTES: usize = 256 << 10;
/// How many znodes do, if they are small.
const BATCH_ZNODES: usize = 4096;
/// How many batches may wait for it.
const WAITING: usize = 4;

/// A znode that the tree refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which.
    pub(super) path: String,
    /// Why.
    pub(super) reason: String,
}

/// Znodes on their way.
#[derive(Debug, Default)]
struct Batch {
    /// Paths and data, one behind the other.
    bytes: Vec<u8>,
    znodes: Vec<Znode>,
}

#[derive(Debug)]
struct Znode {
    path_length: usize,
    data_length: Option<usize>,
    acl_id: i64,
    stat: StatPersisted,
    digest: u32,
}

impl Batch {
    fn push(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) {
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.extend_from_slice(data.unwrap_or_default());
        let (path_length, data_length) = (path.len(), data.map(<[u8]>::len));
        let digest = node_digest(path, data, stat);
        self.znodes.push(Znode { path_length, data_length, acl_id, stat: *stat, digest });
    }

    /// Puts all of them into the tree, and is empty then.
    fn build(&mut self, builder: &mut TreeBuilder) -> Result<(), Refusal> {
        let mut rest = self.bytes.as_slice();
        for znode in self.znodes.drain(..) {
            let (path, behind) = rest.split_at(znode.path_length);
            let (data, behind) = behind.split_at(znode.data_length.unwrap_or(0));
            rest = behind;
            // It was text when it was put in.
            let path = str::from_utf8(path).unwrap_or_default();
            let data = znode.data_length.map(|_| data);
            let taken = builder.node_known(path, data, znode.acl_id, &znode.stat, znode.digest);
            taken.map_err(|e| Refusal { path: path.to_owned(), reason: e.to_string() })?;
        }
        self.bytes.clear();
        Ok(())
    }
}

/// A tree being built.
#[derive(Debug)]
pub(super) enum Building {
    /// On this thread.
    Here(Box<TreeBuilder>),
    /// On another.
    There(There),
}

#[derive(Debug)]
pub(super) struct There {
    batch: Batch,
    to: SyncSender<Batch>,
    /// Batches that are empty again.
    back: Receiver<Batch>,
    thread: JoinHandle<(TreeBuilder, Result<(), Refusal>)>,
}

impl Building {
    pub(super) fn new(config: TreeConfig) -> Self {
        Self::Here(Box::new(TreeBuilder::new(config)))
    }

    /// From here on another thread builds.
    pub(super) fn elsewhere(self) -> Self {
        let Self::Here(builder) = self else { return self };
        let (to, work) = sync_channel::<Batch>(WAITING);
        let (give_back, back) = sync_channel::<Batch>(WAITING);
        // Handed over in a second step: what goes into a thread that can't be started is lost.
        let (hand_over, first) = sync_channel::<Box<TreeBuilder>>(1);
        let run = move || {
            let Ok(mut builder) = first.recv() else { return (TreeBuilder::new(TreeConfig::default()), Ok(())) };
            let mut done = Ok(());
            while let Ok(mut batch) = work.recv() {
                done = batch.build(&mut builder);
                if done.is_err() {
                    break;
                }
                // Nobody waits for it; if there are enough of them, it goes.
                let _ = give_back.try_send(batch);
            }
            (*builder, done)
        };
        let started: io::Result<_> = Builder::new().name("ostler-restore".to_owned()).spawn(run);
        match started {
            Ok(thread) => match hand_over.send(builder) {
                Ok(()) => Self::There(There { batch: Batch::default(), to, back, thread }),
                Err(returned) => Self::Here(returned.0),
            },
            Err(e) => {
                tracing::debug!("the snapshot is loaded on one thread: {e}");
                Self::Here(builder)
            }
        }
    }

    /// An ACL of the file; they come before the znodes.
    pub(super) fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        if let Self::Here(builder) = self {
            builder.acl(id, acl);
        }
    }

    /// A znode of the file. An error may be about an earlier one.
    pub(super) fn node(
        &mut self,
        path: &str,
        data: Buffer<'_>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        match self {
            Self::Here(builder) => builder.node(path, data, acl_id, stat).map_err(|e| e.to_string()),
            Self::There(there) => {
                there.batch.push(path, data, acl_id, stat);
                if there.batch.bytes.len() < BATCH_BYTES && there.batch.znodes.len() < BATCH_ZNODES {
                    return Ok(());
                }
                let next = there.back.try_recv().unwrap_or_default();
                let full = std::mem::replace(&mut there.batch, next);
                there.to.send(full).map_err(|_| "a znode before it was refused".to_owned())
            }
        }
    }

    /// Waits until every znode so far is in the tree. The first that was refused, if one was.
    pub(super) fn settle(self) -> Result<TreeBuilder, Refusal> {
        match self {
            Self::Here(builder) => Ok(*builder),
            Self::There(There { batch, to, back, thread }) => {
                // If the thread has ended, it says why.
                let _ = to.send(batch);
                drop((to, back));
                match thread.join() {
                    Ok((builder, done)) => done.map(|()| builder),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        }
    }
}
