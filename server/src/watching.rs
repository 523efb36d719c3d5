//! Watches that clients hold: what each is told of, and what it was told last.
//!
//! A client asks for one change after the other, by the number of the one that it knows. Nothing is kept
//! for it in between but what it was told, which the library keeps to find the difference: how often
//! a cell changes while nobody asks costs nothing, and a watch takes as much as what it is told of has
//! names. That is what it counts as ([`Seat`]).
//!
//! What was told is told from the moment that it was found: an answer that is given up on its way, or that
//! cannot be written, is one that the client does not know of. It then asks with a number that was
//! not told last, and is told everything anew.
//!
//! A watch is the affair of the connection that made it. In a value, it is one of those things that the value
//! dies with ([`owners`](crate::owners)), so that no cell keeps a watch of nobody's.

use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use capnp::Error;
use futures::Stream;
use killick::{Authority, ChildrenChange, Denied, Loaded, NarrowWatch};
use tokio::sync::Mutex;

use crate::cap::Origin;
use crate::place::Place;
use crate::session::Session;
use crate::stats::Stats;
use crate::wire::{self, Stored};

/// How many bytes of the names that a watch knows of count as one watch more.
const BYTES_PER_SEAT: usize = 8 * 1024;
/// What a name takes besides its bytes.
const NAME_BYTES: usize = 64;

/// What is watched.
pub(crate) enum Subject {
    /// A node: its value, its children, or both.
    Node { place: Place, value: bool, children: bool },
    /// The hosts, the children of the cluster's anchor: this one's anchor, and its name.
    Hosts { root: Place, name: String },
}

/// A watch.
pub(crate) struct Watching {
    subject: Subject,
    origin: Origin,
    /// Held by the call that waits.
    state: Mutex<State>,
}

struct State {
    /// That of what was told last, 0 before.
    sequence: u64,
    /// Who is told by the tree; nobody before the first call, but where that counts to what was granted,
    /// and after one that was refused.
    told: Option<Live>,
    seat: Seat,
}

/// What is different.
pub(crate) struct Change {
    pub(crate) sequence: u64,
    /// All that there is, and not what is different.
    pub(crate) whole: bool,
    pub(crate) value: Option<Loaded<Stored>>,
    pub(crate) children: Option<ChildrenChange>,
}

impl Watching {
    /// A watch of `subject` by the client of `session`.
    ///
    /// # Errors
    /// The connection has its limit of watches, or nothing is to be watched.
    pub(crate) fn new(session: &Session, subject: Subject) -> Result<Self, Error> {
        if let Subject::Node { value: false, children: false, .. } = subject {
            return Err(wire::nothing_to_watch());
        }
        let told = Live::claimed(&subject).map_err(wire::denied)?;
        let state = State { sequence: 0, told, seat: session.seat()? };
        Ok(Watching { subject, origin: session.origin().clone(), state: Mutex::new(state) })
    }

    /// The same for somebody who came to it by what was granted.
    pub(crate) fn through(&self, granted: &Authority) -> Result<Self, Denied> {
        let subject = match &self.subject {
            Subject::Node { place, value, children } => {
                let place = place.through(granted)?;
                Subject::Node { place, value: *value, children: *children }
            }
            Subject::Hosts { root, name } => {
                Subject::Hosts { root: root.through(granted)?, name: name.clone() }
            }
        };
        let told = Live::claimed(&subject)?;
        // It counts to nobody's limit of watches: but to that of a connection's capabilities.
        let state = State { sequence: 0, told, seat: Seat::none() };
        Ok(Watching { subject, origin: self.origin.clone(), state: Mutex::new(state) })
    }

    /// The connection that made it.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The node that it keeps.
    pub(crate) fn place(&self) -> &Place {
        match &self.subject {
            Subject::Node { place, .. } | Subject::Hosts { root: place, .. } => place,
        }
    }

    /// What is different from the change numbered `after`, once something is; everything, at once, if
    /// that was not told last. The client of `session` is the one to be told.
    pub(crate) async fn next(&self, session: &Session, after: u64) -> Result<Change, Error> {
        let State { sequence, told, seat } = &mut *self.state.lock().await;
        let known = told.as_mut().filter(|_| after != 0 && after == *sequence);
        let whole = known.is_none();
        let live = match known {
            Some(live) => live,
            None => {
                // First, so that it does not count beside the new one.
                *told = None;
                told.insert(Live::new(&self.subject).map_err(wire::denied)?)
            }
        };
        let found = {
            let _resting = session.resting();
            std::future::poll_fn(|context| live.poll(context)).await
        };
        let found = found.map_err(wire::denied)?;
        let (mut value, children) = found.ok_or_else(wire::tree_is_gone)?;
        *sequence += 1;
        let weight = live.weigh(children.as_ref());
        if let Err(limit) = seat.resize(weight) {
            *told = None;
            // Less than before, which there is always room for.
            let _ = seat.resize(1);
            return Err(session.too_many_names(weight, limit));
        }
        if session.has_to_wait() {
            // What is overtaken meanwhile is neither told nor kept.
            let anew = value.take().map(|_| self.place());
            Box::pin(session.turn()).await;
            value = live.latest(anew).map_err(wire::denied)?;
        }
        Ok(Change { sequence: *sequence, whole, value, children })
    }
}

impl PartialEq for Watching {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl Eq for Watching {}

impl Hash for Watching {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ptr::hash(self, state);
    }
}

/// A watch of the tree's, with all rights or until what was granted is revoked.
pub(crate) enum Told<W> {
    Whole(W),
    Narrow(NarrowWatch<W>),
}

impl Told<killick::Watch<Stored>> {
    /// A watch of what the cell at `place` holds.
    pub(crate) fn value(place: &Place) -> Result<Self, Denied> {
        Ok(match place {
            Place::Whole(node) => Told::Whole(node.watch()),
            Place::Narrow(narrow) => Told::Narrow(narrow.watch()?),
        })
    }
}

impl Told<killick::WatchChildren<Stored>> {
    fn children(place: &Place) -> Result<Self, Denied> {
        Ok(match place {
            Place::Whole(node) => Told::Whole(node.watch_children()),
            Place::Narrow(narrow) => Told::Narrow(narrow.watch_children()?),
        })
    }
}

impl<W: Stream + Unpin> Told<W> {
    /// The next item; nothing if the tree has gone.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<W::Item>, Denied>> {
        match self {
            Told::Whole(watch) => Pin::new(watch).poll_next(context).map(Ok),
            Told::Narrow(watch) => Pin::new(watch).poll_next(context).map(Option::transpose),
        }
    }
}

/// What the tree tells.
struct Live {
    value: Option<Told<killick::Watch<Stored>>>,
    children: Option<Children>,
    /// What the names of the children that were told take.
    bytes: usize,
}

enum Children {
    Nodes(Told<killick::WatchChildren<Stored>>),
    Hosts(Hosts),
}

/// The one host that there is, by its cell.
struct Hosts {
    name: String,
    root: Told<killick::Watch<Stored>>,
    filled: Option<bool>,
}

/// The two parts of a change, each if there is one; nothing if the tree has gone.
type Found = Option<(Option<Loaded<Stored>>, Option<ChildrenChange>)>;

impl Live {
    fn new(subject: &Subject) -> Result<Self, Denied> {
        let (value, children) = match subject {
            Subject::Node { place, value, children } => (
                value.then(|| Told::value(place)).transpose()?,
                children.then(|| Told::children(place)).transpose()?.map(Children::Nodes),
            ),
            Subject::Hosts { root, name } => {
                let hosts = Hosts { name: name.clone(), root: Told::value(root)?, filled: None };
                (None, Some(Children::Hosts(hosts)))
            }
        };
        Ok(Live { value, children, bytes: 0 })
    }

    /// What counts to what was granted of `subject`, or is refused, before it is first asked for.
    fn claimed(subject: &Subject) -> Result<Option<Self>, Denied> {
        let (Subject::Node { place, .. } | Subject::Hosts { root: place, .. }) = subject;
        matches!(place, Place::Narrow(_)).then(|| Live::new(subject)).transpose()
    }

    /// What is different, of whatever is watched.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Found, Denied>> {
        let value = self.value.as_mut().map_or(Poll::Pending, |watch| watch.poll(context));
        let children = self.children.as_mut().map_or(Poll::Pending, |watch| watch.poll(context));
        match (value, children) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Ready(Err(denied)), _) | (_, Poll::Ready(Err(denied))) => {
                Poll::Ready(Err(denied))
            }
            (Poll::Ready(Ok(None)), _) | (_, Poll::Ready(Ok(None))) => Poll::Ready(Ok(None)),
            (value, children) => Poll::Ready(Ok(Some((ready(value), ready(children))))),
        }
    }

    /// What the cell holds, if that is different or is to be looked at `anew`.
    fn latest(&mut self, anew: Option<&Place>) -> Result<Option<Loaded<Stored>>, Denied> {
        if let Some(place) = anew {
            // First, so that it does not count beside the new one.
            self.value = None;
            self.value = Some(Told::value(place)?);
        }
        let Some(watch) = self.value.as_mut() else { return Ok(None) };
        match watch.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found,
            Poll::Pending => Ok(None),
        }
    }

    /// How many watches this counts as, after `change` was told.
    fn weigh(&mut self, change: Option<&ChildrenChange>) -> usize {
        if let Some(change) = change {
            let take = |name: &String| name.len() + NAME_BYTES;
            self.bytes += change.added.iter().map(|(name, _)| take(name)).sum::<usize>();
            self.bytes -= change.removed.iter().map(take).sum::<usize>();
        }
        1 + self.bytes / BYTES_PER_SEAT
    }
}

fn ready<T>(poll: Poll<Result<Option<T>, Denied>>) -> Option<T> {
    match poll {
        Poll::Ready(Ok(item)) => item,
        _ => None,
    }
}

impl Children {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<ChildrenChange>, Denied>> {
        match self {
            Children::Nodes(watch) => watch.poll(context),
            Children::Hosts(hosts) => hosts.poll(context),
        }
    }
}

impl Hosts {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<ChildrenChange>, Denied>> {
        let name = || self.name.clone();
        loop {
            let Some(loaded) = ready!(self.root.poll(context))? else {
                return Poll::Ready(Ok(None));
            };
            let filled = loaded.value.is_some();
            let mut change = ChildrenChange::default();
            match self.filled.replace(filled) {
                None => change.added.push((name(), filled)),
                Some(before) if before == filled => continue,
                Some(true) => change.emptied.push(name()),
                Some(false) => change.filled.push(name()),
            }
            return Poll::Ready(Ok(Some(change)));
        }
    }
}

/// What a watch counts as among those of the connection that made it.
pub(crate) struct Seat {
    /// Those of the connection, if it counts there.
    stats: Option<Arc<Stats>>,
    limit: usize,
    count: usize,
}

impl Seat {
    /// That of one watch, among `limit`, if there is room.
    pub(crate) fn take(stats: &Arc<Stats>, limit: usize) -> Option<Self> {
        let mut seat = Seat { stats: Some(stats.clone()), limit, count: 0 };
        seat.resize(1).is_ok().then_some(seat)
    }

    /// That of a watch that counts to nobody.
    fn none() -> Self {
        Seat { stats: None, limit: usize::MAX, count: 0 }
    }

    /// Has it count as `count`, or tells the limit that this would exceed.
    fn resize(&mut self, count: usize) -> Result<(), usize> {
        let Some(stats) = &self.stats else { return Ok(()) };
        let before = std::mem::replace(&mut self.count, count);
        let resized = |all: usize| {
            let all = all - before + count;
            (count <= before || all <= self.limit).then_some(all)
        };
        // Relaxed, here and below: the count alone is decided by; it publishes nothing.
        let watches = &stats.watches;
        if watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, resized).is_err() {
            self.count = before;
            return Err(self.limit);
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(stats) = &self.stats {
            stats.watches.fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}
