//! `killick grant`: anchors that give less than all, and the way to take them back.

use std::fmt::Write;

use capnp::capability::RemotePromise;
use capnp::private::capability::ClientHook;
use clap::{Args, Subcommand};
use killick::{Allowance, Resource, Right, Rights};
use killick_client::internal::{put_limits, put_rights, read_limits, read_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant};
use serde_json::json;

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::held::Held;
use super::target::{Start, Target};

const AFTER_HELP: &str = "\
Rights: walk (to reach nodes and create them), lookup (to reach those that are there), ls, load,
store, watch, attenuate (to hand on a part); 'all' of these, 'none', and 'read' for lookup, ls,
load, watch. And exec, which is in none of them: to start programs, as 'killick exec' does, as the
server's user; who does not have the whole host, or the right itself, gives it in vain.

Whoever reaches the cell at --at can use what is stored there, with --through. Whoever reaches the
one at --revoker can take it back, for as long as something is stored there.

Examples:
  killick grant make docs --rights read --at for/bob --revoker admin/bob
  killick --through for/bob load handbook
  killick grant show admin/bob
  killick grant revoke admin/bob";

/// Give away a part of the tree, with some of the rights and within limits, and take it back.
#[derive(Args)]
#[command(after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Grant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Make(Make),
    Show(Show),
    Revoke(Revoke),
}

/// Narrow the anchor at a path, and store it where others find it.
#[derive(Args)]
struct Make {
    /// The anchor to narrow; it is created if it is not there.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// What may be done through it: names with commas between, as in 'lookup,load'.
    #[arg(long, value_name = "RIGHTS", default_value = "read")]
    rights: Rights,

    /// Where to store the narrowed anchor: an empty cell.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    at: Target,

    /// Where to store the right to take it back: an empty cell.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    revoker: Target,

    #[command(flatten)]
    limits: Limits,
}

/// What may be had by a narrowed anchor.
#[derive(Args)]
pub(super) struct Limits {
    /// The most nodes that the narrowed anchor may keep alive at a time.
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,

    /// The most levels below it that may be reached.
    #[arg(long, value_name = "N")]
    depth: Option<usize>,

    /// The most bytes of values that may be stored by it at a time.
    #[arg(long, value_name = "N")]
    value_bytes: Option<usize>,

    /// The most watches at a time.
    #[arg(long, value_name = "N")]
    watches: Option<usize>,

    /// The most channels at a time.
    #[arg(long, value_name = "N")]
    channels: Option<usize>,

    /// The most processes at a time.
    #[arg(long, value_name = "N")]
    processes: Option<usize>,
}

/// Show what a grant gives, and how much of it is used.
#[derive(Args)]
struct Show {
    /// Where the right to take it back is stored.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

/// Take back what a grant gave: all that was reached by it fails from then on.
#[derive(Args)]
struct Revoke {
    /// Where the right to take it back is stored; the cell is left as it is.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Grant {
    pub(super) fn check(&self) -> Result<(), CliError> {
        match &self.command {
            Command::Make(make) => make.check(),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        match self.command {
            Command::Make(make) => make.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Limits {
    fn said(&self) -> impl Iterator<Item = (Resource, usize)> {
        let limits = [
            (Resource::Nodes, self.nodes),
            (Resource::Depth, self.depth),
            (Resource::ValueBytes, self.value_bytes),
            (Resource::Watches, self.watches),
            (Resource::Channels, self.channels),
            (Resource::Processes, self.processes),
        ];
        limits.into_iter().filter_map(|(resource, limit)| Some((resource, limit?)))
    }

    /// Whether there are any.
    pub(super) fn is_any(&self) -> bool {
        self.said().next().is_some()
    }

    /// Asks for the anchor at `target` with these rights and within these limits.
    pub(super) fn narrow(
        &self,
        connection: &Connection,
        target: &Target,
        rights: Rights,
    ) -> Result<RemotePromise<anchor::attenuate_results::Owned>, CliError> {
        let anchor = match (rights.contains(Right::Exec), target.start()) {
            (false, _) => connection.walk(target).pipeline.get_anchor(),
            (true, Start::Bootstrap) => able_to_exec(connection, target, rights),
            (true, Start::Cluster) => {
                let why = "a path below which programs may be started is relative";
                return Err(CliError::usage(target.spelled(), why));
            }
        };
        let with = |all: Allowance, (resource, limit)| all.with(resource, limit);
        let mut request = anchor.attenuate_request();
        put_rights(rights, request.get().init_rights());
        put_limits(self.said().fold(Allowance::default(), with), request.get().init_limits());
        Ok(request.send())
    }
}

/// The anchor at `target` with these rights, `exec` among them: the host alone gives that, and what it has
/// given it to hands it down.
fn able_to_exec(connection: &Connection, target: &Target, rights: Rights) -> anchor::Client {
    let mut request = connection.base().attenuate_request();
    let on_the_way = Rights::from(Right::Walk) | Right::Attenuate.into();
    put_rights(rights | on_the_way, request.get().init_rights());
    put_limits(Allowance::default(), request.get().init_limits());
    let mut request = request.send().pipeline.get_anchor().walk_request();
    request.get().set_path(capnp::text::Reader(target.path()));
    request.send().pipeline.get_anchor()
}

impl Make {
    fn check(&self) -> Result<(), CliError> {
        match self.at.canonical() == self.revoker.canonical() {
            true => Err(CliError::usage(
                "grant make",
                "--at and --revoker are one cell, which holds one value",
            )),
            false => Ok(()),
        }
    }

    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("grant make {}", self.path.spelled());
        let sent = self.limits.narrow(&context.connection, &self.path, self.rights)?;
        let (anchor, grant) = (sent.pipeline.get_anchor(), sent.pipeline.get_grant());
        context.connection.walked(&what, &self.path, sent.promise).await?;
        // First what can take it back. Of what is stored alone, nothing stays.
        let revoker = store(context, &self.revoker, grant.client.hook.clone()).await?;
        if let Err(error) = store(context, &self.at, anchor.client.hook).await {
            let _ = context.connection.answer(&what, grant.revoke_request().send().promise).await;
            context.connection.take_back(&self.revoker, revoker).await;
            return Err(error);
        }
        if context.output.is_json() {
            let (at, revoker) = (self.at.canonical(), self.revoker.canonical());
            let rights = self.rights.to_string();
            let line = json!({"at": at, "revoker": revoker, "rights": rights});
            context.output.line(line)?;
        }
        Ok(())
    }
}

/// Stores a capability in the cell at `target`, which has to be empty: the cell's revision after it.
async fn store(
    context: &Context,
    target: &Target,
    hook: Box<dyn ClientHook>,
) -> Result<u64, CliError> {
    let what = format!("store {}", target.spelled());
    context.connection.store_new(&what, target, hook).await
}

/// The grant in the cell at `target`.
async fn stored(context: &Context, what: &str, target: &Target) -> Result<Held, CliError> {
    Held::at(&context.connection, what, target, "grant").await
}

impl Show {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("grant show {}", self.path.spelled());
        let held = stored(context, &what, &self.path).await?;
        let asked = held.cast_to::<grant::Client>().info_request().send().promise;
        let response = held.answer(&context.connection, &what, asked).await?;
        let read = || {
            let info = response.get()?;
            let (limits, used) = (read_limits(info.get_limits()?), read_limits(info.get_used()?));
            Ok((read_rights(info.get_rights()?), limits, used, info.get_revoked()))
        };
        let (rights, limits, used, revoked) =
            read().map_err(|error: capnp::Error| CliError::call(&what, &error))?;
        let limit = |resource| Some(limits.of(resource)).filter(|&limit| limit < usize::MAX);
        if context.output.is_json() {
            let mut line = json!({"rights": rights.to_string(), "revoked": revoked});
            for resource in Resource::ALL {
                let of = json!({"limit": limit(resource), "used": used.of(resource)});
                line[resource.name()] = of;
            }
            return context.output.line(line);
        }
        context.output.line(format!("rights       {rights}"))?;
        for resource in Resource::ALL {
            let mut line = format!("{:<12} ", resource.name());
            let limit = limit(resource).map(|limit| limit.to_string());
            let _ = match (resource, limit) {
                (Resource::Depth, limit) => write!(line, "{}", limit.as_deref().unwrap_or("any")),
                (Resource::Nodes, None) => write!(line, "any"),
                (_, None) => write!(line, "{} used", used.of(resource)),
                (_, Some(limit)) => write!(line, "{} of {limit} used", used.of(resource)),
            };
            context.output.line(line)?;
        }
        context.output.line(format!("revoked      {}", if revoked { "yes" } else { "no" }))
    }
}

impl Revoke {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("grant revoke {}", self.path.spelled());
        let held = stored(context, &what, &self.path).await?;
        let revoked = held.cast_to::<grant::Client>().revoke_request().send().promise;
        held.answer(&context.connection, &what, revoked).await?;
        if context.output.is_json() {
            context.output.line(json!({"revoked": true}))?;
        }
        Ok(())
    }
}
