//! Ephemerals that nobody owns: their sessions are in no table, and who begins to propose deletes them.

use std::fmt;

use tree::{NodeRef, Tree};
use wire::SessionId;

/// So many sessions, and so many paths, are named.
const NAMED_MAX: usize = 5;
/// A longer path is not.
const PATH_BYTES_MAX: usize = 200;

/// What is deleted, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphans {
    /// How many ephemerals.
    pub znodes: usize,
    /// Of how many sessions.
    pub sessions: usize,
    first_sessions: Vec<SessionId>,
    first_paths: Vec<String>,
}

impl Orphans {
    /// The ephemerals of these sessions; `None` if there are none.
    pub(crate) fn of(tree: &Tree, sessions: &[SessionId]) -> Option<Self> {
        let znodes = sessions.iter().map(|&id| tree.ephemeral_count_of(id)).sum();
        let all = sessions.iter().flat_map(|&id| tree.ephemerals(id));
        let paths = all.take(NAMED_MAX).map(NodeRef::path).filter(|path| path.len() <= PATH_BYTES_MAX);
        (znodes > 0).then(|| Self {
            znodes,
            sessions: sessions.len(),
            first_sessions: sessions.iter().take(NAMED_MAX).copied().collect(),
            first_paths: paths.collect(),
        })
    }
}

impl fmt::Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { znodes, sessions, first_sessions, first_paths } = self;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let list = |f: &mut fmt::Formatter<'_>, named: &[String], count: usize| {
            let more = count - named.len();
            f.write_str(&named.join(", "))?;
            match (more, named.is_empty()) {
                (0, _) => Ok(()),
                (_, true) => write!(f, "{more} with long paths"),
                (_, false) => write!(f, " and {more} more"),
            }
        };
        let ids: Vec<_> = first_sessions.iter().map(|id| format!("0x{:x}", id.0)).collect();
        write!(f, "{znodes} ephemeral znode{} of {sessions} session{} (", plural(*znodes), plural(*sessions))?;
        list(f, &ids, *sessions)?;
        write!(f, ") will be deleted, since their sessions are not known: ")?;
        list(f, first_paths, *znodes)?;
        f.write_str(
            "; a snapshot of Apache's can have such (ZOOKEEPER-5010); if the log has lost txns, those that made these sessions, \
             or closed them, may be among them: look at what was said of it before",
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use tree::TreeConfig;
    use tree::restore::TreeBuilder;
    use wire::{StatPersisted, Zxid};

    use super::*;

    /// A tree with an ephemeral of each of these sessions.
    fn tree(owners: &[(&str, i64)]) -> Tree {
        let mut builder = TreeBuilder::new(TreeConfig::default());
        builder.node("", None, -1, &StatPersisted::default()).unwrap();
        for (path, owner) in owners {
            let stat = StatPersisted { ephemeral_owner: *owner, ..StatPersisted::default() };
            builder.node(path, None, -1, &stat).unwrap();
        }
        builder.finish(Zxid(1)).unwrap()
    }

    #[test]
    fn it_is_one_line_and_bounded() {
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        let all = tree(&[("/a", 0x17), ("/b", 0x17), ("/c", 0x2a), (&long, 0x30)]);
        let told = |ids: &[i64]| {
            let ids: Vec<_> = ids.iter().map(|id| SessionId(*id)).collect();
            Orphans::of(&all, &ids).map(|orphans| orphans.to_string())
        };
        assert_eq!(told(&[]), None);
        let both = told(&[0x17, 0x2a]).unwrap();
        let said = "3 ephemeral znodes of 2 sessions (0x17, 0x2a) will be deleted, since their sessions are not known: /a, /b, /c; a";
        assert!(both.starts_with(said) && !both.contains('\n'), "{both}");
        let one = told(&[0x2a]).unwrap();
        assert!(one.starts_with("1 ephemeral znode of 1 session (0x2a) will be deleted"), "{one}");
        assert!(told(&[0x30]).unwrap().contains("known: 1 with long paths; "));
        let many: Vec<_> = (0..1000).map(|i| (format!("/{i}"), 100 + i)).collect();
        let many: Vec<_> = many.iter().map(|(path, owner)| (path.as_str(), *owner)).collect();
        let all = tree(&many);
        let told = Orphans::of(&all, &all.sessions_with_ephemerals()).unwrap().to_string();
        assert!(told.starts_with("1000 ephemeral znodes of 1000 sessions (0x64, 0x65, 0x66, 0x67, 0x68 and 995 more)"));
        assert!(told.contains("known: /0, /1, /2, /3, /4 and 995 more; "), "{told}");
    }
}
