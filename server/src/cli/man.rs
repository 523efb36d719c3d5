//! `killick man`: the manual, as `man` reads it.

use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Args, Command};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::COMMON_OPTIONS;
use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  killick man | man -l -                             this program
  killick man store | man -l -                       one command
  killick man --all ~/.local/share/man/man1          a file for each; then 'man killick-store'";

/// What the last part of each help begins with.
const EXAMPLES: &str = "Examples:\n";

/// Print the manual page of this program or of one of its commands.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Man {
    /// The command, and one of its own after it, as in 'cert client' or cert-client; the whole program if
    /// there is none.
    command: Vec<String>,

    /// Write every page into this folder instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    all: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), CliError> {
        let pages = pages();
        match &self.all {
            Some(folder) => write_all(folder, pages),
            None => {
                let words: Vec<_> =
                    iter::once("killick").chain(self.command.iter().map(String::as_str)).collect();
                let wanted = words.join("-");
                let page = pages.into_iter().find(|page| name(page) == wanted);
                let unknown = || CliError::usage("man", format!("there is no page {wanted}"));
                let mut output = Output::new(false);
                output.bytes(&render(page.ok_or_else(unknown)?)?)?;
                output.flush()
            }
        }
    }
}

/// The program, and each command that its help shows, and those of these.
fn pages() -> Vec<Command> {
    let mut program = super::command().disable_help_subcommand(true);
    program.build();
    let mut pages = vec![program];
    let mut next = 0;
    while let Some(page) = pages.get(next) {
        let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
        let commands: Vec<_> = page.get_subcommands().filter(shown).cloned().collect();
        pages.extend(commands);
        next += 1;
    }
    pages
}

/// What a page is called: `killick`, `killick-store`.
fn name(page: &Command) -> &str {
    page.get_display_name().unwrap_or(page.get_name())
}

/// The page of a command, in sections. The synopsis and what stands after the options are its own, as those of the
/// generator have no values, and run lines together that are to stand as they are.
fn render(command: Command) -> Result<Vec<u8>, CliError> {
    let synopsis = synopsis(&command);
    let notes = notes(&command);
    let commands = command.has_subcommands();
    let page = Page::new(command).source(concat!("killick ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    let mut write = || -> io::Result<()> {
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        synopsis.to_writer(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        if commands {
            page.render_subcommands_section(&mut text)?;
        }
        notes.to_writer(&mut text)
    };
    write().map_err(|error| CliError::failed("man", error))?;
    Ok(text)
}

/// How a command is called: its own options, those that all take, what else it takes.
fn synopsis(command: &Command) -> Roff {
    let is_option = |argument: &&Arg| !argument.is_positional() && !argument.is_hide_set();
    let options = command.get_arguments().filter(is_option);
    let (common, own): (Vec<_>, Vec<_>) =
        options.partition(|option| option.get_help_heading() == Some(COMMON_OPTIONS));
    let others = command.get_positionals().filter(|argument| !argument.is_hide_set());
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    own.into_iter().chain(common).chain(others).for_each(|argument| usage(&mut line, argument));
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    }
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]).text(line);
    synopsis
}

/// Adds an argument with the name of its value: in brackets if it can be left out, with dots if there can be many.
fn usage(line: &mut Vec<Inline>, argument: &Arg) {
    let brackets = if argument.is_required_set() { [" ", ""] } else { [" [", "]"] };
    line.push(roman(brackets[0]));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    for (index, name) in names.iter().enumerate() {
        line.extend((index > 0).then(|| roman("|")));
        line.push(bold(name.as_str()));
    }
    if argument.get_action().takes_values() {
        line.extend((!names.is_empty()).then(|| roman(" ")));
        let values = argument.get_value_names().unwrap_or_default();
        line.push(italic(values.join(" ")));
    }
    line.push(roman(brackets[1]));
    line.extend(matches!(argument.get_action(), ArgAction::Append).then(|| roman("...")));
}

/// What the help says after the options, line by line.
fn notes(command: &Command) -> Roff {
    let mut notes = Roff::new();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (before, examples) = text.split_once(EXAMPLES).unwrap_or((&text, ""));
    for (heading, text) in [("NOTES", before), ("EXAMPLES", examples)] {
        if !text.trim().is_empty() {
            notes.control("SH", [heading]).control("nf", []);
            for line in text.trim_matches('\n').lines() {
                notes.text([roman(line)]);
            }
            notes.control("fi", []);
        }
    }
    notes
}

fn write_all(folder: &Path, pages: Vec<Command>) -> Result<(), CliError> {
    let failed = |path: &Path, error| CliError::failed(path.display().to_string(), error);
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for page in pages {
        let path = folder.join(format!("{}.1", name(&page)));
        fs::write(&path, render(page)?).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
