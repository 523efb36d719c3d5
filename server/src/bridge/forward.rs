//! The caller's side of a forwarded call.

use std::rc::Rc;

use capnp::capability::{Params, Promise, Results};
use capnp::{Error, any_pointer};
use futures::FutureExt;
use tokio::sync::oneshot;

use super::early::Early;
use super::home::{Call, Message};
use super::{MAX_HOPS, Parcel, Peer, Token};

/// Makes a call of the client of `caller` on the capability that `token` claims: `method` by the
/// numbers of its interface and of itself.
///
/// The call is on its way when this returns, unless it has a promise that its host is not to [keep](Peer::keeps),
/// and is given up at its host when the promise is dropped.
pub(crate) fn forward<P: Peer>(
    caller: &Rc<P>,
    token: Token<P::Own>,
    method: (u64, u16),
    params: Params<any_pointer::Owned>,
    results: Results<any_pointer::Owned>,
) -> Promise<(), Error> {
    if token.origin().is_eager() && caller.keeps(method) {
        return forward_settled(caller, token, method, params, results);
    }
    let question = match params.get().and_then(|params| Parcel::pack(caller, params)) {
        Ok(question) => question,
        Err(error) => return Promise::err(error),
    };
    // The caller's capabilities are the host's now, for as long as it keeps them.
    drop(params);
    send(caller, token, method, question, results)
}

/// [`forward`] to a host that keeps what it is given.
fn forward_settled<P: Peer>(
    caller: &Rc<P>,
    token: Token<P::Own>,
    method: (u64, u16),
    params: Params<any_pointer::Owned>,
    results: Results<any_pointer::Owned>,
) -> Promise<(), Error> {
    let (packer, host) = (caller.clone(), token.origin().clone());
    let packed = async move { Parcel::pack_for(&packer, params.get()?, &host).await };
    let mut packed = Box::pin(packed);
    // Most are settled: those calls are made in their order.
    match packed.as_mut().now_or_never() {
        Some(Ok(question)) => send(caller, token, method, question, results),
        Some(Err(error)) => Promise::err(error),
        None => {
            let caller = caller.clone();
            Promise::from_future(async move {
                let question = packed.await?;
                send(&caller, token, method, question, results).await
            })
        }
    }
}

/// Makes a call of the process's own, without parameters, whose answer nobody reads. It is on its way when this
/// returns, and is given up if what this returns is dropped before it has resolved.
pub(crate) fn ask<O>(token: Token<O>, method: (u64, u16)) -> impl Future<Output = ()> + use<O> {
    let (reply, answer) = oneshot::channel();
    let origin = token.origin().clone();
    let call = Call { token, method, question: None, reply, hops: MAX_HOPS, promised: Vec::new() };
    origin.post(Message::Call(call));
    answer.map(drop)
}

/// [`forward`] with parameters that are packed already.
pub(crate) fn send<P: Peer>(
    caller: &Rc<P>,
    token: Token<P::Own>,
    method: (u64, u16),
    question: Option<Parcel<P::Own>>,
    mut results: Results<any_pointer::Owned>,
) -> Promise<(), Error> {
    let (caller, origin) = (caller.clone(), token.origin().clone());
    let early = Early::expect(&caller, &origin, method, &mut results);
    let promised = early.as_ref().map(Early::promised).unwrap_or_default();
    let (reply, answer) = oneshot::channel();
    let call = Call { token, method, question, reply, hops: MAX_HOPS, promised };
    origin.post(Message::Call(call));
    Promise::from_future(async move {
        let answer = match answer.await {
            Ok(answer) => answer,
            // The home has dropped the call unanswered.
            Err(_) if origin.is_open() => {
                Err(Error::failed("internal error of the server: a call was lost".into()))
            }
            Err(_) => Err(origin.gone()),
        };
        match early {
            Some(early) => early.resolve(&caller, answer),
            None => answer?.map_or(Ok(()), |answer| answer.unpack(&caller, results.get())),
        }
    })
}
