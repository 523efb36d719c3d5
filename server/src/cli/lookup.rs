//! `killick lookup`: whether something is at a path.

use clap::Args;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::target::Target;

const AFTER_HELP: &str = "\
An anchor exists while somebody holds it, something is below it, or its cell holds a value.
Prints the path if it is there; nothing there: exit code 3.

Examples:
  killick lookup jobs/7 > /dev/null && echo 'still running'";

/// Tell whether there is an anchor at a path, without creating it.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Lookup {
    /// The anchor to look for.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Lookup {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("lookup {}", target.spelled());
        let (promise, _anchor) = context.connection.lookup(target);
        let found = context.connection.found(&what, target, promise).await;
        let path = target.canonical();
        match (&found, context.output.is_json()) {
            (Ok(()) | Err(CliError::Nothing { .. }), true) => {
                context.output.line(json!({"path": path, "exists": found.is_ok()}))?;
            }
            (Ok(()), false) => context.output.line(path)?,
            (Err(_), _) => {}
        }
        found
    }
}
