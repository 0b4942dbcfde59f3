//! Random schedules: which steps are possible, how likely each is, and what it takes to heal a world.

use ostler_zab::{QuorumVerifier, State};
use wire::ServerId;

use super::{Action, Random, World, participant};

/// How many of each may happen, and how wrong elections may be.
#[derive(Debug, Clone)]
pub struct Plan {
    pub steps: usize,
    pub proposals: usize,
    pub crashes: usize,
    pub cuts: usize,
    pub wipes: usize,
    pub blocks: usize,
    pub waits: usize,
    pub reconfigs: usize,
    /// One election in so many is won by anybody.
    pub wrong_elections: usize,
}

impl Plan {
    /// What this seed allows.
    pub fn of(random: &mut Random) -> Self {
        let mut some = |n: usize| if random.one_in(3) { 0 } else { random.below(n) };
        Self {
            steps: 400,
            proposals: 4 + some(12),
            crashes: some(10),
            cuts: some(8),
            wipes: 0,
            blocks: some(4),
            waits: some(12),
            reconfigs: 0,
            wrong_elections: 1 + some(6),
        }
    }
}

impl World {
    /// The next step.
    pub fn random_step(&self, random: &mut Random, plan: &mut Plan) -> Action {
        let mut actions = self.progress();
        if let Some(elect) = self.random_election(random, plan.wrong_elections) {
            actions.push(elect);
        }
        let ids = self.ids();
        let anybody = ids[random.below(ids.len())];
        let is_up = self.server(anybody).member.is_some();
        if plan.proposals > 0 {
            let leaders = ids.iter().filter(|&&it| self.leads(it));
            actions.extend(leaders.map(|&it| Action::Propose(it)));
        }
        actions.extend(ids.iter().filter(|&&it| self.leads(it) && random.one_in(4)).map(|&it| Action::Sync(it)));
        if plan.reconfigs > 0 {
            for &leader in ids.iter().filter(|&&it| self.leads(it)) {
                let voters: Vec<ServerId> = ids.iter().copied().filter(|_| random.one_in(2)).collect();
                if self.may_reconfig(leader, &voters) {
                    actions.push(Action::Reconfig(leader, voters));
                }
            }
        }
        if random.one_in(12) && is_up {
            actions.push(Action::Snapshot(anybody, random.one_in(2)));
        }
        if plan.crashes > 0 && is_up && random.one_in(8) {
            actions.push(Action::Crash(anybody, random.below(4)));
        }
        if plan.wipes > 0 && is_up && random.one_in(10) {
            actions.push(Action::Wipe(anybody));
        }
        if !is_up && random.one_in(3) {
            actions.push(Action::Restart(anybody));
        }
        if plan.cuts > 0 && !self.conns.is_empty() && random.one_in(8) {
            let at = random.below(self.conns.len());
            actions.extend(self.conns.keys().nth(at).map(|&it| Action::Cut(it)));
        }
        let links = self.links();
        if plan.cuts > 0 && !links.is_empty() && random.one_in(12) {
            actions.push(Action::CutLink(links[random.below(links.len())]));
        }
        if actions.is_empty() || plan.waits > 0 && random.one_in(40) {
            actions.push(Action::Wait);
        }
        let action = actions.swap_remove(random.below(actions.len()));
        match action {
            Action::Propose(_) => plan.proposals -= 1,
            Action::Reconfig(..) => plan.reconfigs -= 1,
            Action::Crash(..) => plan.crashes -= 1,
            Action::Wipe(_) => plan.wipes -= 1,
            Action::Cut(_) | Action::CutLink(_) => plan.cuts -= 1,
            Action::Wait => plan.waits = plan.waits.saturating_sub(1),
            _ => {}
        }
        action
    }

    /// May it propose that these are the voters?
    pub fn may_reconfig(&self, leader: ServerId, voters: &[ServerId]) -> bool {
        let next = QuorumVerifier::majority(voters.iter().copied().map(participant), 0);
        let it = self.server(leader).member.as_ref().and_then(|it| it.as_leader());
        it.is_some_and(|it| it.may_reconfig(self.now_ms, &next))
    }

    fn leads(&self, id: ServerId) -> bool {
        let server = self.server(id);
        let may = |it: &ostler_zab::Leader| it.established().is_some() || server.may_propose_early();
        server.member.as_ref().and_then(|it| it.as_leader()).is_some_and(may)
    }

    /// What happens by itself: messages, disks, connections.
    pub fn progress(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (&id, conn) in &self.conns {
            let blocked = |from, to| self.blocked.contains(&(from, to));
            if !conn.to_leader.is_empty() && !blocked(conn.learner, conn.leader) && !conn.leader_knows {
                actions.push(Action::ToLeader(id));
            }
            if !conn.to_learner.is_empty() && !blocked(conn.leader, conn.learner) && !conn.learner_knows {
                actions.push(Action::ToLearner(id));
            }
            if conn.is_cut && !conn.leader_knows {
                actions.push(Action::LeaderSeesEnd(id));
            }
            if conn.is_cut && !conn.learner_knows {
                actions.push(Action::LearnerSeesEnd(id));
            }
        }
        self.port_actions(&mut actions);
        for (&id, server) in &self.servers {
            if server.member.is_none() {
                continue;
            }
            if server.disk.has_log_work() {
                actions.push(Action::LogStep(id));
            }
            if server.disk.has_epoch_work() {
                actions.push(Action::EpochStep(id));
            }
            if !server.reads.is_empty() {
                actions.push(Action::Read(id));
            }
            if server.follow.is_some() {
                actions.push(Action::Connect(id));
            }
        }
        actions
    }

    fn random_election(&self, random: &mut Random, wrong: usize) -> Option<Action> {
        let lookers: Vec<ServerId> =
            self.servers.iter().filter(|(_, it)| it.look.is_some()).map(|(&id, _)| id).collect();
        if lookers.is_empty() {
            return None;
        }
        let leading: Vec<ServerId> =
            self.ids().into_iter().filter(|&it| self.server(it).state() == Some(State::Leading)).collect();
        if !leading.is_empty() && random.one_in(2) {
            let who = lookers[random.below(lookers.len())];
            return Some(Action::Elect(vec![who], leading[random.below(leading.len())]));
        }
        let some: Vec<ServerId> = lookers.iter().copied().filter(|_| !random.one_in(4)).collect();
        let votes = |id: &ServerId| self.can_lead(*id) && some.contains(id);
        let voters: Vec<ServerId> = self.ids().into_iter().filter(votes).collect();
        let options = &self.servers.values().next()?.options;
        let is_wrong = wrong > 1 && random.one_in(wrong);
        if !is_wrong && !options.verifier.contains_quorum(|it| voters.contains(&it)) {
            return None;
        }
        let best = voters.iter().copied().max_by_key(|&it| self.vote(it))?;
        let winner = if is_wrong { voters[random.below(voters.len())] } else { best };
        Some(Action::Elect(some, winner))
    }

    /// Does it vote?
    pub fn can_lead(&self, id: ServerId) -> bool {
        let server = self.server(id);
        server.options.verifier.is_voter(id) && server.look.is_some_and(|(_, is_lost)| !is_lost)
    }

    fn vote(&self, id: ServerId) -> (ostler_zab::StateSummary, ServerId) {
        (self.server(id).look.unwrap().0, id)
    }

    /// No more faults: everybody comes back, and everything arrives. True if all servers serve one history in the end, and
    /// a txn that is proposed then is everywhere.
    pub fn heal(&mut self, random: &mut Random) -> Result<bool, String> {
        self.blocked.clear();
        for id in self.ids() {
            if self.server(id).member.is_none() {
                self.apply(&Action::Restart(id), None)?;
            }
        }
        let mut proposed = false;
        // Who was sent away again and again waits for a tick, in which the others go on.
        for step in 0..60_000 {
            if step > 0 && step % 5000 == 0 {
                // A server that accepted a later epoch than the leader's waits for the next leader.
                for id in self.ids() {
                    self.apply(&Action::Crash(id, 0), None)?;
                    self.apply(&Action::Restart(id), None)?;
                }
            }
            if self.is_converged() && self.progress().is_empty() {
                if proposed {
                    return Ok(true);
                }
                let leader = self.ids().into_iter().find(|&it| self.leads(it));
                if let Some(leader) = leader {
                    self.apply(&Action::Propose(leader), None)?;
                    proposed = true;
                    continue;
                }
            }
            let mut actions = self.progress();
            let action = if actions.is_empty() {
                self.right_election().unwrap_or(Action::Wait)
            } else {
                actions.swap_remove(random.below(actions.len()))
            };
            self.apply(&action, Some(random))?;
        }
        Ok(false)
    }

    /// What a right election leads to.
    pub fn right_election(&self) -> Option<Action> {
        let lookers: Vec<ServerId> =
            self.servers.iter().filter(|(_, it)| it.look.is_some()).map(|(&id, _)| id).collect();
        if lookers.is_empty() {
            return None;
        }
        if let Some(leader) = self.ids().into_iter().find(|&it| self.server(it).state() == Some(State::Leading)) {
            return Some(Action::Elect(lookers, leader));
        }
        let voters: Vec<ServerId> = self.ids().into_iter().filter(|&it| self.can_lead(it)).collect();
        let options = &self.servers.values().next()?.options;
        if !options.verifier.contains_quorum(|it| voters.contains(&it)) {
            return None;
        }
        let best = voters.into_iter().max_by_key(|&it| self.vote(it))?;
        Some(Action::Elect(lookers, best))
    }
}
