//! `killick wait`: the end of a process at a path.

use clap::Args;
use serde_json::json;

use super::Context;
use super::connection::within;
use super::error::CliError;
use super::process::{end_with, ended, process_at};
use super::target::Target;
use super::text::duration;

const AFTER_HELP: &str = "\
Waits for as long as that takes, or as --timeout says if that is given: then exit code 3 if it has
not ended. A process that ended with 1, 2 or 3 looks like an error of this command: --json tells
them apart.

Examples:
  killick wait build && echo 'all well'
  killick wait --timeout 1m --json build | jq .exitCode";

/// Wait for the process at a path to end, and end with its exit code.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct WaitFor {
    /// The anchor whose cell holds the process.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl WaitFor {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("wait {}", self.path.spelled());
        let process = process_at(&context.connection, &what, &self.path).await?;
        let limit = context.patience;
        let Some(code) = within(limit, ended(&context.connection, &what, &process)).await else {
            let limit = duration(limit.unwrap_or_default());
            return Err(CliError::nothing(what, format!("it has not ended within {limit}")));
        };
        let code = code?;
        if context.output.is_json() {
            let path = self.path.canonical();
            context.output.line(json!({"path": path, "exitCode": code}))?;
        }
        end_with(code)
    }
}
