//! `killick load`: the value at a path.

use clap::Args;
use killick::Right;
use killick_client::granted::no_half;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::target::Target;
use super::value::Value;

const AFTER_HELP: &str = "\
Text is shown with a line end after it, data as it is to a pipe and in hexadecimal to a terminal,
a capability by the interface it answers to. On the wire text is a list of bytes that ends with a
zero byte: whatever looks like that is shown as text, unless --data says otherwise.

Nothing there: exit code 3.

Examples:
  killick load greeting
  killick load --data logo > logo.png
  killick load --json greeting | jq -r .value.text";

/// Show the value at a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Load {
    /// The anchor whose cell to read; it is not created.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Show a list of bytes as data, byte by byte, even if it looks like text.
    #[arg(long)]
    data: bool,
}

impl Load {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("load {}", target.spelled());
        let (found, anchor) = context.connection.lookup(target);
        let loader = anchor.cell_request().send().pipeline.get_loader();
        let loaded = loader.load_request().send().promise;
        let loaded = async { loaded.await.map_err(no_half(Right::Load)) };
        let found = context.connection.found(&what, target, found).await;
        if context.output.is_json() && matches!(found, Err(CliError::Nothing { .. })) {
            let line = json!({"path": target.canonical(), "value": null, "revision": 0});
            context.output.line(line)?;
        }
        found?;
        let response = context.connection.answer(&what, loaded).await?;
        let results = response.get().map_err(|error| CliError::call(&what, &error))?;
        let value = Value::read(results.get_value(), self.data)
            .map_err(|error| CliError::call(&what, &error))?;
        if context.output.is_json() {
            context.output.line(json!({
                "path": target.canonical(),
                "value": value.json().await,
                "revision": results.get_revision(),
            }))?;
        } else {
            value.show(&mut context.output).await?;
        }
        match value.is_nothing() {
            true => Err(CliError::nothing(what, "the cell is empty")),
            false => Ok(()),
        }
    }
}
