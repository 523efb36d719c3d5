//! One connection to a host.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Bytes;
use quinn::{Connection, ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::error::reason;
use super::{Inner, MAX_PACKET, stream};
use crate::cluster::HostId;

/// Why this side closes a connection or breaks off a stream.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Code {
    /// It is not needed any more.
    Ended = 0,
    /// The other side is no host, or not taken for one any more.
    NotAHost = 1,
    /// There are too many.
    TooMany = 2,
    /// The other side does not speak as it should.
    Unknown = 3,
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        VarInt::from_u32(code as u32)
    }
}

/// A connection to a host, after both sides have taken each other for one.
pub(super) struct Link {
    connection: Connection,
    host: HostId,
    /// What the other side has shown.
    chain: Vec<CertificateDer<'static>>,
    /// Why this side has closed it.
    closed: OnceLock<String>,
    /// How many streams for RPC there are.
    rpcs: AtomicUsize,
    first_rpc: Notify,
}

/// A stream for RPC.
pub(super) struct Rpc(Arc<Link>);

impl Drop for Rpc {
    fn drop(&mut self) {
        // Relaxed: a count, which publishes nothing.
        self.0.rpcs.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn new(
        connection: Connection,
        host: HostId,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        let (closed, rpcs, first_rpc) = (OnceLock::new(), AtomicUsize::new(0), Notify::new());
        Link { connection, host, chain, closed, rpcs, first_rpc }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn host(&self) -> HostId {
        self.host
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn is_live(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Where the other side is.
    pub(super) fn at(&self) -> SocketAddr {
        let at = self.connection.remote_address();
        SocketAddr::new(at.ip().to_canonical(), at.port())
    }

    /// Sends a packet: whether it could be.
    pub(super) fn send(&self, packet: Bytes) -> bool {
        self.connection.send_datagram(packet).is_ok()
    }

    /// Sends what the other side has to acknowledge, or to reset.
    pub(super) fn ask(&self) {
        self.send(Bytes::new());
    }

    /// Ends the connection if nothing comes over it for so long, though it is asked for.
    pub(super) async fn check(self: Arc<Self>, limit: Duration) {
        let received = || self.connection.stats().udp_rx.datagrams;
        let before = received();
        self.ask();
        sleep(limit).await;
        if received() == before {
            self.close(Code::Ended, &format!("nothing has come over it for {limit:?}"));
        }
    }

    pub(super) fn close(&self, code: Code, why: &str) {
        let _ = self.closed.set(why.to_owned());
        self.connection.close(code.into(), why.as_bytes());
    }

    /// One more stream for RPC.
    pub(super) fn carry_rpc(self: &Arc<Self>) -> Rpc {
        if self.rpcs.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_rpc.notify_one();
        }
        Rpc(self.clone())
    }

    /// Keeps the connection alive while it carries RPC.
    async fn keep_alive(&self, every: Duration) -> Infallible {
        loop {
            self.first_rpc.notified().await;
            while self.rpcs.load(Ordering::Relaxed) > 0 {
                sleep(every).await;
                self.ask();
            }
        }
    }

    /// Ends the connection if nothing has come over it for `limit` and more while something went.
    async fn end_if_silent(&self, limit: Duration) -> Infallible {
        let gone = || {
            let stats = self.connection.stats();
            (stats.udp_rx.datagrams, stats.udp_tx.datagrams)
        };
        let (mut last, mut heard) = (gone(), Instant::now());
        loop {
            sleep(limit / 4).await;
            let now = gone();
            if now.0 != last.0 || now.1 == last.1 {
                (last, heard) = (now, Instant::now());
            } else if heard.elapsed() >= limit {
                self.close(Code::Ended, &format!("nothing has come over it for {limit:?}"));
            }
        }
    }

    /// Why it has ended.
    pub(super) fn reason(&self, error: &ConnectionError) -> String {
        match (error, self.closed.get()) {
            (ConnectionError::LocallyClosed, Some(why)) => why.clone(),
            _ => reason(error),
        }
    }
}

/// Takes what comes over a connection, to its end.
pub(super) async fn attend(inner: Arc<Inner>, link: Arc<Link>) {
    let error = tokio::select! {
        error = take_packets(&inner, &link) => error,
        error = take_streams(&inner, &link) => error,
        never = link.keep_alive(inner.options.keepalive) => match never {},
        never = link.end_if_silent(inner.options.silence) => match never {},
    };
    inner.table().remove(&link, &link.reason(&error), &inner.events);
}

async fn take_packets(inner: &Inner, link: &Link) -> ConnectionError {
    loop {
        let packet = match link.connection.read_datagram().await {
            Ok(packet) => packet,
            Err(error) => return error,
        };
        // An empty one only asks whether this side is there.
        if packet.is_empty() {
            continue;
        }
        let fits = packet.len() <= MAX_PACKET;
        if !fits || !inner.events.packet(link.host, link.at(), packet) {
            inner.count_dropped();
        }
    }
}

async fn take_streams(inner: &Arc<Inner>, link: &Arc<Link>) -> ConnectionError {
    loop {
        match link.connection.accept_bi().await {
            // Each has its own task: one that says nothing does not hold up the others.
            Ok((send, receive)) => {
                tokio::spawn(stream::begin(inner.clone(), link.clone(), send, receive));
            }
            Err(error) => return error,
        }
    }
}
