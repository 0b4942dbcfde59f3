//! How long a file of this process may get (`ulimit -f`, systemd's `LimitFSIZE=`).
//!
//! A process that writes beyond that is ended by a signal, without a word. Here the write fails (EFBIG), and is told of like any
//! other that does.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Lets such writes fail, from now on.
pub(crate) fn let_writes_fail() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // What handles the signal stays when nobody waits for it any more.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
