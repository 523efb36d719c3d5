//! What is said of arguments that make no command.

use std::any::TypeId;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::{CliError, Exit};
use super::text::{one_line, plain, shortened};
use super::{command, told};

/// The argument that `error` is about, as clap shows it, and the variable that its value came from, if it
/// did not stand among `arguments`.
fn variable(error: &clap::Error, arguments: &[OsString]) -> Option<(String, String)> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    let mut command = command();
    command.build();
    let mut all =
        command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    let argument = all.find(|argument| argument.to_string() == *shown)?;
    let (variable, flag) = (argument.get_env()?.to_str()?, format!("--{}", argument.get_long()?));
    let is_flag = |given: &OsString| {
        let rest = given.to_str().and_then(|given| given.strip_prefix(&flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    (!arguments.iter().any(is_flag)).then(|| (shown.clone(), variable.to_owned()))
}

/// What among the arguments, or in the environment, is not UTF-8 and should be: paths of files need not.
fn not_utf8(arguments: &[OsString]) -> Option<String> {
    let mut command = command();
    command.build();
    let mut all =
        command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    let is_bad = |variable: &OsStr| env::var_os(variable).is_some_and(|set| set.to_str().is_none());
    let variable = all.find_map(|argument| {
        let is_path = argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        argument.get_env().filter(|variable| !is_path && is_bad(variable))
    });
    let bad = arguments.iter().find(|argument| argument.to_str().is_none());
    match (variable, bad) {
        (Some(variable), None) => {
            Some(format!("{} in the environment", variable.to_string_lossy()))
        }
        (_, Some(bad)) => Some(format!("'{}' among the arguments", shortened(bad.as_bytes()))),
        (None, None) => None,
    }
}

/// Answers arguments that make no command: help and version to stdout, errors to stderr.
pub(super) fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if !error.use_stderr() {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        return printed.map_or_else(|error| told(&CliError::output(error)), |()| Exit::Done as u8);
    }
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(what) = not_utf8(arguments)
    {
        let _ = writeln!(std::io::stderr(), "killick: {what} is not UTF-8");
        return Exit::Usage as u8;
    }
    let mut text = error.render().to_string();
    for (_, value) in error.context() {
        if let ContextValue::String(value) = value {
            let short = shortened(value.as_bytes());
            if short.len() < value.len() {
                text = text.replace(value, &short);
            }
        }
    }
    if let Some((argument, variable)) = variable(error, arguments) {
        let quoted = format!("'{argument}'");
        text = text.replacen(&quoted, &format!("{variable} in the environment"), 1);
    }
    let text = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => text,
        // The error would list the hidden commands as well.
        ErrorKind::MissingSubcommand => command().render_help().to_string(),
        // The value and what is wrong with it say it all.
        ErrorKind::ValueValidation => {
            format!(
                "killick: {}\n",
                plain(&one_line(without_prefix(&text).split("\n\n").next().unwrap_or("")))
            )
        }
        _ => format!("killick: {}", without_prefix(&text)),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    Exit::Usage as u8
}

fn without_prefix(text: &str) -> &str {
    text.strip_prefix("error: ").unwrap_or(text)
}
