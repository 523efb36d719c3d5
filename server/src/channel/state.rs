//! What a channel holds, and its transitions. Each is one step under the channel's lock, and gives back
//! whoever has to be told of it and what is to be dropped, for when the lock is open again.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::task::Waker;

use super::Refusal;

/// A buffer that has room for more, and for this many times what is in it, gives room back.
const SPARE: usize = 4;
/// Room for as many values is kept.
const KEPT: usize = 32;

pub(super) struct State<T> {
    capacity: usize,
    buffer: VecDeque<T>,
    /// The senders that wait, in the order in which they came.
    senders: BTreeMap<u64, Waiting<T>>,
    /// The receivers that wait and were not told yet.
    receivers: BTreeMap<u64, Waker>,
    /// The number of the last who waited.
    last: u64,
    closed: bool,
    /// The last receiver has gone.
    abandoned: bool,
}

/// A sender that waits.
pub(super) struct Waiting<T> {
    pub(super) value: T,
    waker: Waker,
}

/// What a sender finds who looks for the value that it waits with.
pub(super) enum Found<T> {
    /// It has been accepted.
    Accepted,
    /// It still waits. What it was to be woken by before is to be dropped.
    Waits(Option<Waker>),
    /// It never will be accepted.
    Refused(Waiting<T>, Refusal),
}

impl<T> State<T> {
    pub(super) fn new(capacity: usize) -> Self {
        State {
            capacity,
            buffer: VecDeque::new(),
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            last: 0,
            closed: false,
            abandoned: false,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// For how many values there is room without allocating.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.buffer.capacity()
    }

    /// What is in the buffer.
    pub(super) fn buffered(&self) -> impl Iterator<Item = &T> {
        self.buffer.iter()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why nothing can be sent, if that is so.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match (self.closed, self.abandoned) {
            (true, _) => Some(Refusal::Closed),
            (false, true) => Some(Refusal::NoReceivers),
            (false, false) => None,
        }
    }

    /// Whether a receiver would find something.
    pub(super) fn has_value(&self) -> bool {
        !self.buffer.is_empty() || (!self.closed && !self.senders.is_empty())
    }

    /// Whether a value can be put into the buffer. Without a buffer none can, unless `told` is true: then one
    /// is, for a receiver that waits and is told of it.
    pub(super) fn has_room(&self, told: bool) -> bool {
        let handed = told && self.capacity == 0 && !self.receivers.is_empty();
        self.senders.is_empty() && (handed || self.buffer.len() < self.capacity)
    }

    /// Puts a value into the buffer: the receiver to be told.
    pub(super) fn put(&mut self, value: T) -> Option<Waker> {
        self.buffer.push_back(value);
        self.next_receiver()
    }

    /// Puts a value back where it was taken from: the receiver to be told.
    pub(super) fn put_back(&mut self, value: T) -> Option<Waker> {
        self.buffer.push_front(value);
        self.next_receiver()
    }

    /// Takes the receiver that has waited longest out of those that wait: it is to be told. [I4]
    pub(super) fn next_receiver(&mut self) -> Option<Waker> {
        self.receivers.pop_first().map(|(_, waker)| waker)
    }

    /// Takes the first value if there is one and it is `wanted`, and the sender to be told, whose value was
    /// accepted with that.
    pub(super) fn take(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<(T, Option<Waker>)> {
        if let Some(front) = self.buffer.front() {
            if !wanted(front) {
                return None;
            }
            let value = self.buffer.pop_front()?;
            let accepted = self.accept();
            self.give_room_back();
            return Some((value, accepted));
        }
        let first =
            self.senders.first_entry().filter(|first| !self.closed && wanted(&first.get().value));
        let Waiting { value, waker } = first?.remove();
        Some((value, Some(waker)))
    }

    /// Moves the value that has waited longest into the buffer, if there is room: its sender. [I2]
    fn accept(&mut self) -> Option<Waker> {
        if self.closed || self.buffer.len() >= self.capacity {
            return None;
        }
        let (_, Waiting { value, waker }) = self.senders.pop_first()?;
        self.buffer.push_back(value);
        Some(waker)
    }

    fn give_room_back(&mut self) {
        let needed = self.buffer.len().max(KEPT);
        if self.buffer.capacity() > needed.saturating_mul(SPARE) {
            self.buffer.shrink_to(needed.saturating_mul(2));
        }
    }

    fn ticket(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Has a value wait: the number of its sender, and the receiver to be told.
    pub(super) fn wait_to_send(&mut self, value: T, waker: Waker) -> (u64, Option<Waker>) {
        let ticket = self.ticket();
        self.senders.insert(ticket, Waiting { value, waker });
        (ticket, self.next_receiver())
    }

    /// What has become of the value of sender `ticket`. If it still waits, it is woken by `waker`.
    pub(super) fn look(&mut self, ticket: u64, waker: &Waker) -> Found<T> {
        let refusal = self.refusal();
        let Some(waiting) = self.senders.get_mut(&ticket) else { return Found::Accepted };
        let Some(refusal) = refusal else {
            let changed = !waiting.waker.will_wake(waker);
            return Found::Waits(changed.then(|| mem::replace(&mut waiting.waker, waker.clone())));
        };
        match self.senders.remove(&ticket) {
            Some(waiting) => Found::Refused(waiting, refusal),
            None => Found::Accepted,
        }
    }

    /// Takes back the value of sender `ticket`, if it still waits.
    pub(super) fn withdraw(&mut self, ticket: u64) -> Option<Waiting<T>> {
        self.senders.remove(&ticket)
    }

    /// Has a receiver wait, one that has waited before at its old place: its number, and what it was woken by.
    pub(super) fn wait_to_receive(
        &mut self,
        ticket: Option<u64>,
        waker: &Waker,
    ) -> (u64, Option<Waker>) {
        let ticket = ticket.unwrap_or_else(|| self.ticket());
        match self.receivers.get_mut(&ticket) {
            Some(known) if known.will_wake(waker) => (ticket, None),
            _ => (ticket, self.receivers.insert(ticket, waker.clone())),
        }
    }

    /// Receiver `ticket` waits no more: what it would have been woken by, if it was not told.
    pub(super) fn stop_receiving(&mut self, ticket: u64) -> Option<Waker> {
        self.receivers.remove(&ticket)
    }

    /// Closes the channel: all who wait. `None` if it was closed before.
    pub(super) fn close(&mut self) -> Option<Vec<Waker>> {
        if mem::replace(&mut self.closed, true) {
            return None;
        }
        let mut told = self.waiting_senders();
        told.extend(mem::take(&mut self.receivers).into_values());
        Some(told)
    }

    /// The last receiver has gone: the senders that wait, and what nobody will receive.
    pub(super) fn abandon(&mut self) -> (Vec<Waker>, VecDeque<T>) {
        self.abandoned = true;
        (self.waiting_senders(), mem::take(&mut self.buffer))
    }

    fn waiting_senders(&self) -> Vec<Waker> {
        self.senders.values().map(|waiting| waiting.waker.clone()).collect()
    }
}
