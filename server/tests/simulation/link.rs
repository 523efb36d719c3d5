//! A client's connection, and the calls that are made over it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp::message::ReaderOptions;
use capnp::{Error, any_pointer};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use futures::AsyncReadExt;
use futures::io::{BufReader, BufWriter};
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer, watch};
use killick_schema::api::host_capnp::host;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;
use turmoil::net::TcpStream;

use crate::grants;
use crate::record::{How, Outcome, Record, Value, What};
use crate::server::PORT;
use crate::streams::Valved;

/// The longest that a client waits for anything. What takes longer over a sound link has hung.
pub(crate) const PATIENCE: Duration = Duration::from_millis(2500);
/// How often a client says something.
const PULSE: Duration = Duration::from_millis(300);

/// A connection to the server.
pub(crate) struct Link {
    pub(crate) record: Rc<Record>,
    /// Its number in the record.
    pub(crate) number: usize,
    pub(crate) anchor: anchor::Client,
    disconnector: Disconnector<Side>,
    driver: JoinHandle<Result<(), Error>>,
    pulse: JoinHandle<()>,
    stream: Valved,
}

impl Link {
    /// Connects, if the server can be reached.
    pub(crate) async fn open(record: &Rc<Record>, client: &str) -> Option<Self> {
        let connecting = TcpStream::connect(("server", PORT));
        let stream = timeout(PATIENCE, connecting).await.ok()?.ok()?;
        let local: SocketAddr = stream.local_addr().ok()?;
        let number = record.connected(local)?;
        let stream = Valved::new(stream, record.valve(client), record.segment.get());
        let (read, write) = stream.clone().compat().split();
        let (read, write) = (BufReader::new(read), BufWriter::new(write));
        let network = twoparty::VatNetwork::new(read, write, Side::Client, ReaderOptions::new());
        let mut rpc = RpcSystem::new(Box::new(network), None);
        let host: host::Client = rpc.bootstrap(Side::Server);
        let disconnector = rpc.get_disconnector();
        let driver = spawn_local(rpc);
        let anchor: anchor::Client = host.cast_to();
        let pulse = spawn_local(pulse(anchor.clone()));
        let record = record.clone();
        Some(Link { record, number, anchor, disconnector, driver, pulse, stream })
    }

    /// Whether the connection has ended, or is of no use any more.
    pub(crate) fn is_over(&self) -> bool {
        self.driver.is_finished() || self.pulse.is_finished()
    }

    /// Whether the connection has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    /// Resolves when it is [over](Self::is_over).
    pub(crate) fn over(&self) -> impl Future<Output = ()> + use<> {
        let (driver, pulse) = (self.driver.abort_handle(), self.pulse.abort_handle());
        async move {
            while !driver.is_finished() && !pulse.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Ends the connection: with a good-bye if it still works, or as it is.
    pub(crate) async fn leave(self) {
        self.record.left(self.number);
        self.pulse.abort();
        drop(self.anchor);
        if !self.driver.is_finished() {
            let _ = timeout(Duration::from_millis(200), self.disconnector).await;
        }
        self.driver.abort();
        self.stream.cut();
    }
}

/// Keeps the server from taking its client for dead, and ends when the client has to take the server for
/// that.
async fn pulse(anchor: anchor::Client) {
    while let Ok(Ok(_)) = timeout(PATIENCE, lookup(&anchor, "")).await {
        tokio::time::sleep(PULSE).await;
    }
}

pub(crate) async fn walk(from: &anchor::Client, path: &str) -> capnp::Result<anchor::Client> {
    let mut request = from.walk_request();
    request.get().set_path(path);
    request.send().promise.await?.get()?.get_anchor()
}

/// Whether there is a node at `path`.
pub(crate) async fn lookup(from: &anchor::Client, path: &str) -> capnp::Result<bool> {
    let mut request = from.lookup_request();
    request.get().set_path(path);
    Ok(request.send().promise.await?.get()?.has_anchor())
}

/// The children: their names, and what leads to each.
pub(crate) async fn ls(from: &anchor::Client) -> capnp::Result<Vec<(String, anchor::Client)>> {
    let response = from.ls_request().send().promise.await?;
    let children = response.get()?.get_children()?;
    children.iter().map(|child| Ok((child.get_name()?.to_string()?, child.get_anchor()?))).collect()
}

/// Both rights to the cell, which need not have been answered yet.
pub(crate) fn cell(of: &anchor::Client) -> (loader::Client, storer::Client) {
    let cell = of.cell_request().send().pipeline;
    (cell.get_loader(), cell.get_storer())
}

/// What is put into a cell.
#[derive(Clone)]
pub(crate) enum Put {
    Nothing,
    /// The number, filled up to a length.
    Text(u64, usize),
    Cap(u64, loader::Client),
}

impl Put {
    pub(crate) fn value(&self) -> Value {
        match self {
            Put::Nothing => Value::Nothing,
            Put::Text(id, _) => Value::Text(*id),
            Put::Cap(id, _) => Value::Cap(*id),
        }
    }

    fn into(self, mut value: any_pointer::Builder<'_>) -> capnp::Result<()> {
        match self {
            Put::Nothing => Ok(()),
            Put::Text(id, length) => value.set_as(text(id, length).as_str()),
            Put::Cap(_, client) => {
                value.set_as_capability(client.client.hook);
                Ok(())
            }
        }
    }
}

pub(crate) fn text(id: u64, length: usize) -> String {
    format!("v{id}{}", ".".repeat(length))
}

/// The number in a text.
pub(crate) fn number(text: &str) -> capnp::Result<u64> {
    let digits = text.trim_start_matches('v').trim_end_matches('.');
    digits.parse().map_err(|_| Error::failed(format!("not a value: {text:?}")))
}

fn read(value: any_pointer::Reader<'_>) -> capnp::Result<(Value, Option<loader::Client>)> {
    if value.is_null() {
        return Ok((Value::Nothing, None));
    }
    if let Ok(cap) = value.get_as_capability::<loader::Client>() {
        return Ok((Value::SomeCap, Some(cap)));
    }
    let id = number(value.get_as::<capnp::text::Reader<'_>>()?.to_str()?)?;
    Ok((Value::Text(id), None))
}

/// Asks a capability that a client hosts which one it is.
pub(crate) async fn ask(cap: &loader::Client) -> capnp::Result<u64> {
    let response = cap.load_request().send().promise.await?;
    number(response.get()?.get_value().get_as::<capnp::text::Reader<'_>>()?.to_str()?)
}

impl Link {
    /// Loads `register`: what is there with its revision, the capability if it is one, and the number of
    /// the operation.
    pub(crate) async fn load(
        &self,
        loader: &loader::Client,
        register: &str,
    ) -> capnp::Result<(u64, usize, Option<loader::Client>)> {
        let op = self.record.begin(self.number, register, What::Load);
        let response = loader.load_request().send().promise.await?;
        let loaded = response.get()?;
        let (value, cap) = read(loaded.get_value())?;
        let revision = loaded.get_revision();
        self.record.end(op, Outcome::Loaded { value, revision });
        Ok((revision, op, cap))
    }

    /// Asks `watch` for a change of `register`, whose value alone it watches, from the one numbered `after`:
    /// its number, and the revision. It is an operation that loads.
    pub(crate) async fn next(
        record: &Record,
        connection: usize,
        watch: &watch::Client,
        (register, after): (&str, u64),
    ) -> capnp::Result<(u64, u64)> {
        let op = record.begin(connection, register, What::Load);
        let mut request = watch.next_request();
        request.get().set_after(after);
        let response = request.send().promise.await?;
        let change = response.get()?.get_change()?;
        let (value, _) = read(change.get_value())?;
        let revision = change.get_revision();
        record.end(op, Outcome::Loaded { value, revision });
        Ok((change.get_sequence(), revision))
    }

    /// Writes `register`, whose anchor is `anchor`. The value dies with each of `owners`. Returns the
    /// revision.
    pub(crate) async fn write(
        &self,
        anchor: &anchor::Client,
        register: &str,
        (put, bound): (Put, bool),
        owners: Vec<usize>,
        how: How,
    ) -> capnp::Result<u64> {
        let what = What::Write { value: put.value(), owners, how };
        let op = self.record.begin(self.number, register, what);
        match write(anchor, (put, bound), how).await {
            Ok((done, revision, previous)) => {
                self.record.end(op, Outcome::Wrote { done, revision, previous });
                Ok(revision)
            }
            Err(error) => {
                if grants::is_refused(&error) {
                    self.record.end(op, Outcome::Refused);
                }
                Err(error)
            }
        }
    }
}

/// Whether a write was done, the revision, and what it replaced if it tells that.
async fn write(
    anchor: &anchor::Client,
    (put, bound): (Put, bool),
    how: How,
) -> capnp::Result<(bool, u64, Option<Value>)> {
    let (_, storer) = cell(anchor);
    Ok(match how {
        How::Always | How::IfEmpty => {
            let mut request = storer.store_request();
            request.get().set_overwrite(how == How::Always);
            request.get().set_bound(bound);
            put.into(request.get().init_value())?;
            let response = request.send().promise.await?;
            let results = response.get()?;
            (results.get_succeeded(), results.get_revision(), None)
        }
        How::IfRevision(expected) => {
            let mut request = storer.compare_and_store_request();
            request.get().set_expected(expected);
            request.get().set_bound(bound);
            put.into(request.get().init_value())?;
            let response = request.send().promise.await?;
            let results = response.get()?;
            (results.get_succeeded(), results.get_revision(), None)
        }
        How::Swap => {
            let mut request = anchor.swap_request();
            request.get().set_bound(bound);
            put.into(request.get().init_value())?;
            let response = request.send().promise.await?;
            let results = response.get()?;
            (true, results.get_revision(), Some(read(results.get_previous())?.0))
        }
    })
}
