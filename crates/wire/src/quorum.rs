//! What servers say to each other on the quorum port: packets one after another, without a length in front.
//!
//! In: the bytes of a stream. Out: [`split`] cuts off the first packet when it is all there, [`Packet::read`] says what
//! it is. The payloads of txns stay bytes (a leader encodes a txn once, and sends those bytes to everybody). Only the
//! raw snapshot behind a SNAP is not a packet: whoever reads a SNAP reads on with the snapshot's decoder.
//!
//! Source: Apache `QuorumPacket` in `zookeeper.jute`, `Leader`, `LearnerHandler`, `Learner`, `QuorumAuth`.

mod auth;
mod packet;

pub use auth::{QUORUM_AUTH_MAGIC, QuorumAuthPacket, QuorumAuthStatus};
pub use packet::{Forwarded, LearnerInfo, PROTOCOL_VERSION, Packet, Revalidation, Touch};

use crate::acl::Id;
use crate::ids::Zxid;
use crate::jute::{Buffer, DecodeError, MAX_BUFFER_DEFAULT, Reader};

record! {
    /// A packet as it travels; [`Packet`] is what it means.
    pub struct QuorumPacket<'a> {
        /// A [`PacketType`], known or not.
        kind: i32,
        /// What it is depends on the type.
        zxid: Zxid,
        /// The payload.
        data: Buffer<'a>,
        /// Of a REQUEST: who the client is; null in all others.
        authinfo: Option<Vec<Id>>,
    }
}

macro_rules! packet_types {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The kinds of packets. Source: the constants of Apache's `Leader`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum PacketType { $($(#[$meta])* $name = $code),* }
        impl PacketType {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// The type with this code.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// Its name, as ZooKeeper's documents write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}
packet_types! {
    /// A learner forwards what a client wants written.
    Request = 1, "REQUEST";
    /// A leader proposes a txn.
    Proposal = 2, "PROPOSAL";
    /// A learner has it on its disk.
    Ack = 3, "ACK";
    /// A quorum has it on its disks.
    Commit = 4, "COMMIT";
    /// Are you there? And back: yes, and these sessions were heard of.
    Ping = 5, "PING";
    /// Is this session still alive?
    Revalidate = 6, "REVALIDATE";
    /// A learner's oldest sync is through.
    Sync = 7, "SYNC";
    /// A committed txn, for an observer.
    Inform = 8, "INFORM";
    /// COMMIT of a reconfig.
    CommitAndActivate = 9, "COMMITANDACTIVATE";
    /// The end of what a new learner lacked.
    NewLeader = 10, "NEWLEADER";
    /// A participant says hello.
    FollowerInfo = 11, "FOLLOWERINFO";
    /// A learner may serve clients.
    UpToDate = 12, "UPTODATE";
    /// What you lack follows as proposals.
    Diff = 13, "DIFF";
    /// Cut your log behind this zxid first.
    Trunc = 14, "TRUNC";
    /// A whole snapshot follows.
    Snap = 15, "SNAP";
    /// An observer says hello.
    ObserverInfo = 16, "OBSERVERINFO";
    /// The leader's answer to a hello: the new epoch.
    LeaderInfo = 17, "LEADERINFO";
    /// A learner accepts that epoch, and says what history it has.
    AckEpoch = 18, "ACKEPOCH";
    /// INFORM of a reconfig.
    InformAndActivate = 19, "INFORMANDACTIVATE";
}

impl PacketType {
    /// Its code.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// What a packet may hold at most. Anything beyond it is refused as soon as its length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of the payload, and of one string of an identity: `jute.maxbuffer` and its extra size.
    pub length_max: usize,
    /// Identities of one packet. A connection collects 256 at most.
    pub identities_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { length_max: 2 * MAX_BUFFER_DEFAULT, identities_max: 1024 }
    }
}

/// The length of the first packet in `bytes`; `None` while it is not all there.
///
/// A length that no packet may have is an error even before the rest arrives. All identities of a packet together may be
/// as long as its payload.
pub fn split(bytes: &[u8], limits: Limits) -> Result<Option<usize>, DecodeError> {
    let mut r = Reader::with_limit(bytes, limits.length_max);
    match skip(&mut r, limits) {
        Ok(()) => Ok(Some(r.offset())),
        Err(DecodeError::Truncated { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn skip(r: &mut Reader<'_>, limits: Limits) -> Result<(), DecodeError> {
    r.take(12)?;
    r.read::<Buffer<'_>>()?;
    let from = r.offset();
    let count: i32 = r.read()?;
    // Like Apache, a negative count is no identity at all.
    let identities = usize::try_from(count).unwrap_or(0);
    if identities > limits.identities_max {
        return Err(DecodeError::Length { offset: from, length: count });
    }
    for _ in 0..2 * identities {
        r.read::<Buffer<'_>>()?;
        if r.offset() - from > limits.length_max {
            return Err(r.value_error("more bytes of identities than a packet may have"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Field;

    #[test]
    fn codes_and_names() {
        for (at, kind) in PacketType::ALL.iter().enumerate() {
            assert_eq!(kind.code(), at as i32 + 1);
            assert_eq!(PacketType::from_code(kind.code()), Some(*kind));
        }
        assert_eq!((PacketType::from_code(0), PacketType::from_code(20)), (None, None));
        assert_eq!(PacketType::AckEpoch.name(), "ACKEPOCH");
    }

    #[test]
    fn a_packet_in_pieces() {
        let id = Id { scheme: "ip".to_owned(), id: "127.0.0.1".to_owned() };
        let packet = QuorumPacket { kind: 1, zxid: Zxid(-1), data: Some(b"payload"), authinfo: Some(vec![id; 2]) };
        let mut bytes = packet.to_vec();
        let length = bytes.len();
        bytes.extend_from_slice(&[0; 7]);
        for n in 0..length {
            assert_eq!(split(&bytes[..n], Limits::default()), Ok(None), "{n} of {length} bytes");
        }
        for n in length..bytes.len() {
            assert_eq!(split(&bytes[..n], Limits::default()), Ok(Some(length)));
        }
        assert_eq!(QuorumPacket::from_slice(&bytes), Ok(packet));
    }

    #[test]
    fn lengths_are_refused_before_the_bytes_come() {
        let limits = Limits { length_max: 40, identities_max: 2 };
        let head = |length: i32| [&[0; 12][..], &length.to_be_bytes()].concat();
        assert_eq!(split(&head(40), limits), Ok(None));
        assert_eq!(split(&head(41), limits), Err(DecodeError::Length { offset: 12, length: 41 }));
        assert_eq!(split(&head(-2), limits), Err(DecodeError::Length { offset: 12, length: -2 }));
        let with = |count: i32| [&head(-1)[..], &count.to_be_bytes()].concat();
        assert_eq!(split(&with(-7), limits), Ok(Some(20)), "no identities");
        assert_eq!(split(&with(2), limits), Ok(None));
        assert_eq!(split(&with(3), limits), Err(DecodeError::Length { offset: 16, length: 3 }));
        let long = [&with(1)[..], &20_i32.to_be_bytes(), &[b'a'; 20], &20_i32.to_be_bytes(), &[b'b'; 20]].concat();
        assert!(matches!(split(&long, limits), Err(DecodeError::Value { .. })), "together they are too long");
    }
}
