//! `killick completions`: what a shell needs to complete our arguments.

use clap::Args;
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
        clap_complete::generate(self.shell, &mut super::command(), "killick", &mut script);
        let mut output = Output::new(false);
        output.bytes(&script)?;
        output.flush()
    }
}
