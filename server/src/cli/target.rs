//! A PATH argument: where it starts and what is walked from there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};
use killick::{Limits, PathError, Tree};

use super::text::shortened;

/// The anchor that a path is walked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The connection's bootstrap anchor: paths without a leading `/`.
    Bootstrap,
    /// The cluster's anchor, whose children are the hosts: paths with one.
    Cluster,
}

/// A path as it was given on the command line, known to keep the grammar.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    start: Start,
    path: Vec<u8>,
}

impl Target {
    /// What the command line reads a PATH argument with.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Target> {
        OsStringValueParser::new().try_map(|argument| Target::parse(&argument))
    }

    /// Reads a PATH argument. What the limits of the server allow, only the server knows.
    fn parse(argument: &OsStr) -> Result<Self, PathError> {
        let path = argument.as_bytes();
        Grammar::new().check(path)?;
        let start = if path.starts_with(b"/") { Start::Cluster } else { Start::Bootstrap };
        Ok(Target { start, path: path.to_vec() })
    }

    /// Where relative paths start.
    pub(crate) fn itself() -> Self {
        Target { start: Start::Bootstrap, path: Vec::new() }
    }

    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// What to walk from the start. A leading `/` changes nothing there.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The first component of an absolute path, which names a host. `/` alone names none.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        match self.start {
            Start::Bootstrap => None,
            Start::Cluster => components(&self.path).next(),
        }
    }

    /// Whether another host may have it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.host().is_some_and(|host| host != b"self")
    }

    /// Whether it is the cluster's anchor itself.
    pub(crate) fn is_cluster(&self) -> bool {
        self.start == Start::Cluster && self.host().is_none()
    }

    /// The same components, relative.
    pub(crate) fn relative_spelling(&self) -> String {
        let names: Vec<String> = components(&self.path).map(shortened).collect();
        names.join("/")
    }

    /// The path in messages: as it was given, `.` for the empty one.
    pub(crate) fn spelled(&self) -> String {
        match self.path.as_slice() {
            b"" => ".".to_owned(),
            path => shortened(path),
        }
    }

    /// The path in results: one `/` between components, and before the first if it is absolute.
    pub(crate) fn canonical(&self) -> String {
        let names: Vec<_> = components(&self.path).map(String::from_utf8_lossy).collect();
        match self.start {
            Start::Bootstrap => names.join("/"),
            Start::Cluster => format!("/{}", names.join("/")),
        }
    }
}

/// `name` under the canonical path `parent`.
pub(crate) fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        _ if parent.ends_with('/') => format!("{parent}{name}"),
        _ => format!("{parent}/{name}"),
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// The path grammar without any limit of a server's: a look-up in an empty tree checks just that.
pub(crate) struct Grammar(Tree<()>);

impl Grammar {
    pub(crate) fn new() -> Self {
        let unlimited = Limits { path_bytes: usize::MAX, depth: usize::MAX, ..Limits::default() };
        Grammar(Tree::new(unlimited))
    }

    pub(crate) fn check(&self, path: &[u8]) -> Result<(), PathError> {
        self.0.root().lookup(path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        Target::parse(OsStr::new(path)).expect("a path by the grammar")
    }

    #[test]
    fn a_leading_slash_makes_a_path_absolute_and_its_first_component_a_host() {
        assert_eq!(target("a/b").start(), Start::Bootstrap);
        assert_eq!(target("a/b").host(), None);
        assert_eq!(target("//self/./b").start(), Start::Cluster);
        assert_eq!(target("//self/./b").host(), Some(&b"self"[..]));
        assert_eq!(target("/").host(), None);
        assert!(target("//.").is_cluster());
        assert!(!target("/self").is_cluster() && !target("").is_cluster());
        assert!(target("/0123456789abcdef/a").is_elsewhere());
        assert!(!target("/self/a").is_elsewhere() && !target("/").is_elsewhere());
    }

    #[test]
    fn results_show_one_spelling_of_each_path() {
        assert_eq!(target("./a//b/").canonical(), "a/b");
        assert_eq!(target("/self//a").canonical(), "/self/a");
        assert_eq!(target("").canonical(), "");
        assert_eq!(target("/").canonical(), "/");
        assert_eq!(target("/foo/bar").relative_spelling(), "foo/bar");
    }

    #[test]
    fn a_child_is_joined_by_exactly_one_slash() {
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("a/b", "c"), "a/b/c");
    }

    #[test]
    fn a_bad_byte_is_told_with_its_place_in_the_whole_argument() {
        let error = Target::parse(OsStr::new("/self/a b")).expect_err("a space");
        assert!(error.to_string().contains("offset 7"), "{error}");
        let error = Target::parse(OsStr::new("a/../b")).expect_err("a way up");
        assert!(error.to_string().contains("'..' at offset 2"), "{error}");
    }

    #[test]
    fn no_limit_of_depth_or_length_is_the_clients_business() {
        let deep = "a/".repeat(100_000);
        assert!(Target::parse(OsStr::new(&deep)).is_ok());
    }
}
