//! What the server offers: one file for each interface of the schema, one function for each method.
//!
//! [`Object`] is what a client holds: one for each connection and [`Cap`]. It makes the service
//! for the interface when a call comes in, and contains what goes wrong in it.

mod anchor;
mod host;
mod loader;
mod root;
mod storer;
mod write;

use std::cell::RefCell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use capnp::capability::{Client, DispatchCallResult, FromServer, Params, Promise, Results, Server};
use capnp::{Error, any_pointer};
use futures::FutureExt;
use killick_schema::api::anchor_capnp::anchor as anchor_api;
use killick_schema::api::host_capnp::host as host_api;

use crate::bridge::{self, Peer};
use crate::cap::{Cap, Own};
use crate::session::Session;

/// A capability of ours in the hands of one connection's client.
pub(crate) struct Object {
    session: Rc<Session>,
    /// What it stands for; nothing after the connection has ended.
    cap: RefCell<Option<Cap>>,
}

impl Object {
    pub(crate) fn new(session: Rc<Session>, cap: Cap) -> Rc<Self> {
        Rc::new(Object { session, cap: RefCell::new(Some(cap)) })
    }

    /// What it stands for, unless the connection has ended.
    pub(crate) fn cap(&self) -> Option<Cap> {
        self.cap.borrow().clone()
    }

    /// The connection has ended: lets go of what it stands for.
    pub(crate) fn empty(&self) {
        let cap = self.cap.take();
        drop(cap);
    }

    /// What the RPC system knows it by.
    pub(crate) fn address(self: &Rc<Self>) -> usize {
        Rc::as_ptr(self) as usize
    }

    pub(crate) fn into_client(self: Rc<Self>) -> Client {
        capnp_rpc::new_client_from_rc(self)
    }

    /// Makes a call on what it stands for.
    fn call(
        &self,
        (interface, method): (u64, u16),
        params: Params<any_pointer::Owned>,
        results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let Some(cap) = self.cap() else {
            let error = Error::disconnected("the connection has ended".into());
            return DispatchCallResult::new(Promise::err(error), false);
        };
        let session = self.session.clone();
        match cap {
            Cap::Own(Own::Host) => {
                let service = Rc::new(host::HostService { session });
                host_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Cluster) => {
                let service = Rc::new(root::RootService { session });
                anchor_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Anchor(node)) => {
                let service = Rc::new(anchor::AnchorService { session, node });
                anchor_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Loader(node)) => {
                let service = Rc::new(loader::LoaderService { session, node });
                anchor_api::loader::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Storer(node)) => {
                let service = Rc::new(storer::StorerService { session, node });
                anchor_api::storer::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Foreign(token) => {
                let method = (interface, method);
                let call = bridge::forward(&session, token, method, params, results);
                DispatchCallResult::new(call, false)
            }
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if let Some(cap) = self.cap.take() {
            self.session.forget(std::ptr::from_ref(self) as usize, &cap);
        }
    }
}

/// The way of a call from the RPC system to an [`Object`].
#[derive(Clone)]
pub(crate) struct Dispatch(Rc<Object>);

impl Deref for Dispatch {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl FromServer<Object> for Client {
    type Dispatch = Dispatch;

    fn from_server(object: Rc<Object>) -> Dispatch {
        Dispatch(object)
    }
}

impl Server for Dispatch {
    fn dispatch_call(
        self,
        interface_id: u64,
        method_id: u16,
        params: Params<any_pointer::Owned>,
        results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let running = self.session.running();
        let session = self.session.clone();
        let panicked = move || {
            session.panicked();
            Error::failed("internal error of the server".into())
        };
        contain(running, panicked, || self.0.call((interface_id, method_id), params, results))
    }

    fn as_ptr(&self) -> usize {
        self.0.address()
    }
}

/// Makes a call so that a panic in it becomes the error that `panicked` gives. Holds `running` until
/// the call has ended.
///
/// A panic that got through would take the connection's RPC system with it and leak all that the
/// connection holds. Unwinding is safe here: no borrow outlives a statement, and what a call has half
/// done is its own.
fn contain<T: 'static>(
    running: T,
    panicked: impl FnOnce() -> Error + 'static,
    call: impl FnOnce() -> DispatchCallResult,
) -> DispatchCallResult {
    let Ok(DispatchCallResult { promise, is_streaming }) = catch_unwind(AssertUnwindSafe(call))
    else {
        return DispatchCallResult::new(Promise::err(panicked()), false);
    };
    let promise = Promise::from_future(async move {
        let ended = AssertUnwindSafe(promise).catch_unwind().await;
        drop(running);
        ended.unwrap_or_else(|_| Err(panicked()))
    });
    DispatchCallResult::new(promise, is_streaming)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(call: impl FnOnce() -> DispatchCallResult) -> Option<String> {
        let held = Rc::new(());
        let panicked = || Error::failed("contained".into());
        let result = contain(held.clone(), panicked, call);
        let ended = result.promise.now_or_never().expect("ready");
        assert_eq!(Rc::strong_count(&held), 1, "no longer running");
        ended.err().map(|error| error.to_string())
    }

    #[test]
    fn a_panic_in_a_call_is_its_error_whether_it_comes_at_once_or_later() {
        let at_once = error_of(|| panic!("on purpose, at once"));
        assert_eq!(at_once.as_deref(), Some("Failed: contained"));
        let later = Promise::from_future(async { panic!("on purpose, later") });
        let later = error_of(|| DispatchCallResult::new(later, false));
        assert_eq!(later.as_deref(), Some("Failed: contained"));
    }

    #[test]
    fn a_call_that_does_not_panic_ends_as_it_ends() {
        assert_eq!(error_of(|| DispatchCallResult::new(Promise::ok(()), false)), None);
        let failed = Promise::err(Error::failed("its own".into()));
        let failed = error_of(|| DispatchCallResult::new(failed, false));
        assert_eq!(failed.as_deref(), Some("Failed: its own"));
    }
}
