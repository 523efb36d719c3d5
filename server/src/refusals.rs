//! Connections that are not served: counted all, and told in the log as long as they are few. Whoever can
//! reach the server can cause them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The server has its limit of connections.
    Full,
    /// More TLS handshakes are under way than may be.
    Handshakes,
    /// Who it is shows at once, and is not let in.
    Stranger,
    /// It has not shown who it is, or that one is not let in.
    Unproven,
}

/// How many lines there are of each kind in a [`SPAN`] at most.
const LINES: u64 = 10;
/// How long lines are counted before it begins anew.
const SPAN: Duration = Duration::from_secs(1);

/// The connections that were not served.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    lines: [Mutex<Lines>; 4],
}

/// The lines of one kind.
#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    told: u64,
    left_out: u64,
}

impl Lines {
    /// Whether there may be a line at `now`: how many were left out before it then.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= SPAN) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told >= LINES {
            self.left_out += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Refusals {
    /// Notes that `peer` is not served, and why.
    pub(crate) fn note(&self, kind: Refusal, peer: &str, reason: &dyn fmt::Display) {
        // Relaxed, here and below: a count for people to read.
        self.count.fetch_add(1, Ordering::Relaxed);
        let lines = &self.lines[kind as usize];
        // Nothing in there can panic.
        let may = lines.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
        if let Some(left_out) = may {
            let left_out = (left_out > 0).then_some(left_out);
            warn!(peer, %reason, left_out, "connection refused");
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_in_a_second_some_are_told_and_the_others_are_counted() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let told = |lines: &mut Lines, now| (0..25).filter_map(|_| lines.next(now)).collect();
        let first: Vec<u64> = told(&mut lines, start);
        assert_eq!(first, [0; 10]);
        let then: Vec<u64> = told(&mut lines, start + SPAN);
        assert_eq!((then[0], &then[1..]), (15, &[0; 9][..]));
    }
}
