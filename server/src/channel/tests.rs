//! A channel by itself: by example, at random against a model, and on many threads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::FutureExt;

use super::*;

/// Whether it was woken since it was last asked.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    fn has_rung(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    let waker = Waker::from(bell.clone());
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// Polls once: `None` if it waits.
fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    future.now_or_never()
}

/// Wakes a thread that waits.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn refused<T>(value: T, refusal: Refusal) -> Result<(), SendError<T>> {
    Err(SendError { value, refusal })
}

#[test]
fn values_come_out_in_their_order_and_only_a_full_channel_has_senders_wait() {
    let (channel, sends, receives) = channel(2);
    assert_eq!(once(&mut sends.send(1)), Some(Ok(())));
    assert_eq!(sends.try_send(2), Ok(()));
    assert_eq!((channel.len(), channel.capacity()), (2, 2));
    assert_eq!(sends.try_send(3), refused(3, Refusal::Full));
    let mut third = sends.send(3);
    assert_eq!(once(&mut third), None);
    assert_eq!(receives.try_recv(), Ok(Some(1)));
    // Its place is taken already, though it has not looked.
    assert_eq!(sends.try_send(4), refused(4, Refusal::Full));
    assert_eq!(once(&mut third), Some(Ok(())));
    assert_eq!(once(&mut receives.recv()), Some(Ok(2)));
    assert_eq!(once(&mut receives.recv()), Some(Ok(3)));
    assert_eq!(once(&mut receives.recv()), None);
    assert_eq!(receives.try_recv(), Ok(None));
}

#[test]
fn without_a_buffer_a_send_is_done_when_its_value_was_taken() {
    let (channel, sends, receives) = channel(0);
    let bell = Arc::new(Bell::default());
    let mut send = sends.send("a");
    assert!(poll(&mut send, &bell).is_pending() && !bell.has_rung());
    assert_eq!((channel.len(), receives.try_recv()), (0, Ok(Some("a"))));
    assert!(bell.has_rung());
    assert_eq!(poll(&mut send, &bell), Poll::Ready(Ok(())));

    assert_eq!(sends.try_send("b"), refused("b", Refusal::Full));
    let mut receive = receives.recv();
    assert!(poll(&mut receive, &bell).is_pending());
    assert_eq!(sends.try_send("c"), Ok(()), "somebody waits");
    assert_eq!(sends.try_send("d"), refused("d", Refusal::Full), "one does, not two");
    drop(receive);
    assert_eq!(receives.try_recv(), Ok(Some("c")), "what was sent is not lost");
}

#[test]
fn a_send_that_is_given_up_has_sent_nothing_and_a_receive_has_taken_nothing() {
    let (_, sends, receives) = channel(1);
    let mut first = sends.send(1);
    assert!(once(&mut first).is_some());
    let (mut second, mut third) = (sends.send(2), sends.send(3));
    assert_eq!((once(&mut second), once(&mut third)), (None, None));
    drop(second);
    // That of one that was accepted stays.
    drop(first);
    assert_eq!((receives.try_recv(), receives.try_recv()), (Ok(Some(1)), Ok(Some(3))));

    let mut receive = receives.recv();
    assert_eq!(once(&mut receive), None);
    assert_eq!(once(&mut sends.send(4)), Some(Ok(())));
    drop(receive);
    assert_eq!(receives.try_recv(), Ok(Some(4)));
}

#[test]
fn a_receiver_that_is_given_up_after_it_was_told_tells_the_next() {
    let (_, sends, receives) = channel(1);
    let bells = [(); 2].map(|()| Arc::new(Bell::default()));
    let (mut first, mut second) = (receives.recv(), receives.recv());
    assert!(poll(&mut first, &bells[0]).is_pending() && poll(&mut second, &bells[1]).is_pending());
    sends.try_send(7).expect("room");
    assert!(bells[0].has_rung() && !bells[1].has_rung());
    drop(first);
    assert!(bells[1].has_rung());
    assert_eq!(poll(&mut second, &bells[1]), Poll::Ready(Ok(7)));
}

#[test]
fn what_is_buffered_when_it_closes_is_received_and_what_waits_comes_back() {
    let (channel, sends, receives) = channel(1);
    let bell = Arc::new(Bell::default());
    sends.try_send(1).expect("room");
    let mut waits = sends.send(2);
    assert!(poll(&mut waits, &bell).is_pending());
    assert_eq!((channel.close(), channel.close()), (Ok(()), Err(AlreadyClosed)));
    assert!(bell.has_rung());
    assert_eq!(poll(&mut waits, &bell), Poll::Ready(refused(2, Refusal::Closed)));
    assert_eq!(sends.try_send(3), refused(3, Refusal::Closed));
    assert_eq!(once(&mut sends.send(4)), Some(refused(4, Refusal::Closed)));
    assert_eq!((receives.try_recv(), receives.try_recv()), (Ok(Some(1)), Err(Ended)));
    assert_eq!(once(&mut receives.recv()), Some(Err(Ended)));
}

#[test]
fn receivers_learn_that_the_last_sender_has_gone_and_senders_that_the_last_receiver_has() {
    let (channel, sends, receives) = channel::<u8>(0);
    let bell = Arc::new(Bell::default());
    let mut receive = receives.recv();
    assert!(poll(&mut receive, &bell).is_pending());
    let other = sends.clone();
    drop(sends);
    assert!(!bell.has_rung());
    drop(other);
    assert!(bell.has_rung());
    assert_eq!(poll(&mut receive, &bell), Poll::Ready(Err(Ended)));
    assert_eq!(channel.close(), Err(AlreadyClosed));

    let (_, sends, receives) = super::channel(1);
    let value = Arc::new(());
    sends.try_send(value.clone()).expect("room");
    let mut send = sends.send(value.clone());
    assert!(poll(&mut send, &bell).is_pending());
    assert_eq!(Arc::strong_count(&value), 3);
    drop(receives);
    assert!(bell.has_rung());
    assert_eq!(Arc::strong_count(&value), 2, "what nobody will receive is dropped");
    let refusal = Refusal::NoReceivers;
    assert_eq!(poll(&mut send, &bell), Poll::Ready(refused(value.clone(), refusal)));
    assert_eq!(sends.try_send(value.clone()), refused(value, refusal));
}

#[test]
fn what_is_given_back_is_the_first_again() {
    let (channel, sends, receives) = channel(1);
    sends.try_send(1).expect("room");
    let mut second = sends.send(2);
    assert_eq!(once(&mut second), None);
    let bell = Arc::new(Bell::default());
    assert_eq!(receives.next_if(|value| *value > 1), None);
    let taken = receives.next_if(|value| *value == 1).expect("wanted");
    assert_eq!(once(&mut second), Some(Ok(())));
    assert_eq!(receives.try_recv(), Ok(Some(2)));
    let mut receive = receives.recv();
    assert!(poll(&mut receive, &bell).is_pending());
    receives.give_back(taken);
    assert!(bell.has_rung());
    assert_eq!(channel.len(), 1);
    assert_eq!(poll(&mut receive, &bell), Poll::Ready(Ok(1)));
}

#[test]
fn a_chain_of_channels_each_in_the_buffer_of_the_one_before_is_dropped_on_a_small_stack() {
    /// A receive side in a buffer.
    struct Link(#[expect(dead_code, reason = "held")] Option<Arc<RecvSide<Link>>>);
    let dropped = thread::Builder::new().stack_size(256 << 10).spawn(|| {
        let mut first = None;
        for _ in 0..100_000 {
            let (_, sends, receives) = channel(1);
            sends.try_send(Link(first)).unwrap_or_else(|_| panic!("room"));
            first = Some(receives);
        }
        drop(first);
    });
    dropped.expect("a thread").join().expect("no overflow");
}

#[test]
fn a_buffer_that_was_long_gives_its_room_back() {
    let mut state = State::new(1 << 20);
    for value in 0..100_000 {
        state.put(value);
    }
    for value in 0..100_000 {
        assert_eq!(state.take(|_| true).map(|(value, _)| value), Some(value));
    }
    assert!(state.room() < 1000, "room for {}", state.room());
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// What a channel is: a queue of values, and one of senders that wait. Each poll is one step.
struct Model {
    capacity: usize,
    buffer: VecDeque<u32>,
    senders: VecDeque<u32>,
    closed: bool,
    abandoned: bool,
}

impl Model {
    fn refusal(&self) -> Option<Refusal> {
        match (self.closed, self.abandoned) {
            (true, _) => Some(Refusal::Closed),
            (_, true) => Some(Refusal::NoReceivers),
            _ => None,
        }
    }

    fn receive(&mut self) -> Option<Result<u32, Ended>> {
        let taken = match self.buffer.pop_front() {
            Some(value) => Some(value),
            None if self.closed => return Some(Err(Ended)),
            None => self.senders.pop_front(),
        };
        if !self.closed && self.buffer.len() < self.capacity {
            self.buffer.extend(self.senders.pop_front());
        }
        taken.map(Ok)
    }

    fn send(&mut self, value: u32) -> Option<Result<(), SendError<u32>>> {
        if let Some(refusal) = self.refusal() {
            return Some(refused(value, refusal));
        }
        if self.senders.is_empty() && self.buffer.len() < self.capacity {
            self.buffer.push_back(value);
            return Some(Ok(()));
        }
        self.senders.push_back(value);
        None
    }

    fn look(&mut self, value: u32) -> Option<Result<(), SendError<u32>>> {
        let Some(place) = self.senders.iter().position(|one| *one == value) else {
            return Some(Ok(()));
        };
        let refusal = self.refusal()?;
        self.senders.remove(place);
        Some(refused(value, refusal))
    }
}

/// A channel and its model, and what is under way.
struct Run<'s, 'r> {
    model: Model,
    sides: (&'s SendSide<u32>, &'r RecvSide<u32>),
    sends: Vec<(u32, Sending<'s, u32>, Arc<Bell>)>,
    receives: Vec<(Receiving<'r, u32>, Arc<Bell>)>,
    last: u32,
}

impl<'s> Run<'s, '_> {
    /// Ends it, but for the sends that wait.
    fn end(self) -> Vec<(u32, Sending<'s, u32>, Arc<Bell>)> {
        self.sends
    }

    fn value(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn send(&mut self) {
        let (value, bell) = (self.value(), Arc::default());
        let mut send = self.sides.0.send(value);
        let sent = poll(&mut send, &bell);
        assert_eq!(as_option(sent), self.model.send(value), "the send of {value}");
        self.sends.push((value, send, bell));
        if self.model.senders.back() != Some(&value) {
            self.sends.pop();
        }
    }

    fn receive(&mut self) {
        let bell = Arc::default();
        let mut receive = self.sides.1.recv();
        match as_option(poll(&mut receive, &bell)) {
            None => {
                assert_eq!(self.model.receive(), None);
                self.receives.push((receive, bell));
            }
            received => assert_eq!(received, self.model.receive()),
        }
    }

    fn look(&mut self, dice: &mut Dice) {
        let (sends, receives) = (self.sends.len(), self.receives.len());
        if sends + receives == 0 {
            return;
        }
        let place = dice.roll(sends + receives);
        if place < sends {
            let (value, mut send, bell) = self.sends.swap_remove(place);
            let found = as_option(poll(&mut send, &bell));
            assert_eq!(found, self.model.look(value), "the send of {value}, which waited");
            if found.is_none() {
                self.sends.push((value, send, bell));
            }
        } else {
            let (mut receive, bell) = self.receives.swap_remove(place - sends);
            let received = as_option(poll(&mut receive, &bell));
            assert_eq!(received, self.model.receive());
            if received.is_none() {
                self.receives.push((receive, bell));
            }
        }
    }

    fn give_up(&mut self, dice: &mut Dice) {
        if dice.roll(2) == 0 && !self.sends.is_empty() {
            let (value, ..) = self.sends.swap_remove(dice.roll(self.sends.len()));
            self.model.senders.retain(|one| *one != value);
        } else if !self.receives.is_empty() {
            drop(self.receives.swap_remove(dice.roll(self.receives.len())));
        }
    }

    fn try_to_send(&mut self) {
        let value = self.value();
        match self.sides.0.try_send(value) {
            Ok(()) => {
                assert_eq!(self.model.refusal(), None);
                assert!(self.model.senders.is_empty());
                let (capacity, length) = (self.model.capacity, self.model.buffer.len());
                assert!(length < capacity || (capacity == 0 && length < self.receives.len()));
                self.model.buffer.push_back(value);
            }
            Err(SendError { refusal: Refusal::Full, .. }) => {
                let full = self.model.buffer.len() >= self.model.capacity;
                assert!(full || !self.model.senders.is_empty());
            }
            refused => assert_eq!(Some(refused), self.model.send(value)),
        }
    }

    fn give_back(&mut self) {
        if let Some(value) = self.sides.1.next_if(|_| true) {
            assert_eq!(self.model.receive(), Some(Ok(value)));
            self.sides.1.give_back(value);
            self.model.buffer.push_front(value);
        }
    }

    /// Has everybody who was told look, until nobody was: nobody waits then who would not have to.
    fn settle(&mut self, dice: &mut Dice) {
        loop {
            let told = |bell: &Arc<Bell>| bell.0.load(Ordering::SeqCst);
            let send = self.sends.iter().position(|(.., bell)| told(bell));
            let receive = self.receives.iter().position(|(_, bell)| told(bell));
            match (send, receive) {
                (None, None) => break,
                (Some(place), other) if other.is_none() || dice.roll(2) == 0 => {
                    let (value, mut send, bell) = self.sends.swap_remove(place);
                    bell.has_rung();
                    let found = as_option(poll(&mut send, &bell));
                    assert_eq!(found, self.model.look(value));
                    if found.is_none() {
                        self.sends.push((value, send, bell));
                    }
                }
                (_, place) => {
                    let (mut receive, bell) = self.receives.swap_remove(place.unwrap_or_default());
                    bell.has_rung();
                    let received = as_option(poll(&mut receive, &bell));
                    assert_eq!(received, self.model.receive());
                    if received.is_none() {
                        self.receives.push((receive, bell));
                    }
                }
            }
        }
        let waiting = self.sends.iter().map(|(value, ..)| value);
        assert!(
            waiting.clone().all(|value| self.model.senders.contains(value)),
            "sent, and not told"
        );
        assert!(waiting.count() == 0 || self.model.refusal().is_none(), "refused, and not told");
        let something = !self.model.buffer.is_empty() || !self.model.senders.is_empty();
        assert!(self.receives.is_empty() || (!something && !self.model.closed), "not told of it");
    }
}

fn as_option<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn whatever_is_done_in_whatever_order_is_what_the_model_does() {
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let capacity = [0, 0, 1, 3][dice.roll(4)];
        let (channel, sends, receives) = channel(capacity);
        let (buffer, senders) = (VecDeque::new(), VecDeque::new());
        let model = Model { capacity, buffer, senders, closed: false, abandoned: false };
        let sides = (&*sends, &*receives);
        let mut run = Run { model, sides, sends: Vec::new(), receives: Vec::new(), last: 0 };
        for _ in 0..200 {
            match dice.roll(40) {
                0..8 => run.send(),
                8..16 => run.receive(),
                16..24 => run.look(&mut dice),
                24..28 => run.give_up(&mut dice),
                28..32 => run.try_to_send(),
                32..34 => run.give_back(),
                34..39 => run.settle(&mut dice),
                _ if dice.roll(5) == 0 => {
                    assert_eq!(channel.close().is_err(), run.model.closed);
                    run.model.closed = true;
                }
                _ => assert_eq!(channel.len(), run.model.buffer.len()),
            }
        }
        run.settle(&mut dice);
        run.receives.clear();
        run.settle(&mut dice);
        let waiting = run.end();
        drop(receives);
        for (_, mut send, bell) in waiting {
            assert!(bell.has_rung());
            let refused = as_option(poll(&mut send, &bell)).expect("ready").expect_err("refused");
            assert_eq!(refused.refusal, Refusal::NoReceivers);
        }
        assert_eq!(channel.len(), 0);
    }
}

/// What one thread of receivers got: for each sender, the values in the order in which they came.
type Got = Vec<Vec<usize>>;

const SENDERS: usize = 4;
const EACH: usize = 5_000;

/// Receives until the channel ends, and gives up now and then.
fn receive_all(receives: &RecvSide<(usize, usize)>, seed: u64) -> Got {
    let mut dice = Dice(seed);
    let mut got = vec![Vec::new(); SENDERS];
    loop {
        let mut receive = receives.recv();
        let received = match dice.roll(3) {
            0 => match once(&mut receive) {
                // Given up.
                None => continue,
                Some(received) => received,
            },
            _ => block_on(receive),
        };
        match received {
            Ok((sender, value)) => got[sender].push(value),
            Err(Ended) => return got,
        }
    }
}

/// Sends as many, and gives up now and then: those that were sent, and those that may have been.
fn send_all(sends: &SendSide<(usize, usize)>, sender: usize) -> (Vec<usize>, Vec<usize>) {
    let mut dice = Dice(sender as u64 + 100);
    let (mut sent, mut given_up) = (Vec::new(), Vec::new());
    for value in 0..EACH {
        let mut send = sends.send((sender, value));
        let done = match dice.roll(4) {
            0 => once(&mut send),
            1 => match sends.try_send((sender, value)) {
                Err(SendError { refusal: Refusal::Full, .. }) => continue,
                tried => Some(tried),
            },
            _ => Some(block_on(send)),
        };
        match done {
            Some(done) => {
                done.expect("open");
                sent.push(value);
            }
            // It may have been accepted between the poll and the drop.
            None => given_up.push(value),
        }
    }
    (sent, given_up)
}

#[test]
fn on_many_threads_no_value_is_lost_or_doubled_and_each_senders_stay_in_order() {
    for capacity in [0, 1, 16] {
        let (channel, sends, receives) = channel(capacity);
        let (sent, got) = thread::scope(|scope| {
            let receivers: Vec<_> = (0..3)
                .map(|seed| {
                    let receives = receives.clone();
                    scope.spawn(move || receive_all(&receives, seed))
                })
                .collect();
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let sends = sends.clone();
                    scope.spawn(move || send_all(&sends, sender))
                })
                .collect();
            drop(sends);
            let sent: Vec<_> = senders.into_iter().map(|one| one.join().expect("sent")).collect();
            let got: Vec<_> = receivers.into_iter().map(|one| one.join().expect("got")).collect();
            (sent, got)
        });
        for sender in 0..SENDERS {
            let mut all: Vec<usize> = Vec::new();
            for got in &got {
                assert!(got[sender].is_sorted(), "capacity {capacity}: out of order");
                all.extend(&got[sender]);
            }
            all.sort_unstable();
            assert!(all.is_sorted_by(|one, next| one < next), "capacity {capacity}: doubled");
            let (sent, given_up) = &sent[sender];
            all.retain(|value| given_up.binary_search(value).is_err());
            assert!(all == *sent, "capacity {capacity}: lost, or never sent");
        }
        assert_eq!(channel.len(), 0);
    }
}

#[test]
fn nobody_hangs_when_the_receivers_leave_while_many_send() {
    for capacity in [0, 1, 16] {
        let (_, sends, receives) = channel(capacity);
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    while block_on(sends.send(1)).is_ok() {}
                    refused.fetch_add(1, Ordering::SeqCst);
                });
            }
            for _ in 0..2 {
                let receives = receives.clone();
                scope.spawn(move || {
                    for _ in 0..EACH {
                        block_on(receives.recv()).expect("open");
                    }
                });
            }
            drop(receives);
        });
        assert_eq!(refused.into_inner(), SENDERS);
    }
}
