//! Who there is, as this host sees it: foca's notifications, made into what a watcher wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{HostId, Identity, State};

/// What has become of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there; for the first time, or again in the life in which it was taken for dead.
    Joined,
    /// It has another record or another address, in the same life.
    Updated,
    /// It is there in another life: what was known of the former one has ended.
    Restarted,
    /// It does not answer, and may contradict.
    Suspected,
    /// It has contradicted.
    Refuted,
    /// It has said that it goes.
    Left,
    /// It is taken for dead.
    Failed,
    /// It was away for so long that it is not remembered any more.
    Forgotten,
}

/// A host, as this one sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    pub(crate) state: State,
    /// By the driver's clock.
    pub(crate) since: Duration,
    /// Foca takes it for alive, and tells of no other state when it is back: so it is with a host that has
    /// said that it goes, until it is down.
    alive: bool,
}

impl Entry {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }
}

/// The other hosts.
#[derive(Default)]
pub(crate) struct Roster {
    hosts: BTreeMap<HostId, Entry>,
    suspects: BTreeSet<HostId>,
}

impl Roster {
    pub(crate) fn get(&self, host: HostId) -> Option<&Entry> {
        self.hosts.get(&host)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HostId, &Entry)> {
        self.hosts.iter()
    }

    pub(crate) fn suspects(&self) -> &BTreeSet<HostId> {
        &self.suspects
    }

    /// A host is up, or is another identity of itself.
    pub(crate) fn up(&mut self, identity: Identity, now: Duration) -> Option<Change> {
        let known = self.hosts.get(&identity.host);
        let change = match known {
            _ if identity.leaving => return self.leave(identity, now),
            Some(known) if known.identity.generation < identity.generation => Change::Restarted,
            Some(known) if !known.is_up() => Change::Joined,
            Some(known) if known.identity == identity => return None,
            Some(_) => Change::Updated,
            None => Change::Joined,
        };
        let since = match (change, known) {
            (Change::Updated, Some(known)) => known.since,
            _ => now,
        };
        self.suspects.remove(&identity.host);
        let entry = Entry { identity, state: State::Up, since, alive: true };
        self.hosts.insert(identity.host, entry);
        Some(change)
    }

    /// A host that is alive has said that it goes.
    fn leave(&mut self, identity: Identity, now: Duration) -> Option<Change> {
        let change = self.down(identity, now);
        if let Some(entry) = self.hosts.get_mut(&identity.host) {
            entry.alive = true;
        }
        change
    }

    /// A host that was up is not any more.
    pub(crate) fn down(&mut self, identity: Identity, now: Duration) -> Option<Change> {
        let (state, change) = if identity.leaving {
            (State::Left, Change::Left)
        } else {
            (State::Failed, Change::Failed)
        };
        self.suspects.remove(&identity.host);
        let entry = Entry { identity, state, since: now, alive: false };
        let known = self.hosts.insert(identity.host, entry);
        let was_up = known.is_none_or(|known| known.is_up() || known.state != state);
        was_up.then_some(change)
    }

    /// A host goes by `to`, whether it is up or not.
    pub(crate) fn rename(&mut self, to: Identity, now: Duration) -> Option<Change> {
        let known = self.hosts.get_mut(&to.host)?;
        if known.alive {
            return self.up(to, now);
        }
        if to.leaving {
            return self.down(to, now);
        }
        // Whether it is up, the next notification says, which needs to know of which life it was.
        if known.identity.generation == to.generation {
            known.identity = to;
        }
        None
    }

    /// Exactly these are suspected.
    pub(crate) fn suspect(&mut self, now: BTreeSet<HostId>, at: Duration) -> Vec<(HostId, Change)> {
        let mut changes = Vec::new();
        for host in self.suspects.symmetric_difference(&now) {
            let Some(entry) = self.hosts.get_mut(host).filter(|entry| entry.is_up()) else {
                continue;
            };
            let suspected = now.contains(host);
            entry.state = if suspected { State::Suspect } else { State::Up };
            entry.since = at;
            changes.push((*host, if suspected { Change::Suspected } else { Change::Refuted }));
        }
        self.suspects = now;
        changes
    }

    /// Forgets a host that is down as this identity, or an older one.
    pub(crate) fn forget(&mut self, identity: &Identity) -> Option<Change> {
        let entry = self.hosts.get(&identity.host)?;
        if entry.is_up() || entry.identity > *identity {
            return None;
        }
        self.hosts.remove(&identity.host);
        Some(Change::Forgotten)
    }
}
