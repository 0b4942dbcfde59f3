//! A connection's task, from its first byte to its last.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::Driver;
use super::socket::{Io, set_waker, shutdown_write};
use crate::four_letter::Word;
use crate::listener::Admission;
use crate::words::Out;

/// How long the other end of a connection that closes may take to read its last bytes, and to hang up.
const GOODBYE: Duration = Duration::from_millis(200);
/// How long the answer to a four-letter word may take in all; a million watches take seconds.
const WORD_MAX: Duration = Duration::from_mins(1);
/// Bytes behind a four-letter word that may belong to it: the mask of `stmk`.
const WORD_REST_MAX: usize = 8;
/// After so long, in µs, a connection that always has more gives the others a turn.
const TURN_US: u64 = 1000;

/// Of the first four bytes, those that have come.
#[derive(Default)]
struct FirstBytes {
    bytes: [u8; 4],
    filled: usize,
}

impl Driver {
    pub(super) fn accept(
        self: &Rc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        admission: Admission,
    ) -> io::Result<()> {
        let stream = TcpStream::from_std(stream)?;
        let id = self.shard.borrow_mut().open(self.core.clock.now(), peer);
        self.core.shared.shard_stats[self.number].connections.add(1);
        let io = Rc::new(Io::new(stream, id));
        let mut all = self.io.borrow_mut();
        if all.len() <= id.slot as usize {
            all.resize_with(id.slot as usize + 1, || None);
        }
        all[id.slot as usize] = Some(io.clone());
        spawn_local(self.clone().serve(io, admission));
        Ok(())
    }

    /// A connection, from its first byte to its last. What only some need, or only at the end, is boxed: this is the memory
    /// that every idle connection holds.
    async fn serve(self: Rc<Self>, io: Rc<Io>, admission: Admission) {
        let mut first = FirstBytes::default();
        if let Some((word, rest)) = std::future::poll_fn(|cx| self.poll_first(cx, &io, &mut first)).await {
            // A socket that nobody reads from is not waited for.
            let _ = Box::pin(tokio::time::timeout(WORD_MAX, self.answer_word(&io, word, &rest))).await;
        } else if !io.close.get() {
            std::future::poll_fn(|cx| self.poll(cx, &io)).await;
        }
        let wants_goodbye = self.wants_goodbye(&io);
        self.io.borrow_mut()[io.id.slot as usize] = None;
        self.shard.borrow_mut().closed(&self.core.shared, io.id);
        self.settle();
        let stats = &self.core.shared.shard_stats[self.number].connections;
        stats.set(stats.get().saturating_sub(1));
        if wants_goodbye {
            Box::pin(self.say_goodbye(&io)).await;
        }
        drop(admission);
    }

    /// The first four bytes decide: a four-letter word, which is given with what came behind it, or the length of a
    /// ConnectRequest, which is handed on with what came behind it.
    fn poll_first(&self, cx: &mut Context<'_>, io: &Io, first: &mut FirstBytes) -> Poll<Option<(Word, Vec<u8>)>> {
        set_waker(io, cx);
        loop {
            if io.close.get() {
                return Poll::Ready(None);
            }
            let mut scratch = self.buffer.borrow_mut();
            let read = match ready!(io.poll_read(cx, &mut scratch)) {
                Ok(n) if n > 0 => &scratch[..n],
                ended => {
                    self.core.shared.shard_stats[self.number].dropped.add(u64::from(ended.is_ok()));
                    io.close.set(true);
                    return Poll::Ready(None);
                }
            };
            let (head, rest) = read.split_at(read.len().min(first.bytes.len() - first.filled));
            first.bytes[first.filled..][..head.len()].copy_from_slice(head);
            first.filled += head.len();
            if first.filled < first.bytes.len() {
                continue;
            }
            if let Some(word) = Word::from_bytes(first.bytes) {
                return Poll::Ready(Some((word, rest[..rest.len().min(WORD_REST_MAX)].to_vec())));
            }
            let (now, shared) = (self.core.clock.now(), &self.core.shared);
            if head.len() == first.bytes.len() {
                self.shard.borrow_mut().receive(now, shared, io.id, read);
            } else {
                // It came in drops.
                let whole = [&first.bytes, rest].concat();
                self.shard.borrow_mut().receive(now, shared, io.id, &whole);
            }
            drop(scratch);
            self.settle();
            return Poll::Ready(None);
        }
    }

    async fn answer_word(&self, io: &Io, word: Word, rest: &[u8]) {
        io.is_word.set(true);
        self.shard.borrow_mut().word_received(&self.core.shared, io.id);
        let mut out = Out::new(&io.stream, &io.close);
        // A socket that can't be written to has nobody who would read why.
        let _ = self.words.answer(word, rest, &io.stream, &mut out).await;
        self.core.shared.shard_stats[self.number].packets_sent.add(out.packets());
    }

    fn poll(&self, cx: &mut Context<'_>, io: &Rc<Io>) -> Poll<()> {
        set_waker(io, cx);
        // A thread that works is awake, however much there is to do.
        self.wake_up();
        if io.is_full.get() {
            match io.stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {
                    io.is_full.set(false);
                    self.write(io);
                    self.settle();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if self.is_discarding.get() {
            return self.discard(cx, io);
        }
        let mut begun_us = None;
        for _ in 0..8 {
            if io.close.get() || self.shard.borrow().get(io.id).is_none() {
                return Poll::Ready(());
            }
            if self.is_draining.get()
                || !self.shard.borrow().wants_read(io.id)
                || !self.shard.borrow_mut().may_read(&self.core.shared, io.id)
            {
                return Poll::Pending;
            }
            let mut scratch = self.buffer.borrow_mut();
            match io.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(0)) => {
                    self.core.shared.shard_stats[self.number].dropped.add(1);
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(n)) => {
                    let now = self.core.clock.now();
                    self.shard.borrow_mut().receive(now, &self.core.shared, io.id, &scratch[..n]);
                    drop(scratch);
                    self.settle();
                    if now.mono_us.saturating_sub(*begun_us.get_or_insert(now.mono_us)) > TURN_US {
                        break;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads and forgets, until the other end closes.
    fn discard(&self, cx: &mut Context<'_>, io: &Io) -> Poll<()> {
        let mut scratch = self.buffer.borrow_mut();
        loop {
            match io.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Must the other end be given time to read what it was told last? Who closed its session waits for the reply and for
    /// nothing else; unless it sent more all the same, the socket may go at once.
    fn wants_goodbye(&self, io: &Io) -> bool {
        let shard = self.shard.borrow();
        shard.wants_close(io.id)
            && !(shard.has_closed_session(io.id)
                && rustix::io::ioctl_fionread(&io.stream).is_ok_and(|bytes| bytes == 0))
    }

    /// Lets the other end read what it was told last, before the socket goes: unread input would make the kernel drop it.
    async fn say_goodbye(&self, io: &Io) {
        if shutdown_write(io).is_ok() {
            let discard = std::future::poll_fn(|cx| self.discard(cx, io));
            // Whoever does not hang up by then is hung up on.
            let _ = tokio::time::timeout(GOODBYE, discard).await;
        }
    }
}
