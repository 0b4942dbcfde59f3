//! A server that only elects: our machines of elections and connections, on real sockets. One thread decides; each socket
//! has one that reads.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::ServerId;
use wire::election::{HostPort, InitialMessage, InitialVersion, Notification, ServerState, split_frame};
use zab::connections::{self, ConnectionId, Connections};
use zab::election::{self, Decision, Election, Proposal, Settings};
use zab::{QuorumVerifier, Quorums};

/// How long connecting and saying hello may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// What others see of it.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) decisions: Vec<Decision>,
    /// To whom it answered while it was settled.
    pub(super) answered: Vec<(ServerId, ServerState)>,
}

/// A running one. It ends when it is dropped.
pub(super) struct Elector {
    inbox: Sender<Event>,
    pub(super) seen: Arc<Mutex<Seen>>,
    ending: Arc<AtomicBool>,
    addr: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

enum Event {
    Connections(connections::Input),
    Socket(ConnectionId, TcpStream, connections::Input),
    Look(Proposal),
    End,
}

struct Driver {
    me: ServerId,
    election: Election,
    connections: Connections,
    sockets: BTreeMap<ConnectionId, TcpStream>,
    inbox: Receiver<Event>,
    sender: Sender<Event>,
    numbers: Arc<AtomicU64>,
    own: HostPort,
    start: Instant,
    seen: Arc<Mutex<Seen>>,
    quiet_to: Option<ServerId>,
}

impl Elector {
    /// A server of the ensemble that `config` tells of, listening where it says. While it looks, it sends nothing to
    /// `quiet_to`: its votes are lost on their way there.
    pub(super) fn start(
        me: i64,
        config: &str,
        listen: SocketAddr,
        offer: Proposal,
        quiet_to: Option<ServerId>,
    ) -> Self {
        let me = ServerId(me);
        let verifier = QuorumVerifier::parse(config, zab::quorum_verifier::TextRules::default()).unwrap();
        let own = verifier.member(me).unwrap().addresses[0].election();
        let quorums = Quorums::of(verifier);
        let (sender, inbox) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(1));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = TcpListener::bind(listen).unwrap();
        accept(listener, sender.clone(), Arc::clone(&numbers), Arc::clone(&ending));
        let driver = Driver {
            me,
            election: Election::new(Settings::new(me), quorums.clone()),
            connections: Connections::new(me, quorums),
            sockets: BTreeMap::new(),
            inbox,
            sender: sender.clone(),
            numbers,
            own,
            start: Instant::now(),
            seen: Arc::clone(&seen),
            quiet_to,
        };
        let thread = std::thread::spawn(move || driver.run());
        sender.send(Event::Look(offer)).unwrap();
        Self { inbox: sender, seen, ending, addr: listen, thread: Some(thread) }
    }

    /// The last decision.
    pub(super) fn decision(&self) -> Option<Decision> {
        self.seen.lock().unwrap().decisions.last().copied()
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        let _ = self.inbox.send(Event::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: TcpListener, sender: Sender<Event>, numbers: Arc<AtomicU64>, ending: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if ending.load(Ordering::SeqCst) {
                return;
            }
            let (sender, numbers) = (sender.clone(), Arc::clone(&numbers));
            std::thread::spawn(move || {
                let connection = ConnectionId(numbers.fetch_add(1, Ordering::SeqCst));
                if let Some((initial, rest)) = read_initial(&stream) {
                    let input = connections::Input::Accepted { connection, initial };
                    begin(connection, stream, rest, input, &sender);
                }
            });
        }
    });
}

fn read_initial(mut stream: &TcpStream) -> Option<(InitialMessage, Vec<u8>)> {
    stream.set_read_timeout(Some(HANDSHAKE_LIMIT)).ok()?;
    let mut bytes = Vec::new();
    loop {
        if let Some((initial, length)) = InitialMessage::split(&bytes).ok()? {
            return Some((initial, bytes.split_off(length)));
        }
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Hands a connection over, and reads its frames until it ends.
fn begin(id: ConnectionId, stream: TcpStream, rest: Vec<u8>, input: connections::Input, sender: &Sender<Event>) {
    let Ok(mut reader) = stream.try_clone() else { return };
    let _ = reader.set_read_timeout(None);
    let _ = stream.set_nodelay(true);
    let _ = sender.send(Event::Socket(id, stream, input));
    let mut bytes = rest;
    let mut buffer = [0; 8192];
    loop {
        while let Ok(Some((frame, behind))) = split_frame(&bytes) {
            let message = Bytes::copy_from_slice(frame);
            let behind = behind.to_vec();
            bytes = behind;
            let _ = sender.send(Event::Connections(connections::Input::Received { connection: id, message }));
        }
        match reader.read(&mut buffer) {
            Ok(n) if n > 0 && split_frame(&bytes).is_ok() => bytes.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    let _ = sender.send(Event::Connections(connections::Input::Closed(id)));
}

impl Driver {
    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn run(mut self) {
        loop {
            let wait = self.election.next_timeout().map_or(1000, |at| at.saturating_sub(self.now_ms()));
            match self.inbox.recv_timeout(Duration::from_millis(wait)) {
                Ok(Event::Connections(input)) => self.connect(input),
                Ok(Event::Socket(id, stream, input)) => {
                    self.sockets.insert(id, stream);
                    self.connect(input);
                }
                Ok(Event::Look(offer)) => self.elect(election::Input::Look(offer)),
                Err(RecvTimeoutError::Timeout) => self.elect(election::Input::Timeout),
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for stream in self.sockets.values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn elect(&mut self, input: election::Input) {
        self.election.handle(self.now_ms(), input);
        while let Some(output) = self.election.take_output() {
            match output {
                election::Output::Send { to, notification } => {
                    let state = notification.state.unwrap();
                    if state != ServerState::Looking {
                        self.seen.lock().unwrap().answered.push((to, state));
                    } else if self.quiet_to == Some(to) {
                        continue;
                    }
                    let mut message = Vec::new();
                    notification.write(&mut message);
                    self.connect(connections::Input::Send { to, message: message.into() });
                }
                election::Output::Decided(decision) => self.seen.lock().unwrap().decisions.push(decision),
                election::Output::VoterLooks(_) | election::Output::NewerConfiguration(_) => {}
            }
        }
    }

    fn connect(&mut self, input: connections::Input) {
        let mut inputs = VecDeque::from([input]);
        let mut news = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.connections.handle(input);
            while let Some(output) = self.connections.take_output() {
                match output {
                    connections::Output::Connect { to, addresses, .. } => self.open(to, addresses),
                    connections::Output::Write { connection, message } => {
                        let mut frame = (message.len() as i32).to_be_bytes().to_vec();
                        frame.extend_from_slice(&message);
                        let written = self.sockets.get_mut(&connection).map(|it| it.write_all(&frame));
                        inputs.push_back(match written {
                            Some(Ok(())) => connections::Input::Written(connection),
                            _ => connections::Input::Closed(connection),
                        });
                    }
                    connections::Output::Close(connection) => {
                        if let Some(stream) = self.sockets.remove(&connection) {
                            let _ = stream.shutdown(std::net::Shutdown::Both);
                        }
                    }
                    connections::Output::Deliver { from, message } => {
                        if let Ok(notification) = Notification::read(&message) {
                            news.push(election::Input::Notification { from, notification });
                        }
                    }
                    connections::Output::Up(peer) => news.push(election::Input::Up(peer)),
                    connections::Output::Down(peer) => news.push(election::Input::Down(peer)),
                }
            }
        }
        for input in news {
            self.elect(input);
        }
    }

    fn open(&self, to: ServerId, addresses: Vec<HostPort>) {
        let initial =
            InitialMessage { version: InitialVersion::V1, server: self.me, addresses: vec![self.own.clone()] };
        let (sender, numbers) = (self.sender.clone(), Arc::clone(&self.numbers));
        std::thread::spawn(move || {
            let mut hello = Vec::new();
            initial.write(&mut hello);
            for address in addresses {
                let Ok(mut stream) = TcpStream::connect((address.host.as_str(), address.port)) else { continue };
                if stream.write_all(&hello).is_ok() {
                    let connection = ConnectionId(numbers.fetch_add(1, Ordering::SeqCst));
                    let input = connections::Input::Opened { to, connection };
                    begin(connection, stream, Vec::new(), input, &sender);
                    return;
                }
            }
            let _ = sender.send(Event::Connections(connections::Input::Failed { to }));
        });
    }
}
