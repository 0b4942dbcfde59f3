//! Finding, calling and being called: names, connecting, listening.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use wire::election::HostPort;

/// Connections that may wait to be accepted. Java's default.
const BACKLOG: i32 = 50;

/// Addresses that somebody told, and no configuration has, which are looked up or connected to at once. The others wait, as
/// long as their attempt lasts.
pub(super) const TOLD_MAX: usize = 16;

/// Connects to the first address that answers; names are looked up now, as they may have moved since the last time.
/// All are tried at once (`multiAddress`), for no longer than `limit`; with `room`, no more than there is room for.
pub(super) async fn connect(
    addresses: &[HostPort],
    limit: Duration,
    room: Option<&Arc<Semaphore>>,
) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in addresses {
        tries.spawn(connect_to(address.clone(), room.cloned()));
    }
    let first = async {
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => last = e,
                Err(e) => last = io::Error::other(e),
            }
        }
        Err(last)
    };
    match tokio::time::timeout(limit, first).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis()))),
    }
}

/// Is it the name that was not found?
pub(super) fn is_unknown_name(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

async fn connect_to(address: HostPort, room: Option<Arc<Semaphore>>) -> io::Result<TcpStream> {
    let explain = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    let room = match room {
        Some(room) => Some(room.acquire_owned().await.map_err(io::Error::other)?),
        None => None,
    };
    let (resolved, _room) = look_up(&address, room).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address}: it has no address"));
    for at in resolved {
        match TcpStream::connect(at).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = explain(e),
        }
    }
    Err(last)
}

type Room = Option<OwnedSemaphorePermit>;

async fn look_up(address: &HostPort, room: Room) -> io::Result<(Vec<SocketAddr>, Room)> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok((vec![SocketAddr::new(ip, address.port)], room));
    }
    let (host, port) = (address.host.clone(), address.port);
    // It can't be broken off, so it keeps its room until it ends, also when nobody waits for it any more.
    let looked_up = tokio::task::spawn_blocking(move || {
        let all = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port)).map(Iterator::collect);
        all.map(|all| (all, room))
    });
    let unknown = |e| io::Error::new(io::ErrorKind::NotFound, format!("{address}: its name can't be looked up: {e}"));
    looked_up.await.map_err(io::Error::other).flatten().map_err(unknown)
}

/// [`listen`], on a thread of its own: those of the runtime may all be waiting for names.
pub(super) async fn listen_apart(address: HostPort, on_all: bool) -> io::Result<TcpListener> {
    let (sender, bound) = oneshot::channel();
    let listen = move || {
        // Whoever no longer waits has no use for it.
        let _ = sender.send(listen(&address, on_all));
    };
    std::thread::Builder::new().name("ostler-bind".to_owned()).spawn(listen)?;
    TcpListener::from_std(bound.await.map_err(io::Error::other)??)
}

/// Listens where others look for this server; on all interfaces if asked to, or if the address is a wildcard.
///
/// Not on a runtime's thread: a name may have to be looked up.
pub fn listen(address: &HostPort, on_all: bool) -> io::Result<std::net::TcpListener> {
    let explain = |e: io::Error| {
        let what = match e.kind() {
            io::ErrorKind::AddrInUse => "the port is taken".to_owned(),
            io::ErrorKind::AddrNotAvailable => {
                "this is no address of this machine; if that is meant (NAT, containers), set quorumListenOnAllIPs=true"
                    .to_owned()
            }
            _ => e.to_string(),
        };
        io::Error::new(e.kind(), format!("{address}: {what}"))
    };
    if on_all || address.is_wildcard() {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port));
        return listen_at(v6)
            .or_else(|e| {
                // A machine without IPv6.
                if e.kind() == io::ErrorKind::AddrInUse {
                    return Err(e);
                }
                listen_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port)))
            })
            .map_err(explain);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for at in std::net::ToSocketAddrs::to_socket_addrs(&(address.host.as_str(), address.port)).map_err(explain)? {
        match listen_at(at) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = e,
        }
    }
    Err(explain(last))
}

fn listen_at(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The next connection. A listener that can't accept (no descriptors are left) tries again in a while.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // A connection that is gone already shows at its first read.
                let _ = stream.set_nodelay(true);
                return (stream, from.ip().to_canonical());
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// SO_KEEPALIVE.
pub(super) fn keep_alive(stream: &TcpStream) {
    // Without it a dead peer is found by the next write.
    let _ = socket2::SockRef::from(stream).set_keepalive(true);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
    }

    /// Somebody's list of addresses must not become as many connections at once.
    #[test]
    fn addresses_that_somebody_told_wait_for_room() {
        const SOON: Duration = Duration::from_millis(100);
        const LATE: Duration = Duration::from_mins(1);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = ["127.0.0.1", "localhost"].map(|host| HostPort { host: host.to_owned(), port });
        let room = Arc::new(Semaphore::new(1));
        runtime().block_on(async {
            let taken = room.clone().acquire_owned().await.unwrap();
            let told = connect(&all, SOON, Some(&room)).await.unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::TimedOut, "{told}");
            listener.set_nonblocking(true).unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody was called");
            // What is in a configuration waits for nothing.
            connect(&all, LATE, None).await.unwrap();
            drop(taken);
            connect(&all, LATE, Some(&room)).await.unwrap();
            // Whether it came to something or not, the room is there again.
            drop(listener);
            connect(&all, LATE, Some(&room)).await.unwrap_err();
            drop(room.acquire().await.unwrap());
        });
    }

    #[test]
    fn a_port_is_bound_while_all_threads_wait_for_names() {
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        runtime().block_on(async move {
            let name = tokio::task::spawn_blocking(move || hangs.recv());
            let address = HostPort { host: "127.0.0.1".to_owned(), port: 0 };
            listen_apart(address, false).await.unwrap();
            drop(release);
            name.await.unwrap().unwrap_err();
        });
    }
}
