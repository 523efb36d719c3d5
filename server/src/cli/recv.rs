//! `killick recv`: values out of the channel at a path.

use capnp::any_pointer;
use clap::Args;
use killick_schema::api::channel_capnp::recver;
use serde_json::json;

use super::Context;
use super::chan::recver_at;
use super::error::{CliError, is_remote, reason};
use super::held::{is_other, unknown};
use super::output::Output;
use super::target::Target;
use super::value::{RECEIVES, Value};

/// What the server says when there is nothing to receive any more.
const ENDED: &str = "the channel is closed and empty";

/// What to say of a value that was received and could not be written.
const LOST: &str = "; the value that was received is lost";

const AFTER_HELP: &str = "\
Values are shown as 'killick load' shows them, and each is received by one alone. It waits for each
no longer than --timeout, 0 for ever; with --follow always for ever.

A value is received at most once. It takes none for a reader that has gone, and ends when that
goes. But one that has come is no longer in the channel, and is lost if it cannot be written: the
reader went in that moment, the disk is full, or this is interrupted. The first two are told, with
exit code 1. To have no more than so many, say --count: 'head' goes only after it has read what it
wants. A standard output that is closed from the beginning, as by '>&-', is as if it were
/dev/null: what is received is lost.

The channel is closed and empty: exit code 3; with --follow that is the end, and exit code 0.

Examples:
  killick recv inbox
  killick recv inbox --count 10 --timeout 0
  killick recv inbox --follow --json | jq -r .value.text";

/// Receive values from the channel at a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Recv {
    /// The anchor whose cell holds the channel, or an end that receives.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// Go on until the channel comes to its end.
    #[arg(long, short)]
    follow: bool,

    /// Receive as many, one unless told otherwise.
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    count: Option<u64>,

    /// Show a list of bytes as data, byte by byte, even if it looks like text.
    #[arg(long)]
    data: bool,
}

impl Recv {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("recv {}", self.path.spelled());
        let recver = recver_at(context, &what, &self.path).await?;
        let mut left = if self.follow { u64::MAX } else { self.count.unwrap_or(1) };
        while left > 0 {
            if !self.receive(context, &what, &recver).await? {
                return match self.follow {
                    true => Ok(()),
                    false => Err(CliError::nothing(what, ENDED)),
                };
            }
            left -= 1;
        }
        Ok(())
    }

    /// Receives a value and shows it; whether there was one, and not the end.
    async fn receive(
        &self,
        context: &mut Context,
        what: &str,
        recver: &recver::Client<any_pointer::Owned>,
    ) -> Result<bool, CliError> {
        let Context { connection, output, .. } = context;
        if output.is_closed() {
            return Err(CliError::OutputClosed);
        }
        let received = recver.recv_request().send().promise;
        let received = async {
            match self.follow {
                true => Ok(received.await),
                false => connection.answer(what, async { Ok(received.await) }).await,
            }
        };
        let received = tokio::select! {
            biased;
            received = received => received?,
            () = output.closed() => return Err(CliError::OutputClosed),
        };
        let response = match received {
            Err(error) if is_remote(&error) && reason(&error) == ENDED => return Ok(false),
            Err(error) if is_other(&error) => return Err(unknown(what, RECEIVES)),
            Err(error) => return Err(connection.call_error(what, &error)),
            Ok(response) => response,
        };
        let value = response.get().and_then(|results| results.get_value());
        let value = value.and_then(|value| Value::read(value, self.data));
        let value = value.map_err(|error| CliError::call(what, &error))?;
        let lost = |error| match error {
            CliError::OutputClosed => {
                CliError::failed(what, format!("nobody reads it any more{LOST}"))
            }
            error => CliError::failed(what, format!("{error}{LOST}")),
        };
        self.show(&value, output).await.map_err(lost)?;
        Ok(true)
    }

    async fn show(&self, value: &Value, output: &mut Output) -> Result<(), CliError> {
        if output.is_json() {
            let (path, value) = (self.path.canonical(), value.json().await);
            output.line(json!({"path": path, "value": value}))?;
        } else if value.is_nothing() {
            output.line("")?;
        } else {
            value.show(output).await?;
        }
        // Who reads along has it at once.
        output.flush()
    }
}
