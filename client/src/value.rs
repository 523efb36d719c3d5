//! Values: what a cell holds, as a message of its own.
//!
//! Text and Data are the same thing on the wire, a list of bytes, but that Text ends with a zero byte
//! that does not belong to it. As in the command line, a list of bytes reads as text if it ends with a
//! zero byte, has no other, and what stands before it is UTF-8. The one value that this takes for
//! another is Data that happens to look like that; [`Value::data`] gives it byte by byte.

use std::fmt;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, DynClientHook, FromClientHook};
use capnp::message::{Builder, HeapAllocator};
use capnp::traits::{FromPointerReader, Imbue, ImbueMut};

use crate::anchor::Anchor;
use crate::authority::Grant;
use crate::channel::{Chan, Closer, Recver, SendCloser, Sender};
use crate::process::Process;

/// Words for a value whose size is not known beforehand.
const FIRST_WORDS: u32 = 32;

/// Something that a cell holds: any Cap'n Proto pointer but null, with the capabilities in it.
///
/// Cloning one copies nothing. A value with capabilities is tied to the connection that they came over:
/// stored over another one, they are forwarded through this client.
///
/// # Examples
/// ```
/// use killick_client::{Kind, Value};
///
/// let greeting = Value::from("hello");
/// assert_eq!((greeting.kind(), greeting.text()), (Kind::Text, Some("hello")));
/// let bytes = Value::from(&b"\xff\x00"[..]);
/// assert_eq!((bytes.text(), bytes.data()), (None, Some(&b"\xff\x00"[..])));
/// ```
#[derive(Clone)]
pub struct Value {
    message: Rc<Message>,
    bound: bool,
}

struct Message {
    body: Builder<HeapAllocator>,
    capabilities: Vec<Option<Box<DynClientHook>>>,
}

/// What a [`Value`] looks like without its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`Value::text`] gives it.
    Text,
    /// Bytes that are no text: [`Value::data`] gives them.
    Data,
    /// [`Value::capability`] gives it.
    Capability,
    /// A struct or another list: [`Value::get`] gives it to who knows its schema.
    Structure,
}

impl Value {
    /// The value that `build` makes: it sets the pointer that it is given, or initialises it as a struct
    /// and fills that in.
    ///
    /// # Errors
    /// Those of `build`; and `Failed` if it leaves the pointer null: storing nothing is `None`.
    ///
    /// # Examples
    /// ```
    /// use killick_client::Value;
    /// use killick_client::schema::api::host_capnp::host_info;
    ///
    /// let value = Value::build(|pointer| {
    ///     pointer.init_as::<host_info::Builder>().set_nodes(7);
    ///     Ok(())
    /// })?;
    /// assert_eq!(value.get::<host_info::Reader>()?.get_nodes(), 7);
    /// assert!(Value::build(|_| Ok(())).is_err());
    /// # Ok::<(), killick_client::capnp::Error>(())
    /// ```
    pub fn build(
        build: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
    ) -> capnp::Result<Self> {
        let null = || capnp::Error::failed("a value is not null".into());
        Value::made(FIRST_WORDS, build)?.ok_or_else(null)
    }

    /// A copy of what `pointer` points to; `None` if it is null.
    ///
    /// # Errors
    /// Those of a malformed message.
    pub fn copy(pointer: any_pointer::Reader<'_>) -> capnp::Result<Option<Self>> {
        if pointer.is_null() {
            return Ok(None);
        }
        let words = pointer.target_size()?.word_count.saturating_add(1);
        Value::made(u32::try_from(words).unwrap_or(u32::MAX), |mut to| to.set_as(pointer))
    }

    /// A capability: an object of this process's, or one that came from a server.
    ///
    /// The client hosts what is its own: it is called over the connection that it was stored over, and
    /// when that ends, cells that hold it are emptied.
    ///
    /// The connection keeps an object for as long as somebody elsewhere has a claim to it, and a
    /// [`Client`](crate::Client) or a handle keeps the connection. An object that itself holds one of the
    /// same connection is a cycle: once stored it keeps the connection open, though nothing else does,
    /// until the server ends it or nobody has a claim to the object. Give it a client of its own, or a
    /// [`Weak`](std::rc::Weak) reference.
    ///
    /// # Examples
    /// ```
    /// use killick_client::schema::api::anchor_capnp::anchor::loader;
    /// use killick_client::{Kind, Value, capnp_rpc};
    ///
    /// struct Greeter;
    ///
    /// impl loader::Server for Greeter {} // each method answers that it is not implemented
    ///
    /// let greeter: loader::Client = capnp_rpc::new_client(Greeter);
    /// let value = Value::from_capability(greeter);
    /// assert_eq!(value.kind(), Kind::Capability);
    /// assert!(value.capability::<loader::Client>().is_some() && value.text().is_none());
    /// ```
    pub fn from_capability(capability: impl FromClientHook) -> Self {
        let hook = capability.into_client_hook();
        Value::infallible(1, |mut to| {
            to.set_as_capability(hook);
            Ok(())
        })
    }

    /// The same value, which dies with the connection that it is stored over: the server empties the
    /// cell when that ends. At a host that is reached through another one, that is the connection between the two
    /// hosts, and not this client's. Values that are loaded are not bound, whatever they were when stored.
    ///
    /// # Examples
    /// ```
    /// use killick_client::Value;
    ///
    /// let presence = Value::from("here").bound();
    /// assert!(presence.is_bound() && !Value::from("here").is_bound());
    /// ```
    #[must_use]
    pub fn bound(self) -> Self {
        Value { bound: true, ..self }
    }

    /// Whether it would be stored bound to the connection.
    pub fn is_bound(&self) -> bool {
        self.bound
    }

    /// What it looks like.
    pub fn kind(&self) -> Kind {
        let pointer = self.pointer();
        match self.data() {
            Some(data) if as_text(data).is_some() => Kind::Text,
            Some(_) => Kind::Data,
            None if pointer.get_as_capability::<Client>().is_ok() => Kind::Capability,
            None => Kind::Structure,
        }
    }

    /// The text that it is, if it is one.
    pub fn text(&self) -> Option<&str> {
        as_text(self.data()?)
    }

    /// The bytes that it is, if it is a list of bytes. Those of a text end with a zero byte.
    pub fn data(&self) -> Option<&[u8]> {
        self.get::<capnp::data::Reader<'_>>().ok()
    }

    /// The capability that it is, if it is one, as a client of whatever interface the caller knows it
    /// to have. It can be called for as long as the connection lasts: keep the
    /// [`Client`](crate::Client), or a handle.
    pub fn capability<C: FromClientHook>(&self) -> Option<C> {
        self.pointer().get_as_capability().ok()
    }

    /// The struct, list or other pointer that it is, read in place.
    ///
    /// # Errors
    /// It is something else.
    ///
    /// # Examples
    /// ```
    /// use killick_client::Value;
    /// use killick_client::schema::api::host_capnp::host_info;
    ///
    /// assert!(Value::from("no struct").get::<host_info::Reader>().is_err());
    /// ```
    pub fn get<'a, T: FromPointerReader<'a>>(&'a self) -> capnp::Result<T> {
        self.pointer().get_as()
    }

    /// The pointer itself.
    pub fn pointer(&self) -> any_pointer::Reader<'_> {
        let mut pointer: any_pointer::Reader<'_> =
            self.message.body.get_root_as_reader().expect("the root of a message of our own");
        pointer.imbue(&self.message.capabilities);
        pointer
    }

    /// The capabilities in it.
    pub(crate) fn capabilities(&self) -> impl Iterator<Item = &DynClientHook> {
        self.message.capabilities.iter().flatten().map(|hook| &**hook)
    }

    /// Copies it into another message.
    pub(crate) fn write(&self, mut to: any_pointer::Builder<'_>) -> capnp::Result<()> {
        to.set_as(self.pointer())
    }

    /// A message of `words` that `build` fills; `None` if it leaves it empty.
    fn made(
        words: u32,
        build: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
    ) -> capnp::Result<Option<Self>> {
        let mut body = Builder::new(HeapAllocator::new().first_segment_words(words.max(1)));
        let mut capabilities = Vec::new();
        let mut root = body.init_root::<any_pointer::Builder<'_>>();
        root.imbue_mut(&mut capabilities);
        build(root.reborrow())?;
        let null = root.is_null();
        let message = Rc::new(Message { body, capabilities });
        Ok((!null).then_some(Value { message, bound: false }))
    }

    /// [`made`](Self::made) of what can always be set.
    fn infallible(
        words: u32,
        build: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
    ) -> Self {
        Value::made(words, build).ok().flatten().expect("set in a message of our own")
    }
}

/// Words for a list of `bytes` bytes, and the pointer to it.
fn words(bytes: usize) -> u32 {
    u32::try_from(bytes / 8 + 2).unwrap_or(u32::MAX)
}

impl From<&str> for Value {
    /// Text, as the command line stores it. A text with a zero byte in it reads as data.
    ///
    /// # Panics
    /// If the text has 512 MiB or more, which no message holds.
    fn from(text: &str) -> Self {
        Value::infallible(words(text.len() + 1), |mut to| to.set_as::<capnp::text::Owned>(text))
    }
}

impl From<String> for Value {
    /// As that of a `&str`.
    fn from(text: String) -> Self {
        Value::from(text.as_str())
    }
}

impl From<&[u8]> for Value {
    /// Data.
    ///
    /// # Panics
    /// If there are 512 MiB or more, which no message holds.
    fn from(data: &[u8]) -> Self {
        Value::infallible(words(data.len()), |mut to| to.set_as::<capnp::data::Owned>(data))
    }
}

impl From<Vec<u8>> for Value {
    /// As that of a slice.
    fn from(data: Vec<u8>) -> Self {
        Value::from(data.as_slice())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.text(), self.data()) {
            (Some(text), _) => write!(f, "Value({text:?})"),
            (None, Some(data)) => write!(f, "Value({} bytes)", data.len()),
            (None, None) => write!(f, "Value({:?})", self.kind()),
        }
    }
}

/// What can be stored: a value, or nothing, which empties the cell.
///
/// A program's own types can be stored as they are if they say how.
///
/// # Examples
/// ```
/// use killick_client::{IntoValue, Value};
///
/// struct Port(u16);
///
/// impl IntoValue for Port {
///     fn into_value(self) -> Option<Value> {
///         self.0.to_string().into_value()
///     }
/// }
///
/// assert_eq!(Port(2016).into_value().unwrap().text(), Some("2016"));
/// assert!(None.into_value().is_none());
/// ```
pub trait IntoValue {
    /// The value; `None` to store nothing.
    fn into_value(self) -> Option<Value>;
}

impl IntoValue for Option<Value> {
    fn into_value(self) -> Option<Value> {
        self
    }
}

impl IntoValue for &Value {
    fn into_value(self) -> Option<Value> {
        Some(self.clone())
    }
}

impl IntoValue for &Anchor {
    /// The anchor as a capability: who loads it gets the same node.
    fn into_value(self) -> Option<Value> {
        Some(Value::from_capability(self.capability().clone()))
    }
}

impl IntoValue for &Process {
    /// The process as a capability: who loads it can wait for it, and end it.
    fn into_value(self) -> Option<Value> {
        Some(Value::from_capability(self.capability().clone()))
    }
}

impl IntoValue for &Grant {
    /// The grant as a capability: who loads it can revoke.
    fn into_value(self) -> Option<Value> {
        Some(Value::from_capability(self.capability().clone()))
    }
}

/// An end of a channel, as a capability: who loads it gets the same end.
macro_rules! end_into_value {
    ($($type:ty),+) => {
        $(impl IntoValue for $type {
            fn into_value(self) -> Option<Value> {
                Some(Value::from_capability(self.capability().clone()))
            }
        })+
    };
}

end_into_value!(&Chan, &SendCloser, &Sender, &Closer, &Recver);

/// What a [`Value`] is made from can be stored.
macro_rules! into_value {
    ($($type:ty),+) => {
        $(impl IntoValue for $type {
            fn into_value(self) -> Option<Value> {
                Some(self.into())
            }
        })+
    };
}

into_value!(Value, &str, String, &[u8], Vec<u8>);

/// The text that a list of bytes is, if it is one.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let (&last, text) = bytes.split_last()?;
    if last != 0 || text.contains(&0) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_data_are_what_they_were_made_from() {
        for text in ["", "é", "twelve bytes"] {
            assert_eq!(Value::from(text).text(), Some(text));
        }
        for data in [&b""[..], b"\0\0", b"\xff\0", b"abc"] {
            let value = Value::from(data);
            assert_eq!((value.kind(), value.data()), (Kind::Data, Some(data)));
        }
        assert_eq!(Value::from("with a \0 in it").kind(), Kind::Data);
    }

    #[test]
    fn a_copy_is_as_large_as_what_it_copies() {
        let value = Value::from("x".repeat(1000));
        let copy = Value::copy(value.pointer()).expect("copied").expect("a value");
        assert_eq!(copy.text(), value.text());
        assert_eq!(copy.message.body.get_segments_for_output().len(), 1);
        assert!(copy.message.body.size_in_words() <= 128);
    }

    #[test]
    fn nothing_is_no_value() {
        let mut message = Builder::new_default();
        let root = message.init_root::<any_pointer::Builder<'_>>();
        assert!(Value::copy(root.into_reader()).expect("copied").is_none());
    }
}
