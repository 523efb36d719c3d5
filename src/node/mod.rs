//! A node: one name under one parent, a register, and children.
//!
//! ```text
//! Node, one allocation:   refs | hash | parent | children word | cell word | depth, length | name …
//! ```
//! | field | written by | when |
//! |---|---|---|
//! | name, hash, depth, parent | its maker | before it is linked, never again |
//! | count ([`state`]) | whoever takes or gives back a reference | at any time; 0 is final |
//! | children word ([`children`]), and the slots behind it | whoever links, replaces or unlinks a child | by one exchange of either; dead nodes have an empty word |
//! | cell word ([`slot`]) | whoever holds a reference | by one exchange each; dead nodes hold no value |
//!
//! # Life
//! ```text
//! private ──link──▶ live, linked ──last release──▶ dead, linked ──unlink (its pruner)──▶ dead, unlinked ─▶ retired
//!                                                      └────────replace (a walker)─────────▲
//! ```
//! - N1: one reference for each handle, one for a non-empty children word, one for a value.
//! - N2: zero references is final. The one thread that saw it, the pruner, retires the node, whoever
//!   unlinked it: so it is retired once.
//! - N3: a live node that was published is linked, and so are all its ancestors: only dead nodes are
//!   unlinked or replaced, and a linked child keeps its parent's word non-empty, hence the parent
//!   alive (C3 of [`children`]).
//! - N4: hence two live nodes never answer to one path: both would be linked under one name, which
//!   C1 of [`children`] rules out.
//!
//! # The races
//! - *walk and walk* of one fresh path: one exchange wins; the other finds the winner's node.
//! - *walk and last release*: the walker's `acquire` either precedes the release that would have been
//!   the last, or sees zero; then it puts a fresh node in the dead one's place, or finds that done.
//! - *creation below and last release*: the creator takes the word's reference before it links. If
//!   the owner is dead by then, it is replaced, like a dead node at the end of a walk.
//! - *pruner and walker*: one of `unlink` and `replace` takes the dead node out; the pruner, finding
//!   it gone, knows that the parent's word was not emptied, and goes no further up.
//! - *pruner and the parent's end*: once a node is dead, others may replace it, prune the
//!   replacement and free the parent. So a pruner is pinned before its last decrement.
//! - *store and last release*: a value takes its reference before it becomes visible, from a thread
//!   that holds one.

pub(crate) mod children;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod state;
mod tally;
pub(crate) mod watchers;
