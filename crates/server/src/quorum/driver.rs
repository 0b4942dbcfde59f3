//! The thread: it does what orders ask for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use wire::ServerId;
use wire::election::{HostPort, InitialMessage};
use wire::quorum::Packet;
use zab::connections::{self, ConnectionId};
use zab::quorum_verifier::MemberAddress;
use zab::{ConnId, RoleId, leader};

use super::election_port::{self, ElectionPort};
use super::leader_port::LeaderPort;
use super::learner_port::{self, LearnerPort};
use super::waiting::Waiting;
use super::{Machines, News, Options, Order, Orders, dial};
use crate::few_lines::{FewLines, Told};

/// Events of the tasks that wait; a task that finds no room waits.
const EVENTS_MAX: usize = 256;
/// A deadline further away is looked at again then.
const SLEEP_MAX: Duration = Duration::from_hours(1);
/// The pause between two tries to bind the election port. Source: `QuorumCnxManager.Listener`.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// What tasks tell the thread.
#[derive(Debug)]
pub(super) enum Event {
    ElectionCame { stream: TcpStream, initial: InitialMessage, rest: BytesMut },
    ElectionCalled { to: ServerId, stream: Option<TcpStream> },
    ElectionEnded(ConnectionId),
    LearnerCame { role: RoleId, stream: TcpStream, hello: Packet, rest: BytesMut },
    LearnerEnded(RoleId, ConnId),
    LeaderEnded(RoleId),
}

/// What all tasks know.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) options: Rc<Options>,
    /// Where others look for this server now.
    pub(super) own: Rc<RefCell<Vec<MemberAddress>>>,
    pub(super) machines: Arc<dyn Machines>,
    events: mpsc::Sender<Event>,
    /// Room for attempts to reach addresses that somebody told.
    pub(super) told: Arc<Semaphore>,
    pub(super) lines: Rc<Lines>,
    /// Peers whose names could not be looked up when they were called last: told once of each.
    pub(super) unknown: Rc<RefCell<Told>>,
}

/// What others can make it say.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) bad_election_frames: FewLines,
    pub(super) bad_election_hellos: FewLines,
    pub(super) bad_learner_hellos: FewLines,
    pub(super) bad_learner_packets: FewLines,
    pub(super) closed_learners: FewLines,
    pub(super) broken_snapshots: FewLines,
    pub(super) same_id: FewLines,
    pub(super) doubles: FewLines,
    pub(super) unknown_names: FewLines,
}

impl Shared {
    pub(super) async fn send(&self, event: Event) {
        // A thread that ended has nothing to do with it.
        let _ = self.events.send(event).await;
    }

    pub(super) fn tell(&self, news: News) {
        self.machines.handle(vec![news]);
    }
}

/// A task that ends with this.
#[derive(Debug)]
struct Owned(AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The election port, bound.
#[derive(Debug)]
pub struct Listening(Vec<(HostPort, std::net::TcpListener)>);

impl Listening {
    /// Binds the election port on all own addresses, and looks whether the quorum port is free, which is bound when this
    /// server leads. As often as it is asked for, a second apart: a name may not be known yet.
    ///
    /// # Errors
    /// One line, with the address.
    pub fn bind(options: &Options) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in &options.own {
            let (election, quorum) = (address.election(), address.quorum());
            let mut tries = 0;
            let listener = loop {
                match dial::listen(&election, options.listen_on_all) {
                    Ok(listener) => break listener,
                    Err(e) => {
                        tries += 1;
                        if options.election_bind_tries.is_some_and(|max| tries >= max) {
                            return Err(io::Error::new(e.kind(), format!("election port {e}")));
                        }
                        tracing::warn!("election port {e}; it is tried again");
                    }
                }
                std::thread::sleep(BIND_PAUSE);
            };
            listeners.push((election, listener));
            dial::listen(&quorum, options.listen_on_all)
                .map_err(|e| io::Error::new(e.kind(), format!("quorum port {e}")))?;
        }
        Ok(Self(listeners))
    }
}

/// The state of the thread.
pub struct Driver {
    options: Options,
    machines: Arc<dyn Machines>,
    orders: Arc<Orders>,
    listening: Listening,
}

/// What [`Driver::run`] works with.
struct Ports {
    shared: Shared,
    election: ElectionPort,
    /// Who accepts on the election port, by address.
    acceptors: BTreeMap<HostPort, Owned>,
    learner: Option<LearnerPort>,
    leader: Option<LeaderPort>,
    learners: u64,
}

impl Driver {
    /// On ports that are bound.
    pub fn new(options: Options, listening: Listening, machines: Arc<dyn Machines>, orders: Arc<Orders>) -> Self {
        Self { options, machines, orders, listening }
    }

    /// Runs until [`Order::Stop`], in a `LocalSet`.
    pub async fn run(self) {
        let Self { options, machines, orders, listening } = self;
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let shared = Shared {
            own: Rc::new(RefCell::new(options.own.clone())),
            options: Rc::new(options),
            machines,
            events: sender,
            told: Arc::new(Semaphore::new(dial::TOLD_MAX)),
            lines: Rc::default(),
            unknown: Rc::default(),
        };
        let mut ports = Ports {
            shared,
            election: ElectionPort::default(),
            acceptors: BTreeMap::new(),
            learner: None,
            leader: None,
            learners: 0,
        };
        for (address, listener) in listening.0 {
            let task = spawn_local(accept(ports.shared.clone(), listener));
            ports.acceptors.insert(address, Owned(task.abort_handle()));
        }
        loop {
            for order in orders.take() {
                if matches!(order, Order::Stop) {
                    return;
                }
                ports.order(order);
            }
            let left = orders.deadline_ms().saturating_sub(ports.shared.machines.now_ms());
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => ports.event(event),
                    None => return,
                },
                () = orders.bell.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(left).min(SLEEP_MAX)) => {
                    ports.shared.machines.on_time();
                }
            }
        }
    }
}

/// Listens at an address that the election port has got since the start; one that is taken is tried again.
async fn listen(shared: Shared, address: HostPort) {
    let mut told = false;
    let listener = loop {
        match dial::listen_apart(address.clone(), shared.options.listen_on_all).await {
            Ok(listener) => break listener,
            Err(e) if told => tracing::debug!("election port {e}"),
            Err(e) => {
                told = true;
                tracing::error!("other servers can't call this one where they look for it now: election port {e}");
            }
        }
        tokio::time::sleep(BIND_PAUSE).await;
    };
    tracing::info!("other servers can call this one at {address}");
    accept_from(shared, listener).await;
}

async fn accept(shared: Shared, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("the election port can't be listened on: {e}"),
    };
    accept_from(shared, listener).await;
}

async fn accept_from(shared: Shared, listener: TcpListener) {
    let mut waiting = Waiting::default();
    loop {
        let (stream, from) = dial::accept(&listener).await;
        waiting.add(from, spawn_local(election_port::greet(shared.clone(), stream)).abort_handle());
    }
}

impl Ports {
    fn order(&mut self, order: Order) {
        match order {
            Order::Election(output) => self.election_output(output),
            Order::Follow { role, leader, addresses } => {
                self.learner = Some(LearnerPort::open(&self.shared, role, leader, addresses));
            }
            Order::ToLeader(role, packet) => {
                if let Some(learner) = self.learner.as_ref().filter(|it| it.role == role)
                    && !learner.send(&packet)
                {
                    tracing::warn!("the leader does not take what it is sent; the connection is given up");
                    self.leader_ended(role);
                }
            }
            Order::ReceiveSnapshot(role, to) => {
                if let Some(learner) = self.learner.as_ref().filter(|it| it.role == role) {
                    learner.snapshot(to);
                }
            }
            Order::Own(addresses) => self.own(addresses),
            Order::Lead(role) => self.leader = Some(LeaderPort::open(&self.shared, role)),
            Order::ServeObservers(role) => self.leader = Some(LeaderPort::for_observers(&self.shared, role)),
            Order::Ready(id) => {
                if let Some(leader) = &self.leader {
                    leader.ready(id);
                }
            }
            Order::SendSnapshot(id, from) => {
                if let Some(leader) = &self.leader {
                    leader.snapshot(id, from);
                }
            }
            Order::CloseLearner(id, why) => {
                if let Some(who) = self.leader.as_mut().and_then(|leader| leader.close(id)) {
                    let lines = &self.shared.lines.closed_learners;
                    lines.tell(|more| tracing::info!("learner {who}: {why}: its connection is closed{more}"));
                }
            }
            Order::Over(role) => {
                self.learner.take_if(|it| it.role == role);
                self.leader.take_if(|it| it.role == role);
            }
            Order::Stop => {}
        }
    }

    fn own(&mut self, addresses: Vec<MemberAddress>) {
        if *self.shared.own.borrow() == addresses {
            return;
        }
        let election: Vec<HostPort> = addresses.iter().map(MemberAddress::election).collect();
        self.shared.own.replace(addresses);
        self.acceptors.retain(|address, _| election.contains(address));
        for address in election {
            let shared = &self.shared;
            let open = || Owned(spawn_local(listen(shared.clone(), address.clone())).abort_handle());
            self.acceptors.entry(address.clone()).or_insert_with(open);
        }
        if let Some(leader) = &mut self.leader {
            leader.move_to_own(&self.shared);
        }
    }

    fn election_output(&mut self, output: connections::Output) {
        match output {
            connections::Output::Connect { to, addresses, is_told } => {
                spawn_local(election_port::call(self.shared.clone(), to, addresses, is_told));
            }
            connections::Output::Write { connection, message } => {
                self.election.write(&self.shared, connection, message);
            }
            connections::Output::Close(connection) => self.election.close(connection),
            // They are for the election, which is on the machines' side.
            connections::Output::Deliver { .. } | connections::Output::Up(_) | connections::Output::Down(_) => {}
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::ElectionCame { stream, initial, rest } => {
                if initial.server == self.shared.options.me {
                    let from = stream.peer_addr().map_or_else(|e| e.to_string(), |it| it.to_string());
                    self.shared.lines.same_id.tell(|more| {
                        tracing::error!(
                            "another server says that it is server {}, from {from}: two servers have the same myid; it is not listened to{more}",
                            initial.server
                        );
                    });
                }
                let connection = self.election.begin(&self.shared, stream, rest);
                self.tell(connections::Input::Accepted { connection, initial });
            }
            Event::ElectionCalled { to, stream: Some(stream) } => {
                let connection = self.election.begin(&self.shared, stream, BytesMut::new());
                self.tell(connections::Input::Opened { to, connection });
            }
            Event::ElectionCalled { to, stream: None } => self.tell(connections::Input::Failed { to }),
            Event::ElectionEnded(connection) => {
                self.election.close(connection);
                self.tell(connections::Input::Closed(connection));
            }
            Event::LearnerCame { role, stream, hello, rest } => {
                if let Some(leader) = self.leader.as_mut().filter(|it| it.role == role) {
                    self.learners += 1;
                    leader.begin(&self.shared, ConnId(self.learners), stream, hello, rest);
                }
            }
            Event::LearnerEnded(role, id) => {
                if self.leader.as_mut().is_some_and(|it| it.role == role && it.close(id).is_some()) {
                    self.shared.tell(News::Leader(role, leader::Input::Disconnected(id)));
                }
            }
            Event::LeaderEnded(role) => self.leader_ended(role),
        }
    }

    fn leader_ended(&mut self, role: RoleId) {
        if self.learner.take_if(|it| it.role == role).is_some() {
            learner_port::ended(&self.shared, role);
        }
    }

    fn tell(&self, input: connections::Input) {
        self.shared.tell(News::Election(input));
    }
}
