//! A TCP proxy of a server: it cuts connections when a test says so, and can falsify what the server answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// Changes a frame of the server's, without its length.
pub type Tamper = fn(&mut Vec<u8>);

/// A proxy on a loopback port. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ending: AtomicBool,
    /// The client's and the server's side of each connection, those that have ended too.
    streams: Mutex<Vec<[TcpStream; 2]>>,
}

impl Proxy {
    /// Passes everything on to `server` and back; frames of the server go through `tamper`.
    pub fn start(server: SocketAddr, tamper: Option<Tamper>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a proxy")?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { ending: AtomicBool::new(false), streams: Mutex::new(Vec::new()) });
        let own = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ending.load(Ordering::SeqCst) {
                    return;
                }
                // A server that is gone looks like one that hangs up.
                let _ = join(client, server, tamper, &own);
            }
        });
        Ok(Self { addr, shared, listener: Some(listener) })
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts all connections; how many there were.
    pub fn cut(&self) -> usize {
        let mut streams = self.shared.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Each side is shut; the second may have ended already, because the first did.
        let cut = |pair: &[TcpStream; 2]| pair.iter().filter(|it| it.shutdown(Shutdown::Both).is_ok()).count() > 0;
        let open = streams.iter().filter(|pair| cut(pair)).count();
        streams.clear();
        open
    }
}

impl Drop for Proxy {
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

fn join(client: TcpStream, server: SocketAddr, tamper: Option<Tamper>, shared: &Shared) -> Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let mut streams = shared.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    streams.push([client, server]);
    drop(streams);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = match tamper {
            None => std::io::copy(&mut from_server, &mut to_client).map(drop),
            Some(tamper) => frames(&mut from_server, &mut to_client, tamper),
        };
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn frames(from: &mut TcpStream, to: &mut TcpStream, tamper: Tamper) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut frame)?;
        tamper(&mut frame);
        let mut out = (frame.len() as u32).to_be_bytes().to_vec();
        out.extend(frame);
        to.write_all(&out)?;
    }
}
