//! Tasks and streams around a [`Core`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::bytes::Bytes;

use super::core::{Core, Now, Output};
use super::roster::Change;
use super::seeds::Seeds;
use super::sync::{MAX_MESSAGE, Message};
use super::{Counts, HostId, Me, Params, Record, RecordTooLarge, Transport, View};
use crate::cluster::seldom::Seldom;

/// So many streams of others are answered at once: the others wait.
const ANSWERED_AT_ONCE: usize = 16;
/// So many seeds are asked at once.
const ASKED_AT_ONCE: usize = 8;
/// Of so many addresses of seeds it is known at most why nobody was met.
const UNMET: usize = 1024;
/// A host that goes says so so often, in such a distance.
const FAREWELLS: usize = 4;
const BETWEEN_FAREWELLS: Duration = Duration::from_millis(50);

/// A host's membership. Its tasks end when the last handle is dropped, or after [`Members::leave`].
#[derive(Clone)]
pub(crate) struct Members(Arc<Shared>);

struct Shared {
    core: Mutex<Core>,
    started: Instant,
    /// The core's deadline may be earlier than it was.
    sooner: Notify,
    view: watch::Sender<Arc<View>>,
    answered: Semaphore,
    patience: Duration,
    /// Why nobody was met at the addresses of seeds, as it was told last.
    unmet: Mutex<HashMap<SocketAddr, String>>,
    /// What was told of hosts that were restarted.
    restarts: Mutex<Seldom<HostId>>,
    /// Where another process is that has this host's key.
    twin: watch::Sender<Option<SocketAddr>>,
    outlet: Box<dyn Outlet>,
}

/// A [`Transport`], whatever it is.
trait Outlet: Send + Sync {
    fn send(&self, to: HostId, at: SocketAddr, packet: Bytes);
    /// Opens a stream, says `opening`, and goes on until nothing is left to say.
    fn sync(&self, shared: &Arc<Shared>, with: HostId, at: SocketAddr, opening: Vec<u8>);
    /// Finds out whether another process at an address has this host's key.
    fn make_sure(&self, shared: &Arc<Shared>, at: SocketAddr);
}

impl<T: Transport> Outlet for T {
    fn send(&self, to: HostId, at: SocketAddr, packet: Bytes) {
        Transport::send(self, to, at, packet);
    }

    fn sync(&self, shared: &Arc<Shared>, with: HostId, at: SocketAddr, opening: Vec<u8>) {
        tokio::spawn(begin(self.clone(), shared.clone(), with, at, opening));
    }

    fn make_sure(&self, shared: &Arc<Shared>, at: SocketAddr) {
        tokio::spawn(make_sure(self.clone(), shared.clone(), at));
    }
}

impl Members {
    /// Takes part in a cluster, from the current runtime on, which all that it does runs on.
    ///
    /// # Errors
    /// A record that the others would not take.
    pub(crate) fn start<T: Transport>(
        me: Me,
        record: Record,
        seeds: Seeds,
        params: Params,
        transport: T,
    ) -> Result<Members, RecordTooLarge> {
        record.check()?;
        let started = Instant::now();
        let core = Core::new(&me, record, params.clone(), now(started), seed());
        let shared = Arc::new(Shared {
            view: watch::Sender::new(view(&core, started)),
            core: Mutex::new(core),
            started,
            sooner: Notify::new(),
            answered: Semaphore::new(ANSWERED_AT_ONCE),
            patience: params.patience,
            unmet: Mutex::default(),
            restarts: Mutex::default(),
            twin: watch::Sender::default(),
            outlet: Box::new(transport.clone()),
        });
        tokio::spawn(keep_time(Arc::downgrade(&shared)));
        if !seeds.is_empty() {
            tokio::spawn(seek(Arc::downgrade(&shared), transport, seeds, params));
        }
        Ok(Members(shared))
    }

    /// A packet has come, from a host that the transport has made sure of.
    pub(crate) fn packet(&self, from: HostId, _at: SocketAddr, packet: Bytes) {
        self.0.with(|core, now| core.packet(now, from, &packet));
    }

    /// A stream has come, from a host that the transport has made sure of.
    pub(crate) fn sync<S>(&self, from: HostId, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = self.0.clone();
        tokio::spawn(async move {
            let talk = async {
                let Ok(_place) = shared.answered.acquire().await else { return Ok(()) };
                talk(&shared, from, stream).await
            };
            shared.with(|core, _| core.counts_mut().answered += 1);
            shared.note(from, timeout(shared.patience, talk).await);
        });
    }

    /// All hosts that are known, and every change of that.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.0.view.subscribe()
    }

    /// Resolves when this host has found another process with its key: where. It takes part in nothing more then.
    pub(crate) async fn twin(&self) -> SocketAddr {
        let mut found = self.0.twin.subscribe();
        let found = found.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        match found {
            Some(at) => at,
            None => std::future::pending().await,
        }
    }

    /// What this host tells of itself from now on.
    ///
    /// # Errors
    /// A record that the others would not take: what was told before stays.
    pub(crate) fn set_record(&self, record: Record) -> Result<(), RecordTooLarge> {
        record.check()?;
        self.0.with(|core, now| core.set_record(now, record));
        self.0.publish();
        Ok(())
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.core().counts()
    }

    /// Tells the others that this host goes, and takes part in nothing more. Resolves when some have been
    /// told, after a fraction of a second.
    pub(crate) async fn leave(&self) {
        self.0.with(|core, now| core.leave(now));
        self.0.publish();
        for _ in 0..FAREWELLS {
            sleep(BETWEEN_FAREWELLS).await;
            self.0.with(|core, _| core.leave_again());
        }
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the core, and then what comes of it: without the lock, whoever is called.
    fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut Core, Now) -> R) -> R {
        let (result, outputs, moved) = {
            let core = &mut *self.core();
            let before = core.deadline();
            let result = act(core, now(self.started));
            let outputs: Vec<Output> = std::iter::from_fn(|| core.output()).collect();
            (result, outputs, core.deadline() != before)
        };
        let mut changed = false;
        for output in outputs {
            match output {
                Output::Packet(out) => self.outlet.send(out.to, out.at, out.packet),
                Output::Sync { with, at, opening } => self.outlet.sync(self, with, at, opening),
                Output::Changed(host, change) => {
                    self.log(host, change);
                    changed = true;
                }
                Output::Told => changed = true,
                Output::MakeSure(at) => self.outlet.make_sure(self, at),
            }
        }
        if changed {
            self.publish();
        }
        if moved {
            self.sooner.notify_one();
        }
        result
    }

    fn publish(&self) {
        // The lock is held until the view is there: of two, the later one stays.
        let core = self.core();
        self.view.send_replace(view(&core, self.started));
    }

    /// A stream has come to its end, or not.
    fn note(
        self: &Arc<Self>,
        with: HostId,
        ended: Result<io::Result<()>, tokio::time::error::Elapsed>,
    ) {
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        tracing::debug!(host = %with, %error, "what is known could not be compared");
        self.core().counts_mut().broken += 1;
    }

    fn log(&self, host: HostId, change: Change) {
        match change {
            Change::Joined => tracing::info!(%host, "a host is there"),
            Change::Restarted => {
                let lines = &mut self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(left_out) = lines.next(host, std::time::Instant::now()) {
                    let left_out = (left_out > 0).then_some(left_out);
                    tracing::info!(%host, left_out, "a host has been restarted");
                }
            }
            Change::Left => tracing::info!(%host, "a host has left"),
            Change::Failed => tracing::warn!(%host, "a host does not answer any more"),
            Change::Updated | Change::Suspected | Change::Refuted | Change::Forgotten => {
                tracing::debug!(%host, ?change, "a host");
            }
        }
    }

    fn unmet(&self) -> MutexGuard<'_, HashMap<SocketAddr, String>> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody was met at a seed's address: that somebody there does not take this host, or the other way round,
    /// does not pass by itself, and is told once.
    fn has_not_met(&self, at: SocketAddr, error: &io::Error) {
        let mut unmet = self.unmet();
        // Names of seeds may have had other addresses.
        if unmet.len() >= UNMET {
            unmet.clear();
        }
        let before = unmet.insert(at, error.to_string());
        let is_known = before.is_some_and(|before| before == error.to_string());
        match error.kind() == io::ErrorKind::ConnectionRefused && !is_known {
            true => tracing::warn!(%at, %error, "no host of this cluster at a seed's address"),
            false => tracing::debug!(%at, %error, "nobody at a seed's address"),
        }
    }
}

fn view(core: &Core, started: Instant) -> Arc<View> {
    Arc::new(View { hosts: core.members(|since| started + since) })
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { elapsed: started.elapsed(), wall: wall.as_millis() as u64 }
}

/// What randomness begins with: without any, the time.
fn seed() -> u64 {
    let mut seed = [0; 8];
    match SystemRandom::new().fill(&mut seed) {
        Ok(()) => u64::from_be_bytes(seed),
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
        }
    }
}

/// Wakes the core when it wants to be.
async fn keep_time(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let Some(deadline) = shared.core().deadline() else { return };
        let deadline = shared.started + deadline;
        let sooner = {
            let notified = shared.sooner.notified();
            tokio::pin!(notified);
            // Not for ever: the last handle may be dropped meanwhile.
            let check = deadline.min(Instant::now() + Duration::from_secs(1));
            tokio::select! {
                () = &mut notified => true,
                () = sleep_until(check) => false,
            }
        };
        if !sooner && deadline <= Instant::now() {
            shared.with(|core, now| core.tick(now));
        }
    }
}

/// Asks the seeds until somebody else is up, and again when nobody is; and from time to time those that are
/// not known, as they may be part of another cluster that should be this one.
async fn seek<T: Transport>(shared: Weak<Shared>, transport: T, seeds: Seeds, params: Params) {
    let mut pause = params.seek;
    loop {
        let mut changes = {
            let Some(shared) = shared.upgrade() else { return };
            if shared.core().deadline().is_none() {
                return;
            }
            ask(&shared, &transport, &seeds).await;
            shared.view.subscribe()
        };
        let alone = || shared.upgrade().is_none_or(|shared| shared.core().is_alone());
        if alone() {
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(params.seek_at_most);
            continue;
        }
        pause = params.seek;
        let left_alone = async {
            while !alone() && changes.changed().await.is_ok() {}
            // All of a cluster may have lost it at once: they should not all come back at once.
            sleep(jittered(pause)).await;
        };
        let _ = timeout(jittered(params.seek_again), left_alone).await;
    }
}

/// From a half of it to one and a half.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + (seed() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Meets who is at the seeds' addresses, but for those that are known to be up.
async fn ask<T: Transport>(shared: &Arc<Shared>, transport: &T, seeds: &Seeds) {
    let view = shared.view.borrow().clone();
    let known = |at: &SocketAddr| {
        view.hosts
            .values()
            .any(|host| host.is_up() && host.at == super::identity::without_scope(*at))
    };
    let mut addresses = seeds.addresses().await;
    addresses.retain(|at| !known(at));
    let mut rest = addresses.into_iter();
    let mut asked = tokio::task::JoinSet::new();
    loop {
        while asked.len() < ASKED_AT_ONCE
            && let Some(at) = rest.next()
        {
            asked.spawn(meet(shared.clone(), transport.clone(), at));
        }
        if asked.join_next().await.is_none() {
            return;
        }
    }
}

/// Meets who is at an address, and compares what both know.
async fn meet<T: Transport>(shared: Arc<Shared>, transport: T, at: SocketAddr) {
    let who = match timeout(shared.patience, transport.meet(at)).await {
        Ok(Ok(who)) => who,
        Ok(Err(error)) => return shared.has_not_met(at, &error),
        Err(_) => return shared.has_not_met(at, &io::ErrorKind::TimedOut.into()),
    };
    shared.unmet().remove(&at);
    if who == shared.core().me().host {
        let at = super::identity::without_scope(at);
        return shared.with(|core, now| core.has_met_itself(now, at));
    }
    let opening = shared.core().greeting(now(shared.started), who);
    if let Some(opening) = opening {
        begin(transport, shared, who, at, opening).await;
    }
}

/// Finds out whether another process at an address has this host's key.
async fn make_sure<T: Transport>(transport: T, shared: Arc<Shared>, at: SocketAddr) {
    let asked = timeout(shared.patience, transport.is_twin(at)).await;
    let found = asked.unwrap_or(false);
    shared.with(|core, now| core.is_sure(now, found));
    if found {
        shared.twin.send_replace(Some(at));
    }
}

/// Opens a stream, says `opening`, and goes on until nothing is left to say.
async fn begin<T: Transport>(
    transport: T,
    shared: Arc<Shared>,
    with: HostId,
    at: SocketAddr,
    opening: Vec<u8>,
) {
    let talk = async {
        let mut stream = transport.open_sync(with, at).await?;
        write(&mut stream, &opening).await?;
        talk(&shared, with, stream).await
    };
    let ended = timeout(shared.patience, talk).await;
    shared.note(with, ended);
}

/// Answers messages until nothing is left to say.
async fn talk<S>(shared: &Arc<Shared>, with: HostId, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The kinds of messages grow from one to the next: there are at most four.
    for _ in 0..2 {
        let message = read(&mut stream).await?;
        let answer = shared
            .with(|core, now| core.sync(now, with, &message))
            .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        let Some(answer) = answer else { break };
        write(&mut stream, &answer).await?;
        if Message::is_last(&answer) {
            break;
        }
    }
    stream.shutdown().await
}

/// A message is its length, in 4 bytes, and its bytes.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    stream.write_u32(message.len() as u32).await?;
    stream.write_all(message).await?;
    stream.flush().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_MESSAGE {
        let error = format!("a message of {length} bytes, where {MAX_MESSAGE} is the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut message = Vec::new();
    stream.take(length as u64).read_to_end(&mut message).await?;
    if message.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
}
