//! Where clients find a member: its own line says that, and a reconfig may change it while it runs.
//!
//! The new port is taken before the old one is given up, and what is connected stays. One that can't be taken leaves the server
//! where it was; it is tried again, as the election port is. Apache's gives the old one up first, and listens nowhere then.
//!
//! Source: Apache `QuorumPeer.processReconfig`, `NIOServerCnxnFactory.reconfigure`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use wire::election::HostPort;

use crate::config::{self, ClientConfig};
use crate::listener::{self, Bound, Dealer, Limits};
use crate::shard_thread::ToShard;

/// What the machines and the listener tell each other.
#[derive(Debug)]
pub struct ClientPort {
    /// What the own line says; `None`: nothing, and it stays where it is.
    wanted: watch::Sender<Option<HostPort>>,
    /// Where it was when the server started.
    first: Option<HostPort>,
    /// 0: where it was when the server started.
    moved_to: AtomicU16,
}

impl ClientPort {
    /// Of a member that starts.
    pub fn new(at: Option<HostPort>) -> Self {
        Self { wanted: watch::Sender::new(at.clone()), first: at, moved_to: AtomicU16::new(0) }
    }

    /// The own line says so now.
    pub fn move_to(&self, at: &HostPort) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.as_ref() != Some(at);
            if is_new {
                *wanted = Some(at.clone());
            }
            is_new
        });
    }

    /// What the own line said last.
    pub fn wanted(&self) -> Option<HostPort> {
        self.wanted.borrow().clone()
    }

    /// Which port it is, if it has moved since the server started.
    pub fn moved_to(&self) -> Option<u16> {
        Some(self.moved_to.load(Relaxed)).filter(|port| *port != 0)
    }
}

/// What the shard that accepts is given.
#[derive(Debug)]
pub struct Accept {
    /// The client port.
    pub listener: std::net::TcpListener,
    /// To which connections are dealt out.
    pub shards: Vec<mpsc::Sender<ToShard>>,
    /// How many there may be.
    pub limits: Limits,
    /// How it was bound.
    pub config: ClientConfig,
    /// A member's, which may move.
    pub port: Option<Arc<ClientPort>>,
}

/// Accepts connections, wherever clients look for this server, until the task is dropped. `rejected` is told of each that the
/// limits keep out.
///
/// # Errors
/// The first listener can't be used.
pub async fn run(accept: Accept, rejected: Rc<dyn Fn()>) -> io::Result<()> {
    let Accept { listener, shards, limits, config, port } = accept;
    let dealer = Rc::new(Dealer::new(shards, limits, rejected));
    let address = listener.local_addr()?;
    let here = Accepting::start(&dealer, listener, address, config.tcp_keep_alive)?;
    match port {
        Some(port) => {
            Mover { dealer, config, at: port.first.clone(), given_up: None, here: Some(here), port }.run().await;
        }
        None => here.ended().await,
    }
    Ok(())
}

/// A listener, and who accepts there.
struct Accepting {
    address: SocketAddr,
    is_over: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Accepting {
    fn start(
        dealer: &Rc<Dealer>,
        listener: std::net::TcpListener,
        at: SocketAddr,
        keep_alive: bool,
    ) -> io::Result<Self> {
        let listener = listener::opened(listener, keep_alive)?;
        let is_over = Rc::new(Notify::new());
        let (dealer, ends) = (dealer.clone(), is_over.clone());
        let task = spawn_local(async move { dealer.accept_from(listener, &ends).await });
        Ok(Self { address: at, is_over, task })
    }

    /// Takes what has connected, and closes it.
    async fn close(self) {
        self.is_over.notify_one();
        self.ended().await;
    }

    async fn ended(self) {
        // Whoever accepts ends with the server, or when it is told to.
        let _ = self.task.await;
    }
}

struct Mover {
    dealer: Rc<Dealer>,
    config: ClientConfig,
    port: Arc<ClientPort>,
    /// What was asked for where it is; `None`: nothing was, or it is nowhere.
    at: Option<HostPort>,
    /// What can't be taken, and is not tried again, since that would take the old one away for a moment each time.
    given_up: Option<HostPort>,
    /// `None`: neither the new one nor the old one could be taken.
    here: Option<Accepting>,
}

impl Mover {
    async fn run(mut self) {
        let mut wanted = self.port.wanted.subscribe();
        let mut told = None;
        loop {
            let to = wanted.borrow_and_update().clone().filter(|it| Some(it) != self.at.as_ref());
            let is_tried_again = match to {
                None => {
                    (self.given_up, told) = (None, None);
                    false
                }
                Some(to) => match self.move_to(&to).await {
                    Ok(()) => {
                        (self.at, self.given_up, told) = (Some(to), None, None);
                        false
                    }
                    Err(e) => {
                        if told.as_ref() != Some(&to) {
                            self.tell(&to, &e);
                            told = Some(to.clone());
                        }
                        self.given_up.as_ref() != Some(&to)
                    }
                },
            };
            let pause = if is_tried_again { PAUSE } else { Duration::MAX };
            // The other end goes with the server.
            let _ = tokio::time::timeout(pause, wanted.changed()).await;
        }
    }

    async fn move_to(&mut self, to: &HostPort) -> io::Result<()> {
        let mut config = self.config.clone();
        config::set_client(&mut config, to);
        let old = self.here.as_ref().map(|it| it.address);
        let taken = match (take(config.clone(), old).await, old) {
            // It may be this server itself that has the port: on all addresses, or on one of them.
            (Err(e), Some(old)) if e.kind() == io::ErrorKind::AddrInUse && old.port() == to.port => {
                self.close_old().await;
                let at = self.at.take();
                match take(config, None).await {
                    Err(e) => {
                        self.open(take_back(self.config.clone(), old).await?)?;
                        (self.at, self.given_up) = (at, Some(to.clone()));
                        return Err(e);
                    }
                    taken => taken?,
                }
            }
            (taken, _) => taken?,
        };
        let Some((listener, address)) = taken else { return Ok(()) };
        let new = Accepting::start(&self.dealer, listener, address, self.config.tcp_keep_alive)?;
        tracing::info!("clients find this server at {address} now");
        self.port.moved_to.store(address.port(), Relaxed);
        self.close_old().await;
        self.here = Some(new);
        Ok(())
    }

    fn open(&mut self, (listener, address): (std::net::TcpListener, SocketAddr)) -> io::Result<()> {
        self.here = Some(Accepting::start(&self.dealer, listener, address, self.config.tcp_keep_alive)?);
        Ok(())
    }

    async fn close_old(&mut self) {
        if let Some(old) = self.here.take() {
            old.close().await;
        }
    }

    fn tell(&self, to: &HostPort, e: &io::Error) {
        let stays = match &self.here {
            Some(here) => format!("it stays at {}", here.address),
            None => "it listens nowhere".to_owned(),
        };
        let next = if self.given_up.as_ref() == Some(to) { "" } else { ", and tries again" };
        tracing::error!("clients can't find this server at {to}, where its own line says: {e}; {stays}{next}");
    }
}

type Taken = (std::net::TcpListener, SocketAddr);

/// Listens where the configuration says; `None`: that is where it does, `at`. On a thread of its own: a name may have to be
/// looked up.
async fn take(config: ClientConfig, at: Option<SocketAddr>) -> io::Result<Option<Taken>> {
    apart(move || {
        let address = listener::address(&config)?;
        if Some(address) == at { Ok(None) } else { listening(listener::bind(&config)?).map(Some) }
    })
    .await
}

/// Listens where it did before.
async fn take_back(config: ClientConfig, at: SocketAddr) -> io::Result<Taken> {
    apart(move || listening(listener::bind_at(at, &config)?)).await
}

fn listening(bound: Bound) -> io::Result<Taken> {
    let address = bound.address;
    Ok((bound.listen()?, address))
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, done) = oneshot::channel();
    let run = move || {
        // Whoever no longer waits has no use for it.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("ostler-bind".to_owned()).spawn(run)?;
    done.await.map_err(io::Error::other)?
}

/// How long it waits before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;
    use std::net::{Ipv4Addr, TcpStream};

    use tokio::task::LocalSet;

    use super::*;
    use crate::config::{Config, Environment};

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    /// A port that nobody has.
    fn free() -> u16 {
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    fn answers(port: u16) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }

    async fn until(holds: impl Fn() -> bool) {
        let waits = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap();
    }

    /// A port on all addresses, which moves, and how many have connected.
    async fn moves<F: Future<Output = ()>>(test: impl FnOnce(u16, Arc<ClientPort>, Rc<Cell<usize>>) -> F) {
        let mut config = Config::embedded(&Environment::default()).unwrap().client;
        (config.address, config.port) = (None, free());
        let port = config.port;
        let (shard, mut came) = mpsc::channel(64);
        let client_port = Arc::new(ClientPort::new(Some(at("0.0.0.0", port))));
        let accept = Accept {
            listener: listener::bind(&config).unwrap().listen().unwrap(),
            shards: vec![shard],
            limits: Limits { total: None, per_address: None },
            config,
            port: Some(client_port.clone()),
        };
        let accepted = Rc::new(Cell::new(0));
        let test = test(port, client_port, accepted.clone());
        let local = LocalSet::new();
        local.spawn_local(async move { run(accept, Rc::new(|| ())).await.unwrap() });
        local.spawn_local(async move {
            while came.recv().await.is_some() {
                accepted.set(accepted.get() + 1);
            }
        });
        local.run_until(test).await;
    }

    #[tokio::test]
    async fn it_is_where_the_own_line_says_and_nowhere_else() {
        moves(async |first, port, accepted| {
            for host in ["127.0.0.1", "0.0.0.0", "127.0.0.1", "::"] {
                let (old, new) = (port.moved_to().unwrap_or(first), free());
                port.move_to(&at(host, new));
                for at in [old, new] {
                    if at == new {
                        until(|| !answers(old)).await;
                        assert_eq!(port.moved_to(), Some(new), "{host}");
                    }
                    let (before, _client) = (accepted.get(), TcpStream::connect((Ipv4Addr::LOCALHOST, at)).unwrap());
                    until(|| accepted.get() > before).await;
                }
            }
        })
        .await;
    }

    /// All addresses, one of them, and all again, at one port: the old one is in the way of the new one.
    #[tokio::test]
    async fn the_same_port_at_other_addresses() {
        moves(async |first, port, _| {
            let elsewhere = || TcpStream::connect((Ipv4Addr::new(127, 0, 0, 9), first)).is_ok();
            assert!(elsewhere());
            port.move_to(&at("127.0.0.1", first));
            until(|| !elsewhere() && answers(first)).await;
            // Another has the port there: then it can't be had on all addresses, and stays where it is.
            let other = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 8), first)).unwrap();
            port.move_to(&at("0.0.0.0", first));
            tokio::time::sleep(PAUSE + PAUSE / 2).await;
            assert!(answers(first) && !elsewhere());
            drop(other);
            port.move_to(&at("127.0.0.1", first));
            port.move_to(&at("0.0.0.0", first));
            until(|| elsewhere() && answers(first)).await;
        })
        .await;
    }

    #[tokio::test]
    async fn one_that_is_taken_is_tried_again() {
        moves(async |first, port, _| {
            let other = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let new = other.local_addr().unwrap().port();
            port.move_to(&at("127.0.0.1", new));
            tokio::time::sleep(PAUSE / 2).await;
            assert!(answers(first));
            assert_eq!(port.moved_to(), None);
            drop(other);
            until(|| port.moved_to() == Some(new)).await;
            until(|| !answers(first)).await;
            assert!(answers(new));
            // It never goes where it can't; and comes back to where it was.
            port.move_to(&at("no.such.host.invalid", free()));
            tokio::time::sleep(PAUSE / 2).await;
            assert!(answers(new));
            port.move_to(&at("127.0.0.1", first));
            until(|| answers(first) && !answers(new)).await;
        })
        .await;
    }
}
