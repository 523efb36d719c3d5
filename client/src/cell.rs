//! The two halves of a cell, and what is in it.

use std::fmt;
use std::time::Duration;

use killick::StoreErrorKind;
use killick_schema::api::anchor_capnp::anchor::{loader, storer};

use crate::calls::{self, Written};
use crate::connection::Effect;
use crate::error::Error;
use crate::handle::Handle;
use crate::value::{IntoValue, Value};

/// The revision after a write, or that it was refused.
pub(crate) fn revision(written: &Written, refused: StoreErrorKind) -> Result<u64, Error> {
    let revision = written.revision;
    match written.succeeded {
        true => Ok(revision),
        false => Err(Error::Refused { kind: refused, revision }),
    }
}

/// What a cell held at one moment.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The value; `None` if the cell was empty.
    pub value: Option<Value>,
    /// How many times the cell had changed since its node appeared: 0 for a fresh one. Meaningful while
    /// the caller holds the node; one that was pruned and created again may start at 0.
    pub revision: u64,
}

impl Loaded {
    /// The text that it is, if it is one: [`Value::text`].
    pub fn text(&self) -> Option<&str> {
        self.value.as_ref()?.text()
    }

    /// What a node that is not there holds.
    pub(crate) fn nothing() -> Self {
        Loaded { value: None, revision: 0 }
    }
}

/// The right to read one cell, and nothing else. Keeps its node alive, as an anchor does.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # support::with_client(async |client| {
/// let (loader, storer) = client.walk("a").await?.cell();
/// assert_eq!(storer.store("hello", true).await?, 1);
/// assert_eq!(loader.load().await?.text(), Some("hello"));
/// assert!(storer.compare_and_store(0, "late").await.is_err()); // the cell is at revision 1
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Loader(pub(crate) Handle<loader::Client>);

impl Loader {
    /// What the cell holds: all as [`Anchor::load`](crate::Anchor::load).
    ///
    /// # Errors
    /// As there.
    pub async fn load(&self) -> Result<Loaded, Error> {
        self.0.call(Effect::Read, calls::load(&self.0.capability)).await
    }

    /// What the cell holds, once it holds something: all as [`Anchor::wait`](crate::Anchor::wait).
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&self) -> Result<Loaded, Error> {
        let mut patient = self.0.clone();
        patient.set_timeout(None);
        patient.call(Effect::Read, calls::wait(&self.0.capability)).await
    }

    /// The same right, each call on it waited for as long as `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &loader::Client {
        &self.0.capability
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.connection.is_open();
        f.debug_struct("Loader").field("connected", &open).finish_non_exhaustive()
    }
}

/// The right to change one cell without the right to read it. Keeps its node alive, as an anchor does.
///
/// It sees revisions, but no value: so it has no `swap`.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::Error;
/// # support::with_client(async |client| {
/// let (_, storer) = client.walk("a").await?.cell();
/// assert_eq!(storer.store("mine", false).await?, 1);
/// let refused = storer.store("late", false).await.unwrap_err();
/// assert!(matches!(refused, Error::Refused { revision: 1, .. }));
/// assert_eq!(storer.clear().await?, 2);
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Storer(pub(crate) Handle<storer::Client>);

impl Storer {
    /// Stores a value, or empties the cell: all as [`Anchor::store`](crate::Anchor::store).
    ///
    /// # Errors
    /// As there.
    pub async fn store(&self, value: impl IntoValue, overwrite: bool) -> Result<u64, Error> {
        let value = value.into_value();
        let stored = calls::store(&self.0.capability, value.as_ref(), overwrite);
        revision(&self.0.call(Effect::Write, stored).await?, StoreErrorKind::Occupied)
    }

    /// Empties the cell. The result is its revision after: the wire does not tell who may only write
    /// whether there was something in it.
    ///
    /// # Errors
    /// As [`store`](Self::store), but for a refusal.
    pub async fn clear(&self) -> Result<u64, Error> {
        self.store(None, true).await
    }

    /// Stores if the cell is at the expected revision: all as
    /// [`Anchor::compare_and_store`](crate::Anchor::compare_and_store).
    ///
    /// # Errors
    /// As there.
    pub async fn compare_and_store(
        &self,
        expected: u64,
        value: impl IntoValue,
    ) -> Result<u64, Error> {
        let value = value.into_value();
        let stored = calls::compare_and_store(&self.0.capability, expected, value.as_ref());
        revision(&self.0.call(Effect::Write, stored).await?, StoreErrorKind::Conflict)
    }

    /// The same right, each call on it waited for as long as `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &storer::Client {
        &self.0.capability
    }
}

impl fmt::Debug for Storer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.connection.is_open();
        f.debug_struct("Storer").field("connected", &open).finish_non_exhaustive()
    }
}
