//! Why something was not allowed.

use std::fmt;
use std::str::FromStr;

use super::{Resource, Right};
use crate::cell::{StoreAtError, StoreError};
use crate::path::PathError;
use crate::walk::WalkError;

/// Why an authority does not allow something. Nothing was done.
///
/// # Examples
/// ```
/// use killick::{Denied, Right};
///
/// let denied = Denied::Right(Right::Store);
/// assert_eq!(denied.to_string(), "the right 'store' is not granted");
/// assert_eq!(denied.to_string().parse(), Ok(denied));
/// assert!("something else".parse::<Denied>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// This right was not granted.
    Right(Right),
    /// A grant that it was reached by has been revoked.
    Revoked,
    /// It would exceed what a grant allows to have at a time.
    Exhausted {
        /// Of what.
        resource: Resource,
        /// How much.
        limit: usize,
    },
    /// It would be of more grants than an authority may be made of.
    TooManyGrants {
        /// How many those are.
        limit: usize,
    },
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Right(right) => write!(f, "the right '{right}' is not granted"),
            Denied::Revoked => f.write_str("revoked"),
            Denied::Exhausted { resource, limit } => {
                let noun = resource.noun(*limit);
                write!(f, "the grant's limit of {limit} {noun} would be exceeded")
            }
            Denied::TooManyGrants { limit } => {
                write!(f, "an anchor cannot be narrowed more than {limit} times")
            }
        }
    }
}

impl std::error::Error for Denied {}

/// Reads what [`Display`](fmt::Display) writes: how those who get the words alone know what they mean.
impl FromStr for Denied {
    /// The words mean something else.
    type Err = ();

    fn from_str(words: &str) -> Result<Self, ()> {
        let between = |start, end| words.strip_prefix(start)?.strip_suffix(end);
        if words == Denied::Revoked.to_string() {
            return Ok(Denied::Revoked);
        }
        if let Some(right) = between("the right '", "' is not granted") {
            return right.parse().map(Denied::Right).map_err(drop);
        }
        if let Some(what) = between("the grant's limit of ", " would be exceeded") {
            let (limit, name) = what.split_once(' ').ok_or(())?;
            let limit = limit.parse().map_err(drop)?;
            let is_meant = |one: &Resource| one.noun(limit) == name;
            let resource = Resource::ALL.into_iter().find(is_meant).ok_or(())?;
            return Ok(Denied::Exhausted { resource, limit });
        }
        let limit = between("an anchor cannot be narrowed more than ", " times").ok_or(())?;
        Ok(Denied::TooManyGrants { limit: limit.parse().map_err(drop)? })
    }
}

/// Why an operation on a [`Narrow`](crate::Narrow) failed: it was not allowed, or failed as it would
/// on the anchor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NarrowError<E> {
    /// It is not allowed.
    Denied(Denied),
    /// It is allowed, and failed.
    Failed(E),
}

impl NarrowError<WalkError> {
    pub(super) fn from_path(error: NarrowError<PathError>) -> Self {
        match error {
            NarrowError::Denied(denied) => NarrowError::Denied(denied),
            NarrowError::Failed(error) => NarrowError::Failed(error.into()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for NarrowError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NarrowError::Denied(denied) => denied.fmt(f),
            NarrowError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for NarrowError<E> {}

impl<E> From<Denied> for NarrowError<E> {
    fn from(denied: Denied) -> Self {
        NarrowError::Denied(denied)
    }
}

/// Why a [`Narrow`](crate::Narrow) stored nothing.
pub enum NarrowStoreError<V> {
    /// It is not allowed; with what was to be stored.
    Denied(Denied, Option<V>),
    /// The cell was left as it was.
    Store(StoreError<V>),
}

impl<V> NarrowStoreError<V> {
    /// What was to be stored: nothing is lost by an error.
    pub fn into_value(self) -> Option<V> {
        match self {
            NarrowStoreError::Denied(_, value) => value,
            NarrowStoreError::Store(error) => error.value,
        }
    }
}

impl<V> fmt::Debug for NarrowStoreError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NarrowStoreError::Denied(denied, _) => denied.fmt(f),
            NarrowStoreError::Store(error) => error.fmt(f),
        }
    }
}

impl<V> fmt::Display for NarrowStoreError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NarrowStoreError::Denied(denied, _) => denied.fmt(f),
            NarrowStoreError::Store(error) => error.fmt(f),
        }
    }
}

impl<V> std::error::Error for NarrowStoreError<V> {}

/// Why [`Narrow::store_at`](crate::Narrow::store_at) stored nothing.
pub enum NarrowStoreAtError<V> {
    /// It is not allowed; with what was to be stored.
    Denied(Denied, Option<V>),
    /// It is allowed, and failed.
    Failed(StoreAtError<V>),
}

impl<V> NarrowStoreAtError<V> {
    /// What was to be stored: nothing is lost by an error.
    pub fn into_value(self) -> Option<V> {
        match self {
            NarrowStoreAtError::Denied(_, value) => value,
            NarrowStoreAtError::Failed(error) => error.into_value(),
        }
    }
}

impl<V> fmt::Debug for NarrowStoreAtError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NarrowStoreAtError::Denied(denied, _) => denied.fmt(f),
            NarrowStoreAtError::Failed(error) => error.fmt(f),
        }
    }
}

impl<V> fmt::Display for NarrowStoreAtError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NarrowStoreAtError::Denied(denied, _) => denied.fmt(f),
            NarrowStoreAtError::Failed(error) => error.fmt(f),
        }
    }
}

impl<V> std::error::Error for NarrowStoreAtError<V> {}
