//! Channels that the keeper has stored where everybody finds them: what is sent into them, and what comes
//! out.

use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::any_pointer::Owned as Any;
use capnp::capability::FromClientHook;
use capnp::{any_pointer, text};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::channel_capnp::{chan, recver, sender};
use tokio::time::timeout;

use crate::dice::Dice;
use crate::link::{self, Link, cell, walk};
use crate::record::{Connection, Record, Time, now};

/// Where each is, and its capacity.
const CHANNELS: [(&str, usize); 2] = [("channel/handed", 0), ("channel/buffered", 3)];

/// A value that was sent, or may have been.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Of which start of the server, and in which channel.
    at: (usize, usize),
    connection: usize,
    value: u64,
    start: Time,
    /// When that was answered, or given up.
    end: Option<Time>,
    given_up: Option<Time>,
}

/// A call that receives.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    at: (usize, usize),
    connection: usize,
    start: Time,
    /// When it was answered, or given up.
    end: Option<Time>,
    given_up: Option<Time>,
    values: Vec<u64>,
    /// How many values it takes at most.
    most: usize,
}

/// All that was done with channels.
#[derive(Default)]
pub(crate) struct Exchange {
    sent: Vec<Sent>,
    received: Vec<Received>,
    /// The start of the server whose channels were emptied at the end.
    drained: usize,
}

/// The channels that a client has found.
#[derive(Default)]
pub(crate) struct Found(BTreeMap<usize, chan::Client<Any>>);

/// How a client receives.
#[derive(Clone, Copy)]
enum How {
    One,
    Many(usize),
    IfThere,
}

fn value(pointer: any_pointer::Reader<'_>) -> capnp::Result<u64> {
    link::number(pointer.get_as::<text::Reader<'_>>()?.to_str()?)
}

/// What comes of `call`, unless it takes so long that it is given up.
async fn within<T>(
    dice: &mut Dice,
    call: impl Future<Output = capnp::Result<T>>,
) -> Option<capnp::Result<()>> {
    let patience = dice.millis(1, 300);
    timeout(patience, call).await.ok().map(|done| done.map(drop))
}

impl Found {
    async fn channel(&mut self, link: &Link, which: usize) -> capnp::Result<chan::Client<Any>> {
        if let Some(chan) = self.0.get(&which) {
            return Ok(chan.clone());
        }
        let anchor = walk(&link.anchor, CHANNELS[which].0).await?;
        let loaded = cell(&anchor).0.load_request().send().promise.await?;
        let chan: chan::Client<Any> = loaded.get()?.get_value().get_as_capability()?;
        self.0.insert(which, chan.clone());
        Ok(chan)
    }

    /// Sends some values, one without waiting for the other, and sometimes gives them up.
    pub(crate) async fn send(&mut self, link: &Link, dice: &mut Dice) -> capnp::Result<()> {
        let which = usize::from(dice.percent(60));
        let chan = self.channel(link, which).await?;
        let sender: sender::Client<Any> = chan.cast_to();
        let sends = (0..1 + dice.below(3)).map(|_| send(link, &sender, which, dice.below(200)));
        let (ops, sends): (Vec<_>, Vec<_>) = sends.unzip();
        let done = within(dice, futures::future::try_join_all(sends)).await;
        if done.is_none() {
            link.record.gives_up_sends(&ops);
        }
        done.unwrap_or(Ok(()))
    }

    /// Receives what there is, and sometimes gives up.
    pub(crate) async fn recv(&mut self, link: &Link, dice: &mut Dice) -> capnp::Result<()> {
        let which = usize::from(dice.percent(60));
        let chan = self.channel(link, which).await?;
        let how = match dice.below(3) {
            0 => How::One,
            1 => How::Many(1 + usize::try_from(dice.below(4)).expect("a few")),
            _ => How::IfThere,
        };
        let done = within(dice, recv(link, &chan.cast_to(), which, how)).await;
        if done.is_none() {
            link.record.gives_up_receives(link.number);
        }
        done.unwrap_or(Ok(()))
    }
}

/// Sends a value: it is on its way when this returns. The number of the operation, and its end.
fn send(
    link: &Link,
    sender: &sender::Client<Any>,
    which: usize,
    length: u64,
) -> (usize, impl Future<Output = capnp::Result<()>> + use<>) {
    let (record, connection) = (link.record.clone(), link.number);
    let value = record.new_value();
    let op = record.sends(connection, which, value);
    let mut request = sender.send_request();
    let text = link::text(value, usize::try_from(length).expect("a length"));
    let put = request.get().init_value().set_as(text.as_str());
    let answer = request.send().promise;
    let sent = async move {
        put?;
        answer.await?;
        record.sent(op);
        Ok(())
    };
    (op, sent)
}

/// How many values were received.
async fn recv(
    link: &Link,
    recver: &recver::Client<Any>,
    which: usize,
    how: How,
) -> capnp::Result<usize> {
    let most = if let How::Many(most) = how { most } else { 1 };
    let op = link.record.receives(link.number, which, most);
    let values = match how {
        How::One => vec![value(recver.recv_request().send().promise.await?.get()?.get_value()?)?],
        How::Many(most) => {
            let mut request = recver.recv_many_request();
            request.get().set_max(u32::try_from(most).expect("a few"));
            let response = request.send().promise.await?;
            let items = response.get()?.get_items()?;
            items.iter().map(|item| value(item.get_value()?)).collect::<Result<_, _>>()?
        }
        How::IfThere => {
            let response = recver.try_recv_request().send().promise.await?;
            let result = response.get()?;
            let received = result.get_received().then(|| value(result.get_value()?));
            received.transpose()?.into_iter().collect()
        }
    };
    let count = values.len();
    link.record.received(op, values, link.number);
    Ok(count)
}

/// Makes the channels, and stores them.
pub(crate) async fn make(link: &Link) -> capnp::Result<()> {
    for (path, capacity) in CHANNELS {
        let mut request = link.anchor.new_chan_request();
        request.get().set_capacity(u32::try_from(capacity).expect("a few"));
        let chan = request.send().promise.await?.get()?.get_chan()?;
        let anchor: anchor::Client = walk(&link.anchor, path).await?;
        let mut request = cell(&anchor).1.store_request();
        request.get().init_value().set_as_capability(chan.client.hook);
        request.send().promise.await?;
    }
    Ok(())
}

/// Takes out what is left in the channels.
pub(crate) async fn drain(link: &Link) -> capnp::Result<()> {
    let mut found = Found::default();
    for which in 0..CHANNELS.len() {
        let recver = found.channel(link, which).await?.cast_to();
        while recv(link, &recver, which, How::IfThere).await? > 0 {}
    }
    link.record.exchange.borrow_mut().drained = link.record.connection(link.number).server;
    Ok(())
}

impl Record {
    fn sends(&self, connection: usize, which: usize, value: u64) -> usize {
        let at = (self.connection(connection).server, which);
        let sent = &mut self.exchange.borrow_mut().sent;
        let (start, end, given_up) = (now(), None, None);
        sent.push(Sent { at, connection, value, start, end, given_up });
        sent.len() - 1
    }

    fn sent(self: &Rc<Self>, op: usize) {
        let sent = &mut self.exchange.borrow_mut().sent[op];
        sent.end = Some(now());
        let host = self.connection(sent.connection).client;
        self.trace(now(), &host, format_args!("{sent:?}"));
    }

    fn gives_up_sends(&self, ops: &[usize]) {
        let sent = &mut self.exchange.borrow_mut().sent;
        for &op in ops {
            sent[op].given_up = sent[op].end.is_none().then(now);
        }
    }

    /// The one that `connection` has begun last is given up.
    fn gives_up_receives(&self, connection: usize) {
        let received = &mut self.exchange.borrow_mut().received;
        let last = received.iter_mut().rfind(|received| received.connection == connection);
        last.expect("one").given_up = Some(now());
    }

    fn receives(&self, connection: usize, which: usize, most: usize) -> usize {
        let at = (self.connection(connection).server, which);
        let received = &mut self.exchange.borrow_mut().received;
        let (start, end, given_up, values) = (now(), None, None, Vec::new());
        received.push(Received { at, connection, start, end, given_up, values, most });
        received.len() - 1
    }

    fn received(&self, op: usize, values: Vec<u64>, connection: usize) {
        let received = &mut self.exchange.borrow_mut().received[op];
        (received.end, received.values) = (Some(now()), values);
        let host = self.connection(connection).client;
        self.trace(now(), &host, format_args!("#{connection} {received:?}"));
    }
}

impl Sent {
    /// Whether it was sent before `other` for certain: over one connection, in the order of the calls.
    fn is_before(&self, other: &Sent) -> bool {
        let first = self.end.is_some_and(|end| end < other.start);
        first || self.connection == other.connection && self.value < other.value
    }
}

/// How long it may take until the server knows, over a sound link, that a call was given up.
const KNOWN: Time = Time::from_millis(200);

/// When the server knew for certain that what was begun over `connection` is given up.
fn known(given_up: Option<Time>, connection: &Connection) -> Option<Time> {
    let sound = given_up.filter(|time| connection.sound.is_some_and(|sound| sound <= *time));
    sound.map(|time| time + KNOWN).or(connection.closed.map(|closed| closed + KNOWN))
}

/// One channel of one start of the server.
struct Channel<'a> {
    connections: &'a [Connection],
    capacity: usize,
    sent: BTreeMap<u64, &'a Sent>,
    received: Vec<&'a Received>,
}

/// What is wrong with what came out of the channels.
pub(crate) fn check(exchange: &Exchange, connections: &[Connection]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut all: BTreeMap<(usize, usize), Channel<'_>> = BTreeMap::new();
    let new = |at: (usize, usize)| Channel {
        connections,
        capacity: CHANNELS[at.1].1,
        sent: BTreeMap::new(),
        received: Vec::new(),
    };
    for sent in &exchange.sent {
        all.entry(sent.at).or_insert_with(|| new(sent.at)).sent.insert(sent.value, sent);
    }
    for received in &exchange.received {
        all.entry(received.at).or_insert_with(|| new(received.at)).received.push(received);
    }
    for ((server, which), channel) in &all {
        let mut found = channel.each_once_and_none_invented();
        found.extend(channel.in_their_order());
        found.extend(channel.no_more_than_fit());
        found.extend(channel.none_that_was_given_up());
        if *server == exchange.drained {
            found.extend(channel.none_is_lost());
        }
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", CHANNELS[*which].0)));
    }
    wrong
}

impl Channel<'_> {
    /// Which call received each value, and in which place.
    fn takers(&self) -> BTreeMap<u64, (&Received, usize)> {
        let all = self.received.iter().flat_map(|&taker| {
            taker.values.iter().enumerate().map(move |(place, &value)| (value, (taker, place)))
        });
        all.collect()
    }

    fn each_once_and_none_invented(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = BTreeMap::new();
        for taker in &self.received {
            for value in &taker.values {
                if let Some(before) = seen.insert(value, taker) {
                    wrong.push(format!("{value} is received twice: {before:?}, {taker:?}"));
                }
                let begun = |sent: &&Sent| Some(sent.start) <= taker.end;
                if self.sent.get(value).is_none_or(|sent| !begun(sent)) {
                    wrong.push(format!("nobody has sent {value}: {taker:?}"));
                }
            }
        }
        wrong
    }

    /// Of two values, the one that was sent first is not received after the other.
    fn in_their_order(&self) -> Vec<String> {
        let takers = self.takers();
        let mut wrong = Vec::new();
        for (late, (its, its_place)) in &takers {
            for (early, (taker, place)) in &takers {
                let (Some(first), Some(second)) = (self.sent.get(early), self.sent.get(late))
                else {
                    continue;
                };
                let after = its.end.is_some_and(|end| end < taker.start)
                    || std::ptr::eq(*its, *taker) && its_place < place;
                if early != late && first.is_before(second) && after {
                    wrong.push(format!("{late} has overtaken {early}: {its:?}, {taker:?}"));
                }
            }
        }
        wrong
    }

    /// What calls that were never answered may have taken until `time`.
    fn lost(&self, time: Time) -> usize {
        let unknown = self.received.iter().filter(|taker| taker.end.is_none());
        unknown.filter(|taker| taker.start <= time).map(|taker| taker.most).sum()
    }

    /// When a send was answered, all that were but for as many as the buffer holds had a receiver.
    fn no_more_than_fit(&self) -> Vec<String> {
        let takers = self.takers();
        let mut wrong = Vec::new();
        for time in self.sent.values().filter_map(|sent| sent.end) {
            let is_taken =
                |value: u64| takers.get(&value).is_some_and(|(taker, _)| taker.start <= time);
            let waits =
                |sent: &&&Sent| sent.end.is_some_and(|end| end <= time) && !is_taken(sent.value);
            let buffered = self.sent.values().filter(waits).count();
            if buffered > self.capacity + self.lost(time) {
                wrong.push(format!("{time:?} {buffered} values are in it"));
            }
        }
        wrong
    }

    /// A send that was given up sends nothing from then on: without a buffer nobody receives it later.
    fn none_that_was_given_up(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (value, (taker, _)) in self.takers() {
            let Some(sent) = self.sent.get(&value).filter(|_| self.capacity == 0) else { continue };
            let known = known(sent.given_up, &self.connections[sent.connection]);
            if known.is_some_and(|known| known < taker.start) {
                wrong.push(format!("{value} was given up: {sent:?}, {taker:?}"));
            }
        }
        wrong
    }

    /// What was sent has been received, or a call that was never answered may have taken it: one that was
    /// there at the time, and that takes no more than it has asked for.
    fn none_is_lost(&self) -> Vec<String> {
        let takers = self.takers();
        let is_lost = |sent: &&&Sent| sent.end.is_some() && !takers.contains_key(&sent.value);
        let unanswered: Vec<_> = self.received.iter().filter(|taker| taker.end.is_none()).collect();
        let mut losses = Losses { may_have: Vec::new(), taken: vec![Vec::new(); unanswered.len()] };
        let mut wrong = Vec::new();
        for (number, lost) in self.sent.values().filter(is_lost).enumerate() {
            // Those that were sent after it have been received after it was taken.
            let later = takers.iter().filter(|(value, _)| lost.is_before(self.sent[*value]));
            let taken = later.filter_map(|(_, (taker, _))| taker.end).min().unwrap_or(Time::MAX);
            let may_have = |taker: &Received| {
                let known = known(taker.given_up, &self.connections[taker.connection]);
                let was_there = known.is_none_or(|known| lost.start <= known);
                taker.start <= taken && was_there
            };
            let all = unanswered.iter().enumerate().filter(|(_, taker)| may_have(taker));
            losses.may_have.push(all.map(|(index, taker)| (index, taker.most)).collect());
            if !losses.explain(number, &mut vec![false; unanswered.len()]) {
                wrong.push(format!("a value is lost: {lost:?}"));
            }
        }
        wrong
    }
}

/// Which call has taken which of the values that are lost: so that as many as can be are taken by one.
struct Losses {
    /// Of each value, the calls that may have taken it, and how many values they have asked for.
    may_have: Vec<Vec<(usize, usize)>>,
    /// Of each call, the values that it has taken.
    taken: Vec<Vec<usize>>,
}

impl Losses {
    /// Finds a call for `value`, if need be by another one for a value that has one. Those that were `asked` are
    /// not asked again.
    fn explain(&mut self, value: usize, asked: &mut [bool]) -> bool {
        for (call, most) in self.may_have[value].clone() {
            if std::mem::replace(&mut asked[call], true) {
                continue;
            }
            if self.taken[call].len() < most {
                self.taken[call].push(value);
                return true;
            }
            for place in 0..self.taken[call].len() {
                if self.explain(self.taken[call][place], asked) {
                    self.taken[call][place] = value;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: u64, (start, end): (u64, Option<u64>)) -> Sent {
        let (start, end) = (Time::from_millis(start), end.map(Time::from_millis));
        let connection = usize::try_from(value).expect("few");
        Sent { at: (1, 1), connection, value, start, end, given_up: None }
    }

    fn received(values: &[u64], start: u64, end: Option<u64>) -> Received {
        let (start, end) = (Time::from_millis(start), end.map(Time::from_millis));
        let (values, given_up) = (values.to_vec(), None);
        Received { at: (1, 1), connection: 0, start, end, given_up, values, most: 1 }
    }

    fn wrong(sent: Vec<Sent>, received: Vec<Received>) -> Vec<String> {
        let connection = Connection {
            client: "client".into(),
            peer: ([127, 0, 0, 1], 1).into(),
            server: 1,
            left: None,
            failed: None,
            closed: None,
            stopped: false,
            sound: Some(Time::ZERO),
        };
        check(&Exchange { sent, received, drained: 1 }, &vec![connection; 8])
    }

    #[test]
    fn a_channel_that_has_an_order_is_right() {
        let sends = vec![sent(1, (0, Some(5))), sent(2, (6, Some(9))), sent(3, (6, None))];
        let receives = vec![received(&[3], 10, Some(12)), received(&[1], 3, Some(20))];
        let lost = received(&[], 5, None);
        assert_eq!(wrong(sends, [receives, vec![lost]].concat()), Vec::<String>::new());
    }

    #[test]
    fn a_channel_without_an_order_is_wrong() {
        let two = || vec![sent(1, (0, Some(5))), sent(2, (6, Some(9)))];
        let one_late = || vec![sent(1, (400, Some(405)))];
        let handed = || {
            vec![Sent { at: (1, 0), given_up: Some(Time::from_millis(9)), ..sent(1, (0, None)) }]
        };
        let many = (1..6).map(|value| sent(value, (0, Some(5)))).collect();
        let one_by_one = (1..6).map(|value| received(&[value], 10, Some(12))).collect();
        for (what, sends, receives) in [
            ("twice", two(), vec![received(&[1], 7, Some(8)), received(&[1, 2], 7, Some(8))]),
            ("nobody has sent", two(), vec![received(&[1, 2, 7], 7, Some(8))]),
            ("overtaken", two(), vec![received(&[2], 7, Some(8)), received(&[1], 9, Some(12))]),
            ("overtaken", two(), vec![received(&[2, 1], 7, Some(8))]),
            ("is lost", two(), vec![received(&[1], 7, Some(8))]),
            ("is lost", two(), vec![received(&[2], 7, Some(8)), received(&[], 9, None)]),
            ("is lost", two(), vec![received(&[], 1, None)]),
            (
                "is lost",
                one_late(),
                vec![Received { given_up: Some(Time::from_millis(30)), ..received(&[], 9, None) }],
            ),
            (
                "was given up",
                handed(),
                vec![Received { at: (1, 0), ..received(&[1], 500, Some(508)) }],
            ),
            ("are in it", many, one_by_one),
        ] {
            let wrong = wrong(sends, receives);
            assert!(wrong.iter().any(|line| line.contains(what)), "{what}: {wrong:#?}");
        }
    }
}
