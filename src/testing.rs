//! What the tests, the fuzz targets and the benches share: operations as data, a reference tree to
//! compare with, and values that are counted.
//!
//! Nothing here is part of the library's interface, and nothing in the library uses it. All of it is
//! safe code over the public interface.
//!
//! | module | what |
//! |---|---|
//! | here | [`Op`], its decoder, and what a fuzz target runs: [`fuzz_path`], [`fuzz_tree_ops`] |
//! | `world` | [`World`]: a real tree and the model side by side; applies an [`Op`] to both and compares |
//! | `model` | [`Model`]: the contract as a sequential tree over `BTreeMap` |
//! | `phase` | several threads at once, each with its own subtree, or all with the same few paths |
//! | `racer` | one of the latter, and what it may expect |
//! | `grants` | [`fuzz_authority`]: narrowed anchors, and what they may, against a model |
//! | `grammar` | [`reference_parse`]: the path grammar a second time, written otherwise |
//! | `observer` | [`Observer`]: a watcher, and what it may expect |
//! | `tracked` | [`Tracked`]: a value whose drops are counted; [`settle`] |

mod grammar;
mod grants;
mod model;
mod observer;
mod phase;
mod racer;
mod tracked;
mod world;

pub use grammar::reference_parse;
pub use grants::fuzz_authority;
pub use model::{Model, NodeId};
pub use observer::{Observer, Seen};
pub use tracked::{Ledger, Tracked, settle};
pub use world::World;

use crate::{Limits, Tree, WalkError};

/// Places for handles in a [`World`]. An operation on an empty one acts on the root.
pub const SLOTS: u8 = 8;

/// The most watchers of one [`World`], or of one thread in a phase.
const OBSERVERS: usize = 4;

/// The most operations that one input decodes to, which bounds the time of a fuzz run.
const MAX_OPS: usize = 512;

/// As how many operations a phase counts.
const PHASE: usize = 64;

/// The most operations of one thread in a phase.
const MAX_PROGRAM: u8 = 24;

/// The paths that operations draw from: few, so that they meet, and odd, so that the grammar is
/// exercised together with the tree.
pub const PATHS: [&[u8]; 32] = [
    b"a",
    b"b",
    b"a/b",
    b"a/b/c",
    b"a/b/c/d/e/f/g/h",
    b"b/a",
    b"c",
    b"a/a/a",
    b"",
    b"/",
    b".",
    b"//a/./b/",
    b"/a",
    b"./b/.",
    b"..",
    b"a/../b",
    b"a/b/..",
    b"...",
    b".a",
    b"a..b",
    b"%2F",
    b"a b",
    b"a\\b",
    b"a/\x7f",
    b"\x00",
    b"a/b\xff",
    b"abcd",
    b"abcde",
    b"c7",
    b"a/c16",
    &[b'n'; 255],
    &[b'n'; 256],
];

/// One operation on a [`World`]. `at` and `to` are slots; `fill` says whether the value is something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Walk {
        at: u8,
        path: Vec<u8>,
        to: u8,
    },
    Lookup {
        at: u8,
        path: Vec<u8>,
        to: u8,
    },
    /// Keeps the child of that index, if there is one.
    Ls {
        at: u8,
        index: u8,
        to: u8,
    },
    Names {
        at: u8,
    },
    Clone {
        at: u8,
        to: u8,
    },
    Drop {
        at: u8,
    },
    /// Splits the slot's cell: the loader into one slot, the storer into another.
    Cell {
        at: u8,
        loader: u8,
        storer: u8,
    },
    Load {
        at: u8,
    },
    LoadAt {
        at: u8,
        path: Vec<u8>,
    },
    Store {
        at: u8,
        fill: bool,
        overwrite: bool,
    },
    StoreAt {
        at: u8,
        path: Vec<u8>,
        fill: bool,
        overwrite: bool,
    },
    Clear {
        at: u8,
    },
    Swap {
        at: u8,
        fill: bool,
    },
    /// Expects the true revision plus `error`.
    CompareAndStore {
        at: u8,
        error: u8,
        fill: bool,
    },
    /// Creates children `c<first>`, `c<first + 1>`, … and keeps them apart from the slots.
    Grow {
        at: u8,
        first: u16,
        count: u8,
    },
    /// Gives up that many of the children kept by `Grow`, from that place on.
    Shrink {
        from: u8,
        count: u8,
    },
    /// Begins to watch the cell, or the children. Of too many watchers the oldest goes.
    Watch {
        at: u8,
        children: bool,
    },
    /// Has one of the watchers look until there is nothing new.
    Look {
        which: u8,
    },
    /// Runs each program on a thread of its own, and cleans up after them. An even `kind`: below
    /// nodes of their own. An odd one: all at the same node, which is held meanwhile if `kind & 4`.
    /// A phase in a program does nothing.
    Phase {
        kind: u8,
        programs: Vec<Vec<Op>>,
    },
}

impl Op {
    /// Reads operations from any bytes; every input is a valid sequence.
    pub fn decode(bytes: &[u8]) -> Vec<Op> {
        let mut bytes = Bytes(bytes);
        let (mut ops, mut count) = (Vec::new(), 0);
        while !bytes.0.is_empty() && count < MAX_OPS {
            let op = bytes.op();
            count += if matches!(op, Op::Phase { .. }) { PHASE } else { 1 };
            ops.push(op);
        }
        ops
    }
}

/// A cursor over fuzz input; reads zeros past the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn slot(&mut self) -> u8 {
        self.byte() % SLOTS
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One of [`PATHS`], or up to 31 bytes of the input as they are.
    fn path(&mut self) -> Vec<u8> {
        let choice = self.byte();
        if choice < 0xE0 {
            return PATHS[usize::from(choice) % PATHS.len()].to_vec();
        }
        let len = usize::from(choice & 0x1F).min(self.0.len());
        let (path, rest) = self.0.split_at(len);
        self.0 = rest;
        path.to_vec()
    }

    fn op(&mut self) -> Op {
        match self.byte() {
            code @ 252.. => self.watching(code),
            code if code % 21 == 20 => self.phase(),
            code => self.plain(code % 21),
        }
    }

    fn phase(&mut self) -> Op {
        let kind = self.byte();
        let programs = (0..2 + kind / 2 % 2).map(|_| {
            let len = self.byte() % (MAX_PROGRAM + 1);
            let op = |_| match self.byte() {
                code @ 240.. => self.watching(code),
                code => self.plain(code % 20),
            };
            (0..len).map(op).collect()
        });
        Op::Phase { kind, programs: programs.collect() }
    }

    fn watching(&mut self, code: u8) -> Op {
        match code % 2 {
            0 => Op::Watch { at: self.slot(), children: self.flag() },
            _ => Op::Look { which: self.byte() },
        }
    }

    fn plain(&mut self, code: u8) -> Op {
        // The arguments are evaluated in the order written: that is the encoding.
        match code {
            0..3 => Op::Walk { at: self.slot(), path: self.path(), to: self.slot() },
            3 => Op::Lookup { at: self.slot(), path: self.path(), to: self.slot() },
            4 => Op::Ls { at: self.slot(), index: self.byte(), to: self.slot() },
            5 => Op::Names { at: self.slot() },
            6 => Op::Clone { at: self.slot(), to: self.slot() },
            7..10 => Op::Drop { at: self.slot() },
            10 => Op::Cell { at: self.slot(), loader: self.slot(), storer: self.slot() },
            11 => Op::Load { at: self.slot() },
            12 => Op::LoadAt { at: self.slot(), path: self.path() },
            13 => Op::Store { at: self.slot(), fill: self.flag(), overwrite: self.flag() },
            14 => Op::StoreAt {
                at: self.slot(),
                path: self.path(),
                fill: self.flag(),
                overwrite: self.flag(),
            },
            15 => Op::Clear { at: self.slot() },
            16 => Op::Swap { at: self.slot(), fill: self.flag() },
            17 => {
                Op::CompareAndStore { at: self.slot(), error: self.byte() % 3, fill: self.flag() }
            }
            18 => {
                Op::Grow { at: self.slot(), first: u16::from(self.byte()) * 16, count: self.byte() }
            }
            _ => Op::Shrink { from: self.byte(), count: self.byte() },
        }
    }
}

/// A set of limits to run operations under, from none that matter to ones that are always met.
pub fn limits_profile(choice: u8) -> Limits {
    let limits = Limits::default();
    match choice % 8 {
        0 | 1 => limits,
        2 => Limits { name_bytes: 4, path_bytes: 24, depth: 4, children: 3, nodes: 8 },
        3 => Limits { children: 16, nodes: 40, depth: 6, ..limits },
        4 => Limits { children: 17, ..limits },
        5 => Limits { children: 300, nodes: 500, ..limits },
        6 => Limits { depth: 2, children: 1, ..limits },
        _ => Limits { nodes: 1, ..limits },
    }
}

/// The fuzz target `tree_ops`: the first byte chooses limits and the way to end, the others are
/// operations, applied to the tree and to the model, and phases of several threads.
///
/// # Panics
/// When the tree and the model differ, when a phase finds a promise broken, or when a value is not
/// dropped exactly once.
pub fn fuzz_tree_ops(data: &[u8]) {
    let (&choice, ops) = data.split_first().unwrap_or((&0, &[]));
    let mut world = World::new(limits_profile(choice));
    for op in Op::decode(ops) {
        world.apply(&op);
    }
    world.finish(choice & 0x80 != 0);
}

/// The fuzz target `path`: three bytes of limits and starting depth, then a text, which the library
/// and [`reference_parse`] must read alike.
///
/// # Panics
/// When they do not.
pub fn fuzz_path(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (names, path_bytes, start) = (bytes.byte(), bytes.byte(), usize::from(bytes.byte() % 8));
    let limits = Limits {
        name_bytes: if names < 128 { usize::from(names) } else { usize::MAX },
        path_bytes: if path_bytes < 128 { usize::from(path_bytes) } else { 1 << 16 },
        depth: start + usize::from(names / 2),
        ..Limits::default()
    };
    let text = bytes.0;
    let tree = Tree::<()>::new(limits);
    let limits = tree.limits();
    let mut base = tree.root();
    for _ in 0..start {
        match base.walk("x") {
            Ok(below) => base = below,
            // A limit of nothing at all: the root is where to start.
            Err(WalkError::Path(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let start = tree.nodes() - 1;
    match reference_parse(text, start, &limits) {
        Err(expected) => {
            assert_eq!(base.lookup(text), Err(expected));
            assert_eq!(base.walk(text), Err(WalkError::Path(expected)));
        }
        Ok(names) if names.is_empty() => {
            assert_eq!(base.lookup(text), Ok(Some(base.clone())));
            assert_eq!(base.walk(text), Ok(base.clone()));
        }
        Ok(names) => {
            assert_eq!(base.lookup(text), Ok(None));
            let leaf = base.walk(text).expect("the reference takes this path");
            assert_eq!(Some(&leaf.name().as_bytes()), names.last());
            assert_eq!(tree.nodes(), 1 + start + names.len());
            assert_eq!(base.lookup(names.join(&b'/')), Ok(Some(leaf)));
        }
    }
    assert_eq!(tree.nodes(), 1 + start, "a path outlived its handles");
}
