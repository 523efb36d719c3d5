//! `killick ls`: the children of one anchor.

use std::collections::HashMap;

use clap::Args;
use killick_client::Member;
use killick_schema::api::anchor_capnp::anchor;
use serde_json::json;

use super::error::CliError;
use super::target::{Target, join};
use super::{Context, hosts};

const AFTER_HELP: &str = "\
With -l a line is: the number of children, '*' if the cell holds a value or '-', the name. Of a
host, which 'ls /' lists, it is: up or suspect, the id, the name of the machine and the version, '-'
while it is not known. 'killick hosts' tells more, and 'killick tree / --depth 2' what each host has.
With --json the children and the value of another host are null: only that host knows them.

Examples:
  killick ls                 what the server's tree holds at the top
  killick ls -l usr/share
  killick ls -l /            the hosts
  killick ls --json a | jq -r .path";

/// List the children of an anchor, sorted by name.
///
/// The names are one atomic snapshot; what -l tells of each child is read after it.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Ls {
    /// The anchor to list.
    #[arg(default_value = "", hide_default_value = true, value_parser = Target::parser())]
    path: Target,

    /// Also tell how many children each child has, and whether it holds a value; of a host, its state.
    #[arg(short, long)]
    long: bool,
}

/// A child, as one listing shows it.
pub(super) struct Child {
    pub(super) name: String,
    /// Not known of another host, as the number of children.
    pub(super) filled: Option<bool>,
    pub(super) children: Option<u64>,
    /// The child itself, if it may have children: one without is done with when it is shown.
    pub(super) anchor: Option<anchor::Client>,
}

impl Ls {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("ls {}", target.spelled());
        let (found, anchor) = context.connection.lookup(target);
        let listed = anchor.ls_request().send().promise;
        context.connection.found(&what, target, found).await?;
        let response = context.connection.answer(&what, listed).await?;
        let children = read_children(response.get(), target.is_cluster());
        let children = children.map_err(|e| CliError::call(&what, &e))?;
        let members = match target.is_cluster() && (self.long || context.output.is_json()) {
            true => hosts::ask(&context.connection).await?,
            false => Vec::new(),
        };
        let members: HashMap<_, _> = members.iter().map(|host| (host.name(), host)).collect();
        let width = children.iter().map(|child| child.count().len()).max().unwrap_or(1);
        let parent = target.canonical();
        for child in children {
            let host = members.get(&child.name).copied();
            let line = match (context.output.is_json(), self.long, host) {
                (true, _, _) => child.json_in(&parent, host).to_string(),
                (false, true, Some(host)) => described(host),
                (false, true, None) => {
                    format!("{:>width$} {} {}", child.count(), child.mark(), child.name)
                }
                (false, false, _) => child.name,
            };
            context.output.line(line)?;
        }
        Ok(())
    }
}

/// The line of a host.
fn described(host: &Member) -> String {
    let (state, name) = (host.state.to_string(), host.name());
    format!("{state:7}  {name}  {}  {}", hosts::known(&host.hostname), hosts::known(&host.version))
}

impl Child {
    fn count(&self) -> String {
        self.children.map_or_else(|| "-".to_owned(), |count| count.to_string())
    }

    fn mark(&self) -> char {
        if self.filled == Some(true) { '*' } else { '-' }
    }

    pub(super) fn json(&self, path: &str) -> serde_json::Value {
        json!({
            "path": path,
            "name": self.name,
            "filled": self.filled,
            "children": self.children,
        })
    }

    /// With what is known of the host that it is, if it is one.
    fn json_in(&self, parent: &str, host: Option<&Member>) -> serde_json::Value {
        let mut line = self.json(&join(parent, &self.name));
        if let Some(host) = host {
            line["state"] = json!(host.state.to_string());
            line["hostname"] = json!(host.hostname);
            line["version"] = json!(host.version);
            if host.is_self {
                line["filled"] = json!(self.filled.unwrap_or_default());
                line["children"] = json!(self.children.unwrap_or_default());
            }
        }
        line
    }
}

/// The children that an `ls` answered. Those of the cluster's anchor are hosts: what there is at another one it
/// does not tell.
pub(super) fn read_children(
    results: capnp::Result<anchor::ls_results::Reader<'_>>,
    are_hosts: bool,
) -> capnp::Result<Vec<Child>> {
    let listed = results?.get_children()?;
    let mut children = Vec::with_capacity(listed.len() as usize);
    for child in listed {
        let (filled, count) = (child.get_filled(), child.get_child_count());
        let is_told = !are_hosts || filled || count > 0;
        children.push(Child {
            name: super::text::shown(child.get_name()?.as_bytes()),
            filled: is_told.then_some(filled),
            children: is_told.then_some(count),
            anchor: if is_told && count == 0 { None } else { Some(child.get_anchor()?) },
        });
    }
    Ok(children)
}
