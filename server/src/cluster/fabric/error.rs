//! Why there is no fabric, or no connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use killick_client::internal::{is_deceptive, meaning};
use quinn::ConnectionError;
use rustls::AlertDescription;

use crate::cluster::HostId;
use crate::cluster::ident::ClusterIdentity;

/// Why there is no fabric.
#[derive(Debug)]
pub(crate) enum FabricError {
    /// Somebody else is at the address.
    InUse { at: SocketAddr },
    /// There can be none at the address.
    Bind { at: SocketAddr, error: io::Error },
    /// QUIC makes nothing of the identity.
    Unusable(String),
    /// The identity is that of another host, or of another cluster.
    AnotherHost(HostId),
}

impl fmt::Display for FabricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FabricError::InUse { at } => write!(f, "udp:{at}: the address is in use"),
            FabricError::Bind { at, error } => write!(f, "udp:{at}: {error}"),
            FabricError::Unusable(reason) => f.write_str(reason),
            FabricError::AnotherHost(host) => {
                write!(
                    f,
                    "the identity is another one, that of the host {host}: it takes a restart"
                )
            }
        }
    }
}

impl std::error::Error for FabricError {}

/// Why there is no connection to a host, or no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// Nobody has answered in time.
    Silent { at: SocketAddr, limit: Duration },
    /// One of the two does not take the other, or it is not that host.
    Refused { at: SocketAddr, reason: String },
    /// The connection has ended.
    Lost { reason: String },
    /// It is this host.
    Myself,
    /// The fabric has been shut down.
    Down,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Silent { at, limit } => write!(f, "no answer from {at} within {limit:?}"),
            LinkError::Refused { at, reason } => write!(f, "no connection to {at}: {reason}"),
            LinkError::Lost { reason } => write!(f, "the connection has ended: {reason}"),
            LinkError::Myself => f.write_str("that is this host"),
            LinkError::Down => f.write_str("this host has stopped"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        let kind = match &error {
            LinkError::Silent { .. } => io::ErrorKind::TimedOut,
            LinkError::Refused { .. } => io::ErrorKind::ConnectionRefused,
            LinkError::Lost { .. } => io::ErrorKind::ConnectionAborted,
            LinkError::Myself => io::ErrorKind::InvalidInput,
            LinkError::Down => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

/// Why a connection has ended.
pub(super) fn reason(error: &ConnectionError) -> String {
    let words = words(error);
    match meaning(&words, "the other host's", "this host's") {
        Some(means) => format!("{words}: {means}"),
        None => words,
    }
}

/// Why a connection has not come to be, to a host that shows `identity`.
pub(super) fn refusal(error: &ConnectionError, identity: &ClusterIdentity) -> String {
    let words = words(error);
    match of_secrets(&words).filter(|_| identity.is_of_secret()) {
        Some(means) => format!("{means} ({words})"),
        None => reason(error),
    }
}

/// What the words mean that a handshake ends with to whom has a secret, and no file of authorities.
fn of_secrets(words: &str) -> Option<&'static str> {
    let is = |names: &[&str]| names.iter().any(|name| words.contains(name));
    match () {
        () if is(&["BadSignature", "DecryptError"]) => Some("it has another --cluster-secret"),
        () if is(&["UnknownIssuer", "UnknownCA"]) => Some("it has another --cluster, or no secret"),
        () => None,
    }
}

/// What is said of it by whoever has ended it.
fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(error) => match error.reason.is_empty() {
            true => error.code.to_string(),
            false => error.reason.clone(),
        },
        ConnectionError::ConnectionClosed(closed) => match alert(closed.error_code.into()) {
            Some(alert) => format!("received fatal alert: {alert:?}"),
            None => format!("the other host's QUIC: {closed}"),
        },
        ConnectionError::ApplicationClosed(closed) => {
            // What another says stands in a log.
            let said = String::from_utf8_lossy(&closed.reason).replace(is_deceptive, " ");
            format!("the other host has closed it: {said}")
        }
        ConnectionError::Reset => "the other host has restarted".to_owned(),
        ConnectionError::TimedOut => "the other host is silent".to_owned(),
        ConnectionError::LocallyClosed => "closed".to_owned(),
        other => other.to_string(),
    }
}

/// The alert of TLS that a code of QUIC stands for (RFC 9001, 4.8).
pub(super) fn alert(code: u64) -> Option<AlertDescription> {
    let code = code.checked_sub(0x100)?;
    u8::try_from(code).ok().map(AlertDescription::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterSecret;
    use crate::cluster::ident::testing::{CLUSTER, Ca};
    use quinn::{ConnectionClose, TransportErrorCode};

    #[test]
    fn who_has_a_secret_is_told_of_secrets_and_not_of_files() {
        let secret = ClusterIdentity::from_secret(&ClusterSecret::fresh(), CLUSTER, None);
        let (secret, certified) = (secret.expect("an identity"), Ca::new("ca").host("a"));
        let alert = |alert: AlertDescription| {
            let error_code = TransportErrorCode::crypto(alert.into());
            let closed =
                ConnectionClose { error_code, frame_type: None, reason: Default::default() };
            ConnectionError::ConnectionClosed(closed)
        };
        for (description, told) in [
            (
                AlertDescription::DecryptError,
                "it has another --cluster-secret (received fatal alert: DecryptError)",
            ),
            (
                AlertDescription::UnknownCA,
                "it has another --cluster, or no secret (received fatal alert: UnknownCA)",
            ),
        ] {
            assert_eq!(refusal(&alert(description), &secret), told);
            let of_files = refusal(&alert(description), &certified);
            assert!(of_files.ends_with("the other host's ca.pem"), "{of_files}");
        }
        for other in [ConnectionError::Reset, alert(AlertDescription::InternalError)] {
            assert_eq!(refusal(&other, &secret), reason(&other));
        }
    }
}
