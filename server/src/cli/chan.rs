//! `killick chan`: channels at paths; and what `send` and `recv` do to reach one.

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook};
use clap::{Args, Subcommand};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::target::Target;
use super::value::Value;

type Any = any_pointer::Owned;

const AFTER_HELP: &str = "\
'make' stores a channel, both of its ends, at the path, where it stays open until it is closed or the
path cleared. 'killick send' and 'killick recv' take values in and out; each goes to one receiver.

Examples:
  killick chan make inbox --capacity 16
  killick send inbox 'hello'
  killick recv inbox
  killick chan show inbox
  killick chan close inbox && killick clear inbox";

/// Make, show and close channels.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Chan {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Make(Make),
    Show(Show),
    Close(Close),
}

/// Make a channel and store it at a path whose cell is empty.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Make {
    /// The anchor whose cell is to hold it; what is missing on the way is created.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// How many values it holds. Without any, each send waits for a receiver.
    #[arg(long, value_name = "N", default_value_t = 0)]
    capacity: u32,
}

/// Show how many values a channel holds, and how many it can.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Show {
    /// The anchor whose cell holds the channel.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

/// Close a channel: what is in it can still be received, and nothing more be sent.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Close {
    /// The anchor whose cell holds the channel, or an end that closes it.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Chan {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        match self.command {
            Command::Make(make) => make.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Close(close) => close.run(context).await,
        }
    }
}

impl Make {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let what = format!("chan make {}", target.spelled());
        let anchor = context.connection.walk(target).pipeline.get_anchor();
        let mut made = anchor.new_chan_request();
        made.get().set_capacity(self.capacity);
        let made = made.send();
        let storer = anchor.cell_request().send().pipeline.get_storer();
        let mut store = storer.store_request();
        let chan = made.pipeline.get_chan();
        store.get().init_value().set_as_capability(chan.into_client_hook());
        let stored = store.send().promise;
        // Why there is none is the better error.
        context.connection.walked(&what, target, made.promise).await?;
        let stored = context.connection.answer(&what, stored).await?;
        let results = stored.get().map_err(|error| CliError::call(&what, &error))?;
        let (stored, revision) = (results.get_succeeded(), results.get_revision());
        if context.output.is_json() {
            let (path, capacity) = (target.canonical(), self.capacity);
            context.output.line(json!({"path": path, "stored": stored, "capacity": capacity}))?;
        }
        match stored {
            true => Ok(()),
            false => {
                let why = format!("not stored: the cell holds a value (revision {revision})");
                Err(CliError::nothing(what, why))
            }
        }
    }
}

impl Show {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("chan show {}", self.path.spelled());
        let chan: chan::Client<Any> = end_at(context, &what, &self.path).await?.cast_to();
        let length = chan.len_request().send().promise;
        let capacity = chan.capacity_request().send().promise;
        let length = context.connection.answer(&what, length).await?;
        let capacity = context.connection.answer(&what, capacity).await?;
        let call_error = |error| CliError::call(&what, &error);
        let length = length.get().map_err(call_error)?.get_len();
        let capacity = capacity.get().map_err(call_error)?.get_capacity();
        if context.output.is_json() {
            let path = self.path.canonical();
            return context.output.line(json!({"path": path, "len": length, "capacity": capacity}));
        }
        context.output.line(format!("{length} of {capacity}"))
    }
}

impl Close {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("chan close {}", self.path.spelled());
        let closer: closer::Client = end_at(context, &what, &self.path).await?.cast_to();
        let closed = closer.close_request().send().promise;
        context.connection.answer(&what, closed).await?;
        if context.output.is_json() {
            context.output.line(json!({"path": self.path.canonical(), "closed": true}))?;
        }
        Ok(())
    }
}

/// What a cell holds, as an end of a channel. Which one it is, calls on it tell.
pub(super) struct End(Client);

impl End {
    fn cast_to<C: FromClientHook>(&self) -> C {
        C::new(self.0.hook.clone())
    }

    /// The right to send and no other: who waits to send is no receiver.
    pub(super) async fn into_sender(
        self,
        context: &Context,
        what: &str,
    ) -> Result<sender::Client<Any>, CliError> {
        let wide: send_closer::Client<Any> = self.cast_to();
        let narrow = async { wide.new_sender_request().send().promise.await?.get()?.get_sender() };
        self.narrowed(context, what, narrow).await
    }

    /// The right to receive and no other: who waits to receive is no sender.
    pub(super) async fn into_recver(
        self,
        context: &Context,
        what: &str,
    ) -> Result<recver::Client<Any>, CliError> {
        let wide: chan::Client<Any> = self.cast_to();
        let narrow = async { wide.new_recver_request().send().promise.await?.get()?.get_recver() };
        self.narrowed(context, what, narrow).await
    }

    /// What `narrow` gives; this itself if it has no more than one right.
    async fn narrowed<C: FromClientHook>(
        &self,
        context: &Context,
        what: &str,
        narrow: impl Future<Output = capnp::Result<C>>,
    ) -> Result<C, CliError> {
        match context.connection.answer(what, async { Ok(narrow.await) }).await? {
            Ok(narrow) => Ok(narrow),
            Err(error) if error.kind == capnp::ErrorKind::Unimplemented => Ok(self.cast_to()),
            Err(error) => Err(context.connection.call_error(what, &error)),
        }
    }
}

/// The end of a channel at `target`.
pub(super) async fn end_at(
    context: &Context,
    what: &str,
    target: &Target,
) -> Result<End, CliError> {
    let response = context.connection.load(what, target).await?;
    let results = response.get().map_err(|error| CliError::call(what, &error))?;
    let value = Value::read(results.get_value(), false);
    match value.map_err(|error| CliError::call(what, &error))? {
        Value::Capability(capability) => Ok(End(capability)),
        Value::Nothing => Err(CliError::nothing(what, "the cell is empty")),
        _ => Err(CliError::failed(what, "the cell holds a value that is no channel")),
    }
}
