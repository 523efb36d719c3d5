//! What all benches with a harness of their own do alike: arguments in, a report out.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use super::args::{Args, Mode};
use super::report::{self, Facts, Report, Table};

/// One bench.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// The options that not every bench has.
    pub(crate) options: &'static [&'static str],
    pub(crate) allocator: &'static str,
    /// What the rows are called and what each of them means.
    pub(crate) rows: fn(&Args) -> Vec<(String, String)>,
    /// Measures nothing, and looks whether all is well instead.
    pub(crate) check: fn(&Args, &mut Checks),
    pub(crate) measure: fn(&Args) -> Table,
}

/// How many checks went how.
#[derive(Default)]
pub(crate) struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    /// Runs one check, which fails by panicking. The default hook prints what it says.
    pub(crate) fn run(&mut self, line: &str, check: impl FnOnce()) {
        if panic::catch_unwind(AssertUnwindSafe(check)).is_ok() {
            self.passed += 1;
            println!("check {line} ... ok");
        } else {
            self.failed += 1;
            println!("check {line} ... FAILED");
        }
    }
}

impl Bench {
    /// Does what the program's arguments say.
    pub(crate) fn main(&self) -> ExitCode {
        let args = match Args::parse(env::args_os().skip(1), self.options) {
            Ok(args) => args,
            Err(error) => return self.usage(&error.to_string()),
        };
        match args.mode {
            Mode::Help => {
                report::print(self.help);
                ExitCode::SUCCESS
            }
            Mode::List => {
                report::print(&self.list(&args));
                ExitCode::SUCCESS
            }
            Mode::Check => self.run_checks(&args),
            Mode::Measure => self.run_measure(&args),
        }
    }

    fn list(&self, args: &Args) -> String {
        let rows = (self.rows)(args);
        let rows: Vec<_> = rows.iter().filter(|(name, _)| args.wants(name)).collect();
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().map(|(name, what)| format!("{name:<width$}  {what}\n")).collect()
    }

    fn run_checks(&self, args: &Args) -> ExitCode {
        let mut checks = Checks::default();
        (self.check)(args, &mut checks);
        let Checks { passed, failed } = checks;
        if passed + failed == 0 {
            return self.nothing(args, "check");
        }
        println!("{passed} checks passed, {failed} failed");
        if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn run_measure(&self, args: &Args) -> ExitCode {
        if !(self.rows)(args).iter().any(|(name, _)| args.wants(name)) {
            return self.nothing(args, "row");
        }
        if let Err(error) = args.json.as_deref().map_or(Ok(()), report::writable) {
            return self.failure(&error);
        }
        let table = (self.measure)(args);
        let said: String = args.said.iter().map(|arg| format!(" {arg}")).collect();
        let separator = if said.is_empty() { "" } else { " --" };
        let report = Report {
            bench: self.name.to_owned(),
            command: format!("cargo bench --bench {}{separator}{said}", self.name),
            facts: Facts::now(self.allocator),
            table,
        };
        report::print(&format!("\n{report}"));
        match args.json.as_deref().map_or(Ok(()), |file| report.write(file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => self.failure(&error),
        }
    }

    /// A wrong argument: says so and where to read on.
    fn usage(&self, error: &str) -> ExitCode {
        eprintln!("{}: {error}; --help says what there is", self.name);
        ExitCode::from(2)
    }

    /// Something that went wrong.
    fn failure(&self, error: &str) -> ExitCode {
        eprintln!("{}: {error}", self.name);
        ExitCode::FAILURE
    }

    /// Nothing to do, which is a mistake only where someone asked for something by `--filter`.
    fn nothing(&self, args: &Args, what: &str) -> ExitCode {
        let error = format!("no {what} holds '{}'", args.filters.join("' or '"));
        if args.strict {
            return self.usage(&error);
        }
        eprintln!("{}: {error}", self.name);
        ExitCode::SUCCESS
    }
}
