//! Command-line arguments of the benches that have a harness of their own.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::Impls;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    Measure,
    #[default]
    Check,
    List,
    Help,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    /// Smaller trees and fewer rounds.
    pub(crate) quick: bool,
    /// Measure in a process that has freed big trees before.
    pub(crate) aged: bool,
    /// How many threads to measure with, if it was said.
    pub(crate) threads: Option<Vec<usize>>,
    /// Where the results go as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Which implementations are wanted.
    pub(crate) impls: Impls,
    /// Names that hold one of these are wanted; all, if there are none.
    pub(crate) filters: Vec<String>,
    /// What was said of what there is to measure, for the report.
    pub(crate) said: Vec<String>,
    /// Whether a filter that matches nothing is an error: it was said with `--filter`.
    pub(crate) strict: bool,
}

/// An argument that is none.
#[derive(Debug)]
pub(crate) enum ArgError {
    Unknown(OsString),
    Number { option: &'static str, value: String },
    Missing { option: &'static str, value: &'static str },
    NotText(OsString),
    NoImpl(String),
}

impl fmt::Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgError::Unknown(arg) => write!(f, "unknown option '{}'", arg.to_string_lossy()),
            ArgError::Missing { option, value } => write!(f, "{option} needs a {value} after it"),
            ArgError::Number { option, value } => {
                write!(f, "{option} needs numbers above 0 with commas between, not '{value}'")
            }
            ArgError::NoImpl(filter) => write!(f, "no implementation's name holds '{filter}'"),
            ArgError::NotText(arg) => write!(f, "'{}' is not UTF-8", arg.to_string_lossy()),
        }
    }
}

impl Args {
    /// Reads the arguments after the program's name; `own` are the options that not every bench has.
    ///
    /// `cargo bench` passes `--bench`; without it, and without any option that asks for something
    /// else, the target is being run by `cargo test`, which wants it checked and not measured.
    pub(crate) fn parse(
        args: impl IntoIterator<Item = OsString>,
        own: &[&str],
    ) -> Result<Args, ArgError> {
        let mut parsed = Args::default();
        let (mut mode, mut measure) = (None, false);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(text) = arg.to_str() else { return Err(ArgError::NotText(arg)) };
            let (option, inline) = match text.split_once('=') {
                Some((option, value)) if text.starts_with("--") => (option, Some(value)),
                _ => (text, None),
            };
            let mut value = |option, value| match inline {
                Some(inline) => Ok(OsString::from(inline)),
                None => args.next().ok_or(ArgError::Missing { option, value }),
            };
            let mut text_value = |option, name| {
                let text = value(option, name)?.into_string().map_err(ArgError::NotText)?;
                parsed.said.push(format!("{option} '{text}'"));
                Ok(text)
            };
            match option {
                "--json" => {
                    parsed.json = Some(value("--json", "file name")?.into());
                    measure = true;
                }
                "--filter" => {
                    parsed.filters.push(text_value("--filter", "part of a name")?);
                    parsed.strict = true;
                }
                "--impl" => parsed.impls.filters.push(text_value("--impl", "part of a name")?),
                "--threads" if own.contains(&option) => {
                    parsed.threads =
                        Some(numbers("--threads", text_value("--threads", "list of numbers")?)?);
                    measure = true;
                }
                _ if inline.is_some() => return Err(ArgError::Unknown(arg)),
                "--bench" => measure = true,
                "--quick" => (parsed.quick, measure) = (true, true),
                "--aged" if own.contains(&option) => (parsed.aged, measure) = (true, true),
                "--check" => mode = Some(Mode::Check),
                "--list" => mode = mode.or(Some(Mode::List)),
                "--help" | "-h" => return Ok(Args { mode: Mode::Help, ..parsed }),
                _ if option.starts_with('-') => return Err(ArgError::Unknown(arg)),
                _ => parsed.filters.push(text.to_owned()),
            }
            if matches!(option, "--quick" | "--aged") || !option.starts_with('-') {
                parsed.said.push(option.to_owned());
            }
        }
        if parsed.impls.names().is_empty() {
            return Err(ArgError::NoImpl(parsed.impls.filters.join("' or '")));
        }
        parsed.mode = mode.unwrap_or(if measure { Mode::Measure } else { Mode::Check });
        Ok(parsed)
    }

    /// Whether `name` is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// The numbers in `text`, which stands after `option`.
fn numbers(option: &'static str, text: String) -> Result<Vec<usize>, ArgError> {
    let number = |number: &str| number.trim().parse().ok().filter(|number| *number > 0);
    let numbers: Option<Vec<usize>> = text.split(',').map(number).collect();
    numbers.ok_or(ArgError::Number { option, value: text })
}
