//! `killick swap`: a value to a path, and what was there before.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::target::Target;
use super::value::{Content, Value};

/// What to say of a previous value that could not be written.
const LOST: &str = "; the new value was stored, and the previous one is lost";

const AFTER_HELP: &str = "\
Of any number of concurrent swaps each sees another previous value: a baton is handed on once.
The value is stored before the previous one is shown: if that cannot be written, the error says so.

Examples:
  killick swap turn alice
  producer | killick swap --data latest - > before";

/// Store a value and show the one that it replaced, in one step.
///
/// The previous value is shown as 'load' shows it; nothing if the cell was empty.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Swap {
    /// The anchor whose cell to fill; created if it is missing.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// The value, or '-' to read it from standard input to its end.
    #[arg(allow_negative_numbers = true)]
    value: OsString,

    /// Store it as Data, bytes of any kind, instead of as Text, and show the previous one as Data.
    #[arg(long)]
    data: bool,
}

impl Swap {
    pub(super) fn check(&self) -> Result<(), CliError> {
        Content::check(&self.value, self.data)
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let content = Content::read(&self.value, self.data)?;
        let what = format!("swap {}", target.spelled());
        let failed = |error: capnp::Error| CliError::call(&what, &error);
        let anchor = context.connection.walk(target).pipeline.get_anchor();
        let mut request = anchor.swap_request();
        content.write(request.get().init_value()).map_err(failed)?;
        let response = context.connection.walked(&what, target, request.send().promise).await?;
        let results = response.get().map_err(failed)?;
        let previous = Value::read(results.get_previous(), self.data).map_err(failed)?;
        let shown = self.show(&previous, results.get_revision(), &mut context.output).await;
        // Who reads no further knows what it has read.
        shown.map_err(|error| match error {
            CliError::OutputClosed => error,
            error => CliError::failed(what, format!("{error}{LOST}")),
        })
    }

    async fn show(
        &self,
        previous: &Value,
        revision: u64,
        output: &mut Output,
    ) -> Result<(), CliError> {
        if output.is_json() {
            let (path, previous) = (self.path.canonical(), previous.json().await);
            output.line(json!({"path": path, "previous": previous, "revision": revision}))?;
        } else {
            previous.show(output).await?;
        }
        output.flush()
    }
}
