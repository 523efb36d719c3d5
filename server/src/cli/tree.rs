//! `killick tree`: everything below one anchor, in order.
//!
//! Each node is listed by a call of its own, and the listings are asked for ahead of the place that
//! is printed: the next ones in print order first, some dozens at a time, so that a round trip is
//! rarely waited for and what is listed but not yet printed stays bounded.
//!
//! From the cluster's anchor each host is listed by itself: of one that does not answer it is told, and the
//! others go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use std::vec;

use clap::Args;
use futures::StreamExt;
use futures::future::{LocalBoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use killick_schema::api::anchor_capnp::anchor;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Context;
use super::connection::Connection;
use super::error::{CliError, is_remote, reason};
use super::ls::{Child, read_children};
use super::target::{Target, join};
use super::text::{counted, duration, one_line};

const AFTER_HELP: &str = "\
A '*' after a name says that the cell holds a value; that of the start is told if it may be read.
The tree is no snapshot: each node's children are listed at a moment of their own.

'tree /' goes into every host. One that has not answered within 3 s, or --timeout if that is less, or
whose connection ends, has why after its name or that of the node where it ended, with --json as 'error';
the others are shown, and the exit code is 1.

Examples:
  killick tree
  killick tree / --depth 2       what each host has at the top
  killick tree usr --depth 2
  killick tree --json | jq -r 'select(.filled).path'";

/// The most listings asked for at a time.
const WINDOW: usize = 64;
/// The most children in listings that are asked for or not yet printed, unless a single one is
/// larger.
const AHEAD: u64 = 1 << 16;
/// How long one is waited for at least that had its time while others were waited for.
const LEAST_PATIENCE: Duration = Duration::from_millis(300);

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
        let depth = self.depth.map_or(usize::MAX, |depth| depth as usize);
        let is_cluster = target.is_cluster();
        let mut listings = Listings::new(&context.connection, &what, depth, is_cluster, anchor);
        let start = listings.next(&[]).await?.map_err(|why| CliError::failed(&what, why))?;
        let (mut nodes, mut filled) = (0, 0);
        // The cluster's own anchor is no node of a host's.
        if !is_cluster {
            (nodes, filled) = (1, u64::from(start.filled == Some(true)));
        }
        match context.output.is_json() {
            true if is_cluster => {}
            true => context.output.line(start_json(&start, target))?,
            false => context.output.line(target.spelled() + mark(start.filled))?,
        }
        let mut levels = vec![Level::new(target.canonical(), start.children)];
        while let Some(level) = levels.last_mut() {
            let Some((position, mut child)) = level.rest.next() else {
                levels.pop();
                continue;
            };
            level.position = position;
            let path = join(&level.path, &child.name);
            let mut below = Ok(Below::default());
            if child.children != Some(0) && levels.len() < depth {
                let key: Vec<usize> = levels.iter().map(|level| level.position).collect();
                below = listings.next(&key).await?;
            }
            if let Ok(below) = &below
                && child.children.is_none()
                && levels.len() < depth
            {
                child.children = Some(below.children.len() as u64);
                child.filled = below.filled;
            }
            (nodes, filled) = (nodes + 1, filled + u64::from(child.filled == Some(true)));
            let why = below.as_ref().err().map(String::as_str);
            match context.output.is_json() {
                true => context.output.line(child_json(&child, &path, levels.len(), why))?,
                false => context.output.line(branch(&levels, &child, why))?,
            }
            if let Ok(below) = below
                && !below.children.is_empty()
            {
                levels.push(Level::new(path, below.children));
            }
        }
        let lost = listings.lost.len() as u64;
        if !context.output.is_json() {
            context.output.line(format!("\n{}, {filled} with a value", counted(nodes, "node")))?;
        }
        match lost {
            0 => Ok(()),
            lost => {
                Err(CliError::failed(what, format!("{} not shown whole", counted(lost, "host"))))
            }
        }
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

/// The line of `child`, which is printed on the last of `levels`, and why what is below it is not.
fn branch(levels: &[Level], child: &Child, why: Option<&str>) -> String {
    let mut line = String::new();
    if let Some((last, above)) = levels.split_last() {
        line.extend(above.iter().map(|level| if level.is_last() { "    " } else { "│   " }));
        line.push_str(if last.is_last() { "└── " } else { "├── " });
    }
    line.push_str(&child.name);
    line.push_str(mark(child.filled));
    line.extend(why.map(|why| format!(" ({})", one_line(why))));
    line
}

/// What follows a name whose cell holds a value.
fn mark(filled: Option<bool>) -> &'static str {
    if filled == Some(true) { " *" } else { "" }
}

fn start_json(start: &Below, target: &Target) -> serde_json::Value {
    let path = target.canonical();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let children = Some(start.children.len() as u64);
    child_json(&Child { name, filled: start.filled, children, anchor: None }, &path, 0, None)
}

fn child_json(child: &Child, path: &str, depth: usize, why: Option<&str>) -> serde_json::Value {
    let mut line = child.json(path);
    line["depth"] = json!(depth);
    if let Some(why) = why {
        line["error"] = json!(why);
    }
    line
}

/// Where a node stands below the start: the position in each listing on the way. Their order is the
/// order of printing.
type Key = Vec<usize>;

/// What a node has.
#[derive(Default)]
struct Below {
    children: Vec<Child>,
    /// Whether its cell holds a value, if that was asked for and may be known.
    filled: Option<bool>,
}

/// What a node has, or why a host does not tell it.
type Listed = Result<Below, String>;

/// Listings, asked for ahead and given out in the order of printing.
struct Listings<'a> {
    connection: &'a Connection,
    what: &'a str,
    depth: usize,
    /// Whether the children of the start are hosts.
    is_cluster: bool,
    /// Known to have children, not asked for yet.
    waiting: BTreeMap<Key, Waiting>,
    asked: FuturesUnordered<LocalBoxFuture<'static, Listing>>,
    ready: BTreeMap<Key, (Listed, u64)>,
    /// How many children the asked and the ready are thought to have together.
    ahead: u64,
    /// When those of hosts were asked for.
    since: HashMap<Key, Instant>,
    /// The hosts of which no more is asked, by their positions.
    lost: HashSet<usize>,
}

/// A node that is not asked for yet.
struct Waiting {
    anchor: anchor::Client,
    /// How many children it is thought to have.
    expected: u64,
    /// Whether nobody has told whether its cell holds a value.
    asks_value: bool,
}

/// The answer for one node, with the number of children that it was thought to have.
struct Listing {
    key: Key,
    expected: u64,
    below: capnp::Result<Below>,
}

impl<'a> Listings<'a> {
    /// Begins with the listing of `start`, down to `depth` levels.
    fn new(
        connection: &'a Connection,
        what: &'a str,
        depth: usize,
        is_cluster: bool,
        start: anchor::Client,
    ) -> Self {
        let start = Waiting { anchor: start, expected: 1, asks_value: !is_cluster };
        let waiting = BTreeMap::from([(Key::new(), start)]);
        Listings {
            connection,
            what,
            depth,
            is_cluster,
            waiting,
            asked: FuturesUnordered::new(),
            ready: BTreeMap::new(),
            ahead: 0,
            since: HashMap::new(),
            lost: HashSet::new(),
        }
    }

    /// Which of several hosts has the node at `key`.
    fn host(&self, key: &[usize]) -> Option<usize> {
        key.first().copied().filter(|_| self.is_cluster)
    }

    /// The children of the node at `key`. Each node that has children is asked for once, in the
    /// order of the keys.
    async fn next(&mut self, key: &[usize]) -> Result<Listed, CliError> {
        // The wait begins here, not with the call: whoever reads our output may take their time.
        let least = Instant::now() + LEAST_PATIENCE;
        loop {
            self.ask(key);
            if let Some((listed, expected)) = self.ready.remove(key) {
                self.ahead -= expected;
                return Ok(listed);
            }
            let host = self.host(key);
            if host.is_some_and(|host| self.lost.contains(&host)) {
                // Where it was lost it is told why.
                return Ok(Ok(Below::default()));
            }
            let Some(answered) = self.answered(key, host, least).await? else {
                self.lost.extend(host);
                return Ok(Err(format!(
                    "no answer within {}",
                    duration(self.connection.patience())
                )));
            };
            match answered {
                Some(listing) => self.take(listing)?,
                // It has been given out before, or was never thought to have children.
                None => return Ok(Ok(Below::default())),
            }
        }
    }

    /// The next answer, whatever node it is of; none at all if the host of the node at `key` has had its time.
    async fn answered(
        &mut self,
        key: &[usize],
        host: Option<usize>,
        least: Instant,
    ) -> Result<Option<Option<Listing>>, CliError> {
        let end = self.since.get(key).map_or(least, |since| *since + self.connection.patience());
        let next = self.asked.next();
        match host {
            None => self.connection.answer(self.what, async { Ok(next.await) }).await.map(Some),
            Some(_) => Ok(timeout_at(end.max(least), next).await.ok()),
        }
    }

    /// Keeps an answer until its turn comes.
    fn take(&mut self, Listing { key, expected, below }: Listing) -> Result<(), CliError> {
        self.since.remove(&key);
        let host = self.host(&key);
        let listed = match below {
            _ if host.is_some_and(|host| self.lost.contains(&host)) => {
                self.ahead -= expected;
                return Ok(());
            }
            Ok(mut below) => {
                if key.len() + 1 < self.depth {
                    self.note(&key, &mut below.children);
                }
                Ok(below)
            }
            Err(error)
                if let Some(host) = host
                    && is_remote(&error) =>
            {
                self.lost.insert(host);
                self.waiting.retain(|key, _| key.first() != Some(&host));
                Err(reason(&error))
            }
            Err(error) => return Err(self.connection.call_error(self.what, &error)),
        };
        self.ready.insert(key, (listed, expected));
        Ok(())
    }

    /// Notes which of the children may have children themselves.
    fn note(&mut self, parent: &Key, children: &mut [Child]) {
        for (position, child) in children.iter_mut().enumerate() {
            if let Some(anchor) = child.anchor.take() {
                let mut key = parent.clone();
                key.push(position);
                let (expected, asks_value) = (child.children.unwrap_or(1), child.filled.is_none());
                self.waiting.insert(key, Waiting { anchor, expected, asks_value });
            }
        }
    }

    /// Asks for the next listings in order, as many as may be under way; for `wanted` in any case.
    fn ask(&mut self, wanted: &[usize]) {
        while let Some(first) = self.waiting.first_entry() {
            let expected = first.get().expected;
            let room = self.asked.len() < WINDOW && self.ahead.saturating_add(expected) <= AHEAD;
            if !room && first.key() != wanted {
                return;
            }
            let (key, Waiting { anchor, asks_value, .. }) = first.remove_entry();
            let host = self.host(&key);
            if host.is_some_and(|host| self.lost.contains(&host)) {
                continue;
            }
            if host.is_some() {
                self.since.insert(key.clone(), Instant::now());
            }
            self.ahead = self.ahead.saturating_add(expected);
            let are_hosts = self.is_cluster && key.is_empty();
            let listed = anchor.ls_request().send().promise;
            let filled = asks_value.then(|| is_filled(&anchor));
            self.asked.push(Box::pin(async move {
                // The anchor is held until its children are known: they keep it then.
                let (answer, filled) = tokio::join!(listed, OptionFuture::from(filled));
                drop(anchor);
                let below = answer.and_then(|response| {
                    let children = read_children(response.get(), are_hosts)?;
                    Ok(Below { children, filled: filled.flatten() })
                });
                Listing { key, expected, below }
            }));
        }
    }
}

/// Asks whether the cell of `anchor` holds a value: not known to whom it may not be told.
fn is_filled(anchor: &anchor::Client) -> impl Future<Output = Option<bool>> + use<> {
    let loader = anchor.cell_request().send().pipeline.get_loader();
    let loaded = loader.load_request().send().promise;
    async move { Some(loaded.await.ok()?.get().ok()?.has_value()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(name: &str, filled: bool) -> Child {
        Child { name: name.into(), filled: Some(filled), children: Some(0), anchor: None }
    }

    #[test]
    fn a_branch_shows_which_levels_go_on() {
        let mut open = Level::new("".into(), vec![child("a", false), child("b", false)]);
        let mut last = Level::new("a".into(), vec![child("x", false)]);
        open.rest.next();
        last.rest.next();
        assert_eq!(branch(std::slice::from_ref(&open), &child("a", true), None), "├── a *");
        assert_eq!(branch(&[open, last], &child("x", false), Some("gone")), "│   └── x (gone)");
    }

    #[test]
    fn keys_sort_in_the_order_of_printing() {
        let mut keys: Vec<Key> = vec![vec![1], vec![0, 1], vec![0], vec![0, 0, 7], vec![]];
        keys.sort();
        assert_eq!(keys, [vec![], vec![0], vec![0, 0, 7], vec![0, 1], vec![1]]);
    }
}
