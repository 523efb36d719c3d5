//! A client that says anything: it learns ids from what the server says, and uses them well or badly.

use std::collections::HashSet;

use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;
use capnp_rpc::rpc_capnp::message::{self, Which};
use capnp_rpc::rpc_capnp::{cap_descriptor, disembargo, payload, resolve, return_ as answers};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::messages::{self, Ids};
use super::script::{Bytes, Step};

/// One hostile client, and its side of the stream.
#[derive(Default)]
pub(super) struct Hostile {
    stream: Option<DuplexStream>,
    ids: Ids,
    /// The questions that it has asked.
    questions: HashSet<u32>,
    /// What is to be written, and what comes after that is kept back.
    output: Vec<u8>,
    kept: Option<Vec<u8>>,
    /// How many bytes of the next message are kept back.
    cut: Option<usize>,
    /// Which byte of the next message becomes another, and by what.
    spoilt: Option<(usize, u8)>,
    /// Whether something went out, or may, that is no message.
    is_spoilt: bool,
    /// What came and makes no message yet.
    input: Vec<u8>,
    /// What it must not come to know.
    secrets: Vec<&'static str>,
    deaf: bool,
}

impl Hostile {
    /// A client that has just connected.
    pub(super) fn new(stream: DuplexStream, secrets: Vec<&'static str>) -> Self {
        Hostile { stream: Some(stream), secrets, ..Hostile::default() }
    }

    /// Ends the connection at once, in both directions.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Reads on, and sends nothing more.
    pub(super) async fn leave(&mut self) {
        self.deaf = false;
        if let Some(stream) = &mut self.stream {
            // An error means that the server has ended the connection.
            let _ = stream.shutdown().now_or_never();
        }
    }

    /// Sends and reads what can be at this moment.
    pub(super) fn pump(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.output.is_empty() {
            match stream.write(&self.output).now_or_never() {
                Some(Ok(count)) => drop(self.output.drain(..count)),
                Some(Err(_)) => self.output.clear(),
                None => break,
            }
        }
        let mut buffer = [0; 4096];
        while !self.deaf {
            match stream.read(&mut buffer).now_or_never() {
                Some(Ok(count @ 1..)) => self.input.extend(&buffer[..count]),
                _ => break,
            }
        }
        for secret in &self.secrets {
            let mut heard = self.input.windows(secret.len());
            assert!(!heard.any(|heard| heard == secret.as_bytes()), "{secret:?} was told");
        }
        self.understand();
    }

    /// Takes the messages that have come, and the ids in them.
    fn understand(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = &*input;
        while !rest.is_empty() {
            let mut after = rest;
            let message = serialize::read_message_from_flat_slice(&mut after, ReaderOptions::new());
            let Ok(message) = message else { break };
            rest = after;
            let message = message.get_root::<message::Reader<'_>>().expect("a message");
            self.learn(message).expect("what the server says is well-formed");
        }
        self.input = rest.to_vec();
    }

    fn learn(&mut self, message: message::Reader<'_>) -> capnp::Result<()> {
        match message.which()? {
            Which::Call(call) => {
                let call = call?;
                self.ids.asked.push(call.get_question_id());
                self.learn_of(call.get_params()?)
            }
            Which::Return(answer) => {
                let answer = answer?;
                let id = answer.get_answer_id();
                assert!(self.is_spoilt || self.questions.contains(&id), "nobody asked {id}");
                match answer.which()? {
                    answers::Results(results) => self.learn_of(results?),
                    _ => Ok(()),
                }
            }
            Which::Resolve(resolve) => match resolve?.which()? {
                resolve::Cap(cap) => self.learn_one(cap?),
                resolve::Exception(_) => Ok(()),
            },
            Which::Disembargo(disembargo) => {
                if let disembargo::context::SenderLoopback(id) =
                    disembargo?.get_context().which()?
                {
                    self.ids.embargoes.push(id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn learn_of(&mut self, payload: payload::Reader<'_>) -> capnp::Result<()> {
        payload.get_cap_table()?.iter().try_for_each(|cap| self.learn_one(cap))
    }

    fn learn_one(&mut self, cap: cap_descriptor::Reader<'_>) -> capnp::Result<()> {
        if let cap_descriptor::SenderHosted(id) | cap_descriptor::SenderPromise(id) = cap.which()?
            && !self.ids.exports.contains(&id)
        {
            self.ids.exports.push(id);
        }
        Ok(())
    }

    /// Does `step`, as `bytes` say.
    pub(super) fn step(&mut self, step: Step, bytes: &mut Bytes<'_>) {
        match step {
            Step::Read => self.deaf = !self.deaf,
            Step::Close => self.close(),
            Step::Cut => self.cut = Some(usize::from(bytes.next())),
            Step::Rest => {
                let kept = self.kept.take().unwrap_or_default();
                self.output.extend(kept);
            }
            Step::Spoil => {
                self.spoilt = Some((usize::from(bytes.next()), bytes.next()));
                self.is_spoilt = true;
            }
            said => self.say(said, bytes),
        }
    }

    fn say(&mut self, said: Step, bytes: &mut Bytes<'_>) {
        let mut words = Builder::new_default();
        let message = words.init_root::<message::Builder<'_>>();
        let ids = &mut self.ids;
        match said {
            Step::Bootstrap => {
                let id = ids.new_question(bytes.next() & 1 != 0, bytes);
                self.questions.insert(id);
                message.init_bootstrap().set_question_id(id);
            }
            Step::Call => {
                let id = messages::call(ids, bytes, message.init_call());
                self.questions.insert(id);
            }
            Step::Return => messages::answer(ids, bytes, message.init_return()),
            Step::Finish => {
                let flags = bytes.next();
                let mut finish = message.init_finish();
                finish.set_question_id(ids.question(bytes));
                finish.set_release_result_caps(flags & 1 == 0);
                finish.set_require_early_cancellation_workaround(flags & 2 != 0);
            }
            Step::Resolve => messages::resolve(ids, bytes, message.init_resolve()),
            Step::Release => {
                let mut release = message.init_release();
                release.set_id(bytes.id(&ids.exports));
                release.set_reference_count(bytes.pick(&[1, 2, 3, 0, u32::MAX]));
            }
            Step::Disembargo => messages::disembargo(ids, bytes, message.init_disembargo()),
            Step::Abort => message.init_abort().set_reason("that is all"),
            Step::Unimplemented => {
                messages::unimplemented(ids, bytes, message.init_unimplemented());
            }
            _ => messages::higher(ids, bytes, message),
        }
        let mut written = Vec::new();
        serialize::write_message(&mut written, &words).expect("a vector takes it");
        self.send(written);
    }

    /// Has a message written, or the part of it that is not to be kept back.
    fn send(&mut self, mut message: Vec<u8>) {
        if let Some((place, by)) = self.spoilt.take() {
            let place = place % message.len();
            message[place] ^= by;
        }
        if let Some(kept) = &mut self.kept {
            kept.extend(message);
            return;
        }
        if let Some(left) = self.cut.take() {
            self.kept = Some(message.split_off(message.len().saturating_sub(1 + left)));
        }
        self.output.extend(message);
    }
}
