//! What one client thread has counted.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::check::Fault;
use crate::template::Kind;

/// Latencies above this are counted as this: a minute, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// Latencies in nanoseconds by kind of request, and errors.
#[derive(Debug)]
pub(crate) struct Stats {
    latency: Vec<Histogram<u64>>,
    /// Replies that were not what they should be, in the measured window and before it.
    pub(crate) errors: u64,
    /// The first of them.
    pub(crate) first_error: Option<String>,
    /// All replies ever, to see that there is progress.
    pub(crate) replies: u64,
}

impl Stats {
    /// Nothing counted yet.
    pub(crate) fn new() -> Result<Self> {
        let latency = Kind::ALL.iter().map(|_| histogram()).collect::<Result<_>>()?;
        Ok(Self { latency, errors: 0, first_error: None, replies: 0 })
    }

    /// `count` replies to requests of one kind that took `ns`.
    #[inline]
    pub(crate) fn record(&mut self, kind: Kind, ns: u64, count: u64) {
        self.latency[kind as usize].saturating_record_n(ns.max(1), count);
    }

    /// A reply that was not what it should be.
    pub(crate) fn error(&mut self, kind: Kind, number: u32, fault: Fault) {
        self.errors += 1;
        if self.first_error.is_none() {
            let what = match fault {
                Fault::Refused(code) => match wire::ErrorCode(code).name() {
                    Some(name) => format!("refused with {name} ({code})"),
                    None => format!("refused with {code}"),
                },
                Fault::Wrong(what) => what.to_owned(),
            };
            self.first_error = Some(format!("{} of znode {number}: {what}", kind.name()));
        }
    }

    /// Adds what another thread has counted.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            mine.add(theirs).context("adding histograms of one shape")?;
        }
        self.errors += other.errors;
        self.replies += other.replies;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }

    /// The latencies of a kind of request, if there were any.
    pub(crate) fn of(&self, kind: Kind) -> Option<&Histogram<u64>> {
        self.latency.get(kind as usize).filter(|it| !it.is_empty())
    }

    /// The latencies of all requests.
    pub(crate) fn all(&self) -> Result<Histogram<u64>> {
        let mut all = histogram()?;
        for each in &self.latency {
            all.add(each).context("adding histograms of one shape")?;
        }
        Ok(all)
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).context("a histogram of latencies")
}
