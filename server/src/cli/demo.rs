//! `killick demo`: two processes meet at a path, on a server of this process's own.
//!
//! This process serves and tells what happens; the two clients are processes of their own, started
//! from the same program by a hidden command. They tell their steps line by line on stdout, and go
//! on when a line comes in on stdin.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use killick_server::{Address, Allowed, Config, Server};

use super::error::CliError;
use super::text::duration;

mod client;
mod granting;
mod story;
mod working;

pub(super) use client::DemoClient;
use story::{Story, Who};
pub(super) use working::DemoWorker;

const AFTER_HELP: &str = "\
Needs no server and leaves nothing behind. Exit code 1 if anything is not as told.";

/// See it work: processes meet at a path and at a channel, give away a part of the tree, and start another.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Demo {}

/// The path where they meet.
const PATH: &str = "demo/greeter";
/// How long each act may take: far more than it does, so that nothing hangs for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a client's line begins with if it is for us, not for the audience.
const MARK: char = '#';

impl Demo {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let mut story = Story::new(json);
        let folder = tempfile::Builder::new()
            .prefix("killick-demo-")
            .tempdir()
            .map_err(|error| CliError::failed("demo: a folder for the socket", error))?;
        let address = Address::Unix(folder.path().join("socket"));
        let launcher = std::env::current_exe()
            .map_err(|error| CliError::failed("demo: this program", error))?;
        let config = Config {
            allow_exec: vec![Allowed::ALL],
            launcher: Some(launcher),
            ..Config::for_test([address.clone()])
        };
        let server = Server::start(config)
            .map_err(|error| CliError::failed("demo: start a server", error))?;
        let own = std::process::id();
        story.step(
            Who::Server,
            &format!("listens on {address} (process {own}); its tree is empty"),
        )?;
        let played = play(&mut story, &address);
        server.stop();
        played?;
        story.step(Who::Server, "stopped")?;
        story.end()
    }
}

/// The three parts.
fn play(story: &mut Story, address: &Address) -> Result<(), CliError> {
    play_meeting(story, address)?;
    play_granting(story, address)?;
    play_working(story, address)
}

/// Two processes meet at a path, and one dies.
fn play_meeting(story: &mut Story, address: &Address) -> Result<(), CliError> {
    let (told, telling) = mpsc::channel();
    let mut alice = Player::enter(Who::Alice, address, told.clone())?;
    listen(story, &telling, Who::Alice, "ready")?;

    let mut bob = Player::enter(Who::Bob, address, told)?;
    listen(story, &telling, Who::Bob, "met")?;

    alice.kill()?;
    let killed = Instant::now();
    story.step(Who::Alice, "is killed (SIGKILL): no release, no goodbye")?;
    bob.go_on()?;
    listen(story, &telling, Who::Bob, "gone")?;
    story.gone_after(killed.elapsed());
    bob.leave()
}

/// One gives away a part, the other uses it until it is taken back; and they meet at a channel.
fn play_granting(story: &mut Story, address: &Address) -> Result<(), CliError> {
    let (told, telling) = mpsc::channel();
    let mut carol = Player::enter(Who::Carol, address, told.clone())?;
    listen(story, &telling, Who::Carol, "given")?;
    let mut dave = Player::enter(Who::Dave, address, told)?;
    listen(story, &telling, Who::Dave, "sent")?;
    carol.go_on()?;
    listen(story, &telling, Who::Carol, "revoked")?;
    dave.go_on()?;
    listen(story, &telling, Who::Dave, "refused")?;
    dave.leave()?;
    carol.leave()
}

/// One has the server start a process at a path, where it is seen to come and go.
fn play_working(story: &mut Story, address: &Address) -> Result<(), CliError> {
    let (told, telling) = mpsc::channel();
    let erin = Player::enter(Who::Erin, address, told)?;
    listen(story, &telling, Who::Erin, "left")?;
    erin.leave()
}

/// Shows what the clients tell until `who` reaches `mark`.
fn listen(
    story: &mut Story,
    telling: &mpsc::Receiver<(Who, String)>,
    who: Who,
    mark: &str,
) -> Result<(), CliError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (teller, line) = telling.recv_timeout(left).map_err(|error| {
            let why = match error {
                mpsc::RecvTimeoutError::Timeout => {
                    format!("not there within {}", duration(PATIENCE))
                }
                mpsc::RecvTimeoutError::Disconnected => "ended before".to_owned(),
            };
            CliError::failed(format!("demo: {who} until '{mark}'"), why)
        })?;
        match line.strip_prefix(MARK) {
            None => story.step(teller, &line)?,
            Some(reached) if teller == who && reached == mark => return Ok(()),
            Some("end") if teller == who => {
                let what = format!("demo: {who} until '{mark}'");
                return Err(CliError::failed(what, "ended before"));
            }
            Some(_) => {}
        }
    }
}

/// A client process. Ends with this value, whatever happens.
struct Player {
    who: Who,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Player {
    fn enter(
        who: Who,
        address: &Address,
        told: mpsc::Sender<(Who, String)>,
    ) -> Result<Self, CliError> {
        let failed = |error| CliError::failed(format!("demo: start {who}"), error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(["demo-client", "--connect", &address.to_string(), &who.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let player = Player { who, process, stdin };
        thread::Builder::new()
            .name(who.to_string())
            .spawn(move || {
                let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
                for line in lines.map_while(Result::ok).chain([format!("{MARK}end")]) {
                    // Once the play is over, nobody listens.
                    let _ = told.send((who, line));
                }
            })
            .map_err(failed)?;
        Ok(player)
    }

    /// Tells the client to go on with its next act.
    fn go_on(&mut self) -> Result<(), CliError> {
        let written = self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(b"\n"));
        written.map_err(|error| CliError::failed(format!("demo: tell {}", self.who), error))
    }

    fn kill(&mut self) -> Result<(), CliError> {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .map(drop)
            .map_err(|error| CliError::failed(format!("demo: kill {}", self.who), error))
    }

    /// Waits for the client's own end, which must be a good one.
    fn leave(mut self) -> Result<(), CliError> {
        drop(self.stdin.take());
        let status = self.process.wait();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CliError::failed(format!("demo: {}", self.who), status)),
            Err(error) => Err(CliError::failed(format!("demo: wait for {}", self.who), error)),
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what they are for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
