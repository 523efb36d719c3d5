//! Capabilities of an answer that is not there yet: calls to them are on their way at once.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Promise, Request, Results};
use capnp::private::capability::{ClientHook, ParamsHook, PipelineOp, ResultsHook};
use capnp::traits::{Imbue, ImbueMut};
use capnp::{Error, MessageSize, any_pointer, message};
use tokio::sync::Notify;

use super::{Cap, Origin, Parcel, Peer, Token};

/// The capabilities that an answer will hold, and what its home is told of each. One that the answer does not
/// have is one whose calls fail.
pub(super) struct Early<O>(Vec<(Rc<Expected>, Promised<O>)>);

/// A capability before it is there.
struct Expected {
    /// The way of calls to it until then.
    object: Box<dyn ClientHook>,
    outcome: RefCell<Option<Result<Box<dyn ClientHook>, Error>>>,
    known: Notify,
}

/// What the RPC system has of it.
struct Hook(Rc<Expected>);

/// A claim to what the answer will hold at the pointer of this number.
pub(super) type Promised<O> = (Token<O>, u16);

impl<O> Early<O> {
    /// Lets the client of `caller` use what `method` will answer with, where what is called is `origin`'s. The
    /// answer has these capabilities, whatever they turn out to be.
    pub(super) fn expect<P: Peer<Own = O>>(
        caller: &Rc<P>,
        origin: &Origin<O>,
        method: (u64, u16),
        results: &mut Results<any_pointer::Owned>,
    ) -> Option<Self> {
        let pointers = caller.answers_with(method);
        if !origin.is_eager() || pointers.is_empty() {
            return None;
        }
        let mut expected = Vec::with_capacity(pointers.len());
        for &pointer in pointers {
            let token = origin.promise();
            // One who has his limit of capabilities is told when the answer is there.
            let object = caller.export(&Cap::Foreign(token.clone())).ok()?;
            let (outcome, known) = (RefCell::default(), Notify::new());
            expected.push((Rc::new(Expected { object, outcome, known }), (token, pointer)));
        }
        let hook = |(expected, (_, pointer)): &(Rc<_>, Promised<O>)| {
            (*pointer, Box::new(Hook(Rc::clone(expected))) as Box<dyn ClientHook>)
        };
        caller.lay_out(expected.iter().map(hook).collect(), results.get());
        // An error means that calls to them wait for the answer.
        let _ = results.hook.set_pipeline();
        Some(Early(expected))
    }

    /// What the home is to be told.
    pub(super) fn promised(&self) -> Vec<Promised<O>> {
        self.0.iter().map(|(_, promised)| promised.clone()).collect()
    }

    /// The answer is there.
    pub(super) fn resolve<P: Peer<Own = O>>(
        mut self,
        caller: &Rc<P>,
        answer: Result<Option<Parcel<O>>, Error>,
    ) -> Result<(), Error> {
        let (mut message, mut hooks) = (message::Builder::new_default(), Vec::new());
        let unpacked = answer.and_then(|answer| {
            let mut root = message.init_root::<any_pointer::Builder<'_>>();
            root.imbue_mut(&mut hooks);
            answer.map_or(Ok(()), |answer| answer.unpack(caller, root))
        });
        let mut root: any_pointer::Reader<'_> = message.get_root_as_reader()?;
        root.imbue(&hooks);
        for (expected, (_, pointer)) in self.0.drain(..) {
            expected.settle(match &unpacked {
                Ok(()) => root.get_pipelined_cap(&[PipelineOp::GetPointerField(pointer)]),
                Err(error) => Err(error.clone()),
            });
        }
        unpacked
    }
}

/// Nobody waits for the answer, or it is there. Whoever has one of the capabilities has a claim to it, by which the
/// call is made all the same, and goes on to use it by that.
impl<O> Drop for Early<O> {
    fn drop(&mut self) {
        for (expected, _) in self.0.drain(..) {
            let object = expected.object.add_ref();
            expected.settle(Ok(object));
        }
    }
}

impl Expected {
    fn settle(&self, outcome: Result<Box<dyn ClientHook>, Error>) {
        self.outcome.replace(Some(outcome));
        self.known.notify_waiters();
    }

    async fn settled(self: Rc<Self>) -> Result<Box<dyn ClientHook>, Error> {
        loop {
            if let Some(outcome) = &*self.outcome.borrow() {
                return outcome.clone();
            }
            self.known.notified().await;
        }
    }
}

/// A capability whose calls fail with `error`.
pub(super) fn broken(error: Error) -> Box<dyn ClientHook> {
    capnp_rpc::new_future_client::<Client>(std::future::ready(Err(error))).into_client_hook()
}

impl ClientHook for Hook {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Hook(self.0.clone()))
    }

    fn new_call(
        &self,
        interface: u64,
        method: u16,
        size: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        match self.get_resolved() {
            Some(resolved) => resolved.new_call(interface, method, size),
            None => self.0.object.new_call(interface, method, size),
        }
    }

    fn call(
        &self,
        interface: u64,
        method: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        match self.get_resolved() {
            Some(resolved) => resolved.call(interface, method, params, results),
            None => self.0.object.call(interface, method, params, results),
        }
    }

    fn get_brand(&self) -> usize {
        0
    }

    /// That of the way of calls to it: it is known as what that stands for.
    fn get_ptr(&self) -> usize {
        self.0.object.get_ptr()
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        let outcome = self.0.outcome.borrow();
        Some(match outcome.as_ref()? {
            Ok(hook) => hook.add_ref(),
            Err(error) => broken(error.clone()),
        })
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        Some(Promise::from_future(self.0.clone().settled()))
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        let settled = self.0.clone().settled();
        Promise::from_future(async move { settled.await.map(drop) })
    }
}
