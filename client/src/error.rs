//! Why an operation did not do what it was asked to, and whether it may have.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use killick::{Denied, PathError, StoreErrorKind};

use crate::address::{Address, AddressError};
use crate::limit::Limit;

/// Why an operation did not do what it was asked to.
///
/// All but [`UnknownOutcome`](Error::UnknownOutcome) are certain: the operation changed nothing.
///
/// # Examples
/// ```
/// use killick_client::{Error, PathError};
///
/// let error = Error::from(PathError::DotDot { offset: 2 });
/// assert!(!error.is_unknown_outcome() && !error.is_transient());
/// assert_eq!(error.to_string(), "component '..' at offset 2: there is no way up");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a path. Nothing was sent.
    Path(PathError),
    /// The text is not an address, or there is no default one.
    Address(Arc<AddressError>),
    /// No server could be reached, in as many attempts as [`Retry`](crate::Retry) and the operation's
    /// time allow; or over TLS it does not let this client in, which is tried twice at most. Nothing was
    /// done.
    Connect {
        /// Where to.
        address: Address,
        /// What the system, or TLS, said to the last attempt. Of a server that does not let in the key
        /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
        error: Arc<io::Error>,
    },
    /// There is no node at the path.
    NotFound {
        /// The path.
        path: String,
    },
    /// An absolute path begins with what is no host.
    NoHost {
        /// The path's first component.
        host: String,
        /// The same path without its leading `/`: perhaps what was meant.
        relative: String,
    },
    /// The cell was left as it was, as it did not hold what the caller expected.
    Refused {
        /// [`Occupied`](StoreErrorKind::Occupied) or [`Conflict`](StoreErrorKind::Conflict).
        kind: StoreErrorKind,
        /// The cell's revision at the time.
        revision: u64,
    },
    /// The channel is closed: nothing can be sent, and, once it is empty, nothing received.
    Closed {
        /// The server's words.
        message: String,
    },
    /// The last receiver of the channel has gone: nothing can be sent.
    NoReceivers {
        /// The server's words.
        message: String,
    },
    /// A program could not be started.
    NotStarted {
        /// The server's words: which one, and why.
        message: String,
    },
    /// A process has ended: it cannot be sent a signal.
    Ended {
        /// The server's words: how.
        message: String,
    },
    /// It would have exceeded a limit of the server's.
    Limit {
        /// Which one.
        limit: Limit,
        /// The server's words, with the number.
        message: String,
    },
    /// What was granted of the anchor does not allow it, or allows it no more.
    Denied(Denied),
    /// The connection has ended. Nothing was changed: the operation only reads, or was not sent.
    Disconnected {
        /// How it ended.
        reason: String,
    },
    /// There was no answer in time. Nothing was changed: the operation only reads, or was not sent.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The operation was sent, and no answer came of who was to do it: it was done, or it was not.
    UnknownOutcome {
        /// Why there was no answer: [`Disconnected`](Error::Disconnected),
        /// [`TimedOut`](Error::TimedOut) or [`Protocol`](Error::Protocol); of an
        /// [adopted](crate::Anchor::adopt) anchor also any other error that came back.
        cause: Box<Error>,
    },
    /// The client that hosts a capability has gone: one in a value to be stored, which was not, or the
    /// one that was asked, if it is not the server's own. Or the host of the cluster that was asked, while
    /// it was.
    HostGone {
        /// The server's words.
        message: String,
    },
    /// Another host of the cluster is known to have gone, or is not reached.
    Unreachable {
        /// The server's words: which host, and why.
        message: String,
    },
    /// The server does not know this call.
    Unimplemented {
        /// The server's words.
        message: String,
    },
    /// The server refused for a reason of another kind.
    Failed {
        /// The server's words.
        message: String,
    },
    /// What came back is not what a killick server answers. Nothing was changed: the operation only
    /// reads.
    Protocol {
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// Whether the operation may have been done although this error was returned.
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Error::UnknownOutcome { .. })
    }

    /// Whether nothing was done for certain, and the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Disconnected { .. } | Error::TimedOut { .. } | Error::Unreachable { .. } => true,
            Error::Connect { error, .. } => is_transient(error.kind()),
            Error::Limit { limit, .. } => limit.may_pass(),
            Error::Denied(denied) => matches!(denied, Denied::Exhausted { .. }),
            _ => false,
        }
    }

    /// Whether there was no answer in time.
    pub(crate) fn is_for_want_of_time(&self) -> bool {
        match self {
            Error::UnknownOutcome { cause } => cause.is_for_want_of_time(),
            error => matches!(error, Error::TimedOut { .. }),
        }
    }

    pub(crate) fn not_found(path: &[u8]) -> Self {
        Error::NotFound { path: crate::path::shown(path) }
    }
}

/// Whether an attempt to connect that ended so may succeed later.
fn is_transient(kind: io::ErrorKind) -> bool {
    !matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::Unsupported
    )
}

/// What the RPC system puts before the words of an error that the other side sent.
pub(crate) const REMOTE: &str = "remote exception: ";

/// Whether the other side sent this error, and not our own end of the connection.
pub fn is_remote(error: &capnp::Error) -> bool {
    error.extra.starts_with(REMOTE)
}

/// An error's words, without what the layers between put before them.
pub fn reason(error: &capnp::Error) -> String {
    let mut text = error.extra.as_str();
    while let Some(rest) = text.strip_prefix(REMOTE) {
        text = rest;
    }
    if text.is_empty() { error.kind.to_string() } else { text.to_owned() }
}

/// What a server says of a channel that is closed, to who sends, receives and closes.
const CLOSED: [&str; 3] =
    ["the channel is closed", "the channel is closed and empty", "the channel is closed already"];
/// What it says of one that nobody receives from.
const NO_RECEIVERS: &str = "nobody receives from this channel any more";

/// What it says of programs that could not be started.
const NOT_STARTED: &str = "cannot start '";
/// What it says of processes that have ended.
const ENDED: &str = "the process has ended";

/// What it says of another host to which it has no connection.
const UNREACHABLE: &str = "host ";
/// What it says of one that has gone while it was asked, or whose capability a value was to hold.
const HOST_HAS_GONE: &str = "the host that has this capability has disconnected";

/// Whether it is a host of the cluster that has gone, and not a client.
pub(crate) fn is_of_another_host(error: &Error) -> bool {
    matches!(error, Error::HostGone { message } if message == HOST_HAS_GONE)
}

/// What a server says by sending `error` in answer to a call.
pub(crate) fn from_server(error: &capnp::Error) -> Error {
    let message = reason(error);
    if let Ok(denied) = message.parse() {
        return Error::Denied(denied);
    }
    match (error.kind, Limit::of(&message)) {
        (capnp::ErrorKind::Unimplemented, _) => Error::Unimplemented { message },
        // What a connection that is about to end answers to calls that it no longer makes.
        (capnp::ErrorKind::Disconnected, _) if message == "the connection has ended" => {
            Error::Disconnected { reason: message }
        }
        (capnp::ErrorKind::Disconnected, _) if message.starts_with(UNREACHABLE) => {
            Error::Unreachable { message }
        }
        (capnp::ErrorKind::Disconnected, _) => Error::HostGone { message },
        (_, Some(limit)) => Error::Limit { limit, message },
        (capnp::ErrorKind::Failed, None) if CLOSED.contains(&&*message) => {
            Error::Closed { message }
        }
        (capnp::ErrorKind::Failed, None) if message == NO_RECEIVERS => {
            Error::NoReceivers { message }
        }
        (capnp::ErrorKind::Failed, None) if message.starts_with(NOT_STARTED) => {
            Error::NotStarted { message }
        }
        (capnp::ErrorKind::Failed, None) if message.starts_with(ENDED) => Error::Ended { message },
        (capnp::ErrorKind::Overloaded, None) => Error::Limit { limit: Limit::Other, message },
        _ => Error::Failed { message },
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Path(error) => error.fmt(f),
            Error::Address(error) => error.fmt(f),
            Error::Connect { address, error } => write!(f, "cannot connect to {address}: {error}"),
            Error::NotFound { path } => write!(f, "nothing at '{path}'"),
            Error::NoHost { host, relative } => write!(
                f,
                "no host '{host}': a path that begins with '/' starts with a host's id or 'self'; \
                 did you mean '{relative}'?"
            ),
            Error::Refused { kind: StoreErrorKind::Conflict, revision } => {
                write!(f, "the cell is at revision {revision}, not the expected one")
            }
            Error::Refused { revision, .. } => {
                write!(f, "the cell already holds a value, at revision {revision}")
            }
            Error::Denied(denied) => denied.fmt(f),
            Error::Disconnected { reason } => write!(f, "the connection has ended: {reason}"),
            Error::TimedOut { after } => write!(f, "no answer within {after:?}"),
            Error::UnknownOutcome { cause } => {
                write!(f, "it may or may not have been done: {cause}")
            }
            Error::Unimplemented { message } => {
                write!(f, "the server does not know this call ({message})")
            }
            Error::Protocol { message } => write!(f, "this is no killick server: {message}"),
            Error::Limit { message, .. }
            | Error::Closed { message }
            | Error::NoReceivers { message }
            | Error::NotStarted { message }
            | Error::Ended { message }
            | Error::HostGone { message }
            | Error::Unreachable { message }
            | Error::Failed { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Path(error) => Some(error),
            Error::Denied(denied) => Some(denied),
            Error::Address(error) => Some(&**error),
            Error::Connect { error, .. } => Some(&**error),
            Error::UnknownOutcome { cause } => Some(&**cause),
            _ => None,
        }
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Error::Path(error)
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Error::Address(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send_and_sync<T: Send + Sync + 'static>() {}

    #[test]
    fn errors_travel_between_threads() {
        is_send_and_sync::<Error>();
    }

    #[test]
    fn what_may_have_been_done_is_not_transient() {
        let cause = Box::new(Error::TimedOut { after: Duration::from_secs(1) });
        assert!(cause.is_transient());
        let error = Error::UnknownOutcome { cause };
        assert!(error.is_unknown_outcome() && !error.is_transient());
        assert_eq!(error.to_string(), "it may or may not have been done: no answer within 1s");
    }

    #[test]
    fn a_server_that_is_not_there_may_come_and_one_that_is_forbidden_stays_so() {
        let connect = |kind: io::ErrorKind| {
            let address = "unix:/a".parse().expect("an address");
            Error::Connect { address, error: Arc::new(kind.into()) }
        };
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
            assert!(connect(kind).is_transient(), "{kind}");
        }
        // A certificate that is not trusted is invalid data.
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidData] {
            assert!(!connect(kind).is_transient(), "{kind}");
        }
    }

    #[test]
    fn reason_drops_every_prefix_of_the_layers_between() {
        let error = capnp::Error::failed(format!("{REMOTE}{REMOTE}no"));
        assert_eq!(reason(&error), "no");
        assert_eq!(reason(&capnp::Error::failed(REMOTE.into())), "Failed");
    }

    #[test]
    fn an_overloaded_server_has_a_limit_though_it_is_one_we_do_not_know() {
        let error = capnp::Error::overloaded(format!("{REMOTE}{REMOTE}too busy"));
        let Error::Limit { limit: Limit::Other, message } = from_server(&error) else {
            panic!("another error")
        };
        assert_eq!(message, "too busy");
    }
}
