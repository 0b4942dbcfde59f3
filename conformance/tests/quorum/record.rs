//! Makes `conformance/golden/quorum.txt` anew: an ensemble of Apache's through elections, all kinds of synchronization,
//! writes through followers and an observer, a session that moves.

use std::fs;
use std::time::Duration;

use ostler_conformance::ensemble::Ensemble;
use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::recorder::Recorder;
use ostler_conformance::script::{create, path};
use ostler_conformance::workspace;
use wire::election::InitialMessage;
use wire::quorum::PacketType;

use super::golden::{Recorded, frames, packets, packets_with_ends, write};

/// Most packets and frames of one direction that are kept: most of a long one are pings.
const KEPT_MAX: usize = 60;

fn session(ensemble: &Ensemble, id: u8) -> Connection {
    Connection::session(ensemble.member(id).unwrap().client).unwrap().0
}

/// Is this type in what is recorded at the quorum port of a server?
fn has(ensemble: &Ensemble, id: u8, kind: PacketType) -> bool {
    let recorder = ensemble.member(id).unwrap().quorum_recorder.as_ref().unwrap();
    let mut found = false;
    for it in recorder.conversations() {
        for way in [&it.opener, &it.acceptor] {
            packets(way, |_, packet| found |= packet.packet_type() == Some(kind));
        }
    }
    found
}

/// A direction up to the end of packet number `KEPT_MAX`, or of the last whole one.
fn cut_packets(bytes: &[u8]) -> Vec<u8> {
    let mut ends = Vec::new();
    packets_with_ends(bytes, |end| ends.push(end));
    let end = ends.get(KEPT_MAX - 1).or(ends.last()).copied().unwrap_or(0);
    bytes[..end].to_vec()
}

fn recorded(port: &str, id: u8, recorder: &Recorder) -> Vec<Recorded> {
    let mut all = Vec::new();
    for it in recorder.conversations() {
        let (opener, acceptor) = if port == "quorum" {
            (cut_packets(&it.opener), cut_packets(&it.acceptor))
        } else {
            let Ok(Some((_, length))) = InitialMessage::split(&it.opener) else { continue };
            let end = length + frames(&it.opener[length..], |_| {});
            (it.opener[..end].to_vec(), it.acceptor[..frames(&it.acceptor, |_| {})].to_vec())
        };
        if !opener.is_empty() && !acceptor.is_empty() {
            all.push(Recorded { port: port.to_owned(), server: id.to_string(), opener, acceptor });
        }
    }
    all
}

#[test]
#[ignore = "writes the golden file"]
fn record() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 1, true)
        .unwrap()
        .cfg("tickTime=1000")
        .cfg("preAllocSize=16")
        .jvm("-Dzookeeper.snapshotSizeFactor=-1");
    // 2 leads, for 3 is not there yet.
    ensemble.start(1).unwrap();
    ensemble.until("1 looks", || ensemble.log_contains(1, "New election. My id = 1")).unwrap();
    ensemble.start(2).unwrap();
    ensemble.serving(2).unwrap();
    ensemble.serving(1).unwrap();
    ensemble.start(3).unwrap();
    ensemble.serving(3).unwrap();

    // Through a follower: REQUEST, PROPOSAL, ACK, COMMIT, SYNC.
    let mut client = session(&ensemble, 1);
    client.call(1, 1, &create("/a", b"one", 0)).unwrap();
    client.call(2, 1, &create("/a/e", b"", 1)).unwrap();
    client.call(3, 9, &path("/a")).unwrap();

    // A session that goes on at another server: REVALIDATE.
    let (mut moving, granted) = Connection::session(ensemble.member(1).unwrap().client).unwrap();
    moving.call(1, 1, &create("/m", b"", 1)).unwrap();
    let again = ConnectRequest {
        session_id: granted.session_id,
        password: Some(granted.password),
        ..ConnectRequest::default()
    };
    let (mut moved, granted) = Connection::connect(ensemble.member(3).unwrap().client, &again).unwrap();
    assert!(granted.timeout_ms > 0);
    moved.call(2, 1, &create("/m2", b"", 0)).unwrap();

    // An observer without a history: SNAP, then INFORM.
    ensemble.start(4).unwrap();
    ensemble.serving(4).unwrap();
    let mut observed = session(&ensemble, 4);
    observed.call(1, 1, &create("/o", b"", 0)).unwrap();

    // A follower that missed something: DIFF with proposals.
    ensemble.kill(1).unwrap();
    for (xid, name) in [(3, "/d1"), (4, "/d2"), (5, "/d3")] {
        moved.call(xid, 1, &create(name, b"", 0)).unwrap();
    }
    ensemble.start(1).unwrap();
    ensemble.serving(1).unwrap();

    for kind in PacketType::ALL {
        if !matches!(kind, PacketType::Trunc | PacketType::CommitAndActivate | PacketType::InformAndActivate) {
            ensemble.until(&format!("{} is recorded", kind.name()), || has(&ensemble, 2, *kind)).unwrap();
        }
    }

    // A leader that logs what nobody else hears of, and dies: TRUNC when it comes back.
    let mut last = session(&ensemble, 2);
    ensemble.member(2).unwrap().quorum_recorder.as_ref().unwrap().swallow(true);
    last.send(9, 1, &create("/never-committed", b"", 0)).unwrap();
    let log = dir.path().join("2/data/version-2");
    let logged = || {
        let files = fs::read_dir(&log).unwrap().map(|it| it.unwrap().path());
        files
            .filter(|it| it.file_name().unwrap().to_str().unwrap().starts_with("log."))
            .any(|it| fs::read(it).unwrap().windows(16).any(|it| it == b"/never-committed"))
    };
    ensemble.until("2 has logged it", logged).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    ensemble.kill(2).unwrap();
    ensemble.serving(3).unwrap();
    ensemble.start(2).unwrap();
    ensemble.serving(2).unwrap();
    ensemble.until("TRUNC is recorded", || has(&ensemble, 3, PacketType::Trunc)).unwrap();

    let mut all = Vec::new();
    for member in ensemble.members() {
        all.extend(recorded("election", member.id, member.election_recorder.as_ref().unwrap()));
        all.extend(recorded("quorum", member.id, member.quorum_recorder.as_ref().unwrap()));
    }
    fs::write(workspace().join("conformance/golden/quorum.txt"), write(&all)).unwrap();
}
