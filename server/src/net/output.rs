//! What waits to be written to a stream.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// How large memory for what is to be written may be that is kept for the next who writes, and how much of it
/// there may be in a thread.
const KEPT: (usize, usize) = (64 * 1024, 32);

thread_local! {
    /// Memory for what is to be written: a stream has some only while it writes.
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the memory of what was written for another stream.
fn keep(mut output: Vec<u8>) {
    let (bytes, count) = KEPT;
    output.clear();
    OUTPUTS.with_borrow_mut(|kept| {
        if output.capacity() <= bytes && kept.len() < count {
            kept.push(output);
        }
    });
}

/// Messages to be written, and how much of them has been.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Since when a write has been waiting for the stream.
    pub(super) blocked: Option<Instant>,
}

impl Output {
    /// Where messages are appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes = OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default();
        } else if self.written > self.waiting() {
            // There may always be something: what was written would be kept for ever.
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        &mut self.bytes
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was to be written is lost.
    pub(super) fn discard(&mut self) {
        self.bytes = Vec::new();
        self.written = 0;
    }

    /// Writes what there is, all of it.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let rest = &self.bytes[self.written..];
            let all = rest.is_empty();
            // What encrypts keeps some of it back until it is told that this was all.
            let step = match all {
                true => Pin::new(&mut *stream).poll_flush(cx).map_ok(|()| 0),
                false => Pin::new(&mut *stream).poll_write(cx, rest),
            };
            match step {
                Poll::Ready(Ok(0)) if !all => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked = self.blocked.or_else(|| Some(Instant::now()));
                    return Poll::Pending;
                }
            }
            self.blocked = None;
            if all {
                keep(std::mem::take(&mut self.bytes));
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes some bytes at a time.
    struct Slow {
        taken: Vec<u8>,
        room: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = self.room.min(bytes.len());
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_was_written_is_not_kept_though_there_is_always_more() {
        let mut stream = Slow { taken: Vec::new(), room: 0 };
        let mut output = Output::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut written = Vec::new();
        for round in 0..1000_u32 {
            let part = [round as u8; 1000];
            written.extend(part);
            output.bytes().extend(part);
            stream.room = 999;
            assert!(output.poll_flush(&mut stream, &mut cx).is_pending());
            assert!(output.bytes.capacity() < 20_000, "{}", output.bytes.capacity());
        }
        stream.room = usize::MAX;
        assert!(output.poll_flush(&mut stream, &mut cx).is_ready());
        assert!(stream.taken == written);
    }
}
