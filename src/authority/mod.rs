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
//!   `Narrow` to the `Anchor` in it, but with the tree: [`Tree::open`](crate::Tree::open).
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
mod halves;
mod narrow;
mod revocable;
mod rights;
mod watching;

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::anchor::Anchor;

pub use allowance::{Allowance, Charge, Kept, Resource};
pub use denied::{Denied, NarrowError, NarrowStoreAtError, NarrowStoreError};
pub use grant::Grant;
pub use halves::{NarrowLoader, NarrowStorer};
pub use narrow::Narrow;
pub use revocable::{Revocable, Revoked};
pub use rights::{Right, Rights, UnknownRight};
pub use watching::{NarrowWait, NarrowWatch};

/// The most grants that one authority is made of: how often an anchor can be narrowed again.
pub(crate) const MAX_GRANTS: usize = 16;

/// A table for so many entries is never too large.
const SMALL: usize = 64;

/// The grants that something was reached by: what a [`Narrow`] has besides its anchor, for programs that
/// offer more at their anchors, as the `killick` server offers channels. Keeps no node.
///
/// # Examples
/// ```
/// use killick::{Allowance, Denied, Limits, Resource, Rights, Tree};
///
/// let tree = Tree::<String>::new(Limits::default());
/// let allowance = Allowance { value_bytes: 10, ..Allowance::default() };
/// let (anchor, grant) = tree.root().attenuate(Rights::ALL, allowance);
/// let authority = anchor.authority();
/// let charge = authority.charge(Resource::ValueBytes, 8)?;
/// assert!(authority.charge(Resource::ValueBytes, 3).is_err());
/// drop(charge);
/// assert_eq!(grant.used(Resource::ValueBytes), 0);
///
/// let key = authority.guard("a key")?;
/// assert_eq!(key.with(|key| key.len()), Ok(5));
/// grant.revoke();
/// assert_eq!(key.with(|key| key.len()), Err(Denied::Revoked));
/// assert_eq!(authority.guard("another").unwrap_err(), Denied::Revoked);
/// # Ok::<(), Denied>(())
/// ```
#[derive(Clone)]
pub struct Authority {
    /// At least one, each once, in the order of their addresses.
    grants: Arc<[Grant]>,
    rights: Rights,
}

impl Authority {
    fn of(grant: Grant) -> Self {
        let rights = grant.rights();
        Authority { grants: Arc::new([grant]), rights }
    }

    /// The rights that all of its grants give.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// All grants of both.
    ///
    /// # Errors
    /// [`Denied::TooManyGrants`].
    pub fn and(&self, other: &Authority) -> Result<Self, Denied> {
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

    /// An anchor by these grants: one that came, as a value for instance, to somebody who has no more.
    ///
    /// # Errors
    /// [`Denied::Revoked`], [`Denied::Exhausted`].
    pub fn narrow<V: Send + Sync + 'static>(
        &self,
        anchor: &Anchor<V>,
    ) -> Result<Narrow<V>, Denied> {
        Narrow::new(self.clone(), anchor.clone())
    }

    /// Counts `amount` of `resource` to all of its grants, until what is returned is dropped: of what the
    /// tree does not count by itself. Needs no right.
    ///
    /// # Errors
    /// [`Denied::Exhausted`].
    pub fn charge(&self, resource: Resource, amount: usize) -> Result<Charge, Denied> {
        Charge::take(self, resource, amount)
    }

    /// Makes `thing` belong to this authority: it is dropped when one of the grants is revoked.
    ///
    /// # Errors
    /// [`Denied::Revoked`].
    pub fn guard<T: Send + Sync + 'static>(&self, thing: T) -> Result<Revocable<T>, Denied> {
        Revocable::new(self.clone(), thing)
    }

    /// The grants that it is of, which all hold.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether nobody else has it, and nobody the grant that was made last of its: nothing can be reached by it any
    /// more but by whoever asks.
    pub fn is_unshared(&self) -> bool {
        let made = |grant: &&Grant| grant.above().map_or(0, |above| above.grants.len());
        let last = self.grants.iter().max_by_key(made);
        Arc::strong_count(&self.grants) == 1 && last.is_some_and(Grant::is_unshared)
    }

    /// Whether one of the grants has been revoked.
    ///
    /// # Progress
    /// As [`Grant::is_revoked`], for each.
    pub fn is_revoked(&self) -> bool {
        self.grants.iter().any(Grant::is_revoked)
    }

    /// The deepest that a node may lie, counted from the root, and what the grant that says so allows.
    fn depth(&self) -> (usize, usize) {
        let of = |grant: &Grant| (grant.max_depth(), grant.allowance().depth);
        self.grants.iter().map(of).min().unwrap_or((usize::MAX, usize::MAX))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.grants).finish()
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

/// Gives memory back of a table that holds far less than it did once. What that costs is less than what
/// the removals did that led there.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SMALL && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len());
    }
}

/// Locks; a panic of another holder does not matter, as each leaves what it locks whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
