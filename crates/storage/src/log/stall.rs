//! When to speak of a write or sync that hangs: while it does, not only when it is over.

/// Watches one thing that may hang.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct StallWatch {
    /// Of what was told last: when it began, and after how long it will be told of again.
    told: Option<(i64, i64)>,
}

impl StallWatch {
    /// Something is under way since `since_ms`, or nothing. How long it takes already, if it is time to say so: after
    /// `after_ms`, after twice as long, four times, and so on. All in ms of the clock that never goes back.
    pub fn look(&mut self, now_ms: i64, since_ms: Option<i64>, after_ms: i64) -> Option<i64> {
        let Some(since) = since_ms else {
            self.told = None;
            return None;
        };
        let next = self.told.filter(|(began, _)| *began == since).map_or(after_ms.max(1), |(_, next)| next);
        let took = now_ms - since;
        if took < next {
            return None;
        }
        // The next time, also if nobody looked for long.
        let next = (1..=40).map(|n| next.saturating_mul(1 << n)).find(|next| *next > took).unwrap_or(i64::MAX);
        self.told = Some((since, next));
        Some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_told_of_less_and_less_often() {
        let mut watch = StallWatch::default();
        let told: Vec<i64> = (0..100).filter_map(|now| watch.look(now * 100, Some(500), 1000)).collect();
        assert_eq!(told, [1000, 2000, 4000, 8000]);
        assert_eq!(watch.look(50_000, Some(49_500), 1000), None, "another one");
        assert_eq!(watch.look(99_500, Some(49_500), 1000), Some(50_000));
        assert_eq!(watch.look(99_600, Some(49_500), 1000), None);
        assert_eq!(watch.look(99_700, None, 1000), None);
        assert_eq!(watch.look(113_500, Some(49_500), 1000), Some(64_000), "nothing was under way in between");
    }

    #[test]
    fn what_is_quick_is_not_told_of() {
        let mut watch = StallWatch::default();
        assert!((0..1000).all(|now| watch.look(now, Some(now - now % 999), 1000).is_none()));
        assert!((0..1000).all(|now| watch.look(now, None, 0).is_none()));
    }
}
