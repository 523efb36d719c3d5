//! The bytes of an input, read as what a hostile client does.

/// What is left of an input; behind its end there are zeros.
#[derive(Clone)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.next()) % choices.len()]
    }

    /// One of the ids that are `known`, by its place; or with the highest bit a number of its own.
    pub(super) fn id(&mut self, known: &[u32]) -> u32 {
        let byte = self.next();
        match byte & 0x7f {
            number if byte & 0x80 != 0 || known.is_empty() => u32::from(number),
            place => known[usize::from(place) % known.len()],
        }
    }
}

/// What the first byte of an input says.
#[derive(Clone, Copy)]
pub(super) struct Setup(u8);

impl Setup {
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Self {
        Setup(bytes.next())
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Both clients are served by one worker, not by one each.
    pub(super) fn one_worker(self) -> bool {
        self.has(0x01)
    }

    /// Limits that a few messages meet.
    pub(super) fn tight_limits(self) -> bool {
        self.has(0x02)
    }

    /// How many bytes a stream takes before somebody reads them.
    pub(super) fn stream_bytes(self) -> usize {
        if self.has(0x04) { 100 } else { 1 << 16 }
    }

    /// The server stops while the clients are still there.
    pub(super) fn ends_by_a_stop(self) -> bool {
        self.has(0x08)
    }

    /// The clients' streams break, and do not end in order.
    pub(super) fn ends_abruptly(self) -> bool {
        self.has(0x10)
    }

    /// Connections that send nothing are closed.
    pub(super) fn idle_limit(self) -> bool {
        self.has(0x20)
    }

    /// The hostile clients get a part of the tree, with some rights and within limits.
    pub(super) fn narrowed(self) -> bool {
        self.has(0x40)
    }
}

/// What is done in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bootstrap,
    Call,
    Return,
    Finish,
    Resolve,
    Release,
    Disembargo,
    Abort,
    Unimplemented,
    /// A message of the protocol's higher levels.
    Higher,
    /// Stops reading, or reads on.
    Read,
    Close,
    /// A new connection in place of the one there is.
    Open,
    /// Of the next message, only a part is sent.
    Cut,
    /// What was kept back is sent.
    Rest,
    /// Of the next message, one byte is another.
    Spoil,
    /// Time passes.
    Wait,
    /// The honest client does something, and is answered.
    Honest,
    /// The last step once more, some times.
    Again,
    /// What was granted is taken back: from a hostile client, and from the honest one, by itself.
    Revoke,
}

const STEPS: [Step; 19] = [
    Step::Bootstrap,
    Step::Call,
    Step::Return,
    Step::Finish,
    Step::Resolve,
    Step::Release,
    Step::Disembargo,
    Step::Abort,
    Step::Unimplemented,
    Step::Higher,
    Step::Read,
    Step::Close,
    Step::Open,
    Step::Cut,
    Step::Rest,
    Step::Spoil,
    Step::Wait,
    Step::Honest,
    Step::Again,
];

/// What stands for [`Step::Revoke`]: the last of the bytes, whose meaning without it was another of [`STEPS`].
const REVOKE: u8 = 0x1f;

/// How long the server has after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Until it has nothing left to do.
    Settle,
    /// So many rounds of its tasks.
    Rounds(usize),
}

/// What the first byte of a step says: which client does what, and what comes after.
pub(super) fn step(bytes: &mut Bytes<'_>) -> (usize, Step, Pace) {
    let byte = bytes.next();
    let pace = match byte >> 5 & 3 {
        0 => Pace::Settle,
        1 => Pace::Rounds(0),
        2 => Pace::Rounds(1),
        _ => Pace::Rounds(4),
    };
    let step = match byte & 0x1f {
        REVOKE => Step::Revoke,
        place => STEPS[usize::from(place) % STEPS.len()],
    };
    (usize::from(byte >> 7), step, pace)
}
