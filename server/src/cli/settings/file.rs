//! A file of settings, and where in it each stands.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use toml::de::DeTable;

use super::Settings;
use crate::cli::error::CliError;
use crate::cli::text::{nearest, plain};

/// What is said of a key that stands in a file twice.
const AGAIN: &str = "duplicate key";

/// What is said of a key that is no setting: this, the key, and all that there are.
const UNKNOWN: &str = "unknown field `";

/// The setting that `key` is a misspelt one of, if it is near one.
fn meant(key: &str) -> Option<String> {
    let all = Settings::augment_args(Command::new("serve"));
    let names = all.get_arguments().map(|argument| argument.get_id().as_str().replace('_', "-"));
    let names: Vec<_> = names.collect();
    nearest(key, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The key of the setting that byte `at` of a file belongs to, whether or not the file is well-formed: the
/// last one before, if `at` is in its value or on the line where that ends.
fn key_at(file: &str, at: usize) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(file);
    let before = table.get_ref().iter().filter(|(key, _)| key.span().start <= at);
    let (key, value) = before.max_by_key(|(key, _)| key.span().start)?;
    let end = key.span().end.max(value.span().end).min(at);
    let between = file.get(end..at)?;
    (!between.contains('\n')).then(|| key.get_ref().to_string())
}

/// The line of byte `at`, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// A file of settings.
pub(in crate::cli) struct File {
    path: PathBuf,
    text: String,
    pub(in crate::cli) settings: Settings,
}

impl File {
    /// Where in it the setting `key` stands, if that is not set by `others`, which go first.
    pub(in crate::cli) fn place(&self, key: &str, others: &Settings) -> Option<String> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let (name, _) = table.get_ref().iter().find(|(name, _)| name.get_ref() == key)?;
        let line = line_of(&self.text, name.span().start);
        (!others.has(key)).then(|| format!("{}:{line}: {key}", self.path.display()))
    }
}

impl Settings {
    /// What the file at `path` says.
    pub(in crate::cli) fn read(path: &Path) -> Result<File, CliError> {
        let at = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| CliError::failed(format!("--config {at}"), error))?;
        let settings = toml::from_str(&text).map_err(|error| {
            let at_byte = error.span().map_or(0, |span| span.start).min(text.len());
            let key = match error.span() {
                // Of a key that is there already, which is not taken in.
                Some(span) if error.message() == AGAIN => text.get(span).map(str::to_owned),
                _ => key_at(&text, at_byte),
            };
            let is_unknown = error.message().starts_with(UNKNOWN);
            let why = match key.as_deref().filter(|_| is_unknown).and_then(meant) {
                Some(meant) => format!("no such setting; did you mean '{meant}'?"),
                None => plain(error.message()),
            };
            let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
            let line = line_of(&text, at_byte);
            CliError::usage(format!("{at}:{line}"), format!("{key}{why}"))
        })?;
        Ok(File { path: path.to_owned(), text, settings })
    }
}
