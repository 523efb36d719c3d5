//! `killick man`: the manual, as `man` reads it.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;

use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  killick man | man -l -                             this program
  killick man store | man -l -                       one command
  killick man --all ~/.local/share/man/man1          a file for each; then 'man killick-store'";

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

fn render(page: Command) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    let page = Page::new(page).source(concat!("killick ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text).map_err(|error| CliError::failed("man", error))?;
    Ok(text)
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
