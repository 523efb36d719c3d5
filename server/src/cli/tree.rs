//! `killick tree`: everything below one anchor, in order.
//!
//! Each node is listed by a call of its own, and the listings are asked for ahead of the place that
//! is printed: the next ones in print order first, some dozens at a time, so that a round trip is
//! rarely waited for and what is listed but not yet printed stays bounded.

use std::collections::BTreeMap;
use std::vec;

use clap::Args;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use killick_schema::api::anchor_capnp::anchor;
use serde_json::json;

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::ls::{Child, read_children};
use super::target::{Target, join};
use super::text::counted;

const AFTER_HELP: &str = "\
A '*' after a name says that the cell holds a value. The tree is no snapshot: each node's children
are listed at a moment of their own.

Examples:
  killick tree
  killick tree usr --depth 2
  killick tree --json | jq -r 'select(.filled).path'";

/// The most listings asked for at a time.
const WINDOW: usize = 64;
/// The most children in listings that are asked for or not yet printed, unless a single one is
/// larger.
const AHEAD: u64 = 1 << 16;

/// Show everything below an anchor.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Tree {
    /// The anchor to start from.
    #[arg(default_value = "", hide_default_value = true, value_parser = Target::parser())]
    path: Target,

    /// How many levels to show; without it, all.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,
}

impl Tree {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("tree {}", target.spelled());
        let (found, anchor) = context.connection.lookup(target);
        context.connection.found(&what, target, found).await?;
        if !context.output.is_json() {
            context.output.line(target.spelled())?;
        }
        let depth = self.depth.map_or(usize::MAX, |depth| depth as usize);
        let mut listings = Listings::new(&context.connection, &what, depth, anchor);
        let mut levels = vec![Level::new(target.canonical(), listings.next(&[]).await?)];
        let (mut nodes, mut filled) = (0, 0);
        while let Some(level) = levels.last_mut() {
            let Some((position, child)) = level.rest.next() else {
                levels.pop();
                continue;
            };
            level.position = position;
            (nodes, filled) = (nodes + 1, filled + u64::from(child.filled));
            let path = join(&level.path, &child.name);
            match context.output.is_json() {
                true => context.output.line(child_json(&child, &path, levels.len()))?,
                false => context.output.line(branch(&levels, &child))?,
            }
            if child.children > 0 && levels.len() < depth {
                let key: Vec<usize> = levels.iter().map(|level| level.position).collect();
                levels.push(Level::new(path, listings.next(&key).await?));
            }
        }
        if context.output.is_json() {
            return Ok(());
        }
        context.output.line(format!("\n{}, {filled} with a value", counted(nodes, "node")))
    }
}

/// The children of one node on the way from the start to the place that is printed.
struct Level {
    path: String,
    /// Which child is printed, or lies on the way.
    position: usize,
    rest: std::iter::Enumerate<vec::IntoIter<Child>>,
}

impl Level {
    fn new(path: String, children: Vec<Child>) -> Self {
        Level { path, position: 0, rest: children.into_iter().enumerate() }
    }

    fn is_last(&self) -> bool {
        self.rest.len() == 0
    }
}

/// The line of `child`, which is printed on the last of `levels`.
fn branch(levels: &[Level], child: &Child) -> String {
    let mut line = String::new();
    if let Some((last, above)) = levels.split_last() {
        line.extend(above.iter().map(|level| if level.is_last() { "    " } else { "│   " }));
        line.push_str(if last.is_last() { "└── " } else { "├── " });
    }
    line.push_str(&child.name);
    if child.filled {
        line.push_str(" *");
    }
    line
}

fn child_json(child: &Child, path: &str, depth: usize) -> serde_json::Value {
    let mut line = child.json(path);
    line["depth"] = json!(depth);
    line
}

/// Where a node stands below the start: the position in each listing on the way. Their order is the
/// order of printing.
type Key = Vec<usize>;

/// Listings, asked for ahead and given out in the order of printing.
struct Listings<'a> {
    connection: &'a Connection,
    what: &'a str,
    depth: usize,
    /// Known to have children, not asked for yet.
    waiting: BTreeMap<Key, (anchor::Client, u64)>,
    asked: FuturesUnordered<LocalBoxFuture<'static, Listing>>,
    ready: BTreeMap<Key, (Vec<Child>, u64)>,
    /// How many children the asked and the ready are thought to have together.
    ahead: u64,
}

/// The answer for one node, with the number of children that it was thought to have.
struct Listing {
    key: Key,
    expected: u64,
    children: capnp::Result<Vec<Child>>,
}

impl<'a> Listings<'a> {
    /// Begins with the listing of `start`, down to `depth` levels.
    fn new(connection: &'a Connection, what: &'a str, depth: usize, start: anchor::Client) -> Self {
        let waiting = BTreeMap::from([(Key::new(), (start, 1))]);
        let (asked, ready) = (FuturesUnordered::new(), BTreeMap::new());
        Listings { connection, what, depth, waiting, asked, ready, ahead: 0 }
    }

    /// The children of the node at `key`. Each node that has children is asked for once, in the
    /// order of the keys.
    async fn next(&mut self, key: &[usize]) -> Result<Vec<Child>, CliError> {
        loop {
            self.ask(key);
            if let Some((children, expected)) = self.ready.remove(key) {
                self.ahead -= expected;
                return Ok(children);
            }
            // The wait begins here, not with the call: whoever reads our output may take their time.
            let asked = &mut self.asked;
            let listing =
                self.connection.answer(self.what, async { Ok(asked.next().await) }).await?;
            let Some(Listing { key, expected, children }) = listing else {
                // It has been given out before, or was never thought to have children.
                return Ok(Vec::new());
            };
            let mut children =
                children.map_err(|error| self.connection.call_error(self.what, &error))?;
            if key.len() + 1 < self.depth {
                self.note(&key, &mut children);
            }
            self.ready.insert(key, (children, expected));
        }
    }

    /// Notes which of the children have children themselves.
    fn note(&mut self, parent: &Key, children: &mut [Child]) {
        for (position, child) in children.iter_mut().enumerate() {
            if let Some(anchor) = child.anchor.take() {
                let mut key = parent.clone();
                key.push(position);
                self.waiting.insert(key, (anchor, child.children));
            }
        }
    }

    /// Asks for the next listings in order, as many as may be under way; for `wanted` in any case.
    fn ask(&mut self, wanted: &[usize]) {
        while let Some(first) = self.waiting.first_entry() {
            let expected = first.get().1;
            let room = self.asked.len() < WINDOW && self.ahead.saturating_add(expected) <= AHEAD;
            if !room && first.key() != wanted {
                return;
            }
            let (key, (anchor, expected)) = first.remove_entry();
            self.ahead = self.ahead.saturating_add(expected);
            let listed = anchor.ls_request().send().promise;
            self.asked.push(Box::pin(async move {
                // The anchor is held until its children are known: they keep it then.
                let answer = listed.await;
                drop(anchor);
                let children = answer.and_then(|response| read_children(response.get()));
                Listing { key, expected, children }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(name: &str, filled: bool) -> Child {
        Child { name: name.into(), filled, children: 0, anchor: None }
    }

    #[test]
    fn a_branch_shows_which_levels_go_on() {
        let mut open = Level::new("".into(), vec![child("a", false), child("b", false)]);
        let mut last = Level::new("a".into(), vec![child("x", false)]);
        open.rest.next();
        last.rest.next();
        assert_eq!(branch(std::slice::from_ref(&open), &child("a", true)), "├── a *");
        assert_eq!(branch(&[open, last], &child("x", false)), "│   └── x");
    }

    #[test]
    fn keys_sort_in_the_order_of_printing() {
        let mut keys: Vec<Key> = vec![vec![1], vec![0, 1], vec![0], vec![0, 0, 7], vec![]];
        keys.sort();
        assert_eq!(keys, [vec![], vec![0], vec![0, 0, 7], vec![0, 1], vec![1]]);
    }
}
