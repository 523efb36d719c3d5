//! The connections that there are, and the dials under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::{Dial, Outcome, Target};
use super::event::{Event, EventSender};
use super::link::{Code, Link};
use super::setup::{Options, Standing};
use super::{LinkError, PeerStats};
use crate::cluster::HostId;

/// The most connections of one host: two that dial each other, and those of its former lives.
const PER_HOST: usize = 8;

/// The most packets that wait for a dial.
const KEPT: usize = 16;

/// How many failed dials are kept before those are forgotten that may be made again.
const FAILED: usize = 1024;

/// What is known of the other hosts.
pub(super) struct Table {
    standing: Arc<Standing>,
    /// The connections of each host, the newest last; none has none.
    links: HashMap<HostId, Vec<Arc<Link>>>,
    /// How many all of them are.
    count: usize,
    dials: HashMap<Target, Dial>,
    /// The number of the next dial.
    next: u64,
    down: bool,
}

/// What there is to do for a connection.
pub(super) enum Next {
    /// It may be dialed.
    Dial,
    /// A dial is under way.
    Wait(watch::Receiver<Option<Outcome>>),
    /// A dial has failed, and there is none until then.
    Rest { until: Instant, error: LinkError },
    /// There are no more connections.
    Down,
}

/// Why a connection is not kept.
pub(super) struct Unkept(pub(super) Code, pub(super) String);

impl Table {
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        let (links, dials) = (HashMap::new(), HashMap::new());
        Table { standing, links, count: 0, dials, next: 0, down: false }
    }

    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Goes by another identity: what it does not take is closed, and what could not be dialed may be.
    pub(super) fn set_standing(&mut self, standing: Arc<Standing>) {
        for link in self.links.values().flatten() {
            if let Err(why) = standing.identity.judge(link.chain()) {
                link.close(Code::NotAHost, &why.to_string());
            }
        }
        self.dials.retain(|_, dial| matches!(dial, Dial::UnderWay { .. }));
        self.standing = standing;
    }

    /// All connections of a host.
    pub(super) fn links(&self, host: HostId) -> &[Arc<Link>] {
        self.links.get(&host).map_or(&[], Vec::as_slice)
    }

    /// The newest connection of a host that has not ended.
    pub(super) fn live(&self, host: HostId) -> Option<Arc<Link>> {
        self.links(host).iter().rev().find(|link| link.is_live()).cloned()
    }

    /// Keeps a connection that was made under `standing`. Who waits for one to that host has it.
    pub(super) fn admit(
        &mut self,
        link: Arc<Link>,
        standing: &Arc<Standing>,
        options: &Options,
        events: &EventSender,
    ) -> Result<(), Unkept> {
        if self.down {
            return Err(Unkept(Code::Ended, "the host has stopped".to_owned()));
        }
        // The identity has been set since.
        if !Arc::ptr_eq(standing, &self.standing) {
            let judged = self.standing.identity.judge(link.chain());
            judged.map_err(|why| Unkept(Code::NotAHost, why.to_string()))?;
        }
        if self.count >= options.links {
            return Err(Unkept(Code::TooMany, format!("{} connections", self.count)));
        }
        let host = link.host();
        let links = self.links.entry(host).or_default();
        if links.is_empty() {
            events.tell(Event::Connected(host, link.at()));
        }
        // Those of a former life end by that.
        links.iter().for_each(|older| older.ask());
        if links.len() >= PER_HOST {
            links[0].close(Code::TooMany, "too many connections of one host");
        }
        links.push(link.clone());
        self.count += 1;
        if let Some(Dial::UnderWay { outcome, packets, .. }) =
            self.dials.remove(&Target::Host(host))
        {
            for packet in packets {
                // One that cannot be sent is lost as it may be on the way.
                let _ = link.send(packet);
            }
            outcome.send_replace(Some(Ok(host)));
        }
        Ok(())
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&mut self, link: &Arc<Link>, why: &str, events: &EventSender) {
        let Some(links) = self.links.get_mut(&link.host()) else { return };
        let before = links.len();
        links.retain(|other| !Arc::ptr_eq(other, link));
        self.count -= before - links.len();
        if links.is_empty() {
            self.links.remove(&link.host());
            events.tell(Event::Closed(link.host(), why.to_owned()));
        }
    }

    /// What there is to do for a connection to `target`, which is at `at`.
    pub(super) fn next(&self, target: Target, at: SocketAddr) -> Next {
        if self.down {
            return Next::Down;
        }
        match self.dials.get(&target) {
            Some(Dial::UnderWay { outcome, .. }) => Next::Wait(outcome.subscribe()),
            // At another address it may be reached.
            Some(Dial::Failed { at: failed, until, error, .. })
                if *failed == at && *until > Instant::now() =>
            {
                Next::Rest { until: *until, error: error.clone() }
            }
            _ => Next::Dial,
        }
    }

    /// Keeps a packet for the dial that is under way, if few are: whether it does.
    pub(super) fn keep(&mut self, host: HostId, packet: Bytes) -> bool {
        match self.dials.get_mut(&Target::Host(host)) {
            Some(Dial::UnderWay { packets, .. }) if packets.len() < KEPT => {
                packets.push(packet);
                true
            }
            _ => false,
        }
    }

    /// Notes that a dial is under way: its number, and where its outcome is told.
    pub(super) fn begin(
        &mut self,
        target: Target,
        at: SocketAddr,
    ) -> (u64, watch::Receiver<Option<Outcome>>) {
        let number = self.next;
        self.next += 1;
        let failures = match self.dials.get(&target) {
            Some(Dial::Failed { at: failed, failures, .. }) if *failed == at => *failures,
            _ => 0,
        };
        let (outcome, told) = watch::channel(None);
        let dial = Dial::UnderWay { number, failures, outcome, packets: Vec::new() };
        self.dials.insert(target, dial);
        (number, told)
    }

    /// Notes how the dial with that number has ended.
    pub(super) fn end(
        &mut self,
        target: Target,
        at: SocketAddr,
        number: u64,
        ended: Outcome,
        options: &Options,
    ) {
        let own =
            |dial: &Dial| matches!(dial, Dial::UnderWay { number: own, .. } if *own == number);
        // A connection that came in meanwhile has ended it.
        if !self.dials.get(&target).is_some_and(own) {
            return;
        }
        let Some(Dial::UnderWay { failures, outcome, .. }) = self.dials.remove(&target) else {
            return;
        };
        if let Err(error) = &ended {
            if self.dials.len() >= FAILED {
                let now = Instant::now();
                self.dials.retain(|_, dial| !dial.is_over(now));
            }
            self.dials.insert(target, Dial::failed(at, failures + 1, error.clone(), options));
        }
        outcome.send_replace(Some(ended));
    }

    /// There are no more connections.
    pub(super) fn shut_down(&mut self) {
        self.down = true;
        self.dials.clear();
    }

    pub(super) fn peers(&self) -> Vec<PeerStats> {
        let stats = |(id, links): (&HostId, &Vec<Arc<Link>>)| {
            let newest = links.last()?;
            let (at, rtt) = (newest.at(), newest.connection().rtt());
            let mut stats = PeerStats { connections: links.len(), ..PeerStats::new(*id, at, rtt) };
            links.iter().for_each(|link| stats.add(&link.connection().stats()));
            Some(stats)
        };
        self.links.iter().filter_map(stats).collect()
    }
}

impl PeerStats {
    fn new(id: HostId, at: SocketAddr, rtt: std::time::Duration) -> Self {
        PeerStats {
            id,
            at,
            rtt,
            connections: 0,
            packets_sent: 0,
            bytes_sent: 0,
            packets_received: 0,
            bytes_received: 0,
            packets_lost: 0,
        }
    }

    fn add(&mut self, connection: &quinn::ConnectionStats) {
        self.packets_sent += connection.udp_tx.datagrams;
        self.bytes_sent += connection.udp_tx.bytes;
        self.packets_received += connection.udp_rx.datagrams;
        self.bytes_received += connection.udp_rx.bytes;
        self.packets_lost += connection.path.lost_packets;
    }
}
