//! `killick kill`: ending, or signalling, a process at a path.

use std::ops::RangeInclusive;

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
  killick kill --signal HUP workers/42
  killick kill --signal RTMIN+1 workers/42";

/// End the process at a path, or send it a signal.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Kill {
    /// The anchor whose cell holds the process.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Send this signal, a name as TERM, SIGTERM or RTMIN+1, or a number, and do not wait for anything.
    #[arg(long, short, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<u32>,
}

/// The signals that have names here besides those for real time; all others have numbers.
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

/// The signals for real time, as they are numbered for programs: those before are the C library's own.
const REAL_TIME: RangeInclusive<u32> = 34..=64;

fn signal(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        let is_one = (1..32).contains(&number) || REAL_TIME.contains(&number);
        return is_one.then_some(number).ok_or_else(|| format!("{number} is no signal"));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let known = known.map(|(_, signal)| signal.as_raw().unsigned_abs());
    known.or_else(|| real_time(name)).ok_or_else(|| {
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        format!(
            "no signal '{text}'; there are {names}, RTMIN, RTMIN+1, …, RTMAX-1, RTMAX, and numbers"
        )
    })
}

/// The number of a signal for real time: `RTMIN`, `RTMIN+1`, `RTMAX-1`, `RTMAX`.
fn real_time(name: &str) -> Option<u32> {
    let distance = |text: &str, sign| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(more), _) => REAL_TIME.start().checked_add(distance(more, '+')?)?,
        (_, Some(less)) => REAL_TIME.end().checked_sub(distance(less, '-')?)?,
        (None, None) => return None,
    };
    REAL_TIME.contains(&number).then_some(number)
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
            Some(number) => {
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
            assert_eq!(signal(text), Ok(15), "{text}");
        }
        for (name, number) in [
            ("KILL", 9),
            ("USR1", 10),
            ("WINCH", 28),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("RTMAX", 64),
            ("40", 40),
        ] {
            assert_eq!(signal(name), Ok(number), "{name}");
        }
        for bad in [
            "", "SIG", "0", "-9", "32", "65", "999", "NEVER", "RTMIN+31", "RTMAX-31", "RTMIN-1",
            "RTMAX+0",
        ] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
