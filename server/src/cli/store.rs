//! `killick store`: a value to a path.

use std::ffi::OsString;

use capnp::capability::Promise;
use clap::Args;
use killick::Right;
use killick_client::internal::no_half;
use killick_schema::api::anchor_capnp::anchor::storer;
use serde_json::json;

use super::Context;
use super::error::CliError;
use super::signal::Interrupt;
use super::target::Target;
use super::value::Content;

const AFTER_HELP: &str = "\
The anchors on the way are created, and live on because the value keeps them; 'killick clear' lets
them go. A VALUE that begins with '-' goes after '--'.

Not stored, because of --no-overwrite or --if-revision: exit code 3.

Examples:
  killick store greeting 'hello'
  killick store --data logo - < logo.png
  killick store --no-overwrite leader \"$(hostname)\" || echo 'somebody leads already'
  killick store --if-revision 4 counter 5
  killick store --bound workers/7 \"$(hostname)\" &      gone as soon as this ends";

/// Store a value at a path, creating what is missing on the way.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Store {
    /// The anchor whose cell to fill.
    #[arg(value_parser = Target::parser())]
    path: Target,

    /// The value, or '-' to read it from standard input to its end.
    #[arg(allow_negative_numbers = true)]
    value: OsString,

    /// Store it as Data, bytes of any kind, instead of as Text.
    #[arg(long)]
    data: bool,

    /// Store only if the cell is empty.
    #[arg(long)]
    no_overwrite: bool,

    /// Store only if the cell is at this revision, as 'load --json' tells it.
    #[arg(long, value_name = "N", conflicts_with = "no_overwrite")]
    if_revision: Option<u64>,

    /// Keep the value only as long as this command runs: it goes on until SIGINT (Ctrl-C) or SIGTERM.
    ///
    /// However it ends, the cell is emptied, unless somebody else has stored there since. At another host that is so
    /// after a signal that it can act on; after one that it cannot, or a crash, only when the connection between
    /// the two hosts ends.
    #[arg(long)]
    bound: bool,
}

impl Store {
    pub(super) fn check(&self) -> Result<(), CliError> {
        Content::check(&self.value, self.data)
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = &self.path;
        let content = Content::read(&self.value, self.data)?;
        let what = format!("store {}", target.spelled());
        // Before the store, so that no signal in between ends the program in its own way.
        let interrupt = self.bound.then(Interrupt::listen).transpose()?;
        let anchor = context.connection.walk(target).pipeline.get_anchor();
        let storer = anchor.cell_request().send().pipeline.get_storer();
        let call = self.request(&storer, &content);
        let call = call.map_err(|error| CliError::call(&what, &error))?;
        let (stored, revision) = context.connection.walked(&what, target, call).await?;
        if context.output.is_json() {
            let path = target.canonical();
            let line = json!({"path": path, "stored": stored, "revision": revision});
            context.output.line(line)?;
        } else if stored && self.bound {
            context.output.line(format!("holding {}", target.spelled()))?;
        }
        match (stored, self.if_revision) {
            (true, _) => match interrupt {
                Some(interrupt) => {
                    let is_elsewhere = target.is_elsewhere();
                    let held = context.hold(&what, &anchor, is_elsewhere, interrupt).await;
                    if is_elsewhere && held.is_ok() {
                        // That host knows of no connection but the one between the two.
                        context.connection.take_back(target, revision).await;
                    }
                    held
                }
                None => Ok(()),
            },
            (false, None) => {
                let why = format!("not stored: the cell holds a value (revision {revision})");
                Err(CliError::nothing(what, why))
            }
            (false, Some(wanted)) => {
                let why = format!("not stored: the cell is at revision {revision}, not {wanted}");
                Err(CliError::nothing(what, why))
            }
        }
    }

    /// Sends the call; its answer is whether it stored, and the revision after it.
    fn request(
        &self,
        storer: &storer::Client,
        content: &Content,
    ) -> capnp::Result<Promise<(bool, u64), capnp::Error>> {
        if let Some(revision) = self.if_revision {
            let mut request = storer.compare_and_store_request();
            request.get().set_expected(revision);
            request.get().set_bound(self.bound);
            content.write(request.get().init_value())?;
            let sent = request.send().promise;
            return Ok(Promise::from_future(async move {
                let response = sent.await.map_err(no_half(Right::Store))?;
                let results = response.get()?;
                Ok((results.get_succeeded(), results.get_revision()))
            }));
        }
        let mut request = storer.store_request();
        request.get().set_overwrite(!self.no_overwrite);
        request.get().set_bound(self.bound);
        content.write(request.get().init_value())?;
        let sent = request.send().promise;
        Ok(Promise::from_future(async move {
            let response = sent.await.map_err(no_half(Right::Store))?;
            let results = response.get()?;
            Ok((results.get_succeeded(), results.get_revision()))
        }))
    }
}
