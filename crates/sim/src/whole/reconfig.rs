//! Other configurations, while it goes on: a client asks for them, as an operator's tool does, and each server has its own file.

use wire::jute::Field;
use wire::request::ReconfigRequest;
use wire::{OpCode, Zxid};
use zab::quorum_verifier::TextRules;
use zab::{QuorumVerifier, State};

use super::World;
use super::client::{Phase, What};
use crate::world::net::Who;
use crate::world::{Change, Kind};

impl World {
    /// Somebody who is served asks for it: a client of a leader if there is one, who may have been left by the others. False: nobody
    /// can ask.
    pub(super) fn reconfigure(&mut self, change: &Change) -> bool {
        let served = self.clients.iter().enumerate().filter(|(_, it)| it.phase == Phase::Served && it.conn.is_some());
        let mut served: Vec<(usize, usize)> = served
            .filter_map(|(c, it)| Some((c, self.net.conns.get(&it.conn?)?.ends[1])))
            .filter_map(server_of)
            .collect();
        let leads = |s: usize| {
            let ensemble = self.servers[s].process.as_ref().and_then(|it| it.node.ensemble());
            ensemble.is_some_and(|it| it.member().state() == State::Leading)
        };
        let of_leader: Vec<_> = served.iter().copied().filter(|&(_, s)| leads(s)).collect();
        if !of_leader.is_empty() && self.rng.chance(700) {
            served = of_leader;
        }
        let Some(&(c, s)) = self.rng.pick(&served) else { return false };
        let Some(ensemble) = self.servers[s].process.as_ref().and_then(|it| it.node.ensemble()) else { return false };
        let next = change.of(&ensemble.member().options().verifier).to_string();
        let lines = next.lines().filter(|line| !line.starts_with("version"));
        let all = lines.collect::<Vec<_>>().join(",");
        let body = ReconfigRequest {
            joining_servers: None,
            leaving_servers: None,
            new_members: Some(all.as_str().into()),
            cur_config_id: -1,
        };
        let last = self.clients[c].last_xid;
        self.ask(c, OpCode::Reconfig, &body.to_vec(), What::Reconfig);
        self.clients[c].last_xid != last
    }

    /// A server has another committed configuration: it is written, which takes a moment.
    pub(super) fn on_configured(&mut self, s: usize, committed: &QuorumVerifier) {
        let written_us = self.now_us + self.setup.sync.draw(&mut self.rng);
        let server = &mut self.servers[s];
        server.read_file(self.now_us);
        if server.options.verifier != *committed {
            server.file = Some((written_us, committed.clone()));
            self.words(s, Kind::Role, committed.version() as u64, || {
                format!("has the configuration of {}", Zxid(committed.version()))
            });
        }
    }
}

fn server_of((client, end): (usize, Who)) -> Option<(usize, usize)> {
    if let Who::Server(s, _) = end { Some((client, s)) } else { None }
}

/// The newest configuration that a server with this text in its tree may have acknowledged.
pub(super) fn last_seen(configuration: &[u8], known: &QuorumVerifier) -> Option<QuorumVerifier> {
    let seen = QuorumVerifier::parse(&String::from_utf8_lossy(configuration), TextRules::default()).ok()?;
    (seen.version() > known.version()).then_some(seen)
}
