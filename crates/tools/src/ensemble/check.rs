//! `ostler check`: what a server would make of a configuration, what differs between members, and whether one of them may
//! be swapped now.
//!
//! Each finding stands under what it is about, and has a level; only [`Level::Bad`] makes the exit code 1.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use server::{Config, Environment};
use storage::RecoverOptions;
use wire::election::HostPort;

use super::judge::{Seen, has_quorum, judge, lag, may_lead_silently};
use super::members;
use super::status::look;
use super::{Check, data, seconds};
use crate::{Outcome, text};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Info,
    /// Worth a look.
    Warning,
    /// It speaks against a start, or a swap.
    Bad,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// In a line.
    pub text: String,
}

impl Finding {
    /// One.
    pub fn new(level: Level, text: String) -> Self {
        Self { level, text }
    }
}

/// The findings about one thing.
struct Chapter {
    about: String,
    findings: Vec<Finding>,
}

/// Looks at everything, and tells it.
pub fn run(args: &Check, out: &mut dyn Write) -> Result<Outcome> {
    let mut environment = Environment::from_process();
    if let Some(flags) = &args.jvmflags {
        environment = Environment { jvmflags: flags.clone(), server_jvmflags: String::new(), ..environment };
    }
    let mut chapters = Vec::new();
    let mut configs = Vec::new();
    for file in &args.files {
        let (chapter, config) = member(file, &environment);
        chapters.push(chapter);
        if let Some(config) = config {
            configs.push((file.display().to_string(), config));
        }
    }
    if configs.len() > 1 {
        chapters.push(Chapter { about: "between the members".to_owned(), findings: differences(&configs) });
    }
    if !args.offline {
        chapters.push(swap(args, &configs));
    }
    let worst = chapters.iter().flat_map(|it| &it.findings).map(|it| it.level).max().unwrap_or(Level::Ok);
    if args.json {
        for chapter in &chapters {
            for finding in &chapter.findings {
                let line = serde_json::json!({ "about": chapter.about, "level": finding.level, "text": finding.text });
                writeln!(out, "{line}")?;
            }
        }
    } else {
        tell(&chapters, worst, out)?;
    }
    Ok(if worst == Level::Bad { Outcome::Bad } else { Outcome::Good })
}

fn tell(chapters: &[Chapter], worst: Level, out: &mut dyn Write) -> Result<()> {
    let has_colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for chapter in chapters {
        writeln!(out, "{}", text::escaped(&chapter.about))?;
        for finding in &chapter.findings {
            let (word, colour) = match finding.level {
                Level::Ok => ("ok", 32),
                Level::Info => ("info", 36),
                Level::Warning => ("warning", 33),
                Level::Bad => ("bad", 31),
            };
            let word = text::pad(word, 7);
            let word = if has_colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
            writeln!(out, "  {word}  {}", text::escaped(&finding.text))?;
        }
    }
    let verdict = match worst {
        Level::Bad => "not now: see what is bad",
        Level::Warning => "nothing speaks against it; see the warnings",
        Level::Info | Level::Ok => "nothing speaks against it",
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}

/// One member: its configuration, and its directories if they are on this machine.
fn member(file: &Path, environment: &Environment) -> (Chapter, Option<Config>) {
    let about = file.display().to_string();
    let config = match Config::load(file, environment) {
        Ok(config) => config,
        Err(error) => {
            return (Chapter { about, findings: vec![Finding::new(Level::Bad, error.to_string())] }, None);
        }
    };
    let what = match &config.ensemble {
        Some(ensemble) => format!(
            "server.{}, {}, of {} members, for clients at port {}",
            ensemble.me,
            if ensemble.is_observer() { "an observer" } else { "a participant" },
            ensemble.verifier.members().count(),
            config.client.port
        ),
        None => format!("a standalone server for clients at port {}", config.client.port),
    };
    let mut findings = vec![Finding::new(Level::Ok, what)];
    for note in &config.notes {
        findings.push(Finding::new(if note.warning { Level::Warning } else { Level::Info }, note.text.clone()));
    }
    let storage = &config.storage;
    let options = RecoverOptions {
        trust_empty: storage.trust_empty_snapshot,
        accept_suspect_tail: storage.accept_suspect_tail,
        length_max: config.limits.record_bytes_max as usize,
        ..RecoverOptions::default()
    };
    let uid = rustix::process::getuid().as_raw();
    findings.extend(data::look(&storage.data_dir, &storage.data_log_dir, Some(uid), &options));
    (Chapter { about, findings }, Some(config))
}

/// What members should agree on.
fn differences(configs: &[(String, Config)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut differ = |what: &str, level: Level, why: &str, value: &dyn Fn(&Config) -> Option<String>| {
        let mut values: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (file, config) in configs {
            if let Some(value) = value(config) {
                values.entry(value).or_default().push(file);
            }
        }
        if values.len() > 1 {
            let all: Vec<String> =
                values.iter().map(|(value, files)| format!("{value} in {}", files.join(", "))).collect();
            findings.push(Finding::new(level, format!("{what} differs: {}; {why}", all.join("; "))));
        }
    };
    differ(
        "the list of members",
        Level::Bad,
        "that can make two leaders: write the same server, group and weight lines everywhere",
        &|it| {
            it.ensemble.as_ref().map(|ensemble| {
                let mut members: Vec<String> = ensemble
                    .verifier
                    .members()
                    .map(|member| {
                        let addresses: Vec<String> = member
                            .addresses
                            .iter()
                            .map(|at| format!("{}:{}:{}", at.host, at.quorum_port, at.election_port))
                            .collect();
                        format!(
                            "server.{}={}:{}/{}",
                            member.id,
                            addresses.join("|"),
                            member.role,
                            ensemble.verifier.weight(member.id)
                        )
                    })
                    .collect();
                members.sort();
                // Weights alone do not tell who is in which group, and that decides what a quorum is.
                let text = ensemble.verifier.to_string();
                members.extend(text.lines().filter(|it| it.starts_with("group.")).map(str::to_owned));
                members.join(" ")
            })
        },
    );
    differ("whether it is a member of an ensemble", Level::Bad, "one of them would take writes of its own", &|it| {
        Some(if it.ensemble.is_some() { "a member" } else { "standalone" }.to_owned())
    });
    let different_times = "members wait for each other by these; use the same everywhere";
    differ("tickTime", Level::Warning, different_times, &|it| Some(it.sessions.tick_ms.to_string()));
    differ("initLimit", Level::Warning, different_times, &|it| {
        it.ensemble.as_ref().map(|it| it.init_limit_ticks.to_string())
    });
    differ("syncLimit", Level::Warning, different_times, &|it| {
        it.ensemble.as_ref().map(|it| it.sync_limit_ticks.to_string())
    });
    let timeouts = "a session gets another timeout when it moves";
    differ("minSessionTimeout", Level::Warning, timeouts, &|it| Some(it.sessions.timeout_ms_min.to_string()));
    differ("maxSessionTimeout", Level::Warning, timeouts, &|it| Some(it.sessions.timeout_ms_max.to_string()));
    differ("jute.maxbuffer", Level::Bad, "a member with the smaller one can't follow what the other lets in", &|it| {
        Some(it.limits.frame_bytes_max.to_string())
    });
    differ("extendedTypesEnabled", Level::Bad, "one would make TTL znodes that another can't read", &|it| {
        Some(it.tree.extended_types.to_string())
    });
    differ("reconfigEnabled", Level::Warning, "a reconfig works or not, with each leader", &|it| {
        Some(it.tree.reconfig_enabled.to_string())
    });
    differ(
        "localSessionsEnabled",
        Level::Warning,
        "a session is local or not, with the member it connects to",
        &|it| it.ensemble.as_ref().map(|it| format!("{:?}", it.local_sessions)),
    );
    differ("observerMasterPort", Level::Warning, "observers look for each member at their own one", &|it| {
        it.ensemble
            .as_ref()
            .map(|it| it.observer_master_port.map_or_else(|| "none".to_owned(), |port| port.to_string()))
    });
    differ("digest.enabled", Level::Info, "those without it can't compare themselves", &|it| {
        Some(it.tree.digest.to_string())
    });
    differ("enforceQuota", Level::Warning, "quotas hold or not, with each leader", &|it| {
        Some(it.tree.enforce_quota.to_string())
    });
    duplicates(configs, &mut findings);
    if findings.is_empty() {
        findings.push(Finding::new(Level::Ok, "they agree on members, ticks, limits and types".to_owned()));
    }
    findings
}

fn duplicates(configs: &[(String, Config)], findings: &mut Vec<Finding>) {
    let mut by_id: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (file, config) in configs {
        if let Some(ensemble) = &config.ensemble {
            by_id.entry(ensemble.me.0).or_default().push(file);
        }
    }
    for (id, files) in by_id.iter().filter(|(_, files)| files.len() > 1) {
        findings.push(Finding::new(
            Level::Bad,
            format!("{} are all server.{id}: each member needs a myid of its own", files.join(", ")),
        ));
    }
}

/// Whether the ensemble would serve on without each of the members.
fn swap(args: &Check, configs: &[(String, Config)]) -> Chapter {
    let about = "swapping a member now".to_owned();
    let Some(file) = args.files.first() else { return Chapter { about, findings: Vec::new() } };
    let mut members = match members::of_file(file) {
        Ok(members) => members,
        Err(error) => return Chapter { about, findings: vec![Finding::new(Level::Bad, format!("{error:#}"))] },
    };
    own_ports(&mut members, configs);
    let seen = look(&members, seconds(args.timeout));
    let verdict = judge(&members, &seen);
    let mut findings = Vec::new();
    if members.verifier.is_none() {
        findings.push(Finding::new(
            Level::Info,
            format!("{}; a swap takes it away for as long as a restart", verdict.line),
        ));
        return Chapter { about, findings };
    }
    let level = if verdict.is_healthy { Level::Ok } else { Level::Bad };
    findings.push(Finding::new(level, verdict.line));
    findings.extend(verdict.alarms.into_iter().map(|alarm| Finding::new(Level::Bad, alarm)));
    if !verdict.is_healthy {
        return Chapter { about, findings };
    }
    findings.extend(seen.iter().filter_map(old));
    let asked: Vec<i64> = configs.iter().filter_map(|(_, config)| config.ensemble.as_ref().map(|it| it.me.0)).collect();
    for it in seen.iter().filter(|it| it.target.id.is_some_and(|id| asked.contains(&id.0))) {
        findings.push(without(&members, &seen, it));
    }
    Chapter { about, findings }
}

/// The first version of Apache's that a member should have beside ours.
const NEWEST_NEEDED: [u32; 3] = [3, 9, 5];

/// A member whose version has faults that lose data.
fn old(it: &Seen) -> Option<Finding> {
    let version = it.answer.version.as_deref()?;
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    (numbers.len() == NEWEST_NEEDED.len() && *numbers < NEWEST_NEEDED[..]).then(|| {
        Finding::new(
            Level::Warning,
            format!(
                "{} runs {version}: ZooKeeper before 3.9.5 has faults that lose data (ZOOKEEPER-4643, 4646, 4785 and others); swap \
                 it first, or update it",
                it.name()
            ),
        )
    })
}

/// Each member's own file knows its client port best.
fn own_ports(members: &mut members::Members, configs: &[(String, Config)]) {
    for (_, config) in configs {
        let Some(ensemble) = &config.ensemble else { continue };
        let Some(target) = members.targets.iter_mut().find(|it| it.id == Some(ensemble.me)) else { continue };
        let line = ensemble.verifier.member(ensemble.me).and_then(|member| member.addresses.first());
        let host = config.client.address.clone().or_else(|| line.map(|it| it.host.clone()));
        target.client = host.map(|host| HostPort { host, port: config.client.port });
    }
}

fn without(members: &members::Members, seen: &[Seen], it: &Seen) -> Finding {
    let name = it.name();
    let silent = may_lead_silently(seen);
    if silent.contains(&it) {
        return Finding::new(
            Level::Warning,
            format!("{name} leads and takes no clients, or has no leader: look again when only one of them answers so"),
        );
    }
    if !it.answer.mode.serves() {
        return Finding::new(Level::Info, format!("{name} is {}: its place is free", it.answer.mode.name()));
    }
    if !has_quorum(members.verifier.as_ref(), seen, silent.first().copied(), |other| other.target != it.target) {
        return Finding::new(
            Level::Bad,
            format!("{name} may not go: those that serve are no quorum without it; bring the others up first"),
        );
    }
    let behind: Vec<String> = seen
        .iter()
        .filter(|other| other.target != it.target && other.answer.mode.serves())
        .filter_map(|other| {
            lag(seen, other).filter(|lag| lag != "0").map(|lag| format!("{} is {lag} behind", other.name()))
        })
        .collect();
    let behind = if behind.is_empty() { String::new() } else { format!("; at this moment {}", behind.join(", ")) };
    if it.answer.mode.leads() {
        return Finding::new(
            Level::Warning,
            format!("{name} leads: swap it last, since its stop costs an election{behind}"),
        );
    }
    Finding::new(Level::Ok, format!("{name} may go: the others are a quorum without it{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Ensemble(tempfile::TempDir);

    impl Ensemble {
        /// Three members, each with what `more` adds for it.
        fn new(more: impl Fn(i64) -> String) -> (Self, Vec<PathBuf>) {
            let dir = tempfile::tempdir().unwrap();
            let files = (1..=3)
                .map(|id| {
                    let data = dir.path().join(format!("data{id}"));
                    fs::create_dir_all(data.join("version-2")).unwrap();
                    fs::write(data.join("myid"), format!("{id}\n")).unwrap();
                    let file = dir.path().join(format!("zoo{id}.cfg"));
                    let common = "server.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\nserver.3=127.0.0.1:5:6\n";
                    let own = format!(
                        "dataDir={}\nclientPort=7\ninitLimit=10\nsyncLimit=5\nadmin.enableServer=false\n",
                        data.display()
                    );
                    fs::write(&file, format!("{common}{own}{}", more(id))).unwrap();
                    file
                })
                .collect();
            (Self(dir), files)
        }
    }

    fn run_offline(files: Vec<PathBuf>) -> (Outcome, String) {
        let args = Check { files, jvmflags: Some(String::new()), offline: true, json: false, timeout: 1.0 };
        let mut out = Vec::new();
        let outcome = run(&args, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn members_that_agree_are_good() {
        let (_dir, files) = Ensemble::new(|_| String::new());
        let (outcome, told) = run_offline(files);
        assert_eq!(outcome, Outcome::Good, "{told}");
        assert!(told.contains("server.2, a participant, of 3 members, for clients at port 7"), "{told}");
        assert!(told.contains("they agree on members"), "{told}");
    }

    #[test]
    fn what_differs_is_told_with_its_files() {
        let (_dir, files) =
            Ensemble::new(
                |id| if id == 3 { "server.4=127.0.0.1:8:9\ntickTime=500\n".to_owned() } else { String::new() },
            );
        let (outcome, told) = run_offline(files);
        assert_eq!(outcome, Outcome::Bad, "{told}");
        assert!(told.contains("the list of members differs"), "{told}");
        assert!(told.contains("tickTime differs"), "{told}");
    }

    #[test]
    fn other_groups_are_another_list_of_members() {
        let groups = |id: i64| if id == 3 { "group.1=1\ngroup.2=2:3\n" } else { "group.1=1:2\ngroup.2=3\n" }.to_owned();
        let (_dir, files) = Ensemble::new(groups);
        let (outcome, told) = run_offline(files);
        assert_eq!(outcome, Outcome::Bad, "{told}");
        assert!(told.contains("the list of members differs") && told.contains("group.2=2:3"), "{told}");
    }

    #[test]
    fn versions_that_lose_data_are_told() {
        let target = members::Target { id: Some(wire::ServerId(2)), role: None, client: None };
        let told = |version: &str| {
            let other = super::super::ask::Answer::without(super::super::ask::Mode::Follower, None);
            let answer = super::super::ask::Answer { version: Some(version.to_owned()), ..other };
            old(&Seen { target: target.clone(), answer }).map(|it| it.text)
        };
        for good in ["3.9.5", "3.10.0", "4.0.0", "", "3.9"] {
            assert_eq!(told(good), None, "{good}");
        }
        for bad in ["3.9.4", "3.8.9", "3.4.14"] {
            assert!(told(bad).is_some_and(|it| it.starts_with(&format!("server.2 runs {bad}: "))), "{bad}");
        }
    }

    #[test]
    fn two_with_one_number_are_bad() {
        let (dir, files) = Ensemble::new(|_| String::new());
        fs::write(dir.0.path().join("data2/myid"), "1").unwrap();
        let (outcome, told) = run_offline(files);
        assert_eq!(outcome, Outcome::Bad, "{told}");
        assert!(told.contains("are all server.1"), "{told}");
    }

    #[test]
    fn a_file_that_no_server_takes_is_bad_and_the_others_are_still_looked_at() {
        let (_dir, files) = Ensemble::new(|id| if id == 1 { "tickTime=soon\n".to_owned() } else { String::new() });
        let (outcome, told) = run_offline(files);
        assert_eq!(outcome, Outcome::Bad, "{told}");
        assert!(told.contains("tickTime = soon") && told.contains("server.3, a participant"), "{told}");
    }
}
