//! What every handle is: a capability, and the connection that it came over.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp::private::capability::ClientHook;

use crate::connection::{Connection, Effect, Patience};
use crate::error::Error;

/// How often a promise is followed to another: more than any honest server needs.
const MAX_RESOLUTIONS: usize = 32;

/// The answer to a call that some handles are parts of, until it is there: it has to be kept that long, or
/// they would stay promises, and no longer, or the call would stay open at the server.
#[derive(Clone)]
pub(crate) struct Awaited(Rc<RefCell<Option<Box<dyn Any>>>>);

impl Awaited {
    /// `pipeline`: what the handles come from.
    pub(crate) fn new(pipeline: impl Any) -> Self {
        Awaited(Rc::new(RefCell::new(Some(Box::new(pipeline)))))
    }

    /// Lets go of the answer as soon as `part`, a capability in it, is there. Does not keep the answer: if
    /// no handle does, the call is given up.
    pub(crate) fn settled(&self, part: &dyn ClientHook) -> impl Future<Output = ()> + use<> {
        let (resolved, answer) = (part.when_more_resolved(), Rc::downgrade(&self.0));
        async move {
            let is_there = match resolved {
                Some(resolved) => resolved.await.is_ok(),
                None => true,
            };
            // A part that was dropped never is; there may be others.
            if is_there && let Some(answer) = answer.upgrade() {
                let _settled = answer.take();
            }
        }
    }
}

/// A capability of the server's, the connection that it came over, and how long its calls are waited for.
#[derive(Clone)]
pub(crate) struct Handle<C> {
    // Dropped before the connection, which may end with it.
    pub(crate) capability: C,
    pub(crate) connection: Connection,
    pub(crate) patience: Patience,
    /// Whether it may be another client's that acts as one of the server's.
    pub(crate) foreign: bool,
    /// The answer that this is a part of, if it was not there yet when this was made.
    pub(crate) _answer: Option<Awaited>,
}

impl<C> Handle<C> {
    /// Another capability that came from a call on this one.
    pub(crate) fn with<D>(&self, capability: D) -> Handle<D> {
        let connection = self.connection.clone();
        let (patience, foreign) = (self.patience, self.foreign);
        Handle { capability, connection, patience, foreign, _answer: None }
    }

    /// A capability that is a part of `answer`, which is not there yet.
    pub(crate) fn with_promised<D: FromClientHook>(
        &self,
        capability: D,
        answer: &Awaited,
    ) -> Handle<D> {
        self.connection.drive(answer.settled(capability.as_client_hook()));
        Handle { _answer: Some(answer.clone()), ..self.with(capability) }
    }

    /// Waits for the answer to a call that `answer` sends when it is first polled.
    pub(crate) async fn call<T>(
        &self,
        effect: Effect,
        answer: impl Future<Output = capnp::Result<T>>,
    ) -> Result<T, Error> {
        self.connection.call(effect, self.patience, self.foreign, answer).await
    }

    pub(crate) fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.patience = Patience::Each(timeout);
    }
}

impl<C: FromClientHook> Handle<C> {
    /// What makes two capabilities of one connection the same.
    pub(crate) fn identity(&self) -> (usize, usize) {
        origin(self.capability.as_client_hook())
    }
}

/// What a capability has come over, and which one of that it is.
pub(crate) fn origin(capability: &dyn ClientHook) -> (usize, usize) {
    let mut hook = capability.add_ref();
    for _ in 0..MAX_RESOLUTIONS {
        match hook.get_resolved() {
            Some(next) => hook = next,
            None => break,
        }
    }
    (hook.get_brand(), hook.get_ptr())
}
