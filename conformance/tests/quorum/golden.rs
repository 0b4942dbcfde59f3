//! The recordings in `conformance/golden/quorum*.txt`: our records read every byte of them and write it again. Needs no Apache.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use ostler_conformance::workspace;
use wire::election::{InitialMessage, InitialVersion, Notification, ServerState, split_frame};
use wire::quorum::{Limits, Packet, PacketType, QuorumPacket, split};
use wire::{Field, Reader};

/// What ends a snapshot that is sent to a learner.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// A recorded connection: which port, of which server, and both directions.
pub(super) struct Recorded {
    pub(super) port: String,
    pub(super) server: String,
    pub(super) opener: Vec<u8>,
    pub(super) acceptor: Vec<u8>,
}

pub(super) fn write(all: &[Recorded]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let line = |it: &Recorded| format!("{} {} {} {}\n", it.port, it.server, hex(&it.opener), hex(&it.acceptor));
    all.iter().map(line).collect()
}

fn read() -> Vec<Recorded> {
    let file = |name: &str| fs::read_to_string(workspace().join("conformance/golden").join(name)).unwrap();
    let text = file("quorum.txt") + &file("quorum-reconfig.txt");
    let bytes = |hex: &str| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect::<Vec<u8>>()
    };
    let line = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [port, server, opener, acceptor] = parts.try_into().unwrap();
        Recorded { port: port.to_owned(), server: server.to_owned(), opener: bytes(opener), acceptor: bytes(acceptor) }
    };
    text.lines().map(line).collect()
}

/// How many whole frames there are, and where the last one ends.
pub(super) fn frames(bytes: &[u8], mut each: impl FnMut(&[u8])) -> usize {
    let mut rest = bytes;
    while let Some((frame, behind)) = split_frame(rest).unwrap() {
        each(frame);
        rest = behind;
    }
    bytes.len() - rest.len()
}

/// Each whole packet; where the last one ends. The snapshot behind a SNAP is passed over.
pub(super) fn packets(bytes: &[u8], mut each: impl FnMut(&Bytes, &Packet)) -> usize {
    walk(bytes, |one, packet, _| each(one, packet))
}

/// Where each whole packet ends.
pub(super) fn packets_with_ends(bytes: &[u8], mut each: impl FnMut(usize)) {
    walk(bytes, |_, _, end| each(end));
}

fn walk(bytes: &[u8], mut each: impl FnMut(&Bytes, &Packet, usize)) -> usize {
    let mut at = 0;
    while let Some(length) = split(&bytes[at..], Limits::default()).unwrap() {
        let one = Bytes::copy_from_slice(&bytes[at..at + length]);
        let packet = Packet::read(&one).unwrap();
        let mut end = at + length;
        if matches!(packet, Packet::Snap { .. }) {
            let Some(found) = bytes[end..].windows(SIGNATURE.len()).position(|it| it == SIGNATURE) else { break };
            end += found + SIGNATURE.len();
        }
        each(&one, &packet, end);
        at = end;
    }
    at
}

#[test]
fn elections_are_read_and_written_again() {
    let (mut initials, mut notifications) = (0, BTreeMap::new());
    for it in read().iter().filter(|it| it.port == "election") {
        let (initial, length) = InitialMessage::split(&it.opener).unwrap().unwrap();
        let mut again = Vec::new();
        initial.write(&mut again);
        assert_eq!(again, it.opener[..length]);
        assert_eq!(initial.version, InitialVersion::V1);
        assert_eq!(initial.addresses.len(), 1);
        initials += 1;
        for way in [&it.opener[length..], &it.acceptor] {
            let end = frames(way, |frame| {
                let n = Notification::read(&Bytes::copy_from_slice(frame)).unwrap();
                let mut again = Vec::new();
                n.write(&mut again);
                assert_eq!(again, frame);
                assert_eq!(n.version(), 2);
                let text = std::str::from_utf8(n.config().unwrap()).unwrap();
                let config = zab::QuorumVerifier::parse(text, zab::quorum_verifier::TextRules::default()).unwrap();
                assert_eq!(config.to_string(), text, "the configuration, letter by letter");
                *notifications.entry(n.state.unwrap()).or_insert(0) += 1;
            });
            assert_eq!(end, way.len(), "nothing is left");
        }
    }
    assert!(initials >= 3, "{initials} connections");
    for state in [ServerState::Looking, ServerState::Following, ServerState::Leading] {
        assert!(notifications.contains_key(&state), "{state:?} is missing: {notifications:?}");
    }
}

#[test]
fn packets_are_read_and_written_again() {
    let mut seen: BTreeMap<PacketType, usize> = BTreeMap::new();
    for it in read().iter().filter(|it| it.port == "quorum") {
        for way in [&it.opener, &it.acceptor] {
            let end = packets(way, |bytes, packet| {
                assert_eq!(packet.to_vec(), bytes[..], "{}", packet.name());
                let mut r = Reader::new(bytes);
                let raw: QuorumPacket<'_> = r.read().unwrap();
                assert_eq!(raw.to_vec(), bytes[..]);
                *seen.entry(packet.packet_type().unwrap()).or_default() += 1;
            });
            assert_eq!(end, way.len(), "nothing is left");
        }
    }
    let missing: Vec<_> = PacketType::ALL.iter().filter(|it| !seen.contains_key(it)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing: {seen:?}");
}
