//! `killick chan`: channels at paths; and what `send` and `recv` do to reach one.

use capnp::any_pointer;
use capnp::capability::FromClientHook;
use capnp::private::capability::ClientHook;
use clap::{Args, Subcommand};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::held::{Held, is_other};
use super::target::Target;
use super::value::{CLOSES, RECEIVES, SENDS};

type Any = any_pointer::Owned;

const AFTER_HELP: &str = "\
'make' stores a channel, both of its ends, at the path, where it stays open until it is closed or
the path cleared. With --send-end and --recv-end the two are stored apart: who finds one can do no
more than that, and the channel ends when either is cleared and nobody has it. 'killick send' and
'killick recv' take values in and out; each goes to one receiver.

Examples:
  killick chan make inbox --capacity 16
  killick send inbox 'hello'
  killick recv inbox
  killick chan make --send-end inbox --recv-end mine/inbox --capacity 16
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

/// Make a channel and store it, or each of its ends, at paths whose cells are empty.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Make {
    /// The anchor whose cell is to hold it, with all rights; what is missing on the way is created. Needed
    /// unless both ends are stored.
    #[arg(value_parser = Target::parser())]
    path: Option<Target>,

    /// Where to store the end that sends, and can do nothing else: an empty cell.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    send_end: Option<Target>,

    /// Where to store the end that receives, and can do nothing else: an empty cell.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    recv_end: Option<Target>,

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
    pub(super) fn check(&self) -> Result<(), CliError> {
        match &self.command {
            Command::Make(make) => make.check(),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        match self.command {
            Command::Make(make) => make.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Close(close) => close.run(context).await,
        }
    }
}

impl Make {
    fn check(&self) -> Result<(), CliError> {
        self.first()?;
        let places = [&self.path, &self.send_end, &self.recv_end].into_iter().flatten();
        let places: Vec<_> = places.map(Target::canonical).collect();
        let is_twice = (1..places.len()).any(|index| places[..index].contains(&places[index]));
        match is_twice {
            true => {
                let why =
                    "PATH, --send-end and --recv-end are cells of their own, each for one value";
                Err(CliError::usage("chan make", why))
            }
            false => Ok(()),
        }
    }

    /// The first place of an end.
    fn first(&self) -> Result<&Target, CliError> {
        let ends = self.send_end.as_ref().filter(|_| self.recv_end.is_some());
        self.path.as_ref().or(ends).ok_or_else(|| {
            CliError::usage("chan make", "it takes a PATH, or both --send-end and --recv-end")
        })
    }

    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let first = self.first()?;
        let what = format!("chan make {}", first.spelled());
        let anchor = context.connection.walk(first).pipeline.get_anchor();
        let mut request = anchor.new_chan_request();
        request.get().set_capacity(self.capacity);
        let made = context.connection.walked(&what, first, request.send().promise).await?;
        let chan = made.get().and_then(|made| made.get_chan());
        let chan = chan.map_err(|error| CliError::call(&what, &error))?;
        let stored = self.store(context, chan).await;
        if context.output.is_json() && matches!(stored, Ok(()) | Err(CliError::Nothing { .. })) {
            let mut line = json!({"stored": stored.is_ok(), "capacity": self.capacity});
            let ends =
                [("path", &self.path), ("sendEnd", &self.send_end), ("recvEnd", &self.recv_end)];
            for (name, target) in ends {
                if let Some(target) = target {
                    line[name] = json!(target.canonical());
                }
            }
            context.output.line(line)?;
        }
        stored
    }

    /// Stores what was made, at each path that was said, or nowhere.
    async fn store(&self, context: &Context, chan: chan::Client<Any>) -> Result<(), CliError> {
        let connection = &context.connection;
        let mut ends: Vec<(&Target, Box<dyn ClientHook>)> = Vec::new();
        if let Some(target) = &self.recv_end {
            let end = chan.new_recver_request().send().pipeline.get_recver();
            ends.push((target, end.into_client_hook()));
        }
        // After that which receives, so that whoever finds it does not send in vain.
        if let Some(target) = &self.send_end {
            let sends: send_closer::Client<Any> = chan.clone().cast_to();
            let end = sends.new_sender_request().send().pipeline.get_sender();
            ends.push((target, end.into_client_hook()));
        }
        if let Some(target) = &self.path {
            ends.push((target, chan.into_client_hook()));
        }
        let mut stored = Vec::new();
        for (target, end) in ends {
            let what = format!("chan make {}", target.spelled());
            match connection.store_new(&what, target, end).await {
                Ok(revision) => stored.push((target, revision)),
                Err(error) => {
                    for (target, revision) in stored {
                        connection.take_back(target, revision).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Show {
    async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("chan show {}", self.path.spelled());
        let connection = &context.connection;
        let held = Held::at(connection, &what, &self.path, "channel").await?;
        let chan: chan::Client<Any> = held.cast_to();
        let length = chan.len_request().send().promise;
        let capacity = chan.capacity_request().send().promise;
        let length = held.answer(connection, &what, length).await?;
        let capacity = held.answer(connection, &what, capacity).await?;
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
        let connection = &context.connection;
        let held = Held::at(connection, &what, &self.path, CLOSES).await?;
        let closed = held.cast_to::<closer::Client>().close_request().send().promise;
        held.answer(connection, &what, closed).await?;
        if context.output.is_json() {
            context.output.line(json!({"path": self.path.canonical(), "closed": true}))?;
        }
        Ok(())
    }
}

/// The right to send that the cell at `target` holds, and no other: who waits to send is no receiver.
pub(super) async fn sender_at(
    context: &Context,
    what: &str,
    target: &Target,
) -> Result<sender::Client<Any>, CliError> {
    let held = Held::at(&context.connection, what, target, SENDS).await?;
    let wide: send_closer::Client<Any> = held.cast_to();
    let narrow = async { wide.new_sender_request().send().promise.await?.get()?.get_sender() };
    narrowed(&held, context, what, narrow).await
}

/// The right to receive that the cell at `target` holds, and no other: who waits to receive is no sender.
pub(super) async fn recver_at(
    context: &Context,
    what: &str,
    target: &Target,
) -> Result<recver::Client<Any>, CliError> {
    let held = Held::at(&context.connection, what, target, RECEIVES).await?;
    let wide: chan::Client<Any> = held.cast_to();
    let narrow = async { wide.new_recver_request().send().promise.await?.get()?.get_recver() };
    narrowed(&held, context, what, narrow).await
}

/// What `narrow` gives; what is `held` itself if that has no more than one right.
async fn narrowed<C: FromClientHook>(
    held: &Held,
    context: &Context,
    what: &str,
    narrow: impl Future<Output = capnp::Result<C>>,
) -> Result<C, CliError> {
    let connection = &context.connection;
    match connection.answer(what, async { Ok(narrow.await) }).await? {
        Ok(narrow) => Ok(narrow),
        // An end that only sends does not say so: calls on it tell.
        Err(error) if is_other(&error) => match held.other().await {
            None => Ok(held.cast_to()),
            other => Err(held.refused(what, other)),
        },
        Err(error) => Err(connection.call_error(what, &error)),
    }
}
