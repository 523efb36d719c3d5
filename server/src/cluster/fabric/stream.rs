//! A stream between two hosts, and what it is for.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::Inner;
use super::error::LinkError;
use super::event::Event;
use super::link::{Code, Link, Rpc};

/// What a stream is for: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Service {
    /// What the members know of each other.
    Sync = 1,
    /// Calls.
    Rpc = 2,
    /// Asks the other side, whose part that is, for a stream of calls.
    Ring = 3,
    /// Much data, beside a stream of calls: which one, in eight bytes more.
    Bulk = 4,
}

impl Service {
    fn from_byte(byte: u8) -> Option<Self> {
        [Service::Sync, Service::Rpc, Service::Ring, Service::Bulk]
            .into_iter()
            .find(|service| *service as u8 == byte)
    }
}

/// A stream of bytes in both directions. Reading comes to an end when the other side has shut down its writing; what
/// was written before [`shutdown`](tokio::io::AsyncWriteExt::shutdown) arrives, and dropping the stream without
/// it breaks it off.
pub(crate) struct HostStream {
    send: SendStream,
    receive: RecvStream,
    finished: bool,
    link: Arc<Link>,
    /// The stream of calls that this is, or is beside.
    calls: u64,
    /// While there is one, the connection is kept alive.
    _rpc: Option<Rpc>,
}

/// Of what goes over the same connection, small things go before much data.
const BEHIND: i32 = -1;

impl HostStream {
    fn new(link: &Arc<Link>, service: Service, send: SendStream, receive: RecvStream) -> Self {
        let rpc = (service == Service::Rpc).then(|| link.carry_rpc());
        let calls = u64::from(send.id());
        HostStream { send, receive, finished: false, link: link.clone(), calls, _rpc: rpc }
    }

    /// The same, for much data beside a stream of calls.
    fn beside(mut self, calls: u64) -> Self {
        // An error says that it is at its end already.
        let _ = self.send.set_priority(BEHIND);
        self.calls = calls;
        self
    }

    /// Whether one of the two is beside the other.
    pub(crate) fn belongs_to(&self, other: &HostStream) -> bool {
        Arc::ptr_eq(&self.link, &other.link) && self.calls == other.calls
    }
}

impl Drop for HostStream {
    fn drop(&mut self) {
        if !self.finished {
            // An error says that it is at its end already.
            let _ = self.send.reset(Code::Ended.into());
        }
    }
}

impl fmt::Debug for HostStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostStream").field(&self.send.id()).finish()
    }
}

impl AsyncRead for HostStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buffer);
        read.map_err(|error| told(error, &self.link))
    }
}

impl AsyncWrite for HostStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes);
        written.map_err(|error| told(error, &self.link))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

/// With why the connection has ended, if that is what an error says.
fn told(error: io::Error, link: &Link) -> io::Error {
    let inner = error.get_ref();
    let read = inner.and_then(|inner| inner.downcast_ref::<ReadError>());
    let write = inner.and_then(|inner| inner.downcast_ref::<WriteError>());
    match (read, write) {
        (Some(ReadError::ConnectionLost(why)), _) | (_, Some(WriteError::ConnectionLost(why))) => {
            LinkError::Lost { reason: link.reason(why) }.into()
        }
        _ => error,
    }
}

/// Opens a stream for a service.
pub(super) async fn open(link: &Arc<Link>, service: Service) -> Result<HostStream, LinkError> {
    let opened = link.connection().open_bi().await;
    let (send, receive) =
        opened.map_err(|error| LinkError::Lost { reason: link.reason(&error) })?;
    let mut stream = HostStream::new(link, service, send, receive);
    // Without it the other side does not know of the stream.
    let written = stream.send.write_all(&[service as u8]).await;
    written.map_err(|error| LinkError::Lost { reason: error.to_string() })?;
    Ok(stream)
}

/// Opens a stream for much data beside one for calls.
pub(super) async fn open_beside(calls: &HostStream) -> Result<HostStream, LinkError> {
    let mut stream = open(&calls.link, Service::Bulk).await?.beside(calls.calls);
    let written = stream.send.write_all(&calls.calls.to_be_bytes()).await;
    written.map_err(|error| LinkError::Lost { reason: error.to_string() })?;
    Ok(stream)
}

/// What a stream is for, and which one it is beside if it says so.
async fn first_words(receive: &mut RecvStream) -> Option<(Service, Option<u64>)> {
    let mut first = [0];
    receive.read_exact(&mut first).await.ok()?;
    let service = Service::from_byte(first[0])?;
    if service != Service::Bulk {
        return Some((service, None));
    }
    let mut calls = [0; 8];
    receive.read_exact(&mut calls).await.ok()?;
    Some((service, Some(u64::from_be_bytes(calls))))
}

/// Tells of a stream that the other side has opened, as soon as it says what for.
pub(super) async fn begin(
    inner: Arc<Inner>,
    link: Arc<Link>,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let said = timeout(inner.options.dial, first_words(&mut receive)).await;
    match said.ok().flatten() {
        Some((service, beside)) => {
            let stream = HostStream::new(&link, service, send, receive);
            let stream = match beside {
                Some(calls) => stream.beside(calls),
                None => stream,
            };
            inner.events.tell(Event::Stream(link.host(), service, stream));
        }
        None => {
            let _ = send.reset(Code::Unknown.into());
            let _ = receive.stop(Code::Unknown.into());
        }
    }
}
