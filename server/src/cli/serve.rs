//! `killick serve`: the server, in the foreground.

use std::path::PathBuf;

use clap::Args;
use killick_server::{Config, Server, default_address};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::error::CliError;
use super::log::{Level, Log};
use super::output::Output;
use super::settings::Settings;
use super::signal::Interrupt;

const AFTER_HELP: &str = "\
Prints a line for each address as soon as it listens; the log goes to stderr. SIGINT (Ctrl-C) or
SIGTERM ends it, and with it the tree, which is in memory only.

What is not given as an option is taken from the environment (KILLICK_MAX_NODES for --max-nodes), and else
from the file (max-nodes = 1000). SIGHUP has the file read again, and the certificate and the authorized
keys: bounds of connections and values, times and the log change for connections from then on, and those
that may not be here any more are closed; the addresses, the threads and the bounds of the tree stay.

Who may connect:
  unix:   you and root, and whom --allow-uid and --allow-gid name; they get the whole host
  tcp:    loopback addresses only, as whoever is on this machine gets the whole host
  tls:    the keys in the file --authorized, whose certificates an authority in ca.pem has signed;
          each gets the anchor that its line names, and nothing outside of it

A line of that file is a fingerprint, which 'killick cert client' and 'killick cert show' print, and a
path in this host's tree, '/' for all of the host:
  3e5cc4d0a16be23ed2bf9d39bd2e4ccaed9ee5bd7dd77a9b9f14f14cb4a4f4a5  /apps/billing  # alice

Examples:
  killick serve
  killick serve --listen unix:/tmp/k.sock --listen tcp:127.0.0.1:2016
  killick serve --listen tls:0.0.0.0:2016 --tls-identity host --authorized authorized
  killick serve --max-nodes 10000 --max-children 100
  killick serve --check-config > killick.toml        all settings, to begin a file with
  killick serve --config killick.toml";

/// Run a server until it is interrupted.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,

    /// A file with settings, in TOML.
    #[arg(long, value_name = "FILE", env = "KILLICK_CONFIG", hide_env = true)]
    config: Option<PathBuf>,

    /// Show what the settings come to, as a file, and serve nothing.
    #[arg(long)]
    check_config: bool,

    /// As --log debug.
    #[arg(long, short, conflicts_with = "log")]
    verbose: bool,

    /// As --log off.
    #[arg(long, short, conflicts_with_all = ["verbose", "log"])]
    quiet: bool,
}

impl Serve {
    pub(super) fn run(mut self, json: bool) -> Result<(), CliError> {
        if self.verbose {
            self.settings.set_level(Level::Debug);
        } else if self.quiet {
            self.settings.set_level(Level::Off);
        }
        let mut output = Output::new(json);
        if self.check_config {
            let settings = self.settings()?;
            // The files that it names are read as well.
            Server::check(&config(settings.clone())?)
                .map_err(|error| CliError::failed("serve", error))?;
            output.bytes(settings.to_toml()?.as_bytes())?;
            return output.flush();
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed("start", error))?;
        let (mut interrupt, mut hang_up) = {
            let _entered = runtime.enter();
            let hang_up = signal(SignalKind::hangup());
            (Interrupt::listen()?, hang_up.map_err(|error| CliError::failed("signals", error))?)
        };
        let settings = self.settings()?;
        let (level, format) = settings.log();
        let log = Log::start(level, format)?;
        let config = config(settings)?;
        allow_files(config.max_connections);
        let server = Server::start(config).map_err(|error| CliError::failed("serve", error))?;
        for address in server.addresses() {
            let address = address.to_string();
            match json {
                true => output.line(json!({"listening": address}))?,
                false => output.line(format!("listening on {address}"))?,
            }
        }
        if let Some(address) = server.metrics() {
            match json {
                true => output.line(json!({"metrics": format!("http://{address}/metrics")}))?,
                false => output.line(format!("metrics at http://{address}/metrics"))?,
            }
        }
        output.flush()?;
        tell(&[NotifyState::Ready]);
        let end = runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.received() => return Ok(()),
                    error = server.failed() => return Err(CliError::failed("serve", error)),
                    _ = hang_up.recv() => self.reload(&server, &log),
                }
            }
        });
        tell(&[NotifyState::Stopping]);
        server.stop();
        end
    }

    /// What the command line, the environment and the file say.
    fn settings(&self) -> Result<Settings, CliError> {
        match &self.config {
            Some(path) => Ok(self.settings.or(&Settings::read(path)?)),
            None => Ok(self.settings.clone()),
        }
    }

    /// Has the server go on with what the file says now, or as before if that is nothing sensible.
    fn reload(&self, server: &Server, log: &Log) {
        let since = NotifyState::monotonic_usec_now().ok();
        tell(&[NotifyState::Reloading].into_iter().chain(since).collect::<Vec<_>>());
        let file = self.config.as_deref();
        let is_no_file =
            |path: &std::path::Path| path.metadata().is_ok_and(|found| !found.is_file());
        if let Some(path) = file.filter(|path| is_no_file(path)) {
            // A pipe would be empty the second time, or never end.
            warn!(error = %format_args!("{} is not a regular file", path.display()), "not reloaded");
            return tell(&[NotifyState::Ready]);
        }
        let told = self.settings().and_then(|settings| Ok((settings.log(), config(settings)?)));
        match told {
            Ok(((level, _), config)) => {
                log.set_level(level);
                server.reload(config);
            }
            Err(error) => warn!(%error, "not reloaded"),
        }
        tell(&[NotifyState::Ready]);
    }
}

/// What a server is told by `settings`.
fn config(settings: Settings) -> Result<Config, CliError> {
    let mut config = settings.config()?;
    if config.listen.is_empty() {
        let address = default_address();
        config.listen.push(address.map_err(|error| CliError::failed("default address", error))?);
    }
    Ok(config)
}

/// File descriptors that a server uses besides those of its connections.
const OTHER_FILES: u64 = 64;

/// Has the system let this process open as many files as it lets it ask for, and tells if those are too
/// few for `connections`.
fn allow_files(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let wanted = OTHER_FILES.saturating_add(connections as u64);
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        warn!(limit, wanted, "the system's limit of open files is less than connections may need");
    }
}

/// Tells the service manager, if one has started this program. That it does not hear is no reason to
/// stop.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
