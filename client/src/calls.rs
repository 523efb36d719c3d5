//! The calls of the schema: each sends everything that it needs at once, a path's look-up and what is
//! asked of the node there, so that each is one round trip.
//!
//! A future here sends when it is first polled, and what it waits for is given up when it is dropped.

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise, Response};
use killick::{Allowance, ChildrenChange, Right, Rights};
use killick_schema::api::anchor_capnp::anchor::{self, change, grant, loader, storer, watch};
use killick_schema::api::channel_capnp::{chan, closer, recver, sender};

use crate::authority::GrantInfo;
use crate::cell::Loaded;
use crate::channel::Received;
use crate::granted;
use crate::handle::Awaited;
use crate::value::Value;
use crate::watch::{Change, Departure, Told, What};

/// A child as the server lists it.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) anchor: anchor::Client,
    pub(crate) filled: bool,
    pub(crate) child_count: u64,
}

/// What a write that is refused when the cell is not as expected has done.
pub(crate) struct Written {
    pub(crate) succeeded: bool,
    pub(crate) revision: u64,
}

/// The answer to a call that was sent.
type Answer<T> = Promise<Response<T>, capnp::Error>;

/// Asks for the anchor at `path`, creating what is missing. It can be called at once.
pub(crate) fn walk(
    from: &anchor::Client,
    path: &[u8],
) -> RemotePromise<anchor::walk_results::Owned> {
    let mut request = from.walk_request();
    request.get().set_path(capnp::text::Reader(path));
    request.send()
}

pub(crate) async fn walked(from: &anchor::Client, path: &[u8]) -> capnp::Result<anchor::Client> {
    walk(from, path).promise.await?.get()?.get_anchor()
}

/// Asks for the anchor at `path` if there is one. It can be called at once: if there is none, what is
/// asked of it fails.
fn lookup(from: &anchor::Client, path: &[u8]) -> RemotePromise<anchor::lookup_results::Owned> {
    let mut request = from.lookup_request();
    request.get().set_path(capnp::text::Reader(path));
    request.send()
}

pub(crate) async fn found(
    from: &anchor::Client,
    path: &[u8],
) -> capnp::Result<Option<anchor::Client>> {
    let response = lookup(from, path).promise.await?;
    let results = response.get()?;
    results.has_anchor().then(|| results.get_anchor()).transpose()
}

/// The rights to the cell of `anchor`. Both can be called at once.
pub(crate) fn cell(anchor: &anchor::Client) -> (loader::Client, storer::Client) {
    let pipeline = anchor.cell_request().send().pipeline;
    (pipeline.get_loader(), pipeline.get_storer())
}

pub(crate) async fn ls(of: &anchor::Client) -> capnp::Result<Vec<Listed>> {
    listed(of.ls_request().send().promise).await
}

async fn listed(answer: Answer<anchor::ls_results::Owned>) -> capnp::Result<Vec<Listed>> {
    let response = answer.await?;
    let children = response.get()?.get_children()?;
    let read = |child: anchor::child::Reader<'_>| {
        Ok(Listed {
            name: child.get_name()?.to_string()?,
            anchor: child.get_anchor()?,
            filled: child.get_filled(),
            child_count: child.get_child_count(),
        })
    };
    children.iter().map(read).collect()
}

/// [`ls`] of the node at `path`; `None` if there is none.
pub(crate) async fn ls_at(
    from: &anchor::Client,
    path: &[u8],
) -> capnp::Result<Option<Vec<Listed>>> {
    let RemotePromise { promise, pipeline } = lookup(from, path);
    let answer = pipeline.get_anchor().ls_request().send().promise;
    match promise.await?.get()?.has_anchor() {
        true => listed(answer).await.map(Some),
        false => Ok(None),
    }
}

pub(crate) async fn load(loader: &loader::Client) -> capnp::Result<Loaded> {
    loaded(loader.load_request().send().promise).await
}

/// [`load`], answered when there is a value.
pub(crate) async fn wait(loader: &loader::Client) -> capnp::Result<Loaded> {
    let waited = loader.wait_request().send().promise.await;
    let response = waited.map_err(granted::no_half(Right::Load))?;
    let results = response.get()?;
    Ok(Loaded { value: Value::copy(results.get_value())?, revision: results.get_revision() })
}

/// A watch of `anchor`. It can be called at once.
pub(crate) fn watch(anchor: &anchor::Client, what: What) -> (watch::Client, Awaited) {
    let mut request = anchor.watch_request();
    request.get().set_value(what.value());
    request.get().set_children(what.children());
    let pipeline = request.send().pipeline;
    (pipeline.get_watch(), Awaited::new(pipeline))
}

/// What is different from the change numbered `after`.
pub(crate) async fn next(watch: &watch::Client, after: u64) -> capnp::Result<Told> {
    let mut request = watch.next_request();
    request.get().set_after(after);
    told(request.send().promise.await?.get()?.get_change()?)
}

fn told(change: change::Reader<'_>) -> capnp::Result<Told> {
    let names = |list: capnp::Result<capnp::text_list::Reader<'_>>| {
        let names = list?.iter().map(|name| Ok(name?.to_string()?));
        names.collect::<capnp::Result<Vec<_>>>()
    };
    let entry =
        |entry: change::entry::Reader<'_>| Ok((entry.get_name()?.to_string()?, entry.get_filled()));
    let value = match change.get_value_changed() {
        true => {
            let value = Value::copy(change.get_value())?;
            Some(Loaded { value, revision: change.get_revision() })
        }
        false => None,
    };
    let mut children = ChildrenChange::default();
    children.added = change.get_added()?.iter().map(entry).collect::<capnp::Result<_>>()?;
    children.removed = names(change.get_removed())?;
    children.filled = names(change.get_filled())?;
    children.emptied = names(change.get_emptied())?;
    let (sequence, whole) = (change.get_sequence(), change.get_whole());
    let departures = change.get_departures()?.iter().map(departure).collect();
    Ok(Told { sequence, change: Change { whole, value, children, departures } })
}

/// One of a kind that is not known here is not told.
fn departure(told: Result<change::Departure, capnp::NotInSchema>) -> Departure {
    match told {
        Ok(change::Departure::Left) => Departure::Left,
        Ok(change::Departure::Failed) => Departure::Failed,
        Ok(change::Departure::Restarted) => Departure::Restarted,
        Ok(change::Departure::Unknown) | Err(_) => Departure::Unknown,
    }
}

async fn loaded(answer: Answer<loader::load_results::Owned>) -> capnp::Result<Loaded> {
    let response = answer.await.map_err(granted::no_half(Right::Load))?;
    let results = response.get()?;
    Ok(Loaded { value: Value::copy(results.get_value())?, revision: results.get_revision() })
}

/// [`load`] from the node at `path`; `None` if there is none.
pub(crate) async fn load_at(from: &anchor::Client, path: &[u8]) -> capnp::Result<Option<Loaded>> {
    let RemotePromise { promise, pipeline } = lookup(from, path);
    let (loader, _) = cell(&pipeline.get_anchor());
    let answer = loader.load_request().send().promise;
    match promise.await?.get()?.has_anchor() {
        true => loaded(answer).await.map(Some),
        false => Ok(None),
    }
}

pub(crate) async fn store(
    storer: &storer::Client,
    value: Option<&Value>,
    overwrite: bool,
) -> capnp::Result<Written> {
    stored(send_store(storer, value, overwrite)?).await
}

fn send_store(
    storer: &storer::Client,
    value: Option<&Value>,
    overwrite: bool,
) -> capnp::Result<Answer<storer::store_results::Owned>> {
    let mut request = storer.store_request();
    let mut params = request.get();
    params.set_overwrite(overwrite);
    if let Some(value) = value {
        params.set_bound(value.is_bound());
        value.write(params.init_value())?;
    }
    Ok(request.send().promise)
}

async fn stored(answer: Answer<storer::store_results::Owned>) -> capnp::Result<Written> {
    let response = answer.await.map_err(granted::no_half(Right::Store))?;
    let results = response.get()?;
    Ok(Written { succeeded: results.get_succeeded(), revision: results.get_revision() })
}

/// [`store`] to the node at `path`. Nothing is stored where there is no node: that creates none.
pub(crate) async fn store_at(
    from: &anchor::Client,
    path: &[u8],
    value: Option<&Value>,
    overwrite: bool,
) -> capnp::Result<Option<Written>> {
    if value.is_some() {
        let anchor = walk(from, path).pipeline.get_anchor();
        let (_, storer) = cell(&anchor);
        return store(&storer, value, overwrite).await.map(Some);
    }
    let RemotePromise { promise, pipeline } = lookup(from, path);
    let (_, storer) = cell(&pipeline.get_anchor());
    let answer = send_store(&storer, None, overwrite)?;
    match promise.await?.get()?.has_anchor() {
        true => stored(answer).await.map(Some),
        false => Ok(None),
    }
}

pub(crate) async fn compare_and_store(
    storer: &storer::Client,
    expected: u64,
    value: Option<&Value>,
) -> capnp::Result<Written> {
    let mut request = storer.compare_and_store_request();
    let mut params = request.get();
    params.set_expected(expected);
    if let Some(value) = value {
        params.set_bound(value.is_bound());
        value.write(params.init_value())?;
    }
    let response = request.send().promise.await.map_err(granted::no_half(Right::Store))?;
    let results = response.get()?;
    Ok(Written { succeeded: results.get_succeeded(), revision: results.get_revision() })
}

/// Stores, and tells what was there before.
pub(crate) async fn swap(anchor: &anchor::Client, value: Option<&Value>) -> capnp::Result<Loaded> {
    let mut request = anchor.swap_request();
    let mut params = request.get();
    if let Some(value) = value {
        params.set_bound(value.is_bound());
        value.write(params.init_value())?;
    }
    let response = request.send().promise.await?;
    let results = response.get()?;
    let previous = Value::copy(results.get_previous())?;
    // What is told is the revision after. Nothing in place of nothing was no change.
    let changed = u64::from(value.is_some() || previous.is_some());
    Ok(Loaded { value: previous, revision: results.get_revision().saturating_sub(changed) })
}

pub(crate) async fn attenuate(
    anchor: &anchor::Client,
    asked: Rights,
    allowance: Allowance,
) -> capnp::Result<(anchor::Client, grant::Client)> {
    let mut request = anchor.attenuate_request();
    granted::put_rights(asked, request.get().init_rights());
    granted::put_limits(allowance, request.get().init_limits());
    let response = request.send().promise.await?;
    let results = response.get()?;
    Ok((results.get_anchor()?, results.get_grant()?))
}

pub(crate) async fn revoke(grant: &grant::Client) -> capnp::Result<()> {
    grant.revoke_request().send().promise.await.map(drop)
}

pub(crate) async fn grant_info(grant: &grant::Client) -> capnp::Result<GrantInfo> {
    let response = grant.info_request().send().promise.await?;
    let info = response.get()?;
    Ok(GrantInfo {
        rights: granted::read_rights(info.get_rights()?),
        allowance: granted::read_limits(info.get_limits()?),
        used: granted::read_limits(info.get_used()?),
        revoked: info.get_revoked(),
    })
}

type Any = any_pointer::Owned;

pub(crate) async fn new_chan(
    at: &anchor::Client,
    capacity: u32,
) -> capnp::Result<chan::Client<Any>> {
    let mut request = at.new_chan_request();
    request.get().set_capacity(capacity);
    request.send().promise.await?.get()?.get_chan()
}

pub(crate) async fn send(to: &sender::Client<Any>, value: Option<&Value>) -> capnp::Result<()> {
    let mut request = to.send_request();
    if let Some(value) = value {
        value.write(request.get().init_value())?;
    }
    request.send().promise.await.map(drop)
}

/// [`send`] without waiting: whether it was sent.
pub(crate) async fn try_send(
    to: &sender::Client<Any>,
    value: Option<&Value>,
) -> capnp::Result<bool> {
    let mut request = to.try_send_request();
    if let Some(value) = value {
        value.write(request.get().init_value())?;
    }
    Ok(request.send().promise.await?.get()?.get_sent())
}

fn received(value: any_pointer::Reader<'_>) -> capnp::Result<Received> {
    Ok(Received { value: Value::copy(value)? })
}

pub(crate) async fn recv(from: &recver::Client<Any>) -> capnp::Result<Received> {
    received(from.recv_request().send().promise.await?.get()?.get_value()?)
}

/// [`recv`] without waiting: what was received, if something was.
pub(crate) async fn try_recv(from: &recver::Client<Any>) -> capnp::Result<Option<Received>> {
    let response = from.try_recv_request().send().promise.await?;
    let results = response.get()?;
    results.get_received().then(|| received(results.get_value()?)).transpose()
}

pub(crate) async fn recv_many(
    from: &recver::Client<Any>,
    max: u32,
) -> capnp::Result<Vec<Received>> {
    let mut request = from.recv_many_request();
    request.get().set_max(max);
    let response = request.send().promise.await?;
    let items = response.get()?.get_items()?;
    items.iter().map(|item| received(item.get_value()?)).collect()
}

pub(crate) async fn close(what: &closer::Client) -> capnp::Result<()> {
    what.close_request().send().promise.await.map(drop)
}

pub(crate) async fn len(of: &chan::Client<Any>) -> capnp::Result<u32> {
    Ok(of.len_request().send().promise.await?.get()?.get_len())
}

pub(crate) async fn capacity(of: &chan::Client<Any>) -> capnp::Result<u32> {
    Ok(of.capacity_request().send().promise.await?.get()?.get_capacity())
}
