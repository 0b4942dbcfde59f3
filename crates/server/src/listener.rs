//! The client port: who may connect, and to which shard a connection goes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::config::ClientConfig;
use crate::few_lines::FewLines;
use crate::shard_thread::{ToShard, limit_key};

/// How many connections there are, in total and from each address.
#[derive(Debug, Default)]
pub struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among the connections allowed; dropping it gives it back.
#[derive(Debug)]
pub struct Admission {
    counts: Arc<Mutex<Counts>>,
    address: IpAddr,
}

impl Admission {
    /// A place, if the limits leave one.
    pub fn take(counts: &Arc<Mutex<Counts>>, peer: SocketAddr, limits: &Limits) -> Result<Self, String> {
        let address = limit_key(peer);
        let mut all = counts.lock();
        if limits.total.is_some_and(|max| all.total >= max as usize) {
            return Err(format!("Too many connections - max is {}", limits.total.unwrap_or(0)));
        }
        let from_there = all.by_address.entry(address).or_insert(0);
        if limits.per_address.is_some_and(|max| *from_there >= max as usize) {
            return Err(format!("Too many connections from /{address} - max is {}", limits.per_address.unwrap_or(0)));
        }
        *from_there += 1;
        all.total += 1;
        Ok(Self { counts: counts.clone(), address })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut all = self.counts.lock();
        all.total -= 1;
        if let Some(from_there) = all.by_address.get_mut(&self.address) {
            *from_there -= 1;
            if *from_there == 0 {
                all.by_address.remove(&self.address);
            }
        }
    }
}

/// `maxCnxns` and `maxClientCnxns`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In total.
    pub total: Option<u32>,
    /// From one address.
    pub per_address: Option<u32>,
}

/// The client port, taken: nobody can connect before [`Self::listen`].
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    backlog: i32,
    /// Where it is: the port that the system chose when it was asked to.
    pub address: SocketAddr,
}

/// Takes the client port. A port on which another server listens is refused here; of two servers that start at the same
/// time, the later one is refused by [`Bound::listen`].
pub fn bind(config: &ClientConfig) -> io::Result<Bound> {
    bind_at(address(config)?, config)
}

/// The address that the client port is to be at.
pub fn address(config: &ClientConfig) -> io::Result<SocketAddr> {
    let Some(name) = &config.address else {
        // A machine without IPv6: all interfaces are those of IPv4.
        let all = if has_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::UNSPECIFIED) };
        return Ok(SocketAddr::new(all, config.port));
    };
    let unknown =
        |e: String| format!("can't listen at {name}:{}: {e} (clientPortAddress, or the own line)", config.port);
    let found = (name.as_str(), config.port).to_socket_addrs();
    let mut found =
        found.map_err(|e| io::Error::new(e.kind(), unknown(format!("its name can't be looked up: {e}"))))?;
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, unknown("it has no address".to_owned())))
}

/// The same, at an address that is known.
pub fn bind_at(address: SocketAddr, config: &ClientConfig) -> io::Result<Bound> {
    bind_to(address, config).map_err(|e| explain(e, address))
}

impl Bound {
    /// Lets clients connect.
    pub fn listen(self) -> io::Result<std::net::TcpListener> {
        self.socket.listen(self.backlog).map_err(|e| explain(e, self.address))?;
        Ok(self.socket.into())
    }
}

fn explain(e: io::Error, address: SocketAddr) -> io::Error {
    let what = match e.kind() {
        io::ErrorKind::AddrInUse => {
            "; the port is taken: is another server running? (clientPort, or the own line, chooses another)"
        }
        io::ErrorKind::PermissionDenied => "; not permitted: ports below 1024 are for root",
        io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have that address (clientPortAddress, or the own line)"
        }
        _ => "",
    };
    io::Error::new(e.kind(), format!("can't listen on {address}: {e}{what}"))
}

fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, None).is_ok()
}

fn bind_to(address: SocketAddr, config: &ClientConfig) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { socket, backlog: i32::try_from(config.listen_backlog).unwrap_or(i32::MAX), address })
}

/// Connections accepted in a row before others on the thread have a turn.
const BURST: u32 = 16;

/// Deals connections out to the shards.
pub struct Dealer {
    shards: Vec<mpsc::Sender<ToShard>>,
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
    lines: FewLines,
    rejected: Rc<dyn Fn()>,
}

impl Dealer {
    /// To these, within these limits. `rejected` is told of each connection that the limits keep out.
    pub fn new(shards: Vec<mpsc::Sender<ToShard>>, limits: Limits, rejected: Rc<dyn Fn()>) -> Self {
        Self { shards, limits, counts: Arc::default(), lines: FewLines::default(), rejected }
    }

    /// Accepts connections until the task is dropped; or, when it is told that it is over, those that are there, and closes
    /// the listener.
    pub async fn accept_from(&self, listener: TcpListener, is_over: &Notify) {
        let (mut next, mut in_a_row, mut ends) = (0, 0, false);
        let tell = |why: String| self.lines.tell(|more| tracing::warn!("{why}{more}"));
        loop {
            // The runtime waits for the first of a burst. It would watch each of those behind it, too, only to be told that it is
            // for its shard's runtime to do so.
            in_a_row += 1;
            let waiting =
                if in_a_row < BURST || ends { accept(&listener) } else { Err(io::ErrorKind::WouldBlock.into()) };
            let accepted = match waiting {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && ends => return,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    in_a_row = 0;
                    tokio::select! {
                        accepted = listener.accept() => accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))),
                        () = is_over.notified() => {
                            ends = true;
                            continue;
                        }
                    }
                }
                done => done,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors, mostly: others may close some.
                    tell(format!("can't accept a connection: {e}"));
                    if ends {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let admission = match Admission::take(&self.counts, peer, &self.limits) {
                Ok(admission) => admission,
                Err(why) => {
                    (self.rejected)();
                    tell(why);
                    continue;
                }
            };
            if self.shards[next].send(ToShard::Accept(stream, peer, admission)).await.is_err() {
                return;
            }
            next = (next + 1) % self.shards.len();
        }
    }
}

/// A listener for [`Dealer::accept_from`].
pub fn opened(listener: std::net::TcpListener, keep_alive: bool) -> io::Result<TcpListener> {
    set_options(&listener, keep_alive)?;
    TcpListener::from_std(listener)
}

/// What is set for the listener, its connections have from it. Only since it listens: listening forgets some of it.
fn set_options(listener: &std::net::TcpListener, keep_alive: bool) -> io::Result<()> {
    let options = socket2::SockRef::from(listener);
    options.set_tcp_nodelay(true)?;
    // A ConnectRequest is acknowledged by its answer: the packet that Linux would send for it at once costs both kernels
    // as much as one that says something.
    options.set_tcp_quickack(false)?;
    options.set_tcp_notsent_lowat(NOT_SENT_MAX)?;
    options.set_keepalive(keep_alive)
}

/// Bytes for a client that the kernel keeps beside those that are on their way. Its usual buffers hold MBs, and room in them is
/// told of when a third is free: a client on a slow link would seem to take nothing for longer than its session lasts
/// (`Shard::has_unread`).
const NOT_SENT_MAX: u32 = 128 << 10;

/// Accepts a connection that does not block, for whichever shard's runtime.
fn accept(listener: impl AsFd) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let (stream, peer) = rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((stream.into(), peer.ok_or(io::ErrorKind::NotConnected)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, Environment};

    fn on(address: Option<&str>, port: u16) -> ClientConfig {
        let client = Config::embedded(&Environment::default()).unwrap().client;
        ClientConfig { address: address.map(str::to_owned), port, ..client }
    }

    #[test]
    fn a_port_with_a_listener_cannot_be_bound() {
        let first = bind(&on(Some("127.0.0.1"), 0)).unwrap();
        let (address, port) = (first.address, first.address.port());
        assert_ne!(port, 0);
        // Bound, and closed to clients until it listens.
        assert!(std::net::TcpStream::connect(address).is_err());
        // Two that start at the same time: the one that listens first has it.
        let second = bind(&on(Some("127.0.0.1"), port)).unwrap();
        let listening = first.listen().unwrap();
        std::net::TcpStream::connect(address).unwrap();
        for error in [
            second.listen().unwrap_err(),
            bind(&on(Some("127.0.0.1"), port)).unwrap_err(),
            bind(&on(None, port)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&format!("{port}: ")), "{error}");
        }
        // A server that has just ended leaves no port taken.
        drop(listening);
        bind(&on(Some("127.0.0.1"), port)).unwrap().listen().unwrap();
    }
    /// What accepts sets nothing for a single connection.
    #[test]
    fn connections_have_the_options_of_their_listener() {
        let listener = bind(&on(Some("127.0.0.1"), 0)).unwrap().listen().unwrap();
        set_options(&listener, true).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = accept(&listener).unwrap();
        let options = socket2::SockRef::from(&stream);
        assert!(options.tcp_nodelay().unwrap() && options.keepalive().unwrap() && options.nonblocking().unwrap());
        assert!(!options.tcp_quickack().unwrap());
        assert_eq!(options.tcp_notsent_lowat().unwrap(), NOT_SENT_MAX);
    }
}
