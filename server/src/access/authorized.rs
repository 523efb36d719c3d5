//! The `authorized` file: which key gets which anchor.
//!
//! ```text
//! # fingerprint of the key                                           its root          what it may do there
//! 3e5cc4d0a16be23ed2bf9d39bd2e4ccaed9ee5bd7dd77a9b9f14f14cb4a4f4a5   /apps/billing     # alice: everything
//! 77a9b9f14f14cb4a4f4a53e5cc4d0a16be23ed2bf9d39bd2e4ccaed9ee5bd7dd   /apps   rights=read nodes=1000   # bob
//! ```

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use killick::{Allowance, Limits, PathError, Resource, Rights, Tree, UnknownRight};
use killick_client::{Fingerprint, FingerprintError};

/// What a client gets as its root: an anchor of the host's tree, or the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Names with `/` between them, none before the first; empty is the host.
    path: Arc<str>,
    /// The rights and the limits, if it is not everything.
    narrowed: Option<(Rights, Allowance)>,
}

impl Grant {
    /// The whole host.
    pub(crate) fn host() -> Self {
        Grant { path: Arc::from(""), narrowed: None }
    }

    /// The path of the anchor; none is the host.
    pub(crate) fn anchor(&self) -> Option<&str> {
        let is_host = self.path.is_empty() && self.narrowed.is_none();
        (!is_host).then_some(&*self.path)
    }

    /// The rights and the limits, if it is not everything.
    pub(crate) fn narrowed(&self) -> Option<(Rights, Allowance)> {
        self.narrowed
    }
}

/// The keys whose holders may connect over TLS, and the anchor that each of them gets as its root. By
/// default there are none.
///
/// It is a file with a line for each key: the [`Fingerprint`], the path of the anchor, and what follows a
/// `#` is a comment. The path begins with `/` and is one in the tree of this host: `/` alone is the host
/// itself, with all that it tells.
///
/// After the path may stand what the key may do there, where it is not everything: `rights=` with the names
/// of [`Rights`] and commas between, and `nodes=`, `depth=`, `value-bytes=`, `watches=` and `channels=` with
/// the most that it may have at a time, by all connections together: an [`Allowance`]. What tells of the
/// host is no part of it then.
///
/// # Examples
/// ```
/// use killick_server::Authorized;
///
/// let limits = killick::Limits::default();
/// let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// let read = Authorized::parse(&format!("# people\n{key} /apps/billing # alice\n"), &limits);
/// assert_eq!(read.map(|authorized| authorized.len()), Ok(1));
/// let error = Authorized::parse(&format!("{key} apps"), &limits).unwrap_err();
/// assert_eq!(error.to_string(), "line 1: the path 'apps' does not begin with '/'");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorized(Option<Arc<HashMap<Fingerprint, Grant>>>);

/// Why a text is no list of authorized keys: what is wrong with the first bad line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// It does not begin with a fingerprint.
    Fingerprint(FingerprintError),
    /// The path is missing.
    NoPath,
    /// The path does not begin with `/`.
    Relative(String),
    /// The path has a `#` in it, which may be meant to begin a comment.
    Hash(String),
    /// The path is none by the grammar, or is beyond the limits of the tree.
    Path(PathError),
    /// Something follows the path that is neither a right or a limit nor a comment.
    Surplus(String),
    /// A right or a limit is given twice.
    Again(String),
    /// A right that there is not.
    Right(UnknownRight),
    /// A limit that is no number.
    Number(String),
    /// The fingerprint stands in an earlier line as well.
    Twice {
        /// The fingerprint.
        key: Fingerprint,
        /// The number of that line.
        before: usize,
    },
}

/// Why there is no list of authorized keys.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthorizedError {
    /// The file cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is a folder, a pipe or a device: reading it might never end.
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Everybody may change the file.
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A line is wrong.
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        error: BadLine,
    },
}

/// A line that is wrong, and in what way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: LineError,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Fingerprint(error) => error.fmt(f),
            LineError::NoPath => f.write_str("the path after the fingerprint is missing"),
            LineError::Relative(path) => write!(f, "the path '{path}' does not begin with '/'"),
            LineError::Hash(path) => {
                write!(f, "the path '{path}' has a '#' in it; a comment begins after a blank")
            }
            LineError::Path(error) => write!(f, "the path: {error}"),
            LineError::Surplus(text) => {
                write!(f, "'{text}' after the path; there may be rights=, ")?;
                for resource in Resource::ALL {
                    write!(f, "{resource}=, ", resource = resource.name())?;
                }
                f.write_str("and a comment, which begins with '#'")
            }
            LineError::Again(name) => write!(f, "{name}= is given twice"),
            LineError::Right(error) => error.fmt(f),
            LineError::Number(text) => write!(f, "'{text}': not a number"),
            LineError::Twice { key, before } => {
                write!(f, "the fingerprint {key} stands in line {before} already")
            }
        }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.error)
    }
}

impl fmt::Display for AuthorizedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthorizedError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            AuthorizedError::NotAFile { path } => {
                write!(f, "{}: not a regular file", path.display())
            }
            AuthorizedError::Open { path, mode } => {
                write!(f, "{}: everybody may change it (mode {mode:04o})", path.display())
            }
            AuthorizedError::Line { path, error: BadLine { line, error } } => {
                write!(f, "{}:{line}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for BadLine {}

impl std::error::Error for AuthorizedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AuthorizedError::Io { error, .. } => Some(error),
            AuthorizedError::NotAFile { .. }
            | AuthorizedError::Open { .. }
            | AuthorizedError::Line { .. } => None,
        }
    }
}

impl Authorized {
    /// Reads the file at `path`, for a tree with these limits.
    ///
    /// # Errors
    /// All of it is taken or nothing: the first thing that is wrong, with its line.
    pub fn read(path: &Path, limits: &Limits) -> Result<Self, AuthorizedError> {
        let failed = |error| AuthorizedError::Io { path: path.to_owned(), error };
        // Of a pipe even the opening may never end.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(AuthorizedError::NotAFile { path: path.to_owned() });
        }
        let file = fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o002 != 0 {
            return Err(AuthorizedError::Open { path: path.to_owned(), mode });
        }
        let text = io::read_to_string(file).map_err(failed)?;
        Authorized::parse(&text, limits)
            .map_err(|error| AuthorizedError::Line { path: path.to_owned(), error })
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, BadLine> {
        // A look-up in an empty tree checks a path and no more.
        let grammar = Tree::<()>::new(*limits);
        let mut granted: HashMap<Fingerprint, (usize, Grant)> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let bad = |error| BadLine { line, error };
            let Some((key, grant)) = parse_line(text, &grammar).map_err(bad)? else { continue };
            if let Some((before, _)) = granted.insert(key, (line, grant)) {
                return Err(bad(LineError::Twice { key, before }));
            }
        }
        let granted = granted.into_iter().map(|(key, (_, grant))| (key, grant));
        Ok(Authorized(Some(Arc::new(granted.collect()))))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |keys| keys.len())
    }

    /// Whether nobody may connect over TLS.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a list, be it of nobody.
    pub(crate) fn is_list(&self) -> bool {
        self.0.is_some()
    }

    /// What the holder of `key` gets.
    pub(crate) fn grant(&self, key: &Fingerprint) -> Option<Grant> {
        self.0.as_ref()?.get(key).cloned()
    }
}

/// What one line says, if it says something.
fn parse_line(text: &str, grammar: &Tree<()>) -> Result<Option<(Fingerprint, Grant)>, LineError> {
    // Blanks of other alphabets are bytes that no path may have.
    let mut words = text.split_ascii_whitespace();
    let Some(key) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
    let key = key.parse().map_err(LineError::Fingerprint)?;
    let path = words.next().filter(|word| !word.starts_with('#')).ok_or(LineError::NoPath)?;
    if !path.starts_with('/') {
        return Err(LineError::Relative(path.to_owned()));
    }
    if path.contains('#') {
        return Err(LineError::Hash(path.to_owned()));
    }
    grammar.root().lookup(path).map_err(LineError::Path)?;
    let names: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let narrowed = parse_narrowed(words.take_while(|word| !word.starts_with('#')))?;
    Ok(Some((key, Grant { path: Arc::from(names.join("/")), narrowed })))
}

/// What a key may do, if that is said.
fn parse_narrowed<'a>(
    words: impl Iterator<Item = &'a str>,
) -> Result<Option<(Rights, Allowance)>, LineError> {
    let (mut rights, mut limits) = (None, HashMap::new());
    for word in words {
        let surplus = || LineError::Surplus(word.to_owned());
        let (name, value) = word.split_once('=').ok_or_else(surplus)?;
        let before = match Resource::ALL.into_iter().find(|resource| resource.name() == name) {
            Some(resource) => {
                let limit = value.parse().map_err(|_| LineError::Number(word.to_owned()))?;
                limits.insert(resource, limit).is_some()
            }
            None if name == "rights" => {
                rights.replace(value.parse().map_err(LineError::Right)?).is_some()
            }
            None => return Err(surplus()),
        };
        if before {
            return Err(LineError::Again(name.to_owned()));
        }
    }
    if rights.is_none() && limits.is_empty() {
        return Ok(None);
    }
    let with = |all: Allowance, (resource, limit)| all.with(resource, limit);
    let allowance = limits.into_iter().fold(Allowance::default(), with);
    Ok(Some((rights.unwrap_or(Rights::ALL), allowance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn parse(text: &str) -> Result<Authorized, BadLine> {
        Authorized::parse(text, &Limits { depth: 3, ..Limits::default() })
    }

    #[test]
    fn a_key_gets_the_anchor_of_its_line_and_no_other_key_gets_anything() {
        let text = format!(
            "# people\n\n  {} /apps/1 #alice\n{}\t/\n{} //a/./b/\n",
            key('a'),
            key('B'),
            key('c')
        );
        let read = parse(&text).expect("three lines");
        let granted = |digit| read.grant(&key(digit).parse().expect("a key"));
        assert_eq!(granted('a').expect("a line").anchor(), Some("apps/1"));
        assert_eq!(granted('b').expect("a line"), Grant::host());
        assert_eq!(granted('c').expect("a line").anchor(), Some("a/b"));
        assert_eq!((granted('d'), read.len()), (None, 3));
        assert!(parse("").expect("nothing").is_empty());
    }

    #[test]
    fn a_line_may_say_what_the_key_may_do() {
        let text = format!("{} / rights=read watches=7 #x\n{} /a depth=2\n", key('a'), key('b'));
        let read = parse(&text).expect("two lines");
        let granted = |digit| read.grant(&key(digit).parse().expect("a key")).expect("a line");
        let watches = Allowance { watches: 7, ..Allowance::default() };
        assert_eq!(granted('a').anchor(), Some(""), "a part of the host is not the host");
        assert_eq!(granted('a').narrowed(), Some((Rights::READ, watches)));
        let depth = Allowance { depth: 2, ..Allowance::default() };
        assert_eq!(granted('b').narrowed(), Some((Rights::ALL, depth)));
    }

    #[test]
    fn a_bad_line_is_told_with_its_number_and_what_is_wrong() {
        let a = key('a');
        for (text, expected) in [
            (format!("\n{a}"), "line 2: the path after the fingerprint is missing"),
            (format!("{a} # /x"), "line 1: the path after the fingerprint is missing"),
            (format!("{a} x"), "line 1: the path 'x' does not begin with '/'"),
            (format!("{a} /x/../y"), "line 1: the path: component '..' at offset 3"),
            (format!("{a} /a/b/c/d"), "line 1: the path: "),
            (format!("{a} /x#y"), "line 1: the path '/x#y' has a '#' in it"),
            (format!("{a} /x\u{a0}#y"), "line 1: the path '/x\u{a0}#y' has a '#' in it"),
            (format!("{a} /x\u{a0}y"), "line 1: the path: byte 0xc2"),
            (format!("{a} /x read"), "line 1: 'read' after the path"),
            (format!("{a} /x y z"), "line 1: 'y' after the path"),
            (format!("{a} /x rights=read,fly"), "line 1: unknown right 'fly'"),
            (format!("{a} /x rights="), "line 1: unknown right ''"),
            (format!("{a} /x nodes=many"), "line 1: 'nodes=many': not a number"),
            (format!("{a} /x nodes=1 nodes=2"), "line 1: nodes= is given twice"),
            (
                format!("{a} /x node=1"),
                "line 1: 'node=1' after the path; there may be rights=, nodes=",
            ),
            (format!("{} /x", &a[1..]), "line 1: a fingerprint has 64 hex digits, not 63"),
            (
                format!("{}g /x", &a[1..]),
                "line 1: a fingerprint has 64 hex digits, and 'g' is none",
            ),
            ("/x".into(), "line 1: a fingerprint has 64 hex digits"),
            (
                format!("{a} /x\n\n{} /x", a.to_uppercase()),
                &format!("line 3: the fingerprint {a} stands in line 1 already"),
            ),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Authorized::read(folder.path(), &Limits::default()).expect_err("a folder");
        assert!(error.to_string().ends_with(": not a regular file"), "{error}");
    }

    #[test]
    fn a_file_that_everybody_may_change_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authorized");
        fs::write(&path, format!("{} /x\n", key('a'))).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("closed");
        assert_eq!(Authorized::read(&path, &Limits::default()).expect("read").len(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("opened");
        let error = Authorized::read(&path, &Limits::default()).expect_err("open");
        assert!(error.to_string().ends_with("authorized: everybody may change it (mode 0666)"));
    }
}
