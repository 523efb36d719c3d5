//! Processes that a host starts, and what they are started with.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use capnp::capability::Client as Capability;
use killick_schema::api::process_capnp::{byte_sink, byte_source, command, process, status};

use crate::anchor::Anchor;
use crate::connection::{Effect, Patience};
use crate::error::Error;
use crate::handle::Handle;

/// What a process has as one of its standard streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing to be read; what is written is dropped.
    #[default]
    Null,
    /// A pipe, whose other end the [`Process`] has. What nobody reads waits in it, and when it is full, after
    /// some 64 KiB, the process waits.
    Piped,
}

/// What ends a process if it does not end by itself. The end of the server always does, and so does that of
/// the process that has started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Nothing else: it outlives the release of its [`Process`].
    #[default]
    Own,
    /// The release of the last reference to it, those in cells and channels included.
    Reference,
    /// The end of the connection that has started it.
    Connection,
}

/// What the operating system lets one process have; 0 is no bound but the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Processes of the server's user, all others included.
    pub processes: u64,
    /// The largest file that it can write, in bytes.
    pub file_bytes: u64,
}

/// A program to be started, and how: as [`std::process::Command`], but for what it does not inherit. Its
/// environment is what is said here, and `KILLICK_FD`; its folder is `/` unless another is said; its streams are
/// [null](Stdio::Null) unless they are said to be piped.
///
/// # Examples
/// ```
/// use killick_client::{Command, Lifetime, Stdio};
///
/// let mut command = Command::new("sh");
/// command.args(["-c", "echo $GREETING"]).env("GREETING", "hello");
/// command.stdout(Stdio::Piped).lifetime(Lifetime::Reference);
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    program: String,
    args: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    cwd: Vec<u8>,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    lifetime: Lifetime,
    keep: bool,
    bounds: Bounds,
}

fn bytes(text: impl AsRef<OsStr>) -> Vec<u8> {
    text.as_ref().as_bytes().to_vec()
}

impl Command {
    /// A program on the server's machine: an absolute path, or a name that is looked for in the server's `PATH`.
    pub fn new(program: impl Into<String>) -> Self {
        let (args, env, cwd) = (Vec::new(), Vec::new(), Vec::new());
        let (stdin, stdout, stderr) = Default::default();
        let (lifetime, bounds) = Default::default();
        let program = program.into();
        Command { program, args, env, cwd, stdin, stdout, stderr, lifetime, keep: false, bounds }
    }

    /// One more argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(bytes(arg));
        self
    }

    /// More arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.args.extend(args.into_iter().map(bytes));
        self
    }

    /// One more variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.push((bytes(name), bytes(value)));
        self
    }

    /// Where it starts: an absolute path on the server's machine.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Self {
        self.cwd = bytes(folder.as_ref());
        self
    }

    /// What it reads.
    pub fn stdin(&mut self, stdin: Stdio) -> &mut Self {
        self.stdin = stdin;
        self
    }

    /// Where it writes.
    pub fn stdout(&mut self, stdout: Stdio) -> &mut Self {
        self.stdout = stdout;
        self
    }

    /// Where it writes what goes wrong.
    pub fn stderr(&mut self, stderr: Stdio) -> &mut Self {
        self.stderr = stderr;
        self
    }

    /// What ends it.
    pub fn lifetime(&mut self, lifetime: Lifetime) -> &mut Self {
        self.lifetime = lifetime;
        self
    }

    /// Whether values that hold it stay when it has ended, so that its end can be read there.
    pub fn keep(&mut self, keep: bool) -> &mut Self {
        self.keep = keep;
        self
    }

    /// What the system lets it have.
    pub fn bounds(&mut self, bounds: Bounds) -> &mut Self {
        self.bounds = bounds;
        self
    }

    fn put(&self, mut to: command::Builder<'_>) -> capnp::Result<()> {
        let count = |len: usize| {
            let many = |_| capnp::Error::failed(format!("{len} are too many for a command"));
            u32::try_from(len).map_err(many)
        };
        let stream = |stdio| match stdio {
            Stdio::Null => command::Stream::Null,
            Stdio::Piped => command::Stream::Piped,
        };
        to.set_program(&*self.program);
        let mut args = to.reborrow().init_args(count(self.args.len())?);
        (0..).zip(&self.args).for_each(|(index, arg)| args.set(index, arg));
        let mut env = to.reborrow().init_env(count(self.env.len())?);
        for (index, (name, value)) in (0..).zip(&self.env) {
            let mut variable = env.reborrow().get(index);
            variable.set_name(name);
            variable.set_value(value);
        }
        to.set_cwd(&self.cwd);
        to.set_stdin(stream(self.stdin));
        to.set_stdout(stream(self.stdout));
        to.set_stderr(stream(self.stderr));
        to.set_lifetime(match self.lifetime {
            Lifetime::Own => command::Lifetime::Own,
            Lifetime::Reference => command::Lifetime::Reference,
            Lifetime::Connection => command::Lifetime::Connection,
        });
        to.set_keep(self.keep);
        let mut bounds = to.init_bounds();
        bounds.set_cpu_seconds(self.bounds.cpu_seconds);
        bounds.set_memory_bytes(self.bounds.memory_bytes);
        bounds.set_open_files(self.bounds.open_files);
        bounds.set_processes(self.bounds.processes);
        bounds.set_file_bytes(self.bounds.file_bytes);
        Ok(())
    }
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// It has not ended.
    Running,
    /// It has ended, with this code.
    Exited(u32),
    /// It has been ended by this signal.
    Signalled(u32),
}

/// `running`, `exited 3`, `signal 9`.
impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessState::Running => f.write_str("running"),
            ProcessState::Exited(code) => write!(f, "exited {code}"),
            ProcessState::Signalled(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a server says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// How it is.
    pub state: ProcessState,
    /// The system's number of it; when it has ended, another may have it.
    pub pid: u32,
    /// The program, as it was asked for.
    pub program: String,
    /// Since it was started, until now or until it ended.
    pub age: Duration,
}

/// A process of the operating system that a host has started: [`Anchor::exec`].
///
/// Whoever has it can wait for it and end it. To drop it does neither, unless the process was started to end with
/// its last reference. When it ends, so does what is left of its process group, so do the processes that it has
/// started by its connection, and so does that connection; cells that hold it are emptied, unless it is
/// [kept](Command::keep).
///
/// # Examples
/// ```no_run
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # use killick_client::{Command, Error, ProcessState, Stdio};
/// # support::with_client(async |client| {
/// let anchor = client.walk("workers/42").await?; // what the process gets of the tree
/// let mut command = Command::new("sh");
/// command.args(["-c", "read line; echo \"$line, too\"; exit 7"]);
/// let process = client.exec(command.stdin(Stdio::Piped).stdout(Stdio::Piped), &anchor).await?;
/// client.store_at("workers/42", &process, false).await?; // until it ends
///
/// process.stdin().await?.write(b"hello\n").await?;
/// assert_eq!(process.stdout().await?.read(0).await?, b"hello, too\n");
/// assert_eq!(process.wait().await?, 7);
/// assert_eq!(process.status().await?.state, ProcessState::Exited(7));
/// assert!(matches!(process.kill().await, Err(Error::Ended { .. })));
///
/// let error = client.exec(&Command::new("/no/such/program"), &anchor).await.unwrap_err();
/// assert!(matches!(error, Error::NotStarted { .. }));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Process(pub(crate) Handle<process::Client>);

impl Process {
    /// Waits for its end, for as long as that takes: its exit code, or 128 and the number of the signal that
    /// ended it. At once if it has ended.
    ///
    /// # Errors
    /// Those of every method of an [`Anchor`].
    pub async fn wait(&self) -> Result<u32, Error> {
        let waited = async {
            let response = self.0.capability.wait_request().send().promise.await?;
            Ok(response.get()?.get_exit_code())
        };
        let Handle { connection, foreign, .. } = &self.0;
        connection.call(Effect::Read, Patience::Each(None), *foreign, waited).await
    }

    /// Ends it, and what it has started; it has ended when this returns.
    ///
    /// # Errors
    /// [`Error::Ended`] if it had.
    pub async fn kill(&self) -> Result<(), Error> {
        let killed = async { self.0.capability.kill_request().send().promise.await.map(drop) };
        self.0.call(Effect::Write, killed).await
    }

    /// Sends a signal, by its number, to its process group.
    ///
    /// # Errors
    /// [`Error::Ended`] if it has; [`Error::Failed`] if that is no signal.
    pub async fn signal(&self, number: u32) -> Result<(), Error> {
        let sent = async {
            let mut request = self.0.capability.signal_request();
            request.get().set_number(number);
            request.send().promise.await.map(drop)
        };
        self.0.call(Effect::Write, sent).await
    }

    /// How it is.
    ///
    /// # Errors
    /// Those of every method of an [`Anchor`].
    pub async fn status(&self) -> Result<ProcessStatus, Error> {
        let asked = async {
            let response = self.0.capability.status_request().send().promise.await?;
            read_status(response.get()?.get_status()?)
        };
        self.0.call(Effect::Read, asked).await
    }

    /// What it reads.
    ///
    /// # Errors
    /// [`Error::Failed`] if it is not [piped](Stdio::Piped).
    pub async fn stdin(&self) -> Result<Sink, Error> {
        let asked = async {
            let response = self.0.capability.stdin_request().send().promise.await?;
            response.get()?.get_stdin()
        };
        Ok(Sink(self.0.with(self.0.call(Effect::Read, asked).await?)))
    }

    /// What it writes.
    ///
    /// # Errors
    /// As of [`stdin`](Self::stdin).
    pub async fn stdout(&self) -> Result<Source, Error> {
        let asked = async {
            let response = self.0.capability.stdout_request().send().promise.await?;
            response.get()?.get_stdout()
        };
        Ok(Source(self.0.with(self.0.call(Effect::Read, asked).await?)))
    }

    /// What it writes of what goes wrong.
    ///
    /// # Errors
    /// As of [`stdin`](Self::stdin).
    pub async fn stderr(&self) -> Result<Source, Error> {
        let asked = async {
            let response = self.0.capability.stderr_request().send().promise.await?;
            response.get()?.get_stderr()
        };
        Ok(Source(self.0.with(self.0.call(Effect::Read, asked).await?)))
    }

    /// The capability that it exports: the bootstrap capability of its end of its connection, as soon as it has
    /// told it.
    ///
    /// # Errors
    /// [`Error::Failed`] if it exports none, has closed its connection, or has ended.
    pub async fn bootstrap(&self) -> Result<Capability, Error> {
        let asked = async {
            let response = self.0.capability.bootstrap_request().send().promise.await?;
            response.get()?.get_capability().get_as_capability()
        };
        self.0.call(Effect::Read, asked).await
    }

    /// The same process, each call on it waited for as long as `timeout`; [`wait`](Self::wait) takes as long as
    /// it does.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.0.set_timeout(timeout);
        self
    }

    /// A process that came as a capability in a value, over the connection of `from`.
    pub fn adopt(from: &Anchor, capability: process::Client) -> Self {
        Process(Handle { foreign: true, ..from.0.with(capability) })
    }

    /// The capability itself: to store it as a value, or for calls with other means.
    pub fn capability(&self) -> &process::Client {
        &self.0.capability
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.connection.is_open();
        f.debug_struct("Process").field("connected", &open).finish_non_exhaustive()
    }
}

/// What a server says of a process.
pub fn read_status(from: status::Reader<'_>) -> capnp::Result<ProcessStatus> {
    Ok(ProcessStatus {
        state: match from.which()? {
            status::Which::Running(()) => ProcessState::Running,
            status::Which::Exited(code) => ProcessState::Exited(code),
            status::Which::Signalled(signal) => ProcessState::Signalled(signal),
        },
        pid: from.get_pid(),
        program: from.get_program()?.to_string()?,
        age: Duration::from_millis(from.get_age_millis()),
    })
}

/// What comes out of a process: each byte goes to one reader.
#[derive(Clone)]
pub struct Source(Handle<byte_source::Client>);

impl Source {
    /// Some bytes as soon as there are any, for as long as that takes: `max_bytes` at most, or, if that is 0, as
    /// many as one answer has. None at the end, when nobody is left who could write.
    ///
    /// # Errors
    /// Those of every method of an [`Anchor`]; with [`Error::UnknownOutcome`] bytes may be lost.
    pub async fn read(&self, max_bytes: u32) -> Result<Vec<u8>, Error> {
        let read = async {
            let mut request = self.0.capability.read_request();
            request.get().set_max_bytes(max_bytes);
            let response = request.send().promise.await?;
            Ok(response.get()?.get_data()?.to_vec())
        };
        let Handle { connection, foreign, .. } = &self.0;
        connection.call(Effect::Write, Patience::Each(None), *foreign, read).await
    }
}

/// What goes into a process.
#[derive(Clone)]
pub struct Sink(Handle<byte_sink::Client>);

impl Sink {
    /// Writes all of it; returns when it is in the pipe, which takes as long as the process does not read.
    ///
    /// # Errors
    /// [`Error::Failed`] if the process does not read any more, or the sink is closed; some bytes may have been
    /// written then, as with [`Error::UnknownOutcome`].
    pub async fn write(&self, data: &[u8]) -> Result<(), Error> {
        let written = async {
            let mut request = self.0.capability.write_request();
            request.get().set_data(data);
            request.send().promise.await.map(drop)
        };
        let Handle { connection, foreign, .. } = &self.0;
        connection.call(Effect::Write, Patience::Each(None), *foreign, written).await
    }

    /// Has the process read the end, after what was written.
    ///
    /// # Errors
    /// [`Error::Failed`] if it is closed already.
    pub async fn close(&self) -> Result<(), Error> {
        let closed = async { self.0.capability.close_request().send().promise.await.map(drop) };
        self.0.call(Effect::Write, closed).await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Anchor {
    /// Starts a program on this host. Its process gets a connection whose bootstrap capability is `anchor`, and
    /// nothing else of the tree; [`Client::from_env`](crate::Client::from_env) finds it there. What the process
    /// is to have less of that, [narrow](Self::attenuate) before.
    ///
    /// Only the host's own anchor ([`Client::host`](crate::Client::host)) can, if the server allows the
    /// program, and an anchor that was narrowed to the right [`Exec`](killick::Right::Exec).
    ///
    /// # Errors
    /// [`Error::NotStarted`] with what is wrong with the command; [`Error::Denied`] with the right, or with
    /// [`Processes`](killick::Resource::Processes); [`Error::Limit`] with
    /// [`Processes`](crate::Limit::Processes).
    pub async fn exec(&self, command: &Command, anchor: &Anchor) -> Result<Process, Error> {
        let started = async {
            let mut request = self.0.capability.exec_request();
            command.put(request.get().init_command())?;
            request.get().set_anchor(anchor.capability().clone());
            request.send().promise.await?.get()?.get_process()
        };
        Ok(Process(self.0.with(self.0.call(Effect::Write, started).await?)))
    }
}
