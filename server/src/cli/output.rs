//! Standard output, buffered, with the errors of writing told apart from all others.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use super::error::CliError;

/// Where a command's answer goes. What is not flushed when it is dropped is flushed then, with
/// errors ignored: a command that ends well calls [`flush`](Self::flush).
pub(crate) struct Output {
    sink: BufWriter<Stdout>,
    terminal: bool,
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Output { sink: BufWriter::with_capacity(64 * 1024, stdout), terminal, json }
    }

    /// Whether the answer is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes one line; a terminal shows it at once.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        writeln!(self.sink, "{line}").map_err(CliError::output)?;
        if self.terminal { self.flush() } else { Ok(()) }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.sink.write_all(bytes).map_err(CliError::output)
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.sink.flush().map_err(CliError::output)
    }
}
