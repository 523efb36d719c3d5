//! The log of a server: events of `tracing`, a line each, on stderr.

use std::io;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::{Layer, SubscriberExt};
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

/// The log of this process.
pub(super) struct Log(reload::Handle<LevelFilter, Registry>);

impl Log {
    /// Begins it.
    pub(super) fn start(level: Level, format: Format) -> Result<Self, CliError> {
        let (filter, handle) = reload::Layer::new(level.filter());
        // A line that cannot be written is lost: who reads it having gone is no reason to stop serving.
        let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
        let lines = lines.with_target(false).with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
        let lines = match format {
            Format::Text => lines.boxed(),
            Format::Json => lines.json().flatten_event(true).boxed(),
        };
        set_global_default(Registry::default().with(filter).with(lines))
            .map_err(|error| CliError::failed("log", error))?;
        Ok(Log(handle))
    }

    /// Goes on with another level.
    pub(super) fn set_level(&self, level: Level) {
        // An error means that there is no log any more.
        let _ = self.0.reload(level.filter());
    }
}
