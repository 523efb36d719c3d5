//! Who plays, as the director has them: processes of their own, started from this program by hidden commands.
//! What they tell comes in lines, some of which are for the director alone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::error::CliError;
use super::super::signal::Interrupt;
use super::super::text::duration;
use super::story::{Story, Who};

/// What a player's line begins with if it is for the director, not for the audience.
pub(super) const MARK: char = '#';
/// The last line of each player.
const END: &str = "end";
/// How often it is looked whether a player has ended.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// What comes to the director.
enum Told {
    /// A line of somebody who plays.
    Line(Who, String),
    /// A signal to this program: the code that it ends with.
    Interrupted(u8),
}

/// All who play, and what they tell.
pub(super) struct Company {
    told: mpsc::Sender<Told>,
    telling: mpsc::Receiver<Told>,
    /// What came while somebody's end was waited for.
    kept: RefCell<VecDeque<(Who, String)>>,
    patience: Duration,
}

impl Company {
    /// Nobody yet. Each act may take as long as `patience`: far more than it does, so that nothing hangs for
    /// ever. From here on the signals that end this program end the act.
    pub(super) fn new(patience: Duration) -> Result<Self, CliError> {
        let (told, telling) = mpsc::channel();
        let failed = |error| CliError::failed("demo: signals", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let mut interrupt = {
            let _entered = runtime.enter();
            Interrupt::listen()?
        };
        let signalled = told.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let signal = runtime.block_on(interrupt.which());
                let code = u8::try_from(signal.as_raw()).map_or(u8::MAX, |number| 128 + number);
                // Once the play is over, nobody listens.
                let _ = signalled.send(Told::Interrupted(code));
            })
            .map_err(failed)?;
        Ok(Company { told, telling, kept: RefCell::default(), patience })
    }

    /// Shows what the players tell until `who` reaches `mark`: what stands behind it.
    pub(super) fn listen(
        &self,
        story: &mut Story,
        who: Who,
        mark: &str,
    ) -> Result<String, CliError> {
        let what = || format!("demo: {who} until '{mark}'");
        let deadline = Instant::now() + self.patience;
        loop {
            let kept = self.kept.borrow_mut().pop_front();
            let left = deadline.saturating_duration_since(Instant::now());
            let told = kept.map_or_else(|| self.told_within(left), |kept| Ok(Some(kept)))?;
            let (teller, line) = told.ok_or_else(|| {
                CliError::failed(what(), format!("not there within {}", duration(self.patience)))
            })?;
            let Some(reached) = line.strip_prefix(MARK) else {
                story.step(teller, &line)?;
                continue;
            };
            let (reached, rest) = reached.split_once(' ').unwrap_or((reached, ""));
            match reached {
                _ if teller != who => {}
                _ if reached == mark => return Ok(rest.to_owned()),
                END => return Err(CliError::failed(what(), "ended before")),
                _ => {}
            }
        }
    }

    /// The next line of somebody, if one comes in that time.
    ///
    /// # Errors
    /// A signal has come, with which the play is over.
    fn told_within(&self, time: Duration) -> Result<Option<(Who, String)>, CliError> {
        match self.telling.recv_timeout(time) {
            Ok(Told::Line(teller, line)) => Ok(Some((teller, line))),
            Ok(Told::Interrupted(code)) => Err(CliError::Ended(code)),
            Err(_) => Ok(None),
        }
    }

    /// Starts `who` by a command of this program.
    pub(super) fn enter(&self, who: Who, arguments: &[&str]) -> Result<Player, CliError> {
        let failed = |error| CliError::failed(format!("demo: start {who}"), error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the director, who ends all others.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let player = Player { who, process, stdin };
        let told = self.told.clone();
        thread::Builder::new()
            .name(who.to_string())
            .spawn(move || {
                let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
                for line in lines.map_while(Result::ok).chain([format!("{MARK}{END}")]) {
                    // Once the play is over, nobody listens.
                    let _ = told.send(Told::Line(who, line));
                }
            })
            .map_err(failed)?;
        Ok(player)
    }

    /// Kills a player, and waits until all that it has told has been shown.
    pub(super) fn kill(&self, story: &mut Story, mut player: Player) -> Result<Instant, CliError> {
        player.kill()?;
        let killed = Instant::now();
        self.listen(story, player.who, END)?;
        Ok(killed)
    }

    /// Waits for a player's own end, which must be a good one.
    pub(super) fn leave(&self, mut player: Player) -> Result<(), CliError> {
        drop(player.stdin.take());
        let failed = |error: &dyn Display| CliError::failed(format!("demo: {}", player.who), error);
        let deadline = Instant::now() + self.patience;
        loop {
            match player.process.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(failed(&status)),
                Err(error) => return Err(failed(&error)),
            }
            if Instant::now() > deadline {
                let within = duration(self.patience);
                return Err(failed(&format_args!("it does not end within {within}")));
            }
            self.kept.borrow_mut().extend(self.told_within(BETWEEN_LOOKS)?);
        }
    }
}

/// A process that plays. Ends with this value, whatever happens.
pub(super) struct Player {
    who: Who,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Player {
    /// Tells the player to go on with its next act, and what it has to know for that.
    pub(super) fn go_on(&mut self, cue: &str) -> Result<(), CliError> {
        let line = format!("{cue}\n");
        let written = self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(line.as_bytes()));
        written.map_err(|error| CliError::failed(format!("demo: tell {}", self.who), error))
    }

    fn kill(&mut self) -> Result<(), CliError> {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .map(drop)
            .map_err(|error| CliError::failed(format!("demo: kill {}", self.who), error))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what they are for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
