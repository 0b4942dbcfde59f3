//! Time is an argument.

/// What the clocks say, as the driver read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Microseconds of a clock that never goes back: for timeouts and latencies.
    pub mono_us: u64,
    /// Milliseconds since 1970: for the times in Stats.
    pub wall_ms: i64,
}

impl Now {
    /// The clock that never goes back, in ms.
    pub const fn mono_ms(self) -> i64 {
        (self.mono_us / 1000) as i64
    }
}
