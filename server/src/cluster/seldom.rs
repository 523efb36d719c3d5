//! Lines of a log that others can cause, as often as they like: one of each kind in a while, with how many were left
//! out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long no other line of a kind is told after one.
const PAUSE: Duration = Duration::from_secs(60);
/// So many kinds are known apart at a time: all others are one kind together.
const KINDS: usize = 256;

/// When lines of each kind were told.
#[derive(Debug)]
pub(crate) struct Seldom<K> {
    kinds: HashMap<K, Told>,
    others: Told,
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    left_out: u64,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Seldom { kinds: HashMap::new(), others: Told::default() }
    }
}

impl<K: Eq + Hash> Seldom<K> {
    /// Whether there may be a line of this kind at `now`: how many were left out since the last then.
    pub(crate) fn next(&mut self, kind: K, now: Instant) -> Option<u64> {
        if let Some(told) = self.kinds.get_mut(&kind) {
            return told.next(now);
        }
        if self.kinds.len() >= KINDS {
            let over = self.kinds.extract_if(|_, told| told.is_over(now));
            // What was left out of those is told with the others.
            self.others.left_out += over.map(|(_, told)| told.left_out).sum::<u64>();
        }
        if self.kinds.len() >= KINDS {
            return self.others.next(now);
        }
        self.kinds.entry(kind).or_default().next(now)
    }
}

impl Told {
    fn is_over(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) >= PAUSE)
    }

    fn next(&mut self, now: Instant) -> Option<u64> {
        if !self.is_over(now) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_each_kind_is_told_in_a_minute_and_the_others_are_counted() {
        let (mut lines, start) = (Seldom::default(), Instant::now());
        assert_eq!(lines.next("a", start), Some(0));
        assert_eq!((0..9).find_map(|_| lines.next("a", start + PAUSE / 2)), None);
        assert_eq!(lines.next("b", start + PAUSE / 2), Some(0));
        assert_eq!(lines.next("a", start + PAUSE), Some(9));
        assert_eq!(lines.next("a", start + PAUSE), None);
    }

    #[test]
    fn however_many_kinds_there_are_little_is_kept_and_nothing_goes_uncounted() {
        let (mut lines, start) = (Seldom::default(), Instant::now());
        let all = 4 * KINDS;
        let round = |lines: &mut Seldom<usize>, now| -> Vec<u64> {
            (0..all).filter_map(|kind| lines.next(kind, now)).collect()
        };
        // One line for each that is known apart, and one for all others.
        let first = round(&mut lines, start);
        let second = round(&mut lines, start + PAUSE);
        assert_eq!((first.len(), lines.kinds.len()), (KINDS + 1, KINDS));
        let told = first.len() + second.len();
        let left_out = first.iter().chain(&second).sum::<u64>() + lines.others.left_out;
        assert_eq!(told as u64 + left_out, 2 * all as u64);
    }
}
