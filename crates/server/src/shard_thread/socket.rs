//! The socket of one connection, as its shard's thread sees it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use peer::ConnId;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

pub(super) struct Io {
    pub(super) stream: TcpStream,
    pub(super) id: ConnId,
    waker: RefCell<Option<Waker>>,
    pub(super) close: Cell<bool>,
    pub(super) is_full: Cell<bool>,
    /// It sent a four-letter word.
    pub(super) is_word: Cell<bool>,
    /// Is it among those to which more can be written?
    pub(super) has_more: Cell<bool>,
    pub(super) closing_rounds: Cell<u32>,
}

impl Io {
    pub(super) fn new(stream: TcpStream, id: ConnId) -> Self {
        Self {
            stream,
            id,
            waker: RefCell::new(None),
            close: Cell::new(false),
            is_full: Cell::new(false),
            is_word: Cell::new(false),
            has_more: Cell::new(false),
            closing_rounds: Cell::new(0),
        }
    }

    /// Reads what is there; 0 bytes: the other end has closed.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut read = None;
            let result = self.stream.try_io(Interest::READABLE, || {
                let n = rustix::net::recv(&self.stream, &mut *buffer, RecvFlags::empty())?.0;
                read = Some(n);
                // Less than there was room for: the socket is empty, which "would block" tells the runtime. It need not be
                // asked for that once more.
                if (1..buffer.len()).contains(&n) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, result) {
                (Some(n), _) => return Poll::Ready(Ok(n)),
                (None, Err(e)) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                (None, result) => return Poll::Ready(result.map(|()| 0)),
            }
        }
    }
}

pub(super) fn wake(io: &Io) {
    if let Some(waker) = io.waker.borrow().as_ref() {
        waker.wake_by_ref();
    }
}

/// Has the other end closed its half, whatever of it is not read yet?
pub(super) fn has_hung_up(io: &Io) -> bool {
    let ready = std::pin::pin!(io.stream.ready(Interest::READABLE));
    let mut context = Context::from_waker(Waker::noop());
    matches!(ready.poll(&mut context), Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// Sends what a connection is told last: it travels with the end of the stream, which follows at once, in one segment, so
/// that the other end is woken once. Should that end not come, the kernel sends the bytes alone after 200 ms.
pub(super) fn send_last(io: &Io, bytes: &[u8]) -> io::Result<usize> {
    let send = || Ok(rustix::net::send(&io.stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?);
    io.stream.try_io(Interest::WRITABLE, send)
}

pub(super) fn shutdown_write(io: &Io) -> io::Result<()> {
    socket2::SockRef::from(&io.stream).shutdown(std::net::Shutdown::Write)
}

pub(super) fn set_waker(io: &Io, cx: &Context<'_>) {
    let mut waker = io.waker.borrow_mut();
    match &mut *waker {
        Some(known) => known.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
