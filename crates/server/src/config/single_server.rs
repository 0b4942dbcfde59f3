//! A file with one `server.N` line, as the official container image and HBase write it: a standalone server.
//!
//! Apache ignores such a line but for the client address behind its semicolon, which it takes where `myid` is N. Here it
//! is taken anyway: with one line there is nobody else whose it could be. Source: `QuorumPeerConfig.parseDynamicConfig`,
//! `setupClientPort`, `QuorumPeer.QuorumServer`.

use super::Note;
use super::error::ConfigError;
use super::resolve::{Settings, Written};

/// The client address of the one `server.N` line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SingleServer {
    /// Name or address; `None`: all interfaces, or whatever `clientPortAddress` says.
    pub(super) address: Option<String>,
    /// The client port, if it names one.
    pub(super) port: Option<u16>,
}

/// Looks at the `server.N` lines. Others than one: nothing to say.
pub(super) fn single_server(settings: &mut Settings) -> Result<SingleServer, ConfigError> {
    let members: Vec<&Written> = settings.members("server.").collect();
    let [member] = members[..] else { return Ok(SingleServer::default()) };
    let form = "host:port:port, then :participant if you like, then ;[address:]clientport if you like";
    let bad = |what: &str| member.bad(what.to_owned(), form.to_owned());
    if member.spelling.trim_start_matches("server.").parse::<i64>().is_err() {
        return Err(bad("what stands behind server. is not a number"));
    }
    let (peer, client) = match member.text.split_once(';') {
        Some((peer, client)) => (peer, Some(client.trim())),
        None => (&member.text[..], None),
    };
    // Colons inside of brackets belong to an IPv6 address; several addresses are separated by bars.
    let last = peer.rsplit('|').next().unwrap_or_default();
    let behind_host = last.rsplit_once(']').map_or(last, |(_, rest)| rest);
    let parts: Vec<&str> = behind_host.split(':').map(str::trim).collect();
    let ports = parts.get(1..).unwrap_or_default();
    if ports.len() < 2 || ports[..2].iter().any(|port| port.parse::<u16>().is_err()) {
        return Err(bad("not an address and two ports"));
    }
    match ports.get(2) {
        None => {}
        Some(role) if role.eq_ignore_ascii_case("participant") => {}
        Some(role) if role.eq_ignore_ascii_case("observer") => {
            return Err(bad("an observer, and no participant to observe"));
        }
        Some(_) => return Err(bad("neither participant nor observer")),
    }
    let mut found = SingleServer::default();
    if let Some(client) = client {
        let (address, port) = client.rsplit_once(':').map_or((None, client), |(a, p)| (Some(a), p));
        found.port = port.trim().parse().ok().filter(|port| *port != 0);
        if found.port.is_none() {
            return Err(bad("what stands behind the semicolon has no port"));
        }
        let address = address.map(|address| address.trim().trim_start_matches('[').trim_end_matches(']').to_owned());
        found.address = address.filter(|address| !address.is_empty());
    }
    let line = format!(
        "{}: {}: a single server runs standalone; the other two ports are not opened",
        member.place, member.spelling
    );
    settings.notes.push(Note::info(line));
    Ok(found)
}
