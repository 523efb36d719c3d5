//! `killick ps`: the processes at and below a path.

use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use killick::Right;
use killick_client::ProcessStatus;
use killick_client::internal::no_half;
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::process_capnp::process;

use super::Context;
use super::connection::{Connection, within};
use super::error::{CliError, is_remote, reason};
use super::process::{status_json, status_of};
use super::target::{Target, join};
use super::text::{columns, counted, duration, shown};
use super::value::{KIND_TIMEOUT, Value};

const AFTER_HELP: &str = "\
Looks at each node at a moment of its own: it lists it, loads its value, and asks that, if it is a
capability, for what a process tells. What does not answer within a second counts as none. A
process that was started with --keep stays when it has ended; one that is at no path is not shown,
but counted by 'killick info'.

'ps /' looks at every host. One that has not answered within 3 s, or --timeout if that is less, or
whose connection ends, is told of when the processes of the others have been shown, and the exit
code is 1.

Examples:
  killick ps
  killick ps /               those at every host
  killick ps workers
  killick ps --json | jq -r 'select(.state == \"running\").path'";

/// The most nodes that are looked at at a time: some of their values may be large.
const WINDOW: usize = 16;

const COLUMNS: [&str; 5] = [" pid", "state", " age", "program", "path"];

/// List the processes at and below a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Ps {
    /// The anchor to start from.
    #[arg(default_value = "", hide_default_value = true, value_parser = Target::parser())]
    path: Target,
}

impl Ps {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("ps {}", self.path.spelled());
        let Context { connection, output, .. } = context;
        let (found, anchor) = connection.lookup(&self.path);
        connection.found(&what, &self.path, found).await?;
        let path = self.path.canonical();
        let start = match self.path.is_cluster() {
            true => connection.answer(&what, hosts(&path, &anchor)).await?,
            false => vec![Node { path, anchor, is_filled: true, has_children: true, host: None }],
        };
        let Found { mut processes, lost } = below(connection, &what, start).await?;
        processes.sort_by(|(one, _), (other, _)| one.cmp(other));
        if output.is_json() {
            let line = |(path, status): &(String, _)| status_json(status, path);
            processes.iter().try_for_each(|process| output.line(line(process)))?;
        } else {
            let rows: Vec<_> = processes.iter().map(row).collect();
            columns(&COLUMNS, &rows).into_iter().try_for_each(|line| output.line(line))?;
        }
        if lost.is_empty() {
            return Ok(());
        }
        let why: Vec<_> = lost.iter().map(|(host, why)| format!("{host} ({why})")).collect();
        let hosts = counted(lost.len() as u64, "host");
        Err(CliError::failed(what, format!("{hosts} not shown whole: {}", why.join(", "))))
    }
}

fn row((path, status): &(String, ProcessStatus)) -> [String; 5] {
    let path = if path.is_empty() { "." } else { path };
    let (state, program) = (status.state.to_string(), shown(status.program.as_bytes()));
    [status.pid.to_string(), state, duration(status.age), program, path.to_owned()]
}

/// A node that is still to be looked at.
struct Node {
    path: String,
    anchor: anchor::Client,
    is_filled: bool,
    has_children: bool,
    /// Which of several hosts has it.
    host: Option<Rc<str>>,
}

/// What was seen of a node: the process that is there, and the nodes below.
struct Seen {
    process: Option<(String, ProcessStatus)>,
    below: Vec<Node>,
}

/// The processes with their paths, and the hosts that do not tell all of theirs, with the reason.
#[derive(Default)]
struct Found {
    processes: Vec<(String, ProcessStatus)>,
    lost: BTreeMap<Rc<str>, String>,
}

/// The processes at the nodes of `start` and below, which are hosts or none is of another one.
async fn below(connection: &Connection, what: &str, start: Vec<Node>) -> Result<Found, CliError> {
    let mut found = Found::default();
    let are_hosts = start.iter().any(|node| node.host.is_some());
    // The last first, so that few wait.
    let mut waiting = start;
    let mut looked = FuturesUnordered::new();
    loop {
        while looked.len() < WINDOW
            && let Some(node) = waiting.pop()
        {
            let host = node.host.clone();
            let patience = host.is_some().then(|| connection.patience());
            let seen = look(node);
            looked.push(async move { (host, within(patience, seen).await) });
        }
        let next = looked.next();
        let next = match are_hosts {
            // Each has its own time.
            true => next.await,
            false => connection.answer(what, async { Ok(next.await) }).await?,
        };
        let Some((host, seen)) = next else { return Ok(found) };
        let is_lost = host.as_ref().is_some_and(|host| found.lost.contains_key(host));
        match seen {
            Some(Ok(seen)) => {
                found.processes.extend(seen.process);
                waiting.extend(seen.below.into_iter().filter(|_| !is_lost));
            }
            Some(Err(error)) if host.is_none() || !is_remote(&error) => {
                return Err(connection.call_error(what, &error));
            }
            // Of several hosts the others are looked at all the same.
            unseen => {
                let silent = || format!("no answer within {}", duration(connection.patience()));
                let why = unseen.and_then(Result::err).map_or_else(silent, |error| reason(&error));
                waiting.retain(|node| node.host != host);
                found.lost.extend(host.map(|host| (host, why)));
            }
        }
    }
}

async fn look(node: Node) -> capnp::Result<Seen> {
    let listed = async {
        match node.has_children {
            true => children(&node).await,
            false => Ok(Vec::new()),
        }
    };
    let loaded = async {
        match node.is_filled {
            true => process(&node.anchor).await,
            false => Ok(None),
        }
    };
    let (below, status) = tokio::try_join!(listed, loaded)?;
    Ok(Seen { process: status.map(|status| (node.path.clone(), status)), below })
}

/// The hosts that `cluster` has, at `path`: of another one nothing is known but that it is there.
async fn hosts(path: &str, cluster: &anchor::Client) -> capnp::Result<Vec<Node>> {
    let response = cluster.ls_request().send().promise.await?;
    let host = |child: anchor::child::Reader<'_>| {
        let name = shown(child.get_name()?.as_bytes());
        let (path, anchor) = (join(path, &name), child.get_anchor()?);
        let host = Some(name.into());
        Ok(Node { path, anchor, is_filled: true, has_children: true, host })
    };
    response.get()?.get_children()?.iter().map(host).collect()
}

/// The children of a node in which, or below which, there may be processes.
async fn children(node: &Node) -> capnp::Result<Vec<Node>> {
    let response = node.anchor.ls_request().send().promise.await?;
    let mut nodes = Vec::new();
    for child in response.get()?.get_children()? {
        let (is_filled, has_children) = (child.get_filled(), child.get_child_count() > 0);
        if is_filled || has_children {
            let path = join(&node.path, &shown(child.get_name()?.as_bytes()));
            let (anchor, host) = (child.get_anchor()?, node.host.clone());
            nodes.push(Node { path, anchor, is_filled, has_children, host });
        }
    }
    Ok(nodes)
}

/// How the process is that the cell of `anchor` holds, if it holds one.
async fn process(anchor: &anchor::Client) -> capnp::Result<Option<ProcessStatus>> {
    let loader = anchor.cell_request().send().pipeline.get_loader();
    let loaded = loader.load_request().send().promise.await.map_err(no_half(Right::Load))?;
    let value = Value::read(loaded.get()?.get_value(), true)?;
    let Value::Capability(Client { hook }) = value else { return Ok(None) };
    let process = process::Client::new(hook);
    // What is no process says so, if it says anything.
    Ok(within(Some(KIND_TIMEOUT), status_of(&process)).await.and_then(Result::ok))
}
