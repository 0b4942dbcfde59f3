//! What servers say to each other on the election port.
//!
//! Whoever opens a connection sends an [`InitialMessage`] and gets no answer; after it both sides send frames, a
//! 32-bit length and a [`Notification`] each. Source: Apache `QuorumCnxManager`, `FastLeaderElection.buildMsg`,
//! `FastLeaderElection.Messenger.WorkerReceiver`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;

use crate::frame::{self, BadFrameLength, Split};
use crate::ids::{ServerId, Zxid};
use crate::jute::{DecodeError, Field, Reader};

/// Most bytes of a notification; a frame that claims more closes its connection. Source: `PACKETMAXSIZE`.
pub const NOTIFICATION_BYTES_MAX: usize = 512 * 1024;

/// Most bytes of the addresses in an initial message. Source: `maxBuffer`.
pub const ADDRESSES_BYTES_MAX: usize = 2048;

/// Most addresses of one server that are read from an initial message, or written into one: each is called.
pub const ADDRESSES_MAX: usize = 8;

/// What an observer of 3.3 calls itself; whoever hears it makes a number of its own for that connection.
pub const OBSERVER_ID: ServerId = ServerId(i64::MAX);

/// How an initial message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InitialVersion {
    /// The bare server id of a peer before 3.5.
    Bare,
    /// One address; what 3.5 to 3.9 send.
    V1,
    /// Several addresses; what 3.6 to 3.9 send with `multiAddress.enabled`.
    V2,
}

const V1: i64 = -65536;
const V2: i64 = -65535;

/// Who opened a connection, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InitialMessage {
    /// How it is written.
    pub version: InitialVersion,
    /// The server that opened it.
    pub server: ServerId,
    /// Its election addresses, wildcards included, the first [`ADDRESSES_MAX`] of them; none in a bare one. A name is not looked up here.
    pub addresses: Vec<HostPort>,
}

/// A host and a port, as they are written: the host may be a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a connection is closed after its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitialError {
    /// A negative number that is none of the two versions.
    Version(i64),
    /// No, or too many, bytes of addresses.
    Length(i32),
    /// So many addresses in a version that has one.
    Count(usize),
    /// Addresses that can't be read.
    Address(String),
}

impl fmt::Display for InitialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "initial message: version {version} is unknown; known: {V1} and {V2}, or a server id")
            }
            Self::Length(length) => {
                write!(f, "initial message: {length} bytes of addresses; allowed: 1 to {ADDRESSES_BYTES_MAX}")
            }
            Self::Count(count) => write!(f, "initial message: {count} addresses; version {V1} has one"),
            Self::Address(text) => write!(f, "initial message: address {text:?}; allowed: host:port"),
        }
    }
}

impl std::error::Error for InitialError {}

impl InitialMessage {
    /// The message at the start of `bytes`, and its length; `None` while it is not all there.
    pub fn split(bytes: &[u8]) -> Result<Option<(Self, usize)>, InitialError> {
        let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        let first = i64::from_be_bytes(*first);
        let version = match first {
            V1 => InitialVersion::V1,
            V2 => InitialVersion::V2,
            0.. => {
                let it = Self { version: InitialVersion::Bare, server: ServerId(first), addresses: Vec::new() };
                return Ok(Some((it, 8)));
            }
            other => return Err(InitialError::Version(other)),
        };
        let Some((server, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let n = usize::try_from(length)
            .ok()
            .filter(|n| (1..=ADDRESSES_BYTES_MAX).contains(n))
            .ok_or(InitialError::Length(length))?;
        let Some(text) = rest.get(..n) else { return Ok(None) };
        let addresses = parse_addresses(version, &String::from_utf8_lossy(text))?;
        Ok(Some((Self { version, server: ServerId(i64::from_be_bytes(*server)), addresses }, 20 + n)))
    }

    /// Appends its wire form. It must leave in one write: Apache's acceptor reads the addresses with one call, and closes
    /// the connection when fewer bytes come.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.version {
            InitialVersion::Bare => return self.server.write(out),
            InitialVersion::V1 => V1.write(out),
            InitialVersion::V2 => V2.write(out),
        }
        self.server.write(out);
        let text: Vec<String> = self.addresses.iter().take(ADDRESSES_MAX).map(HostPort::to_string).collect();
        crate::jute::write_str(&text.join("|"), out);
    }
}

/// Apache reads any number of addresses in both versions, and its servers send one in the first.
fn parse_addresses(version: InitialVersion, text: &str) -> Result<Vec<HostPort>, InitialError> {
    // Java's split drops what is empty at the end.
    let parts = || text.trim_end_matches('|').split('|');
    let count = parts().count();
    if version == InitialVersion::V1 && count > 1 {
        return Err(InitialError::Count(count));
    }
    parts()
        .take(ADDRESSES_MAX)
        .map(|it| HostPort::parse(it).ok_or_else(|| InitialError::Address(it.to_owned())))
        .collect()
}

impl HostPort {
    /// `host:port`, `[ipv6]:port`. `None`: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':')?)
            }
            None => text.split_once(':')?,
        };
        let port = port.parse().ok()?;
        Some(Self { host: host.to_owned(), port })
    }

    /// Does it name no host in particular (`0.0.0.0`, `::`)? Such an address in an initial message says nothing, and the
    /// configured one is used (ZOOKEEPER-2164, ZOOKEEPER-3756).
    pub fn is_wildcard(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|it| it.is_unspecified()),
            Ok(ip) => ip.is_unspecified(),
            Err(_) => self.host.is_empty(),
        }
    }
}

/// As Java writes it: an IPv6 address in brackets, with all its groups. Source: `NetUtils.formatInetAddr`.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", java_host(&self.host), self.port)
    }
}

/// A host as Java prints it between separators: a name as it is, an IPv6 address in brackets and never shortened.
pub fn java_host(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.to_string(),
            None => {
                let groups: Vec<String> = ip.segments().iter().map(|it| format!("{it:x}")).collect();
                format!("[{}]", groups.join(":"))
            }
        },
        Err(_) if host.contains(':') => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

/// The payload of the first frame in `bytes` and what follows it; `None` while it is not all there. A length of 0, below,
/// or above [`NOTIFICATION_BYTES_MAX`] closes the connection.
pub fn split_frame(bytes: &[u8]) -> Result<Option<Split<'_>>, BadFrameLength> {
    if bytes.starts_with(&[0; 4]) {
        return Err(BadFrameLength(0));
    }
    frame::split(bytes, NOTIFICATION_BYTES_MAX)
}

/// What a server is doing. Source: `QuorumPeer.ServerState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum ServerState {
    /// It looks for a leader.
    Looking = 0,
    /// It is a participant with a leader.
    Following = 1,
    /// It is the leader.
    Leading = 2,
    /// It is an observer with a leader.
    Observing = 3,
}

impl ServerState {
    /// The state with this code.
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::Looking, Self::Following, Self::Leading, Self::Observing].into_iter().find(|it| *it as i32 == code)
    }

    /// `LOOKING`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Looking => "LOOKING",
            Self::Following => "FOLLOWING",
            Self::Leading => "LEADING",
            Self::Observing => "OBSERVING",
        }
    }
}

/// A server's vote, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// What the sender is doing; `None`: a code that has no meaning, and then nothing but the configuration counts.
    pub state: Option<ServerState>,
    /// Whom it votes for, or follows.
    pub leader: ServerId,
    /// The last zxid of that server.
    pub zxid: Zxid,
    /// The round of election in which the vote was given: a logical clock.
    pub election_epoch: i64,
    /// The epoch of that server's history, or the epoch that is established. 64 bits here, for non-voters send the smallest
    /// number of all.
    pub peer_epoch: i64,
    /// How much of this the sender has written.
    pub format: NotificationFormat,
}

/// The forms of a notification, by age.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NotificationFormat {
    /// 28 bytes: before 3.4. The peer epoch is the zxid's.
    WithoutEpoch,
    /// 40 bytes, and taken for version 0 whatever the last four of them say (3.4.0 to 3.4.5, and others).
    WithoutVersion,
    /// With its version: 0 or less, or 1.
    Version(i32),
    /// Version 2 or above: with the text of the sender's committed configuration.
    WithConfig {
        /// Its version; 2 in 3.5 to 3.9.
        version: i32,
        /// The text, UTF-8.
        config: Bytes,
    },
}

impl Notification {
    /// Its version, as votes are compared with it (ZOOKEEPER-1732).
    pub fn version(&self) -> i32 {
        match self.format {
            NotificationFormat::WithoutEpoch | NotificationFormat::WithoutVersion => 0,
            NotificationFormat::Version(version) | NotificationFormat::WithConfig { version, .. } => version,
        }
    }

    /// The sender's configuration, if it sent one.
    pub fn config(&self) -> Option<&Bytes> {
        match &self.format {
            NotificationFormat::WithConfig { config, .. } => Some(config),
            _ => None,
        }
    }

    /// Reads a frame's payload. A payload that is too short for what it claims is an error, of that
    /// connection alone (ZOOKEEPER-3769).
    pub fn read(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let state = ServerState::from_code(r.read()?);
        let (leader, zxid, election_epoch): (ServerId, Zxid, i64) = (r.read()?, r.read()?, r.read()?);
        let (peer_epoch, format) = match bytes.len() {
            28 => (i64::from(zxid.epoch().0), NotificationFormat::WithoutEpoch),
            40 => (r.read()?, NotificationFormat::WithoutVersion),
            _ => {
                let peer_epoch = r.read()?;
                let version = r.read()?;
                (peer_epoch, read_rest(version, &mut r, bytes)?)
            }
        };
        Ok(Self { state, leader, zxid, election_epoch, peer_epoch, format })
    }

    /// Appends a frame with it: the length and the payload.
    pub fn write_frame(&self, out: &mut Vec<u8>) {
        let start = frame::begin(out);
        self.write(out);
        frame::finish(out, start);
    }

    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.state.map_or(UNKNOWN_STATE, |it| it as i32).write(out);
        self.leader.write(out);
        self.zxid.write(out);
        self.election_epoch.write(out);
        if self.format == NotificationFormat::WithoutEpoch {
            return;
        }
        self.peer_epoch.write(out);
        match &self.format {
            // What Apache's old form has there.
            NotificationFormat::WithoutEpoch | NotificationFormat::WithoutVersion => 1_i32.write(out),
            NotificationFormat::Version(version) => version.write(out),
            NotificationFormat::WithConfig { version, config } => {
                version.write(out);
                (config.len() as i32).write(out);
                out.extend_from_slice(config);
            }
        }
    }
}

/// Written for a state that could not be read; never by a server.
const UNKNOWN_STATE: i32 = -1;

fn read_rest(version: i32, r: &mut Reader<'_>, bytes: &Bytes) -> Result<NotificationFormat, DecodeError> {
    if version <= 1 {
        return Ok(NotificationFormat::Version(version));
    }
    let offset = r.offset();
    let length: i32 = r.read()?;
    let n = usize::try_from(length).map_err(|_| DecodeError::Length { offset, length })?;
    let config = bytes.slice_ref(r.take(n)?);
    Ok(NotificationFormat::WithConfig { version, config })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    fn address(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    fn initial(version: InitialVersion, addresses: &[HostPort]) -> (InitialMessage, Vec<u8>) {
        let message = InitialMessage { version, server: ServerId(1), addresses: addresses.to_vec() };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        (message, bytes)
    }

    #[test]
    fn initial_messages_by_their_bytes() {
        let (one, bytes) = initial(InitialVersion::V1, &[address("h1", 3888)]);
        assert_eq!(bytes, b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0\x07h1:3888");
        for n in 0..bytes.len() {
            assert_eq!(InitialMessage::split(&bytes[..n]), Ok(None), "{n} bytes");
        }
        assert_eq!(InitialMessage::split(&[&bytes[..], b"more"].concat()), Ok(Some((one, 27))));
        let (two, bytes) = initial(InitialVersion::V2, &[address("::1", 3888), address("h2", 3889)]);
        assert_eq!(&bytes[..8], b"\xff\xff\xff\xff\xff\xff\0\x01");
        assert_eq!(&bytes[20..], b"[0:0:0:0:0:0:0:1]:3888|h2:3889");
        let read = InitialMessage::split(&bytes).unwrap().unwrap().0;
        assert_eq!(read.addresses[1], two.addresses[1]);
        assert_eq!(read.addresses[0].host, "0:0:0:0:0:0:0:1");
        let (bare, bytes) = initial(InitialVersion::Bare, &[]);
        assert_eq!((bytes.len(), InitialMessage::split(&bytes)), (8, Ok(Some((bare, 8)))));
        assert_eq!(
            InitialMessage::split(&[0x7f, 255, 255, 255, 255, 255, 255, 255]).unwrap().unwrap().0.server,
            OBSERVER_ID
        );
    }

    #[test]
    fn initial_messages_that_are_refused() {
        let of = |version: i64, length: i32, text: &str| {
            let head = [&version.to_be_bytes()[..], &[0; 8], &length.to_be_bytes(), text.as_bytes()].concat();
            InitialMessage::split(&head)
        };
        let with = |length: i32, text: &str| of(V1, length, text);
        assert_eq!(InitialMessage::split(&(-1_i64).to_be_bytes()), Err(InitialError::Version(-1)));
        for length in [0, -1, 2049, i32::MAX, i32::MIN] {
            assert_eq!(with(length, ""), Err(InitialError::Length(length)));
        }
        assert_eq!(with(2048, "h:1"), Ok(None));
        for text in ["h", "h:", "h:x", "h:70000", "h:-1", "h:1:2", "[::1", "[::1]", "[::1]1", "a:1||b:2", "|a:1"] {
            assert!(matches!(of(V2, text.len() as i32, text), Err(InitialError::Address(_))), "{text}");
        }
        assert_eq!(with(4, "a:1|").unwrap().unwrap().0.addresses, [address("a", 1)]);
        assert_eq!(
            with(9, "h:x y z w").unwrap_err().to_string(),
            "initial message: address \"h:x y z w\"; allowed: host:port"
        );
    }

    /// Each address is called, so one message must not name hundreds.
    #[test]
    fn addresses_have_a_count() {
        let of = |version: i64, count: usize| {
            let text = vec!["h:1"; count].join("|");
            let head =
                [&version.to_be_bytes()[..], &[0; 8], &(text.len() as i32).to_be_bytes(), text.as_bytes()].concat();
            InitialMessage::split(&head).map(|it| it.unwrap().0.addresses.len())
        };
        assert_eq!(
            (of(V1, 1), of(V1, 2), of(V1, 512)),
            (Ok(1), Err(InitialError::Count(2)), Err(InitialError::Count(512)))
        );
        assert_eq!((of(V2, 1), of(V2, 8), of(V2, 9), of(V2, 512)), (Ok(1), Ok(8), Ok(8), Ok(8)));
        assert_eq!(InitialError::Count(512).to_string(), "initial message: 512 addresses; version -65536 has one");
        let many: Vec<_> = (0..20).map(|port| address("h", port)).collect();
        let (_, bytes) = initial(InitialVersion::V2, &many);
        assert_eq!(InitialMessage::split(&bytes).unwrap().unwrap().0.addresses, many[..8]);
    }

    #[test]
    fn wildcards() {
        for host in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"] {
            assert!(address(host, 1).is_wildcard(), "{host}");
        }
        assert!(!address("h1", 1).is_wildcard() && !address("::1", 1).is_wildcard());
    }

    fn notification(format: NotificationFormat) -> Notification {
        Notification {
            state: Some(ServerState::Leading),
            leader: ServerId(3),
            zxid: Zxid(0x5_0000_0007),
            election_epoch: 2,
            peer_epoch: 5,
            format,
        }
    }

    #[test]
    fn notifications_of_all_ages() {
        let of = |format| {
            let it = notification(format);
            let mut out = Vec::new();
            it.write(&mut out);
            assert_eq!(Notification::read(&out.clone().into()), Ok(it));
            out
        };
        let start = b"\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x05\0\0\0\x07\0\0\0\0\0\0\0\x02";
        assert_eq!(of(NotificationFormat::WithoutEpoch), start);
        let with_epoch = [&start[..], b"\0\0\0\0\0\0\0\x05"].concat();
        assert_eq!(of(NotificationFormat::WithoutVersion), [&with_epoch[..], b"\0\0\0\x01"].concat());
        let config = Bytes::from_static(b"version=0");
        let full = of(NotificationFormat::WithConfig { version: 2, config });
        assert_eq!(full, [&with_epoch[..], b"\0\0\0\x02\0\0\0\x09version=0"].concat());
        let mut framed = Vec::new();
        notification(NotificationFormat::WithoutEpoch).write_frame(&mut framed);
        assert_eq!(split_frame(&framed), Ok(Some((&start[..], &[][..]))));
        let longer = Bytes::from([&with_epoch[..], b"\0\0\0\x01 and what a later version adds"].concat());
        assert_eq!(Notification::read(&longer).unwrap(), notification(NotificationFormat::Version(1)));
    }

    #[test]
    fn notifications_that_are_dropped() {
        let full = {
            let mut out = Vec::new();
            let config = Bytes::from_static(b"version=0");
            notification(NotificationFormat::WithConfig { version: 2, config }).write(&mut out);
            out
        };
        for n in (0..28).chain(29..40).chain(41..full.len()) {
            assert!(Notification::read(&Bytes::copy_from_slice(&full[..n])).is_err(), "{n} bytes");
        }
        for length in [-1, 10, i32::MAX, i32::MIN] {
            let mut hostile = full.clone();
            hostile[40..44].copy_from_slice(&length.to_be_bytes());
            assert!(Notification::read(&hostile.into()).is_err(), "{length}");
        }
        let mut strange = full;
        strange[3] = 4;
        assert_eq!(Notification::read(&strange.into()).unwrap().state, None);
    }

    #[test]
    fn frames_that_close_the_connection() {
        for length in [0, -1, i32::MIN, NOTIFICATION_BYTES_MAX as i32 + 1] {
            assert_eq!(split_frame(&length.to_be_bytes()), Err(BadFrameLength(length)));
        }
        assert_eq!(split_frame(&(NOTIFICATION_BYTES_MAX as i32).to_be_bytes()), Ok(None));
        assert_eq!(split_frame(&[0, 0, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_or_read(
            head in prop::sample::select(vec![V1, V2, 7, -1]),
            length in 0_i32..30,
            text in "[a-z0-9.:|\\[\\]]{0,30}",
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            version in 0_i32..4,
        ) {
            let initial = [&head.to_be_bytes()[..], &[0; 8], &length.to_be_bytes(), text.as_bytes()].concat();
            if let Ok(Some((message, n))) = InitialMessage::split(&initial) {
                prop_assert!(n <= initial.len());
                let mut again = Vec::new();
                message.write(&mut again);
                prop_assert!(matches!(InitialMessage::split(&again), Ok(Some((_, n))) if n == again.len()));
            }
            let _ = split_frame(&bytes);
            let mut bytes = bytes;
            if let Some(at) = bytes.get_mut(36..40) {
                at.copy_from_slice(&version.to_be_bytes());
            }
            if let Ok(it) = Notification::read(&bytes.into())
                // Without the bytes that followed it, it is one of 40 bytes.
                && !matches!(it.format, NotificationFormat::Version(_))
            {
                let mut again = Vec::new();
                it.write(&mut again);
                prop_assert_eq!(Notification::read(&again.into()), Ok(it));
            }
        }
    }
}
