//! Where a script must wait for all answers, so that both servers must answer alike.
//!
//! A hard limit is checked when a request is prepared, against the usage that is in the tree then; the usage, and the limits,
//! change when a txn is applied. So what is behind a change in the same burst is refused, or not, depending on how far the
//! server has come: on Apache's as on ours. Everybody's requests are answered between two steps of a script, so a new
//! step is the barrier.
//!
//! Too careful rather than too bold: what was ever given a hard limit counts as limited from then on, and each write counts as
//! one that changes the usage, whatever becomes of it.

use super::step::Request;

/// The end of the path of a quota's limits.
const LIMITS: &str = "/zookeeper_limits";
/// And of its usage.
const STATS: &str = "/zookeeper_stats";
/// Where quotas are.
const QUOTA: &str = "/zookeeper/quota";

/// What has been sent and may not have been applied.
#[derive(Debug, Default)]
pub struct Barrier {
    /// The paths that may have hard limits.
    hard: Vec<String>,
    /// The paths whose usage or quota may be about to change.
    changing: Vec<String>,
}

impl Barrier {
    /// Everybody's requests are answered.
    pub fn answered(&mut self) {
        self.changing.clear();
    }

    /// Whether the answer to a request is the same however much of what was sent before it is applied.
    pub fn passes(&self, request: &Request) -> bool {
        let covers = |hard: &str, path: &str| {
            path.strip_prefix(hard).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let checked = writes(request).filter(|it| it.word() != "delete" && it.word() != "check");
        !checked.filter_map(charged).any(|path| {
            let mut limits = self.hard.iter().filter(|hard| covers(hard, path));
            limits.any(|hard| self.changing.iter().any(|changing| covers(hard, changing)))
        })
    }

    /// A request is on its way.
    pub fn sent(&mut self, request: &Request) {
        for write in writes(request).filter(|it| it.word() != "check") {
            let Some(path) = charged(write) else { continue };
            self.changing.push(path.to_owned());
            if is_hard(write) && !self.hard.iter().any(|hard| hard == path) {
                self.hard.push(path.to_owned());
            }
        }
    }
}

/// The writes in a request.
fn writes(request: &Request) -> impl Iterator<Item = &Request> {
    let all = if request.word() == "multi" { request.inner.as_slice() } else { std::slice::from_ref(request) };
    let known = ["create", "create2", "container", "ttl", "set", "delete", "check"];
    all.iter().filter(move |it| known.contains(&it.word()))
}

/// The path that a write is charged to, or, if it is one of a quota's znodes, the path that the quota is for.
fn charged(write: &Request) -> Option<&str> {
    let path = write.words.get(1)?.as_str();
    let of = path.strip_suffix(LIMITS).or_else(|| path.strip_suffix(STATS)).and_then(|it| it.strip_prefix(QUOTA));
    Some(of.unwrap_or(path))
}

/// Whether a write gives a hard limit.
fn is_hard(write: &Request) -> bool {
    write.words.get(1).is_some_and(|path| path.ends_with(LIMITS))
        && write.words.get(2).is_some_and(|text| text.contains("HardLimit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(burst: &str) -> Vec<bool> {
        let mut barrier = Barrier::default();
        let mut out = Vec::new();
        for request in burst.split("; ").map(|it| it.parse().unwrap()) {
            out.push(barrier.passes(&request));
            barrier.sent(&request);
        }
        out
    }

    const HARD: &str = "create /zookeeper/quota/r/x/zookeeper_limits =countHardLimit=4 open 0";

    #[test]
    fn what_is_charged_behind_a_new_hard_limit_or_a_charge_does_not_pass() {
        assert_eq!(passes(&format!("{HARD}; create /r/x null open 0")), [true, false]);
        assert_eq!(passes(&format!("{HARD}; multi {{ check /r 1, set /r/x/y null -1 }}")), [true, false]);
        assert_eq!(passes("create /r/x/a 1 open 0; set /r/x/b 1 -1"), [true, true]);
        let mut barrier = Barrier::default();
        barrier.sent(&HARD.parse().unwrap());
        barrier.answered();
        assert!(barrier.passes(&"create /r/x/a 1 open 0".parse().unwrap()));
        barrier.sent(&"delete /r/x/b -1".parse().unwrap());
        assert!(!barrier.passes(&"create /r/x/a 1 open 0".parse().unwrap()));
        barrier.answered();
        // Limits of their own take what is below from the charge of the others.
        barrier.sent(&"delete /zookeeper/quota/r/x/y/zookeeper_limits -1".parse().unwrap());
        assert!(!barrier.passes(&"create /r/x/y/z 1 open 0".parse().unwrap()));
    }

    #[test]
    fn what_no_hard_limit_is_about_passes() {
        let others =
            "create /r/xx 1 open 0; set /r 1 -1; delete /r/x/a -1; check /r/x 1; get /r/x; create /r/y/x 1 open 0";
        assert!(passes(&format!("{HARD}; {others}")).iter().all(|it| *it));
        let soft = HARD.replace("countHardLimit", "count");
        assert_eq!(passes(&format!("{soft}; create /r/x null open 0; set /r/x 9 -1")), [true; 3]);
    }
}
