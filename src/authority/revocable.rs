//! Something that is had until a grant is revoked.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};

use super::{Authority, Denied, lock};

/// What a grant tells that it is revoked.
pub(super) trait Revoke: Send + Sync {
    fn revoke(&self);
}

struct Slot<T> {
    authority: Authority,
    /// Nothing once one of the grants is revoked.
    held: RwLock<Option<T>>,
    waiting: Mutex<Waiting>,
}

/// Who waits for the revocation.
#[derive(Default)]
struct Waiting {
    last: u64,
    wakers: Vec<(u64, Waker)>,
}

impl<T> Slot<T> {
    fn is_revoked(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl<T: Send + Sync> Revoke for Slot<T> {
    fn revoke(&self) {
        // Waits for the uses under way (A4).
        let held = self.held.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(held);
        let waiting = std::mem::take(&mut lock(&self.waiting).wakers);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let addr = std::ptr::from_ref(self).addr();
        self.authority.grants.iter().for_each(|grant| grant.forget(addr));
    }
}

/// Something that belongs to an authority: when one of its grants is revoked it is dropped, wherever it
/// is held. Made by [`Authority::guard`](crate::Authority::guard), for what a program offers beside anchors.
///
/// Clones are the same thing, and so are those that are equal.
pub struct Revocable<T>(Arc<Slot<T>>);

impl<T: Send + Sync + 'static> Revocable<T> {
    pub(super) fn new(authority: Authority, thing: T) -> Result<Self, Denied> {
        let (held, waiting) = (RwLock::new(Some(thing)), Mutex::default());
        let slot = Arc::new(Slot { authority, held, waiting });
        let addr = Arc::as_ptr(&slot).addr();
        for grant in slot.authority.grants.iter() {
            let holder: Weak<dyn Revoke> = Arc::downgrade(&slot) as _;
            grant.enlist(addr, holder)?;
        }
        Ok(Revocable(slot))
    }
}

impl<T> Revocable<T> {
    /// What it belongs to.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Uses it. Revocation waits until `using` returns: keep it short, and do not revoke in it.
    ///
    /// # Progress
    /// Waits while it is being revoked; then it is.
    ///
    /// # Errors
    /// [`Denied::Revoked`].
    pub fn with<R>(&self, using: impl FnOnce(&T) -> R) -> Result<R, Denied> {
        let held = self.0.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(using).ok_or(Denied::Revoked)
    }

    /// Resolves when it is revoked.
    pub fn revoked(&self) -> Revoked<T> {
        Revoked { slot: self.0.clone(), id: None }
    }
}

/// Resolves when a [`Revocable`] is revoked. Made by [`Revocable::revoked`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Revoked<T> {
    slot: Arc<Slot<T>>,
    /// What its waker is known by.
    id: Option<u64>,
}

impl<T> Future for Revoked<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let id = {
            let mut waiting = lock(&self.slot.waiting);
            let id = self.id.unwrap_or_else(|| {
                waiting.last += 1;
                waiting.last
            });
            match waiting.wakers.iter_mut().find(|(known, _)| *known == id) {
                Some((_, waker)) => waker.clone_from(context.waker()),
                None => waiting.wakers.push((id, context.waker().clone())),
            }
            id
        };
        self.id = Some(id);
        // After it is listed: who revokes empties first, and wakes then.
        match self.slot.is_revoked() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<T> Drop for Revoked<T> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut waiting = lock(&self.slot.waiting);
        let at = waiting.wakers.iter().position(|(known, _)| *known == id);
        let waker = at.map(|at| waiting.wakers.swap_remove(at));
        drop(waiting);
        drop(waker);
    }
}

impl<T> fmt::Debug for Revoked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoked")
    }
}

impl<T> Clone for Revocable<T> {
    fn clone(&self) -> Self {
        Revocable(self.0.clone())
    }
}

impl<T> PartialEq for Revocable<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Revocable<T> {}

impl<T> Hash for Revocable<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).addr().hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Revocable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.with(|thing| write!(f, "Revocable({thing:?})")) {
            Ok(written) => written,
            Err(denied) => write!(f, "Revocable({denied})"),
        }
    }
}
