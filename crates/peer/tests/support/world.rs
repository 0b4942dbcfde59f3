//! A whole server in one thread, without IO: a pipeline, shards, a log that takes its time, and clients whose bytes come
//! and go in random pieces. What happens next is drawn from a seed, so the same seed gives the same bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use auth::{AuthConfig, Identities};
use ostler_peer::shard::RequestThrottle;
use ostler_peer::{
    ConnId, LocalSessions, Now, Pipeline, PipelineConfig, Shard, ShardConfig, ShardSet, Shared, StepLimits, Submission,
};
use tree::owner::OwnerRules;
use tree::{HashKeys, Tree, TreeConfig};
use wire::{ServerId, SessionId, Zxid};

/// Numbers that look random (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a test for each seed, and says which one it was when it fails. `OSTLER_SEEDS=1000` runs more of them,
/// `OSTLER_SEED=7` one.
pub fn for_seeds(usual: u64, run: impl Fn(u64)) {
    let seeds = match number("OSTLER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OSTLER_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(failed.is_ok(), "OSTLER_SEED={seed}");
    }
}

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    pub shards: usize,
    pub extended_types: bool,
    pub in_flight_max: usize,
    pub in_flight_bytes_max: usize,
    pub out_pause: usize,
    pub out_max: usize,
    pub out_total_max: usize,
    pub tell_step: usize,
    pub unprocessed_max: usize,
    pub watch_bytes_max: usize,
    pub sessions_max: usize,
    pub large_threshold: usize,
    pub large_bytes_max: usize,
    pub throttle: RequestThrottle,
    pub auth: AuthConfig,
    pub steps: StepLimits,
    pub frame_max: usize,
    /// The most bytes that come or go at once.
    pub chunk_max: usize,
    /// The most ms that pass between two steps; 0: time stands still.
    pub pause_ms_max: usize,
    pub close_session_paths: bool,
    pub local_sessions: LocalSessions,
    /// Sessions that the server finds when it starts, and their timeouts.
    pub restored: Vec<(SessionId, i32)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 2,
            extended_types: false,
            in_flight_max: 1000,
            in_flight_bytes_max: 1 << 20,
            out_pause: 1 << 20,
            out_max: 16 << 20,
            out_total_max: usize::MAX,
            tell_step: 400,
            unprocessed_max: usize::MAX,
            watch_bytes_max: usize::MAX,
            sessions_max: usize::MAX,
            large_threshold: usize::MAX,
            large_bytes_max: usize::MAX,
            throttle: RequestThrottle::default(),
            auth: AuthConfig::default(),
            steps: StepLimits::default(),
            frame_max: 0xf_ffff,
            chunk_max: 300,
            pause_ms_max: 0,
            close_session_paths: true,
            local_sessions: LocalSessions::Off,
            restored: Vec::new(),
        }
    }
}

/// A request as its client sent it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub xid: i32,
    pub op: i32,
    pub body: Vec<u8>,
    pub ids: Identities,
    /// What the server had applied when the client began to send it.
    pub applied_before: Zxid,
}

/// A client's end of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub conn: ConnId,
    pub unfed: VecDeque<u8>,
    pub received: Vec<u8>,
    pub sent: Vec<Sent>,
    pub ids: Identities,
    /// Closed by the server.
    pub closed: bool,
    /// Closed by the client.
    pub hung_up: bool,
    /// When frames of its were taken in at once, in ms.
    pub heard_ms: Vec<i64>,
    /// It does not read what it is sent.
    pub is_deaf: bool,
    /// Its shard does not get to read its socket.
    pub is_unread: bool,
    is_writable: bool,
    /// The session that it had at its end, also if it never heard of it.
    session_at_end: SessionId,
}

/// An entry of the log, and when it was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub zxid: Zxid,
    pub bytes: Vec<u8>,
    pub at_ms: i64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub options: Options,
    pub now: Now,
    pub rng: Rng,
    pub shared: Shared,
    pub pipeline: Pipeline,
    pub shards: Vec<Shard>,
    pub clients: Vec<Client>,
    pub entries: Vec<Entry>,
    /// The newest txn that the log has acknowledged.
    pub logged: Zxid,
    /// Reads that are made in steps make none but by hand.
    pub holds_long: bool,
    /// The log acknowledges nothing.
    pub holds_log: bool,
    inbox: Vec<Submission>,
    pub woken: ShardSet,
}

/// Session timeouts that are granted.
pub const TIMEOUT_MIN_MS: i32 = 4000;
pub const TIMEOUT_MAX_MS: i32 = 40_000;
pub const TICK_MS: i64 = 2000;

impl World {
    pub fn new(seed: u64, options: Options) -> Self {
        let owner_rules = OwnerRules { extended_types: options.extended_types, emulate_353: false };
        let keys = HashKeys([seed, 1, 2, 3]);
        Self::of(seed, options, Tree::new(TreeConfig { keys, owner_rules }))
    }

    /// One that finds this tree when it starts.
    pub fn of(seed: u64, options: Options, tree: Tree) -> Self {
        let keys = HashKeys([seed, 1, 2, 3]);
        let auth = Arc::new(options.auth.clone());
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        let config = PipelineConfig {
            server: ServerId(1),
            tick_ms: TICK_MS,
            auth: auth.clone(),
            length_max: options.frame_max * 2,
            digests: true,
            sessions_max: options.sessions_max,
            enforce_quota: false,
            reconfig_enabled: false,
            close_session_paths: options.close_session_paths,
            local_sessions: options.local_sessions,
            containers: ostler_peer::sweep::ContainerRules::default(),
            keys,
        };
        let pipeline = Pipeline::new(config, &tree, options.restored.iter().copied(), options.shards, now);
        let shards = (0..options.shards)
            .map(|shard| {
                Shard::new(ShardConfig {
                    shard: shard as u16,
                    frame_max: options.frame_max,
                    length_max: options.frame_max * 2,
                    timeout_min_ms: TIMEOUT_MIN_MS,
                    timeout_max_ms: TIMEOUT_MAX_MS,
                    auth: auth.clone(),
                    in_flight_max: options.in_flight_max,
                    in_flight_bytes_max: options.in_flight_bytes_max,
                    out_pause: options.out_pause,
                    out_max: options.out_max,
                    out_total_max: options.out_total_max,
                    tell_step: options.tell_step,
                    unprocessed_max: options.unprocessed_max,
                    watch_bytes_max: options.watch_bytes_max,
                    large_bytes_max: options.large_bytes_max,
                    throttle: options.throttle,
                    steps: options.steps,
                    keys,
                })
            })
            .collect();
        let mut shared = Shared::new(tree, options.shards);
        shared.large_threshold = options.large_threshold;
        Self {
            now,
            rng: Rng(seed),
            shared,
            pipeline,
            shards,
            clients: Vec::new(),
            entries: Vec::new(),
            logged: Zxid(0),
            holds_long: false,
            holds_log: false,
            inbox: Vec::new(),
            woken: ShardSet::default(),
            options,
        }
    }

    /// The same world once more, sharing nothing.
    pub fn fork(&self) -> Self {
        Self {
            options: self.options.clone(),
            now: self.now,
            rng: self.rng.clone(),
            shared: self.shared.fork(),
            pipeline: self.pipeline.clone(),
            shards: self.shards.clone(),
            clients: self.clients.clone(),
            entries: self.entries.clone(),
            logged: self.logged,
            holds_long: self.holds_long,
            holds_log: self.holds_log,
            inbox: self.inbox.clone(),
            woken: self.woken,
        }
    }

    /// A client connects to a shard; it has sent nothing yet.
    pub fn open(&mut self, shard: usize) -> usize {
        let peer: SocketAddr = ([10, 0, 0, 7], 4000).into();
        let conn = self.shards[shard].open(self.now, peer);
        self.clients.push(Client {
            conn,
            unfed: VecDeque::new(),
            received: Vec::new(),
            sent: Vec::new(),
            ids: Identities::of_client(peer.ip()),
            closed: false,
            hung_up: false,
            heard_ms: Vec::new(),
            is_deaf: false,
            is_unread: false,
            is_writable: false,
            session_at_end: SessionId(0),
        });
        self.clients.len() - 1
    }

    /// What the tree has applied.
    pub fn applied(&self) -> Zxid {
        self.shared.tree.read().last_processed()
    }

    /// The client writes bytes; they arrive when it is their turn.
    pub fn write(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].unfed.extend(bytes);
    }

    /// The client goes without a word.
    pub fn hang_up(&mut self, client: usize) {
        let found = &mut self.clients[client];
        if !found.closed && !found.hung_up {
            found.hung_up = true;
            found.unfed.clear();
            let conn = found.conn;
            let shard = &mut self.shards[conn.shard as usize];
            found.session_at_end = shard.get(conn).map_or(SessionId(0), |c| c.session);
            shard.closed(&self.shared, conn);
        }
    }

    fn is_open(&self, client: usize) -> bool {
        !self.clients[client].closed && !self.clients[client].hung_up
    }

    /// Something that can happen now, happens.
    pub fn step(&mut self) {
        match self.rng.below(8) {
            0 | 1 => self.feed(),
            2 => self.submit(),
            3 => self.process(),
            4 => self.acknowledge(),
            5 => self.drain(),
            6 => self.go_on(),
            _ => self.send(),
        }
        self.collect();
        if self.options.pause_ms_max > 0 {
            let pause = self.rng.below(self.options.pause_ms_max + 1);
            self.pass(pause as i64);
        }
    }

    /// Time goes on.
    pub fn pass(&mut self, ms: i64) {
        self.now.mono_us += ms as u64 * 1000;
        self.now.wall_ms += ms;
        let woken = self.pipeline.tick(self.now, &self.shared);
        self.woken.extend(woken);
    }

    /// The server is stopped for so long; then its shards notice, in whatever order.
    pub fn sleep(&mut self, ms: i64) {
        let from_ms = self.now.mono_ms();
        self.now.mono_us += ms as u64 * 1000;
        self.now.wall_ms += ms;
        let to_ms = self.now.mono_ms();
        for shard in &mut self.shards {
            shard.slept(from_ms, to_ms);
        }
        self.pass(0);
    }

    fn feed(&mut self) {
        let ready: Vec<usize> = (0..self.clients.len())
            .filter(|&i| !self.clients[i].unfed.is_empty() && !self.clients[i].is_unread && self.is_open(i))
            .filter(|&i| self.shards[self.clients[i].conn.shard as usize].wants_read(self.clients[i].conn))
            .collect();
        if ready.is_empty() {
            return;
        }
        let client = *self.rng.pick(&ready);
        let conn = self.clients[client].conn;
        if !self.shards[conn.shard as usize].may_read(&self.shared, conn) {
            return;
        }
        let length = self.clients[client].unfed.len().min(1 + self.rng.below(self.options.chunk_max));
        let found = &mut self.clients[client];
        let bytes: Vec<u8> = found.unfed.drain(..length).collect();
        let conn = found.conn;
        let shard = &mut self.shards[conn.shard as usize];
        let before = shard.get(conn).map(|c| c.received);
        shard.receive(self.now, &self.shared, conn, &bytes);
        if shard.get(conn).map(|c| c.received) > before {
            self.clients[client].heard_ms.push(self.now.mono_ms());
        }
    }

    fn submit(&mut self) {
        let shard = self.rng.below(self.shards.len());
        if self.shards[shard].is_asked() {
            // As a driver does it: what was sent is in the socket.
            let doubtful: Vec<ConnId> = self.shards[shard].doubtful(self.now).collect();
            for conn in doubtful {
                if self.clients.iter().any(|client| client.conn == conn && !client.unfed.is_empty()) {
                    self.shards[shard].has_unread(self.now, conn);
                }
            }
            self.shards[shard].tell_touches();
        }
        self.shards[shard].take_submissions(&mut self.inbox);
    }

    fn process(&mut self) {
        let mut batch = std::mem::take(&mut self.inbox);
        let woken = self.pipeline.process(self.now, &self.shared, &mut batch);
        self.woken.extend(woken);
        let (entries, at_ms) = (&mut self.entries, self.now.mono_ms());
        self.pipeline.take_unlogged(|zxid, bytes| entries.push(Entry { zxid, bytes: bytes.to_vec(), at_ms }));
    }

    fn acknowledge(&mut self) {
        let first = self.entries.partition_point(|entry| entry.zxid <= self.logged);
        let waiting = self.entries.len() - first;
        if waiting > 0 && !self.holds_log {
            let last = first + self.rng.below(waiting);
            self.logged = self.entries[last].zxid;
            let woken = self.pipeline.logged(self.now, &self.shared, self.logged);
            self.woken.extend(woken);
        }
    }

    /// A shard that was woken, or swept because it has connections that wait.
    fn drain(&mut self) {
        let ready: Vec<usize> = (0..self.shards.len())
            .filter(|&shard| {
                let found = &self.shards[shard];
                self.woken.0 & (1 << shard) != 0 || found.has_paused() || found.needs_room(&self.shared)
            })
            .collect();
        if !ready.is_empty() {
            let shard = *self.rng.pick(&ready);
            self.woken.0 &= !(1 << shard);
            self.shards[shard].drain(self.now, &self.shared);
            let clients = &self.clients;
            let is_silent = |conn| !clients.iter().any(|client| client.conn == conn && !client.unfed.is_empty());
            self.shards[shard].make_room(self.now, &self.shared, is_silent);
        }
    }

    /// A shard with reads that are made in steps makes one.
    fn go_on(&mut self) {
        if self.holds_long {
            return;
        }
        let ready: Vec<usize> = (0..self.shards.len()).filter(|&shard| self.shards[shard].has_long_reads()).collect();
        if !ready.is_empty() {
            let shard = *self.rng.pick(&ready);
            self.shards[shard].step_long_reads(self.now, &self.shared);
        }
    }

    /// Notes who has something to be sent: nobody else is looked at, as in a driver.
    pub fn collect(&mut self) {
        let mut dirty = Vec::new();
        for shard in &mut self.shards {
            shard.take_dirty(&mut dirty);
            // In pieces, long after others were written to.
            if self.rng.below(3) == 0 {
                shard.take_told(2, &mut dirty);
            }
            shard.take_resumed(&mut Vec::new());
            if shard.has_chores(&self.shared) {
                shard.chore(self.now, &self.shared);
            }
        }
        for conn in dirty {
            if let Some(client) = self.clients.iter_mut().find(|c| c.conn == conn && !c.hung_up) {
                client.is_writable = true;
                if client.is_deaf {
                    // A driver tries, and is told that the socket is full.
                    self.shards[conn.shard as usize].wrote(&self.shared, conn);
                }
            }
        }
    }

    fn send(&mut self) {
        let ready: Vec<usize> = (0..self.clients.len()).filter(|&i| self.has_room(i)).collect();
        if ready.is_empty() {
            return;
        }
        let at = *self.rng.pick(&ready);
        let most = 1 + self.rng.below(self.options.chunk_max);
        self.take(at, most);
    }

    /// A client takes up to so many bytes of what it is sent.
    pub fn take(&mut self, at: usize, most: usize) {
        let client = &mut self.clients[at];
        let shard = &mut self.shards[client.conn.shard as usize];
        let bytes = shard.to_send(client.conn);
        let length = bytes.len().min(most);
        client.received.extend_from_slice(&bytes[..length]);
        shard.sent(self.now, client.conn, length);
        shard.wrote(&self.shared, client.conn);
        if shard.to_send(client.conn).is_empty() {
            client.is_writable = false;
            if shard.wants_close(client.conn) {
                client.closed = true;
                client.unfed.clear();
                client.session_at_end = shard.get(client.conn).map_or(SessionId(0), |c| c.session);
                shard.closed(&self.shared, client.conn);
            }
        }
    }

    /// Has it connections that wait, and not for a client that does not read?
    fn can_go_on(&self, shard: &Shard) -> bool {
        shard.has_long_reads() && !self.holds_long
            || shard.can_tell()
            || shard.has_paused() && !self.clients.iter().any(|client| client.is_deaf)
    }

    fn has_room(&self, client: usize) -> bool {
        self.clients[client].is_writable && !self.clients[client].is_deaf && self.is_open(client)
    }

    fn is_busy(&self) -> bool {
        let is_fed = |i: usize| {
            let client = &self.clients[i];
            let waits = client.is_deaf && !self.shards[client.conn.shard as usize].wants_read(client.conn);
            !client.unfed.is_empty() && !client.is_unread && !waits && self.is_open(i)
        };
        let with_work = |i: usize| is_fed(i) || self.has_room(i);
        !self.inbox.is_empty()
            || self.woken != ShardSet::default()
            || self.shards.iter().any(|shard| {
                shard.has_submissions()
                    || self.can_go_on(shard)
                    || shard.is_asked()
                    || shard.are_told() > 0
                    || shard.has_chores(&self.shared)
            })
            || !self.pipeline.is_idle()
            || (0..self.clients.len()).any(with_work)
    }

    /// Goes on until nothing is left to do. That it ends is the proof that nobody waits for ever.
    pub fn settle(&mut self) {
        for _ in 0..400_000 {
            if !self.is_busy() {
                return;
            }
            self.step();
        }
        panic!("it does not come to rest: somebody waits for ever");
    }

    /// The whole frames that a client has received.
    pub fn frames(&self, client: usize) -> Vec<&[u8]> {
        let mut rest = &self.clients[client].received[..];
        let mut frames = Vec::new();
        while let Ok(Some((payload, behind))) = wire::frame::split(rest, usize::MAX) {
            frames.push(payload);
            rest = behind;
        }
        frames
    }

    /// All that can be seen from outside.
    pub fn outputs(&self) -> (Vec<Vec<u8>>, Vec<Entry>, i64) {
        let received = self.clients.iter().map(|client| client.received.clone()).collect();
        (received, self.entries.clone(), self.shared.tree.read().digest().0)
    }

    /// The session that its requests were made in, whether it ever heard of it or not.
    pub fn session_of_requests(&self, client: usize) -> Option<SessionId> {
        let known = self.session(client).map(|(session, _)| session);
        known.or(Some(self.clients[client].session_at_end).filter(|session| session.0 != 0))
    }

    /// The session that the server granted.
    pub fn session(&self, client: usize) -> Option<(SessionId, i32)> {
        use wire::Field as _;
        let frames = self.frames(client);
        let response = wire::connect::ConnectResponse::from_slice(frames.first()?).ok()?;
        (response.session.0 != 0).then_some((response.session, response.timeout_ms))
    }
}
