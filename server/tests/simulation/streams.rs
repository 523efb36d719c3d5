//! Streams that are watched, and streams that can be held up.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use crate::dice::fnv;
use crate::record::{Record, Valve, now};

/// The server's end of a connection: every byte goes into the trace.
pub(crate) struct Watched {
    pub(crate) stream: TcpStream,
    pub(crate) record: Rc<Record>,
    pub(crate) number: usize,
}

impl Watched {
    fn trace(&self, what: &str, bytes: &[u8]) {
        let (number, count, hash) = (self.number, bytes.len(), fnv(bytes));
        self.record.trace(now(), "server", format_args!("#{number} {what} {count} {hash:016x}"));
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
        this.trace(if read.is_ok() { "reads" } else { "cannot read" }, &buffer.filled()[before..]);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = &bytes[..bytes.len().min(this.record.segment.get())];
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes));
        match &written {
            Ok(count) => this.trace("writes", &bytes[..*count]),
            Err(_) => this.trace("cannot write", bytes),
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// A client's end of a connection: nothing is read while its valve is shut, and it can be cut off
/// whoever holds it.
#[derive(Clone)]
pub(crate) struct Valved {
    stream: Rc<RefCell<Option<TcpStream>>>,
    valve: Rc<Valve>,
    /// The most bytes of a write.
    segment: usize,
}

impl Valved {
    pub(crate) fn new(stream: TcpStream, valve: Rc<Valve>, segment: usize) -> Self {
        Valved { stream: Rc::new(RefCell::new(Some(stream))), valve, segment }
    }

    /// Closes the stream.
    pub(crate) fn cut(&self) {
        let stream = self.stream.take();
        drop(stream);
    }

    fn with<T>(
        &self,
        use_it: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.stream.borrow_mut() {
            Some(stream) => use_it(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncRead for Valved {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.valve.is_shut(context.waker()) {
            return Poll::Pending;
        }
        self.with(|stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Valved {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(self.segment)];
        self.with(|stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(context))
    }
}
