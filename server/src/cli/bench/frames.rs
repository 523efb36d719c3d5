//! Messages of the protocol that are built once and sent many times, and the answers to them.
//!
//! A load generator that built each message and kept capabilities as objects would take as much
//! processor time as the server that it measures. Here a call is a copy of some hundred bytes with its
//! numbers put in, and of an answer only what it is an answer to is read.

use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp::{Error, Word, any_pointer};
use capnp_rpc::rpc_capnp::{self, message, message_target, payload, return_};

/// The questions of one operation: each has as many numbers to itself.
pub(super) const QUESTIONS: u32 = 4;

/// A number that stands for the first question of an operation until it is known; the next questions
/// have the next numbers.
const PLACEHOLDER: u32 = 0x5eed_0f00;

/// What a call goes to.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// A capability that the server exported under this number.
    Export(u32),
    /// The capability at a place in the answer to an earlier question of the same operation.
    Answer { question: u32, pointer: u16 },
}

/// What is sent for one operation: messages in which the numbers of questions, and a name, are put in.
#[derive(Clone, Default)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the number of which question goes.
    numbers: Vec<(usize, u32)>,
    /// Where the name goes.
    name: Option<usize>,
}

/// A name that is put in: as many hex digits.
pub(super) const NAME: &str = "????????????????";

impl Template {
    /// Adds a call: `question` counts from 0 in its operation. What [`NAME`] is in it becomes the name.
    pub(super) fn call(
        &mut self,
        question: u32,
        target: Target,
        (interface, method): (u64, u16),
        fill: impl FnOnce(any_pointer::Builder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.message(|message| {
            call(message, PLACEHOLDER + question, target, (interface, method), fill)
        })
    }

    /// Adds the release of an answer and of all that came with it.
    pub(super) fn finish(&mut self, question: u32) -> Result<(), Error> {
        self.message(|message| {
            finish(message, PLACEHOLDER + question, true);
            Ok(())
        })
    }

    fn message(
        &mut self,
        fill: impl FnOnce(message::Builder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = self.bytes.len();
        self.bytes.extend(encode(fill)?);
        let fresh = &self.bytes[start..];
        for (offset, word) in fresh.as_chunks::<4>().0.iter().enumerate() {
            let number = u32::from_le_bytes(*word).wrapping_sub(PLACEHOLDER);
            if number < QUESTIONS {
                self.numbers.push((start + 4 * offset, number));
            }
        }
        let name = fresh.windows(NAME.len()).position(|window| window == NAME.as_bytes());
        self.name = name.map(|offset| start + offset).or(self.name);
        Ok(())
    }

    /// Writes it to `out` for the operation whose questions begin at `first`.
    pub(super) fn write(&self, first: u32, name: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let fresh = &mut out[start..];
        for &(offset, question) in &self.numbers {
            fresh[offset..offset + 4].copy_from_slice(&(first + question).to_le_bytes());
        }
        if let Some(offset) = self.name {
            for (digit, byte) in fresh[offset..offset + NAME.len()].iter_mut().rev().enumerate() {
                *byte = b"0123456789abcdef"[(name >> (4 * digit)) as usize & 15];
            }
        }
    }
}

fn call(
    message: message::Builder<'_>,
    question: u32,
    target: Target,
    (interface, method): (u64, u16),
    fill: impl FnOnce(any_pointer::Builder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut call = message.init_call();
    call.set_question_id(question);
    call.set_interface_id(interface);
    call.set_method_id(method);
    let mut to: message_target::Builder<'_> = call.reborrow().init_target();
    match target {
        Target::Export(id) => to.set_imported_cap(id),
        Target::Answer { question, pointer } => {
            let mut answer = to.init_promised_answer();
            answer.set_question_id(PLACEHOLDER + question);
            answer.init_transform(1).get(0).set_get_pointer_field(pointer);
        }
    }
    call.reborrow().init_send_results_to().set_caller(());
    fill(call.init_params().init_content())
}

fn finish(message: message::Builder<'_>, question: u32, release: bool) {
    let mut finish = message.init_finish();
    finish.set_question_id(question);
    finish.set_release_result_caps(release);
}

fn encode(fill: impl FnOnce(message::Builder<'_>) -> Result<(), Error>) -> Result<Vec<u8>, Error> {
    let mut message = Builder::new(HeapAllocator::new());
    fill(message.init_root())?;
    Ok(capnp::serialize::write_message_to_words(&message))
}

/// The question for the server's own capability.
pub(super) fn bootstrap(question: u32) -> Result<Vec<u8>, Error> {
    encode(|message| {
        message.init_bootstrap().set_question_id(question);
        Ok(())
    })
}

/// A call on an export, by itself.
pub(super) fn single(
    question: u32,
    target: u32,
    method: (u64, u16),
    fill: impl FnOnce(any_pointer::Builder<'_>) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    encode(|message| call(message, question, Target::Export(target), method, fill))
}

/// The end of a question whose answer's capabilities are kept.
pub(super) fn keep(question: u32) -> Result<Vec<u8>, Error> {
    encode(|message| {
        finish(message, question, false);
        Ok(())
    })
}

/// What came in and is not read yet: `start..end` of the words, as bytes.
pub(super) struct Incoming {
    words: Vec<Word>,
    start: usize,
    end: usize,
}

/// An answer.
pub(super) struct Answer {
    pub(super) question: u32,
    /// The exports that came with it.
    pub(super) exports: Vec<u32>,
    /// Whether the server has forgotten the question already.
    pub(super) finished: bool,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Incoming { words: Word::allocate_zeroed_vec(8192), start: 0, end: 0 }
    }

    /// Where the next bytes belong.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            Word::words_to_bytes_mut(&mut self.words).copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == 8 * self.words.len() {
            let mut larger = Word::allocate_zeroed_vec(2 * self.words.len());
            larger[..self.words.len()].copy_from_slice(&self.words);
            self.words = larger;
        }
        &mut Word::words_to_bytes_mut(&mut self.words)[self.end..]
    }

    /// Notes that `count` bytes were written to [`spare`](Self::spare).
    pub(super) fn fill(&mut self, count: usize) {
        self.end += count;
    }

    /// The next answer, if a whole message is there; with its exports if they are wanted.
    ///
    /// # Errors
    /// The call failed, or what came is not an answer.
    pub(super) fn answer(&mut self, exports: bool) -> Result<Option<Answer>, Error> {
        let bytes = &Word::words_to_bytes(&self.words)[self.start..self.end];
        let Some(len) = message_len(bytes) else { return Ok(None) };
        let Some(mut bytes) = bytes.get(..len) else { return Ok(None) };
        self.start += len;
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(None);
        let message = capnp::serialize::read_message_from_flat_slice_no_alloc(&mut bytes, options)?;
        match message.get_root::<message::Reader<'_>>()?.which()? {
            message::Return(answer) => read(answer?, exports).map(Some),
            message::Abort(abort) => Err(exception(abort?)),
            _ => Err(Error::failed("the server sent something that is no answer".into())),
        }
    }
}

fn read(answer: return_::Reader<'_>, exports: bool) -> Result<Answer, Error> {
    let payload: payload::Reader<'_> = match answer.which()? {
        return_::Results(results) => results?,
        return_::Exception(error) => return Err(exception(error?)),
        _ => return Err(Error::failed("the server gave an answer without results".into())),
    };
    let mut ids = Vec::new();
    if exports {
        for cap in payload.get_cap_table()? {
            match cap.which()? {
                rpc_capnp::cap_descriptor::SenderHosted(id)
                | rpc_capnp::cap_descriptor::SenderPromise(id) => ids.push(id),
                _ => {}
            }
        }
    }
    let (question, finished) = (answer.get_answer_id(), answer.get_no_finish_needed());
    Ok(Answer { question, exports: ids, finished })
}

fn exception(exception: rpc_capnp::exception::Reader<'_>) -> Error {
    let reason = exception.get_reason().ok().and_then(|reason| reason.to_string().ok());
    Error::failed(reason.unwrap_or_else(|| "an error without a reason".into()))
}

/// The length in bytes of the message that begins here, if its table is there.
fn message_len(bytes: &[u8]) -> Option<usize> {
    let numbers = bytes.as_chunks::<4>().0;
    let number = |index: usize| numbers.get(index).map(|&bytes| u32::from_le_bytes(bytes) as usize);
    let segments = number(0)? + 1;
    let mut words = segments / 2 + 1;
    for segment in 0..segments {
        words += number(1 + segment)?;
    }
    Some(8 * words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_put_where_they_belong() {
        let mut template = Template::default();
        let name = |content: any_pointer::Builder<'_>| {
            content.init_as::<capnp::any_pointer::Builder<'_>>().set_as(NAME)
        };
        template.call(0, Target::Export(7), (1, 2), name).unwrap();
        let answer = Target::Answer { question: 0, pointer: 1 };
        template.call(1, answer, (3, 4), |_| Ok(())).unwrap();
        template.finish(1).unwrap();
        let mut out = Vec::new();
        template.write(40, 0xabc, &mut out);
        let mut bytes = &out[..];
        let mut next = || capnp::serialize::read_message(&mut bytes, ReaderOptions::new()).unwrap();
        let message = next();
        let message::Call(Ok(call)) =
            message.get_root::<message::Reader<'_>>().unwrap().which().unwrap()
        else {
            panic!("a call")
        };
        assert_eq!(
            (call.get_question_id(), call.get_interface_id(), call.get_method_id()),
            (40, 1, 2)
        );
        let content = call.get_params().unwrap().get_content();
        let text = content.get_as::<capnp::text::Reader<'_>>().unwrap();
        assert_eq!(text, "0000000000000abc");
        let message = next();
        let message::Call(Ok(call)) =
            message.get_root::<message::Reader<'_>>().unwrap().which().unwrap()
        else {
            panic!("a call")
        };
        assert_eq!(call.get_question_id(), 41);
        let message_target::PromisedAnswer(Ok(answer)) =
            call.get_target().unwrap().which().unwrap()
        else {
            panic!("an answer")
        };
        assert_eq!(answer.get_question_id(), 40);
        let message = next();
        let message::Finish(Ok(finish)) =
            message.get_root::<message::Reader<'_>>().unwrap().which().unwrap()
        else {
            panic!("a finish")
        };
        assert_eq!(finish.get_question_id(), 41);
    }

    #[test]
    fn an_answer_is_read_when_all_of_it_has_come() {
        let mut message = Builder::new_default();
        let mut answer = message.init_root::<message::Builder<'_>>().init_return();
        answer.set_answer_id(9);
        answer.init_results().init_cap_table(1).get(0).set_sender_hosted(5);
        let bytes = capnp::serialize::write_message_to_words(&message);
        let mut incoming = Incoming::new();
        for part in bytes.chunks(5).chain(bytes.chunks(3)) {
            assert!(incoming.end < 2 * bytes.len());
            incoming.spare()[..part.len()].copy_from_slice(part);
            incoming.fill(part.len());
        }
        for _ in 0..2 {
            let answer = incoming.answer(true).unwrap().expect("whole");
            assert_eq!((answer.question, &answer.exports[..]), (9, &[5][..]));
        }
        assert!(incoming.answer(true).unwrap().is_none());
        incoming.spare()[..8].copy_from_slice(&bytes[..8]);
        incoming.fill(8);
        assert!(incoming.answer(true).unwrap().is_none());
    }
}
