//! An epoll over many sockets: says which of them something has come on.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// The epoll.
pub(super) struct Waiter {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Waiter {
    pub(super) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("an epoll")?;
        Ok(Self { epoll, events: Vec::with_capacity(1024) })
    }

    /// Looks at this socket too. It is told of once each time that something comes on it.
    pub(super) fn add(&self, stream: impl AsFd, number: usize) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, stream, EventData::new_u64(number as u64), flags).context("a socket for the epoll")
    }

    /// The sockets on which something came since they were told of last; waits up to `limit` for the first.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<impl Iterator<Item = usize> + '_> {
        Ok(self.wait_for_ends(limit)?.map(|(number, _)| number))
    }

    /// The same, with whether the other end has closed: then all that will ever come is there.
    pub(super) fn wait_for_ends(&mut self, limit: Duration) -> Result<impl Iterator<Item = (usize, bool)> + '_> {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting for the sockets"),
        }
        let ends = |event: &Event| {
            let flags = event.flags;
            flags.contains(EventFlags::RDHUP)
        };
        Ok(self.events.iter().map(move |event| (event.data.u64() as usize, ends(event))))
    }

    /// Forgets what has come so far.
    pub(super) fn forget(&mut self) -> Result<()> {
        while self.wait(Duration::ZERO)?.count() > 0 {}
        Ok(())
    }
}
