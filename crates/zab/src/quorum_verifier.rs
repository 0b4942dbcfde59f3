//! Which servers make a quorum. Source: Apache `QuorumMaj`.

use std::collections::BTreeSet;

use wire::ServerId;

/// The rule by which servers decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumVerifier {
    /// More than half of the participants.
    Majority(BTreeSet<ServerId>),
}

impl QuorumVerifier {
    /// The ensemble of one.
    pub fn standalone(me: ServerId) -> Self {
        Self::Majority(BTreeSet::from([me]))
    }

    /// Do the servers for which `is` holds make a quorum?
    pub fn contains_quorum(&self, is: impl Fn(ServerId) -> bool) -> bool {
        match self {
            Self::Majority(voters) => voters.iter().filter(|&&v| is(v)).count() > voters.len() / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities() {
        let of = |n: i64| QuorumVerifier::Majority((1..=n).map(ServerId).collect());
        for (n, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            assert!(of(n).contains_quorum(|s| s.0 <= needed), "{needed} of {n}");
            assert!(!of(n).contains_quorum(|s| s.0 < needed), "{} of {n}", needed - 1);
        }
        assert!(!of(3).contains_quorum(|s| s.0 > 3), "strangers don't count");
    }
}
