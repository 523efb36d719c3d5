//! The command line: one file for each command, and what they share.
//!
//! | file | what it holds |
//! |---|---|
//! | `target` | a PATH argument: absolute or relative, checked by the grammar |
//! | `connection` | the connection to a server: look-ups, walks, time limits, errors |
//! | `ca` | an authority, and the certificates that it makes |
//! | `value` | values between the command line and the wire |
//! | `process`, `streams` | a process at a path, and what goes into and comes out of one |
//! | `lines` | the lines of a file or of standard input |
//! | `hold` | holding on to something until a signal, or until it is lost |
//! | `terminal` | its size, and the key that ends what is shown on it |
//! | `output`, `text` | standard output, and bytes and numbers as people read them |
//! | `error` | the one line and the exit code that a command ends with |

mod attach;
mod bench;
mod ca;
mod cert;
mod chan;
mod clear;
mod clients;
mod completions;
mod connection;
mod demo;
mod error;
mod exec;
mod grant;
mod held;
mod hold;
mod hosts;
mod import;
mod info;
mod kill;
mod lines;
mod load;
mod log;
mod logs;
mod lookup;
mod ls;
mod man;
mod output;
mod process;
mod ps;
mod recv;
#[cfg(feature = "cluster")]
mod secret;
mod send;
mod serve;
mod settings;
mod signal;
mod store;
mod streams;
mod swap;
mod target;
mod terminal;
mod text;
mod top;
mod tree;
mod usage;
mod value;
mod wait;
mod walk;
mod watch;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use killick_server::{Address, Identity, default_address};

use connection::Connection;
use error::{CliError, Exit};
use output::Output;
use target::Target;
use usage::refuse;

/// What the options stand below in the help that every command takes.
const COMMON_OPTIONS: &str = "Common options";

/// The environment variable with the address to connect to.
const VARIABLE: &str = "KILLICK_ADDR";

const AFTER_HELP: &str = "\
Paths:
  mailbox, a/b             under the anchor that the server gives to its clients
  /self/a, /<host-id>/a    from the cluster: the first component names a host; '/' lists them
  Printable ASCII without space and backslash, '/' between names. '..' is an error.

Exit codes:
  0 done   1 failed   2 usage, a bad path or setting included   3 nothing there, or nothing stored
  4 'serve' has found another host with its key
  'exec', 'attach' and 'wait' end with the code of their process, 128 and the signal if one ended it.

Examples:
  killick serve &                    a server at the default address
  killick store greeting 'hello'     a value keeps its path alive
  killick load greeting
  killick tree
  killick demo                       all of it in a moment, without a server";

/// Anchors for rendezvous: named, counted registers that live exactly as long as somebody holds them.
#[derive(Parser)]
#[command(name = "killick", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
#[command(next_help_heading = COMMON_OPTIONS)]
struct Global {
    /// The server to talk to: unix:/path/to/socket, tcp:HOST:PORT or tls:HOST:PORT.
    ///
    /// The default is $KILLICK_ADDR, or else where 'killick serve' listens without --listen:
    /// killick.sock in $XDG_RUNTIME_DIR, or in a private folder of yours in the temporary directory.
    #[arg(long, global = true, value_name = "ADDR")]
    connect: Option<Address>,

    /// Who you are at a tls: address: a folder with your key.pem, its cert.pem, and the ca.pem that the
    /// server's certificate is checked against.
    ///
    /// The default is $KILLICK_IDENTITY. 'killick cert client' makes one.
    #[arg(long, global = true, value_name = "FOLDER")]
    #[arg(env = "KILLICK_IDENTITY", hide_env = true)]
    identity: Option<PathBuf>,

    /// Start relative paths at the anchor that is stored in the cell at this path, as 'killick grant make'
    /// stores one, instead of at the anchor that the server gives.
    #[arg(long, global = true, value_name = "PATH", value_parser = Target::parser())]
    through: Option<Target>,

    /// The longest wait for one answer: 500ms, 10s, 2m or plain seconds; 0 waits for ever.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = wait)]
    timeout: Wait,

    /// Whether that was said, and is not the default.
    #[arg(skip)]
    is_timeout_said: bool,

    /// Answer in JSON: one document, or one a line where there can be many.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Ls(ls::Ls),
    Tree(tree::Tree),
    Walk(walk::Walk),
    Load(load::Load),
    Store(store::Store),
    Swap(swap::Swap),
    Lookup(lookup::Lookup),
    Clear(clear::Clear),
    Grant(grant::Grant),
    Watch(watch::Watch),
    Chan(chan::Chan),
    Send(send::Send),
    Recv(recv::Recv),
    Exec(Box<exec::Exec>),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Attach(attach::Attach),
    Kill(kill::Kill),
    Wait(wait::WaitFor),
    Info(info::Info),
    Hosts(hosts::Hosts),
    Clients(clients::Clients),
    Top(top::Top),
    Bench(bench::Bench),
    Import(import::Import),
    Ca(ca::Ca),
    Cert(cert::Cert),
    #[cfg(feature = "cluster")]
    Secret(secret::Secret),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(hide = true)]
    DemoClient(demo::DemoClient),
    #[command(hide = true)]
    DemoWorker(demo::DemoWorker),
    #[cfg(feature = "cluster")]
    #[command(hide = true)]
    DemoHost(demo::DemoHost),
}

impl Command {
    /// Whether its arguments make sense together, before any server is asked.
    fn check(&self) -> Result<(), CliError> {
        match self {
            Command::Store(store) => store.check(),
            Command::Swap(swap) => swap.check(),
            Command::Send(send) => send.check(),
            Command::Chan(chan) => chan.check(),
            Command::Grant(grant) => grant.check(),
            Command::Exec(exec) => exec.check(),
            _ => Ok(()),
        }
    }
}

/// The longest wait for one answer; none is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait(Option<Duration>);

/// What a command that talks to a server has at hand.
struct Context {
    connection: Connection,
    output: Output,
    /// The longest wait for one answer; none is for ever.
    timeout: Option<Duration>,
    /// The longest wait for something to happen: as long, if that was said.
    patience: Option<Duration>,
}

/// A server to connect to.
struct Server {
    address: Address,
    identity: Option<Identity>,
    /// The longest wait for one answer; none is for ever.
    timeout: Option<Duration>,
    /// Where the anchor is stored that relative paths start at, if not at the one that the server gives.
    through: Option<Target>,
}

/// Runs the command that `arguments` ask for, the program's name first.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let exit = match parse(&arguments) {
        Ok(cli) => match dispatch(cli) {
            Ok(()) => Exit::Done as u8,
            Err(error) => told(&error),
        },
        Err(error) => refuse(&error, &arguments),
    };
    ExitCode::from(exit)
}

/// The command line, with the defaults of settings in its help.
fn command() -> clap::Command {
    let explained = |serve| settings::Settings::explained(serve).mut_args(without_empty);
    Cli::command().mut_args(without_empty).mut_subcommand("serve", explained)
}

/// The same argument, which does not take its value from a variable that is empty: that counts as one that is not set.
fn without_empty(argument: Arg) -> Arg {
    let is_empty = argument.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { argument.env(Resettable::Reset) } else { argument }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let said = matches.value_source("timeout") == Some(ValueSource::CommandLine);
    cli.global.is_timeout_said = said;
    if let (Command::Serve(serve), Some(matches)) =
        (&mut cli.command, matches.subcommand_matches("serve"))
    {
        serve.note_environment(matches);
    }
    let why = match cli.command {
        Command::Serve(_) => [
            "'serve' listens and does not connect: use --listen, not --connect",
            "'serve' takes --tls-identity, not --identity",
            "'serve' has no paths: it takes no --through",
        ],
        Command::Demo(_) => [
            "'demo' has a server of its own: it takes no --connect",
            "'demo' has a server of its own: it takes no --identity",
            "'demo' has paths of its own: it takes no --through",
        ],
        _ => return Ok(cli),
    };
    for (argument, why) in ["connect", "identity", "through"].into_iter().zip(why) {
        if matches.value_source(argument) == Some(ValueSource::CommandLine) {
            return Err(command.error(ErrorKind::ArgumentConflict, why));
        }
    }
    // To clap, what the environment says would be in conflict too, and flags go before that.
    let is_flag = |serve: &ArgMatches, argument| {
        serve.value_source(argument) == Some(ValueSource::CommandLine)
    };
    if let Some(serve) = matches.subcommand_matches("serve").filter(|serve| is_flag(serve, "log"))
        && let Some(flag) = ["verbose", "quiet"].into_iter().find(|flag| is_flag(serve, flag))
    {
        let why = format!("'--{flag}' and '--log' each say how much to log: use one of them");
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    Ok(cli)
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    command.check()?;
    match command {
        Command::Serve(serve) => serve.run(global.json),
        Command::Demo(demo) => demo.run(global.json),
        Command::DemoWorker(worker) => worker.run(),
        #[cfg(feature = "cluster")]
        Command::DemoHost(host) => host.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Ca(ca) => ca.run(global.json),
        Command::Cert(cert) => cert.run(global.json),
        #[cfg(feature = "cluster")]
        Command::Secret(secret) => secret.run(global.json),
        Command::Ls(ls) => connected(global, async |context| ls.run(context).await),
        Command::Tree(tree) => connected(global, async |context| tree.run(context).await),
        Command::Walk(walk) => connected(global, async |context| walk.run(context).await),
        Command::Load(load) => connected(global, async |context| load.run(context).await),
        Command::Store(store) => connected(global, async |context| store.run(context).await),
        Command::Swap(swap) => connected(global, async |context| swap.run(context).await),
        Command::Lookup(lookup) => connected(global, async |context| lookup.run(context).await),
        Command::Clear(clear) => connected(global, async |context| clear.run(context).await),
        Command::Grant(grant) => connected(global, async |context| grant.run(context).await),
        Command::Watch(watch) => {
            with_server(global, async |server, output| watch.run(server, output).await)
        }
        Command::Chan(chan) => connected(global, async |context| chan.run(context).await),
        Command::Send(send) => connected(global, async |context| send.run(context).await),
        Command::Recv(recv) => connected(global, async |context| recv.run(context).await),
        Command::Exec(exec) => connected(global, async |context| exec.run(context).await),
        Command::Ps(ps) => connected(global, async |context| ps.run(context).await),
        Command::Logs(logs) => connected(global, async |context| logs.run(context).await),
        Command::Attach(attach) => connected(global, async |context| attach.run(context).await),
        Command::Kill(kill) => connected(global, async |context| kill.run(context).await),
        Command::Wait(wait) => connected(global, async |context| wait.run(context).await),
        Command::Info(info) => connected(global, async |context| info.run(context).await),
        Command::Hosts(hosts) => connected(global, async |context| hosts.run(context).await),
        Command::Clients(clients) => connected(global, async |context| clients.run(context).await),
        Command::Bench(bench) => connected(global, async |context| bench.run(context).await),
        Command::Top(top) => connected(global, async |context| top.run(context).await),
        Command::Import(import) => connected(global, async |context| import.run(context).await),
        Command::DemoClient(client) => connected(global, async |context| client.run(context).await),
    }
}

/// Connects, runs `command` and flushes what it wrote.
fn connected(
    global: Global,
    command: impl AsyncFnOnce(&mut Context) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let patience = global.timeout.0.filter(|_| global.is_timeout_said);
    with_server(global, async |server, output| {
        let Server { address, identity, timeout, through } = server;
        let mut connection = Connection::open(address, identity, timeout).await?;
        if let Some(target) = &through {
            let what = format!("--through {}", target.spelled());
            let anchor = held::anchor_at(&connection, &what, target).await?;
            connection.go_through(anchor);
        }
        let mut context = Context { connection, output, timeout, patience };
        let done = command(&mut context).await;
        let flushed = context.output.flush();
        match done {
            // The command says more than that its output failed.
            Err(failed @ CliError::Failed { .. }) => Err(failed),
            done => flushed.and(done),
        }
    })
}

/// Runs `command` with the server to talk to, on a runtime of this thread's own.
fn with_server(
    global: Global,
    command: impl AsyncFnOnce(Server, Output) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let address = match global.connect {
        Some(address) => address,
        None => address_without_flag()?,
    };
    let identity = identity_for(&address, global.identity.as_deref())?;
    let runtime = runtime()?;
    let (timeout, through) = (global.timeout.0, global.through);
    let server = Server { address, identity, timeout, through };
    runtime.block_on(command(server, Output::new(global.json)))
}

/// A runtime of this thread's own.
fn runtime() -> Result<tokio::runtime::LocalRuntime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| CliError::failed("start", error))
}

/// What to show at `address`, which only one with TLS asks for.
fn identity_for(address: &Address, folder: Option<&Path>) -> Result<Option<Identity>, CliError> {
    let Address::Tls(_) = address else { return Ok(None) };
    let Some(folder) = folder else {
        let why = "TLS takes an identity: --identity or KILLICK_IDENTITY, a folder with key.pem, \
                   cert.pem and ca.pem";
        return Err(CliError::usage(format!("connect to {address}"), why));
    };
    let identity = Identity::load(folder);
    identity.map(Some).map_err(|error| CliError::failed("identity", error))
}

/// Where to connect to without `--connect`: what the environment names, or else the default.
fn address_without_flag() -> Result<Address, CliError> {
    match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) => value
            .to_str()
            .ok_or_else(|| CliError::usage(VARIABLE, "not UTF-8"))?
            .parse()
            .map_err(|error| CliError::usage(VARIABLE, error)),
        None => default_address().map_err(|error| CliError::failed("default address", error)),
    }
}

/// Says on stderr what went wrong, and gives the exit code. If nobody listens there, that still tells.
fn told(error: &CliError) -> u8 {
    if !matches!(error, CliError::OutputClosed | CliError::Ended(_)) {
        let _ = writeln!(std::io::stderr(), "killick: {error}");
    }
    error.exit()
}

/// What is said of a time that is longer than any.
const TOO_LONG: &str = "longer than any wait can be";

/// Reads the value of `--timeout`.
fn wait(text: &str) -> Result<Wait, String> {
    let time = time(text).map_err(|why| match why {
        why if why == TOO_LONG => format!("{why}; 0 waits for ever"),
        why => why,
    })?;
    Ok(Wait((!time.is_zero()).then_some(time)))
}

/// Reads a time: `500ms`, `2s`, `1m` or plain seconds.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ if number.is_empty() => {
            return Err(format!("'{unit}' is no time; there are 500ms, 2s, 1m, and plain seconds"));
        }
        _ => return Err(format!("no unit of time: '{unit}'; there are ms, s and m")),
    };
    let number: f64 = number.parse().map_err(|_| "not a number with a unit of time".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| TOO_LONG.to_owned())
}

/// Reads a time that is not 0; `zero` says why.
fn time_above(zero: &str, text: &str) -> Result<Duration, String> {
    Some(time(text)?).filter(|time| !time.is_zero()).ok_or_else(|| zero.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wait_is_read_with_or_without_a_unit_and_zero_is_for_ever() {
        assert_eq!(wait("500ms"), Ok(Wait(Some(Duration::from_millis(500)))));
        assert_eq!(wait("10s"), Ok(Wait(Some(Duration::from_secs(10)))));
        assert_eq!(wait("1.5"), Ok(Wait(Some(Duration::from_millis(1500)))));
        assert_eq!(wait("2m"), Ok(Wait(Some(Duration::from_secs(120)))));
        assert_eq!(wait("0"), Ok(Wait(None)));
        for bad in ["", "s", "-1", "1h", "1e400", "ten"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
        let longest = "longer than any wait can be; 0 waits for ever";
        assert_eq!(wait("99999999999999999999").unwrap_err(), longest);
        // The hint is only where 0 is taken.
        assert_eq!(time_above("0 is no time", "99999999999999999999").unwrap_err(), TOO_LONG);
        assert_eq!(time_above("0 is no time", "0s").unwrap_err(), "0 is no time");
    }

    #[test]
    fn every_command_and_flag_is_explained() {
        let mut command = Cli::command();
        command.build();
        let mut left = vec![&command];
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()));
            let name = command.get_name();
            assert!(command.get_about().is_some() || name == "help", "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
        }
    }
}
