//! The caller's side of a forwarded call.

use std::rc::Rc;

use capnp::capability::{Params, Promise, Results};
use capnp::{Error, any_pointer};
use tokio::sync::oneshot;

use super::home::{Call, Message};
use super::{MAX_HOPS, Parcel, Peer, Token, host_is_gone};

/// Makes a call of the client of `caller` on the capability that `token` claims: `method` by the
/// numbers of its interface and of itself.
///
/// The call is on its way when this returns, and is given up at its host when the promise is dropped.
pub(crate) fn forward<P: Peer>(
    caller: &Rc<P>,
    token: Token<P::Own>,
    method: (u64, u16),
    params: Params<any_pointer::Owned>,
    mut results: Results<any_pointer::Owned>,
) -> Promise<(), Error> {
    let question = match params.get().and_then(|params| Parcel::pack(caller, params)) {
        Ok(question) => question,
        Err(error) => return Promise::err(error),
    };
    // The caller's capabilities are the host's now, for as long as it keeps them.
    drop(params);
    let (caller, origin) = (caller.clone(), token.origin().clone());
    let (reply, answer) = oneshot::channel();
    origin.post(Message::Call(Call { token, method, question, reply, hops: MAX_HOPS }));
    Promise::from_future(async move {
        match answer.await {
            Ok(answer) => match answer? {
                Some(answer) => answer.unpack(&caller, results.get()),
                None => Ok(()),
            },
            // The home has dropped the call unanswered.
            Err(_) if origin.is_open() => {
                Err(Error::failed("internal error of the server: a call was lost".into()))
            }
            Err(_) => Err(host_is_gone()),
        }
    })
}
