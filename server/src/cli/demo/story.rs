//! How the demonstration is told: who did what, and when; in colour on a terminal only.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::error::CliError;
use super::super::output::Output;
use super::super::text::duration;

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
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
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
            Who::Alice | Who::Carol | Who::Erin => "32",
            Who::Bob | Who::Dave => "35",
        }
    }
}

pub(super) struct Story {
    output: Output,
    colour: bool,
    started: Instant,
    gone_after: Duration,
}

impl Story {
    pub(super) fn new(json: bool) -> Self {
        let output = Output::new(json);
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = output.is_terminal() && !json && !plain;
        Story { output, colour, started: Instant::now(), gone_after: Duration::ZERO }
    }

    /// Tells one step, at once.
    pub(super) fn step(&mut self, who: Who, what: &str) -> Result<(), CliError> {
        let at = self.started.elapsed().as_secs_f64() * 1e3;
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

    /// Notes how long after its holder the path was gone.
    pub(super) fn gone_after(&mut self, after: Duration) {
        self.gone_after = after;
    }

    /// Tells what it all meant, and where to go on.
    pub(super) fn end(mut self) -> Result<(), CliError> {
        let gone = duration(self.gone_after);
        if self.output.is_json() {
            let millis = self.gone_after.as_secs_f64() * 1e3;
            self.output.line(json!({"done": true, "goneAfterMillis": millis}))?;
            return self.output.flush();
        }
        let title = |story: &Self, text: &str| story.paint("1", text);
        let saw = title(&self, "What you saw");
        let next = title(&self, "Next");
        self.output.line(format!(
            "\n{saw}\n  \
             Two processes that know nothing but a name met at it. No one created the path, and no one\n  \
             deleted it: an anchor exists while somebody holds it or a value is in it. The value was a\n  \
             capability, so bob called an object inside alice. When alice died, her value and the path\n  \
             were gone {gone} later, and bob's calls failed with a reason instead of hanging.\n  \
             Carol trusted dave with a part: some rights, two nodes, until she took it back. He could not\n  \
             widen it, and what she took was taken when her call returned. At the channel each letter has\n  \
             one receiver; without a buffer it is handed over.\n  \
             The process that erin had started was given one place, and saw nothing but what is below it.\n  \
             When it ended, its place went, and the inbox that it had there.\n\n\
             {next}\n  \
             killick serve &                  a server of your own\n  \
             killick store greeting 'hello'   a value keeps its path alive\n  \
             killick walk jobs/7 &            so does whoever holds it\n  \
             killick tree                     see both, kill the walk, look again\n  \
             killick watch greeting &         told of each change\n  \
             killick chan make inbox          a channel; 'send' and 'recv' use it\n  \
             killick grant --help             give away a part of the tree\n  \
             killick exec --help              start programs that have one\n  \
             killick --help"
        ))?;
        self.output.flush()
    }

    fn paint(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
