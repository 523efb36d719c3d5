//! Command-line arguments of the benches that have a harness of their own.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Impls;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Measure,
    Check,
    List,
    Help,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    /// Smaller trees and fewer rounds.
    pub(crate) quick: bool,
    /// Measure in a process that has freed big trees before.
    pub(crate) aged: bool,
    /// Where the results go as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Which implementations are wanted.
    pub(crate) impls: Impls,
    /// Names that hold one of these are wanted; all, if there are none.
    pub(crate) filters: Vec<String>,
    /// Whether a filter that matches nothing is an error: it was said with `--filter`.
    pub(crate) strict: bool,
}

/// An argument that is none.
#[derive(Debug)]
pub(crate) enum ArgError {
    Unknown(OsString),
    Missing { option: &'static str, value: &'static str },
    NotText(OsString),
    NoImpl(String),
}

impl fmt::Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgError::Unknown(arg) => write!(f, "unknown option '{}'", arg.to_string_lossy()),
            ArgError::Missing { option, value } => write!(f, "{option} needs a {value} after it"),
            ArgError::NoImpl(filter) => write!(f, "no implementation's name holds '{filter}'"),
            ArgError::NotText(arg) => write!(f, "'{}' is not UTF-8", arg.to_string_lossy()),
        }
    }
}

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// `cargo bench` passes `--bench`; without it, and without any option that asks for something
    /// else, the target is being run by `cargo test`, which wants it checked and not measured.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ArgError> {
        let mut parsed = Args {
            mode: Mode::Check,
            quick: false,
            aged: false,
            json: None,
            impls: Impls::default(),
            filters: Vec::new(),
            strict: false,
        };
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
            match option {
                "--json" => {
                    parsed.json = Some(value("--json", "file name")?.into());
                    measure = true;
                }
                "--filter" => {
                    let filter = value("--filter", "part of a name")?;
                    parsed.filters.push(filter.into_string().map_err(ArgError::NotText)?);
                    parsed.strict = true;
                }
                "--impl" => {
                    let filter = value("--impl", "part of a name")?;
                    parsed.impls.filters.push(filter.into_string().map_err(ArgError::NotText)?);
                }
                _ if inline.is_some() => return Err(ArgError::Unknown(arg)),
                "--bench" => measure = true,
                "--quick" => (parsed.quick, measure) = (true, true),
                "--aged" => (parsed.aged, measure) = (true, true),
                "--check" => mode = Some(Mode::Check),
                "--list" => mode = mode.or(Some(Mode::List)),
                "--help" | "-h" => return Ok(Args { mode: Mode::Help, ..parsed }),
                _ if option.starts_with('-') => return Err(ArgError::Unknown(arg)),
                _ => parsed.filters.push(text.to_owned()),
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

/// A bench by its name, which its complaints begin with.
#[derive(Clone, Copy)]
pub(crate) struct Program(pub(crate) &'static str);

impl Program {
    /// A wrong argument: says so and where to read on.
    pub(crate) fn usage(self, error: &str) -> ExitCode {
        eprintln!("{}: {error}; --help says what there is", self.0);
        ExitCode::from(2)
    }

    /// Something that went wrong.
    pub(crate) fn failure(self, error: &str) -> ExitCode {
        eprintln!("{}: {error}", self.0);
        ExitCode::FAILURE
    }

    /// Nothing to do, which is a mistake only where someone asked for something by `--filter`.
    pub(crate) fn nothing(self, args: &Args, what: &str) -> ExitCode {
        let error = format!("no {what} holds '{}'", args.filters.join("' or '"));
        if args.strict {
            return self.usage(&error);
        }
        eprintln!("{}: {error}", self.0);
        ExitCode::SUCCESS
    }

    /// How many checks went how.
    pub(crate) fn checked(self, args: &Args, passed: usize, failed: usize) -> ExitCode {
        if passed + failed == 0 {
            return self.nothing(args, "check");
        }
        println!("{passed} checks passed, {failed} failed");
        if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
