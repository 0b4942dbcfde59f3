//! Everything that the members of an ensemble say to each other passes by here, one proxy for each direction in which a
//! connection can be asked for, so that a member can be cut off from all others and stay in reach of its clients.
//!
//! An election connection that is asked for by the smaller id is closed and asked for the other way, at the address that
//! the initial message names. So the proxies put another address into that message: that of the proxy the other way.
//!
//! A member that is cut off hears nothing and is not heard; its connections stay, as they do when a cable is pulled.
//! What was said meanwhile is lost, so these connections are closed when the cut is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a connection waits for somebody to listen.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a learner was brought in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Join {
    /// Packet type 13.
    Diff,
    /// Packet type 14.
    Trunc,
    /// Packet type 15.
    Snap,
}

/// Proxies between all members; they end when this is dropped.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    /// By who connects, to whom, and whether to the election port.
    proxies: BTreeMap<(u8, u8, bool), SocketAddr>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: BTreeSet<u8>,
    /// These hear each other, and the others hear each other.
    parted: BTreeSet<u8>,
    connections: Vec<Connection>,
    joins: Vec<(u8, Join)>,
}

#[derive(Debug)]
struct Connection {
    ends: [u8; 2],
    streams: [TcpStream; 2],
    is_election: bool,
    /// Has neither side ended it?
    is_open: Arc<AtomicBool>,
}

impl Links {
    /// Proxies for members with these ids, quorum ports and election ports.
    pub fn start(members: &[(u8, SocketAddr, SocketAddr)]) -> Result<Self> {
        let mut links = Self { shared: Arc::default(), proxies: BTreeMap::new(), listeners: Vec::new() };
        let mut waiting = Vec::new();
        for (from, ..) in members {
            for (to, quorum, election) in members.iter().filter(|it| it.0 != *from) {
                for (is_election, target) in [(false, *quorum), (true, *election)] {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a proxy")?;
                    links.proxies.insert((*from, *to, is_election), listener.local_addr()?);
                    waiting.push((listener, *from, *to, is_election, target));
                }
            }
        }
        for (listener, from, to, is_election, target) in waiting {
            let shared = Arc::clone(&links.shared);
            let way_back = links.addr(to, from, true)?;
            links.listeners.push(std::thread::spawn(move || {
                for opener in listener.incoming().flatten() {
                    if shared.ending.load(Ordering::SeqCst) {
                        return;
                    }
                    let own = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        // A target that is not there looks like one that hangs up.
                        let _ = join(opener, target, [from, to], is_election.then_some(way_back), &own);
                    });
                }
            }));
        }
        Ok(links)
    }

    /// Where member `from` finds member `to`.
    pub fn addr(&self, from: u8, to: u8, is_election: bool) -> Result<SocketAddr> {
        let found = self.proxies.get(&(from, to, is_election));
        found.copied().with_context(|| format!("there is no link from {from} to {to}"))
    }

    /// Cuts a member off from all others.
    pub fn cut(&self, id: u8) {
        locked(&self.shared.state).cut.insert(id);
    }

    /// Parts these members from the others: each hears those of its own side.
    pub fn part(&self, ids: &[u8]) {
        locked(&self.shared.state).parted.extend(ids);
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        let mut state = locked(&self.shared.state);
        let healed = State {
            cut: std::mem::take(&mut state.cut),
            parted: std::mem::take(&mut state.parted),
            ..State::default()
        };
        state.connections.retain(|it| {
            let was_cut = healed.is_cut(it.ends);
            if was_cut {
                close(&it.streams);
            }
            !was_cut
        });
    }

    /// How a member was brought in line, each time, in order.
    pub fn joins(&self, id: u8) -> Vec<Join> {
        locked(&self.shared.state).joins.iter().filter(|it| it.0 == id).map(|it| it.1).collect()
    }

    /// How many connections with quorum ports this member has that neither side has ended: its own, and its learners'.
    pub fn quorum_connections(&self, id: u8) -> usize {
        let state = locked(&self.shared.state);
        let its = state.connections.iter().filter(|it| !it.is_election && it.ends.contains(&id));
        its.filter(|it| it.is_open.load(Ordering::SeqCst)).count()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for addr in self.proxies.values() {
            // Wakes the listener.
            let _ = TcpStream::connect(addr);
        }
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
        for connection in &locked(&self.shared.state).connections {
            close(&connection.streams);
        }
    }
}

impl Shared {
    fn is_cut(&self, ends: [u8; 2]) -> bool {
        locked(&self.state).is_cut(ends)
    }
}

impl State {
    fn is_cut(&self, ends: [u8; 2]) -> bool {
        let [one, other] = ends.map(|end| self.parted.contains(&end));
        one != other || ends.iter().any(|end| self.cut.contains(end))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(streams: &[TcpStream; 2]) {
    for stream in streams {
        // It may have ended by itself.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn join(
    opener: TcpStream,
    target: SocketAddr,
    ends: [u8; 2],
    way_back: Option<SocketAddr>,
    shared: &Arc<Shared>,
) -> Result<()> {
    let acceptor = patiently(target, shared)?;
    for stream in [&opener, &acceptor] {
        stream.set_nodelay(true)?;
    }
    let streams = [opener.try_clone()?, acceptor.try_clone()?];
    let is_open = Arc::new(AtomicBool::new(true));
    let connection = Connection { ends, streams, is_election: way_back.is_some(), is_open: Arc::clone(&is_open) };
    locked(&shared.state).connections.push(connection);
    let (from, to) = (acceptor.try_clone()?, opener.try_clone()?);
    let answers = Arc::clone(shared);
    // Who connects to a quorum port is a learner, and what it is answered says how it joins.
    let learner = way_back.is_none().then_some(ends[0]);
    let ended = Arc::clone(&is_open);
    let back = std::thread::spawn(move || {
        pass(from, to, ends, learner, &answers);
        ended.store(false, Ordering::SeqCst);
    });
    let mut first = opener.try_clone()?;
    let mut to = acceptor;
    match way_back.map(|addr| initial_message(&mut first, addr)) {
        Some(Ok(message)) if !shared.is_cut(ends) => to.write_all(&message)?,
        Some(_) => close(&[opener.try_clone()?, to.try_clone()?]),
        None => {}
    }
    pass(opener, to, ends, None, shared);
    is_open.store(false, Ordering::SeqCst);
    let _ = back.join();
    Ok(())
}

/// A port that nobody listens on refuses, and whoever was refused comes again; a proxy can't refuse any more. So it comes
/// again itself: a follower may know of its leader a moment earlier than the leader does.
fn patiently(target: SocketAddr, shared: &Shared) -> std::io::Result<TcpStream> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(target) {
            Err(_) if Instant::now() < until && !shared.ending.load(Ordering::SeqCst) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// The first bytes of an election connection, with another address: protocol version, id, length, address.
fn initial_message(from: &mut TcpStream, address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 20];
    from.read_exact(&mut head)?;
    let mut length = [0; 4];
    length.copy_from_slice(&head[16..]);
    let mut old = vec![0; u32::from_be_bytes(length).min(4096) as usize];
    from.read_exact(&mut old)?;
    let address = address.to_string();
    let mut message = head[..16].to_vec();
    message.extend((address.len() as u32).to_be_bytes());
    message.extend(address.as_bytes());
    Ok(message)
}

fn pass(mut from: TcpStream, mut to: TcpStream, ends: [u8; 2], learner: Option<u8>, shared: &Shared) {
    let mut buffer = [0; 16 << 10];
    let mut head = Vec::new();
    let mut learner = learner;
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if shared.is_cut(ends) {
            continue;
        }
        if let Some(id) = learner {
            head.extend_from_slice(&buffer[..n]);
            match how(&head) {
                Some(join) => {
                    locked(&shared.state).joins.push((id, join));
                    learner = None;
                }
                None if head.len() > 4096 => learner = None,
                None => {}
            }
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // The other way ends with this one, unless it is cut: nobody hears of an end then either.
    if !shared.is_cut(ends) {
        close(&[to, from]);
    }
}

/// What the leader's second packet says, which comes behind LEADERINFO.
fn how(bytes: &[u8]) -> Option<Join> {
    let int = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    // Type, zxid, length and bytes of the data, number of identities: none.
    let length = int(12)?.max(0) as usize;
    match int(20 + length)? {
        13 => Some(Join::Diff),
        14 => Some(Join::Trunc),
        15 => Some(Join::Snap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_packet_says_how_a_learner_joins() {
        let mut bytes = vec![0, 0, 0, 17];
        bytes.extend([0; 8]);
        bytes.extend([0, 0, 0, 4, 0, 1, 0, 0, 255, 255, 255, 255]);
        assert_eq!(how(&bytes), None);
        for (packet, join) in [(13, Join::Diff), (14, Join::Trunc), (15, Join::Snap)] {
            let mut bytes = bytes.clone();
            bytes.extend([0, 0, 0, packet]);
            assert_eq!(how(&bytes), Some(join));
        }
    }

    #[test]
    fn what_is_said_during_a_cut_does_not_arrive() {
        let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = one.local_addr().unwrap();
        let links = Links::start(&[(1, addr, addr), (2, addr, addr)]).unwrap();
        let mut opener = TcpStream::connect(links.addr(2, 1, false).unwrap()).unwrap();
        let (mut acceptor, _) = one.accept().unwrap();
        opener.write_all(b"before").unwrap();
        let mut text = [0; 6];
        acceptor.read_exact(&mut text).unwrap();
        links.cut(2);
        opener.write_all(b"during").unwrap();
        let mut far = TcpStream::connect(links.addr(1, 2, true).unwrap()).unwrap();
        far.write_all(&[0; 24]).unwrap();
        links.heal();
        // Neither is there anything else to be read.
        assert_eq!(acceptor.read(&mut text).unwrap_or(0), 0);
    }
}
