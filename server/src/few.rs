//! Lines of the log that others can cause: some of each kind in a second, with how many were left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many lines there are in a [`SPAN`] at most.
const LINES: u64 = 10;
/// How long lines are counted before it begins anew.
const SPAN: Duration = Duration::from_secs(1);

/// The lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct Few(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    told: u64,
    left_out: u64,
}

impl Few {
    /// Whether there may be a line: how many were left out before it then.
    pub(crate) fn next(&self) -> Option<u64> {
        // Nothing in there can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now())
    }
}

impl Lines {
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
