//! `enforceQuota`: what a quota says to a create or setData. Source: Apache `ZooKeeperServer.checkQuota`.
//!
//! As in Apache the usage is that of the tree: writes that are not applied yet, those before it in the same multi among
//! them, don't count, and can overshoot. Kept on purpose: the same requests are refused on both.

use std::collections::BTreeMap;

use tree::{StatsTrack, Tree};
use wire::ErrorCode;

use crate::stats::{NAMESPACE_BYTES_MAX, NAMESPACES_MAX};

/// What a write does to the usage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    pub count: i64,
    pub bytes: i64,
}

/// A write that went, or would have gone, over a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The path that the quota is for.
    pub path: String,
    /// The hard limit (the write is refused), or the soft one.
    pub is_hard: bool,
    /// Bytes of data, not znodes.
    pub is_bytes: bool,
    /// What the usage would be.
    pub usage: i64,
    /// The limit.
    pub limit: i64,
}

impl std::fmt::Display for QuotaExceeded {
    /// In the words that Apache's operators look for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (of, limit_of) = if self.is_bytes { ("bytes", "Byte") } else { ("count", "Count") };
        let kind = if self.is_hard { "hard" } else { "soft" };
        let Self { path, usage, limit, .. } = self;
        write!(f, "Quota exceeded: {path} [current {of}={usage}, {kind}{limit_of}Limit={limit}]")
    }
}

/// What one batch of submissions tells at most: a long multi can exceed a soft limit with every operation.
const EXCEEDED_MAX: usize = 1024;

/// Notes that `parent` has no numbers for sequential znodes left.
pub(crate) fn note_used_up(parent: &str, used_up: &mut Vec<String>) {
    if used_up.len() < EXCEEDED_MAX {
        used_up.push(if parent.is_empty() { "/".to_owned() } else { parent.to_owned() });
    }
}

/// Paths that are told between two takes; what is exceeded beyond them is only counted.
const PATHS_MAX: usize = 64;

/// Longer paths are only counted, so that no line of the log is as long as a frame.
const PATH_BYTES_MAX: usize = 1024;

/// What was exceeded, and what is used up, for the log and for `mntr`.
#[derive(Debug, Clone, Default)]
pub struct QuotaReports {
    /// By path, kind of usage and kind of limit: the last one, and how many.
    fresh: BTreeMap<(String, bool, bool), (QuotaExceeded, u64)>,
    untold: u64,
    /// How many sequential creates were refused since their parent's numbers are used up.
    used_up: BTreeMap<String, u64>,
    untold_used_up: u64,
    refusals: BTreeMap<String, u64>,
}

impl QuotaReports {
    /// One more.
    pub(crate) fn add(&mut self, exceeded: QuotaExceeded) {
        if exceeded.is_hard {
            let namespace = exceeded.path.split('/').nth(1).unwrap_or_default();
            if let Some(count) = self.refusals.get_mut(namespace) {
                *count += 1;
            } else if self.refusals.len() < NAMESPACES_MAX && namespace.len() <= NAMESPACE_BYTES_MAX {
                self.refusals.insert(namespace.to_owned(), 1);
            }
        }
        let key = (exceeded.path.clone(), exceeded.is_bytes, exceeded.is_hard);
        if let Some((last, times)) = self.fresh.get_mut(&key) {
            *last = exceeded;
            *times += 1;
        } else if self.fresh.len() < PATHS_MAX && exceeded.path.len() <= PATH_BYTES_MAX {
            self.fresh.insert(key, (exceeded, 1));
        } else {
            self.untold += 1;
        }
    }

    /// A sequential create was refused: `parent` has no number left for it.
    pub(crate) fn add_used_up(&mut self, parent: String) {
        if let Some(times) = self.used_up.get_mut(&parent) {
            *times += 1;
        } else if self.used_up.len() < PATHS_MAX && parent.len() <= PATH_BYTES_MAX {
            self.used_up.insert(parent, 1);
        } else {
            self.untold_used_up += 1;
        }
    }

    /// Lines for the log: each path once, however often it was exceeded since the last take.
    pub fn take_lines(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = std::mem::take(&mut self.fresh)
            .into_values()
            .map(|(last, times)| if times == 1 { last.to_string() } else { format!("{last} ({times} times)") })
            .collect();
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            lines.push(format!("Quota exceeded: {untold} times for other paths"));
        }
        for (parent, times) in std::mem::take(&mut self.used_up) {
            lines.push(format!(
                "{parent}: sequential creates were refused ({times} times): its 2147483647 numbers are used up, also when children go; \
                 create them below another znode, or delete this one and create it anew"
            ));
        }
        let untold = std::mem::take(&mut self.untold_used_up);
        if untold > 0 {
            lines.push(format!(
                "sequential creates were refused {untold} times below other znodes whose numbers are used up"
            ));
        }
        lines
    }

    /// Forgets how many were refused (`srst`), not of whom: Apache goes on telling of them.
    pub fn reset(&mut self) {
        self.refusals.values_mut().for_each(|count| *count = 0);
    }

    /// How many writes were refused since the start or the last reset, by top-level path, without its slash.
    pub fn refusals(&self) -> &BTreeMap<String, u64> {
        &self.refusals
    }
}

/// May a write at `path` grow the usage so? What it exceeds is appended to `exceeded`.
pub(crate) fn check(
    tree: &Tree,
    path: &str,
    growth: Growth,
    exceeded: &mut Vec<QuotaExceeded>,
) -> Result<(), ErrorCode> {
    let Some(quota) = tree.quota_of(path) else { return Ok(()) };
    // Limits or usage that can't be read: Apache's exception becomes this code.
    let limits = quota.limits.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let StatsTrack { count, bytes, count_hard, bytes_hard, .. } = limits;
    let checks_count = growth.count != 0 && (count > -1 || count_hard > -1);
    let checks_bytes = growth.bytes != 0 && (bytes > -1 || bytes_hard > -1);
    if !checks_count && !checks_bytes {
        return Ok(());
    }
    let Some(usage) = quota.usage else { return Ok(()) };
    let usage = usage.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    for (is_checked, is_bytes, usage, soft, hard) in [
        (checks_count, false, usage.count.wrapping_add(growth.count), count, count_hard),
        (checks_bytes, true, usage.bytes.wrapping_add(growth.bytes), bytes, bytes_hard),
    ] {
        let is_hard = hard > -1;
        let limit = if is_hard { hard } else { soft };
        if is_checked && usage > limit {
            if exceeded.len() < EXCEEDED_MAX {
                exceeded.push(QuotaExceeded { path: quota.path.clone(), is_hard, is_bytes, usage, limit });
            }
            if is_hard {
                return Err(ErrorCode::QUOTA_EXCEEDED);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_once_and_counted_each_time() {
        let mut reports = QuotaReports::default();
        let of = |path: &str, usage| QuotaExceeded {
            path: path.to_owned(),
            is_hard: true,
            is_bytes: false,
            usage,
            limit: 3,
        };
        reports.add(of("/a/b", 4));
        reports.add(of("/a/b", 5));
        reports.add(QuotaExceeded { is_hard: false, is_bytes: true, ..of("/c", 9) });
        let expected = [
            "Quota exceeded: /a/b [current count=5, hardCountLimit=3] (2 times)",
            "Quota exceeded: /c [current bytes=9, softByteLimit=3]",
        ];
        assert_eq!(reports.take_lines(), expected);
        assert_eq!(reports.take_lines(), Vec::<String>::new());
        assert_eq!(reports.refusals(), &[("a".to_owned(), 2)].into());
        reports.reset();
        assert_eq!(reports.refusals(), &[("a".to_owned(), 0)].into(), "as in Apache, it is known still");
        for i in 0..2000 {
            reports.add(of(&format!("/{i}"), 4));
        }
        assert_eq!(reports.take_lines().len(), PATHS_MAX + 1);
        assert_eq!(reports.refusals().len(), NAMESPACES_MAX);
    }

    #[test]
    fn a_parent_without_numbers_is_told_once_and_counted_each_time() {
        let mut reports = QuotaReports::default();
        let mut used_up = Vec::new();
        for parent in ["/locks", "", "/locks"] {
            note_used_up(parent, &mut used_up);
        }
        used_up.drain(..).for_each(|parent| reports.add_used_up(parent));
        let lines = reports.take_lines();
        assert!(lines[0].starts_with("/: ") && lines[0].contains("(1 times)"), "{lines:?}");
        assert!(lines[1].starts_with("/locks: ") && lines[1].contains("(2 times)"), "{lines:?}");
        assert_eq!((lines.len(), reports.take_lines()), (2, Vec::new()));
        for at in 0..2000 {
            note_used_up(&format!("/{at}"), &mut used_up);
        }
        assert_eq!(used_up.len(), EXCEEDED_MAX);
        used_up.into_iter().chain(["/".repeat(2000)]).for_each(|parent| reports.add_used_up(parent));
        let lines = reports.take_lines();
        assert_eq!(lines.len(), PATHS_MAX + 1);
        assert!(lines[PATHS_MAX].contains(&format!("{} times", EXCEEDED_MAX - PATHS_MAX + 1)), "{lines:?}");
        assert!(lines.iter().all(|line| line.len() < 2 * PATH_BYTES_MAX));
        assert!(reports.refusals().is_empty(), "it is no quota");
    }
}
