//! What may overtake a large message, and what has to follow it: the order of calls that the protocol promises.
//!
//! Calls on one capability are made in the order in which they were sent, and whatever refers to a call, or
//! lets go of what it was made on, comes after it. So a message that is sent while others are on the lane, and
//! were not taken there, goes
//! - ahead of them over the main stream, if it has to do with nothing that they have to do with: a call
//!   without capabilities, the end of a call (`Finish`) or of a capability (`Release`); or if it is an answer,
//!   which is in no order with anything, unless it has capabilities of the other side;
//! - over the lane as well, if it is such a message and has to do with one of them;
//! - else over the main stream, and waits there for all of them, with all that comes after it.
//!
//! What a message has to do with are the capabilities of the other side, and the answers of that, which it
//! names. A capability may be known as one and as the other, or become known as another one, by an answer or
//! `Resolve` that comes in: so what has to do with a promise has to do with all that it may have become.
//! And what is done to the two ends of a cell is done to its anchor: of two calls that a client makes on one
//! anchor each may have asked for the cell anew.

use std::collections::HashMap;
use std::io;

use capnp::traits::HasTypeId;
use capnp_rpc::rpc_capnp::message::{self, Which};
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, message_target, payload, resolve, return_, return_::Which as Answer,
};
use killick_schema::api::anchor_capnp::anchor;

/// The number of the method of an anchor that gives its cell.
const CELL: u16 = 2;

/// How many things may be kept that no message on the lane has to do with any more.
const KEPT: usize = 64;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over the main stream.
    Ahead,
    /// Over the lane.
    Lane,
    /// Over the main stream, after all that are on the lane.
    Behind,
}

/// What a message has to do with, of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thing {
    /// One of its capabilities.
    Capability(u32),
    /// Its answer to a call, or the call.
    Answer(u32),
}

/// All that a message has to do with.
type Things = [Option<Thing>; 3];

/// What is on the lane.
#[derive(Default)]
pub(super) struct Order {
    /// How many messages were sent over it.
    sent: u64,
    /// How many were taken.
    taken: u64,
    /// As many nothing is ahead of that is sent from now on.
    passed: u64,
    /// The number of the last one that has to do with a thing.
    last: HashMap<Thing, u64>,
    /// The anchors that open calls have asked for their cells.
    anchors: HashMap<u32, Thing>,
    /// What is on the lane may have to do with anything.
    unknown: bool,
}

impl Order {
    /// The way of a message that is sent, which is the next on it.
    pub(super) fn way(&mut self, message: capnp::Result<message::Reader<'_>>, large: bool) -> Way {
        let is_free = self.sent == self.passed;
        // An error is for who reads the message.
        let noted = message.and_then(|message| self.note(message).map(|()| message));
        if is_free && !large {
            return Way::Ahead;
        }
        let kind = noted.and_then(|message| self.kind(message, large));
        let (way, things) = kind.unwrap_or((Way::Behind, Things::default()));
        let things = things.into_iter().flatten();
        let way = match way {
            _ if self.unknown => Way::Behind,
            Way::Ahead if things.clone().any(|thing| self.is_on_lane(thing)) => Way::Lane,
            way => way,
        };
        match way {
            Way::Ahead => {}
            Way::Behind if is_free => return Way::Ahead,
            Way::Behind => self.pass(self.sent),
            Way::Lane => {
                self.sent += 1;
                self.last.extend(things.map(|thing| (thing, self.sent)));
            }
        }
        way
    }

    /// Keeps what may have to be known of a message later.
    fn note(&mut self, message: message::Reader<'_>) -> capnp::Result<()> {
        match message.which()? {
            Which::Call(call) => {
                let call = call?;
                let asks = (call.get_interface_id(), call.get_method_id());
                if asks == (anchor::Client::TYPE_ID, CELL) {
                    self.anchors.insert(call.get_question_id(), target(call)?);
                }
            }
            Which::Finish(finish) => drop(self.anchors.remove(&finish?.get_question_id())),
            _ => {}
        }
        Ok(())
    }

    /// The way of a message if it has to do with nothing that is on the lane, and what it has to do with.
    fn kind(&self, message: message::Reader<'_>, large: bool) -> capnp::Result<(Way, Things)> {
        let fitting = if large { Way::Lane } else { Way::Ahead };
        let things = match message.which()? {
            Which::Call(call) => {
                let call = call?;
                let alone = call.get_params()?.get_cap_table()?.is_empty();
                let to = call.get_send_results_to().which()?;
                let fits = alone && matches!(to, call::send_results_to::Caller(()));
                return Ok((if fits { fitting } else { Way::Behind }, self.things(call)?));
            }
            Which::Return(answer) => return Ok((way_of(answer?, fitting)?, Things::default())),
            Which::Finish(finish) => [Some(Thing::Answer(finish?.get_question_id())), None, None],
            Which::Release(release) => [Some(Thing::Capability(release?.get_id())), None, None],
            Which::Abort(_) => Things::default(),
            _ => return Ok((Way::Behind, Things::default())),
        };
        Ok((Way::Ahead, things))
    }

    /// What a call has to do with.
    fn things(&self, call: call::Reader<'_>) -> capnp::Result<Things> {
        let target = target(call)?;
        let anchor = match target {
            Thing::Answer(asked) => self.anchors.get(&asked).copied(),
            Thing::Capability(_) => None,
        };
        Ok([Some(Thing::Answer(call.get_question_id())), Some(target), anchor])
    }

    fn is_on_lane(&self, thing: Thing) -> bool {
        self.last.get(&thing).is_some_and(|last| *last > self.passed)
    }

    /// A message comes in: what is known by another name from here on.
    pub(super) fn received(&mut self, message: message::Reader<'_>) {
        let is_free = self.sent == self.passed;
        match message.which() {
            Ok(Which::Return(Ok(answer))) => {
                if answer.get_no_finish_needed() {
                    self.anchors.remove(&answer.get_answer_id());
                }
                if !is_free {
                    self.answered(answer);
                }
            }
            Ok(Which::Resolve(Ok(resolve))) => {
                let resolved = match resolve.which() {
                    Ok(resolve::Cap(Ok(cap))) => Some(theirs(cap)),
                    _ => None,
                };
                let promise = Thing::Capability(resolve.get_promise_id());
                self.become_known(promise, resolved.into_iter());
            }
            _ => {}
        }
    }

    fn answered(&mut self, answer: return_::Reader<'_>) {
        let call = Thing::Answer(answer.get_answer_id());
        match answer.which() {
            Ok(Answer::Results(Ok(results))) => self.become_known(call, caps(results)),
            Ok(Answer::Exception(_) | Answer::Canceled(())) => {}
            _ => self.become_known(call, [Err(capnp::Error::failed(String::new()))].into_iter()),
        }
    }

    /// What had to do with `thing` has to do with these.
    fn become_known(
        &mut self,
        thing: Thing,
        names: impl Iterator<Item = capnp::Result<Option<u32>>>,
    ) {
        if !self.is_on_lane(thing) {
            return;
        }
        let last = self.last[&thing];
        for name in names {
            match name {
                Ok(Some(id)) => {
                    let known = self.last.entry(Thing::Capability(id)).or_default();
                    *known = last.max(*known);
                }
                Ok(None) => {}
                Err(_) => self.unknown = true,
            }
        }
    }

    /// The other side has taken the next message of the lane.
    pub(super) fn taken(&mut self) -> io::Result<()> {
        if self.taken == self.sent {
            let words = "the other host has taken a large message that was not sent";
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        self.taken += 1;
        self.pass(self.taken);
        Ok(())
    }

    /// Nothing that is sent from now on is ahead of the first `count` messages.
    fn pass(&mut self, count: u64) {
        self.passed = self.passed.max(count);
        if self.passed == self.sent {
            self.unknown = false;
            self.last.clear();
        } else if self.last.len() > KEPT {
            self.last.retain(|_, last| *last > self.passed);
        }
    }
}

/// What a call is made on.
fn target(call: call::Reader<'_>) -> capnp::Result<Thing> {
    Ok(match call.get_target()?.which()? {
        message_target::ImportedCap(id) => Thing::Capability(id),
        message_target::PromisedAnswer(answer) => Thing::Answer(answer?.get_question_id()),
    })
}

/// The way of an answer, if it has to do with nothing that is on the lane. One without capabilities may be large.
fn way_of(answer: return_::Reader<'_>, fitting: Way) -> capnp::Result<Way> {
    Ok(match answer.which()? {
        Answer::Results(results) => {
            let results = results?;
            match results.get_cap_table()?.is_empty() {
                true => fitting,
                false if caps(results).all(|cap| cap.is_ok()) => Way::Ahead,
                false => Way::Behind,
            }
        }
        Answer::Exception(_) | Answer::Canceled(()) | Answer::ResultsSentElsewhere(()) => {
            Way::Ahead
        }
        _ => Way::Behind,
    })
}

/// The capabilities of who has sent a message: each by its number, if it is there and theirs.
fn caps(content: payload::Reader<'_>) -> impl Iterator<Item = capnp::Result<Option<u32>>> {
    content.get_cap_table().into_iter().flatten().map(theirs)
}

/// The number of a capability that the sender of a message has; none if there is none.
///
/// # Errors
/// It is one that the sender knows from the receiver, or another one's.
fn theirs(cap: cap_descriptor::Reader<'_>) -> capnp::Result<Option<u32>> {
    match cap.which()? {
        cap_descriptor::None(()) => Ok(None),
        cap_descriptor::SenderHosted(id) | cap_descriptor::SenderPromise(id) => Ok(Some(id)),
        _ => Err(capnp::Error::failed("not the sender's".into())),
    }
}

#[cfg(test)]
mod tests {
    use capnp::message::Builder;

    use super::*;

    type Message = Builder<capnp::message::HeapAllocator>;

    fn message(make: impl FnOnce(message::Builder<'_>)) -> Message {
        let mut message = Builder::new_default();
        make(message.init_root());
        message
    }

    /// A call by this number, with so many capabilities.
    fn call(question: u32, target: Thing, caps: u32) -> Message {
        message(|message| {
            let mut call = message.init_call();
            call.set_question_id(question);
            match target {
                Thing::Capability(id) => call.reborrow().init_target().set_imported_cap(id),
                Thing::Answer(id) => {
                    call.reborrow().init_target().init_promised_answer().set_question_id(id);
                }
            }
            call.reborrow().init_send_results_to().set_caller(());
            let mut table = call.init_params().init_cap_table(caps);
            (0..caps).for_each(|at| table.reborrow().get(at).set_sender_hosted(at));
        })
    }

    /// The call of an anchor for its cell.
    fn cell(question: u32, anchor: Thing) -> Message {
        let mut message = call(question, anchor, 0);
        let root = message.get_root::<message::Builder<'_>>().expect("a message");
        let Ok(message::Call(Ok(mut call))) = root.which() else { panic!("a call") };
        call.set_interface_id(anchor::Client::TYPE_ID);
        call.set_method_id(CELL);
        message
    }

    /// An answer with these capabilities: theirs, and one of the other side if it `returns` one.
    fn answer(question: u32, caps: &[u32], returns: bool) -> Message {
        message(|message| {
            let mut answer = message.init_return();
            answer.set_answer_id(question);
            let len = caps.len() as u32 + u32::from(returns);
            let mut table = answer.init_results().init_cap_table(len);
            for (at, id) in caps.iter().enumerate() {
                table.reborrow().get(at as u32).set_sender_hosted(*id);
            }
            if returns {
                table.get(len - 1).set_receiver_hosted(1);
            }
        })
    }

    fn finish(question: u32) -> Message {
        message(|message| message.init_finish().set_question_id(question))
    }

    fn release(id: u32) -> Message {
        message(|message| message.init_release().set_id(id))
    }

    fn way(order: &mut Order, message: &Message, large: bool) -> Way {
        order.way(message.get_root_as_reader(), large)
    }

    fn small(order: &mut Order, message: &Message) -> Way {
        way(order, message, false)
    }

    fn receive(order: &mut Order, message: &Message) {
        order.received(message.get_root_as_reader().expect("a message"));
    }

    use Thing::{Answer as A, Capability as C};

    #[test]
    fn what_has_to_do_with_a_large_call_follows_it_and_else_nothing_does() {
        for (target, also) in [(C(3), release(3)), (A(3), finish(3))] {
            let mut order = Order::default();
            assert_eq!(way(&mut order, &call(7, target, 0), true), Way::Lane);
            let others = [call(20, C(4), 0), call(21, A(20), 0), finish(21), release(4), finish(4)];
            for other in others.iter().chain([&answer(7, &[], false), &answer(3, &[9], false)]) {
                assert_eq!(small(&mut order, other), Way::Ahead);
            }
            let same = [call(8, target, 0), call(9, A(7), 0), call(10, A(9), 0), finish(7), also];
            for same in &same {
                assert_eq!(small(&mut order, same), Way::Lane);
            }
            // The call, and those that follow it.
            for _ in 0..=same.len() {
                order.taken().expect("sent");
            }
            order.taken().expect_err("not sent");
            assert_eq!(small(&mut order, &call(11, target, 0)), Way::Ahead);
        }
    }

    #[test]
    fn what_may_not_overtake_waits_for_all_and_all_after_it_with_it() {
        let embargo = message(|message| {
            message.init_disembargo().init_context().set_sender_loopback(1);
        });
        let others = [embargo, call(8, C(9), 1), answer(4, &[], true), message(|_| ())];
        for other in &others {
            let mut order = Order::default();
            assert_eq!(small(&mut order, other), Way::Ahead);
            assert_eq!(way(&mut order, &answer(5, &[], false), true), Way::Lane);
            assert_eq!(way(&mut order, &call(7, C(3), 0), true), Way::Lane);
            assert_eq!(small(&mut order, other), Way::Behind);
            assert_eq!(small(&mut order, &call(20, C(3), 0)), Way::Ahead);
            order.taken().expect("sent");
            assert_eq!(way(&mut order, &call(21, C(3), 0), true), Way::Lane);
            order.taken().expect("sent");
            assert_eq!(small(&mut order, &call(22, C(3), 0)), Way::Lane);
        }
    }

    #[test]
    fn with_capabilities_a_large_message_stays_on_the_main_stream() {
        let mut order = Order::default();
        assert_eq!(way(&mut order, &call(7, C(3), 1), true), Way::Ahead);
        assert_eq!(way(&mut order, &answer(7, &[1], false), true), Way::Ahead);
    }

    #[test]
    fn what_a_promise_has_become_follows_a_large_call_on_it() {
        let mut order = Order::default();
        assert_eq!(way(&mut order, &call(7, A(3), 0), true), Way::Lane);
        assert_eq!(small(&mut order, &call(8, C(5), 0)), Way::Ahead);
        receive(&mut order, &answer(3, &[5, 6], false));
        for id in [5, 6] {
            assert_eq!(small(&mut order, &call(9 + id, C(id), 0)), Way::Lane);
        }
        assert_eq!(small(&mut order, &call(8, C(9), 0)), Way::Ahead);
        let resolve = message(|message| {
            let mut resolve = message.init_resolve();
            resolve.set_promise_id(5);
            resolve.init_cap().set_sender_hosted(9);
        });
        receive(&mut order, &resolve);
        assert_eq!(small(&mut order, &call(20, C(9), 0)), Way::Lane);
        // What it is then is not known.
        receive(&mut order, &answer(7, &[], true));
        assert_eq!(small(&mut order, &call(21, C(30), 0)), Way::Behind);
        assert_eq!(small(&mut order, &call(22, C(30), 0)), Way::Ahead);
    }

    #[test]
    fn calls_on_the_cells_of_one_anchor_have_to_do_with_each_other() {
        for anchor in [C(3), A(3)] {
            let mut order = Order::default();
            assert_eq!(small(&mut order, &cell(7, anchor)), Way::Ahead);
            assert_eq!(way(&mut order, &call(8, A(7), 0), true), Way::Lane);
            assert_eq!(small(&mut order, &cell(9, C(4))), Way::Ahead);
            assert_eq!(small(&mut order, &call(10, A(9), 0)), Way::Ahead);
            assert_eq!(small(&mut order, &cell(11, anchor)), Way::Lane);
            assert_eq!(small(&mut order, &call(12, A(11), 0)), Way::Lane);
            for question in [7, 9, 11] {
                small(&mut order, &finish(question));
            }
            assert_eq!(order.anchors.len(), 0);
        }
    }

    #[test]
    fn things_are_forgotten_that_nothing_on_the_lane_has_to_do_with() {
        let mut order = Order::default();
        for question in 0..10_000 {
            assert_eq!(way(&mut order, &call(question, C(question), 0), true), Way::Lane);
            if question > 0 {
                order.taken().expect("sent");
            }
            assert!(order.last.len() <= KEPT + 3, "{}", order.last.len());
        }
        order.taken().expect("sent");
        assert_eq!(order.last.len(), 0);
    }
}
