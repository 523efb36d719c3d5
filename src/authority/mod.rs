//! Anchors that give less than all: some rights, within limits, until they are taken back.
//!
//! An [`Anchor`](crate::Anchor) confines its holder to a subtree, and lets it do everything there for as
//! long as it likes. A [`Narrow`] is an anchor with an *authority*: the set of the [`Grant`]s that it was
//! made by. Each call of `attenuate` makes one more.
//!
//! ```text
//!   Anchor ──attenuate──▶ Narrow {g1} ──walk──▶ Narrow {g1} ──attenuate──▶ Narrow {g1, g2}
//!                          │    │                                             │
//!                          │    └─ g1: rights, limits, revoked?               └─ g2: its own
//!                          └─ Revocable: the anchor, until one of the grants is revoked
//! ```
//! - A1: what is reached through a `Narrow` has all of its grants, and none less. There is no way from a
//!   `Narrow` to the `Anchor` in it.
//! - A2: a right is had if every grant gives it; a limit is met when any of them meets its own. So what
//!   is handed on comes out of what was had.
//! - A3: whoever holds something by an authority is listed with each of its grants ([`Revocable`]), and
//!   is listed before it can be used: `revoke` marks the grant first, under the lock of its list, and
//!   empties all that is in the list after that. Nothing can be added to the list of a marked grant.
//! - A4: a use holds the lock of what it uses, for reading, until it is done. `revoke` takes that lock for
//!   writing: when it returns, no use is under way and none can begin.
//! - A5: what is counted is counted by a guard: it is given back when that is dropped, once.
//!
//! # What blocks
//! All of it is made of locks that are held for the time of one operation of the tree: a use waits for
//! the `revoke` of one of its grants, and for nothing else but other threads that make or drop handles of
//! the same grant at the same moment. Anchors without an authority pass by all of it.
//!
//! No lock of a grant is held while something is dropped, or a guard is pinned, which may run
//! destructors of values.

mod allowance;
mod denied;
mod grant;
mod narrow;
mod revocable;
mod rights;
mod watching;

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use allowance::{Allowance, Charge, Kept, Resource};
pub use denied::{Denied, NarrowError, NarrowStoreError};
pub use grant::Grant;
pub use narrow::Narrow;
pub use revocable::{Revocable, Revoked};
pub use rights::{Right, Rights, UnknownRight};
pub use watching::NarrowWatch;

/// The most grants that one authority is made of: how often an anchor can be narrowed again.
pub(crate) const MAX_GRANTS: usize = 16;

/// The grants that something was reached by, at least one, each once, in the order of their addresses.
#[derive(Clone)]
struct Authority {
    grants: Arc<[Grant]>,
    rights: Rights,
}

impl Authority {
    fn of(grant: Grant) -> Self {
        let rights = grant.rights();
        Authority { grants: Arc::new([grant]), rights }
    }

    /// All grants of both.
    fn and(&self, other: &Authority) -> Result<Self, Denied> {
        if other.grants.iter().all(|grant| self.grants.contains(grant)) {
            return Ok(self.clone());
        }
        let mut grants: Vec<Grant> = self.grants.iter().chain(&*other.grants).cloned().collect();
        grants.sort_unstable_by_key(Grant::addr);
        grants.dedup();
        if grants.len() > MAX_GRANTS {
            return Err(Denied::TooManyGrants { limit: MAX_GRANTS });
        }
        Ok(Authority { grants: grants.into(), rights: self.rights & other.rights })
    }

    /// The deepest that a node may lie, counted from the root, and what the grant that says so allows.
    fn depth(&self) -> (usize, usize) {
        let of = |grant: &Grant| (grant.max_depth(), grant.allowance().depth);
        self.grants.iter().map(of).min().unwrap_or((usize::MAX, usize::MAX))
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.grants == other.grants
    }
}

impl Eq for Authority {}

impl Hash for Authority {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.grants.hash(state);
    }
}

/// Locks; a panic of another holder does not matter, as each leaves what it locks whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
