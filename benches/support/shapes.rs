//! Paths: how the trees that are measured look.

use std::fmt;
use std::fmt::Write as _;

/// A small generator of repeatable noise (SplitMix64).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Noise(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Many paths in one block of text, so that reading them costs the same everywhere.
#[derive(Clone, Default)]
pub(crate) struct Paths {
    text: String,
    spans: Vec<(u32, u32)>,
    next: usize,
}

impl Paths {
    pub(crate) fn push(&mut self, path: fmt::Arguments<'_>) {
        let start = self.text.len();
        self.text.write_fmt(path).expect("a string takes every text");
        let position = |at| u32::try_from(at).expect("less than 4 GiB of paths");
        self.spans.push((position(start), position(self.text.len())));
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        let (start, end) = self.spans[index];
        &self.text[start as usize..end as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// One path after the other, round and round.
    pub(crate) fn cycle(&mut self) -> &str {
        let index = self.next;
        self.next = if index + 1 == self.len() { 0 } else { index + 1 };
        self.get(index)
    }

    /// Puts them in an order that no cache foresees.
    pub(crate) fn shuffle(&mut self) {
        Noise::new(self.len() as u64).shuffle(&mut self.spans);
    }

    /// `count` children `<prefix><number>` in their order.
    pub(crate) fn numbered(prefix: &str, count: usize) -> Self {
        let mut paths = Paths::default();
        (0..count).for_each(|child| paths.push(format_args!("{prefix}{child}")));
        paths
    }

    /// `count` children `<prefix><number>` in an order that no cache foresees.
    pub(crate) fn shuffled(prefix: &str, count: usize) -> Self {
        let mut paths = Paths::numbered(prefix, count);
        paths.shuffle();
        paths
    }
}

/// What is between the root and the node whose children are walked to: at each level the path goes
/// through the one in the middle.
pub(crate) fn spine(depth: usize, fanout: usize) -> String {
    format!("n{}/", fanout / 2).repeat(depth - 1)
}

/// Whole trees, to be built and taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As many children of the root as each of them has.
    Square,
    /// Ten children a node.
    TenAry,
    /// Chains of a thousand nodes.
    Chains,
    /// One parent.
    Wide,
}

/// The numbers of nodes of trees that show how something grows.
pub(crate) const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The depth of one of [`Shape::Chains`].
pub(crate) const CHAIN: usize = 1000;

impl Shape {
    pub(crate) const ALL: [Shape; 4] = [Shape::Square, Shape::TenAry, Shape::Chains, Shape::Wide];

    /// Roughly `nodes` nodes: every path, parents first; of chains the path of the last node only.
    pub(crate) fn paths(self, nodes: usize) -> Paths {
        let mut paths = Paths::default();
        match self {
            Shape::Square => {
                let side = nodes.isqrt();
                for parent in 0..side {
                    paths.push(format_args!("n{parent}"));
                    (0..side).for_each(|child| paths.push(format_args!("n{parent}/n{child}")));
                }
            }
            Shape::TenAry => {
                let mut level = vec![String::new()];
                while paths.len() < nodes / 2 {
                    level = level
                        .iter()
                        .flat_map(|parent| (0..10).map(move |child| format!("{parent}{child}/")))
                        .collect();
                    for path in &level {
                        paths.push(format_args!("{}", path.trim_end_matches('/')));
                    }
                }
            }
            Shape::Chains => {
                let below = "/x".repeat(CHAIN - 1);
                let chains = (nodes / CHAIN).max(1);
                (0..chains).for_each(|chain| paths.push(format_args!("n{chain}{below}")));
            }
            Shape::Wide => paths = Paths::numbered("n", nodes),
        }
        paths
    }

    /// How many nodes [`paths`](Self::paths) names, without the root.
    pub(crate) fn nodes(self, nodes: usize) -> usize {
        match self {
            Shape::Square => nodes.isqrt() * (nodes.isqrt() + 1),
            Shape::TenAry => {
                let (mut count, mut level) = (0, 1);
                while count < nodes / 2 {
                    level *= 10;
                    count += level;
                }
                count
            }
            Shape::Chains => (nodes / CHAIN).max(1) * CHAIN,
            Shape::Wide => nodes,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Shape::Square => "square",
            Shape::TenAry => "10-ary",
            Shape::Chains => "chains",
            Shape::Wide => "wide",
        })
    }
}
