//! Who hosts a capability, and counted claims to it: what other threads have of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use capnp::Error;
use tokio::sync::mpsc::UnboundedSender;

use super::home::Message;

/// The connection of a client, as other threads know it.
pub(crate) struct Origin<O>(Arc<Connection<O>>);

struct Connection<O> {
    id: u64,
    home: usize,
    open: AtomicBool,
    /// Whether what it answers may be used before it has answered.
    eager: bool,
    /// The last number that the home keeps something under, or will.
    last: Arc<AtomicU64>,
    post: UnboundedSender<Message<O>>,
}

impl<O> Origin<O> {
    /// The connection `id` on the thread numbered `home`, which takes messages through `post`. Whether it is
    /// [`eager`](Self::is_eager).
    pub(super) fn new(
        (id, eager): (u64, bool),
        home: usize,
        last: Arc<AtomicU64>,
        post: UnboundedSender<Message<O>>,
    ) -> Self {
        Origin(Arc::new(Connection { id, home, open: AtomicBool::new(true), eager, last, post }))
    }

    /// Whether calls to what it will answer with are made before it has answered. It is one that can be
    /// trusted not to answer with a promise of what was made of that answer.
    pub(crate) fn is_eager(&self) -> bool {
        self.0.eager
    }

    /// The error of a call to what it hosts when it has ended.
    pub(crate) fn gone(&self) -> Error {
        let who = if self.0.eager { "host that has" } else { "client that hosted" };
        Error::disconnected(format!("the {who} this capability has disconnected"))
    }

    /// A claim to what the home will keep, once it is told of it.
    pub(super) fn promise(&self) -> Token<O> {
        // Relaxed: a number, which publishes nothing.
        let id = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        Token::new(id, self.clone())
    }

    /// The number of the connection, unique in the process.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// The number of its thread.
    pub(crate) fn home(&self) -> usize {
        self.0.home
    }

    /// Whether the connection has not ended yet. A `false` is final.
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: what depends on it has another way to learn of the end, and only later.
        self.0.open.load(Ordering::Relaxed)
    }

    /// The connection has ended.
    pub(crate) fn close(&self) {
        // Relaxed: as in `is_open`.
        self.0.open.store(false, Ordering::Relaxed);
    }

    /// Sends `message` to the connection's thread; it is dropped if that has ended.
    pub(super) fn post(&self, message: Message<O>) {
        // An error means that the thread has ended, and what it kept with it.
        let _ = self.0.post.send(message);
    }
}

impl<O> Clone for Origin<O> {
    fn clone(&self) -> Self {
        Origin(self.0.clone())
    }
}

/// A counted claim to a capability that a client hosts. When the last one is dropped, on whatever
/// thread, the capability's home lets go of it.
pub(crate) struct Token<O>(Arc<Claim<O>>);

/// A [`Token`] that claims nothing.
pub(crate) struct WeakToken<O>(Weak<Claim<O>>);

struct Claim<O> {
    id: u64,
    origin: Origin<O>,
    /// Whether its host says that it has ended.
    ended: AtomicBool,
}

impl<O> Drop for Claim<O> {
    fn drop(&mut self) {
        self.origin.post(Message::Release(self.id));
    }
}

impl<O> Token<O> {
    /// A claim to what the home of `origin` keeps under `id`.
    pub(super) fn new(id: u64, origin: Origin<O>) -> Self {
        Token(Arc::new(Claim { id, origin, ended: AtomicBool::new(false) }))
    }

    /// What its home keeps the capability under.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Whether there are other copies of it.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The connection of the client that hosts it.
    pub(crate) fn origin(&self) -> &Origin<O> {
        &self.0.origin
    }

    /// It has ended before the connection of its host, which says so. Whether that is news.
    pub(crate) fn end(&self) -> bool {
        // Relaxed: what depends on it is told of it after that, by a way of its own.
        !self.0.ended.swap(true, Ordering::Relaxed)
    }

    /// Whether nothing answers by it any more: its host has said so, or has gone.
    pub(crate) fn has_ended(&self) -> bool {
        // Relaxed: as in `end`.
        self.0.ended.load(Ordering::Relaxed) || !self.origin().is_open()
    }

    /// The error of storing what [has ended](Self::has_ended).
    pub(crate) fn gone(&self) -> Error {
        if !self.origin().is_open() {
            return self.origin().gone();
        }
        let words = "whoever hosted this capability has gone, says the host that gave it";
        Error::disconnected(words.into())
    }

    /// The same, without the claim.
    pub(crate) fn downgrade(&self) -> WeakToken<O> {
        WeakToken(Arc::downgrade(&self.0))
    }
}

impl<O> WeakToken<O> {
    /// The token, if one is still held somewhere.
    pub(crate) fn upgrade(&self) -> Option<Token<O>> {
        self.0.upgrade().map(Token)
    }
}

impl<O> Clone for Token<O> {
    fn clone(&self) -> Self {
        Token(self.0.clone())
    }
}

impl<O> PartialEq for Token<O> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<O> Eq for Token<O> {}

impl<O> Hash for Token<O> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl<O> fmt::Debug for Origin<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.id())
    }
}
