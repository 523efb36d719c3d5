//! `killick load`: the value at a path.

use capnp::any_pointer;
use clap::Args;
use killick::Right;
use killick_client::internal::no_half;
use serde_json::json;

use super::Context;
use super::connection::within;
use super::error::CliError;
use super::target::Target;
use super::text::duration;
use super::value::Value;

const AFTER_HELP: &str = "\
Text is shown with a line end after it, data as it is to a pipe and in hexadecimal to a terminal,
a capability by the interface it answers to. On the wire text is a list of bytes that ends with a
zero byte: whatever looks like that is shown as text, unless --data says otherwise.

Nothing there: exit code 3. With --wait the anchor is created and held until it has a value,
however long that takes, or as long as --timeout says if that is given. If the connection ends
before, so does the waiting, with exit code 1: it does not connect again.

Examples:
  killick load greeting
  killick load --data logo > logo.png
  killick load --wait --timeout 1m answer
  killick load --json greeting | jq -r .value.text";

/// Show the value at a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Load {
    /// The anchor whose cell to read; it is not created without --wait.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Show a list of bytes as data, byte by byte, even if it looks like text.
    #[arg(long)]
    data: bool,

    /// Wait until there is a value.
    #[arg(long)]
    wait: bool,
}

impl Load {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("load {}", target.spelled());
        let loaded = match self.wait {
            true => self.awaited(&what, context).await,
            false => self.present(&what, context).await,
        };
        if context.output.is_json() && matches!(loaded, Err(CliError::Nothing { .. })) {
            let line = json!({"path": target.canonical(), "value": null, "revision": 0});
            context.output.line(line)?;
        }
        let (value, revision) = loaded?;
        if context.output.is_json() {
            context.output.line(json!({
                "path": target.canonical(),
                "value": value.json().await,
                "revision": revision,
            }))?;
        } else {
            value.show(&mut context.output).await?;
        }
        match value.is_nothing() {
            true => Err(CliError::nothing(what, "the cell is empty")),
            false => Ok(()),
        }
    }

    /// What the cell holds, if there is one.
    async fn present(&self, what: &str, context: &Context) -> Result<(Value, u64), CliError> {
        let response = context.connection.load(what, &self.path).await?;
        let results = response.get().map_err(|error| CliError::call(what, &error))?;
        self.read(what, results.get_value(), results.get_revision())
    }

    /// What the cell holds, once it holds something.
    async fn awaited(&self, what: &str, context: &Context) -> Result<(Value, u64), CliError> {
        let connection = &context.connection;
        let (found, anchor) = connection.lookup(&self.path);
        // Who may only look up may wait at what is there.
        let anchor = match connection.found(what, &self.path, found).await {
            Ok(()) => anchor,
            Err(_) => {
                let walk = connection.walk(&self.path);
                let anchor = walk.pipeline.get_anchor();
                connection.walked(what, &self.path, walk.promise).await?;
                anchor
            }
        };
        let loader = anchor.cell_request().send().pipeline.get_loader();
        let waited = loader.wait_request().send().promise;
        let limit = context.patience;
        let Some(waited) = within(limit, waited).await else {
            let limit = duration(limit.unwrap_or_default());
            return Err(CliError::nothing(what, format!("the cell was empty for {limit}")));
        };
        let waited = waited.map_err(no_half(Right::Load));
        let response = waited.map_err(|error| connection.call_error(what, &error))?;
        let results = response.get().map_err(|error| CliError::call(what, &error))?;
        self.read(what, results.get_value(), results.get_revision())
    }

    fn read(
        &self,
        what: &str,
        value: any_pointer::Reader<'_>,
        revision: u64,
    ) -> Result<(Value, u64), CliError> {
        let value = Value::read(value, self.data);
        Ok((value.map_err(|error| CliError::call(what, &error))?, revision))
    }
}
