//! `killick exec`: starting a program on the server's machine, with a part of the tree.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use capnp::capability::FromClientHook;
use clap::{Args, ValueEnum};
use killick::Rights;
use killick_schema::api::process_capnp::{command, process};
use serde_json::json;

use super::Context;
use super::attach::stand_for;
use super::error::CliError;
use super::grant::Limits;
use super::process::status_of;
use super::signal::Interrupt;
use super::target::Target;
use super::text::shortened;

const AFTER_HELP: &str = "\
The process runs on the server's machine, as the server's user, if the server allows the program
('killick serve --allow-exec'). It gets one connection, whose descriptor has the number in
KILLICK_FD, and of the tree the anchor at --anchor and what is below it, or at --at: with all
rights but to start programs, or those of --rights, within limits. With neither, it gets where
relative paths start, with no rights but those of --rights.
That confines what it can name here, and nothing else: of the machine it can reach what the
server's user can. Its environment is what --env says, and nothing else.

Without --detach this command stands for the process: what comes in goes to it, what it writes
comes out, SIGINT (Ctrl-C) and SIGTERM are passed on, and the exit code is its own, or 128 and the
signal that ended it. With --json what it writes comes in documents, one a line, and the exit code
in the last.

When it ends, all that it has started ends with it, and the cell at --at is emptied, unless there
is --keep. A cell that is not empty: exit code 3, and the process is killed.

Examples:
  killick exec -- uname -a
  killick exec --anchor jobs --rights lookup,load --nodes 10 -- /opt/worker --once
  killick exec --detach --piped --at workers/42 --env PATH -- sh -c 'date; sleep 60'
  killick ps && killick logs workers/42
  killick kill workers/42";

/// What the server says of a value that would hold a process which has come and gone.
const GONE: &str = "the process has ended";
/// What it says of an anchor for a process that it has not.
const OTHER_HOSTS: &str = "is no anchor of this host's";

/// Start a program on the server's machine, and give it a part of the tree.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Exec {
    /// Store the process in the cell of this anchor, which has to be empty.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    at: Option<Target>,

    /// Leave it there when it has ended, so that its end can be read: 'ps' and 'wait' tell it.
    #[arg(long, requires = "at")]
    keep: bool,

    /// What the process gets of the tree: what is at --at unless it is said; it is created if it is not there.
    #[arg(long, value_name = "PATH", value_parser = Target::parser())]
    anchor: Option<Target>,

    /// What the process may do there, as of 'grant make': all but 'exec' unless it is said. To say it takes the
    /// right 'attenuate', and so does to give neither --at nor --anchor.
    #[arg(long, value_name = "RIGHTS")]
    rights: Option<Rights>,

    #[command(flatten)]
    limits: Limits,

    /// A variable of its environment; a NAME alone has the value that it has here. Any number of times.
    #[arg(long, value_name = "NAME=VALUE|NAME")]
    env: Vec<OsString>,

    /// The folder where it starts: an absolute path on the server's machine; '/' unless it is said.
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Do not stand for it: tell its number, and where it is stored, and end.
    #[arg(long)]
    detach: bool,

    /// Give it pipes, for 'logs' and 'attach', where --detach gives it nothing to read or to write to.
    #[arg(long, requires = "detach")]
    piped: bool,

    /// What ends it if it does not end by itself; 'connection' unless this or --detach is said, then 'own'.
    #[arg(long, value_name = "WHAT")]
    lifetime: Option<Lifetime>,

    #[command(flatten)]
    bounds: Bounds,

    /// The program, an absolute path or a name in the server's PATH, and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    command: Vec<OsString>,
}

/// What ends a process if it does not end by itself.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lifetime {
    /// Nothing else
    Own,
    /// That nobody has it any more, and no cell and no channel
    Reference,
    /// The end of this command
    Connection,
}

/// What the system lets the process have.
#[derive(Args)]
struct Bounds {
    /// The most processor time that it may take, and each that it starts.
    #[arg(long, value_name = "N")]
    cpu_seconds: Option<u64>,

    /// The most address space of each.
    #[arg(long, value_name = "N")]
    memory_bytes: Option<u64>,

    /// The most open files of each.
    #[arg(long, value_name = "N")]
    open_files: Option<u64>,

    /// The most processes that the server's user may have, all others included.
    #[arg(long, value_name = "N")]
    max_user_processes: Option<u64>,

    /// The largest file that it may write.
    #[arg(long, value_name = "N")]
    file_bytes: Option<u64>,
}

impl Exec {
    pub(super) fn check(&self) -> Result<(), CliError> {
        self.lifetime()?;
        self.program()?;
        self.env.iter().try_for_each(|said| variable(said).map(drop))?;
        match self.cwd.as_deref().filter(|folder| !folder.is_absolute()) {
            Some(folder) => {
                let folder = shortened(folder.as_os_str().as_bytes());
                Err(CliError::usage("exec --cwd", format!("'{folder}' is no absolute path")))
            }
            None => Ok(()),
        }
    }

    /// The program, as a server takes one.
    fn program(&self) -> Result<&str, CliError> {
        let program = self.command.first().map(OsString::as_os_str).unwrap_or_default();
        let bad = |why: &str| {
            CliError::usage("exec", format!("'{}' {why}", shortened(program.as_bytes())))
        };
        match program.to_str().ok_or_else(|| bad("is not UTF-8"))? {
            "" => Err(bad("is no program")),
            name if name.contains('/') && !name.starts_with('/') => {
                Err(bad("is neither an absolute path nor a name without '/'"))
            }
            name => Ok(name),
        }
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let lifetime = self.lifetime()?;
        // Before the start, so that no signal in between is lost on the process.
        let interrupt = (!self.detach).then(Interrupt::listen).transpose()?;
        let process = self.start(context, lifetime).await?;
        if let Some(target) = &self.at {
            let what = format!("exec --at {}", target.spelled());
            let hook = process.clone().into_client_hook();
            match context.connection.store_new(&what, target, hook).await {
                Ok(_) => {}
                Err(CliError::Failed { why, .. }) if why.starts_with(GONE) => {}
                Err(error) => {
                    let killed = process.kill_request().send().promise;
                    // An error is that it has ended before, and the other one is told.
                    let _ = context.connection.answer("kill", killed).await;
                    return Err(error);
                }
            }
        }
        if self.detach || context.output.is_json() {
            self.tell(context, &process).await?;
        }
        match interrupt {
            Some(interrupt) => stand_for(context, "exec", &process, interrupt).await,
            None => Ok(()),
        }
    }

    /// What ends the process, which has to make sense.
    fn lifetime(&self) -> Result<Lifetime, CliError> {
        let why = match (self.lifetime, self.detach) {
            (Some(Lifetime::Connection), true) => {
                "'--lifetime connection' and --detach would end it at once"
            }
            (Some(Lifetime::Reference), true) if self.at.is_none() => {
                "'--lifetime reference' and --detach take --at, or it would end at once"
            }
            (Some(lifetime), _) => return Ok(lifetime),
            (None, true) => return Ok(Lifetime::Own),
            (None, false) => return Ok(Lifetime::Connection),
        };
        Err(CliError::usage("exec", why))
    }

    /// Has the server start it.
    async fn start(
        &self,
        context: &Context,
        lifetime: Lifetime,
    ) -> Result<process::Client, CliError> {
        let connection = &context.connection;
        let target = self.anchor.as_ref().or(self.at.as_ref());
        let itself = Target::itself();
        let path = target.unwrap_or(&itself);
        // Who names nothing gives nothing.
        let rights = self.rights.or(target.is_none().then_some(Rights::NONE));
        let anchor = match (rights, self.limits.is_any()) {
            (None, false) => connection.walk(path).pipeline.get_anchor(),
            (rights, _) => {
                let rights = rights.unwrap_or(Rights::ALL);
                self.limits.narrow(connection, path, rights)?.pipeline.get_anchor()
            }
        };
        let mut request = connection.base().exec_request();
        self.put(lifetime, request.get().init_command())?;
        request.get().set_anchor(anchor);
        let started = request.send().promise;
        let response = connection.walked("exec", path, started).await;
        let response = response.map_err(|error| match error {
            CliError::Failed { what, why } if path.is_elsewhere() && why.contains(OTHER_HOSTS) => {
                let path = path.spelled();
                let why = format!(
                    "a process gets an anchor of the host that starts it, and {path} is at another: start \
                     it there, with --connect ('killick hosts' has the addresses), or say what it gets \
                     here, as with --anchor /self"
                );
                CliError::Failed { what, why }
            }
            error => error,
        })?;
        let process = response.get().and_then(|results| results.get_process());
        process.map_err(|error| CliError::call("exec", &error))
    }

    /// The command as the server takes it.
    fn put(&self, lifetime: Lifetime, mut to: command::Builder<'_>) -> Result<(), CliError> {
        let usage = |why: String| CliError::usage("exec", why);
        to.set_program(self.program()?);
        let arguments = self.command.get(1..).unwrap_or_default();
        let count =
            |len: usize| u32::try_from(len).map_err(|_| usage(format!("{len} are too many")));
        let mut args = to.reborrow().init_args(count(arguments.len())?);
        (0..).zip(arguments).for_each(|(index, arg)| args.set(index, arg.as_bytes()));
        let mut env = to.reborrow().init_env(count(self.env.len())?);
        for (index, said) in (0..).zip(&self.env) {
            let (name, value) = variable(said)?;
            let mut variable = env.reborrow().get(index);
            variable.set_name(name.as_bytes());
            variable.set_value(value.as_bytes());
        }
        if let Some(cwd) = &self.cwd {
            to.set_cwd(cwd.as_os_str().as_bytes());
        }
        let stream = match self.detach && !self.piped {
            true => command::Stream::Null,
            false => command::Stream::Piped,
        };
        to.set_stdin(stream);
        to.set_stdout(stream);
        to.set_stderr(stream);
        to.set_lifetime(match lifetime {
            Lifetime::Own => command::Lifetime::Own,
            Lifetime::Reference => command::Lifetime::Reference,
            Lifetime::Connection => command::Lifetime::Connection,
        });
        to.set_keep(self.keep);
        self.bounds.put(to.init_bounds());
        Ok(())
    }

    /// Tells the number of the process, and where it is.
    async fn tell(&self, context: &mut Context, process: &process::Client) -> Result<(), CliError> {
        let status = context.connection.answer("exec", status_of(process)).await?;
        let pid = status.pid;
        let output = &mut context.output;
        match (&self.at, output.is_json()) {
            (Some(target), true) => output.line(json!({"pid": pid, "path": target.canonical()}))?,
            (None, true) => output.line(json!({"pid": pid}))?,
            (Some(target), false) => output.line(format!("{pid} {}", target.spelled()))?,
            (None, false) => output.line(pid)?,
        }
        output.flush()
    }
}

impl Bounds {
    fn put(&self, mut to: command::bounds::Builder<'_>) {
        to.set_cpu_seconds(self.cpu_seconds.unwrap_or(0));
        to.set_memory_bytes(self.memory_bytes.unwrap_or(0));
        to.set_open_files(self.open_files.unwrap_or(0));
        to.set_processes(self.max_user_processes.unwrap_or(0));
        to.set_file_bytes(self.file_bytes.unwrap_or(0));
    }
}

/// A variable, with the value that it is to have or has here.
fn variable(said: &OsStr) -> Result<(&OsStr, OsString), CliError> {
    let bytes = said.as_bytes();
    if matches!(bytes, [] | [b'=', ..]) {
        let why = format!("'{}' has no name", shortened(bytes));
        return Err(CliError::usage("exec --env", why));
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == b'=') {
        let value = OsStr::from_bytes(&bytes[at + 1..]).to_owned();
        return Ok((OsStr::from_bytes(&bytes[..at]), value));
    }
    let here = env::var_os(said).ok_or_else(|| {
        let why = format!("{} is not in the environment", shortened(bytes));
        CliError::usage("exec --env", why)
    })?;
    Ok((said, here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_the_value_that_is_said_or_the_one_that_it_has_here() {
        let read =
            |said: &str| variable(OsStr::new(said)).map(|(name, value)| (name.to_owned(), value));
        assert_eq!(read("A=b=c").expect("both"), ("A".into(), "b=c".into()));
        assert_eq!(read("A=").expect("both"), ("A".into(), "".into()));
        let path = env::var_os("PATH").expect("a PATH");
        assert_eq!(read("PATH").expect("from here"), ("PATH".into(), path));
        let error = read("NOT_SET_ANYWHERE").expect_err("it is not set");
        assert!(
            error.to_string().contains("NOT_SET_ANYWHERE is not in the environment"),
            "{error}"
        );
    }
}
