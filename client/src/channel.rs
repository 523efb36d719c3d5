//! The ends of a channel.

use std::fmt;
use std::time::Duration;

use capnp::any_pointer;
use capnp::capability::FromClientHook;
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};

use crate::anchor::Anchor;
use crate::calls;
use crate::connection::Effect;
use crate::error::Error;
use crate::handle::{Awaited, Handle};
use crate::value::{IntoValue, Value};

type Any = any_pointer::Owned;

/// What came out of a channel.
#[derive(Clone, Debug)]
pub struct Received {
    /// The value; `None` if nothing was sent: null is a message as well.
    pub value: Option<Value>,
}

impl Received {
    /// The text that it is, if it is one: [`Value::text`].
    pub fn text(&self) -> Option<&str> {
        self.value.as_ref()?.text()
    }
}

/// Both ends of a channel: values go in at one and come out at the other, each to one receiver, in the order
/// in which they were sent.
///
/// [`Anchor::new_chan`] makes one. It holds as many values as its capacity says; what is sent beyond that waits
/// for a receiver. With capacity 0 each send is a rendezvous: done when a receiver has the value. There
/// may be any number of senders and receivers, on any connections, and values may be whatever a cell
/// holds, capabilities included.
///
/// | end | sends | receives | closes |
/// |---|---|---|---|
/// | [`Chan`] | yes | yes | yes |
/// | [`SendCloser`] | yes | | yes |
/// | [`Sender`] | yes | | |
/// | [`Closer`] | | | yes |
/// | [`Recver`] | | yes | |
///
/// The channel closes when its last end that sends is gone, from every client, cell and channel; when its
/// last that receives is, all sends fail with [`Error::NoReceivers`]. A `Chan` is both: to learn that all
/// senders have gone, keep a [`Recver`] and drop it.
///
/// The order is that of the calls that one task makes one after the other. A value with a capability that
/// is still a promise is sent when that has settled, and may be overtaken.
///
/// # Time
/// A send or receive that has to wait is given up after the handle's [time](crate::Options::timeout), as all
/// calls are: then it has sent or taken nothing, unless its answer was under way. As that is not known, it
/// ends with [`Error::UnknownOutcome`]. The server hears a moment later that it was given up; what another
/// call finds until then is as if it was not. [`with_timeout(None)`](Self::with_timeout) waits for as long as the
/// connection lasts.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let chan = client.new_chan(2).await?;
/// chan.send("first").await?;
/// chan.send("second").await?;
/// assert!(!chan.try_send("third").await?); // full
/// assert_eq!((chan.len().await?, chan.capacity().await?), (2, 2));
///
/// let recver = chan.recver();
/// assert_eq!(recver.recv().await?.text(), Some("first"));
/// chan.close().await?;
/// assert!(matches!(chan.send("late").await, Err(Error::Closed { .. })));
/// assert_eq!(recver.recv().await?.text(), Some("second")); // what was buffered
/// assert!(matches!(recver.recv().await, Err(Error::Closed { .. }))); // and then the end
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Chan(pub(crate) Handle<chan::Client<Any>>);

impl Chan {
    /// Sends: all as [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, value: impl IntoValue) -> Result<(), Error> {
        send(&self.0, value).await
    }

    /// Sends without waiting: all as [`Sender::try_send`].
    ///
    /// # Errors
    /// As there.
    pub async fn try_send(&self, value: impl IntoValue) -> Result<bool, Error> {
        try_send(&self.0, value).await
    }

    /// Receives: all as [`Recver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&self) -> Result<Received, Error> {
        recv(&self.0).await
    }

    /// Receives without waiting: all as [`Recver::try_recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn try_recv(&self) -> Result<Option<Received>, Error> {
        try_recv(&self.0).await
    }

    /// Receives many: all as [`Recver::recv_many`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv_many(&self, max: u32) -> Result<Vec<Received>, Error> {
        recv_many(&self.0, max).await
    }

    /// Closes the channel: all as [`Closer::close`].
    ///
    /// # Errors
    /// As there.
    pub async fn close(&self) -> Result<(), Error> {
        close(&self.0).await
    }

    /// How many values are in the buffer at this moment.
    pub async fn len(&self) -> Result<u32, Error> {
        self.0.call(Effect::Read, calls::len(&self.0.capability)).await
    }

    /// Whether there are none.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// How many values the buffer holds.
    pub async fn capacity(&self) -> Result<u32, Error> {
        self.0.call(Effect::Read, calls::capacity(&self.0.capability)).await
    }

    /// The end that sends and closes. Like the others it is asked for and can be used at once; that there
    /// is none is the error of the first call on it.
    pub fn send_closer(&self) -> SendCloser {
        let pipeline = self.0.capability.new_send_closer_request().send().pipeline;
        SendCloser(promised(&self.0, pipeline.get_send_closer(), pipeline))
    }

    /// The end that receives.
    pub fn recver(&self) -> Recver {
        let pipeline = self.0.capability.new_recver_request().send().pipeline;
        Recver(promised(&self.0, pipeline.get_recver(), pipeline))
    }

    /// The end that sends, and nothing else.
    pub fn sender(&self) -> Sender {
        new_sender(&self.0)
    }

    /// The right to close, and nothing else.
    pub fn closer(&self) -> Closer {
        new_closer(&self.0)
    }

    /// The same ends, each call on them waited for as long as `timeout`; `None`: as long as the connection
    /// lasts. Ends that come from this one have it too.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// A channel that came as a capability in a value, over the connection of `from`: all as
    /// [`Sender::adopt`].
    pub fn adopt(from: &Anchor, capability: chan::Client<Any>) -> Self {
        Chan(adopted(from, capability))
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &chan::Client<Any> {
        &self.0.capability
    }
}

/// The end of a channel that sends and closes: what the [`Chan`] that it comes from is, but for receiving.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let chan = client.new_chan(1).await?;
/// let (ends, recver) = (chan.send_closer(), chan.recver());
/// drop(chan);
/// ends.send("the last words").await?;
/// drop(ends); // and with it the last sender
/// assert_eq!(recver.recv().await?.text(), Some("the last words"));
/// assert!(matches!(recver.recv().await, Err(Error::Closed { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct SendCloser(pub(crate) Handle<send_closer::Client<Any>>);

impl SendCloser {
    /// Sends: all as [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, value: impl IntoValue) -> Result<(), Error> {
        send(&self.0, value).await
    }

    /// Sends without waiting: all as [`Sender::try_send`].
    ///
    /// # Errors
    /// As there.
    pub async fn try_send(&self, value: impl IntoValue) -> Result<bool, Error> {
        try_send(&self.0, value).await
    }

    /// Closes the channel: all as [`Closer::close`].
    ///
    /// # Errors
    /// As there.
    pub async fn close(&self) -> Result<(), Error> {
        close(&self.0).await
    }

    /// The end that sends, and nothing else.
    pub fn sender(&self) -> Sender {
        new_sender(&self.0)
    }

    /// The right to close, and nothing else.
    pub fn closer(&self) -> Closer {
        new_closer(&self.0)
    }

    /// The same end, each call on it waited for as long as `timeout`; `None`: as long as the connection lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// An end that came as a capability in a value, over the connection of `from`: all as
    /// [`Sender::adopt`].
    pub fn adopt(from: &Anchor, capability: send_closer::Client<Any>) -> Self {
        SendCloser(adopted(from, capability))
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &send_closer::Client<Any> {
        &self.0.capability
    }
}

/// The end of a channel that sends. The channel is open as long as one is held, in a client, a cell or a
/// channel.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let chan = client.new_chan(1).await?;
/// let sender = chan.sender();
/// sender.send("hello").await?;
/// assert_eq!(chan.recv().await?.text(), Some("hello"));
/// drop(chan); // the only one that receives
/// assert!(matches!(sender.send("anybody?").await, Err(Error::NoReceivers { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Sender(pub(crate) Handle<sender::Client<Any>>);

impl Sender {
    /// Sends a value, or nothing, which is a message as well. Done when it is in the buffer; without one, or
    /// while that is full, when a receiver has taken it. A send that is dropped before has sent nothing, if
    /// its answer was not under way.
    ///
    /// # Errors
    /// [`Error::Closed`] if the channel is closed, or is while this waits; [`Error::NoReceivers`];
    /// [`Error::Limit`] for a value that is too large. Nothing was sent.
    pub async fn send(&self, value: impl IntoValue) -> Result<(), Error> {
        send(&self.0, value).await
    }

    /// [`send`](Self::send) without waiting: whether it was sent. Without a buffer it is if a receiver
    /// waits.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn try_send(&self, value: impl IntoValue) -> Result<bool, Error> {
        try_send(&self.0, value).await
    }

    /// The same end, each call on it waited for as long as `timeout`; `None`: as long as the connection lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// An end that came as a capability in a value, over the connection of `from`, with its time limit.
    ///
    /// Another client may host it, and its answers get lost: a call on it ends with
    /// [`Error::UnknownOutcome`] whatever error comes back, but for [`Error::Closed`] and
    /// [`Error::NoReceivers`].
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Sender;
    /// # support::with_client(async |client| {
    /// let inbox = client.walk("inbox").await?;
    /// let chan = inbox.new_chan(16).await?;
    /// inbox.store(&chan.sender(), false).await?;
    ///
    /// let value = inbox.load().await?.value.expect("an end is there");
    /// let sender = Sender::adopt(&inbox, value.capability().expect("as a capability"));
    /// sender.send("hello").await?;
    /// assert_eq!(chan.recv().await?.text(), Some("hello"));
    /// chan.close().await?;
    /// assert!(sender.send("late").await.is_err());
    /// # Ok(()) });
    /// ```
    pub fn adopt(from: &Anchor, capability: sender::Client<Any>) -> Self {
        Sender(adopted(from, capability))
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &sender::Client<Any> {
        &self.0.capability
    }
}

/// The right to close a channel. It is no sender: the channel also closes when the last of these is gone.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let closer = client.new_chan(1).await?.closer();
/// let error = closer.close().await.unwrap_err(); // closed with the only end that sends
/// assert_eq!(error.to_string(), "the channel is closed already");
/// assert!(matches!(error, Error::Closed { .. }));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Closer(pub(crate) Handle<closer::Client>);

impl Closer {
    /// Closes the channel: no value is taken in from here on. What is buffered is still received, and a send
    /// that waits fails.
    ///
    /// # Errors
    /// [`Error::Closed`] if it is closed already.
    pub async fn close(&self) -> Result<(), Error> {
        close(&self.0).await
    }

    /// The same right, each call on it waited for as long as `timeout`; `None`: as long as the connection lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// One that came as a capability in a value, over the connection of `from`: all as
    /// [`Sender::adopt`].
    pub fn adopt(from: &Anchor, capability: closer::Client) -> Self {
        Closer(adopted(from, capability))
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &closer::Client {
        &self.0.capability
    }
}

/// The end of a channel that receives. When the last one is gone, sends fail.
///
/// A value is received at most once: one whose answer does not arrive, as the connection ends with it under
/// way, is lost. A program that has to know sends an answer of its own.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let chan = client.new_chan(8).await?;
/// let recver = chan.recver().with_timeout(None); // waits for as long as it takes
/// assert!(recver.try_recv().await?.is_none());
/// for text in ["a", "b", "c"] {
///     chan.send(text).await?;
/// }
/// assert_eq!(recver.recv().await?.text(), Some("a"));
/// let more = recver.recv_many(100).await?;
/// assert_eq!(more.iter().map(|one| one.text()).collect::<Vec<_>>(), [Some("b"), Some("c")]);
/// drop(chan); // the last end that sends
/// assert!(matches!(recver.recv().await, Err(Error::Closed { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Recver(pub(crate) Handle<recver::Client<Any>>);

impl Recver {
    /// Receives the value that was sent first, as soon as there is one. A receive that is dropped before has
    /// taken nothing, if its answer was not under way.
    ///
    /// # Errors
    /// [`Error::Closed`] if the channel is closed and empty, or is while this waits;
    /// [`Error::UnknownOutcome`] if a value may have been taken and is lost.
    pub async fn recv(&self) -> Result<Received, Error> {
        recv(&self.0).await
    }

    /// [`recv`](Self::recv) without waiting: `None` if it would have to.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn try_recv(&self) -> Result<Option<Received>, Error> {
        try_recv(&self.0).await
    }

    /// Receives as many values as there are, in their order, but `max` at most, and no more than fit into one
    /// message; waits for the first.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_many(&self, max: u32) -> Result<Vec<Received>, Error> {
        recv_many(&self.0, max).await
    }

    /// The same end, each call on it waited for as long as `timeout`; `None`: as long as the connection lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// An end that came as a capability in a value, over the connection of `from`: all as
    /// [`Sender::adopt`].
    pub fn adopt(from: &Anchor, capability: recver::Client<Any>) -> Self {
        Recver(adopted(from, capability))
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &recver::Client<Any> {
        &self.0.capability
    }
}

fn adopted<C>(from: &Anchor, capability: C) -> Handle<C> {
    Handle { foreign: true, ..from.0.with(capability) }
}

/// A part of an answer to a call on `handle`, which is not there yet.
fn promised<C, D: FromClientHook>(
    handle: &Handle<C>,
    part: D,
    pipeline: impl std::any::Any,
) -> Handle<D> {
    handle.with_promised(part, &Awaited::new(pipeline))
}

/// The same capability, as one of the interfaces that its own extends.
fn cast<C: FromClientHook + Clone, D: FromClientHook>(handle: &Handle<C>) -> D {
    handle.capability.clone().cast_to()
}

fn new_sender<C: FromClientHook + Clone>(of: &Handle<C>) -> Sender {
    let client: send_closer::Client<Any> = cast(of);
    let pipeline = client.new_sender_request().send().pipeline;
    Sender(promised(of, pipeline.get_sender(), pipeline))
}

fn new_closer<C: FromClientHook + Clone>(of: &Handle<C>) -> Closer {
    let client: send_closer::Client<Any> = cast(of);
    let pipeline = client.new_closer_request().send().pipeline;
    Closer(promised(of, pipeline.get_closer(), pipeline))
}

async fn send<C: FromClientHook + Clone>(
    to: &Handle<C>,
    value: impl IntoValue,
) -> Result<(), Error> {
    let value = value.into_value();
    to.call(Effect::Write, calls::send(&cast(to), value.as_ref())).await
}

async fn try_send<C: FromClientHook + Clone>(
    to: &Handle<C>,
    value: impl IntoValue,
) -> Result<bool, Error> {
    let value = value.into_value();
    to.call(Effect::Write, calls::try_send(&cast(to), value.as_ref())).await
}

async fn recv<C: FromClientHook + Clone>(from: &Handle<C>) -> Result<Received, Error> {
    from.call(Effect::Write, calls::recv(&cast(from))).await
}

async fn try_recv<C: FromClientHook + Clone>(from: &Handle<C>) -> Result<Option<Received>, Error> {
    from.call(Effect::Write, calls::try_recv(&cast(from))).await
}

async fn recv_many<C: FromClientHook + Clone>(
    from: &Handle<C>,
    max: u32,
) -> Result<Vec<Received>, Error> {
    from.call(Effect::Write, calls::recv_many(&cast(from), max)).await
}

async fn close<C: FromClientHook + Clone>(what: &Handle<C>) -> Result<(), Error> {
    what.call(Effect::Write, calls::close(&cast(what))).await
}

/// What an end shows of itself.
macro_rules! shown {
    ($($type:ident),+) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let open = self.0.connection.is_open();
                f.debug_struct(stringify!($type)).field("connected", &open).finish_non_exhaustive()
            }
        })+
    };
}

shown!(Chan, SendCloser, Sender, Closer, Recver);
