//! `killick clear`: the value at a path goes.

use clap::Args;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::target::Target;
use super::value::Value;

const AFTER_HELP: &str = "\
An anchor that nobody holds, without children, goes with its value, and so do those above it that
were there for its sake only.

Nothing there: exit code 3.

Examples:
  killick clear greeting";

/// Empty the cell at a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Clear {
    /// The anchor whose cell to empty; it is not created.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Clear {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("clear {}", target.spelled());
        let failed = |error: capnp::Error| CliError::call(&what, &error);
        let (found, anchor) = context.connection.lookup(target);
        // A swap with nothing tells, in one step, whether there was a value to clear.
        let swapped = anchor.swap_request().send().promise;
        let found = context.connection.found(&what, target, found).await;
        if context.output.is_json() && matches!(found, Err(CliError::Nothing { .. })) {
            let line = json!({"path": target.canonical(), "cleared": false, "revision": 0});
            context.output.line(line)?;
        }
        found?;
        let response = context.connection.answer(&what, swapped).await?;
        let results = response.get().map_err(failed)?;
        let previous = Value::read(results.get_previous(), true).map_err(failed)?;
        let cleared = !previous.is_nothing();
        if context.output.is_json() {
            let (path, revision) = (target.canonical(), results.get_revision());
            let line = json!({"path": path, "cleared": cleared, "revision": revision});
            context.output.line(line)?;
        }
        match cleared {
            true => Ok(()),
            false => Err(CliError::nothing(what, "the cell is empty")),
        }
    }
}
