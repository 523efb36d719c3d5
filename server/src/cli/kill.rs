//! `killick kill`: ending, or signalling, a process at a path.

use clap::Args;
use rustix::process::Signal;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::process::process_at;
use super::target::Target;

const AFTER_HELP: &str = "\
Without --signal the process and all that it has started are killed (SIGKILL), and have ended when
this has: the cell is empty then, unless the process was started with --keep. With --signal its
process group gets that, and nothing is waited for. An error if it has ended already.

Examples:
  killick kill workers/42
  killick kill --signal TERM workers/42
  killick kill --signal HUP workers/42";

/// End the process at a path, or send it a signal.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Kill {
    /// The anchor whose cell holds the process.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Send this signal, a name as TERM or SIGTERM or a number, and do not wait for anything.
    #[arg(long, short, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<Signal>,
}

/// The signals that have names here; all others have numbers.
const NAMES: [(&str, Signal); 15] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
];

fn signal(text: &str) -> Result<Signal, String> {
    if let Ok(number) = text.parse() {
        return Signal::from_named_raw(number).ok_or_else(|| format!("{number} is no signal"));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|&(_, signal)| signal).ok_or_else(|| {
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        format!("no signal '{text}'; there are {}, and numbers", names.join(", "))
    })
}

impl Kill {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("kill {}", self.path.spelled());
        let Context { connection, output, .. } = context;
        let process = process_at(connection, &what, &self.path).await?;
        let mut line = json!({"path": self.path.canonical()});
        match self.signal {
            None => {
                connection.answer(&what, process.kill_request().send().promise).await?;
                line["killed"] = true.into();
            }
            Some(signal) => {
                let number = signal.as_raw().unsigned_abs();
                let mut request = process.signal_request();
                request.get().set_number(number);
                connection.answer(&what, request.send().promise).await?;
                line["signal"] = number.into();
            }
        }
        if output.is_json() { output.line(line) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_by_name_or_number() {
        for text in ["TERM", "term", "SIGTERM", "15"] {
            assert_eq!(signal(text), Ok(Signal::TERM), "{text}");
        }
        for (name, number) in [("KILL", 9), ("USR1", 10), ("WINCH", 28)] {
            assert_eq!(signal(name).map(Signal::as_raw), Ok(number), "{name}");
        }
        for bad in ["", "SIG", "0", "-9", "999", "NEVER"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
