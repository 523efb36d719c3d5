//! `killick logs`: what a process at a path writes.

use clap::Args;
use tokio::sync::watch;

use super::Context;
use super::error::CliError;
use super::process::{ended, process_at};
use super::streams::Streams;
use super::target::Target;

const AFTER_HELP: &str = "\
What the process writes to stdout comes out on stdout, and what it writes to stderr on stderr,
from what nobody has read so far until both end, which is when the process has ended, or closed
them. They have to be pipes: 'killick exec --detach --piped' gives it some.

Nothing is kept: what is read here is taken, and nobody else will read it. What nobody reads waits
in a pipe of some 64 KiB, and then the process waits.

With --json it comes in documents, one a line, each of some bytes of one stream.

Examples:
  killick exec --detach --piped --at build -- make -C /src
  killick logs build > build.log";

/// Show what the process at a path writes, and take it, until its streams end.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Logs {
    /// The anchor whose cell holds the process.
    #[arg(value_parser = Target::parser())]
    path: Target,
}

impl Logs {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let what = format!("logs {}", self.path.spelled());
        let Context { connection, output, .. } = context;
        let process = process_at(connection, &what, &self.path).await?;
        let streams = Streams::of(connection, &what, &process).await?;
        if streams.stdout.is_none() && streams.stderr.is_none() {
            let why = "neither stdout nor stderr of the process is piped (exec --piped)";
            return Err(CliError::failed(what, why));
        }
        let (told, is_over) = watch::channel(false);
        let end = async {
            ended(connection, &what, &process).await?;
            told.send_replace(true);
            // What it has written is still to be shown.
            std::future::pending::<Result<(), CliError>>().await
        };
        tokio::select! {
            shown = streams.show(connection, &what, output, &is_over) => shown,
            ended = end => ended,
        }
    }
}
