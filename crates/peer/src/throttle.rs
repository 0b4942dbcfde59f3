//! The connection throttle: how many ConnectRequests a server takes in, so that a herd that comes back at once does not
//! put sessions before everything else.
//!
//! A bucket of tokens that fills with time, and before it, if switched on, a chance that a request is turned away: BLUE,
//! which goes up while the bucket is empty and down while it is (nearly) full. Who is turned away is closed without a
//! reply and tries again.
//!
//! Source: `BlueThrottle`. Its sums overflow after enough time (ZOOKEEPER-4933); these have room for every value.

use crate::time::Now;

/// The keys `connection_throttle_…`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionThrottleConfig {
    /// Size of the bucket.
    pub tokens: u32,
    /// Time between refills, in ms, at least 1.
    pub fill_ms: u32,
    /// Tokens in a refill.
    pub fill_count: u32,
    /// Time between two changes of the drop probability, in ms; `None`: it stays 0.
    pub freeze_ms: Option<u32>,
    /// Step up, 0 to 1.
    pub drop_increase: f64,
    /// Step down, 0 to 1.
    pub drop_decrease: f64,
    /// Share of the bucket that may be missing while the probability goes down, 0 to 1.
    pub decrease_ratio: f64,
    /// Tokens that a request needs by what it asks for; `None`: one, whatever it asks for. With weights, bucket and refill
    /// count sessions that all servers know.
    pub weights: Option<SessionWeights>,
    /// Are new sessions known to this server only (`localSessionsEnabled`)?
    pub local_sessions: bool,
}

/// Tokens that a ConnectRequest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionWeights {
    /// For a new session that all servers know.
    pub global: u32,
    /// For a new session that only this server knows.
    pub local: u32,
    /// To go on with a session.
    pub renew: u32,
}

/// What a ConnectRequest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionWish {
    /// A new session.
    New,
    /// To go on with a session.
    Renew,
}

/// The throttle of one server.
#[derive(Debug, Clone)]
pub struct ConnectionThrottle {
    config: ConnectionThrottleConfig,
    tokens_max: u64,
    fill_count: u64,
    tokens: u64,
    filled_ms: i64,
    changed_ms: i64,
    drop_probability: f64,
    random: u64,
}

impl ConnectionThrottle {
    /// With a full bucket. `seed` makes the choices of BLUE.
    pub fn new(config: ConnectionThrottleConfig, seed: u64, now: Now) -> Self {
        let unit = config.weights.map_or(1, |weights| u64::from(weights.global));
        let tokens_max = u64::from(config.tokens) * unit;
        let fill_count = u64::from(config.fill_count) * unit;
        let now_ms = now.mono_ms();
        Self {
            config,
            tokens_max,
            fill_count,
            tokens: tokens_max,
            filled_ms: now_ms,
            changed_ms: now_ms,
            drop_probability: 0.0,
            random: seed,
        }
    }

    /// May this request be served? If so, its tokens are gone.
    pub fn admit(&mut self, now: Now, wish: SessionWish) -> bool {
        let now_ms = now.mono_ms();
        let need = match (self.config.weights, wish) {
            (None, _) => 1,
            (Some(weights), SessionWish::New) if self.config.local_sessions => weights.local,
            (Some(weights), SessionWish::New) => weights.global,
            (Some(weights), SessionWish::Renew) => weights.renew,
        };
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        if passed_ms > i64::from(self.config.fill_ms) {
            let refill = u128::from(passed_ms.unsigned_abs()) * u128::from(self.fill_count)
                / u128::from(self.config.fill_ms.max(1));
            let tokens = u128::from(self.tokens) + refill;
            self.tokens = u64::try_from(tokens).map_or(self.tokens_max, |tokens| tokens.min(self.tokens_max));
            self.filled_ms = now_ms;
        }
        if let Some(freeze_ms) = self.config.freeze_ms
            && self.blue_drops(now_ms, freeze_ms)
        {
            return false;
        }
        match self.tokens.checked_sub(u64::from(need)) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// The tokens that are missing from the bucket.
    pub fn deficit(&self) -> u64 {
        self.tokens_max - self.tokens
    }

    /// 0 to 1.
    pub fn drop_probability(&self) -> f64 {
        self.drop_probability
    }

    fn blue_drops(&mut self, now_ms: i64, freeze_ms: u32) -> bool {
        if now_ms.saturating_sub(self.changed_ms) > i64::from(freeze_ms) {
            let threshold = (self.tokens_max as f64 * self.config.decrease_ratio).round() as u64;
            if self.tokens == 0 {
                self.drop_probability = (self.drop_probability + self.config.drop_increase).min(1.0);
            } else if self.deficit() <= threshold {
                self.drop_probability = (self.drop_probability - self.config.drop_decrease).max(0.0);
            }
            self.changed_ms = now_ms;
        }
        self.next_random() < self.drop_probability
    }

    /// SplitMix64, as a number from 0 to below 1.
    fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_ms: 0 }
    }

    fn config(tokens: u32, fill_ms: u32, fill_count: u32) -> ConnectionThrottleConfig {
        ConnectionThrottleConfig {
            tokens,
            fill_ms,
            fill_count,
            freeze_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weights: None,
            local_sessions: false,
        }
    }

    fn admitted(throttle: &mut ConnectionThrottle, ms: u64, wish: SessionWish, tries: usize) -> usize {
        (0..tries).filter(|_| throttle.admit(at(ms), wish)).count()
    }

    #[test]
    fn the_bucket_empties_and_fills() {
        let mut throttle = ConnectionThrottle::new(config(5, 100, 2), 1, at(0));
        assert_eq!(admitted(&mut throttle, 0, SessionWish::New, 9), 5);
        assert_eq!(throttle.deficit(), 5);
        // A refill comes when more than its time has passed, and counts all of it.
        assert_eq!(admitted(&mut throttle, 100, SessionWish::Renew, 9), 0);
        assert_eq!(admitted(&mut throttle, 101, SessionWish::Renew, 9), 2);
        assert_eq!(admitted(&mut throttle, 251, SessionWish::New, 9), 3);
        assert_eq!(admitted(&mut throttle, 100_000, SessionWish::New, 9), 5, "never more than its size");
    }

    #[test]
    fn weights_multiply_the_bucket_and_the_refill() {
        let weights = Some(SessionWeights { global: 3, local: 1, renew: 2 });
        let mut throttle = ConnectionThrottle::new(ConnectionThrottleConfig { weights, ..config(2, 10, 1) }, 1, at(0));
        assert_eq!(admitted(&mut throttle, 0, SessionWish::New, 9), 2);
        assert_eq!(admitted(&mut throttle, 11, SessionWish::Renew, 9), 1);
        throttle.config.local_sessions = true;
        assert_eq!(admitted(&mut throttle, 11, SessionWish::New, 9), 1, "the third token is enough for a local one");
        assert_eq!(admitted(&mut throttle, 100, SessionWish::Renew, 9), 3);
    }

    #[test]
    fn nothing_overflows() {
        // ZOOKEEPER-4933: the largest values, and more time than any server has.
        let weights = Some(SessionWeights { global: i32::MAX as u32, local: 1, renew: 1 });
        let large = ConnectionThrottleConfig { weights, ..config(i32::MAX as u32, 1, i32::MAX as u32) };
        let mut throttle = ConnectionThrottle::new(large, 1, at(0));
        for ms in [0, 1, 2, 1 << 31, 1 << 40, 1 << 53] {
            assert!(throttle.admit(at(ms), SessionWish::New), "{ms}");
            assert!(throttle.deficit() <= throttle.tokens_max);
        }
        // A clock that stands still, or a bucket smaller than one request.
        let weights = Some(SessionWeights { global: 1, local: 1, renew: 9 });
        let mut throttle = ConnectionThrottle::new(ConnectionThrottleConfig { weights, ..config(1, 1, 1) }, 1, at(5));
        assert_eq!(admitted(&mut throttle, 0, SessionWish::Renew, 3), 0);
        assert_eq!(admitted(&mut throttle, 0, SessionWish::New, 3), 1);
    }

    #[test]
    fn blue_goes_up_while_the_bucket_is_empty_and_down_while_it_is_full() {
        let blue = ConnectionThrottleConfig {
            freeze_ms: Some(9),
            drop_increase: 0.25,
            drop_decrease: 0.125,
            ..config(1, 1_000_000, 1)
        };
        let mut throttle = ConnectionThrottle::new(blue, 7, at(0));
        assert!(throttle.admit(at(0), SessionWish::New));
        // At the freeze time itself nothing changes yet.
        for (ms, probability) in [(9, 0.0), (10, 0.25), (19, 0.25), (20, 0.5), (30, 0.75), (40, 1.0), (50, 1.0)] {
            throttle.admit(at(ms), SessionWish::New);
            assert_eq!(throttle.drop_probability(), probability, "{ms}");
        }
        // All are turned away, however full the bucket is, until the probability has come down.
        let mut passed = Vec::new();
        for step in 0..9 {
            let ms = 2_000_000_000 + step * 10;
            throttle.tokens = throttle.tokens_max;
            passed.push(throttle.admit(at(ms), SessionWish::New));
            assert_eq!(throttle.drop_probability(), (1.0 - 0.125 * (step + 1) as f64).max(0.0));
        }
        assert_eq!(passed.last(), Some(&true));
        assert!(passed.contains(&false), "{passed:?}");
        // The chance is what it says.
        throttle.drop_probability = 0.25;
        throttle.changed_ms = 3_000_000_000;
        let mut dropped = 0;
        for _ in 0..4000 {
            throttle.tokens = 2;
            throttle.tokens_max = 2;
            dropped += u32::from(!throttle.admit(at(2_000_000_100), SessionWish::New));
        }
        assert!((900..1100).contains(&dropped), "{dropped}");
    }
}
