//! `Chan`, `SendCloser`, `Sender`, `Recver` and `Closer`: the ends of a channel. One service is all of
//! them; an end is asked for no more than it is.
//!
//! A call keeps the side that it needs, and no other: who waits for a value does not keep the channel open.
//!
//! A value is received at most once: it is taken when it is put into the answer. If that does not arrive,
//! for the receiver or the connection has gone, the value is lost with it. What the receiver may not have,
//! for a limit of its own, is given back and is the next to be received.

use std::rc::Rc;
use std::sync::Arc;

use capnp::capability::{DispatchCallResult, FromServer, Params, Promise, Results, Server as _};
use capnp::{Error, any_pointer};
use killick::Authority;
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};

use crate::cap::Own;
use crate::channel::{Channel, Ended, RecvSide, Refusal, SendSide};
use crate::end::{End, Role};
use crate::place::{at_once, unless_revoked, while_granted};
use crate::session::Session;
use crate::wire::{self, Item};

type Any = any_pointer::Owned;

pub(super) struct ChannelService {
    session: Rc<Session>,
    end: End,
}

/// Makes a call on `end`, as the interface that it is. For a call on another one the error says what it is: an end
/// that only sends, or only closes, has no call to ask that by.
pub(super) fn dispatch(
    session: Rc<Session>,
    end: End,
    (interface, method): (u64, u16),
    params: Params<Any>,
    results: Results<Any>,
) -> DispatchCallResult {
    let role = end.role();
    if !role.is(interface) {
        let error = Error::unimplemented(format!("{} does not know this call", role.words()));
        return DispatchCallResult::new(Promise::err(error), false);
    }
    let service = Rc::new(ChannelService { session, end });
    match role {
        Role::Chan => chan::Client::<Any>::from_server(service)
            .dispatch_call(interface, method, params, results),
        Role::SendCloser => send_closer::Client::<Any>::from_server(service)
            .dispatch_call(interface, method, params, results),
        Role::Sender => sender::Client::<Any>::from_server(service)
            .dispatch_call(interface, method, params, results),
        Role::Recver => recver::Client::<Any>::from_server(service)
            .dispatch_call(interface, method, params, results),
        Role::Closer => {
            closer::Client::from_server(service).dispatch_call(interface, method, params, results)
        }
    }
}

/// Of an end that does not have the right that an interface of its is about.
fn no_right() -> Error {
    Error::failed("internal error of the server: an end without its side".into())
}

impl ChannelService {
    /// Another end, as an object of the connection's.
    fn narrowed<C: capnp::capability::FromClientHook>(&self, role: Role) -> Result<C, Error> {
        self.session.own(Own::Channel(self.end.narrowed(role).map_err(wire::denied)?))
    }

    /// What a send needs.
    fn sends(&self) -> Result<Arc<SendSide<Item>>, Error> {
        self.end.sends().map_err(wire::denied)?.ok_or_else(no_right)
    }

    /// What a receive needs.
    fn receives(&self) -> Result<Arc<RecvSide<Item>>, Error> {
        self.end.receives().map_err(wire::denied)?.ok_or_else(no_right)
    }

    /// The channel, to close it or to ask about it.
    fn channel(&self) -> Result<&Channel<Item>, Error> {
        self.end.channel().map(|channel| &**channel).map_err(wire::denied)
    }

    /// What is left for a call that waits: the connection, what was granted, and no side.
    fn into_waiting(self: Rc<Self>) -> Waiting {
        let (session, authority) = (self.session.clone(), self.end.authority().cloned());
        Waiting { session, authority }
    }
}

/// A call that has what it needs of its end.
struct Waiting {
    session: Rc<Session>,
    authority: Option<Authority>,
}

impl Waiting {
    /// The next value, once there is one, or the end.
    async fn recv(
        &self,
        side: Arc<RecvSide<Item>>,
    ) -> Result<(Result<Item, Ended>, Arc<RecvSide<Item>>), Error> {
        let _resting = self.session.resting();
        let received = async move { (side.recv().await, side) };
        unless_revoked(self.authority.clone(), received).await.map_err(wire::denied)
    }

    fn put(&self, item: &Item, pointer: any_pointer::Builder<'_>) -> Result<(), Error> {
        wire::put_item(&self.session, self.authority.as_ref(), item, pointer)
    }

    /// Puts `item` into an answer, or gives it back to be received by another.
    fn put_or_give_back(
        &self,
        side: &RecvSide<Item>,
        item: Item,
        pointer: any_pointer::Builder<'_>,
    ) -> Result<(), Error> {
        let put = self.put(&item, pointer);
        if put.is_err() {
            side.give_back(item);
        }
        put
    }

    /// Puts `items` into an answer; if one cannot be put there, how many came before it.
    fn put_all(
        &self,
        items: &[Item],
        results: &mut recver::RecvManyResults<Any>,
    ) -> Result<(), (usize, Error)> {
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut list = results.get().init_items(count);
        for (index, item) in (0..).zip(items) {
            let value = list.reborrow().get(index).init_value();
            self.put(item, value).map_err(|error| (index as usize, error))?;
        }
        Ok(())
    }
}

impl closer::Server for ChannelService {
    async fn close(
        self: Rc<Self>,
        _: closer::CloseParams,
        _: closer::CloseResults,
    ) -> Result<(), Error> {
        self.channel()?.close().map_err(wire::closed_already)
    }
}

impl sender::Server<Any> for ChannelService {
    async fn send(
        self: Rc<Self>,
        params: sender::SendParams<Any>,
        _: sender::SendResults<Any>,
    ) -> Result<(), Error> {
        let side = self.sends()?;
        let granted = self.end.authority();
        let taken = wire::take_item(&self.session, granted, params.get()?.get_value()?);
        let item = while_granted(granted, taken).await.map_err(wire::denied)??;
        // What it holds of the message may be needed elsewhere, and it may wait for long.
        drop(params);
        let Waiting { session, authority } = self.into_waiting();
        let _resting = session.resting();
        let sent = unless_revoked(authority, async move { side.send(item).await });
        let sent = sent.await.map_err(wire::denied)?;
        sent.map_err(|refused| wire::send_error(refused.refusal))
    }

    async fn try_send(
        self: Rc<Self>,
        params: sender::TrySendParams<Any>,
        mut results: sender::TrySendResults<Any>,
    ) -> Result<(), Error> {
        let granted = self.end.authority();
        let taken = wire::take_item(&self.session, granted, params.get()?.get_value()?);
        let item = while_granted(granted, taken).await.map_err(wire::denied)??;
        let side = self.sends()?;
        let sent = at_once(granted, || side.try_send(item).map_err(|error| error.refusal));
        match sent.map_err(wire::denied)? {
            Ok(()) => results.get().set_sent(true),
            Err(Refusal::Full) => {}
            Err(refusal) => return Err(wire::send_error(refusal)),
        }
        Ok(())
    }
}

impl recver::Server<Any> for ChannelService {
    async fn recv(
        self: Rc<Self>,
        _: recver::RecvParams<Any>,
        mut results: recver::RecvResults<Any>,
    ) -> Result<(), Error> {
        let side = self.receives()?;
        let waiting = self.into_waiting();
        let (received, side) = waiting.recv(side).await?;
        let item = received.map_err(wire::channel_ended)?;
        waiting.put_or_give_back(&side, item, results.get().init_value())
    }

    async fn try_recv(
        self: Rc<Self>,
        _: recver::TryRecvParams<Any>,
        mut results: recver::TryRecvResults<Any>,
    ) -> Result<(), Error> {
        let side = self.receives()?;
        let received = at_once(self.end.authority(), || side.try_recv()).map_err(wire::denied)?;
        if let Some(item) = received.map_err(wire::channel_ended)? {
            self.into_waiting().put_or_give_back(&side, item, results.get().init_value())?;
            results.get().set_received(true);
        }
        Ok(())
    }

    async fn recv_many(
        self: Rc<Self>,
        params: recver::RecvManyParams<Any>,
        mut results: recver::RecvManyResults<Any>,
    ) -> Result<(), Error> {
        let max = params.get()?.get_max() as usize;
        let side = self.receives()?;
        if max == 0 {
            return Ok(());
        }
        let waiting = self.into_waiting();
        let (received, side) = waiting.recv(side).await?;
        let first = received.map_err(wire::channel_ended)?;
        // As much as the largest message that a client may send, halved.
        let mut room = (waiting.session.config().message_words() * 4).saturating_sub(first.bytes());
        let mut items = vec![first];
        let more = || {
            while items.len() < max
                && let Some(item) = side.next_if(|item| item.bytes() <= room)
            {
                room -= item.bytes();
                items.push(item);
            }
        };
        if let Err(revoked) = at_once(waiting.authority.as_ref(), more) {
            items.into_iter().for_each(|first| side.give_back(first));
            return Err(wire::denied(revoked));
        }
        while let Err((fit, error)) = waiting.put_all(&items, &mut results) {
            items.drain(fit..).rev().for_each(|item| side.give_back(item));
            if items.is_empty() {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl send_closer::Server<Any> for ChannelService {
    async fn new_sender(
        self: Rc<Self>,
        _: send_closer::NewSenderParams<Any>,
        mut results: send_closer::NewSenderResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_sender(self.narrowed(Role::Sender)?);
        Ok(())
    }

    async fn new_closer(
        self: Rc<Self>,
        _: send_closer::NewCloserParams<Any>,
        mut results: send_closer::NewCloserResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_closer(self.narrowed(Role::Closer)?);
        Ok(())
    }
}

impl chan::Server<Any> for ChannelService {
    async fn new_send_closer(
        self: Rc<Self>,
        _: chan::NewSendCloserParams<Any>,
        mut results: chan::NewSendCloserResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_send_closer(self.narrowed(Role::SendCloser)?);
        Ok(())
    }

    async fn new_recver(
        self: Rc<Self>,
        _: chan::NewRecverParams<Any>,
        mut results: chan::NewRecverResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_recver(self.narrowed(Role::Recver)?);
        Ok(())
    }

    async fn len(
        self: Rc<Self>,
        _: chan::LenParams<Any>,
        mut results: chan::LenResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_len(small(self.channel()?.len()));
        Ok(())
    }

    async fn capacity(
        self: Rc<Self>,
        _: chan::CapacityParams<Any>,
        mut results: chan::CapacityResults<Any>,
    ) -> Result<(), Error> {
        results.get().set_capacity(small(self.channel()?.capacity()));
        Ok(())
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
