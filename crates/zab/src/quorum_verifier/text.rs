//! The text of a configuration: as it stands in files, in `/zookeeper/config`, in notifications and in NEWLEADER.
//!
//! ```text
//! server.1=h1:2888:3888:participant;0.0.0.0:2181
//! server.2=h2:2888:3888:observer
//! group.1=1          groups and weights: only of a hierarchical one
//! weight.1=3
//! version=100000000  hexadecimal
//! ```
//!
//! Source: Apache `QuorumMaj`, `QuorumHierarchical`, `QuorumServer.initializeWithAddressString`,
//! `QuorumPeerConfig.parseDynamicConfig`, `ConfigUtils.getHostAndPort`.

use std::collections::BTreeMap;
use std::fmt;

use wire::ServerId;
use wire::election::HostPort;
use wire::properties::{self, Entry};

use super::member::{Member, MemberAddress, Role};
use super::{Groups, QuorumVerifier, Rule};

/// Most members of a configuration; a text with more is refused.
pub const MEMBERS_MAX: usize = 1024;

/// What else decides how a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextRules {
    /// `multiAddress.enabled`: may a member have several addresses?
    pub multi_address: bool,
    /// `standaloneEnabled`: is one participant, or none, a server on its own?
    pub standalone_enabled: bool,
    /// Is there an `oraclePath`? It is for configurations without groups.
    pub oracle: bool,
    /// May there be other keys?
    pub other_keys: OtherKeys,
}

/// What becomes of keys that no configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtherKeys {
    /// They are an error: in a file of its own, and in what another server sends.
    Refused,
    /// They are the caller's: in `zoo.cfg`.
    Ignored,
}

impl Default for TextRules {
    /// Apache's defaults, for a text that holds nothing else.
    fn default() -> Self {
        Self { multi_address: false, standalone_enabled: true, oracle: false, other_keys: OtherKeys::Refused }
    }
}

/// Why a text is no configuration. [`in_file`](Self::in_file) says it with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1; `None`: no single one is wrong.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A `\u` without four hexadecimal digits.
    Escape,
    /// A key that belongs to no configuration.
    Key(String),
    /// The number in `server.N`, `group.N` or `weight.N`, or a number that is a value.
    Number(String),
    /// A value of `server.N` that is not of its form.
    Member(String),
    /// Something that must be a port.
    Port(String),
    /// The quorum port and the election port are the same.
    SamePort(ServerId),
    /// Something that must be a role.
    Role(String),
    /// The roles behind several addresses differ.
    Roles(ServerId),
    /// Several addresses without `multiAddress.enabled`.
    MultiAddress(ServerId),
    /// A server in two groups.
    TwoGroups(ServerId),
    /// A participant in no group, where there are groups.
    NoGroup(ServerId),
    /// A server in a group that is no participant and has no weight.
    NoWeight(ServerId),
    /// Too many members.
    Members,
    /// No participant, or only one with observers.
    Participants,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape => write!(f, "\\u without four hexadecimal digits"),
            Self::Key(key) => {
                write!(f, "{key} is no key of a dynamic configuration; allowed: server.N, group.N, weight.N, version")
            }
            Self::Number(text) => write!(f, "{text:?} is not a number"),
            Self::Member(text) => write!(
                f,
                "{text:?} is no member; allowed: host:quorumPort:electionPort[:role][;[clientHost:]clientPort]"
            ),
            Self::Port(text) => write!(f, "{text:?} is not a port; allowed: 0 to 65535"),
            Self::SamePort(id) => write!(f, "server.{id} has one port for quorum and election; they must be different"),
            Self::Role(text) => write!(f, "{text:?} is not a role; allowed: participant, observer"),
            Self::Roles(id) => write!(f, "server.{id} has different roles behind its addresses"),
            Self::MultiAddress(id) => {
                write!(f, "server.{id} has several addresses; that needs multiAddress.enabled=true")
            }
            Self::TwoGroups(id) => write!(f, "server {id} is in two groups"),
            Self::NoGroup(id) => write!(f, "server {id} is in no group; each participant must be in one"),
            Self::NoWeight(id) => write!(f, "server {id} is in a group, but is no participant and has no weight"),
            Self::Members => write!(f, "more than {MEMBERS_MAX} servers"),
            Self::Participants => write!(f, "too few participants; observers need at least two"),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

impl ParseError {
    /// The message with the file's name: `zoo.cfg.dynamic:3: …`.
    pub fn in_file(&self, file: &str) -> String {
        match self.line {
            Some(line) => format!("{file}:{line}: {}", self.problem),
            None => format!("{file}: {}", self.problem),
        }
    }
}

impl QuorumVerifier {
    /// Reads a text that came from another server, or a file that was decoded.
    pub fn parse(text: &str, rules: TextRules) -> Result<Self, ParseError> {
        let read = properties::parse(text)
            .map_err(|malformed| ParseError { line: Some(malformed.line), problem: Problem::Escape })?;
        Self::from_entries(&read.entries, rules)
    }

    /// The same of entries; of those with the same key the last one counts.
    pub fn from_entries(entries: &[Entry], rules: TextRules) -> Result<Self, ParseError> {
        let last: BTreeMap<&str, &Entry> = entries.iter().map(|it| (it.key.as_str(), it)).collect();
        let mut read = Read::default();
        // In the order of lines, so that the first error is the one that is told.
        let mut last: Vec<&Entry> = last.into_values().collect();
        last.sort_by_key(|it| it.line);
        for entry in last {
            read.entry(entry, rules).map_err(|problem| ParseError { line: Some(entry.line), problem })?;
        }
        read.finish(rules).map_err(|problem| ParseError { line: None, problem })
    }
}

impl Member {
    /// The value of a line `server.N`.
    pub fn parse(id: ServerId, value: &str, rules: TextRules) -> Result<Self, Problem> {
        parse_member(id, value, rules)
    }
}

#[derive(Default)]
struct Read {
    version: i64,
    members: BTreeMap<ServerId, Member>,
    hierarchical: bool,
    groups: BTreeMap<i64, Vec<ServerId>>,
    group_of: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, i64>,
}

impl Read {
    fn entry(&mut self, entry: &Entry, rules: TextRules) -> Result<(), Problem> {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        if key.starts_with("server.") {
            let id = ServerId(number_in(key)?);
            self.members.insert(id, parse_member(id, value, rules)?);
            if self.members.len() > MEMBERS_MAX {
                return Err(Problem::Members);
            }
        } else if key.starts_with("group") {
            self.hierarchical = true;
            let group = number_in(key)?;
            for part in java_split(value, ':') {
                let server = ServerId(number(part)?);
                if self.group_of.insert(server, group).is_some() {
                    return Err(Problem::TwoGroups(server));
                }
                self.groups.entry(group).or_default().push(server);
            }
        } else if key.starts_with("weight") {
            self.hierarchical = true;
            self.weights.insert(ServerId(number_in(key)?), number(value)?);
        } else if key == "version" {
            self.version = i64::from_str_radix(value, 16).map_err(|_| Problem::Number(value.to_owned()))?;
        } else if rules.other_keys == OtherKeys::Refused {
            return Err(Problem::Key(key.to_owned()));
        }
        Ok(())
    }

    fn finish(self, rules: TextRules) -> Result<QuorumVerifier, Problem> {
        let rule = if self.hierarchical {
            self.check_groups()?;
            let groups = self.groups.into_iter().collect::<Vec<_>>();
            let weights = self.weights.into_iter().collect::<Vec<_>>();
            // Each server was in one group a moment ago.
            Rule::Hierarchical(Groups::new(groups, weights).unwrap_or_default())
        } else if rules.oracle {
            Rule::OracleMajority
        } else {
            Rule::Majority
        };
        let it = QuorumVerifier { version: self.version, members: self.members, rule };
        let (voters, observers) = (it.voters().count(), it.observers().count());
        let few = match voters {
            0 => !rules.standalone_enabled || observers > 0,
            1 => rules.standalone_enabled && observers > 0,
            _ => false,
        };
        if few { Err(Problem::Participants) } else { Ok(it) }
    }

    fn check_groups(&self) -> Result<(), Problem> {
        let participants = self.members.values().filter(|it| it.role == Role::Participant);
        for member in participants.clone() {
            if !self.group_of.contains_key(&member.id) {
                return Err(Problem::NoGroup(member.id));
            }
        }
        let weighs = |id: &ServerId| self.weights.contains_key(id) || participants.clone().any(|it| it.id == *id);
        match self.group_of.keys().find(|id| !weighs(id)) {
            Some(id) => Err(Problem::NoWeight(*id)),
            None => Ok(()),
        }
    }
}

fn parse_member(id: ServerId, value: &str, rules: TextRules) -> Result<Member, Problem> {
    let malformed = || Problem::Member(value.to_owned());
    let parts = java_split(value, ';');
    let (servers, client) = match parts.as_slice() {
        [servers] => (*servers, None),
        [servers, client] => (*servers, Some(*client)),
        _ => return Err(malformed()),
    };
    let servers = java_split(servers, '|');
    if servers.len() > 1 && !rules.multi_address {
        return Err(Problem::MultiAddress(id));
    }
    let mut member = Member::participant(id);
    member.client = client.map(|it| parse_client(it).ok_or_else(malformed)?).transpose()?;
    let mut role = None;
    for server in servers {
        let parts = host_and_ports(server).ok_or_else(malformed)?;
        let (host, quorum_port, election_port, its_role) = match parts.as_slice() {
            [host, quorum, election] => (host, port(quorum)?, port(election)?, None),
            [host, quorum, election, role] => {
                let role = Role::parse(role).ok_or_else(|| Problem::Role((*role).to_owned()))?;
                (host, port(quorum)?, port(election)?, Some(role))
            }
            _ => return Err(malformed()),
        };
        if quorum_port == election_port {
            return Err(Problem::SamePort(id));
        }
        if let Some(its_role) = its_role
            && *role.get_or_insert(its_role) != its_role
        {
            return Err(Problem::Roles(id));
        }
        member.addresses.push(MemberAddress { host: (*host).to_owned(), quorum_port, election_port });
    }
    member.role = role.unwrap_or(Role::Participant);
    Ok(member)
}

/// `port` or `host:port`; without a host: all of them. `None`: it has more parts.
fn parse_client(text: &str) -> Option<Result<HostPort, Problem>> {
    let parts = host_and_ports(text)?;
    let (host, text) = match parts.as_slice() {
        [port] => ("0.0.0.0", port),
        [host, port] => (*host, port),
        _ => return None,
    };
    Some(port(text).map(|port| HostPort { host: host.to_owned(), port }))
}

/// A host, which may be an IPv6 address in brackets, and what follows it between colons.
fn host_and_ports(text: &str) -> Option<Vec<&str>> {
    let Some(rest) = text.strip_prefix('[') else { return Some(java_split(text, ':')) };
    let (host, rest) = rest.split_once(']')?;
    let rest = rest.strip_prefix(':').filter(|it| !it.is_empty())?;
    let mut parts = vec![host];
    parts.extend(java_split(rest, ':'));
    Some(parts)
}

/// `String.split`: what is empty at the end is dropped, and an empty text is one empty part.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() {
        return vec![text];
    }
    text.trim_end_matches(separator).split(separator).collect()
}

fn port(text: &str) -> Result<u16, Problem> {
    text.parse().map_err(|_| Problem::Port(text.to_owned()))
}

fn number(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::Number(text.to_owned()))
}

/// The number behind the first dot of a key.
fn number_in(key: &str) -> Result<i64, Problem> {
    number(key.split_once('.').map_or(key, |(_, id)| id))
}

/// Line by line as Apache writes it, without a newline at the end.
impl fmt::Display for QuorumVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in java_order(self.members.keys().map(|it| it.0)) {
            if let Some(member) = self.members.get(&ServerId(id)) {
                writeln!(f, "server.{id}={member}")?;
            }
        }
        if let Rule::Hierarchical(groups) = &self.rule {
            let mut lines: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for id in java_order(groups.group_of.keys().map(|it| it.0)) {
                if let Some(group) = groups.group_of.get(&ServerId(id)) {
                    lines.entry(*group).or_default().push(id.to_string());
                }
            }
            for group in java_order(lines.keys().copied()) {
                if let Some(servers) = lines.get(&group) {
                    writeln!(f, "group.{group}={}", servers.join(":"))?;
                }
            }
            for id in java_order(groups.weight_of.keys().map(|it| it.0)) {
                writeln!(f, "weight.{id}={}", groups.weight(ServerId(id)))?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

/// Keys in the order of a `HashMap<Long, …>`: by where their hash falls in a table of at least 16, at most three quarters
/// full. What falls into the same place comes in ascending order here; in Java in that of their insertion.
fn java_order(ascending: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = ascending.collect();
    let mut table = 16;
    while keys.len() > table / 4 * 3 {
        table *= 2;
    }
    keys.sort_by_key(|key| {
        let hash = (key ^ (*key as u64 >> 32) as i64) as u32;
        (hash ^ hash >> 16) as usize & (table - 1)
    });
    keys
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    const MULTI: TextRules =
        TextRules { multi_address: true, standalone_enabled: true, oracle: false, other_keys: OtherKeys::Refused };

    fn read(text: &str) -> QuorumVerifier {
        QuorumVerifier::parse(text, MULTI).unwrap()
    }

    fn refused(text: &str) -> String {
        QuorumVerifier::parse(text, TextRules::default()).unwrap_err().in_file("d")
    }

    #[test]
    fn what_apache_writes_is_written_again() {
        for text in [
            "server.1=h1:2888:3888:participant;0.0.0.0:2181\nserver.2=h2:2888:3888:observer;h2:2181\nserver.3=h3:1:2:participant\nversion=100000000",
            "server.1=[0:0:0:0:0:0:0:1]:1:2:participant;[2001:db8:0:0:0:0:0:1]:2181\nserver.2=b:1:2:participant\nversion=0",
            "server.1=a:1:2|b:3:4:participant\nserver.2=c:1:2:participant\nversion=7fffffffffffffff",
            "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:observer\ngroup.1=1:2\nweight.1=3\nweight.2=1\nversion=0",
            "version=0",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
    }

    #[test]
    fn short_forms_become_long_ones() {
        let text = "# a comment\nserver.2 = B:3:4|A:1:2;2181\nserver.1: h:1:2:OBSERVER;\nserver.3=[::1]:1:2\n";
        assert_eq!(
            read(text).to_string(),
            "server.1=h:1:2:observer\nserver.2=A:1:2|B:3:4:participant;0.0.0.0:2181\n\
             server.3=[0:0:0:0:0:0:0:1]:1:2:participant\nversion=0"
        );
    }

    #[test]
    fn errors_say_where() {
        for (text, message) in [
            (
                "server.1=a:1:2\nclientPort=2181",
                "d:2: clientPort is no key of a dynamic configuration; allowed: server.N, group.N, weight.N, version",
            ),
            ("server.x=a:1:2", "d:1: \"x\" is not a number"),
            (
                "server.1=a:1",
                "d:1: \"a:1\" is no member; allowed: host:quorumPort:electionPort[:role][;[clientHost:]clientPort]",
            ),
            ("server.1=a:1:70000", "d:1: \"70000\" is not a port; allowed: 0 to 65535"),
            ("server.1=a:1:1", "d:1: server.1 has one port for quorum and election; they must be different"),
            ("\n\nserver.1=a:1:2:learner", "d:3: \"learner\" is not a role; allowed: participant, observer"),
            ("server.1=a:1:2|b:1:2", "d:1: server.1 has several addresses; that needs multiAddress.enabled=true"),
            ("version=x", "d:1: \"x\" is not a number"),
            ("server.1=\\u12", "d:1: \\u without four hexadecimal digits"),
            ("group.1=1\ngroup.2=1", "d:2: server 1 is in two groups"),
            ("server.1=a:1:2\nweight.1=2", "d: server 1 is in no group; each participant must be in one"),
            ("group.1=7", "d: server 7 is in a group, but is no participant and has no weight"),
            ("server.1=a:1:2:observer", "d: too few participants; observers need at least two"),
            ("server.1=a:1:2\nserver.2=a:1:2:observer", "d: too few participants; observers need at least two"),
        ] {
            assert_eq!(refused(text), message);
        }
        for text in ["a:1:2;1:2:3", "a:1:2;b:1;2", "[::1:1:2", "[::1]:", "", ";1", "a:1:2:participant:x", "a:1:2;x"] {
            assert!(QuorumVerifier::parse(&format!("server.1={text}"), MULTI).is_err(), "{text}");
        }
        assert_eq!(
            QuorumVerifier::parse("server.1=a:1:2:observer|b:1:2:participant", MULTI).unwrap_err().problem,
            Problem::Roles(ServerId(1))
        );
        let many: String = (0..=MEMBERS_MAX).fold(String::new(), |text, id| text + &format!("server.{id}=a:1:2\n"));
        assert_eq!(QuorumVerifier::parse(&many, MULTI).unwrap_err().problem, Problem::Members);
    }

    #[test]
    fn rules_decide_what_else_is_read() {
        let text = "clientPort=1\nserver.1=a:1:2\nserver.2=b:1:2";
        let rules = TextRules { other_keys: OtherKeys::Ignored, oracle: true, ..TextRules::default() };
        assert_eq!(QuorumVerifier::parse(text, rules).unwrap().rule(), &Rule::OracleMajority);
        let alone = TextRules { standalone_enabled: false, ..TextRules::default() };
        assert!(QuorumVerifier::parse("version=0", alone).is_err());
        assert!(QuorumVerifier::parse("server.1=a:1:2\nserver.2=a:1:2:observer", alone).is_ok());
    }

    #[test]
    fn a_client_address_of_zoo_cfg_is_not_written() {
        let mut it = read("server.1=a:1:2\nserver.2=b:1:2;2181\nversion=1");
        let client = HostPort { host: "0.0.0.0".to_owned(), port: 2181 };
        let member = it.member_mut(ServerId(1)).unwrap();
        (member.client, member.client_is_static) = (Some(client), true);
        assert_eq!(it.to_string(), "server.1=a:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:2181\nversion=1");
    }

    #[test]
    fn the_order_is_that_of_a_java_hash_map() {
        assert_eq!(java_order([-1, 1, 2, 15, 16, 17].into_iter()), [-1, 16, 1, 17, 2, 15]);
        assert_eq!(java_order((1..=13).chain([32, 33])), [32, 1, 33, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(java_order([1, 0x10000].into_iter()), [1, 0x10000], "the upper half of a hash counts, too");
        assert_eq!(java_order([3, 1 << 33].into_iter()), [1 << 33, 3]);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "[a-z0-9.=:;|\\[\\]\\\\\n ]{0,200}") {
            let _ = QuorumVerifier::parse(&text, MULTI);
        }

        #[test]
        fn texts_survive(
            members in prop::collection::btree_map(
                0_i64..300,
                (prop::collection::btree_set("[a-z]{1,8}", 1..3), any::<bool>(), prop::option::of(1_u16..)),
                2..20,
            ),
            version in 0_i64..,
        ) {
            let members = members.into_iter().map(|(id, (hosts, observes, client))| Member {
                id: ServerId(id),
                addresses: hosts.into_iter().map(|host| MemberAddress { host, quorum_port: 1, election_port: 2 }).collect(),
                role: if observes { Role::Observer } else { Role::Participant },
                client: client.map(|port| HostPort { host: "h".to_owned(), port }),
                client_is_static: false,
            });
            let it = QuorumVerifier::majority(members, version);
            prop_assume!(it.voters().count() > 1);
            prop_assert_eq!(QuorumVerifier::parse(&it.to_string(), MULTI), Ok(it));
        }
    }
}
