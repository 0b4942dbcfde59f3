//! Four-letter words of members, in each role, beside those of an Apache ensemble of the same shape.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter::ask;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;

/// The opcode of create.
const CREATE: i32 = 1;

/// Keys with a part of their own for each path or learner; `docs/four-letter-words.md` says which are told.
const SETS: [&str; 2] = ["_per_namespace", "_learner_handler_qp_"];

/// Keys whose values are the same in both ensembles.
const SAME: [&str; 12] = [
    "zk_server_state",
    "zk_peer_state",
    "zk_quorum_size",
    "zk_learners",
    "zk_synced_followers",
    "zk_synced_non_voting_followers",
    "zk_synced_observers",
    "zk_pending_syncs",
    "zk_global_sessions",
    "zk_local_sessions",
    "zk_last_proposal_size",
    "zk_min_proposal_size",
];

/// Three voters and an observer; in each role one is looked at.
struct World(Ensemble);

impl World {
    fn started(dir: &tempfile::TempDir, kind: Kind) -> Self {
        let mut ensemble = Ensemble::new(dir.path(), 3, 1, false).unwrap();
        for id in 1..=4 {
            ensemble.start_as(id, kind).unwrap();
        }
        for id in 1..=4 {
            ensemble.serving(id).unwrap();
        }
        Self(ensemble)
    }

    fn ask(&self, id: u8, word: &str) -> String {
        ask(self.0.member(id).unwrap().client, word).unwrap()
    }

    /// Leader, a follower, the observer.
    fn roles(&self) -> [u8; 3] {
        let state = |id| value(&self.ask(id, "mntr"), "zk_server_state");
        let find = |role: &str| (1..=4).find(|&id| state(id) == role).expect("each role is there");
        [find("leader"), find("follower"), find("observer")]
    }

    /// Some of what differs between two ensembles, as words.
    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for member in self.0.members() {
            for (addr, what) in [(member.client, "client"), (member.quorum, "quorum"), (member.election, "election")] {
                text = text.replace(&addr.port().to_string(), &format!("<{what} {}>", member.id));
            }
        }
        text
    }
}

fn value(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    line.unwrap_or_default().to_owned()
}

fn keys(text: &str) -> BTreeSet<String> {
    let keys = text.lines().filter_map(|line| line.split_once('\t')).map(|(key, _)| key.to_owned());
    keys.filter(|key| !key.starts_with("zk_ostler_") && !SETS.iter().any(|set| key.contains(set))).collect()
}

#[test]
fn members_answer_like_apaches_in_each_role() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let worlds = [World::started(&dirs[0], Kind::Apache), World::started(&dirs[1], Kind::Ostler)];
    for world in &worlds {
        let (mut client, _) = Connection::session(world.0.member(1).unwrap().client).unwrap();
        assert_eq!(client.call(1, CREATE, &create("/a", b"x", 0)).unwrap().err, 0);
    }
    let [apache, ours] = worlds.each_ref().map(World::roles);
    // All of them: a run takes a while.
    let mut differences = Vec::new();
    for (role, (a, o)) in ["leader", "follower", "observer"].iter().zip(apache.into_iter().zip(ours)) {
        let texts = [worlds[0].ask(a, "mntr"), worlds[1].ask(o, "mntr")];
        let [theirs, own] = texts.each_ref().map(|text| keys(text));
        differences.extend(theirs.symmetric_difference(&own).map(|key| format!("{role}: only one has {key}")));
        let lines = |text: &str| text.lines().map(|line| line.split(": ").next().unwrap_or(line).to_owned()).collect();
        let [theirs, own]: [Vec<String>; 2] = [lines(&worlds[0].ask(a, "srvr")), lines(&worlds[1].ask(o, "srvr"))];
        let isro = [worlds[0].ask(a, "isro"), worlds[1].ask(o, "isro")];
        let values = SAME.iter().map(|key| (*key, [value(&texts[0], key), value(&texts[1], key)]));
        let others = [("srvr", [theirs.join("\n"), own.join("\n")]), ("isro", isro)];
        for (what, [theirs, own]) in values.chain(others) {
            if theirs != own {
                differences.push(format!("{role}: {what} is {theirs:?} at Apache's, {own:?} at ours"));
            }
        }
    }
    // The same member of both: the lines about the ensemble, to the last byte.
    for id in [1, 4] {
        let of = |world: &World| {
            let text = world.masked(&world.ask(id, "conf"));
            let at = text.find("serverId=").expect("a member has a number");
            text[at..].to_owned()
        };
        if of(&worlds[0]) != of(&worlds[1]) {
            differences.push(format!("conf of {id}: {} at Apache's, {} at ours", of(&worlds[0]), of(&worlds[1])));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
