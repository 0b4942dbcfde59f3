//! Whom to ask: the members of a `zoo.cfg`, or the client ports that were named.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wire::ServerId;
use wire::election::HostPort;
use wire::properties::{self, Entry};
use zab::QuorumVerifier;
use zab::quorum_verifier::{Member, OtherKeys, Role, TextRules};

/// The port that clients use by convention.
const CLIENT_PORT: u16 = 2181;

/// A server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// N of its `server.N` line; `None`: only its client port is known.
    pub id: Option<ServerId>,
    /// What it is by that line.
    pub role: Option<Role>,
    /// Its client port; `None`: the configuration does not say.
    pub client: Option<HostPort>,
}

/// An ensemble, or a server on its own, as somebody named it.
#[derive(Debug, Clone)]
pub struct Members {
    /// Whom to ask, in the order of their numbers.
    pub targets: Vec<Target>,
    /// Who decides, if a configuration said so.
    pub verifier: Option<QuorumVerifier>,
}

/// A file, or a list of hosts.
pub fn read(of: &str) -> Result<Members> {
    let path = Path::new(of);
    let looks_like_a_file = of.contains('/')
        || path.extension().is_some_and(|it| ["cfg", "conf", "dynamic"].iter().any(|known| it == *known));
    if path.is_file() || looks_like_a_file { of_file(path) } else { of_hosts(of) }
}

fn of_hosts(of: &str) -> Result<Members> {
    let hosts = of.split(',').map(str::trim).filter(|it| !it.is_empty());
    let targets = hosts
        .map(|host| {
            let client =
                host_port(host).with_context(|| format!("{host:?}: write host:port, or the path of a zoo.cfg"))?;
            Ok(Target { id: None, role: None, client: Some(client) })
        })
        .collect::<Result<Vec<_>>>()?;
    if targets.is_empty() {
        bail!("no host was named: write host:port,host:port, or the path of a zoo.cfg");
    }
    Ok(Members { targets, verifier: None })
}

fn host_port(text: &str) -> Option<HostPort> {
    let is_bare = !text.contains(':') || text.ends_with(']');
    let it = if is_bare { HostPort::parse(&format!("{text}:{CLIENT_PORT}")) } else { HostPort::parse(text) };
    it.filter(|it| !it.host.is_empty())
}

fn entries(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let read = properties::parse_file(&bytes)
        .map_err(|bad| anyhow!("{}:{}: \\u without four hexadecimal digits", path.display(), bad.line))?;
    Ok(read.entries)
}

/// The members of a file, without all that a server itself would ask for: no `myid`, no directories.
pub fn of_file(path: &Path) -> Result<Members> {
    let own = entries(path)?;
    let last =
        |key: &str| own.iter().rev().find(|it| it.key == key).map(|it| it.value.clone()).filter(|it| !it.is_empty());
    let client_port = last("clientPort").and_then(|it| it.trim().parse().ok());
    let rules =
        TextRules { multi_address: true, standalone_enabled: true, oracle: true, other_keys: OtherKeys::Ignored };
    let (file, with_members) = match last("dynamicConfigFile") {
        Some(dynamic) => (PathBuf::from(&dynamic), entries(Path::new(&dynamic))?),
        None => (path.to_owned(), own.clone()),
    };
    let described = with_members.iter().any(|it| it.key.starts_with("server."));
    if !described {
        let host = last("clientPortAddress").unwrap_or_else(|| "localhost".to_owned());
        let client = Some(HostPort { host, port: client_port.unwrap_or(CLIENT_PORT) });
        return Ok(Members { targets: vec![Target { id: None, role: None, client }], verifier: None });
    }
    let verifier = QuorumVerifier::from_entries(&with_members, rules)
        .map_err(|error| anyhow!("{}", error.in_file(&file.display().to_string())))?;
    let mut targets: Vec<Target> = verifier.members().map(|member| target(member, client_port)).collect();
    let myid = last("dataDir").and_then(|dir| std::fs::read_to_string(Path::new(&dir).join("myid")).ok());
    let me = myid.and_then(|text| text.trim().parse().ok()).map(ServerId);
    forget_shared_ports(&mut targets, me);
    Ok(Members { targets, verifier: Some(verifier) })
}

/// On one machine the members have different client ports, and the file tells one of them: that of `me`.
fn forget_shared_ports(targets: &mut [Target], me: Option<ServerId>) {
    let shared: Vec<Option<HostPort>> = targets
        .iter()
        .map(|it| {
            it.client.clone().filter(|at| targets.iter().filter(|other| other.client.as_ref() == Some(at)).count() > 1)
        })
        .collect();
    for (target, shared) in targets.iter_mut().zip(shared) {
        if shared.is_some() && target.id != me {
            target.client = None;
        }
    }
}

/// Where a member is asked; `client_port` is for those whose line does not say.
pub fn target(member: &Member, client_port: Option<u16>) -> Target {
    let host = member.addresses.first().map(|it| it.host.clone());
    let client = match (&member.client, host) {
        (Some(client), Some(host)) if client.is_wildcard() => Some(HostPort { host, port: client.port }),
        (Some(client), _) => Some(client.clone()),
        // Members of a static configuration have the same client port, by convention.
        (None, Some(host)) => client_port.map(|port| HostPort { host, port }),
        (None, None) => None,
    };
    Target { id: Some(member.id), role: Some(member.role), client }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zoo.cfg");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn shown(members: &Members) -> Vec<String> {
        let one = |it: &Target| {
            let client = it.client.as_ref().map_or("-".to_owned(), HostPort::to_string);
            format!(
                "{} {} {client}",
                it.id.map_or(-1, |id| id.0),
                it.role.map_or("-".to_owned(), |role| role.to_string())
            )
        };
        members.targets.iter().map(one).collect()
    }

    #[test]
    fn members_of_a_file_have_their_client_ports() {
        let (_dir, path) = file(
            "clientPort=2200\nserver.1=a:2888:3888\nserver.2=b:2888:3888;2201\nserver.3=c:2888:3888:observer;0.0.0.0:2202\n",
        );
        let members = read(path.to_str().unwrap()).unwrap();
        assert_eq!(shown(&members), ["1 participant a:2200", "2 participant b:2201", "3 observer c:2202"]);
        assert_eq!(members.verifier.unwrap().voters().count(), 2);
    }

    #[test]
    fn a_dynamic_file_is_followed() {
        let (dir, path) = file("");
        let dynamic = dir.path().join("zoo.cfg.dynamic.100000000");
        std::fs::write(&dynamic, "server.7=h:1:2;3\n").unwrap();
        std::fs::write(&path, format!("dynamicConfigFile={}\n", dynamic.display())).unwrap();
        assert_eq!(shown(&of_file(&path).unwrap()), ["7 participant h:3"]);
    }

    #[test]
    fn a_file_without_members_is_one_server() {
        let (_dir, path) = file("clientPort=2200\nclientPortAddress=10.0.0.1\n");
        assert_eq!(shown(&of_file(&path).unwrap()), ["-1 - 10.0.0.1:2200"]);
    }

    #[test]
    fn on_one_machine_a_file_tells_one_port() {
        let lines = "clientPort=2200\nserver.1=h:1:2\nserver.2=h:3:4\nserver.3=h:5:6;2203\n";
        let (dir, path) = file(lines);
        assert_eq!(shown(&of_file(&path).unwrap()), ["1 participant -", "2 participant -", "3 participant h:2203"]);
        std::fs::write(dir.path().join("myid"), "2\n").unwrap();
        std::fs::write(&path, format!("dataDir={}\n{lines}", dir.path().display())).unwrap();
        assert_eq!(
            shown(&of_file(&path).unwrap()),
            ["1 participant -", "2 participant h:2200", "3 participant h:2203"]
        );
    }

    #[test]
    fn hosts_need_no_port() {
        assert_eq!(
            shown(&read("a,[::1]:2182,b:7").unwrap()),
            ["-1 - a:2181", "-1 - [0:0:0:0:0:0:0:1]:2182", "-1 - b:7"]
        );
        assert!(read(",").unwrap_err().to_string().contains("no host was named"));
        assert!(read("a:b").is_err());
    }

    #[test]
    fn a_bad_line_is_named() {
        let (_dir, path) = file("clientPort=1\nserver.1=a:2888\n");
        let error = of_file(&path).unwrap_err().to_string();
        assert!(error.contains("zoo.cfg:2"), "{error}");
    }
}
