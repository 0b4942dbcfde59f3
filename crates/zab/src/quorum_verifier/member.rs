//! A server of a configuration: who it is, where it is, what its role is.

use std::fmt;
use std::net::IpAddr;

use wire::ServerId;
use wire::election::{HostPort, java_host};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It votes.
    Participant,
    /// It only learns.
    Observer,
}

impl Role {
    /// `participant` or `observer`, in any case. Source: `QuorumServer.getType`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Some(Self::Participant),
            "observer" => Some(Self::Observer),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

/// A host with the two ports of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberAddress {
    /// A name or an address, as it was written; an IPv6 address without brackets.
    pub host: String,
    /// Where it listens for learners when it leads.
    pub quorum_port: u16,
    /// Where it listens for other servers' election connections.
    pub election_port: u16,
}

impl MemberAddress {
    /// Where its election port is.
    pub fn election(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.election_port }
    }

    /// Where its quorum port is.
    pub fn quorum(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.quorum_port }
    }

    /// As it is compared: hosts without regard to case, and IPv6 addresses in their long form.
    fn key(&self) -> (String, u16, u16) {
        (java_host(&self.host).to_lowercase(), self.quorum_port, self.election_port)
    }
}

/// A line `server.N` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// N.
    pub id: ServerId,
    /// Where it is: one, or several with `multiAddress.enabled`; none where connections are of no concern.
    pub addresses: Vec<MemberAddress>,
    /// What it may do.
    pub role: Role,
    /// Where it listens for clients, if that is known.
    pub client: Option<HostPort>,
    /// Is `client` from `clientPort`, and not from the line? Then it is not written into it either.
    pub client_is_static: bool,
}

impl Member {
    /// A participant without addresses.
    pub fn participant(id: ServerId) -> Self {
        Self { id, addresses: Vec::new(), role: Role::Participant, client: None, client_is_static: false }
    }

    /// See [`QuorumVerifier::agrees_with`](super::QuorumVerifier::agrees_with).
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let sorted = |it: &Self| {
            let mut all = it.addresses.clone();
            all.sort_by_key(|it| (it.quorum_port, it.election_port, it.host.to_lowercase()));
            all
        };
        let (ours, theirs) = (sorted(self), sorted(other));
        let is_same = |(ours, theirs): (&MemberAddress, &MemberAddress)| {
            let ip = |it: &MemberAddress| it.host.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified());
            let may_be_one = ip(ours).zip(ip(theirs)).is_none_or(|(ours, theirs)| ours == theirs);
            may_be_one && (ours.quorum_port, ours.election_port) == (theirs.quorum_port, theirs.election_port)
        };
        self.id == other.id
            && self.role == other.role
            && ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(is_same)
    }

    /// `QuorumServer.equals`: all but where the client address comes from.
    pub fn is_same(&self, other: &Self) -> bool {
        let keys = |it: &Self| {
            let mut keys: Vec<_> = it.addresses.iter().map(MemberAddress::key).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        let client = |it: &Self| it.client.as_ref().map(|at| (java_host(&at.host).to_lowercase(), at.port));
        self.id == other.id && self.role == other.role && keys(self) == keys(other) && client(self) == client(other)
    }
}

/// The value of its line. Source: `QuorumServer.toString`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self.addresses.iter().map(|it| (java_host(&it.host), it)).collect();
        addresses.sort_by_key(|(host, _)| host.trim_start_matches('[').to_owned());
        for (at, (host, it)) in addresses.iter().enumerate() {
            let separator = if at == 0 { "" } else { "|" };
            write!(f, "{separator}{host}:{}:{}", it.quorum_port, it.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        match &self.client {
            Some(client) if !self.client_is_static => write!(f, ";{client}"),
            _ => Ok(()),
        }
    }
}
