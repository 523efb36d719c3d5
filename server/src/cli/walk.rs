//! `killick walk`: an anchor, held.

use clap::Args;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::signal::Interrupt;
use super::target::Target;

const AFTER_HELP: &str = "\
Prints a line as soon as the anchor is held, and holds it until SIGINT (Ctrl-C) or SIGTERM. With
the last holder, an anchor without children and value goes. One that is held --through a grant is
lost when that is revoked, and one of another host when the connection to that host ends: this ends
within a second or so of it, with exit code 1.

Examples:
  killick walk jobs/7 &      others see jobs/7 as long as this runs
  killick lookup jobs/7";

/// Hold the anchor at a path, creating what is missing, until interrupted.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Walk {
    /// The anchor to hold.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Walk {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("walk {}", target.spelled());
        // Before the walk, so that no signal in between ends the program in its own way.
        let interrupt = Interrupt::listen()?;
        let walk = context.connection.walk(target).promise;
        let response = context.connection.walked(&what, target, walk).await?;
        let held = response
            .get()
            .and_then(|results| results.get_anchor())
            .map_err(|error| CliError::call(&what, &error))?;
        match context.output.is_json() {
            true => context.output.line(json!({"path": target.canonical(), "held": true}))?,
            false => context.output.line(format!("holding {}", target.spelled()))?,
        }
        let may_be_lost = target.is_elsewhere() || context.connection.is_granted(target);
        context.hold(&what, &held, may_be_lost, interrupt).await
    }
}
