//! Open loop: hands out requests at fixed times.
//!
//! tokio's timer counts milliseconds, which is more than a whole request takes; so this waits on a timer of the kernel.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use crate::connection::{Connection, Mode, Thread};

/// No timer fires more often than this; at higher rates several requests start at once.
const SHORTEST_NS: u64 = 50_000;

/// Starts `rate` requests a second, turn by turn over `connections`, until there are no more.
pub(crate) async fn pace(thread: Arc<Thread>, connections: Vec<Arc<Mutex<Connection>>>, rate: f64) -> Result<()> {
    let gap_ns = 1e9 / rate;
    let timer = timer((gap_ns as u64).max(SHORTEST_NS))?;
    // A timer is read like a pipe, and this type has tokio wait on any file descriptor that it is given to own.
    let timer = Receiver::from_owned_fd_unchecked(timer).context("waiting for a timer")?;
    let began = thread.now();
    let mut started: u64 = 0;
    loop {
        timer.readable().await.context("waiting for a timer")?;
        match timer.try_read(&mut [0; 8]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error).context("reading a timer"),
            _ => {}
        }
        let now = thread.now();
        loop {
            let due = began + (started as f64 * gap_ns) as u64;
            if due > now {
                break;
            }
            let turn = (started % connections.len() as u64) as usize;
            let mut connection = connections[turn].lock().unwrap_or_else(PoisonError::into_inner);
            if thread.mode.is(Mode::STOP) || connection.is_over() {
                drop(connection);
                end(&connections);
                return Ok(());
            }
            if !connection.start(due)? {
                break;
            }
            started += 1;
        }
    }
}

/// Lets the connections see that nothing more will come.
fn end(connections: &[Arc<Mutex<Connection>>]) {
    for connection in connections {
        connection.lock().unwrap_or_else(PoisonError::into_inner).wake();
    }
}

/// A timer that fires again and again.
fn timer(every_ns: u64) -> Result<rustix::fd::OwnedFd> {
    let every = Timespec { tv_sec: (every_ns / 1_000_000_000) as i64, tv_nsec: (every_ns % 1_000_000_000) as i64 };
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
        .context("creating a timer")?;
    let times = Itimerspec { it_interval: every, it_value: every };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).context("setting a timer")?;
    Ok(timer)
}
