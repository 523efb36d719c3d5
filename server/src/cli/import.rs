//! `killick import`: paths from a file, each with its own text as its value.
//!
//! Every line is one pipelined call (walk, cell, store) of which some hundreds are under way at a
//! time. A line that the grammar refuses is told without asking the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::host_capnp::host;
use serde_json::{Value as Json, json};

use super::Context;
use super::connection::Connection;
use super::error::{CliError, is_remote, reason};
use super::info::HostInfo;
use super::lines::{self, Line, Lines};
use super::target::{Grammar, Target};
use super::text::{bytes, counted, duration, grouped, shortened};

mod progress;

use progress::Progress;

const AFTER_HELP: &str = "\
Each line is a path below --under: what is a file system's, '/usr/bin', goes to usr/bin there, and
so a leading '/' names no host here as it does in other commands. Its text becomes the value at
its anchor. Empty lines are skipped. What is no path, or exceeds a limit of the server, is
counted, and the first few of them are shown with the reason. How large the server is in the end
it tells those alone who have the whole host. Exit code 1 if any line was refused; the others are
stored all the same.

Examples:
  find /usr -printf '%P\\n' | killick import - --under usr
  killick import paths.txt && killick tree --depth 1";

/// Store each line of a file, a path, at its own anchor.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Import {
    /// The file with one path a line, or '-' for standard input.
    file: OsString,

    /// The anchor that the paths are walked from.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    #[arg(value_parser = Target::parser())]
    under: Target,

    /// How many calls to have under way at a time.
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,

    /// How many refused lines to show.
    #[arg(long, value_name = "N", default_value_t = 5)]
    show: usize,

    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
}

/// The bytes of the lines under way after which the next one waits for an answer.
const PENDING_BYTES: usize = 1 << 20;
/// How many nodes it takes for their mean size to say something.
const MANY_NODES: u64 = 1000;

/// A line that was not stored.
struct Refusal {
    line: Line,
    reason: String,
}

/// What became of the lines so far.
#[derive(Default)]
struct Tally {
    stored: u64,
    empty: u64,
    /// Not paths by the grammar.
    malformed: u64,
    /// Not stored by the server, for a limit of its.
    rejected: u64,
    /// The first ones by the number of their line, whichever were answered first.
    shown: BTreeMap<u64, Refusal>,
    show: usize,
}

impl Import {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.under;
        let lines = Lines::open(&self.file)?;
        let what = format!("import under {}", target.spelled());
        let walk = context.connection.walk(target).promise;
        let response = context.connection.walked(&what, target, walk).await?;
        let under = response
            .get()
            .and_then(|results| results.get_anchor())
            .map_err(|error| CliError::call(&what, &error))?;
        let connection = &context.connection;
        let ask = async || HostInfo::ask_if_told(connection).await.map_err(|error| error.of(&what));
        let before = ask().await?;
        let started = Instant::now();
        let mut tally = Tally { show: self.show, ..Tally::default() };
        let progress = Progress::new(self.quiet || context.output.is_json());
        let importing = Importing {
            connection,
            under,
            window: self.window.into(),
            calls: FuturesUnordered::new(),
            pending: 0,
            grammar: Grammar::new(),
            progress,
        };
        let imported = importing.run(lines, &mut tally).await;
        let took = started.elapsed();
        let after = match imported {
            Ok(()) => ask().await,
            Err(error) => Err(error),
        };
        let (before, known) = (before.as_ref(), after.as_ref().ok().and_then(Option::as_ref));
        match context.output.is_json() {
            true => context.output.line(tally.json(took, before, known))?,
            false => tally
                .report(took, before, known)
                .into_iter()
                .try_for_each(|line| context.output.line(line))?,
        }
        after.and_then(|_| tally.verdict(&what))
    }
}

/// One import under way.
struct Importing<'a> {
    connection: &'a Connection,
    under: anchor::Client,
    window: usize,
    calls: FuturesUnordered<LocalBoxFuture<'static, Stored>>,
    /// The bytes of the lines in `calls`.
    pending: usize,
    grammar: Grammar,
    progress: Progress,
}

/// The answer to one line's call.
struct Stored {
    line: Line,
    answer: capnp::Result<()>,
    /// Whether the connection took another call after an error.
    connected: bool,
}

impl Importing<'_> {
    async fn run(mut self, lines: Lines, tally: &mut Tally) -> Result<(), CliError> {
        let done = self.store_all(lines, tally).await;
        self.progress.clear();
        done
    }

    async fn store_all(&mut self, mut lines: Lines, tally: &mut Tally) -> Result<(), CliError> {
        let mut ended = false;
        while !ended || !self.calls.is_empty() {
            self.progress.show(tally);
            let full = self.calls.len() >= self.window || self.pending >= PENDING_BYTES;
            let idle = self.calls.is_empty();
            tokio::select! {
                biased;
                line = lines.next(), if !ended && !full => match line {
                    Some(line) => self.send(line?, tally)?,
                    None => ended = true,
                },
                stored = next(&mut self.calls, self.connection), if !idle => {
                    self.count(stored?, tally)?;
                }
            }
        }
        Ok(())
    }

    /// Checks a line and, if it is a path, sends its call.
    fn send(&mut self, line: Line, tally: &mut Tally) -> Result<(), CliError> {
        if line.text.is_empty() && !line.cut {
            tally.empty += 1;
            return Ok(());
        }
        if line.cut {
            let limit = bytes(lines::LONGEST as u64);
            let reason = format!("longer than the {limit} that a line may have");
            tally.malformed(line, reason);
            return Ok(());
        }
        if let Err(error) = self.grammar.check(&line.text) {
            tally.malformed(line, error.to_string());
            return Ok(());
        }
        let sent = store(&self.under, &line.text).map_err(|e| CliError::call("import", &e))?;
        self.pending += line.text.len();
        let host = self.connection.host().clone();
        self.calls.push(Box::pin(async move {
            let answer = sent.await;
            // The end of the connection reaches every call as if the server had answered it.
            let connected = answer.is_ok() || is_connected(&host).await;
            Stored { line, answer, connected }
        }));
        Ok(())
    }

    fn count(&mut self, stored: Stored, tally: &mut Tally) -> Result<(), CliError> {
        self.pending -= stored.line.text.len();
        match stored.answer {
            Ok(()) => tally.stored += 1,
            Err(error) if !stored.connected || !is_remote(&error) => {
                let what = format!("import, {} stored so far", grouped(tally.stored));
                return Err(self.connection.call_error(&what, &error));
            }
            Err(error) => tally.rejected(stored.line, reason(&error)),
        }
        Ok(())
    }
}

/// Whether the server answers a call, and be it that there is none of that name: whose root is an anchor is
/// told nothing of the host.
async fn is_connected(host: &host::Client) -> bool {
    match host.info_request().send().promise.await {
        Ok(_) => true,
        Err(error) => error.kind == capnp::ErrorKind::Unimplemented,
    }
}

/// The next answer, of whichever call.
async fn next(
    calls: &mut FuturesUnordered<LocalBoxFuture<'static, Stored>>,
    connection: &Connection,
) -> Result<Stored, CliError> {
    let next = async {
        calls.next().await.ok_or_else(|| capnp::Error::failed("no call is under way".into()))
    };
    connection.answer("import", next).await
}

/// Stores `path`, a path by the grammar and so text, at itself under `under`.
fn store(
    under: &anchor::Client,
    path: &[u8],
) -> capnp::Result<impl Future<Output = capnp::Result<()>> + use<>> {
    let mut walk = under.walk_request();
    walk.get().set_path(capnp::text::Reader(path));
    let cell = walk.send().pipeline.get_anchor().cell_request();
    let mut store = cell.send().pipeline.get_storer().store_request();
    store.get().set_overwrite(true);
    store.get().init_value().set_as::<capnp::text::Owned>(capnp::text::Reader(path))?;
    let stored = store.send().promise;
    Ok(async move { stored.await.map(drop) })
}

impl Tally {
    fn malformed(&mut self, line: Line, reason: String) {
        self.malformed += 1;
        self.note(line, reason);
    }

    fn rejected(&mut self, line: Line, reason: String) {
        self.rejected += 1;
        self.note(line, reason);
    }

    fn note(&mut self, line: Line, reason: String) {
        self.shown.insert(line.number, Refusal { line, reason });
        if self.shown.len() > self.show {
            self.shown.pop_last();
        }
    }

    fn rate(&self, took: Duration) -> f64 {
        self.stored as f64 / took.as_secs_f64().max(1e-9)
    }

    /// What became of the lines, and of the server if that tells; `after` is unknown as well if the import
    /// could not be finished.
    fn report(
        &self,
        took: Duration,
        before: Option<&HostInfo>,
        after: Option<&HostInfo>,
    ) -> Vec<String> {
        let stored = counted(self.stored, "path");
        let rate = grouped(self.rate(took) as u64);
        let mut lines = vec![format!("stored {stored} in {} ({rate}/s)", duration(took))];
        for (number, why) in [
            (self.malformed, "no path by the grammar"),
            (self.rejected, "not stored by the server"),
        ] {
            if number > 0 {
                lines.push(format!("refused {}: {why}", counted(number, "line")));
            }
        }
        for Refusal { line, reason } in self.shown.values() {
            let (number, text) = (line.number, shortened(&line.text));
            let more = if line.cut { "…" } else { "" };
            lines.push(format!("  line {number}: '{text}{more}': {reason}"));
        }
        let hidden = self.malformed + self.rejected - self.shown.len() as u64;
        if hidden > 0 && !self.shown.is_empty() {
            lines.push(format!("  … and {} more", grouped(hidden)));
        }
        if self.empty > 0 {
            lines.push(format!("skipped {}", counted(self.empty, "empty line")));
        }
        lines.extend(before.zip(after).map(|(before, after)| growth(before, after)));
        lines
    }

    fn json(&self, took: Duration, before: Option<&HostInfo>, after: Option<&HostInfo>) -> Json {
        let shown = self.shown.values().map(|refusal| {
            let path = String::from_utf8_lossy(&refusal.line.text);
            json!({"line": refusal.line.number, "path": path, "reason": refusal.reason})
        });
        json!({
            "stored": self.stored,
            "malformed": self.malformed,
            "rejected": self.rejected,
            "empty": self.empty,
            "refusals": shown.collect::<Vec<_>>(),
            "seconds": took.as_secs_f64(),
            "pathsPerSecond": self.rate(took),
            "nodesBefore": before.map(|before| before.nodes),
            "residentBytesBefore": before.map(|before| before.resident_bytes),
            "server": after.map(HostInfo::json),
        })
    }

    fn verdict(&self, what: &str) -> Result<(), CliError> {
        let lines = |number| counted(number, "line");
        let malformed = match self.malformed {
            _ if self.stored == 0 && self.rejected == 0 => {
                "no line is a path by the grammar".into()
            }
            1 => "1 line is no path by the grammar".into(),
            many => format!("{} are no paths by the grammar", lines(many)),
        };
        let rejected = || format!("the server did not store {}", lines(self.rejected));
        let why = match (self.malformed, self.rejected) {
            (0, 0) => return Ok(()),
            (_, 0) => malformed,
            (0, _) => rejected(),
            (_, _) => format!("{}, and {malformed}", rejected()),
        };
        Err(CliError::failed(what, why))
    }
}

/// What the import did to the server.
fn growth(before: &HostInfo, after: &HostInfo) -> String {
    let nodes = after.nodes.saturating_sub(before.nodes);
    let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
    let mut line = format!(
        "server: {} (+{}), {} resident",
        counted(after.nodes, "node"),
        grouped(nodes),
        after.memory(),
    );
    if after.resident_bytes > 0 {
        line.push_str(&format!(" (+{}", bytes(grown)));
        if nodes >= MANY_NODES {
            let each = grown / nodes;
            line.push_str(&format!(", {} a node", counted(each, "byte")));
        }
        line.push(')');
    }
    line
}
