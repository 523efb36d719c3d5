//! Anchors that give less than all, and the way to take them back.

use std::fmt;
use std::time::Duration;

use killick::{Allowance, Rights};
use killick_schema::api::anchor_capnp::anchor::grant;

use crate::anchor::Anchor;
use crate::calls;
use crate::connection::Effect;
use crate::error::Error;
use crate::handle::Handle;

/// What one call of [`Anchor::attenuate`] gave away: whoever has it can take that back, and see how much of
/// it is used. To drop it revokes nothing, and neither does the end of its connection.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// use killick_client::{Allowance, Denied, Error, Right, Rights};
/// # support::with_client(async |client| {
///
/// // Somebody may read what is below "news", and hand on nothing.
/// client.store_at("news/today", "sunny", false).await?;
/// let allowance = Allowance { watches: 10, ..Allowance::default() };
/// let (news, grant) = client.walk("news").await?.attenuate(Rights::READ, allowance).await?;
/// client.store_at("for/bob", &news, false).await?;
///
/// // Bob, on a connection of his own, finds it.
/// let value = client.load_at("for/bob").await?.value.expect("it is there");
/// let news = client.host().await?.adopt(value.capability().expect("an anchor"));
/// assert_eq!(news.load_at("today").await?.text(), Some("sunny"));
/// let refused = news.walk("tomorrow").await.unwrap_err();
/// assert!(matches!(refused, Error::Denied(Denied::Right(Right::Walk))));
///
/// grant.revoke().await?;
/// let refused = news.load_at("today").await.unwrap_err();
/// assert!(matches!(refused, Error::Denied(Denied::Revoked)));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Grant(pub(crate) Handle<grant::Client>);

/// What a [`Grant`] is, and how much of it is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantInfo {
    /// The rights that it gives.
    pub rights: Rights,
    /// How much may be had by it at a time.
    pub allowance: Allowance,
    /// How much is had at this moment; 0 of nodes if they have no limit, and of depth.
    pub used: Allowance,
    /// Whether it has been revoked.
    pub revoked: bool,
}

impl Grant {
    /// Takes it back: when this returns, whatever was reached through its anchor, by whomever, fails with
    /// [`Denied::Revoked`](killick::Denied::Revoked), and nodes that it alone kept are gone. A second call
    /// changes nothing.
    ///
    /// # Errors
    /// Those of every method of an [`Anchor`] that changes something: with
    /// [`Error::UnknownOutcome`] it may be called again.
    pub async fn revoke(&self) -> Result<(), Error> {
        self.0.call(Effect::Write, calls::revoke(&self.0.capability)).await
    }

    /// What it is, and how much of it is had.
    ///
    /// # Errors
    /// Those of every method of an [`Anchor`].
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Allowance, Denied, Error, Resource, Rights};
    /// # support::with_client(async |client| {
    /// let allowance = Allowance { nodes: 2, ..Allowance::default() };
    /// let (jobs, grant) = client.walk("jobs").await?.attenuate(Rights::ALL, allowance).await?;
    /// let job = jobs.walk("1/log").await?;
    /// assert_eq!(grant.info().await?.used.nodes, 2);
    /// let refused = jobs.walk("2").await.unwrap_err();
    /// let expected = Denied::Exhausted { resource: Resource::Nodes, limit: 2 };
    /// assert!(matches!(refused, Error::Denied(denied) if denied == expected));
    /// # drop(job);
    /// # Ok(()) });
    /// ```
    pub async fn info(&self) -> Result<GrantInfo, Error> {
        self.0.call(Effect::Read, calls::grant_info(&self.0.capability)).await
    }

    /// The same grant, each call on it waited for as long as `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// A grant that came as a capability in a value, over the connection of `from`.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Allowance, Grant, Rights};
    /// # support::with_client(async |client| {
    /// let (anchor, grant) = client.walk("a").await?.attenuate(Rights::ALL, Allowance::default()).await?;
    /// client.store_at("grants/a", &grant, false).await?;
    ///
    /// let value = client.load_at("grants/a").await?.value.expect("it is there");
    /// let grant = Grant::adopt(&client.host().await?, value.capability().expect("a grant"));
    /// grant.revoke().await?;
    /// assert!(anchor.names().await.is_err());
    /// # Ok(()) });
    /// ```
    pub fn adopt(from: &Anchor, capability: grant::Client) -> Self {
        Grant(Handle { foreign: true, ..from.0.with(capability) })
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &grant::Client {
        &self.0.capability
    }
}

impl Anchor {
    /// The same node with some of the rights alone, and within limits, until the grant is revoked:
    /// [`killick::Anchor::attenuate`]. What is reached through it is narrowed the same way, for ever, also
    /// anchors that it [loads](Self::load) as values. Of the rights it gets those that this anchor has:
    /// [`Exec`](killick::Right::Exec) if it is the host's own, or narrowed to that.
    ///
    /// # Errors
    /// [`Error::Denied`] on an anchor that is narrowed already: the right
    /// [`Attenuate`](killick::Right::Attenuate), or too many grants.
    pub async fn attenuate(
        &self,
        rights: Rights,
        allowance: Allowance,
    ) -> Result<(Anchor, Grant), Error> {
        // What it makes lives as long as the handles that it gives.
        let narrowed = calls::attenuate(&self.0.capability, rights, allowance);
        let (anchor, grant) = self.0.call(Effect::Read, narrowed).await?;
        Ok((Anchor(self.0.with(anchor)), Grant(self.0.with(grant))))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.connection.is_open();
        f.debug_struct("Grant").field("connected", &open).finish_non_exhaustive()
    }
}
