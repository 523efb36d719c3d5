//! Where a message ends, told before anything is allocated for it.
//!
//! A message begins with a table: the number of its segments less one, then the length of each in
//! words, four bytes each, filled up to a whole word. What has come of a message is copied once, to where
//! it stays: [`Frames`] allocates as it comes, so that what is allocated is never more than some times what was
//! sent, and refuses a table over the limits. Between messages it takes no memory.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use capnp::Word;
use capnp::message::ReaderSegments;

use crate::stats::Limit;

/// The most segments a message may have, as in the RPC system.
const MAX_SEGMENTS: usize = 512;

/// What comes over a stream.
pub(super) enum Frame {
    Message(Segments),
    Mark(Mark),
}

/// What one host tells another of its [lane](super::lane): eight bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The next message of the lane has its place here.
    Due = 1,
    /// What follows waits for all of the lane that have theirs before it.
    Await = 2,
    /// The next message of the lane was taken.
    Taken = 3,
}

impl Mark {
    /// In the place of the number of segments, which none has so many of.
    const SIGN: [u8; 4] = [0xff; 4];
    const LEN: usize = 8;

    pub(super) fn bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = Self::SIGN;
        [a, b, c, d, self as u8, 0, 0, 0]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let is_this = |mark: &Mark| mark.bytes() == bytes;
        [Mark::Due, Mark::Await, Mark::Taken].into_iter().find(is_this)
    }
}

/// Messages that have come in, and the beginning of one.
pub(super) struct Frames {
    whole: VecDeque<Frame>,
    /// The beginning of a table, or of a mark.
    start: Vec<u8>,
    /// That of a message whose table is there; in a box, as it is rare between reads.
    partial: Option<Box<Partial>>,
    max_words: usize,
    /// Whether there may be marks.
    marked: bool,
}

impl Frames {
    /// Nothing yet; a message may have `max_words` words.
    pub(super) fn new(max_words: usize) -> Self {
        Frames {
            whole: VecDeque::new(),
            start: Vec::new(),
            partial: None,
            max_words,
            marked: false,
        }
    }

    /// From here on there may be marks.
    pub(super) fn mark(&mut self) {
        self.marked = true;
    }

    /// The next message or mark, if a whole one is there.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let next = self.whole.pop_front();
        if self.whole.is_empty() {
            self.whole = VecDeque::new();
        }
        next
    }

    /// Whether a whole message is there.
    pub(super) fn has_next(&self) -> bool {
        !self.whole.is_empty()
    }

    /// Whether the last bytes begin a message that has not all come.
    pub(super) fn is_partial(&self) -> bool {
        self.partial.is_some() || !self.start.is_empty()
    }

    /// Takes `bytes`, which came in; none are the end. Whether a message is whole now that was not.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() && self.is_partial() {
            let left = self.partial.as_ref().map_or(self.start.len(), |partial| partial.bytes());
            let error = format!("the connection ended {left} bytes into a message");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        let before = self.whole.len();
        let rest = &bytes[self.partial.as_mut().map_or(0, |partial| partial.fill(bytes))..];
        if let Some(whole) = self.partial.take_if(|partial| partial.is_whole()) {
            self.whole.push_back(Frame::Message(whole.message));
        }
        if self.start.is_empty() {
            let used = self.cut(rest)?;
            self.start.extend_from_slice(&rest[used..]);
        } else {
            let mut start = std::mem::take(&mut self.start);
            start.extend_from_slice(rest);
            let used = self.cut(&start)?;
            self.start.extend_from_slice(&start[used..]);
        }
        Ok(self.whole.len() > before)
    }

    /// Copies the messages out that `bytes` begin with, the last of them in part: how many bytes they take.
    fn cut(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if self.marked && rest.starts_with(&Mark::SIGN) {
                let Some(mark) = rest.get(..Mark::LEN) else { break };
                let mark = Mark::from_bytes(mark);
                let mark = mark.ok_or_else(|| refused("a mark that there is not".to_owned()))?;
                self.whole.push_back(Frame::Mark(mark));
                used += Mark::LEN;
                continue;
            }
            let Some((table, len)) = frame_len(rest, self.max_words)? else { break };
            let mut message = Partial::new(&rest[..table], len - table);
            used += table + message.fill(&rest[table..]);
            if !message.is_whole() {
                self.partial = Some(Box::new(message));
                break;
            }
            self.whole.push_back(Frame::Message(message.message));
        }
        Ok(used)
    }
}

/// How many times what has come of a message there is room for, if so much is to come: of 2, most messages
/// would be copied once more, and half of one at once. What nothing has come to takes no memory yet.
const AHEAD: usize = 16;

/// A message of which all has come up to some byte.
struct Partial {
    message: Segments,
    /// How many bytes have come, and how many come in all, without the table's.
    filled: usize,
    len: usize,
}

impl Partial {
    /// Nothing yet of a message with this table, of `len` bytes.
    fn new(table: &[u8], len: usize) -> Self {
        Partial { message: Segments::new(table), filled: 0, len }
    }

    /// Takes what belongs to the message: how many bytes.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        const ZERO: Word = capnp::word(0, 0, 0, 0, 0, 0, 0, 0);
        let words = &mut self.message.words;
        let (start, end) = (self.filled, self.len.min(self.filled + bytes.len()));
        if end > 8 * words.capacity() {
            // What was sent decides, not what was announced.
            let capacity = (AHEAD * end).min(self.len) / 8;
            words.reserve_exact(capacity - words.len());
        }
        words.resize(end.div_ceil(8), ZERO);
        let count = end - start;
        Word::words_to_bytes_mut(words)[start..end].copy_from_slice(&bytes[..count]);
        self.filled = end;
        count
    }

    fn is_whole(&self) -> bool {
        self.filled == self.len
    }

    /// How many bytes have come, those of the table too.
    fn bytes(&self) -> usize {
        table_len(self.message.len()) + self.filled
    }
}

/// The content of a message, in memory of its own.
pub(super) struct Segments {
    words: Vec<Word>,
    /// Where each segment ends, in bytes; empty if there is one, which ends where the words do.
    ends: Vec<usize>,
}

impl Segments {
    /// No content yet of a message with this table.
    fn new(table: &[u8]) -> Self {
        let mut ends = Vec::new();
        let (count, lengths) = table.split_at(4);
        if count != [0; 4] {
            let last = count.try_into().map_or(0, u32::from_le_bytes) as usize;
            let mut end = 0;
            for length in lengths.chunks_exact(4).take(last + 1) {
                end += 8 * length.try_into().map_or(0, u32::from_le_bytes) as usize;
                ends.push(end);
            }
        }
        Segments { words: Vec::new(), ends }
    }

    /// The size of all of them.
    pub(super) fn bytes(&self) -> usize {
        Word::words_to_bytes(&self.words).len()
    }
}

/// A message that is read more than once.
#[derive(Clone)]
pub(super) struct SharedSegments(pub(super) Rc<Segments>);

impl ReaderSegments for SharedSegments {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        self.0.get_segment(index)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl ReaderSegments for Segments {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let (bytes, index) = (Word::words_to_bytes(&self.words), index as usize);
        if self.ends.is_empty() {
            return (index == 0).then_some(bytes);
        }
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        bytes.get(start..end)
    }

    fn len(&self) -> usize {
        self.ends.len().max(1)
    }
}

/// The lengths in bytes of the table and of the whole message that begins with `bytes`, if its table
/// is there.
fn frame_len(bytes: &[u8], max_words: usize) -> io::Result<Option<(usize, usize)>> {
    let number = |index: usize| {
        let bytes = bytes.get(4 * index..4 * index + 4)?;
        bytes.try_into().ok().map(|bytes| u32::from_le_bytes(bytes) as usize)
    };
    let Some(last) = number(0) else { return Ok(None) };
    if last >= MAX_SEGMENTS {
        let count = last + 1;
        return Err(refused(format!(
            "not a Cap'n Proto message: {count} segments exceed the limit of {MAX_SEGMENTS}"
        )));
    }
    let segments = last + 1;
    let table_bytes = table_len(segments);
    if bytes.len() < table_bytes {
        return Ok(None);
    }
    let words: usize = (1..=segments).filter_map(number).sum();
    if words > max_words {
        let [bytes, limit] = [words, max_words].map(|words| words.saturating_mul(8));
        let name = Limit::MessageBytes;
        let error = format!("message of {bytes} bytes exceeds the limit of {limit}{name}");
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, error));
    }
    if words == 0 {
        return Err(refused("not a Cap'n Proto message: it is empty".to_owned()));
    }
    Ok(Some((table_bytes, table_bytes + 8 * words)))
}

/// The length in bytes of the table of so many segments.
fn table_len(segments: usize) -> usize {
    (4 + 4 * segments).next_multiple_of(8)
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of segments with these lengths in words.
    fn message(segments: &[u32]) -> Vec<u8> {
        let mut bytes = (segments.len() as u32 - 1).to_le_bytes().to_vec();
        segments.iter().for_each(|words| bytes.extend(words.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let words: u32 = segments.iter().sum();
        bytes.extend((0..8 * words).map(|byte| byte as u8));
        bytes
    }

    /// As it comes from a socket: some thousand bytes at a time.
    fn feed(frames: &mut Frames, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(5000).try_for_each(|piece| frames.take(piece).map(|_| ()))
    }

    /// What the messages that are there were on the wire.
    fn drain(frames: &mut Frames) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(Frame::Message(message)) = frames.next() {
            let written = capnp::serialize::write_message_segments(&mut taken, &message);
            written.expect("a vector takes it");
            assert!(message.get_segment(message.len() as u32).is_none());
        }
        taken
    }

    #[test]
    fn bytes_are_held_back_until_their_message_is_whole() {
        for segments in [&[1][..], &[1, 2], &[3, 0, 1], &[1, 1, 1, 1], &[5000, 5000, 1]] {
            let whole = message(segments);
            let mut frames = Frames::new(1 << 20);
            let (last, before) = whole.split_last().expect("not empty");
            feed(&mut frames, before).expect("well-formed");
            assert!(drain(&mut frames).is_empty(), "{segments:?}");
            feed(&mut frames, &[*last]).expect("well-formed");
            assert_eq!(drain(&mut frames), whole, "{segments:?}");
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let all: Vec<u8> =
            [&[1][..], &[2, 3], &[4000], &[1, 0, 2]].into_iter().flat_map(message).collect();
        for step in [1, 3, 8, 1000, all.len()] {
            let mut frames = Frames::new(1 << 20);
            let mut out = Vec::new();
            for piece in all.chunks(step) {
                feed(&mut frames, piece).expect("well-formed");
                out.extend(drain(&mut frames));
            }
            assert!(out == all, "cut into pieces of {step}");
            frames.take(&[]).expect("ends between messages");
            assert!(!frames.is_partial());
            assert_eq!((frames.start.capacity(), frames.whole.capacity()), (0, 0));
        }
    }

    #[test]
    fn marks_stand_between_messages_where_there_may_be_any() {
        let all = [&message(&[1])[..], &Mark::Due.bytes(), &message(&[2]), &Mark::Taken.bytes()];
        let all = all.concat();
        for step in [1, 3, 8, all.len()] {
            let mut frames = Frames::new(1 << 20);
            frames.mark();
            for piece in all.chunks(step) {
                frames.take(piece).expect("well-formed");
            }
            let mut marks = Vec::new();
            while let Some(frame) = frames.next() {
                marks.push(match frame {
                    Frame::Message(_) => None,
                    Frame::Mark(mark) => Some(mark),
                });
            }
            assert_eq!(marks, [None, Some(Mark::Due), None, Some(Mark::Taken)]);
        }
        let mut frames = Frames::new(1 << 20);
        frames.take(&Mark::Due.bytes()).expect_err("a client has none");
        frames.mark();
        frames.take(&[0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0]).expect_err("no such mark");
    }

    #[test]
    fn an_announced_message_is_not_allocated() {
        let mut frames = Frames::new(1 << 20);
        feed(&mut frames, &[0, 0, 0, 0, 0, 0, 8, 0, 1, 2, 3]).expect("within the limit");
        let allocated = |frames: &Frames| {
            frames.partial.as_ref().map(|partial| 8 * partial.message.words.capacity())
        };
        assert!(allocated(&frames).expect("its table is there") <= AHEAD * 3);
        let mut sent = 3;
        while sent < 1 << 20 {
            feed(&mut frames, &[0; 4000]).expect("within the limit");
            sent += 4000;
            assert!(allocated(&frames).expect("not whole") <= AHEAD * sent);
        }
        let mut frames = Frames::new(1 << 20);
        feed(&mut frames, &[0, 0, 0, 0, 0, 0, 8, 0, 1, 2, 3]).expect("within the limit");
        let error = frames.take(&[]).expect_err("cut off");
        assert!(error.to_string().contains("11 bytes into a message"), "{error}");
    }

    #[test]
    fn a_table_over_the_limits_is_refused_as_soon_as_it_is_there() {
        for (bytes, expected) in [
            (&b"GET "[..], "542393672 segments exceed the limit of 512"),
            (&[0, 0, 0, 0, 101, 0, 0, 0], "808 bytes exceeds the limit of 800 (max-message-bytes)"),
            (&[0, 0, 0, 0, 0, 0, 0, 0], "it is empty"),
            (&[0xff; 4], "4294967296 segments"),
        ] {
            let error = feed(&mut Frames::new(100), bytes).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
