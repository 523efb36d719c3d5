//! Starting a process: what a client has ordered is checked, launched, and watched over from then on.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capnp::Error;
use capnp::message::{Builder, HeapAllocator};
use killick::{Authority, Charge, Resource};
use killick_schema::api::process_capnp::command;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tracing::info;

use super::launcher::{DESCRIPTOR, LAUNCH};
use super::reaper::{Begun, Leader};
use super::{Ended, Exported, Hand, Lifetime, Process, Sink, Source, allowed};
use crate::access::{Admitted, Child, Grant, Who};
use crate::cap::Own;
use crate::channels;
use crate::config::Config;
use crate::connection;
use crate::net::Streams;
use crate::session::Session;
use crate::shared::Permit;
use crate::wire;
use crate::worker::Worker;

/// The longest word of the launcher about what went wrong.
const WORD_BYTES: u64 = 4096;

/// What a client wants to have started, checked.
struct Order {
    program: String,
    file: PathBuf,
    /// The command, for the launcher.
    message: Builder<HeapAllocator>,
    /// Whether stdin, stdout and stderr are pipes.
    piped: [bool; 3],
    lifetime: Lifetime,
    keep: bool,
}

impl Order {
    /// # Errors
    /// Why it cannot be started, for people to read, after the program's name; an outer one means that the
    /// command cannot be read.
    fn read(command: command::Reader<'_>, config: &Config) -> Result<Result<Self, String>, Error> {
        // The copy is read from here on: how much of a message may be read is for reading it once.
        let mut message = Builder::new_default();
        message.set_root(command)?;
        let command: command::Reader<'_> = message.get_root_as_reader()?;
        let program = command.get_program()?.to_str()?.to_owned();
        let file = match check(command)? {
            Some(why) => Err(why),
            None => allowed::find(&program, &config.allow_exec),
        };
        let piped =
            |stream: Result<command::Stream, _>| Ok::<_, Error>(stream? == command::Stream::Piped);
        let piped = [
            piped(command.get_stdin())?,
            piped(command.get_stdout())?,
            piped(command.get_stderr())?,
        ];
        let lifetime = match command.get_lifetime()? {
            command::Lifetime::Own => Lifetime::Own,
            command::Lifetime::Reference => Lifetime::Reference,
            command::Lifetime::Connection => Lifetime::Connection,
        };
        let keep = command.get_keep();
        Ok(file.map(|file| Order { program, file, message, piped, lifetime, keep }))
    }
}

/// What is wrong with the strings of a command.
fn check(command: command::Reader<'_>) -> Result<Option<String>, Error> {
    for (number, argument) in (1..).zip(command.get_args()?) {
        if argument?.contains(&0) {
            return Ok(Some(format!("its argument {number} has a zero byte")));
        }
    }
    for variable in command.get_env()? {
        let (name, value) = (variable.get_name()?, variable.get_value()?);
        let shown = name.escape_ascii();
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Ok(Some(format!("'{shown}' is no name of a variable")));
        }
        if value.contains(&0) {
            return Ok(Some(format!("its variable {shown} has a zero byte")));
        }
        if name == DESCRIPTOR.as_bytes() {
            return Ok(Some(format!("its variable {shown} is the server's to set")));
        }
    }
    let cwd = command.get_cwd()?;
    Ok(match cwd {
        [] | [b'/', ..] if !cwd.contains(&0) => None,
        _ => Some(format!("its folder '{}' is no absolute path", cwd.escape_ascii())),
    })
}

/// What stays here of what a process has.
struct Ends {
    connection: UnixStream,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The other sides of that.
struct Theirs {
    connection: UnixStream,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Ends {
    /// Both sides, with pipes where it is to have them.
    fn new([stdin, stdout, stderr]: [bool; 3]) -> io::Result<(Self, Theirs)> {
        let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let ends = |piped: bool| match piped {
            true => pipe_with(PipeFlags::CLOEXEC).map(|(out, into)| (Some(out), Some(into))),
            false => Ok((None, None)),
        };
        let (connection, theirs) = UnixStream::pair()?;
        let ((their_stdin, stdin), (stdout, their_stdout), (stderr, their_stderr)) =
            (ends(stdin)?, ends(stdout)?, ends(stderr)?);
        let or_null = |end: Option<OwnedFd>| end.map_or_else(null, Ok);
        let theirs = Theirs {
            connection: theirs,
            stdin: or_null(their_stdin)?,
            stdout: or_null(their_stdout)?,
            stderr: or_null(their_stderr)?,
        };
        Ok((Ends { connection, stdin, stdout, stderr }, theirs))
    }

    /// The process that has the other sides, and its connection.
    fn into_process(
        self,
        session: &Session,
        order: &Order,
        leader: Arc<Leader>,
        taken: Taken,
    ) -> io::Result<(Arc<Process>, tokio::net::UnixStream)> {
        self.connection.set_nonblocking(true)?;
        let connection = tokio::net::UnixStream::from_std(self.connection)?;
        let source = |pipe: Option<OwnedFd>| pipe.map(Source::new).transpose();
        let process = Process {
            leader,
            program: order.program.clone(),
            started: Instant::now(),
            lifetime: order.lifetime,
            keep: order.keep,
            origin: session.worker().home().origin(session.shared().next_connection(), false),
            ended: watch::Sender::new(None),
            exported: watch::Sender::new(Exported::Unknown),
            children: Mutex::new(Some(Vec::new())),
            stdin: self.stdin.map(Sink::new).transpose()?,
            stdout: source(self.stdout)?,
            stderr: source(self.stderr)?,
            taken: Mutex::new(Some(taken)),
        };
        Ok((Arc::new(process), connection))
    }
}

/// A process on its way: it is killed if it does not get there.
struct Launching(Option<Arc<Leader>>);

impl Launching {
    /// It is there, and somebody looks after it.
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Launching {
    fn drop(&mut self) {
        if let Some(leader) = self.0.take() {
            leader.abort();
        }
    }
}

/// Has the launcher begin, and waits until it is the program.
async fn launch(
    session: &Session,
    order: &Order,
    theirs: Theirs,
) -> Result<(Launching, Begun), String> {
    let told = |error: io::Error| error.to_string();
    let Theirs { connection, stdin, stdout, stderr } = theirs;
    let (control, their_control) = UnixStream::pair().map_err(told)?;
    let launcher = session.config().launcher.clone().ok_or("this server has no launcher")?;
    let mut command = Command::new(launcher);
    command.arg(LAUNCH).arg(&order.file).env_clear().current_dir("/");
    command.stdin(OwnedFd::from(their_control)).stdout(stdout).stderr(stderr);
    let begun = session.shared().reaper.begin(command).await;
    let begun = begun.map_err(|error| format!("the launcher: {error}"))?;
    let launching = Launching(Some(begun.leader.clone()));
    send_descriptors(&control, [stdin.as_fd(), connection.as_fd()]).map_err(told)?;
    drop((stdin, connection));
    control.set_nonblocking(true).map_err(told)?;
    let mut control = tokio::net::UnixStream::from_std(control).map_err(told)?;
    let message = capnp::serialize::write_message_to_words(&order.message);
    // An error means that the launcher has ended: it may have said why.
    let _ = control.write_all(&message).await;
    let mut word = String::new();
    let read = control.take(WORD_BYTES).read_to_string(&mut word).await;
    match (word.is_empty(), read) {
        (true, Ok(_)) => Ok((launching, begun)),
        (true, Err(error)) => Err(format!("the launcher: {error}")),
        (false, _) => Err(word),
    }
}

fn send_descriptors(control: &UnixStream, sent: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sent)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(control, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// What a process takes of what there may be.
pub(super) struct Taken {
    _room: channels::Place,
    _charge: Option<Charge>,
}

impl Taken {
    fn take(session: &Session, granted: Option<&Authority>) -> Result<Self, Error> {
        let charge = granted.map(|granted| granted.charge(Resource::Processes, 1)).transpose();
        Ok(Taken { _charge: charge.map_err(wire::denied)?, _room: session.process_room()? })
    }
}

/// Starts what `command` says, for the client of `session` who may, by what was `granted` or with all rights.
/// The process's bootstrap capability is `anchor`.
pub(crate) async fn exec(
    session: &Rc<Session>,
    granted: Option<&Authority>,
    command: command::Reader<'_>,
    anchor: Own,
) -> Result<Hand, Error> {
    let failed = |why: String| not_started(command, &why);
    let order = Order::read(command, session.config())?.map_err(failed)?;
    let taken = Taken::take(session, granted)?;
    let permit = Permit::take_at(session.shared(), session.worker().number());
    let permit = permit.ok_or_else(|| session.no_connections())?;
    let (ends, theirs) = Ends::new(order.piped).map_err(|error| failed(error.to_string()))?;
    let (launching, Begun { leader, ended }) =
        launch(session, &order, theirs).await.map_err(failed)?;

    // Nothing is waited for from here on: whoever is to look after the process does.
    let made = ends.into_process(session, &order, leader, taken);
    let (process, connection) = made.map_err(|error| failed(error.to_string()))?;
    if !session.is_parent_of(&process) {
        return Err(failed("who asked for it has ended".into()));
    }
    let peer = format!("process {} ({})", process.pid(), order.program);
    let child = Some(Box::new(Child { anchor, process: process.clone() }));
    let admitted = Admitted { who: Who::Child, grant: Grant::host(), peer, child };
    let ending = Ending { process: process.clone(), ended, granted: granted.cloned() };
    if !look_after(session.worker(), ending, connection, admitted, permit) {
        return Err(failed("the server stops".into()));
    }
    let (connection, pid) = (session.id(), process.pid());
    info!(connection, peer = session.stats().peer, program = ?order.program, process = pid, "process started");
    launching.done();
    Ok(Hand::first(&process, granted))
}

/// Has the worker wait for the end of a process, and serve its connection. Whether it does not stop.
fn look_after(
    worker: &Rc<Worker>,
    ending: Ending,
    connection: tokio::net::UnixStream,
    admitted: Admitted,
    permit: Permit,
) -> bool {
    // Before anybody can store the process.
    let cells = worker.own_cells(ending.process.origin());
    let at = worker.clone();
    worker.spawn(move |mut stop| {
        let stopped = stop.clone();
        Box::pin(async move {
            let process = ending.process.clone();
            let end = async {
                let ended = ending.wait(stopped).await;
                at.disown(process.origin(), &cells).await;
                info!(process = process.pid(), "process ended {ended}");
                process.ended.send_replace(Some(ended));
                give_back(&process).await;
            };
            let serve = async {
                connection::run(Streams::one(connection), &admitted, &at, &mut stop).await;
                process.exports_no_more();
                drop(permit);
            };
            tokio::join!(end, serve);
        })
    })
}

/// Has a process that has ended give back what it takes: what was killed with it has its streams open for a
/// moment, and what it has left behind for longer, of which its readers learn.
async fn give_back(process: &Process) {
    for pause in GIVE_BACK_PAUSES {
        if process.release() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// How long after the end, each time.
const GIVE_BACK_PAUSES: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];

/// A process whose end is waited for.
struct Ending {
    process: Arc<Process>,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
    granted: Option<Authority>,
}

impl Ending {
    /// Waits for the end of the process, and has it end where it has to.
    async fn wait(self, mut stop: watch::Receiver<bool>) -> Ended {
        let Ending { process, mut ended, granted } = self;
        let guard = granted.map(|granted| granted.guard(()));
        let revoked = async {
            match &guard {
                None => std::future::pending().await,
                Some(Ok(guard)) => guard.revoked().await,
                Some(Err(_)) => {}
            }
        };
        let has_to = async {
            tokio::select! {
                () = revoked => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
            process.kill();
        };
        let status = tokio::select! {
            status = &mut ended => status,
            () = has_to => ended.await,
        };
        process.end_children();
        // Both errors are of a system, or a thread, that does not do what it has to.
        let status = status.ok().and_then(Result::ok).unwrap_or_default();
        Ended { status, at: Instant::now() }
    }
}

/// The error of a process that could not be started.
fn not_started(command: command::Reader<'_>, why: &str) -> Error {
    let program = command.get_program().ok().and_then(|program| program.to_str().ok());
    Error::failed(format!("cannot start '{}': {why}", program.unwrap_or_default().escape_debug()))
}
