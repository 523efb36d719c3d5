//! How members reach others, and what is told of seeds that nobody answers at.
//!
//! A seed that refuses is told of by the members at once. One that is silent may be down, or behind something that
//! lets no UDP through: what can be known of that, the system is asked. It is told by the first time that a dial
//! comes to nothing, after some 3 s, and again after pauses that grow.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use tokio_util::bytes::Bytes;
use tracing::warn;

use super::fabric::{Fabric, HostStream, LinkError, Service};
use super::members::Transport;
use super::run::OPEN_TIMEOUT;
use super::{ClusterConfig, HostId};

/// After which pause it is told again of an address: twice as long each time, up to the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(3600)];
/// How many addresses are remembered: names of seeds may have others each time.
const MOST: usize = 1024;
/// How long the system may take to learn that nobody is there.
const PROBE: Duration = Duration::from_millis(500);

/// The ways of a host to others.
#[derive(Clone)]
pub(super) struct Ways {
    fabric: Fabric,
    /// Where it looks for others, as it was told.
    seeds: Arc<str>,
    told: Arc<Mutex<HashMap<SocketAddr, Told>>>,
}

/// When it is told again of an address, and the pause before that.
struct Told {
    again: Instant,
    pause: Duration,
}

impl Ways {
    pub(super) fn new(fabric: Fabric, config: &ClusterConfig) -> Self {
        let seeds: Vec<_> = config.join.iter().map(ToString::to_string).collect();
        Ways { fabric, seeds: seeds.join(",").into(), told: Arc::default() }
    }

    /// Whether it is told at this moment that nobody answers at `at`; and forgotten, if somebody `is_there`.
    fn tells(&self, at: SocketAddr, is_there: bool) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        tells(&mut told, at, is_there, Instant::now())
    }
}

fn tells(
    told: &mut HashMap<SocketAddr, Told>,
    at: SocketAddr,
    is_there: bool,
    now: Instant,
) -> bool {
    if is_there {
        told.remove(&at);
        return false;
    }
    let pause = match told.get(&at) {
        Some(told) if told.again > now => return false,
        Some(told) => (told.pause * 2).min(PAUSES[1]),
        None => PAUSES[0],
    };
    if told.len() >= MOST {
        told.clear();
    }
    told.insert(at, Told { again: now + pause, pause });
    true
}

impl Transport for Ways {
    type Stream = HostStream;

    fn send(&self, to: HostId, at: SocketAddr, packet: Bytes) {
        self.fabric.send(to, at, packet);
    }

    async fn open_sync(&self, to: HostId, at: SocketAddr) -> io::Result<HostStream> {
        Ok(self.fabric.open(to, at, Service::Sync, OPEN_TIMEOUT).await?)
    }

    async fn meet(&self, at: SocketAddr) -> io::Result<HostId> {
        let met = self.fabric.meet(at).await;
        let is_silent = matches!(met, Err(LinkError::Silent { .. }));
        // Who has found others misses nobody yet.
        let is_alone = self.fabric.peers().is_empty();
        if self.tells(at, !is_silent) && is_alone {
            let (here, seeds) = (self.fabric.local(), self.seeds.clone());
            // Whoever asks has waited long enough.
            tokio::spawn(async move {
                let (why, join) = (why_silent(here, at).await, &*seeds);
                warn!(%at, join, why, "nobody answers at a seed's address");
            });
        }
        Ok(met?)
    }

    async fn is_twin(&self, at: SocketAddr) -> bool {
        self.fabric.is_twin(at).await
    }
}

/// What the system knows of an address where nobody answers a host that listens at `here`.
async fn why_silent(here: SocketAddr, at: SocketAddr) -> String {
    if here.ip().is_loopback() && !at.ip().is_loopback() {
        return format!("this host listens at {here}, and that reaches this machine alone");
    }
    let from: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probed = async {
        let socket = UdpSocket::bind((from, 0)).await?;
        socket.connect(at).await?;
        // Nothing that QUIC answers.
        socket.send(&[0]).await?;
        socket.recv(&mut [0]).await.map(drop)
    };
    match timeout(PROBE, probed).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "refused: nothing listens there for UDP, or something on the way refuses it".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) | Err(_) => {
            "no answer by UDP: the machine is down, or something on the way blocks it".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_first_and_then_after_pauses_that_grow() {
        let (start, mut told) = (Instant::now(), HashMap::new());
        let at = SocketAddr::from(([192, 0, 2, 7], 7300));
        let mut times = Vec::new();
        for second in 0..10_000 {
            if tells(&mut told, at, false, start + Duration::from_secs(second)) {
                times.push(second);
            }
        }
        assert_eq!(times, [0, 30, 90, 210, 450, 930, 1890, 3810, 7410]);
        assert!(!tells(&mut told, at, true, start));
        assert!(tells(&mut told, at, false, start), "it was there meanwhile");
    }

    #[test]
    fn what_the_system_knows_of_who_is_silent_is_told() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let here = SocketAddr::from(([127, 0, 0, 1], 7300));
            let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
            let at = silent.local_addr().expect("bound");
            assert!(why_silent(here, at).await.starts_with("no answer by UDP: "));
            drop(silent);
            assert!(why_silent(here, at).await.starts_with("refused: "));
            let elsewhere = SocketAddr::from(([192, 0, 2, 7], 7300));
            assert!(why_silent(here, elsewhere).await.contains("this machine alone"));
        });
    }

    #[test]
    fn no_more_addresses_are_remembered_than_that() {
        let (start, mut told) = (Instant::now(), HashMap::new());
        for port in 1..=3 * MOST as u16 {
            assert!(tells(&mut told, SocketAddr::from(([192, 0, 2, 7], port)), false, start));
            assert!(told.len() <= MOST);
        }
    }
}
