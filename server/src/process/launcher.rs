//! The launcher: what runs in a new process between the server and the program. It takes from the server what
//! is to be started, gives up what the program is not to have, and becomes the program.
//!
//! It is the server's own program, started with [`LAUNCH`] and the file to be run, with the control socket as
//! its standard input:
//!
//! 1. The server sends one byte with two descriptors, the program's standard input and its connection, and
//!    then a `Command` as one message.
//! 2. The launcher makes a session of its own, whose end is that of the server's thread; lets neither itself nor
//!    its children gain privileges; sets the bounds; goes to the working folder; and has no signal ignored.
//! 3. It becomes the program, which closes the socket. If something fails, it sends why instead, and exits.
//!
//! A process of one thread can do all of this by ordinary calls, where one that has forked from many may do next
//! to nothing. And what the environment of the program does to a loader cannot happen before its time: the
//! launcher itself has none.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use capnp::message::ReaderOptions;
use killick_schema::api::process_capnp::command;
use rustix::io::{FdFlags, IoSliceMut, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, recv, recvmsg};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// The first argument of a launcher.
pub(crate) const LAUNCH: &str = "--launch-process";

/// The variable that tells a process the number of the descriptor of its connection.
pub(super) const DESCRIPTOR: &str = "KILLICK_FD";

/// Does the launcher's work, if the program was started for that: by a server with
/// [`Config::allow_exec`](crate::Config::allow_exec) whose [`launcher`](crate::Config::launcher) it is. Then it
/// returns only if that has failed, with what to exit with.
///
/// The first thing in the `main` of a program with such a server:
/// ```
/// # fn body() -> std::process::ExitCode {
/// if let Some(code) = killick_server::launch() {
///     return code;
/// }
/// # std::process::ExitCode::SUCCESS
/// # }
/// # assert_eq!(body(), std::process::ExitCode::SUCCESS);
/// ```
pub fn launch() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != LAUNCH {
        return None;
    }
    let file = PathBuf::from(arguments.next()?);
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let Ok(mut control) = control else { return Some(ExitCode::FAILURE) };
    let Err(why) = become_program(&file, &control);
    // An error means that nobody is left who wants to know.
    let _ = control.write_all(why.as_bytes());
    Some(ExitCode::FAILURE)
}

enum Never {}

fn become_program(file: &Path, control: &UnixStream) -> Result<Never, String> {
    let told = |what: &str, error: io::Error| format!("{what}: {error}");
    let (stdin, connection) = descriptors(control).map_err(|error| told("descriptors", error))?;
    rustix::stdio::dup2_stdin(&stdin).map_err(|error| told("stdin", error.into()))?;
    drop(stdin);
    killick::close_all_but([control.as_fd(), connection.as_fd()])
        .map_err(|error| told("descriptors of others", error))?;
    let options = ReaderOptions { traversal_limit_in_words: None, ..ReaderOptions::new() };
    let message = capnp::serialize::read_message(control, options).map_err(|e| e.to_string())?;
    let order = message.get_root::<command::Reader<'_>>().map_err(|e| e.to_string())?;

    rustix::process::setsid().map_err(|error| told("a session of its own", error.into()))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| told("the end with the server", error.into()))?;
    // It may have ended before that was said.
    if matches!(recv(control, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, 0))) {
        return Err("the server has gone".into());
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| told("no new privileges", error.into()))?;
    bounds(order).map_err(|error| error.to_string())?;
    let cwd = order.get_cwd().map_err(|error| error.to_string())?;
    let cwd = if cwd.is_empty() { Path::new("/") } else { Path::new(OsStr::from_bytes(cwd)) };
    env::set_current_dir(cwd)
        .map_err(|error| told(&format!("its folder {}", cwd.display()), error))?;
    let command = command(file, order, connection.as_raw_fd()).map_err(|error| error.to_string());
    let mut command = command?;
    fcntl_setfd(&connection, FdFlags::empty())
        .map_err(|error| told("its connection", error.into()))?;
    let _stays_open = connection.into_raw_fd();
    killick::default_signals();
    let error = command.exec();
    Err(match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            "its arguments and environment are larger than the system takes".into()
        }
        io::ErrorKind::NotFound => "its interpreter, the one that it names, is not there".into(),
        _ => error.to_string(),
    })
}

/// The program's standard input and its connection.
fn descriptors(control: &UnixStream) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let RecvMsg { bytes: count, .. } =
        recvmsg(control, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let sent = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sent) => Some(sent),
        _ => None,
    });
    let mut sent = sent.flatten();
    match (count, sent.next(), sent.next()) {
        (1, Some(stdin), Some(connection)) => Ok((stdin, connection)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// How many files a process may have open that asks for no bound: what programs are made for which cannot do
/// with more. It may raise that itself, up to what the server may have.
const OPEN_FILES: u64 = 1024;

/// Sets what the system lets the process have: never more than it had.
fn bounds(order: command::Reader<'_>) -> capnp::Result<()> {
    let asked = order.get_bounds()?;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current > OPEN_FILES) {
        // An error leaves it as it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum });
    }
    for (resource, bound) in [
        (Resource::Cpu, asked.get_cpu_seconds()),
        (Resource::As, asked.get_memory_bytes()),
        (Resource::Nofile, asked.get_open_files()),
        (Resource::Nproc, asked.get_processes()),
        (Resource::Fsize, asked.get_file_bytes()),
    ] {
        if bound == 0 {
            continue;
        }
        let most = getrlimit(resource).maximum.map_or(bound, |maximum| maximum.min(bound));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit)
            .map_err(|error| capnp::Error::failed(format!("the bound of {resource:?}: {error}")))?;
    }
    Ok(())
}

/// What is to be run.
fn command(file: &Path, order: command::Reader<'_>, connection: i32) -> capnp::Result<Command> {
    let mut command = Command::new(file);
    command.arg0(order.get_program()?.to_str()?);
    for argument in order.get_args()? {
        command.arg(OsStr::from_bytes(argument?));
    }
    command.env_clear();
    for variable in order.get_env()? {
        let (name, value) = (variable.get_name()?, variable.get_value()?);
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    command.env(DESCRIPTOR, connection.to_string());
    Ok(command)
}
