//! Dialing: one at a time for each host, and a rest after it has failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use quinn::{Connection, ConnectionError};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::error::refusal;
use super::link::{Code, Link, attend};
use super::setup::{Options, Standing};
use super::table::{Table, Unkept};
use super::{Inner, LinkError};
use crate::cluster::HostId;

/// By this byte who was dialed tells that it takes the other: the version of what both speak.
pub(super) const WELCOME: [u8; 1] = [1];

/// Who is dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// This host, wherever it is.
    Host(HostId),
    /// Whoever is there.
    Seed(SocketAddr),
}

/// How a dial has ended: with whom, who has a connection then, unless it is this host.
pub(super) type Outcome = Result<HostId, LinkError>;

/// A dial that is under way, or has failed.
pub(super) enum Dial {
    UnderWay {
        number: u64,
        /// How often it has failed before, one after the other.
        failures: u32,
        outcome: watch::Sender<Option<Outcome>>,
        /// What is sent as soon as there is a connection.
        packets: Vec<Bytes>,
    },
    Failed {
        at: SocketAddr,
        failures: u32,
        /// Until when it is not dialed again.
        until: Instant,
        error: LinkError,
    },
}

impl Dial {
    pub(super) fn failed(
        at: SocketAddr,
        failures: u32,
        error: LinkError,
        options: &Options,
    ) -> Self {
        let until = Instant::now() + rest(failures, options.rest);
        Dial::Failed { at, failures, until, error }
    }

    /// Whether it has failed, and may be made again.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        matches!(self, Dial::Failed { until, .. } if *until <= now)
    }
}

/// How long a host is not dialed after so many failures: those who dial the same one do not all do it at once.
fn rest(failures: u32, [first, longest]: [Duration; 2]) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let whole = doubled.min(longest);
    let mut random = [0; 2];
    // Without random numbers it is the whole.
    let _ = SystemRandom::new().fill(&mut random);
    let part = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    whole.mul_f64(1.0 - part / 2.0)
}

/// Begins to dial: where the outcome is told.
pub(super) fn start(
    inner: &Arc<Inner>,
    table: &mut Table,
    target: Target,
    at: SocketAddr,
) -> watch::Receiver<Option<Outcome>> {
    let (number, told) = table.begin(target, at);
    let (inner, standing) = (inner.clone(), table.standing().clone());
    let runtime = inner.runtime.clone();
    runtime.spawn(async move {
        let limit = inner.options.dial;
        let ended = timeout(limit, dial(&inner, &standing, target, at)).await;
        let ended = ended.unwrap_or(Err(LinkError::Silent { at, limit }));
        inner.table().end(target, at, number, ended, &inner.options);
    });
    told
}

/// Connects to who shows to be a host of the cluster: which one it is.
async fn connect(
    inner: &Arc<Inner>,
    standing: &Standing,
    target: Target,
    at: SocketAddr,
) -> Result<(Connection, HostId), LinkError> {
    let refused = |reason: String| LinkError::Refused { at, reason };
    let identity = &standing.identity;
    let name = match target {
        Target::Host(host) => identity.name_of(host),
        Target::Seed(_) => identity.any_host(),
    };
    let connecting = inner.endpoint.connect_with(standing.client.clone(), at, &name);
    let connecting = connecting.map_err(|error| refused(error.to_string()))?;
    let connection = connecting.await.map_err(|error| failed(&error, at, inner))?;
    let host = identity.host_in(&chain_of(&connection)).map_err(|why| {
        connection.close(Code::NotAHost.into(), why.to_string().as_bytes());
        refused(why.to_string())
    })?;
    Ok((connection, host))
}

fn failed(error: &ConnectionError, at: SocketAddr, inner: &Inner) -> LinkError {
    match error {
        ConnectionError::TimedOut => LinkError::Silent { at, limit: inner.options.idle },
        error => {
            let identity = inner.table().standing().identity.clone();
            LinkError::Refused { at, reason: refusal(error, &identity) }
        }
    }
}

/// Dials, and keeps the connection: whose it is.
async fn dial(
    inner: &Arc<Inner>,
    standing: &Arc<Standing>,
    target: Target,
    at: SocketAddr,
) -> Outcome {
    let refused = |reason: String| LinkError::Refused { at, reason };
    let (connection, host) = connect(inner, standing, target, at).await?;
    if host == inner.host {
        connection.close(Code::Ended.into(), b"that is this host");
        return Ok(host);
    }
    // A name may be valid for more than one host; a key is that of one.
    if matches!(target, Target::Host(wanted) if wanted != host) {
        connection.close(Code::Ended.into(), b"another host was dialed");
        return Err(refused(format!("the host {host} is there")));
    }
    welcomed(&connection).await.map_err(|error| failed(&error, at, inner))?;
    let chain = chain_of(&connection);
    keep(inner, standing, connection, host, chain)
        .map_err(|Unkept(_, why)| refused(why))
        .map(|()| host)
}

/// Whether another process is at an address that has this host's key: not this one, as it may reach itself there.
pub(super) async fn is_twin(inner: &Arc<Inner>, at: SocketAddr) -> Result<bool, LinkError> {
    let standing = inner.table().standing().clone();
    let (connection, host) = connect(inner, &standing, Target::Host(inner.host), at).await?;
    let mut life = inner.life;
    if host == inner.host {
        let mut stream =
            connection.accept_uni().await.map_err(|error| failed(&error, at, inner))?;
        let read = stream.read_exact(&mut life).await;
        read.map_err(|error| LinkError::Lost { reason: error.to_string() })?;
    }
    connection.close(Code::Ended.into(), b"that is all");
    Ok(life != inner.life)
}

/// Waits until the other side has taken this one for a host.
async fn welcomed(connection: &Connection) -> Result<(), ConnectionError> {
    let mut stream = connection.accept_uni().await?;
    let mut word = [0; WELCOME.len()];
    match stream.read_exact(&mut word).await {
        Ok(()) if word == WELCOME => Ok(()),
        _ => {
            let ended = connection.close_reason();
            connection.close(Code::Unknown.into(), b"another version");
            Err(ended.unwrap_or(ConnectionError::VersionMismatch))
        }
    }
}

/// Keeps a connection, and takes what comes over it from here on.
pub(super) fn keep(
    inner: &Arc<Inner>,
    standing: &Arc<Standing>,
    connection: Connection,
    host: HostId,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
) -> Result<(), Unkept> {
    let link = Arc::new(Link::new(connection, host, chain));
    let kept = inner.table().admit(link.clone(), standing, &inner.options, &inner.events);
    match kept {
        Ok(()) => drop(inner.runtime.spawn(attend(inner.clone(), link))),
        Err(Unkept(code, ref why)) => link.close(code, why),
    }
    kept
}

/// What the other side has shown.
pub(super) fn chain_of(connection: &Connection) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    let shown = connection.peer_identity().and_then(|shown| shown.downcast().ok());
    shown.map(|chain| *chain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_grows_to_its_limit_and_is_never_the_same() {
        let limits = [Duration::from_millis(200), Duration::from_secs(5)];
        for (failures, whole) in [(1, 200), (2, 400), (3, 800), (6, 5000), (u32::MAX, 5000)] {
            let whole = Duration::from_millis(whole);
            let rests: Vec<_> = (0..100).map(|_| rest(failures, limits)).collect();
            assert!(rests.iter().all(|rest| *rest <= whole && *rest >= whole / 2), "{rests:?}");
            assert!(rests.iter().any(|rest| *rest != rests[0]), "{rests:?}");
        }
    }
}
