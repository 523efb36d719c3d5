//! Capabilities across threads and connections.
//!
//! A live capability of Cap'n Proto belongs to one thread, and a client's to one connection. What is
//! shared between threads keeps a [`Cap`] in its place, which is `Send` and `Sync`:
//! - what the process itself offers, by what it stands for ([`Peer::Own`]). It becomes an object of
//!   whatever connection it is loaded on, on that connection's thread: no call to it leaves the
//!   thread.
//! - what a client hosts, by a [`Token`] for the place where its *home*, the thread of the client's
//!   connection, keeps it ([`Home`]). Other connections get a proxy: an object whose calls
//!   [`forward`] copies to the home and whose answers come back the same way. Capabilities in either
//!   become the other side's own, or proxies in turn.
//!
//! A message with its capabilities in this form is a [`Parcel`].
//!
//! ```text
//!  caller's thread                                   home
//!  call ─▶ proxy ─ Parcel::pack ─▶ channel ─▶ Home ─ unpack ─▶ the client's capability
//!    ◀─ unpack ── oneshot ◀──────────────────────── pack ◀───── its answer
//! ```
//!
//! # What holds
//! - **Order.** Calls reach a capability in the order in which one connection made them, also those
//!   that waited for it while it was a promise.
//! - **Cancellation.** A call that is given up by its caller is given up at its host.
//! - **Release is exact.** When the last [`Token`] is dropped, on whatever thread, the home lets go of
//!   the capability. A call under way holds one.
//! - **Errors** arrive with their kind. A call whose host has gone, before or during it, fails as
//!   `Disconnected`.
//! - **Identity.** A proxy that is passed on, or home, is known by its address and becomes its own
//!   token again, never a proxy of a proxy. A client that is given its own capability gets a proxy
//!   of it.
//! - **The membrane.** No client is ever given the capability of another, or its own, as it is. A
//!   proxy is settled, whatever the client's capability still is or turns into, so that no client can
//!   have the RPC system follow a chain of promises in circles: such a chain ends here, after
//!   [`MAX_HOPS`].
//!
//! A call that arrives over RPC on the answer of a forwarded one is held by the RPC system until that
//! answer is there, and follows it from here, not from the host: it costs no round trip of the caller. It
//! is not held if what was called is [eager](Origin::is_eager), and known to answer with a capability in that
//! place ([`Peer::answers_with`]): then it follows at once, and there is no round trip to the host either.
//!
//! What another host is given to keep ([`Peer::keeps`]) has to outlive the client that gave it: such a call waits
//! until the capabilities in it have settled, as it does where it is answered, and others may overtake it.
//!
//! # What bounds it
//! The channel to a home does not bound what is in it. What posts there are calls, each of which counts
//! against its connection's limits, and dropped tokens, each of which was counted as one that a
//! connection hosts. A call that was given up is dropped where it is found; and a client that does not
//! read what is sent to it is sent no more calls ([`Bounds::backlog`]).

mod early;
mod forward;
mod home;
mod parcel;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use capnp::private::capability::ClientHook;
use capnp::{Error, any_pointer};
use futures::FutureExt;

pub(crate) use forward::{ask, forward, send};
pub(crate) use home::{Home, Inbox};
pub(crate) use parcel::Parcel;
pub(crate) use token::{Origin, Token, WeakToken};

/// A capability that no thread owns.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cap<O> {
    /// One of the process's own, by what it stands for.
    Own(O),
    /// One that a client hosts.
    Foreign(Token<O>),
}

impl<O: fmt::Debug> fmt::Debug for Cap<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Own(own) => own.fmt(f),
            Cap::Foreign(token) => write!(f, "Foreign({})", token.id()),
        }
    }
}

/// What is accepted of a client in one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest message, in bytes.
    pub(crate) bytes: usize,
    /// The most capabilities in it.
    pub(crate) capabilities: usize,
    /// The most bytes that may wait to be written to it when others call what it hosts.
    pub(crate) backlog: usize,
    /// How long a capability may stay a promise that has to be settled.
    pub(crate) settle: Duration,
}

/// One of the [`Bounds`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Bytes,
    Capabilities,
    Backlog,
    Settle,
    Resolutions,
}

/// One connection, as the bridge sees it: where live capabilities come from and where they go.
pub(crate) trait Peer: 'static {
    /// What the process's own capabilities stand for.
    type Own: Clone + Eq + Hash + Send + Sync + 'static;

    /// What is accepted of its client.
    fn bounds(&self) -> Bounds;

    /// What is accepted of its client as the answer to a call.
    fn answers(&self) -> Bounds {
        self.bounds()
    }

    /// The object of this connection for `cap`: the same one as long as the client holds it.
    fn export(self: &Rc<Self>, cap: &Cap<Self::Own>) -> Result<Box<dyn ClientHook>, Error>;

    /// What `hook`, which the client sent, is to be kept as: what it stands for if it is an object of
    /// this connection, or else a token for it.
    fn import(self: &Rc<Self>, hook: Box<dyn ClientHook>) -> Result<Cap<Self::Own>, Error>;

    /// What `hook` stands for, if it is an object of this connection.
    fn known(&self, hook: &dyn ClientHook) -> Option<Cap<Self::Own>>;

    /// How many bytes wait to be written to its client.
    fn backlog(&self) -> usize;

    /// Nobody has a claim any more to what was kept under `id` and has this address.
    fn released(&self, id: u64, address: usize);

    /// The pointers of the answer of a method, by the numbers of its interface and of itself, that are
    /// capabilities, where it has nothing else: calls to them are made before the answer is there, if what
    /// answers is [eager](Origin::is_eager).
    fn answers_with(&self, method: (u64, u16)) -> &'static [u16];

    /// Whether what answers a method, by the numbers of its interface and of itself, may keep what it was given. If
    /// that is an [eager](Origin::is_eager) one, it is given no promise to keep, which would go with the client of
    /// this connection whatever it turns into.
    fn keeps(&self, method: (u64, u16)) -> bool;

    /// Writes an answer that has `hooks` at these pointers.
    fn lay_out(&self, hooks: Vec<(u16, Box<dyn ClientHook>)>, answer: any_pointer::Builder<'_>);

    /// What there is a claim to under `id` is `hook`, which this connection's client hosts: its
    /// [home](Home::fulfil) is to keep it.
    fn fulfil(self: &Rc<Self>, id: u64, hook: Box<dyn ClientHook>);

    /// What its client sent, or does not read, exceeds `bound`: what to add to the error.
    fn exceeds(&self, bound: Bound) -> String;

    /// A panic was contained in a call.
    fn panicked(&self);
}

/// How often a call may be handed on before it reaches what it was made to.
pub(crate) const MAX_HOPS: usize = 16;

/// How many times a promise may resolve to another promise.
const MAX_RESOLUTIONS: usize = 32;

/// Waits until `hook`, which the client of `peer` hosts, is no longer a promise.
pub(crate) async fn settle<P: Peer>(
    peer: &P,
    hook: Box<dyn ClientHook>,
) -> Result<Box<dyn ClientHook>, Error> {
    let resolved = async {
        let mut hook = hook;
        for _ in 0..MAX_RESOLUTIONS {
            if let Some(next) = hook.get_resolved() {
                hook = next;
            } else if let Some(next) = hook.when_more_resolved() {
                hook = next.await?;
            } else {
                return Ok(hook);
            }
        }
        let name = peer.exceeds(Bound::Resolutions);
        Err(Error::failed(format!("a promise resolved to another {MAX_RESOLUTIONS} times{name}")))
    };
    // Most are settled: those cost no timer.
    let mut resolved = Box::pin(resolved);
    if let Some(settled) = resolved.as_mut().now_or_never() {
        return settled;
    }
    let limit = peer.bounds().settle;
    tokio::time::timeout(limit, resolved).await.unwrap_or_else(|_| {
        let name = peer.exceeds(Bound::Settle);
        Err(Error::failed(format!("a capability was still a promise after {limit:?}{name}")))
    })
}

/// What `hook` has resolved to so far.
pub(crate) fn resolved_so_far(mut hook: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
    for _ in 0..MAX_RESOLUTIONS {
        match hook.get_resolved() {
            Some(next) => hook = next,
            None => break,
        }
    }
    hook
}
