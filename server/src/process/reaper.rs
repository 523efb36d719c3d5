//! The thread that starts processes and learns of their ends: one for a server, from its first process on.
//!
//! All are started by one thread, as the system ends them when the thread that has started them ends: no
//! process that it has started outlives a server, however that ends itself. What those have started may, if it is
//! killed. And all are reaped by it, so that a number is
//! never sent a signal that is another process's by now: [`Leader::signal`] and the reaping exclude each other.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::sync::oneshot;

/// The first process of a group, which has its number.
pub(super) struct Leader {
    pid: Pid,
    /// Whether its number, and that of its group, are its own: until it has been reaped.
    is_there: Mutex<bool>,
}

impl Leader {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal, by its number, to the group. Whether there is one.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput): there is no such signal. Or what the system says.
    pub(super) fn signal(&self, number: u32) -> io::Result<bool> {
        let is_there = self.is_there.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_there {
            killick::signal_group(self.pid.as_raw_nonzero().unsigned_abs(), number)?;
        }
        Ok(*is_there)
    }

    /// Ends it before it has a group of its own.
    pub(super) fn abort(&self) {
        let is_there = self.is_there.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_there {
            // Errors mean that there is nothing to end.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// It has ended: kills what is left of its group, and gives its number free.
    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut is_there = self.is_there.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that nothing is.
        let _ = kill_process_group(self.pid, Signal::KILL);
        *is_there = false;
        child.wait()
    }
}

/// A process that runs, and where its end is told.
pub(super) struct Begun {
    pub(super) leader: Arc<Leader>,
    pub(super) ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

enum Ask {
    Begin(Box<Command>, oneshot::Sender<io::Result<Begun>>),
    Stop,
}

/// The thread, from the side of those who ask.
#[derive(Default)]
pub(crate) struct Reaper(Mutex<Option<Asks>>);

struct Asks {
    asks: Sender<Ask>,
    bell: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Reaper {
    /// Starts `command` in a process, whose group it is to make itself.
    pub(super) async fn begin(&self, command: Command) -> io::Result<Begun> {
        let (begun, beginning) = oneshot::channel();
        {
            let mut asks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let asks = match &mut *asks {
                Some(asks) => asks,
                none => none.insert(Asks::new()?),
            };
            asks.ask(Ask::Begin(command.into(), begun));
        }
        beginning.await.unwrap_or_else(|_| Err(io::Error::other("the server stops")))
    }

    /// Ends the thread, when nothing that it has started runs any more.
    pub(crate) fn stop(&self) {
        let asks = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(asks) = asks {
            asks.ask(Ask::Stop);
            // One that has panicked has ended.
            let _ = asks.thread.join();
        }
    }
}

impl Asks {
    fn new() -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (asks, asked) = channel();
        let table = Table::new(bell.clone())?;
        let thread = std::thread::Builder::new().name("killick-processes".into());
        let thread = thread.spawn(move || table.run(&asked))?;
        Ok(Asks { asks, bell, thread })
    }

    fn ask(&self, ask: Ask) {
        // An error means that the thread has panicked: whoever asked is told by the end of his channel.
        let _ = self.asks.send(ask);
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }
}

/// A process that the thread waits for.
struct Row {
    child: Child,
    leader: Arc<Leader>,
    pidfd: OwnedFd,
    tell: oneshot::Sender<io::Result<ExitStatus>>,
}

/// What the thread has.
struct Table {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    rows: HashMap<u64, Row>,
}

/// What the bell is known by; processes are known by their numbers, which are less.
const BELL: u64 = u64::MAX;

impl Table {
    fn new(bell: Arc<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let ring = epoll::EventData::new_u64(BELL);
        epoll::add(&epoll, &*bell, ring, epoll::EventFlags::IN)?;
        Ok(Table { epoll, bell, rows: HashMap::new() })
    }

    fn run(mut self, asked: &Receiver<Ask>) {
        let mut stops = false;
        let mut events = Vec::with_capacity(64);
        while !(stops && self.rows.is_empty()) {
            events.clear();
            if let Err(error) =
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None)
            {
                assert!(error == rustix::io::Errno::INTR, "waiting for processes: {error}");
                continue;
            }
            for event in &events {
                match event.data.u64() {
                    BELL => {
                        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
                        for ask in asked.try_iter() {
                            match ask {
                                Ask::Begin(command, tell) => drop(tell.send(self.begin(command))),
                                Ask::Stop => stops = true,
                            }
                        }
                    }
                    number => self.ended(number),
                }
            }
        }
    }

    fn begin(&mut self, mut command: Box<Command>) -> io::Result<Begun> {
        let mut child = command.spawn()?;
        // With it the ends of what the process has, so that their ends are told.
        drop(command);
        let number = u64::from(child.id());
        let watched = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound.into());
        let watched = watched.and_then(|pid| {
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            let data = epoll::EventData::new_u64(number);
            epoll::add(&self.epoll, pidfd.as_fd(), data, epoll::EventFlags::IN)?;
            Ok((pid, pidfd))
        });
        let (pid, pidfd) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let (tell, ended) = oneshot::channel();
        let leader = Arc::new(Leader { pid, is_there: Mutex::new(true) });
        self.rows.insert(number, Row { child, leader: leader.clone(), pidfd, tell });
        Ok(Begun { leader, ended })
    }

    fn ended(&mut self, number: u64) {
        let Some(Row { mut child, leader, pidfd, tell }) = self.rows.remove(&number) else {
            return;
        };
        let status = leader.reap(&mut child);
        drop(pidfd);
        // An error means that nobody waits for it any more.
        let _ = tell.send(status);
    }
}
