//! What is out of reach is ended, and nothing else: by example, and while threads send sides around.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::super::{RecvSide, Refusal, SendSide, channel};
use super::{Keeps, collect};

type Receives = Arc<RecvSide<Parts>>;
type Sends = Arc<SendSide<Parts>>;

/// A value: a number, and what keeps sides.
#[derive(Clone, Default)]
struct Parts(usize, Vec<Arc<Part>>);

/// Keeps a side until it is revoked.
struct Part {
    side: Mutex<Option<Receives>>,
    /// It is revoked as soon as it was asked.
    revoked_next: AtomicBool,
}

impl Part {
    fn new(side: &Receives) -> Arc<Self> {
        Arc::new(Part { side: Mutex::new(Some(side.clone())), revoked_next: false.into() })
    }

    fn side(&self) -> Receives {
        self.side.lock().expect("no panic").clone().expect("not revoked")
    }
}

impl Keeps for Parts {
    type Hold = Part;

    fn holds(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.1.iter()
    }

    fn kept(part: &Part) -> Option<usize> {
        let mut side = part.side.lock().expect("no panic");
        let kept = side.as_ref().map(|side| Arc::as_ptr(side).addr());
        if part.revoked_next.load(Ordering::SeqCst) {
            *side = None;
        }
        kept
    }
}

fn made() -> (Sends, Receives) {
    let (_, sends, receives) = channel(4);
    (sends, receives)
}

/// Puts what keeps `side` into the channel of `sends`.
fn keep(sends: &Sends, side: &Receives) {
    put(sends, Parts(0, vec![Part::new(side)]));
}

fn put(sends: &Sends, value: Parts) {
    assert!(sends.try_send(value).is_ok(), "room, and a receiver");
}

fn run(sides: &[Weak<RecvSide<Parts>>]) -> usize {
    collect(sides.iter().filter_map(Weak::upgrade).collect())
}

fn has_receivers(sends: &Sends) -> bool {
    !sends.try_send(Parts::default()).is_err_and(|error| error.refusal == Refusal::NoReceivers)
}

#[test]
fn cycles_and_what_only_they_keep_are_ended_and_their_senders_told() {
    let channels: Vec<_> = (0..4).map(|_| made()).collect();
    let side = |at: usize| &channels[at].1;
    // One keeps itself, twice by one hold; two keep each other, and one of them a fourth.
    let twice = Part::new(side(0));
    put(&channels[0].0, Parts(0, vec![twice.clone(), twice]));
    keep(&channels[1].0, side(2));
    keep(&channels[2].0, side(1));
    keep(&channels[2].0, side(3));
    put(&channels[3].0, Parts(1, Vec::new()));
    let weak: Vec<_> = channels.iter().map(|(_, side)| Arc::downgrade(side)).collect();
    run(&weak);
    assert!(channels.iter().all(|(_, side)| side.0.len() > 0), "all are held here");
    let (sends, held): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    drop(held);
    let mut waits = sends[3].send(Parts::default());
    assert!(sends.iter().all(has_receivers));
    assert_eq!(run(&weak), 4 + 5 + 4, "with what was sent to see whether there are receivers");
    assert!(!sends.iter().any(has_receivers));
    assert!(weak.iter().all(|side| side.strong_count() == 0));
    let waited = futures::FutureExt::now_or_never(&mut waits).expect("told");
    assert_eq!(waited.err().map(|error| error.refusal), Some(Refusal::NoReceivers));
}

#[test]
fn what_can_be_reached_in_any_way_is_left_as_it_is() {
    let channels: Vec<_> = (0..6).map(|_| made()).collect();
    // Each keeps itself and holds a number, and is reached in another way.
    for (number, (sends, side)) in channels.iter().enumerate() {
        keep(sends, side);
        put(sends, Parts(number, Vec::new()));
    }
    let weak: Vec<_> = channels.iter().map(|(_, side)| Arc::downgrade(side)).collect();
    let (sends, mut sides): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    // By a call.
    let called = sides[0].clone();
    // By a hold of which there is a reference in its own buffer as well.
    let held = Part::new(&sides[1]);
    put(&sends[1], Parts(0, vec![held.clone()]));
    // From a channel that is reached, and from one that is reached by that.
    keep(&sends[0], &sides[2]);
    keep(&sends[2], &sides[3]);
    // From a channel that is not looked at.
    let (other, _others) = made();
    keep(&other, &sides[4]);
    // By a value that waits to be sent to it.
    while sends[5].try_send(Parts::default()).is_ok() {}
    let mut waits = sends[5].send(Parts(0, vec![Part::new(&sides[5])]));
    assert!(futures::FutureExt::now_or_never(&mut waits).is_none());
    sides.clear();
    for _ in 0..3 {
        run(&weak);
    }
    for (number, side) in weak.iter().enumerate() {
        let side = side.upgrade().expect("kept");
        let numbers: Vec<_> =
            std::iter::from_fn(|| side.try_recv().ok().flatten()).map(|Parts(it, _)| it).collect();
        assert_eq!(numbers[..2], [0, number], "channel {number}");
    }
    drop((called, held, waits));
}

#[test]
fn a_side_that_somebody_has_is_reached_though_a_hold_of_it_is_revoked_meanwhile() {
    let (sends, somebodys) = made();
    let revoked = Part::new(&somebodys);
    revoked.revoked_next.store(true, Ordering::SeqCst);
    put(&sends, Parts(0, vec![revoked]));
    let sides = [somebodys.clone()];
    let mut seen = super::Seen::default();
    let state = sides[0].0.lock();
    seen.look(&state);
    assert_eq!(seen.out_of_reach(&sides), [false]);
    assert_eq!(Arc::strong_count(&somebodys), 2, "it was revoked");
}

/// A generator of numbers that are as good as random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

/// The channels that are sent around. Each is kept by one part, which is in somebody's hand, in one of the
/// first channels, which everybody has, or in another that is itself in one of these places. So all can be
/// reached all the time, though one is now in another and then the other in it.
const ROOTS: usize = 1;
const CHANNELS: usize = 7;
const THREADS: u64 = 3;

/// What threads do.
struct Game {
    sends: Vec<Sends>,
    roots: Vec<Receives>,
    sides: Mutex<Vec<Weak<RecvSide<Parts>>>>,
}

impl Game {
    /// Takes parts out of channels that it has and puts them into others, and leaves cycles behind.
    fn play(&self, mut dice: Dice, rounds: usize) {
        let mut hand: Vec<Parts> = Vec::new();
        for _ in 0..rounds {
            if dice.roll(1000) == 0 {
                self.litter();
            }
            match dice.roll(if hand.len() < 2 { 2 } else { 8 }) {
                0 => hand.extend(self.roots[dice.roll(ROOTS)].try_recv().expect("open")),
                1 if hand.is_empty() => {}
                1 => self.put_away(hand.swap_remove(dice.roll(hand.len())), &mut dice),
                _ => {
                    let (inner, outer) = (hand.swap_remove(dice.roll(hand.len())), &hand[0]);
                    // For a moment there are two references.
                    let other = inner.1[0].clone();
                    put(&self.sends[outer.0], inner);
                    drop(other);
                    if dice.roll(2) == 0 {
                        self.turn(&mut hand);
                    }
                }
            }
            if let Some(outer) = hand.pop() {
                hand.extend(part(&outer).side().try_recv().expect("open"));
                hand.push(outer);
            }
        }
        hand.into_iter().for_each(|value| self.put_away(value, &mut dice));
    }

    fn put_away(&self, value: Parts, dice: &mut Dice) {
        put(&self.sends[dice.roll(ROOTS)], value);
    }

    /// Puts the first in the hand into what was in it.
    fn turn(&self, hand: &mut Vec<Parts>) {
        let outer = hand.swap_remove(0);
        let inner = part(&outer).side().try_recv().expect("open").expect("put there");
        put(&self.sends[inner.0], outer);
        hand.push(inner);
    }

    /// Leaves a channel that keeps another that keeps it.
    fn litter(&self) {
        let ((one, first), (other, second)) = (made(), made());
        keep(&one, &second);
        keep(&other, &first);
        let mut sides = self.sides.lock().expect("no panic");
        sides.retain(|side| side.strong_count() > 0);
        sides.extend([&first, &second].map(Arc::downgrade));
    }
}

fn part(value: &Parts) -> &Part {
    &value.1[0]
}

#[test]
fn whatever_threads_send_around_is_left_to_them_and_what_they_leave_is_ended() {
    let rounds = if cfg!(miri) { 50 } else { 2_000_000 };
    let (sends, sides): (Vec<_>, Vec<_>) = (0..CHANNELS)
        .map(|_| channel(CHANNELS))
        .map(|(_, sends, receives)| (sends, receives))
        .unzip();
    for (number, side) in sides.iter().enumerate().skip(ROOTS) {
        put(&sends[0], Parts(number, vec![Part::new(side)]));
    }
    let game = Game {
        sends,
        roots: sides[..ROOTS].to_vec(),
        sides: Mutex::new(sides.iter().map(Arc::downgrade).collect()),
    };
    drop(sides);
    let all = || game.sides.lock().expect("no panic").clone();
    thread::scope(|scope| {
        let game = &game;
        let players =
            (0..THREADS).map(|seed| scope.spawn(move || game.play(Dice(seed + 1), rounds)));
        let players: Vec<_> = players.collect();
        while !players.iter().all(thread::ScopedJoinHandle::is_finished) {
            run(&all());
        }
        players.into_iter().for_each(|player| player.join().expect("nothing is missing"));
    });
    run(&all());
    // What is left are those that are sent around, and all of them.
    assert_eq!(all().iter().filter(|side| side.strong_count() > 0).count(), CHANNELS);
    let (mut found, mut open) = (Vec::new(), game.roots.clone());
    while let Some(side) = open.pop() {
        while let Some(value) = side.try_recv().expect("open") {
            open.push(part(&value).side());
            found.push(value.0);
        }
    }
    found.sort_unstable();
    assert!(found.into_iter().eq(ROOTS..CHANNELS));
}
