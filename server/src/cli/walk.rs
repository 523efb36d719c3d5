//! `killick walk`: an anchor, held.

use std::time::Duration;

use clap::Args;
use killick::Denied;
use killick_schema::api::anchor_capnp::anchor;
use serde_json::json;

use super::Context;
use super::error::{CliError, reason};
use super::signal::Interrupt;
use super::target::Target;

/// How long what is held may have been revoked before that is noticed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Prints a line as soon as the anchor is held, and holds it until SIGINT (Ctrl-C) or SIGTERM. With
the last holder, an anchor without children and value goes. One that is held --through a grant is
lost when that is revoked: this ends within a second or so of it, with exit code 1.

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
        let granted = context.connection.is_granted(target);
        tokio::select! {
            done = context.hold(&what, interrupt) => done,
            error = revoked(&held), if granted => Err(CliError::call(&what, &error)),
        }
    }
}

/// Asks now and then, with a call that whoever holds an anchor may make or is told that he may not, until
/// the answer is that it was revoked.
async fn revoked(held: &anchor::Client) -> capnp::Error {
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let mut itself = held.lookup_request();
        itself.get().set_path("");
        if let Err(error) = itself.send().promise.await
            && reason(&error).parse() == Ok(Denied::Revoked)
        {
            return error;
        }
    }
}
