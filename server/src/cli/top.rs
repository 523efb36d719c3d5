//! `killick top`: what a server is doing, as it does it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use killick_client::MemberState;
use serde_json::json;

use super::clients::Client;
use super::connection::Connection;
use super::error::CliError;
use super::info::HostInfo;
use super::signal::Interrupt;
use super::terminal::{Keys, Size, typed};
use super::text::{bytes, columns, duration, grouped, shown};
use super::{Context, time_above};

const AFTER_HELP: &str = "\
On a terminal the picture is drawn anew each time, as much of it as fits, and 'q' ends it;
elsewhere one follows the other. The busiest connections come first. 'cpu' is processor time per
second: 200% is two cores. If the connection ends, as with the server, it says so and ends with
exit code 1: it does not connect again. Of a server in a cluster it tells how many hosts are
there.

Examples:
  killick top
  killick top --interval 5s --count 12 --json >> load.jsonl";

/// Show what the server is doing, again and again.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Top {
    /// The time between two looks: 500ms, 2s, 1m or plain seconds.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pause)]
    interval: Duration,

    /// How many looks to take; without it they go on until 'q', SIGINT (Ctrl-C) or SIGTERM.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The most connections to show.
    #[arg(long, value_name = "N", default_value_t = 15)]
    clients: usize,
}

fn pause(text: &str) -> Result<Duration, String> {
    time_above("0 would not wait at all", text)
}

/// The server at one moment.
struct Look {
    at: Instant,
    info: HostInfo,
    clients: Vec<Client>,
    /// The hosts of its cluster, if it has one.
    hosts: Option<Hosts>,
}

/// How many hosts there are in a cluster.
#[derive(Clone, Copy)]
struct Hosts {
    there: usize,
    /// Those of them that have not answered.
    suspect: usize,
}

impl Hosts {
    async fn count(connection: &Connection) -> Result<Self, CliError> {
        let hosts = super::hosts::ask(connection).await?;
        let there = hosts.iter().filter(|host| host.state.is_there()).count();
        let suspect = hosts.iter().filter(|host| host.state == MemberState::Suspect).count();
        Ok(Hosts { there, suspect })
    }

    fn json(self) -> serde_json::Value {
        json!({"there": self.there, "suspect": self.suspect})
    }

    fn text(self) -> String {
        match self.suspect {
            0 => format!(", hosts {}", grouped(self.there as u64)),
            suspect => format!(", hosts {}, {suspect} suspect", grouped(self.there as u64)),
        }
    }
}

impl Look {
    async fn take(connection: &Connection) -> Result<Self, CliError> {
        let (info, clients) =
            futures::future::try_join(HostInfo::ask(connection), Client::ask(connection)).await?;
        let hosts = match info.cluster.is_empty() {
            true => None,
            false => Some(Hosts::count(connection).await?),
        };
        Ok(Look { at: Instant::now(), info, clients, hosts })
    }
}

/// What happened between two looks.
struct Change<'a> {
    now: &'a Look,
    calls_per_second: f64,
    /// Processor seconds per second.
    cpu: f64,
    /// With their calls per second, the busiest first.
    clients: Vec<(&'a Client, f64)>,
}

impl<'a> Change<'a> {
    fn between(before: &Look, now: &'a Look) -> Self {
        let seconds = (now.at - before.at).as_secs_f64().max(1e-6);
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let calls: HashMap<_, _> = before.clients.iter().map(|c| (c.id, c.calls)).collect();
        let busy = |client: &'a Client| {
            let before = calls.get(&client.id).copied().unwrap_or(0);
            (client, rate(before, client.calls))
        };
        let mut clients: Vec<_> = now.clients.iter().map(busy).collect();
        clients.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        Change {
            now,
            calls_per_second: rate(before.info.calls, now.info.calls),
            cpu: rate(before.info.cpu_micros, now.info.cpu_micros) / 1e6,
            clients,
        }
    }

    fn json(&self) -> serde_json::Value {
        let clients = self.clients.iter().map(|(client, rate)| {
            let mut line = client.json();
            line["callsPerSecond"] = json!(rate.round() as u64);
            line
        });
        json!({
            "hosts": self.now.hosts.map(Hosts::json),
            "host": self.now.info.json(),
            "callsPerSecond": self.calls_per_second.round() as u64,
            "cpu": (self.cpu * 1e3).round() / 1e3,
            "clients": clients.collect::<Vec<_>>(),
        })
    }

    fn text(&self, most: usize) -> Vec<String> {
        let info = &self.now.info;
        let rate = |rate: f64| grouped(rate.round() as u64);
        let per_call = match self.calls_per_second {
            calls if calls >= 1.0 => format!(", {:.1} µs a call", self.cpu * 1e6 / calls),
            _ => String::new(),
        };
        let mut lines = vec![
            format!(
                "{:016x} on {}, {} threads, up {}",
                info.id,
                shown(info.hostname.as_bytes()),
                info.threads,
                duration(info.uptime)
            ),
            format!(
                "calls {} /s, cpu {:.0}%{per_call}",
                rate(self.calls_per_second),
                self.cpu * 100.0
            ),
            format!(
                "nodes {}, values {}, memory {}",
                grouped(info.nodes),
                bytes(info.stored_bytes),
                info.memory()
            ),
            format!(
                "connections {}, processes {}{}",
                grouped(info.connections),
                grouped(info.processes.into()),
                self.now.hosts.map(Hosts::text).unwrap_or_default()
            ),
            String::new(),
        ];
        let mut names = vec![" calls/s"];
        names.extend(super::clients::COLUMNS);
        let rows = self.clients.iter().take(most).map(|(client, busy)| {
            let mut row = vec![rate(*busy)];
            row.extend(client.row());
            row
        });
        lines.extend(columns(&names, &rows.collect::<Vec<_>>()));
        if let more @ 1.. = self.clients.len().saturating_sub(most) {
            lines.push(format!("and {} more", grouped(more as u64)));
        }
        lines
    }
}

/// The lines of a picture that are not of connections, with the one that says how to end it and the one
/// that the cursor stands in.
const OTHER_LINES: usize = 9;

/// What the picture on a terminal ends with.
const LAST_LINE: &str = "q or Ctrl-C ends this";

/// Has a terminal forget what it shows.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

impl Top {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let mut interrupt = Interrupt::listen()?;
        let Context { connection, output, .. } = context;
        let is_picture = output.is_terminal() && !output.is_json();
        let mut keys = if is_picture { Keys::listen() } else { None };
        let look = async || Look::take(connection).await.map_err(|error| error.of("top"));
        let mut before = look().await?;
        let mut taken = 0;
        while self.count.is_none_or(|count| taken < count) {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = interrupt.received() => return Ok(()),
                () = typed(&mut keys, b'q') => return Ok(()),
            }
            let now = look().await?;
            let change = Change::between(&before, &now);
            if output.is_json() {
                output.line(change.json())?;
            } else if is_picture {
                let size = Size::of_stdout();
                let most = size.rows.saturating_sub(OTHER_LINES).min(self.clients);
                let lines = size.fit(change.text(most), LAST_LINE).join("\n");
                output.line(format!("{CLEAR}{lines}"))?;
            } else {
                let lines = change.text(self.clients).join("\n");
                output.line(format!("{lines}\n"))?;
            }
            output.flush()?;
            before = now;
            taken += 1;
        }
        Ok(())
    }
}
