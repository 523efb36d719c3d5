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

/// A text that satisfies the grammar and the limits: what the rest of the crate walks by.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    text: &'a [u8],
    components: usize,
}

impl<'a> Path<'a> {
    /// Checks `text` as a path to be walked from a node at `base_depth`.
    pub(crate) fn parse(
        text: &'a [u8],
        base_depth: usize,
        limits: &Limits,
    ) -> Result<Self, PathError> {
        if text.len() > limits.path_bytes {
            return Err(PathError::PathTooLong { len: text.len(), limit: limits.path_bytes });
        }
        let mut components = 0;
        let mut start = 0;
        for (offset, &byte) in text.iter().enumerate() {
            match byte {
                b'/' => {
                    components += component(text, start, offset, limits)?;
                    start = offset + 1;
                }
                b'\\' => return Err(PathError::BadByte { byte, offset }),
                0x21..=0x7E => {}
                _ => return Err(PathError::BadByte { byte, offset }),
            }
        }
        components += component(text, start, text.len(), limits)?;
        let depth = base_depth + components;
        if depth > limits.depth {
            return Err(PathError::TooDeep { depth, limit: limits.depth });
        }
        Ok(Path { text, components })
    }

    /// How many components [`names`](Self::names) yields.
    pub(crate) fn len(&self) -> usize {
        self.components
    }

    /// The components in order, empty ones and `.` dropped.
    pub(crate) fn names(&self) -> Names<'a> {
        Names { rest: self.text }
    }
}

/// How many names the component `text[start..end]` stands for: one, or none if it is dropped.
#[inline]
fn component(text: &[u8], start: usize, end: usize, limits: &Limits) -> Result<usize, PathError> {
    match &text[start..end] {
        b"" | b"." => Ok(0),
        b".." => Err(PathError::DotDot { offset: start }),
        name if name.len() > limits.name_bytes => {
            let (len, limit) = (name.len(), limits.name_bytes);
            Err(PathError::NameTooLong { offset: start, len, limit })
        }
        _ => Ok(1),
    }
}

/// The names of a [`Path`], first to last. A clone goes on from the same place.
#[derive(Clone)]
pub(crate) struct Names<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let len = self.rest.iter().position(|&b| b == b'/').unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(len);
            self.rest = rest.get(1..).unwrap_or_default();
            if !matches!(name, b"" | b".") {
                return Some(name);
            }
        }
        None
    }
}
