//! What may be done through an anchor.

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::str::FromStr;

/// One thing that may be done through an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Right {
    /// To reach the nodes below, and to create those that are missing.
    Walk,
    /// To reach the nodes below that are there.
    Lookup,
    /// To list the children.
    Ls,
    /// To read cells.
    Load,
    /// To change cells.
    Store,
    /// To be told of changes: with [`Load`](Right::Load) those of a cell, with [`Ls`](Right::Ls) those of
    /// the children.
    Watch,
    /// To hand on a part of what one has.
    Attenuate,
    /// To start programs: nothing that the tree knows of, but what those do who start them at anchors.
    /// Not among [`Rights::ALL`].
    Exec,
}

impl Right {
    /// All that there are.
    pub const ALL: [Right; 8] = [
        Right::Walk,
        Right::Lookup,
        Right::Ls,
        Right::Load,
        Right::Store,
        Right::Watch,
        Right::Attenuate,
        Right::Exec,
    ];

    /// Its name, as it is written and read.
    pub fn name(self) -> &'static str {
        match self {
            Right::Walk => "walk",
            Right::Lookup => "lookup",
            Right::Ls => "ls",
            Right::Load => "load",
            Right::Store => "store",
            Right::Watch => "watch",
            Right::Attenuate => "attenuate",
            Right::Exec => "exec",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that is no [`Right`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRight(
    /// The text.
    pub String,
);

impl fmt::Display for UnknownRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Rights = Right::ALL.into_iter().collect();
        write!(f, "unknown right '{}': there are {all}", self.0)
    }
}

impl std::error::Error for UnknownRight {}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        let found = Right::ALL.into_iter().find(|right| right.name() == text);
        found.ok_or_else(|| UnknownRight(text.to_owned()))
    }
}

/// A set of [`Right`]s. Written and read as their names with commas between; `all`, `none` and `read` are
/// read as well, as the constants of these names.
///
/// # Examples
/// ```
/// use killick::{Right, Rights};
///
/// let rights: Rights = "load,ls".parse()?;
/// assert!(rights.contains(Right::Load) && !rights.contains(Right::Store));
/// assert_eq!((rights | Right::Store.into()).to_string(), "ls,load,store");
/// assert_eq!(Rights::READ & rights, rights);
/// let error = "load,steal".parse::<Rights>().unwrap_err();
/// assert!(error.to_string().starts_with("unknown right 'steal'"));
/// # Ok::<(), killick::UnknownRight>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// None.
    pub const NONE: Rights = Rights(0);
    /// All that the tree knows of: without [`Exec`](Right::Exec), which has to be named to be given.
    pub const ALL: Rights = Rights((1 << Right::Exec as u8) - 1);
    /// All that show and change nothing: [`Lookup`](Right::Lookup), [`Ls`](Right::Ls),
    /// [`Load`](Right::Load) and [`Watch`](Right::Watch).
    pub const READ: Rights = Rights(
        1 << Right::Lookup as u8
            | 1 << Right::Ls as u8
            | 1 << Right::Load as u8
            | 1 << Right::Watch as u8,
    );

    /// Whether `right` is one of them.
    pub fn contains(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// Those that are in it, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |&right| self.contains(right))
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        Rights(1 << right as u8)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Rights::NONE, |all, right| all | right.into())
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Rights(self.0 | other.0)
    }
}

impl BitAnd for Rights {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Rights(self.0 & other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Rights::NONE {
            return f.write_str("none");
        }
        for (index, right) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{right}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

impl FromStr for Rights {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        let read = |name: &str| match name {
            "all" => Ok(Rights::ALL),
            "none" => Ok(Rights::NONE),
            "read" => Ok(Rights::READ),
            _ => name.parse::<Right>().map(Rights::from),
        };
        text.split(',').try_fold(Rights::NONE, |all, name| Ok(all | read(name.trim())?))
    }
}
