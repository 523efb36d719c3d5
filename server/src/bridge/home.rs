//! The host's side: what the clients of one thread host, and the calls to it that come in.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use capnp::capability::RemotePromise;
use capnp::private::capability::ClientHook;
use capnp::{Error, ErrorKind};
use futures::FutureExt;
use killick_client::internal::is_remote;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::early::{Promised, broken};
use super::{Bound, Cap, Origin, Parcel, Peer, Token, resolved_so_far, settle};

/// What a home is sent.
pub(super) enum Message<O> {
    /// The last claim to what is kept under this number was dropped.
    Release(u64),
    /// A call to something that is kept here.
    Call(Call<O>),
}

type Answer<O> = Result<Option<Parcel<O>>, Error>;

/// A call on its way to its host.
pub(super) struct Call<O> {
    /// Holds the capability until the call has been made.
    pub(super) token: Token<O>,
    pub(super) method: (u64, u16),
    pub(super) question: Option<Parcel<O>>,
    pub(super) reply: oneshot::Sender<Answer<O>>,
    /// How often it may still be handed on.
    pub(super) hops: usize,
    /// What there is a claim to already of what the answer will hold: each with the number of its pointer.
    pub(super) promised: Vec<Promised<O>>,
}

impl<O> Call<O> {
    fn fail(self, error: Error) {
        // An error means that the caller has given up.
        let _ = self.reply.send(Err(error));
    }

    /// Whether nobody waits for the answer, nor for what was asked of it.
    fn is_given_up(&self) -> bool {
        self.reply.is_closed() && !self.promised.iter().any(|(token, _)| token.is_shared())
    }

    /// Sends it to what `token` claims instead.
    fn hand_on(self, token: Token<O>) {
        if self.is_given_up() {
            return;
        }
        match self.hops.checked_sub(1) {
            Some(hops) => {
                let origin = token.origin().clone();
                origin.post(Message::Call(Call { token, hops, ..self }));
            }
            None => self.fail(Error::failed("a capability resolves to itself".into())),
        }
    }
}

/// A capability that a client hosts, kept for those who have a claim to it.
struct Kept<P: Peer> {
    hook: Box<dyn ClientHook>,
    address: usize,
    peer: Weak<P>,
    /// What it is, once that is known to be no promise and hosted here.
    settled: OnceCell<Box<dyn ClientHook>>,
    /// The calls that wait for that, in their order; nobody does while there is no list.
    waiting: RefCell<Option<Vec<Call<P::Own>>>>,
}

/// What the clients of one thread's connections host and others have a claim to.
pub(crate) struct Home<P: Peer> {
    number: usize,
    post: UnboundedSender<Message<P::Own>>,
    kept: RefCell<HashMap<u64, Rc<Kept<P>>>>,
    last: Arc<AtomicU64>,
}

/// What was sent to a home and is not read yet.
pub(crate) struct Inbox<O>(UnboundedReceiver<Message<O>>);

impl<P: Peer> Home<P> {
    /// A home, the one of the thread numbered `number`, that keeps nothing yet.
    pub(crate) fn new(number: usize) -> (Self, Inbox<P::Own>) {
        let (post, inbox) = unbounded_channel();
        let home = Home { number, post, kept: RefCell::default(), last: Arc::default() };
        (home, Inbox(inbox))
    }

    /// Connection `id` of this thread, as other threads know it, and whether it is
    /// [eager](Origin::is_eager).
    pub(crate) fn origin(&self, id: u64, eager: bool) -> Origin<P::Own> {
        Origin::new((id, eager), self.number, self.last.clone(), self.post.clone())
    }

    /// Keeps `hook`, hosted by the client of `peer`, whose connection is `origin`, until the last copy
    /// of the token is dropped or it is [let go](Self::let_go) of.
    pub(crate) fn keep(
        &self,
        peer: &Rc<P>,
        origin: &Origin<P::Own>,
        hook: Box<dyn ClientHook>,
    ) -> Token<P::Own> {
        let token = origin.promise();
        self.insert(token.id(), Rc::downgrade(peer), hook, OnceCell::new());
        token
    }

    /// [`keep`](Self::keep), but calls to a promise are made at once, as calls to that.
    pub(crate) fn keep_as_is(
        &self,
        peer: &Rc<P>,
        origin: &Origin<P::Own>,
        hook: Box<dyn ClientHook>,
    ) -> Token<P::Own> {
        let token = origin.promise();
        self.fulfil(token.id(), peer, hook);
        token
    }

    /// Keeps `hook`, as it is, under a number that there is a claim to already.
    pub(crate) fn fulfil(&self, id: u64, peer: &Rc<P>, hook: Box<dyn ClientHook>) {
        let settled = OnceCell::from(hook.add_ref());
        self.insert(id, Rc::downgrade(peer), hook, settled);
    }

    fn insert(
        &self,
        id: u64,
        peer: Weak<P>,
        hook: Box<dyn ClientHook>,
        settled: OnceCell<Box<dyn ClientHook>>,
    ) {
        let (address, waiting) = (hook.get_ptr(), RefCell::default());
        let kept = Rc::new(Kept { hook, address, peer, settled, waiting });
        self.kept.borrow_mut().insert(id, kept);
    }

    /// What is kept under `id`, as far as it is known what that is.
    pub(crate) fn known(&self, id: u64) -> Option<Box<dyn ClientHook>> {
        self.kept.borrow().get(&id).map(|kept| resolved_so_far(kept.hook.add_ref()))
    }

    /// How many capabilities are kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.borrow().len()
    }

    /// Lets go of what is kept under `id`, if it still is. Calls that wait for it end.
    pub(crate) fn let_go(&self, id: u64) {
        let kept = self.kept.borrow_mut().remove(&id);
        let Some(kept) = kept else { return };
        let waiting = kept.waiting.take();
        drop(waiting);
        if let Some(peer) = kept.peer.upgrade() {
            peer.released(id, kept.address);
        }
    }

    /// Does what is asked for in `inbox`, for ever. `left` is told how much is in it, and how much is kept,
    /// each time that something was done.
    pub(crate) async fn run(&self, mut inbox: Inbox<P::Own>, left: impl Fn(usize, usize)) {
        while let Some(message) = inbox.0.recv().await {
            match message {
                Message::Release(id) => self.let_go(id),
                Message::Call(call) => self.call(call),
            }
            left(inbox.0.len(), self.kept());
        }
    }

    fn call(&self, call: Call<P::Own>) {
        let kept = self.kept.borrow().get(&call.token.id()).cloned();
        match kept {
            Some(kept) => kept.call(call),
            None => {
                let gone = call.token.origin().gone();
                call.fail(gone);
            }
        }
    }
}

impl<P: Peer> Kept<P> {
    /// Makes a call, or has it wait until it is known what to.
    fn call(self: Rc<Self>, call: Call<P::Own>) {
        if let Some(hook) = self.settled.get() {
            return self.make(&**hook, call);
        }
        if let Some(waiting) = &mut *self.waiting.borrow_mut() {
            if waiting.len() == waiting.capacity() {
                // Each time that there are twice as many: those that are given up are none.
                waiting.retain(|call| !call.is_given_up());
            }
            return waiting.push(call);
        }
        self.waiting.replace(Some(vec![call]));
        let mut settling = Box::pin(self.clone().settle());
        // Most are settled: no task for those.
        if settling.as_mut().now_or_never().is_none() {
            spawn_local(settling);
        }
    }

    /// Waits until it is known what this is, and makes the calls that waited for it.
    async fn settle(self: Rc<Self>) {
        let Some(peer) = self.peer.upgrade() else { return drop(self.waiting.take()) };
        let settled = settle(&*peer, self.hook.add_ref()).await;
        let waiting = self.waiting.take().unwrap_or_default();
        match settled {
            Ok(hook) => match peer.known(&*hook) {
                // A proxy for something hosted elsewhere: calls go there, and never through a proxy.
                // That is not kept, as it might claim this very capability.
                Some(Cap::Foreign(token)) => {
                    waiting.into_iter().for_each(|call| call.hand_on(token.clone()));
                }
                _ => {
                    let hook = self.settled.get_or_init(|| hook);
                    waiting.into_iter().for_each(|call| self.make(&**hook, call));
                }
            },
            Err(error) => waiting.into_iter().for_each(|call| call.fail(error.clone())),
        }
    }

    /// Makes `call` on `hook`.
    fn make(&self, hook: &dyn ClientHook, call: Call<P::Own>) {
        let Some(peer) = self.peer.upgrade() else {
            let gone = call.token.origin().gone();
            return call.fail(gone);
        };
        if call.is_given_up() {
            return;
        }
        let limit = peer.bounds().backlog;
        if peer.backlog() > limit {
            let name = peer.exceeds(Bound::Backlog);
            let error = "the client that hosts this capability leaves more than its limit of";
            let error = Error::overloaded(format!("{error} {limit} bytes unread{name}"));
            return refuse(&peer, call, error);
        }
        // A panic that got through would end the thread.
        if catch_unwind(AssertUnwindSafe(|| make(&peer, hook, call))).is_err() {
            peer.panicked();
        }
    }
}

/// The error of a call that `error` ended: if not the host said that, but how its connection has ended, it is
/// that the host has gone.
fn of_host(error: Error, gone: impl FnOnce() -> Error) -> Error {
    match error.kind {
        ErrorKind::Disconnected if !is_remote(&error) => gone(),
        _ => error,
    }
}

/// Answers a call that is not made with `error`, and all that were made on its answer.
fn refuse<P: Peer>(peer: &Rc<P>, call: Call<P::Own>, error: Error) {
    for (token, _) in &call.promised {
        peer.fulfil(token.id(), broken(error.clone()));
    }
    call.fail(error);
}

/// Makes `call` on `hook`, and has its answer sent when it comes.
fn make<P: Peer>(peer: &Rc<P>, hook: &dyn ClientHook, call: Call<P::Own>) {
    let (interface, method) = call.method;
    let mut request = hook.new_call(interface, method, None);
    if let Some(question) = &call.question
        && let Err(error) = question.unpack(peer, request.get())
    {
        return refuse(peer, call, error);
    }
    let Call { token, mut reply, promised, .. } = call;
    let RemotePromise { promise: answered, pipeline } = request.send();
    for (token, pointer) in promised {
        peer.fulfil(token.id(), pipeline.get_pointer_field(pointer).as_cap());
    }
    drop(pipeline);
    let peer = peer.clone();
    spawn_local(async move {
        let answer = async {
            let response =
                answered.await.map_err(|error| of_host(error, || token.origin().gone()))?;
            Parcel::pack_answer(&peer, response.get()?)
        };
        let answer = tokio::select! {
            answer = AssertUnwindSafe(answer).catch_unwind() => answer,
            // The caller has given up, and so the call is.
            () = reply.closed() => return,
        };
        // The capability was held until here.
        drop(token);
        match answer {
            Ok(answer) => drop(reply.send(answer)),
            Err(_) => peer.panicked(),
        }
    });
}
