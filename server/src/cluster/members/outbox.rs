//! What foca wants done, until it is.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use foca::{Notification, OwnedNotification, Runtime, Timer};
use tokio_util::bytes::Bytes;

use super::codec::incarnation_in;
use super::timers::{Job, Timers};
use super::{Counts, HostId, Identity};

/// A packet for another host.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: HostId,
    pub(crate) at: SocketAddr,
    pub(crate) packet: Bytes,
}

/// What foca wants done.
pub(crate) struct Outbox {
    me: HostId,
    /// The time that timers go by.
    pub(crate) now: Duration,
    pub(crate) timers: Timers,
    pub(crate) packets: VecDeque<Outgoing>,
    pub(crate) notes: VecDeque<OwnedNotification<Identity>>,
    /// A suspicion was raised since this was last unset.
    pub(crate) suspected: bool,
    /// How often this host has refuted suspicions, as this identity.
    pub(crate) incarnation: u16,
    pub(crate) counts: Counts,
}

impl Outbox {
    pub(crate) fn new(me: HostId) -> Self {
        Outbox {
            me,
            now: Duration::ZERO,
            timers: Timers::default(),
            packets: VecDeque::new(),
            notes: VecDeque::new(),
            suspected: false,
            incarnation: 0,
            counts: Counts::default(),
        }
    }

    pub(crate) fn after(&mut self, pause: Duration, job: Job) {
        self.timers.add(self.now + pause, job);
    }
}

impl Runtime<Identity> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.notes.push_back(notification.to_owned());
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        if let Some(incarnation) = incarnation_in(data)
            && incarnation > self.incarnation
        {
            self.incarnation = incarnation;
            self.counts.refutations += 1;
        }
        if to.host == self.me {
            return;
        }
        self.counts.packets_out += 1;
        self.counts.bytes_out += data.len() as u64;
        let packet = Bytes::copy_from_slice(data);
        self.packets.push_back(Outgoing { to: to.host, at: to.at, packet });
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        if matches!(event, Timer::ChangeSuspectToDown { .. }) {
            self.suspected = true;
            self.counts.probes_failed += 1;
        }
        self.after(after, Job::Foca(event));
    }
}
