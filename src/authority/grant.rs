//! What was given away by narrowing an anchor once, and the way to take it back.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, Weak};

use super::allowance::Used;
use super::revocable::Revoke;
use super::{Allowance, Authority, Denied, Resource, Rights, lock, shrink};

/// What one call of [`Anchor::attenuate`](crate::Anchor::attenuate) or
/// [`Narrow::attenuate`](crate::Narrow::attenuate) gave away: whoever has it can take that back, and see
/// how much of it is used. To drop it revokes nothing.
///
/// Clones are the same grant, and so are those that are equal.
///
/// # Examples
/// ```
/// use killick::{Allowance, Denied, Limits, NarrowError, Resource, Right, Rights, Tree};
///
/// let tree = Tree::<u32>::new(Limits::default());
/// let allowance = Allowance { nodes: 2, ..Allowance::default() };
/// let (jobs, grant) = tree.root().walk("jobs")?.attenuate(Rights::ALL, allowance);
/// let job = jobs.walk("1/log").unwrap();
/// assert_eq!(grant.used(Resource::Nodes), 2);
/// assert_eq!(jobs.walk("2").unwrap_err().to_string(), "the grant's limit of 2 nodes would be exceeded");
///
/// grant.revoke();
/// assert_eq!(job.load().unwrap_err(), Denied::Revoked);
/// assert_eq!(tree.nodes(), 1); // nothing else kept "jobs/1/log"
/// # Ok::<(), killick::WalkError>(())
/// ```
#[derive(Clone)]
pub struct Grant(Arc<Granted>);

struct Granted {
    rights: Rights,
    allowance: Allowance,
    /// The address of the node that was narrowed, and its depth.
    base: (usize, usize),
    /// What whoever narrowed it had, if that was not everything.
    above: Option<Authority>,
    used: Used,
    holders: Mutex<Holders>,
    /// Held for as long as it is being revoked.
    revoking: Mutex<()>,
}

/// Who has something by a grant, by their addresses.
#[derive(Default)]
struct Holders {
    revoked: bool,
    all: HashMap<usize, Weak<dyn Revoke>>,
}

impl Grant {
    pub(super) fn new(
        rights: Rights,
        allowance: Allowance,
        base: (usize, usize),
        above: Option<Authority>,
    ) -> Self {
        Grant(Arc::new(Granted {
            rights,
            allowance,
            base,
            above,
            used: Used::default(),
            holders: Mutex::default(),
            revoking: Mutex::default(),
        }))
    }

    /// The rights that it gives, of those that its anchor had.
    pub fn rights(&self) -> Rights {
        self.0.rights
    }

    /// By what it was made, if not by somebody with all rights: it allows no more than that does.
    pub fn above(&self) -> Option<&Authority> {
        self.0.above.as_ref()
    }

    pub(super) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// How much it allows to have at a time.
    pub fn allowance(&self) -> &Allowance {
        &self.0.allowance
    }

    /// How much of `resource` is had by it at this moment; 0 of nodes if they have no limit, and of depth.
    ///
    /// # Progress
    /// For nodes it waits for other threads that take or drop handles of the grant; wait-free for the rest.
    pub fn used(&self, resource: Resource) -> usize {
        self.0.used.of(resource)
    }

    /// [`used`](Self::used) of each resource.
    pub fn all_used(&self) -> Allowance {
        let with = |all: Allowance, resource| all.with(resource, self.used(resource));
        Resource::ALL.into_iter().fold(Allowance::default(), with)
    }

    /// Takes it back: from the return on, everything that was reached by it, and by what was made of it,
    /// is [`Denied::Revoked`], operations under way on other threads included. What nothing else keeps is
    /// gone from the tree; other handles to the same nodes, and values that were stored, are untouched.
    ///
    /// A second call changes nothing, and returns when the first has.
    ///
    /// # Progress
    /// Waits for the operations that are under way by this grant, and for no others.
    ///
    /// # Complexity
    /// O(h) for the handles that were reached by it; other grants cost nothing.
    ///
    /// # Panics
    /// It does not; but it never returns if it is called in an operation on something of this grant: by
    /// the destructor of a value that such an operation drops.
    pub fn revoke(&self) {
        let _one = lock(&self.0.revoking);
        let holders = {
            let mut holders = lock(&self.0.holders);
            holders.revoked = true;
            std::mem::take(&mut holders.all)
        };
        holders.values().filter_map(Weak::upgrade).for_each(|holder| holder.revoke());
    }

    /// How many handles, watches and the like are held by it at this moment: those that [`revoke`](Self::revoke)
    /// has to take away.
    ///
    /// # Progress
    /// As [`is_revoked`](Self::is_revoked).
    pub fn holders(&self) -> usize {
        lock(&self.0.holders).all.len()
    }

    /// Whether it has been revoked, or is about to be, by itself or with a grant that it is a part of.
    ///
    /// # Progress
    /// Waits for other threads that make or drop a handle of this grant at the same moment.
    pub fn is_revoked(&self) -> bool {
        let above = self.0.above.as_ref();
        lock(&self.0.holders).revoked || above.is_some_and(Authority::is_revoked)
    }

    /// Has `holder` told when it is revoked.
    pub(super) fn enlist(&self, addr: usize, holder: Weak<dyn Revoke>) -> Result<(), Denied> {
        let mut holders = lock(&self.0.holders);
        if holders.revoked {
            return Err(Denied::Revoked);
        }
        holders.all.insert(addr, holder);
        Ok(())
    }

    /// Takes back [`enlist`](Self::enlist).
    pub(super) fn forget(&self, addr: usize) {
        let mut holders = lock(&self.0.holders);
        let known = holders.all.remove(&addr);
        shrink(&mut holders.all);
        drop(holders);
        drop(known);
    }

    /// For how many holders, and for how many nodes, there is memory.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (usize, usize) {
        (lock(&self.0.holders).all.capacity(), self.0.used.room())
    }

    pub(super) fn counts(&self) -> &Used {
        &self.0.used
    }

    /// The address of the node that was narrowed.
    pub(super) fn base(&self) -> usize {
        self.0.base.0
    }

    /// The deepest that a node may lie, from the root.
    pub(super) fn max_depth(&self) -> usize {
        self.0.base.1.saturating_add(self.0.allowance.depth)
    }

    /// Its identity while it is held.
    pub(super) fn addr(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Grant {}

impl Hash for Grant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addr().hash(state);
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("rights", &self.rights())
            .field("allowance", self.allowance())
            .field("revoked", &self.is_revoked())
            .finish()
    }
}
