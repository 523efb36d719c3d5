//! Standard output, buffered, with the errors of writing told apart from all others.

use std::fmt::Display;
use std::future::pending;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

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
    /// Whether whoever reads it has gone: what is written would come to nobody.
    pub(crate) fn is_closed(&self) -> bool {
        let mut stdout = [PollFd::new(self.sink.get_ref(), PollFlags::empty())];
        let gone = PollFlags::ERR | PollFlags::HUP;
        poll(&mut stdout, Some(&Timespec::default())).is_ok()
            && stdout[0].revents().intersects(gone)
    }

    /// Resolves when whoever reads it has gone; never for a file, which nobody has to read.
    pub(crate) async fn closed(&self) {
        // Whatever it is, a pipe or not: nothing is written by this. An error is that it cannot be waited for.
        let stdout = self.sink.get_ref().as_fd().try_clone_to_owned();
        let Ok(stdout) = stdout.and_then(Sender::from_owned_fd_unchecked) else {
            return pending().await;
        };
        if stdout.ready(Interest::ERROR).await.is_err() {
            pending().await
        }
    }
}
