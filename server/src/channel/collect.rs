//! Ends the channels that nobody can receive from any more though they have receivers: all of these lie in
//! buffers of such channels.
//!
//! # How they are found
//! A value in a buffer keeps the receive side of a channel by a *hold*. A hold is *inside* if all references
//! to it are in buffers that were looked at, and a channel is reached if its side has more references than
//! those of the holds inside. What is in the buffer of a channel that is reached is reached as well. Nobody
//! can come to the rest: neither to their sides nor, by receiving, to what is in their buffers.
//!
//! First the channels are looked at one after the other, while values go from one to the next. What is out
//! of reach stays as it is, so that it is found in this way; what is found besides is sorted out after that,
//! with all of these *suspects* locked at once. Nobody uses a channel that is out of reach, but who still
//! sends to it: hardly ever does anybody wait for these locks.
//!
//! # Why nothing else is found, with all of them locked
//! - **C1** No value gets into a buffer that is looked at, or out of it. Who has no reference to a hold or a
//!   side outside of these buffers gets none, and there are no weak ones that anybody makes strong.
//! - **C2** So a hold that is inside when its references are counted stays there. Whatever else keeps a side
//!   counts as outside: a call that waits, a value that waits to be sent, an end of a connection's, a value
//!   in a cell or in a channel that is not looked at.
//! - **C3** A hold may let go of its side at any time, when what was granted is revoked. So the references to
//!   the sides are counted before the holds are asked: those that still have theirs then had it before.
//! - **C4** Whoever collects is the only one who locks more than one channel, and is alone.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use super::state::State;
use super::{RecvSide, flat, wake};

/// A value that may keep receive sides of channels of such values.
pub(crate) trait Keeps: Sized + 'static {
    /// What keeps one, however many values it is in.
    type Hold: 'static;

    /// Those in the value.
    fn holds(&self) -> impl Iterator<Item = &Arc<Self::Hold>>;

    /// The address of the side that a hold keeps, if it still does.
    fn kept(hold: &Self::Hold) -> Option<usize>;
}

/// Ends those channels that nobody can receive from any more, of all whose receive sides are given, each
/// once. Gives back how many channels and values there were to look at. One call at a time. [C4]
pub(crate) fn collect<T: Keeps>(sides: Vec<Arc<RecvSide<T>>>) -> usize {
    let mut seen = Seen::default();
    sides.iter().for_each(|side| seen.look(&side.0.lock()));
    let (looked, found) = (seen.looked, seen.out_of_reach(&sides));
    // Before the suspects' holds are counted: these are references too.
    drop(seen);
    let suspects = sides.into_iter().zip(found).filter_map(|(side, found)| found.then_some(side));
    let suspects: Vec<_> = suspects.collect();
    if !suspects.is_empty() {
        end(&suspects);
    }
    looked
}

/// Ends those of the suspects that are out of reach.
fn end<T: Keeps>(suspects: &[Arc<RecvSide<T>>]) {
    let mut seen = Seen::default();
    let mut locked: Vec<_> = suspects.iter().map(|side| side.0.lock()).collect();
    locked.iter().for_each(|state| seen.look(state));
    let found = seen.out_of_reach(suspects);
    let found = locked.iter_mut().zip(found).filter(|(_, found)| *found);
    let (told, buffers): (Vec<_>, Vec<_>) = found.map(|(state, _)| state.abandon()).unzip();
    // Now the rest. [I5]
    drop((locked, seen));
    told.into_iter().flatten().for_each(|waker| wake(Some(waker)));
    flat::drop_flat(buffers);
}

/// What was seen in the buffers.
struct Seen<T: Keeps> {
    /// Each hold, and how many references to it.
    holds: Vec<(Arc<T::Hold>, usize)>,
    /// Where each is there, by its address.
    places: HashMap<usize, usize>,
    /// The holds that each channel's buffer has.
    buffers: Vec<Vec<usize>>,
    /// How many channels and values.
    looked: usize,
}

impl<T: Keeps> Default for Seen<T> {
    fn default() -> Self {
        Seen { holds: Vec::new(), places: HashMap::new(), buffers: Vec::new(), looked: 0 }
    }
}

impl<T: Keeps> Seen<T> {
    /// Looks at the next channel.
    fn look(&mut self, state: &State<T>) {
        let buffer = state.buffered().flat_map(T::holds).map(|hold| {
            let place = *self.places.entry(Arc::as_ptr(hold).addr()).or_insert_with(|| {
                self.holds.push((hold.clone(), 0));
                self.holds.len() - 1
            });
            self.holds[place].1 += 1;
            place
        });
        let buffer = buffer.collect();
        self.buffers.push(buffer);
        self.looked += 1 + state.len();
    }

    /// Which of the channels that were looked at, whose `sides` these are, nobody can receive from.
    fn out_of_reach(&self, sides: &[Arc<RecvSide<T>>]) -> Vec<bool> {
        // One reference to each hold is here, and one to each side is with the caller.
        let inside = self.holds.iter().map(|(hold, seen)| Arc::strong_count(hold) == seen + 1);
        let inside: Vec<_> = inside.collect();
        let mut outside: Vec<_> = sides.iter().map(|side| Arc::strong_count(side) - 1).collect();
        // [C3]
        let numbers = sides.iter().enumerate();
        let numbers: HashMap<_, _> =
            numbers.map(|(number, side)| (Arc::as_ptr(side).addr(), number)).collect();
        let kept = self.holds.iter().map(|(hold, _)| numbers.get(&T::kept(hold)?).copied());
        let kept: Vec<_> = kept.collect();
        for number in kept.iter().zip(inside).filter_map(|(kept, inside)| kept.filter(|_| inside)) {
            outside[number] = outside[number].saturating_sub(1);
        }
        let mut lost: Vec<_> = outside.iter().map(|outside| *outside == 0).collect();
        let mut reached: Vec<_> = (0..lost.len()).filter(|number| !lost[*number]).collect();
        while let Some(number) = reached.pop() {
            for next in self.buffers[number].iter().filter_map(|hold| kept[*hold]) {
                if std::mem::replace(&mut lost[next], false) {
                    reached.push(next);
                }
            }
        }
        lost
    }
}
