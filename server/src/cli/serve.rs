//! `killick serve`: the server, in the foreground.

use std::io::Write;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Id};
use killick_server::{Config, ListenError, Server, StartError, default_address};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::error::CliError;
use super::log::{Level, Log};
use super::output::Output;
use super::settings::{BadValue, File, Settings};
use super::signal::Interrupt;
use super::text::nearest;

const AFTER_HELP: &str = "\
Prints a line for each address as soon as it listens; the log goes to stderr. SIGINT (Ctrl-C) or
SIGTERM ends it, and with it the tree, which is in memory only.

What is not given as an option is taken from the environment (KILLICK_MAX_NODES for --max-nodes; an
empty variable is none), and else from the file (max-nodes = 1000). SIGHUP has the file read again, and the certificate and
the authorized keys: bounds of connections and values, times and the log change for connections
from then on, and those that may not be here any more are closed; the addresses, the threads and
the bounds of the tree stay.

Who may connect:
  unix:   you and root, and whom --allow-uid and --allow-gid name; they get the whole host
  tcp:    loopback addresses only, as whoever is on this machine gets the whole host
  tls:    the keys in the file --authorized, whose certificates an authority in ca.pem has signed;
          each gets the anchor that its line names, and nothing outside of it

Hosts that take part in one cluster are one tree: each sees the others below '/', and reaches what
they have. They know each other by certificates, or by a secret that all of them have:
  killick serve --cluster c1 --cluster-secret cluster.secret --host-key host.key \\
                --listen-cluster 192.0.2.7:7300 --join 192.0.2.8:7300

A line of the file of authorized keys is a fingerprint, which 'killick cert client' and 'killick
cert show' print, and a path in this host's tree, '/' for all of the host:
  3e5cc4d0a16be23ed2bf9d39bd2e4ccaed9ee5bd7dd77a9b9f14f14cb4a4f4a5  /apps/billing  # alice

Examples:
  killick serve
  killick serve --listen unix:/tmp/k.sock --listen tcp:127.0.0.1:2016
  killick serve --listen tls:0.0.0.0:2016 --tls-identity host --authorized authorized
  killick serve --max-nodes 10000 --max-children 100
  killick serve --check-config > killick.toml        all settings, to begin a file with
  killick serve --check-config --json | jq .listen
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
    ///
    /// With --json as one document, null for what is not set and has no default of its own.
    #[arg(long)]
    check_config: bool,

    /// As --log debug.
    #[arg(long, short)]
    verbose: bool,

    /// As --log off.
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,

    /// The settings whose values stand in the environment.
    #[arg(skip)]
    in_environment: Vec<String>,
}

impl Serve {
    /// Takes from `matches` which settings the environment has said.
    pub(super) fn note_environment(&mut self, matches: &ArgMatches) {
        let is_said =
            |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable);
        let said = matches.ids().filter(is_said);
        self.in_environment = said.map(|id| id.as_str().replace('_', "-")).collect();
    }

    /// Where the setting `key` has its value from, or should have.
    fn place(&self, file: Option<&File>, key: &str) -> String {
        let in_file = file.and_then(|file| file.place(key, &self.settings));
        in_file.unwrap_or_else(|| match self.in_environment.iter().any(|said| said == key) {
            true => {
                let variable = key.replace('-', "_").to_uppercase();
                format!("KILLICK_{variable} in the environment")
            }
            false => format!("--{key}"),
        })
    }

    pub(super) fn run(mut self, json: bool) -> Result<(), CliError> {
        if self.verbose {
            self.settings.set_level(Level::Debug);
        } else if self.quiet {
            self.settings.set_level(Level::Off);
        }
        let mut output = Output::new(json);
        let misspelt = misspelt();
        if self.check_config {
            let told = self.told()?;
            let misspelt = misspelt.into_iter().map(|(variable, nearest)| {
                format!("{variable} is no setting: did you mean {nearest}?")
            });
            for warning in misspelt.chain(Server::warnings(&told.config)) {
                // That nobody reads it is no reason to fail.
                let _ = writeln!(std::io::stderr(), "killick: warning: {warning}");
            }
            match json {
                true => output.line(told.settings.to_json(&told.config.listen)?)?,
                false => output.bytes(told.settings.to_toml()?.as_bytes())?,
            }
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
        let Told { settings, config } = self.told()?;
        let (level, format) = settings.log();
        let log = Log::start(level, format)?;
        for (variable, nearest) in misspelt {
            warn!(variable, nearest, "a variable in the environment is no setting");
        }
        allow_files(&config);
        let threads = config.threads;
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
        if let Some(at) = server.cluster_address() {
            let host = format!("{:016x}", server.host_id());
            match json {
                true => output.line(json!({"cluster": at.to_string(), "host": host}))?,
                false => output.line(format!("host {host} of the cluster, at {at}"))?,
            }
        }
        output.flush()?;
        let addresses = server.addresses().iter().map(ToString::to_string).collect::<Vec<_>>();
        info!(addresses = addresses.join(", "), threads, "serving");
        tell(&[NotifyState::Ready]);
        let end = runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.received() => return Ok(()),
                    error = server.failed() => return Err(failed(&error)),
                    _ = hang_up.recv() => self.reload(&server, &log),
                }
            }
        });
        tell(&[NotifyState::Stopping]);
        info!("stopping: no one else is let in, and what runs may end within drain-timeout");
        server.stop();
        info!("stopped");
        end
    }

    /// What the command line, the environment and the file say, and what that comes to: the files that it
    /// names are read as well.
    fn told(&self) -> Result<Told, CliError> {
        let file = self.config.as_deref().map(Settings::read).transpose()?;
        let settings = match &file {
            Some(file) => self.settings.or(&file.settings),
            None => self.settings.clone(),
        };
        let place = |key: &str| self.place(file.as_ref(), key);
        let mut config =
            settings.clone().config().map_err(
                |BadValue { key, why, is_usage }| match is_usage {
                    true => CliError::usage(place(key), why),
                    false => CliError::failed(place(key), why),
                },
            )?;
        if config.listen.is_empty() {
            let address = default_address();
            let address = address.map_err(|error| CliError::failed("default address", error))?;
            config.listen.push(address);
        }
        Server::check(&config).map_err(|error| match &error {
            StartError::Unusable { setting, reason } => CliError::usage(place(setting), reason),
            StartError::Listen(unfit) if is_forbidden(unfit) => {
                CliError::usage(place("listen"), error)
            }
            StartError::Listen(_) => CliError::failed(place("listen"), error),
            StartError::Metrics { .. } => CliError::usage(place("metrics"), error),
            _ => CliError::failed("serve", error),
        })?;
        Ok(Told { settings, config })
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
        match self.told() {
            Ok(Told { settings, mut config }) => {
                if settings.is_nobody() {
                    // Its key is no other by now.
                    config.cluster = None;
                }
                log.set(settings.log());
                server.reload(config);
            }
            Err(error) => warn!(%error, "not reloaded"),
        }
        tell(&[NotifyState::Ready]);
    }
}

/// Why a server that ran does not any more.
fn failed(error: &StartError) -> CliError {
    match error {
        #[cfg(feature = "cluster")]
        StartError::Twin { .. } => CliError::Twin { what: "serve".into(), why: error.to_string() },
        error => CliError::failed("serve", error),
    }
}

/// Whether no server may listen there, however things stand.
fn is_forbidden(error: &ListenError) -> bool {
    matches!(error, ListenError::NotLoopback { .. } | ListenError::NoIdentity { .. })
}

/// What a server is told.
struct Told {
    settings: Settings,
    config: Config,
}

/// The variables of the environment that are no settings and look like some, and those.
fn misspelt() -> Vec<(String, String)> {
    let serve = Serve::augment_args(clap::Command::new("serve"));
    let settings: Vec<_> =
        serve.get_arguments().filter_map(|argument| argument.get_env()).collect();
    let names = std::env::vars_os().map(|(name, _)| name);
    let unknown = names.filter(|name| !settings.contains(&name.as_os_str()));
    let meant = |name: String| {
        let settings = settings.iter().filter_map(|setting| setting.to_str());
        let meant = nearest(&name, settings)?.to_owned();
        Some((name, meant))
    };
    let unknown = unknown.filter_map(|name| name.into_string().ok());
    unknown.filter(|name| name.starts_with("KILLICK_")).filter_map(meant).collect()
}

/// File descriptors that a server uses besides those of its connections and processes.
const OTHER_FILES: u64 = 64;
/// Those of a process besides its connection: three streams, and what tells its end.
const PROCESS_FILES: usize = 4;

/// Has the system let this process open as many files as it lets it ask for, and tells if those are too
/// few for the connections and processes of `config`.
fn allow_files(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let processes = if config.allow_exec.is_empty() { 0 } else { config.max_processes };
    // Over TLS it takes a handshake to be told that there is no place.
    let refused = config.max_handshakes.unwrap_or(config.max_connections / 2);
    let refused = if config.tls.is_some() { refused } else { 0 };
    let connections = config.max_connections.saturating_add(refused);
    let files = processes.saturating_mul(PROCESS_FILES).saturating_add(connections);
    let wanted = OTHER_FILES.saturating_add(files as u64);
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        warn!(limit, wanted, "the system's limit of open files is less than connections may need");
    }
}

/// Tells the service manager, if one has started this program. That it does not hear is no reason to
/// stop.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
