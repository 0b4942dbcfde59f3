//! Lines of the log that others can cause, as often as they like: some at once, then one a second, and each says how many were
//! left out before it. Otherwise whoever reaches a port fills the disk.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wire::ServerId;
use zab::quorum_verifier::MEMBERS_MAX;

/// So many lines at once.
const AT_ONCE: u32 = 10;
/// Then one in such a time.
const EACH: Duration = Duration::from_secs(1);

/// The lines of one kind.
#[derive(Debug)]
pub(crate) struct FewLines(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How many may be said.
    left: u32,
    /// Up to when that was counted.
    counted: Option<Instant>,
    unsaid: u64,
}

impl Default for FewLines {
    fn default() -> Self {
        Self(Mutex::new(State { left: AT_ONCE, counted: None, unsaid: 0 }))
    }
}

/// How many lines were left out before this one; what stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " (and {} more such)", self.0) }
    }
}

impl FewLines {
    /// Says a line, or leaves it out.
    pub(crate) fn tell(&self, line: impl FnOnce(LeftOut)) {
        if let Some(left_out) = self.take(Instant::now()) {
            line(left_out);
        }
    }

    fn take(&self, now: Instant) -> Option<LeftOut> {
        let mut state = self.0.lock();
        let counted = *state.counted.get_or_insert(now);
        let more = u32::try_from(now.duration_since(counted).as_secs() / EACH.as_secs()).unwrap_or(AT_ONCE);
        if more >= AT_ONCE - state.left {
            (state.left, state.counted) = (AT_ONCE, Some(now));
        } else {
            (state.left, state.counted) = (state.left + more, Some(counted + more * EACH));
        }
        if state.left == 0 {
            state.unsaid += 1;
            return None;
        }
        state.left -= 1;
        Some(LeftOut(std::mem::take(&mut state.unsaid)))
    }
}

/// Servers of which something was said already, so that it is said once.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeSet<ServerId>);

impl Told {
    /// Is it the first time? When there are as many as an ensemble may have, all are forgotten: they were not real.
    pub(crate) fn add(&mut self, server: ServerId) -> bool {
        if self.0.len() >= MEMBERS_MAX && !self.0.contains(&server) {
            self.0.clear();
        }
        self.0.insert(server)
    }

    /// It is said again next time.
    pub(crate) fn remove(&mut self, server: ServerId) {
        self.0.remove(&server);
    }
}

/// A text that others have sent, for one line: about `max` bytes of it at most, and nothing in it that ends the line or that a
/// terminal obeys.
pub(crate) fn in_short(text: &str, max: usize) -> String {
    let end = text.floor_char_boundary(max);
    let short = text[..end].trim_end().replace('\n', ", ").replace(char::is_control, "?");
    if end < text.len() { format!("{short} … ({} bytes)", text.len()) } else { short }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flood_of_lines_is_some_at_once_and_one_a_second() {
        let (few, began) = (FewLines::default(), Instant::now());
        let at = |ms| few.take(began + Duration::from_millis(ms)).map(|it| it.0);
        let said: Vec<_> = (0..1000).filter_map(at).collect();
        assert_eq!(said, [0; AT_ONCE as usize]);
        assert_eq!(at(1000), Some(990));
        assert_eq!((at(1500), at(1999), at(2000), at(2000)), (None, None, Some(2), None));
        // Whoever is quiet may say some at once again, and not more.
        let said: Vec<_> = (0..1000).filter_map(|_| at(1_000_000)).collect();
        assert_eq!((said.len(), said[0], said[1]), (AT_ONCE as usize, 1, 0));
        assert_eq!(LeftOut(990).to_string() + &LeftOut(0).to_string(), " (and 990 more such)");
    }

    #[test]
    fn what_was_said_of_a_server_is_said_once_and_kept_in_a_bound() {
        const MANY: usize = 100 * MEMBERS_MAX;
        let mut told = Told::default();
        let add =
            |told: &mut Told, ids: std::ops::Range<usize>| ids.filter(|&id| told.add(ServerId(id as i64))).count();
        assert_eq!((add(&mut told, 0..3), add(&mut told, 0..3)), (3, 0));
        told.remove(ServerId(1));
        assert_eq!(add(&mut told, 0..3), 1);
        assert_eq!(add(&mut told, 0..MANY), MANY - 3);
        assert!(told.0.len() <= MEMBERS_MAX);
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(in_short("a\nb\n", 10), "a, b");
        assert_eq!(in_short("a\r\x1b[2Jb", 10), "a??[2Jb");
        assert_eq!(in_short("aöb", 2), "a … (4 bytes)");
        assert!(in_short(&"server.1=h:1:2\n".repeat(40_000), 2048).len() < 4096);
    }
}
