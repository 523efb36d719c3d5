//! The records of others, and which of them are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::HostId;
use super::identity::Edition;
use super::record::Record;

/// The records of others, by host.
#[derive(Default)]
pub(crate) struct Records {
    held: BTreeMap<HostId, (Edition, Arc<Record>)>,
    missing: BTreeMap<HostId, Missing>,
}

/// A record that a host has told of and that is not here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    /// Who told of the host last: most likely to have the record.
    pub(crate) teller: HostId,
    pub(crate) due: Duration,
    pub(crate) asked: u32,
}

impl Records {
    pub(crate) fn get(&self, host: HostId, edition: Edition) -> Option<&Arc<Record>> {
        self.held.get(&host).filter(|(held, _)| *held == edition).map(|(_, record)| record)
    }

    /// The latest, though there may be a later one.
    pub(crate) fn latest(&self, host: HostId, generation: u64) -> Option<&Arc<Record>> {
        self.held
            .get(&host)
            .filter(|(held, _)| held.generation == generation)
            .map(|(_, record)| record)
    }

    pub(crate) fn put(&mut self, host: HostId, edition: Edition, record: Record) {
        self.missing.remove(&host);
        self.held.insert(host, (edition, Arc::new(record)));
    }

    pub(crate) fn forget(&mut self, host: HostId) {
        self.missing.remove(&host);
        self.held.remove(&host);
    }

    /// Asks for a record from `due` on, if that is not under way.
    pub(crate) fn miss(&mut self, host: HostId, teller: HostId, due: Duration) {
        self.missing.entry(host).or_insert(Missing { teller, due, asked: 0 });
    }

    /// No record of this host is to be asked for.
    pub(crate) fn done(&mut self, host: HostId) {
        self.missing.remove(&host);
    }

    pub(crate) fn due(&mut self, now: Duration) -> impl Iterator<Item = (HostId, &mut Missing)> {
        let due = move |(_, missing): &(&HostId, &mut Missing)| missing.due <= now;
        self.missing.iter_mut().filter(due).map(|(host, missing)| (*host, missing))
    }

    /// How many there are, and how many are missing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn kept(&self) -> [usize; 2] {
        [self.held.len(), self.missing.len()]
    }
}
