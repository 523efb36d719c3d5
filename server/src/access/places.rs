//! How many TLS handshakes are under way, and who has to go when another one comes.
//!
//! Those who have not shown yet that they may be here have [so many places](crate::Config::max_handshakes),
//! and may keep one for as long as a handshake may take. So that nobody keeps others out by taking them all,
//! whoever comes then gets a place nevertheless: the oldest of the network that has the most is cut off. Who
//! has a place in good faith needs it for some round trips. It is lost to those who hold more from elsewhere
//! only if they come from so many networks that none of them has more than one, and to those of the same
//! network only if all its places are taken anew within these round trips.
//!
//! A network is an address of IPv4, and of IPv6 what one customer is given at least: 64 bits.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::shared::Shared;

/// The handshakes under way. The lock is taken when one begins or ends.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// By number, in the order they came: the network, and what is dropped when the place is lost.
    taken: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    last: u64,
    /// How many have lost their place and are not gone yet.
    leaving: usize,
}

/// One in how many may have lost its place and not be gone yet, before nobody else gets one: what is open
/// has a bound however fast they come.
const LEAVING: usize = 4;

impl Places {
    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that can panic runs while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// A place for one from `network`, of `limit` places: its number, and what tells that it is lost.
    fn take(&mut self, network: IpAddr, limit: usize) -> Option<(u64, oneshot::Receiver<()>)> {
        while self.taken.len() >= limit {
            if self.leaving > limit / LEAVING {
                return None;
            }
            let loser = self.loser()?;
            self.taken.remove(&loser);
            self.leaving += 1;
        }
        let (lose, lost) = oneshot::channel();
        self.last += 1;
        self.taken.insert(self.last, (network, lose));
        Some((self.last, lost))
    }

    /// The oldest of those from the network that has the most. Looks at all places.
    fn loser(&self) -> Option<u64> {
        let mut counts = HashMap::<_, usize>::new();
        for (network, _) in self.taken.values() {
            *counts.entry(*network).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.taken.iter().find(|(_, (network, _))| counts[network] == *most).map(|(id, _)| *id)
    }
}

/// What counts as one among those who come: an address, or a network of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// A place among the handshakes that are under way.
pub(crate) struct Place {
    shared: Arc<Shared>,
    id: u64,
    lost: oneshot::Receiver<()>,
}

impl Place {
    /// Takes a place for one who comes from `address`, if need be from another; none if it is not to be had.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let limit = shared.config().handshakes();
        let (id, lost) = shared.handshakes.table().take(network(address), limit)?;
        Some(Place { shared: shared.clone(), id, lost })
    }

    /// Resolves when another one has got the place.
    pub(crate) async fn lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shared.handshakes.table();
        if table.taken.remove(&self.id).is_none() {
            table.leaving -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_oldest_of_the_network_with_the_most_places_is_lost() {
        let (many, few) = (address("10.0.0.1"), address("10.0.0.2"));
        let mut table = Table::default();
        for network in [few, many, few, many, many] {
            table.take(network, 5).expect("a place");
        }
        // Two and three; then three and two, and then as many.
        for (lost, network) in [(2, few), (1, few), (3, many)] {
            let before: Vec<_> = table.taken.keys().copied().collect();
            table.leaving = 0;
            table.take(network, 5).expect("a place");
            let gone: Vec<_> =
                before.into_iter().filter(|id| !table.taken.contains_key(id)).collect();
            assert_eq!(gone, [lost]);
        }
    }

    #[test]
    fn nobody_gets_a_place_while_too_many_have_lost_theirs_and_are_not_gone() {
        let mut table = Table::default();
        let mut taken = (0..100).filter(|_| table.take(address("::1"), 8).is_some());
        assert_eq!(taken.by_ref().count(), 8 + 8 / LEAVING + 1);
        assert_eq!(table.taken.len(), 8);
        assert!(Table::default().take(address("::1"), 0).is_none());
    }

    #[test]
    fn addresses_of_one_customer_are_one_network() {
        assert_eq!(network(address("2001:db8:1:2:3::4")), network(address("2001:db8:1:2::")));
        assert_ne!(network(address("2001:db8:1:2::")), network(address("2001:db8:1:3::")));
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_ne!(network(address("10.0.0.1")), network(address("10.0.0.2")));
    }
}
