//! The log of a server: events of `tracing`, a line each, on stderr.

use std::io;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::{Registry, fmt, reload};

use super::error::CliError;

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// Nothing.
    Off,
    /// What is wrong with the server.
    Error,
    /// Connections that had to be closed or were refused as well, and whatever else is not as it should be.
    Warn,
    /// What the server was told as well, and that it starts and stops.
    Info,
    /// Connections that come, and that end in order, as well.
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        }
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// For people: the time, the level, what happened, `name=value` of what it happened to.
    Text,
    /// For programs: an object, with what it happened to beside `timestamp`, `level` and `message`.
    Json,
}

/// What decides which events are written, with what is below it.
type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
/// What writes them.
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The log of this process.
pub(super) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

fn lines(format: Format) -> Lines {
    // A line that cannot be written is lost: who reads it having gone is no reason to stop serving.
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let lines = lines.with_target(false).with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    }
}

impl Log {
    /// Begins it.
    pub(super) fn start(level: Level, format: Format) -> Result<Self, CliError> {
        let (filter, level) = reload::Layer::new(level.filter());
        let (lines, handle) = reload::Layer::new(lines(format));
        set_global_default(Registry::default().with(filter).with(lines))
            .map_err(|error| CliError::failed("log", error))?;
        Ok(Log { level, lines: handle })
    }

    /// Goes on with another level, in another format.
    pub(super) fn set(&self, (level, format): (Level, Format)) {
        // An error means that there is no log any more.
        let _ = self.level.reload(level.filter());
        let _ = self.lines.reload(lines(format));
    }
}
