//! `killick ps`: the processes at and below a path.

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
use super::error::CliError;
use super::process::{status_json, status_of};
use super::target::{Target, join};
use super::text::{columns, duration, shown};
use super::value::{KIND_TIMEOUT, Value};

const AFTER_HELP: &str = "\
Looks at each node at a moment of its own: it lists it, loads its value, and asks that, if it is a
capability, for what a process tells. What does not answer within a second counts as none. A
process that was started with --keep stays when it has ended; one that is at no path is not shown,
but counted by 'killick info'.

Examples:
  killick ps
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
        let start = Node { path, anchor, is_filled: true, has_children: true };
        // The cluster's own anchor has no cell.
        let start = Node { is_filled: self.path.canonical() != "/", ..start };
        let mut processes = below(connection, &what, start).await?;
        processes.sort_by(|(one, _), (other, _)| one.cmp(other));
        if output.is_json() {
            let line = |(path, status): &(String, _)| status_json(status, path);
            return processes.iter().try_for_each(|process| output.line(line(process)));
        }
        let row = |(path, status): &(String, ProcessStatus)| {
            let path = if path.is_empty() { "." } else { path };
            let (state, program) = (status.state.to_string(), shown(status.program.as_bytes()));
            [status.pid.to_string(), state, duration(status.age), program, path.to_owned()]
        };
        let rows: Vec<_> = processes.iter().map(row).collect();
        columns(&COLUMNS, &rows).into_iter().try_for_each(|line| output.line(line))
    }
}

/// A node that is still to be looked at.
struct Node {
    path: String,
    anchor: anchor::Client,
    is_filled: bool,
    has_children: bool,
}

/// What was seen of a node: the process that is there, and the nodes below.
struct Seen {
    process: Option<(String, ProcessStatus)>,
    below: Vec<Node>,
}

/// The processes at `start` and below.
async fn below(
    connection: &Connection,
    what: &str,
    start: Node,
) -> Result<Vec<(String, ProcessStatus)>, CliError> {
    let mut processes = Vec::new();
    // The last first, so that few wait.
    let mut waiting = vec![start];
    let mut looked = FuturesUnordered::new();
    loop {
        while looked.len() < WINDOW
            && let Some(node) = waiting.pop()
        {
            looked.push(look(node));
        }
        let Some(seen) = connection.answer(what, async { Ok(looked.next().await) }).await? else {
            return Ok(processes);
        };
        let seen = seen.map_err(|error| connection.call_error(what, &error))?;
        processes.extend(seen.process);
        waiting.extend(seen.below);
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

/// The children of a node in which, or below which, there may be processes.
async fn children(node: &Node) -> capnp::Result<Vec<Node>> {
    let response = node.anchor.ls_request().send().promise.await?;
    let mut nodes = Vec::new();
    for child in response.get()?.get_children()? {
        let (is_filled, has_children) = (child.get_filled(), child.get_child_count() > 0);
        if is_filled || has_children {
            let path = join(&node.path, &shown(child.get_name()?.as_bytes()));
            nodes.push(Node { path, anchor: child.get_anchor()?, is_filled, has_children });
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
