//! A TCP proxy that writes down what passes, and can swallow one direction when a test says so.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// Most bytes that are kept of one direction of a connection; what follows passes unrecorded.
pub const RECORDED_BYTES_MAX: usize = 64 * 1024;

/// Most connections that are recorded; later ones pass unrecorded.
pub const CONVERSATIONS_MAX: usize = 256;

/// What passed through one connection, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// From the one who opened it.
    pub opener: Vec<u8>,
    /// From the one who accepted it.
    pub acceptor: Vec<u8>,
}

/// A recording proxy on a loopback port. It ends when it is dropped.
#[derive(Debug)]
pub struct Recorder {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ending: AtomicBool,
    swallows: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    conversations: Mutex<Vec<Arc<Mutex<Conversation>>>>,
}

impl Recorder {
    /// Passes everything on to `target` and back.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a recorder")?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            ending: AtomicBool::new(false),
            swallows: AtomicBool::new(false),
            streams: Mutex::default(),
            conversations: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            for opener in listener.incoming().flatten() {
                if own.ending.load(Ordering::SeqCst) {
                    return;
                }
                // A target that is not there looks like one that hangs up.
                let _ = join(opener, target, &own);
            }
        });
        Ok(Self { addr, shared, listener: Some(listener) })
    }

    /// Where to connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on, what the target sends does not arrive, on any connection; it is not recorded either.
    pub fn swallow(&self, swallow: bool) {
        self.shared.swallows.store(swallow, Ordering::SeqCst);
    }

    /// What was recorded, connection by connection.
    pub fn conversations(&self) -> Vec<Conversation> {
        let all = locked(&self.shared.conversations);
        all.iter().map(|it| locked(it).clone()).collect()
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for stream in locked(&self.shared.streams).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.addr);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.cut();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(opener: TcpStream, target: SocketAddr, shared: &Arc<Shared>) -> Result<()> {
    let acceptor = TcpStream::connect(target)?;
    for stream in [&opener, &acceptor] {
        stream.set_nodelay(true)?;
        locked(&shared.streams).push(stream.try_clone()?);
    }
    let conversation = Arc::new(Mutex::new(Conversation::default()));
    let mut all = locked(&shared.conversations);
    if all.len() < CONVERSATIONS_MAX {
        all.push(Arc::clone(&conversation));
    }
    drop(all);
    let ways = [
        (opener.try_clone()?, acceptor.try_clone()?, Arc::clone(&conversation), false),
        (acceptor, opener, conversation, true),
    ];
    for (from, to, conversation, is_acceptor) in ways {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pass(from, to, &conversation, is_acceptor, &shared));
    }
    Ok(())
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    conversation: &Mutex<Conversation>,
    is_acceptor: bool,
    shared: &Shared,
) {
    let mut buffer = [0; 8192];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if is_acceptor && shared.swallows.load(Ordering::SeqCst) {
            continue;
        }
        let mut it = locked(conversation);
        let kept = if is_acceptor { &mut it.acceptor } else { &mut it.opener };
        let room = RECORDED_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
        drop(it);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // The other way ends with this one.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
