//! `killick attach`: standing for a process at a path; and what `exec` does for the one that it starts.

use clap::Args;
use killick_schema::api::process_capnp::process;
use serde_json::json;
use tokio::sync::watch;

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::process::{end_with, ended, process_at};
use super::signal::Interrupt;
use super::streams::Streams;
use super::target::Target;

const AFTER_HELP: &str = "\
What comes in goes to the process, and its end as well; what the process writes comes out. Streams
that the process was not given as pipes are left alone. Each byte that it writes goes to one
reader, and what is read here is read by nobody else. SIGINT (Ctrl-C) and SIGTERM are passed on,
and the end comes with the end of the process, and its exit code. SIGQUIT (Ctrl-\\) and SIGHUP end
this command alone.

With --json what the process writes comes in documents, one a line, and the exit code in the last.

Examples:
  killick exec --detach --piped --at calculator -- bc
  killick attach calculator";

/// Stand for the process at a path: its streams, its signals, its exit code.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Attach {
    /// The anchor whose cell holds the process.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Attach {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("attach {}", self.path.spelled());
        let interrupt = Interrupt::listen()?;
        let process = process_at(&context.connection, &what, &self.path).await?;
        stand_for(context, &what, &process, interrupt).await
    }
}

/// Stands for `process` until it ends: passes on what comes in, what comes out, and signals, and ends as it does.
pub(super) async fn stand_for(
    context: &mut Context,
    what: &str,
    process: &process::Client,
    mut interrupt: Interrupt,
) -> Result<(), CliError> {
    let Context { connection, output, .. } = context;
    let connection: &Connection = connection;
    let streams = Streams::of(connection, what, process).await?;
    let (told, is_over) = watch::channel(false);
    let end = async {
        let code = ended(connection, what, process).await?;
        told.send_replace(true);
        Ok(code)
    };
    let whole = async { tokio::try_join!(end, streams.show(connection, what, output, &is_over)) };
    let fed = async {
        match streams.feed(connection, what).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let (code, ()) = tokio::select! {
        ended = whole => ended?,
        error = fed => return Err(error),
        () = pass_on(process, &mut interrupt) => unreachable!("it goes on for ever"),
    };
    if output.is_json() {
        output.line(json!({"exitCode": code}))?;
    }
    end_with(code)
}

/// Passes on each signal that comes.
async fn pass_on(process: &process::Client, interrupt: &mut Interrupt) {
    loop {
        let signal = interrupt.which().await;
        let mut request = process.signal_request();
        request.get().set_number(signal.as_raw().unsigned_abs());
        // An error is that it has ended, or the connection has: whoever waits for that is told.
        let _ = request.send().promise.await;
    }
}
