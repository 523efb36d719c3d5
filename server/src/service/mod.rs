//! What the server offers: one file for each interface of the schema, one function for each method.
//!
//! [`Object`] is what a client holds: one for each connection and [`Cap`]. It makes the service
//! for the interface when a call comes in, and contains what goes wrong in it.

mod anchor;
mod authority;
mod channel;
mod host;
mod loader;
mod peer;
mod process;
mod root;
mod storer;
mod watch;
mod write;

use std::cell::RefCell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use capnp::capability::{
    Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, Results, Server,
};
use capnp::private::capability::ClientHook;
use capnp::traits::HasTypeId;
use capnp::{Error, any_pointer};
use futures::FutureExt;
use killick_schema::api::anchor_capnp::anchor as anchor_api;
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use killick_schema::api::cluster_capnp::peer as peer_api;
use killick_schema::api::host_capnp::host as host_api;
use killick_schema::api::process_capnp::{byte_sink, byte_source, process as process_api};

use crate::bridge::{self, Peer};
use crate::cap::{Cap, Own};
use crate::process::Which;
use crate::session::Session;
use crate::stats::{Limit, METHODS};
use crate::wire;

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
            Cap::Own(Own::Cluster(host)) => {
                let service = Rc::new(root::RootService { session, host });
                anchor_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Far(far)) => {
                let method = (interface, method);
                let call = async move {
                    let token = far.reach(&session).await?;
                    bridge::forward(&session, token, method, params, results).await
                };
                DispatchCallResult::new(Promise::from_future(call), false)
            }
            Cap::Own(Own::Peer(host)) => {
                let service = Rc::new(peer::PeerService { session, host });
                peer_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Anchor(place)) => {
                let service = Rc::new(anchor::AnchorService { session, place, host: false });
                anchor_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Loader(place)) => {
                let service = Rc::new(loader::LoaderService { session, place });
                anchor_api::loader::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Storer(place)) => {
                let service = Rc::new(storer::StorerService { session, place });
                anchor_api::storer::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Grant(grant)) => {
                let service = Rc::new(authority::GrantService { session, grant });
                anchor_api::grant::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Watch(watching)) => {
                let service = Rc::new(watch::WatchService { session, watching });
                anchor_api::watch::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Channel(end)) => {
                channel::dispatch(session, end, (interface, method), params, results)
            }
            Cap::Own(Own::Process(hand)) => {
                let service = Rc::new(process::ProcessService { session, hand });
                process_api::Client::from_server(service)
                    .dispatch_call(interface, method, params, results)
            }
            Cap::Own(Own::Stream(hand, which)) => {
                let service = Rc::new(process::StreamService { session, hand, which });
                match which {
                    Which::Stdin => byte_sink::Client::from_server(service)
                        .dispatch_call(interface, method, params, results),
                    Which::Stdout | Which::Stderr => byte_source::Client::from_server(service)
                        .dispatch_call(interface, method, params, results),
                }
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
            self.session.forget(std::ptr::from_ref(self) as usize, cap);
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
        let method = (interface_id, method_id);
        let running = self.session.running(counted_as(self.cap().as_ref(), method));
        let session = self.session.clone();
        let panicked = move || {
            session.panicked();
            Error::failed("internal error of the server".into())
        };
        // Calls to others are on their way at once, in their order; the others bound them.
        let ours = matches!(self.cap(), Some(Cap::Own(_))).then(|| self.session.clone());
        let bounded = ours.clone();
        let ended = move |result: &Result<(), Error>| {
            if let (Some(session), Err(error)) = (bounded, result)
                && wire::exceeds_grant(error)
            {
                session.hit(Limit::Grant);
            }
            running.ended(result);
        };
        let turn = async move {
            if let Some(session) = ours.filter(|session| session.has_to_wait()) {
                Box::pin(session.turn()).await;
            }
        };
        contain(turn, ended, panicked, || self.0.call(method, params, results))
    }

    fn as_ptr(&self) -> usize {
        self.0.address()
    }
}

/// The interfaces of the schema, and how many methods each has, in the order of [`METHODS`].
const INTERFACES: [(u64, usize); 15] = {
    type Any = any_pointer::Owned;
    [
        (anchor_api::Client::TYPE_ID, 9),
        (anchor_api::loader::Client::TYPE_ID, 2),
        (anchor_api::storer::Client::TYPE_ID, 2),
        (anchor_api::watch::Client::TYPE_ID, 1),
        (anchor_api::grant::Client::TYPE_ID, 2),
        (host_api::Client::TYPE_ID, 4),
        (peer_api::Client::TYPE_ID, 2),
        (closer::Client::TYPE_ID, 1),
        (<sender::Client<Any> as HasTypeId>::TYPE_ID, 2),
        (<recver::Client<Any> as HasTypeId>::TYPE_ID, 3),
        (<send_closer::Client<Any> as HasTypeId>::TYPE_ID, 2),
        (<chan::Client<Any> as HasTypeId>::TYPE_ID, 4),
        (process_api::Client::TYPE_ID, 8),
        (byte_source::Client::TYPE_ID, 1),
        (byte_sink::Client::TYPE_ID, 2),
    ]
};

/// The pointers of the answer of a method of the schema that are capabilities, where it has nothing else.
pub(crate) fn answers_with((interface, method): (u64, u16)) -> &'static [u16] {
    match (interface, method) {
        // cell; attenuate
        (anchor_api::Client::TYPE_ID, 2 | 6) => &[0, 1],
        // walk, watch, newChan, exec; not lookup, which may answer with none
        (anchor_api::Client::TYPE_ID, 1 | 5 | 7 | 8) => &[0],
        // root
        (host_api::Client::TYPE_ID, 0) => &[0],
        // anchor
        (peer_api::Client::TYPE_ID, 0) => &[0],
        _ => &[],
    }
}

/// Whether a method of the schema keeps the capabilities that it is given.
pub(crate) fn keeps((interface, method): (u64, u16)) -> bool {
    type Any = any_pointer::Owned;
    match interface {
        // store, compareAndStore
        anchor_api::storer::Client::TYPE_ID => true,
        // send, trySend
        <sender::Client<Any> as HasTypeId>::TYPE_ID => true,
        // swap, exec
        anchor_api::Client::TYPE_ID => matches!(method, 4 | 8),
        _ => false,
    }
}

/// Writes an answer of a method of the schema that has `hooks` at these pointers.
pub(crate) fn lay_out(hooks: Vec<(u16, Box<dyn ClientHook>)>, answer: any_pointer::Builder<'_>) {
    // Such an answer has capabilities alone, one or two.
    let mut answer = answer.init_as::<anchor_api::cell_results::Builder<'_>>();
    for (pointer, hook) in hooks {
        match pointer {
            0 => answer.set_loader(FromClientHook::new(hook)),
            _ => answer.set_storer(FromClientHook::new(hook)),
        }
    }
}

/// What a call is counted as: an index of [`METHODS`].
fn counted_as(cap: Option<&Cap>, (interface, method): (u64, u16)) -> usize {
    const UNKNOWN: usize = METHODS.len() - 1;
    const FORWARDED: usize = UNKNOWN - 1;
    if matches!(cap, Some(Cap::Foreign(_))) {
        return FORWARDED;
    }
    let (mut first, method) = (0, usize::from(method));
    for (known, methods) in INTERFACES {
        if known == interface {
            return if method < methods { first + method } else { UNKNOWN };
        }
        first += methods;
    }
    UNKNOWN
}

/// Makes a call, which begins after `turn`, so that a panic in it becomes the error that `panicked` gives. Tells `ended` how it has
/// ended, unless it is given up before.
///
/// A panic that got through would take the connection's RPC system with it and leak all that the
/// connection holds. Unwinding is safe here: no borrow outlives a statement, and what a call has half
/// done is its own.
fn contain(
    turn: impl Future<Output = ()> + 'static,
    ended: impl FnOnce(&Result<(), Error>) + 'static,
    panicked: impl FnOnce() -> Error + 'static,
    call: impl FnOnce() -> DispatchCallResult,
) -> DispatchCallResult {
    let Ok(DispatchCallResult { promise, is_streaming }) = catch_unwind(AssertUnwindSafe(call))
    else {
        let result = Err(panicked());
        ended(&result);
        return DispatchCallResult::new(result.into(), false);
    };
    let promise = Promise::from_future(async move {
        turn.await;
        let result = AssertUnwindSafe(promise).catch_unwind().await;
        let result = result.unwrap_or_else(|_| Err(panicked()));
        ended(&result);
        result
    });
    DispatchCallResult::new(promise, is_streaming)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(call: impl FnOnce() -> DispatchCallResult) -> Option<String> {
        let told = Rc::new(RefCell::new(None));
        let tell = told.clone();
        let ended = move |result: &Result<(), Error>| drop(tell.replace(Some(result.clone())));
        let result =
            contain(std::future::ready(()), ended, || Error::failed("contained".into()), call);
        let result = result.promise.now_or_never().expect("ready");
        let text = |result: Result<(), Error>| result.err().map(|error| error.to_string());
        let told = told.take().map(text);
        let result = text(result);
        assert_eq!(told.as_ref(), Some(&result));
        result
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
    fn calls_are_counted_by_their_names() {
        use killick_schema::api::anchor_capnp::anchor::{grant, loader, storer, watch};
        type Any = any_pointer::Owned;
        for (interface, names) in [
            (
                anchor_api::Client::TYPE_ID,
                &["ls", "walk", "cell", "lookup", "swap", "watch", "attenuate", "newChan"][..],
            ),
            (loader::Client::TYPE_ID, &["load", "wait", "unknown"]),
            (grant::Client::TYPE_ID, &["revoke", "grant.info", "unknown"]),
            (storer::Client::TYPE_ID, &["store", "compareAndStore", "unknown"]),
            (watch::Client::TYPE_ID, &["next", "unknown"]),
            (host_api::Client::TYPE_ID, &["root", "info", "clients", "hosts", "unknown"]),
            (closer::Client::TYPE_ID, &["close", "unknown"]),
            (sender::Client::<Any>::TYPE_ID, &["send", "trySend", "unknown"]),
            (recver::Client::<Any>::TYPE_ID, &["recv", "tryRecv", "recvMany", "unknown"]),
            (send_closer::Client::<Any>::TYPE_ID, &["newSender", "newCloser", "unknown"]),
            (
                chan::Client::<Any>::TYPE_ID,
                &["newSendCloser", "newRecver", "len", "capacity", "unknown"],
            ),
            (7, &["unknown"]),
        ] {
            for (method, name) in (0..).zip(names) {
                let counted = METHODS[counted_as(None, (interface, method))];
                assert_eq!(counted, *name, "{interface:x} {method}");
            }
        }
    }

    #[test]
    fn a_call_that_does_not_panic_ends_as_it_ends() {
        assert_eq!(error_of(|| DispatchCallResult::new(Promise::ok(()), false)), None);
        let failed = Promise::err(Error::failed("its own".into()));
        let failed = error_of(|| DispatchCallResult::new(failed, false));
        assert_eq!(failed.as_deref(), Some("Failed: its own"));
    }
}
