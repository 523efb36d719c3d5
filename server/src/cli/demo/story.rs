//! How the demonstration is told: who did what, and when; in colour on a terminal only.

use std::fmt;
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::Output;
use super::super::text::millis;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Who {
    #[value(skip)]
    Server,
    Alice,
    Bob,
    Carol,
    Dave,
    Erin,
    /// A host of the cluster, from 1.
    #[cfg(feature = "cluster")]
    #[value(skip)]
    Host(u8),
    #[cfg(feature = "cluster")]
    Frank,
    #[cfg(feature = "cluster")]
    Grace,
    #[cfg(feature = "cluster")]
    Heidi,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            #[cfg(feature = "cluster")]
            Who::Host(number) => return f.pad(&format!("host {number}")),
            #[cfg(feature = "cluster")]
            Who::Frank => "frank",
            #[cfg(feature = "cluster")]
            Who::Grace => "grace",
            #[cfg(feature = "cluster")]
            Who::Heidi => "heidi",
            Who::Server => "server",
            Who::Alice => "alice",
            Who::Bob => "bob",
            Who::Carol => "carol",
            Who::Dave => "dave",
            Who::Erin => "erin",
        })
    }
}

impl Who {
    /// The parameter of the terminal's sequence for a colour.
    fn colour(self) -> &'static str {
        match self {
            Who::Server => "34",
            #[cfg(feature = "cluster")]
            Who::Host(_) => "34",
            #[cfg(feature = "cluster")]
            Who::Frank | Who::Heidi => "32",
            #[cfg(feature = "cluster")]
            Who::Grace => "35",
            Who::Alice | Who::Carol | Who::Erin => "32",
            Who::Bob | Who::Dave => "35",
        }
    }
}

pub(super) struct Story {
    output: Output,
    colour: bool,
    started: Instant,
}

impl Story {
    pub(super) fn new(json: bool) -> Self {
        let output = Output::new(json);
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = output.is_terminal() && !json && !plain;
        Story { output, colour, started: Instant::now() }
    }

    /// Tells one step, at once.
    pub(super) fn step(&mut self, who: Who, what: &str) -> Result<(), CliError> {
        let at = millis(self.started.elapsed());
        if self.output.is_json() {
            let line = json!({"atMillis": at, "who": who.to_string(), "step": what});
            self.output.line(line)?;
        } else {
            let at = self.paint("2", &format!("{at:8.1} ms"));
            let name = self.paint(who.colour(), &format!("{who:<6}"));
            self.output.line(format!("{at}  {name}  {what}"))?;
        }
        self.output.flush()
    }

    /// Tells what it all meant, and where to go on; or `done`.
    pub(super) fn end(mut self, done: &Json, saw: &str, next: &str) -> Result<(), CliError> {
        if self.output.is_json() {
            self.output.line(done)?;
            return self.output.flush();
        }
        let titles = ["What you saw", "Next"].map(|title| self.paint("1", title));
        self.output.line(format!("\n{}\n{saw}\n\n{}\n{next}", titles[0], titles[1]))?;
        self.output.flush()
    }

    fn paint(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
