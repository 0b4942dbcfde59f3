//! What is to happen, by time; what falls into the same microsecond happens in the order in which it was asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things to come.
#[derive(Debug, Clone)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    number: u64,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    at_us: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), number: 0 }
    }
}

impl<T> Queue<T> {
    /// `what` happens at this time, in µs.
    pub(crate) fn push(&mut self, at_us: u64, what: T) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at_us, number: self.number, what }));
    }

    /// The next thing that happens not later than `until_us`.
    pub(crate) fn pop(&mut self, until_us: u64) -> Option<(u64, T)> {
        if self.heap.peek()?.0.at_us > until_us {
            return None;
        }
        self.heap.pop().map(|Reverse(it)| (it.at_us, it.what))
    }
}
