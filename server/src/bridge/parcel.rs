//! A message that can be kept or sent anywhere: capabilities are indices into a table of [`Cap`]s.

use std::fmt;
use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::ClientHook;
use capnp::traits::{Imbue, ImbueMut};
use capnp::{Error, any_pointer};

use super::{Bound, Bounds, Cap, Origin, Peer, resolved_so_far, settle};

/// What a pointer pointed to, copied out of its message.
pub(crate) struct Parcel<O> {
    message: Builder<HeapAllocator>,
    caps: Vec<Option<Cap<O>>>,
}

impl<O> Parcel<O> {
    /// Copies what `pointer` points to, which the client of `peer` sent; `None` if it is null. A
    /// capability that is still a promise is kept as that.
    ///
    /// # Errors
    /// Over a bound, in which case nothing was allocated, or malformed.
    pub(crate) fn pack<P: Peer<Own = O>>(
        peer: &Rc<P>,
        pointer: any_pointer::Reader<'_>,
    ) -> Result<Option<Self>, Error> {
        Self::pack_within(peer, peer.bounds(), pointer)
    }

    /// [`pack`](Self::pack) of an answer of the client's to a call.
    pub(crate) fn pack_answer<P: Peer<Own = O>>(
        peer: &Rc<P>,
        pointer: any_pointer::Reader<'_>,
    ) -> Result<Option<Self>, Error> {
        Self::pack_within(peer, peer.answers(), pointer)
    }

    fn pack_within<P: Peer<Own = O>>(
        peer: &Rc<P>,
        bounds: Bounds,
        pointer: any_pointer::Reader<'_>,
    ) -> Result<Option<Self>, Error> {
        let copied = copy(&**peer, bounds, pointer)?;
        copied.map(|copied| Self::keep(peer, copied)).transpose()
    }

    /// Keeps the capabilities of what was copied, as what they have become so far.
    fn keep<P: Peer<Own = O>>(peer: &Rc<P>, (message, hooks): Copied) -> Result<Self, Error> {
        let keep =
            |hook: Option<_>| hook.map(|hook| peer.import(resolved_so_far(hook))).transpose();
        let caps = hooks.into_iter().map(keep).collect::<Result<_, _>>()?;
        Ok(Parcel { message, caps })
    }

    /// [`pack`](Self::pack), which waits until every capability has settled. `copied` is called with
    /// the size in bytes before anything is waited for.
    pub(crate) async fn pack_settled<P: Peer<Own = O>, T>(
        peer: &Rc<P>,
        pointer: any_pointer::Reader<'_>,
        copied: impl FnOnce(usize) -> Result<T, Error>,
    ) -> Result<Option<(Self, T)>, Error> {
        let Some((message, hooks)) = copy(&**peer, peer.bounds(), pointer)? else {
            return Ok(None);
        };
        let with = copied(message.size_in_words().saturating_mul(8))?;
        // All before the first is kept: what has settled meanwhile may be gone at the end.
        let mut settled = Vec::with_capacity(hooks.len());
        for hook in hooks {
            settled.push(match hook {
                Some(hook) => Some(settle(&**peer, hook).await?),
                None => None,
            });
        }
        let keep = |hook: Option<_>| hook.map(|hook| peer.import(hook)).transpose();
        let caps = settled.into_iter().map(keep).collect::<Result<_, _>>()?;
        Ok(Some((Parcel { message, caps }, with)))
    }

    /// [`pack`](Self::pack) for `host` to keep: waits until every capability has settled. What `host` itself is to
    /// answer with stays a promise, as it waits for that.
    pub(crate) async fn pack_for<P: Peer<Own = O>>(
        peer: &Rc<P>,
        pointer: any_pointer::Reader<'_>,
        host: &Origin<O>,
    ) -> Result<Option<Self>, Error> {
        let Some((message, mut hooks)) = copy(&**peer, peer.bounds(), pointer)? else {
            return Ok(None);
        };
        for hook in hooks.iter_mut().flatten() {
            *hook = resolved_so_far(hook.add_ref());
            let its = |cap| matches!(cap, Cap::Foreign(token) if token.origin().id() == host.id());
            if !peer.known(&**hook).is_some_and(its) {
                *hook = settle(&**peer, hook.add_ref()).await?;
            }
        }
        Self::keep(peer, (message, hooks)).map(Some)
    }

    /// Puts it into `pointer`, for the client of `peer`.
    pub(crate) fn unpack<P: Peer<Own = O>>(
        &self,
        peer: &Rc<P>,
        pointer: any_pointer::Builder<'_>,
    ) -> Result<(), Error> {
        self.unpack_each(pointer, |cap| peer.export(cap))
    }

    /// Puts it into `pointer`, and in the place of each capability in it what `export` gives for that.
    pub(crate) fn unpack_each(
        &self,
        mut pointer: any_pointer::Builder<'_>,
        export: impl Fn(&Cap<O>) -> Result<Box<dyn ClientHook>, Error>,
    ) -> Result<(), Error> {
        let live = |cap: &Option<_>| cap.as_ref().map(&export).transpose();
        let hooks = self.caps.iter().map(live).collect::<Result<Vec<_>, _>>()?;
        let mut root: any_pointer::Reader<'_> = self.message.get_root_as_reader()?;
        root.imbue(&hooks);
        pointer.set_as(root)
    }

    /// The capabilities in it.
    pub(crate) fn caps(&self) -> impl Iterator<Item = &Cap<O>> {
        self.caps.iter().flatten()
    }
}

type Copied = (Builder<HeapAllocator>, Vec<Option<Box<dyn ClientHook>>>);

/// Copies what `pointer` points to, which the client of `peer` sent, and the live capabilities in it;
/// `None` if it is null.
fn copy<P: Peer>(
    peer: &P,
    bounds: Bounds,
    pointer: any_pointer::Reader<'_>,
) -> Result<Option<Copied>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    let size = pointer.target_size()?;
    let (bytes, limit) = (size.word_count.saturating_mul(8), bounds.bytes);
    if bytes > limit as u64 {
        let name = peer.exceeds(Bound::Bytes);
        let error = format!("value of {bytes} bytes exceeds the limit of {limit}{name}");
        return Err(Error::failed(error));
    }
    let (caps, limit) = (size.cap_count, bounds.capabilities);
    if caps as usize > limit {
        let name = peer.exceeds(Bound::Capabilities);
        let error = format!("value with {caps} capabilities exceeds the limit of {limit}{name}");
        return Err(Error::failed(error));
    }
    let words = u32::try_from(size.word_count).unwrap_or(u32::MAX).saturating_add(1);
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
    let mut hooks = Vec::new();
    let mut root = message.init_root::<any_pointer::Builder<'_>>();
    root.imbue_mut(&mut hooks);
    root.set_as(pointer)?;
    Ok(Some((message, hooks)))
}

impl<O: fmt::Debug> fmt::Debug for Parcel<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.message.size_in_words();
        f.debug_struct("Parcel").field("words", &words).field("caps", &self.caps).finish()
    }
}
