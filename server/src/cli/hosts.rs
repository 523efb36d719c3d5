//! `killick hosts`: the hosts of the cluster.

use clap::Args;
use killick_client::{Member, internal};
use serde_json::{Value as Json, json};

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::text::{columns, duration, shown};

const AFTER_HELP: &str = "\
Columns: the id, which paths begin with, and '*' after that of the server that answers; the name
of its machine; whether it is up, suspect (it has not answered, and has some time to), left (it
said that it goes) or failed (it has not been heard for long), and for how long; the version of
its program; whether the server that answers has a connection to it for calls; where clients reach
it; its tags. A '-' stands for what is not known yet. Hosts that left or failed are shown for some
time, and are no longer in 'killick ls /'.

This is what the server knows that was asked: another may know something else for some seconds. A
server without a cluster is alone.

Examples:
  killick hosts
  killick hosts --json | jq -r 'select(.state == \"up\").addresses[]'";

/// List the hosts of the cluster, as the server knows them.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Hosts {}

/// The names of [`row`]'s columns; those that begin with a space are numbers.
const COLUMNS: [&str; 8] =
    ["id", "hostname", "state", " since", "version", "connected", "addresses", "tags"];

/// All hosts that the server knows of, by id.
pub(super) async fn ask(connection: &Connection) -> Result<Vec<Member>, CliError> {
    connection.answer("hosts", internal::hosts(connection.host())).await
}

/// A text of a host's, which may not be known yet.
pub(super) fn known(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { shown(text.as_bytes()) }
}

/// Whether calls reach it at once.
fn is_reached(host: &Member) -> bool {
    host.connected || host.is_self
}

fn row(host: &Member) -> [String; 8] {
    let tag = |(key, value): &(String, String)| format!("{key}={value}");
    let connected = if is_reached(host) { "yes" } else { "no" };
    [
        host.name() + if host.is_self { " *" } else { "" },
        known(&host.hostname),
        host.state.to_string(),
        duration(host.since),
        known(&host.version),
        connected.to_owned(),
        known(&host.addresses.join(",")),
        known(&host.tags.iter().map(tag).collect::<Vec<_>>().join(",")),
    ]
}

fn json(host: &Member) -> Json {
    let tags: serde_json::Map<_, _> =
        host.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "id": host.name(),
        "fullId": host.full_id,
        "generation": host.generation,
        "state": host.state.to_string(),
        "sinceMillis": u64::try_from(host.since.as_millis()).unwrap_or(u64::MAX),
        "hostname": host.hostname,
        "version": host.version,
        "addresses": host.addresses,
        "cluster": (!host.cluster.is_empty()).then_some(&host.cluster),
        "tags": tags,
        "connected": is_reached(host),
        "self": host.is_self,
    })
}

impl Hosts {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let hosts = ask(&context.connection).await?;
        let output = &mut context.output;
        if output.is_json() {
            return hosts.iter().try_for_each(|host| output.line(json(host)));
        }
        let rows: Vec<_> = hosts.iter().map(row).collect();
        columns(&COLUMNS, &rows).iter().try_for_each(|line| output.line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_yet_is_a_dash_and_nothing_acts_on_the_terminal() {
        assert_eq!(known(""), "-");
        assert_eq!(known("db\u{1b}[2J"), "db\\u{1b}[2J");
    }
}
