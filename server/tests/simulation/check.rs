//! What must hold of all that clients saw.

use std::collections::BTreeMap;

use crate::client::KEPT;
use crate::record::{Connection, How, Op, Outcome, Record, Time, Value, What};
use crate::world::{GONE, GRACE};
use crate::{channels, grants};

/// Checks the whole record, and adds to it what is wrong.
pub(crate) fn check(record: &Record) {
    let connections = record.connections.borrow();
    let mut wrong = Vec::new();
    for (number, connection) in connections.iter().enumerate() {
        wrong.extend(connection.check().map(|what| format!("#{number} {what}: {connection:?}")));
    }
    let mut registers: BTreeMap<(usize, String), Vec<Op>> = BTreeMap::new();
    for op in record.ops.borrow().iter() {
        registers.entry((op.server, op.register.clone())).or_default().push(op.clone());
    }
    for ((_, name), ops) in &registers {
        let register = Register { name, ops, connections: &connections };
        register.check(&mut wrong);
    }
    wrong.extend(channels::check(&record.exchange.borrow(), &connections));
    wrong.extend(grants::check(&record.grants.borrow()));
    wrong.into_iter().for_each(|line| record.wrong(line));
}

/// How long after its link was at fault a connection may be taken for dead.
const EXCUSED: Time = Time::from_millis(500);

/// How long a connection may take from the beginning of its end, with which its values die, to the end:
/// what was written last may wait for its time limit.
const ENDING: Time = Time::from_millis(1500);

impl Connection {
    /// What is wrong with how it ended.
    fn check(&self) -> Option<&'static str> {
        let Connection { left, closed, sound, stopped, failed, .. } = *self;
        let in_time = |left| closed.is_some_and(|closed| closed <= left + GONE);
        if !left.is_none_or(in_time) {
            return Some("was not let go of when its client had gone");
        }
        let ends = |failed| closed.is_some_and(|closed| closed <= failed + ENDING);
        if !failed.is_none_or(ends) {
            return Some("was open when what its client hosts did not work");
        }
        let closed = closed.filter(|closed| !stopped && left.is_none_or(|left| left > *closed))?;
        let sound = sound.is_some_and(|sound| sound.saturating_add(EXCUSED) < closed);
        sound.then_some("was closed although nothing was wrong with it")
    }
}

/// One register of one start of the server, and all that was done to it.
struct Register<'a> {
    name: &'a str,
    ops: &'a [Op],
    connections: &'a [Connection],
}

/// That a register had a value at a revision, as one operation showed.
#[derive(Clone, Copy)]
struct Fact<'a> {
    value: Value,
    op: &'a Op,
}

impl Op {
    fn written(&self) -> Option<Value> {
        match &self.what {
            What::Write { value, .. } => Some(*value),
            What::Load => None,
        }
    }

    fn owners(&self) -> &[usize] {
        match &self.what {
            What::Write { owners, .. } => owners,
            What::Load => &[],
        }
    }

    fn how(&self) -> Option<How> {
        match &self.what {
            What::Write { how, .. } => Some(*how),
            What::Load => None,
        }
    }

    /// The revision that it saw, or made.
    fn revision(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Unknown | Outcome::Refused => None,
            Outcome::Loaded { revision, .. } | Outcome::Wrote { revision, .. } => Some(revision),
        }
    }

    /// Whether it is known to have written.
    fn wrote(&self) -> bool {
        matches!(self.outcome, Outcome::Wrote { done: true, .. })
    }

    /// Whether it may have written.
    fn may_have_written(&self) -> bool {
        let unknown = matches!(self.outcome, Outcome::Unknown);
        self.written().is_some() && (unknown || self.wrote())
    }
}

impl Register<'_> {
    fn check(&self, wrong: &mut Vec<String>) {
        let mut report = |op: &Op, what: String| {
            wrong.push(format!("{}: {what}: {op:?}", self.name));
        };
        for op in self.ops {
            self.seen_value_was_written(op, &mut report);
            self.no_value_of_the_dead(op, &mut report);
            self.no_stale_value(op, &mut report);
        }
        if KEPT.contains(&self.name) {
            self.revisions_never_go_back(&mut report);
            self.revisions_are_explained(&mut report);
        }
    }

    /// The writes that the value which `op` saw may come from.
    fn sources(&self, value: Value) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(move |op| {
            op.may_have_written() && op.written().is_some_and(|written| written.may_be(value))
        })
    }

    /// The values that an operation saw in the register.
    fn saw(op: &Op) -> Option<Value> {
        match op.outcome {
            Outcome::Loaded { value, .. } => Some(value),
            Outcome::Wrote { previous, .. } => previous,
            Outcome::Unknown | Outcome::Refused => None,
        }
    }

    /// A value that is seen was written by a write that began before and was not refused.
    fn seen_value_was_written(&self, op: &Op, report: &mut impl FnMut(&Op, String)) {
        let Some(value) = Self::saw(op) else { return };
        if value != Value::Nothing && !self.sources(value).any(|write| Some(write.start) <= op.end)
        {
            report(op, "nobody wrote what it saw".into());
        }
    }

    /// Nothing is seen of a value some time after the server has let go of one of its owners.
    fn no_value_of_the_dead(&self, op: &Op, report: &mut impl FnMut(&Op, String)) {
        let Some(value) = Self::saw(op).filter(|value| *value != Value::Nothing) else { return };
        let alive = |owner: &usize| {
            self.connections[*owner].closed.is_none_or(|closed| op.start <= closed + GRACE)
        };
        if !self.sources(value).any(|write| write.owners().iter().all(alive)) {
            report(op, "what it saw should have died with its owner".into());
        }
    }

    /// What is seen was not replaced for certain before.
    fn no_stale_value(&self, op: &Op, report: &mut impl FnMut(&Op, String)) {
        let Some(value) = Self::saw(op) else { return };
        let before = |end: Option<Time>, start: Time| end.is_some_and(|end| end < start);
        // The last writes that are known to be done.
        let done: Vec<_> =
            self.ops.iter().filter(|write| write.wrote() && before(write.end, op.start)).collect();
        let fresh = |write: &Op| !done.iter().any(|later| before(write.end, later.start));
        if value != Value::Nothing {
            if !self.sources(value).any(|write| write.end.is_none() || fresh(write)) {
                report(op, "what it saw had been replaced".into());
            }
            return;
        }
        let emptied = |write: &&Op| {
            write.may_have_written()
                && (write.written() == Some(Value::Nothing) || self.may_die(write, op))
        };
        let ever = done.iter().any(|write| write.written() != Some(Value::Nothing));
        if ever && !self.ops.iter().filter(emptied).any(|write| write.end.is_none() || fresh(write))
        {
            report(op, "a value has vanished before it".into());
        }
    }

    /// Whether what `write` wrote may have died before `op` ended.
    fn may_die(&self, write: &Op, op: &Op) -> bool {
        let end = op.end.unwrap_or(Time::MAX);
        let closed = write.owners().iter().filter_map(|&owner| self.connections[owner].closed);
        closed.into_iter().any(|closed| closed.saturating_sub(ENDING) <= end)
    }

    /// Every operation sees at least the revision of each that was over before it began, and a write
    /// makes a later one.
    fn revisions_never_go_back(&self, report: &mut impl FnMut(&Op, String)) {
        for op in self.ops {
            let Some(revision) = op.revision() else { continue };
            let before =
                self.ops.iter().filter(|before| before.end.is_some_and(|end| end < op.start));
            let last = before.filter_map(|before| before.revision()).max().unwrap_or_default();
            let changes = op.wrote() && op.written() != Some(Value::Nothing);
            if revision < last + u64::from(changes) {
                report(op, format!("revision {last} had been seen before it"));
            }
        }
    }

    /// The values that were seen or made at each revision.
    fn facts(&self) -> BTreeMap<u64, Vec<Fact<'_>>> {
        let mut facts: BTreeMap<u64, Vec<Fact<'_>>> = BTreeMap::new();
        let mut add =
            |revision, value, op| facts.entry(revision).or_default().push(Fact { value, op });
        for op in self.ops {
            match op.outcome {
                Outcome::Unknown | Outcome::Refused => {}
                Outcome::Loaded { value, revision } => add(revision, value, op),
                Outcome::Wrote { done: true, revision, previous } => {
                    let value = op.written().unwrap_or(Value::Nothing);
                    add(revision, value, op);
                    match (previous, revision.checked_sub(1)) {
                        (Some(Value::Nothing), _) if value == Value::Nothing => {}
                        (Some(previous), Some(before)) => add(before, previous, op),
                        _ => {}
                    }
                }
                Outcome::Wrote { .. } => {}
            }
        }
        facts
    }

    /// Each revision has one value, and one write, or the death of an owner, that made it.
    fn revisions_are_explained(&self, report: &mut impl FnMut(&Op, String)) {
        let facts = self.facts();
        for (revision, here) in &facts {
            let values_agree = here.iter().all(|fact| fact.value.may_be(here[0].value));
            let changes = |fact: &&Fact<'_>| {
                fact.op.wrote()
                    && fact.op.revision() == Some(*revision)
                    && fact.value != Value::Nothing
            };
            let writes = here.iter().filter(changes).count();
            if !values_agree || writes > 1 {
                report(here[0].op, format!("revision {revision} has more than one value"));
            }
            for Fact { op, .. } in here {
                self.condition_held(op, &facts, report);
            }
        }
        let last = facts.keys().next_back().copied().unwrap_or_default();
        let known = (1..=last).filter(|revision| {
            facts.get(revision).is_some_and(|here| {
                here.iter().any(|fact| fact.op.wrote() && fact.op.revision() == Some(*revision))
            })
        });
        let unknown = usize::try_from(last).expect("a few") - known.count();
        let may_be = self.ops.iter().filter(|op| op.may_have_written() && !op.wrote()).count();
        let died = self
            .ops
            .iter()
            .filter(|op| {
                op.may_have_written()
                    && op.owners().iter().any(|&owner| self.connections[owner].closed.is_some())
            })
            .count();
        if unknown > may_be + died {
            let op = self.ops.last().expect("an operation");
            report(op, format!("{unknown} of {last} revisions were made by nobody"));
        }
    }

    /// A write with a condition was done because it held.
    fn condition_held(
        &self,
        op: &Op,
        facts: &BTreeMap<u64, Vec<Fact<'_>>>,
        report: &mut impl FnMut(&Op, String),
    ) {
        let (Some(how), Some(revision)) = (op.how(), op.revision()) else { return };
        let changed = op.written() != Some(Value::Nothing);
        match how {
            How::IfRevision(expected) if op.wrote() && changed && revision != expected + 1 => {
                report(op, "it was done at another revision".into());
            }
            How::IfEmpty if op.wrote() && changed => {
                let before = revision.checked_sub(1).and_then(|before| facts.get(&before));
                let empty = |fact: &Fact<'_>| fact.value == Value::Nothing;
                if !before.is_none_or(|before| before.iter().all(empty)) {
                    report(op, "it was done although there was a value".into());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation of one connection from a moment to another, in milliseconds.
    fn op(connection: usize, (start, end): (u64, u64), what: What, outcome: Outcome) -> Op {
        let (start, end) = (Time::from_millis(start), Some(Time::from_millis(end)));
        Op { connection, server: 1, register: "kept/a".into(), start, end, what, outcome }
    }

    fn store(time: (u64, u64), value: Value, owners: &[usize], revision: u64) -> Op {
        let what = What::Write { value, owners: owners.to_vec(), how: How::Always };
        op(0, time, what, Outcome::Wrote { done: true, revision, previous: None })
    }

    fn load(time: (u64, u64), value: Value, revision: u64) -> Op {
        op(1, time, What::Load, Outcome::Loaded { value, revision })
    }

    /// What is found wrong with a history of two connections, the first of which ended after a second.
    fn wrong(ops: Vec<Op>) -> Vec<String> {
        let record = Record::default();
        for closed in [Some(Time::from_secs(1)), None] {
            record.connections.borrow_mut().push(Connection {
                client: "client".into(),
                peer: ([127, 0, 0, 1], 1).into(),
                server: 1,
                left: closed,
                failed: None,
                closed,
                stopped: false,
                sound: Some(Time::ZERO),
            });
        }
        record.ops.replace(ops);
        check(&record);
        record.wrong.take()
    }

    const A: Value = Value::Text(1);
    const B: Value = Value::Cap(2);

    #[test]
    fn a_history_that_has_an_order_is_right() {
        let ops = vec![
            store((0, 10), A, &[], 1),
            load((5, 8), Value::Nothing, 0),
            load((11, 20), A, 1),
            store((15, 30), B, &[0], 2),
            load((16, 40), B, 2),
            load((990, 1020), Value::SomeCap, 2),
            load((995, 1030), Value::Nothing, 3),
            load((1100, 1200), Value::Nothing, 3),
        ];
        assert_eq!(wrong(ops), Vec::<String>::new());
    }

    #[test]
    fn a_history_without_an_order_is_wrong() {
        let stored = || store((0, 10), A, &[], 1);
        let owned = || store((15, 30), B, &[0], 2);
        for (what, ops) in [
            ("nobody wrote", vec![stored(), load((11, 20), B, 1)]),
            ("nobody wrote", vec![load((1, 5), A, 1), store((6, 10), A, &[], 1)]),
            ("had been replaced", vec![stored(), owned(), load((31, 40), A, 1)]),
            ("has vanished", vec![stored(), load((11, 20), Value::Nothing, 2)]),
            ("had been seen before", vec![stored(), owned(), load((31, 40), B, 1)]),
            ("more than one value", vec![stored(), store((20, 30), B, &[], 1)]),
            ("died with its owner", vec![stored(), owned(), load((1100, 1200), B, 2)]),
            ("made by nobody", vec![stored(), store((20, 30), B, &[], 5)]),
        ] {
            let wrong = wrong(ops);
            assert!(wrong.iter().any(|line| line.contains(what)), "{what}: {wrong:#?}");
        }
    }
}
