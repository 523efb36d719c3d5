//! Processes of the operating system, started for clients, each with a connection of its own.
//!
//! ```text
//!  exec ── may this program be started? ── the thread that starts all ── the launcher, in a process of its own:
//! (start)          (allowed)                       (reaper)               hardens itself, and becomes the program
//!                                                     │                  (launcher)
//!  Process ◀── told of the end ───────────────────────┘
//!     ▲  └── its streams (stream), its children, what dies with it
//!     └── Hand: what a client holds, and a value keeps
//! ```
//!
//! **Ends.** A process has ended when its program has. Then whatever it left in its process group is killed,
//! so are the processes that it has started by its connection, and theirs; its connection ends; and values that
//! hold it go, unless it is to be kept. A descendant that has left the group, with `setsid` or `setpgid`, is not
//! killed: it has lost its connection, and with it everything that it could reach here.

mod allowed;
mod export;
mod launcher;
mod reaper;
mod start;
mod stream;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use capnp::{Error, ErrorKind};
use killick::{Authority, Denied};
use rustix::process::Signal;
use tokio::sync::watch;

pub use allowed::{Allowed, AllowedError};
pub(crate) use export::ask;
pub use launcher::launch;
pub(crate) use reaper::Reaper;
pub(crate) use start::exec;
pub(crate) use stream::{Sink, Source};

use crate::cap::{Cap, Origin};
use crate::place::at_once;
use reaper::Leader;
use start::Taken;

/// What ends a process if it does not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing else.
    Own,
    /// The release of the last reference to it.
    Reference,
    /// The end of the connection that has started it.
    Connection,
}

/// How a process has ended, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
}

impl Ended {
    /// The exit code, or 128 and the signal.
    pub(crate) fn code(&self) -> u32 {
        let code = self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal));
        u32::try_from(code.unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.signal() {
            Some(signal) => write!(f, "by signal {signal}"),
            None => write!(f, "with code {}", self.code()),
        }
    }
}

/// What is known of what a process exports.
#[derive(Clone)]
pub(crate) enum Exported {
    /// It has not said.
    Unknown,
    It(Cap),
    /// Why there is nothing.
    Nothing(String),
}

/// A process that was started.
pub(crate) struct Process {
    leader: Arc<Leader>,
    program: String,
    started: Instant,
    lifetime: Lifetime,
    /// Whether values that hold it stay when it has ended.
    keep: bool,
    /// What values that hold it die with.
    origin: Origin,
    ended: watch::Sender<Option<Ended>>,
    exported: watch::Sender<Exported>,
    /// Those that it has started by its connection; nothing once they have to end.
    children: Mutex<Option<Vec<Weak<Process>>>>,
    stdin: Option<Sink>,
    stdout: Option<Source>,
    stderr: Option<Source>,
    /// What it takes of what there may be, until it has ended and its streams are closed.
    taken: Mutex<Option<Taken>>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.leader.pid().as_raw_nonzero().get().cast_unsigned()
    }

    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn stdin(&self) -> Option<&Sink> {
        self.stdin.as_ref()
    }

    pub(crate) fn stdout(&self) -> Option<&Source> {
        self.stdout.as_ref()
    }

    pub(crate) fn stderr(&self) -> Option<&Source> {
        self.stderr.as_ref()
    }

    /// How it has ended, if it has.
    pub(crate) fn end(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Gives back what it takes, if it has ended and all that it wrote was read; in any case that goes with the
    /// last reference. Whether it has nothing any more.
    pub(crate) fn release(&self) -> bool {
        let closed = || {
            let read = |source: &Option<Source>| source.as_ref().is_none_or(Source::is_over);
            self.stdin.as_ref().is_none_or(Sink::is_over)
                && read(&self.stdout)
                && read(&self.stderr)
        };
        let is_over = self.end().is_some() && closed();
        if is_over {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(taken);
        }
        is_over
    }

    /// How long it has run.
    pub(crate) fn age(&self) -> Duration {
        self.end().map_or_else(Instant::now, |ended| ended.at) - self.started
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await;
        // It is never closed while somebody has the process.
        ended.ok().and_then(|ended| *ended).unwrap_or_else(|| unreachable!("told before it goes"))
    }

    /// Has it end, and those that it has started. It may be a moment until it has.
    pub(crate) fn kill(&self) {
        // One that has ended needs none.
        let _ = self.leader.signal(Signal::KILL.as_raw().unsigned_abs());
        self.end_children();
    }

    /// Sends a signal, by its number, to its process group.
    pub(crate) fn signal(&self, number: u32) -> Result<(), Error> {
        match self.leader.signal(number) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.has_ended()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(Error::failed(format!("{number} is no signal")))
            }
            Err(error) => {
                Err(Error::failed(format!("cannot signal process {}: {error}", self.pid())))
            }
        }
    }

    /// The error of what needs a process that has not ended.
    pub(crate) fn has_ended(&self) -> Error {
        let how = self.end().map(|ended| format!(" {ended}")).unwrap_or_default();
        Error::failed(format!("the process has ended{how}"))
    }

    /// Has `child`, which it has started, end with it. Whether it has not ended yet.
    pub(crate) fn adopt(&self, child: &Arc<Process>) -> bool {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(children) = &mut *children else { return false };
        if children.len() == children.capacity() {
            children.retain(|child| child.strong_count() > 0);
        }
        children.push(Arc::downgrade(child));
        true
    }

    /// It has ended, or has to: so have those that it has started, and it starts no more.
    fn end_children(&self) {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner).take();
        children
            .into_iter()
            .flatten()
            .filter_map(|child| child.upgrade())
            .for_each(|child| child.kill());
    }

    /// Its connection has told what it exports.
    pub(crate) fn exports(&self, exported: Result<Cap, Error>) {
        self.exported.send_replace(match exported {
            Ok(cap) => Exported::It(cap),
            Err(error) if error.kind == ErrorKind::Disconnected => return self.exports_no_more(),
            Err(error) => {
                Exported::Nothing(format!("the process exports nothing: {}", error.extra))
            }
        });
    }

    /// Its connection has ended: what it exported is gone.
    pub(crate) fn exports_no_more(&self) {
        let words = "the process has closed its connection, or has ended";
        let nothing = Exported::Nothing(words.into());
        self.exported.send_replace(nothing);
    }

    /// What it exports, once that is known.
    pub(crate) async fn exported(&self) -> Result<Cap, Error> {
        let mut exported = self.exported.subscribe();
        let known = exported.wait_for(|exported| !matches!(exported, Exported::Unknown)).await;
        match known.map(|known| known.clone()) {
            Ok(Exported::It(cap)) => Ok(cap),
            Ok(Exported::Nothing(why)) => Err(Error::failed(why)),
            _ => Err(self.has_ended()),
        }
    }
}

/// One claim to a process: when the last is dropped, the process may have to end.
struct Reference(Arc<Process>);

impl Drop for Reference {
    fn drop(&mut self) {
        if self.0.lifetime == Lifetime::Reference {
            self.0.kill();
        }
    }
}

/// A process in the hands of a client or a value: of whoever has it, or of those who came to it by what was
/// granted, until that is revoked.
#[derive(Clone)]
pub(crate) struct Hand {
    reference: Arc<Reference>,
    granted: Option<Authority>,
}

impl Hand {
    /// All references to `process`, which has none yet, come from this one.
    fn first(process: &Arc<Process>, granted: Option<&Authority>) -> Self {
        Hand { reference: Arc::new(Reference(process.clone())), granted: granted.cloned() }
    }

    /// The process, unless what was granted has been revoked.
    pub(crate) fn process(&self) -> Result<&Arc<Process>, Denied> {
        at_once(self.granted.as_ref(), || &self.reference.0)
    }

    /// What was granted, if that is not everything.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.granted.as_ref()
    }

    /// What values that hold it die with, if they do.
    pub(crate) fn owner(&self) -> Option<&Origin> {
        (!self.reference.0.keep).then(|| self.reference.0.origin())
    }

    /// The error that its process has ended, if values that hold it are gone with it.
    pub(crate) fn gone(&self) -> Option<Error> {
        let process = &self.reference.0;
        (!process.keep && !process.origin.is_open()).then(|| process.has_ended())
    }

    /// The same for somebody who came to it by what was `granted`.
    pub(crate) fn through(&self, granted: &Authority) -> Result<Self, Denied> {
        let granted = match &self.granted {
            Some(before) => before.and(granted)?,
            None => granted.clone(),
        };
        Ok(Hand { reference: self.reference.clone(), granted: Some(granted) })
    }
}

impl PartialEq for Hand {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.reference, &other.reference) && self.granted == other.granted
    }
}

impl Eq for Hand {}

impl Hash for Hand {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.reference).hash(state);
        self.granted.hash(state);
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.reference.0.pid())
    }
}

/// Which stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    Stdin,
    Stdout,
    Stderr,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Stdin => "stdin",
            Which::Stdout => "stdout",
            Which::Stderr => "stderr",
        })
    }
}
