//! One connection of a load: what it holds, what it sends again and again, how long that takes.

use std::io;
use std::time::{Duration, Instant};

use capnp::any_pointer;
use capnp::traits::HasTypeId;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use killick_client::{Address, Identity, Stream, dial};
use killick_schema::api::anchor_capnp::anchor::{self, loader, storer};
use killick_schema::api::channel_capnp::{recver, sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::super::connection::within;
use super::frames::{self, Answer, Incoming, NAME, QUESTIONS, Target, Template};

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// Walk to a path that is there, and release it.
    Walk,
    /// Walk to a path, ask for its cell and load it: three calls, one round trip.
    Get,
    /// Load by a loader that is held.
    Load,
    /// Store 16 bytes, bound to the connection, by a storer that is held.
    Store,
    /// Walk to a path that is not there, which creates it, and release it, which lets it go.
    Create,
    /// List an anchor's children, and release them.
    Ls,
    /// Send 16 bytes into a channel and receive them: two calls, one round trip.
    Send,
    /// 18 of 20 are 'get', one is 'store' and one 'create'.
    Mixed,
}

/// What went wrong in a load.
pub(super) enum LoadError {
    Call(capnp::Error),
    Io(io::Error),
}

impl From<capnp::Error> for LoadError {
    fn from(error: capnp::Error) -> Self {
        LoadError::Call(error)
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        LoadError::Io(error)
    }
}

/// How many operations were done, and how long those took that began after the load was up to speed.
pub(super) struct Measured {
    /// In nanoseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) done: u64,
}

impl Measured {
    pub(super) fn new() -> Self {
        // A minute is the most that can be told apart, to a thousandth.
        let latency = Histogram::new_with_max(60_000_000_000, 3).expect("valid bounds");
        Measured { latency, done: 0 }
    }
}

/// When a load is measured, and when it ends.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// One kind of operation: what is sent, and what each of its questions is ended with.
struct Operation {
    ask: Template,
    questions: u32,
    finish: Vec<Template>,
}

/// An operation under way, or none.
#[derive(Clone, Copy)]
struct Slot {
    started: Instant,
    operation: usize,
    /// Questions without an answer yet.
    left: u32,
    /// Whether the server has to be told that a question is done with, by its bit.
    finish: u32,
}

/// A connection with what a load needs in place.
pub(super) struct Load {
    wire: Wire,
    /// Which operation comes when, by its place in `operations`.
    cycle: Vec<usize>,
    operations: Vec<Operation>,
    next: u64,
}

impl Load {
    /// Connects within `limit`, and prepares for `workload`, below a path of this connection's own.
    pub(super) async fn prepare(
        (address, identity, limit): (&Address, Option<&Identity>, Option<Duration>),
        workload: Workload,
        path: &str,
        children: u32,
    ) -> Result<Self, LoadError> {
        let connected = within(limit, Wire::connect(address, identity)).await;
        let mut wire = connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        let host = wire.ask(frames::bootstrap).await?.export(0)?;
        let folder = wire.walk(host, path).await?;
        let node = wire.walk(folder, "node").await?;
        let operation = match workload {
            Workload::Walk => walk(folder)?,
            Workload::Get => {
                wire.fill(node).await?;
                get(folder)?
            }
            Workload::Load => one(wire.fill(node).await?.0, LOAD, |_| Ok(()))?,
            Workload::Store => store(wire.fill(node).await?.1)?,
            Workload::Create => create(folder)?,
            Workload::Send => {
                let made =
                    wire.ask(|id| frames::single(id, folder, NEW_CHAN, fill_new_chan)).await?;
                send(made.export(0)?)?
            }
            Workload::Mixed => {
                let (_, storer) = wire.fill(node).await?;
                let operations = vec![get(folder)?, store(storer)?, create(folder)?];
                let mut cycle = vec![0; 20];
                (cycle[5], cycle[15]) = (1, 2);
                return Ok(Load { wire, cycle, operations, next: 0 });
            }
            Workload::Ls => {
                let list = wire.walk(folder, "list").await?;
                for child in 0..children {
                    wire.walk(list, &format!("child-{child:08}")).await?;
                }
                one(list, LS, |_| Ok(()))?
            }
        };
        let (cycle, operations) = (vec![0], vec![operation]);
        Ok(Load { wire, cycle, operations, next: 0 })
    }

    /// Keeps `in_flight` operations under way until the end of `span`, and waits for the last ones.
    pub(super) async fn run(&mut self, in_flight: u32, span: Span) -> Result<Measured, LoadError> {
        let mut measured = Measured::new();
        let begun = Instant::now();
        let idle = Slot { started: begun, operation: 0, left: 0, finish: 0 };
        let mut slots = vec![idle; in_flight as usize];
        for (number, slot) in (0..).zip(&mut slots) {
            self.issue(number, slot, begun);
        }
        let mut under_way = slots.len();
        while under_way > 0 || !self.wire.is_flushed() {
            self.wire.exchange().await?;
            let now = Instant::now();
            while let Some(answer) = self.wire.incoming.answer(false)? {
                let index = (answer.question.wrapping_sub(FIRST) / QUESTIONS) as usize;
                let stray = || capnp::Error::failed("an answer to no question".into());
                let slot = slots.get_mut(index).filter(|slot| slot.left > 0).ok_or_else(stray)?;
                slot.left -= 1;
                if !answer.finished {
                    slot.finish |= 1 << (answer.question % QUESTIONS);
                }
                if slot.left > 0 {
                    continue;
                }
                self.finish(index as u32, slot);
                measured.done += 1;
                if slot.started >= span.from && now <= span.until {
                    let took = u64::try_from((now - slot.started).as_nanos()).unwrap_or(u64::MAX);
                    measured.latency.saturating_record(took);
                }
                match now < span.until {
                    true => self.issue(index as u32, slot, now),
                    false => under_way -= 1,
                }
            }
        }
        Ok(measured)
    }

    fn issue(&mut self, slot: u32, state: &mut Slot, now: Instant) {
        let kind = self.cycle[self.next as usize % self.cycle.len()];
        let operation = &self.operations[kind];
        *state = Slot { started: now, operation: kind, left: operation.questions, finish: 0 };
        operation.ask.write(FIRST + slot * QUESTIONS, self.next, &mut self.wire.outgoing);
        self.next += 1;
    }

    fn finish(&mut self, slot: u32, state: &Slot) {
        let operation = &self.operations[state.operation];
        for (question, finish) in operation.finish.iter().enumerate() {
            if state.finish & (1 << question) != 0 {
                finish.write(FIRST + slot * QUESTIONS, 0, &mut self.wire.outgoing);
            }
        }
    }
}

/// The first question of the first operation: far above those that the preparation asks, and a
/// multiple of [`QUESTIONS`].
const FIRST: u32 = 1 << 24;

const ANCHOR: u64 = <anchor::Client as HasTypeId>::TYPE_ID;
const LS: (u64, u16) = (ANCHOR, 0);
const WALK: (u64, u16) = (ANCHOR, 1);
const CELL: (u64, u16) = (ANCHOR, 2);
const LOAD: (u64, u16) = (<loader::Client as HasTypeId>::TYPE_ID, 0);
const STORE: (u64, u16) = (<storer::Client as HasTypeId>::TYPE_ID, 0);

const NEW_CHAN: (u64, u16) = (ANCHOR, 7);
const SEND: (u64, u16) = (<sender::Client<any_pointer::Owned> as HasTypeId>::TYPE_ID, 0);
const RECV: (u64, u16) = (<recver::Client<any_pointer::Owned> as HasTypeId>::TYPE_ID, 0);

/// How many values the channel holds.
const CAPACITY: u32 = 16;

fn fill_walk(path: &str) -> impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()> {
    move |content| {
        content.init_as::<anchor::walk_params::Builder<'_>>().set_path(path);
        Ok(())
    }
}

fn fill_store(content: any_pointer::Builder<'_>) -> capnp::Result<()> {
    let mut store = content.init_as::<storer::store_params::Builder<'_>>();
    store.set_overwrite(true);
    // So that nothing is left behind, however this ends.
    store.set_bound(true);
    store.init_value().set_as(NAME)
}

fn fill_new_chan(content: any_pointer::Builder<'_>) -> capnp::Result<()> {
    content.init_as::<anchor::new_chan_params::Builder<'_>>().set_capacity(CAPACITY);
    Ok(())
}

fn fill_send(content: any_pointer::Builder<'_>) -> capnp::Result<()> {
    let send = content.init_as::<sender::send_params::Builder<'_, any_pointer::Owned>>();
    send.init_value().set_as(NAME)
}

/// An operation of one call to an export.
fn one(
    target: u32,
    method: (u64, u16),
    fill: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
) -> capnp::Result<Operation> {
    let mut ask = Template::default();
    ask.call(0, Target::Export(target), method, fill)?;
    operation(ask, 1)
}

fn operation(ask: Template, questions: u32) -> capnp::Result<Operation> {
    let finish = |question| {
        let mut finish = Template::default();
        finish.finish(question)?;
        Ok(finish)
    };
    let finish = (0..questions).map(finish).collect::<capnp::Result<_>>()?;
    Ok(Operation { ask, questions, finish })
}

fn walk(folder: u32) -> capnp::Result<Operation> {
    one(folder, WALK, fill_walk("node"))
}

fn create(folder: u32) -> capnp::Result<Operation> {
    one(folder, WALK, fill_walk(NAME))
}

fn store(storer: u32) -> capnp::Result<Operation> {
    one(storer, STORE, fill_store)
}

fn send(chan: u32) -> capnp::Result<Operation> {
    let mut ask = Template::default();
    ask.call(0, Target::Export(chan), SEND, fill_send)?;
    ask.call(1, Target::Export(chan), RECV, |_| Ok(()))?;
    operation(ask, 2)
}

fn get(folder: u32) -> capnp::Result<Operation> {
    let mut ask = Template::default();
    ask.call(0, Target::Export(folder), WALK, fill_walk("node"))?;
    ask.call(1, Target::Answer { question: 0, pointer: 0 }, CELL, |_| Ok(()))?;
    ask.call(2, Target::Answer { question: 1, pointer: 0 }, LOAD, |_| Ok(()))?;
    operation(ask, 3)
}

impl Answer {
    fn export(&self, index: usize) -> Result<u32, LoadError> {
        let missing = || capnp::Error::failed("an answer without its capability".into());
        self.exports.get(index).copied().ok_or_else(|| missing().into())
    }
}

/// How long is read from a stream that takes nothing more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A stream, and what goes over it.
struct Wire {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    incoming: Incoming,
    outgoing: Vec<u8>,
    /// How much of `outgoing` has been written.
    written: usize,
    /// Whether all that was written is on its way: encryption keeps some of it until it is told so.
    flushed: bool,
    questions: u32,
}

impl Wire {
    async fn connect(address: &Address, identity: Option<&Identity>) -> io::Result<Self> {
        let (reader, writer) = tokio::io::split(dial(address, identity).await?);
        let (incoming, outgoing) = (Incoming::new(), Vec::new());
        Ok(Wire { reader, writer, incoming, outgoing, written: 0, flushed: true, questions: 0 })
    }

    fn is_flushed(&self) -> bool {
        self.flushed && self.outgoing.is_empty()
    }

    /// Writes or reads what can be, at least something.
    ///
    /// # Errors
    /// What the server said before it closed the connection, if it has, and else what the system says.
    async fn exchange(&mut self) -> Result<(), LoadError> {
        match self.write_or_read().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_words().await.map_or(error.into(), LoadError::Call)),
        }
    }

    /// What the server said last, if that tells why it takes nothing more.
    async fn last_words(&mut self) -> Option<capnp::Error> {
        let rest = async { while !matches!(self.read().await, Err(_) | Ok(0)) {} };
        // It is there already, if it ever comes.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        loop {
            match self.incoming.answer(false) {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let count = self.reader.read(self.incoming.spare()).await?;
        self.incoming.fill(count);
        Ok(count)
    }

    async fn write_or_read(&mut self) -> io::Result<()> {
        let (done, rest) = (self.is_flushed(), &self.outgoing[self.written..]);
        let writer = &mut self.writer;
        let write = async {
            match rest.is_empty() {
                true => writer.flush().await.map(|()| 0),
                false => writer.write(rest).await,
            }
        };
        tokio::select! {
            biased;
            written = write, if !done => {
                let written = written?;
                self.flushed = written == 0;
                self.written += written;
                if self.written == self.outgoing.len() {
                    self.outgoing.clear();
                    self.written = 0;
                }
            }
            count = self.reader.read(self.incoming.spare()) => match count? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.incoming.fill(count),
            }
        }
        Ok(())
    }

    /// Asks one question, whose answer's capabilities are kept.
    async fn ask(
        &mut self,
        message: impl FnOnce(u32) -> capnp::Result<Vec<u8>>,
    ) -> Result<Answer, LoadError> {
        let question = self.questions;
        self.questions += 1;
        self.outgoing.extend(message(question)?);
        loop {
            if let Some(answer) = self.incoming.answer(true)? {
                if !answer.finished {
                    self.outgoing.extend(frames::keep(question)?);
                }
                return Ok(answer);
            }
            self.exchange().await?;
        }
    }

    /// Stores something in the cell of an anchor: the exports of its loader and its storer.
    async fn fill(&mut self, node: u32) -> Result<(u32, u32), LoadError> {
        let cell = self.ask(|id| frames::single(id, node, CELL, |_| Ok(()))).await?;
        let (loader, storer) = (cell.export(0)?, cell.export(1)?);
        self.ask(|id| frames::single(id, storer, STORE, fill_store)).await?;
        Ok((loader, storer))
    }

    /// The export of the anchor at `path`.
    async fn walk(&mut self, from: u32, path: &str) -> Result<u32, LoadError> {
        let answer = self.ask(|id| frames::single(id, from, WALK, fill_walk(path))).await?;
        answer.export(0)
    }
}

/// How long a load runs before it is measured, of the time that it is measured.
pub(super) fn warm_up(duration: Duration) -> Duration {
    (duration / 5).min(Duration::from_secs(1))
}
