//! Standard output, buffered, with the errors of writing told apart from all others.

use std::fmt::Display;
use std::future::pending;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use killick_client::internal::is_deceptive;
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

    /// Writes one line; a terminal shows it at once. In JSON, what is not shown as itself is escaped: that stands in
    /// strings alone.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        let written = match self.json {
            true => writeln!(self.sink, "{}", escaped(line.to_string())),
            false => writeln!(self.sink, "{line}"),
        };
        written.map_err(CliError::output)?;
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

/// A document with `\u` before the number of each character that is not shown as itself. All of those have four
/// digits.
fn escaped(json: String) -> String {
    if !json.contains(is_deceptive) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut escaped, c| {
        match is_deceptive(c) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_has_no_character_that_is_not_shown_as_itself_and_says_the_same() {
        let document = json!({"a\u{202e}b": "\u{1b}[31m\u{9b}é👩\u{7f}\n"});
        let written = escaped(document.to_string());
        assert!(!written.contains(is_deceptive), "{written}");
        assert!(written.contains("\\u202e") && written.contains("é👩"), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).expect("JSON"), document);
    }
}
