//! Every bound of a tree, in one struct.

/// The longest name a node can have, in bytes: what a node stores its length in.
pub(crate) const MAX_NAME_BYTES: usize = u8::MAX as usize;
/// The deepest a node can lie below the root: what a node stores its depth in.
pub(crate) const MAX_DEPTH: usize = (1 << 24) - 1;

/// The bounds of one [`Tree`](crate::Tree), fixed when it is made.
///
/// The defaults are generous: they stop accidents, not attackers. A program that lets others create
/// anchors should set them tight, as the `killick` server does.
///
/// # Examples
/// ```
/// use killick::{Limits, Tree, WalkError};
///
/// let tree = Tree::<u32>::new(Limits { children: 1, ..Limits::default() });
/// let kept = tree.root().walk("a")?;
/// assert!(matches!(tree.root().walk("b"), Err(WalkError::TooManyChildren { limit: 1, .. })));
/// # drop(kept);
/// # Ok::<(), WalkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest name of one node, in bytes. At most 255; a larger value counts as 255.
    pub name_bytes: usize,
    /// The longest path that one call takes, in bytes, separators included.
    pub path_bytes: usize,
    /// The deepest a node may lie, counted in components *from the root*, so that walking on from a
    /// deep anchor does not evade it. At most 16,777,215; a larger value counts as that.
    pub depth: usize,
    /// The most children that one node may have. Never exceeded: of walks that compete for the last
    /// room, even to one path, one succeeds and others may be refused.
    pub children: usize,
    /// The most nodes that the tree may hold at a time, its root included. Never exceeded.
    pub nodes: usize,
}

impl Default for Limits {
    /// 255 bytes a name, 64 KiB a path, 4,096 levels, no bound on children and nodes.
    fn default() -> Self {
        Limits {
            name_bytes: MAX_NAME_BYTES,
            path_bytes: 64 * 1024,
            depth: 4096,
            children: usize::MAX,
            nodes: usize::MAX,
        }
    }
}

impl Limits {
    /// The same bounds with those a node's layout imposes applied.
    pub(crate) fn clamped(self) -> Self {
        Limits {
            name_bytes: self.name_bytes.min(MAX_NAME_BYTES),
            depth: self.depth.min(MAX_DEPTH),
            ..self
        }
    }
}
