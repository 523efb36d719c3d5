//! A server process on a socket of its own, and commands run against it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tempfile::TempDir;

/// The longest that anything here takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// The output of a command that is to succeed and to say nothing on stderr.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.text()
    }

    /// The one line on stderr of a command that is to end with `code`.
    #[track_caller]
    pub(crate) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        let line = self.stderr.strip_suffix('\n').expect("a line on stderr");
        assert!(line.starts_with("killick: ") && !line.contains('\n'), "{self:?}");
        line
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on stdout")
    }

    /// What stdout says, as JSON, one document a line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Json> {
        let parse = |line| serde_json::from_str(line).expect("a document on each line");
        self.text().lines().map(parse).collect()
    }
}

/// The program, without anything of the environment that it reads.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    for name in ["KILLICK_ADDR", "KILLICK_IDENTITY", "NO_COLOR", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program with `input` on stdin.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("to start the program");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A program that does not read its input closes the pipe early.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("to run the program");
    writer.join().expect("the writer");
    let stderr = String::from_utf8(output.stderr).expect("text on stderr");
    Ran { code: output.status.code(), stdout: output.stdout, stderr }
}

/// Runs the program in `folder`.
pub(crate) fn at(folder: &Path, arguments: &[&str]) -> Ran {
    run(program().current_dir(folder).args(arguments), b"")
}

/// Whether `tool` is here; says so if it is not.
pub(crate) fn has(tool: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no {tool} that does what is needed");
    }
    found
}

/// The value of a line that begins with `key`.
pub(crate) fn told<'a>(ran: &'a Ran, key: &str) -> &'a str {
    let line = ran.ok().lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key}: {ran:?}")).trim()
}

/// A server process; it is killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
}

/// Starts a server by `command`: the process, the first line that it says, and its log.
pub(crate) fn serving(command: &mut Command) -> (Child, String, BufReader<ChildStderr>) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("to start");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let log = BufReader::new(process.stderr.take().expect("a pipe"));
    (process, line, log)
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with these arguments besides its address.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// The same, in an environment that says these things too.
    pub(crate) fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let address = format!("unix:{}", folder.path().join("k.sock").display());
        let mut process = program()
            .args(["serve", "--listen", &address])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("to start a server");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("to read from the server");
        let server = Server { process, folder };
        assert!(line.contains(&address), "the server said {line:?}");
        server
    }

    pub(crate) fn process(&self) -> &Child {
        &self.process
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("k.sock")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command against this server, which waits for answers as long as the tests do.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = program();
        let wait = format!("{}s", PATIENCE.as_secs());
        command.env("KILLICK_ADDR", self.address()).args(["--timeout", &wait]).args(arguments);
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        run(&mut self.command(arguments), b"")
    }

    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Ran {
        run(&mut self.command(arguments), input)
    }

    /// The host's id, as `ls /` shows it.
    /// Starts a command that goes on, and waits until it says `line`.
    pub(crate) fn begin<S: AsRef<OsStr>>(&self, arguments: &[S], line: &str) -> Child {
        let mut process = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("to start");
        let mut said = String::new();
        let stdout = process.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        assert_eq!(said, format!("{line}\n"));
        process
    }

    pub(crate) fn host(&self) -> String {
        self.run(&["ls", "/"]).ok().trim_end().to_owned()
    }

    /// How many nodes the tree has, its root included.
    pub(crate) fn nodes(&self) -> u64 {
        self.run(&["info", "--json"]).json()[0]["nodes"].as_u64().expect("a number")
    }

    /// Starts another server in the place of one that has ended.
    pub(crate) fn start_again(&mut self) {
        let address = self.address();
        let mut command = program();
        let (process, line, _) = serving(command.args(["serve", "--listen", &address]));
        assert!(line.contains(&address), "the server said {line:?}");
        self.process = process;
    }

    /// Asks the server to end, as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> ExitStatus {
        signal(&self.process, Signal::INT);
        wait(&mut self.process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).expect("to send a signal");
}

/// Waits for a process to end, not for ever.
pub(crate) fn wait(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_wait().expect("to wait for a process") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("the process does not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is the case, not for ever.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
