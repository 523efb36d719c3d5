//! How a command ends when it does not end well: one line on stderr, and an exit code.

use std::fmt;
use std::io;

use killick_client::internal;
pub(crate) use killick_client::internal::is_remote;

use super::text::{one_line, system};

/// What a shell sees: the table stands in the help of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Nothing = 3,
    Twin = 4,
}

/// Why a command stopped. Displays as `what: why`, on one line.
#[derive(Debug)]
pub(crate) enum CliError {
    /// It could not be done.
    Failed { what: String, why: String },
    /// It was asked for in a way that makes no sense.
    Usage { what: String, why: String },
    /// It was done, and the answer is that nothing is there or nothing was stored.
    Nothing { what: String, why: String },
    /// Another host runs with the key of this one: to start it again is of no use.
    Twin { what: String, why: String },
    /// Whoever read our output went away: no reason to say anything.
    OutputClosed,
    /// The process that the command stood for ended with this code: it has said itself what there was to say.
    Ended(u8),
}

impl CliError {
    pub(crate) fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        CliError::Failed { what: what.into(), why: system(why) }
    }

    pub(crate) fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        CliError::Usage { what: what.into(), why: why.to_string() }
    }

    pub(crate) fn nothing(what: impl Into<String>, why: impl fmt::Display) -> Self {
        CliError::Nothing { what: what.into(), why: why.to_string() }
    }

    /// An error of writing to stdout.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::failed("write to stdout", error),
        }
    }

    /// The same error, of the command `name`, which asked for what failed.
    pub(crate) fn of(mut self, name: &str) -> Self {
        match &mut self {
            CliError::Failed { what, .. }
            | CliError::Usage { what, .. }
            | CliError::Nothing { what, .. }
            | CliError::Twin { what, .. } => name.clone_into(what),
            CliError::OutputClosed | CliError::Ended(_) => {}
        }
        self
    }

    /// An error that a call to the server ended with.
    pub(crate) fn call(what: impl Into<String>, error: &capnp::Error) -> Self {
        CliError::failed(what, reason(error))
    }

    pub(crate) fn exit(&self) -> u8 {
        let exit = match self {
            CliError::Failed { .. } => Exit::Failed,
            CliError::Usage { .. } => Exit::Usage,
            CliError::Nothing { .. } => Exit::Nothing,
            CliError::Twin { .. } => Exit::Twin,
            CliError::OutputClosed => Exit::Done,
            CliError::Ended(code) => return *code,
        };
        exit as u8
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Failed { what, why }
            | CliError::Usage { what, why }
            | CliError::Nothing { what, why }
            | CliError::Twin { what, why } => {
                write!(f, "{}: {}", one_line(what), one_line(why))
            }
            CliError::OutputClosed => f.write_str("output closed"),
            CliError::Ended(code) => write!(f, "ended with code {code}"),
        }
    }
}

impl std::error::Error for CliError {}

/// The server's own words, without what the layers between put before them.
pub(crate) fn reason(error: &capnp::Error) -> String {
    let text = internal::reason(error);
    match error.kind {
        capnp::ErrorKind::Unimplemented => {
            format!("the server does not know this call, or does not offer it to you ({text})")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_on_one_line_without_control_characters() {
        let error = CliError::failed("load a", "first\nsecond\u{1b}[31m");
        assert_eq!(error.to_string(), "load a: first second\\u{1b}[31m");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = CliError::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit(), Exit::Done as u8);
    }
}
