//! `killick serve`: the server, in the foreground.

use std::num::NonZeroUsize;

use clap::Args;
use killick::Limits;
use killick_server::{Config, ListenAddr, Log, Server, default_address};
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use super::signal::Interrupt;

const AFTER_HELP: &str = "\
Prints a line for each address as soon as it listens; the log goes to stderr. SIGINT (Ctrl-C) or
SIGTERM ends it, and with it the tree, which is in memory only.

Anybody who reaches the server may do anything to the tree: TCP is for loopback addresses only.

Examples:
  killick serve
  killick serve --listen unix:/tmp/k.sock --listen tcp:127.0.0.1:2016
  killick serve --max-nodes 10000 --max-children 100";

/// Run a server until it is interrupted.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Serve {
    /// Where to listen: unix:/path/to/socket or tcp:HOST:PORT; may be given several times.
    ///
    /// The default is killick.sock in $XDG_RUNTIME_DIR, or in a private folder of yours in the
    /// temporary directory: where the other commands look for a server without --connect.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddr>,

    /// How many threads serve connections: as many as there are cores, unless told otherwise.
    #[arg(long, value_name = "N", default_value_t = Config::default().threads)]
    threads: NonZeroUsize,

    /// The most connections at a time.
    #[arg(long, value_name = "N", default_value_t = Config::default().max_connections)]
    max_connections: usize,

    /// The most capabilities that one connection may hold at a time.
    #[arg(long, value_name = "N", default_value_t = Config::default().max_capabilities)]
    max_capabilities: usize,

    /// The most calls of one connection that may be unanswered at a time.
    ///
    /// While they are, nothing more is read from it. With four times as many answered and not yet
    /// finished by the client it is closed.
    #[arg(long, value_name = "N", default_value_t = Config::default().max_calls)]
    max_calls: usize,

    /// The largest value, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Config::default().max_value_bytes)]
    max_value_bytes: usize,

    /// The most bytes that all values together may take.
    #[arg(long, value_name = "BYTES", default_value_t = Config::default().max_stored_bytes)]
    max_stored_bytes: usize,

    /// The most capabilities inside one value.
    #[arg(long, value_name = "N", default_value_t = Config::default().max_value_capabilities)]
    max_value_capabilities: usize,

    /// The most nodes in the tree, its root included.
    #[arg(long, value_name = "N", default_value_t = Config::default().limits.nodes)]
    max_nodes: usize,

    /// The most children of one node.
    #[arg(long, value_name = "N", default_value_t = Config::default().limits.children)]
    max_children: usize,

    /// The deepest that a node may lie below the root.
    #[arg(long, value_name = "N", default_value_t = Config::default().limits.depth)]
    max_depth: usize,

    /// The longest name of one node, in bytes; 255 at most.
    #[arg(long, value_name = "BYTES", default_value_t = Config::default().limits.name_bytes)]
    max_name_bytes: usize,

    /// The longest path in one call, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Config::default().limits.path_bytes)]
    max_path_bytes: usize,

    /// Log connections that end in order as well, not only those that had to be closed.
    #[arg(long, short)]
    verbose: bool,

    /// Write no log.
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
}

impl Serve {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed("start", error))?;
        let mut interrupt = {
            let _entered = runtime.enter();
            Interrupt::listen()?
        };
        let server =
            Server::start(self.config()?).map_err(|error| CliError::failed("serve", error))?;
        let mut output = Output::new(json);
        for address in server.addresses() {
            let address = address.to_string();
            match json {
                true => output.line(json!({"listening": address}))?,
                false => output.line(format!("listening on {address}"))?,
            }
        }
        output.flush()?;
        let end = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.received() => Ok(()),
                error = server.failed() => Err(CliError::failed("serve", error)),
            }
        });
        server.stop();
        end
    }

    fn config(self) -> Result<Config, CliError> {
        let listen = match self.listen.is_empty() {
            false => self.listen,
            true => {
                let address = default_address();
                vec![address.map_err(|error| CliError::failed("default address", error))?]
            }
        };
        Ok(Config {
            listen,
            limits: Limits {
                name_bytes: self.max_name_bytes,
                path_bytes: self.max_path_bytes,
                depth: self.max_depth,
                children: self.max_children,
                nodes: self.max_nodes,
            },
            threads: self.threads,
            max_connections: self.max_connections,
            max_capabilities: self.max_capabilities,
            max_calls: self.max_calls,
            max_value_bytes: self.max_value_bytes,
            max_stored_bytes: self.max_stored_bytes,
            max_value_capabilities: self.max_value_capabilities,
            verbose: self.verbose,
            log: if self.quiet { Log::none() } else { Log::stderr() },
            ..Config::default()
        })
    }
}
