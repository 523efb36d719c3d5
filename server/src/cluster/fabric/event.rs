//! What happens in a fabric.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::stream::{HostStream, Service};
use crate::cluster::HostId;

/// The most packets that wait to be taken: about 10 MB.
const WAITING: usize = 8192;

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A packet of a host, which is at that address.
    Packet(HostId, SocketAddr, Bytes),
    /// A host has opened a stream.
    Stream(HostId, Service, HostStream),
    /// There is a connection to a host that there was none to.
    Connected(HostId, SocketAddr),
    /// The last connection to a host has gone, and why.
    Closed(HostId, String),
}

/// What happens, in turn. What is not taken waits: packets up to a limit, streams up to that of each connection.
pub(crate) struct Events {
    receiver: UnboundedReceiver<Event>,
    packets: Arc<AtomicUsize>,
}

pub(super) struct EventSender {
    sender: UnboundedSender<Event>,
    packets: Arc<AtomicUsize>,
}

pub(super) fn channel() -> (EventSender, Events) {
    let (sender, receiver) = unbounded_channel();
    let packets = Arc::new(AtomicUsize::new(0));
    (EventSender { sender, packets: packets.clone() }, Events { receiver, packets })
}

impl Events {
    /// The next; none after the fabric has gone.
    pub(crate) async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        if let Some(Event::Packet(..)) = event {
            // Relaxed: a count, which publishes nothing.
            self.packets.fetch_sub(1, Ordering::Relaxed);
        }
        event
    }
}

impl EventSender {
    /// Tells of a packet, if not too many wait: whether it does.
    pub(super) fn packet(&self, from: HostId, at: SocketAddr, packet: Bytes) -> bool {
        // Relaxed: a bound that may be passed by as many as there are threads.
        if self.packets.load(Ordering::Relaxed) >= WAITING {
            return false;
        }
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.sender.send(Event::Packet(from, at, packet)).is_ok()
    }

    /// Tells of anything else. Nobody may be there to take it any more.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.sender.send(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
