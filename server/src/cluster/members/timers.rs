//! What is to be done when: all in one order.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::Timer;

use super::{HostId, Identity};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    Foca(Timer<Identity>),
    /// Compare all that is known with some host.
    Sync,
    /// Ask for the records that are missing.
    Pull,
    /// Try a host that is taken for dead.
    Reconnect,
}

/// What is to be done, by time; what was asked for first comes first.
#[derive(Default)]
pub(crate) struct Timers {
    jobs: BTreeMap<Key, Job>,
    /// The job by which each host is forgotten that is down: the latest, as those before are of former identities.
    removals: BTreeMap<HostId, Key>,
    asked: u64,
}

/// When, and as which of all that was asked for.
type Key = (Duration, u64);

impl Timers {
    pub(crate) fn add(&mut self, at: Duration, job: Job) {
        let key = (at, self.asked);
        self.asked += 1;
        if let Job::Foca(Timer::RemoveDown(gone)) = &job
            && let Some(former) = self.removals.insert(gone.host, key)
        {
            self.jobs.remove(&former);
        }
        self.jobs.insert(key, job);
    }

    /// Drops what is not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        self.jobs.retain(|_, job| keep(job));
        self.removals.retain(|_, key| self.jobs.contains_key(key));
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.jobs.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first, if it is due.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Job> {
        let first = self.jobs.first_entry().filter(|first| first.key().0 <= now)?;
        let job = first.remove();
        if let Job::Foca(Timer::RemoveDown(gone)) = &job {
            self.removals.remove(&gone.host);
        }
        Some(job)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }
}
