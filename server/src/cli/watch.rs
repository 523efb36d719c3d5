//! `killick watch`: what an anchor holds, as it changes.

use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};

use capnp::any_pointer;
use capnp::message::{Builder, HeapAllocator};
use clap::Args;
use killick_client::{Change, Client, Departure, Error, Loaded, Options, Retry, What};
use serde_json::{Value as Json, json};

use super::Server;
use super::connection::why_unreachable;
use super::error::CliError;
use super::output::Output;
use super::signal::Interrupt;
use super::target::{Start, Target};
use super::text::shown;
use super::value::Value;

const AFTER_HELP: &str = "\
First what is there, then what is different, as it happens:

  value 3: hello     the cell holds this, at revision 3
  empty 4            the cell is empty, at revision 4
  added a            a child came; 'added a, filled' if it holds a value
  removed a          a child went; of the hosts, under '/', also how: 'removed f19caa21dda41c43, failed',
                     or left, or restarted, which is added at once
  filled a           a child holds a value now; 'emptied a' if it no longer does

What is overtaken before it can be told is not told. With --json each change is a document on a
line of its own. Ends with SIGINT (Ctrl-C) or SIGTERM, or when nobody reads what it tells. When
the connection is lost, or a path leads to another host and that has gone, it is made again, for as
long as --timeout says, and what changed meanwhile is told.

Examples:
  killick watch greeting
  killick watch --children workers
  killick watch /
  killick watch --json --count 1 greeting | jq .value.text";

/// Tell what an anchor holds, and whenever that changes; creates what is missing.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Watch {
    /// The anchor to watch; it is held meanwhile.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Tell of the children: who comes and goes, and who holds a value. So it is for '/' without this.
    #[arg(long)]
    children: bool,

    /// Tell of the value: what is told without --children.
    #[arg(long)]
    value: bool,

    /// Show a list of bytes as data even if it looks like text.
    #[arg(long)]
    data: bool,

    /// End after so many changes, the first state included.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Watch {
    pub(super) async fn run(self, server: Server, mut output: Output) -> Result<(), CliError> {
        let what = format!("watch {}", self.path.spelled());
        let mut interrupt = Interrupt::listen()?;
        let failed = |error: Error| CliError::failed(&what, reason(&error));
        let address = server.address.clone();
        // It was there and let this client in, and now it is or does not.
        let lost = |error: Error| match &error {
            Error::Connect { error: why, .. } => {
                let how = match why.kind() {
                    PermissionDenied => "its access was revoked".to_owned(),
                    NotFound | ConnectionRefused => {
                        format!("{address} closed the connection, and is not there any more")
                    }
                    _ => format!("{address} closed the connection, and another cannot be made"),
                };
                CliError::failed(&what, format!("{how}: {}", reason(&error)))
            }
            _ => failed(error),
        };
        let through = server.through.clone();
        let client = connect(server).await.map_err(failed)?;
        let watched = match (self.tells_children(), self.value) {
            (false, _) => What::Value,
            (true, false) => What::Children,
            (true, true) => What::Both,
        };
        let mut watch = match through.filter(|_| self.path.start() == Start::Bootstrap) {
            None => client.watch_at(self.path.path(), watched).map_err(failed)?,
            Some(at) => {
                let stored = client.load_at(at.path()).await.map_err(failed)?.value;
                let anchor = stored.as_ref().and_then(killick_client::Value::capability);
                let why = format!("no anchor is stored at {}", at.spelled());
                let anchor = anchor.ok_or_else(|| CliError::failed(&what, why))?;
                let base = client.host().await.map_err(failed)?.adopt(anchor);
                // Who may only look up may watch what is there.
                let anchor = match base.lookup(self.path.path()).await {
                    Ok(Some(anchor)) => anchor,
                    _ => base.walk(self.path.path()).await.map_err(failed)?,
                };
                anchor.watch(watched)
            }
        };
        let (mut left, mut whole, mut told) = (self.count, true, None);
        while left != Some(0) {
            let change = tokio::select! {
                change = watch.next() => different(change.map_err(lost)?, &mut told),
                () = interrupt.received() => return Ok(()),
                () = output.closed() => return Err(CliError::OutputClosed),
            };
            if !whole && change.value.is_none() && change.children.is_empty() {
                continue;
            }
            let value = self.value_of(&change).map_err(|error| CliError::call(&what, &error))?;
            match output.is_json() {
                true => output.line(self.json(&change, value.as_ref(), whole).await)?,
                false => lines(&change, value.as_ref())
                    .into_iter()
                    .try_for_each(|line| output.line(line))?,
            }
            output.flush()?;
            whole = false;
            left = left.map(|left| left - 1);
        }
        Ok(())
    }

    /// Whether children are told of: the cluster's anchor has no value.
    fn tells_children(&self) -> bool {
        self.children || (self.path.is_cluster() && !self.value)
    }

    /// What the cell holds, if that is told, and its revision.
    fn value_of(&self, change: &Change) -> capnp::Result<Option<(Value, u64)>> {
        let Some(loaded) = &change.value else { return Ok(None) };
        let value = match &loaded.value {
            Some(value) => Value::read(value.pointer(), self.data)?,
            None => Value::Nothing,
        };
        Ok(Some((value, loaded.revision)))
    }

    async fn json(&self, change: &Change, value: Option<&(Value, u64)>, whole: bool) -> Json {
        let mut told = json!({"path": self.path.canonical(), "whole": whole});
        if let Some((value, revision)) = value {
            told["value"] = value.json().await;
            told["revision"] = json!(revision);
        }
        if self.tells_children() {
            let children = &change.children;
            let entry = |(name, filled): &(String, bool)| json!({"name": name, "filled": filled});
            told["added"] = children.added.iter().map(entry).collect();
            told["removed"] = json!(children.removed);
            told["filled"] = json!(children.filled);
            told["emptied"] = json!(children.emptied);
            if self.path.is_cluster() {
                let went = change.departures.iter();
                told["departures"] =
                    went.map(|how| json!(word(*how).unwrap_or("unknown"))).collect();
            }
        }
        told
    }
}

/// `change` without the value if that was `told` already: after a lost connection a watch tells it in any case.
fn different(mut change: Change, told: &mut Option<Content>) -> Change {
    if let Some(loaded) = &change.value {
        let content = Content::of(loaded);
        match change.whole && content.is_some() && content == *told {
            true => change.value = None,
            false => *told = content,
        }
    }
    change
}

/// What a cell held, to be compared: its revision, and its value in the canonical form. A server that was
/// started again counts revisions anew.
#[derive(PartialEq)]
struct Content(u64, Vec<u8>);

impl Content {
    /// Nothing of a value with capabilities, which are others with each connection.
    fn of(loaded: &Loaded) -> Option<Self> {
        let Some(value) = &loaded.value else { return Some(Content(loaded.revision, Vec::new())) };
        let words = value.pointer().target_size().ok()?.word_count.checked_add(1)?;
        let words = u32::try_from(words).ok()?;
        let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
        message.set_root_canonical::<any_pointer::Owned>(value.pointer()).ok()?;
        Some(Content(loaded.revision, message.get_segments_for_output().concat()))
    }
}

/// What an error says, in words for people.
fn reason(error: &Error) -> String {
    match error {
        Error::Connect { address, error } => why_unreachable(address, error),
        _ => error.to_string(),
    }
}

/// Connects, and from then on again and again for as long as one answer may take.
async fn connect(server: Server) -> Result<Client, Error> {
    let Server { address, identity, timeout, .. } = server;
    let once = Options { timeout, identity, retry: Retry::NONE, ..Options::default() };
    // That nobody is there is told at once.
    Client::connect(&address, once.clone()).await?;
    let retry = Retry { attempts: u32::MAX, ..Retry::default() };
    Ok(Client::lazy(&address, Options { retry, ..once }))
}

/// How a host went, if that is told.
fn word(how: Departure) -> Option<&'static str> {
    match how {
        Departure::Left => Some("left"),
        Departure::Failed => Some("failed"),
        Departure::Restarted => Some("restarted"),
        _ => None,
    }
}

/// A change as people read it.
fn lines(change: &Change, value: Option<&(Value, u64)>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(value.map(|(value, revision)| match value.summary() {
        Some(summary) => format!("value {revision}: {summary}"),
        None => format!("empty {revision}"),
    }));
    let children = &change.children;
    lines.extend(change.gone().map(|(name, how)| match word(how) {
        Some(how) => format!("removed {}, {how}", shown(name.as_bytes())),
        None => format!("removed {}", shown(name.as_bytes())),
    }));
    lines.extend(children.added.iter().map(|(name, filled)| match filled {
        true => format!("added {}, filled", shown(name.as_bytes())),
        false => format!("added {}", shown(name.as_bytes())),
    }));
    for (how, names) in [("filled", &children.filled), ("emptied", &children.emptied)] {
        lines.extend(names.iter().map(|name| format!("{how} {}", shown(name.as_bytes()))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use killick_client::Value;
    use killick_client::schema::api::anchor_capnp::anchor::loader;

    use super::*;

    struct Greeter;

    impl loader::Server for Greeter {}

    fn content(revision: u64, value: Option<Value>) -> Option<Content> {
        Content::of(&Loaded { value, revision })
    }

    #[test]
    fn what_a_cell_holds_is_the_same_with_the_same_revision_and_value() {
        let capability: loader::Client = killick_client::capnp_rpc::new_client(Greeter);
        assert!(content(1, Some(Value::from_capability(capability))).is_none());
        let text = |text: &str| Some(Value::from(text));
        assert!(content(1, text("one")) == content(1, text("one")));
        assert!(content(1, text("one")) != content(1, text("two")));
        assert!(content(1, text("one")) != content(2, text("one")));
        assert!(content(0, None) == content(0, None) && content(0, None) != content(0, text("")));
    }
}
