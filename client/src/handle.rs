//! What every handle is: a capability, and the connection that it came over.

use std::any::Any;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;

use crate::connection::{Connection, Effect, Patience};
use crate::error::Error;

/// How often a promise is followed to another: more than any honest server needs.
const MAX_RESOLUTIONS: usize = 32;

/// A capability of the server's, the connection that it came over, and how long its calls are waited for.
#[derive(Clone)]
pub(crate) struct Handle<C> {
    // Dropped before the connection, which may end with it.
    pub(crate) capability: C,
    pub(crate) connection: Connection,
    pub(crate) patience: Patience,
    /// Whether it may be another client's that acts as one of the server's.
    pub(crate) foreign: bool,
    /// The answer that this is a part of, if it was not there yet when this was made. Without it the
    /// capability would stay a promise, and the call open at the server.
    pub(crate) _answer: Option<Rc<dyn Any>>,
}

impl<C> Handle<C> {
    /// Another capability that came from a call on this one.
    pub(crate) fn with<D>(&self, capability: D) -> Handle<D> {
        let connection = self.connection.clone();
        let (patience, foreign) = (self.patience, self.foreign);
        Handle { capability, connection, patience, foreign, _answer: None }
    }

    /// A capability that is a part of `answer`, which is not there yet.
    pub(crate) fn with_promised<D>(&self, capability: D, answer: &Rc<dyn Any>) -> Handle<D> {
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
        let mut hook = self.capability.as_client_hook().add_ref();
        for _ in 0..MAX_RESOLUTIONS {
            match hook.get_resolved() {
                Some(next) => hook = next,
                None => break,
            }
        }
        (hook.get_brand(), hook.get_ptr())
    }
}
