//! How often, how long, how many: the numbers of membership.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

use super::codec::MAX_PACKET;

/// The numbers of membership. [`Params::default`] finds a killed host within 4 s among 3 and within 8 s among
/// 1,000; `tests/` holds it to that.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    /// A host asks one other in each such time whether it is there: in a random sequence, so that each is
    /// asked once in a round.
    pub(crate) probe: Duration,
    /// How long the answer may take until others are asked to try.
    pub(crate) answer: Duration,
    /// How many others.
    pub(crate) indirect: NonZeroUsize,
    /// How long a host that did not answer has to contradict, among up to 100 hosts: half as long again with
    /// each ten times as many, as news takes longer.
    pub(crate) suspicion: Duration,
    /// News is passed on so often,
    pub(crate) gossip: Duration,
    /// to so many.
    pub(crate) gossip_to: NonZeroUsize,
    /// Each of up to 4 hosts tries one that it takes for dead so often; the more there are, the less often each:
    /// so that what was cut apart finds itself again, at the same cost for any size.
    pub(crate) reconnect: Duration,
    /// How often all that is known is compared with a random host. A quarter more or less.
    pub(crate) sync: Duration,
    /// How long a record that a host has told of may be missing until it is asked for; then twice as long each
    /// time, up to [`Params::pull_at_most`].
    pub(crate) pull: Duration,
    pub(crate) pull_at_most: Duration,
    /// How long those that left or failed are remembered.
    pub(crate) remember: Duration,
    /// How long others are told of them when all that is known is compared. Shorter than `remember`: what
    /// some have forgotten must not come back.
    pub(crate) tell: Duration,
    /// How far in the future, by the clock here, a host may say that it was started.
    pub(crate) skew: Duration,
    /// More hosts are not taken in, the dead that are remembered included.
    pub(crate) max_hosts: usize,
    /// A host that is told that it is dead comes back at most so often.
    pub(crate) renew: Duration,
    /// The first pause between two rounds of asking the seeds; then twice as long each time,
    pub(crate) seek: Duration,
    /// up to this.
    pub(crate) seek_at_most: Duration,
    /// How often a host that is not alone looks for seeds that it does not know.
    pub(crate) seek_again: Duration,
    /// How long asking who is at an address, or comparing what is known, may take.
    pub(crate) patience: Duration,
}

impl Default for Params {
    fn default() -> Self {
        let few = NonZeroUsize::new(3).expect("is not zero");
        Params {
            probe: Duration::from_millis(400),
            answer: Duration::from_millis(150),
            indirect: few,
            suspicion: Duration::from_secs(2),
            gossip: Duration::from_millis(200),
            gossip_to: few,
            reconnect: Duration::from_millis(1_500),
            sync: Duration::from_secs(30),
            pull: Duration::from_millis(300),
            pull_at_most: Duration::from_secs(10),
            remember: Duration::from_secs(60 * 60),
            tell: Duration::from_secs(5 * 60),
            skew: Duration::from_secs(10 * 60),
            max_hosts: 10_000,
            renew: Duration::from_millis(100),
            seek: Duration::from_millis(200),
            seek_at_most: Duration::from_secs(5),
            seek_again: Duration::from_secs(60),
            patience: Duration::from_secs(5),
        }
    }
}

impl Params {
    /// How long a host may stand still until that does not count as time: others could not be heard in it.
    pub(crate) fn stall(&self) -> Duration {
        self.probe
    }

    /// How likely each of so many hosts that are up tries, when it may, to reach one that is taken for dead.
    pub(crate) fn reconnect_among(&self, hosts: usize) -> f64 {
        (4.0 / hosts as f64).min(1.0)
    }

    /// What foca goes by, with so many hosts up.
    pub(crate) fn config(&self, hosts: usize) -> Config {
        let hosts = hosts.max(1) as f64;
        // Of news that each passes on `k` times to random others, a share of e^-k hears nothing: with ln N + 8
        // that is one host, of one in 3,000 news. Those hear it when what is known is compared.
        let sent = (hosts.ln() + 8.0).clamp(8.0, 255.0) as u8;
        Config {
            probe_period: self.probe,
            probe_rtt: self.answer,
            num_indirect_probes: self.indirect,
            max_transmissions: NonZeroU8::new(sent).expect("is at least 8"),
            suspect_to_down_after: self.suspicion.mul_f64((hosts.log10() / 2.0).max(1.0)),
            remove_down_after: Some(self.remember),
            max_packet_size: NonZeroUsize::new(MAX_PACKET).expect("is not zero"),
            notify_down_members: true,
            // What is known is compared in whole, and those that are down are tried, by `Core`'s own timers:
            // foca's stop when nobody is up.
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: self.gossip,
                num_members: self.gossip_to,
            }),
        }
    }
}
