//! A connection to a server, as the commands use it: one round trip for each command where the wire
//! allows it, every wait bounded, every error with the address or the path it is about.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use capnp::capability::{FromClientHook, Promise, RemotePromise, Response};
use capnp::message::ReaderOptions;
use capnp::private::capability::ClientHook;
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp, twoparty};
use futures::io::{BufReader, BufWriter};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use killick::Right;
use killick_client::internal::{GONE, meaning, no_half};
use killick_client::{Address, Identity, Member, dial};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::anchor_capnp::anchor::loader::load_results;
use killick_schema::api::host_capnp::host;
use tokio::task::JoinHandle;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::error::{CliError, is_remote, reason};
use super::target::{Start, Target};
use super::text::system;

/// The largest answer that is read, in words of eight bytes: a listing of some million children.
const ANSWER_WORDS: usize = 64 << 20;

/// How long one host of several may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a look-up answers.
type Found = Promise<Response<anchor::lookup_results::Owned>, capnp::Error>;

/// An open connection.
pub(crate) struct Connection {
    host: host::Client,
    /// Where relative paths start, and whether that was a stored anchor.
    base: anchor::Client,
    through: bool,
    address: Address,
    identity: Option<Identity>,
    timeout: Option<Duration>,
    /// Whether the server has answered something.
    answered: Cell<bool>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to `address`, to show `identity` there. Must be called within a `LocalRuntime`.
    pub(crate) async fn open(
        address: Address,
        identity: Option<Identity>,
        timeout: Option<Duration>,
    ) -> Result<Self, CliError> {
        let what = format!("connect to {address}");
        let opened = async { Ok(drive(dial(&address, identity.as_ref()).await?.compat())) };
        let (host, driver) = within(timeout, opened)
            .await
            .ok_or_else(|| CliError::failed(&what, no_answer(timeout)))?
            .map_err(|error| CliError::failed(&what, why_unreachable(&address, &error)))?;
        let (answered, base) = (Cell::new(false), as_anchor(&host));
        let through = false;
        Ok(Connection { host, base, through, address, identity, timeout, answered, driver })
    }

    /// Has relative paths start at this anchor.
    pub(crate) fn go_through(&mut self, anchor: anchor::Client) {
        (self.base, self.through) = (anchor, true);
    }

    /// Whether what is at `target` is reached by what somebody else may take back while this is connected.
    pub(crate) fn is_granted(&self, target: &Target) -> bool {
        self.through && target.start() == Start::Bootstrap
    }

    /// What the cell at `target` holds.
    pub(crate) async fn load(
        &self,
        what: &str,
        target: &Target,
    ) -> Result<Response<load_results::Owned>, CliError> {
        let (found, anchor) = self.lookup(target);
        let loader = anchor.cell_request().send().pipeline.get_loader();
        let loaded = loader.load_request().send().promise;
        self.found(what, target, found).await?;
        self.answer(what, async { loaded.await.map_err(no_half(Right::Load)) }).await
    }

    /// Stores a capability in the cell at `target`, which has to be empty: the cell's revision after it.
    pub(crate) async fn store_new(
        &self,
        what: &str,
        target: &Target,
        capability: Box<dyn ClientHook>,
    ) -> Result<u64, CliError> {
        let anchor = self.walk(target).pipeline.get_anchor();
        let mut request = anchor.cell_request().send().pipeline.get_storer().store_request();
        request.get().init_value().set_as_capability(capability);
        let sent = async {
            let response = request.send().promise.await.map_err(no_half(Right::Store))?;
            let results = response.get()?;
            Ok((results.get_succeeded(), results.get_revision()))
        };
        match self.walked(what, target, sent).await? {
            (true, revision) => Ok(revision),
            (false, revision) => {
                let why = format!("not stored: the cell holds a value (revision {revision})");
                Err(CliError::nothing(what, why))
            }
        }
    }

    /// Empties the cell at `target`, if nothing has happened there since it was at `revision`.
    pub(crate) async fn take_back(&self, target: &Target, revision: u64) {
        let (_, anchor) = self.lookup(target);
        let storer = anchor.cell_request().send().pipeline.get_storer();
        let mut request = storer.compare_and_store_request();
        request.get().set_expected(revision);
        // What cannot be taken back stays, and the error that led here is told.
        let _ = self.answer("clear", request.send().promise).await;
    }

    pub(crate) fn host(&self) -> &host::Client {
        &self.host
    }

    /// Where relative paths start.
    pub(crate) fn base(&self) -> &anchor::Client {
        &self.base
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// How long one of several hosts is waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE))
    }

    /// What is shown at the address.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Resolves when the connection has ended: the error of `what` that this is.
    pub(crate) async fn ended(&mut self, what: &str) -> CliError {
        // An error here is a task that was cancelled: the connection is gone as well.
        let _ = (&mut self.driver).await;
        // Whatever is called then is told why.
        match self.host.info_request().send().promise.await {
            Err(error) => self.call_error(what, &error),
            Ok(_) => CliError::failed(what, format!("{} closed the connection", self.address)),
        }
    }

    /// Waits for the answer to a call, no longer than the time allowed for one.
    pub(crate) async fn answer<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, CliError> {
        match within(self.timeout, call).await {
            None => Err(CliError::failed(
                what,
                format!("{}: {}", self.address, no_answer(self.timeout)),
            )),
            Some(Ok(answer)) => {
                self.answered.set(true);
                Ok(answer)
            }
            Some(Err(error)) => Err(self.call_error(what, &error)),
        }
    }

    /// The error that a call ended with, told by what it means to the user.
    pub(crate) fn call_error(&self, what: &str, error: &capnp::Error) -> CliError {
        match error.kind {
            // What the server says, of itself or of whoever hosts a capability.
            _ if is_remote(error) => {
                self.answered.set(true);
                CliError::call(what, error)
            }
            _ if let Some(why) = self.kept_out(error) => CliError::failed(what, why),
            capnp::ErrorKind::Disconnected => CliError::failed(what, ended(&self.address, error)),
            // Only what reads the stream makes other errors at this end.
            _ => {
                let why = format!("{} is no killick server ({})", self.address, reason(error));
                CliError::failed(what, why)
            }
        }
    }

    /// What to say if it may be that the server does not let in this identity. Over TLS a client learns
    /// that only when it reads.
    fn kept_out(&self, error: &capnp::Error) -> Option<String> {
        let identity = self.identity.as_ref().filter(|_| !self.answered.get())?;
        let why = match error.kind {
            capnp::ErrorKind::Disconnected => {
                "it closed the connection; has its authorized file a line with this key?".to_owned()
            }
            _ => reason(error),
        };
        let told = error.kind == capnp::ErrorKind::Disconnected || why.contains("fatal alert");
        let (address, key) = (&self.address, identity.fingerprint());
        let means = meaning(&why, "the server's", "your").map(|means| format!("{means}: "));
        let means = means.unwrap_or_default();
        told.then(|| format!("{address} does not let in the key {key}: {means}{why}"))
    }

    /// The anchor that `target` is walked from.
    fn start(&self, target: &Target) -> anchor::Client {
        match target.start() {
            Start::Bootstrap => self.base.clone(),
            Start::Cluster => self.host.root_request().send().pipeline.get_root(),
        }
    }

    /// Asks for the anchor at `target` without creating it. The anchor can be called at once: the
    /// calls travel behind the question.
    pub(crate) fn lookup(&self, target: &Target) -> (Found, anchor::Client) {
        let mut request = self.start(target).lookup_request();
        request.get().set_path(capnp::text::Reader(target.path()));
        let RemotePromise { promise, pipeline } = request.send();
        (promise, pipeline.get_anchor())
    }

    /// Waits for a look-up: an error if nothing is there.
    pub(crate) async fn found(
        &self,
        what: &str,
        target: &Target,
        promise: Found,
    ) -> Result<(), CliError> {
        let there = match self.answer(what, promise).await {
            Ok(response) => {
                response.get().map_err(|error| self.call_error(what, &error))?.has_anchor()
            }
            Err(error) => {
                let none = self.no_such_host(target).await;
                return Err(none.map_or(error, |why| CliError::nothing(what, why)));
            }
        };
        match there {
            true => Ok(()),
            false => {
                let none = self.no_such_host(target).await;
                Err(CliError::nothing(what, none.unwrap_or_else(|| "nothing there".to_owned())))
            }
        }
    }

    /// Asks for the anchor at `target`, creating what is missing; it can be called at once.
    pub(crate) fn walk(&self, target: &Target) -> RemotePromise<anchor::walk_results::Owned> {
        let mut request = self.start(target).walk_request();
        request.get().set_path(capnp::text::Reader(target.path()));
        request.send()
    }

    /// Waits for the answer to a call on the anchor that a walk to `target` gives.
    pub(crate) async fn walked<T>(
        &self,
        what: &str,
        target: &Target,
        call: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, CliError> {
        match self.answer(what, call).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let none = self.no_such_host(target).await;
                Err(none.map_or(error, |why| CliError::failed(what, why)))
            }
        }
    }

    /// Why there is nothing, if `target` is absolute and starts with a host that is not.
    async fn no_such_host(&self, target: &Target) -> Option<String> {
        let host = target.host()?;
        if host == b"self" {
            return None;
        }
        let members = super::hosts::ask(self).await.ok()?;
        let named = |member: &&Member| member.full_id.as_bytes().starts_with(host);
        // Of one that has gone, the server has told when and how.
        if host.len() >= SHORT_ID && members.iter().any(|member| named(&member)) {
            return None;
        }
        let lower = host.to_ascii_lowercase();
        let is_in_capitals =
            |member: &Member| lower != host && member.full_id.as_bytes().starts_with(&lower);
        let meant = |member: &&Member| {
            named(member) || is_in_capitals(member) || member.hostname.as_bytes() == host
        };
        let relative = target.relative_spelling();
        let why = match members.iter().filter(|member| member.state.is_there()).find(meant) {
            Some(member) => {
                let rest = relative.split_once('/').map(|(_, rest)| format!("/{rest}"));
                format!(
                    "a path that begins with '/' starts with a host's whole id, {}; did you mean '/{}{}', or \
                     '{relative}'?",
                    if is_in_capitals(member) { "in small letters" } else { "of 16 digits" },
                    member.name(),
                    rest.unwrap_or_default(),
                )
            }
            None => format!(
                "a path that begins with '/' starts with a host, here {}'self'; did you mean \
                 '{relative}'?",
                some_of(&members),
            ),
        };
        Some(format!("no host '{}': {why}", super::text::shortened(host)))
    }
}

/// Digits of an id that a path has at least.
const SHORT_ID: usize = 16;

/// The ids of the hosts that are there, as many as one likes to read, and "or".
fn some_of(members: &[Member]) -> String {
    const MOST: usize = 4;
    let ids: Vec<_> = members.iter().filter(|member| member.state.is_there()).collect();
    let shown = ids.iter().take(MOST).map(|member| format!("'{}'", member.name()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match ids.len().saturating_sub(MOST) {
        0 => format!("{shown} or "),
        more => format!("{shown}, one of {more} more ('killick hosts' lists them) or "),
    }
}

/// The anchor that a host is.
pub(crate) fn as_anchor(host: &host::Client) -> anchor::Client {
    anchor::Client::new(host.client.hook.clone())
}

/// Runs the RPC of one stream in the background; its bootstrap capability.
fn drive<S>(stream: S) -> (host::Client, JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (reader, writer) = stream.split();
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(ANSWER_WORDS));
    let network = twoparty::VatNetwork::new(
        BufReader::with_capacity(64 * 1024, reader),
        BufWriter::with_capacity(64 * 1024, writer),
        rpc_twoparty_capnp::Side::Client,
        options,
    );
    let mut system = RpcSystem::new(Box::new(network), None);
    let host = system.bootstrap(rpc_twoparty_capnp::Side::Server);
    let driver = tokio::task::spawn_local(async move {
        // Every call that was waiting has got this error already.
        let _ = system.await;
    });
    (host, driver)
}

/// The output of `future`, or nothing if it takes longer than `limit`.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    future: impl Future<Output = T>,
) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

/// How a connection to `address` has ended, by the error of this end.
fn ended(address: &Address, error: &capnp::Error) -> String {
    match reason(error) {
        why if why.starts_with(GONE) => format!("{address}: {why}"),
        _ => format!("{address} closed the connection"),
    }
}

fn no_answer(timeout: Option<Duration>) -> String {
    let waited = super::text::duration(timeout.unwrap_or_default());
    format!("no answer within {waited} (see --timeout)")
}

/// Why there is no connection to `address`, in words for people.
pub(crate) fn why_unreachable(address: &Address, error: &io::Error) -> String {
    if let Address::Unix(path) = address
        && fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
    {
        return "not a socket".to_owned();
    }
    let text = system(error);
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    let text = first + rest.as_str();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("{text} (is a server running there? 'killick serve' starts one)")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use killick_client::internal::gone;

    use super::*;

    #[test]
    fn a_machine_that_is_gone_is_told_from_a_server_that_has_closed() {
        let address = "tcp:127.0.0.1:1".parse().expect("an address");
        for (kind, words) in [
            (
                io::ErrorKind::TimedOut,
                "tcp:127.0.0.1:1: the other machine does not answer any more (",
            ),
            (io::ErrorKind::ConnectionReset, "tcp:127.0.0.1:1 closed the connection"),
        ] {
            let error = capnp::Error::from(gone(kind.into()));
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected);
            assert!(ended(&address, &error).starts_with(words), "{error}");
        }
    }
}
