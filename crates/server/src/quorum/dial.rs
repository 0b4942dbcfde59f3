//! Finding, calling and being called: names, connecting, listening.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wire::election::HostPort;

/// Connections that may wait to be accepted. Java's default.
const BACKLOG: i32 = 50;

/// Connects to the first address that answers; names are looked up now, as they may have moved since the last time.
/// All are tried at once (`multiAddress`), for no longer than `limit`.
pub(super) async fn connect(addresses: &[HostPort], limit: Duration) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in addresses {
        tries.spawn(connect_to(address.clone()));
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

async fn connect_to(address: HostPort) -> io::Result<TcpStream> {
    let explain = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    let unknown = |e| io::Error::new(io::ErrorKind::NotFound, format!("{address}: its name can't be looked up: {e}"));
    let resolved = tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(unknown)?;
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
