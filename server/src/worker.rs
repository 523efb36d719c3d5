//! One worker: an OS thread, its single-threaded runtime, and what its connections share.
//!
//! Here `Send` ends. The tree and the configuration come in as [`Shared`]; sockets, calls to what this
//! worker's clients host, and notes of their values come in through channels; everything else is made
//! on this thread and stays on it. No worker waits for a lock, or for another worker on the way of a
//! call that does not concern that one's clients.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use killick_client::Fingerprint;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use crate::access::{Admitted, HandshakeError, Place, Secured, Who, handshake};
use crate::bridge::Inbox;
use crate::cap::{Home, Node, Origin, Own};
use crate::connection;
use crate::hub::{Changes, Hub, changes};
use crate::listen::{Incoming, Socket};
use crate::net::Streams;
use crate::owners::{By, Cells, Note};
use crate::refusals::Refusal;
use crate::session::{Session, in_turns};
use crate::shared::{Permit, Shared};
use crate::system;
use crate::wire::Stored;

/// What the connections of one worker share.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    sessions: RefCell<HashMap<u64, Weak<Session>>>,
    /// The cells of owners that are no connections.
    others: RefCell<HashMap<u64, Rc<Cells>>>,
    /// What is to be run besides connections; nothing before the worker runs, and once it stops.
    tasks: RefCell<Option<UnboundedSender<Task>>>,
    home: Home,
    hub: Rc<Hub>,
    tidy: Notify,
    left: Notify,
    ended: Notify,
}

/// What a worker runs until it is done, and is told when the server stops.
type Task = Box<dyn FnOnce(watch::Receiver<bool>) -> LocalBoxFuture<'static, ()>>;

/// What a worker is told, or asked, by other threads.
pub(crate) enum Letter {
    Note(Note),
    /// What was passed on to other hosts may have ended.
    Ended,
    /// Whether it still does what it is asked to.
    Ping(oneshot::Sender<()>),
}

/// What comes to a worker from other threads.
pub(crate) struct Inboxes {
    home: Inbox<Own>,
    notes: UnboundedReceiver<Letter>,
}

impl Worker {
    /// Worker `number` of those that share `shared`, without connections, and what is sent to it.
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: usize,
        notes: UnboundedReceiver<Letter>,
    ) -> (Rc<Self>, Inboxes) {
        let (home, inbox) = Home::new(number);
        let sessions = RefCell::default();
        let worker = Worker {
            shared,
            number,
            sessions,
            others: RefCell::default(),
            tasks: RefCell::default(),
            home,
            hub: Rc::default(),
            tidy: Notify::new(),
            left: Notify::new(),
            ended: Notify::new(),
        };
        (Rc::new(worker), Inboxes { home: inbox, notes })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The number of this worker, from 0.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// What the clients of this worker host.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The changes of `node`'s cell from now on.
    pub(crate) fn changes(&self, node: &Node) -> Changes {
        changes(&self.hub, node)
    }

    /// How many cells somebody waits for here.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn watched(&self) -> usize {
        self.hub.len()
    }

    pub(crate) fn add_session(&self, session: &Rc<Session>) {
        self.sessions.borrow_mut().insert(session.id(), Rc::downgrade(session));
    }

    pub(crate) fn remove_session(&self, id: u64) {
        self.sessions.borrow_mut().remove(&id);
    }

    /// Those of its connections that have not ended.
    pub(crate) fn sessions(&self) -> Vec<Weak<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }

    /// Notes that a value of `owners` came into `node`'s cell, by a call of `writer`, or went
    /// from it, where it has `revision`. What is returned are those notes that other workers have yet to take.
    pub(crate) fn note(
        &self,
        node: &Node,
        revision: u64,
        owners: &[Origin],
        writer: Option<&Session>,
    ) -> Vec<oneshot::Receiver<()>> {
        let mut pending = Vec::new();
        for owner in owners {
            let (node, id) = (node.clone(), owner.id());
            if owner.home() == self.number {
                let writer = writer.filter(|writer| writer.id() == id);
                self.noted(id, node, revision, writer.map_or(By::Another, Session::stores_as));
                continue;
            }
            let (taken, taking) = oneshot::channel();
            let note = Note { owner: id, node, revision, taken };
            // An error means that the worker has ended, as the server does.
            if self.shared.notes[owner.home()].send(Letter::Note(note)).is_ok() {
                pending.push(taking);
            }
        }
        pending
    }

    fn noted(&self, owner: u64, node: Node, revision: u64, by: By) {
        let session = self.sessions.borrow().get(&owner).and_then(Weak::upgrade);
        if let Some(session) = session {
            let kept = session.origin().is_eager().then(|| node.clone());
            session.cells().note(node, revision, by);
            // It may have ended while the value was on its way.
            return kept.iter().for_each(|node| self.ended_left(node));
        }
        let other = self.others.borrow().get(&owner).cloned();
        match other {
            Some(cells) => cells.note(node, revision, By::Another),
            None => self.owner_left(&node, owner),
        }
    }

    /// The cells with values that die with `origin`, which is no connection, until they are
    /// [disowned](Self::disown).
    pub(crate) fn own_cells(&self, origin: &Origin) -> Rc<Cells> {
        let cells = Rc::<Cells>::default();
        self.others.borrow_mut().insert(origin.id(), cells.clone());
        cells
    }

    /// Empties the cells whose value dies with `origin`, which has ended. Lets others run in between.
    pub(crate) async fn disown(&self, origin: &Origin, cells: &Cells) {
        origin.close();
        self.shared.tell_ended();
        self.others.borrow_mut().remove(&origin.id());
        in_turns(cells.take(), |node| self.owner_left(&node, origin.id())).await;
    }

    /// Runs a task besides the connections, and like one: the worker does not end before it does. Whether it
    /// does not stop.
    pub(crate) fn spawn(
        &self,
        task: impl FnOnce(watch::Receiver<bool>) -> LocalBoxFuture<'static, ()> + 'static,
    ) -> bool {
        self.tasks.borrow().as_ref().is_some_and(|tasks| tasks.send(Box::new(task)).is_ok())
    }

    /// The connection `owner` has ended: empties `node`'s cell if its value was the connection's.
    pub(crate) fn owner_left(&self, node: &Node, owner: u64) {
        let owned = |value: &Stored| value.owners().iter().any(|origin| origin.id() == owner);
        self.empty(node, owned, |origin| origin.id() != owner);
    }

    /// Empties `node`'s cell if something in it has ended.
    pub(crate) fn ended_left(&self, node: &Node) {
        self.empty(node, Stored::has_ended, |_| true);
    }

    /// Empties `node`'s cell if its value `is_dead`, which those of its owners are told that are `left`.
    fn empty(
        &self,
        node: &Node,
        is_dead: impl Fn(&Stored) -> bool,
        left: impl Fn(&Origin) -> bool,
    ) {
        loop {
            let now = node.load();
            let Some(value) = now.value.as_deref().filter(|value| is_dead(value)) else { return };
            if node.compare_and_store(now.revision, None).is_ok() {
                value.repay();
                // Nobody waits for these: each is that of a value, and was paid for with it.
                let others = value.owners().iter().filter(|origin| left(origin));
                let others: Vec<_> = others.cloned().collect();
                drop(self.note(node, now.revision, &others, None));
                return;
            }
            // Lost to a concurrent store: look at the new value.
        }
    }

    /// Has the destructors of what was dropped run within some milliseconds, so that nothing stays
    /// claimed for long by a value that nobody can reach.
    pub(crate) fn tidy_soon(&self) {
        self.tidy.notify_one();
    }

    /// Has other hosts told of what has ended that they have, in a moment.
    pub(crate) fn tell_soon(&self) {
        self.ended.notify_one();
    }

    /// A connection has ended: has the memory that it took given back to the system, and channels ended that
    /// it left where nobody can reach them, and what other hosts have granted for it, some time.
    pub(crate) fn give_back_soon(&self) {
        if self.shared.channels.count() > 0 || !self.shared.hosts.delegations.is_empty() {
            self.shared.channels.collect_soon();
        }
        self.left.notify_one();
    }

    /// Runs what the worker does by itself, for ever: makes the calls to what its clients host and
    /// lets go of what nobody claims any more, takes notes, and pushes reclamation on after something
    /// was dropped. The first also ends channels that nobody can reach, for all.
    pub(crate) async fn keep_house(&self, inboxes: Inboxes) {
        let Inboxes { home, mut notes } = inboxes;
        let queues = &self.shared.queues[self.number];
        let take_notes = async {
            while let Some(letter) = notes.recv().await {
                queues.notes.set(notes.len() as u64);
                match letter {
                    Letter::Note(Note { owner, node, revision, taken }) => {
                        // It writes on its own thread.
                        self.noted(owner, node, revision, By::Another);
                        drop(taken);
                    }
                    Letter::Ended => self.tell_soon(),
                    // An error means that nobody waits for it any more.
                    Letter::Ping(answer) => drop(answer.send(())),
                }
            }
        };
        let reclaim = async {
            loop {
                self.tidy.notified().await;
                for _ in 0..TIDY_ROUNDS {
                    tokio::time::sleep(TIDY_PAUSE).await;
                    killick::reclaim();
                }
            }
        };
        let give_back = async {
            loop {
                self.left.notified().await;
                for _ in 0..GIVE_BACK_ROUNDS {
                    tokio::time::sleep(GIVE_BACK_PAUSE).await;
                    system::give_back();
                }
            }
        };
        let collect = async {
            if self.number > 0 {
                return;
            }
            loop {
                self.shared.channels.due().await;
                for _ in 0..COLLECT_ROUNDS {
                    tokio::time::sleep(COLLECT_PAUSE).await;
                    self.shared.channels.collect();
                    self.shared.hosts.delegations.tidy();
                }
            }
        };
        let tell = async {
            loop {
                self.ended.notified().await;
                tokio::time::sleep(TELL_PAUSE).await;
                for session in self.sessions().iter().filter_map(Weak::upgrade) {
                    session.tell_ended();
                }
            }
        };
        let calls = self.home.run(home, |left, kept| {
            queues.calls.set(left as u64);
            // What it lets go of may be of connections that have ended.
            queues.slots.set(kept as u64);
        });
        tokio::join!(calls, take_notes, reclaim, give_back, collect, tell);
    }
}

/// How long what has ended waits for more of it before other hosts are told.
const TELL_PAUSE: Duration = Duration::from_millis(20);

/// How often memory is given back after a connection's end: the allocator returns some of it each time.
const GIVE_BACK_ROUNDS: usize = 8;
/// The pause before each round.
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(250);

/// How often channels are looked for that nobody can reach: what a connection had, others may keep a little
/// longer.
const COLLECT_ROUNDS: usize = 2;
/// The pause before each round: however many connections end, there is one in that time.
const COLLECT_PAUSE: Duration = Duration::from_millis(500);

/// How often reclamation is pushed on after something was dropped: it advances by one epoch at a
/// time, and what is dropped in one is due some epochs later.
const TIDY_ROUNDS: usize = 4;
/// The pause before each round: other threads get time to leave the epoch, and a stream of stores
/// pays for one round in that time, not for one each.
const TIDY_PAUSE: Duration = Duration::from_millis(2);

/// How many tasks of a worker run before it looks what has come in, if there are as many: a client that keeps
/// it busy does not keep the others unheard. With 16 they wait a third longer, at the 99th percentile, beside one
/// who creates a million nodes (`--bench crowd`); with 2, a call of one of many clients takes a sixteenth more of the processor
/// (`killick bench load walk --connections 64 --in-flight 1`).
const EVENT_INTERVAL: u32 = 4;

/// The runtime of a worker, which stays on the thread that this is called on. Not a `LocalSet`, which runs
/// 61 tasks before anything is looked at.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(EVENT_INTERVAL).build_local(LocalOptions::default())
}

/// The body of the thread of worker `number`: serves what comes in until the server stops, then waits
/// for the connections to end.
pub(crate) fn run(
    runtime: &LocalRuntime,
    (shared, number, notes): (Arc<Shared>, usize, UnboundedReceiver<Letter>),
    mut incoming: UnboundedReceiver<Incoming>,
    stop: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        let (worker, inboxes) = Worker::new(shared, number, notes);
        let (tasks, mut asked) = unbounded_channel();
        worker.tasks.replace(Some(tasks));
        let house = worker.clone();
        let mut house = tokio::task::spawn_local(async move { house.keep_house(inboxes).await });
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                next = incoming.recv() => match next {
                    Some(next) => {
                        let _ = sessions.spawn_local(serve(next, worker.clone(), stop.clone()));
                    }
                    None => break,
                },
                Some(task) = asked.recv() => drop(sessions.spawn_local(task(stop.clone()))),
                Some(_) = sessions.join_next() => {}
                // A panic of this worker's own: without it, nothing would be let go of.
                Err(error) = &mut house => std::panic::resume_unwind(error.into_panic()),
            }
        }
        worker.tasks.take();
        while let Ok(task) = asked.try_recv() {
            sessions.spawn_local(task(stop.clone()));
        }
        while sessions.join_next().await.is_some() {}
        house.abort();
    });
}

/// Serves one connection, whatever it comes over: none of the ways takes the room of another.
fn serve(
    incoming: Incoming,
    worker: Rc<Worker>,
    stop: watch::Receiver<bool>,
) -> LocalBoxFuture<'static, ()> {
    let Incoming { socket, peer, permit, place } = incoming;
    let mut newcomer = Newcomer { peer, permit, worker, stop };
    match socket {
        Socket::Unix(socket, who) => {
            newcomer.serve(tokio::net::UnixStream::from_std(socket).map(Streams::one), who)
        }
        Socket::Tcp(socket) => {
            newcomer.serve(TcpStream::from_std(socket).map(Streams::one), Who::Local)
        }
        Socket::Host(streams, host, generation) => {
            newcomer.serve(Ok(streams), Who::Host(host, generation))
        }
        Socket::Tls(socket, _) => Box::pin(async move {
            // In a box: it does not last.
            match Box::pin(shake_hands(socket, place, &newcomer.worker, &mut newcomer.stop)).await {
                Ok(Some((stream, key))) => {
                    newcomer.peer = format!("{}, key {}", newcomer.peer, key.short());
                    newcomer.serve(Ok(Streams::one(stream)), Who::Key(key)).await;
                }
                Ok(None) => {}
                Err(why) => newcomer.turn_away(&why),
            }
        }),
    }
}

/// Who has come to a worker, and what lasts as long as the connection.
struct Newcomer {
    peer: String,
    permit: Permit,
    worker: Rc<Worker>,
    stop: watch::Receiver<bool>,
}

impl Newcomer {
    /// Serves a client of whom it is known `who` it is, or says why there is nothing for it. What is needed to
    /// begin is no part of the future.
    fn serve<S>(self, streams: io::Result<Streams<S>>, who: Who) -> LocalBoxFuture<'static, ()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        // What it is now: a handshake takes its time.
        let grant = who.grant(&self.worker.shared().config());
        let streams = streams.map_err(|error| error.to_string());
        let begins = streams.and_then(|streams| {
            grant.map(|grant| (streams, grant)).map_err(|refused| refused.to_string())
        });
        let (streams, grant) = match begins {
            Ok(begins) => begins,
            Err(why) => {
                self.turn_away(&why);
                return Box::pin(std::future::ready(()));
            }
        };
        let Newcomer { peer, permit, worker, mut stop } = self;
        let client = Admitted { who, grant, peer, child: None };
        Box::pin(async move {
            connection::run(streams, &client, &worker, &mut stop).await;
            drop(permit);
        })
    }

    /// Notes why there is nothing for it.
    fn turn_away(&self, why: &str) {
        self.worker.shared().refusals.note(Refusal::Unproven, &self.peer, &why);
    }
}

/// Makes a TLS handshake for as long as it has its `place`: the stream then, and whose key it is. Nothing if
/// the server stops.
async fn shake_hands(
    socket: std::net::TcpStream,
    mut place: Option<Place>,
    worker: &Worker,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<(Secured, Fingerprint)>, String> {
    let stream = TcpStream::from_std(socket).map_err(|error| error.to_string())?;
    let config = worker.shared().config();
    let displaced = async {
        match &mut place {
            Some(place) => place.lost().await,
            None => std::future::pending().await,
        }
    };
    let shaken = tokio::select! {
        biased;
        () = displaced => Err(HandshakeError::Displaced),
        shaken = handshake(config.tls.as_ref(), stream, config.handshake_timeout) => shaken,
        _ = stop.wait_for(|stopped| *stopped) => return Ok(None),
    };
    shaken.map(Some).map_err(|error| {
        if let Some(limit) = error.limit() {
            worker.shared().hits.count(limit);
        }
        error.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_connection_takes_no_room_for_what_began_it() {
        let runtime = runtime().expect("a runtime");
        runtime.block_on(async {
            let (shared, mut notes) = Shared::new(Config::for_test([]), 1);
            let permit = Permit::take(&shared).expect("the first");
            let (worker, _inboxes) = Worker::new(shared, 0, notes.pop().expect("one"));
            let (_client, socket) = std::os::unix::net::UnixStream::pair().expect("a pair");
            socket.set_nonblocking(true).expect("an option");
            let socket = Socket::Unix(socket, Who::Local);
            let incoming = Incoming { socket, peer: "test".into(), permit, place: None };
            let (_stop, stopped) = watch::channel(false);
            let served = serve(incoming, worker, stopped);
            assert!(size_of_val(&*served) <= 512, "{} bytes", size_of_val(&*served));
        });
    }
}
