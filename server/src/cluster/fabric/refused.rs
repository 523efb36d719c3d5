//! Who is not let in: all are counted, and told in the log as long as they are few. Whoever reaches the socket can
//! cause them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use quinn::ConnectionError;
use rustls::{AlertDescription, CertificateError};
use tracing::{debug, warn};

use super::error::{alert, refusal};
use crate::cluster::ident::{ClusterIdentity, NotAHost};
use crate::cluster::seldom::Seldom;

/// Why somebody is not let in, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It shows no certificate.
    Nobody,
    /// Its certificate is of no authority that this host knows.
    Authority,
    /// Its certificate is not valid at this time, or makes no sense.
    Invalid,
    /// Its certificate has been revoked.
    Revoked,
    /// Its certificate is none of a host of this cluster: that of a client, for one.
    NotAHost,
    /// It does not take this host's certificate, or has meant another host.
    Theirs,
    /// There are too many connections.
    TooMany,
    /// The handshake has not come to its end.
    Broken,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Nobody,
        Kind::Authority,
        Kind::Invalid,
        Kind::Revoked,
        Kind::NotAHost,
        Kind::Theirs,
        Kind::TooMany,
        Kind::Broken,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nobody => "no_certificate",
            Kind::Authority => "authority",
            Kind::Invalid => "invalid",
            Kind::Revoked => "revoked",
            Kind::NotAHost => "not_a_host",
            Kind::Theirs => "theirs",
            Kind::TooMany => "too_many",
            Kind::Broken => "broken",
        }
    }

    /// By what TLS makes of a certificate.
    fn of(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Kind::Nobody,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Kind::Authority,
            AlertDescription::CertificateRevoked => Kind::Revoked,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown => Kind::Invalid,
            _ => Kind::Broken,
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    pub(super) why: String,
}

impl Refused {
    /// Whose connection to a host that shows `identity` has not come to be.
    pub(super) fn by(error: &ConnectionError, identity: &ClusterIdentity) -> Self {
        let kind = match error {
            ConnectionError::TransportError(error) => {
                alert(error.code.into()).map_or(Kind::Broken, Kind::of)
            }
            ConnectionError::ConnectionClosed(closed) => {
                alert(closed.error_code.into()).map_or(Kind::Broken, |_| Kind::Theirs)
            }
            ConnectionError::ApplicationClosed(_) => Kind::Theirs,
            _ => Kind::Broken,
        };
        Refused { kind, why: refusal(error, identity) }
    }
}

impl From<NotAHost> for Refused {
    fn from(why: NotAHost) -> Self {
        use rustls::Error::InvalidCertificate;
        let kind = match &why {
            NotAHost::NoCertificate => Kind::Nobody,
            NotAHost::Unnamed { .. } => Kind::NotAHost,
            NotAHost::Refused(InvalidCertificate(CertificateError::Revoked)) => Kind::Revoked,
            NotAHost::Refused(InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Kind::Authority,
            NotAHost::Broken | NotAHost::Refused(_) => Kind::Invalid,
        };
        Refused { kind, why: why.to_string() }
    }
}

/// Those who were not let in.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Kind::ALL.len()],
    lines: Mutex<Seldom<(IpAddr, Kind)>>,
}

impl Refusals {
    /// Notes that who is at an address is not let in: one line a minute for each address and kind, however often it
    /// tries. What breaks off may do so by the network.
    pub(super) fn note(&self, at: SocketAddr, Refused { kind, why }: &Refused) {
        // Relaxed, here and below: a count for people to read.
        self.counts[*kind as usize].fetch_add(1, Ordering::Relaxed);
        if *kind == Kind::Broken {
            return debug!(%at, reason = %why, "somebody is not let into the cluster");
        }
        let source = (at.ip().to_canonical(), *kind);
        // Nothing in there can panic.
        let lines = &mut self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left_out) = lines.next(source, Instant::now()) {
            let left_out = (left_out > 0).then_some(left_out);
            // What another says stands in there.
            let why = why.replace(char::is_control, " ");
            warn!(%at, reason = %why, left_out, "somebody is not let into the cluster");
        }
    }

    /// How many there were of each kind.
    pub(super) fn counts(&self) -> [u64; Kind::ALL.len()] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
