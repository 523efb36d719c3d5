//! Text to validated components; pure.
//!
//! A path names something *under* the anchor it is given to. The grammar:
//!
//! ```text
//! path      = component *( "/" component )
//! component = *byte                 ; empty and "." are dropped, ".." is an error
//! byte      = 0x21..=0x7E without "/" and "\"
//! ```

use std::fmt;

use crate::limits::Limits;

/// Why a path is not one. Offsets count bytes from the start of the text, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// A byte that no name may hold: a control character, a space, a backslash, or any byte above
    /// 0x7E.
    BadByte {
        /// The byte itself.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
    /// The component `..`: there is no way up.
    DotDot {
        /// Where the component starts.
        offset: usize,
    },
    /// A component longer than [`Limits::name_bytes`].
    NameTooLong {
        /// Where the component starts.
        offset: usize,
        /// Its length in bytes.
        len: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// A text longer than [`Limits::path_bytes`]. Nothing else about it was checked.
    PathTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// A node that would lie deeper than [`Limits::depth`].
    TooDeep {
        /// Its depth, counted from the root.
        depth: usize,
        /// The limit it exceeds.
        limit: usize,
    },
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PathError::BadByte { byte, offset } => {
                write!(f, "byte 0x{byte:02x}")?;
                match byte {
                    b' ' => write!(f, " (space)")?,
                    b'\\' => write!(f, " (backslash)")?,
                    _ => {}
                }
                write!(f, " at offset {offset} is not allowed in a name")
            }
            PathError::DotDot { offset } => {
                write!(f, "component '..' at offset {offset}: there is no way up")
            }
            PathError::NameTooLong { offset, len, limit } => {
                write!(f, "name of {len} bytes at offset {offset} exceeds the limit of {limit}")
            }
            PathError::PathTooLong { len, limit } => {
                write!(f, "path of {len} bytes exceeds the limit of {limit}")
            }
            PathError::TooDeep { depth, limit } => {
                write!(f, "depth of {depth} below the root exceeds the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for PathError {}

/// How many components there are that name a node, if the text is a path.
pub(crate) fn count(text: &[u8], limits: &Limits) -> usize {
    Names::of(text, limits).map_or(0, Iterator::count)
}

/// The components from one on that names no node: that one, and those below it.
#[derive(Clone, Copy)]
pub(crate) struct Missing<'a> {
    /// Where they begin.
    pub(crate) start: usize,
    pub(crate) first: &'a [u8],
    pub(crate) below: Names<'a>,
}

impl<'a> Missing<'a> {
    /// How many names there are, for nodes below one at `depth`; nothing if they are not names, or too
    /// many, as [`error`](Self::error) says.
    ///
    /// Only a walk that misses a node needs to ask: the names of the nodes that there are satisfy the
    /// grammar and the limits, so the components that name one do too.
    #[inline]
    pub(crate) fn count(&self, depth: usize, limits: &Limits) -> Option<usize> {
        if !is_name(self.first, limits) {
            return None;
        }
        let mut count = 1;
        if !self.below.is_at_end() {
            for name in self.below {
                if !is_name(name, limits) {
                    return None;
                }
                count += 1;
            }
        }
        (depth + count <= limits.depth).then_some(count)
    }

    /// Why there is no [`count`](Self::count).
    #[cold]
    pub(crate) fn error(&self, depth: usize, limits: &Limits) -> PathError {
        if !self.names().all(|name| is_name(name, limits)) {
            return mistake(self.below.text, self.start, limits);
        }
        PathError::TooDeep { depth: depth + self.names().count(), limit: limits.depth }
    }

    /// All of them.
    #[cold]
    pub(crate) fn names(&self) -> Names<'a> {
        let (text, at, window) = (self.below.text, self.start, self.start & !63);
        let behind = u64::MAX << (at - window);
        Names { text, at, window, slashes: slashes(text, window) & behind }
    }
}

/// Whether a component, which holds no `/`, is a name.
#[inline]
fn is_name(name: &[u8], limits: &Limits) -> bool {
    name != b".." && name.len() <= limits.name_bytes && is_plain(name)
}

/// The first mistake in the components from `start` on, of which there is one.
fn mistake(text: &[u8], mut start: usize, limits: &Limits) -> PathError {
    loop {
        let rest = &text[start..];
        let len = rest.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(rest.len());
        match (&rest[..len], rest.get(len)) {
            (_, Some(&byte)) if byte != b'/' => {
                return PathError::BadByte { byte, offset: start + len };
            }
            (b"..", _) => return PathError::DotDot { offset: start },
            (b"" | b".", _) => start += len + 1,
            _ if len > limits.name_bytes => {
                return PathError::NameTooLong { offset: start, len, limit: limits.name_bytes };
            }
            _ => start += len + 1,
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && byte != b'/' && byte != b'\\'
}

/// Whether it is made of the bytes of names alone.
#[inline]
fn is_plain(name: &[u8]) -> bool {
    let mut at = 0;
    let mut bad = 0;
    while at < name.len() {
        // What is missing to eight bytes, `word` fills with zeros, and this with good ones.
        let fill = match name.len() - at {
            left @ 0..8 => (EACH * b'a' as u64) << (8 * left),
            _ => 0,
        };
        let word = word(name, at) | fill;
        let low = word & LOW;
        // The high bit of a byte says: above 0x7F; or 0x7F; or below 0x21; or a backslash.
        bad |= word | (low + EACH) | !(low + EACH * (0x80 - 0x21));
        bad |= zeros(word ^ (EACH * b'\\' as u64));
        at += 8;
    }
    bad & (EACH << 7) == 0
}

/// The components of a text, first to last, empty ones and `.` dropped; names, if [`Missing::count`] says
/// so. A copy goes on from the same place.
///
/// Where the next name ends is known before the last one was looked up: the separators of 64 bytes at
/// a time are found beforehand.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    text: &'a [u8],
    /// Where the next component begins.
    at: usize,
    /// The start of the 64 bytes that `slashes` is about.
    window: usize,
    /// A bit for each separator in the window from `at` on.
    slashes: u64,
}

impl<'a> Names<'a> {
    /// # Errors
    /// [`PathError::PathTooLong`].
    #[inline]
    pub(crate) fn of(text: &'a [u8], limits: &Limits) -> Result<Self, PathError> {
        if text.len() > limits.path_bytes {
            return Err(PathError::PathTooLong { len: text.len(), limit: limits.path_bytes });
        }
        Ok(Names { text, at: 0, window: 0, slashes: slashes(text, 0) })
    }

    /// Where the next component begins, if there is one.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Whether there is no more text.
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(crate) fn none() -> Self {
        Names { text: b"", at: 0, window: 0, slashes: 0 }
    }

    /// Goes on to the next 64 bytes with a separator. Whether there is one.
    #[cold]
    fn slide(&mut self) -> bool {
        while self.slashes == 0 {
            self.window += 64;
            if self.window >= self.text.len() {
                return false;
            }
            self.slashes = slashes(self.text, self.window);
        }
        true
    }

    /// The end of the component that begins at `at`.
    #[inline(always)]
    fn end(&mut self) -> usize {
        if self.slashes == 0 && (self.text.len() <= self.window + 64 || !self.slide()) {
            return self.text.len();
        }
        let end = self.window + self.slashes.trailing_zeros() as usize;
        self.slashes &= self.slashes - 1;
        end
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.is_at_end() {
            let end = self.end();
            let name = &self.text[self.at..end];
            self.at = end + 1;
            if !matches!(name, b"" | b".") {
                return Some(name);
            }
        }
        None
    }
}

/// A bit for each `/` among the 64 bytes from `start` on.
#[inline(always)]
fn slashes(text: &[u8], start: usize) -> u64 {
    let (mut bits, mut offset) = (0, 0);
    while offset < 64 && start + offset < text.len() {
        bits |= slashes_of(word(text, start + offset)) << offset;
        offset += 8;
    }
    bits
}

/// The eight bytes from `at` on, first byte lowest, zero past the end.
#[inline]
pub(crate) fn word(text: &[u8], at: usize) -> u64 {
    let rest = &text[at..];
    if let Some(&whole) = rest.first_chunk() {
        return u64::from_le_bytes(whole);
    }
    match (text.last_chunk(), rest.first_chunk(), rest.last_chunk()) {
        // What comes before `at` is shifted out.
        (Some(&last), ..) => u64::from_le_bytes(last) >> (64 - 8 * rest.len()),
        (_, Some(&first), Some(&last)) => {
            let last = u64::from(u32::from_le_bytes(last)) << (8 * rest.len() - 32);
            u64::from(u32::from_le_bytes(first)) | last
        }
        // The first byte, the middle one and the last are all there are.
        _ => match rest.len() {
            0 => 0,
            len => {
                let byte = |at: usize| u64::from(rest[at]) << (8 * at);
                byte(0) | byte(len / 2) | byte(len - 1)
            }
        },
    }
}

/// A bit for each byte of `word` that is a `/`.
#[inline]
fn slashes_of(word: u64) -> u64 {
    // The eight high bits side by side.
    (zeros(word ^ (EACH * b'/' as u64)) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// One in each byte.
const EACH: u64 = u64::MAX / 0xFF;
/// All bits of each byte but the highest.
const LOW: u64 = EACH * 0x7F;

/// The high bit of each byte of `word` that is zero.
#[inline]
fn zeros(word: u64) -> u64 {
    // No carry leaves a byte.
    !(((word & LOW) + LOW) | word | LOW)
}
