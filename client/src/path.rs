//! Paths as this end sees them: the grammar, which needs no server, and where a path starts.

use std::sync::LazyLock;

use killick::{Limits, PathError, Tree};

/// A look-up in an empty tree checks just the grammar.
static GRAMMAR: LazyLock<Tree<()>> = LazyLock::new(|| {
    // How long and how deep a path may be, only the server knows.
    Tree::new(Limits { path_bytes: usize::MAX, depth: usize::MAX, ..Limits::default() })
});

/// Whether a server could take `path`.
pub(crate) fn check(path: &[u8]) -> Result<(), PathError> {
    GRAMMAR.root().lookup(path).map(drop)
}

/// A path that keeps the grammar, in a message.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A path given to a client rather than to an anchor: with a leading `/` it starts at the cluster's
/// anchor, whose children are the hosts, and else at the one that the connection gives.
pub(crate) struct Target<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) absolute: bool,
}

impl<'a> Target<'a> {
    pub(crate) fn parse(path: &'a [u8]) -> Result<Self, PathError> {
        check(path)?;
        Ok(Target { path, absolute: path.starts_with(b"/") })
    }

    fn components(&self) -> impl Iterator<Item = &'a [u8]> {
        self.path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
    }

    /// Whether it names the anchor that it starts at.
    pub(crate) fn is_start(&self) -> bool {
        self.components().next().is_none()
    }

    /// The first component of an absolute path, which names a host. `/` alone names none.
    pub(crate) fn host(&self) -> Option<&'a [u8]> {
        if self.absolute { self.components().next() } else { None }
    }

    /// The same components, relative.
    pub(crate) fn relative(&self) -> String {
        self.components().map(shown).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_component_of_an_absolute_path_names_a_host() {
        let host = |path: &'static [u8]| Target::parse(path).expect("a path").host();
        assert_eq!(host(b"//self/./b"), Some(&b"self"[..]));
        assert_eq!(host(b"/"), None);
        assert_eq!(host(b"self/b"), None);
        assert_eq!(Target::parse(b"//a/./b/").expect("a path").relative(), "a/b");
    }

    #[test]
    fn paths_without_a_component_name_their_start_and_dots_do_not() {
        let is_start = |path: &'static [u8]| Target::parse(path).expect("a path").is_start();
        assert!([&b""[..], b"/", b"//.", b"./"].into_iter().all(is_start));
        assert!(!is_start(b"..."));
    }

    #[test]
    fn only_the_grammar_is_checked_here() {
        assert!(check("a/".repeat(100_000).as_bytes()).is_ok());
        assert!(matches!(check(b"a b"), Err(PathError::BadByte { offset: 1, .. })));
        assert!(matches!(check(&[b'a'; 256]), Err(PathError::NameTooLong { .. })));
    }
}
