//! Watches: what a node holds, told whenever it is different.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::stream::Stream;
use killick::ChildrenChange;
use killick_schema::api::anchor_capnp::anchor::watch;

use crate::anchor::Anchor;
use crate::calls;
use crate::cell::Loaded;
use crate::client::Client;
use crate::connection::{Effect, Patience};
use crate::error::{Error, is_of_another_host};
use crate::handle::Handle;

/// What of a node is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What its cell holds.
    Value,
    /// Which children it has, and which of these hold a value.
    Children,
    /// Both.
    Both,
}

impl What {
    pub(crate) fn value(self) -> bool {
        self != What::Children
    }

    pub(crate) fn children(self) -> bool {
        self != What::Value
    }
}

/// How a node differs from what a [`Watch`] showed last.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Whether this comes of a look at everything: the first, the first on another connection, and the
    /// first after an error. What is watched of the cell is told then, different or not, and revisions that
    /// were shown before may be those of a node that is no more. What is told of the children leads from
    /// what was shown before in any case.
    pub whole: bool,
    /// What the cell holds, if that is different.
    pub value: Option<Loaded>,
    /// How the children differ; empty if they do not. Of the cluster's anchor a host that was restarted has
    /// both gone and come: nothing of what it had is there any more.
    pub children: ChildrenChange,
    /// How each child in `children.removed` went, in the same order.
    pub departures: Vec<Departure>,
}

impl Change {
    /// The children that went, each with how.
    ///
    /// # Examples
    /// ```
    /// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
    /// # use killick_client::{Departure, What};
    /// # support::with_client(async |client| {
    /// let mut hosts = client.watch_at("/", What::Children)?; // who is there, and then who comes and goes
    /// assert_eq!(hosts.next().await?.gone().count(), 0);
    ///
    /// let workers = client.walk("workers").await?;
    /// let worker = workers.walk("7").await?;
    /// let mut watch = workers.watch(What::Children);
    /// watch.next().await?;
    /// drop(worker);
    /// let change = watch.next().await?;
    /// // Of what is no host it is not told.
    /// assert_eq!(change.gone().collect::<Vec<_>>(), [("7", Departure::Unknown)]);
    /// # Ok(()) });
    /// ```
    pub fn gone(&self) -> impl Iterator<Item = (&str, Departure)> {
        let names = self.children.removed.iter().map(String::as_str);
        names.zip(self.departures.iter().copied())
    }
}

/// How a child went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// It is not told: of a child that is no host, and of a host that went while nobody was there to tell.
    Unknown,
    /// The host said that it goes.
    Left,
    /// The host has not been heard for long.
    Failed,
    /// The host was restarted, and is among those that came.
    Restarted,
}

/// A change as the server tells it.
pub(crate) struct Told {
    pub(crate) sequence: u64,
    pub(crate) change: Change,
}

/// What a node holds: first at present, then whenever it is different. Made by
/// [`Anchor::watch`](crate::Anchor::watch) and [`Client::watch_at`](crate::Client::watch_at); keeps the
/// node.
///
/// Each change leads from what was shown last to the latest. A value that was overtaken by another before
/// it was asked for is not shown, and the revision tells how many those were; nor is a child that came and
/// went in between. So nothing queues, here or at the server. One change is asked for in advance, by the
/// first poll that finds none.
///
/// One of an anchor ends with its connection: from then on it is [`Error::Disconnected`], as all that came
/// over it. One of a client and a path is made again, on a new connection and with the node created again if
/// need be; what changed meanwhile is told as one change. It misses no state, unless one was overtaken. The same
/// goes for one of another host that has gone, or to which the connection has ended: it is made again when that
/// is reached again.
///
/// It waits for as long as nothing happens: no time-out applies, but to what it takes to have another
/// connection. It takes part of the server's limit of watches of one connection, and while it waits of the
/// calls that are open.
///
/// As a [`Stream`] it ends after an error.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::What;
/// # support::with_client(async |client| {
/// let worker = client.walk("worker").await?;
/// let mut watch = worker.watch(What::Both);
/// assert!(watch.next().await?.value.expect("the present state").value.is_none());
///
/// worker.store("one", true).await?;
/// worker.store("two", true).await?;
/// let _inbox = worker.walk("inbox").await?;
/// let mut change = watch.next().await?;
/// while change.value.is_none() || change.value.as_ref().is_some_and(|loaded| loaded.revision < 2) {
///     change = watch.next().await?; // asked for before it was overtaken
/// }
/// assert_eq!(change.value.unwrap().text(), Some("two"));
///
/// client.disconnect();
/// let mut elsewhere = client.root().await?.watch(What::Value);
/// assert!(elsewhere.next().await.is_err()); // the cluster's anchor has no cell
/// # Ok(()) });
/// ```
#[must_use = "a watch asks for nothing until it is polled"]
pub struct Watch {
    source: Source,
    what: What,
    /// What is watched at present, if anything.
    watching: Option<Handle<watch::Client>>,
    /// The number of the change that was told last.
    after: u64,
    /// The answer that is waited for. It is kept until it is there, whoever stops to wait for it.
    asked: Option<LocalBoxFuture<'static, Asked>>,
    /// The children that were shown; nothing before the first change.
    shown: Option<BTreeMap<String, bool>>,
    /// As a stream, it has ended.
    failed: bool,
}

/// Where another watch comes from when one has ended.
#[derive(Clone)]
enum Source {
    /// Nowhere.
    Anchor,
    Path(Client, Box<[u8]>),
}

type Asked = (Option<Handle<watch::Client>>, Result<Told, Error>);

impl Watch {
    fn new(source: Source, what: What, watching: Option<Handle<watch::Client>>) -> Self {
        Watch { source, what, watching, after: 0, asked: None, shown: None, failed: false }
    }

    pub(crate) fn of(anchor: &Anchor, what: What) -> Self {
        Watch::new(Source::Anchor, what, Some(begin(anchor, what)))
    }

    pub(crate) fn at(client: &Client, path: &[u8], what: What) -> Self {
        Watch::new(Source::Path(client.clone(), path.into()), what, None)
    }

    /// The next change, once there is one. Nothing is lost if this is dropped before.
    ///
    /// # Errors
    /// [`Error::Limit`] with [`Watches`](crate::Limit::Watches), or with
    /// [`Calls`](crate::Limit::Calls) if so many children have changed that one answer does not hold them;
    /// [`Error::Failed`] if there is nothing to watch there; [`Error::Disconnected`], as soon as it happens.
    /// Of a client and a path also the errors of [`Client::walk`](crate::Client::walk), when it has to be
    /// made again; [`Error::Disconnected`], [`Error::HostGone`] and [`Error::Unreachable`] only after as many
    /// attempts as [`Retry`](crate::Retry) says, or as long as one operation may take. The next call asks again,
    /// for everything.
    pub async fn next(&mut self) -> Result<Change, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Change, Error>> {
        loop {
            let (watching, told) = ready!(self.ask().poll_unpin(context));
            self.asked = None;
            self.watching = watching;
            let Told { sequence, mut change } = told?;
            self.after = sequence;
            let first = self.shown.is_none();
            self.show(&mut change);
            if first || change.value.is_some() || !change.children.is_empty() {
                return Poll::Ready(Ok(change));
            }
        }
    }

    /// The answer that is waited for. What is asked with goes with it, as it may be another one then.
    fn ask(&mut self) -> &mut LocalBoxFuture<'static, Asked> {
        let Watch { source, what, watching, after, asked, .. } = self;
        asked.get_or_insert_with(|| {
            let (source, what, watching, after) = (source.clone(), *what, watching.take(), *after);
            match source {
                Source::Anchor => async move {
                    let told = match &watching {
                        Some(watching) => next(watching, after).await,
                        None => unreachable!("it is never let go of"),
                    };
                    (watching, told)
                }
                .boxed_local(),
                Source::Path(client, path) => {
                    async move { next_at(&client, &path, what, watching, after).await }
                        .boxed_local()
                }
            }
        })
    }

    /// Has `change` lead from what was shown, which it becomes a part of.
    fn show(&mut self, change: &mut Change) {
        let shown = self.shown.get_or_insert_default();
        if change.whole {
            let now: BTreeMap<_, _> =
                std::mem::take(&mut change.children.added).into_iter().collect();
            change.children = ChildrenChange::between(shown, &now);
            change.departures.clear();
            *shown = now;
        } else {
            change.children.apply(shown);
        }
        change.departures.resize(change.children.removed.len(), Departure::Unknown);
    }
}

/// A watch of `anchor`, which can be asked at once.
fn begin(anchor: &Anchor, what: What) -> Handle<watch::Client> {
    let (watch, answer) = calls::watch(&anchor.0.capability, what);
    let mut watching = anchor.0.with_promised(watch, &answer);
    watching.set_timeout(None);
    watching
}

async fn next(watching: &Handle<watch::Client>, after: u64) -> Result<Told, Error> {
    watching.call(Effect::Read, calls::next(&watching.capability, after)).await
}

/// The same, of a watch that is made anew if there is none, or when it has ended: while there are attempts left,
/// and no longer than one operation may take.
async fn next_at(
    client: &Client,
    path: &[u8],
    what: What,
    mut watching: Option<Handle<watch::Client>>,
    after: u64,
) -> Asked {
    let mut pauses = client.options().retry.pauses();
    let mut lost: Option<Lost> = None;
    loop {
        let (present, after) = match watching.take() {
            Some(present) => (present, after),
            None => {
                let walked = match &mut lost {
                    Some(lost) => lost.walk(client, path, &mut pauses).await,
                    None => client.walk(path).await,
                };
                match walked {
                    Ok(anchor) => (begin(&anchor, what), 0),
                    Err(error) => return (None, Err(error)),
                }
            }
        };
        match next(&present, after).await {
            Err(why) if matches!(why, Error::Disconnected { .. }) || is_gone(&why) => {
                let patience = lost.map_or_else(|| client.patience(), |lost| lost.patience);
                lost = Some(Lost { why, patience });
            }
            told => return (Some(present), told),
        }
    }
}

/// A watch that has ended.
struct Lost {
    why: Error,
    /// For how long another is wanted.
    patience: Patience,
}

impl Lost {
    /// The anchor at `path`, once that is reached again.
    async fn walk(
        &mut self,
        client: &Client,
        path: &[u8],
        pauses: &mut impl Iterator<Item = Duration>,
    ) -> Result<Anchor, Error> {
        while let Some(pause) = pauses.next()
            && self.patience.wait(tokio::time::sleep(pause)).await.is_ok()
        {
            match client.walk(path).await {
                Err(error) if is_gone(&error) => self.why = error,
                // Why it has ended says more.
                Err(Error::TimedOut { .. }) => break,
                walked => return walked,
            }
        }
        Err(self.why.clone())
    }
}

/// Whether another host of the cluster has gone, or the connection to it.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. }) || is_of_another_host(error)
}

impl Stream for Watch {
    type Item = Result<Change, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let change = ready!(self.poll(context));
        self.failed = change.is_err();
        Poll::Ready(Some(change))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("what", &self.what).finish_non_exhaustive()
    }
}
