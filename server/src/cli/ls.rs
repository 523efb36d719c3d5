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
With -l a line is: the number of children, '*' if the cell holds a value or '-', the name. Of the
hosts, which 'ls /' lists, these are told of the server that answers alone, and there follow: up
or suspect, the name of the machine and the version, '-' while it is not known ('killick hosts'
tells more).

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

    /// Also tell how many children each child has, and whether it holds a value.
    #[arg(short, long)]
    long: bool,
}

/// A child, as one listing shows it.
pub(super) struct Child {
    pub(super) name: String,
    pub(super) filled: bool,
    pub(super) children: u64,
    /// The child itself, if it has children: one without is done with when it is shown.
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
        let children = read_children(response.get()).map_err(|e| CliError::call(&what, &e))?;
        let members = match target.is_cluster() && (self.long || context.output.is_json()) {
            true => hosts::ask(&context.connection).await?,
            false => Vec::new(),
        };
        let members: HashMap<_, _> = members.iter().map(|host| (host.name(), host)).collect();
        let width = children.iter().map(|child| child.children.to_string().len()).max();
        let parent = target.canonical();
        for child in children {
            let output = &mut context.output;
            let host = members.get(&child.name);
            if output.is_json() {
                let mut line = child.json(&join(&parent, &child.name));
                if let Some(host) = host {
                    line["state"] = json!(host.state.to_string());
                    line["hostname"] = json!(host.hostname);
                    line["version"] = json!(host.version);
                }
                output.line(line)?;
            } else if self.long {
                let (width, mark) = (width.unwrap_or(1), child.mark());
                let of_host = host.map(|host| described(host)).unwrap_or_default();
                output
                    .line(format!("{:>width$} {mark} {}{of_host}", child.children, child.name))?;
            } else {
                output.line(child.name)?;
            }
        }
        Ok(())
    }
}

/// What a line has of a host besides.
fn described(host: &Member) -> String {
    let state = host.state.to_string();
    format!("  {state:7}  {}  {}", hosts::known(&host.hostname), hosts::known(&host.version))
}

impl Child {
    fn mark(&self) -> char {
        if self.filled { '*' } else { '-' }
    }

    pub(super) fn json(&self, path: &str) -> serde_json::Value {
        json!({
            "path": path,
            "name": self.name,
            "filled": self.filled,
            "children": self.children,
        })
    }
}

/// The children that an `ls` answered.
pub(super) fn read_children(
    results: capnp::Result<anchor::ls_results::Reader<'_>>,
) -> capnp::Result<Vec<Child>> {
    let listed = results?.get_children()?;
    let mut children = Vec::with_capacity(listed.len() as usize);
    for child in listed {
        let count = child.get_child_count();
        children.push(Child {
            name: super::text::shown(child.get_name()?.as_bytes()),
            filled: child.get_filled(),
            children: count,
            anchor: if count > 0 { Some(child.get_anchor()?) } else { None },
        });
    }
    Ok(children)
}
