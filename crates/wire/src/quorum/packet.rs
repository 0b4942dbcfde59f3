//! What a packet means: its type, its zxid and its payload together.

use bytes::Bytes;

use super::{PacketType, QuorumPacket};
use crate::acl::Id;
use crate::ids::{Epoch, ServerId, SessionId, Xid, Zxid};
use crate::jute::{Buffer, DecodeError, Field, Reader};

/// The version of this protocol that 3.4 to 3.9 speak, in LearnerInfo and LEADERINFO.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// A packet of the quorum port. Cloning one copies no payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Packet {
    /// Learner to leader: a client's write, a sync, or a session's begin or end.
    Request(Forwarded),
    /// Leader to learner.
    Proposal {
        /// The txn's.
        zxid: Zxid,
        /// The txn's bytes: header, body and perhaps a digest.
        txn: Bytes,
    },
    /// Learner to leader.
    Ack {
        /// The txn that is on disk; with a counter of 0: of NEWLEADER or UPTODATE.
        zxid: Zxid,
    },
    /// Leader to participant.
    Commit {
        /// The txn's.
        zxid: Zxid,
    },
    /// Both ways.
    Ping {
        /// From the leader the last proposed zxid; a learner sends it back.
        zxid: Zxid,
        /// From a learner: the sessions it heard of. `None` from a leader.
        touched: Option<Vec<Touch>>,
    },
    /// Both ways.
    Revalidate(Revalidation),
    /// Leader to learner.
    Sync {
        /// Apache sends 0.
        zxid: Zxid,
    },
    /// Leader to observer.
    Inform {
        /// The txn's.
        zxid: Zxid,
        /// The txn's bytes.
        txn: Bytes,
    },
    /// Leader to participant: COMMIT of a reconfig.
    CommitAndActivate {
        /// The txn's.
        zxid: Zxid,
        /// Who is to lead from here on.
        leader: ServerId,
    },
    /// Leader to learner: all that was lacking has been sent.
    NewLeader {
        /// The new epoch with a counter of 0.
        zxid: Zxid,
        /// The text of the leader's last seen configuration; `None` from a leader before 3.4.
        config: Option<Bytes>,
    },
    /// A participant's first packet.
    FollowerInfo {
        /// Its accepted epoch with a counter of 0.
        zxid: Zxid,
        /// Who it is.
        info: LearnerInfo,
    },
    /// Leader to learner: serve.
    UpToDate {
        /// Apache sends -1.
        zxid: Zxid,
    },
    /// Leader to learner: proposals follow.
    Diff {
        /// Where they end.
        zxid: Zxid,
    },
    /// Leader to learner: cut your log.
    Trunc {
        /// The last zxid that stays.
        zxid: Zxid,
    },
    /// Leader to learner: a snapshot follows, which is no packet.
    Snap {
        /// The snapshot's.
        zxid: Zxid,
    },
    /// An observer's first packet.
    ObserverInfo {
        /// Its accepted epoch with a counter of 0.
        zxid: Zxid,
        /// Who it is.
        info: LearnerInfo,
    },
    /// The leader's answer to the first packet.
    LeaderInfo {
        /// The new epoch with a counter of 0.
        zxid: Zxid,
        /// [`PROTOCOL_VERSION`].
        protocol_version: i32,
    },
    /// The learner's answer to that.
    AckEpoch {
        /// The last zxid in its log.
        zxid: Zxid,
        /// Its current epoch; -1: it accepted this epoch before, and may not be counted for it twice.
        current_epoch: Epoch,
    },
    /// Leader to observer: INFORM of a reconfig.
    InformAndActivate {
        /// The txn's.
        zxid: Zxid,
        /// Who is to lead from here on.
        leader: ServerId,
        /// The txn's bytes.
        txn: Bytes,
    },
    /// A type that we don't know. Apache ignores it once a learner is in sync, and so do we.
    Unknown {
        /// Its code.
        kind: i32,
        /// Its zxid.
        zxid: Zxid,
    },
}

/// What a learner forwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forwarded {
    /// The client's session.
    pub session: SessionId,
    /// The client's number of the request.
    pub cxid: Xid,
    /// The opcode, known or not.
    pub op: i32,
    /// The request's record.
    pub body: Bytes,
    /// Who the client is; `None` when no client asked (a session that timed out).
    pub identities: Option<Vec<Id>>,
}

/// A session that a learner heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Touch {
    /// Which.
    pub session: SessionId,
    /// Its timeout in ms.
    pub timeout_ms: i32,
}

/// A question about a session that came to another server, or the answer; the length tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revalidation {
    /// Learner to leader (12 bytes).
    Question {
        /// Which.
        session: SessionId,
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// Leader to learner (9 bytes).
    Answer {
        /// Which.
        session: SessionId,
        /// Is it alive?
        valid: bool,
    },
}

/// Who says hello. Each of its parts came in a later release, so it may be of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LearnerInfo {
    /// The server; `None` from one that does not say (before 3.1).
    pub server: Option<ServerId>,
    /// [`PROTOCOL_VERSION`]; `None` before 3.4, when an epoch was not agreed on.
    pub protocol_version: Option<i32>,
    /// The version of its committed configuration; `None` before 3.5.
    pub config_version: Option<i64>,
}

impl LearnerInfo {
    /// That of a server of today.
    pub fn new(server: ServerId, config_version: i64) -> Self {
        Self { server: Some(server), protocol_version: Some(PROTOCOL_VERSION), config_version: Some(config_version) }
    }

    /// Source: `LearnerHandler.run`. A part that is cut short counts as missing.
    fn read(data: Buffer<'_>) -> Self {
        let mut r = Reader::new(data.unwrap_or_default());
        let server = r.read().ok();
        let protocol_version = server.and_then(|_| r.read().ok());
        let config_version = protocol_version.and_then(|_| r.read().ok());
        Self { server, protocol_version, config_version }
    }

    /// `None`: there is nothing to say, and the payload is null.
    fn to_data(self) -> Option<Vec<u8>> {
        let mut out = self.server?.to_vec();
        if let Some(version) = self.protocol_version {
            version.write(&mut out);
            if let Some(version) = self.config_version {
                version.write(&mut out);
            }
        }
        Some(out)
    }
}

impl Packet {
    /// Reads the packet that `bytes` begins with; payloads are slices of `bytes`, not copies.
    ///
    /// Errors: a payload that is not what the type needs. An unknown type is none.
    pub fn read(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::with_limit(bytes, usize::MAX);
        let raw: QuorumPacket<'_> = r.read()?;
        let (zxid, data) = (raw.zxid, raw.data);
        let owned = |data: &[u8]| bytes.slice_ref(data);
        // A payload's fields; errors then count their offsets from its start.
        let mut fields = Reader::with_limit(data.unwrap_or_default(), usize::MAX);
        Ok(match PacketType::from_code(raw.kind) {
            None => Self::Unknown { kind: raw.kind, zxid },
            Some(PacketType::Request) => Self::Request(Forwarded {
                session: fields.read()?,
                cxid: fields.read()?,
                op: fields.read()?,
                body: owned(fields.remaining()),
                identities: raw.authinfo,
            }),
            Some(PacketType::Proposal) => Self::Proposal { zxid, txn: owned(txn(data, &r)?) },
            Some(PacketType::Ack) => Self::Ack { zxid },
            Some(PacketType::Commit) => Self::Commit { zxid },
            Some(PacketType::Ping) => {
                let touched = match data {
                    None => None,
                    Some(_) => Some(read_touched(&mut fields)?),
                };
                Self::Ping { zxid, touched }
            }
            Some(PacketType::Revalidate) => {
                let session = fields.read()?;
                Self::Revalidate(match fields.remaining().len() {
                    1 => Revalidation::Answer { session, valid: fields.read()? },
                    _ => Revalidation::Question { session, timeout_ms: fields.read()? },
                })
            }
            Some(PacketType::Sync) => Self::Sync { zxid },
            Some(PacketType::Inform) => Self::Inform { zxid, txn: owned(txn(data, &r)?) },
            Some(PacketType::CommitAndActivate) => Self::CommitAndActivate { zxid, leader: fields.read()? },
            Some(PacketType::NewLeader) => Self::NewLeader { zxid, config: data.map(owned) },
            Some(PacketType::FollowerInfo) => Self::FollowerInfo { zxid, info: LearnerInfo::read(data) },
            Some(PacketType::UpToDate) => Self::UpToDate { zxid },
            Some(PacketType::Diff) => Self::Diff { zxid },
            Some(PacketType::Trunc) => Self::Trunc { zxid },
            Some(PacketType::Snap) => Self::Snap { zxid },
            Some(PacketType::ObserverInfo) => Self::ObserverInfo { zxid, info: LearnerInfo::read(data) },
            Some(PacketType::LeaderInfo) => Self::LeaderInfo { zxid, protocol_version: fields.read()? },
            Some(PacketType::AckEpoch) => Self::AckEpoch { zxid, current_epoch: fields.read()? },
            Some(PacketType::InformAndActivate) => {
                Self::InformAndActivate { zxid, leader: fields.read()?, txn: owned(fields.remaining()) }
            }
        })
    }

    /// Appends its wire form.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.kind().write(out);
        self.zxid().write(out);
        match self {
            Self::Request(it) => {
                length(16 + it.body.len(), out);
                it.session.write(out);
                it.cxid.write(out);
                it.op.write(out);
                out.extend_from_slice(&it.body);
                it.identities.write(out);
                return;
            }
            Self::Proposal { txn, .. } | Self::Inform { txn, .. } => bytes(txn, out),
            Self::Ping { touched: Some(touched), .. } => {
                length(12 * touched.len(), out);
                for touch in touched {
                    touch.session.write(out);
                    touch.timeout_ms.write(out);
                }
            }
            Self::Revalidate(Revalidation::Question { session, timeout_ms }) => {
                length(12, out);
                session.write(out);
                timeout_ms.write(out);
            }
            Self::Revalidate(Revalidation::Answer { session, valid }) => {
                length(9, out);
                session.write(out);
                valid.write(out);
            }
            Self::CommitAndActivate { leader, .. } => {
                length(8, out);
                leader.write(out);
            }
            Self::NewLeader { config: Some(config), .. } => bytes(config, out),
            Self::FollowerInfo { info, .. } | Self::ObserverInfo { info, .. } => {
                info.to_data().as_deref().write(out);
            }
            Self::LeaderInfo { protocol_version: number, .. } | Self::AckEpoch { current_epoch: Epoch(number), .. } => {
                length(4, out);
                number.write(out);
            }
            Self::InformAndActivate { leader, txn, .. } => {
                length(8 + txn.len(), out);
                leader.write(out);
                out.extend_from_slice(txn);
            }
            Self::Ack { .. }
            | Self::Commit { .. }
            | Self::Ping { touched: None, .. }
            | Self::Sync { .. }
            | Self::NewLeader { config: None, .. }
            | Self::UpToDate { .. }
            | Self::Diff { .. }
            | Self::Trunc { .. }
            | Self::Snap { .. }
            | Self::Unknown { .. } => NULL.write(out),
        }
        NULL.write(out);
    }

    /// Its wire form, alone.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Its type; `None`: unknown.
    pub fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_code(self.kind())
    }

    /// "PROPOSAL", …, for messages.
    pub fn name(&self) -> &'static str {
        self.packet_type().map_or("a packet of unknown type", PacketType::name)
    }

    fn kind(&self) -> i32 {
        match self {
            Self::Request(_) => PacketType::Request.code(),
            Self::Proposal { .. } => PacketType::Proposal.code(),
            Self::Ack { .. } => PacketType::Ack.code(),
            Self::Commit { .. } => PacketType::Commit.code(),
            Self::Ping { .. } => PacketType::Ping.code(),
            Self::Revalidate(_) => PacketType::Revalidate.code(),
            Self::Sync { .. } => PacketType::Sync.code(),
            Self::Inform { .. } => PacketType::Inform.code(),
            Self::CommitAndActivate { .. } => PacketType::CommitAndActivate.code(),
            Self::NewLeader { .. } => PacketType::NewLeader.code(),
            Self::FollowerInfo { .. } => PacketType::FollowerInfo.code(),
            Self::UpToDate { .. } => PacketType::UpToDate.code(),
            Self::Diff { .. } => PacketType::Diff.code(),
            Self::Trunc { .. } => PacketType::Trunc.code(),
            Self::Snap { .. } => PacketType::Snap.code(),
            Self::ObserverInfo { .. } => PacketType::ObserverInfo.code(),
            Self::LeaderInfo { .. } => PacketType::LeaderInfo.code(),
            Self::AckEpoch { .. } => PacketType::AckEpoch.code(),
            Self::InformAndActivate { .. } => PacketType::InformAndActivate.code(),
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Its zxid; -1 of those that have none.
    pub fn zxid(&self) -> Zxid {
        match self {
            Self::Request(_) | Self::Revalidate(_) => Zxid(-1),
            Self::Proposal { zxid, .. }
            | Self::Ack { zxid }
            | Self::Commit { zxid }
            | Self::Ping { zxid, .. }
            | Self::Sync { zxid }
            | Self::Inform { zxid, .. }
            | Self::CommitAndActivate { zxid, .. }
            | Self::NewLeader { zxid, .. }
            | Self::FollowerInfo { zxid, .. }
            | Self::UpToDate { zxid }
            | Self::Diff { zxid }
            | Self::Trunc { zxid }
            | Self::Snap { zxid }
            | Self::ObserverInfo { zxid, .. }
            | Self::LeaderInfo { zxid, .. }
            | Self::AckEpoch { zxid, .. }
            | Self::InformAndActivate { zxid, .. }
            | Self::Unknown { zxid, .. } => *zxid,
        }
    }
}

/// The length that stands for null.
const NULL: i32 = -1;

fn length(n: usize, out: &mut Vec<u8>) {
    (n as i32).write(out);
}

fn bytes(payload: &Bytes, out: &mut Vec<u8>) {
    length(payload.len(), out);
    out.extend_from_slice(payload);
}

/// A txn must be there.
fn txn<'a>(data: Buffer<'a>, r: &Reader<'_>) -> Result<&'a [u8], DecodeError> {
    data.ok_or_else(|| r.value_error("a proposal without its txn"))
}

fn read_touched(r: &mut Reader<'_>) -> Result<Vec<Touch>, DecodeError> {
    let mut touched = Vec::new();
    while !r.remaining().is_empty() {
        touched.push(Touch { session: r.read()?, timeout_ms: r.read()? });
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::{Limits, split};
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(hex: &str) -> Bytes {
        let digits: Vec<u32> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    fn same(packet: &Packet, hex: &str) {
        let bytes = bytes_of(hex);
        assert_eq!(packet.to_vec(), bytes, "{}", packet.name());
        assert_eq!(Packet::read(&bytes).as_ref(), Ok(packet));
        assert_eq!(split(&bytes, Limits::default()), Ok(Some(bytes.len())));
        for n in 0..bytes.len() {
            assert_eq!(split(&bytes[..n], Limits::default()), Ok(None), "{} bytes of {}", n, packet.name());
        }
    }

    #[test]
    fn every_type_by_its_bytes() {
        let epoch = Zxid::new(Epoch(2), 0);
        let txn = Bytes::from_static(b"txn");
        let zxid = Zxid(0x2_0000_0005);
        let id = |scheme: &str, id: &str| Id { scheme: scheme.to_owned(), id: id.to_owned() };
        let forwarded = Forwarded {
            session: SessionId(0x0100_0000_0000_0007),
            cxid: Xid(3),
            op: 1,
            body: Bytes::from_static(b"/a"),
            identities: Some(vec![id("ip", "::1")]),
        };
        same(
            &Packet::Request(forwarded.clone()),
            "00000001 FFFFFFFFFFFFFFFF 00000012 0100000000000007 00000003 00000001 2F61
             00000001 00000002 6970 00000003 3A3A31",
        );
        same(
            &Packet::Request(Forwarded { identities: None, body: Bytes::new(), ..forwarded }),
            "00000001 FFFFFFFFFFFFFFFF 00000010 0100000000000007 00000003 00000001 FFFFFFFF",
        );
        same(&Packet::Proposal { zxid, txn: txn.clone() }, "00000002 0000000200000005 00000003 74786E FFFFFFFF");
        same(&Packet::Ack { zxid: epoch }, "00000003 0000000200000000 FFFFFFFF FFFFFFFF");
        same(&Packet::Commit { zxid }, "00000004 0000000200000005 FFFFFFFF FFFFFFFF");
        same(&Packet::Ping { zxid, touched: None }, "00000005 0000000200000005 FFFFFFFF FFFFFFFF");
        same(&Packet::Ping { zxid, touched: Some(vec![]) }, "00000005 0000000200000005 00000000 FFFFFFFF");
        let touch = Touch { session: SessionId(9), timeout_ms: 4000 };
        same(
            &Packet::Ping { zxid, touched: Some(vec![touch]) },
            "00000005 0000000200000005 0000000C 0000000000000009 00000FA0 FFFFFFFF",
        );
        same(
            &Packet::Revalidate(Revalidation::Question { session: SessionId(9), timeout_ms: 4000 }),
            "00000006 FFFFFFFFFFFFFFFF 0000000C 0000000000000009 00000FA0 FFFFFFFF",
        );
        same(
            &Packet::Revalidate(Revalidation::Answer { session: SessionId(9), valid: true }),
            "00000006 FFFFFFFFFFFFFFFF 00000009 0000000000000009 01 FFFFFFFF",
        );
        same(&Packet::Sync { zxid: Zxid::ZERO }, "00000007 0000000000000000 FFFFFFFF FFFFFFFF");
        same(&Packet::Inform { zxid, txn: txn.clone() }, "00000008 0000000200000005 00000003 74786E FFFFFFFF");
        same(
            &Packet::CommitAndActivate { zxid, leader: ServerId(3) },
            "00000009 0000000200000005 00000008 0000000000000003 FFFFFFFF",
        );
        same(
            &Packet::NewLeader { zxid: epoch, config: Some(Bytes::from_static(b"version=0")) },
            "0000000A 0000000200000000 00000009 76657273696F6E3D30 FFFFFFFF",
        );
        same(
            &Packet::FollowerInfo { zxid: Zxid::new(Epoch(1), 0), info: LearnerInfo::new(ServerId(3), 0) },
            "0000000B 0000000100000000 00000014 0000000000000003 00010000 0000000000000000 FFFFFFFF",
        );
        same(&Packet::UpToDate { zxid: Zxid(-1) }, "0000000C FFFFFFFFFFFFFFFF FFFFFFFF FFFFFFFF");
        same(&Packet::Diff { zxid }, "0000000D 0000000200000005 FFFFFFFF FFFFFFFF");
        same(&Packet::Trunc { zxid }, "0000000E 0000000200000005 FFFFFFFF FFFFFFFF");
        same(&Packet::Snap { zxid }, "0000000F 0000000200000005 FFFFFFFF FFFFFFFF");
        same(
            &Packet::LeaderInfo { zxid: epoch, protocol_version: PROTOCOL_VERSION },
            "00000011 0000000200000000 00000004 00010000 FFFFFFFF",
        );
        same(
            &Packet::AckEpoch { zxid: Zxid(0x1_0000_0009), current_epoch: Epoch(1) },
            "00000012 0000000100000009 00000004 00000001 FFFFFFFF",
        );
        same(
            &Packet::InformAndActivate { zxid, leader: ServerId(3), txn },
            "00000013 0000000200000005 0000000B 0000000000000003 74786E FFFFFFFF",
        );
        same(&Packet::Unknown { kind: 99, zxid }, "00000063 0000000200000005 FFFFFFFF FFFFFFFF");
    }

    #[test]
    fn a_learner_of_any_age_says_hello() {
        let info = |hex: &str| match Packet::read(&bytes_of(&format!("00000010 0000000100000000 {hex} FFFFFFFF"))) {
            Ok(Packet::ObserverInfo { info, .. }) => info,
            other => panic!("{other:?}"),
        };
        let of = |server, protocol_version, config_version| LearnerInfo { server, protocol_version, config_version };
        assert_eq!(info("FFFFFFFF"), of(None, None, None));
        assert_eq!(info("00000004 00000003"), of(None, None, None), "cut short");
        assert_eq!(info("00000008 0000000000000003"), of(Some(ServerId(3)), None, None));
        assert_eq!(info("0000000C 0000000000000003 00010000"), of(Some(ServerId(3)), Some(0x10000), None));
        assert_eq!(info("00000014 0000000000000003 00010000 0000000000000007"), LearnerInfo::new(ServerId(3), 7));
        for known in [of(None, None, None), of(Some(ServerId(1)), None, None), LearnerInfo::new(ServerId(1), 5)] {
            let packet = Packet::FollowerInfo { zxid: Zxid::ZERO, info: known };
            assert_eq!(Packet::read(&packet.to_vec().into()), Ok(packet));
        }
    }

    #[test]
    fn payloads_are_not_copied() {
        let bytes = Bytes::from(Packet::Proposal { zxid: Zxid(1), txn: Bytes::from_static(b"txn") }.to_vec());
        let Packet::Proposal { txn, .. } = Packet::read(&bytes).unwrap() else { panic!("it is a proposal") };
        assert_eq!(txn.as_ptr(), bytes[16..].as_ptr());
    }

    #[test]
    fn payloads_that_are_too_short() {
        for hex in [
            "00000001 FFFFFFFFFFFFFFFF 0000000F 000000000000000000000000000000",
            "00000002 0000000200000005 FFFFFFFF",
            "00000005 0000000200000005 0000000B 0000000000000000000000",
            "00000006 FFFFFFFFFFFFFFFF FFFFFFFF",
            "00000006 FFFFFFFFFFFFFFFF 0000000B 0000000000000000000000",
            "00000009 0000000200000005 FFFFFFFF",
            "00000011 0000000200000005 00000003 000100",
            "00000012 0000000200000005 FFFFFFFF",
            "00000013 0000000200000005 00000007 00000000000000",
        ] {
            assert!(Packet::read(&bytes_of(&format!("{hex} FFFFFFFF"))).is_err(), "{hex}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_or_read(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..21) {
            if let Some(first) = bytes.get_mut(..4) {
                first.copy_from_slice(&[0, 0, 0, kind]);
            }
            if let Ok(Some(length)) = split(&bytes, Limits { length_max: 100, identities_max: 4 }) {
                prop_assert!(length <= bytes.len());
                let bytes = Bytes::from(bytes).slice(..length);
                if let Ok(packet) = Packet::read(&bytes) {
                    let again = Bytes::from(packet.to_vec());
                    prop_assert_eq!(Packet::read(&again), Ok(packet));
                }
            }
        }

        #[test]
        fn payloads_of_nonsense(kind in 1_i32..20, zxid in any::<i64>(), data in prop::option::of(prop::collection::vec(any::<u8>(), 0..40))) {
            let raw = QuorumPacket { kind, zxid: Zxid(zxid), data: data.as_deref(), authinfo: None };
            if let Ok(packet) = Packet::read(&raw.to_vec().into()) {
                let again = Bytes::from(packet.to_vec());
                prop_assert_eq!(Packet::read(&again), Ok(packet));
            }
        }
    }
}
