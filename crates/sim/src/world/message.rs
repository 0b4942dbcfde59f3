//! What travels between servers, and between them and clients.

use bytes::Bytes;
use wire::election::InitialMessage;
use wire::quorum::Packet;

use super::client::{Reply, Request};

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// The first message of an election connection.
    Initial(InitialMessage),
    /// A notification.
    Frame(Bytes),
    /// A packet, either way.
    Packet(Packet),
    /// A packet, as its bytes.
    Encoded(Bytes),
    /// A part of a snapshot; the last one says so.
    Snapshot(Bytes, bool),
    /// Of a client.
    Request(Request),
    /// To a client.
    Reply(Reply),
    /// The other side has closed.
    End,
}
