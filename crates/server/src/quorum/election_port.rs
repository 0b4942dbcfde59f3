//! The election port's connections.
//!
//! A connection is two tasks: one reads frames, one writes them. `zab::Connections` decides which of them live, and has
//! one frame under way in each.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};
use wire::ServerId;
use wire::election::{HostPort, InitialMessage, InitialVersion, split_frame};
use zab::connections::{ConnectionId, Input};
use zab::quorum_verifier::MemberAddress;

use super::driver::{Event, Shared};
use super::{News, dial};

/// The connections that were told to the machines.
#[derive(Debug, Default)]
pub(super) struct ElectionPort {
    connections: BTreeMap<ConnectionId, Connection>,
    numbers: u64,
}

#[derive(Debug)]
struct Connection {
    /// To the task that writes.
    frames: mpsc::Sender<Bytes>,
    tasks: [AbortHandle; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl ElectionPort {
    /// Takes a connection over; `rest` is what came behind the initial message.
    pub(super) fn begin(&mut self, shared: &Shared, stream: TcpStream, rest: BytesMut) -> ConnectionId {
        self.numbers += 1;
        let id = ConnectionId(self.numbers);
        if shared.options.tcp_keep_alive {
            dial::keep_alive(&stream);
        }
        let (reads, writes) = stream.into_split();
        // One is under way at a time; the second place is for one that was told to be written already.
        let (frames, inbox) = mpsc::channel(2);
        let tasks = [
            spawn_local(read(shared.clone(), id, reads, rest)).abort_handle(),
            spawn_local(write(shared.clone(), id, writes, inbox)).abort_handle(),
        ];
        self.connections.insert(id, Connection { frames, tasks });
        id
    }

    /// Writes a frame.
    pub(super) fn write(&mut self, shared: &Shared, id: ConnectionId, message: Bytes) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.frames.try_send(message).is_err() {
            self.close(id);
            shared.tell(News::Election(Input::Closed(id)));
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }
}

async fn read(shared: Shared, id: ConnectionId, mut from: OwnedReadHalf, mut bytes: BytesMut) {
    loop {
        loop {
            match split_frame(&bytes) {
                Ok(Some((frame, behind))) => {
                    let (length, at) = (frame.len(), bytes.len() - behind.len());
                    let message = bytes.split_to(at).freeze().slice(at - length..);
                    shared.machines.handle(vec![News::Election(Input::Received { connection: id, message })]);
                }
                Ok(None) => break,
                Err(e) => {
                    let lines = &shared.lines.bad_election_frames;
                    lines.tell(|more| tracing::info!("election port: {e}: the connection is closed{more}"));
                    return shared.send(Event::ElectionEnded(id)).await;
                }
            }
        }
        if !matches!(from.read_buf(&mut bytes).await, Ok(n) if n > 0) {
            return shared.send(Event::ElectionEnded(id)).await;
        }
    }
}

async fn write(shared: Shared, id: ConnectionId, mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(message) = frames.recv().await {
        let mut frame = Vec::with_capacity(4 + message.len());
        frame.extend_from_slice(&(message.len() as i32).to_be_bytes());
        frame.extend_from_slice(&message);
        if to.write_all(&frame).await.is_err() {
            return shared.send(Event::ElectionEnded(id)).await;
        }
        shared.machines.handle(vec![News::Election(Input::Written(id))]);
    }
}

/// A connection that came: who is it?
pub(super) async fn greet(shared: Shared, mut stream: TcpStream) {
    let said = tokio::time::timeout(shared.options.election_hello, async {
        let mut bytes = BytesMut::with_capacity(128);
        loop {
            match InitialMessage::split(&bytes) {
                Ok(Some((initial, length))) => {
                    bytes.advance(length);
                    return Some((initial, bytes));
                }
                Ok(None) => {}
                Err(e) => {
                    let lines = &shared.lines.bad_election_hellos;
                    lines.tell(|more| tracing::info!("election port: {e}: the connection is closed{more}"));
                    return None;
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    });
    if let Ok(Some((initial, rest))) = said.await {
        shared.send(Event::ElectionCame { stream, initial, rest }).await;
    }
}

/// Calls a peer and says who we are, in one write.
pub(super) async fn call(shared: Shared, to: ServerId, addresses: Vec<HostPort>, is_told: bool) {
    let options = &shared.options;
    let called = async {
        let room = is_told.then_some(&shared.told);
        let mut stream = dial::connect(&addresses, options.election_connect, room).await?;
        let mut all: Vec<HostPort> = shared.own.borrow().iter().map(MemberAddress::election).collect();
        let (version, own) = if options.multi_address {
            (InitialVersion::V2, all)
        } else {
            all.truncate(1);
            (InitialVersion::V1, all)
        };
        let mut hello = Vec::new();
        InitialMessage { version, server: options.me, addresses: own }.write(&mut hello);
        stream.write_all(&hello).await?;
        Ok::<_, std::io::Error>(stream)
    };
    let result = called.await;
    match &result {
        Err(e) if dial::is_unknown_name(e) => {
            // A slip of the pen in `zoo.cfg`, or a name server that is away: nobody would see why this member is missing.
            if shared.unknown.borrow_mut().add(to) {
                shared.lines.unknown_names.tell(|more| {
                    tracing::warn!("server {to} can't be called: {e}; it is looked up anew at each attempt{more}");
                });
            }
        }
        Err(e) => tracing::debug!("server {to} can't be reached for an election: {e}"),
        Ok(_) => {
            shared.unknown.borrow_mut().remove(to);
        }
    }
    shared.send(Event::ElectionCalled { to, stream: result.ok() }).await;
}
