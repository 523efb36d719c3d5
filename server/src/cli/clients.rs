//! `killick clients`: who is connected.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::text::{bytes, columns, duration, grouped, shown};

const AFTER_HELP: &str = "\
Columns: the number of the connection; who it is; how long it has been open; the server's thread
that serves it; calls made, and those of them that are not done; bytes read from it and written to
it; capabilities that it holds, and those that it hosts and others can reach; its watches, and
calls that wait for a value, as they count to --max-watches; channels that it has made and that
exist. This command is one of them.

Examples:
  killick clients
  killick clients --json | jq 'select(.handles > 1000)'";

/// List the connections that are open.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Clients {}

/// What a server tells of one connection.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) peer: String,
    pub(super) age: Duration,
    pub(super) thread: u32,
    pub(super) calls: u64,
    pub(super) running: u32,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) handles: u32,
    pub(super) hosted: u32,
    pub(super) watches: u32,
    pub(super) channels: u32,
}

/// The names of [`Client::row`]'s columns; those that begin with a space are numbers.
pub(super) const COLUMNS: [&str; 12] = [
    "id", "peer", " age", " thread", " calls", " running", " in", " out", " handles", " hosts",
    " watches", " chans",
];

impl Client {
    /// All that are open, the oldest first.
    pub(super) async fn ask(connection: &Connection) -> Result<Vec<Self>, CliError> {
        let asked = connection.host().clients_request().send().promise;
        let response = connection.answer("clients", asked).await?;
        let read = || {
            let mut clients = Vec::new();
            for client in response.get()?.get_clients()? {
                clients.push(Client {
                    id: client.get_id(),
                    peer: String::from_utf8_lossy(client.get_peer()?.as_bytes()).into_owned(),
                    age: Duration::from_millis(client.get_age_millis()),
                    thread: client.get_thread(),
                    calls: client.get_calls(),
                    running: client.get_running(),
                    read: client.get_bytes_read(),
                    written: client.get_bytes_written(),
                    handles: client.get_handles(),
                    hosted: client.get_hosted(),
                    watches: client.get_watches(),
                    channels: client.get_channels(),
                });
            }
            Ok(clients)
        };
        read().map_err(|error| CliError::call("clients", &error))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "peer": self.peer,
            "ageMillis": u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
            "thread": self.thread,
            "calls": self.calls,
            "running": self.running,
            "bytesRead": self.read,
            "bytesWritten": self.written,
            "handles": self.handles,
            "hosted": self.hosted,
            "watches": self.watches,
            "channels": self.channels,
        })
    }

    /// A row below [`COLUMNS`].
    pub(super) fn row(&self) -> [String; 12] {
        [
            self.id.to_string(),
            shown(self.peer.as_bytes()),
            duration(self.age),
            self.thread.to_string(),
            grouped(self.calls),
            grouped(self.running.into()),
            bytes(self.read),
            bytes(self.written),
            grouped(self.handles.into()),
            grouped(self.hosted.into()),
            grouped(self.watches.into()),
            grouped(self.channels.into()),
        ]
    }
}

impl Clients {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let clients = Client::ask(&context.connection).await?;
        let output = &mut context.output;
        if output.is_json() {
            return clients.iter().try_for_each(|client| output.line(client.json()));
        }
        let rows: Vec<_> = clients.iter().map(Client::row).collect();
        columns(&COLUMNS, &rows).iter().try_for_each(|line| output.line(line))
    }
}
