//! The lane of large messages between two hosts: a second stream, so that they do not hold up small ones.
//!
//! A message of more than [`LARGE`] bytes goes over the lane, if its kind may be overtaken ([`order`](super::order)), and
//! so does what has to follow it. The main stream has a [`Mark`] in its place. Each side has its messages in
//! the order of their stream:
//! - one of the lane not before its mark has come, and so after all that was sent before it;
//! - one of the main stream after [`Mark::Await`] not before all of the lane that were sent before it.
//!
//! Who has taken a message of the lane says so ([`Mark::Taken`]): from then on there is nothing to overtake.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Frame, Frames, Mark, Segments};
use super::order::{Order, Way};
use super::output::Output;

/// A message of more bytes is large.
pub(super) const LARGE: usize = 64 * 1024;

/// What waits for the lane holds up others by this part of it: a large message alone holds up nobody.
const SHARE: usize = 64;

/// A stream to another host.
pub(crate) trait HostStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> HostStream for S {}

pub(super) struct Lane {
    stream: Box<dyn HostStream>,
    input: Frames,
    pub(super) output: Output,
    order: Order,
    /// How many messages have their mark, and were not taken.
    due: usize,
    /// The main stream waits for them.
    awaited: bool,
    /// Since when nothing has come of a message that is waited for.
    pub(super) partial: Option<Instant>,
}

impl Lane {
    /// A lane for messages of up to `max_words` words.
    pub(super) fn new(stream: Box<dyn HostStream>, max_words: usize) -> Self {
        Lane {
            stream,
            input: Frames::new(max_words),
            output: Output::default(),
            order: Order::default(),
            due: 0,
            awaited: false,
            partial: None,
        }
    }

    /// Writes a message, or its mark, to what waits for the main stream.
    pub(super) fn send(&mut self, main: &mut Vec<u8>, message: &Builder<HeapAllocator>) {
        let large = message.size_in_words().saturating_mul(8) > LARGE;
        let root = message.get_root_as_reader::<message::Reader<'_>>();
        let to = match self.order.way(root, large) {
            Way::Lane => {
                main.extend(Mark::Due.bytes());
                self.output.bytes()
            }
            Way::Behind => {
                main.extend(Mark::Await.bytes());
                main
            }
            Way::Ahead => main,
        };
        // A vector takes whatever is written.
        let _: Result<(), capnp::Error> = capnp::serialize::write_message(to, message);
    }

    /// A message has come in, over either stream.
    pub(super) fn received(&mut self, message: message::Reader<'_>) {
        self.order.received(message);
    }

    /// A mark has come in.
    pub(super) fn marked(&mut self, mark: Mark) -> io::Result<()> {
        match mark {
            Mark::Due => self.due += 1,
            Mark::Await => self.awaited = true,
            Mark::Taken => return self.order.taken(),
        }
        Ok(())
    }

    /// The next message, if it has come and may be taken. Who takes it says so with [`Mark::Taken`].
    pub(super) fn next(&mut self) -> Option<Segments> {
        if self.due == 0 {
            return None;
        }
        let Some(Frame::Message(message)) = self.input.next() else { return None };
        self.due -= 1;
        Some(message)
    }

    /// Whether there is one.
    pub(super) fn has_next(&self) -> bool {
        self.due > 0 && self.input.has_next()
    }

    /// Whether nothing of the main stream may be taken.
    pub(super) fn holds(&mut self) -> bool {
        self.awaited &= self.due > 0;
        self.awaited
    }

    /// Whether messages are to come that have their mark.
    pub(super) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// Reads a part of a message that is due, if it is not there: how many bytes. What is not due may wait where it
    /// is: nobody looks for it as long as there is nothing large.
    ///
    /// # Errors
    /// The stream has failed, or ended.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.due == 0 || self.input.has_next() {
            return Poll::Pending;
        }
        let ended = |why: &dyn std::fmt::Display| {
            let words = "the stream of large messages has ended before one was there";
            io::Error::other(format!("{words}: {why}"))
        };
        let mut chunk = ReadBuf::new(chunk);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk));
        read.map_err(|error| ended(&error))?;
        let bytes = chunk.filled();
        if bytes.is_empty() {
            return Poll::Ready(Err(ended(&"the other host has closed it")));
        }
        self.input.take(bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Writes what there is, all of it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.output.is_empty() {
            true => Poll::Ready(Ok(())),
            false => self.output.poll_flush(&mut self.stream, cx),
        }
    }

    /// How much what waits to be written counts for those who wait for that.
    pub(super) fn weight(&self) -> usize {
        self.output.waiting() / SHARE
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::access::Who;
    use crate::net::{Gate, Stream, Streams, gate};
    use crate::stats::Stats;

    /// One side of a connection to a host, which takes what the other one writes: over the main stream, and over
    /// the lane.
    struct Ends {
        _gate: Gate<DuplexStream>,
        stream: Stream<DuplexStream>,
        main: DuplexStream,
        lane: DuplexStream,
    }

    /// A message whose words are its number.
    fn message(number: u8) -> Vec<u8> {
        let words = 2 + number;
        let table = [0, 0, 0, 0, words, 0, 0, 0];
        [&table[..], &vec![number; 8 * usize::from(words)]].concat()
    }

    impl Ends {
        fn new() -> Self {
            let ((main, ours), (lane, large)) = (duplex(1 << 16), duplex(1 << 20));
            let streams = Streams { main: ours, lane: Some(Box::new(large)) };
            let stats = Arc::new(Stats::new(1, ("test".into(), Who::Local), 0));
            let (_gate, stream) = gate(streams, 1 << 16, 1 << 20, stats);
            Ends { _gate, stream, main, lane }
        }

        /// The numbers of the messages that may be taken.
        async fn taken(&self) -> io::Result<Vec<u8>> {
            let mut numbers = Vec::new();
            let take = |cx: &mut Context<'_>| {
                while let Poll::Ready(message) = self.stream.poll_message(cx)? {
                    let Some(message) = message else { break };
                    numbers.push((message.bytes() / 8 - 2) as u8);
                }
                Poll::Ready(Ok(()))
            };
            poll_fn(take).await.map(|()| numbers)
        }
    }

    #[tokio::test]
    async fn messages_are_taken_in_the_order_that_their_marks_say() {
        let mut ends = Ends::new();
        let main = [
            &message(1)[..],
            &Mark::Due.bytes(),
            &message(2),
            &Mark::Due.bytes(),
            &Mark::Await.bytes(),
            &message(3),
            &message(4),
        ];
        ends.lane.write_all(&message(10)).await.expect("written");
        assert!(ends.taken().await.expect("nothing").is_empty());
        ends.main.write_all(&main[..1].concat()).await.expect("written");
        assert_eq!(ends.taken().await.expect("one"), [1]);
        ends.main.write_all(&main[1..].concat()).await.expect("written");
        assert_eq!(ends.taken().await.expect("two"), [2, 10]);
        let (begin, end) = (&message(11)[..9], &message(11)[9..]);
        ends.lane.write_all(begin).await.expect("written");
        assert!(ends.taken().await.expect("nothing").is_empty());
        ends.lane.write_all(end).await.expect("written");
        assert_eq!(ends.taken().await.expect("three"), [11, 3, 4]);
    }

    #[tokio::test]
    async fn what_has_come_over_the_main_stream_does_not_wait_for_what_comes_over_the_lane() {
        let mut ends = Ends::new();
        ends.main.write_all(&Mark::Due.bytes()).await.expect("written");
        assert!(ends.taken().await.expect("nothing").is_empty());
        // More than is read in one turn, and not all of it.
        let part = [&[0, 0, 0, 0, 0, 0xf0, 0, 0][..], &vec![0; 400_000]].concat();
        ends.lane.write_all(&part).await.expect("room");
        ends.main.write_all(&message(1)).await.expect("written");
        let first = poll_fn(|cx| Poll::Ready(ends.stream.poll_message(cx))).await;
        assert!(matches!(first, Poll::Ready(Ok(Some(_)))), "not before all of a turn");
    }

    #[tokio::test]
    async fn a_lane_that_ends_before_a_message_came_is_the_end_of_the_connection() {
        let Ends { _gate, stream, mut main, lane } = Ends::new();
        drop(lane);
        let ends = Ends { _gate, stream, main: duplex(1).0, lane: duplex(1).0 };
        main.write_all(&message(1)).await.expect("written");
        assert_eq!(ends.taken().await.expect("it takes none"), [1]);
        main.write_all(&Mark::Due.bytes()).await.expect("written");
        let error = ends.taken().await.expect_err("it does not come");
        assert!(error.to_string().contains("stream of large messages"), "{error}");
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_taken() {
        let mut ends = Ends::new();
        ends.main.write_all(&Mark::Due.bytes()).await.expect("written");
        ends.main.shutdown().await.expect("ended");
        assert!(ends.taken().await.expect("nothing").is_empty());
        ends.lane.write_all(&message(10)).await.expect("written");
        assert_eq!(ends.taken().await.expect("one"), [10]);
        let end = poll_fn(|cx| ends.stream.poll_message(cx)).await.expect("the end");
        assert!(end.is_none());
    }
}
