//! The anchor of another host, as a client of this one may use it.
//!
//! A client's calls to it go to what that host gives for this client ([`peer.anchor`]), which a connection
//! asks for once. What was narrowed here is narrowed there as well, by the host that has the nodes: a grant that
//! it made is kept for each authority ([`Delegations`]) and taken back when that is revoked here. Limits
//! hold for each host by itself.
//!
//! [`peer.anchor`]: killick_schema::api::cluster_capnp::peer

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capnp::Error;
use capnp::capability::FromClientHook;
use capnp::traits::HasTypeId;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use killick::{Authority, Grant};
use killick_client::Fingerprint;
use killick_client::internal::{put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::cluster_capnp::peer;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::HostId;
use crate::access::Who;
use crate::bridge::{self, Peer, resolved_so_far};
use crate::cap::{Cap, Token};
use crate::place::{Place, while_granted};
use crate::session::Session;
use crate::wire;

/// Another host's anchor, for those who may use this one's as `place` says.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Far {
    pub(crate) host: HostId,
    pub(crate) place: Place,
}

impl std::fmt::Debug for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} as {:?}", self.host, self.place)
    }
}

/// What a connection was given by other hosts for its client.
#[derive(Default)]
pub(crate) struct Fars(RefCell<HashMap<HostId, Rc<OnceCell<Token>>>>);

impl Fars {
    /// The connection has ended.
    pub(crate) fn let_go(&self) {
        drop(self.0.take());
    }
}

/// What another host has granted for an authority of this one.
struct Delegated {
    anchor: Token,
    grant: Token,
}

type Slot = Arc<OnceCell<Delegated>>;

/// Whose host, and which key's: a host has each key have what it would have at its own door.
type Whose = (HostId, Option<Fingerprint>);

/// By authority, which is there once: whether others have it is told by that.
type All = HashMap<Authority, HashMap<Whose, Slot>>;

/// What other hosts have granted for authorities of this one.
#[derive(Default)]
pub(crate) struct Delegations {
    all: Mutex<All>,
    /// What is being taken back.
    asking: Mutex<Vec<Asked>>,
}

/// How many of them there may be. One goes when nobody has its authority any more, or the connection to its host
/// ends.
pub(crate) const MAX_DELEGATIONS: usize = 1 << 14;

/// How long a host may take to take back what it has granted.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

impl Delegations {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where that of `authority` is, or will be.
    fn slot(&self, whose: Whose, authority: &Authority) -> Result<Slot, Error> {
        let mut all = self.lock();
        if let Some(slot) = all.get(authority).and_then(|slots| slots.get(&whose)) {
            let dead = slot.get().is_some_and(|found| !found.anchor.origin().is_open());
            if !dead {
                return Ok(slot.clone());
            }
        }
        if count(&all) >= MAX_DELEGATIONS {
            drop(unused(&mut all));
        }
        if count(&all) >= MAX_DELEGATIONS {
            let words = "what was narrowed here reaches other hosts in";
            return Err(Error::overloaded(format!("{words} {MAX_DELEGATIONS} ways, its limit")));
        }
        let slot = Slot::default();
        all.entry(authority.clone()).or_default().insert(whose, slot.clone());
        Ok(slot)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        count(&self.lock())
    }

    /// Lets go of what is of no use any more: nobody has the authority, or the connection to the host has ended.
    pub(crate) fn tidy(&self) {
        // Until nothing goes: one authority is of another, which is of no use after it.
        while !unused(&mut self.lock()).is_empty() {}
    }

    /// Has other hosts take back what they have granted for authorities that are revoked. When this has resolved,
    /// nothing that was reached by those works at any host that answers; to drop it before changes nothing.
    pub(crate) fn take_back(&self) -> impl Future<Output = ()> + use<> {
        let revoked = |authority: &Authority, _: &mut _| authority.is_revoked();
        let revoked: Vec<_> = self.lock().extract_if(revoked).map(|(_, slots)| slots).collect();
        let slots = revoked.iter().flat_map(HashMap::values);
        let asked = slots.filter_map(|slot| slot.get()).map(|delegated| {
            let asked =
                bridge::ask(delegated.grant.clone(), (anchor::grant::Client::TYPE_ID, REVOKE));
            asked.boxed().shared()
        });
        let asked: Vec<_> = asked.collect();
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|asked| asked.peek().is_none());
        asking.extend(asked.iter().cloned());
        drop(asking);
        timeout_all(asked)
    }
}

/// How many there are.
#[allow(clippy::mutable_key_type, reason = "an authority's identity, its key, never changes")]
fn count(all: &All) -> usize {
    all.values().map(HashMap::len).sum()
}

/// Takes out what is of no use any more.
#[allow(clippy::mutable_key_type, reason = "an authority's identity, its key, never changes")]
fn unused(all: &mut All) -> Vec<Slot> {
    let mut unused = Vec::new();
    all.retain(|authority, slots| {
        let is_unshared = authority.is_unshared();
        let is_unused = |_: &Whose, slot: &mut Slot| match slot.get() {
            Some(found) => is_unshared || !found.anchor.origin().is_open(),
            // Nobody asks for it at this moment.
            None => Arc::strong_count(slot) == 1,
        };
        unused.extend(slots.extract_if(is_unused).map(|(_, slot)| slot));
        !slots.is_empty()
    });
    unused
}

/// The number of the method.
const REVOKE: u16 = 0;

type Asked = Shared<BoxFuture<'static, ()>>;

/// Waits for answers, but not for those that do not come.
async fn timeout_all(asked: Vec<Asked>) {
    if !asked.is_empty() {
        let _ = timeout(REVOKE_TIMEOUT, join_all(asked)).await;
    }
}

impl Far {
    /// What calls to it by the client of `session` go to.
    ///
    /// # Errors
    /// The host is not reached, gives nothing to this client, or what was granted here is revoked.
    pub(crate) async fn reach(&self, session: &Rc<Session>) -> Result<Token, Error> {
        let Some(authority) = self.place.authority() else {
            return self.whole(session).await;
        };
        let reached = while_granted(Some(authority), self.narrowed(session, authority)).await;
        reached.map_err(wire::denied)?
    }

    async fn whole(&self, session: &Rc<Session>) -> Result<Token, Error> {
        let slot = {
            let mut fars = session.fars().0.borrow_mut();
            let slot = fars.entry(self.host).or_default();
            if slot.get().is_some_and(|token| !token.origin().is_open()) {
                *slot = Rc::default();
            }
            slot.clone()
        };
        let token =
            slot.get_or_try_init(|| async { self.asked(session).await.map(|(_, token)| token) });
        token.await.cloned()
    }

    /// Asks the host for its anchor.
    async fn asked(&self, session: &Rc<Session>) -> Result<(anchor::Client, Token), Error> {
        let hosts = &session.shared().hosts;
        let peer = hosts.router.peer(self.host, &hosts.view()).await?;
        let peer: peer::Client = FromClientHook::new(session.export(&Cap::Foreign(peer))?);
        let mut request = peer.anchor_request();
        introduce(session, request.get().init_behalf());
        let anchor = request.send().promise.await?.get()?.get_anchor()?;
        let token = token(session, anchor.clone())?;
        Ok((anchor, token))
    }

    async fn narrowed(&self, session: &Rc<Session>, authority: &Authority) -> Result<Token, Error> {
        let Some(grant) = last(authority) else {
            let error = "what was narrowed in more than one way reaches no other host";
            return Err(Error::unimplemented(error.into()));
        };
        let key = match session.stats().who {
            Who::Key(key) => Some(key),
            _ => None,
        };
        let slot = session.shared().hosts.delegations.slot((self.host, key), authority)?;
        let delegated = slot.get_or_try_init(|| async {
            let above = match grant.above() {
                // Its limits are a part of theirs.
                Some(above) => {
                    let token = Box::pin(self.narrowed(session, above)).await?;
                    FromClientHook::new(session.export(&Cap::Foreign(token))?)
                }
                None => self.asked(session).await?.0,
            };
            let mut request = above.attenuate_request();
            put_rights(grant.rights(), request.get().init_rights());
            put_limits(*grant.allowance(), request.get().init_limits());
            let response = request.send().promise.await?;
            let granted = response.get()?;
            let anchor = token(session, granted.get_anchor()?)?;
            Ok::<_, Error>(Delegated { anchor, grant: token(session, granted.get_grant()?)? })
        });
        Ok(delegated.await?.anchor.clone())
    }
}

/// The grant that was made by all the others of `authority`, if it is so.
fn last(authority: &Authority) -> Option<&Grant> {
    let grants = authority.grants();
    grants.iter().find(|grant| {
        let above = grant.above().map(Authority::grants).unwrap_or_default();
        above.len() + 1 == grants.len() && above.iter().all(|grant| grants.contains(grant))
    })
}

/// What a capability that another host gave is kept as.
fn token(session: &Rc<Session>, client: impl FromClientHook) -> Result<Token, Error> {
    match session.import(resolved_so_far(client.into_client_hook()))? {
        Cap::Foreign(token) => Ok(token),
        Cap::Own(_) => Err(Error::failed("a host has answered with what is not its own".into())),
    }
}

/// Says who the client of `session` is.
fn introduce(session: &Session, mut behalf: peer::principal::Builder<'_>) {
    let stats = session.stats();
    behalf.set_name(&stats.peer);
    behalf.set_connection(session.id());
    match stats.who {
        Who::Process(credentials) => behalf.set_user(credentials.user),
        Who::Key(key) => behalf.set_key(key.as_bytes()),
        Who::Child => behalf.set_process(()),
        Who::Local | Who::Host(..) => behalf.set_local(()),
    }
}
