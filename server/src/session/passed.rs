//! What another host was given of this one that somebody else hosts here, and what each tells the other when such a
//! thing ends.
//!
//! A capability goes the way by which it was passed: who has it from this host has nothing but the connection to this host
//! to know it by. That goes on when the one ends who hosted it, be it a client here or a third host. So this host
//! notes what it passes on that may end ([`Passed`]), tells the other of it when it has (`peer.ended`), and that one empties the
//! cells that hold it, and tells those in its turn to whom it has passed it on.
//!
//! Whoever ends sends each worker a letter ([`Shared::tell_ended`](crate::shared::Shared::tell_ended)), which looks after a moment at all that
//! is noted. What is passed on when it has ended already is looked at too.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::atomic::{Ordering, fence};

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use futures::{FutureExt, StreamExt};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::cluster_capnp::peer;
use tokio::sync::Semaphore;

use super::{Session, in_turns};
use crate::cap::{Cap, has_ended, owner};

/// What another host was given that somebody else hosts here.
pub(super) struct Passed {
    /// The objects of the connection that stand for it, by their addresses.
    objects: RefCell<HashSet<usize>>,
    /// Who is told when it ends.
    peer: RefCell<Option<peer::Client>>,
    telling: Cell<bool>,
    /// Whether something of the other host's has ended, and the cells are to be looked at.
    ended: Cell<bool>,
    /// Who looks at them does so alone.
    looking: Semaphore,
}

impl Default for Passed {
    fn default() -> Self {
        Passed {
            objects: RefCell::default(),
            peer: RefCell::default(),
            telling: Cell::new(false),
            ended: Cell::new(false),
            looking: Semaphore::new(1),
        }
    }
}

/// How many capabilities are told of in one call, and in how many calls at a time.
const BATCH: usize = 256;
const BATCHES: usize = 64;

impl Session {
    fn passed(&self) -> Option<&Passed> {
        self.connection().of_host().map(|host| &host.passed)
    }

    /// The host at the other end is told by `peer` of what has ended.
    pub(crate) fn tells(&self, peer: peer::Client) {
        if let Some(passed) = self.passed() {
            passed.peer.replace(Some(peer));
        }
    }

    /// The object at `address`, which stands for `cap`, is about to be the client's: for the first time, or again, as
    /// the client may have forgotten it meanwhile, and that it has ended.
    pub(super) fn pass(&self, address: usize, cap: &Cap) {
        let Some(passed) = self.passed() else { return };
        if owner(cap).is_none_or(|owner| owner.id() == self.id()) {
            return;
        }
        if passed.objects.borrow_mut().insert(address) {
            self.shared().passed.fetch_add(1, Ordering::Relaxed);
        }
        // SeqCst: with the one in `tell_ended`; either that counts this, or this sees the end.
        fence(Ordering::SeqCst);
        if has_ended(cap) {
            self.worker.tell_soon();
        }
    }

    /// The object at `address` is the client's no more.
    pub(super) fn take_back(&self, address: usize) {
        if let Some(passed) = self.passed()
            && passed.objects.borrow_mut().remove(&address)
        {
            // Relaxed: it is the less to be told of.
            self.shared().passed.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The connection has ended: there is nobody to be told.
    pub(super) fn tell_no_more(&self) {
        let Some(passed) = self.passed() else { return };
        let count = passed.objects.take().len();
        // Relaxed: as in `take_back`.
        self.shared().passed.fetch_sub(count, Ordering::Relaxed);
        drop(passed.peer.take());
    }

    /// Tells the host at the other end what has ended of what it has, if it is one.
    pub(crate) fn tell_ended(self: &Rc<Self>) {
        let Some(passed) = self.passed() else { return };
        if passed.objects.borrow().is_empty() || passed.telling.replace(true) {
            return;
        }
        let session = self.clone();
        tokio::task::spawn_local(async move {
            let Some(passed) = session.passed() else { return };
            loop {
                let ended = session.ended().await;
                if ended.is_empty() {
                    break;
                }
                // Side by side: whoever is told looks at once for all that has come.
                let batches = futures::stream::iter(ended.chunks(BATCH));
                // An error means that it has gone, or knows nothing of this.
                batches.for_each_concurrent(BATCHES, |some| passed.tell(some).map(drop)).await;
            }
            passed.telling.set(false);
        });
    }

    /// What has ended and was not told of. Lets others run in between.
    async fn ended(&self) -> Vec<Client> {
        let Some(passed) = self.passed() else { return Vec::new() };
        let all: Vec<_> = passed.objects.borrow().iter().copied().collect();
        let mut ended = Vec::new();
        in_turns(all, |address| {
            let object = self.addresses.borrow().get(&address).and_then(Weak::upgrade);
            if let Some(object) =
                object.filter(|object| object.cap().as_ref().is_some_and(has_ended))
            {
                self.take_back(address);
                ended.push(object.into_client());
            }
        })
        .await;
        ended
    }

    /// What the host at the other end had given, and says that it has ended: empties the cells that hold it. Lets
    /// others run in between.
    pub(crate) async fn have_ended(&self, gone: impl Iterator<Item = Client>) {
        let Some(passed) = self.passed() else { return };
        let connection = self.connection();
        for client in gone {
            let hosted = connection.hosted.borrow();
            let token = hosted.get(&client.hook.get_ptr()).and_then(|(_, token)| token.upgrade());
            // Before it is dropped.
            drop(hosted);
            if token.is_some_and(|token| token.end()) {
                passed.ended.set(true);
            }
        }
        // It is never closed.
        let _alone = passed.looking.acquire().await;
        if passed.ended.replace(false) {
            self.shared().tell_ended();
            let nodes = connection.cells.nodes();
            in_turns(nodes, |node| self.worker.ended_left(&node)).await;
            self.worker.tidy_soon();
        }
    }
}

impl Passed {
    async fn tell(&self, ended: &[Client]) -> Result<(), Error> {
        let Some(mut request) = self.peer.borrow().as_ref().map(peer::Client::ended_request) else {
            return Ok(());
        };
        let mut gone = request.get().init_gone(u32::try_from(ended.len()).unwrap_or(u32::MAX));
        for (index, client) in (0..).zip(ended) {
            let client: anchor::Client = FromClientHook::new(client.hook.add_ref());
            gone.set(index, client.into_client_hook());
        }
        request.send().promise.await.map(drop)
    }
}
