//! Watches that clients hold: what each is told of, and what it was told last.
//!
//! A client asks for one change after the other, by the number of the one that it knows. Nothing is kept
//! for it in between but what the difference is found by: the revision of the cell that was told, and in
//! the library the names of the children that were. So how often something changes while nobody asks costs
//! nothing, and a watch takes as much as the names that it knows of. That is what it counts as
//! ([`Seat`]).
//!
//! What was told is told from the moment that it was found: an answer that is given up on its way, or that
//! cannot be written, is one that the client does not know of. It then asks with a number that was
//! not told last, and is told everything anew.
//!
//! A watch is the affair of the connection that made it. In a value, it is one of those things that the value
//! dies with ([`owners`](crate::owners)), so that no cell keeps a watch of nobody's.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::hash::{Hash, Hasher};
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use capnp::Error;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use killick::{Authority, ChildrenChange, Denied, Loaded, NarrowWatch};
use killick_schema::api::anchor_capnp::anchor::change::Departure;
use tokio::sync::{Mutex, watch};

use crate::cap::{Node, Origin};
use crate::hosts::{self, Host, HostId, View};
use crate::hub::Changes;
use crate::place::Place;
use crate::session::Session;
use crate::stats::Stats;
use crate::wire::{self, Stored};
use crate::worker::Worker;

/// How many bytes of the names that a watch knows of count as one watch more.
const BYTES_PER_SEAT: usize = 8 * 1024;
/// What a name takes besides its bytes.
const NAME_BYTES: usize = 64;

/// What is watched.
pub(crate) enum Subject {
    /// A node: its value, its children, or both.
    Node { place: Place, value: bool, children: bool },
    /// The hosts, the children of the cluster's anchor, and this one's anchor.
    Hosts { root: Place, hosts: watch::Receiver<Arc<View>> },
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
    pub(crate) children: Option<Siblings>,
}

/// How the children are different.
#[derive(Default)]
pub(crate) struct Siblings {
    pub(crate) change: ChildrenChange,
    /// Of the cluster's anchor: how each of those went that were removed, in the same order.
    pub(crate) departures: Vec<Departure>,
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

    /// The same for somebody who came to it by what was granted, and has room for it.
    pub(crate) fn through(&self, granted: &Authority, seat: Seat) -> Result<Self, Denied> {
        let subject = match &self.subject {
            Subject::Node { place, value, children } => {
                let place = place.through(granted)?;
                Subject::Node { place, value: *value, children: *children }
            }
            Subject::Hosts { root, hosts } => {
                Subject::Hosts { root: root.through(granted)?, hosts: hosts.clone() }
            }
        };
        let told = Live::claimed(&subject)?;
        let state = State { sequence: 0, told, seat };
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
        let mut state = {
            let _resting = session.resting();
            self.state.lock().await
        };
        let State { sequence, told, seat } = &mut *state;
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
        let changed = {
            let _resting = session.resting();
            live.changed(session.worker(), self.place()).await
        };
        let (mut value, children) = match changed {
            Ok(found) => found,
            Err(error) => {
                *told = None;
                return Err(error);
            }
        };
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
            let changed = value.take().is_some();
            Box::pin(session.turn()).await;
            value = live.latest(self.place(), changed)?;
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
enum Told<W> {
    Whole(W),
    Narrow(NarrowWatch<W>),
}

impl Told<killick::Watch<Stored>> {
    /// A watch of what the cell at `place` holds.
    fn value(place: &Place) -> Result<Self, Denied> {
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
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<W::Item>, Denied>> {
        match self {
            Told::Whole(watch) => Pin::new(watch).poll_next(context).map(Ok),
            Told::Narrow(watch) => Pin::new(watch).poll_next(context).map(Option::transpose),
        }
    }
}

/// What the tree tells.
struct Live {
    value: Option<News>,
    children: Option<Children>,
    /// What the names of the children that were told take.
    bytes: usize,
}

/// What is told of a cell.
pub(crate) enum News {
    /// By the revision that was told, and what the worker with this number tells of it.
    Whole { told: Option<u64>, changes: Option<(usize, Changes)> },
    /// Until what was granted is revoked.
    Narrow(NarrowWatch<killick::Watch<Stored>>),
}

enum Children {
    Nodes(Told<killick::WatchChildren<Stored>>),
    Hosts(Hosts),
}

/// The hosts.
struct Hosts {
    /// What this one is called.
    me: String,
    /// Its cell, and what was told of it.
    root: Told<killick::Watch<Stored>>,
    filled: Option<bool>,
    /// Those that were told, by their names, and when they were started.
    told: BTreeMap<String, (HostId, u64)>,
    /// The next view of them.
    next: BoxFuture<'static, watch::Receiver<Arc<View>>>,
}

/// The two parts of a change, each if there is one.
type Found = (Option<Loaded<Stored>>, Option<Siblings>);

impl Live {
    fn new(subject: &Subject) -> Result<Self, Denied> {
        let (value, children) = match subject {
            Subject::Node { place, value, children } => (
                value.then(|| News::at(place)).transpose()?,
                children.then(|| Told::children(place)).transpose()?.map(Children::Nodes),
            ),
            Subject::Hosts { root, hosts } => {
                let mut hosts = hosts.clone();
                hosts.mark_changed();
                let me = hosts.borrow().this().name();
                let next = Hosts::next(hosts);
                let (root, told) = (Told::value(root)?, BTreeMap::new());
                (None, Some(Children::Hosts(Hosts { me, root, filled: None, told, next })))
            }
        };
        Ok(Live { value, children, bytes: 0 })
    }

    /// What counts to what was granted of `subject`, or is refused, before it is first asked for.
    fn claimed(subject: &Subject) -> Result<Option<Self>, Denied> {
        let (Subject::Node { place, .. } | Subject::Hosts { root: place, .. }) = subject;
        matches!(place, Place::Narrow(_)).then(|| Live::new(subject)).transpose()
    }

    /// What is different, of whatever is watched, once something is.
    async fn changed(&mut self, worker: &Worker, place: &Place) -> Result<Found, Error> {
        let Live { value, children, .. } = self;
        if let (Some(cell), Place::Whole(node)) = (value.as_mut(), place) {
            cell.listen(worker, node);
        }
        loop {
            let mut loaded = match value {
                Some(cell) => cell.look(place)?,
                None => None,
            };
            let mut changed = pin!(async {
                match value {
                    Some(cell) => cell.changed().await,
                    None => pending().await,
                }
            });
            let found = poll_fn(|context| {
                let children = match children.as_mut().map(|all| all.poll(context)) {
                    Some(Poll::Ready(told)) => {
                        Some(told.map_err(wire::denied)?.ok_or_else(wire::tree_is_gone)?)
                    }
                    _ => None,
                };
                if loaded.is_some() || children.is_some() {
                    return Poll::Ready(Ok(Some((loaded.take(), children))));
                }
                let told = ready!(changed.as_mut().poll(context))?;
                Poll::Ready(Ok::<_, Error>(told.map(|loaded| (Some(loaded), None))))
            });
            if let Some(found) = found.await? {
                return Ok(found);
            }
        }
    }

    /// What the cell holds, if that is different or is to be told `anew`.
    fn latest(&mut self, place: &Place, anew: bool) -> Result<Option<Loaded<Stored>>, Error> {
        if anew && self.value.take().is_some() {
            self.value = Some(News::at(place).map_err(wire::denied)?);
        }
        self.value.as_mut().map_or(Ok(None), |cell| cell.look(place))
    }

    /// How many watches this counts as, after `change` was told.
    fn weigh(&mut self, children: Option<&Siblings>) -> usize {
        if let Some(Siblings { change, .. }) = children {
            let take = |name: &String| name.len() + NAME_BYTES;
            self.bytes += change.added.iter().map(|(name, _)| take(name)).sum::<usize>();
            self.bytes -= change.removed.iter().map(take).sum::<usize>();
        }
        1 + self.bytes / BYTES_PER_SEAT
    }
}

impl News {
    /// What is told of the cell at `place` by `worker`, whose thread this is.
    pub(crate) fn of(place: &Place, worker: &Worker) -> Result<Self, Denied> {
        let mut news = News::at(place)?;
        if let Place::Whole(node) = place {
            news.listen(worker, node);
        }
        Ok(news)
    }

    fn at(place: &Place) -> Result<Self, Denied> {
        Ok(match place {
            Place::Whole(_) => News::Whole { told: None, changes: None },
            Place::Narrow(narrow) => News::Narrow(narrow.watch()?),
        })
    }

    /// Has `worker`, whose thread this is, tell of changes from now on.
    fn listen(&mut self, worker: &Worker, node: &Node) {
        let News::Whole { changes, .. } = self else { return };
        if changes.as_ref().is_none_or(|(number, _)| *number != worker.number()) {
            *changes = Some((worker.number(), worker.changes(node)));
        }
    }

    /// What the cell holds, if that was not told.
    fn look(&mut self, place: &Place) -> Result<Option<Loaded<Stored>>, Error> {
        match (self, place) {
            (News::Whole { told, .. }, Place::Whole(node)) => {
                let now = node.load();
                Ok((told.replace(now.revision) != Some(now.revision)).then_some(now))
            }
            (News::Narrow(watch), _) => match watch.next().now_or_never() {
                Some(Some(next)) => next.map(Some).map_err(wire::denied),
                Some(None) => Err(wire::tree_is_gone()),
                None => Ok(None),
            },
            (News::Whole { .. }, Place::Narrow(_)) => Ok(None),
        }
    }

    /// Resolves when there may have been a change: to what there is now, if that is found on the way.
    pub(crate) async fn changed(&mut self) -> Result<Option<Loaded<Stored>>, Error> {
        match self {
            News::Whole { changes: None, .. } => pending().await,
            News::Whole { changes: Some((_, changes)), .. } => match changes.changed().await {
                true => Ok(None),
                false => Err(wire::tree_is_gone()),
            },
            News::Narrow(watch) => {
                let next = watch.next().await.ok_or_else(wire::tree_is_gone)?;
                next.map(Some).map_err(wire::denied)
            }
        }
    }
}

impl Children {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Siblings>, Denied>> {
        match self {
            Children::Nodes(watch) => watch
                .poll(context)
                .map_ok(|change| change.map(|change| Siblings { change, departures: Vec::new() })),
            Children::Hosts(hosts) => hosts.poll(context),
        }
    }
}

impl Hosts {
    fn next(
        mut hosts: watch::Receiver<Arc<View>>,
    ) -> BoxFuture<'static, watch::Receiver<Arc<View>>> {
        Box::pin(async move {
            if hosts.changed().await.is_err() {
                // The server has ended, and with it who is told.
                pending::<()>().await;
            }
            hosts
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Siblings>, Denied>> {
        loop {
            match self.root.poll(context)? {
                Poll::Ready(Some(loaded)) => {
                    let filled = loaded.value.is_some();
                    if self.filled.replace(filled).is_some_and(|before| before != filled)
                        && let Some(news) = self.cell(filled)
                    {
                        return Poll::Ready(Ok(Some(news)));
                    }
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            let mut hosts = ready!(self.next.as_mut().poll(context));
            let view = hosts.borrow_and_update().clone();
            self.next = Hosts::next(hosts);
            let anew = self.told.is_empty();
            let news = self.differs(&view);
            if anew || !news.change.is_empty() {
                return Poll::Ready(Ok(Some(news)));
            }
        }
    }

    /// That this host's cell has come to hold something, or nothing.
    fn cell(&self, filled: bool) -> Option<Siblings> {
        let mut news = Siblings::default();
        self.told.contains_key(&self.me).then(|| {
            let list = if filled { &mut news.change.filled } else { &mut news.change.emptied };
            list.push(self.me.clone());
            news
        })
    }

    /// What is different in `view` from what was told.
    fn differs(&mut self, view: &View) -> Siblings {
        let there = |host: &Host| (host.name(), (host.id, host.generation));
        let now: BTreeMap<_, _> = view.there().map(there).collect();
        let mut news = Siblings::default();
        for (name, (id, generation)) in &self.told {
            if now.get(name) != Some(&(*id, *generation)) {
                news.change.removed.push(name.clone());
                let left = view.hosts.get(id).map(|host| host.state);
                news.departures.push(match (now.contains_key(name), left) {
                    (true, _) => Departure::Restarted,
                    (false, Some(hosts::State::Left)) => Departure::Left,
                    (false, Some(hosts::State::Failed)) => Departure::Failed,
                    (false, _) => Departure::Unknown,
                });
            }
        }
        let filled = |id: HostId| id == view.me && self.filled == Some(true);
        for (name, (id, generation)) in &now {
            if self.told.get(name) != Some(&(*id, *generation)) {
                news.change.added.push((name.clone(), filled(*id)));
            }
        }
        self.told = now;
        news
    }
}

/// What a watch counts as among those of the connection that made it.
pub(crate) struct Seat {
    stats: Arc<Stats>,
    limit: usize,
    count: usize,
    /// The same among those of all clients of a host, where it is one of them that has it.
    all: Option<Box<Seat>>,
}

impl Seat {
    /// That of one watch, among `limit`, if there is room.
    pub(crate) fn take(stats: &Arc<Stats>, limit: usize) -> Option<Self> {
        let mut seat = Seat { stats: stats.clone(), limit, count: 0, all: None };
        seat.resize(1).is_ok().then_some(seat)
    }

    /// The same one, which also has `all`.
    pub(crate) fn among(mut self, all: Seat) -> Self {
        self.all = Some(Box::new(all));
        self
    }

    /// Has it count as `count`, or tells the limit that this would exceed.
    fn resize(&mut self, count: usize) -> Result<(), usize> {
        let before = self.count;
        self.resize_own(count)?;
        let resized = self.all.as_mut().map_or(Ok(()), |all| all.resize(count));
        if resized.is_err() {
            // That it counted as, and has not given back.
            let _ = self.resize_own(before);
        }
        resized
    }

    fn resize_own(&mut self, count: usize) -> Result<(), usize> {
        let before = std::mem::replace(&mut self.count, count);
        let resized = |all: usize| {
            let all = all - before + count;
            (count <= before || all <= self.limit).then_some(all)
        };
        // Relaxed, here and below: the count alone is decided by; it publishes nothing.
        let watches = &self.stats.watches;
        if watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, resized).is_err() {
            self.count = before;
            return Err(self.limit);
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stats.watches.fetch_sub(self.count, Ordering::Relaxed);
    }
}
