//! The ensemble as it is, and one step done to it: the newcomer in sync, the reconfig sent, and the change seen by those
//! whom it is about.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use wire::election::HostPort;
use wire::{ErrorCode, ServerId, Zxid};
use zab::QuorumVerifier;
use zab::quorum_verifier::{Member, Role};

use super::super::ask::{Answer, Mode, ask};
use super::super::judge::{Seen, has_quorum, judge, zxid};
use super::super::members::{self, Members, Target, target};
use super::super::status::look;
use super::client::{Auth, Client};
use super::plan::{Change, RULES, Step, names};
use super::told::{Event, Told};

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A version that no configuration has: a reconfig that is made for it is refused, whatever else it says.
const NO_VERSION: i64 = i64::MAX;

/// An ensemble, found.
pub struct Live {
    config: QuorumVerifier,
    /// Where its members serve clients, and those who are to be.
    clients: BTreeMap<ServerId, HostPort>,
    auths: Vec<Auth>,
    timeout: Duration,
    wait: Duration,
}

/// How a healthy one is.
pub struct Health {
    /// Who leads.
    pub leader: ServerId,
    /// What is odd all the same.
    pub alarms: Vec<String>,
    /// The numbers in the lists of those that tell their list.
    pub lists: BTreeMap<ServerId, Vec<i64>>,
    seen: Vec<Seen>,
}

impl Live {
    /// Asks those who were named, and one of them for the configuration.
    pub fn find(of: &str, auths: Vec<Auth>, timeout: Duration, wait: Duration) -> Result<Self> {
        let named = members::read(of)?;
        let seen = look(&named, timeout);
        if let Some(alone) = seen.iter().find(|it| it.answer.mode == Mode::Standalone) {
            bail!(
                "{} is a standalone server: an ensemble begins with server.N lines in the zoo.cfg of each member, and a start",
                alone.name()
            );
        }
        // The leader knows best.
        let mut order: Vec<&Seen> = seen.iter().filter(|it| it.answer.mode.takes_clients()).collect();
        order.sort_by_key(|it| it.answer.mode != Mode::Leader);
        let asked = order.first().and_then(|it| it.target.client.as_ref());
        let asked = asked.ok_or_else(|| anyhow!("{}", judge(&named, &seen).line))?;
        let config = config_at(asked, timeout)?;
        let mut clients: BTreeMap<ServerId, HostPort> =
            config.members().filter_map(|it| Some((it.id, target(it, None).client?))).collect();
        for it in &seen {
            let Some(at) = &it.target.client else { continue };
            // `conf` is not in Apache's whitelist unless somebody put it there; a session tells the number, too.
            let by_session =
                || it.answer.mode.takes_clients().then(|| number_by_session(&config, at, timeout)).flatten();
            if let Some(id) = it.id().or_else(by_session) {
                clients.insert(id, at.clone());
            }
        }
        // A leader that takes no clients tells its number to nobody: it is the one that is left.
        let silent = seen.iter().find(|it| it.answer.mode == Mode::LeaderWithoutClients && it.id().is_none());
        let unknown: Vec<ServerId> = config.members().map(|it| it.id).filter(|id| !clients.contains_key(id)).collect();
        if let (Some(at), [id]) = (silent.and_then(|it| it.target.client.clone()), unknown.as_slice()) {
            clients.insert(*id, at);
        }
        Ok(Self { config, clients, auths, timeout, wait })
    }

    /// The configuration that holds, as far as is known here.
    pub fn config(&self) -> &QuorumVerifier {
        &self.config
    }

    /// Does the leader take reconfigs? It is asked for one that no ensemble does.
    pub fn reconfig_is_enabled(&self) -> Result<bool> {
        let mut session = self.session(|_| true, &[])?;
        let answer = session.reconfig("", "", NO_VERSION)?;
        session.close();
        Ok(!matches!(answer, Err(ErrorCode::RECONFIG_DISABLED | ErrorCode::UNIMPLEMENTED)))
    }

    /// Looks at all members.
    ///
    /// # Errors
    /// No quorum of them serves under one leader.
    pub fn health(&self) -> Result<Health> {
        let (members, seen) = self.look();
        let verdict = judge(&members, &seen);
        if !verdict.is_healthy {
            let unknown: Vec<ServerId> =
                members.targets.iter().filter(|it| it.client.is_none()).filter_map(|it| it.id).collect();
            let all: Vec<String> = [verdict.line].into_iter().chain(verdict.alarms).collect();
            if !unknown.is_empty() {
                bail!(
                    "{}; where {} serve clients is not known: name all client ports, as zk1:2181,zk2:2181",
                    all.join("; "),
                    names(unknown)
                );
            }
            bail!("{}; the members are changed only while a quorum serves", all.join("; "));
        }
        let leader = seen.iter().find(|it| it.answer.mode.leads()).and_then(Seen::id);
        let leader = leader
            .context("nobody can say who leads: the leader takes no clients, and others have none at this moment")?;
        let numbers = |list: &Vec<String>| {
            let number = |line: &String| line.strip_prefix("server.")?.split('=').next()?.trim().parse().ok();
            let mut numbers: Vec<i64> = list.iter().filter_map(number).collect();
            numbers.sort_unstable();
            numbers
        };
        let list = |it: &Seen| Some((it.id()?, numbers(it.answer.members.as_ref()?)));
        let lists = seen.iter().filter_map(list).collect();
        Ok(Health { leader, alarms: verdict.alarms, lists, seen })
    }

    /// Tells how the server of a step is, and waits for nothing.
    pub fn foresee(&mut self, step: &Step, told: &mut Told<'_>) -> Result<()> {
        if let Change::Join(member) | Change::Alter(member) = &step.change {
            let at = self.client_of(member)?;
            let answer = ask(&at, self.timeout);
            if answer.mode.serves() {
                told.tell(&Event::InSync { id: member.id, zxid: zxid(answer.zxid) })?;
            } else {
                told.tell(&waits(step, member, &at, &answer))?;
            }
        }
        self.config = step.after.clone();
        Ok(())
    }

    /// Does a step, and waits until it is seen.
    ///
    /// # Errors
    /// It does not hold, or not in time. What was asked for may happen still, if the connection was lost meanwhile.
    pub fn take(&mut self, step: &Step, told: &mut Told<'_>) -> Result<()> {
        if let Change::Join(member) | Change::Alter(member) = &step.change {
            self.wait_in_sync(step, member, told)?;
        }
        let health = self.health()?;
        let joins = |id: ServerId| id == step.change.id() && !matches!(step.change, Change::Leave(_));
        let serves =
            |id: ServerId| joins(id) || health.seen.iter().any(|it| it.id() == Some(id) && it.answer.mode.serves());
        ensure!(
            step.after.contains_quorum(serves),
            "those that serve would be no quorum of {}: bring the others up first",
            names(step.after.voters())
        );
        let config = self.reconfig(step, health.leader)?;
        self.config = config;
        self.wait_seen(step)?;
        told.tell(&Event::Changed { config: &self.config })?;
        if let Change::Leave(id) = &step.change {
            let text = format!("server.{id} goes on without a vote: stop it now");
            told.tell(&Event::Note { text })?;
            self.clients.remove(id);
        }
        Ok(())
    }

    fn look(&self) -> (Members, Vec<Seen>) {
        let target =
            |it: &Member| Target { id: Some(it.id), role: Some(it.role), client: self.clients.get(&it.id).cloned() };
        let members =
            Members { targets: self.config.members().map(target).collect(), verifier: Some(self.config.clone()) };
        let seen = look(&members, self.timeout);
        (members, seen)
    }

    /// A session with somebody who serves.
    fn session(&self, may: impl Fn(ServerId) -> bool, auths: &[Auth]) -> Result<Client> {
        let mut last = anyhow!("nobody is there to be asked");
        for (_, at) in self.clients.iter().filter(|(id, _)| may(**id)) {
            match Client::open(at, auths, self.timeout) {
                Ok(session) => return Ok(session),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn client_of(&mut self, member: &Member) -> Result<HostPort> {
        let at = target(member, None).client.context("where it serves clients is not known")?;
        self.clients.entry(member.id).or_insert(at.clone());
        Ok(at)
    }

    /// Waits until a server follows or observes, with all that the leader had when the wait began.
    fn wait_in_sync(&mut self, step: &Step, member: &Member, told: &mut Told<'_>) -> Result<()> {
        let at = self.client_of(member)?;
        let (_, seen) = self.look();
        // A leader that takes no clients does not tell what it has; its followers do.
        let of_leader = seen.iter().filter(|it| it.answer.mode == Mode::Leader).find_map(|it| it.answer.zxid);
        let wanted = of_leader.or_else(|| seen.iter().filter_map(|it| it.answer.zxid).max());
        let wanted = wanted.unwrap_or(Zxid(0));
        let until = Instant::now() + self.wait;
        let mut before = None;
        loop {
            let answer = ask(&at, self.timeout);
            match answer.mode {
                // The leader may be given another client address.
                Mode::Follower | Mode::Observer | Mode::Leader if answer.zxid >= Some(wanted) => {
                    let session = Client::open(&at, &[], self.timeout)?;
                    let is_it = session.is_of(member.id);
                    session.close();
                    ensure!(
                        is_it,
                        "at {at} is another server than server.{}: look at its myid, and at the port",
                        member.id
                    );
                    ensure!(
                        answer.mode != Mode::Leader || matches!(step.change, Change::Alter(_)),
                        "server.{} at {at} leads servers of its own",
                        member.id
                    );
                    return told.tell(&Event::InSync { id: member.id, zxid: zxid(answer.zxid) });
                }
                Mode::Standalone => bail!(
                    "server.{} at {at} is standalone, with data of its own: stop it, empty its dataDir, and give it the lines \
                     of all members",
                    member.id
                ),
                _ => {}
            }
            if Instant::now() >= until {
                let note = answer.note.map(|it| format!(" ({it})")).unwrap_or_default();
                bail!(
                    "server.{} at {at} is not in sync after {:?}, but {}{note}",
                    member.id,
                    self.wait,
                    answer.mode.name()
                );
            }
            if before != Some(answer.mode) {
                told.tell(&waits(step, member, &at, &answer))?;
                before = Some(answer.mode);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Sends a step's reconfig until it is answered with the new configuration, or with an error that stays.
    fn reconfig(&self, step: &Step, leader: ServerId) -> Result<QuorumVerifier> {
        let (joining, leaving) = (step.change.joining(), step.change.leaving());
        let until = Instant::now() + self.wait;
        loop {
            // Who leaves may close the connection before its answer is out.
            let may = |id: ServerId| id != step.change.id() && self.config.member(id).is_some();
            let session = self.session(|id| id == leader && may(id), &self.auths);
            let answer = session.or_else(|_| self.session(may, &self.auths)).and_then(|mut session| {
                let answer = session.reconfig(&joining, &leaving, self.config.version());
                session.close();
                answer
            });
            let why = match answer {
                Ok(Ok(text)) => return read_config(&text),
                Ok(Err(ErrorCode::NO_AUTH)) => bail!(
                    "the ensemble lets only the super user change its members, or whom the ACL of /zookeeper/config lets write: \
                     give --auth-file, a file with digest:super:… in it (--auth shows it to whoever lists \
                     processes), for which the members need zookeeper.DigestAuthenticationProvider.superDigest"
                ),
                Ok(Err(ErrorCode::NEW_CONFIG_NO_QUORUM)) => {
                    anyhow!("the leader has no quorum of {} in sync", names(step.after.voters()))
                }
                Ok(Err(ErrorCode::RECONFIG_IN_PROGRESS)) => anyhow!("another reconfig is under way, and does not end"),
                Ok(Err(ErrorCode::BAD_VERSION)) => match self.newest_config() {
                    Ok(config) if step.change.is_in(&config) => return Ok(config),
                    _ => bail!("somebody else has changed the members meanwhile: look, and give the command again"),
                },
                Ok(Err(code)) => bail!("the ensemble refuses {joining}{leaving}: {code}"),
                // Nobody knows whether it was done.
                Err(error) => match self.newest_config() {
                    Ok(config) if step.change.is_in(&config) => return Ok(config),
                    _ => error,
                },
            };
            if Instant::now() >= until {
                return Err(why.context(format!("not within {:?}", self.wait)));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the members of the new configuration are healthy, and the one whom the step is about knows of it.
    fn wait_seen(&self, step: &Step) -> Result<()> {
        let until = Instant::now() + self.wait;
        loop {
            let why = match self.is_seen(step) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if Instant::now() >= until {
                return Err(why.context(format!(
                    "the configuration is changed (version {:x}), but {:?} later it is not as it should be",
                    self.config.version(),
                    self.wait
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn is_seen(&self, step: &Step) -> Result<()> {
        let health = self.health()?;
        let (Change::Join(member) | Change::Alter(member)) = &step.change else { return Ok(()) };
        let mode = health.seen.iter().find(|it| it.id() == Some(member.id)).map_or(Mode::Unknown, |it| it.answer.mode);
        let is_right = match member.role {
            Role::Participant => mode.leads() || mode == Mode::Follower,
            Role::Observer => mode == Mode::Observer,
        };
        ensure!(is_right, "server.{} is {}", member.id, mode.name());
        ensure!(
            has_quorum(Some(&self.config), &health.seen, None, |_| true),
            "no quorum of {} serves",
            names(self.config.voters())
        );
        let at = self.clients.get(&member.id).context("where it serves clients is not known")?;
        let theirs = config_at(at, self.timeout)?;
        ensure!(theirs.version() >= self.config.version(), "server.{} does not know of it", member.id);
        Ok(())
    }

    /// The newest configuration that somebody has.
    fn newest_config(&self) -> Result<QuorumVerifier> {
        let configs = self.clients.values().filter_map(|at| config_at(at, self.timeout).ok());
        configs.max_by_key(QuorumVerifier::version).context("nobody tells the configuration")
    }
}

fn config_at(at: &HostPort, timeout: Duration) -> Result<QuorumVerifier> {
    let mut session = Client::open(at, &[], timeout)?;
    let text = session.config();
    session.close();
    read_config(&text?)
}

fn read_config(text: &str) -> Result<QuorumVerifier> {
    let config = QuorumVerifier::parse(text, RULES).map_err(|e| anyhow!("{}", e.in_file("/zookeeper/config")))?;
    ensure!(config.members().next().is_some(), "/zookeeper/config has no members");
    Ok(config)
}

/// Which member is it, by the sessions that it makes?
fn number_by_session(config: &QuorumVerifier, at: &HostPort, timeout: Duration) -> Option<ServerId> {
    let session = Client::open(at, &[], timeout).ok()?;
    let id = config.members().map(|it| it.id).find(|id| session.is_of(*id));
    session.close();
    id
}

/// What is told while a server is not there yet: of one that is down, the lines that it needs.
fn waits<'a>(step: &Step, member: &Member, at: &'a HostPort, answer: &Answer) -> Event<'a> {
    let is_down = answer.mode == Mode::Down && matches!(step.change, Change::Join(_));
    let lines =
        if is_down { step.after.members().map(|it| format!("server.{}={it}", it.id)).collect() } else { Vec::new() };
    let state =
        if answer.mode == Mode::NotServing { "looks for the leader, or syncs with it" } else { answer.mode.name() };
    Event::Waits { id: member.id, at, state, lines }
}
