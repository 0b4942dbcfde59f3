//! What the digests that txns carry say of the tree that they led to. Source: Apache `DataTree.compareDigest`, which tells of a
//! difference and does nothing.
//!
//! A digest that differs says that two servers differ, and not who is right. What can be told from one server's view:
//!
//! * **A leader whose own txn leads to another digest than it predicted** has made the prediction from the tree that it then
//!   changed: one of the two is wrong, and both are its own. It steps down ([`Verdict::StepDown`]), and nobody needs to be asked.
//! * **A learner that has stepped down so, and differs from its new leader as well**, has two witnesses against its tree: its own
//!   predictions, and those of another server. It stops ([`Verdict::Stop`]); its files hold the txns and not the tree.
//! * **Any other learner** can't know whose history is the wrong one. The packets between servers have no place in which it could
//!   tell its leader, and a leader does not ask. It counts and tells people.
//!
//! The first difference that tells nothing about whose tree is wrong is a reason to count the tree from its bytes, with a snapshot.
//! A leader's is none: what it has in memory may be wrong, and its files are right as long as no snapshot says so.

use wire::Zxid;
use wire::txn::{DIGEST_VERSION, TxnDigest};

/// A txn that led to another digest than it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The txn.
    pub zxid: Zxid,
    /// What whoever proposed it predicted.
    pub predicted: i64,
    /// What the tree has behind it.
    pub found: i64,
}

/// What is to be done about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This leader has mispredicted what its own txn does: it may lead no more.
    StepDown(Mismatch),
    /// It has done so before, and now another leader's prediction differs, too: its tree is wrong, and has to be built anew.
    Stop(Mismatch),
    /// Whose history is wrong is not known.
    Tell(Mismatch),
}

/// Who proposed a txn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proposer {
    /// This server, on its own.
    Alone,
    /// This server, as a leader.
    Leader,
    /// The leader that this server learns from.
    Another,
    /// Some leader before: a history is replayed.
    Earlier,
}

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct DigestCheck {
    /// One was found in this role: the next ones follow from it.
    is_told: bool,
    /// This server has mispredicted as a leader, and has not been found to agree with another one since.
    is_doubtful: bool,
    verdict: Option<Verdict>,
}

impl DigestCheck {
    /// A role begins: what it predicts from begins anew.
    pub fn begin_role(&mut self) {
        self.is_told = false;
    }

    /// A txn was applied. True: it carries another digest than it led to.
    pub fn applied(&mut self, proposer: Proposer, zxid: Zxid, digest: Option<TxnDigest>, found: i64) -> bool {
        // Another version is another way of counting.
        let Some(digest) = digest.filter(|digest| digest.version == DIGEST_VERSION) else { return false };
        if digest.digest == found {
            self.is_doubtful &= proposer != Proposer::Another;
            return false;
        }
        if std::mem::replace(&mut self.is_told, true) {
            return true;
        }
        let mismatch = Mismatch { zxid, predicted: digest.digest, found };
        self.verdict = Some(match proposer {
            Proposer::Leader => Verdict::StepDown(mismatch),
            Proposer::Another if self.is_doubtful => Verdict::Stop(mismatch),
            Proposer::Another | Proposer::Alone | Proposer::Earlier => Verdict::Tell(mismatch),
        });
        self.is_doubtful |= proposer == Proposer::Leader;
        true
    }

    /// What is to be done, once.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(check: &mut DigestCheck, proposer: Proposer, zxid: i64, predicted: i64, found: i64) -> bool {
        let digest = TxnDigest { version: DIGEST_VERSION, digest: predicted };
        check.applied(proposer, Zxid(zxid), Some(digest), found)
    }

    fn mismatch(zxid: i64, predicted: i64, found: i64) -> Mismatch {
        Mismatch { zxid: Zxid(zxid), predicted, found }
    }

    #[test]
    fn only_digests_of_the_known_version_count() {
        let mut check = DigestCheck::default();
        assert!(!check.applied(Proposer::Another, Zxid(1), None, 5));
        assert!(!check.applied(Proposer::Another, Zxid(1), Some(TxnDigest { version: 3, digest: 4 }), 5));
        assert!(!applied(&mut check, Proposer::Another, 1, 5, 5));
        assert_eq!(check.take_verdict(), None);
        assert!(applied(&mut check, Proposer::Another, 2, 4, 5));
        assert_eq!(check.take_verdict(), Some(Verdict::Tell(mismatch(2, 4, 5))));
    }

    #[test]
    fn the_first_of_a_role_is_told() {
        let mut check = DigestCheck::default();
        assert!(applied(&mut check, Proposer::Alone, 1, 4, 5) && check.take_verdict().is_some());
        assert!(applied(&mut check, Proposer::Alone, 2, 4, 5) && check.take_verdict().is_none());
        check.begin_role();
        assert!(applied(&mut check, Proposer::Another, 3, 4, 5));
        assert_eq!(check.take_verdict(), Some(Verdict::Tell(mismatch(3, 4, 5))), "alone it has led nobody");
    }

    #[test]
    fn a_leader_steps_down_and_two_witnesses_stop_it() {
        let mut check = DigestCheck::default();
        assert!(applied(&mut check, Proposer::Leader, 1, 4, 5));
        assert_eq!(check.take_verdict(), Some(Verdict::StepDown(mismatch(1, 4, 5))));
        // What was under way is replayed: its own predictions again.
        assert!(applied(&mut check, Proposer::Earlier, 2, 6, 7) && check.take_verdict().is_none());
        check.begin_role();
        assert!(applied(&mut check, Proposer::Earlier, 2, 6, 7));
        assert_eq!(check.take_verdict(), Some(Verdict::Tell(mismatch(2, 6, 7))));
        assert!(!applied(&mut check, Proposer::Earlier, 2, 6, 6));
        // Leading again it begins from its own tree, so it agrees with itself: no witness.
        check.begin_role();
        assert!(!applied(&mut check, Proposer::Leader, 2, 6, 6));
        check.begin_role();
        assert!(applied(&mut check, Proposer::Another, 3, 6, 7));
        assert_eq!(check.take_verdict(), Some(Verdict::Stop(mismatch(3, 6, 7))));
    }

    #[test]
    fn who_agrees_with_another_leader_had_the_right_tree() {
        let mut check = DigestCheck::default();
        assert!(applied(&mut check, Proposer::Leader, 1, 4, 5));
        check.begin_role();
        assert!(!applied(&mut check, Proposer::Another, 2, 6, 6));
        check.begin_role();
        assert!(applied(&mut check, Proposer::Another, 3, 6, 7));
        assert_eq!(check.take_verdict(), Some(Verdict::Tell(mismatch(3, 6, 7))));
    }
}
