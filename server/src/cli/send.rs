//! `killick send`: values into the channel at a path.

use std::ffi::{OsStr, OsString};

use capnp::any_pointer;
use clap::Args;
use killick_schema::api::channel_capnp::sender;
use serde_json::json;

use super::Context;
use super::chan::sender_at;
use super::error::CliError;
use super::held::{is_other, unknown};
use super::lines::{LONGEST, Lines};
use super::target::Target;
use super::text::bytes;
use super::value::{Content, SENDS};

const AFTER_HELP: &str = "\
Waits while the channel is full, and without a capacity until a receiver has the value: no longer
than --timeout for each, 0 for ever. What was not sent in time is withdrawn. A VALUE that begins
with '-' goes after '--'.

Examples:
  killick send inbox 'hello'
  killick send --data inbox - < photo.jpg
  tail -f access.log | killick send --timeout 0 --lines inbox -";

/// Send a value, or many, into the channel at a path.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Send {
    /// The anchor whose cell holds the channel, or an end that sends.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// The value, or '-' to read it from standard input to its end.
    #[arg(allow_negative_numbers = true)]
    value: OsString,

    /// Send it as Data, bytes of any kind, instead of as Text.
    #[arg(long)]
    data: bool,

    /// Send each line of standard input by itself, in their order; VALUE is '-'. A line has 64 KiB at most.
    #[arg(long)]
    lines: bool,
}

impl Send {
    pub(super) fn check(&self) -> Result<(), CliError> {
        match self.lines && self.value != "-" {
            true => Err(CliError::usage("send", "--lines reads standard input: VALUE is '-'")),
            false => Content::check(&self.value, self.data),
        }
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("send {}", self.path.spelled());
        let content = match self.lines {
            true => None,
            false => Some(Content::read(&self.value, self.data)?),
        };
        let sender = sender_at(context, &what, &self.path).await?;
        let sent = match content {
            Some(content) => send(context, &what, &sender, &content).await.map(|()| 1),
            None => self.send_lines(context, &what, &sender).await,
        }?;
        if context.output.is_json() {
            context.output.line(json!({"path": self.path.canonical(), "sent": sent}))?;
        }
        Ok(())
    }

    /// Sends one line after the other: how many.
    async fn send_lines(
        &self,
        context: &Context,
        what: &str,
        sender: &sender::Client<any_pointer::Owned>,
    ) -> Result<u64, CliError> {
        let mut lines = Lines::open(OsStr::new("-"))?;
        let mut sent = 0;
        while let Some(line) = lines.next().await {
            let line = line?;
            let what = format!("{what}, line {}", line.number);
            if line.cut {
                let why = format!("longer than {}", bytes(LONGEST as u64));
                return Err(CliError::failed(what, why));
            }
            let content = Content::of(line.text, self.data)
                .map_err(|error| CliError::failed(&what, error))?;
            send(context, &what, sender, &content).await?;
            sent += 1;
        }
        Ok(sent)
    }
}

async fn send(
    context: &Context,
    what: &str,
    sender: &sender::Client<any_pointer::Owned>,
    content: &Content,
) -> Result<(), CliError> {
    let mut request = sender.send_request();
    content.write(request.get().init_value()).map_err(|error| CliError::call(what, &error))?;
    let sent = request.send().promise;
    match context.connection.answer(what, async { Ok(sent.await) }).await? {
        Ok(_) => Ok(()),
        Err(error) if is_other(&error) => Err(unknown(what, SENDS)),
        Err(error) => Err(context.connection.call_error(what, &error)),
    }
}
