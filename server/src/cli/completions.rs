//! `killick completions`: what a shell needs to complete our arguments.

use clap::{Args, Command};
use clap_complete::Shell;

use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  source <(killick completions bash)
  killick completions zsh > ~/.zfunc/_killick
  killick completions fish > ~/.config/fish/completions/killick.fish";

/// Print the completion script of a shell.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Completions {
    /// The shell to write it for.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown(), "killick", &mut script);
        let mut output = Output::new(false);
        output.bytes(&script)?;
        output.flush()
    }
}

/// The command line without the commands that its help does not show.
fn shown() -> Command {
    let all = super::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("killick")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}
