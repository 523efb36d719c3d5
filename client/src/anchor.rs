//! Anchors: handles to nodes of the server's.

use std::fmt;
use std::time::Duration;

use killick::StoreErrorKind;
use killick_schema::api::anchor_capnp::anchor;

use crate::batch::Batch;
use crate::calls::{self, Listed};
use crate::cell::{Loaded, Loader, Storer, revision};
use crate::channel::Chan;
use crate::connection::Effect;
use crate::error::Error;
use crate::handle::{Awaited, Handle};
use crate::path;
use crate::value::IntoValue;
use crate::watch::{Watch, What};

/// A counted handle to a node: a place with a name, a register, and children.
///
/// The server keeps the node while this is held, and for as long as the connection lasts that it came
/// over. When that has ended, the handle is dead: every call on it is [`Error::Disconnected`], and a
/// new one comes from the [`Client`](crate::Client). Dropping it tells the server with the next write;
/// cloning it tells nobody.
///
/// A path names something *under* the anchor it is given to; a leading `/` changes nothing there, and
/// there is no way up. The grammar is checked here, before anything is sent.
///
/// Each method is one round trip, [`at`](Self::at) and [`cell`](Self::cell) none. Beside others, also
/// on other connections, each is what the method of that name of [`killick::Anchor`] is: on one node
/// operations are linearizable. Calls that one task makes one after the other are done in that order;
/// of those that it makes at a time, those on one handle are done in the order in which they are first
/// polled.
///
/// # Errors
/// Every method may end with [`Error::Path`] if it takes a path; [`Error::Limit`] and
/// [`Error::Failed`], which are the server's; [`Error::Disconnected`] and [`Error::TimedOut`], and in
/// their place [`Error::UnknownOutcome`] if it changes the cell and was sent. What is listed with a
/// method comes on top.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # support::with_client(async |client| {
/// let mailbox = client.walk("host/mailbox").await?; // creates what is missing
/// mailbox.store("for whoever comes", false).await?; // false: only into an empty cell
/// assert!(client.walk("host/../mailbox").await.is_err());
///
/// drop(mailbox); // the value keeps the node
/// assert_eq!(client.load_at("host/mailbox").await?.text(), Some("for whoever comes"));
/// client.walk("host/mailbox").await?.clear().await?;
/// assert!(client.lookup("host").await?.is_none()); // nothing does any more
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Anchor(pub(crate) Handle<anchor::Client>);

/// A child, as [`Anchor::ls`] lists it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Child {
    /// Its name under the anchor that was listed.
    pub name: String,
    /// A handle to it.
    pub anchor: Anchor,
    /// Whether its cell held a value. This and the count are read after the snapshot of the names.
    pub filled: bool,
    /// How many children it had.
    pub child_count: u64,
}

impl Anchor {
    /// The anchor at `path`, creating the nodes that are missing.
    ///
    /// Concurrent walks to one path give the same node. A walk that ends with an error leaves no node
    /// that it created.
    ///
    /// # Errors
    /// [`Error::Limit`] with [`Children`](crate::Limit::Children) or [`Nodes`](crate::Limit::Nodes), if
    /// something would have to be created and there is no room.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Error, PathError};
    /// # support::with_client(async |client| {
    /// let ab = client.walk("a/b").await?;
    /// assert!(client.walk("/self/a").await?.walk("./b").await?.is_same(&ab));
    /// let error = ab.walk("c d").await.unwrap_err();
    /// assert!(matches!(error, Error::Path(PathError::BadByte { byte: b' ', offset: 1 })));
    /// # Ok(()) });
    /// ```
    pub async fn walk(&self, path: impl AsRef<[u8]>) -> Result<Anchor, Error> {
        let path = path.as_ref();
        path::check(path)?;
        // What it creates lives as long as the handle that it gives.
        let walked = calls::walked(&self.0.capability, path);
        Ok(self.child(self.0.call(Effect::Read, walked).await?))
    }

    /// The anchor that a [`walk`](Self::walk) to `path` gives, before it gives it: the walk is sent, and
    /// what is called on this anchor follows in the same round trip. An error of the walk is the error
    /// of each of these calls.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Disconnected`].
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let host = client.host().await?;
    /// let before = host.at("a/b")?.swap("one round trip").await?;
    /// assert!(before.value.is_none());
    ///
    /// let too_deep = host.at("a/".repeat(1000))?; // only the server knows its limit
    /// assert!(too_deep.swap("nowhere").await.is_err());
    /// # Ok(()) });
    /// ```
    pub fn at(&self, path: impl AsRef<[u8]>) -> Result<Anchor, Error> {
        let path = path.as_ref();
        path::check(path)?;
        self.0.connection.check_open()?;
        let pipeline = calls::walk(&self.0.capability, path).pipeline;
        let anchor = pipeline.get_anchor();
        Ok(Anchor(self.0.with_promised(anchor, &Awaited::new(pipeline))))
    }

    /// The anchor at `path` if there is a node; creates nothing, and shows nothing to others.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// assert!(client.lookup("a").await?.is_none());
    /// assert!(client.lookup("a/..").await.is_err());
    /// # Ok(()) });
    /// ```
    pub async fn lookup(&self, path: impl AsRef<[u8]>) -> Result<Option<Anchor>, Error> {
        let path = path.as_ref();
        path::check(path)?;
        let found = calls::found(&self.0.capability, path);
        Ok(self.0.call(Effect::Read, found).await?.map(|anchor| self.child(anchor)))
    }

    /// The children as they were at one moment, sorted by name, each with a handle.
    ///
    /// # Errors
    /// [`Error::Limit`] with [`Capabilities`](crate::Limit::Capabilities), if that many handles are more
    /// than the connection may hold.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let _held = client.walk("b/c").await?;
    /// client.store_at("a", "a value", false).await?;
    /// let children = client.host().await?.ls().await?;
    /// assert_eq!((&*children[0].name, children[0].filled), ("a", true));
    /// assert_eq!((&*children[1].name, children[1].child_count), ("b", 1));
    /// # Ok(()) });
    /// ```
    pub async fn ls(&self) -> Result<Vec<Child>, Error> {
        let listed = self.0.call(Effect::Read, calls::ls(&self.0.capability)).await?;
        Ok(self.children(listed))
    }

    /// The names of the children as they were at one moment, sorted.
    ///
    /// On the wire it is [`ls`](Self::ls), whose handles are let go.
    ///
    /// # Errors
    /// As [`ls`](Self::ls).
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let listed = self.0.call(Effect::Read, calls::ls(&self.0.capability)).await?;
        Ok(listed.into_iter().map(|child| child.name).collect())
    }

    /// The [children](Self::ls) of the node at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such node; as [`ls`](Self::ls).
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Error;
    /// # support::with_client(async |client| {
    /// let _held = client.walk("a/b").await?;
    /// let host = client.host().await?;
    /// assert_eq!(host.ls_at("a").await?[0].name, "b");
    /// assert!(matches!(host.ls_at("c").await, Err(Error::NotFound { .. })));
    /// # Ok(()) });
    /// ```
    pub async fn ls_at(&self, path: impl AsRef<[u8]>) -> Result<Vec<Child>, Error> {
        Ok(self.children(self.listed_at(path.as_ref()).await?))
    }

    /// The [names](Self::names) of the children of the node at `path`.
    ///
    /// # Errors
    /// As [`ls_at`](Self::ls_at).
    pub async fn names_at(&self, path: impl AsRef<[u8]>) -> Result<Vec<String>, Error> {
        let listed = self.listed_at(path.as_ref()).await?;
        Ok(listed.into_iter().map(|child| child.name).collect())
    }

    /// The right to read and the right to write this cell, each a handle of its own that keeps the
    /// node, and neither of which leads back to this anchor.
    ///
    /// They are asked for and can be used at once; that there is no cell, or that the connection has
    /// ended, is the error of the first call on one.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let (loader, storer) = client.walk("a").await?.cell();
    /// storer.store("for the reader", false).await?;
    /// assert!(storer.store("once more", false).await.is_err()); // occupied
    /// assert_eq!(loader.load().await?.text(), Some("for the reader"));
    /// # Ok(()) });
    /// ```
    pub fn cell(&self) -> (Loader, Storer) {
        let pipeline = self.0.capability.cell_request().send().pipeline;
        let (loader, storer) = (pipeline.get_loader(), pipeline.get_storer());
        let answer = Awaited::new(pipeline);
        let loader = Loader(self.0.with_promised(loader, &answer));
        (loader, Storer(self.0.with_promised(storer, &answer)))
    }

    /// What the cell holds, and its revision.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// assert!(anchor.load().await?.value.is_none());
    /// anchor.store("five", true).await?;
    /// let loaded = anchor.load().await?;
    /// assert_eq!((loaded.text(), loaded.revision), (Some("five"), 1));
    /// # Ok(()) });
    /// ```
    pub async fn load(&self) -> Result<Loaded, Error> {
        let load = async { calls::load(&calls::cell(&self.0.capability).0).await };
        self.0.call(Effect::Read, load).await
    }

    /// What the cell holds, once it holds something: its value, with its revision.
    ///
    /// It waits for as long as nothing does: no time-out applies. Dropped, it is given up at the server too.
    ///
    /// # Errors
    /// [`Error::Limit`] with [`Watches`](crate::Limit::Watches), which this counts as one of.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Error;
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// let waiting = anchor.wait();
    /// let (waited, stored) = tokio::join!(waiting, anchor.store("here", false));
    /// assert_eq!((waited?.text(), stored?), (Some("here"), 1));
    /// assert!(client.root().await?.wait().await.is_err()); // no cell there
    /// # Ok(()) });
    /// ```
    pub async fn wait(&self) -> Result<Loaded, Error> {
        self.cell().0.wait().await
    }

    /// The state of the node, and how it changes from then on: see [`Watch`].
    ///
    /// It is asked for with the first change. That there is nothing to watch, or that the connection has
    /// ended, is the error of that.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::What;
    /// # support::with_client(async |client| {
    /// let workers = client.walk("workers").await?;
    /// let mut watch = workers.watch(What::Children);
    /// assert!(watch.next().await?.children.is_empty());
    /// let _worker = workers.walk("7").await?;
    /// assert_eq!(watch.next().await?.children.added, [("7".to_owned(), false)]);
    ///
    /// let mut in_vain = client.root().await?.watch(What::Value);
    /// assert!(in_vain.next().await.is_err()); // no cell there
    /// # Ok(()) });
    /// ```
    pub fn watch(&self, what: What) -> Watch {
        Watch::of(self, what)
    }

    /// Stores a value, or empties the cell if given `None`. Without `overwrite`, only into an empty
    /// cell. The result is the cell's revision after.
    ///
    /// Storing `None` into an empty cell succeeds either way, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] if the cell holds a value and `overwrite` is not set; [`Error::Limit`] for a
    /// value that is too large; [`Error::HostGone`] for one with a capability whose client has gone.
    /// The cell is as it was.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Error, StoreErrorKind::Occupied};
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// assert_eq!(anchor.store("first", false).await?, 1);
    /// let refused = anchor.store("second", false).await.unwrap_err();
    /// assert!(matches!(refused, Error::Refused { kind: Occupied, revision: 1 }));
    /// assert_eq!(anchor.store(None, true).await?, 2);
    /// # Ok(()) });
    /// ```
    pub async fn store(&self, value: impl IntoValue, overwrite: bool) -> Result<u64, Error> {
        let value = value.into_value();
        let store = async {
            let (_, storer) = calls::cell(&self.0.capability);
            calls::store(&storer, value.as_ref(), overwrite).await
        };
        revision(&self.0.call(Effect::Write, store).await?, StoreErrorKind::Occupied)
    }

    /// Empties the cell. The result is what it held before; emptying an empty cell changes nothing.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// anchor.store("five", true).await?;
    /// assert_eq!(anchor.clear().await?.text(), Some("five"));
    /// assert!(anchor.clear().await?.value.is_none());
    /// assert_eq!(anchor.load().await?.revision, 2); // the second clear was no change
    /// # Ok(()) });
    /// ```
    pub async fn clear(&self) -> Result<Loaded, Error> {
        self.swap(None).await
    }

    /// Stores a value, or empties the cell if given `None`. The result is what it held before, with its
    /// revision then.
    ///
    /// # Errors
    /// As [`store`](Self::store), but for a refusal.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// assert!(anchor.swap("one").await?.value.is_none());
    /// let before = anchor.swap("two").await?;
    /// assert_eq!((before.text(), before.revision), (Some("one"), 1));
    /// assert!(client.root().await?.swap("no cell there").await.is_err());
    /// # Ok(()) });
    /// ```
    pub async fn swap(&self, value: impl IntoValue) -> Result<Loaded, Error> {
        let value = value.into_value();
        self.0.call(Effect::Write, calls::swap(&self.0.capability, value.as_ref())).await
    }

    /// Stores a value, or empties the cell if given `None`, if the cell is at revision `expected`. The
    /// result is its revision after.
    ///
    /// # Errors
    /// [`Error::Refused`] with the revision that the cell is at; as [`store`](Self::store).
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Error, StoreErrorKind::Conflict};
    /// # support::with_client(async |client| {
    /// let anchor = client.walk("a").await?;
    /// assert_eq!(anchor.compare_and_store(0, "mine").await?, 1);
    /// let refused = anchor.compare_and_store(0, "late").await.unwrap_err();
    /// assert!(matches!(refused, Error::Refused { kind: Conflict, revision: 1 }));
    /// # Ok(()) });
    /// ```
    pub async fn compare_and_store(
        &self,
        expected: u64,
        value: impl IntoValue,
    ) -> Result<u64, Error> {
        let value = value.into_value();
        let store = async {
            let (_, storer) = calls::cell(&self.0.capability);
            calls::compare_and_store(&storer, expected, value.as_ref()).await
        };
        revision(&self.0.call(Effect::Write, store).await?, StoreErrorKind::Conflict)
    }

    /// What the cell at `path` holds. A node that is not there reads as an empty cell at revision 0.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// client.store_at("a/b", "five", true).await?;
    /// assert_eq!(client.load_at("a/b").await?.text(), Some("five"));
    /// assert!(client.load_at("a").await?.value.is_none());
    /// assert!(client.load_at("a\\b").await.is_err());
    /// # Ok(()) });
    /// ```
    pub async fn load_at(&self, path: impl AsRef<[u8]>) -> Result<Loaded, Error> {
        let path = path.as_ref();
        path::check(path)?;
        let loaded = self.0.call(Effect::Read, calls::load_at(&self.0.capability, path)).await?;
        Ok(loaded.unwrap_or_else(Loaded::nothing))
    }

    /// Stores at `path`, as [`walk`](Self::walk) and [`store`](Self::store) would, and keeps no handle.
    /// Storing `None` where there is no node creates none, and succeeds.
    ///
    /// Others may see the node before they see the value. No node that it created is left if nothing is
    /// stored.
    ///
    /// # Errors
    /// As [`walk`](Self::walk) and [`store`](Self::store).
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// assert_eq!(client.store_at("a/b", "kept", false).await?, 1);
    /// assert!(client.store_at("a/b", "refused", false).await.is_err());
    /// assert_eq!(client.store_at("not/there", None, true).await?, 0);
    /// # Ok(()) });
    /// ```
    pub async fn store_at(
        &self,
        path: impl AsRef<[u8]>,
        value: impl IntoValue,
        overwrite: bool,
    ) -> Result<u64, Error> {
        let (path, value) = (path.as_ref(), value.into_value());
        path::check(path)?;
        let store = calls::store_at(&self.0.capability, path, value.as_ref(), overwrite);
        match self.0.call(Effect::Write, store).await? {
            Some(written) => revision(&written, StoreErrorKind::Occupied),
            None => Ok(0),
        }
    }

    /// A new channel at this anchor's host, which holds up to `capacity` values, with both of its ends. It is
    /// at no path until one of its ends is stored.
    ///
    /// # Errors
    /// [`Error::Limit`] with [`Channels`](crate::Limit::Channels),
    /// [`ConnectionChannels`](crate::Limit::ConnectionChannels) or
    /// [`ChannelCapacity`](crate::Limit::ChannelCapacity).
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # support::with_client(async |client| {
    /// let inbox = client.walk("inbox").await?;
    /// let chan = inbox.new_chan(16).await?;
    /// inbox.store(&chan.send_closer(), false).await?; // whoever loads it can send
    /// assert!(inbox.new_chan(u32::MAX).await.is_err()); // more than any server holds
    /// # Ok(()) });
    /// ```
    pub async fn new_chan(&self, capacity: u32) -> Result<Chan, Error> {
        let made = calls::new_chan(&self.0.capability, capacity);
        Ok(Chan(self.0.with(self.0.call(Effect::Read, made).await?)))
    }

    /// [`load_at`](Self::load_at) for many paths, as many at a time as
    /// [`Options::in_flight`](crate::Options::in_flight) says.
    pub fn load_many<'a, P: AsRef<[u8]> + 'a>(
        &'a self,
        paths: impl IntoIterator<Item = P, IntoIter: 'a>,
    ) -> Batch<'a, Result<Loaded, Error>> {
        let load = move |path| async move { self.load_at(path).await };
        Batch::new(self.0.connection.in_flight(), paths.into_iter().map(load))
    }

    /// [`store_at`](Self::store_at) for many pairs of a path and a value.
    pub fn store_many<'a, P: AsRef<[u8]> + 'a, V: IntoValue + 'a>(
        &'a self,
        pairs: impl IntoIterator<Item = (P, V), IntoIter: 'a>,
        overwrite: bool,
    ) -> Batch<'a, Result<u64, Error>> {
        let store = move |(path, value)| async move { self.store_at(path, value, overwrite).await };
        Batch::new(self.0.connection.in_flight(), pairs.into_iter().map(store))
    }

    /// The same node, each call on the handle waited for as long as `timeout`; `None`: as long as the
    /// connection lasts. Handles that come from this one have it too.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// Whether the connection that this handle came over is open, as far as this end knows.
    pub fn is_connected(&self) -> bool {
        self.0.connection.is_open()
    }

    /// Resolves when the connection that this handle came over has ended: the moment to walk again, and
    /// to store again what was [bound](crate::Value::bound) or hosted.
    pub async fn disconnected(&self) {
        self.0.connection.ended().await;
    }

    /// Whether both are handles to one node: `false` if they came over different connections, or one is
    /// [not there yet](Self::at) and they are not clones of each other.
    pub fn is_same(&self, other: &Anchor) -> bool {
        self.0.identity() == other.0.identity()
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &anchor::Client {
        &self.0.capability
    }

    /// An anchor that came as a capability in a value, over the connection of this handle.
    ///
    /// Another client may host it, and its answers get lost: an operation on it that changes a cell ends
    /// with [`Error::UnknownOutcome`] whatever error comes back, but for [`Error::Refused`].
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::Value;
    /// # support::with_client(async |client| {
    /// let room = client.walk("rooms/7").await?;
    /// let door = client.walk("door").await?;
    /// door.store(&room, false).await?;
    ///
    /// let value = door.load().await?.value.expect("an anchor is there");
    /// let inside = door.adopt(value.capability().expect("as a capability"));
    /// inside.store_at("table", "set", false).await?;
    /// assert_eq!(client.load_at("rooms/7/table").await?.text(), Some("set"));
    /// assert!(Value::from("text").capability::<killick_client::capnp::capability::Client>().is_none());
    /// # Ok(()) });
    /// ```
    pub fn adopt(&self, capability: anchor::Client) -> Anchor {
        Anchor(Handle { foreign: true, ..self.0.with(capability) })
    }

    fn child(&self, capability: anchor::Client) -> Anchor {
        Anchor(self.0.with(capability))
    }

    fn children(&self, listed: Vec<Listed>) -> Vec<Child> {
        let child = |Listed { name, anchor, filled, child_count }| {
            let anchor = self.child(anchor);
            Child { name, anchor, filled, child_count }
        };
        listed.into_iter().map(child).collect()
    }

    async fn listed_at(&self, path: &[u8]) -> Result<Vec<Listed>, Error> {
        path::check(path)?;
        let listed = self.0.call(Effect::Read, calls::ls_at(&self.0.capability, path)).await?;
        listed.ok_or_else(|| Error::not_found(path))
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.is_connected();
        f.debug_struct("Anchor").field("connected", &open).finish_non_exhaustive()
    }
}
