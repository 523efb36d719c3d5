//! A channel: values go in at one side and come out at the other, each to one receiver, in their order.
//!
//! It knows nothing of the wire, of threads or of a runtime: sending and receiving are futures, which
//! may be polled on any thread.
//!
//! # How it works
//! ```text
//!                accepted: send has returned      not accepted: send waits
//!  receivers ◀── │ buffer: `capacity` at most │ ◀── │ senders, each with its value │
//! ```
//! - **I1** Nothing is handed to a receiver: it takes the first value itself, when it is polled. So a
//!   receive that is given up before has taken nothing.
//! - **I2** While the channel is open and a sender waits, the buffer is full. Who takes from the buffer
//!   moves the value that has waited longest into it. Without a buffer that value itself is taken.
//! - **I3** A sender that finds its value no more among those that wait has sent it. A send that is given
//!   up takes its value out of these, and nobody has seen it.
//! - **I4** With each value that comes, one receiver that waits is told. One that was told and is given up
//!   before it has looked tells the next.
//! - **I5** Under the lock no value is copied or dropped and nobody is woken: both may lead back here.
//!
//! # How it ends
//! | | senders that wait | later ones | what is in the buffer | receivers |
//! |---|---|---|---|---|
//! | it is closed, or its last sender goes | fail | fail | is received | learn of the end after that |
//! | its last receiver goes | fail | fail | is dropped | – |
//!
//! Who waits is woken, looks, and finds out. A value that was not accepted goes back to its sender.
//!
//! # Values that hold channels
//! With a buffer the last receiver of another channel may be dropped, with its buffer that of a third, and
//! so on: that is done in a loop, however long it is (`flat`). The last receivers of a channel may lie in its
//! own buffer, or in that of another whose last receivers lie in its own: nobody can reach it, and it is
//! ended by whoever collects such channels (`collect`).

mod collect;
mod flat;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

pub(crate) use collect::{Keeps, collect};
use state::{Found, State};

/// A channel, without the right to either side.
pub(crate) struct Channel<T>(Mutex<State<T>>);

/// The right to send: the channel closes when it is dropped.
pub(crate) struct SendSide<T>(Arc<Channel<T>>);

/// The right to receive: sends fail when it is dropped, and what is in the buffer is.
pub(crate) struct RecvSide<T: 'static>(Arc<Channel<T>>);

/// Why a value was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The channel is closed.
    Closed,
    /// There is no receiver any more.
    NoReceivers,
    /// It would have to wait, and was not to.
    Full,
}

/// A value that was not sent, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SendError<T> {
    pub(crate) value: T,
    pub(crate) refusal: Refusal,
}

/// There is nothing to receive, and never will be: the channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// The channel was closed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyClosed;

/// A channel, and its two sides, of which each clone is one more sender or receiver.
type Made<T> = (Arc<Channel<T>>, Arc<SendSide<T>>, Arc<RecvSide<T>>);

/// A channel that holds as many values, with one sender and one receiver.
pub(crate) fn channel<T>(capacity: usize) -> Made<T> {
    let channel = Arc::new(Channel(Mutex::new(State::new(capacity))));
    let (sends, receives) = (SendSide(channel.clone()), RecvSide(channel.clone()));
    (channel, Arc::new(sends), Arc::new(receives))
}

fn wake(who: Option<Waker>) {
    who.into_iter().for_each(Waker::wake);
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs while it is locked, but what `take` is asked to judge by.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many values are in the buffer. Without one, one that [`SendSide::try_send`] has left for a receiver
    /// counts until that has taken it.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many the buffer holds.
    pub(crate) fn capacity(&self) -> usize {
        self.lock().capacity()
    }

    /// Takes no value in from here on.
    pub(crate) fn close(&self) -> Result<(), AlreadyClosed> {
        let told = self.lock().close().ok_or(AlreadyClosed)?;
        told.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn take(&self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let (value, accepted) = self.lock().take(wanted)?;
        wake(accepted);
        Some(value)
    }
}

impl<T> SendSide<T> {
    /// Sends `value`: done when it is in the buffer; without one, or while that is full, when a receiver
    /// has taken it or made room. A send that is dropped before has sent nothing.
    pub(crate) fn send(&self, value: T) -> Sending<'_, T> {
        Sending { channel: &self.0, step: Step::Begins(value) }
    }

    /// Sends `value` if that needs no waiting. Without a buffer it takes a receiver that waits; if that one
    /// is given up before it has looked, the value is there for the next.
    pub(crate) fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        let full = (!state.has_room(true)).then_some(Refusal::Full);
        if let Some(refusal) = state.refusal().or(full) {
            return Err(SendError { value, refusal });
        }
        let told = state.put(value);
        drop(state);
        wake(told);
        Ok(())
    }
}

impl<T> Drop for SendSide<T> {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.0.close();
    }
}

impl<T> RecvSide<T> {
    /// Receives a value: done when one could be taken. One that is dropped before has taken nothing.
    pub(crate) fn recv(&self) -> Receiving<'_, T> {
        Receiving { channel: &self.0, ticket: None }
    }

    /// The first value, if there is one.
    pub(crate) fn try_recv(&self) -> Result<Option<T>, Ended> {
        let mut state = self.0.lock();
        let (taken, closed) = (state.take(|_| true), state.is_closed());
        drop(state);
        match taken {
            Some((value, accepted)) => {
                wake(accepted);
                Ok(Some(value))
            }
            None if closed => Err(Ended),
            None => Ok(None),
        }
    }

    /// The first value, if there is one and it is `wanted`, which is asked under the lock.
    pub(crate) fn next_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        self.0.take(wanted)
    }

    /// Gives back a value that was received and could not be used: it is the first again, though meanwhile
    /// others may have received some that came after it.
    pub(crate) fn give_back(&self, value: T) {
        let told = self.0.lock().put_back(value);
        wake(told);
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl<T> RecvSide<T> {
    /// Has `look` see what is in the buffer.
    pub(crate) fn look(&self, look: impl FnMut(&T)) {
        self.0.lock().buffered().for_each(look);
    }
}

impl<T> Drop for RecvSide<T> {
    fn drop(&mut self) {
        let (told, buffer) = self.0.lock().abandon();
        told.into_iter().for_each(Waker::wake);
        if !buffer.is_empty() {
            flat::drop_flat(buffer);
        }
    }
}

/// A [send](SendSide::send) under way.
#[must_use = "nothing is sent before it is polled"]
pub(crate) struct Sending<'a, T> {
    channel: &'a Channel<T>,
    step: Step<T>,
}

enum Step<T> {
    Begins(T),
    /// The value waits in the channel, under this number.
    Waits(u64),
    Done,
}

/// No value is ever pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let channel = self.channel;
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Begins(value) => {
                let waker = context.waker().clone();
                let mut state = channel.lock();
                if let Some(refusal) = state.refusal() {
                    drop(state);
                    return Poll::Ready(Err(SendError { value, refusal }));
                }
                if state.has_room(false) {
                    let told = state.put(value);
                    drop(state);
                    wake(told);
                    return Poll::Ready(Ok(()));
                }
                let (ticket, told) = state.wait_to_send(value, waker);
                drop(state);
                self.step = Step::Waits(ticket);
                wake(told);
                Poll::Pending
            }
            Step::Waits(ticket) => {
                let found = channel.lock().look(ticket, context.waker());
                match found {
                    Found::Accepted => Poll::Ready(Ok(())),
                    Found::Refused(waiting, refusal) => {
                        Poll::Ready(Err(SendError { value: waiting.value, refusal }))
                    }
                    Found::Waits(before) => {
                        drop(before);
                        self.step = Step::Waits(ticket);
                        Poll::Pending
                    }
                }
            }
            Step::Done => panic!("polled after it was done"),
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let Step::Waits(ticket) = self.step {
            let withdrawn = self.channel.lock().withdraw(ticket);
            drop(withdrawn);
        }
    }
}

/// A [receive](RecvSide::recv) under way.
#[must_use = "nothing is received before it is polled"]
pub(crate) struct Receiving<'a, T> {
    channel: &'a Channel<T>,
    /// Its number once it waits.
    ticket: Option<u64>,
}

impl<T> Future for Receiving<'_, T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.channel.lock();
        let taken = state.take(|_| true);
        if taken.is_none() && !state.is_closed() {
            let (ticket, before) = state.wait_to_receive(self.ticket, context.waker());
            drop(state);
            drop(before);
            self.ticket = Some(ticket);
            return Poll::Pending;
        }
        let waited = self.ticket.take().and_then(|ticket| state.stop_receiving(ticket));
        drop(state);
        drop(waited);
        Poll::Ready(taken.ok_or(Ended).map(|(value, accepted)| {
            wake(accepted);
            value
        }))
    }
}

impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.channel.lock();
        let waited = state.stop_receiving(ticket);
        // It was told, and has not looked. [I4]
        let next = match waited.is_none() && state.has_value() {
            true => state.next_receiver(),
            false => None,
        };
        drop(state);
        drop(waited);
        wake(next);
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
