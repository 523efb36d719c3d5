//! Hosts on the same network that say where they are, by multicast DNS (RFC 6762 and 6763).
//!
//! What is found is a hint: an address where a host of this cluster may be. Anybody on the network can say
//! anything; who it is, TLS decides when the address is met. What is said has a name of the cluster's own, by a
//! hash, so that clusters on one network do not meet for nothing.
//!
//! A host says where the others reach it, on those of its networks which that address belongs to.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mdns_sd::{
    DaemonEvent, Error, MDNS_PORT, Receiver, ResolvedService, ScopedIp, ServiceDaemon,
    ServiceEvent, ServiceInfo, TryRecvError,
};
use ring::digest::{SHA256, digest};
use tracing::{debug, warn};

use super::HostId;

/// The most hosts that are remembered: of more, the latest.
const MAX_FINDS: usize = 64;
/// The most addresses of one.
const MAX_ADDRESSES: usize = 4;

/// Says where this host is, and listens where others are, until it is dropped.
pub(crate) struct Lan {
    daemon: ServiceDaemon,
    service: String,
    heard: Mutex<Heard>,
}

/// What has come.
struct Heard {
    events: Receiver<ServiceEvent>,
    daemon: Receiver<DaemonEvent>,
    finds: Finds,
}

impl Lan {
    /// Says that the host with this id is at this address.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(cluster: &str, host: HostId, at: SocketAddr) -> Result<Self, Error> {
        Self::at_port(MDNS_PORT, cluster, host, at)
    }

    fn at_port(port: u16, cluster: &str, host: HostId, at: SocketAddr) -> Result<Self, Error> {
        let daemon = ServiceDaemon::new_with_port(port)?;
        let service = service_of(cluster);
        let lan = Lan {
            heard: Mutex::new(Heard {
                events: daemon.browse(&service)?,
                daemon: daemon.monitor()?,
                finds: Finds::default(),
            }),
            daemon,
            service,
        };
        lan.daemon.register(said(&lan.service, host, at)?)?;
        Ok(lan)
    }

    /// Where others have said that they are, this host among them.
    pub(crate) fn found(&self) -> Vec<SocketAddr> {
        let mut heard = self.heard();
        for event in heard.daemon.try_iter() {
            if let DaemonEvent::Error(error) = event {
                warn!(%error, "mdns");
            }
        }
        loop {
            match heard.events.try_recv() {
                Ok(event) => heard.finds.hear(event),
                Err(TryRecvError::Empty) => break,
                // More came than was taken.
                Err(TryRecvError::Disconnected) => {
                    match self.daemon.browse(&self.service) {
                        Ok(events) => heard.events = events,
                        Err(error) => warn!(%error, "mdns"),
                    }
                    break;
                }
            }
        }
        heard.finds.addresses().collect()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lan {
    /// The others are told.
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.daemon.shutdown();
    }
}

/// What the hosts of a cluster are called on the network: at most 15 characters, as RFC 6763 has it.
fn service_of(cluster: &str) -> String {
    let hash = digest(&SHA256, format!("killick mdns {cluster}").as_bytes());
    let digits = hash.as_ref()[..4].iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    format!("_killick-{}._udp.local.", &digits[..7])
}

/// What is said of a host.
fn said(service: &str, host: HostId, at: SocketAddr) -> Result<ServiceInfo, Error> {
    let name = host.to_string();
    let at_host = format!("{name}.local.");
    let mut said = ServiceInfo::new(service, &name, &at_host, at.ip(), at.port(), None)?;
    // Nobody else has a name with this id.
    said.set_requires_probe(false);
    Ok(said)
}

/// Who has said to be where, in the order in which that was heard.
#[derive(Default)]
struct Finds(VecDeque<(String, Vec<SocketAddr>)>);

impl Finds {
    fn hear(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(found) => {
                self.0.retain(|(name, _)| *name != found.fullname);
                let addresses = addresses_of(&found);
                debug!(name = found.fullname, ?addresses, "mdns: a host may be there");
                if addresses.is_empty() {
                    return;
                }
                if self.0.len() >= MAX_FINDS {
                    self.0.pop_front();
                }
                self.0.push_back((found.fullname, addresses));
            }
            ServiceEvent::ServiceRemoved(_, gone) => self.0.retain(|(name, _)| *name != gone),
            _ => {}
        }
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().flat_map(|(_, addresses)| addresses.iter().copied())
    }
}

/// The addresses in what somebody says that one host can have.
fn addresses_of(found: &ResolvedService) -> Vec<SocketAddr> {
    let one = |ip: &ScopedIp| match ip {
        ScopedIp::V6(ip) if ip.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*ip.addr(), found.port, 0, ip.scope_id().index).into()
        }
        ip => SocketAddr::new(ip.to_ip_addr(), found.port),
    };
    let may_be =
        |at: &SocketAddr| at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast();
    let mut all: Vec<_> = found.addresses.iter().map(one).filter(may_be).collect();
    all.sort_unstable();
    all.truncate(MAX_ADDRESSES);
    all
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::{Duration, Instant};

    use super::*;

    const ME: HostId = HostId::from_bytes([0xab; 16]);

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// What is heard where this is said.
    fn resolved(name: &str, ips: &str, port: u16) -> ServiceEvent {
        let service = service_of("c1");
        let info = ServiceInfo::new(&service, name, &format!("{name}.local."), ips, port, None);
        ServiceEvent::ServiceResolved(Box::new(info.expect("said").as_resolved_service()))
    }

    /// Whether packets for many come back on this machine; if they do not, says that `test` is skipped.
    pub(in crate::cluster) fn multicast_works(test: &str) -> bool {
        let group = Ipv4Addr::new(224, 0, 0, 251);
        let comes_back = || {
            let hears = UdpSocket::bind("0.0.0.0:0")?;
            hears.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
            hears.set_read_timeout(Some(Duration::from_secs(2)))?;
            let says = UdpSocket::bind("127.0.0.1:0")?;
            says.send_to(b"here", (group, hears.local_addr()?.port()))?;
            hears.recv(&mut [0; 8])
        };
        let works = comes_back();
        if let Err(error) = &works {
            println!("{test}: skipped: no multicast on loopback: {error}");
        }
        works.is_ok()
    }

    #[test]
    fn a_host_says_where_it_is_by_a_name_of_its_cluster_and_nothing_else() {
        let (one, other) = (service_of("c1"), service_of("c2"));
        assert_ne!(one, other);
        for service in [&one, &other] {
            let name = service.strip_suffix("._udp.local.").and_then(|name| name.strip_prefix('_'));
            let name = name.expect("a service's name");
            assert!(name.len() <= 15 && name.starts_with("killick-"), "{name}");
        }
        let said = said(&one, ME, address("192.0.2.7:7301")).expect("said");
        assert_eq!((said.get_type(), said.get_port()), (&*one, 7301));
        assert_eq!(said.get_hostname(), format!("{ME}.local."));
        assert_eq!(said.get_fullname(), format!("{ME}.{one}"));
        let ips: Vec<_> = said.get_addresses().iter().copied().collect();
        assert_eq!(ips, [address("192.0.2.7:0").ip()]);
        assert_eq!(said.get_properties().len(), 0);
    }

    #[test]
    fn of_what_others_say_only_addresses_are_taken_that_a_host_can_have_and_not_too_many() {
        let mut finds = Finds::default();
        let all = |finds: &Finds| finds.addresses().collect::<Vec<_>>();
        finds.hear(resolved("one", "192.0.2.7,2001:db8::7", 7300));
        assert_eq!(all(&finds), [address("192.0.2.7:7300"), address("[2001:db8::7]:7300")]);
        // The last word counts.
        finds.hear(resolved("one", "192.0.2.8", 7301));
        assert_eq!(all(&finds), [address("192.0.2.8:7301")]);
        finds.hear(resolved("one", "0.0.0.0,224.0.0.251,::", 7301));
        finds.hear(resolved("two", "192.0.2.9", 0));
        assert!(all(&finds).is_empty());

        let many: Vec<_> = (1..100).map(|last| format!("192.0.2.{last}")).collect();
        finds.hear(resolved("three", &many.join(","), 7300));
        assert_eq!(all(&finds).len(), MAX_ADDRESSES);
        for number in 0..1000 {
            let last = format!("198.51.100.{}", number % 250);
            finds.hear(resolved(&format!("host{number}"), &last, 7300));
        }
        assert_eq!(all(&finds).len(), MAX_FINDS);
        assert!(all(&finds).contains(&address("198.51.100.249:7300")), "the latest");
        let gone = format!("host999.{}", service_of("c1"));
        finds.hear(ServiceEvent::ServiceRemoved(service_of("c1"), gone));
        assert_eq!(all(&finds).len(), MAX_FINDS - 1);
    }

    #[test]
    fn those_of_one_cluster_hear_of_each_other_and_of_no_other_cluster() {
        let test = "those_of_one_cluster_hear_of_each_other_and_of_no_other_cluster";
        if !multicast_works(test) {
            return;
        }
        // Not where the machine's own hosts are.
        let port =
            UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
        let host = |number: u8, cluster| {
            let at = SocketAddr::from(([127, 0, 0, number], 7300));
            (
                at,
                Lan::at_port(port, cluster, HostId::from_bytes([number; 16]), at).expect("started"),
            )
        };
        let (one, other, foreign) = (host(1, "c1"), host(2, "c1"), host(3, "c2"));
        let start = Instant::now();
        let hears = |lan: &Lan, at| {
            while !lan.found().contains(&at) {
                assert!(start.elapsed() < Duration::from_secs(60), "{at} is not heard of");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        hears(&one.1, other.0);
        hears(&other.1, one.0);
        hears(&foreign.1, foreign.0);
        for ((_, lan), stranger) in [(&one, foreign.0), (&other, foreign.0), (&foreign, one.0)] {
            assert!(!lan.found().contains(&stranger));
        }
        // Who goes says so.
        drop(other.1);
        while one.1.found().contains(&other.0) {
            assert!(start.elapsed() < Duration::from_secs(60), "it has gone");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
