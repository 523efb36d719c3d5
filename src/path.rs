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

/// How many names there are, for nodes below one at `depth`.
///
/// Only a walk that misses a node needs to ask: the names of the nodes that there are satisfy the
/// grammar and the limits, so the components that name one do too.
pub(crate) fn check(names: Names<'_>, depth: usize, limits: &Limits) -> Result<usize, PathError> {
    let Names { text, mut at, .. } = names;
    let mut names = 0;
    while at < text.len() {
        let bytes = text[at..].iter();
        let len = bytes.take_while(|&&byte| is_name(byte)).count();
        if let Some(&byte) = text.get(at + len).filter(|&&byte| byte != b'/') {
            return Err(PathError::BadByte { byte, offset: at + len });
        }
        match &text[at..at + len] {
            b"" | b"." => {}
            b".." => return Err(PathError::DotDot { offset: at }),
            _ if len > limits.name_bytes => {
                return Err(PathError::NameTooLong { offset: at, len, limit: limits.name_bytes });
            }
            _ => names += 1,
        }
        at += len + 1;
    }
    match depth + names {
        depth if depth > limits.depth => Err(PathError::TooDeep { depth, limit: limits.depth }),
        _ => Ok(names),
    }
}

/// Whether a name may hold the byte.
fn is_name(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && byte != b'/' && byte != b'\\'
}

/// The components of a text, first to last, empty ones and `.` dropped; names, if [`check`] is
/// satisfied with the text. A copy goes on from the same place.
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

    pub(crate) fn none() -> Self {
        Names { text: b"", at: 0, window: 0, slashes: 0 }
    }

    /// The end of the component that begins at `at`.
    #[inline]
    fn end(&mut self) -> usize {
        while self.slashes == 0 {
            self.window += 64;
            if self.window >= self.text.len() {
                return self.text.len();
            }
            self.slashes = slashes(self.text, self.window);
        }
        let end = self.window + self.slashes.trailing_zeros() as usize;
        self.slashes &= self.slashes - 1;
        end
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while self.at < self.text.len() {
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
#[inline]
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
fn word(text: &[u8], at: usize) -> u64 {
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
        _ => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A bit for each byte of `word` that is a `/`.
#[inline]
fn slashes_of(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    const LOW: u64 = ONES * 0x7F;
    let other = word ^ (ONES * b'/' as u64);
    // The high bit of each byte that is zero: no carry leaves a byte.
    let zero = !((other & LOW) + LOW | other | LOW);
    // The eight high bits side by side.
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}
