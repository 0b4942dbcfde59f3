//! The session: opened, kept, opened again, closed; and the watches that hang on it.
//!
//! The `zookeeper-client` crate keeps a session alive across lost connections. Around it, here: connecting goes on behind
//! the prompt, which is there at once; a command waits for the first attempt; identities are kept, so that a new session
//! has them too; and persistent watches are set again when a connection is back, which the crate (0.11.2) leaves out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zookeeper_client::{
    AddWatchMode, Client, Error, EventType, OneshotWatcher, PersistentWatcher, SessionState, WatchedEvent,
};

use crate::command::WatchType;
use crate::failure::{Code, Failure, Kind};
use crate::hosts::Hosts;
use crate::raw::{Account, Raw};
use crate::screen::Screen;

/// How long closing a session may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two attempts to connect, behind a prompt.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the first prompt waits for the first connection.
const FIRST_LOOK: Duration = Duration::from_millis(300);
/// How long each step of looking for the cause may take, when there is no session.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// Most servers that are looked at then.
const DIAGNOSED_MAX: usize = 8;
/// What to do where nobody answers.
const NOBODY_HINT: &str = "`-s host:port` names another server; `ostler server` starts one here";

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub hosts: Hosts,
    /// The session timeout to ask for.
    pub timeout: Duration,
    /// Would a read-only server do?
    pub read_only: bool,
    /// Go on trying until `timeout` before the first command.
    pub wait: bool,
    /// Go on trying for ever: somebody sits at a prompt.
    pub interactive: bool,
}

/// What there is between us and the servers.
#[derive(Debug, Clone)]
enum Link {
    /// The first attempt is under way.
    Connecting,
    /// A session. The crate mends its connections.
    Up(Client),
    /// The last attempt failed. At a prompt, another one will be made.
    Down,
    /// The session is over, by this.
    Over(SessionState),
}

/// The link, as its readers share it.
#[derive(Debug, Clone)]
pub struct Live(watch::Receiver<Link>);

impl Live {
    /// The session's client, if there is a session.
    pub fn client(&self) -> Option<Client> {
        match &*self.0.borrow() {
            Link::Up(client) if !client.state().is_terminated() => Some(client.clone()),
            _ => None,
        }
    }

    /// The state in the words of zkCli's prompt. Source: `ZooKeeper.States`.
    pub fn state(&self) -> &'static str {
        match &*self.0.borrow() {
            Link::Connecting | Link::Down => "CONNECTING",
            Link::Over(SessionState::AuthFailed) => "AUTH_FAILED",
            Link::Over(_) => "CLOSED",
            Link::Up(client) => match client.state() {
                SessionState::SyncConnected => "CONNECTED",
                SessionState::ConnectedReadOnly => "CONNECTEDREADONLY",
                SessionState::Disconnected => "CONNECTING",
                SessionState::AuthFailed => "AUTH_FAILED",
                SessionState::Expired | SessionState::Closed => "CLOSED",
            },
        }
    }
}

/// The shell's session.
#[derive(Debug)]
pub struct Session {
    options: Options,
    screen: Arc<Screen>,
    link: Arc<watch::Sender<Link>>,
    /// Held by whoever closes it.
    closing: Arc<tokio::sync::Mutex<()>>,
    connecting: Option<JoinHandle<()>>,
    auths: Vec<(String, Vec<u8>)>,
    watches: Watches,
    raw: Raw,
}

impl Session {
    /// One that is not there yet; [`Session::start`] opens it.
    pub fn new(options: Options, screen: Arc<Screen>, print_watches: Arc<std::sync::atomic::AtomicBool>) -> Self {
        let (link, _) = watch::channel(Link::Over(SessionState::Closed));
        let events = Events { screen: screen.clone(), print: print_watches, last: Arc::default() };
        let watches = Watches { set: Arc::default(), events, live: Live(link.subscribe()) };
        Self {
            options,
            screen,
            link: Arc::new(link),
            closing: Arc::default(),
            connecting: None,
            auths: Vec::new(),
            watches,
            raw: Raw::default(),
        }
    }

    /// The link, for those who only look.
    pub fn live(&self) -> Live {
        Live(self.link.subscribe())
    }

    /// Where it leads.
    pub fn hosts(&self) -> &Hosts {
        &self.options.hosts
    }

    /// Opens it, in the background.
    pub fn start(&mut self, hosts: Option<Hosts>) {
        if let Some(hosts) = hosts {
            self.options.hosts = hosts;
        }
        let mut connector =
            Client::connector().with_session_timeout(self.options.timeout).with_readonly(self.options.read_only);
        if !self.options.wait {
            connector = connector.with_fail_eagerly();
        }
        for (scheme, auth) in &self.auths {
            connector = connector.with_auth(scheme, auth);
        }
        self.link.send_replace(Link::Connecting);
        let (link, options, events) = (self.link.clone(), self.options.clone(), self.watches.events.clone());
        let begun = tokio::time::Instant::now();
        self.connecting = Some(tokio::spawn(async move {
            let mut refused = false;
            loop {
                match connector.clone().connect(&options.hosts.connect_string()).await {
                    Ok(client) => {
                        let (state, states) = (client.state(), client.state_watcher());
                        // Before anybody is told: who reads of the session types a command that needs it.
                        link.send_replace(Link::Up(client));
                        // The prompt that stands there says something else.
                        if options.interactive && (refused || begun.elapsed() > FIRST_LOOK) {
                            events.session(state);
                        }
                        tokio::spawn(follow(states, link.clone(), events));
                        return;
                    }
                    Err(Error::AuthFailed) => {
                        link.send_replace(Link::Over(SessionState::AuthFailed));
                        return;
                    }
                    Err(_) => {
                        refused = true;
                        link.send_replace(Link::Down);
                    }
                }
                if !options.interactive {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }));
    }

    /// Waits until the first attempt has an end, but not for long: a prompt should say how things are.
    pub async fn look(&self) {
        let mut link = self.link.subscribe();
        let _ = tokio::time::timeout(FIRST_LOOK, link.wait_for(|it| !matches!(it, Link::Connecting))).await;
    }

    /// The client, as soon as the first attempt to connect has an end. The failure speaks of `path`.
    pub async fn client(&mut self, path: &str) -> Result<Client, Failure> {
        let mut link = self.link.subscribe();
        if self.options.interactive && matches!(&*link.borrow(), Link::Over(SessionState::Expired)) {
            self.start(None);
            self.screen.remark(
                "the session had expired; a new one is opened, without the ephemerals and watches of the old one\n",
            );
        }
        let found = link.wait_for(|it| !matches!(it, Link::Connecting)).await;
        let now = found.map_or(Link::Down, |it| it.clone());
        match now {
            Link::Up(client) if !client.state().is_terminated() => Ok(client),
            Link::Connecting | Link::Down => {
                let why = diagnose(&self.options).await;
                Err(Failure::code(Code::CONNECTION_LOSS, path).cause(why).hint(NOBODY_HINT))
            }
            Link::Over(SessionState::AuthFailed) => {
                Err(not_connected("the server refused the credentials of an addauth"))
            }
            Link::Over(SessionState::Expired) => Err(not_connected("the session has expired")),
            Link::Over(_) | Link::Up(_) => Err(not_connected("the session was closed")),
        }
    }

    /// Adds an identity to this session and those after it.
    pub async fn add_auth(&mut self, scheme: &str, auth: &[u8]) -> Result<(), Failure> {
        let client = self.client("").await?;
        client.auth(scheme, auth).await.map_err(|e| Failure::client(&e, ""))?;
        self.auths.push((scheme.to_owned(), auth.to_vec()));
        self.raw.close().await;
        Ok(())
    }

    /// The second connection, and what opening it takes.
    pub fn raw(&mut self) -> (&mut Raw, Account) {
        let account =
            Account { hosts: self.options.hosts.clone(), read_only: self.options.read_only, auths: self.auths.clone() };
        (&mut self.raw, account)
    }

    /// The watches.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What ends it from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer { link: self.link.clone(), closing: self.closing.clone() }
    }

    /// Ends it: behind this, its ephemerals are gone.
    pub async fn close(&mut self) {
        self.raw.close().await;
        if let Some(connecting) = self.connecting.take() {
            connecting.abort();
            let _ = connecting.await;
        }
        self.closer().close().await;
        self.watches.forget();
    }
}

/// Ends a session whose owner is busy.
#[derive(Debug, Clone)]
pub struct Closer {
    link: Arc<watch::Sender<Link>>,
    closing: Arc<tokio::sync::Mutex<()>>,
}

impl Closer {
    /// Ends it, and waits until the server has heard of it.
    pub async fn close(&self) {
        // A signal and the end of the input may come together: the process must not end before the server has heard of it
        // because somebody else is telling it.
        let _first = self.closing.lock().await;
        let old = self.link.send_replace(Link::Over(SessionState::Closed));
        let Link::Up(client) = old else { return };
        let mut state = client.state_watcher();
        let mut now = client.state();
        drop(client);
        let closed = async {
            while !now.is_terminated() {
                now = state.changed().await;
            }
        };
        // A server that does not answer ends it by its timeout.
        let _ = tokio::time::timeout(CLOSE_LIMIT, closed).await;
    }
}

fn not_connected(why: &str) -> Failure {
    Failure::new(Kind::NotConnected, "Not connected").hint(format!("{why}; `connect` opens a new one"))
}

/// Tells what happens to a session, until its end.
async fn follow(mut states: zookeeper_client::StateWatcher, link: Arc<watch::Sender<Link>>, events: Events) {
    loop {
        let state = states.changed().await;
        if state.is_terminated() {
            // `close` was first, if it is not a session any more.
            let ended = link.send_if_modified(|it| match it {
                Link::Up(client) if client.state().is_terminated() => {
                    *it = Link::Over(state);
                    true
                }
                _ => false,
            });
            if ended {
                events.session(state);
            }
            return;
        }
        events.session(state);
    }
}

/// Why nobody answers, as far as it can be seen from here: host by host, all asked at once.
async fn diagnose(options: &Options) -> String {
    let Options { hosts, read_only, .. } = options;
    let shown = hosts.servers.iter().take(DIAGNOSED_MAX);
    let probes: Vec<_> = shown.map(|(host, port)| tokio::spawn(probe(host.clone(), *port, *read_only))).collect();
    let mut causes = Vec::new();
    for probe in probes {
        causes.extend(probe.await);
    }
    if let more @ 1.. = hosts.servers.len().saturating_sub(DIAGNOSED_MAX) {
        causes.push(format!("{more} more"));
    }
    causes.join(", ")
}

/// What becomes of a plain TCP connection to a server. One that only reads says so; sessions that are not local it refuses
/// from everybody. Source: `ReadOnlyRequestProcessor`.
async fn probe(host: String, port: u16, read_only: bool) -> String {
    let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let found = match tokio::time::timeout(PROBE_LIMIT, tokio::net::lookup_host((host.as_str(), port))).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(e)) => return format!("{host}: {}", unknown_name(&e.to_string())),
        Err(_) => return format!("{host}: no answer to the question for the name's address"),
    };
    let why = match tokio::time::timeout(PROBE_LIMIT, tokio::net::TcpStream::connect(found.as_slice())).await {
        Ok(Ok(stream)) => match (only_reads(stream).await, read_only) {
            (true, false) => "is cut off from its ensemble and only reads; `-r` makes do with it",
            (true, true) => {
                "is cut off from its ensemble, and opens no session: only with localSessionsEnabled=true it can"
            }
            (false, _) => {
                "accepts connections, but opened no session: it may be starting, without a quorum, or speak TLS"
            }
        },
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused",
        Ok(Err(e)) => return format!("{at}: {e}"),
        Err(_) => "no answer",
    };
    format!("{at}: {why}")
}

/// Asks as clients do that look for a server that writes; such a server answers this whatever its whitelist says.
async fn only_reads(mut stream: tokio::net::TcpStream) -> bool {
    let mut answer = [0; 2];
    let asking = async {
        stream.write_all(b"isro").await?;
        stream.read_exact(&mut answer).await
    };
    matches!(tokio::time::timeout(PROBE_LIMIT, asking).await, Ok(Ok(_))) && answer == *b"ro"
}

/// A resolver's error in short; its words stand behind where they say more than that.
fn unknown_name(error: &str) -> String {
    match error.strip_prefix("failed to lookup address information: ").unwrap_or(error) {
        "Name or service not known" => "name not known".to_owned(),
        other => format!("name not known ({other})"),
    }
}

/// Who prints events.
#[derive(Debug, Clone)]
pub struct Events {
    screen: Arc<Screen>,
    print: Arc<std::sync::atomic::AtomicBool>,
    last: Arc<Mutex<LastEvent>>,
}

/// The event that was printed last, and which watches it came to: Apache's client has one watcher for all, and prints an
/// event once that hits a data watch and a persistent one.
#[derive(Debug, Default)]
struct LastEvent {
    event: Option<WatchedEvent>,
    of: Vec<Key>,
}

impl Events {
    fn session(&self, state: SessionState) {
        // Scripts ask for answers, not for the weather.
        if self.screen.out_terminal || self.screen.json {
            self.emit("None", None, state, WatchedEvent::NO_ZXID);
        }
    }

    fn znode(&self, key: &Key, event: &WatchedEvent) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.event.as_ref() == Some(event) && !last.of.contains(key) {
                last.of.push(key.clone());
                return;
            }
            *last = LastEvent { event: Some(event.clone()), of: vec![key.clone()] };
        }
        let kind = match event.event_type {
            EventType::NodeCreated => "NodeCreated",
            EventType::NodeDeleted => "NodeDeleted",
            EventType::NodeDataChanged => "NodeDataChanged",
            EventType::NodeChildrenChanged => "NodeChildrenChanged",
            EventType::Session => return,
        };
        self.emit(kind, Some(&event.path), event.session_state, event.zxid);
    }

    /// A watch that was removed says so. Source: `ZKWatchManager.removeWatcher`.
    fn removed(&self, kind: WatchKind, path: &str) {
        let kind = match kind {
            WatchKind::Data => "DataWatchRemoved",
            WatchKind::Child => "ChildWatchRemoved",
            WatchKind::Persistent | WatchKind::Recursive => "PersistentWatchRemoved",
        };
        self.emit(kind, Some(path), SessionState::SyncConnected, WatchedEvent::NO_ZXID);
    }

    /// Source: `ZooKeeperMain.MyWatcher`, `WatchedEvent.toString`.
    fn emit(&self, kind: &str, path: Option<&str>, state: SessionState, zxid: i64) {
        if !self.print.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        self.screen.event(if self.screen.json {
            format!("{}\n", json!({ "event": kind, "path": path, "state": format!("{state:?}"), "zxid": zxid }))
        } else {
            let path = path.unwrap_or("null");
            format!("\nWATCHER::\n\nWatchedEvent state:{state:?} type:{kind} path:{path} zxid: {zxid}\n")
        });
    }
}

/// The kinds of watches that a path can have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchKind {
    /// Data, or existence.
    Data,
    /// Children.
    Child,
    /// Persistent.
    Persistent,
    /// Persistent and recursive.
    Recursive,
}

impl WatchKind {
    fn is(self, wanted: WatchType) -> bool {
        match wanted {
            WatchType::Any => true,
            WatchType::Children => self == Self::Child,
            WatchType::Data => self == Self::Data,
            WatchType::Persistent => self == Self::Persistent,
            WatchType::PersistentRecursive => self == Self::Recursive,
        }
    }
}

type Key = (String, WatchKind);

/// The watches that are set, each with the task that waits for its events.
#[derive(Debug, Clone)]
pub struct Watches {
    set: Arc<Mutex<BTreeMap<Key, JoinHandle<()>>>>,
    events: Events,
    live: Live,
}

impl Watches {
    /// Waits for the one event of a watch.
    pub async fn add_once(&self, path: &str, kind: WatchKind, watcher: OneshotWatcher) {
        let (all, key) = (self.clone(), (path.to_owned(), kind));
        self.put(key.clone(), async move {
            let event = watcher.changed().await;
            all.lock().remove(&key);
            all.events.znode(&key, &event);
        })
        .await;
    }

    /// Waits for the events of a watch that stays.
    pub async fn add_persistent(&self, path: &str, recursive: bool, watcher: PersistentWatcher) {
        let kind = if recursive { WatchKind::Recursive } else { WatchKind::Persistent };
        let (all, key) = (self.clone(), (path.to_owned(), kind));
        self.put(key.clone(), async move {
            all.persistent(&key, watcher).await;
            all.lock().remove(&key);
        })
        .await;
    }

    async fn persistent(&self, (path, kind): &Key, mut watcher: PersistentWatcher) {
        let mode =
            if *kind == WatchKind::Recursive { AddWatchMode::PersistentRecursive } else { AddWatchMode::Persistent };
        loop {
            let event = watcher.changed().await;
            match (event.event_type, event.session_state) {
                (EventType::Session, state) if state.is_terminated() => return,
                (EventType::Session, SessionState::SyncConnected | SessionState::ConnectedReadOnly) => {
                    // The new connection's server does not know of it.
                    drop(watcher);
                    let Some(client) = self.live.client() else { return };
                    let Ok(fresh) = client.watch(path, mode).await else { return };
                    watcher = fresh;
                }
                (EventType::Session, _) => {}
                _ => self.events.znode(&(path.clone(), *kind), &event),
            }
        }
    }

    /// Starts the task of a watch; that of an older one on the same path ends: a path has one watch of a kind.
    async fn put(&self, key: Key, task: impl Future<Output = ()> + Send + 'static) {
        settle().await;
        let old = {
            let mut set = self.lock();
            // Inside the lock, so that it can't be over before it is there.
            let handle = tokio::spawn(task);
            set.insert(key, handle)
        };
        end(old).await;
    }

    /// Removes watches of a path. False: there was none.
    pub async fn remove(&self, path: &str, wanted: WatchType) -> bool {
        settle().await;
        let removed: Vec<_> = {
            let mut set = self.lock();
            let keys: Vec<Key> = set.keys().filter(|(at, kind)| at == path && kind.is(wanted)).cloned().collect();
            keys.iter().filter_map(|key| Some((key.1, set.remove(key)?))).collect()
        };
        let any = !removed.is_empty();
        for (kind, task) in removed {
            end(Some(task)).await;
            self.events.removed(kind, path);
        }
        any
    }

    fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, JoinHandle<()>>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a task. With it goes its watcher, and the crate tells the server before it sends anything else.
async fn end(task: Option<JoinHandle<()>>) {
    if let Some(task) = task {
        task.abort();
        let _ = task.await;
    }
}

/// Waits until all that was to be done when it was called is done: events that came before an answer are printed before
/// it.
pub async fn settle() {
    // The first turn may come before tasks that were woken earlier; a task that steps back comes behind them.
    let _ = tokio::spawn(async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
