//! A call to a capability that another client hosts: copied there, and its answer back.

use std::rc::Rc;

use capnp::capability::{Params, Results};
use capnp::private::capability::ClientHook;
use capnp::{Error, any_pointer};

use super::{CapRef, Token, host_is_gone, settle};
use crate::session::Session;
use crate::wire;

/// How many proxies a hosted capability may stand behind.
const MAX_PROXIES: usize = 16;

/// Makes the call of `caller` on the capability that `token` claims.
///
/// The call is dropped at its host when this future is dropped.
pub(crate) async fn forward(
    caller: Rc<Session>,
    token: Token,
    (interface_id, method_id): (u64, u16),
    params: Params<any_pointer::Owned>,
    mut results: Results<any_pointer::Owned>,
) -> Result<(), Error> {
    let (target, home) = find(&caller, token).await?;
    let config = caller.config();
    let question = wire::copy(params.get()?, config)?;
    let mut request = target.new_call(interface_id, method_id, None);
    if let Some(question) = question {
        wire::paste(question, &caller, &home, request.get())?;
    }
    // The caller's capabilities are the host's now, for as long as it keeps them.
    drop(params);
    let response = request.send().promise.await?;
    if let Some(answer) = wire::copy(response.get()?, config)? {
        wire::paste(answer, &home, &caller, results.get())?;
    }
    Ok(())
}

/// The capability behind `token`, settled, and the connection of the client that hosts it.
async fn find(
    caller: &Session,
    mut token: Token,
) -> Result<(Box<dyn ClientHook>, Rc<Session>), Error> {
    for _ in 0..MAX_PROXIES {
        let (hook, home) = caller.worker().hosted(&token).ok_or_else(host_is_gone)?;
        let hook = settle(hook, caller.config().settle_timeout).await?;
        match home.own(&*hook) {
            // What was a promise is itself hosted elsewhere: go there, and never through a proxy.
            Some(CapRef::Hosted(next)) => token = next,
            _ => return Ok((hook, home)),
        }
    }
    Err(Error::failed("a capability resolves to itself".into()))
}
